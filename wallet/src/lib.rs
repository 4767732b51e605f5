//! The published standards for deterministic keys - BIP32, SLIP-0010, BIP39, SLIP39 - and the words that the
//! rest of Holdfast uses for keys: [`Curve`], [`ChildNumber`], [`DerivationPath`], [`PublicKey`].
//!
//! Nothing here knows a device or a store.
#![forbid(unsafe_code)]

pub mod bip39;
pub mod hd;
pub mod slip39;

mod curve;
mod path;
mod public_key;
mod tables;

pub use curve::{Curve, UnknownCurve};
pub use path::{ChildNumber, DerivationPath, PathError};
pub use public_key::{PublicKey, PublicKeyError};
pub use tables::{TablesAtRest, prepare_tables, tables_at_rest};
