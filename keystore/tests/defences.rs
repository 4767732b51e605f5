//! Devices that answer what they must not, keys that are not ours to remove, disks that fill up, and a slow device that
//! holds nobody up who does not need it.

mod common;

use std::collections::HashMap;
use std::process::Command;
use std::time::{Duration, Instant};

use common::{Host, TOKEN, generate, request};
use holdfast_device::{KeySlot, WalletDevice};
use holdfast_keystore::{Error, Finding, ObjectChange, ObjectClass, ObjectFilter, Origin, StoreError};
use holdfast_mapping_db::{NewKey, NewObjectRow, Store};
use holdfast_wallet::{Curve, PublicKey};

#[test]
fn a_public_key_ever_recorded_is_not_taken_for_new() {
    let host = Host::new();
    let keystore = host.process();
    let old = generate(&keystore, "old");
    let secret = host.sim.state().slots[&old.private.key.slot].secret;
    keystore.destroy_key(old.private.key.id).unwrap();
    host.sim.state().next_secret = Some(secret);
    let new = generate(&keystore, "new");
    assert_ne!(new.public.key.public_key, old.public.key.public_key);
    assert!(new.private.key.node().contains("-p256-2 "), "in another wallet: {}", new.private.key.node());
    let findings = keystore.findings().unwrap();
    assert!(
        findings.iter().any(|f| matches!(f, Finding::UnrecordedNode { path, .. } if path == "m/1'")),
        "{findings:?}"
    );
    assert!(findings.iter().any(|f| matches!(f, Finding::Retired(_))));
    host.check(&HashMap::from([(new.public.key.public_key.clone(), 2)]), "after a repeated key");
}

#[test]
fn i7_a_slot_that_was_taken_before_is_refused_and_left_alone() {
    let host = Host::new();
    let keystore = host.process();
    generate(&keystore, "first");
    // A factory key that the device suddenly claims to have derived.
    host.sim.state().next_slot = Some(0);
    let pair = generate(&keystore, "second");
    assert_ne!(pair.private.key.slot, 0);
    let state = host.sim.state();
    assert!(state.slots.contains_key(&0), "it was not removed");
    assert!(state.violations.is_empty());
}

/// Presents the factory key in slot 1 as a key of the token, as the verb `adopt` will.
fn adopt(host: &Host) -> PublicKey {
    let public_key = host.sim.export_public_key(KeySlot::new(1).unwrap(), Curve::P256).unwrap();
    let mut store = Store::open_or_create(&host.location()).unwrap();
    store
        .write::<_, StoreError>(|tx| {
            let key = tx.insert_key(&NewKey {
                node: None,
                device_serial: "SIM0001".into(),
                slot: 1,
                public_key: public_key.clone(),
                token_serial: TOKEN.into(),
                token_label: "token".into(),
                session_owner: None,
            })?;
            for class in [ObjectClass::PublicKey, ObjectClass::PrivateKey] {
                tx.insert_object(&NewObjectRow {
                    key,
                    class,
                    session_owner: None,
                    cka_id: vec![1],
                    label: b"factory".to_vec(),
                    private: class == ObjectClass::PrivateKey,
                    modifiable: true,
                    destroyable: true,
                    copyable: false,
                    sign: class == ObjectClass::PrivateKey,
                    verify: class == ObjectClass::PublicKey,
                    derive: false,
                    subject: Vec::new(),
                    start_date: None,
                    end_date: None,
                })?;
            }
            Ok(())
        })
        .unwrap();
    public_key
}

