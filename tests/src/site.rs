//! A host with a device, a token, and Holdfast configured over both.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, ensure};
use tempfile::TempDir;

use crate::artefacts::Artefacts;
use crate::client::Client;
use crate::device::Device;
use crate::run::{Finished, run};
use crate::token::{self, Token};

/// Which module a client loads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Module {
    /// Ours, over the backend: SoftHSM2, unless the site has another.
    Holdfast,
    /// The backend itself, on the same token.
    Bare,
}

/// A site. It lives in one temporary directory, which goes with it.
#[derive(Debug)]
pub struct Site {
    root: TempDir,
    artefacts: Artefacts,
    device: Device,
    token: Token,
    backend: Backend,
}

/// A PKCS#11 module, and the environment variable that tells it of its tokens.
#[derive(Clone, Debug)]
pub struct Backend {
    /// The module's file.
    pub module: PathBuf,
    /// The variable's name and value.
    pub variable: (&'static str, OsString),
}

/// How a site differs from the usual one.
#[derive(Clone, Debug, Default)]
pub struct SiteBuilder {
    backend: Option<Backend>,
    account: Option<String>,
    device: Vec<String>,
    settings: Vec<(String, String, String)>,
}

impl SiteBuilder {
    /// The device's firmware; the affected one, without this.
    #[must_use]
    pub fn firmware(self, firmware: &str) -> Self {
        self.device_option("--firmware", firmware)
    }

    /// An option of `holdfast-emulator create`.
    #[must_use]
    pub fn device_option(mut self, name: &str, value: &str) -> Self {
        self.device.extend([name.to_owned(), value.to_owned()]);
        self
    }

    /// Another backend than SoftHSM2, on a token that the caller made. The SoftHSM2 token is there, unused.
    #[must_use]
    pub fn backend(mut self, backend: Backend) -> Self {
        self.backend = Some(backend);
        self
    }

    /// A value of the configuration file, as TOML writes it.
    #[must_use]
    pub fn set(mut self, section: &str, key: &str, value: &str) -> Self {
        self.settings.retain(|(s, k, _)| s != section || k != key);
        self.settings.push((section.to_owned(), key.to_owned(), value.to_owned()));
        self
    }

    /// Lets another account use the site: it may read the store, and talk to the device, and it owns the token's
    /// files. Whoever builds the site generates. Only root can build such a site.
    #[must_use]
    pub fn shared_with(mut self, account: &str) -> Self {
        self.account = Some(account.to_owned());
        self
    }

    /// Makes the site: device, token, configuration file. There is no store yet.
    ///
    /// # Errors
    /// When the product does not build, or a tool fails.
    pub fn build(self) -> Result<Site> {
        let mut artefacts = Artefacts::build()?;
        let root = tempfile::Builder::new().prefix("holdfast-test-").tempdir()?;
        if self.account.is_some() {
            // The working copy may lie where other accounts cannot go.
            artefacts = artefacts.install(&root.path().join("lib"))?;
        }
        self.build_in(root, artefacts)
    }

    /// The same in a given directory, with given programs.
    ///
    /// # Errors
    /// As [`Self::build`].
    pub fn build_in(mut self, root: TempDir, artefacts: Artefacts) -> Result<Site> {
        if let Some(account) = self.account.clone() {
            std::fs::set_permissions(root.path(), std::fs::Permissions::from_mode(0o755))?;
            let group = run(Command::new("id").args(["-gn", &account]))?.success()?.stdout.trim().to_owned();
            self = self.set("mapping", "group", &format!("{group:?}")).set("mapping", "mode", "\"0640\"");
            self = self.device_option("--mode", "666");
        }
        let options: Vec<&str> = self.device.iter().map(String::as_str).collect();
        let device = Device::create(&artefacts, &root.path().join("device"), &options)?;
        let token = Token::create(root.path())?;
        if let Some(account) = &self.account {
            // SoftHSM2 keeps its files readable for their owner only, and rewrites one at each login.
            run(Command::new("chown").args(["-R", account]).arg(token.directory()))?.success()?;
        }
        let softhsm = ("SOFTHSM2_CONF", token.configuration().into());
        let backend = self.backend.unwrap_or(Backend { module: token::SOFTHSM.into(), variable: softhsm });
        let site = Site { root, artefacts, device, token, backend };
        site.write_configuration(&self.settings)?;
        Ok(site)
    }
}

impl Site {
    /// An affected SCM and one token.
    ///
    /// # Errors
    /// As [`SiteBuilder::build`].
    pub fn new() -> Result<Self> {
        SiteBuilder::default().build()
    }

    /// A site that differs.
    pub fn builder() -> SiteBuilder {
        SiteBuilder::default()
    }

    fn write_configuration(&self, settings: &[(String, String, String)]) -> Result<()> {
        let quoted = |path: PathBuf| format!("{:?}", path.display().to_string());
        let mut values = vec![
            ("backend", "module", quoted(self.backend.module.clone())),
            ("device", "library", quoted(self.artefacts.device_library())),
            ("mapping", "database", quoted(self.database())),
            ("mapping", "group", "\"\"".to_owned()),
            ("log", "level", "\"info\"".to_owned()),
            ("log", "target", quoted(self.log_file())),
        ];
        for (section, key, value) in settings {
            values.retain(|(s, k, _)| s != section || k != key);
            values.push((section, key, value.clone()));
        }
        let mut text = String::new();
        for section in ["backend", "device", "mapping", "log"] {
            writeln!(text, "[{section}]")?;
            for (_, key, value) in values.iter().filter(|(s, ..)| *s == section) {
                writeln!(text, "{key} = {value}")?;
            }
        }
        std::fs::write(self.configuration(), text)?;
        Ok(())
    }

