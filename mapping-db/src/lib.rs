//! The store of mapped keys: one SQLite file, shared by every process that uses Holdfast on a host.
//!
//! This crate knows rows, transactions, permissions and the liveness of owners. It knows no device and no PKCS#11
//! type; which steps make up a generation or a destruction, and in which order they are written, is the keystore's
//! business (crate `holdfast-keystore`).
//!
//! * [`Location`] says where the store is and who may use it; [`Store::open`] and [`Store::open_or_create`] check both.
//! * [`Store::write`] runs a closure in one immediate transaction, durable when it returns.
//! * No secret is ever stored: no PIN, no words, no private key.
#![forbid(unsafe_code)]

mod codec;
mod error;
mod filter;
mod hot_journal;
mod location;
mod owner;
mod read;
mod rows;
mod schema;
mod store;
mod write;

pub use error::StoreError;
pub use filter::ObjectFilter;
pub use hot_journal::forget_after_fork;
pub use location::Location;
pub use owner::OwnerId;
pub use read::Rows;
pub use rows::{
    Intent, IntentId, IntentKind, KeyId, KeyRecord, Leftover, LeftoverId, LeftoverReason, NewIntent, NewKey,
    NewLeftover, NewObjectRow, NewWallet, ObjectClass, ObjectId, ObjectRecord, Origin, Recovery, WalletId,
    WalletRecord,
};
pub use store::Store;
pub use write::WriteTx;
