//! A SoftHSM2 token: the stand-in for zkpkcs11, which is built from SoftHSM2's source.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::run::{Finished, run};

/// SoftHSM2's module, as Debian installs it.
pub const SOFTHSM: &str = "/usr/lib/softhsm/libsofthsm2.so";
/// The label of a site's first token.
pub const LABEL: &str = "holdfast-test";
/// Its user PIN: long and unusual, so that a test can look for it in logs and files.
pub const PIN: &str = "user-pin-27182818";
/// Its security officer's PIN.
pub const SO_PIN: &str = "so-pin-31415926";

/// A directory of SoftHSM2 tokens and the file that names it.
#[derive(Clone, Debug)]
pub struct Token {
    directory: PathBuf,
    configuration: PathBuf,
}

impl Token {
    /// Makes a directory of tokens below `parent`, with one token in it.
    ///
    /// # Errors
    /// What `softhsm2-util` or the operating system says.
    pub fn create(parent: &Path) -> Result<Self> {
        let token = Self { directory: parent.join("tokens"), configuration: parent.join("softhsm2.conf") };
        std::fs::create_dir(&token.directory)?;
        let text = format!("directories.tokendir = {}\nlog.level = ERROR\n", token.directory.display());
        std::fs::write(&token.configuration, text)?;
        token.add(LABEL)?.success()?;
        Ok(token)
    }

    /// Makes another token with the same PINs.
    ///
    /// # Errors
    /// When `softhsm2-util` cannot be run.
    pub fn add(&self, label: &str) -> Result<Finished> {
        let mut command = Command::new("softhsm2-util");
        command.env("SOFTHSM2_CONF", &self.configuration).args(["--init-token", "--free", "--label", label]);
        run(command.args(["--pin", PIN, "--so-pin", SO_PIN]))
    }

    /// The value of `SOFTHSM2_CONF` that selects it.
    pub fn configuration(&self) -> &Path {
        &self.configuration
    }

    /// Where SoftHSM2 keeps it.
    pub fn directory(&self) -> &Path {
        &self.directory
    }
}
