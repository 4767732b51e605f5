//! Both curves of the device's wallets, through the module and the command line.

mod openssl_check;

use anyhow::{Result, ensure};
use holdfast_tests::Site;
use holdfast_tests::client::Curve;
use openssl_check::verifies;
use sha2::{Digest as _, Sha256};

fn signs_before_and_after_a_power_cycle(curve: Curve) -> Result<()> {
    let site = Site::new()?;
    let id = [0x5c];
    let mut client = site.client()?;
    client.generate(curve, "key", &id)?;
    let point = client.public_point(&id)?;
    for _ in 0..2 {
        let digest = Sha256::digest(b"some data");
        let signature = client.sign(&id, "ecdsa", &digest)?;
        ensure!(verifies(curve, &point, &digest, &signature)?, "CKM_ECDSA");
        let signature = client.sign(&id, "ecdsa-sha256", b"some data")?;
        ensure!(verifies(curve, &point, &digest, &signature)?, "CKM_ECDSA_SHA256");
        client.finish()?;
        site.device().power_cycle()?;
        client = site.client()?;
        ensure!(client.public_point(&id)? == point, "another key");
    }
    let keys = site.holdfast(&["list", "--json"])?.success()?.json()?;
    ensure!(keys["keys"][0]["curve"] == curve.name(), "{keys}");
    let slot = site.device().slot_of(&point[1..])?;
    ensure!(slot.origin == "wallet", "the key is {slot:?}");
    Ok(())
}

#[test]
fn p256() -> Result<()> {
    signs_before_and_after_a_power_cycle(Curve::P256)
}

#[test]
fn secp256k1() -> Result<()> {
    signs_before_and_after_a_power_cycle(Curve::Secp256k1)
}

#[test]
fn keys_of_both_curves_live_in_wallets_of_their_own() -> Result<()> {
    let site = Site::new()?;
    let mut client = site.client()?;
    client.generate(Curve::P256, "one", &[1])?;
    client.generate(Curve::Secp256k1, "two", &[2])?;
    client.generate(Curve::P256, "three", &[3])?;
    let status = site.holdfast(&["status", "--json"])?.json()?;
    let mut wallets: Vec<_> =
        status["wallets"].as_array().into_iter().flatten().map(|w| w["curve"].to_string()).collect();
    wallets.sort();
    ensure!(wallets == ["\"p256\"", "\"secp256k1\""], "{wallets:?}");
    Ok(())
}
