//! What can go wrong from outside: the right code, a line in the log that says what to do, and nothing changed.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use holdfast_tests::client::Curve;
use holdfast_tests::ssh::is_root;
use holdfast_tests::{Client, Finished, Module, Site, run, token};

const ID: &[u8] = &[1];
const DIGEST: [u8; 32] = [9; 32];
/// An account that may not do much.
const NOBODY: &str = "nobody";

/// Asserts that generating fails with a code, that the log says what to do, and that nothing changed.
fn generation_fails(site: &Site, client: &mut Client, code: &str, advice: &str) -> Result<()> {
    let contents = site.contents()?;
    site.clear_log()?;
    let refusal = client.try_generate(Curve::P256, "another", &[0x99])?.err().context("a key was made")?;
    ensure!(refusal.code == code, "{refusal}, not {code}");
    site.logged(advice)?;
    ensure!(site.contents()? == contents, "device or store changed");
    ensure!(client.private_keys(Some(&[0x99]))?.is_empty(), "half a key is there");
    Ok(())
}

/// Asserts that `holdfast` ends with an exit code and says what to do.
fn holdfast_fails(finished: &Finished, code: i32, advice: &str) -> Result<()> {
    ensure!(finished.code()? == code, "exit code {}, not {code}:\n{finished}", finished.code()?);
    ensure!(finished.stderr.contains(advice), "nothing about {advice:?}:\n{finished}");
    Ok(())
}

const GENERATE: [&str; 7] = ["generate", "--token", token::LABEL, "--label", "another", "--id", "99"];

#[test]
fn device_unreachable() -> Result<()> {
    let site =
        Site::builder().set("device", "open-timeout-ms", "300").set("device", "retry-interval-ms", "50").build()?;
    let mut running = site.client()?;
    running.generate(Curve::P256, "key", ID)?;
    let point = running.public_point(ID)?;
    let lock = site.device().state().join("lock");
    let away = site.root().join("away");
    // What the emulator is without its lock file, the vendor's library is without its daemon.
    let contents = site.contents()?;
    fs::rename(&lock, &away)?;

    let mut fresh = site.client()?;
    for client in [&mut running, &mut fresh] {
        site.clear_log()?;
        // Listing needs no device.
        ensure!(client.private_keys(None)? == ["key"] && client.public_point(ID)? == point, "listing");
        let refusal = client.try_sign(ID, "ecdsa", &DIGEST)?.err().context("signed without a device")?;
        ensure!(refusal.code == "DeviceError", "{refusal}");
        site.logged("see whether the vendor's service zkifc is running")?;
        let refusal =
            client.try_generate(Curve::P256, "another", &[0x99])?.err().context("generated without a device")?;
        ensure!(refusal.code == "DeviceError", "{refusal}");
    }
    holdfast_fails(&site.holdfast(&GENERATE)?, 3, "the device")?;
    let status = site.holdfast(&["status"])?;
    ensure!(status.code()? == 3 && status.stdout.contains("NOT REACHED"), "{status}");

    fs::rename(&away, &lock)?;
    ensure!(site.contents()? == contents, "device or store changed");
    // Both go on where they were, without being restarted.
    std::thread::sleep(std::time::Duration::from_millis(100));
    running.sign(ID, "ecdsa", &DIGEST).context("the running client, afterwards")?;
    fresh.sign(ID, "ecdsa", &DIGEST).context("the other client, afterwards")?;
    Ok(())
}

#[test]
fn device_library_missing() -> Result<()> {
    let site = Site::new()?;
    let library = site.root().join("nowhere.so");
    site.configure(&[("device", "library", &format!("{:?}", library.display().to_string()))])?;
    let mut client = site.client()?;
    let refusal = client.try_generate(Curve::P256, "key", ID)?.err().context("generated without a device")?;
    ensure!(refusal.code == "DeviceError", "{refusal}");
    site.logged("nowhere.so")?;
    ensure!(!site.database().exists(), "a store was made");
    ensure!(client.private_keys(None)?.is_empty(), "a key fell back to software");
    holdfast_fails(&site.holdfast(&GENERATE)?, 3, "nowhere.so")
}

