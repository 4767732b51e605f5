//! The test suites of three PKCS#11 clients, unmodified, pass through the module as they do on the bare one: with
//! mapping off, with EC token keys mapped, and with EC session keys mapped too.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use holdfast_tests::artefacts::workspace;
use holdfast_tests::run::run_with;
use holdfast_tests::{Module, Site, SiteBuilder};

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

/// A configuration of the module, and whether it maps the suites' own keys.
struct Variant {
    name: &'static str,
    settings: &'static [(&'static str, &'static str)],
    maps: bool,
}

const VARIANTS: [Variant; 3] = [
    Variant { name: "mapping off", settings: &[("policy", "\"never\"")], maps: false },
    Variant { name: "mapping on", settings: &[("policy", "\"always\"")], maps: true },
    Variant {
        name: "mapping on, session keys too",
        settings: &[("policy", "\"always\""), ("session-keys", "\"wallet\"")],
        maps: true,
    },
];

fn check(variant: &Variant, bare: &Results) -> Result<()> {
    let set = |site: SiteBuilder, (key, value): &(&str, &str)| site.set("mapping", key, value);
    let site = variant.settings.iter().fold(Site::builder(), set).build()?;
    let ours = suites(&site, &site.module(Module::Holdfast))?;
    // Where the suites' own pairs went.
    let made = site.log()?.matches("C_GenerateKeyPair: the ").count();
    println!("{}: {made} pairs on the device", variant.name);
    for (suite, results) in &ours {
        let numbers: BTreeMap<_, _> = results.iter().map(|(outcome, tests)| (outcome, tests.len())).collect();
        println!("{}: {suite}: {numbers:?}", variant.name);
    }
    compare(bare, &ours, variant.name)?;
    let document = std::fs::read_to_string(workspace().join("docs/compatibility.md"))?;
    let undocumented: Vec<_> = MORE_THAN_BARE.iter().filter(|name| !document.contains(**name)).collect();
    ensure!(undocumented.is_empty(), "docs/compatibility.md does not name {undocumented:?}");
    ensure!((made > 0) == variant.maps, "{}: {made} pairs were made on the device", variant.name);
    Ok(())
}

#[test]
fn foreign_suites_pass_as_on_the_bare_module() -> Result<()> {
    let site = Site::new()?;
    let bare = suites(&site, &site.module(Module::Bare))?;
    for (suite, least) in [("cryptoki", 116), ("python-pkcs11", 145), ("pykcs11", 80)] {
        ensure!(of(&bare, suite, "passed")?.len() >= least, "{suite} on the bare module: {:?}", bare.get(suite));
    }
    std::thread::scope(|scope| {
        let bare = &bare;
        let checks: Vec<_> = VARIANTS.iter().map(|variant| scope.spawn(move || check(variant, bare))).collect();
        let outcomes: Vec<_> = checks.into_iter().map(|check| check.join()).collect();
        outcomes.into_iter().try_for_each(|outcome| outcome.ok().context("a check panicked")?)
    })
}
