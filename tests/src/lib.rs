//! The harness of the end-to-end tests and of `cargo xtask demo`: an emulated device, a SoftHSM2 token, a
//! configuration over both, and real clients in processes of their own.
//!
//! Everything lives in one temporary directory per [`Site`], so tests run twice and in parallel. Nothing here changes
//! the environment of the process it runs in: modules and device are told by the environment of child processes.

pub mod artefacts;
pub mod client;
pub mod daemon;
pub mod device;
pub mod nginx;
pub mod openssl_engine;
pub mod random;
pub mod replay;
pub mod run;
pub mod site;
pub mod ssh;
pub mod token;

pub use artefacts::Artefacts;
pub use client::Client;
pub use daemon::Daemon;
pub use device::Device;
pub use run::{Finished, run};
pub use site::{Module, Site, SiteBuilder};
pub use token::Token;

/// Bytes as lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The bytes that hexadecimal digits stand for.
///
/// # Errors
/// When there is an odd number of them, or another character.
pub fn unhex(text: &str) -> anyhow::Result<Vec<u8>> {
    anyhow::ensure!(text.len().is_multiple_of(2) && text.is_ascii(), "{text:?} is not hexadecimal");
    (0..text.len() / 2).map(|at| Ok(u8::from_str_radix(&text[2 * at..2 * at + 2], 16)?)).collect()
}
