//! Debian packages that demo and tests need, installed only when something is missing.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use holdfast_tests::ssh::is_root;

/// A package, and the shell command that tells whether what it is wanted for is there.
#[derive(Clone, Copy)]
pub struct Need {
    package: &'static str,
    test: &'static str,
}

const fn need(package: &'static str, test: &'static str) -> Need {
    Need { package, test }
}

/// What the demo needs, besides Rust and the C compiler that Rust links with.
pub const DEMO: &[Need] = &[
    need("softhsm2", "command -v softhsm2-util && test -e /usr/lib/softhsm/libsofthsm2.so"),
    need("opensc", "command -v pkcs11-tool"),
    need("openssl", "command -v openssl"),
    need("libengine-pkcs11-openssl", "openssl engine pkcs11 || test -e /usr/lib/*/engines-3/pkcs11.so"),
    need("nginx-light", "command -v nginx"),
    need("openssh-server", "test -x /usr/sbin/sshd"),
    need("openssh-client", "command -v ssh-agent && command -v ssh-keygen"),
    need("curl", "command -v curl"),
    need("python3-venv", "python3 -c 'import venv, ensurepip'"),
];

/// What the tests need besides: more clients, and what builds the `openssl` crate, which checks our signatures, the
/// Python clients whose test suites are run, and the backend kryoptic.
pub const TESTS: &[Need] = &[
    need("libssl-dev", "test -e /usr/include/openssl/ssl.h"),
    need("libsqlite3-dev", "test -e /usr/include/sqlite3.h"),
    need("libclang1-14", "ls /usr/lib/llvm-*/lib/libclang.so*"),
    need("libclang-common-14-dev", "ls /usr/lib/llvm-*/lib/clang/*/include/stddef.h"),
    need("pkg-config", "command -v pkg-config"),
    need("gnutls-bin", "command -v p11tool"),
    need("libnss3-tools", "command -v certutil && command -v modutil"),
    need("openjdk-17-jdk-headless", "command -v keytool && command -v javac"),
    need("nodejs", "command -v node"),
    need("g++", "command -v g++"),
    need(
        "python3-dev",
        "test -e \"$(python3 -c 'import sysconfig; print(sysconfig.get_path(\"include\"))')/Python.h\"",
    ),
];

/// Installs what is missing.
///
/// Servers among it are neither started nor enabled: the demo starts its own, on ports of its own.
pub fn install(needs: &[Need]) -> Result<()> {
    let missing: Vec<&str> = needs.iter().filter(|need| !present(need)).map(|need| need.package).collect();
    if missing.is_empty() {
        return Ok(());
    }
    println!("installing {}", missing.join(" "));
    let by_hand = format!("install them by hand: apt-get install --no-install-recommends {}", missing.join(" "));
    ensure!(present(&need("apt", "command -v apt-get")), "this is no Debian or Ubuntu; {by_hand}");
    ensure!(
        is_root() || succeeds(Command::new("sudo").arg("true")),
        "installing packages needs root, and sudo did not help; {by_hand}"
    );
    let servers = ["nginx", "ssh"];
    let unknown: Vec<&str> = servers.into_iter().filter(|name| !has_unit(name)).collect();
    let policy = NoStart::put()?;
    let installed = privileged("apt-get", &["update", "-qq"]).and_then(|()| {
        privileged("apt-get", &[&["install", "-y", "-qq", "--no-install-recommends"], &missing[..]].concat())
    });
    drop(policy);
    installed.context(by_hand)?;
    for name in unknown.into_iter().filter(|name| has_unit(name) && Path::new("/run/systemd/system").is_dir()) {
        privileged("systemctl", &["disable", "--quiet", name])?;
    }
    if let Some(need) = needs.iter().find(|need| !present(need)) {
        bail!("{} is installed, and still this fails: {}", need.package, need.test);
    }
    Ok(())
}

fn present(need: &Need) -> bool {
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    succeeds(Command::new("sh").env("PATH", path).args(["-c", need.test]))
}

fn has_unit(name: &str) -> bool {
    ["/lib/systemd/system", "/etc/systemd/system"]
        .iter()
        .any(|directory| Path::new(directory).join(format!("{name}.service")).exists())
}

fn succeeds(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}

/// Runs a command as root, its output shown only when it fails.
fn privileged(program: &str, arguments: &[&str]) -> Result<()> {
    let mut command = if is_root() { Command::new("env") } else { Command::new("sudo") };
    command.arg("DEBIAN_FRONTEND=noninteractive").arg(program).args(arguments);
    let output = command.output().with_context(|| program.to_owned())?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    ensure!(
        output.status.success(),
        "{program} {}: {}{}",
        arguments.join(" "),
        text(&output.stdout),
        text(&output.stderr)
    );
    Ok(())
}

/// Keeps Debian's packages from starting servers while they are installed (`policy-rc.d`, as invoke-rc.d(8) has it).
struct NoStart(bool);

impl NoStart {
    const FILE: &str = "/usr/sbin/policy-rc.d";

    fn put() -> Result<Self> {
        if Path::new(Self::FILE).exists() {
            return Ok(Self(false));
        }
        let file = tempfile::NamedTempFile::new()?;
        fs::write(&file, "#!/bin/sh\nexit 101\n")?;
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755))?;
        let path = file.path().as_os_str().to_str().context("a path of letters")?;
        privileged("install", &["-m", "0755", path, Self::FILE])?;
        Ok(Self(true))
    }
}

impl Drop for NoStart {
    fn drop(&mut self) {
        if self.0 && privileged("rm", &["-f", Self::FILE]).is_err() {
            eprintln!("xtask: remove {} by hand: it keeps services from being started", Self::FILE);
        }
    }
}

/// Whether there is an account with this name.
pub fn has_account(name: &str) -> bool {
    succeeds(Command::new("id").args([OsStr::new("-u"), OsStr::new(name)]))
}
