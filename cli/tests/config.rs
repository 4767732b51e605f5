//! `holdfast config show` and `holdfast config check`.

mod support;

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;

use serde_json::Value;
use support::{Said, World};

fn setting<'a>(json: &'a Value, section: &str, key: &str) -> &'a Value {
    let settings = json["settings"].as_array().unwrap();
    settings.iter().find(|setting| setting["section"] == section && setting["key"] == key).unwrap()
}

fn with_variable(world: &World, arguments: &[&str], name: &str, value: &str) -> Said {
    let output = world.holdfast(arguments).env(name, value).output().unwrap();
    Said {
        code: output.status.code().unwrap(),
        stdout: String::from_utf8(output.stdout.clone()).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
        bytes: output.stdout,
    }
}

#[test]
fn i2_every_value_is_shown_with_its_origin() {
    let world = World::without_device();
    let said = with_variable(&world, &["config", "show", "--json"], "HOLDFAST_MAPPING_POLICY", "never").expect(0);
    let json = said.json();
    assert_eq!(json["file"], world.path("holdfast.toml").to_str().unwrap());
    assert_eq!(setting(&json, "mapping", "policy")["value"], "never");
    assert_eq!(setting(&json, "mapping", "policy")["origin"], "environment");
    assert_eq!(setting(&json, "mapping", "policy")["variable"], "HOLDFAST_MAPPING_POLICY");
    assert_eq!(setting(&json, "device", "open-timeout-ms")["value"], 200);
    assert_eq!(setting(&json, "device", "open-timeout-ms")["origin"], "file");
    assert_eq!(setting(&json, "device", "open-timeout-ms")["line"], 5);
    assert_eq!(setting(&json, "mapping", "hardened")["value"], true);
    assert_eq!(setting(&json, "mapping", "hardened")["origin"], "default");
    assert_eq!(json["settings"].as_array().unwrap().len(), 15);
}

#[test]
fn what_is_shown_can_be_used_as_a_file() {
    let world = World::without_device();
    let text = world.run(&["config", "show"]).expect(0).stdout;
    let copy = world.write("copy.toml", &text);
    let again = world.json(&["config", "show", "--config", copy.to_str().unwrap()]);
    let first = world.json(&["config", "show"]);
    for (a, b) in first["settings"].as_array().unwrap().iter().zip(again["settings"].as_array().unwrap()) {
        assert_eq!(a["value"], b["value"]);
        assert_eq!(b["origin"], "file");
    }
}

#[test]
fn an_unknown_key_is_named_with_file_and_line() {
    let world = World::without_device();
    world.configure("colour = \"red\"");
    for verb in [["config", "show"], ["config", "check"]] {
        let said = world.run(&[verb[0], verb[1]]).expect(2);
        for word in ["holdfast.toml", "line 11", "colour"] {
            assert!(said.stderr.contains(word), "{word}: {}", said.stderr);
        }
    }
}

#[test]
fn check_looks_at_the_libraries_and_the_store() {
    let world = World::without_device();
    let json = world.json(&["config", "check"]);
    assert_eq!(json["ok"], true);
    assert_eq!(json["problems"], Value::Array(vec![]));
    assert!(!world.path("store/mapping.db").exists(), "checking makes nothing");

    let said =
        with_variable(&world, &["config", "check", "--json"], "HOLDFAST_BACKEND_MODULE", "/nowhere/p11.so").expect(2);
    assert_eq!(said.json()["problems"][0]["key"], "backend.module");

    let library = world.write("lib.so", "");
    std::fs::set_permissions(&library, Permissions::from_mode(0o666)).unwrap();
    let said =
        with_variable(&world, &["config", "check", "--json"], "HOLDFAST_DEVICE_LIBRARY", library.to_str().unwrap());
    let said = said.expect(2);
    let message = said.json()["problems"][0]["message"].as_str().unwrap().to_owned();
    assert!(message.contains("written by others"), "{message}");

    std::fs::set_permissions(world.path("store"), Permissions::from_mode(0o777)).unwrap();
    let said = world.run(&["config", "check", "--json"]).expect(3);
    assert_eq!(said.json()["problems"][0]["key"], "mapping.database");
}

#[test]
fn a_bad_log_value_is_a_finding_and_stops_nothing() {
    let world = World::without_device();
    let said = with_variable(&world, &["config", "check", "--json"], "HOLDFAST_LOG", "loud").expect(1);
    assert_eq!(said.json()["problems"][0]["key"], "log");
    with_variable(&world, &["config", "show"], "HOLDFAST_LOG", "loud").expect(0);
}
