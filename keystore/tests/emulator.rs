//! The keystore on the emulated device, over real processes: many at once, killed at every step, forked.
//!
//! Which state the emulator uses is one variable of the process, so each test runs again as a process of its own, and
//! the parts that further processes play are tests of this binary too; without the variable they do nothing.

#[path = "common/emulated.rs"]
mod emulated;

use std::collections::HashSet;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use emulated::{TOKEN, part, request, with_device};
use holdfast_keystore::{
    Error, Finding, Keystore, NewWallet, ObjectFilter, StepObserver, VerifyOptions, WalletRecovery,
};
use holdfast_wallet::Curve;

fn assert_all_sign(keystore: &Keystore, count: usize) {
    let health = keystore.verify(&VerifyOptions::default()).unwrap();
    assert_eq!(health.len(), count);
    for key in health {
        key.outcome.unwrap_or_else(|error| panic!("{}: {error}", key.key.node()));
    }
}

fn unaccounted(keystore: &Keystore) -> Vec<Finding> {
    let findings = keystore.findings().unwrap().into_iter();
    findings.filter(|finding| !matches!(finding, Finding::NoRecovery(_) | Finding::Leftover(_))).collect()
}

#[test]
fn keys_survive_a_power_cycle_and_words_are_what_the_standard_says() {
    with_device("keys_survive_a_power_cycle_and_words_are_what_the_standard_says", |scene| {
        let keystore = scene.keystore();
        assert!(keystore.placement().unwrap().maps, "the emulator's default firmware is affected");
        for curve in Curve::ALL {
            let recovery = WalletRecovery::Bip39 { passphrase: "correct horse".to_owned().into() };
            let wallet = NewWallet { token_serial: TOKEN.into(), token_label: "token".into(), curve, recovery };
            let made = keystore.create_wallet(&wallet).unwrap();
            assert_eq!(made.record.derivation_agrees, Some(true), "{curve}");
            keystore.confirm_wallet(made.record.id).unwrap();
            let mut request = request("key");
            request.curve = curve;
            let pair = keystore.generate(&request).unwrap();
            assert_eq!(pair.private.key.node(), format!("{} m/1'", made.record.name));
        }
        scene.admin().power_cycle().unwrap();
        let fresh = scene.keystore();
        assert_all_sign(&fresh, 2);
        assert_eq!(unaccounted(&fresh), []);
        assert_eq!(fresh.find(TOKEN, &ObjectFilter::default()).unwrap().len(), 4);
    });
}

