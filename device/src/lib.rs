//! A safe client of the vendor's C library `libzk_app_utils.so`, and the table of which firmware loses keys.
//!
//! [`WalletDevice`] is what the rest of Holdfast knows of a device; [`Device`] is the real one. It loads the library
//! with dlopen at the first call, checks every reply before anybody sees it, and opens a lost connection again. There
//! is one lock around the device, held during a call and never beyond it.
//!
//! # What bounds a call
//! Trying to reach a device that does not answer ends after the configured time. A call that the C library does not
//! return from cannot be ended: there are no threads here and no signals, both belong to the host. The thread that
//! made it waits for as long as the library does; the others give up waiting for their turn after
//! [`STALLED_AFTER`] and answer [`DeviceError::Unreachable`].
//!
//! # Forks
//! A context that was opened before a fork belongs to the parent. In the child it is forgotten, never used and never
//! closed, and the first call opens another.
#![deny(unsafe_code)]
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

mod base64;
mod client;
mod error;
#[allow(unsafe_code, reason = "the C ABI")]
mod ffi;
mod firmware;
mod gate;
#[doc(hidden)]
pub mod reply;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

use std::ffi::c_int;
use std::fmt;

use holdfast_wallet::{ChildNumber, Curve, DerivationPath, PublicKey};
use zeroize::Zeroizing;

pub use client::{Device, DeviceConfig, STALLED_AFTER};
pub use error::DeviceError;
pub use firmware::{Verdict, verdict};

/// A key slot of the device. The ephemeral key's slot, -1, is not one: nothing of Holdfast's may touch it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeySlot(c_int);

impl KeySlot {
    /// The slot `number`, `None` when it is negative. Which slots there are is the device's to say.
    pub const fn new(number: c_int) -> Option<Self> {
        if number < 0 { None } else { Some(Self(number)) }
    }

    /// The number the device knows it by.
    pub const fn number(self) -> c_int {
        self.0
    }
}

impl fmt::Display for KeySlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a device says it is, in its own strings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// `zkGetModelNumberString`.
    pub model: String,
    /// `zkGetFirmwareVersionString`, `01.02.02release`.
    pub firmware: String,
    /// `zkGetSerialNumberString`.
    pub serial: String,
}

/// The slots in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllocatedSlots {
    /// How many keys fit.
    pub capacity: usize,
    /// The slots that hold a key, in ascending order.
    pub slots: Vec<KeySlot>,
}

/// Where a key stands in its wallet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeAddress {
    /// Its path from the master.
    pub path: DerivationPath,
    /// The name of the wallet.
    pub wallet_name: String,
    /// The slot of the wallet's master seed.
    pub master_slot: KeySlot,
}

/// A device with key slots and wallets: everything Holdfast asks of one.
///
/// Every method may fail with any [`DeviceError`]. Those that only ask are tried a second time on a fresh connection
/// when the first is found lost; those that change the device never are, because the first try may have been done.
pub trait WalletDevice: Send + Sync {
    /// Model, firmware and serial number.
    fn identity(&self) -> Result<Identity, DeviceError>;

    /// The ECDSA signature (r‖s, each 32 bytes big-endian) of `digest` by the key in `slot`. Not verified here: only
    /// the caller knows which public key it has to verify under.
    fn sign_digest(&self, slot: KeySlot, digest: &[u8; 32]) -> Result<[u8; 64], DeviceError>;

    /// The X coordinate of the product of the key in `slot` and the point `peer`, which is on its curve by its type;
    /// the key must be on the same one.
    fn raw_ecdh(&self, slot: KeySlot, peer: &PublicKey) -> Result<Zeroizing<[u8; 32]>, DeviceError>;

    /// The public key in `slot`, which must be a point of `curve`.
    fn export_public_key(&self, slot: KeySlot, curve: Curve) -> Result<PublicKey, DeviceError>;

    /// The slots that hold a key. Foreign public keys are numbered apart and are not among them.
    fn allocated_slots(&self) -> Result<AllocatedSlots, DeviceError>;

    /// Makes a wallet that cannot be recovered and answers the slot of its master seed.
    fn create_wallet(&self, curve: Curve, name: &str) -> Result<KeySlot, DeviceError>;

    /// Makes a wallet that can be recovered from the 24 words answered and `passphrase`, which may be empty.
    fn create_wallet_bip39(
        &self,
        curve: Curve,
        name: &str,
        passphrase: &str,
    ) -> Result<(KeySlot, Zeroizing<String>), DeviceError>;

    /// Derives a child of the node in `parent` and answers its slot. What a device does when the node exists already
    /// is not known; it may answer the slot of the existing one.
    fn generate_child(&self, parent: KeySlot, child: ChildNumber) -> Result<KeySlot, DeviceError>;

    /// Where the key in `slot` stands in its wallet; [`DeviceError::Refused`] when it is in none.
    fn node_of_slot(&self, slot: KeySlot) -> Result<NodeAddress, DeviceError>;

    /// The slot of the node `path` of the wallet; [`DeviceError::Refused`] when there is no such node.
    fn slot_of_node(&self, path: &DerivationPath, wallet_name: &str) -> Result<KeySlot, DeviceError>;

    /// Removes the key in `slot` **and every node derived from it**.
    fn remove_key(&self, slot: KeySlot) -> Result<(), DeviceError>;

    /// In a forked child: whatever connection the parent had is forgotten, neither used nor closed. Takes no lock and
    /// allocates nothing, so that it may run in a handler of pthread_atfork(3).
    fn forget_after_fork(&self) {}
}
