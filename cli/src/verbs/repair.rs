//! `holdfast repair`: finishes or undoes interrupted work.

use clap::Args;
use holdfast_keystore::Finding;
use serde_json::{Value, json};

use crate::context::{Context, keystore};
use crate::failure::{Exit, Failure};
use crate::report::Report;
use crate::verbs::status::{finding_json, severity};

/// What only the operator can decide.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Also remove from the device what is there of ours and is no key (see `holdfast status`)
    #[arg(long)]
    remove_leftovers: bool,
    /// The interrupted initialisation of the token with this serial number did happen: its keys are removed
    #[arg(long, value_name = "SERIAL", conflicts_with = "token_kept")]
    token_initialised: Option<String>,
    /// The interrupted initialisation of the token with this serial number did not happen: its keys are shown again
    #[arg(long, value_name = "SERIAL")]
    token_kept: Option<String>,
}

/// Does what needs no decision, and what the options decide; reports what is left.
pub fn run(arguments: Arguments, context: &Context) -> Result<Report, Failure> {
    let keystore = keystore(&context.config()?);
    let mut done = keystore.repair()?;
    for (serial, happened) in [(&arguments.token_initialised, true), (&arguments.token_kept, false)] {
        let Some(serial) = serial else { continue };
        let waits = keystore.findings()?.into_iter().any(
            |finding| matches!(finding, Finding::InterruptedInitToken { token_serial, .. } if token_serial == *serial),
        );
        if waits {
            keystore.resolve_init_token(serial, happened)?;
            let what = if happened { "its keys were removed" } else { "its keys are there again" };
            done.push(format!("token {serial}: {what}"));
        }
    }
    if arguments.remove_leftovers {
        for finding in keystore.findings()? {
            if let Finding::Leftover(leftover) = finding {
                keystore.remove_leftover(leftover.id)?;
                done.push(format!("{} {} was removed from the device", leftover.wallet_name, leftover.path));
            }
        }
    }
    let left: Vec<_> = keystore.findings()?.into_iter().filter(|finding| severity(finding) == "problem").collect();
    let mut text: String = done.iter().map(|line| format!("{line}\n")).collect();
    if done.is_empty() {
        text.push_str("nothing to do\n");
    }
    text.extend(left.iter().map(|finding| format!("left: {finding}\n")));
    let exit = if left.is_empty() { Exit::Fine } else { Exit::Finding };
    let left: Vec<Value> = left.iter().map(finding_json).collect();
    let json = json!({ "changed": !done.is_empty(), "done": done, "findings": left });
    Ok(Report::fine(text, json).with_exit(exit))
}
