//! SoftHSM2 with one token, an emulated device, and the module configured over both.

use std::path::{Path, PathBuf};
use std::process::Command;

use zk_app_utils::admin::Admin;
use zk_app_utils::device::NewDevice;
use zk_app_utils::store::Directory;

use crate::call;

const SOFTHSM: &str = "/usr/lib/softhsm/libsofthsm2.so";

/// The user's PIN.
pub const PIN: &[u8] = b"1234";
/// The security officer's PIN.
pub const SO_PIN: &[u8] = b"5678";

/// A token and a device in a directory of their own.
///
/// libFuzzer ends without destructors, so the directory stays until whoever set `TMPDIR` removes it.
pub struct Site {
    directory: PathBuf,
    /// The device, from outside.
    pub device: Admin,
}

impl Site {
    /// Makes one, and points this process's environment to it.
    ///
    /// The emulator's library is the one that `HOLDFAST_FUZZ_DEVICE_LIBRARY` names: built without instrumentation, as it
    /// is no part of what is tested.
    pub fn new() -> Self {
        let directory = std::env::temp_dir().join(format!("holdfast-fuzz-{}", std::process::id()));
        std::fs::create_dir(&directory).expect("a directory of our own");
        let site = Self { device: Admin::new(Directory::new(directory.join("device"))), directory };
        site.make_token();
        // Room for many generations between two power cycles.
        site.device.create(&NewDevice { slots: 4000, ..NewDevice::default() }, None).expect("an emulated device");
        site.configure();
        call::show_calls_on_panic();
        site
    }

    /// A file or directory of the site.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    fn make_token(&self) {
        let tokens = self.path("tokens");
        std::fs::create_dir(&tokens).expect("a directory for tokens");
        let conf = self.path("softhsm2.conf");
        let text =
            format!("directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\n", tokens.display());
        std::fs::write(&conf, text).expect("softhsm2.conf");
        set("SOFTHSM2_CONF", &conf);
        let output = Command::new("softhsm2-util")
            .args(["--init-token", "--free", "--label", "fuzz", "--pin", "1234", "--so-pin", "5678"])
            .output()
            .expect("softhsm2-util, from the package softhsm2");
        assert!(output.status.success(), "{output:?}");
    }

    fn configure(&self) {
        let built = std::env::var_os("HOLDFAST_FUZZ_DEVICE_LIBRARY")
            .expect("HOLDFAST_FUZZ_DEVICE_LIBRARY names the emulator's libzk_app_utils.so; `cargo xtask fuzz` sets it");
        let library = self.path("libzk_app_utils.so");
        std::fs::copy(built, &library).expect("the emulator's library");
        let text = format!(
            "[backend]\nmodule = {SOFTHSM:?}\n[device]\nlibrary = {library:?}\nopen-timeout-ms = 20\n\
             retry-interval-ms = 1\n[mapping]\ndatabase = {:?}\ngroup = \"\"\nsession-keys = \"wallet\"\n\
             [log]\nlevel = \"error\"\ntarget = {:?}\n",
            self.path("store/mapping.db"),
            self.path("log"),
        );
        let config = self.path("holdfast.toml");
        std::fs::write(&config, text).expect("holdfast.toml");
        set("HOLDFAST_CONFIG", &config);
        set("HOLDFAST_EMULATOR_STATE", &self.path("device"));
    }

    /// Throws the log away once it has grown.
    pub fn trim_log(&self) {
        const MOST: u64 = 1 << 20;
        let log = self.path("log");
        if log.metadata().is_ok_and(|metadata| metadata.len() > MOST) {
            std::fs::write(log, "").expect("the log can be emptied");
        }
    }
}

impl Default for Site {
    fn default() -> Self {
        Self::new()
    }
}

fn set(name: &str, value: &Path) {
    // SAFETY: called while the process is made ready, before there is a second thread.
    unsafe { std::env::set_var(name, value) }
}
