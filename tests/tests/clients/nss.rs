//! NSS: certutil makes a key without label and ID, sets the ID of both halves afterwards, and issues certificates.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use holdfast_tests::{Module, Site, run, token};
use openssl::x509::X509;

/// An NSS database of its own.
struct Nss<'site> {
    site: &'site Site,
    directory: String,
    pin_file: PathBuf,
}

impl<'site> Nss<'site> {
    fn create(site: &'site Site) -> Result<Self> {
        let directory = site.root().join("nss");
        fs::create_dir(&directory)?;
        let pin_file = site.root().join("pin");
        holdfast_tests::site::write_private(&pin_file, token::PIN)?;
        let nss = Self { site, directory: format!("sql:{}", directory.display()), pin_file };
        run(nss.certutil().args(["-N", "--empty-password"]))?.success()?;
        let mut modutil = site.command("modutil");
        modutil.args(["-dbdir", &nss.directory, "-force", "-add", "holdfast", "-libfile"]);
        run(modutil.arg(site.module(Module::Holdfast)))?.success()?;
        Ok(nss)
    }

    fn certutil(&self) -> Command {
        let mut command = self.site.command("certutil");
        command.args(["-d", &self.directory]);
        command
    }

    /// certutil on our token.
    fn on_token(&self, arguments: &[&str]) -> Command {
        let mut command = self.certutil();
        command.args(["-h", token::LABEL, "-f"]).arg(&self.pin_file).args(arguments);
        command
    }

    /// Issues a self-signed certificate, whose signature OpenSSL finds right, and gives its public key.
    fn certificate(&self, nickname: &str, key: &[&str]) -> Result<Vec<u8>> {
        let noise = self.site.root().join("noise");
        fs::write(&noise, [0x5a; 64])?;
        let serial = nickname.len().to_string();
        let subject = format!("CN={nickname}");
        let issue = ["-S", "-n", nickname, "-s", &subject, "-x", "-t", "u,u,u", "-m", &serial, "-v", "12"];
        run(self.on_token(&issue).args(["-z", &noise.display().to_string()]).args(key))?.success()?;
        let full_name = format!("{}:{nickname}", token::LABEL);
        let pem = run(&mut self.on_token(&["-L", "-a", "-n", &full_name]))?.success()?.bytes;
        let certificate = X509::from_pem(&pem)?;
        ensure!(certificate.verify(&*certificate.public_key()?)?, "the certificate's signature is wrong");
        Ok(certificate.public_key()?.public_key_to_pem()?)
    }

    /// The IDs of the token's keys, as certutil lists them.
    fn keys(&self) -> Result<Vec<String>> {
        let listed = run(&mut self.on_token(&["-K"]))?.success()?.stdout;
        let keys = listed.lines().filter(|line| line.starts_with('<'));
        keys.map(|line| line.split_whitespace().nth(3).map(ToOwned::to_owned).context("an ID")).collect()
    }
}

#[test]
fn makes_a_key_and_issues_certificates() -> Result<()> {
    let site = Site::new()?;
    let nss = Nss::create(&site)?;
    let public_key = nss.certificate("first", &["-k", "ec", "-q", "nistp256"])?;
    let keys = nss.keys()?;
    ensure!(keys.len() == 1, "{keys:?}");
    let recorded = site.holdfast(&["pubkey", &format!("id:{}", keys[0]), "--format", "pem"])?.success()?.stdout;
    ensure!(public_key == recorded.as_bytes(), "the certificate is for another key");

    site.device().power_cycle()?;
    ensure!(nss.keys()? == keys, "another key");
    let again = nss.certificate("the second", &["-k", &keys[0]])?;
    ensure!(again == public_key, "the second certificate is for another key");
    Ok(())
}
