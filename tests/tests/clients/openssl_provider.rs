//! OpenSSL's command with pkcs11-provider: keys made and used, before and after a power cycle.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use holdfast_tests::artefacts::workspace;
use holdfast_tests::run::run_with;
use holdfast_tests::site::write_private;
use holdfast_tests::{Module, Site, run, token};
use openssl::x509::X509;

use crate::{KEY, before_and_after_a_power_cycle, site_with_key};

/// The first run downloads it.
const TIME_LIMIT: Duration = Duration::from_secs(300);

/// An OpenSSL configuration that loads a module through the provider.
struct Provider(PathBuf);

impl Provider {
    fn configure(site: &Site) -> Result<Self> {
        let directory = workspace().join("target/foreign-suites/pkcs11-provider");
        let mut install = site.command("sh");
        install.arg(workspace().join("tests/suites/pkcs11-provider.sh")).arg(&directory);
        run_with(&mut install, &[], TIME_LIMIT)?.success()?;
        let (configuration, pin) = (site.root().join("provider.cnf"), site.root().join("pin"));
        let text = format!(
            "openssl_conf = openssl_init\n\n\
             [openssl_init]\nproviders = providers\n\n\
             [providers]\ndefault = default_section\npkcs11 = pkcs11_section\n\n\
             [default_section]\nactivate = 1\n\n\
             [pkcs11_section]\nmodule = {}\npkcs11-module-path = {}\npkcs11-module-token-pin = file:{}\n\
             pkcs11-module-encode-provider-uri-to-pem = true\nactivate = 1\n\n\
             [req]\ndistinguished_name = subject\n[subject]\n",
            directory.join("pkcs11.so").display(),
            site.module(Module::Holdfast).display(),
            pin.display(),
        );
        fs::write(&configuration, text)?;
        write_private(&pin, token::PIN)?;
        Ok(Self(configuration))
    }

    fn openssl(&self, site: &Site, arguments: &[&str]) -> Command {
        let mut command = site.command("openssl");
        command.env("OPENSSL_CONF", &self.0).args(arguments);
        command
    }
}

/// The provider copies the key into the session first. That is refused, and it goes on with the key itself: nothing of
/// the refusal is left in OpenSSL's error queue, which the command would print.
#[test]
fn b9_signs_without_a_copy_of_the_key() -> Result<()> {
    let site = site_with_key()?;
    let provider = Provider::configure(&site)?;
    let path = |name: &str| site.root().join(name).display().to_string();
    fs::write(path("data"), "some data")?;
    let public = site.holdfast(&["pubkey", KEY, "--format", "pem"])?.success()?;
    fs::write(path("public.pem"), public.stdout)?;
    let key = format!("pkcs11:token={};object={KEY};type=private", token::LABEL);
    before_and_after_a_power_cycle(&site, || {
        let mut sign = provider.openssl(&site, &["dgst", "-sha256", "-sign", &key]);
        let signed = run(sign.args(["-out", &path("signature"), &path("data")]))?.success()?;
        let said: Vec<_> = signed.stderr.lines().filter(|line| !line.contains("EMULATED")).collect();
        ensure!(said.is_empty(), "{signed}");
        let verify =
            ["dgst", "-sha256", "-verify", &path("public.pem"), "-signature", &path("signature"), &path("data")];
        run(site.command("openssl").args(verify))?.success()?;
        Ok(())
    })
}

#[test]
fn makes_a_key_and_issues_certificates() -> Result<()> {
    let site = Site::new()?;
    let provider = Provider::configure(&site)?;
    let uri = format!("pkcs11:token={};object=made;id=%07", token::LABEL);
    let generate = ["genpkey", "-propquery", "provider=pkcs11", "-algorithm", "EC"];
    let mut generate = provider.openssl(&site, &generate);
    generate.args(["-pkeyopt", "ec_paramgen_curve:P-256", "-pkeyopt", &format!("pkcs11_uri:{uri}")]);
    run(&mut generate)?.success()?;
    let keys = site.holdfast(&["list", "--json"])?.success()?.json()?;
    ensure!(keys["keys"].as_array().is_some_and(|keys| keys.len() == 1), "{keys}");
    let path = site.root().join("certificate.pem");
    before_and_after_a_power_cycle(&site, || {
        let mut issue = provider.openssl(&site, &["req", "-new", "-x509", "-sha256", "-days", "30"]);
        issue.args(["-key", &format!("{uri};type=private"), "-subj", "/CN=localhost", "-out"]).arg(&path);
        run(&mut issue)?.success()?;
        let certificate = X509::from_pem(&fs::read(&path)?)?;
        ensure!(certificate.verify(&*certificate.public_key()?)?, "the certificate's signature is wrong");
        Ok(())
    })
}
