//! What was answered is durable, whoever dies when; and any number of processes and threads share one device.

mod common;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::thread;
use std::time::Duration;

use common::{Client, TempDevice, role};

const P256: i32 = 0;

/// Starts a child whose standard output we read.
fn start(device: &TempDevice, test: &str, role: &str) -> Child {
    device.role(test, role).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("the test runs again")
}

/// What a child tells us, line by line.
fn output(child: &mut Child) -> impl Iterator<Item = String> + use<> {
    BufReader::new(child.stdout.take().expect("piped")).lines().map_while(Result::ok)
}

/// The slot and the key that a line after `slot ` tells of.
fn told(line: &str) -> Option<(i32, String)> {
    let (slot, key) = line.strip_prefix("slot ")?.split_once(' ')?;
    Some((slot.parse().ok()?, key.to_owned()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Makes keys and removes some, telling of each only when the device has answered.
fn churn() {
    let client = Client::open().expect("the device opens");
    loop {
        let slot = client.generate(P256);
        if slot < 0 {
            return;
        }
        let key = client.export(slot, false).expect("the key just made");
        println!("slot {slot} {}", hex(&key));
    }
}

#[test]
fn keys_told_of_survive_kill_9_at_any_moment() {
    let test = "keys_told_of_survive_kill_9_at_any_moment";
    if role().is_some() {
        return churn();
    }
    let device = TempDevice::new(&["--firmware", "01.00.00"]);
    let mut seen = BTreeSet::new();
    for round in 0..60_u64 {
        let mut child = start(&device, test, "churn");
        let mut lines = output(&mut child);
        seen.extend(lines.by_ref().find_map(|line| told(&line)));
        // From now on it makes keys, each in a few milliseconds; never the same moment of them.
        thread::sleep(Duration::from_micros(round * 977 % 9_000));
        child.kill().expect("it is still running");
        child.wait().expect("it ended");
        seen.extend(lines.filter_map(|line| told(&line)));
    }
    assert!(seen.len() >= 60, "only {} keys were made", seen.len());
    for (slot, key) in &seen {
        assert_eq!(device.slot(*slot)["public_key"], key.as_str(), "slot {slot}");
    }
    let reader = TempDevice::new(&[]);
    assert_eq!(reader.used_slots().len(), 16, "another device has nothing of it");
    // At most one key a round was made and not told of.
    let generated = device.used_slots().len() - 16;
    assert!(generated >= seen.len() && generated <= seen.len() + 60, "{generated} made, {} told", seen.len());
}

#[test]
fn processes_and_threads_never_get_the_same_slot() {
    let test = "processes_and_threads_never_get_the_same_slot";
    if role().is_some() {
        let client = Client::open().expect("the device opens");
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    for _ in 0..8 {
                        let slot = client.generate(P256);
                        let key = client.export(slot, false).expect("the key just made");
                        let signature = client.sign(slot, &[3; 32]).expect("a signature");
                        assert_eq!(client.verify(slot, &[3; 32], &signature), 1);
                        println!("slot {slot} {}", hex(&key));
                    }
                });
            }
        });
        return;
    }
    let device = TempDevice::new(&[]);
    let mut children: Vec<_> = (0..6).map(|_| start(&device, test, "client")).collect();
    let lines = children.iter_mut().flat_map(output);
    let all: Vec<_> = lines.filter_map(|line| told(&line)).collect();
    assert!(children.iter_mut().all(|child| child.wait().expect("it ended").success()));
    let slots: BTreeSet<_> = all.iter().map(|(slot, _)| *slot).collect();
    let keys: BTreeSet<_> = all.iter().map(|(_, key)| key).collect();
    assert_eq!((all.len(), slots.len(), keys.len()), (144, 144, 144));
    assert_eq!(slots, (16..160).collect());
}

