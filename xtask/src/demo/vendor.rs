//! The vendor's Python client, unmodified, on the same device.

use anyhow::{Context as _, Result, ensure};

use super::narrator::Narrator;
use super::stage::Stage;

const MAKE: &str = include_str!("vendor_make.py");
const LOOK: &str = include_str!("vendor_look.py");

/// Makes a key with `gen_key_pair()` and signs with it; answers its slot.
pub fn make_key(stage: &Stage, narrator: &Narrator) -> Result<u32> {
    let said = python(stage, narrator, "vendor_make.py", MAKE, &[])?;
    ensure!(said.contains("verified: True"), "the signature is not good");
    let slot = said.split_whitespace().nth(1).context("no slot")?.trim_end_matches(',').parse()?;
    Ok(slot)
}

/// Checks that the device knows no key in a slot.
pub fn key_is_gone(stage: &Stage, narrator: &Narrator, slot: u32) -> Result<()> {
    let said = python(stage, narrator, "vendor_look.py", LOOK, &[&slot.to_string()])?;
    ensure!(said.contains("allocated: False"), "the slot is still allocated");
    ensure!(said.contains("the device refuses it"), "the slot still has a key");
    Ok(())
}

fn python(stage: &Stage, narrator: &Narrator, name: &str, program: &str, arguments: &[&str]) -> Result<String> {
    let path = stage.site.root().join(name);
    std::fs::write(&path, program)?;
    narrator.run(std::process::Command::new("cat").arg(&path))?;
    let mut command = stage.site.command(stage.venv.python());
    let finished = narrator.run(command.arg(path).args(arguments))?.success()?;
    Ok(finished.stdout)
}
