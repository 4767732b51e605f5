use holdfast_device::DeviceError;
use holdfast_mapping_db::{KeyId, ObjectId, StoreError, WalletId};
use holdfast_wallet::Curve;

/// Why a key could not be made, found, used or destroyed. Every message says what to do next.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The device did not answer, refused, or answered nonsense.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The store could not be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Every slot of the device is taken.
    #[error(
        "the device has no free slot ({used} of {capacity} taken): destroy keys that are no longer needed, see `holdfast list` and `holdfast status`"
    )]
    NoRoom {
        /// Slots taken.
        used: usize,
        /// Slots there are.
        capacity: usize,
    },
    /// The token has no wallet with room, and none is made automatically.
    #[error(
        "token {token:?} has no wallet for {curve} keys that can take another: make one with `holdfast wallet create`, or set [mapping] auto-create-wallet to no-recovery"
    )]
    NoWallet {
        /// The token's label.
        token: String,
        /// The curve asked for.
        curve: Curve,
    },
    /// The wallet's words or shares were never confirmed to be written down.
    #[error(
        "wallet {name} takes no keys before its recovery words are confirmed: finish `holdfast wallet create`, or make another wallet"
    )]
    WalletUnconfirmed {
        /// The wallet's name.
        name: String,
    },
    /// A signature that the recorded public key does not verify; it was thrown away.
    #[error(
        "slot {slot} made a signature that the public key of {node} does not verify; the signature was thrown away: run `holdfast verify`"
    )]
    WrongSignature {
        /// The key's node.
        node: String,
        /// The slot.
        slot: i32,
    },
    /// Another key is where this one should be.
    #[error(
        "{node} is not in slot {slot}, and what is at its node address has another public key; nothing is signed with it: run `holdfast verify`"
    )]
    SlotSwapped {
        /// The key's node.
        node: String,
        /// The slot in which it was last found.
        slot: i32,
    },
    /// The device no longer holds the key.
    #[error("{node} is not on the device any more (last seen in slot {slot}): run `holdfast verify`")]
    KeyLost {
        /// The key's node.
        node: String,
        /// The slot in which it was last found.
        slot: i32,
    },
    /// The key belongs to another device than the one attached.
    #[error("{node} is a key of device {recorded}, but device {attached} is attached: attach the right one")]
    OtherDevice {
        /// The key's node.
        node: String,
        /// Serial number of the device that holds the key.
        recorded: String,
        /// Serial number of the device that answered.
        attached: String,
    },
    /// A derivation answered with a slot or a public key that already existed; no key was recorded.
    #[error(
        "the device answered the derivation of {node} with something that existed before ({reason}); no key was made: run `holdfast status`"
    )]
    NotFresh {
        /// The node that was derived.
        node: String,
        /// What existed before.
        reason: &'static str,
    },
    /// Somebody else changed or removed the same thing meanwhile.
    #[error("{what}: somebody else changed it meanwhile; look again and retry")]
    Conflict {
        /// What was being done.
        what: String,
    },
    /// A key made now would be hidden, and removed, with those from before the token's initialisation.
    #[error(
        "token {token_serial} is being initialised, or was when a process ended: `holdfast repair \
         --token-initialised {token_serial}` or `--token-kept {token_serial}` says what became of it"
    )]
    InitTokenUnsettled {
        /// The token's serial number.
        token_serial: String,
    },
    /// Recovery words or shares cannot be shown by an automatic creation of wallets.
    #[error("{0}")]
    Unsupported(&'static str),
    /// An attribute that cannot be stored.
    #[error("{attribute} of {length} bytes: at most {limit}")]
    AttributeTooLong {
        /// The attribute's name.
        attribute: &'static str,
        /// Bytes given.
        length: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// No such key (any more).
    #[error("there is no key {0} any more")]
    NoSuchKey(KeyId),
    /// No such object (any more).
    #[error("there is no object {0} any more")]
    NoSuchObject(ObjectId),
    /// No such wallet (any more).
    #[error("there is no wallet {0} any more")]
    NoSuchWallet(WalletId),
}
