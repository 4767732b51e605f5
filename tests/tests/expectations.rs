//! What clients expect of the module and no other test shows; each is named after its row in `docs/compatibility.md`.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use holdfast_tests::client::Curve;
use holdfast_tests::{Module, Site, run};

#[test]
fn a8_the_module_shares_no_library_with_its_host() -> Result<()> {
    let site = Site::new()?;
    let read = run(Command::new("readelf").arg("-dW").arg(site.module(Module::Holdfast)))?.success()?.stdout;
    let needed: BTreeSet<&str> = read
        .lines()
        .filter(|line| line.contains("(NEEDED)"))
        .filter_map(|line| line.split(['[', ']']).nth(1)?.split(".so").next())
        .collect();
    ensure!(needed.contains("libc"), "readelf was not understood: {read}");
    let of_the_c_runtime =
        ["libc", "libgcc_s", "libm", "libdl", "libpthread", "ld-linux-x86-64", "ld-linux-aarch64", "ld-linux-armhf"];
    let others: Vec<_> = needed.iter().filter(|name| !of_the_c_runtime.contains(name)).collect();
    ensure!(others.is_empty(), "the module needs {others:?}");
    Ok(())
}

#[test]
fn c6_labels_that_are_too_long_for_clients_are_refused() -> Result<()> {
    let site = Site::new()?;
    let mut client = site.client()?;
    client.generate(Curve::P256, &"l".repeat(255), &[1])?;
    let before = site.contents()?;
    let refusal = client.try_generate(Curve::P256, &"l".repeat(256), &[2])?.err().context("256 bytes were taken")?;
    ensure!(refusal.code == "AttributeValueInvalid", "{refusal:?}");
    ensure!(site.contents()? == before, "a refused generation changed something");
    ensure!(client.private_keys(None)? == ["l".repeat(255)], "the label is not as it was given");
    Ok(())
}

#[test]
fn c8_c9_no_empty_list_of_mechanisms_and_no_pin_at_every_use() -> Result<()> {
    let site = Site::new()?;
    // An object that has both, to see how the tool shows them.
    let generate = ["--keypairgen", "--key-type", "EC:secp384r1", "--id", "02", "--always-auth"];
    let allowed = ["--allowed-mechanisms", "ECDSA"];
    site.pkcs11_tool(Module::Holdfast, &[&generate[..], &allowed[..]].concat())?.success()?;
    site.client()?.generate(Curve::P256, "mapped", &[1])?;
    let arguments = ["--list-objects", "--type", "privkey"];
    let listed = site.pkcs11_tool(Module::Holdfast, &arguments)?.success()?.stdout;
    let object = |id: &str| -> Result<String> {
        let mut objects =
            listed.split("Private Key Object; ").filter(|object| object.contains(&format!("ID:         {id}")));
        Ok(objects.next().with_context(|| listed.clone())?.to_lowercase())
    };
    let (ours, other) = (object("01")?, object("02")?);
    for shown in ["allowed mechanisms", "always authenticate"] {
        ensure!(other.contains(shown), "the tool does not show {shown:?}: {other}");
        ensure!(!ours.contains(shown), "{ours}");
    }
    Ok(())
}

#[test]
fn c10_slots_and_tokens_are_the_backends_and_stay() -> Result<()> {
    let site = Site::new()?;
    let listed = |module| -> Result<String> {
        let mut command = site.command("pkcs11-tool");
        command.arg("--module").arg(site.module(module)).args(["--list-slots", "--verbose"]);
        let listed = run(&mut command)?.success()?.stdout;
        // SoftHSM2 makes up a serial number for its slot without a token at every start.
        let (token, _) = listed.split_once("\nSlot 1 ").with_context(|| listed.clone())?;
        Ok(token.to_owned())
    };
    let bare = listed(Module::Bare)?;
    ensure!(listed(Module::Holdfast)? == bare, "without mapped keys: {bare}");
    site.client()?.generate(Curve::P256, "key", &[1])?;
    ensure!(listed(Module::Holdfast)? == bare, "with a mapped key: {bare}");
    site.device().power_cycle()?;
    ensure!(listed(Module::Holdfast)? == bare, "after a power cycle: {bare}");
    let slot = bare.split("(0x").nth(1).and_then(|rest| rest.split(')').next()).context("no slot number")?;
    ensure!(u64::from_str_radix(slot, 16)? < 1 << 31, "slot {slot}");
    Ok(())
}

#[test]
fn e2_the_module_starts_no_thread() -> Result<()> {
    let site = Site::new()?;
    let mut ours = site.client()?;
    ours.generate(Curve::P256, "key", &[1])?;
    ours.sign(&[1], "ecdsa", &[7; 32])?;
    let bare = site.anonymous_client(Module::Bare)?;
    let threads = |pid: u32| -> Result<usize> { Ok(fs::read_dir(format!("/proc/{pid}/task"))?.count()) };
    let (ours, bare) = (threads(ours.pid())?, threads(bare.pid())?);
    ensure!(ours == bare, "{ours} threads, {bare} with the bare module");
    Ok(())
}
