//! The vendor's own Python client, unmodified from PyPI, on the emulated device.
//!
//! The packages are installed once into a virtual environment under the target directory. That takes python3 with venv,
//! and PyPI; where they are missing these tests fail and say so.

mod common;

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use common::{TempDevice, library_path};

const REQUIREMENTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python/requirements.txt");
const OVERRIDES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python/overrides.txt");

/// Runs a command that must succeed; answers its standard output.
fn must(command: &mut Command, why: &str) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{why}: {command:?}: {error}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{why}: {command:?}\n{}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

/// The virtual environment's Python, made by the first test that needs it, of whichever process.
fn python() -> &'static Path {
    static PYTHON: OnceLock<PathBuf> = OnceLock::new();
    PYTHON.get_or_init(|| {
        let library = library_path();
        let place = library.parent().and_then(Path::parent).expect("target/<profile>/deps").join("vendor-client");
        fs::create_dir_all(&place).expect("the target directory can be written");
        let lock = File::create(place.join("lock")).expect("the target directory can be written");
        lock.lock().expect("the environment can be locked");
        let (venv, marker) = (place.join("venv"), place.join("installed"));
        let python = venv.join("bin/python");
        let wanted =
            [REQUIREMENTS, OVERRIDES].map(|file| fs::read_to_string(file).expect("a list of packages")).concat();
        if fs::read_to_string(&marker).ok().as_ref() != Some(&wanted) {
            let _ = fs::remove_dir_all(&venv);
            must(
                Command::new("python3").args(["-m", "venv"]).arg(&venv),
                "needs python3 with venv (Debian: python3-venv)",
            );
            let pip = |arguments: &[&str]| {
                let mut command = Command::new(&python);
                command.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]).args(arguments);
                must(&mut command, "needs PyPI");
            };
            pip(&["-r", REQUIREMENTS]);
            pip(&["--no-deps", "-r", OVERRIDES]);
            fs::write(&marker, wanted).expect("the target directory can be written");
        }
        // The client looks beside its own packages before it looks in /usr/lib.
        let packages = "import distutils.sysconfig; print(distutils.sysconfig.get_python_lib())";
        let packages = must(Command::new(&python).args(["-c", packages]), "needs distutils, which setuptools brings");
        let directory = Path::new(packages.trim()).join("usr/lib");
        fs::create_dir_all(&directory).expect("the environment can be written");
        let (link, new) = (directory.join("libzk_app_utils.so"), directory.join("new"));
        let _ = fs::remove_file(&new);
        symlink(&library, &new).expect("the environment can be written");
        fs::rename(&new, &link).expect("the environment can be written");
        python
    })
}

/// Runs one of the scripts in `tests/python` on a device of its own.
fn script(name: &str) {
    let device = TempDevice::new(&["--serial", "0A1B2C3D4E5F"]);
    let mut command = Command::new(python());
    command.arg("-W").arg("ignore").arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python").join(name));
    command.env("HOLDFAST_EMULATOR_STATE", device.path()).env("SERIAL", "0A1B2C3D4E5F");
    command
        .env("EMULATOR", env!("CARGO_BIN_EXE_holdfast-emulator"))
        .env("PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION", "python");
    must(&mut command, name);
}

#[test]
fn keys() {
    script("keys.py");
}

#[test]
fn ecdh() {
    script("ecdh.py");
}

#[test]
fn locked_data() {
    script("lock.py");
}

#[test]
fn wallet_tutorial() {
    script("wallet_tutorial.py");
}

#[test]
fn slip39_tutorial() {
    script("slip39_tutorial.py");
}

#[test]
fn oversight_tutorial() {
    script("oversight_tutorial.py");
}

#[test]
fn derived_keys_agree_with_bip_utils() {
    script("derivation.py");
}

#[test]
fn everything_else() {
    script("everything_else.py");
}

#[test]
fn wallet_sdk() {
    script("wallet_sdk.py");
}
