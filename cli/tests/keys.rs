//! `holdfast generate, list, show, destroy`, and how keys are named.

mod support;

use serde_json::json;
use support::{World, strings};

#[test]
fn a_key_survives_a_power_cycle() {
    let world = World::new();
    let key = world.generate("tls", &["--id", "01ab"]);
    assert_eq!(key["label"], "tls");
    assert_eq!(key["id"], "01ab");
    assert_eq!(key["curve"], "p256");
    assert_eq!(key["token"], "demo");
    assert_eq!(key["origin"], "derived");
    assert_eq!(key["path"], "m/0'");
    assert_eq!(key["recoverable"], false);
    world.emulator(&["power-cycle"]);
    world.run(&["verify"]).expect(0);
    assert_eq!(world.json(&["show", "tls"])["key"]["public_key"], key["public_key"]);
}

#[test]
fn repeating_changes_nothing() {
    let world = World::new();
    let key = world.generate("tls", &[]);
    let used = world.used_slots();
    for more in [vec![], vec!["--id", key["id"].as_str().unwrap()]] {
        let arguments = [vec!["generate", "--token", "demo", "--label", "tls"], more].concat();
        let again = world.json(&arguments);
        assert_eq!(again["changed"], false);
        assert_eq!(again["key"]["public_key"], key["public_key"]);
    }
    assert_eq!(world.used_slots(), used);
}

#[test]
fn a_key_that_would_be_mistaken_for_another_is_refused() {
    let world = World::new();
    world.generate("tls", &["--id", "01"]);
    let used = world.used_slots();
    for more in [["--label", "tls", "--curve", "secp256k1"].as_slice(), &["--label", "other", "--id", "01"]] {
        let said = world.run(&[["generate", "--token", "demo"].as_slice(), more].concat()).expect(2);
        assert!(said.stderr.contains("another key"), "{}", said.stderr);
    }
    assert_eq!(world.used_slots(), used);
    // The same label with another ID is a second key, as when one is replaced.
    assert_eq!(world.generate("tls", &["--id", "02"])["path"], "m/1'");
}

#[test]
fn d2_secp256k1_comes_with_a_warning() {
    let world = World::new();
    let json = world.json(&["generate", "--token", "demo", "--label", "coin", "--curve", "secp256k1"]);
    assert_eq!(json["key"]["curve"], "secp256k1");
    assert!(strings(&json["warnings"]).iter().any(|warning| warning.contains("OpenSSH")));
    let json = world.json(&["generate", "--token", "demo", "--label", "tls"]);
    assert!(!strings(&json["warnings"]).iter().any(|warning| warning.contains("OpenSSH")));
}

#[test]
fn a_token_that_is_not_there_lists_those_that_are() {
    let world = World::new();
    world.token("other");
    let said = world.run(&["generate", "--token", "nope", "--label", "tls", "--json"]).expect(2);
    let candidates = said.error()["candidates"].as_array().unwrap().clone();
    let mut labels: Vec<_> = candidates.iter().map(|token| token["token"].as_str().unwrap()).collect();
    labels.sort_unstable();
    assert_eq!(labels, ["demo", "other"]);
    assert!(!world.path("store/mapping.db").exists());
}

#[test]
fn tokens_of_the_same_label_are_told_apart_by_serial_number() {
    let world = World::new();
    world.token("demo");
    let said = world.run(&["generate", "--token", "demo", "--label", "tls", "--json"]).expect(2);
    let serial = said.error()["candidates"][1]["token_serial"].as_str().unwrap().to_owned();
    let uri = format!("pkcs11:token=demo;serial={serial}");
    let json = world.json(&["generate", "--token", &uri, "--label", "tls"]);
    assert_eq!(json["key"]["token_serial"], serial.as_str());
}

#[test]
fn a_backend_that_cannot_be_loaded_is_exit_code_3() {
    let world = World::new();
    let mut command = world.holdfast(&["generate", "--token", "demo", "--label", "tls"]);
    let output = command.env("HOLDFAST_BACKEND_MODULE", "/nowhere/p11.so").output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("/nowhere/p11.so") && stderr.contains("[backend] module"), "{stderr}");
    assert_eq!(world.used_slots(), 16);
}

#[test]
fn policy_never_makes_no_mapped_key() {
    let world = World::new();
    world.configure("policy = \"never\"");
    let said = world.run(&["generate", "--token", "demo", "--label", "tls"]).expect(2);
    assert!(said.stderr.contains("policy"), "{}", said.stderr);
    assert!(!world.path("store/mapping.db").exists());
}

#[test]
fn without_permission_to_make_a_wallet_generation_says_how_to() {
    let world = World::new();
    world.configure("auto-create-wallet = \"refuse\"");
    let said = world.run(&["generate", "--token", "demo", "--label", "tls"]).expect(2);
    assert!(said.stderr.contains("holdfast wallet create"), "{}", said.stderr);
    world.json(&["wallet", "create", "--token", "demo", "--recovery", "none"]);
    world.generate("tls", &[]);
}

#[test]
fn d4_a_full_device_makes_no_key_and_says_so() {
    let world = World::without_device();
    world.emulator(&["create", "--slots", "2"]);
    world.token("demo");
    world.generate("one", &[]);
    let before = world.json(&["list"]);
    let said = world.run(&["generate", "--token", "demo", "--label", "two"]).expect(1);
    assert!(said.stderr.contains("no free slot"), "{}", said.stderr);
    assert_eq!(world.json(&["list"]), before);
}

