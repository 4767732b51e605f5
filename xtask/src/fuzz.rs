//! `cargo xtask fuzz`: builds the targets in `fuzz/` with coverage instrumentation, and runs them from the kept corpus.
//!
//! The compiler's flags are those of cargo-fuzz, which wants a nightly toolchain; these work with the one that builds the
//! product.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};
use clap::{Args, ValueEnum};
use holdfast_tests::artefacts::{Artefacts, workspace};
use tempfile::TempDir;

use crate::setup;

const COVERAGE: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares --cfg fuzzing -Ccodegen-units=1 -Dwarnings";

/// What libFuzzer says besides what it finds: its settings, functions of sanitizers that it did not find, statistics, and
/// words for a dictionary, in quotes.
const NOISE: [&str; 7] =
    ["INFO: ", "WARNING: Failed to find function", "stat::", "######", "\"", "\tNEW_FUNC", "Done "];

/// Options of the fuzzers.
#[derive(Args)]
pub struct Arguments {
    /// What to fuzz; everything, without this
    #[arg(value_enum)]
    targets: Vec<Target>,
    /// How long each target runs, in seconds
    #[arg(long, default_value_t = 60, value_name = "N")]
    seconds: u32,
    /// Where the random numbers begin, so that two runs are alike; 0 for another place each time
    #[arg(long, default_value_t = 0, value_name = "N")]
    seed: u32,
    /// Runs one input, such as a finding, and nothing else
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// Keeps in fuzz/corpus the fewest inputs that reach what all those found so far reach
    #[arg(long, conflicts_with = "input")]
    minimise: bool,
    /// Builds with a sanitizer of the compiler too
    #[arg(long, value_enum)]
    sanitizer: Option<Sanitizer>,
}

/// A file of `fuzz/targets/`.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Target {
    /// Configuration files and environment variables
    Config,
    /// Words, shares, paths and URIs that people type
    Words,
    /// Replies of the device's library
    Replies,
    /// Damaged store files
    Store,
    /// Templates of clients
    Templates,
    /// Mechanisms and their parameters, buffers and data
    Mechanisms,
    /// Sequences of calls, against a model
    Calls,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Sanitizer {
    /// AddressSanitizer
    Address,
    /// ThreadSanitizer, on threads that use the module at once instead of the targets; needs the nightly toolchain with
    /// rust-src, as the standard library is built with it too
    Thread,
}

/// What a run came to.
struct Outcome {
    target: Target,
    passed: bool,
    executions: u64,
    edges: u64,
    inputs: u64,
}

impl Target {
    fn name(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::Words => "words",
            Self::Replies => "replies",
            Self::Store => "store",
            Self::Templates => "templates",
            Self::Mechanisms => "mechanisms",
            Self::Calls => "calls",
        }
    }

    /// The inputs in the repository.
    fn kept(self) -> PathBuf {
        workspace().join("fuzz/corpus").join(self.name())
    }

    /// The inputs found on this machine.
    fn found(self) -> Result<PathBuf> {
        let directory = workspace().join("target/fuzz-corpus").join(self.name());
        std::fs::create_dir_all(&directory)?;
        Ok(directory)
    }
}

/// Builds and runs; tells whether nothing was found.
pub fn main(arguments: &Arguments) -> Result<bool> {
    setup::install(&[setup::DEMO, setup::TESTS].concat())?;
    let all = Target::value_variants();
    let targets = if arguments.targets.is_empty() { all } else { &arguments.targets };
    if arguments.sanitizer == Some(Sanitizer::Thread) {
        return threads();
    }
    ensure!(arguments.input.is_none() || targets.len() == 1, "whose input is it? Name one target");
    let programs = build(arguments.sanitizer)?;
    let library = Artefacts::build()?.device_library();
    let findings = workspace().join("target/fuzz-findings");
    std::fs::create_dir_all(&findings)?;
    let mut outcomes = Vec::new();
    for &target in targets {
        let scratch = scratch()?;
        let mut command = Command::new(programs.join(target.name()));
        command.env("TMPDIR", scratch.path()).env("HOLDFAST_FUZZ_DEVICE_LIBRARY", &library).env("RUST_BACKTRACE", "0");
        command.args(["-max_len=1024", "-len_control=5", "-rss_limit_mb=4096", "-timeout=120", "-print_final_stats=1"]);
        if matches!(target, Target::Templates | Target::Mechanisms) {
            // What lives from C_Initialize to C_Finalize, which these do not call, is known only in a page where the leak
            // detector does not look.
            command.env("ASAN_OPTIONS", "detect_leaks=0");
        }
        command.arg(format!("-artifact_prefix={}/{}-", findings.display(), target.name()));
        if let Some(input) = &arguments.input {
            command.arg(input);
        } else if arguments.minimise {
            let kept = target.kept();
            let merged = scratch.path().join("kept");
            std::fs::create_dir(&merged)?;
            // Each edge once; how often it is taken would multiply the inputs.
            command.args(["-set_cover_merge=1", "-use_counters=0"]).args([&merged, &target.found()?, &kept]);
            outcomes.push(run(target, command)?);
            if outcomes.iter().all(|outcome| outcome.passed) {
                replace(&kept, &merged)?;
            }
            continue;
        } else {
            command.arg(format!("-max_total_time={}", arguments.seconds)).arg(format!("-seed={}", arguments.seed));
            // What was found before would make two runs differ.
            let found = if arguments.seed == 0 { target.found()? } else { scratch.path().join("found") };
            std::fs::create_dir_all(&found)?;
            command.args([found, target.kept()]);
        }
        outcomes.push(run(target, command)?);
    }
    println!("\n{:<12}{:<9}{:>12}{:>9}{:>9}", "target", "result", "executions", "edges", "inputs");
    for Outcome { target, passed, executions, edges, inputs } in &outcomes {
        let result = if *passed { "passed" } else { "FAILED" };
        println!("{:<12}{result:<9}{executions:>12}{edges:>9}{inputs:>9}", target.name());
    }
    if let Some(failed) = outcomes.iter().find(|outcome| !outcome.passed) {
        println!(
            "\nfindings are in {}; to see one again: cargo xtask fuzz {} --input FILE",
            findings.display(),
            failed.target.name()
        );
    }
    Ok(outcomes.iter().all(|outcome| outcome.passed))
}

