//! The device, the token, and what the clients need to find them.

use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result};
use holdfast_tests::artefacts::{build_command, workspace};
use holdfast_tests::nginx::Nginx;
use holdfast_tests::openssl_engine::{Engine, Start};
use holdfast_tests::ssh::{Ssh, is_root};
use holdfast_tests::{Artefacts, Module, Site};

use super::KEY;
use super::narrator::Narrator;
use crate::setup::has_account;
use crate::venv::Venv;

/// Accounts that nginx's workers may run under, the first that exists.
const UNPRIVILEGED: [&str; 2] = ["www-data", "nobody"];

/// Everything that is there before the first key is made.
pub struct Stage {
    /// Device, token, configuration.
    pub site: Site,
    /// The vendor's client.
    pub venv: Venv,
    /// OpenSSL for commands.
    pub engine: Engine,
    /// The web server.
    pub nginx: Nginx,
    /// The login server and its clients.
    pub ssh: Ssh,
    /// The account of nginx's workers; `None`: this user's, because only root can change accounts.
    pub worker: Option<&'static str>,
}

impl Stage {
    /// Builds the product and sets everything up in a new directory.
    pub fn set_up(release: bool, keep: bool) -> Result<Self> {
        println!("\n== Build");
        let begun = Instant::now();
        let mut build = build_command(release);
        println!("$ {}", holdfast_tests::run::shell(&build));
        let status = build.status().context("cargo")?;
        anyhow::ensure!(status.success(), "the product does not build");
        println!("   built in {} s", begun.elapsed().as_secs());
        let venv = Venv::prepare().context("the vendor's Python client cannot be installed")?;

        let root = tempfile::Builder::new().prefix("holdfast-demo-").disable_cleanup(keep).tempdir()?;
        let built = Artefacts::in_directory(target_directory()?.join(if release { "release" } else { "debug" }))?;
        let artefacts = built.install(&root.path().join("lib"))?;
        venv.use_library(&artefacts.device_library())?;

        let worker = if is_root() { UNPRIVILEGED.into_iter().find(|name| has_account(name)) } else { None };
        let mut builder = Site::builder().set("log", "target", "\"stderr\"");
        if let Some(worker) = worker {
            builder = builder.shared_with(worker);
        }
        let site = builder.build_in(root, artefacts)?;
        let engine = Engine::configure(&site, Module::Holdfast, Start::OnDemand)?;
        let server_engine = Engine::configure(&site, Module::Holdfast, Start::AtOnce)?;
        let nginx = Nginx::configure(&site, &server_engine, KEY, &site.root().join("certificate.pem"), worker)?;
        let ssh = Ssh::configure(&site)?;
        Ok(Self { site, venv, engine, nginx, ssh, worker })
    }

    /// Says what there is.
    pub fn introduce(&self, narrator: &Narrator) -> Result<()> {
        narrator.step("An emulated Zymbit SCM and a SoftHSM2 token");
        println!("   D={}", self.site.root().display());
        for (name, value) in self.site.environment() {
            narrator.note(&format!("export {name}={}", value.to_string_lossy()));
        }
        narrator.run(&mut self.site.device().command(&["show"]))?.success()?;
        narrator.run(self.site.command("softhsm2-util").arg("--show-slots"))?.success()?;
        narrator.run(Command::new("cat").arg(self.site.configuration()))?.success()?;
        Ok(())
    }
}

fn target_directory() -> Result<std::path::PathBuf> {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(directory) => Ok(workspace().join(directory)),
        None => Ok(workspace().join("target")),
    }
}
