//! `holdfast verify`: every mapped key is on the device, matches its recorded public key, and signs.

use std::time::{Duration, Instant};

use clap::Args;
use holdfast_keystore::{KeyHealth, Keystore, VerifyOptions};
use serde_json::{Value, json};

use crate::context::{Context, keystore};
use crate::failure::{Exit, Failure, device_exit};
use crate::present;
use crate::report::Report;
use crate::table::Table;

/// How long to wait between two looks at a device that does not answer yet.
const POLL: Duration = Duration::from_millis(500);

/// How many keys a sample has.
const SAMPLE: usize = 8;

/// Which keys, and how patiently.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Wait this long for the device to answer, as at boot
    #[arg(long, value_name = "SECS", default_value_t = 0)]
    wait_device: u64,
    /// Only some keys, chosen at random
    #[arg(long)]
    sample: bool,
}

/// Checks the keys; one that fails is a finding.
pub fn run(arguments: Arguments, context: &Context) -> Result<Report, Failure> {
    let keystore = keystore(&context.config()?);
    wait_for_device(&keystore, Duration::from_secs(arguments.wait_device))?;
    let wallets_list = keystore.wallets()?;
    let wallets = present::by_id(&wallets_list);
    let keys = keystore.keys()?;
    let health = keystore.verify(&VerifyOptions { sample: arguments.sample.then_some(SAMPLE) })?;

    let mut table = Table::new(&["LABEL", "ID", "TOKEN", "NODE", "SLOT", "RESULT"]);
    let mut json_keys: Vec<Value> = Vec::new();
    let mut warnings = Vec::new();
    for KeyHealth { key, outcome } in &health {
        let Some(known) = keys.iter().find(|known| known.key.id == key.id) else { continue };
        let mut json = present::key_json(known, &wallets);
        json["ok"] = json!(outcome.is_ok());
        json["error"] = json!(outcome.as_ref().err().map(ToString::to_string));
        let slot = outcome.as_ref().copied().unwrap_or(key.slot);
        json["slot"] = json!(slot);
        json_keys.push(json);
        table.row([
            present::label(known),
            present::id(known),
            key.token_label.clone(),
            key.node(),
            slot.to_string(),
            outcome.as_ref().err().map_or_else(|| "ok".to_owned(), |error| format!("FAILED: {error}")),
        ]);
        let warning = format!("wallet of key {:?} has NO RECOVERY: it dies with the device", present::label(known));
        if present::recovery(known, &wallets) == "none" {
            warnings.push(warning);
        }
    }
    if warnings.len() > 3 {
        warnings = vec![format!("{} keys have NO RECOVERY: they die with the device", warnings.len())];
    }

    let failed = health.iter().filter(|health| health.outcome.is_err()).count();
    let mut text = if health.is_empty() { String::new() } else { table.render() };
    text.push_str(&format!(
        "{} of {} keys are on the device, match their public keys and sign\n",
        health.len() - failed,
        health.len()
    ));
    let json = json!({
        "ok": failed == 0,
        "checked": health.len(),
        "failed": failed,
        "sampled": arguments.sample,
        "keys": json_keys,
    });
    let exit = if failed == 0 { Exit::Fine } else { Exit::Finding };
    Ok(Report::fine(text, json).with_exit(exit).with_warnings(warnings))
}

/// Returns once the device answers; fails when it has not by the end of `patience`.
fn wait_for_device(keystore: &Keystore, patience: Duration) -> Result<(), Failure> {
    let begun = Instant::now();
    loop {
        match keystore.device().identity() {
            Ok(_) => return Ok(()),
            Err(error) if device_exit(&error) == Exit::Unreachable && begun.elapsed() + POLL <= patience => {
                std::thread::sleep(POLL);
            }
            Err(error) => return Err(error.into()),
        }
    }
}
