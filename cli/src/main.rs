//! `holdfast`, the command line: wallets, keys, certificates and their health, over the same keystore as the PKCS#11
//! module.
//!
//! One file per verb in [`verbs`]. A verb returns a [`report::Report`] or a [`failure::Failure`]; only this file and
//! [`report`] print, so that what a verb says is the same text or the same JSON wherever it ends up.
#![forbid(unsafe_code)]

mod backend;
mod context;
mod failure;
mod file;
mod key_ref;
mod log;
mod pin;
mod present;
mod report;
mod table;
mod terminal;
mod uri;
mod verbs;
mod words;
mod x509;

use std::process::ExitCode;

use clap::Parser;

use crate::context::{Context, Global};
use crate::verbs::Verb;

/// Hardware keys of a Zymbit Secure Compute Module that survive a reboot, behind any PKCS#11 client.
#[derive(Debug, Parser)]
#[command(
    name = "holdfast",
    version,
    arg_required_else_help = true,
    disable_help_subcommand = true,
    after_help = "Exit codes: 0 fine, 1 a finding, 2 usage or configuration, 3 device or store could not be reached.\n\
                  KEY is a label, id:HEX, or an RFC 7512 pkcs11: URI."
)]
pub(crate) struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    verb: Verb,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let context = Context::new(cli.global);
    let outcome = cli.verb.run(&context);
    report::finish(outcome, context.json())
}
