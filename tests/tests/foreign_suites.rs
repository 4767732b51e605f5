//! The test suites of three PKCS#11 clients, unmodified, pass through the module as they do on the bare one: with
//! mapping off, and with every EC key mapped.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use holdfast_tests::artefacts::workspace;
use holdfast_tests::run::run_with;
use holdfast_tests::{Module, Site};

/// The first run downloads and builds the clients.
const TIME_LIMIT: Duration = Duration::from_secs(900);

/// Tests that skip themselves on SoftHSM2 for want of `CKM_ECDSA_SHA*`, which the module adds.
const MORE_THAN_BARE: [&str; 3] = [
    "tests.test_ecc.ECCTests::test_import_key_named_curve",
    "tests.test_public_key_external.ExternalPublicKeyTests::test_ecdsa",
    "tests.test_x509.X509Tests::test_verify_certificate_ecdsa",
];

/// For every suite: the tests that passed, failed and were skipped.
type Results = BTreeMap<String, BTreeMap<String, BTreeSet<String>>>;

fn suites(site: &Site, module: &Path) -> Result<Results> {
    // python-pkcs11 knows what to expect of a module by its file's name.
    let named = site.root().join("libsofthsm2.so");
    std::fs::copy(module, &named)?;
    let mut command = site.command("python3");
    command.arg(workspace().join("tests/suites/run.py")).arg("--module").arg(&named);
    command.arg("--work").arg(workspace().join("target/foreign-suites"));
    command.current_dir(workspace());
    let finished = run_with(&mut command, &[], TIME_LIMIT)?.success()?;
    serde_json::from_str(&finished.stdout).context("the results of tests/suites/run.py")
}

fn of<'a>(results: &'a Results, suite: &str, outcome: &str) -> Result<&'a BTreeSet<String>> {
    results.get(suite).and_then(|results| results.get(outcome)).with_context(|| format!("{suite}: no {outcome}"))
}

fn compare(bare: &Results, ours: &Results, how: &str) -> Result<()> {
    for suite in bare.keys() {
        let failed = of(ours, suite, "failed")?;
        ensure!(failed.is_empty(), "{how}, {suite}: failed: {failed:?}");
        let lost: Vec<_> = of(bare, suite, "passed")?.difference(of(ours, suite, "passed")?).collect();
        ensure!(lost.is_empty(), "{how}, {suite}: passed on the bare module only: {lost:?}");
        let gained = of(ours, suite, "passed")?.difference(of(bare, suite, "passed")?);
        let unexpected: Vec<_> = gained.filter(|name| !MORE_THAN_BARE.contains(&name.as_str())).collect();
        ensure!(unexpected.is_empty(), "{how}, {suite}: passed through the module only: {unexpected:?}");
    }
    Ok(())
}

#[test]
fn foreign_suites_pass_as_on_the_bare_module() -> Result<()> {
    let bare_site = Site::new()?;
    let bare = suites(&bare_site, &bare_site.module(Module::Bare))?;
    for (suite, least) in [("cryptoki", 116), ("python-pkcs11", 145), ("pykcs11", 80)] {
        ensure!(of(&bare, suite, "passed")?.len() >= least, "{suite} on the bare module: {:?}", bare.get(suite));
    }
    for policy in ["never", "always"] {
        let site = Site::builder().set("mapping", "policy", &format!("{policy:?}")).build()?;
        let ours = suites(&site, &site.module(Module::Holdfast))?;
        compare(&bare, &ours, &format!("policy {policy}"))?;
        // The suites' own EC keys were mapped, or not.
        let wallets = site.device().slots()?.iter().filter(|slot| slot.origin == "wallet").count();
        ensure!((wallets > 0) == (policy == "always"), "{wallets} slots of wallets under the policy {policy}");
    }
    Ok(())
}
