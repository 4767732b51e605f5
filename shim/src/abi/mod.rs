//! The C side: entry points, one file per chapter of the specification, and what reads their raw arguments.
#![allow(unsafe_code, reason = "the boundary to C; every block says why it is sound")]

pub mod args;
pub mod calls;
pub mod entry;
pub mod exit;
pub mod fork;
pub mod gate;
pub mod handles;
pub mod kept;
pub mod mechanism;
pub mod tables;

pub mod digest;
pub mod dual;
pub mod encryption;
pub mod general;
pub mod keys;
pub mod message;
pub mod object;
pub mod parallel;
pub mod random;
pub mod session;
pub mod signing;
pub mod slot;
