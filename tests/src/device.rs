//! An emulated device, controlled as an operator would: through `holdfast-emulator`.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::artefacts::Artefacts;
use crate::run::{Finished, run};

/// The firmware that loses generated keys.
pub const AFFECTED_FIRMWARE: &str = "01.02.02release";

/// An emulated device in a directory.
#[derive(Clone, Debug)]
pub struct Device {
    emulator: PathBuf,
    state: PathBuf,
}

/// A key on the device, as the emulator sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Its number.
    pub number: i64,
    /// `factory`, `generated`, `wallet` ...
    pub origin: String,
    /// Its node address in a wallet.
    pub node: Option<String>,
    /// X‖Y in hexadecimal.
    pub public_key: String,
}

impl Device {
    /// Makes a device in `state`. `options` are those of `holdfast-emulator create`.
    ///
    /// # Errors
    /// What the emulator says.
    pub fn create(artefacts: &Artefacts, state: &Path, options: &[&str]) -> Result<Self> {
        let device = Self { emulator: artefacts.emulator(), state: state.to_owned() };
        device.control(&[&["create"], options].concat())?;
        Ok(device)
    }

    /// Its state directory.
    pub fn state(&self) -> &Path {
        &self.state
    }

    /// A command of `holdfast-emulator` on it.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.emulator);
        command.arg("--state").arg(&self.state).args(arguments);
        command
    }

    /// Runs a command of `holdfast-emulator` on it.
    ///
    /// # Errors
    /// When it fails.
    pub fn control(&self, arguments: &[&str]) -> Result<Finished> {
        run(&mut self.command(arguments))?.success()
    }

    /// The answer of a command of `holdfast-emulator`.
    ///
    /// # Errors
    /// When it fails.
    pub fn query(&self, arguments: &[&str]) -> Result<Value> {
        self.control(&[&["--json"], arguments].concat())?.json()
    }

    /// A reboot.
    ///
    /// # Errors
    /// What the emulator says.
    pub fn power_cycle(&self) -> Result<Finished> {
        self.control(&["power-cycle"])
    }

    /// Makes the next call of a function misbehave.
    ///
    /// # Errors
    /// What the emulator says.
    pub fn fault(&self, call: &str, kind: &str) -> Result<()> {
        self.control(&["fault", call, "--after", "1", "--kind", kind]).map(drop)
    }

    /// Makes every call of a function fail until [`Self::clear_faults`]; `any` stands for all functions.
    ///
    /// # Errors
    /// What the emulator says.
    pub fn fail_always(&self, call: &str) -> Result<()> {
        self.control(&["fault", call, "--after", "1", "--times", "0", "--kind", "error"]).map(drop)
    }

    /// Ends all faults.
    ///
    /// # Errors
    /// What the emulator says.
    pub fn clear_faults(&self) -> Result<()> {
        self.control(&["fault", "clear"]).map(drop)
    }

    /// Every key of the key store.
    ///
    /// # Errors
    /// What the emulator says.
    pub fn slots(&self) -> Result<Vec<Slot>> {
        let answer = self.query(&["slots"])?;
        let slots = answer["slots"].as_array().context("slots is a list")?;
        slots
            .iter()
            .map(|slot| {
                Ok(Slot {
                    number: slot["slot"].as_i64().context("a slot has a number")?,
                    origin: slot["origin"].as_str().context("a slot has an origin")?.to_owned(),
                    node: slot["node"].as_str().map(ToOwned::to_owned),
                    public_key: slot["public_key"].as_str().context("a slot has a public key")?.to_owned(),
                })
            })
            .collect()
    }

    /// The slot that holds a public key.
    ///
    /// # Errors
    /// When none does, or the emulator fails.
    pub fn slot_of(&self, public_key: &[u8]) -> Result<Slot> {
        let wanted = crate::hex(public_key);
        let found = self.slots()?.into_iter().find(|slot| slot.public_key == wanted);
        found.with_context(|| format!("no slot holds the public key {wanted}"))
    }

    /// The private keys, seeds and chain codes on the device, in hexadecimal: what nobody may ever see.
    ///
    /// # Errors
    /// When the emulator's state cannot be read.
    pub fn secrets(&self) -> Result<Vec<String>> {
        let state: Value = serde_json::from_slice(&std::fs::read(self.state.join("device.json"))?)?;
        let mut secrets = Vec::new();
        collect_secrets(&state, "", &mut secrets);
        Ok(secrets)
    }
}

fn collect_secrets(value: &Value, name: &str, secrets: &mut Vec<String>) {
    const SECRET: [&str; 6] = ["private", "secret", "seed", "chain_code", "one_way_key", "shared_key"];
    match value {
        Value::Object(fields) => fields.iter().for_each(|(name, value)| collect_secrets(value, name, secrets)),
        Value::Array(items) => items.iter().for_each(|item| collect_secrets(item, name, secrets)),
        Value::String(text) if SECRET.iter().any(|secret| name.contains(secret)) => secrets.push(text.clone()),
        _ => {}
    }
}
