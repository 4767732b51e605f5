//! Long random sequences of calls give the same return codes and the same data through the module as on the bare one,
//! also when mapped keys are beside what the sequences make.
//!
//! What differs by design the player leaves out: mechanisms that are added, and mapped keys that a search finds.
//! `docs/compatibility.md` lists all of it.

use anyhow::{Result, ensure};
use holdfast_tests::Site;
use holdfast_tests::client::Curve;
use holdfast_tests::replay::{Bench, check_substance, compare_all};

fn bench(words: &[&'static str]) -> Result<Bench> {
    let site = Site::new()?;
    if words.contains(&"mapped-keys") {
        let mut client = site.client()?;
        client.generate(Curve::P256, "mapped one", &[1])?;
        client.generate(Curve::Secp256k1, "mapped two", &[2])?;
        client.finish()?;
    }
    let tokens = site.token().directory().to_owned();
    Bench::new(site, &tokens, words)
}

/// The functions of 2.40.
fn names() -> impl Iterator<Item = &'static str> {
    holdfast_pkcs11::abi::tables::NAMES.iter().take(68).filter_map(|name| name.to_str().ok())
}

#[test]
fn random_sequences_are_answered_as_by_the_bare_module() -> Result<()> {
    check_substance(&compare_all(1, || bench(&[]), |_| Ok(()))?, names())
}

#[test]
fn random_sequences_beside_mapped_keys_are_answered_as_by_the_bare_module() -> Result<()> {
    let there = |bench: &Bench| {
        let labels = bench.site.client()?.private_keys(None)?;
        let there = ["mapped one", "mapped two"].iter().all(|label| labels.iter().any(|found| found == label));
        ensure!(there, "the mapped keys are gone: {labels:?}");
        Ok(())
    };
    check_substance(&compare_all(1_000_001, || bench(&["mapped-keys"]), there)?, names())
}
