//! nginx with a key of the token, through OpenSSL's engine.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::daemon::{Daemon, free_port};
use crate::openssl_engine::Engine;
use crate::run::{Finished, run};
use crate::site::Site;

/// How many worker processes it has.
pub const WORKERS: usize = 2;

/// The configuration of one server, and the port it listens on.
#[derive(Clone, Debug)]
pub struct Nginx {
    directory: PathBuf,
    certificate: PathBuf,
    engine: Engine,
    port: u16,
}

impl Nginx {
    /// Writes the configuration. `user` is the account of the workers; without one they run as whoever starts it.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn configure(
        site: &Site,
        engine: &Engine,
        label: &str,
        certificate: &Path,
        user: Option<&str>,
    ) -> Result<Self> {
        let nginx = Self {
            directory: site.root().join("nginx"),
            certificate: certificate.to_owned(),
            engine: engine.clone(),
            port: free_port()?,
        };
        std::fs::create_dir_all(&nginx.directory)?;
        std::fs::write(nginx.configuration(), nginx.text(site, label, user))?;
        Ok(nginx)
    }

    fn text(&self, site: &Site, label: &str, user: Option<&str>) -> String {
        let directory = self.directory.display();
        let user = user.map(|user| format!("user {user};\n")).unwrap_or_default();
        // Workers get no environment but what is named here, and initialise the module anew after the fork.
        let names = ["OPENSSL_CONF"].into_iter().chain(site.environment().into_iter().map(|(name, _)| name));
        let environment: String = names.map(|name| format!("env {name};\n")).collect();
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .iter()
            .map(|kind| format!("    {kind}_temp_path {directory}/{kind};\n"))
            .collect();
        format!(
            "{user}daemon off;\nworker_processes {WORKERS};\npid {directory}/pid;\nerror_log {directory}/error.log info;\n\
             {environment}\
             events {{ worker_connections 64; }}\n\
             http {{\n    access_log off;\n{temporary}\
             \x20   server {{\n\
             \x20       listen 127.0.0.1:{port} ssl reuseport;\n\
             \x20       ssl_certificate {certificate};\n\
             \x20       ssl_certificate_key \"engine:pkcs11:{key}\";\n\
             \x20       ssl_session_cache off;\n\
             \x20       ssl_session_tickets off;\n\
             \x20       default_type text/plain;\n\
             \x20       location / {{ return 200 \"served by worker $pid\\n\"; }}\n\
             \x20   }}\n}}\n",
            port = self.port,
            certificate = self.certificate.display(),
            key = self.engine.key_uri(label),
        )
    }

    /// The configuration file.
    pub fn configuration(&self) -> PathBuf {
        self.directory.join("nginx.conf")
    }

    /// The port of the loopback interface.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What starts it, in the foreground.
    pub fn command(&self, site: &Site) -> Command {
        let mut command = site.command("/usr/sbin/nginx");
        command.env("OPENSSL_CONF", self.engine.configuration());
        command.arg("-e").arg(self.directory.join("error.log")).arg("-c").arg(self.configuration());
        command
    }

    /// Starts it and waits until it accepts connections.
    ///
    /// # Errors
    /// When it does not; with its log.
    pub fn start(&self, site: &Site) -> Result<Daemon> {
        let mut daemon = Daemon::start(&mut self.command(site), &self.directory.join("output.log"))?;
        daemon.wait_for_port(self.port).with_context(|| self.error_log())?;
        Ok(daemon)
    }

    /// What it wrote to its error log.
    pub fn error_log(&self) -> String {
        std::fs::read_to_string(self.directory.join("error.log")).unwrap_or_default()
    }

    /// `curl`, trusting the certificate and nothing else.
    pub fn curl(&self) -> Command {
        let mut command = Command::new("curl");
        command.args(["--silent", "--show-error", "--max-time", "20", "--noproxy", "*", "--cacert"]);
        command.arg(&self.certificate).arg(format!("https://localhost:{}/", self.port));
        command
    }

    /// Fetches the page until every worker has answered, and returns the workers.
    ///
    /// # Errors
    /// When a connection fails, or a worker is never met in 100 connections.
    pub fn fetch_from_every_worker(&self) -> Result<Vec<String>> {
        let mut workers: Vec<String> = Vec::new();
        for _ in 0..100 {
            let page = run(&mut self.curl())?.success().with_context(|| self.error_log())?.stdout;
            let worker = page.trim().rsplit(' ').next().unwrap_or_default().to_owned();
            if !workers.contains(&worker) {
                workers.push(worker);
            }
            if workers.len() == WORKERS {
                return Ok(workers);
            }
        }
        anyhow::bail!("of {WORKERS} workers only {workers:?} answered\n{}", self.error_log())
    }

    /// `openssl s_client`: connects and prints the certificate it is shown.
    pub fn s_client(&self) -> Command {
        let mut command = Command::new("openssl");
        command.args(["s_client", "-connect", &format!("127.0.0.1:{}", self.port), "-servername", "localhost"]);
        command.args(["-verify_return_error", "-CAfile"]).arg(&self.certificate);
        command
    }

    /// The certificate that the server shows, as PEM; the handshake proves that it has the private key.
    ///
    /// # Errors
    /// When the handshake fails.
    pub fn served_certificate(&self) -> Result<String> {
        let shown = run(&mut self.s_client())?.success()?;
        certificate_in(&shown).with_context(|| shown.to_string())
    }
}

fn certificate_in(shown: &Finished) -> Option<String> {
    const END: &str = "-----END CERTIFICATE-----";
    let begin = shown.stdout.find("-----BEGIN CERTIFICATE-----")?;
    let end = shown.stdout.find(END)? + END.len();
    Some(shown.stdout.get(begin..end)?.to_owned())
}
