//! `holdfast completions SHELL`: what a shell needs to complete our command lines, made from the parser.

use clap::{Args, CommandFactory};
use clap_complete::Shell;
use serde_json::json;

use crate::Cli;
use crate::context::Context;
use crate::failure::Failure;
use crate::report::Report;

/// For which shell.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

/// Prints the script.
pub fn run(arguments: Arguments, _: &Context) -> Result<Report, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut Cli::command(), "holdfast", &mut script);
    let json = json!({ "shell": arguments.shell.to_string(), "script": String::from_utf8_lossy(&script) });
    Ok(Report::fine(script, json))
}
