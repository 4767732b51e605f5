//! Long random sequences of calls give the same return codes and the same data through the module as on the bare one,
//! also when mapped keys are beside what the sequences make.
//!
//! What differs by design the player leaves out: mechanisms that are added, and mapped keys that a search finds.
//! `docs/compatibility.md` lists all of it.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use holdfast_tests::client::Curve;
use holdfast_tests::run::run_with;
use holdfast_tests::{Module, Site, run};

/// Calls in one sequence. Short ones see more different beginnings.
const CALLS: usize = 2500;
/// Sequences of each kind, unless `HOLDFAST_TEST_SEQUENCES` says otherwise.
const SEQUENCES: u64 = 16;
/// Sequences at once: most of the time they wait for SoftHSM2's files to reach the disk.
const AT_ONCE: u64 = 3;
const TIME_LIMIT: Duration = Duration::from_secs(180);
/// Calls of a transcript to show before the first that differs.
const CONTEXT: usize = 5;

/// A site and a copy of its token as it was made.
struct Bench {
    site: Site,
    saved: PathBuf,
    mapped_keys: bool,
}

impl Bench {
    fn new(mapped_keys: bool) -> Result<Self> {
        let site = Site::new()?;
        if mapped_keys {
            let mut client = site.client()?;
            client.generate(Curve::P256, "mapped one", &[1])?;
            client.generate(Curve::Secp256k1, "mapped two", &[2])?;
            client.finish()?;
        }
        let saved = site.root().join("saved");
        run(Command::new("cp").arg("-a").arg(site.token().directory()).arg(&saved))?.success()?;
        Ok(Self { site, saved, mapped_keys })
    }

    /// What a module answers to the sequence `seed`, on a copy of the token.
    fn transcript(&self, module: Module, seed: u64) -> Result<Vec<String>> {
        fs::remove_dir_all(self.site.token().directory())?;
        run(Command::new("cp").arg("-a").arg(&self.saved).arg(self.site.token().directory()))?.success()?;
        let mut command = self.site.command(self.site.artefacts().helper("pkcs11-replay"));
        command.arg(self.site.module(module)).arg(seed.to_string()).arg(CALLS.to_string());
        if self.mapped_keys {
            command.arg("mapped-keys");
        }
        let finished = run_with(&mut command, &[], TIME_LIMIT)?;
        let finished = finished.success().with_context(|| format!("sequence {seed} on {module:?}"))?;
        let lines: Vec<String> = finished.stdout.lines().map(ToOwned::to_owned).collect();
        ensure!(lines.len() == CALLS, "sequence {seed} on {module:?}: {} lines", lines.len());
        Ok(lines)
    }

    /// Plays the sequence `seed` on both; counts the calls of each function, and those that succeeded.
    fn compare(&self, seed: u64, seen: &mut BTreeMap<String, (usize, usize)>) -> Result<()> {
        let bare = self.transcript(Module::Bare, seed)?;
        let ours = self.transcript(Module::Holdfast, seed)?;
        if let Some(at) = bare.iter().zip(&ours).position(|(bare, ours)| bare != ours) {
            let before = bare.get(at.saturating_sub(CONTEXT)..at).unwrap_or_default();
            let (bare, ours) = (bare.get(at), ours.get(at));
            anyhow::bail!("sequence {seed} differs after {before:#?}\nbare: {bare:?}\nours: {ours:?}");
        }
        for line in &bare {
            let mut words = line.split_whitespace().skip(1);
            let function = words.next().context("a line without a function")?;
            let (calls, successes) = seen.entry(function.to_owned()).or_default();
            *calls += 1;
            *successes += usize::from(words.any(|word| word == "0x0"));
        }
        Ok(())
    }
}

fn sequences() -> Result<u64> {
    match std::env::var("HOLDFAST_TEST_SEQUENCES") {
        Ok(number) => number.parse().context("HOLDFAST_TEST_SEQUENCES"),
        Err(_) => Ok(SEQUENCES),
    }
}

/// Compares as many sequences as asked for, from `first` on. Returns what was seen.
fn compare_all(first: u64, mapped_keys: bool) -> Result<BTreeMap<String, (usize, usize)>> {
    let sequences = sequences()?;
    let worker = |number: u64| {
        let bench = Bench::new(mapped_keys)?;
        let mut seen = BTreeMap::new();
        for seed in (first..first + sequences).filter(|seed| seed % AT_ONCE == number) {
            bench.compare(seed, &mut seen)?;
        }
        if mapped_keys {
            let mut client = bench.site.client()?;
            let labels = client.private_keys(None)?;
            let there = ["mapped one", "mapped two"].iter().all(|label| labels.iter().any(|found| found == label));
            ensure!(there, "the mapped keys are gone: {labels:?}");
        }
        Ok(seen)
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..AT_ONCE).map(|number| scope.spawn(move || worker(number))).collect();
        let mut all: BTreeMap<String, (usize, usize)> = BTreeMap::new();
        for worker in workers {
            let seen: Result<BTreeMap<String, (usize, usize)>> = worker.join().ok().context("a worker panicked")?;
            for (function, (calls, successes)) in seen? {
                let sum = all.entry(function).or_default();
                *sum = (sum.0 + calls, sum.1 + successes);
            }
        }
        Ok(all)
    })
}

/// The functions of 2.40 that the sequences do not play: the list itself was got to play at all.
const NOT_PLAYED: [&str; 1] = ["C_GetFunctionList"];

/// Sequences that only ever fail would show nothing.
fn check_substance(seen: &BTreeMap<String, (usize, usize)>) -> Result<()> {
    let names = holdfast_pkcs11::abi::tables::NAMES.iter().take(68).filter_map(|name| name.to_str().ok());
    let played = |name: &str| seen.keys().any(|line| line.split('+').any(|function| function == name));
    let missing: Vec<_> = names.filter(|name| !NOT_PLAYED.contains(name) && !played(name)).collect();
    ensure!(missing.is_empty(), "never played: {missing:?}");
    let (calls, successes) = seen.values().fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    println!("{calls} calls, {successes} of them successful");
    for (function, (calls, successes)) in seen {
        println!("{function:<28}{calls:>8}{successes:>8}");
    }
    ensure!(successes * 4 > calls, "only {successes} of {calls} calls succeeded");
    Ok(())
}

#[test]
fn random_sequences_are_answered_as_by_the_bare_module() -> Result<()> {
    check_substance(&compare_all(1, false)?)
}

#[test]
fn random_sequences_beside_mapped_keys_are_answered_as_by_the_bare_module() -> Result<()> {
    check_substance(&compare_all(1_000_001, true)?)
}
