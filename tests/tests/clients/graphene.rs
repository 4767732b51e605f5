//! graphene-pk11 for Node: a program makes a key, lists it and signs with it.

use std::fs;
use std::time::Duration;

use anyhow::{Result, ensure};
use holdfast_tests::artefacts::workspace;
use holdfast_tests::client::Curve;
use holdfast_tests::run::run_with;
use holdfast_tests::{Module, Site, run, token};
use openssl::sha::sha256;

use crate::{before_and_after_a_power_cycle, verifies};

/// The first run downloads and compiles the client.
const TIME_LIMIT: Duration = Duration::from_secs(300);

#[test]
fn a_program_makes_a_key_and_signs() -> Result<()> {
    let site = Site::new()?;
    let packages = workspace().join("target/foreign-suites/graphene");
    let mut install = site.command("sh");
    install.arg(workspace().join("tests/suites/graphene.sh")).arg(&packages);
    run_with(&mut install, &[], TIME_LIMIT)?.success()?;
    let path = |name: &str| site.root().join(name);
    fs::write(path("data"), "some data")?;
    before_and_after_a_power_cycle(&site, || {
        let mut node = site.command("node");
        node.env("NODE_PATH", packages.join("node_modules")).env("HARNESS_PIN", token::PIN);
        node.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/graphene.js"));
        let listed = run(node.arg(site.module(Module::Holdfast)).args([path("data"), path("signature")]))?.success()?;
        ensure!(listed.stdout == "PUBLIC_KEY graphene 01\nPRIVATE_KEY graphene 01\n", "{listed}");
        let signature = fs::read(path("signature"))?;
        ensure!(verifies(&site, Curve::P256, &sha256(b"some data"), &signature)?, "the signature is wrong");
        // One key, on the device, that the second run found.
        let keys = site.holdfast(&["list", "--json"])?.success()?.json()?;
        ensure!(keys["keys"].as_array().is_some_and(|keys| keys.len() == 1), "{keys}");
        Ok(())
    })
}
