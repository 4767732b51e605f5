//! Holdfast's configuration: one TOML file, an environment override for every key of it, and where each value came
//! from.
//!
//! A bad value is an error that names file, line and key, and never falls back to a default; only in `[log]` it is
//! reported ([`Config::log_problems`]) and ignored, because logging must not stop a server from signing.
//!
//! [`check_trusted_file`] is the rule for files that decide what code runs: this file, and the libraries it names.
//! `Config` applies it to the configuration file; whoever loads a library applies it right before loading.
#![forbid(unsafe_code)]

mod environment;
mod error;
mod load;
mod reader;
mod trust;
mod values;

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use environment::Environment;
pub use error::ConfigError;
pub use load::DEFAULT_PATH;
pub use reader::{Origin, Setting, SettingValue};
pub use trust::{TrustError, check_trusted_file};
pub use values::{AutoCreateWallet, Level, LogTarget, Policy, SessionKeys, Strategy};

/// The effective configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// `[backend]`
    pub backend: Backend,
    /// `[device]`
    pub device: Device,
    /// `[mapping]`
    pub mapping: Mapping,
    /// `[log]`
    pub log: Log,
    /// What was wrong in `[log]` and therefore ignored, one sentence each; whoever sets up the log reports it there.
    pub log_problems: Vec<String>,
    /// The configuration file that was read; `None` when there is none and all values are defaults or overrides.
    pub file: Option<PathBuf>,
    settings: Vec<Setting>,
}

/// The PKCS#11 module we front.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    /// Absolute path of the module.
    pub module: PathBuf,
}

/// How the device is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Absolute path of the vendor's C library, or of the emulator's.
    pub library: PathBuf,
    /// How long one call may go on trying to open a device that does not answer.
    pub open_timeout: Duration,
    /// The least time between two attempts to open the device.
    pub retry_interval: Duration,
}

/// Where and how keys are mapped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// Absolute path of the store.
    pub database: PathBuf,
    /// The group that file and directory belong to; `None` leaves the group alone.
    pub group: Option<String>,
    /// Permission bits of the file: 0o600, 0o640 or 0o660.
    pub mode: u32,
    /// When an EC key generation is mapped.
    pub policy: Policy,
    /// How keys are spread over wallets.
    pub strategy: Strategy,
    /// Where EC session key pairs are made.
    pub session_keys: SessionKeys,
    /// Whether keys are hardened children of their wallet's master.
    pub hardened: bool,
    /// Keys per wallet before another is begun; `None`: no limit.
    pub wallet_capacity: Option<NonZeroU32>,
    /// What a generation does when the token has no wallet yet.
    pub auto_create_wallet: AutoCreateWallet,
}

/// What is logged, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// The least severe level that is logged.
    pub level: Level,
    /// Where log lines go.
    pub target: LogTarget,
}

impl Config {
    /// The configuration of this process: the file named by `HOLDFAST_CONFIG`, else [`DEFAULT_PATH`] if it exists,
    /// overridden by the environment. Privileged processes (`AT_SECURE`) ignore the environment.
    ///
    /// Fails when a named file is missing, the file could have been written by somebody else, or anything in it or
    /// in an override outside `[log]` is not what is allowed.
    pub fn load() -> Result<Self, ConfigError> {
        Self::load_from(&Environment::of_process(), None)
    }

    /// As [`Config::load`], from `path` instead of `HOLDFAST_CONFIG` and the default when it is given (the command
    /// line's `--config`). Environment overrides of single values apply in both cases.
    pub fn from_path(path: Option<&Path>) -> Result<Self, ConfigError> {
        Self::load_from(&Environment::of_process(), path)
    }

    /// As [`Config::from_path`], with the environment given.
    pub fn load_from(environment: &Environment, path: Option<&Path>) -> Result<Self, ConfigError> {
        load::load(environment, path, Path::new(DEFAULT_PATH))
    }

    /// The configuration that a file `path` with this text makes, without reading or checking any file.
    pub fn from_text(environment: &Environment, path: &Path, text: &str) -> Result<Self, ConfigError> {
        load::parse(environment, Some((path, text)))
    }

    /// Every value with its origin, in the order of the documentation; what `holdfast config show` prints.
    pub fn settings(&self) -> &[Setting] {
        &self.settings
    }

    /// Where the value of `name` (`"mapping.policy"`) came from; `None` when there is no such key.
    pub fn origin(&self, name: &str) -> Option<&Origin> {
        self.settings.iter().find(|setting| setting.name() == name).map(|setting| &setting.origin)
    }
}

impl Default for Config {
    /// The defaults alone, as with no file and no override.
    fn default() -> Self {
        load::defaults()
    }
}
