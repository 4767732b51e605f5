use std::io;
use std::path::PathBuf;

use crate::{Origin, TrustError};

/// Why there is no configuration. Every message names what to change and where.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file was named, and is not there.
    #[error("the configuration file {} does not exist; {named_by} names it", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
        /// `HOLDFAST_CONFIG` or `--config`.
        named_by: &'static str,
    },
    /// `HOLDFAST_CONFIG` holds no absolute path. The working directory is the host's and may change.
    #[error("HOLDFAST_CONFIG is {found:?}; allowed: the absolute path of a configuration file, or leave it unset")]
    NotAbsolute {
        /// What it holds.
        found: String,
    },
    /// The file could have been written by somebody else than root or this user.
    #[error("the configuration file is not trusted: {0}")]
    Untrusted(#[from] TrustError),
    /// The file cannot be read.
    #[error("cannot read the configuration file {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is no TOML.
    #[error("{}, line {line}, column {column}: not valid TOML: {message}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// The column, counted from 1 in characters.
        column: usize,
        /// What the parser says.
        message: String,
    },
    /// The file has a section or key that we do not know.
    #[error("{}, line {line}: unknown {} {key}; allowed: {allowed}", path.display(), if *section { "section" } else { "key" })]
    Unknown {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// Whether it is a section, not a key.
        section: bool,
        /// The key as `section.key`, or `[section]`.
        key: String,
        /// What is known there.
        allowed: String,
    },
    /// A value that its key does not allow.
    #[error("{origin}: {key} is {found}; allowed: {allowed}")]
    Value {
        /// File and line, or the environment variable.
        origin: Origin,
        /// The key as `section.key`.
        key: String,
        /// The value as it stands there.
        found: String,
        /// What is allowed instead.
        allowed: String,
    },
}
