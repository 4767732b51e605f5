//! A second backend, kryoptic, which has nothing in common with SoftHSM2 and has interfaces of PKCS#11 3.x: random
//! sequences of calls through each of its interfaces are answered through the module as on kryoptic bare, and the
//! interfaces are the same.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use holdfast_tests::artefacts::{Artefacts, cargo_build, workspace};
use holdfast_tests::client::Curve;
use holdfast_tests::replay::{Bench, check_substance, compare_all};
use holdfast_tests::run::run_with;
use holdfast_tests::site::Backend;
use holdfast_tests::{Module, Site, run, token};

/// The first run downloads and builds kryoptic.
const TIME_LIMIT: Duration = Duration::from_secs(900);

/// The slot that kryoptic is told to have.
const SLOT: &str = "5";

/// kryoptic's module, built unless it is there.
fn module() -> Result<PathBuf> {
    static MODULE: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let build = || {
        let target = workspace().join("target/foreign-suites/kryoptic");
        let mut command = cargo_build();
        command.arg("--locked").arg("--manifest-path").arg(workspace().join("tests/suites/kryoptic/Cargo.toml"));
        run_with(command.env("CARGO_TARGET_DIR", &target), &[], TIME_LIMIT)?.success()?;
        Ok(target.join("debug/libkryoptic_backend.so"))
    };
    match MODULE.get_or_init(|| build().map_err(|error: anyhow::Error| format!("{error:#}"))) {
        Ok(path) => Ok(path.clone()),
        Err(error) => bail!("kryoptic does not build: {error}"),
    }
}

/// Makes a token with the label and the PINs of every test token; returns the file that names it.
fn token(module: &Path, directory: &Path) -> Result<PathBuf> {
    std::fs::create_dir(directory)?;
    let configuration = directory.with_extension("conf");
    let database = directory.join("token.sql");
    std::fs::write(&configuration, format!("[[slots]]\nslot = {SLOT}\ndbtype = \"sqlite\"\ndbargs = {database:?}\n"))?;
    let tool = |arguments: &[&str]| {
        let mut command = Command::new("pkcs11-tool");
        command.env("KRYOPTIC_CONF", &configuration).arg("--module").arg(module).args(["--slot", SLOT]);
        run(command.args(["--so-pin", token::SO_PIN]).args(arguments))?.success()
    };
    tool(&["--init-token", "--label", token::LABEL])?;
    tool(&["--login", "--login-type", "so", "--init-pin", "--pin", token::PIN])?;
    Ok(configuration)
}

/// A site in front of kryoptic.
fn site() -> Result<Site> {
    let module = module()?;
    let root = tempfile::Builder::new().prefix("holdfast-test-").tempdir()?;
    let configuration = token(&module, &root.path().join("kryoptic"))?;
    let backend = Backend { module, variable: ("KRYOPTIC_CONF", configuration.into()) };
    Site::builder().backend(backend).build_in(root, Artefacts::build()?)
}

fn bench(words: &[&'static str]) -> Result<Bench> {
    let site = site()?;
    if words.contains(&"mapped-keys") {
        let mut client = site.client()?;
        client.generate(Curve::P256, "mapped one", &[1])?;
        client.generate(Curve::Secp256k1, "mapped two", &[2])?;
        client.finish()?;
    }
    let tokens = site.root().join("kryoptic");
    Bench::new(site, &tokens, words)
}

/// The names of the functions that a version has.
fn names(number: usize) -> impl Iterator<Item = &'static str> {
    holdfast_pkcs11::abi::tables::NAMES.iter().take(number).filter_map(|name| name.to_str().ok())
}

#[test]
fn kryoptic_by_2_40_answers_as_bare() -> Result<()> {
    check_substance(&compare_all(2_000_001, || bench(&["kryoptic"]), |_| Ok(()))?, names(68))
}

#[test]
fn kryoptic_by_3_0_answers_as_bare() -> Result<()> {
    check_substance(&compare_all(3_000_001, || bench(&["kryoptic", "3.0"]), |_| Ok(()))?, names(92))
}

#[test]
fn kryoptic_by_3_2_answers_as_bare() -> Result<()> {
    check_substance(&compare_all(4_000_001, || bench(&["kryoptic", "3.2"]), |_| Ok(()))?, names(104))
}

#[test]
fn kryoptic_beside_mapped_keys_answers_as_bare() -> Result<()> {
    let words = ["kryoptic", "3.2", "mapped-keys"];
    let there = |bench: &Bench| {
        let labels = bench.site.client()?.private_keys(None)?;
        let there = ["mapped one", "mapped two"].iter().all(|label| labels.iter().any(|found| found == label));
        ensure!(there, "the mapped keys are gone: {labels:?}");
        Ok(())
    };
    check_substance(&compare_all(5_000_001, || bench(&words), there)?, names(104))
}

/// Every interface, its version and which of its functions are there, by all ways of asking for one.
#[test]
fn interfaces_are_those_of_kryoptic() -> Result<()> {
    let site = site()?;
    let interfaces = |module| -> Result<String> {
        let mut command = site.command(site.artefacts().helper("pkcs11-replay"));
        Ok(run(command.arg(site.module(module)).arg("interfaces"))?.success()?.stdout)
    };
    let bare = interfaces(Module::Bare)?;
    ensure!(bare.contains("3.0 92 f") && bare.contains("3.2 104 f"), "kryoptic has other interfaces now: {bare}");
    let ours = interfaces(Module::Holdfast)?;
    ensure!(bare == ours, "bare: {bare}\nours: {ours}");
    Ok(())
}
