//! `holdfast verify` and `holdfast repair`.

mod support;

use std::time::Duration;

use support::{World, strings};

#[test]
fn i8_every_key_is_used_to_sign() {
    let world = World::new();
    assert_eq!(world.json(&["verify"])["checked"], 0);
    world.generate("a", &[]);
    world.generate("b", &["--curve", "secp256k1"]);
    let json = world.json(&["verify"]);
    assert_eq!(json["ok"], true);
    assert_eq!(json["checked"], 2);
    assert_eq!(json["failed"], 0);
    assert!(strings(&json["warnings"]).iter().any(|warning| warning.contains("NO RECOVERY")));
}

#[test]
fn a_key_that_is_gone_is_a_finding() {
    let world = World::new();
    world.generate("a", &[]);
    let lost = world.generate("b", &[]);
    world.emulator(&["remove-slot", &lost["slot"].to_string()]);
    let said = world.run(&["verify", "--json"]).expect(1);
    let json = said.json();
    assert_eq!(json["failed"], 1);
    let key = json["keys"].as_array().unwrap().iter().find(|key| key["ok"] == false).unwrap();
    assert_eq!(key["label"], "b");
    assert!(!key["error"].as_str().unwrap().is_empty());
    let text = world.run(&["verify"]).expect(1).stdout;
    assert!(text.contains("FAILED") && text.contains("1 of 2 keys"), "{text}");
    let json = world.run(&["status", "--json"]).expect(1).json();
    let kinds: Vec<_> = json["findings"].as_array().unwrap().iter().map(|finding| finding["kind"].clone()).collect();
    assert!(kinds.contains(&serde_json::json!("key-missing")), "{kinds:?}");
}

#[test]
fn a_sample_is_smaller_than_the_whole() {
    let world = World::new();
    for number in 0..10 {
        world.generate(&format!("key{number}"), &[]);
    }
    assert_eq!(world.json(&["verify"])["checked"], 10);
    let json = world.json(&["verify", "--sample"]);
    assert_eq!(json["checked"], 8);
    assert_eq!(json["sampled"], true);
}

#[test]
fn a_device_that_does_not_answer_is_waited_for() {
    let world = World::new();
    world.generate("a", &[]);
    std::fs::rename(world.path("device"), world.path("elsewhere")).unwrap();
    assert!(world.run(&["verify"]).expect(3).stderr.contains("zkifc"));
    let (from, to) = (world.path("elsewhere"), world.path("device"));
    let boot = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(1200));
        std::fs::rename(from, to).unwrap();
    });
    let json = world.json(&["verify", "--wait-device", "30"]);
    boot.join().unwrap();
    assert_eq!(json["checked"], 1);
}

#[test]
fn what_an_interrupted_generation_left_is_reported_and_removed_on_request() {
    let world = World::new();
    world.generate("a", &[]);
    let used = world.used_slots();
    world.emulator(&["fault", "zkGenWalletChildKey", "--after", "1", "--kind", "abort-after"]);
    let output = world.holdfast(&["generate", "--token", "demo", "--label", "b"]).output().unwrap();
    assert_eq!(output.status.code(), None, "it died in the middle: {}", String::from_utf8_lossy(&output.stderr));

    let json = world.run(&["repair", "--json"]).expect(1).json();
    assert_eq!(json["changed"], true);
    assert_eq!(json["findings"][0]["kind"], "leftover");
    let json = world.run(&["status", "--json"]).expect(1).json();
    assert_eq!(json["device"]["slots"]["used"], used + 1);
    assert_eq!(world.json(&["list"])["keys"].as_array().unwrap().len(), 1);

    let json = world.json(&["repair", "--remove-leftovers"]);
    assert_eq!(json["changed"], true);
    assert_eq!(world.used_slots(), used);
    assert_eq!(world.json(&["repair", "--remove-leftovers"])["changed"], false);
    // I3: the index of the half-made node stays used.
    assert_eq!(world.generate("c", &[])["path"], "m/2'");
}

#[test]
fn there_is_nothing_to_repair_in_a_sound_store() {
    let world = World::new();
    assert_eq!(world.json(&["repair"])["changed"], false);
    world.generate("a", &[]);
    let json = world.json(&["repair", "--token-initialised", "no such token"]);
    assert_eq!(json["changed"], false);
    world.run(&["verify"]).expect(0);
}