#[test]
fn sixteen_processes_generate_at_once() {
    with_device("sixteen_processes_generate_at_once", |scene| {
        let children: Vec<_> = (0..16)
            .map(|n| {
                let mut command = scene.part("part_generates_four");
                command.env("HOLDFAST_TEST_NUMBER", n.to_string()).stdout(Stdio::piped()).stderr(Stdio::piped());
                command.spawn().unwrap()
            })
            .collect();
        std::fs::write(scene.path("go"), b"").unwrap();
        for child in children {
            let output = child.wait_with_output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
        let keystore = scene.keystore();
        assert_all_sign(&keystore, 64);
        assert_eq!(keystore.wallets().unwrap().len(), 1, "they waited for the one that made the wallet");
        assert_eq!(keystore.wallets().unwrap()[0].next_index, 64, "no index was wasted");
        assert_eq!(unaccounted(&keystore), []);
        let labels: HashSet<_> =
            keystore.find(TOKEN, &ObjectFilter::default()).unwrap().into_iter().map(|o| o.record.label).collect();
        assert_eq!(labels.len(), 64);
    });
}

#[test]
fn part_generates_four() {
    let Some(scene) = part() else { return };
    while !scene.path("go").exists() {
        std::thread::sleep(Duration::from_millis(1));
    }
    let number = std::env::var("HOLDFAST_TEST_NUMBER").unwrap();
    let keystore = scene.keystore();
    for n in 0..4 {
        keystore.generate(&request(&format!("{number}.{n}"))).unwrap();
    }
}

#[test]
fn sixteen_threads_generate_sign_and_destroy_at_once() {
    with_device("sixteen_threads_generate_sign_and_destroy_at_once", |scene| {
        let keystore = scene.keystore();
        std::thread::scope(|threads| {
            for n in 0..16 {
                let keystore = &keystore;
                threads.spawn(move || {
                    for round in 0..3 {
                        let pair = keystore.generate(&request(&format!("{n}.{round}"))).unwrap();
                        let signature = keystore.sign(&pair.private.key, &[n as u8; 32]).unwrap();
                        assert!(pair.public.key.public_key.verify_prehash(&[n as u8; 32], &signature));
                        if round == 1 {
                            keystore.destroy_key(pair.private.key.id).unwrap();
                        }
                    }
                });
            }
        });
        assert_all_sign(&scene.keystore(), 32);
        assert_eq!(unaccounted(&keystore), []);
    });
}

/// Kills its process at a step.
struct Killer {
    at: usize,
    count: AtomicUsize,
}

impl StepObserver for Killer {
    fn step(&self, _name: &'static str) {
        if self.count.fetch_add(1, Ordering::Relaxed) + 1 == self.at {
            nix::sys::signal::kill(nix::unistd::getpid(), nix::sys::signal::Signal::SIGKILL).unwrap();
        }
    }
}

#[test]
fn killed_at_every_step_nothing_is_lost_or_unaccounted_for() {
    with_device("killed_at_every_step_nothing_is_lost_or_unaccounted_for", |scene| {
        let keystore = scene.keystore();
        let kept = keystore.generate(&request("kept")).unwrap();
        let mut destroyed = 0;
        for step in 1.. {
            let mut command = scene.part("part_killed_at_a_step");
            let output = command.env("HOLDFAST_TEST_NUMBER", step.to_string()).output().unwrap();
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            keystore.repair().unwrap();
            assert_eq!(unaccounted(&keystore), [], "step {step}");
            let found = keystore.find(TOKEN, &ObjectFilter::default()).unwrap();
            for label in text.lines().filter_map(|line| line.strip_prefix("made ")) {
                let told = found.iter().filter(|object| object.record.label == label.as_bytes()).count();
                assert!(told == 2 || text.contains("destroying"), "step {step}: {label} was answered and is gone");
            }
            if text.contains("destroyed") {
                assert!(!found.iter().any(|object| object.record.label == b"short-lived"), "step {step}");
                destroyed += 1;
            }
            let all: Vec<_> = keystore.verify(&VerifyOptions::default()).unwrap();
            assert!(all.iter().all(|key| key.outcome.is_ok()), "step {step}: {all:?}");
            for key in keystore.keys().unwrap() {
                if key.key.id != kept.private.key.id {
                    keystore.destroy_key(key.key.id).unwrap();
                }
            }
            if output.status.success() {
                assert!(step > 8, "there are more steps than that");
                break;
            }
        }
        assert!(destroyed > 0);
        // What was half-made is kept until the operator says otherwise.
        for finding in keystore.findings().unwrap() {
            if let Finding::Leftover(leftover) = finding {
                keystore.remove_leftover(leftover.id).unwrap();
            }
        }
        let allocated = keystore.device().allocated_slots().unwrap().slots.len();
        assert_eq!(allocated, 16 + 2, "the factory's, the seed, the key that was kept");
        assert_all_sign(&keystore, 1);
    });
}

#[test]
fn part_killed_at_a_step() {
    let Some(scene) = part() else { return };
    let at = std::env::var("HOLDFAST_TEST_NUMBER").unwrap().parse().unwrap();
    let keystore = scene.keystore().with_observer(Arc::new(Killer { at, count: AtomicUsize::new(0) }));
    let pair = keystore.generate(&request("short-lived")).unwrap();
    println!("\nmade short-lived");
    println!("destroying");
    keystore.destroy_key(pair.private.key.id).unwrap();
    println!("destroyed");
    keystore.generate(&request("long-lived")).unwrap();
    println!("made long-lived");
}

#[test]
fn a_device_that_is_full_says_so_and_nothing_changes() {
    with_device("a_device_that_is_full_says_so_and_nothing_changes", |scene| {
        scene.make_device(20);
        let keystore = scene.keystore();
        let mut made = 0;
        let error = loop {
            match keystore.generate(&request("key")) {
                Ok(_) => made += 1,
                Err(error) => break error,
            }
        };
        assert!(matches!(error, Error::NoRoom { .. }), "{error}");
        assert!(made > 0);
        let before = std::fs::read(scene.path("store/mapping.db")).unwrap();
        assert!(keystore.generate(&request("key")).is_err());
        assert_eq!(std::fs::read(scene.path("store/mapping.db")).unwrap(), before);
        assert_all_sign(&keystore, made);
        assert_eq!(unaccounted(&keystore), []);
    });
}

#[test]
fn a_fork_at_any_moment_leaves_both_processes_whole() {
    with_device("a_fork_at_any_moment_leaves_both_processes_whole", |scene| {
        let keystore: &'static Keystore = Box::leak(Box::new(scene.keystore()));
        keystore.generate(&request("before")).unwrap();
        let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let worker = std::thread::spawn({
            let stop = Arc::clone(&stop);
            move || {
                let mut made = 0;
                while !stop.load(Ordering::Relaxed) {
                    let pair = keystore.generate(&request("worker")).unwrap();
                    keystore.sign(&pair.private.key, &[1; 32]).unwrap();
                    if made % 2 == 0 {
                        keystore.destroy_key(pair.private.key.id).unwrap();
                    }
                    made += 1;
                }
                made
            }
        });
        let database = scene.path("store/mapping.db").canonicalize().unwrap();
        for round in 0..12 {
            std::thread::sleep(Duration::from_millis(7 * (round % 5)));
            keystore.fork_prepare();
            // SAFETY: the handlers that a host would register are called around it; the child uses nothing that
            // another thread may have held, and ends with `_exit`.
            match unsafe { nix::unistd::fork() }.unwrap() {
                nix::unistd::ForkResult::Parent { child } => {
                    keystore.fork_parent();
                    let status = nix::sys::wait::waitpid(child, None).unwrap();
                    assert_eq!(status, nix::sys::wait::WaitStatus::Exited(child, 0), "round {round}");
                }
                nix::unistd::ForkResult::Child => {
                    keystore.fork_child();
                    let leaked = open_descriptors(&database);
                    let found = keystore.find(TOKEN, &ObjectFilter::default());
                    let made = keystore.generate(&request("child")).and_then(|pair| {
                        keystore.sign(&pair.private.key, &[2; 32])?;
                        keystore.destroy_key(pair.private.key.id)
                    });
                    let code = match (found, made) {
                        (Ok(found), Ok(())) if leaked == 0 && found.len() >= 2 => 0,
                        (found, made) => {
                            eprintln!("{leaked} descriptors leaked, {found:?}, {made:?}");
                            1
                        }
                    };
                    // SAFETY: ends the process without running what belongs to the parent.
                    unsafe { nix::libc::_exit(code) };
                }
            }
        }
        stop.store(true, Ordering::Relaxed);
        let made = worker.join().unwrap();
        assert!(made > 0);
        assert_all_sign(keystore, 1 + made / 2);
        assert_eq!(unaccounted(keystore), []);
    });
}

/// How many descriptors of this process are of this file, or of the owners' file beside it.
fn open_descriptors(database: &std::path::Path) -> usize {
    let owners = database.with_file_name("mapping.db.owners");
    let links = std::fs::read_dir("/proc/self/fd").unwrap();
    let links = links.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
    links.filter(|link| *link == database || *link == owners).count()
}

#[test]
fn no_secret_is_stored() {
    with_device("no_secret_is_stored", |scene| {
        let keystore = scene.keystore();
        let passphrase = "a passphrase of some length";
        let recovery = WalletRecovery::Bip39 { passphrase: passphrase.to_owned().into() };
        let wallet =
            NewWallet { token_serial: TOKEN.into(), token_label: "token".into(), curve: Curve::P256, recovery };
        let made = keystore.create_wallet(&wallet).unwrap();
        keystore.confirm_wallet(made.record.id).unwrap();
        keystore.generate(&request("key")).unwrap();
        let words = made.words.unwrap();
        for entry in std::fs::read_dir(scene.path("store")).unwrap() {
            let content = std::fs::read(entry.unwrap().path()).unwrap();
            let holds = |text: &str| content.windows(text.len()).any(|window| window == text.as_bytes());
            assert!(!holds(passphrase));
            let words: Vec<_> = words.split(' ').collect();
            for pair in words.windows(2) {
                assert!(!holds(&pair.join(" ")));
            }
        }
    });
}
