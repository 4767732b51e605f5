//! An emulated Zymbit Secure Compute Module behind the C ABI of the vendor's `libzk_app_utils.so`.
//!
//! Built as that library, it is what clients of the device load: the vendor's Python client, Holdfast itself. The
//! `holdfast-emulator` command makes devices and controls them from outside. It is for tests, demonstrations and
//! development, and says so whenever it is opened: the keys lie in a file.

pub mod abi;
pub mod admin;
pub mod behaviour;
mod derive;
pub mod device;
pub mod error;
pub mod hex;
pub mod keys;
mod lock_data;
mod passphrase;
pub mod peripherals;
pub mod slip39_session;
pub mod state;
pub mod store;
pub mod wallets;

pub use error::{Error, Result};