/// Builds all targets; answers the directory of the programs.
fn build(sanitizer: Option<Sanitizer>) -> Result<PathBuf> {
    let (flags, directory) = match sanitizer {
        None => (COVERAGE.to_owned(), "target/fuzz"),
        Some(Sanitizer::Address) => (format!("{COVERAGE} -Zsanitizer=address"), "target/fuzz-address"),
        Some(Sanitizer::Thread) => bail!("ThreadSanitizer runs no targets"),
    };
    let directory = workspace().join(directory);
    let platform = platform();
    let mut command = Command::new("cargo");
    command.args(["build", "--release", "--locked", "--target", &platform, "--target-dir"]).arg(&directory);
    command.current_dir(workspace().join("fuzz")).env("RUSTFLAGS", flags);
    if sanitizer.is_some() {
        // Every toolchain has the sanitizers' runtimes, and calls the switch for them unstable.
        command.env("RUSTC_BOOTSTRAP", "1");
    }
    ensure!(command.status().context("cargo")?.success(), "the fuzz targets do not build");
    Ok(directory.join(platform).join("release"))
}

/// Named, so that flags are for what runs and not for build scripts.
fn platform() -> String {
    format!("{}-unknown-linux-gnu", std::env::consts::ARCH)
}

/// Builds and runs `fuzz/examples/threads.rs`; tells whether no race was seen.
fn threads() -> Result<bool> {
    let directory = workspace().join("target/fuzz-thread");
    let platform = platform();
    let mut command = Command::new("cargo");
    command.args(["+nightly", "build", "-Zbuild-std", "--release", "--locked", "--example", "threads"]);
    command.args(["--target", &platform, "--target-dir"]).arg(&directory);
    command.current_dir(workspace().join("fuzz")).env("RUSTFLAGS", "-Zsanitizer=thread");
    let nightly = "is there a nightly toolchain? rustup toolchain install nightly --component rust-src";
    ensure!(command.status().context("cargo")?.success(), "it does not build; {nightly}");
    let scratch = scratch()?;
    let mut command = Command::new(directory.join(platform).join("release/examples/threads"));
    command.env("TMPDIR", scratch.path()).env("HOLDFAST_FUZZ_DEVICE_LIBRARY", Artefacts::build()?.device_library());
    Ok(command.status().context("threads")?.success())
}

/// For sites and stores: in memory where that is possible, as they are written to all the time.
fn scratch() -> Result<TempDir> {
    let mut builder = tempfile::Builder::new();
    builder.prefix("holdfast-fuzz-");
    builder.tempdir_in("/dev/shm").or_else(|_| builder.tempdir()).context("a temporary directory")
}

/// Runs a target, showing what it finds.
fn run(target: Target, mut command: Command) -> Result<Outcome> {
    println!("\n== {}", target.name());
    let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().context(target.name())?;
    let mut outcome = Outcome { target, passed: false, executions: 0, edges: 0, inputs: 0 };
    let stderr = child.stderr.take().context("its standard error")?;
    for line in BufReader::new(stderr).split(b'\n') {
        let line = String::from_utf8_lossy(&line?).into_owned();
        // #1234 NEW cov: 56 ft: 78 corp: 9/10b ...
        if let Some(edges) = after(&line, " cov: ") {
            outcome.edges = edges;
            outcome.inputs = after(&line, " corp: ").unwrap_or(outcome.inputs);
        } else if let Some(executions) = after(&line, "stat::number_of_executed_units: ") {
            outcome.executions = executions;
        } else if !NOISE.iter().any(|start| line.starts_with(start)) {
            println!("   {line}");
        }
    }
    outcome.passed = child.wait()?.success();
    Ok(outcome)
}

/// The number that follows `name` in a line.
fn after(line: &str, name: &str) -> Option<u64> {
    let rest = line.split_once(name)?.1.trim_start();
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// Replaces the files of a directory by those of another.
fn replace(directory: &Path, by: &Path) -> Result<()> {
    if directory.is_dir() {
        std::fs::remove_dir_all(directory)?;
    }
    std::fs::create_dir_all(directory)?;
    for entry in std::fs::read_dir(by)? {
        let entry = entry?;
        std::fs::copy(entry.path(), directory.join(entry.file_name()))?;
    }
    Ok(())
}
