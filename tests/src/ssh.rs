//! OpenSSH: a server on the loopback interface, `ssh -I`, and ssh-agent.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::daemon::{Daemon, free_port};
use crate::run::run;
use crate::site::{Module, Site, write_private};
use crate::token;

/// A server for the user of this process, and what clients need to log in.
#[derive(Clone, Debug)]
pub struct Ssh {
    directory: PathBuf,
    port: u16,
    user: String,
}

impl Ssh {
    /// Makes the server's host key (a file: the host key is not what is tested) and its configuration.
    ///
    /// # Errors
    /// When `ssh-keygen` fails.
    pub fn configure(site: &Site) -> Result<Self> {
        let user = run(Command::new("id").arg("-un"))?.success()?.stdout.trim().to_owned();
        let ssh = Self { directory: site.root().join("ssh"), port: free_port()?, user };
        std::fs::create_dir(&ssh.directory)?;
        std::fs::set_permissions(&ssh.directory, std::fs::Permissions::from_mode(0o700))?;
        run(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(ssh.host_key()))?.success()?;
        let host_key = std::fs::read_to_string(ssh.host_key().with_extension("pub"))?;
        std::fs::write(ssh.directory.join("known_hosts"), format!("[127.0.0.1]:{} {host_key}", ssh.port))?;
        std::fs::write(ssh.configuration(), ssh.text())?;
        // ssh asks a program for the PIN, and that reads it from a file: no argument ever holds it.
        write_private(&ssh.directory.join("pin"), token::PIN)?;
        let askpass = format!("#!/bin/sh\nexec cat '{}'\n", ssh.directory.join("pin").display());
        std::fs::write(ssh.askpass(), askpass)?;
        std::fs::set_permissions(ssh.askpass(), std::fs::Permissions::from_mode(0o700))?;
        if is_root() {
            // The place where a privileged sshd confines its unprivileged half; normally made at boot.
            std::fs::create_dir_all("/run/sshd")?;
        }
        Ok(ssh)
    }

    fn text(&self) -> String {
        let directory = self.directory.display();
        // Without PAM, sshd refuses accounts whose password is locked; root's often is.
        let pam = if is_root() && password_is_locked(&self.user) { "yes" } else { "no" };
        format!(
            "ListenAddress 127.0.0.1\nPort {}\nHostKey {}\nPidFile none\nAuthorizedKeysFile {directory}/authorized_keys\n\
             StrictModes no\nUsePAM {pam}\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n\
             PermitRootLogin prohibit-password\nPrintMotd no\nLogLevel VERBOSE\n",
            self.port,
            self.host_key().display(),
        )
    }

    fn host_key(&self) -> PathBuf {
        self.directory.join("host_key")
    }

    fn askpass(&self) -> PathBuf {
        self.directory.join("askpass")
    }

    /// The server's configuration file.
    pub fn configuration(&self) -> PathBuf {
        self.directory.join("sshd_config")
    }

    /// Who logs in: the user of this process.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The socket of the agent.
    pub fn agent_socket(&self) -> PathBuf {
        self.directory.join("agent")
    }

    /// `ssh-keygen -D`: lists the token's public keys as OpenSSH writes them.
    pub fn list_keys(&self, site: &Site) -> Command {
        let mut command = self.client(site, "ssh-keygen");
        command.arg("-D").arg(site.module(Module::Holdfast));
        command
    }

