//! OpenSSL's command with the pkcs11 engine.

use std::fs;

use anyhow::{Result, ensure};
use holdfast_tests::openssl_engine::{Engine, Start};
use holdfast_tests::{Module, run};
use openssl::x509::X509;

use crate::{KEY, before_and_after_a_power_cycle, point, site_with_key};

#[test]
fn issues_a_certificate() -> Result<()> {
    let site = site_with_key()?;
    let engine = Engine::configure(&site, Module::Holdfast, Start::OnDemand)?;
    let path = site.root().join("certificate.pem");
    let point = point(&site)?;
    before_and_after_a_power_cycle(&site, || {
        run(&mut engine.self_sign(&site, KEY, &path))?.success()?;
        let certificate = X509::from_pem(&fs::read(&path)?)?;
        ensure!(certificate.verify(&*certificate.public_key()?)?, "the certificate's signature is wrong");
        ensure!(certificate.public_key()?.public_key_to_der()?.ends_with(&point), "the certificate is for another key");
        Ok(())
    })
}

#[test]
fn signs_and_verifies() -> Result<()> {
    let site = site_with_key()?;
    let engine = Engine::configure(&site, Module::Holdfast, Start::OnDemand)?;
    let path = |name: &str| site.root().join(name).display().to_string();
    fs::write(path("data"), "some data")?;
    let public = site.holdfast(&["pubkey", KEY, "--format", "pem"])?.success()?;
    fs::write(path("public.pem"), public.stdout)?;
    before_and_after_a_power_cycle(&site, || {
        let key = engine.key_uri(KEY);
        let sign = ["dgst", "-sha256", "-engine", "pkcs11", "-keyform", "engine", "-sign", &key];
        let mut command = engine.openssl(&site, &sign);
        run(command.args(["-out", &path("signature"), &path("data")]))?.success()?;
        let verify =
            ["dgst", "-sha256", "-verify", &path("public.pem"), "-signature", &path("signature"), &path("data")];
        run(site.command("openssl").args(verify))?.success()?;
        Ok(())
    })
}
