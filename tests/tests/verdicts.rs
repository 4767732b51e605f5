//! Where a new EC key goes: the firmware's verdict and the policy decide, and status and log say so.

use anyhow::{Context as _, Result, ensure};
use holdfast_tests::client::Curve;
use holdfast_tests::{Module, Site, token};

const AFFECTED: &str = "01.02.02release";
const GOOD: &str = "01.00.00release";
const UNKNOWN: &str = "02.07.01release";
const ID: &[u8] = &[0x77];

/// Generates with a firmware under a policy, and checks where the key went and what is said about it.
fn check(firmware: &str, verdict: &str, policy: &str, mapped: bool) -> Result<()> {
    let site = Site::builder().firmware(firmware).set("mapping", "policy", &format!("{policy:?}")).build()?;
    let case = format!("firmware {firmware}, policy {policy}");

    let status = site.holdfast(&["status", "--json"])?.json()?;
    ensure!(status["firmware"]["verdict"] == verdict, "{case}: {}", status["firmware"]);
    ensure!(status["mapping"]["policy"] == policy, "{case}: {}", status["mapping"]);
    ensure!(status["mapping"]["maps"] == mapped, "{case}: {}", status["mapping"]);
    let text = site.holdfast(&["status"])?.stdout;
    ensure!(text.contains(firmware) && text.contains(policy), "{case}:\n{text}");

    site.clear_log()?;
    let mut client = site.client()?;
    client.generate(Curve::P256, "key", ID)?;
    let point = client.public_point(ID)?;
    client.sign(ID, "ecdsa", &[1; 32])?;
    client.finish()?;

    let on_device = site.device().slot_of(&point[1..]).is_ok_and(|slot| slot.origin == "wallet");
    let mut bare = site.anonymous_client(Module::Bare)?;
    bare.login(token::PIN)?;
    let in_backend = bare.private_keys(Some(ID))? == ["key"];
    ensure!((on_device, in_backend) == (mapped, !mapped), "{case}: device {on_device}, backend {in_backend}");

    let lines = site.logged("C_GenerateKeyPair").context(case.clone())?;
    let place = if mapped { "on the device" } else { "the backend" };
    ensure!(lines.iter().any(|line| line.contains(place)), "{case}: {lines:?}");
    // An unknown firmware is not passed over in silence.
    if verdict == "unknown" && policy == "auto" {
        site.logged("the vendor has not said").context(case)?;
        ensure!(text.contains("the vendor has not said"), "{text}");
    }
    Ok(())
}

#[test]
fn affected_firmware_maps_unless_the_policy_is_never() -> Result<()> {
    check(AFFECTED, "affected", "auto", true)?;
    check(AFFECTED, "affected", "always", true)?;
    check(AFFECTED, "affected", "never", false)
}

#[test]
fn good_firmware_forwards_unless_the_policy_is_always() -> Result<()> {
    check(GOOD, "not-affected", "auto", false)?;
    check(GOOD, "not-affected", "always", true)?;
    check(GOOD, "not-affected", "never", false)
}

#[test]
fn unknown_firmware_maps_unless_the_policy_is_never() -> Result<()> {
    check(UNKNOWN, "unknown", "auto", true)?;
    check(UNKNOWN, "unknown", "always", true)?;
    check(UNKNOWN, "unknown", "never", false)
}

#[test]
fn the_hsm6_is_not_affected() -> Result<()> {
    let site = Site::builder().device_option("--model", "HSM6").build()?;
    let status = site.holdfast(&["status", "--json"])?.json()?;
    ensure!(status["firmware"]["verdict"] == "not-affected" && status["mapping"]["maps"] == false, "{status}");
    Ok(())
}

#[test]
fn a_firmware_update_decides_for_new_keys_and_leaves_the_old_ones() -> Result<()> {
    let site = Site::builder().firmware(GOOD).build()?;
    let mut client = site.client()?;
    client.generate(Curve::P256, "in the backend", &[1])?;
    client.finish()?;
    site.device().control(&["set-firmware", AFFECTED])?;
    site.device().power_cycle()?;
    let mut client = site.client()?;
    client.generate(Curve::P256, "in a wallet", &[2])?;
    site.device().power_cycle()?;
    let mut client = site.client()?;
    for id in [[1], [2]] {
        client.sign(&id, "ecdsa", &[1; 32])?;
    }
    let listed = site.holdfast(&["list", "--json"])?.json()?;
    ensure!(listed["keys"].as_array().is_some_and(|keys| keys.len() == 1), "{listed}");
    Ok(())
}
