//! Does with a token everything that has nothing to do with mapped keys, and writes what every call answered.
//!
//! ```text
//! pkcs11-scenario MODULE TOKEN-LABEL < RSA-KEY
//! ```
//!
//! Two modules on copies of one token must write the same: that is how the test `transparency` compares ours with the
//! module behind it. What is random appears by its length only. The RSA key comes from outside, as JSON, so that its
//! signatures are the same both times.

mod keys;
mod token;

use std::fmt::Debug;

use anyhow::{Context as _, Result, bail};
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, Result as Pkcs11Result};
use cryptoki::slot::Slot;
use sha2::{Digest as _, Sha256};

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, path, label] = arguments.as_slice() else { bail!("usage: pkcs11-scenario MODULE TOKEN-LABEL") };
    let rsa: serde_json::Value = serde_json::from_reader(std::io::stdin())?;

    let module = Pkcs11::new(path)?;
    say("C_Initialize", module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)));
    say("C_Initialize again", module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)));
    let slot = slot(&module, label)?;
    token::facts(&module, slot);
    token::random_and_digests(&module, slot)?;
    keys::rsa(&module, slot, &rsa)?;
    keys::aes(&module, slot)?;
    keys::other_curves(&module, slot)?;
    token::certificates_and_data(&module, slot)?;
    token::pins(&module, slot)?;
    // Last: it empties the token.
    token::initialise(&module, slot)?;
    say("C_Finalize", module.finalize());
    Ok(())
}

fn slot(module: &Pkcs11, label: &str) -> Result<Slot> {
    for slot in module.get_slots_with_token()? {
        if module.get_token_info(slot)?.label() == label {
            return Ok(slot);
        }
    }
    bail!("no token is labelled {label:?}")
}

/// Writes what a call answered: the code, or the value as it is.
fn say<T: Debug>(what: &str, answer: Pkcs11Result<T>) -> Option<T> {
    match answer {
        Ok(value) => {
            println!("{what}: {value:?}");
            Some(value)
        }
        Err(error) => {
            println!("{what}: {}", code(&error));
            None
        }
    }
}

/// The same for bytes that must be equal: their number and digest.
fn say_bytes(what: &str, answer: Pkcs11Result<Vec<u8>>) -> Option<Vec<u8>> {
    match answer {
        Ok(bytes) => {
            let digest = Sha256::digest(&bytes);
            println!("{what}: {} bytes, {}", bytes.len(), holdfast_tests::hex(digest.get(..8).unwrap_or_default()));
            Some(bytes)
        }
        Err(error) => say::<()>(what, Err(error)).map(|()| Vec::new()),
    }
}

/// The same for something random: that it worked, and how long it is.
fn say_length(what: &str, answer: Pkcs11Result<Vec<u8>>) -> Option<Vec<u8>> {
    match answer {
        Ok(bytes) => {
            println!("{what}: {} bytes", bytes.len());
            Some(bytes)
        }
        Err(error) => say::<()>(what, Err(error)).map(|()| Vec::new()),
    }
}

/// The same for a handle, which nobody may expect to be any particular number.
fn say_done<T>(what: &str, answer: Pkcs11Result<T>) -> Option<T> {
    match answer {
        Ok(value) => {
            println!("{what}: done");
            Some(value)
        }
        Err(error) => say::<()>(what, Err(error)).and(None),
    }
}

fn code(error: &Error) -> String {
    match error {
        Error::Pkcs11(code, function) => format!("{function:?} {code:?}"),
        other => format!("{other:?}"),
    }
}

/// Turns the absence of something the scenario cannot go on without into an error.
fn needed<T>(value: Option<T>) -> Result<T> {
    value.context("the scenario cannot go on")
}
