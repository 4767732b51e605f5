//! Scenarios in processes of their own, with a token and a configuration of their own.

use std::ffi::{CString, OsString, c_void};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::ptr;

use cryptoki_sys::{
    CK_C_INITIALIZE_ARGS, CK_FUNCTION_LIST, CK_RV, CK_SESSION_HANDLE, CK_SLOT_ID, CK_ULONG, CKF_OS_LOCKING_OK,
    CKF_RW_SESSION, CKF_SERIAL_SESSION, CKR_OK,
};
use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
use tempfile::TempDir;
use zk_app_utils::admin::Admin;
use zk_app_utils::device::NewDevice;
use zk_app_utils::store::Directory;

/// Says to a child which scenario it is.
const SCENARIO: &str = "HOLDFASTTEST_SCENARIO";

/// SoftHSM2 where Debian and most others put it.
pub const SOFTHSM: &str = "/usr/lib/softhsm/libsofthsm2.so";

pub const PIN: &str = "1234";
pub const SO_PIN: &str = "5678";

/// A directory with a token, a configuration that names a backend, and nothing else.
pub struct World {
    pub directory: TempDir,
    variables: Vec<(&'static str, OsString)>,
}

impl World {
    /// In front of SoftHSM2 with one initialised token.
    pub fn softhsm() -> Self {
        let world = Self::with_backend(Path::new(SOFTHSM));
        let tokens = world.path("tokens");
        std::fs::create_dir(&tokens).unwrap();
        let conf = world.path("softhsm2.conf");
        std::fs::write(
            &conf,
            format!("directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\n", tokens.display()),
        )
        .unwrap();
        let output = Command::new("softhsm2-util")
            .args(["--init-token", "--free", "--label", "test", "--pin", PIN, "--so-pin", SO_PIN])
            .env("SOFTHSM2_CONF", &conf)
            .output()
            .expect("softhsm2-util, from the package softhsm2");
        assert!(output.status.success(), "{output:?}");
        world.with("SOFTHSM2_CONF", conf)
    }

    /// In front of SoftHSM2, with an emulated device whose firmware loses generated keys; `mapping` are further lines of
    /// that section.
    pub fn mapped(mapping: &str) -> Self {
        let world = Self::softhsm();
        let library = world.path("libzk_app_utils.so");
        let built = std::env::current_exe().unwrap().with_file_name("libzk_app_utils.so");
        std::fs::copy(built, &library).expect("cargo builds the emulator's library beside the tests");
        let device = world.path("device");
        Admin::new(Directory::new(&device)).create(&NewDevice::default(), None).unwrap();
        world.configure(&format!(
            "[backend]\nmodule = {SOFTHSM:?}\n[device]\nlibrary = {library:?}\nopen-timeout-ms = 200\n\
             retry-interval-ms = 10\n[mapping]\ndatabase = {:?}\ngroup = \"\"\n{mapping}\n\
             [log]\nlevel = \"info\"\ntarget = \"stderr\"\n",
            world.path("store").join("mapping.db"),
        ));
        world.with("HOLDFAST_EMULATOR_STATE", device)
    }

    /// As [`World::mapped`], with functions of SoftHSM2 replaced as `backends/around_softhsm.c` says of `define`.
    pub fn mapped_around_softhsm(define: &str) -> Self {
        let world = Self::mapped("");
        let module = world.compile("around_softhsm", &[define, &format!("SOFTHSM={SOFTHSM:?}")]);
        world.with("HOLDFAST_BACKEND_MODULE", module)
    }

    /// In front of `module`.
    pub fn with_backend(module: &Path) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let world = Self { directory, variables: Vec::new() };
        world.configure(&format!(
            "[backend]\nmodule = {module:?}\n[device]\nlibrary = \"/nonexistent/libzk_app_utils.so\"\n\
             [mapping]\ndatabase = {:?}\npolicy = \"never\"\n[log]\nlevel = \"warn\"\ntarget = \"stderr\"\n",
            world.path("mapping.db"),
        ));
        let config = world.path("holdfast.toml");
        world.with("HOLDFAST_CONFIG", config)
    }

