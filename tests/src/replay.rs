//! Random sequences of calls, played by `pkcs11-replay` on a backend bare and through the module, and their comparison.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::run::{run, run_with};
use crate::site::{Module, Site};

/// Calls in one sequence. Short ones see more different beginnings.
const CALLS: usize = 2500;
/// Sequences of each kind, unless `HOLDFAST_TEST_SEQUENCES` says otherwise.
const SEQUENCES: u64 = 16;
/// Sequences at once: most of the time they wait for the backend's files to reach the disk.
const AT_ONCE: u64 = 3;
const TIME_LIMIT: Duration = Duration::from_secs(180);
/// Calls of a transcript to show before the first that differs.
const CONTEXT: usize = 5;

/// Of each function the calls, and those of them that succeeded.
pub type Seen = BTreeMap<String, (usize, usize)>;

/// A site and a copy of its tokens as they were made.
#[derive(Debug)]
pub struct Bench {
    /// The site.
    pub site: Site,
    tokens: PathBuf,
    saved: PathBuf,
    words: Vec<&'static str>,
}

impl Bench {
    /// For a site whose backend keeps everything in the directory `tokens`; `words` are for `pkcs11-replay`.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn new(site: Site, tokens: &Path, words: &[&'static str]) -> Result<Self> {
        let saved = site.root().join("saved");
        run(Command::new("cp").arg("-a").arg(tokens).arg(&saved))?.success()?;
        Ok(Self { site, tokens: tokens.to_owned(), saved, words: words.to_vec() })
    }

    /// What a module answers to the sequence `seed`, on a copy of the tokens.
    fn transcript(&self, module: Module, seed: u64) -> Result<Vec<String>> {
        fs::remove_dir_all(&self.tokens)?;
        run(Command::new("cp").arg("-a").arg(&self.saved).arg(&self.tokens))?.success()?;
        let mut command = self.site.command(self.site.artefacts().helper("pkcs11-replay"));
        command.arg(self.site.module(module)).arg(seed.to_string()).arg(CALLS.to_string()).args(&self.words);
        let finished = run_with(&mut command, &[], TIME_LIMIT)?;
        let finished = finished.success().with_context(|| format!("sequence {seed} on {module:?}"))?;
        let lines: Vec<String> = finished.stdout.lines().map(ToOwned::to_owned).collect();
        ensure!(lines.len() == CALLS, "sequence {seed} on {module:?}: {} lines", lines.len());
        Ok(lines)
    }

    /// Plays the sequence `seed` on both.
    fn compare(&self, seed: u64, seen: &mut Seen) -> Result<()> {
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

/// How many sequences of a kind to play.
///
/// # Errors
/// When `HOLDFAST_TEST_SEQUENCES` is no number.
fn sequences() -> Result<u64> {
    match std::env::var("HOLDFAST_TEST_SEQUENCES") {
        Ok(number) => number.parse().context("HOLDFAST_TEST_SEQUENCES"),
        Err(_) => Ok(SEQUENCES),
    }
}

/// Compares as many sequences as asked for, from `first` on, on several benches; `check` looks at each bench when it is
/// done. Returns what was seen.
///
/// # Errors
/// When answers differ: with the calls before.
pub fn compare_all(
    first: u64,
    bench: impl Fn() -> Result<Bench> + Sync,
    check: impl Fn(&Bench) -> Result<()> + Sync,
) -> Result<Seen> {
    let sequences = sequences()?;
    let worker = |number: u64| {
        let bench = bench()?;
        let mut seen = Seen::new();
        for seed in (first..first + sequences).filter(|seed| seed % AT_ONCE == number) {
            bench.compare(seed, &mut seen)?;
        }
        check(&bench)?;
        Ok(seen)
    };
    std::thread::scope(|scope| {
        let worker = &worker;
        let workers: Vec<_> = (0..AT_ONCE).map(|number| scope.spawn(move || worker(number))).collect();
        let mut all = Seen::new();
        for worker in workers {
            let seen: Result<Seen> = worker.join().ok().context("a worker panicked")?;
            for (function, (calls, successes)) in seen? {
                let sum = all.entry(function).or_default();
                *sum = (sum.0 + calls, sum.1 + successes);
            }
        }
        Ok(all)
    })
}

/// The functions that the sequences do not play: without the list, or the interface, there is nothing to play.
const NOT_PLAYED: [&str; 3] = ["C_GetFunctionList", "C_GetInterfaceList", "C_GetInterface"];

/// Prints what was seen, and fails unless all of `names` were called and a fair part of the calls succeeded: sequences
/// that only ever fail would show nothing.
///
/// # Errors
/// As said.
pub fn check_substance<'a>(seen: &Seen, names: impl Iterator<Item = &'a str>) -> Result<()> {
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
