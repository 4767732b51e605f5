//! Faults, latencies, the trace, and the verbs that act behind a client's back.

mod common;

use std::process::Stdio;
use std::time::{Duration, Instant};

use common::{Client, TempDevice, openssl_verifies, role};
use openssl::nid::Nid;

const P256: i32 = 0;

/// Runs one of the scripts below in a child process; answers its exit status and what it printed.
fn script(device: &TempDevice, name: &str) -> (Option<i32>, Vec<String>) {
    let output = device.role("scripts", name).stderr(Stdio::null()).output().expect("the test runs again");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    (output.status.code(), text.lines().filter_map(|line| line.strip_prefix("> ")).map(str::to_owned).collect())
}

/// Not a test of its own: what the other tests' child processes do.
#[test]
fn scripts() {
    let Some(role) = role() else { return };
    let client = Client::open();
    let client = match client {
        Ok(client) => client,
        Err(error) => return println!("> open {error}"),
    };
    match role.as_str() {
        "generate four" => (0..4).for_each(|_| println!("> {}", client.generate(P256))),
        "sign three" => (0..3).for_each(|_| println!("> {}", client.sign(0, &[1; 32]).is_ok())),
        "export" => match client.export(0, false) {
            Ok(key) => println!("> {}", key.iter().map(|b| format!("{b:02x}")).collect::<String>()),
            Err(error) => println!("> {error}"),
        },
        "sign checked" => {
            let key = client.export(0, false).expect("a key");
            let signature = client.sign(0, &[1; 32]).expect("a signature");
            let valid = signature.len() == 64 && openssl_verifies(Nid::X9_62_PRIME256V1, &key, &[1; 32], &signature);
            println!("> {} {valid}", signature.len());
        }
        "reopen" => {
            println!("> {}", client.sign(0, &[1; 32]).is_ok());
            println!("> {}", client.sign(0, &[1; 32]).is_ok());
            println!("> {}", Client::open().is_ok_and(|client| client.sign(0, &[1; 32]).is_ok()));
        }
        "strings" => println!("> {:?}", client.firmware()),
        "list" => println!("> {:?}", client.allocated(false).map(|(_, slots)| slots.len())),
        other => panic!("no script {other}"),
    }
}

#[test]
fn the_nth_call_fails_and_nothing_happened() {
    let device = TempDevice::new(&[]);
    device.emulator(&["fault", "zkGenKeyPair", "--after", "2", "--kind", "error"]);
    assert_eq!(script(&device, "generate four").1, ["16", "-1", "17", "18"]);
    assert_eq!(device.used_slots().len(), 19);
    assert!(!device.path().join("behaviour.json").exists(), "a fault that happened leaves nothing");
}

#[test]
fn counting_goes_on_from_process_to_process() {
    let device = TempDevice::new(&[]);
    device.emulator(&["fault", "zkGenKeyPair", "--after", "6", "--kind", "error"]);
    assert_eq!(script(&device, "generate four").1, ["16", "17", "18", "19"]);
    assert_eq!(script(&device, "generate four").1, ["20", "-1", "21", "22"]);
}

#[test]
fn aborts_kill_the_caller_before_or_after_the_device_acted() {
    let device = TempDevice::new(&[]);
    device.emulator(&["fault", "zkGenKeyPair", "--after", "2", "--kind", "abort-before"]);
    assert_eq!(script(&device, "generate four"), (None, vec!["16".to_owned()]));
    assert_eq!(device.used_slots().len(), 17);
    device.emulator(&["fault", "zkGenKeyPair", "--after", "2", "--kind", "abort-after"]);
    assert_eq!(script(&device, "generate four"), (None, vec!["17".to_owned()]));
    assert_eq!(device.used_slots().len(), 19, "the second key was made all the same");
    assert_eq!(script(&device, "generate four").1, ["19", "20", "21", "22"], "the fault happens once");
}

#[test]
fn a_reply_can_be_lost_after_the_device_acted() {
    let device = TempDevice::new(&[]);
    device.emulator(&["fault", "zkGenKeyPair", "--kind", "error-after"]);
    assert_eq!(script(&device, "generate four").1, ["-1", "17", "18", "19"]);
    assert_eq!(device.used_slots().len(), 20);
}

