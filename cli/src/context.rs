//! What every verb starts from: the options of all verbs, the configuration, and the keystore over it.

use std::path::{Path, PathBuf};

use clap::Args;
use holdfast_config::Config;
use holdfast_keystore::Keystore;

use crate::backend::{Backend, Token};
use crate::failure::Failure;
use crate::log;

/// Options that every verb takes.
#[derive(Clone, Debug, Args)]
pub struct Global {
    /// Configuration file [default: $HOLDFAST_CONFIG, else /etc/holdfast/holdfast.toml]
    #[arg(long, global = true, value_name = "FILE", display_order = 100)]
    config: Option<PathBuf>,
    /// Print one JSON object instead of text
    #[arg(long, global = true, display_order = 101)]
    json: bool,
    /// Never ask anything: fail where a question would be needed
    #[arg(long, global = true, display_order = 102)]
    non_interactive: bool,
}

/// The options and the environment of this run.
#[derive(Debug)]
pub struct Context {
    global: Global,
}

impl Context {
    /// From the parsed options.
    pub fn new(global: Global) -> Self {
        Self { global }
    }

    /// Whether to print JSON.
    pub fn json(&self) -> bool {
        self.global.json
    }

    /// Whether questions are forbidden.
    pub fn non_interactive(&self) -> bool {
        self.global.non_interactive
    }

    /// Loads the configuration and starts the log it asks for.
    pub fn config(&self) -> Result<Config, Failure> {
        let path = self.global.config.as_deref().map(std::path::absolute).transpose();
        let path = path.map_err(|error| Failure::usage(format!("--config: {error}")))?;
        let config = Config::from_path(path.as_deref())?;
        log::start(config.log.level, &config.log_problems);
        Ok(config)
    }
}

/// The keystore that the configuration describes. Opens neither device nor store.
pub fn keystore(config: &Config) -> Keystore {
    Keystore::configured(config)
}

/// The backend's token that `name` means, and the backend that has it.
pub fn token(config: &Config, name: &str) -> Result<(Backend, Token), Failure> {
    let backend = Backend::load(&config.backend.module)?;
    let token = backend.token(name)?;
    Ok((backend, token))
}

/// A path as people read it.
pub fn shown(path: &Path) -> String {
    path.display().to_string()
}