#[test]
fn what_one_process_does_another_sees_at_once() {
    if let Some(role) = role() {
        let client = Client::open().expect("the device opens");
        let mut line = String::new();
        println!("ready");
        while std::io::stdin().read_line(&mut line).is_ok_and(|read| read > 0) {
            let slot: i32 = line.trim().parse().expect("a slot");
            println!("{role} {}", i32::from(client.sign(slot, &[1; 32]).is_ok()));
            line.clear();
        }
        return;
    }
    let device = TempDevice::new(&[]);
    let mut command = device.role("what_one_process_does_another_sees_at_once", "answer");
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("runs");
    let mut output = BufReader::new(child.stdout.take().expect("piped")).lines().map_while(Result::ok);
    assert!(output.any(|line| line == "ready"));
    let mut input = child.stdin.take().expect("piped");
    let mut signs = |slot: i32| {
        use std::io::Write as _;
        writeln!(input, "{slot}").expect("it reads");
        output.find_map(|line| line.strip_prefix("answer ").map(|answer| answer == "1")).expect("it answers")
    };
    assert!(signs(0) && !signs(40));
    for _ in 0..20 {
        device.emulator(&["swap-slots", "0", "40"]);
        assert!(!signs(0) && signs(40));
        device.emulator(&["swap-slots", "0", "40"]);
        assert!(signs(0) && !signs(40));
    }
    drop(input);
    assert!(child.wait().expect("it ended").success());
}

#[test]
fn a_child_forked_at_any_moment_can_use_the_device() {
    if role().is_some() {
        let client = Client::open().expect("the device opens");
        let done = std::sync::atomic::AtomicBool::new(false);
        let (done, client) = (&done, &client);
        thread::scope(|scope| {
            // Two threads keep the device busy, one of them changing it, while the third forks.
            scope.spawn(move || {
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    let slot = client.generate(P256);
                    assert_eq!(client.remove(slot, false), 0);
                }
            });
            scope.spawn(move || {
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    assert!(client.sign(0, &[1; 32]).is_ok());
                }
            });
            for _ in 0..60 {
                thread::sleep(Duration::from_micros(700));
                // SAFETY: the child calls nothing but the library under test and _exit.
                let pid = unsafe { libc::fork() };
                if pid == 0 {
                    let inherited = client.sign(1, &[2; 32]).is_ok();
                    let own = Client::open().is_ok_and(|own| own.sign(2, &[3; 32]).is_ok());
                    // SAFETY: it does not return.
                    unsafe { libc::_exit(i32::from(!(inherited && own))) };
                }
                let mut status = -1;
                // SAFETY: the child is ours.
                assert_eq!(unsafe { libc::waitpid(pid, &mut status, 0) }, pid);
                assert_eq!(status, 0);
            }
            done.store(true, std::sync::atomic::Ordering::Relaxed);
        });
        return;
    }
    let device = TempDevice::new(&[]);
    let mut command = device.role("a_child_forked_at_any_moment_can_use_the_device", "fork");
    let mut child = command.stdout(Stdio::null()).spawn().expect("the test runs again");
    for _ in 0..600 {
        thread::sleep(Duration::from_millis(100));
        if let Some(status) = child.try_wait().expect("it can be waited for") {
            assert!(status.success());
            return;
        }
    }
    child.kill().expect("it is still running");
    panic!("a forked child hung");
}

#[test]
fn a_signature_writes_nothing() {
    if role().is_some() {
        let client = Client::open().expect("the device opens");
        assert!((0..50).all(|_| client.sign(0, &[1; 32]).is_ok()));
        return;
    }
    let device = TempDevice::new(&[]);
    let file = device.path().join("device.json");
    let before = std::fs::read(&file).expect("the state");
    let names = || {
        std::fs::read_dir(device.path())
            .expect("a directory")
            .filter_map(|e| Some(e.ok()?.file_name()))
            .collect::<BTreeSet<_>>()
    };
    let names_before = names();
    let status = device.role("a_signature_writes_nothing", "sign").stdout(Stdio::null()).status();
    assert!(status.expect("it ran").success());
    assert_eq!((std::fs::read(&file).expect("the state"), names()), (before, names_before));
}
