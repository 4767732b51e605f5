//! Why a verb could not do its work, and the exit code for it.

use std::fmt;

use holdfast_config::ConfigError;
use holdfast_device::DeviceError;
use holdfast_keystore::{Error as KeystoreError, StoreError};
use serde_json::{Value, json};

/// The exit codes, the same for every verb.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exit {
    /// All is well, or the work was done before.
    Fine,
    /// Something is wrong with a key, a wallet or the device.
    Finding,
    /// The command or the configuration is wrong.
    Usage,
    /// The device, the store or the backend could not be reached.
    Unreachable,
}

impl Exit {
    /// The number.
    pub const fn code(self) -> u8 {
        match self {
            Exit::Fine => 0,
            Exit::Finding => 1,
            Exit::Usage => 2,
            Exit::Unreachable => 3,
        }
    }
}

/// A verb's failure: what, where, and what to do next.
#[derive(Debug)]
pub struct Failure {
    /// The exit code.
    pub exit: Exit,
    /// The message, without a full stop at its end.
    pub message: String,
    /// What the command could have meant: one line of text each, and the same as JSON.
    pub candidates: Vec<(String, Value)>,
}

impl Failure {
    /// The command or the configuration is wrong.
    pub fn usage(message: impl Into<String>) -> Self {
        Self { exit: Exit::Usage, message: message.into(), candidates: Vec::new() }
    }

    /// Something is wrong that is no mistake of the user's.
    pub fn finding(message: impl Into<String>) -> Self {
        Self { exit: Exit::Finding, message: message.into(), candidates: Vec::new() }
    }

    /// Device, store or backend could not be reached.
    pub fn unreachable(message: impl Into<String>) -> Self {
        Self { exit: Exit::Unreachable, message: message.into(), candidates: Vec::new() }
    }

    /// The same with what could have been meant.
    pub fn with_candidates(mut self, candidates: Vec<(String, Value)>) -> Self {
        self.candidates = candidates;
        self
    }

    /// As one JSON object, `{"error": {...}}`.
    pub fn to_json(&self) -> Value {
        let candidates: Vec<_> = self.candidates.iter().map(|(_, json)| json).collect();
        json!({ "error": { "message": self.message, "exit": self.exit.code(), "candidates": candidates } })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::usage(error.to_string())
    }
}

impl From<DeviceError> for Failure {
    fn from(error: DeviceError) -> Self {
        Self { exit: device_exit(&error), message: error.to_string(), candidates: Vec::new() }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self { exit: store_exit(&error), message: error.to_string(), candidates: Vec::new() }
    }
}

impl From<KeystoreError> for Failure {
    fn from(error: KeystoreError) -> Self {
        Self { exit: keystore_exit(&error), message: error.to_string(), candidates: Vec::new() }
    }
}

/// The exit code for a failure of the device.
pub fn device_exit(error: &DeviceError) -> Exit {
    match error {
        DeviceError::Library { .. } | DeviceError::Unreachable { .. } => Exit::Unreachable,
        DeviceError::InvalidArgument { .. } => Exit::Usage,
        // It answered: with a refusal, or with nonsense.
        DeviceError::Refused { .. } | DeviceError::InvalidReply { .. } => Exit::Finding,
    }
}

/// The exit code for a failure of the store.
pub fn store_exit(error: &StoreError) -> Exit {
    match error {
        StoreError::Conflict { .. } => Exit::Finding,
        _ => Exit::Unreachable,
    }
}

/// The exit code for a failure of the keystore.
pub fn keystore_exit(error: &KeystoreError) -> Exit {
    match error {
        KeystoreError::Device(error) => device_exit(error),
        KeystoreError::Store(error) => store_exit(error),
        KeystoreError::NoWallet { .. }
        | KeystoreError::WalletUnconfirmed { .. }
        | KeystoreError::Unsupported(_)
        | KeystoreError::AttributeTooLong { .. }
        | KeystoreError::NoSuchKey(_)
        | KeystoreError::NoSuchObject(_)
        | KeystoreError::NoSuchWallet(_) => Exit::Usage,
        _ => Exit::Finding,
    }
}
