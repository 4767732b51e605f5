//! OpenSC's pkcs11-tool.

use std::fs;
use std::process::Command;

use anyhow::{Result, ensure};
use holdfast_tests::client::Curve;
use holdfast_tests::{Module, Site, run, token};
use sha2::{Digest as _, Sha256, Sha384};

use crate::{KEY, before_and_after_a_power_cycle, make_key, point, site_with_key, verifies};

fn signs(site: &Site, curve: Curve) -> Result<()> {
    let (data, out) = (site.root().join("data"), site.root().join("signature"));
    fs::write(&data, "some data")?;
    let files =
        ["--id", "01", "--input-file", &data.display().to_string(), "--output-file", &out.display().to_string()];
    for (mechanism, digest) in
        [("ECDSA-SHA256", Sha256::digest("some data").to_vec()), ("ECDSA-SHA384", Sha384::digest("some data").to_vec())]
    {
        let arguments = [&["--sign", "--mechanism", mechanism], &files[..]].concat();
        site.pkcs11_tool(Module::Holdfast, &arguments)?.success()?;
        ensure!(verifies(site, curve, &digest, &fs::read(&out)?)?, "{mechanism}: OpenSSL does not verify");
    }
    // What pkcs11-tool signs as it is must have the length of a digest.
    let digest = Sha256::digest("some data");
    fs::write(&data, digest)?;
    let arguments = [&["--sign", "--mechanism", "ECDSA"], &files[..]].concat();
    site.pkcs11_tool(Module::Holdfast, &arguments)?.success()?;
    ensure!(verifies(site, curve, &digest, &fs::read(&out)?)?, "ECDSA: OpenSSL does not verify");
    Ok(())
}

#[test]
fn makes_a_p256_key_and_signs() -> Result<()> {
    let site = site_with_key()?;
    before_and_after_a_power_cycle(&site, || signs(&site, Curve::P256))
}

#[test]
fn makes_a_secp256k1_key_and_signs() -> Result<()> {
    let site = Site::new()?;
    make_key(&site, "EC:secp256k1")?;
    before_and_after_a_power_cycle(&site, || signs(&site, Curve::Secp256k1))
}

#[test]
fn openssl_verifies_with_the_public_key_that_it_exports() -> Result<()> {
    let site = site_with_key()?;
    let path = |name: &str| site.root().join(name).display().to_string();
    fs::write(path("data"), "some data")?;
    before_and_after_a_power_cycle(&site, || {
        let read = ["--read-object", "--type", "pubkey", "--id", "01", "--output-file", &path("public.der")];
        site.pkcs11_tool(Module::Holdfast, &read)?.success()?;
        let sign = ["--sign", "--mechanism", "ECDSA-SHA256", "--signature-format", "openssl", "--id", "01"];
        let files = ["--input-file", &path("data"), "--output-file", &path("signature.der")];
        site.pkcs11_tool(Module::Holdfast, &[&sign[..], &files[..]].concat())?.success()?;
        let mut openssl = Command::new("openssl");
        openssl.args(["dgst", "-sha256", "-keyform", "DER", "-verify", &path("public.der")]);
        run(openssl.args(["-signature", &path("signature.der"), &path("data")]))?.success()?;
        Ok(())
    })
}

#[test]
fn lists_both_halves_with_their_attributes() -> Result<()> {
    let site = site_with_key()?;
    let point = holdfast_tests::hex(&point(&site)?);
    before_and_after_a_power_cycle(&site, || {
        let listed = site.pkcs11_tool(Module::Holdfast, &["--list-objects"])?.success()?.stdout;
        for wanted in ["Private Key Object; EC", "Public Key Object; EC  EC_POINT 256 bits", KEY, &point] {
            ensure!(listed.contains(wanted), "no {wanted:?} in\n{listed}");
        }
        ensure!(listed.contains("sensitive, always sensitive, never extractable, local"), "{listed}");
        Ok(())
    })
}

#[test]
fn destroys_a_key() -> Result<()> {
    let site = site_with_key()?;
    let point = point(&site)?;
    for class in ["privkey", "pubkey"] {
        site.pkcs11_tool(Module::Holdfast, &["--delete-object", "--type", class, "--id", "01"])?.success()?;
    }
    let listed = site.pkcs11_tool(Module::Holdfast, &["--list-objects"])?.success()?.stdout;
    ensure!(!listed.contains("Key Object"), "{listed}");
    ensure!(site.device().slot_of(&point[1..]).is_err(), "the key is still on the device");
    Ok(())
}

#[test]
fn its_own_test_passes() -> Result<()> {
    let site = site_with_key()?;
    before_and_after_a_power_cycle(&site, || {
        let tested = site.pkcs11_tool(Module::Holdfast, &["--test"])?.success()?;
        ensure!(tested.stdout.contains("No errors"), "{tested}");
        Ok(())
    })
}

#[test]
fn tells_a_wrong_pin() -> Result<()> {
    let site = site_with_key()?;
    let mut command = site.command("pkcs11-tool");
    command.env("HARNESS_PIN", "wrong").arg("--module").arg(site.module(Module::Holdfast));
    command.args(["--token-label", token::LABEL, "--login", "--pin", "env:HARNESS_PIN", "--list-objects"]);
    let refused = run(&mut command)?.failure()?;
    ensure!(refused.stderr.contains("CKR_PIN_INCORRECT"), "{refused}");
    Ok(())
}

/// With a mapped key in the token. SoftHSM2 on its own fails `--test-fork`: it calls a forked child initialised.
///
/// The threads initialise, ask for information and list slots. They do not look at the token (`T0`) as well: the tool
/// logs in meanwhile, after a `C_Initialize` that promised a single thread, and SoftHSM2 then takes no locks.
#[test]
fn e4_passes_its_own_tests() -> Result<()> {
    let site = site_with_key()?;
    for test in [&["--test"][..], &["--test-fork"], &["--test-threads", "ILGISL"]] {
        let finished = site.pkcs11_tool(Module::Holdfast, test)?.success()?;
        let output = finished.output();
        ensure!(!output.contains("ERR") && !output.contains("CKR_GENERAL_ERROR"), "{test:?}:\n{output}");
    }
    Ok(())
}

/// `--test-ec` makes a token key in a read-only session, which the specification forbids.
#[test]
fn refuses_a_token_key_in_the_read_only_session_of_test_ec() -> Result<()> {
    let site = Site::new()?;
    let test = ["--test-ec", "--key-type", "EC:prime256v1", "--id", "77", "--label", "test"];
    let finished = site.pkcs11_tool(Module::Holdfast, &test)?.failure()?;
    ensure!(finished.stderr.contains("CKR_SESSION_READ_ONLY"), "{finished}");
    Ok(())
}
