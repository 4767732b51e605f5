//! `holdfast man DIR`: the manual pages, made from the parser.

use std::path::PathBuf;

use clap::{Args, CommandFactory};
use clap_mangen::Man;
use serde_json::json;

use crate::Cli;
use crate::context::{Context, shown};
use crate::failure::Failure;
use crate::file::{Written, write_result};
use crate::report::Report;

/// Where to.
#[derive(Debug, Args)]
pub struct Arguments {
    /// An existing directory
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

/// Writes `holdfast.1` and a page for every verb, `holdfast-wallet-create.1`. Pages of another version are replaced.
pub fn run(arguments: Arguments, _: &Context) -> Result<Report, Failure> {
    let mut command = Cli::command();
    command.build();
    let mut pages = Vec::new();
    collect(&command, &mut pages)?;
    let mut changed = false;
    let mut files = Vec::new();
    for (name, page) in pages {
        let path = arguments.directory.join(name);
        changed |= write_result(&path, &page, true)? == Written::Changed;
        files.push(shown(&path));
    }
    let text: String = files.iter().map(|file| format!("{file}\n")).collect();
    Ok(Report::fine(text, json!({ "changed": changed, "files": files })))
}

fn collect(command: &clap::Command, pages: &mut Vec<(String, Vec<u8>)>) -> Result<(), Failure> {
    let man = Man::new(command.clone().version(env!("CARGO_PKG_VERSION")));
    let mut page = Vec::new();
    let name = man.get_filename();
    man.render(&mut page).map_err(|error| Failure::usage(format!("the manual page {name}: {error}")))?;
    pages.push((name, page));
    command.get_subcommands().try_for_each(|verb| collect(verb, pages))
}
