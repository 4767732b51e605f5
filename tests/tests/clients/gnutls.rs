//! GnuTLS: p11tool makes and lists a key, certtool issues a certificate with it.

use std::fs;
use std::process::Command;

use anyhow::{Result, ensure};
use holdfast_tests::{Module, Site, run, token};
use openssl::x509::X509;

use crate::before_and_after_a_power_cycle;

/// The label of the key in these tests.
const LABEL: &str = "gnutls";

fn gnutls(site: &Site, program: &str) -> Command {
    let mut command = site.command(program);
    command.env("GNUTLS_PIN", token::PIN).arg("--provider").arg(site.module(Module::Holdfast));
    command
}

fn url(class: &str) -> String {
    format!("pkcs11:token={};object={LABEL};type={class}", token::LABEL)
}

#[test]
fn makes_a_key_and_issues_a_certificate() -> Result<()> {
    let site = Site::new()?;
    let token_url = format!("pkcs11:token={}", token::LABEL);
    let generate = ["--login", "--generate-privkey=ecdsa", "--curve=secp256r1", "--label", LABEL, &token_url];
    run(gnutls(&site, "p11tool").args(generate))?.success()?;

    let path = |name: &str| site.root().join(name).display().to_string();
    fs::write(path("template"), "cn = \"gnutls\"\nexpiration_days = 10\nsigning_key\n")?;
    before_and_after_a_power_cycle(&site, || {
        let listed = run(gnutls(&site, "p11tool").args(["--login", "--list-all", &token_url]))?.success()?.stdout;
        for class in ["private", "public"] {
            let wanted = format!("object={LABEL};type={class}");
            ensure!(listed.contains(&wanted), "no {wanted:?} in\n{listed}");
        }
        let mut certtool = gnutls(&site, "certtool");
        certtool.args(["--generate-self-signed", "--load-privkey", &url("private"), "--load-pubkey", &url("public")]);
        run(certtool.args(["--template", &path("template"), "--outfile", &path("certificate.pem")]))?.success()?;
        let certificate = X509::from_pem(&fs::read(path("certificate.pem"))?)?;
        ensure!(certificate.verify(&*certificate.public_key()?)?, "the certificate's signature is wrong");
        let recorded = site.holdfast(&["pubkey", LABEL, "--format", "pem"])?.success()?.stdout;
        ensure!(certificate.public_key()?.public_key_to_pem()? == recorded.as_bytes(), "another key");
        Ok(())
    })
}
