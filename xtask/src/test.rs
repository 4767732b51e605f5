//! `cargo xtask test`: installs what the tests need, then runs formatting, lints, documentation, tests, fuzzers and the demo.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use clap::{Args, ValueEnum};
use holdfast_tests::artefacts::workspace;

use crate::setup;

/// Options of the tests.
#[derive(Args)]
pub struct Arguments {
    /// What to run; everything, without this
    #[arg(value_enum)]
    steps: Vec<Step>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Step {
    /// cargo fmt --check
    Format,
    /// cargo fmt --check in fuzz/, which is no member of the workspace
    FormatOfTargets,
    /// cargo clippy, warnings denied
    Lints,
    /// cargo doc, warnings denied
    Documentation,
    /// cargo test --workspace
    Tests,
    /// cargo xtask fuzz, for a few seconds
    Fuzz,
    /// cargo xtask demo
    Demo,
}

impl Step {
    fn name(self) -> &'static str {
        match self {
            Self::Format => "format",
            Self::FormatOfTargets => "format-of-targets",
            Self::Lints => "lints",
            Self::Documentation => "documentation",
            Self::Tests => "tests",
            Self::Fuzz => "fuzz",
            Self::Demo => "demo",
        }
    }

    fn command(self) -> Result<Command> {
        let mut command = match self {
            Self::Fuzz | Self::Demo => Command::new(std::env::current_exe()?),
            _ => Command::new("cargo"),
        };
        match self {
            Self::Format => command.args(["fmt", "--all", "--check"]),
            Self::FormatOfTargets => command.args(["fmt", "--check", "--manifest-path", "fuzz/Cargo.toml"]),
            // The same every time: a finding that comes and goes would help nobody here.
            Self::Fuzz => command.args(["fuzz", "--seconds", "5", "--seed", "1"]),
            Self::Lints => command.args(["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"]),
            Self::Documentation => {
                command.env("RUSTDOCFLAGS", "-D warnings").args(["doc", "--workspace", "--no-deps", "--locked"])
            }
            // One failure must not hide the others.
            Self::Tests => command.args(["test", "--workspace", "--no-fail-fast", "--locked"]),
            Self::Demo => command.arg("demo"),
        };
        // Errors carry their own context; backtraces would bury it.
        command.current_dir(workspace()).env("RUST_BACKTRACE", "0");
        Ok(command)
    }

    /// Whether a line of its output is worth showing while it runs.
    fn is_progress(self, line: &str) -> bool {
        let line = line.trim_start();
        match self {
            Self::Tests => {
                ["Running ", "Doc-tests ", "test result: ", "error"].iter().any(|start| line.starts_with(start))
                    || (line.starts_with("test ") && line.ends_with("FAILED"))
            }
            Self::Fuzz => line.starts_with("== "),
            Self::Demo => line.starts_with("-> "),
            _ => false,
        }
    }
}

/// What a step came to.
struct Outcome {
    step: Step,
    passed: bool,
    took: Duration,
}

/// How many tests there were.
#[derive(Default)]
struct Count {
    passed: usize,
    failed: usize,
    skipped: usize,
}

/// Runs the steps; tells whether all of them passed.
pub fn main(arguments: &Arguments) -> Result<bool> {
    setup::install(&[setup::DEMO, setup::TESTS].concat())?;
    let all = Step::value_variants();
    let steps = if arguments.steps.is_empty() { all } else { &arguments.steps };
    let mut outcomes = Vec::new();
    let mut count = Count::default();
    for &step in steps {
        outcomes.push(run(step, &mut count)?);
    }
    println!("\n{:<19}{:<9}{:>7}", "step", "result", "time");
    for outcome in &outcomes {
        let result = if outcome.passed { "passed" } else { "FAILED" };
        println!("{:<19}{result:<9}{:>5} s", outcome.step.name(), outcome.took.as_secs());
    }
    if steps.contains(&Step::Tests) {
        println!("\n{} passed, {} failed, {} skipped", count.passed, count.failed, count.skipped);
    }
    Ok(outcomes.iter().all(|outcome| outcome.passed))
}

/// Runs one step, its whole output in a file, its progress shown.
fn run(step: Step, count: &mut Count) -> Result<Outcome> {
    let begun = Instant::now();
    let log = log_file(step)?;
    let mut command = step.command()?;
    println!("\n== {}: {}", step.name(), holdfast_tests::run::shell(&command));
    let (reader, writer) = std::io::pipe()?;
    command.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer);
    let mut child = command.spawn()?;
    // The command holds the pipe's other end too, and its end is what ends the reading below.
    drop(command);
    let mut file = File::create(&log).with_context(|| log.display().to_string())?;
    for line in BufReader::new(reader).split(b'\n') {
        let line = String::from_utf8_lossy(&line?).into_owned();
        writeln!(file, "{line}")?;
        if step.is_progress(&line) {
            println!("   {:>4} s  {}", begun.elapsed().as_secs(), line.trim());
        }
        if step == Step::Tests {
            count.add(&line);
        }
    }
    let passed = child.wait()?.success();
    if !passed {
        print_end(&log)?;
    }
    Ok(Outcome { step, passed, took: begun.elapsed() })
}

impl Count {
    /// Adds a line such as `test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out`.
    fn add(&mut self, line: &str) {
        let Some(result) = line.strip_prefix("test result: ") else { return };
        let words: Vec<&str> = result.split([' ', ';']).filter(|word| !word.is_empty()).collect();
        for pair in words.windows(2) {
            if let (Ok(number), kind) = (pair[0].parse::<usize>(), pair[1]) {
                match kind {
                    "passed" => self.passed += number,
                    "failed" => self.failed += number,
                    "ignored" => self.skipped += number,
                    _ => {}
                }
            }
        }
    }
}

/// `target/xtask/NAME.log`
fn log_file(step: Step) -> Result<PathBuf> {
    let program = std::env::current_exe()?;
    let target = program.parent().and_then(Path::parent).context("xtask is run from cargo's target directory")?;
    let directory = target.join("xtask");
    std::fs::create_dir_all(&directory)?;
    Ok(directory.join(format!("{}.log", step.name())))
}

/// Prints the end of a log: for failed tests, from the first account of one on.
fn print_end(log: &Path) -> Result<()> {
    const MOST_LINES: usize = 300;
    let text = std::fs::read_to_string(log)?;
    let lines: Vec<&str> = text.lines().filter(|line| !line.ends_with("... ok")).collect();
    let from = lines.len().saturating_sub(MOST_LINES);
    println!("--- the end of {} ---", log.display());
    for line in lines.iter().skip(from) {
        println!("{line}");
    }
    println!("---");
    Ok(())
}
