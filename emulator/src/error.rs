//! Why the emulated device refuses a call. The C ABI answers -1 for all of them: the vendor documents no codes.

use std::io;
use std::path::PathBuf;

use crate::keys::KeyType;

/// A refused call, or a state directory that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Neither `--state` nor the environment names a state directory.
    #[error("no state directory: give --state DIR or set HOLDFAST_EMULATOR_STATE")]
    NoStateDirectory,
    /// The directory holds no device.
    #[error("{0} holds no emulated device; make one with `holdfast-emulator create --state {0}`")]
    NoDevice(PathBuf),
    /// The directory holds one already.
    #[error("{0} already holds an emulated device; remove the directory to begin again")]
    DeviceExists(PathBuf),
    /// A file of the state directory could not be read or written.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// A file of the state directory is not what was written there.
    #[error("{path} cannot be understood: {reason}")]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// An argument that no device could act on: NULL, a negative size, text that is not UTF-8, an unknown number.
    #[error("argument {0} is not acceptable")]
    Argument(&'static str),
    /// The context is not open, or the device was power-cycled or disconnected since.
    #[error("the context is not open, or was lost with a power cycle or a disconnection")]
    Context,
    /// Nothing is in the slot.
    #[error("slot {0} holds no key")]
    EmptySlot(i32),
    /// The slot holds only a public key.
    #[error("slot {0} holds no private key")]
    NoPrivateKey(i32),
    /// The slot holds a master seed, which neither signs nor shows its public key.
    #[error("slot {0} holds a master seed")]
    MasterSeed(i32),
    /// The public key's export was disabled.
    #[error("the public key of slot {0} may not be exported")]
    ExportDisabled(i32),
    /// Factory keys stay.
    #[error("slot {0} holds a factory key")]
    FactoryKey(i32),
    /// Every slot is taken.
    #[error("every slot is taken")]
    Full,
    /// The key's type does not do that.
    #[error("{0} keys cannot {1}")]
    KeyType(KeyType, &'static str),
    /// Bytes that are no public key of the type.
    #[error("not a public key of type {0}")]
    PublicKey(KeyType),
    /// A wallet's name is empty, too long, or not printable ASCII.
    #[error("a wallet name has 1 to {max} printable ASCII characters", max = crate::wallets::MAX_WALLET_NAME)]
    WalletName,
    /// The name is taken.
    #[error("a wallet named {0:?} exists")]
    WalletExists(String),
    /// No wallet has the name, or the slot is in none.
    #[error("no such wallet")]
    NoWallet,
    /// The address is not a node of the wallet.
    #[error("no node {0} in that wallet")]
    NoNode(String),
    /// The node exists already.
    #[error("node {0} exists")]
    NodeExists(String),
    /// The standard does not define the derivation.
    #[error("the derivation is not defined: {0}")]
    Derivation(String),
    /// Words that are no recovery phrase.
    #[error("the recovery words are not valid: {0}")]
    Words(String),
    /// A SLIP39 session is open, so nothing else in wallets may be generated.
    #[error("a SLIP39 session is open")]
    SessionOpen,
    /// No SLIP39 session is open, or it is of the other kind.
    #[error("no such SLIP39 session is open")]
    NoSession,
    /// The SLIP39 session waits for something else.
    #[error("the SLIP39 session does not expect that: {0}")]
    SessionOrder(&'static str),
    /// Locked data did not come from this device, or was changed.
    #[error("the locked data does not verify")]
    LockedData,
    /// A fault that was asked for.
    #[error("an injected fault")]
    Injected,
}

/// What every fallible function here answers.
pub type Result<T, E = Error> = std::result::Result<T, E>;
