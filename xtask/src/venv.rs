//! A Python environment with the vendor's client, unmodified from PyPI.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use holdfast_tests::run;

/// The vendor's client. It needs `distutils`, which newer versions of setuptools no longer bring along.
const REQUIREMENTS: [&str; 2] = ["setuptools<81", "zku==1.0.33"];

/// A virtual environment below `target`, kept from run to run.
pub struct Venv {
    directory: PathBuf,
}

impl Venv {
    /// The environment, made or completed now.
    pub fn prepare() -> Result<Self> {
        let program = std::env::current_exe()?;
        let target = program.parent().and_then(Path::parent).context("xtask is run from cargo's target directory")?;
        let venv = Self { directory: target.join("xtask").join("python") };
        let complete = venv.directory.join("complete");
        let wanted = REQUIREMENTS.join("\n");
        if fs::read_to_string(&complete).is_ok_and(|found| found == wanted) {
            return Ok(venv);
        }
        fs::create_dir_all(&venv.directory)?;
        run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&venv.directory))?.success()?;
        let mut pip = Command::new(venv.python());
        run(pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]).args(REQUIREMENTS))?
            .success()?;
        fs::write(complete, wanted)?;
        Ok(venv)
    }

    /// The interpreter.
    pub fn python(&self) -> PathBuf {
        self.directory.join("bin").join("python")
    }

    /// Puts a device library where the vendor's client looks first: below the interpreter's own library directory.
    pub fn use_library(&self, library: &Path) -> Result<()> {
        let ask = "import sysconfig; print(sysconfig.get_path('purelib'))";
        let packages = run(Command::new(self.python()).args(["-c", ask]))?.success()?;
        let directory = Path::new(packages.stdout.trim()).join("usr").join("lib");
        fs::create_dir_all(&directory)?;
        // Renamed into place: another run may have the old one loaded.
        let next = directory.join(format!("next-{}", std::process::id()));
        fs::copy(library, &next)?;
        Ok(fs::rename(next, directory.join("libzk_app_utils.so"))?)
    }
}
