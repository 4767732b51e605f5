//! The log of the module. Never a global subscriber: the host's logging is the host's.

use std::fmt;

use crate::error::{Error, Severity};

/// Takes over level and target.
pub fn configure(_log: &holdfast_config::Log) {}

/// A failed call.
pub fn failure(function: &'static str, error: &Error) {
    match error.severity() {
        Severity::Operator => warn(format_args!("{function}: {error}")),
        Severity::Protocol => debug(format_args!("{function}: {error}")),
    }
}

/// A panic that the boundary caught.
pub fn panic(function: &'static str) {
    warn(format_args!("{function}: internal error; please report it"));
}

/// A warning.
pub fn warn(message: fmt::Arguments<'_>) {
    eprintln!("holdfast: {message}");
}

/// A detail.
pub fn debug(_message: fmt::Arguments<'_>) {}
