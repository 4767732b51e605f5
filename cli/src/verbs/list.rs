//! `holdfast list`: keys, where each lives, and whether it can be recovered.

use clap::Args;
use holdfast_keystore::Origin;
use serde_json::{Value, json};

use crate::context::{Context, keystore};
use crate::failure::Failure;
use crate::present;
use crate::report::Report;
use crate::table::Table;

/// No options of its own.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Only keys of the token with this label
    #[arg(long, value_name = "LABEL")]
    token: Option<String>,
}

/// Lists every key, hidden ones with the reason, from the store alone: the device is not asked.
pub fn run(arguments: Arguments, context: &Context) -> Result<Report, Failure> {
    let keystore = keystore(&context.config()?);
    let wallets = present::by_id(&keystore.wallets()?);
    let mut keys = keystore.keys()?;
    keys.retain(|key| arguments.token.as_ref().is_none_or(|token| *token == key.key.token_label));
    keys.sort_by_key(|key| (key.key.token_label.clone(), present::label(key), key.key.id));

    let mut table = Table::new(&["LABEL", "ID", "TOKEN", "CURVE", "WALLET", "NODE", "SLOT", "RECOVERY", "STATE"]);
    for key in &keys {
        let (wallet, node) = match &key.key.origin {
            Origin::Derived { wallet_name, path, .. } => (wallet_name.clone(), path.to_string()),
            Origin::Adopted => ("-".to_owned(), "adopted".to_owned()),
        };
        let or_dash = |text: String| if text.is_empty() { "-".to_owned() } else { text };
        table.row([
            or_dash(present::label(key)),
            or_dash(present::id(key)),
            key.key.token_label.clone(),
            key.key.public_key.curve().to_string(),
            wallet,
            node,
            key.key.slot.to_string(),
            present::loud(present::recovery(key, &wallets)),
            present::state(key.state).to_owned(),
        ]);
    }
    let json: Vec<Value> = keys.iter().map(|key| present::key_json(key, &wallets)).collect();
    let text = if keys.is_empty() { "no keys\n".to_owned() } else { table.render() };
    Ok(Report::fine(text, json!({ "keys": json })))
}
