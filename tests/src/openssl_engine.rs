//! OpenSSL with the `pkcs11` engine (libp11), which is what nginx, apache and curl use on Debian 12.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::site::{Module, Site};
use crate::token;

/// When the engine initialises the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// At the first use of a key: the `openssl` command.
    OnDemand,
    /// When the configuration is read: servers, which would otherwise find the engine uninitialised.
    AtOnce,
}

/// An OpenSSL configuration that loads a module through the engine.
#[derive(Clone, Debug)]
pub struct Engine {
    configuration: PathBuf,
    pin_file: PathBuf,
}

impl Engine {
    /// Writes the configuration and the file with the PIN into the site's directory.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn configure(site: &Site, module: Module, start: Start) -> Result<Self> {
        let name = match start {
            Start::OnDemand => "openssl.cnf",
            Start::AtOnce => "openssl-server.cnf",
        };
        let (configuration, pin_file) = (site.root().join(name), site.root().join("pin"));
        // Without MODULE_PATH the engine loads p11-kit's proxy, and with it every module of the host.
        let text = format!(
            "openssl_conf = openssl_init\n\n\
             [openssl_init]\nengines = engine_section\n\n\
             [engine_section]\npkcs11 = pkcs11_section\n\n\
             [pkcs11_section]\nengine_id = pkcs11\nMODULE_PATH = {}\ninit = {}\n\n\
             [req]\ndistinguished_name = subject\n[subject]\n",
            site.module(module).display(),
            u8::from(start == Start::AtOnce),
        );
        std::fs::write(&configuration, text)?;
        crate::site::write_private(&pin_file, token::PIN)?;
        Ok(Self { configuration, pin_file })
    }

    /// The configuration file.
    pub fn configuration(&self) -> &Path {
        &self.configuration
    }

    /// The file with the PIN, readable by its owner only.
    pub fn pin_file(&self) -> &Path {
        &self.pin_file
    }

    /// The RFC 7512 URI of the private key with a label; the PIN is in a file, which the URI names.
    pub fn key_uri(&self, label: &str) -> String {
        format!("pkcs11:token={};object={label};type=private;pin-source=file:{}", token::LABEL, self.pin_file.display())
    }

    /// `openssl` with this configuration.
    pub fn openssl(&self, site: &Site, arguments: &[&str]) -> Command {
        let mut command = site.command("openssl");
        command.env("OPENSSL_CONF", &self.configuration).args(arguments);
        command
    }

    /// `openssl req` that makes a self-signed certificate for `localhost`, signed by the key with a label.
    pub fn self_sign(&self, site: &Site, label: &str, certificate: &Path) -> Command {
        let uri = self.key_uri(label);
        let mut command = self.openssl(site, &["req", "-new", "-x509", "-sha256", "-days", "30"]);
        command.args(["-engine", "pkcs11", "-keyform", "engine", "-key", &uri, "-subj", "/CN=localhost"]);
        command.args(["-addext", "subjectAltName=DNS:localhost", "-out"]).arg(certificate);
        command
    }
}
