//! The PKCS#11 module: forwards to a backend module, and answers itself for the keys that live in wallets on the
//! device.
//!
//! ```text
//! client -> abi -> route -+- Forward -> backend.rs ----------> backend module
//!                         +- Mapped  -> session and object tables -> keystore
//! client <- CK_RV <- error.rs <- Result<(), Error>
//! ```
#![deny(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::unreachable)
)]

pub mod abi;
pub mod alias;
pub mod backend;
pub mod config;
pub mod error;
pub mod lifecycle;
pub mod log;
pub mod mapped;
pub mod route;
pub mod version;