#[test]
fn a_disconnection_ends_the_context_and_not_the_device() {
    let device = TempDevice::new(&[]);
    device.emulator(&["fault", "zkGenECDSASigFromDigest", "--kind", "disconnect"]);
    assert_eq!(script(&device, "reopen").1, ["false", "false", "true"]);
}

#[test]
fn an_unreachable_device_can_be_had_for_as_long_as_wanted() {
    let device = TempDevice::new(&[]);
    device.emulator(&["fault", "any", "--times", "0", "--kind", "error"]);
    assert_eq!(script(&device, "sign three").1, ["open -1"]);
    assert_eq!(script(&device, "sign three").1, ["open -1"]);
    device.emulator(&["fault", "clear"]);
    assert_eq!(script(&device, "sign three").1, ["true", "true", "true"]);
    device.emulator(&["fault", "any", "--after", "3", "--times", "1", "--kind", "error"]);
    assert_eq!(script(&device, "sign three").1, ["true", "false", "true"], "zkOpen was the first call");
}

#[test]
fn replies_can_be_hostile() {
    let device = TempDevice::new(&[]);
    let (_, honest) = script(&device, "export");
    let faulty = |call: &str, kind: &str, name: &str| {
        device.emulator(&["fault", call, "--kind", kind]);
        script(&device, name).1
    };
    assert_eq!(faulty("zkExportPubKey", "short-reply", "export")[0].len(), 64);
    assert_eq!(faulty("zkExportPubKey", "null-reply", "export"), [""]);
    let other = faulty("zkExportPubKey", "other-key", "export");
    let bad = faulty("zkExportPubKey", "bad-point", "export");
    assert!(other != honest && bad != honest && other[0].len() == 128 && bad[0].len() == 128);
    let on_curve = |hex: &str| {
        let bytes: Vec<u8> =
            (0..128).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).expect("hex")).collect();
        holdfast_wallet::PublicKey::from_coordinates(holdfast_wallet::Curve::P256, &bytes).is_ok()
    };
    assert_eq!((on_curve(&other[0]), on_curve(&bad[0]), on_curve(&honest[0])), (true, false, true));
    assert_eq!(faulty("zkGenECDSASigFromDigest", "wrong-signature", "sign checked"), ["64 false"]);
    assert_eq!(faulty("zkGenECDSASigFromDigest", "short-reply", "sign checked"), ["32 false"]);
    assert_eq!(script(&device, "sign checked").1, ["64 true"]);
    assert_eq!(faulty("zkGenKeyPair", "wrong-slot", "generate four"), ["2147483647", "17", "18", "19"]);
    assert_eq!(faulty("zkGetFirmwareVersionString", "short-reply", "strings"), ["Ok(\"01.02.0\")"]);
    assert_eq!(faulty("zkGetAllocSlotsList", "short-reply", "list"), ["Ok(10)"]);
    assert_eq!(script(&device, "export").1, honest);
}

#[test]
fn latencies_and_hangs_take_their_time() {
    let device = TempDevice::new(&[]);
    let time = |name: &str| {
        let begin = Instant::now();
        assert_eq!(script(&device, name).0, Some(0));
        begin.elapsed()
    };
    device.emulator(&["latency", "zkGenECDSASigFromDigest", "120"]);
    assert!(time("sign three") >= Duration::from_millis(360));
    device.emulator(&["latency", "zkGenECDSASigFromDigest", "0"]);
    assert!(!device.path().join("behaviour.json").exists());
    device.emulator(&["fault", "zkGenECDSASigFromDigest", "--after", "2", "--kind", "hang=400"]);
    assert!(time("sign three") >= Duration::from_millis(400));
    assert!(!device.path().join("behaviour.json").exists(), "a hang happens once");
}

#[test]
fn a_slow_device_serves_one_call_at_a_time() {
    let device = TempDevice::new(&[]);
    device.emulator(&["latency", "zkGenECDSASigFromDigest", "100"]);
    let begin = Instant::now();
    let start =
        || device.role("scripts", "sign three").stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("runs");
    let mut children: Vec<_> = (0..2).map(|_| start()).collect();
    assert!(children.iter_mut().all(|child| child.wait().expect("it ended").success()));
    assert!(begin.elapsed() >= Duration::from_millis(600), "six signatures of 100 ms each");
}

