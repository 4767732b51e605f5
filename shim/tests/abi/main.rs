//! The module through its C ABI, as clients meet it: loaded with dlopen, in front of SoftHSM2 and of backends that are
//! wrong on purpose. State is global in a process, so every scenario runs in a process of its own.
#![allow(
    clippy::undocumented_unsafe_blocks,
    reason = "every call through the C ABI is unsafe, and many are wrong on purpose"
)]

mod defective;
mod exports;
mod fixture;
mod fork;
mod hostile;
mod interfaces;
mod lifecycle;
mod mapped;
mod mechanisms;
mod sharing;
