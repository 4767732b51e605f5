//! nginx with the pkcs11 engine: the workers sign after a fork.

use std::fs;

use anyhow::{Result, ensure};
use holdfast_tests::nginx::Nginx;
use holdfast_tests::openssl_engine::{Engine, Start};
use holdfast_tests::{Module, Site, run};

use crate::{KEY, site_with_key};

fn nginx(site: &Site) -> Result<Nginx> {
    let engine = Engine::configure(site, Module::Holdfast, Start::OnDemand)?;
    let certificate = site.root().join("certificate.pem");
    run(&mut engine.self_sign(site, KEY, &certificate))?.success()?;
    let engine = Engine::configure(site, Module::Holdfast, Start::AtOnce)?;
    // The workers' account: whoever runs the tests. The demo shows an unprivileged one.
    let user = run(std::process::Command::new("id").arg("-un"))?.success()?.stdout;
    Nginx::configure(site, &engine, KEY, &certificate, Some(user.trim()))
}

#[test]
fn every_worker_serves_before_and_after_a_power_cycle() -> Result<()> {
    let site = site_with_key()?;
    let nginx = nginx(&site)?;
    let certificate = fs::read_to_string(site.root().join("certificate.pem"))?;
    for _ in 0..2 {
        let daemon = nginx.start(&site)?;
        nginx.fetch_from_every_worker()?;
        ensure!(nginx.served_certificate()? == certificate.trim(), "another certificate");
        daemon.stop();
        site.device().power_cycle()?;
    }
    Ok(())
}

#[test]
fn i7_goes_on_serving_after_the_device_was_away() -> Result<()> {
    let site =
        Site::builder().set("device", "open-timeout-ms", "500").set("device", "retry-interval-ms", "50").build()?;
    crate::make_key(&site, "EC:prime256v1")?;
    let nginx = nginx(&site)?;
    let daemon = nginx.start(&site)?;
    nginx.fetch_from_every_worker()?;
    site.device().control(&["disconnect"])?;
    nginx.fetch_from_every_worker()?;
    site.device().fail_always("any")?;
    ensure!(!run(&mut nginx.curl())?.succeeded(), "it served without the device");
    site.device().clear_faults()?;
    std::thread::sleep(std::time::Duration::from_millis(100));
    nginx.fetch_from_every_worker()?;
    daemon.stop();
    Ok(())
}
