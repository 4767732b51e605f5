//! An account that may read the store and not write it: it lists and signs, and generates nothing.

mod support;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use support::{World, artefact};

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// A world with a key whose store another account may only read. Root needs another account for that; anybody else is
/// kept out by the permissions alone.
fn reader() -> World {
    let world = World::new();
    world.generate("tls", &[]);
    for (name, file) in
        [("holdfast", env!("CARGO_BIN_EXE_holdfast").as_ref()), ("lib.so", &*artefact("libzk_app_utils.so"))]
    {
        fs::copy(file, world.path("bin").join(name)).unwrap();
        chmod(&world.path("bin").join(name), 0o755);
    }
    chmod(&world.path(""), 0o755);
    chmod(&world.path("store"), 0o555);
    chmod(&world.path("store/mapping.db"), 0o444);
    // The device is for everybody.
    let status = Command::new("chmod").arg("-R").arg("a+rwX").arg(world.path("device")).status().unwrap();
    assert!(status.success());
    // So that the test's directory can be removed again whoever runs this.
    world
}

fn as_reader(world: &World, arguments: &[&str]) -> (i32, Value, String) {
    let binary = world.path("bin/holdfast");
    let is_root = fs::read_to_string("/proc/self/status").unwrap().contains("\nUid:\t0\t0\t");
    let mut command = if is_root {
        let mut command = world.command("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(binary);
        command
    } else {
        world.command(binary)
    };
    command.args(arguments).args(["--json", "--non-interactive"]);
    command.env("HOLDFAST_DEVICE_LIBRARY", world.path("bin/lib.so"));
    let output = command.output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    let json = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    (output.status.code().unwrap(), json, stderr)
}

#[test]
fn e5_who_may_read_the_store_lists_and_signs() {
    let world = reader();
    let (code, json, stderr) = as_reader(&world, &["list"]);
    assert_eq!((code, json["keys"].as_array().map(Vec::len)), (0, Some(1)), "{stderr}");
    let (code, json, stderr) = as_reader(&world, &["verify"]);
    assert_eq!((code, &json["checked"]), (0, &Value::from(1)), "{stderr}");
    let (code, json, stderr) = as_reader(&world, &["csr", "tls", "--subject", "CN=x"]);
    assert_eq!(code, 0, "{stderr}");
    assert!(json["request"].as_str().unwrap().contains("BEGIN CERTIFICATE REQUEST"));
    let (code, json, stderr) = as_reader(&world, &["status"]);
    assert_eq!((code, &json["store"]["state"]), (0, &Value::from("read-only")), "{stderr}");
    chmod(&world.path("store"), 0o755);
}

#[test]
fn who_may_only_read_the_store_changes_nothing() {
    let world = reader();
    let before = fs::read(world.path("store/mapping.db")).unwrap();
    let used = world.used_slots();
    let (code, _, stderr) = as_reader(&world, &["destroy", "tls"]);
    assert_eq!(code, 3, "{stderr}");
    assert!(stderr.contains("may not write"), "{stderr}");
    // The token is root's, so that another account sees none; where it sees it the store refuses.
    let (code, _, stderr) = as_reader(&world, &["generate", "--token", "demo", "--label", "new"]);
    assert_ne!(code, 0, "{stderr}");
    assert_eq!(fs::read(world.path("store/mapping.db")).unwrap(), before);
    chmod(&world.path("store"), 0o755);
    assert_eq!(world.used_slots(), used);
}

#[test]
fn a_store_that_everybody_can_write_is_refused() {
    let world = World::new();
    world.generate("tls", &[]);
    chmod(&world.path("store/mapping.db"), 0o666);
    for verb in [["list"].as_slice(), &["verify"], &["generate", "--token", "demo", "--label", "new"]] {
        let said = world.run(verb).expect(3);
        assert!(said.stderr.contains("written by everybody") && said.stderr.contains("chmod o-w"), "{}", said.stderr);
    }
}
