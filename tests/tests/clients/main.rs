//! Real clients, before and after a power cycle: each makes or uses a mapped key, and something else verifies.

#[path = "../openssl_check/mod.rs"]
mod openssl_check;

mod gnutls;
mod graphene;
mod java;
mod nginx;
mod nss;
mod openssl_engine;
mod openssl_provider;
mod pkcs11_tool;
mod ssh;

use anyhow::Result;
use holdfast_tests::client::Curve;
use holdfast_tests::{Module, Site};

/// The label of the key in these tests.
const KEY: &str = "key";

/// Makes a mapped P-256 key with pkcs11-tool.
fn site_with_key() -> Result<Site> {
    let site = Site::new()?;
    make_key(&site, "EC:prime256v1")?;
    Ok(site)
}

fn make_key(site: &Site, key_type: &str) -> Result<()> {
    let arguments = ["--keypairgen", "--key-type", key_type, "--label", KEY, "--id", "01"];
    site.pkcs11_tool(Module::Holdfast, &arguments)?.success()?;
    Ok(())
}

/// The key's public point, read by another client.
fn point(site: &Site) -> Result<Vec<u8>> {
    site.anonymous_client(Module::Holdfast)?.public_point(&[1])
}

/// Runs a check twice, with a power cycle between.
fn before_and_after_a_power_cycle(site: &Site, mut check: impl FnMut() -> Result<()>) -> Result<()> {
    check()?;
    site.device().power_cycle()?;
    check()
}

fn verifies(site: &Site, curve: Curve, digest: &[u8], signature: &[u8]) -> Result<bool> {
    openssl_check::verifies(curve, &point(site)?, digest, signature)
}
