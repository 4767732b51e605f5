//! The C ABI of zk_app_utils.h: reads arguments, asks the device, writes results. One file per part of the header.
//!
//! Everything unsafe of this crate is here. Each function is safe to call with any context and with NULL for any
//! pointer; what a pointer points to must be what the header says, which is the caller's promise.

mod args;
mod call;
mod context;
mod contexts;
mod data;
mod ecdh;
mod ecdsa;
mod keystore;
mod module_info;
mod peripherals;
mod wallet;

/// The names of every exported call, as `fault` and `latency` know them.
pub fn call_names() -> impl Iterator<Item = &'static str> {
    [
        context::NAMES,
        data::NAMES,
        ecdh::NAMES,
        ecdsa::NAMES,
        keystore::NAMES,
        module_info::NAMES,
        peripherals::NAMES,
        peripherals::WAITING,
        wallet::NAMES,
    ]
    .into_iter()
    .flatten()
    .copied()
}
