//! Child processes that are waited for: their output captured, their time limited.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

/// How long a client may take before it is ended and counts as failed: far longer than any needs.
pub const TIME_LIMIT: Duration = Duration::from_secs(120);

/// A process that ended.
#[derive(Clone, Debug)]
pub struct Finished {
    /// What was run, as one would type it.
    pub command: String,
    /// How it ended.
    pub status: ExitStatus,
    /// Its standard output; bytes that are not UTF-8 are replaced.
    pub stdout: String,
    /// Its standard output as it was.
    pub bytes: Vec<u8>,
    /// Its standard error.
    pub stderr: String,
}

impl Finished {
    /// Whether it exited with 0.
    pub fn succeeded(&self) -> bool {
        self.status.success()
    }

    /// Its exit code.
    ///
    /// # Errors
    /// When a signal ended it.
    pub fn code(&self) -> Result<i32> {
        self.status.code().with_context(|| format!("ended by signal {:?}\n{self}", self.status.signal()))
    }

    /// The same, if it exited with 0.
    ///
    /// # Errors
    /// Everything known about it, otherwise.
    pub fn success(self) -> Result<Self> {
        ensure!(self.succeeded(), "failed:\n{self}");
        Ok(self)
    }

    /// The same, if it exited with another code than 0 and no signal ended it.
    ///
    /// # Errors
    /// Everything known about it, otherwise.
    pub fn failure(self) -> Result<Self> {
        ensure!(self.code()? != 0, "succeeded, and should not have:\n{self}");
        Ok(self)
    }

    /// Standard output, then standard error.
    pub fn output(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }

    /// Standard output as JSON.
    ///
    /// # Errors
    /// When it is not.
    pub fn json(&self) -> Result<serde_json::Value> {
        serde_json::from_str(&self.stdout).with_context(|| format!("no JSON from:\n{self}"))
    }
}

impl std::fmt::Display for Finished {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "$ {}\n{}{}[{}]", self.command, self.stdout, self.stderr, self.status)
    }
}

/// Runs a command with nothing on its standard input.
///
/// # Errors
/// When it cannot be started, or takes longer than [`TIME_LIMIT`]; a command that fails is no error here.
pub fn run(command: &mut Command) -> Result<Finished> {
    run_with(command, b"", TIME_LIMIT)
}

/// Runs a command with `input` on its standard input; ends it and all it started when `limit` is over.
///
/// # Errors
/// As [`run`].
pub fn run_with(command: &mut Command, input: &[u8], limit: Duration) -> Result<Finished> {
    // Files, not pipes: a client that leaves a process behind would keep a pipe open.
    let mut stdin = tempfile::tempfile()?;
    stdin.write_all(input)?;
    stdin.seek(SeekFrom::Start(0))?;
    let (stdout, stderr) = (tempfile::tempfile()?, tempfile::tempfile()?);
    let shown = shell(command);
    command.stdin(stdin).stdout(stdout.try_clone()?).stderr(stderr.try_clone()?).process_group(0);
    let mut child = command.spawn().with_context(|| format!("$ {shown}"))?;
    let started = Instant::now();
    let mut pause = Duration::from_millis(1);
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if started.elapsed() > limit {
            signal_group(child.id(), libc::SIGKILL);
            child.wait()?;
            bail!("took longer than {limit:?}:\n$ {shown}\n{}{}", text(stdout)?, text(stderr)?);
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    };
    let bytes = content(stdout)?;
    let stdout = String::from_utf8_lossy(&bytes).into_owned();
    Ok(Finished { command: shown, status, stdout, bytes, stderr: text(stderr)? })
}

/// Sends a signal to a child of ours that was not waited for yet: the number is still its own.
pub(crate) fn signal(pid: u32, signal: libc::c_int) {
    if let Ok(pid) = libc::pid_t::try_from(pid) {
        // SAFETY: a system call without pointers.
        unsafe { libc::kill(pid, signal) };
    }
}

/// The same for the group of processes that it leads.
pub(crate) fn signal_group(pid: u32, signal: libc::c_int) {
    if let Ok(pid) = libc::pid_t::try_from(pid) {
        // SAFETY: a system call without pointers.
        unsafe { libc::kill(-pid, signal) };
    }
}

/// A command as one would type it in a shell, without the environment.
pub fn shell(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| quote(&word.to_string_lossy())).collect::<Vec<_>>().join(" ")
}

fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

fn content(mut file: File) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(0))?;
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn text(file: File) -> Result<String> {
    Ok(String::from_utf8_lossy(&content(file)?).into_owned())
}
