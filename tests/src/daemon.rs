//! Servers and agents that run beside a test, and end with it.

use std::fs::File;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use crate::run::{shell, signal};

const START_LIMIT: Duration = Duration::from_secs(30);
const STOP_LIMIT: Duration = Duration::from_secs(10);

/// A process that runs until it is stopped or dropped, or until we end. It stays in our process group, so that whoever
/// interrupts us at a terminal interrupts it as well.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    command: String,
    log: PathBuf,
}

impl Daemon {
    /// Starts it, its standard output and error to the end of the file `log`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(command: &mut Command, log: &Path) -> Result<Self> {
        let file = File::options().create(true).append(true).open(log).with_context(|| log.display().to_string())?;
        let shown = shell(command);
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        // SAFETY: prctl is a system call without pointers here, and may be made between fork and exec.
        unsafe {
            command.pre_exec(|| {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM);
                Ok(())
            });
        }
        let child = command.spawn().with_context(|| format!("$ {shown}"))?;
        Ok(Self { child, command: shown, log: log.to_owned() })
    }

    /// The process that was started.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What was run, as one would type it.
    pub fn command(&self) -> &str {
        &self.command
    }

    /// What it has written so far.
    ///
    /// # Errors
    /// When its log cannot be read.
    pub fn log(&self) -> Result<String> {
        Ok(String::from_utf8_lossy(&std::fs::read(&self.log)?).into_owned())
    }

    /// Waits until somebody accepts connections on a port of the loopback interface.
    ///
    /// # Errors
    /// With its log, when it ended or half a minute is over.
    pub fn wait_for_port(&mut self, port: u16) -> Result<()> {
        self.wait_until(|| TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok())
    }

    /// Waits until there is a file, such as a socket.
    ///
    /// # Errors
    /// As [`Self::wait_for_port`].
    pub fn wait_for_file(&mut self, path: &Path) -> Result<()> {
        self.wait_until(|| path.exists())
    }

    fn wait_until(&mut self, ready: impl Fn() -> bool) -> Result<()> {
        let started = Instant::now();
        while !ready() {
            if let Some(status) = self.child.try_wait()? {
                bail!("$ {}\nended at once: {status}\n{}", self.command, self.log()?);
            }
            ensure!(started.elapsed() < START_LIMIT, "$ {}\nis not ready:\n{}", self.command, self.log()?);
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Asks it to end, and ends it when it does not.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        let pid = self.child.id();
        if let Ok(Some(_)) = self.child.try_wait() {
            return;
        }
        signal(pid, libc::SIGTERM);
        let started = Instant::now();
        while started.elapsed() < STOP_LIMIT {
            if matches!(self.child.try_wait(), Ok(Some(_)) | Err(_)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.end();
    }
}

/// A port of the loopback interface that nobody listens on.
///
/// # Errors
/// What the operating system says.
pub fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}
