//! Every change that takes several steps over the device and the store - making a key, destroying it, making a
//! wallet, initialising a token, repairing what was interrupted - in one place, with its intents and in the order
//! that loses nothing and leaves nothing when the process dies between any two steps.
//!
//! The PKCS#11 module and the command line do these things through [`Keystore`] only.
//!
//! Locks: one mutex guards SQLite and is never held across a device call; intents and the rows they protect keep
//! others away meanwhile. The device has a lock of its own, in `holdfast-device`.
#![forbid(unsafe_code)]

mod destroy;
mod error;
mod fork;
mod fresh;
mod generate;
mod health;
mod init_token;
mod keystore;
mod locate;
mod object;
mod repair;
mod request;
mod wallets;

pub use error::Error;
pub use health::{Finding, KeyHealth, KeyState, KeyWithState, VerifyOptions};
pub use holdfast_mapping_db::{
    KeyId, KeyRecord, Leftover, LeftoverId, LeftoverReason, Location, ObjectClass, ObjectFilter, ObjectId,
    ObjectRecord, Origin, Recovery, StoreError, WalletId, WalletRecord,
};
pub use init_token::PendingInitToken;
pub use keystore::{Keystore, Placement, Settings, StepObserver};
pub use object::{Object, ObjectChange};
pub use request::{CreatedWallet, GenerateRequest, GeneratedPair, NewObject, NewWallet, WalletRecovery};
