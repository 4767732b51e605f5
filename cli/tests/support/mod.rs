//! A device, a token and a store of their own for every test: an emulated SCM, SoftHSM2, and temporary directories.
#![allow(dead_code)]

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use serde_json::Value;
use tempfile::TempDir;

/// The user PIN of the token.
pub const PIN: &str = "483920";

/// Everything one test needs. Gone when dropped.
pub struct World {
    directory: TempDir,
}

/// What a command said.
pub struct Said {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
    pub bytes: Vec<u8>,
}

impl Said {
    fn of(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            bytes: output.stdout,
        }
    }

    /// Fails the test unless the exit code is this.
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        self
    }

    /// Standard output as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {}{}", self.stdout, self.stderr))
    }

    /// The error object that `--json` puts on the last line of standard error.
    #[track_caller]
    pub fn error(&self) -> Value {
        assert_eq!(self.stdout, "", "an error leaves standard output empty");
        let line = self.stderr.lines().last().unwrap_or_default();
        let json: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {}", self.stderr));
        assert_eq!(json["error"]["exit"], self.code);
        json["error"].clone()
    }
}

impl World {
    /// An affected SCM, a token `demo`, no store yet.
    pub fn new() -> Self {
        let world = Self::without_device();
        world.emulator(&["create"]);
        world.token("demo");
        world
    }

    /// No device and no token yet.
    pub fn without_device() -> Self {
        let world = Self { directory: tempfile::tempdir().unwrap() };
        for name in ["tokens", "store", "bin"] {
            fs::create_dir(world.path(name)).unwrap();
        }
        let tokens = world.path("tokens");
        let conf =
            format!("directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\n", tokens.display());
        fs::write(world.path("softhsm2.conf"), conf).unwrap();
        fs::write(world.path("pin"), format!("{PIN}\n")).unwrap();
        world.configure("");
        world
    }

    /// Writes the configuration, `extra` at its end, in `[mapping]`.
    pub fn configure(&self, extra: &str) {
        let text = format!(
            "[backend]\nmodule = {:?}\n[device]\nlibrary = {:?}\nopen-timeout-ms = 200\nretry-interval-ms = 50\n\
             [mapping]\ndatabase = {:?}\ngroup = \"\"\nmode = \"0600\"\n{extra}\n",
            softhsm(),
            artefact("libzk_app_utils.so"),
            self.path("store/mapping.db"),
        );
        fs::write(self.path("holdfast.toml"), text).unwrap();
    }

    /// A path in the test's directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Writes a file in the test's directory.
    pub fn write(&self, name: &str, contents: &str) -> PathBuf {
        fs::write(self.path(name), contents).unwrap();
        self.path(name)
    }

    /// Any program, in the test's directory and with nothing else in its environment.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(self.directory.path())
            .env_clear()
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .env("SOFTHSM2_CONF", self.path("softhsm2.conf"))
            .env("HOLDFAST_CONFIG", self.path("holdfast.toml"))
            .env("HOLDFAST_EMULATOR_STATE", self.path("device"))
            .stdin(Stdio::null());
        command
    }

    /// The binary under test.
    pub fn holdfast(&self, arguments: &[&str]) -> Command {
        let mut command = self.command(env!("CARGO_BIN_EXE_holdfast"));
        command.args(arguments);
        command
    }

    /// Runs the binary under test, `--non-interactive`.
    pub fn run(&self, arguments: &[&str]) -> Said {
        Said::of(self.holdfast(arguments).arg("--non-interactive").output().unwrap())
    }

    /// Runs it with `--json` and expects it to be fine.
    #[track_caller]
    pub fn json(&self, arguments: &[&str]) -> Value {
        let mut arguments = arguments.to_vec();
        arguments.push("--json");
        self.run(&arguments).expect(0).json()
    }

    /// Runs a command that is no subject of the test and must work; answers its standard output.
    #[track_caller]
    pub fn tool(&self, program: &str, arguments: &[&str]) -> String {
        let output = self.command(program).args(arguments).output();
        let said =
            Said::of(output.unwrap_or_else(|error| panic!("{program}: {error}; `cargo xtask test` installs it")));
        said.expect(0).stdout
    }

    /// Controls the emulated device.
    #[track_caller]
    pub fn emulator(&self, arguments: &[&str]) -> String {
        let program = artefact("holdfast-emulator");
        Said::of(self.command(program).args(arguments).output().unwrap()).expect(0).stdout
    }

    /// How many slots of the device hold a key, by its own word.
    pub fn used_slots(&self) -> u64 {
        self.json(&["status"])["device"]["slots"]["used"].as_u64().unwrap()
    }

    /// Makes a token.
    pub fn token(&self, label: &str) {
        self.tool("softhsm2-util", &["--init-token", "--free", "--label", label, "--pin", PIN, "--so-pin", PIN]);
    }

    /// Makes a key and answers its JSON.
    #[track_caller]
    pub fn generate(&self, label: &str, more: &[&str]) -> Value {
        let arguments = [["generate", "--token", "demo", "--label", label].as_slice(), more].concat();
        let json = self.json(&arguments);
        assert_eq!(json["changed"], true);
        json["key"].clone()
    }
}