#[test]
fn device_full() -> Result<()> {
    // One slot for the wallet's seed, one for a key.
    let site = Site::builder().device_option("--slots", "2").build()?;
    let mut client = site.client()?;
    client.generate(Curve::P256, "key", ID)?;
    generation_fails(&site, &mut client, "DeviceMemory", "no free slot")?;
    client.sign(ID, "ecdsa", &DIGEST)?;
    let contents = site.contents()?;
    holdfast_fails(&site.holdfast(&GENERATE)?, 1, "no free slot")?;
    ensure!(site.contents()? == contents, "device or store changed");
    // There is room again, and it is used.
    client.destroy(ID)?;
    client.generate(Curve::P256, "another", &[0x99])?;
    client.sign(&[0x99], "ecdsa", &DIGEST)?;
    Ok(())
}

/// A command as an account that may read the store and not write it. For root that is another account; for anybody
/// else it is enough to take the permission away from oneself.
fn without_write_permission(site: &Site, command: Command) -> Result<Command> {
    if !is_root() {
        fs::set_permissions(site.database(), Permissions::from_mode(0o440))?;
        fs::set_permissions(site.database().parent().context("a directory")?, Permissions::from_mode(0o550))?;
        return Ok(command);
    }
    let number = |option: &str| -> Result<String> {
        Ok(run(Command::new("id").args([option, NOBODY]))?.success()?.stdout.trim().to_owned())
    };
    let mut wrapped = Command::new("setpriv");
    wrapped.args(["--reuid", &number("-u")?, "--regid", &number("-g")?, "--clear-groups", "--"]);
    wrapped.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => wrapped.env(name, value),
            None => wrapped.env_remove(name),
        };
    }
    Ok(wrapped)
}

#[test]
fn e5_store_read_only() -> Result<()> {
    let builder = Site::builder().set("log", "target", "\"stderr\"");
    let site = if is_root() { builder.shared_with(NOBODY).build()? } else { builder.build()? };
    site.holdfast(&["generate", "--token", token::LABEL, "--label", "key", "--id", "01"])?.success()?;
    let contents = site.contents()?;
    let data = site.root().join("data");
    fs::write(&data, DIGEST)?;
    fs::set_permissions(&data, Permissions::from_mode(0o644))?;

    let sign = ["--sign", "--mechanism", "ECDSA", "--id", "01", "--input-file", &data.display().to_string()];
    let signed = run(&mut without_write_permission(&site, site.pkcs11_tool_command(Module::Holdfast, &sign))?)?;
    ensure!(signed.success().context("signing needs no permission to write")?.bytes.len() >= 64, "no signature");

    let generate = ["--keypairgen", "--key-type", "EC:prime256v1", "--id", "99"];
    let made = run(&mut without_write_permission(&site, site.pkcs11_tool_command(Module::Holdfast, &generate))?)?;
    let made = made.failure()?;
    ensure!(made.stderr.contains("CKR_TOKEN_WRITE_PROTECTED"), "another code:\n{made}");
    ensure!(made.stderr.contains("may not write the store"), "no advice:\n{made}");

    let made = run(&mut without_write_permission(&site, site.holdfast_command(&GENERATE))?)?;
    holdfast_fails(&made, 3, "may not write the store")?;
    ensure!(site.contents()? == contents, "device or store changed");
    Ok(())
}

