//! What one process changes, another that is running already sees at its next search.

use anyhow::{Result, ensure};
use holdfast_tests::client::Curve;
use holdfast_tests::{Module, Site};

#[test]
fn j4_a_new_key_is_found_by_a_process_that_runs_already() -> Result<()> {
    let site = Site::new()?;
    let mut watcher = site.client()?;
    ensure!(watcher.private_keys(None)?.is_empty(), "a new token has keys");

    let mut maker = site.client()?;
    maker.generate(Curve::P256, "first", &[1])?;
    ensure!(watcher.private_keys(Some(&[1]))? == ["first"], "the first key, which made the store");
    ensure!(watcher.public_keys(Some(&[1]))? == ["first"], "its public key");
    watcher.sign(&[1], "ecdsa", &[7; 32])?;

    maker.generate(Curve::P256, "second", &[2])?;
    ensure!(watcher.private_keys(None)? == ["first", "second"], "the second key");
    watcher.sign(&[2], "ecdsa", &[7; 32])?;

    maker.destroy(&[1])?;
    ensure!(watcher.private_keys(None)? == ["second"], "a destroyed key is still there");

    watcher.generate(Curve::P256, "third", &[3])?;
    ensure!(maker.private_keys(None)? == ["second", "third"], "the other way round");
    Ok(())
}

#[test]
fn a_key_of_the_command_line_is_found_by_a_process_that_runs_already() -> Result<()> {
    let site = Site::new()?;
    let mut watcher = site.client()?;
    let arguments = ["generate", "--token", holdfast_tests::token::LABEL, "--label", "cli", "--id", "c1"];
    site.holdfast(&arguments)?.success()?;
    ensure!(watcher.private_keys(Some(&[0xc1]))? == ["cli"], "not found");
    watcher.sign(&[0xc1], "ecdsa", &[7; 32])?;
    Ok(())
}

#[test]
fn public_keys_are_found_without_login_and_private_ones_are_not() -> Result<()> {
    let site = Site::new()?;
    site.client()?.generate(Curve::P256, "key", &[1])?;
    let mut stranger = site.anonymous_client(Module::Holdfast)?;
    ensure!(stranger.public_keys(None)? == ["key"], "the public key");
    ensure!(stranger.private_keys(None)?.is_empty(), "the private key");
    stranger.login(holdfast_tests::token::PIN)?;
    ensure!(stranger.private_keys(None)? == ["key"], "the private key, after login");
    Ok(())
}

#[test]
fn a_session_key_pair_goes_with_its_session() -> Result<()> {
    let site = Site::new()?;
    let mut client = site.client()?;
    client.generate_session_key(Curve::P256, "ephemeral", &[1])?;
    client.sign(&[1], "ecdsa", &[7; 32])?;
    let device = site.device().slots()?;
    ensure!(device.iter().all(|slot| slot.origin == "factory"), "a session key took a slot of the device");
    client.finish()?;
    ensure!(site.client()?.private_keys(None)?.is_empty(), "a session key outlived its session");
    Ok(())
}
