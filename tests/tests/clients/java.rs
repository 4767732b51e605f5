//! Java's SunPKCS11: keytool makes a session key pair and copies it to the token, a program signs with it.

use std::fs;

use anyhow::{Result, ensure};
use holdfast_tests::{Module, Site, run, token};
use openssl::hash::MessageDigest;
use openssl::sign::Verifier;
use openssl::x509::X509;

use crate::before_and_after_a_power_cycle;

/// How both programs name the key.
const ALIAS: &str = "java-key";

#[test]
fn keytool_makes_a_key_and_a_program_signs() -> Result<()> {
    let site = Site::builder().set("mapping", "session-keys", "\"wallet\"").build()?;
    let path = |name: &str| site.root().join(name).display().to_string();
    let configuration =
        format!("name = Holdfast\nlibrary = {}\nslotListIndex = 0\n", site.module(Module::Holdfast).display());
    fs::write(path("java.cfg"), configuration)?;

    let mut keytool = site.command("keytool");
    keytool.env("HARNESS_PIN", token::PIN).args(["-genkeypair", "-keystore", "NONE", "-storetype", "PKCS11"]);
    keytool.args(["-providerClass", "sun.security.pkcs11.SunPKCS11", "-providerArg", &path("java.cfg")]);
    keytool.args(["-storepass:env", "HARNESS_PIN", "-alias", ALIAS, "-keyalg", "EC", "-groupname", "secp256r1"]);
    run(keytool.args(["-dname", "CN=java", "-sigalg", "SHA256withECDSA"]))?.success()?;
    // One key, which the ended session did not take along.
    let keys = site.holdfast(&["list", "--json"])?.success()?.json()?;
    ensure!(keys["keys"].as_array().is_some_and(|keys| keys.len() == 1), "{keys}");

    let program = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/Sign.java");
    fs::write(path("data"), "some data")?;
    before_and_after_a_power_cycle(&site, || {
        let mut java = site.command("java");
        java.env("HARNESS_PIN", token::PIN).args([program, &path("java.cfg"), ALIAS]);
        run(java.args([path("data"), path("signature"), path("certificate")]))?.success()?;
        let certificate = X509::from_der(&fs::read(path("certificate"))?)?;
        let public_key = certificate.public_key()?;
        ensure!(certificate.verify(&public_key)?, "the certificate's signature is wrong");
        let mut verifier = Verifier::new(MessageDigest::sha256(), &public_key)?;
        ensure!(verifier.verify_oneshot(&fs::read(path("signature"))?, b"some data")?, "the signature is wrong");
        Ok(())
    })
}