#[test]
fn store_with_wrong_permissions() -> Result<()> {
    let site = Site::new()?;
    site.client()?.generate(Curve::P256, "key", ID)?;
    fs::set_permissions(site.database(), Permissions::from_mode(0o666))?;
    let contents = site.contents()?;
    site.clear_log()?;

    let mut client = site.client()?;
    let refusal = client.try_generate(Curve::P256, "another", &[0x99])?.err().context("a key was made")?;
    ensure!(refusal.code == "FunctionFailed", "{refusal}");
    let lines = site.logged(&site.database().display().to_string())?;
    ensure!(lines.iter().any(|line| line.contains("chmod")), "no advice: {lines:?}");
    holdfast_fails(&site.holdfast(&GENERATE)?, 3, "chmod")?;
    ensure!(site.contents()? == contents, "device or store changed");

    fs::set_permissions(site.database(), Permissions::from_mode(0o660))?;
    site.client()?.sign(ID, "ecdsa", &DIGEST)?;
    Ok(())
}

/// Every way in fails alike: the module cannot be initialised, the command line ends with 2 or 3.
fn nothing_works(site: &Site, rv: &str, exit: i32, advice: &[&str]) -> Result<()> {
    let listed = site.pkcs11_tool(Module::Holdfast, &["--list-objects"])?.failure()?;
    ensure!(listed.stderr.contains(rv), "not {rv}:\n{listed}");
    let status = site.holdfast(&["generate", "--token", token::LABEL, "--label", "k"])?;
    ensure!(status.code()? == exit, "not {exit}:\n{status}");
    let log = site.log()?;
    for words in advice {
        ensure!(status.stderr.contains(words), "nothing about {words:?}:\n{status}");
        let logged = listed.stderr.contains(words) || log.contains(words);
        ensure!(logged, "nothing about {words:?} in the log:\n{listed}\n{log}");
    }
    Ok(())
}

#[test]
fn unknown_configuration_key() -> Result<()> {
    let site = Site::new()?;
    site.client()?.generate(Curve::P256, "key", ID)?;
    let contents = site.contents()?;
    let good = fs::read_to_string(site.configuration())?;
    fs::write(site.configuration(), good.replace("[mapping]", "[mapping]\npolicies = \"auto\""))?;
    nothing_works(&site, "CKR_GENERAL_ERROR", 2, &["holdfast.toml", "policies"])?;
    let check = site.holdfast(&["config", "check"])?;
    ensure!(check.code()? == 2 && check.output().contains("policies"), "{check}");
    ensure!(site.contents()? == contents, "device or store changed");
    Ok(())
}

#[test]
fn bad_configuration_value() -> Result<()> {
    let site = Site::builder().set("mapping", "policy", "\"sometimes\"").build()?;
    nothing_works(&site, "CKR_GENERAL_ERROR", 2, &["holdfast.toml", "policy", "sometimes"])?;
    ensure!(!site.database().exists(), "a store was made");
    Ok(())
}

#[test]
fn named_configuration_file_missing() -> Result<()> {
    let site = Site::new()?;
    fs::remove_file(site.configuration())?;
    nothing_works(&site, "CKR_GENERAL_ERROR", 2, &["holdfast.toml"])
}

#[test]
fn backend_missing() -> Result<()> {
    let site = Site::builder().set("backend", "module", "\"/nonexistent/libzk_pkcs11.so\"").build()?;
    nothing_works(&site, "CKR_FUNCTION_FAILED", 3, &["/nonexistent/libzk_pkcs11.so"])?;
    ensure!(!site.database().exists(), "a store was made");
    ensure!(site.device().slots()?.iter().all(|slot| slot.origin == "factory"), "the device was touched");
    Ok(())
}

#[test]
fn k6_backend_that_others_can_write() -> Result<()> {
    let site = Site::new()?;
    let module = site.root().join("backend.so");
    fs::copy(token::SOFTHSM, &module)?;
    fs::set_permissions(&module, Permissions::from_mode(0o666))?;
    site.configure(&[("backend", "module", &format!("{:?}", module.display().to_string()))])?;
    nothing_works(&site, "CKR_FUNCTION_FAILED", 3, &["backend.so", "chmod"])
}
