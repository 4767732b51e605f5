//! `cargo xtask`: what developers and the curious run.
//!
//! * `demo` shows a key that survives a reboot, from nothing, on an emulated device.
//! * `fuzz` looks for inputs that break what clients, devices, files and people can send.
//! * `test` installs what the tests need, and runs them all.
#![forbid(unsafe_code)]

mod demo;
mod fuzz;
mod setup;
mod test;
mod venv;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Developer commands.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Shows, on an emulated device, a key that survives a reboot beside one that does not
    Demo(demo::Arguments),
    /// Builds the fuzz targets and runs them from the kept corpus
    Fuzz(fuzz::Arguments),
    /// Installs what the tests need, and runs formatting, lints, documentation, all tests, fuzzers and demo
    Test(test::Arguments),
}

fn main() -> ExitCode {
    let done = match Cli::parse().verb {
        Verb::Demo(arguments) => demo::main(&arguments),
        Verb::Fuzz(arguments) => fuzz::main(&arguments),
        Verb::Test(arguments) => test::main(&arguments),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
