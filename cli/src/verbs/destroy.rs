//! `holdfast destroy KEY`: removes a key from the device and from the store.

use clap::Args;
use holdfast_keystore::{KeyState, Origin};
use serde_json::json;

use crate::context::{Context, keystore};
use crate::failure::Failure;
use crate::key_ref::KeyRef;
use crate::present;
use crate::report::Report;
use crate::terminal::Terminal;

/// Which key.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Label, id:HEX, or pkcs11: URI
    key: KeyRef,
    /// Do not ask for confirmation
    #[arg(long)]
    yes: bool,
}

/// Destroys the key. At a terminal it asks first; without one, or with `--non-interactive`, the command is the answer.
pub fn run(arguments: Arguments, context: &Context) -> Result<Report, Failure> {
    let keystore = keystore(&context.config()?);
    let Some(key) = arguments.key.find(&keystore)? else {
        let text = format!("nothing to do: there is no key {}\n", arguments.key);
        return Ok(Report::fine(text, json!({ "changed": false, "key": null })));
    };
    if !matches!(key.state, KeyState::Ready | KeyState::PublicOnly) {
        return Err(Failure::finding(format!(
            "key {} is hidden: {}; `holdfast status` says what to do",
            arguments.key,
            present::state(key.state)
        )));
    }
    let wallets = present::by_id(&keystore.wallets()?);
    let adopted = key.key.origin == Origin::Adopted;
    if !arguments.yes && !context.non_interactive() {
        confirm(&format!(
            "{} key {:?} (id {}) of token {:?}, {}?",
            if adopted { "Let go of" } else { "Destroy" },
            present::label(&key),
            present::id(&key),
            key.key.token_label,
            key.key.node()
        ))?;
    }
    keystore.destroy_key(key.key.id)?;
    let recovery = present::recovery(&key, &wallets);
    let text = if adopted {
        format!(
            "let go of key {:?}: slot {} was not made by Holdfast and stays on the device\n",
            present::label(&key),
            key.key.slot
        )
    } else {
        let again = match recovery {
            "none" => "its wallet's seed is still on the device",
            _ => "whoever has the recovery words can derive it again",
        };
        format!(
            "destroyed key {:?}: {} is no longer on the device. Destroying is not erasing: {again}\n",
            present::label(&key),
            key.key.node()
        )
    };
    Ok(Report::fine(text, json!({ "changed": true, "key": present::key_json(&key, &wallets) })))
}

fn confirm(question: &str) -> Result<(), Failure> {
    // No terminal: a script runs us, and has decided.
    let Ok(mut terminal) = Terminal::open() else { return Ok(()) };
    let answer = terminal.ask(&format!("{question} [y/N] "));
    match answer.as_deref().map(|answer| answer.trim().to_ascii_lowercase()).as_deref() {
        Ok("y" | "yes") => Ok(()),
        _ => Err(Failure::usage("not confirmed: nothing was destroyed")),
    }
}
