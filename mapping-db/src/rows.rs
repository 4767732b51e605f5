//! What the rows mean. Every number that SQLite hands back is checked before it becomes one of these types.

use holdfast_wallet::{ChildNumber, Curve, DerivationPath, PublicKey};

use crate::OwnerId;

macro_rules! row_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub i64);

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

row_id!(
    /// A wallet's row. Never given out twice in one store.
    WalletId
);
row_id!(
    /// A key's row. Never given out twice in one store.
    KeyId
);
row_id!(
    /// An object's row. Never given out twice in one store, so that a handle made from it never means another object.
    ObjectId
);
row_id!(
    /// An intent's row.
    IntentId
);
row_id!(
    /// A leftover's row.
    LeftoverId
);

/// How a wallet's seed can be brought back on another device; fixed when the seed is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Recovery {
    /// Not at all: when the device is gone, so are its keys.
    None,
    /// By 24 words (BIP39).
    Bip39,
    /// By shares (SLIP39).
    Slip39,
}

impl Recovery {
    /// The name used in the store, on the command line and in messages.
    pub const fn name(self) -> &'static str {
        match self {
            Recovery::None => "none",
            Recovery::Bip39 => "bip39",
            Recovery::Slip39 => "slip39",
        }
    }
}

/// A wallet of ours on a device: a master seed, and the counter of the indices given out under it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WalletRecord {
    /// The row.
    pub id: WalletId,
    /// The wallet's name on the device, unique there.
    pub name: String,
    /// The one curve of its keys.
    pub curve: Curve,
    /// The device that holds the seed.
    pub device_serial: String,
    /// The token whose keys it holds; `None` for a wallet shared by all tokens.
    pub token_serial: Option<String>,
    /// That token's label when the wallet was made; empty for a shared wallet.
    pub token_label: String,
    /// The slot of the master seed: a cache, the name decides.
    pub master_slot: i32,
    /// How the seed can be brought back.
    pub recovery: Recovery,
    /// Whether the words or shares are known to be written down. No key is made before that.
    pub confirmed: bool,
    /// The first index never given out, at most 2^31.
    pub next_index: u32,
    /// How many keys are made before another wallet is begun; `None`: no limit.
    pub capacity: Option<u32>,
    /// Whether keys are made at hardened indices.
    pub hardened: bool,
    /// Whether the device's derivation was compared with ours, and what came out.
    pub derivation_agrees: Option<bool>,
    /// Whether no further key is made here, because indices may have been used that this store does not know of.
    pub retired: bool,
    /// Whether the wallet was made for one key, so that its childless seed goes with that key.
    pub single_key: bool,
    /// Seconds since the epoch.
    pub created_at: i64,
}

/// Where a key came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Derived by us as a node of one of our wallets.
    Derived {
        /// The wallet's row.
        wallet: WalletId,
        /// The wallet's name on the device.
        wallet_name: String,
        /// The node's address.
        path: DerivationPath,
    },
    /// A slot that existed before: presented as a key, never removed from the device.
    Adopted,
}

/// A private key on a device and what identifies it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRecord {
    /// The row.
    pub id: KeyId,
    /// Where it came from; with [`KeyRecord::device_serial`] and [`KeyRecord::public_key`], its identity.
    pub origin: Origin,
    /// The device that holds it.
    pub device_serial: String,
    /// The slot in which it was last found: a cache.
    pub slot: i32,
    /// Its public key.
    pub public_key: PublicKey,
    /// The serial number of the token that shows it.
    pub token_serial: String,
    /// That token's label when the key was made.
    pub token_label: String,
    /// Whether only session objects own it, so that it ends with them.
    pub session: bool,
    /// Seconds since the epoch.
    pub created_at: i64,
}

impl KeyRecord {
    /// The wallet's name and the node's address as people read them, `holdfast-1234-p256 m/3'`; `adopted` for a slot
    /// that we did not derive.
    pub fn node(&self) -> String {
        match &self.origin {
            Origin::Derived { wallet_name, path, .. } => format!("{wallet_name} {path}"),
            Origin::Adopted => "adopted".to_owned(),
        }
    }
}

