//! `holdfast status`: the verdict, the policy, and what it says when something is out of reach.

mod support;

use support::World;

#[test]
fn the_verdict_and_the_policy_in_force() {
    let world = World::new();
    for (firmware, verdict, auto) in [
        ("01.02.02release", "affected", true),
        ("01.00.00", "not-affected", false),
        ("09.00.00release", "unknown", true),
    ] {
        world.emulator(&["set-firmware", firmware]);
        for (policy, maps) in [("auto", auto), ("always", true), ("never", false)] {
            world.configure(&format!("policy = \"{policy}\""));
            let json = world.json(&["status"]);
            assert_eq!(json["firmware"]["version"], firmware);
            assert_eq!(json["firmware"]["verdict"], verdict);
            assert_eq!(json["mapping"]["policy"], policy);
            assert_eq!(json["mapping"]["maps"], maps, "{firmware} {policy}");
            assert!(!json["mapping"]["reason"].as_str().unwrap().is_empty());
            let text = world.run(&["status"]).expect(0).stdout;
            assert!(text.contains(&format!("{verdict}: ")), "{text}");
            assert!(text.contains(if maps { "go to a wallet" } else { "go to the backend" }), "{text}");
        }
    }
}

#[test]
fn what_is_there_is_counted() {
    let world = World::new();
    let json = world.json(&["status"]);
    assert_eq!(json["store"]["state"], "absent");
    assert_eq!(json["wallets"].as_array().unwrap().len(), 0);
    let free = json["device"]["slots"]["free"].as_u64().unwrap();

    world.generate("a", &[]);
    world.generate("b", &[]);
    let json = world.json(&["status"]);
    assert_eq!(json["device"]["reachable"], true);
    assert_eq!(json["device"]["slots"]["free"], free - 3, "a seed and two keys");
    assert_eq!(json["store"]["state"], "writable");
    assert_eq!(json["keys"]["total"], 2);
    assert_eq!(json["keys"]["ready"], 2);
    assert_eq!(json["wallets"][0]["keys"], 2);
    assert_eq!(json["wallets"][0]["token"], "demo");
}

#[test]
fn h1_a_wallet_without_recovery_is_shouted_and_is_no_failure() {
    let world = World::new();
    world.generate("a", &[]);
    let said = world.run(&["status"]).expect(0);
    assert!(said.stdout.contains("NONE") && said.stdout.contains("no recovery"), "{}", said.stdout);
    let json = world.json(&["status"]);
    assert_eq!(json["wallets"][0]["recovery"], "none");
    assert_eq!(json["findings"][0]["kind"], "no-recovery");
    assert_eq!(json["findings"][0]["severity"], "warning");
}

#[test]
fn without_the_device_the_rest_is_still_said() {
    let world = World::new();
    world.generate("a", &[]);
    std::fs::rename(world.path("device"), world.path("elsewhere")).unwrap();
    let said = world.run(&["status", "--json"]).expect(3);
    let json = said.json();
    assert_eq!(json["device"]["reachable"], false);
    assert!(json["device"]["error"].as_str().unwrap().contains("zkifc"));
    assert_eq!(json["firmware"]["verdict"], serde_json::Value::Null);
    assert_eq!(json["mapping"]["maps"], serde_json::Value::Null, "auto cannot tell");
    assert_eq!(json["keys"]["total"], 1);
    assert_eq!(json["wallets"][0]["recovery"], "none");
    let text = world.run(&["status"]).expect(3).stdout;
    assert!(text.contains("NOT REACHED") && text.contains("cannot be made"), "{text}");
}

#[test]
fn a_missing_library_is_named() {
    let world = World::new();
    let output = world.holdfast(&["status"]).env("HOLDFAST_DEVICE_LIBRARY", "/nowhere/lib.so").output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("/nowhere/lib.so") && text.contains("device.library"), "{text}");
}

#[test]
fn without_a_usable_store_the_device_is_still_shown() {
    let world = World::new();
    world.generate("a", &[]);
    std::fs::write(world.path("store/mapping.db"), "this is no database, and long enough to be looked at").unwrap();
    let said = world.run(&["status", "--json"]).expect(3);
    let json = said.json();
    assert_eq!(json["store"]["state"], "error");
    assert!(json["store"]["error"].as_str().unwrap().contains("mapping.db"));
    assert_eq!(json["device"]["reachable"], true);
    assert_eq!(json["keys"], serde_json::Value::Null);
    assert!(world.run(&["list"]).expect(3).stderr.contains("mapping.db"));
}
