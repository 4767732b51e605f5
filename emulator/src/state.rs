//! The durable state of one emulated device, as it stands in `device.json`.

use std::collections::BTreeMap;

use holdfast_wallet::DerivationPath;
use serde::{Deserialize, Serialize};

use crate::hex::HexBytes;
use crate::keys::{KeyPair, KeyType};
use crate::peripherals::Peripherals;
use crate::slip39_session::Slip39Session;

/// The layout of `device.json` that this version reads and writes.
pub const FORMAT: u32 = 1;
/// The one firmware that loses generated key pairs at a reboot (vendor issue #159).
pub const AFFECTED_FIRMWARE: &str = "01.02.02release";
/// The slot number that stands for the ephemeral key.
pub const EPHEMERAL_SLOT: i32 = -1;
/// The first slot that `zkGenKeyPair` and the wallets use.
pub const FIRST_GENERATED_SLOT: i32 = 16;
/// How many foreign public keys fit.
pub const FOREIGN_SLOTS: i32 = 128;

/// Everything that a device remembers.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// The layout, [`FORMAT`].
    pub format: u32,
    /// Counts the writes of this file.
    pub generation: u64,
    /// What `zkGetModelNumberString` answers.
    pub model: String,
    /// What `zkGetFirmwareVersionString` answers.
    pub firmware: String,
    /// What `zkGetSerialNumberString` answers.
    pub serial: String,
    /// How many slots there are from [`FIRST_GENERATED_SLOT`] on.
    pub generated_slots: i32,
    /// How many of the first slots hold factory keys.
    pub factory_slots: i32,
    /// Counts the power cycles.
    pub boots: u64,
    /// Counts the disconnections, each of which ends every context.
    pub connections: u64,
    /// Which free slot is taken next.
    pub allocation: Allocation,
    /// The slot that was taken last.
    pub last_slot: i32,
    /// What deriving a node that exists answers.
    pub existing_node: ExistingNode,
    /// The key that binds locked data to this device.
    pub one_way_key: HexBytes,
    /// The key for locked data with `use_shared_key`.
    pub shared_key: HexBytes,
    /// The key store.
    pub slots: BTreeMap<i32, Slot>,
    /// The store of foreign public keys, a numbering of its own.
    pub foreign: BTreeMap<i32, ForeignKey>,
    /// Slot -1.
    pub ephemeral: Option<KeyPair>,
    /// The wallets by name.
    pub wallets: BTreeMap<String, Wallet>,
    /// The open SLIP39 session.
    pub slip39: Option<Slip39Session>,
    /// LED, accelerometer, perimeter and the other things that are no keys.
    pub peripherals: Peripherals,
}

/// One slot of the key store that holds something.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Slot {
    /// The key.
    pub key: KeyPair,
    /// How it came there.
    pub origin: Origin,
    /// Set by `zkDisablePubKeyExport`, for good.
    #[serde(default)]
    pub export_disabled: bool,
    /// Its place in a wallet, for the origins `wallet` and `oversight`.
    #[serde(default)]
    pub node: Option<Node>,
}

/// Which free slot is taken next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Allocation {
    /// The lowest: a number is given out again as soon as its key is gone.
    #[default]
    Lowest,
    /// The one after that taken last, round and round: a number is given out again as late as possible.
    Rotating,
}

/// What deriving a node that exists answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ExistingNode {
    /// -1.
    #[default]
    Refuse,
    /// The slot that the node has already.
    Answer,
}

/// How a key came into its slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// Made when the device was.
    Factory,
    /// `zkGenKeyPair`.
    Generated,
    /// A master seed or a node below one.
    Wallet,
    /// The root of an oversight wallet or a node below one.
    Oversight,
}

/// A key's place in a wallet.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// The wallet's name.
    pub wallet: String,
    /// The address, `m` for a master seed.
    #[serde(with = "path_text")]
    pub path: DerivationPath,
    /// The chain code.
    pub chain_code: HexBytes,
}

/// A wallet: its nodes are the slots that name it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wallet {
    /// The type of its keys.
    pub key_type: KeyType,
    /// Whether it derives as Cardano does (BIP32-Ed25519).
    pub cardano: bool,
    /// Its first node: `m`, or the address that an oversight wallet was given.
    #[serde(with = "path_text")]
    pub root: DerivationPath,
}

/// A foreign public key.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ForeignKey {
    /// Its type.
    pub key_type: KeyType,
    /// X‖Y, or the 32 bytes of the Edwards and Montgomery curves.
    pub public: HexBytes,
    /// Set by `zkDisablePubKeyExport`, for good.
    #[serde(default)]
    pub export_disabled: bool,
}

impl State {
    /// Whether key pairs of `zkGenKeyPair` are lost at a power cycle: an SCM with exactly the affected firmware.
    pub fn is_affected(&self) -> bool {
        is_scm(&self.model) && self.firmware == AFFECTED_FIRMWARE
    }

    /// Whether the key in `slot` will be gone after the next power cycle.
    pub fn is_volatile(&self, slot: &Slot) -> bool {
        slot.origin == Origin::Generated && self.is_affected()
    }

    /// The slot of a wallet's first node.
    pub fn master_slot(&self, wallet: &str) -> Option<i32> {
        let root = &self.wallets.get(wallet)?.root;
        self.node_slot(wallet, root)
    }

    /// The slot of a wallet's node.
    pub fn node_slot(&self, wallet: &str, path: &DerivationPath) -> Option<i32> {
        self.slots
            .iter()
            .find(|(_, slot)| slot.node.as_ref().is_some_and(|node| node.wallet == wallet && node.path == *path))
            .map(|(number, _)| *number)
    }
}

/// Whether a model string names a Secure Compute Module; the HSM6 and the Zymkeys are not.
pub fn is_scm(model: &str) -> bool {
    let model = model.to_ascii_lowercase();
    model.contains("scm") || model.contains("secure compute")
}

mod path_text {
    use holdfast_wallet::DerivationPath;
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub fn serialize<S: Serializer>(path: &DerivationPath, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(path)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<DerivationPath, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}