/// Which half of a key pair an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ObjectClass {
    /// `CKO_PUBLIC_KEY`.
    PublicKey,
    /// `CKO_PRIVATE_KEY`.
    PrivateKey,
}

/// One PKCS#11 object: what can differ between the halves of a pair. Everything else follows from the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectRecord {
    /// The row; never used twice.
    pub id: ObjectId,
    /// The key it shows.
    pub key: KeyId,
    /// Which half.
    pub class: ObjectClass,
    /// Whether it is a session object (`CKA_TOKEN` false), seen only by the process that made it.
    pub session: bool,
    /// `CKA_ID`.
    pub cka_id: Vec<u8>,
    /// `CKA_LABEL`.
    pub label: Vec<u8>,
    /// `CKA_PRIVATE`.
    pub private: bool,
    /// `CKA_MODIFIABLE`.
    pub modifiable: bool,
    /// `CKA_DESTROYABLE`.
    pub destroyable: bool,
    /// `CKA_COPYABLE`.
    pub copyable: bool,
    /// `CKA_SIGN`.
    pub sign: bool,
    /// `CKA_VERIFY`.
    pub verify: bool,
    /// `CKA_DERIVE`.
    pub derive: bool,
    /// `CKA_SUBJECT`, DER or empty.
    pub subject: Vec<u8>,
    /// `CKA_START_DATE`, `YYYYMMDD` in ASCII.
    pub start_date: Option<[u8; 8]>,
    /// `CKA_END_DATE`.
    pub end_date: Option<[u8; 8]>,
    /// `CKA_UNIQUE_ID`.
    pub unique_id: String,
}

/// A wallet about to be recorded.
#[derive(Clone, Debug)]
pub struct NewWallet {
    /// See [`WalletRecord::name`].
    pub name: String,
    /// See [`WalletRecord::curve`].
    pub curve: Curve,
    /// See [`WalletRecord::device_serial`].
    pub device_serial: String,
    /// See [`WalletRecord::token_serial`].
    pub token_serial: Option<String>,
    /// See [`WalletRecord::token_label`].
    pub token_label: String,
    /// See [`WalletRecord::master_slot`].
    pub master_slot: i32,
    /// See [`WalletRecord::recovery`].
    pub recovery: Recovery,
    /// See [`WalletRecord::confirmed`].
    pub confirmed: bool,
    /// See [`WalletRecord::next_index`].
    pub next_index: u32,
    /// See [`WalletRecord::capacity`].
    pub capacity: Option<u32>,
    /// See [`WalletRecord::hardened`].
    pub hardened: bool,
    /// See [`WalletRecord::derivation_agrees`].
    pub derivation_agrees: Option<bool>,
    /// See [`WalletRecord::single_key`].
    pub single_key: bool,
}

/// A key about to be recorded.
#[derive(Clone, Debug)]
pub struct NewKey {
    /// The wallet and the node; `None` for an adopted slot.
    pub node: Option<(WalletId, DerivationPath)>,
    /// See [`KeyRecord::device_serial`].
    pub device_serial: String,
    /// See [`KeyRecord::slot`].
    pub slot: i32,
    /// See [`KeyRecord::public_key`].
    pub public_key: PublicKey,
    /// See [`KeyRecord::token_serial`].
    pub token_serial: String,
    /// See [`KeyRecord::token_label`].
    pub token_label: String,
    /// The process that holds it as a session key; `None` for a token key.
    pub session_owner: Option<OwnerId>,
}

/// An object about to be recorded. Its `CKA_UNIQUE_ID` is chosen by the store.
#[derive(Clone, Debug)]
pub struct NewObjectRow {
    /// The key it shows.
    pub key: KeyId,
    /// Which half.
    pub class: ObjectClass,
    /// The process whose session object it is; `None` for a token object.
    pub session_owner: Option<OwnerId>,
    /// `CKA_ID`.
    pub cka_id: Vec<u8>,
    /// `CKA_LABEL`.
    pub label: Vec<u8>,
    /// `CKA_PRIVATE`.
    pub private: bool,
    /// `CKA_MODIFIABLE`.
    pub modifiable: bool,
    /// `CKA_DESTROYABLE`.
    pub destroyable: bool,
    /// `CKA_COPYABLE`.
    pub copyable: bool,
    /// `CKA_SIGN`.
    pub sign: bool,
    /// `CKA_VERIFY`.
    pub verify: bool,
    /// `CKA_DERIVE`.
    pub derive: bool,
    /// `CKA_SUBJECT`.
    pub subject: Vec<u8>,
    /// `CKA_START_DATE`.
    pub start_date: Option<[u8; 8]>,
    /// `CKA_END_DATE`.
    pub end_date: Option<[u8; 8]>,
}