    /// In front of a module made from `backends/<name>.c`, compiled with `defines`.
    pub fn with_compiled_backend(name: &str, defines: &[&str]) -> Self {
        let world = Self::with_backend(Path::new("/nonexistent"));
        let module = world.compile(name, defines);
        world.configure(&format!(
            "[backend]\nmodule = {module:?}\n[mapping]\ndatabase = {:?}\npolicy = \"never\"\n[log]\ntarget = \"stderr\"\n",
            world.path("mapping.db"),
        ));
        world
    }

    /// Compiles `backends/<name>.c` to a module.
    pub fn compile(&self, name: &str, defines: &[&str]) -> PathBuf {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/abi/backends").join(format!("{name}.c"));
        let module = self.path(&format!("{name}.so"));
        let output = Command::new("gcc")
            .args(["-shared", "-fPIC", "-O1", "-Wall", "-Wno-unused", "-Werror", "-o"])
            .arg(&module)
            .args(defines.iter().map(|define| format!("-D{define}")))
            .arg(&source)
            .output()
            .expect("gcc");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        std::fs::set_permissions(&module, PermissionsExt::from_mode(0o755)).unwrap();
        module
    }

    /// Replaces the configuration file.
    pub fn configure(&self, toml: &str) {
        std::fs::write(self.path("holdfast.toml"), toml).unwrap();
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Sets a variable for the scenario.
    pub fn with(mut self, name: &'static str, value: impl Into<OsString>) -> Self {
        self.variables.push((name, value.into()));
        self
    }
}

/// Runs `body` in a process of its own, whose environment is that of `world`; `test` is the test's path in this crate.
///
/// The parent makes the world and waits; the child finds its name in the environment and is the scenario.
pub fn scenario(test: &str, world: impl FnOnce() -> World, body: impl FnOnce()) {
    if is_child(test) {
        body();
    } else {
        let output = run(test, &world());
        succeeded(&output);
    }
}

/// As [`scenario`], then `check` on what it wrote to standard error.
pub fn scenario_with_log(test: &str, world: impl FnOnce() -> World, body: impl FnOnce(), check: impl FnOnce(&str)) {
    if is_child(test) {
        body();
    } else {
        let output = run(test, &world());
        succeeded(&output);
        check(&String::from_utf8_lossy(&output.stderr));
    }
}

fn is_child(test: &str) -> bool {
    std::env::var_os(SCENARIO).is_some_and(|name| name == test)
}

fn run(test: &str, world: &World) -> Output {
    let mut command = Command::new(std::env::current_exe().unwrap());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("HOLDFAST_") {
            command.env_remove(name);
        }
    }
    command
        .args(["--exact", test, "--test-threads=1", "--nocapture"])
        .env(SCENARIO, test)
        .env("HOLDFASTTEST_DIRECTORY", world.directory.path())
        .envs(world.variables.iter().map(|(name, value)| (name, value)));
    command.output().unwrap()
}

