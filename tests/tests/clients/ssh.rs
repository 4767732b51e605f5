//! OpenSSH.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use holdfast_tests::client::Curve;
use holdfast_tests::ssh::Ssh;
use holdfast_tests::{Site, run};

use crate::{before_and_after_a_power_cycle, make_key, site_with_key};

#[test]
fn ssh_keygen_lists_the_public_key() -> Result<()> {
    let site = site_with_key()?;
    let ssh = Ssh::configure(&site)?;
    let ours = site.holdfast(&["pubkey", crate::KEY, "--format", "ssh"])?.success()?.stdout;
    before_and_after_a_power_cycle(&site, || {
        let listed = run(&mut ssh.list_keys(&site))?.success()?.stdout;
        let key = |text: &str| text.split_whitespace().take(2).map(ToOwned::to_owned).collect::<Vec<_>>();
        ensure!(key(&listed) == key(&ours) && key(&ours).len() == 2, "ssh-keygen: {listed}\nholdfast: {ours}");
        Ok(())
    })
}

#[test]
fn ssh_keygen_passes_over_a_curve_that_it_does_not_know() -> Result<()> {
    let site = Site::new()?;
    make_key(&site, "EC:secp256k1")?;
    site.client()?.generate(Curve::P256, "known", &[2])?;
    let ssh = Ssh::configure(&site)?;
    let listed = run(&mut ssh.list_keys(&site))?.success()?.stdout;
    // It shows that there is another, of a type that it has no name for.
    let usable: Vec<&str> = listed.lines().filter(|line| line.starts_with("ecdsa-sha2-nistp256 ")).collect();
    ensure!(matches!(usable.as_slice(), [line] if line.ends_with(" known")), "{listed}");
    Ok(())
}

#[test]
fn ssh_keygen_signs_through_the_agent() -> Result<()> {
    let site = site_with_key()?;
    let ssh = Ssh::configure(&site)?;
    let path = |name: &str| site.root().join(name).display().to_string();
    fs::write(path("data"), "some data")?;
    before_and_after_a_power_cycle(&site, || {
        let _ = fs::remove_file(path("data.sig"));
        let agent = ssh.start_agent(&site)?;
        run(&mut ssh.add_to_agent(&site)?)?.success()?;
        let key = run(&mut ssh.list_keys(&site))?.success()?.stdout;
        fs::write(path("key.pub"), &key)?;
        let mut sign = site.command("ssh-keygen");
        sign.env("SSH_AUTH_SOCK", ssh.agent_socket()).args([
            "-Y",
            "sign",
            "-n",
            "file",
            "-f",
            &path("key.pub"),
            &path("data"),
        ]);
        run(&mut sign)?.success()?;
        fs::write(path("signers"), format!("tester {key}"))?;
        let verify = ["-Y", "verify", "-n", "file", "-I", "tester", "-f", &path("signers"), "-s", &path("data.sig")];
        let verified = holdfast_tests::run::run_with(
            site.command("ssh-keygen").args(verify),
            b"some data",
            holdfast_tests::run::TIME_LIMIT,
        )?;
        verified.success().context("the signature")?;
        agent.stop();
        Ok(())
    })
}
