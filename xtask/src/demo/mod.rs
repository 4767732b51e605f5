//! `cargo xtask demo`: a key made by pkcs11-tool still serves TLS and SSH after a reboot, where the vendor's own call
//! has lost its key.
//!
//! Everything happens in one temporary directory, on ports of the loopback interface that nobody uses, with processes
//! that end with the demo.

mod clients;
mod narrator;
mod stage;
mod vendor;

use anyhow::{Context as _, Result, anyhow};
use clap::Args;

use crate::setup;
use narrator::Narrator;
use stage::Stage;

/// Options of the demo.
#[derive(Args)]
pub struct Arguments {
    /// Build and use the release profile
    #[arg(long)]
    release: bool,
    /// Keep the directory with device, token, store and logs
    #[arg(long)]
    keep: bool,
}

/// The label of the key that everything is about.
const KEY: &str = "server";

/// Runs the demo; tells whether everything that it checked held.
pub fn main(arguments: &Arguments) -> Result<bool> {
    println!("== What this needs");
    setup::install(setup::DEMO)?;
    println!("   installed");
    let stage = Stage::set_up(arguments.release, arguments.keep)?;
    let mut narrator = Narrator::new(stage.site.root());
    play(&stage, &mut narrator).unwrap_or_else(|error| {
        narrator.check::<()>("the demo runs to its end", Err(error));
    });
    Ok(narrator.summary())
}

fn play(stage: &Stage, narrator: &mut Narrator) -> Result<()> {
    stage.introduce(narrator)?;

    narrator.step("The vendor's own Python client makes a key");
    let made = vendor::make_key(stage, narrator);
    let vendor_slot = narrator.check("vendor's client: gen_key_pair makes a key, which signs", made);

    narrator.step("pkcs11-tool makes a key through Holdfast");
    let made = clients::make_key(stage, narrator);
    narrator
        .check("pkcs11-tool --keypairgen through Holdfast makes a key", made)
        .context("there is no key to go on with")?;

    narrator.step("OpenSSL issues a certificate for it");
    let issued = clients::issue_certificate(stage, narrator);
    let certificate = narrator.check("OpenSSL (engine pkcs11) issues a certificate", issued);
    let certificate = certificate.context("there is no certificate to go on with")?;

    narrator.step("nginx and sshd start");
    let first = clients::Running::start(stage, narrator)?;
    clients::use_key(stage, narrator, &certificate, "before");

    narrator.step("POWER CYCLE: every process ends, the device restarts, everything starts anew");
    first.stop(narrator);
    let cycle = narrator.run(&mut stage.site.device().command(&["power-cycle"]))?.success()?;
    if let Some(slot) = vendor_slot {
        let lost = cycle.stdout.trim() == format!("lost: slot {slot}");
        let outcome = if lost { Ok(()) } else { Err(anyhow!("not slot {slot} alone: {}", cycle.stdout)) };
        narrator.check("the power cycle loses exactly the vendor's key", outcome);
    }
    let _second = clients::Running::start(stage, narrator)?;

    if let Some(slot) = vendor_slot {
        narrator.step("The vendor's key is gone");
        let gone = vendor::key_is_gone(stage, narrator, slot);
        narrator.check("after: the vendor's key is gone", gone);
    }

    narrator.step("Ours still serves and logs in");
    clients::use_key(stage, narrator, &certificate, "after");

    narrator.step("Why: the key is a child of a wallet on the device");
    let listed = clients::list(stage, narrator);
    narrator.check("holdfast list: the key is ready, in a wallet of the device", listed);
    let verified = clients::verify(stage, narrator);
    narrator.check("holdfast verify: the key is on the device, is the recorded one, and signs", verified);
    let status = clients::status(stage, narrator);
    narrator.check("holdfast status: the firmware is affected, new keys go to a wallet", status);
    Ok(())
}
