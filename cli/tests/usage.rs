//! What every verb has in common: options, exit codes, where it prints.

mod support;

use std::process::Stdio;

use support::World;

const VERBS: &[&[&str]] = &[
    &["status"],
    &["list"],
    &["show", "K"],
    &["generate", "--token", "T", "--label", "L"],
    &["destroy", "K"],
    &["pubkey", "K"],
    &["csr", "K", "--subject", "CN=x"],
    &["self-sign", "K", "--subject", "CN=x"],
    &["verify"],
    &["repair"],
    &["wallet", "create", "--token", "T", "--recovery", "none"],
    &["config", "show"],
    &["config", "check"],
];

#[test]
fn every_verb_takes_the_common_options_and_refuses_a_configuration_that_is_not_there() {
    let world = World::without_device();
    for verb in VERBS {
        let arguments = [*verb, &["--config", "nowhere.toml", "--json"]].concat();
        let said = world.run(&arguments).expect(2);
        let message = said.error()["message"].as_str().unwrap().to_owned();
        assert!(message.contains("nowhere.toml") && message.contains("--config"), "{verb:?}: {message}");
    }
}

#[test]
fn usage_errors_are_exit_code_2() {
    let world = World::without_device();
    for arguments in [
        vec![],
        vec!["frobnicate"],
        vec!["show"],
        vec!["list", "--unknown"],
        vec!["generate", "--token", "T", "--label", "L", "--curve", "p384"],
        vec!["generate", "--token", "T", "--label", "L", "--id", "xyz"],
        vec!["csr", "K", "--subject", "/CN=openssl style"],
        vec!["csr", "K", "--subject", "CN=x", "--san", "HOST:x"],
        vec!["csr", "K", "--subject", "CN=x", "--san", "IP:300.0.0.1"],
        vec!["self-sign", "K", "--subject", "CN=x", "--days", "0"],
        vec!["show", "pkcs11:slot-id=4"],
        vec!["wallet", "create", "--token", "T"],
        vec![
            "wallet",
            "create",
            "--token",
            "T",
            "--recovery",
            "bip39",
            "--encrypt-to",
            "age1nonsense",
            "--words-out",
            "f",
        ],
    ] {
        let said = world.run(&arguments).expect(2);
        assert!(said.stdout.is_empty() && !said.stderr.is_empty(), "{arguments:?}");
        assert!(!said.stderr.contains("panicked"), "{arguments:?}: {}", said.stderr);
    }
}

#[test]
fn a_pin_is_never_an_argument() {
    let world = World::new();
    world.generate("tls", &[]);
    for arguments in [
        vec!["self-sign", "tls", "--subject", "CN=x", "--store", "--pin", support::PIN],
        vec!["show", "pkcs11:object=tls?pin-value=483920"],
    ] {
        world.run(&arguments).expect(2);
    }
    let help = world.run(&["self-sign", "--help"]).expect(0).stdout;
    assert!(help.contains("--pin-file") && !help.contains("--pin "), "{help}");
}

#[test]
fn a_reader_that_stops_reading_is_no_error() {
    let world = World::new();
    for arguments in [["config", "show"].as_slice(), &["status"], &["list", "--json"]] {
        let mut child = world.holdfast(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {stderr}");
        assert!(!stderr.contains("panicked"), "{stderr}");
    }
}

#[test]
fn a_full_disk_behind_standard_output_is_an_error() {
    let world = World::new();
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = world.holdfast(&["config", "show"]).stdout(full).stderr(Stdio::piped()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("standard output"));
}

#[test]
fn help_explains_exit_codes_and_keys() {
    let world = World::without_device();
    let help = world.run(&["--help"]).expect(0).stdout;
    for word in ["Exit codes", "pkcs11:", "id:HEX", "wallet", "self-sign"] {
        assert!(help.contains(word), "{word}: {help}");
    }
    assert!(world.run(&["--version"]).expect(0).stdout.starts_with("holdfast "));
}

#[test]
fn manual_pages_come_from_the_parser() {
    let world = World::without_device();
    std::fs::create_dir(world.path("man")).unwrap();
    let json = world.json(&["man", "man"]);
    assert_eq!(json["changed"], true);
    for page in ["holdfast.1", "holdfast-wallet-create.1", "holdfast-self-sign.1"] {
        assert!(support::strings(&json["files"]).contains(&format!("man/{page}").as_str()), "{page}");
        let text = std::fs::read_to_string(world.path("man").join(page)).unwrap();
        assert!(text.contains(".TH") && text.contains(".SH SYNOPSIS"), "{page}");
    }
    assert!(std::fs::read_to_string(world.path("man/holdfast-verify.1")).unwrap().contains("wait\\-device"));
    assert_eq!(world.json(&["man", "man"])["changed"], false);
    world.run(&["man", "nowhere"]).expect(2);
}

#[test]
fn completions_come_from_the_parser() {
    let world = World::without_device();
    for shell in ["bash", "zsh", "fish"] {
        let script = world.run(&["completions", shell]).expect(0).stdout;
        assert!(script.contains("self-sign") && script.contains("words-out"), "{shell}");
    }
    world.run(&["completions", "csh"]).expect(2);
}
