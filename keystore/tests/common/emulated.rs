//! An emulated device and a store in a directory, for this process and the further ones that it starts.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use holdfast_config::{AutoCreateWallet, Policy, Strategy};
use holdfast_device::{Device, DeviceConfig};
use holdfast_keystore::{GenerateRequest, Keystore, Location, NewObject, Settings};
use holdfast_wallet::Curve;
use zk_app_utils::admin::Admin;
use zk_app_utils::device::NewDevice;
use zk_app_utils::store::Directory;

const STATE: &str = "HOLDFAST_EMULATOR_STATE";
const SCENE: &str = "HOLDFAST_TEST_SCENE";
const ROLE: &str = "HOLDFAST_TEST_ROLE";

pub const TOKEN: &str = "1234567890abcdef";

pub struct Scene {
    directory: PathBuf,
}

/// Runs the test `name` again in a process of its own, with a fresh device and no store; `body` is what it does there.
pub fn with_device(name: &str, body: impl FnOnce(&Scene)) {
    if let (Some(directory), Some(role)) = (std::env::var_os(SCENE), std::env::var_os(ROLE)) {
        if role == "test" {
            body(&Scene { directory: directory.into() });
        }
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    std::fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let scene = Scene { directory: directory.path().to_owned() };
    let built = std::env::current_exe().unwrap().with_file_name("libzk_app_utils.so");
    std::fs::copy(built, scene.library()).expect("cargo builds the emulator's library beside the tests");
    std::fs::set_permissions(scene.library(), PermissionsExt::from_mode(0o755)).unwrap();
    scene.admin().create(&NewDevice::default(), None).unwrap();
    let output = scene.command(name, "test").output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success() && out.contains("1 passed"), "{}\n{out}\n{err}", output.status);
}

/// The scene in which this process plays a part; `None` when it plays none.
pub fn part() -> Option<Scene> {
    let role = std::env::var_os(ROLE)?;
    (role == "part").then(|| Scene { directory: std::env::var_os(SCENE).unwrap().into() })
}

impl Scene {
    fn command(&self, name: &str, role: &str) -> Command {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", name, "--nocapture", "--test-threads=1"]);
        command.env(STATE, self.path("device")).env(SCENE, &self.directory).env(ROLE, role);
        command
    }

    /// A further process that plays the part `name`.
    pub fn part(&self, name: &str) -> Command {
        self.command(name, "part")
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    fn library(&self) -> PathBuf {
        self.path("libzk_app_utils.so")
    }

    pub fn admin(&self) -> Admin {
        Admin::new(Directory::new(Path::new(&self.path("device"))))
    }

    /// Puts a device with this many slots in the place of the first.
    pub fn make_device(&self, slots: usize) {
        std::fs::remove_dir_all(self.path("device")).unwrap();
        let device = NewDevice { slots: slots.try_into().unwrap(), ..NewDevice::default() };
        self.admin().create(&device, None).unwrap();
    }

    /// As a process of its own sees it; several may stand for several processes as far as the store goes.
    pub fn keystore(&self) -> Keystore {
        let device = Device::new(DeviceConfig {
            library: self.library(),
            open_timeout: Duration::from_secs(5),
            retry_interval: Duration::from_millis(10),
        });
        let location = Location { database: self.path("store/mapping.db"), group: None, mode: 0o660 };
        let settings = Settings {
            policy: Policy::Auto,
            strategy: Strategy::WalletPerToken,
            hardened: true,
            wallet_capacity: None,
            auto_create_wallet: AutoCreateWallet::NoRecovery,
        };
        Keystore::new(location, settings, Arc::new(device))
    }
}

pub fn request(label: &str) -> GenerateRequest {
    let half = |object: NewObject| NewObject { label: Some(label.as_bytes().to_vec()), ..object };
    GenerateRequest {
        token_serial: TOKEN.into(),
        token_label: "token".into(),
        curve: Curve::P256,
        session: false,
        public: half(NewObject::public()),
        private: half(NewObject::private()),
    }
}
