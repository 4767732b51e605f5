//! What the tests need.
#![allow(dead_code, reason = "each test binary uses its part")]

pub mod emulated;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use holdfast_device::{Device, DeviceConfig};

/// A directory that nobody else can write, whatever the umask.
pub fn directory() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    std::fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o755)).unwrap();
    directory
}

/// A library built of fake.c with these macros, each `NAME` or `NAME=value`.
pub struct Fake {
    directory: tempfile::TempDir,
}

impl Fake {
    pub fn new(macros: &[&str]) -> Self {
        let fake = Self { directory: directory() };
        let trace = format!("-DTRACE=\"{}\"", fake.trace_file().display());
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/common/fake.c");
        let output = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror"])
            .arg(trace)
            .args(macros.iter().map(|name| format!("-D{name}")))
            .arg("-o")
            .arg(fake.path())
            .arg(source)
            .output()
            .expect("a C compiler is installed as cc");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        std::fs::set_permissions(fake.path(), PermissionsExt::from_mode(0o755)).unwrap();
        fake
    }

    pub fn path(&self) -> PathBuf {
        self.directory.path().join("libzk_app_utils.so")
    }

    fn trace_file(&self) -> PathBuf {
        self.directory.path().join("trace")
    }

    /// The calls made so far.
    pub fn calls(&self) -> Vec<String> {
        self.calls_by_process().into_iter().map(|(_, call)| call).collect()
    }

    /// The calls made so far, with the processes that made them.
    pub fn calls_by_process(&self) -> Vec<(u32, String)> {
        let trace = std::fs::read_to_string(self.trace_file()).unwrap_or_default();
        let call = |line: &str| line.split_once(' ').map(|(process, call)| (process.parse().unwrap(), call.to_owned()));
        trace.lines().filter_map(call).collect()
    }

    pub fn count(&self, call: &str) -> usize {
        self.calls().iter().filter(|made| *made == call).count()
    }

    /// A device that tries for a tenth of a second.
    pub fn device(&self) -> Device {
        self.device_with(Duration::from_millis(100), Duration::from_millis(10))
    }

    pub fn device_with(&self, open_timeout: Duration, retry_interval: Duration) -> Device {
        Device::new(DeviceConfig { library: self.path(), open_timeout, retry_interval })
    }
}

/// A device together with its library.
pub struct Loaded {
    device: Device,
    _fake: Fake,
}

impl Fake {
    /// The device, for when the library itself is not looked at any more.
    pub fn into_device(self) -> Loaded {
        Loaded { device: self.device(), _fake: self }
    }
}

impl std::ops::Deref for Loaded {
    type Target = Device;

    fn deref(&self) -> &Device {
        &self.device
    }
}