#[test]
fn d4_an_unreachable_device_makes_no_key_and_says_so() {
    let world = World::without_device();
    world.token("demo");
    let said = world.run(&["generate", "--token", "demo", "--label", "one"]).expect(3);
    assert!(said.stderr.contains("zkifc"), "{}", said.stderr);
    assert_eq!(world.run(&["list"]).expect(0).stdout, "no keys\n");
}

#[test]
fn a_key_is_named_by_label_id_or_uri() {
    let world = World::new();
    let key = world.generate("web key;1", &["--id", "0a1B"]);
    let uri = key["uri"].as_str().unwrap();
    assert!(uri.contains("object=web%20key%3B1") && uri.contains("id=%0A%1B"), "{uri}");
    for name in [
        "web key;1",
        "id:0a1b",
        uri,
        "pkcs11:object=web%20key%3B1",
        "pkcs11:id=%0a%1b;token=demo;type=public",
        "pkcs11:token=demo",
        "pkcs11:?module-path=/usr/lib/x.so",
    ] {
        assert_eq!(world.json(&["show", name])["key"]["public_key"], key["public_key"], "{name}");
    }
    for name in ["web", "id:0a", "pkcs11:token=other", "pkcs11:object=web%20key%3B1;type=cert"] {
        let said = world.run(&["show", name]).expect(2);
        assert!(said.stderr.contains("holdfast list"), "{}", said.stderr);
    }
}

#[test]
fn a_name_of_several_keys_lists_them() {
    let world = World::new();
    world.generate("twin", &["--id", "01"]);
    world.generate("twin", &["--id", "02"]);
    for verb in [vec!["show"], vec!["destroy"], vec!["pubkey"], vec!["csr", "--subject", "CN=x"]] {
        let said = world.run(&[verb.as_slice(), &["twin", "--json"]].concat()).expect(2);
        let candidates = said.error()["candidates"].clone();
        let ids: Vec<_> = candidates.as_array().unwrap().iter().map(|key| key["id"].clone()).collect();
        assert_eq!(ids, [json!("01"), json!("02")]);
        let text = world.run(&[verb.as_slice(), &["twin"]].concat()).expect(2).stderr;
        assert!(text.contains("id:01") && text.contains("id:02"), "{text}");
    }
    world.json(&["show", "id:02"]);
    assert_eq!(world.json(&["list"])["keys"].as_array().unwrap().len(), 2);
}

#[test]
fn destroy_removes_the_key_from_the_device_and_can_be_repeated() {
    let world = World::new();
    world.generate("keep", &[]);
    let used = world.used_slots();
    world.generate("drop", &[]);
    let json = world.json(&["destroy", "drop"]);
    assert_eq!(json["changed"], true);
    assert_eq!(json["key"]["label"], "drop");
    assert_eq!(world.used_slots(), used);
    let json = world.json(&["destroy", "drop"]);
    assert_eq!(json["changed"], false);
    assert_eq!(world.json(&["list"])["keys"].as_array().unwrap().len(), 1);
    // I3: its node is not given out again.
    assert_eq!(world.generate("next", &[])["path"], "m/2'");
    world.run(&["verify"]).expect(0);
}

#[test]
fn destroying_says_that_it_is_not_erasing() {
    let world = World::new();
    world.generate("drop", &[]);
    let said = world.run(&["destroy", "drop"]).expect(0);
    assert!(said.stdout.contains("not erasing"), "{}", said.stdout);
}

#[test]
fn list_and_show_say_where_a_key_lives() {
    let world = World::new();
    assert_eq!(world.run(&["list"]).expect(0).stdout, "no keys\n");
    world.token("other");
    world.generate("tls", &["--id", "01"]);
    world.json(&["generate", "--token", "other", "--label", "ssh"]);
    let text = world.run(&["list"]).expect(0).stdout;
    let line = text.lines().find(|line| line.starts_with("tls ")).unwrap();
    for word in ["01", "demo", "p256", "m/0'", "NONE", "ready", "holdfast-"] {
        assert!(line.contains(word), "{word}: {line}");
    }
    let json = world.json(&["list", "--token", "other"]);
    assert_eq!(json["keys"].as_array().unwrap().len(), 1);
    assert_eq!(json["keys"][0]["label"], "ssh");

    let show = world.json(&["show", "tls"])["key"].clone();
    let classes: Vec<_> = show["objects"].as_array().unwrap().iter().map(|object| object["class"].clone()).collect();
    assert!(classes.contains(&json!("public")) && classes.contains(&json!("private")));
    assert!(show["ssh_fingerprint"].as_str().unwrap().starts_with("SHA256:"));
    let text = world.run(&["show", "tls"]).expect(0).stdout;
    assert!(text.contains("BEGIN PUBLIC KEY") && text.contains("m/0'"), "{text}");
}

#[test]
fn control_characters_of_a_label_do_not_reach_the_terminal() {
    let world = World::new();
    world.generate("evil\x1b[2J", &[]);
    for verb in [["list"].as_slice(), &["status"], &["verify"], &["show", "evil\x1b[2J"], &["destroy", "evil\x1b[2J"]] {
        let said = world.run(verb).expect(0);
        assert!(!said.stdout.contains('\x1b') && !said.stderr.contains('\x1b'), "{verb:?}: {:?}", said.stdout);
    }
}