    /// Lets the keys of a listing, and no others, log in.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn authorize(&self, keys: &str) -> Result<()> {
        Ok(std::fs::write(self.directory.join("authorized_keys"), keys)?)
    }

    /// What starts the server, in the foreground.
    pub fn server_command(&self) -> Command {
        let mut command = Command::new("/usr/sbin/sshd");
        command.args(["-D", "-e", "-f"]).arg(self.configuration());
        command
    }

    /// Starts the server and waits until it accepts connections.
    ///
    /// # Errors
    /// When it does not; with its log.
    pub fn start_server(&self) -> Result<Daemon> {
        let mut daemon = Daemon::start(&mut self.server_command(), &self.log())?;
        daemon.wait_for_port(self.port)?;
        Ok(daemon)
    }

    /// The server's log.
    pub fn log(&self) -> PathBuf {
        self.directory.join("sshd.log")
    }

    /// What starts the agent, in the foreground, allowing our module.
    ///
    /// # Errors
    /// When the module's path cannot be resolved, as the agent does.
    pub fn agent_command(&self, site: &Site) -> Result<Command> {
        let module = site.module(Module::Holdfast).canonicalize()?;
        let mut command = self.client(site, "ssh-agent");
        command.arg("-D").arg("-a").arg(self.agent_socket()).arg("-P").arg(module);
        Ok(command)
    }

    /// Starts the agent.
    ///
    /// # Errors
    /// When it does not.
    pub fn start_agent(&self, site: &Site) -> Result<Daemon> {
        // A socket that an agent left behind when it was killed.
        let _ = std::fs::remove_file(self.agent_socket());
        let mut daemon = Daemon::start(&mut self.agent_command(site)?, &self.directory.join("agent.log"))?;
        daemon.wait_for_file(&self.agent_socket())?;
        Ok(daemon)
    }

    /// `ssh-add -s`: gives the agent the token's keys.
    ///
    /// # Errors
    /// When the module's path cannot be resolved, as the agent does.
    pub fn add_to_agent(&self, site: &Site) -> Result<Command> {
        let mut command = self.client(site, "ssh-add");
        command.env("SSH_AUTH_SOCK", self.agent_socket());
        command.arg("-s").arg(site.module(Module::Holdfast).canonicalize()?);
        Ok(command)
    }

    /// `ssh -I`: logs in with a key of the token and runs a command there.
    pub fn login(&self, site: &Site, remote: &str) -> Command {
        let mut command = self.ssh(site);
        command.env_remove("SSH_AUTH_SOCK").arg("-I").arg(site.module(Module::Holdfast));
        command.args(["127.0.0.1", remote]);
        command
    }

    /// Logs in with a key that the agent has.
    pub fn login_with_agent(&self, site: &Site, remote: &str) -> Command {
        let mut command = self.ssh(site);
        command.arg("-o").arg(format!("IdentityAgent={}", self.agent_socket().display())).args(["127.0.0.1", remote]);
        command
    }

    fn ssh(&self, site: &Site) -> Command {
        let mut command = self.client(site, "ssh");
        let known_hosts = format!("UserKnownHostsFile={}", self.directory.join("known_hosts").display());
        command.args(["-F", "none", "-p", &self.port.to_string(), "-l", &self.user, "-o", &known_hosts]);
        // The keys of the user's home directory have no part in this.
        command.args(["-o", "IdentityFile=none", "-o", "PreferredAuthentications=publickey"]);
        command
    }

    /// A client that finds its PIN without a terminal.
    fn client(&self, site: &Site, program: &str) -> Command {
        let mut command = site.command(program);
        command.env("SSH_ASKPASS", self.askpass()).env("SSH_ASKPASS_REQUIRE", "force").env("DISPLAY", ":none");
        command
    }
}

/// Whether this process runs as root.
pub fn is_root() -> bool {
    // SAFETY: a system call that takes nothing and cannot fail.
    unsafe { libc::geteuid() == 0 }
}

fn password_is_locked(user: &str) -> bool {
    let shadow = std::fs::read_to_string(Path::new("/etc/shadow")).unwrap_or_default();
    shadow
        .lines()
        .any(|line| line.split(':').next() == Some(user) && line.split(':').nth(1).unwrap_or("").starts_with('!'))
}

/// The accepted logins in a server's log.
///
/// # Errors
/// When the log cannot be read.
pub fn accepted_logins(log: &Path) -> Result<usize> {
    let text = std::fs::read_to_string(log).with_context(|| log.display().to_string())?;
    Ok(text.matches("Accepted publickey for").count())
}