#[test]
fn the_trace_tells_every_call() {
    let device = TempDevice::new(&[]);
    device.emulator(&["trace", "on"]);
    script(&device, "generate four");
    let trace = device.emulator(&["trace", "show"]);
    let calls: Vec<_> =
        trace["calls"].as_array().expect("calls").iter().map(|call| call["call"].as_str().expect("a name")).collect();
    assert_eq!(calls, ["zkOpen", "zkGenKeyPair", "zkGenKeyPair", "zkGenKeyPair", "zkGenKeyPair", "zkClose"]);
    assert_eq!(trace["calls"][1]["result"], "16");
    device.emulator(&["trace", "off"]);
    device.emulator(&["trace", "clear"]);
    script(&device, "generate four");
    assert_eq!(device.emulator(&["trace", "show"])["calls"], serde_json::json!([]));
}

#[test]
fn keys_can_be_moved_swapped_replaced_and_removed_behind_a_clients_back() {
    let device = TempDevice::new(&[]);
    script(&device, "generate four");
    let key = |number: i32| device.slot(number)["public_key"].clone();
    let (a, b) = (key(16), key(17));
    device.emulator(&["swap-slots", "16", "17"]);
    assert_eq!((key(16), key(17)), (b.clone(), a.clone()));
    device.emulator(&["move-slot", "16", "300"]);
    assert_eq!((key(300), key(16)), (b, serde_json::Value::Null));
    device.emulator(&["replace-key", "17"]);
    assert!(key(17) != a && key(17).is_string());
    assert_eq!(device.emulator(&["remove-slot", "17"])["removed"], serde_json::json!([17]));
    for (arguments, code) in [
        (vec!["move-slot", "18", "19"], 1),
        (vec!["remove-slot", "17"], 1),
        (vec!["remove-slot", "0"], 1),
        (vec!["swap-slots", "18", "9999"], 1),
        (vec!["create"], 2),
        (vec!["create", "--slots", "513"], 2),
        (vec!["create", "--mode", "0777"], 2),
        (vec!["fault", "zkNoSuchCall", "--kind", "error"], 2),
        (vec!["fault", "zkOpen", "--kind", "sulk"], 2),
        (vec!["fault", "zkOpen", "--kind", "error", "--after", "0"], 2),
        (vec!["fault"], 2),
        (vec!["no-such-verb"], 2),
    ] {
        let output = device.run(&arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}");
        assert!(output.stdout.is_empty() && !output.stderr.is_empty(), "{arguments:?}");
    }
}

#[test]
fn a_wipe_takes_every_key() {
    let device = TempDevice::new(&[]);
    script(&device, "generate four");
    device.emulator(&["wipe"]);
    assert!(device.used_slots().is_empty());
    assert_eq!(script(&device, "sign three").1, ["false", "false", "false"]);
    assert_eq!(script(&device, "generate four").1[0], "16");
}

#[test]
fn no_device_is_exit_code_three_and_says_what_to_do() {
    let device = TempDevice::new(&[]);
    std::fs::remove_file(device.path().join("device.json")).expect("it was there");
    let output = device.run(&["slots"]);
    assert_eq!(output.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&output.stderr).contains("holdfast-emulator create --state"));
    std::fs::write(device.path().join("device.json"), "{").expect("written");
    assert_eq!(device.run(&["slots"]).status.code(), Some(3));
}

#[test]
fn files_are_for_whom_create_says() {
    use std::os::unix::fs::PermissionsExt as _;
    let device = TempDevice::new(&["--mode", "666"]);
    let mode = |name: &str| device.path().join(name).metadata().expect("it exists").permissions().mode() & 0o777;
    script(&device, "generate four");
    assert_eq!((mode(""), mode("lock"), mode("device.json")), (0o777, 0o666, 0o666));
    let device = TempDevice::new(&[]);
    script(&device, "generate four");
    let mode = |name: &str| device.path().join(name).metadata().expect("it exists").permissions().mode() & 0o777;
    assert_eq!((mode("lock"), mode("device.json")), (0o600, 0o600));
    let output = device.run(&["--state", "unused", "create"]);
    assert_eq!(output.status.code(), Some(2), "--state given twice");
}