#[test]
fn i7_an_adopted_key_is_let_go_of_and_never_removed() {
    for way in ["destroy_key", "destroy_object", "init_token"] {
        let host = Host::new();
        let public_key = adopt(&host);
        let keystore = host.process();
        let found = keystore.find(TOKEN, &ObjectFilter::default()).unwrap();
        assert_eq!(found[0].key.origin, Origin::Adopted);
        let signature = keystore.sign(&found[0].key, &[1; 32]).unwrap();
        assert!(public_key.verify_prehash(&[1; 32], &signature));
        match way {
            "destroy_key" => keystore.destroy_key(found[0].key.id).unwrap(),
            "destroy_object" => found.iter().for_each(|object| keystore.destroy_object(object.record.id).unwrap()),
            _ => keystore.begin_init_token(TOKEN).unwrap().complete(None).unwrap(),
        }
        assert!(keystore.keys().unwrap().is_empty(), "{way}");
        let state = host.sim.state();
        assert!(state.slots.contains_key(&1) && !state.log.contains(&"zkRemoveKey"), "{way}");
    }
}

#[test]
fn i6_a_slow_device_holds_up_nobody_who_does_not_need_it() {
    let host = Host::new();
    let keystore = host.process();
    let pair = generate(&keystore, "first");
    host.sim.state().slow = Duration::from_millis(1500);
    std::thread::scope(|threads| {
        let slow = threads.spawn(|| {
            let start = Instant::now();
            generate(&keystore, "slow");
            start.elapsed()
        });
        std::thread::sleep(Duration::from_millis(300));
        let start = Instant::now();
        let other = host.process();
        for process in [&keystore, &other] {
            assert_eq!(process.find(TOKEN, &ObjectFilter::default()).unwrap().len(), 2);
            let change = ObjectChange { label: Some(b"changed".to_vec()), ..ObjectChange::default() };
            process.update_object(pair.public.record.id, &change).unwrap();
            process.keys().unwrap();
        }
        let quick = start.elapsed();
        let slow = slow.join().unwrap();
        assert!(slow >= Duration::from_millis(1500), "the generation was being made meanwhile");
        assert!(quick < Duration::from_millis(700), "{quick:?}");
    });
}

const PART: &str = "HOLDFAST_TEST_PART";

/// Writing fails in the middle, wherever that is: what is left on the device is accounted for, and what was told holds.
#[test]
fn a_store_that_cannot_be_written_any_more_loses_nothing() {
    if std::env::var_os(PART).is_none() {
        // A process of its own, since the limit is one of the process, and so is what happens beyond it.
        let output = Command::new("sh")
            .args(["-c", "trap '' XFSZ; exec \"$@\"", "sh"])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", "a_store_that_cannot_be_written_any_more_loses_nothing", "--nocapture"])
            .env(PART, "1")
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        return;
    }
    let host = Host::new();
    let mut expected = HashMap::new();
    expected.insert(generate(&host.process(), "first").public.key.public_key.clone(), 2);
    let (mut failures, mut kept) = (0, 0);
    for limit in (0..120).map(|n| n * 1024) {
        let keystore = host.process();
        set_file_limit(Some(limit));
        let outcome = keystore.generate(&request("key"));
        set_file_limit(None);
        match outcome {
            Ok(pair) => {
                // What fits now may not have fitted a moment ago.
                keystore.destroy_key(pair.private.key.id).unwrap();
            }
            Err(Error::Store(_)) => failures += 1,
            Err(error) => panic!("{limit}: {error}"),
        }
        drop(keystore);
        host.check(&expected, &format!("limit {limit}"));
        // When not even the store's state could be read any more, the node was kept and is reported.
        let keystore = host.process();
        for finding in keystore.findings().unwrap() {
            if let Finding::Leftover(leftover) = finding {
                keystore.remove_leftover(leftover.id).unwrap();
                kept += 1;
            }
        }
        let slots = host.sim.state().slots.len();
        assert_eq!(slots, 4, "{limit}: factory keys, the seed, the first key");
    }
    assert!(failures > 10 && kept < failures / 2, "{failures} failures, {kept} nodes kept");
}

fn set_file_limit(bytes: Option<u64>) {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (_, hard) = getrlimit(Resource::RLIMIT_FSIZE).unwrap();
    setrlimit(Resource::RLIMIT_FSIZE, bytes.unwrap_or(hard).min(hard), hard).unwrap();
}