/// The PKCS#11 module of SoftHSM2.
pub fn softhsm() -> PathBuf {
    let places = ["/usr/lib/softhsm/libsofthsm2.so", "/usr/lib/pkcs11/libsofthsm2.so"];
    let found = places.iter().map(Path::new).find(|path| path.exists());
    found.expect("softhsm2 is not installed; `cargo xtask test` does that").to_owned()
}

/// A file that another member of the workspace builds, from the directory of the binary under test.
pub fn artefact(name: &str) -> PathBuf {
    static BUILT: OnceLock<()> = OnceLock::new();
    let directory = Path::new(env!("CARGO_BIN_EXE_holdfast")).parent().unwrap();
    let path = directory.join(name);
    if !path.exists() {
        BUILT.get_or_init(|| {
            let mut cargo = Command::new(env!("CARGO"));
            cargo
                .args(["build", "--quiet", "--package", "holdfast-emulator"])
                .env("CARGO_TARGET_DIR", directory.parent().unwrap());
            if directory.ends_with("release") {
                cargo.arg("--release");
            }
            assert!(cargo.current_dir(env!("CARGO_MANIFEST_DIR")).status().unwrap().success());
        });
    }
    assert!(path.exists(), "{} is missing", path.display());
    path
}

/// Words for messages: the strings of a JSON array.
pub fn strings(array: &Value) -> Vec<&str> {
    array.as_array().unwrap().iter().map(|value| value.as_str().unwrap()).collect()
}

/// The command at a terminal of its own, by `script`, which every Debian has.
pub struct Dialogue {
    child: std::process::Child,
}

impl Dialogue {
    /// Starts it.
    pub fn start(world: &World, arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        let quoted: Vec<String> = std::iter::once(env!("CARGO_BIN_EXE_holdfast"))
            .chain(arguments.iter().copied())
            .map(|word| format!("'{word}'"))
            .collect();
        // A dialogue that waits for an answer which never comes ends the test, not the day.
        let mut command = world.command("timeout");
        command.args([
            "--foreground",
            "60",
            "script",
            "--quiet",
            "--return",
            "--echo",
            "never",
            "--command",
            &quoted.join(" "),
            "/dev/null",
        ]);
        command.envs(variables.iter().copied());
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        Self { child }
    }

    /// Reads on until the screen shows `text`; answers what came since the last time.
    pub fn until(&mut self, text: &str) -> String {
        let mut news = Vec::new();
        let mut byte = [0];
        while !String::from_utf8_lossy(&news).contains(text) {
            let read = self.child.stdout.as_mut().unwrap().read(&mut byte).unwrap();
            assert_ne!(read, 0, "ended before {text:?}: {}", String::from_utf8_lossy(&news));
            news.push(byte[0]);
        }
        String::from_utf8_lossy(&news).into_owned()
    }

    /// Types a line.
    pub fn answer(&mut self, text: &str) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{text}").unwrap();
    }

    /// Leaves the terminal.
    pub fn hang_up(&mut self) {
        drop(self.child.stdin.take());
    }

    /// Waits for the end; answers the exit code and what came since.
    pub fn end(mut self) -> (i32, String) {
        let mut rest = String::new();
        self.child.stdout.as_mut().unwrap().read_to_string(&mut rest).unwrap();
        (self.child.wait().unwrap().code().unwrap(), rest)
    }
}
