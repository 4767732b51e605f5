//! The programs and libraries under test, as cargo makes them.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context as _, Result, bail, ensure};

/// The packages whose programs and libraries end up in an installed system, and the emulated device.
pub const PRODUCT: [&str; 3] = ["holdfast-pkcs11", "holdfast", "holdfast-emulator"];

/// What the build makes, in one directory.
#[derive(Clone, Debug)]
pub struct Artefacts {
    directory: PathBuf,
}

impl Artefacts {
    /// Those of the profile that the running program was built with, built now unless they are up to date.
    ///
    /// `cargo test` builds libraries for the tests that link them, but leaves the shared ones of an earlier build where
    /// they are. So cargo is asked once per process.
    ///
    /// # Errors
    /// When the build fails.
    pub fn build() -> Result<Self> {
        static DIRECTORY: OnceLock<Result<PathBuf, String>> = OnceLock::new();
        let directory = DIRECTORY.get_or_init(|| {
            let directory = profile_directory().map_err(|error| format!("{error:#}"))?;
            let release = directory.ends_with("release");
            let output = build_command(release).output().map_err(|error| format!("cargo: {error}"))?;
            if output.status.success() { Ok(directory) } else { Err(String::from_utf8_lossy(&output.stderr).into()) }
        });
        match directory {
            Ok(directory) => Ok(Self { directory: directory.clone() }),
            Err(error) => bail!("the product does not build: {error}"),
        }
    }

    /// Those in a directory, which must hold them all.
    ///
    /// # Errors
    /// Names the first that is missing.
    pub fn in_directory(directory: impl Into<PathBuf>) -> Result<Self> {
        let artefacts = Self { directory: directory.into() };
        for path in artefacts.files() {
            ensure!(path.is_file(), "{} is missing: build the workspace", path.display());
        }
        Ok(artefacts)
    }

    /// Copies them to another directory, as an installation would: they then belong to the user of this process and
    /// can be read by everybody, wherever the working copy lies.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn install(&self, directory: &Path) -> Result<Self> {
        std::fs::create_dir_all(directory)?;
        for path in self.files() {
            let name = path.file_name().context("a file has a name")?;
            std::fs::copy(&path, directory.join(name)).with_context(|| path.display().to_string())?;
        }
        Self::in_directory(directory)
    }

    fn files(&self) -> [PathBuf; 4] {
        [self.module(), self.device_library(), self.holdfast(), self.emulator()]
    }

    /// The PKCS#11 module.
    pub fn module(&self) -> PathBuf {
        self.directory.join("libholdfast_pkcs11.so")
    }

    /// The emulated device's library.
    pub fn device_library(&self) -> PathBuf {
        self.directory.join("libzk_app_utils.so")
    }

    /// The command line.
    pub fn holdfast(&self) -> PathBuf {
        self.directory.join("holdfast")
    }

    /// What controls the emulated device.
    pub fn emulator(&self) -> PathBuf {
        self.directory.join("holdfast-emulator")
    }

    /// A program of the package of tests, which cargo builds before it runs them.
    pub fn helper(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }
}

/// The command that builds the product.
pub fn build_command(release: bool) -> Command {
    let mut command = cargo_build();
    command.args(PRODUCT.iter().flat_map(|package| ["--package", package]));
    if release {
        command.arg("--release");
    }
    command
}

/// `cargo build`, free of what cargo told the running program about its own package: that would make it build some
/// dependencies again.
pub fn cargo_build() -> Command {
    let mut command = Command::new("cargo");
    command.current_dir(workspace()).args(["build", "--quiet"]);
    for (name, _) in std::env::vars_os() {
        let own = name.to_str().is_some_and(|name| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_BIN_"));
        if own || name == "CARGO_MANIFEST_DIR" || name == "CARGO_MANIFEST_PATH" || name == "LD_LIBRARY_PATH" {
            command.env_remove(name);
        }
    }
    command
}

/// The directory of the workspace, as it was when this was built.
pub fn workspace() -> &'static Path {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package)
}

/// `target/debug` or `target/release`: a test's executable is in `deps` below it, a program directly in it.
fn profile_directory() -> Result<PathBuf> {
    let executable = std::env::current_exe()?;
    let mut directory = executable.parent().context("an executable is in a directory")?;
    if directory.ends_with("deps") {
        directory = directory.parent().context("deps is in a directory")?;
    }
    Ok(directory.to_owned())
}
