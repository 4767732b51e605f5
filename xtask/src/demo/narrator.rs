//! What the demo prints: headings, commands as one would type them, their real output, and the table at the end.

use std::process::Command;

use anyhow::Result;
use holdfast_tests::run::shell;
use holdfast_tests::{Finished, run};

/// More of a command's output is cut.
const MOST_LINES: usize = 24;
const MOST_COLUMNS: usize = 180;

/// Prints, and keeps count of what was checked.
pub struct Narrator {
    directory: String,
    checks: Vec<(String, Result<(), String>)>,
}

impl Narrator {
    /// Paths below `directory` are printed as `$D/...`.
    pub fn new(directory: &std::path::Path) -> Self {
        Self { directory: directory.display().to_string(), checks: Vec::new() }
    }

    /// A heading.
    pub fn step(&self, title: &str) {
        println!("\n== {title}");
    }

    /// A remark.
    pub fn note(&self, text: &str) {
        println!("   {}", self.shorten(text));
    }

    /// A command that runs on beside us.
    pub fn started(&self, command: &Command) {
        println!("$ {} &", self.shorten(&shell(command)));
    }

    /// Runs a command and prints it with what it says.
    pub fn run(&self, command: &mut Command) -> Result<Finished> {
        println!("$ {}", self.shorten(&shell(command)));
        let finished = run(command)?;
        self.output(&finished.output());
        if !finished.succeeded() {
            println!("  [{}]", finished.status);
        }
        Ok(finished)
    }

    /// Prints a text as a command's output.
    pub fn output(&self, text: &str) {
        let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
        for line in lines.iter().take(MOST_LINES) {
            let line = self.shorten(line);
            let cut: String = line.chars().take(MOST_COLUMNS).collect();
            println!("  {cut}{}", if cut.len() < line.len() { "..." } else { "" });
        }
        if lines.len() > MOST_LINES {
            println!("  ... {} more lines", lines.len() - MOST_LINES);
        }
    }

    fn shorten(&self, text: &str) -> String {
        text.replace(&self.directory, "$D")
    }

    /// Records whether something holds; returns what was found on the way.
    pub fn check<T>(&mut self, what: &str, outcome: Result<T>) -> Option<T> {
        match outcome {
            Ok(found) => {
                println!("  -> passed: {what}");
                self.checks.push((what.to_owned(), Ok(())));
                Some(found)
            }
            Err(error) => {
                println!("  -> FAILED: {what}");
                self.output(&format!("{error:#}"));
                self.checks.push((what.to_owned(), Err(format!("{error:#}"))));
                None
            }
        }
    }

    /// Prints the table of what was checked; tells whether all of it held.
    pub fn summary(&self) -> bool {
        println!("\n== What was checked");
        let width = self.checks.iter().map(|(what, _)| what.len()).max().unwrap_or(0);
        for (what, outcome) in &self.checks {
            println!("  {what:<width$}  {}", if outcome.is_ok() { "passed" } else { "FAILED" });
        }
        let failed = self.checks.iter().filter(|(_, outcome)| outcome.is_err()).count();
        println!("\n{} passed, {failed} failed", self.checks.len() - failed);
        failed == 0
    }
}