fn succeeded(output: &Output) {
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && stdout.contains("1 passed"),
        "the scenario failed ({}, signal {:?})\n--- stdout\n{stdout}\n--- stderr\n{}",
        output.status,
        output.status.signal(),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// In a scenario with a device: the device, from outside.
pub fn device() -> Admin {
    Admin::new(Directory::new(directory().join("device")))
}

/// In a scenario: its world's directory.
pub fn directory() -> PathBuf {
    std::env::var_os("HOLDFASTTEST_DIRECTORY").unwrap().into()
}

/// The module as `cargo test` builds it beside this test.
pub fn module_path() -> PathBuf {
    let exe = std::env::current_exe().unwrap();
    let module = exe.parent().unwrap().join("libholdfast_pkcs11.so");
    assert!(module.exists(), "{} is not there", module.display());
    module
}

/// A loaded PKCS#11 module.
pub struct Pkcs11 {
    pub library: &'static Library,
    pub list: &'static CK_FUNCTION_LIST,
}

/// Calls a function of a module's 2.40 list.
macro_rules! ck {
    ($module:expr, $function:ident($($argument:expr),* $(,)?)) => {
        unsafe { ($module.list.$function.expect(stringify!($function)))($($argument),*) }
    };
}
pub(crate) use ck;

impl Pkcs11 {
    /// Our module.
    pub fn holdfast() -> Self {
        Self::load(&module_path())
    }

    pub fn load(path: &Path) -> Self {
        Self::load_with(path, RTLD_NOW | RTLD_LOCAL)
    }

    pub fn load_with(path: &Path, flags: i32) -> Self {
        let library = Box::leak(Box::new(unsafe { Library::open(Some(path), flags) }.unwrap()));
        let mut list = ptr::null_mut();
        let get = unsafe {
            library.get::<unsafe extern "C" fn(*mut *mut CK_FUNCTION_LIST) -> CK_RV>(b"C_GetFunctionList").unwrap()
        };
        assert_eq!(unsafe { get(&mut list) }, CKR_OK);
        Self { library, list: unsafe { &*list } }
    }

    /// The address of an exported symbol.
    pub fn symbol(&self, name: &str) -> Option<*mut c_void> {
        let name = CString::new(name).unwrap();
        unsafe { self.library.get::<*mut c_void>(name.as_bytes_with_nul()) }.ok().map(|symbol| symbol.into_raw())
    }

    pub fn initialize(&self) -> CK_RV {
        ck!(self, C_Initialize(ptr::null_mut()))
    }

    /// For use by several threads, which a null argument does not promise.
    pub fn initialize_for_threads(&self) -> CK_RV {
        let mut args = CK_C_INITIALIZE_ARGS {
            CreateMutex: None,
            DestroyMutex: None,
            LockMutex: None,
            UnlockMutex: None,
            flags: CKF_OS_LOCKING_OK,
            pReserved: ptr::null_mut(),
        };
        ck!(self, C_Initialize((&raw mut args).cast()))
    }

    pub fn finalize(&self) -> CK_RV {
        ck!(self, C_Finalize(ptr::null_mut()))
    }

    /// The first slot with a token.
    pub fn slot(&self) -> CK_SLOT_ID {
        let mut slots = [0; 16];
        let mut count = slots.len() as CK_ULONG;
        assert_eq!(ck!(self, C_GetSlotList(1, slots.as_mut_ptr(), &mut count)), CKR_OK);
        assert!(count > 0);
        slots[0]
    }

    pub fn open(&self) -> CK_SESSION_HANDLE {
        let mut session = 0;
        let flags = CKF_SERIAL_SESSION | CKF_RW_SESSION;
        assert_eq!(ck!(self, C_OpenSession(self.slot(), flags, ptr::null_mut(), None, &mut session)), CKR_OK);
        session
    }

    pub fn login(&self, session: CK_SESSION_HANDLE) -> CK_RV {
        ck!(self, C_Login(session, cryptoki_sys::CKU_USER, PIN.as_ptr().cast_mut(), PIN.len() as CK_ULONG))
    }

    /// Random bytes, as proof that a session works.
    pub fn random(&self, session: CK_SESSION_HANDLE) -> CK_RV {
        let mut bytes = [0u8; 8];
        ck!(self, C_GenerateRandom(session, bytes.as_mut_ptr(), 8))
    }
}

/// Runs `body` in a forked child and returns its exit status as `waitpid` gives it, or `None` if it hung for a minute.
pub fn in_fork(body: impl FnOnce()) -> Option<i32> {
    wait(match unsafe { libc::fork() } {
        0 => exit_with(body),
        pid => pid,
    })
}

/// As [`in_fork`], without the C library's notice: no fork handlers run.
pub fn in_raw_fork(body: impl FnOnce()) -> Option<i32> {
    let pid = unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) };
    wait(match pid {
        0 => exit_with(body),
        pid => i32::try_from(pid).unwrap(),
    })
}

fn exit_with(body: impl FnOnce()) -> ! {
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body));
    unsafe { libc::_exit(if outcome.is_ok() { 0 } else { 1 }) }
}

fn wait(pid: i32) -> Option<i32> {
    assert!(pid > 0);
    for _ in 0..6000 {
        let mut status = 0;
        match unsafe { libc::waitpid(pid, &mut status, libc::WNOHANG) } {
            0 => std::thread::sleep(std::time::Duration::from_millis(10)),
            _ => return Some(status),
        }
    }
    unsafe { libc::kill(pid, libc::SIGKILL) };
    None
}
