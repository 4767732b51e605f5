//! The clients of the key: pkcs11-tool, OpenSSL, nginx, OpenSSH, and `holdfast` itself.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use holdfast_tests::ssh::accepted_logins;
use holdfast_tests::{Daemon, Module};

use super::KEY;
use super::narrator::Narrator;
use super::stage::Stage;

/// Makes the key.
pub fn make_key(stage: &Stage, narrator: &Narrator) -> Result<()> {
    narrator.note("PIN is in the environment");
    let arguments = ["--keypairgen", "--key-type", "EC:prime256v1", "--label", KEY, "--id", "01"];
    narrator.run(&mut stage.site.pkcs11_tool_command(Module::Holdfast, &arguments))?.success()?;
    Ok(())
}

/// Issues the certificate and answers it as PEM.
pub fn issue_certificate(stage: &Stage, narrator: &Narrator) -> Result<String> {
    let path = stage.site.root().join("certificate.pem");
    narrator.run(&mut stage.engine.self_sign(&stage.site, KEY, &path))?.success()?;
    let show = ["x509", "-noout", "-subject", "-issuer", "-fingerprint", "-sha256", "-in"];
    narrator.run(stage.site.command("openssl").args(show).arg(&path))?.success()?;
    let trust = ["verify", "-check_ss_sig", "-CAfile"];
    narrator.run(stage.site.command("openssl").args(trust).arg(&path).arg(&path))?.success()?;
    Ok(fs::read_to_string(path)?.trim().to_owned())
}

/// The servers and the agent.
pub struct Running(Vec<Daemon>);

impl Running {
    /// Starts them all.
    pub fn start(stage: &Stage, narrator: &Narrator) -> Result<Self> {
        let workers = match stage.worker {
            Some(account) => format!("nginx: two workers as {account}"),
            None => "nginx: two workers as this user (only root can give them another account)".to_owned(),
        };
        narrator.note(&workers);
        narrator.started(&stage.nginx.command(&stage.site));
        let nginx = stage.nginx.start(&stage.site)?;
        narrator.started(&stage.ssh.server_command());
        let sshd = stage.ssh.start_server()?;
        narrator.started(&stage.ssh.agent_command(&stage.site)?);
        let agent = stage.ssh.start_agent(&stage.site)?;
        Ok(Self(vec![nginx, sshd, agent]))
    }

    /// Ends them all.
    pub fn stop(self, narrator: &Narrator) {
        for daemon in self.0 {
            narrator.note(&format!("kill {}  # {}", daemon.pid(), daemon.command()));
            daemon.stop();
        }
    }
}

/// Uses the key in every way, and records what works.
pub fn use_key(stage: &Stage, narrator: &mut Narrator, certificate: &str, when: &str) {
    let served = serve(stage, narrator, certificate);
    narrator.check(&format!("{when}: both workers of nginx serve HTTPS with our certificate"), served);
    let logged_in = log_in(stage, narrator);
    narrator.check(&format!("{when}: sshd accepts a login with ssh -I"), logged_in);
    let logged_in = log_in_with_agent(stage, narrator);
    narrator.check(&format!("{when}: sshd accepts a login through ssh-agent"), logged_in);
}

fn serve(stage: &Stage, narrator: &Narrator, certificate: &str) -> Result<()> {
    narrator.run(&mut stage.nginx.curl())?.success()?;
    let workers = stage.nginx.fetch_from_every_worker()?;
    narrator.note(&format!("workers that answered: {}", workers.join(" and ")));
    for worker in &workers {
        let account = stage.site.command("ps").args(["-o", "user=", "-p", worker]).output()?;
        let account = String::from_utf8_lossy(&account.stdout).trim().to_owned();
        narrator.note(&format!("worker {worker} runs as {account}"));
        if let Some(wanted) = stage.worker {
            ensure!(account == wanted, "worker {worker} runs as {account:?}, not as {wanted}");
        }
    }
    let served = stage.nginx.served_certificate()?;
    ensure!(served == certificate, "it serves another certificate:\n{served}");
    let mut fingerprint = stage.site.command("openssl");
    let path = stage.site.root().join("served.pem");
    fs::write(&path, served)?;
    narrator.run(fingerprint.args(["x509", "-noout", "-fingerprint", "-sha256", "-in"]).arg(path))?.success()?;
    Ok(())
}

fn log_in(stage: &Stage, narrator: &Narrator) -> Result<()> {
    let keys = narrator.run(&mut stage.ssh.list_keys(&stage.site))?.success()?;
    stage.ssh.authorize(&keys.stdout)?;
    let before = accepted_logins(&stage.ssh.log())?;
    let login = narrator.run(&mut stage.ssh.login(&stage.site, "echo logged in as $(id -un)"))?.success()?;
    finish_login(stage, &login.stdout, before)
}

fn log_in_with_agent(stage: &Stage, narrator: &Narrator) -> Result<()> {
    narrator.run(&mut stage.ssh.add_to_agent(&stage.site)?)?.success()?;
    let before = accepted_logins(&stage.ssh.log())?;
    let login = narrator.run(&mut stage.ssh.login_with_agent(&stage.site, "echo logged in as $(id -un)"))?.success()?;
    finish_login(stage, &login.stdout, before)
}

fn finish_login(stage: &Stage, said: &str, before: usize) -> Result<()> {
    let wanted = format!("logged in as {}", stage.ssh.user());
    ensure!(said.contains(&wanted), "the command on the other side did not run");
    ensure!(accepted_logins(&stage.ssh.log())? > before, "sshd did not accept a public key");
    Ok(())
}

/// Shows `holdfast list`, and checks that it tells of our key.
pub fn list(stage: &Stage, narrator: &Narrator) -> Result<()> {
    narrator.run(&mut stage.site.holdfast_command(&["list"]))?.success()?;
    let answer = stage.site.holdfast(&["list", "--json"])?.success()?.json()?;
    let keys = answer["keys"].as_array().context("keys is a list")?;
    let [key] = keys.as_slice() else { anyhow::bail!("{} keys, not one", keys.len()) };
    ensure!(key["label"] == KEY && key["state"] == "ready" && key["wallet"].is_string(), "it says: {key}");
    Ok(())
}

/// Shows `holdfast verify`, which signs with every key.
pub fn verify(stage: &Stage, narrator: &Narrator) -> Result<()> {
    narrator.run(&mut stage.site.holdfast_command(&["verify"]))?.success()?;
    Ok(())
}

/// Shows `holdfast status`, and checks verdict and policy.
pub fn status(stage: &Stage, narrator: &Narrator) -> Result<()> {
    narrator.run(&mut stage.site.holdfast_command(&["status"]))?.success()?;
    let answer = stage.site.holdfast(&["status", "--json"])?.success()?.json()?;
    ensure!(answer["firmware"]["verdict"] == "affected", "verdict: {}", answer["firmware"]);
    ensure!(answer["mapping"]["maps"] == true, "mapping: {}", answer["mapping"]);
    Ok(())
}