    /// Writes the configuration file anew, with these values (section, key, TOML) instead of the usual ones.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn configure(&self, settings: &[(&str, &str, &str)]) -> Result<()> {
        let owned: Vec<_> =
            settings.iter().map(|(s, k, v)| ((*s).to_owned(), (*k).to_owned(), (*v).to_owned())).collect();
        self.write_configuration(&owned)
    }

    /// The temporary directory that everything is in.
    pub fn root(&self) -> &Path {
        self.root.path()
    }

    /// The device.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The backend's tokens.
    pub fn token(&self) -> &Token {
        &self.token
    }

    /// The programs and libraries under test.
    pub fn artefacts(&self) -> &Artefacts {
        &self.artefacts
    }

    /// The configuration file.
    pub fn configuration(&self) -> PathBuf {
        self.root().join("holdfast.toml")
    }

    /// The store's file.
    pub fn database(&self) -> PathBuf {
        self.root().join("store").join("mapping.db")
    }

    /// The file that module and command line log to.
    pub fn log_file(&self) -> PathBuf {
        self.root().join("holdfast.log")
    }

    /// What was logged so far.
    ///
    /// # Errors
    /// When the file is there and cannot be read.
    pub fn log(&self) -> Result<String> {
        match std::fs::read(self.log_file()) {
            Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
            Err(error) => Err(error.into()),
        }
    }

    /// Forgets what was logged so far.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn clear_log(&self) -> Result<()> {
        if self.log_file().exists() {
            std::fs::write(self.log_file(), "")?;
        }
        Ok(())
    }

    /// The path of a module.
    pub fn module(&self, module: Module) -> PathBuf {
        match module {
            Module::Holdfast => self.artefacts.module(),
            Module::Bare => self.backend.module.clone(),
        }
    }

    /// The environment that clients of this site need.
    pub fn environment(&self) -> Vec<(&'static str, OsString)> {
        vec![
            ("HOLDFAST_CONFIG", self.configuration().into()),
            ("HOLDFAST_EMULATOR_STATE", self.device.state().into()),
            self.backend.variable.clone(),
        ]
    }

    /// A command with the environment of this site, and nothing of ours from elsewhere.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("HOLDFAST_") {
                command.env_remove(name);
            }
        }
        command.envs(self.environment()).env("LC_ALL", "C.UTF-8").env_remove("OPENSSL_CONF");
        command
    }

    /// `holdfast` with these arguments, not run yet.
    pub fn holdfast_command(&self, arguments: &[&str]) -> Command {
        let mut command = self.command(self.artefacts.holdfast());
        command.args(arguments);
        command
    }

    /// Runs `holdfast` with these arguments.
    ///
    /// # Errors
    /// When it cannot be run.
    pub fn holdfast(&self, arguments: &[&str]) -> Result<Finished> {
        run(&mut self.holdfast_command(arguments))
    }

    /// Runs `pkcs11-tool`, logged in, with these arguments.
    ///
    /// # Errors
    /// When it cannot be run.
    pub fn pkcs11_tool(&self, module: Module, arguments: &[&str]) -> Result<Finished> {
        run(&mut self.pkcs11_tool_command(module, arguments))
    }

    /// `pkcs11-tool`, logged in, not run yet. The PIN comes from the environment.
    pub fn pkcs11_tool_command(&self, module: Module, arguments: &[&str]) -> Command {
        let mut command = self.command("pkcs11-tool");
        command.env("HARNESS_PIN", token::PIN).arg("--module").arg(self.module(module));
        command.args(["--token-label", token::LABEL, "--login", "--pin", "env:HARNESS_PIN"]).args(arguments);
        command
    }

    /// A client in a process of its own, logged in.
    ///
    /// # Errors
    /// When it cannot be started, or the module refuses.
    pub fn client(&self) -> Result<Client> {
        let mut client = self.anonymous_client(Module::Holdfast)?;
        client.login(token::PIN)?;
        Ok(client)
    }

    /// A client in a process of its own, with a session open and nobody logged in.
    ///
    /// # Errors
    /// When it cannot be started, or the module refuses.
    pub fn anonymous_client(&self, module: Module) -> Result<Client> {
        let mut command = self.command(self.artefacts.helper("pkcs11-client"));
        Client::start(command.arg(self.module(module)).arg(token::LABEL))
    }

    /// A digest of every file of the device's key store and of the store: equal means that nothing changed.
    ///
    /// # Errors
    /// When the device cannot be asked.
    pub fn contents(&self) -> Result<Contents> {
        let store = match std::fs::read(self.database()) {
            Ok(bytes) => Some(crate::hex(&<sha2::Sha256 as sha2::Digest>::digest(bytes))),
            Err(_) => None,
        };
        Ok(Contents { slots: self.device.slots()?, store })
    }

    /// The log's lines that contain a text.
    ///
    /// # Errors
    /// When there are none: with all of the log.
    pub fn logged(&self, text: &str) -> Result<Vec<String>> {
        let log = self.log()?;
        let lines: Vec<_> = log.lines().filter(|line| line.contains(text)).map(ToOwned::to_owned).collect();
        ensure!(!lines.is_empty(), "nothing about {text:?} in the log:\n{log}");
        Ok(lines)
    }
}

/// What a site's device and store hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contents {
    slots: Vec<crate::device::Slot>,
    store: Option<String>,
}

/// Writes a file that only its owner can read.
///
/// # Errors
/// What the operating system says.
pub fn write_private(path: &Path, text: &str) -> Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut file = std::fs::File::options().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    Ok(file.write_all(text.as_bytes())?)
}
