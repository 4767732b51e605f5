//! Long random sequences of calls give the same return codes and the same data through the module as on the bare one.
//!
//! What differs by design - mechanisms that are added - the player leaves out; `docs/compatibility.md` lists it.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use holdfast_tests::run::run_with;
use holdfast_tests::{Module, Site, run};

/// Calls in one sequence. Short ones see more different beginnings.
const CALLS: usize = 2500;
/// Sequences, unless `HOLDFAST_TEST_SEQUENCES` says otherwise.
const SEQUENCES: u64 = 20;
const TIME_LIMIT: Duration = Duration::from_secs(120);

/// What a module answers to the sequence `seed`, on a copy of the site's token.
fn transcript(site: &Site, module: Module, seed: u64, saved: &Path) -> Result<String> {
    std::fs::remove_dir_all(site.token().directory())?;
    run(Command::new("cp").arg("-a").arg(saved).arg(site.token().directory()))?.success()?;
    let mut command = site.command(site.artefacts().helper("pkcs11-replay"));
    command.arg(site.module(module)).arg(seed.to_string()).arg(CALLS.to_string());
    let finished = run_with(&mut command, &[], TIME_LIMIT)?;
    finished.success().map(|finished| finished.stdout).with_context(|| format!("sequence {seed} on {module:?}"))
}

fn compare(seeds: impl Iterator<Item = u64>) -> Result<()> {
    let site = Site::new()?;
    let saved = site.root().join("saved");
    run(Command::new("cp").arg("-a").arg(site.token().directory()).arg(&saved))?.success()?;
    for seed in seeds {
        let bare = transcript(&site, Module::Bare, seed, &saved)?;
        let ours = transcript(&site, Module::Holdfast, seed, &saved)?;
        ensure!(bare.lines().count() == CALLS, "sequence {seed}: {} lines", bare.lines().count());
        let difference = bare.lines().zip(ours.lines()).find(|(bare, ours)| bare != ours);
        ensure!(difference.is_none(), "sequence {seed} differs (bare, ours): {difference:#?}");
    }
    Ok(())
}

#[test]
fn random_sequences_are_answered_as_by_the_bare_module() -> Result<()> {
    let sequences = match std::env::var("HOLDFAST_TEST_SEQUENCES") {
        Ok(number) => number.parse().context("HOLDFAST_TEST_SEQUENCES")?,
        Err(_) => SEQUENCES,
    };
    compare(1..=sequences)
}