/// Work that was begun: what it is about, so that somebody else can finish or undo it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IntentKind {
    /// A node is being derived for a key that is not recorded yet.
    Generate {
        /// The wallet.
        wallet: WalletId,
        /// The index reserved for it.
        child: ChildNumber,
    },
    /// A key is being removed, or released when it was adopted. Its objects are hidden.
    Destroy {
        /// The key.
        key: KeyId,
        /// Whether its public objects go too.
        whole: bool,
    },
    /// A wallet's seed is being made under this name.
    CreateWallet {
        /// The name on the device.
        name: String,
        /// The curve of the seed.
        curve: Curve,
        /// The device's serial number.
        device_serial: String,
        /// The token it is for; `None` for a shared wallet.
        token_serial: Option<String>,
    },
    /// A token is being initialised again; its keys are hidden.
    InitToken {
        /// The token's serial number before.
        token_serial: String,
        /// Whether the backend is known to have accepted, so that the keys are being removed.
        accepted: bool,
    },
}

impl IntentKind {
    /// The name used in the store and in messages.
    pub const fn name(&self) -> &'static str {
        match self {
            IntentKind::Generate { .. } => "generate",
            IntentKind::Destroy { .. } => "destroy",
            IntentKind::CreateWallet { .. } => "create-wallet",
            IntentKind::InitToken { .. } => "init-token",
        }
    }
}

/// Recorded work in progress.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Intent {
    /// The row.
    pub id: IntentId,
    /// What is being done.
    pub kind: IntentKind,
    /// Who is doing it.
    pub owner: OwnerId,
    /// Seconds since the epoch.
    pub created_at: i64,
}

/// An intent about to be recorded.
#[derive(Clone, Debug)]
pub struct NewIntent {
    /// What is about to be done.
    pub kind: IntentKind,
    /// Who is about to do it.
    pub owner: OwnerId,
}

/// Why something of ours is on the device that is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LeftoverReason {
    /// A generation was interrupted after the device may have acted.
    InterruptedGeneration,
    /// The process that held the session key ended without ending its session.
    EndedSession,
    /// A wallet's creation was interrupted after the device may have acted.
    InterruptedWallet,
}

impl LeftoverReason {
    /// The name used in the store and in messages.
    pub const fn name(self) -> &'static str {
        match self {
            LeftoverReason::InterruptedGeneration => "interrupted-generation",
            LeftoverReason::EndedSession => "ended-session",
            LeftoverReason::InterruptedWallet => "interrupted-wallet",
        }
    }
}

/// A node of ours that is no key: kept on the device, shown to no client, reported to the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leftover {
    /// The row.
    pub id: LeftoverId,
    /// The device that holds it.
    pub device_serial: String,
    /// The wallet's name on the device.
    pub wallet_name: String,
    /// The node's address; `m` for a wallet whose creation was interrupted.
    pub path: DerivationPath,
    /// Its public key, when it could be read.
    pub public_key: Option<PublicKey>,
    /// Why it is there.
    pub reason: LeftoverReason,
    /// Seconds since the epoch.
    pub created_at: i64,
}

/// A leftover about to be recorded.
#[derive(Clone, Debug)]
pub struct NewLeftover {
    /// See [`Leftover::device_serial`].
    pub device_serial: String,
    /// See [`Leftover::wallet_name`].
    pub wallet_name: String,
    /// See [`Leftover::path`].
    pub path: DerivationPath,
    /// See [`Leftover::public_key`].
    pub public_key: Option<PublicKey>,
    /// See [`Leftover::reason`].
    pub reason: LeftoverReason,
}
