//! What has nothing to do with mapped keys is as it is on the bare module: return codes and data.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};
use holdfast_tests::run::run_with;
use holdfast_tests::{Module, Site, hex, run, token};
use openssl::rsa::Rsa;
use serde_json::json;

/// An RSA key as the scenario reads it.
fn rsa_key() -> Result<String> {
    let key = Rsa::generate(2048)?;
    let part = |number: Option<&openssl::bn::BigNumRef>| number.map(|number| hex(&number.to_vec()));
    Ok(json!({
        "n": part(Some(key.n())), "e": part(Some(key.e())), "d": part(Some(key.d())),
        "p": part(key.p()), "q": part(key.q()),
        "dmp1": part(key.dmp1()), "dmq1": part(key.dmq1()), "iqmp": part(key.iqmp()),
    })
    .to_string())
}

/// The scenario's transcript on a module. The token is changed by it.
fn transcript(site: &Site, module: Module, rsa: &str) -> Result<Vec<String>> {
    let mut command = site.command(site.artefacts().helper("pkcs11-scenario"));
    command.arg(site.module(module)).arg(token::LABEL);
    let finished = run_with(&mut command, rsa.as_bytes(), holdfast_tests::run::TIME_LIMIT)?.success()?;
    Ok(finished.stdout.lines().map(ToOwned::to_owned).collect())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    run(Command::new("cp").arg("-a").arg(from).arg(to))?.success()?;
    Ok(())
}

/// Compares the two modules on copies of one token; with a mapped key in it or without.
fn compare(mapped_key: bool) -> Result<()> {
    let site = Site::new()?;
    if mapped_key {
        let arguments = ["generate", "--token", token::LABEL, "--label", "mapped", "--id", "0f"];
        site.holdfast(&arguments)?.success()?;
    }
    let rsa = rsa_key()?;
    let (tokens, saved) = (site.token().directory(), site.root().join("saved"));
    copy(tokens, &saved)?;
    let bare = transcript(&site, Module::Bare, &rsa)?;
    std::fs::remove_dir_all(tokens)?;
    copy(&saved, tokens)?;
    let ours = transcript(&site, Module::Holdfast, &rsa)?;

    ensure!(bare.len() > 200, "the scenario is short: {} lines", bare.len());
    for (number, (bare, ours)) in bare.iter().zip(&ours).enumerate() {
        ensure!(bare == ours, "line {number} differs:\nbare: {bare}\nours: {ours}");
    }
    ensure!(bare.len() == ours.len(), "{} lines bare, {} through ours", bare.len(), ours.len());
    Ok(())
}

#[test]
fn a_token_without_mapped_keys_is_as_it_is_bare() -> Result<()> {
    compare(false)
}

#[test]
fn mapped_keys_do_not_change_the_rest_of_the_token() -> Result<()> {
    compare(true)
}
