//! An emulated device, reached as the real one is: through its library, by its C ABI.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use holdfast_device::{Device, DeviceConfig};
use zk_app_utils::admin::Admin;
use zk_app_utils::behaviour::{Fault, FaultKind};
use zk_app_utils::device::NewDevice;
use zk_app_utils::store::Directory;

/// Which state the emulator uses is one variable of the process, so each test is a process of its own.
const STATE: &str = "HOLDFAST_EMULATOR_STATE";
const CHILD: &str = "HOLDFAST_TEST_CHILD";

/// A new emulated device and how to control it.
pub struct Emulated {
    directory: tempfile::TempDir,
}

/// Runs the test `name` again in a child process whose emulator has a fresh device; `body` is what it does there.
pub fn with_emulator(name: &str, body: impl FnOnce(&Emulated)) {
    if std::env::var_os(CHILD).is_some() {
        return body(&Emulated { directory: super::directory() }.prepared());
    }
    let directory = super::directory();
    let state = directory.path().join("device");
    Admin::new(Directory::new(&state)).create(&NewDevice::default(), None).unwrap();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture", "--test-threads=1"])
        .env(STATE, &state)
        .env(CHILD, "1")
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success() && out.contains("1 passed"), "{}\n{out}\n{err}", output.status);
}

impl Emulated {
    /// The library, where the umask under which it was built says nothing about who can write it.
    fn prepared(self) -> Self {
        let built = std::env::current_exe().unwrap().with_file_name("libzk_app_utils.so");
        std::fs::copy(built, self.library()).expect("cargo builds the emulator's library beside the tests");
        std::fs::set_permissions(self.library(), PermissionsExt::from_mode(0o755)).unwrap();
        self
    }

    pub fn library(&self) -> std::path::PathBuf {
        self.directory.path().join("libzk_app_utils.so")
    }

    pub fn admin(&self) -> Admin {
        Admin::new(Directory::new(Path::new(&std::env::var_os(STATE).unwrap())))
    }

    pub fn device(&self) -> Device {
        Device::new(DeviceConfig {
            library: self.library(),
            open_timeout: Duration::from_secs(5),
            retry_interval: Duration::from_millis(10),
        })
    }

    /// Makes the `after`-th next call of `call` misbehave, once.
    pub fn fault(&self, call: &str, after: u64, kind: FaultKind) {
        let fault = Fault { call: call.into(), after, times: 1, kind };
        self.admin().change_behaviour(|behaviour| behaviour.faults.push(fault)).unwrap();
    }

    /// That every fault has happened.
    #[track_caller]
    pub fn assert_no_fault_left(&self) {
        assert_eq!(self.admin().behaviour().unwrap().faults, []);
    }
}
