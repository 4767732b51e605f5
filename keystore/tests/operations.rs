//! What each operation does when nothing goes wrong, or the device or the store refuses.

mod common;

use std::collections::HashMap;
use std::num::NonZeroU32;

use common::{Host, Sim, TOKEN, generate, request};
use holdfast_config::{AutoCreateWallet, Policy, Strategy};
use holdfast_device::DeviceError;
use holdfast_keystore::{
    Error, Finding, KeyState, NewObject, NewWallet, ObjectChange, ObjectClass, ObjectFilter, StoreError, VerifyOptions,
    WalletRecovery,
};
use holdfast_wallet::Curve;

fn slots(sim: &Sim) -> usize {
    sim.state().slots.len()
}

#[test]
fn a_key_is_made_found_used_and_destroyed() {
    let host = Host::new();
    let maker = host.process();
    let other = host.process();
    assert!(other.find(TOKEN, &ObjectFilter::default()).unwrap().is_empty());
    assert!(!host.database().exists(), "searching makes no store");
    let pair = generate(&maker, "web");
    assert_eq!(pair.private.key.node(), "holdfast-1234567890abcdef-p256 m/0'");
    assert_eq!(pair.public.record.cka_id.len(), 20, "SHA-1 of the point");
    assert_eq!(pair.public.record.cka_id, pair.private.record.cka_id);
    let filter = ObjectFilter { label: Some(b"web".to_vec()), class: Some(ObjectClass::PrivateKey), cka_id: None };
    let found = other.find(TOKEN, &filter).unwrap();
    assert_eq!(found.len(), 1);
    let signature = other.sign(&found[0].key, &[9; 32]).unwrap();
    assert!(pair.public.key.public_key.verify_prehash(&[9; 32], &signature));
    host.check(&HashMap::from([(pair.public.key.public_key.clone(), 2)]), "after generate");
    other.destroy_object(found[0].record.id).unwrap();
    assert_eq!(slots(&host.sim), 3, "factory keys and the seed");
    assert_eq!(maker.find(TOKEN, &ObjectFilter::default()).unwrap().len(), 1, "the public object stays");
    assert_eq!(maker.keys().unwrap()[0].state, KeyState::PublicOnly);
    maker.destroy_object(pair.public.record.id).unwrap();
    assert!(maker.keys().unwrap().is_empty());
    assert!(matches!(maker.destroy_key(pair.public.key.id), Err(Error::NoSuchKey(_))));
    let next = generate(&maker, "web");
    assert_eq!(next.private.key.node(), "holdfast-1234567890abcdef-p256 m/1'", "I3");
}

#[test]
fn names_missing_in_one_half_come_from_the_other() {
    let host = Host::new();
    let keystore = host.process();
    let mut request = request("x");
    request.public = NewObject { cka_id: Some(vec![1, 2]), ..NewObject::public() };
    request.private = NewObject { label: Some(b"private".to_vec()), ..NewObject::private() };
    let pair = keystore.generate(&request).unwrap();
    assert_eq!((&pair.private.record.cka_id[..], &pair.public.record.label[..]), (&[1, 2][..], &b"private"[..]));
    request.public.label = Some(b"public".to_vec());
    request.private.cka_id = Some(vec![]);
    let pair = keystore.generate(&request).unwrap();
    assert_eq!((&pair.private.record.cka_id[..], &pair.public.record.label[..]), (&[][..], &b"public"[..]));
    request.public.label = Some(vec![b'a'; 256]);
    assert!(matches!(keystore.generate(&request), Err(Error::AttributeTooLong { .. })));
}

#[test]
fn both_curves_have_their_wallets() {
    let host = Host::new();
    let keystore = host.process();
    let mut request = request("k");
    request.curve = Curve::Secp256k1;
    let pair = keystore.generate(&request).unwrap();
    assert_eq!(pair.private.key.node(), "holdfast-1234567890abcdef-secp256k1 m/0'");
    let signature = keystore.sign(&pair.private.key, &[1; 32]).unwrap();
    assert!(pair.private.key.public_key.verify_prehash(&[1; 32], &signature));
    generate(&keystore, "p");
    assert_eq!(keystore.wallets().unwrap().len(), 2);
}

#[test]
fn policy_and_firmware_decide() {
    let mut host = Host::new();
    assert!(host.process().placement().unwrap().maps);
    host.sim.state().firmware = "01.00.00".into();
    assert!(!host.process().placement().unwrap().maps);
    host.settings.policy = Policy::Always;
    host.sim.state().unreachable = true;
    assert!(host.process().placement().unwrap().maps, "policy is not for the device to say");
    host.settings.policy = Policy::Never;
    assert!(!host.process().placement().unwrap().maps);
    host.settings.policy = Policy::Auto;
    assert!(matches!(host.process().placement(), Err(Error::Device(DeviceError::Unreachable { .. }))));
}

#[test]
fn strategies_and_capacity() {
    let mut host = Host::new();
    host.settings.wallet_capacity = NonZeroU32::new(2);
    let keystore = host.process();
    let nodes: Vec<_> = (0..5).map(|n| generate(&keystore, &n.to_string()).private.key.node()).collect();
    let base = "holdfast-1234567890abcdef-p256";
    assert_eq!(nodes[1], format!("{base} m/1'"));
    assert_eq!(nodes[2], format!("{base}-2 m/0'"));
    assert_eq!(nodes[4], format!("{base}-3 m/0'"));

    let mut host = Host::new();
    host.settings.strategy = Strategy::SharedWallet;
    assert_eq!(generate(&host.process(), "a").private.key.node(), "holdfast-shared-p256 m/0'");

    let mut host = Host::new();
    host.settings.strategy = Strategy::WalletPerKey;
    host.sim.state().single_key_seeds = true;
    let keystore = host.process();
    let pairs: Vec<_> = (0..3).map(|n| generate(&keystore, &n.to_string())).collect();
    assert_eq!(pairs[2].private.key.node(), format!("{base}-3 m/0'"));
    assert_eq!(slots(&host.sim), 2 + 6);
    keystore.destroy_key(pairs[1].private.key.id).unwrap();
    assert_eq!(slots(&host.sim), 2 + 4, "the childless seed goes with its key");
    assert_eq!(keystore.wallets().unwrap().len(), 2);
    host.check(&HashMap::from([(pairs[0].public.key.public_key.clone(), 2)]), "wallet per key");
}

#[test]
fn a_refusal_to_make_wallets_is_kept() {
    let mut host = Host::new();
    host.settings.auto_create_wallet = AutoCreateWallet::Refuse;
    let keystore = host.process();
    assert!(matches!(keystore.generate(&request("a")), Err(Error::NoWallet { .. })));
    assert_eq!(slots(&host.sim), 2);
    let wallet = NewWallet {
        token_serial: TOKEN.into(),
        token_label: "token".into(),
        curve: Curve::P256,
        recovery: WalletRecovery::Bip39 { passphrase: "secret phrase".to_owned().into() },
    };
    let made = keystore.create_wallet(&wallet).unwrap();
    assert!(!format!("{made:?}{wallet:?}").contains("abandon") && !format!("{wallet:?}").contains("secret phrase"));
    assert_eq!(made.words.unwrap().split(' ').count(), 24);
    assert_eq!(made.record.derivation_agrees, Some(false), "the device of these tests derives in its own way");
    assert_eq!(slots(&host.sim), 3, "the compared child is removed again");
    assert!(matches!(keystore.generate(&request("a")), Err(Error::WalletUnconfirmed { .. })));
    keystore.confirm_wallet(made.record.id).unwrap();
    assert_eq!(generate(&keystore, "a").private.key.node(), format!("{} m/1'", made.record.name));
}

#[test]
fn a_wallet_that_the_store_does_not_know_is_not_taken_for_ours() {
    let host = Host::new();
    host.sim.state().make_seed(Curve::P256, "holdfast-1234567890abcdef-p256").unwrap();
    let keystore = host.process();
    assert_eq!(generate(&keystore, "a").private.key.node(), "holdfast-1234567890abcdef-p256-2 m/0'");
    let unknown = keystore.findings().unwrap().into_iter().any(
        |finding| matches!(finding, Finding::UnrecordedNode { wallet, .. } if wallet == "holdfast-1234567890abcdef-p256"),
    );
    assert!(unknown);
}

#[test]
fn no_room_changes_nothing() {
    let host = Host::with_capacity(5);
    let keystore = host.process();
    generate(&keystore, "a");
    generate(&keystore, "b");
    let before = std::fs::read(host.database()).unwrap();
    assert!(matches!(keystore.generate(&request("c")), Err(Error::NoRoom { used: 5, capacity: 5 })));
    assert_eq!(std::fs::read(host.database()).unwrap(), before);
    let host = Host::with_capacity(3);
    assert!(matches!(host.process().generate(&request("c")), Err(Error::NoRoom { .. })), "a seed alone is no use");
    assert_eq!(slots(&host.sim), 2);
}

#[test]
fn an_unreachable_device_changes_nothing() {
    let host = Host::new();
    let keystore = host.process();
    let pair = generate(&keystore, "a");
    let before = std::fs::read(host.database()).unwrap();
    host.sim.state().unreachable = true;
    for outcome in [
        keystore.generate(&request("b")).map(|_| ()),
        keystore.destroy_key(pair.private.key.id),
        keystore.sign(&pair.private.key, &[0; 32]).map(|_| ()),
        keystore.verify(&VerifyOptions::default()).map(|_| ()),
    ] {
        assert!(matches!(outcome, Err(Error::Device(DeviceError::Unreachable { .. }))), "{outcome:?}");
    }
    assert!(keystore.findings().unwrap().iter().any(|f| matches!(f, Finding::DeviceUnreachable(_))));
    assert_eq!(keystore.find(TOKEN, &ObjectFilter::default()).unwrap().len(), 2, "found all the same");
    host.sim.state().unreachable = false;
    host.check(&HashMap::from([(pair.public.key.public_key.clone(), 2)]), "after unreachable");
    let after = std::fs::read(host.database()).unwrap();
    assert_eq!(after.len(), before.len());
}

#[test]
fn a_swapped_slot_never_signs_and_a_moved_one_is_found() {
    let host = Host::new();
    let keystore = host.process();
    let (a, b) = (generate(&keystore, "a"), generate(&keystore, "b"));
    let fresh = host.process();
    // Moved, before and after its first use in a process.
    let (slot_a, slot_b) = (a.private.key.slot, b.private.key.slot);
    let node = host.sim.state().slots.remove(&slot_a).unwrap();
    host.sim.state().slots.insert(40, node);
    for process in [&keystore, &fresh] {
        let signature = process.sign(&a.private.key, &[3; 32]).unwrap();
        assert!(a.private.key.public_key.verify_prehash(&[3; 32], &signature));
    }
    let row = fresh.key(a.private.key.id).unwrap().unwrap();
    assert_eq!(row.slot, 40, "the cache was corrected");
    // Swapped with another of our keys: both are found by their addresses.
    {
        let mut state = host.sim.state();
        let (x, y) = (state.slots.remove(&40).unwrap(), state.slots.remove(&slot_b).unwrap());
        state.slots.insert(40, y);
        state.slots.insert(slot_b, x);
    }
    for pair in [&a, &b] {
        let signature = keystore.sign(&pair.private.key, &[4; 32]).unwrap();
        assert!(pair.private.key.public_key.verify_prehash(&[4; 32], &signature));
    }
    // Another key at the address itself.
    host.sim.state().slots.get_mut(&slot_b).unwrap().secret = [5; 32];
    for process in [&keystore, &host.process()] {
        assert!(matches!(process.sign(&a.private.key, &[5; 32]), Err(Error::SlotSwapped { .. })));
        assert!(matches!(process.ecdh(&a.private.key, &b.public.key.public_key), Err(Error::SlotSwapped { .. })));
    }
    assert!(matches!(keystore.destroy_key(a.private.key.id), Err(Error::SlotSwapped { .. })), "I7");
    host.sim.state().slots.remove(&slot_b);
    assert!(matches!(keystore.sign(&a.private.key, &[5; 32]), Err(Error::KeyLost { .. })));
    assert!(keystore.findings().unwrap().iter().any(|f| matches!(f, Finding::KeyMissing { .. })));
    keystore.destroy_key(a.private.key.id).unwrap();
}

#[test]
fn a_wrong_signature_never_leaves() {
    let host = Host::new();
    let keystore = host.process();
    let pair = generate(&keystore, "a");
    host.sim.state().sign_wrong = true;
    assert!(matches!(keystore.sign(&pair.private.key, &[5; 32]), Err(Error::WrongSignature { .. })));
    let health = keystore.verify(&VerifyOptions::default()).unwrap();
    assert!(matches!(health[0].outcome, Err(Error::WrongSignature { .. })));
    host.sim.state().sign_wrong = false;
    assert_eq!(
        keystore.verify(&VerifyOptions::default()).unwrap()[0].outcome.as_ref().unwrap(),
        &pair.private.key.slot
    );
}

#[test]
fn ecdh_agrees_with_both_sides() {
    let host = Host::new();
    let keystore = host.process();
    let (a, b) = (generate(&keystore, "a"), generate(&keystore, "b"));
    let one = keystore.ecdh(&a.private.key, &b.public.key.public_key).unwrap();
    let two = host.process().ecdh(&b.private.key, &a.public.key.public_key).unwrap();
    assert_eq!(*one, *two);
    let mut other = request("k");
    other.curve = Curve::Secp256k1;
    let k = keystore.generate(&other).unwrap();
    assert!(matches!(keystore.ecdh(&a.private.key, &k.public.key.public_key), Err(Error::Unsupported(_))));
}

#[test]
fn a_key_whose_public_key_is_not_exported_is_known_by_its_signature() {
    let host = Host::new();
    let pair = generate(&host.process(), "a");
    host.sim.state().no_export = true;
    let process = host.process();
    assert!(process.sign(&pair.private.key, &[1; 32]).is_ok());
    assert!(process.ecdh(&pair.private.key, &pair.public.key.public_key).is_ok());
}

#[test]
fn another_device_is_noticed() {
    let host = Host::new();
    let pair = generate(&host.process(), "a");
    host.sim.state().serial = "SIM0002".into();
    let process = host.process();
    assert!(matches!(process.sign(&pair.private.key, &[1; 32]), Err(Error::OtherDevice { .. })));
    assert!(matches!(process.destroy_key(pair.private.key.id), Err(Error::OtherDevice { .. })));
    assert!(process.findings().unwrap().iter().any(|f| matches!(f, Finding::OtherDevice { .. })));
    assert_eq!(process.keys().unwrap()[0].state, KeyState::Ready, "taken back");
}

#[test]
fn attributes_change_on_one_half_and_everybody_sees_it() {
    let host = Host::new();
    let keystore = host.process();
    let pair = generate(&keystore, "a");
    let reader = host.process();
    assert_eq!(reader.find(TOKEN, &ObjectFilter::default()).unwrap().len(), 2);
    let change = ObjectChange { cka_id: Some(vec![0; 300]), label: Some(b"new".to_vec()), ..Default::default() };
    let changed = keystore.update_object(pair.private.record.id, &change).unwrap();
    assert_eq!(changed.record.label, b"new");
    let found = reader.find(TOKEN, &ObjectFilter { label: Some(b"new".to_vec()), ..Default::default() }).unwrap();
    assert_eq!((found.len(), found[0].record.cka_id.len()), (1, 300));
    let unchanged = reader.object(pair.public.record.id).unwrap().unwrap();
    assert_eq!(unchanged.record.label, b"a");
    assert!(std::sync::Arc::ptr_eq(&unchanged.key, &found[0].key), "one record for all objects of a key");
    let long = ObjectChange { label: Some(vec![0; 256]), ..Default::default() };
    assert!(matches!(keystore.update_object(pair.private.record.id, &long), Err(Error::AttributeTooLong { .. })));
}

fn session_pair(keystore: &holdfast_keystore::Keystore) -> holdfast_keystore::GeneratedPair {
    let mut request = request("session");
    request.session = true;
    keystore.generate(&request).unwrap()
}

#[test]
fn session_keys_are_seen_by_their_process_only() {
    let host = Host::new();
    let keystore = host.process();
    let pair = session_pair(&keystore);
    assert!(pair.private.key.session && pair.private.record.session);
    assert_eq!(keystore.find(TOKEN, &ObjectFilter::default()).unwrap().len(), 2);
    let other = host.process();
    assert!(other.find(TOKEN, &ObjectFilter::default()).unwrap().is_empty());
    assert!(other.object(pair.private.record.id).unwrap().is_none());
    generate(&other, "other");
    assert!(other.object(pair.private.record.id).unwrap().is_none(), "nor when it has become an owner itself");
    assert!(other.repair().unwrap().is_empty(), "its owner lives");
    keystore.drop_session_key(pair.private.key.id).unwrap();
    keystore.drop_session_key(pair.private.key.id).unwrap();
    assert_eq!(slots(&host.sim), 4, "factory keys, seed, the other key");
}

#[test]
fn a_copied_session_key_outlives_its_session() {
    let host = Host::new();
    let keystore = host.process();
    let pair = session_pair(&keystore);
    let change = ObjectChange { cka_id: Some(b"id".to_vec()), ..Default::default() };
    let token = keystore.token_key_from_session_key(pair.private.record.id, &change).unwrap();
    assert!(!token.record.session && !token.key.session);
    assert!(keystore.sign(&pair.private.key, &[1; 32]).is_ok(), "the session object still works");
    let calls = |host: &Host| host.sim.state().log.iter().filter(|call| **call == "zkRemoveKey").count();
    let before = calls(&host);
    keystore.drop_session_key(pair.private.key.id).unwrap();
    assert_eq!(calls(&host), before, "ending the session objects does not touch the device");
    let found =
        host.process().find(TOKEN, &ObjectFilter { cka_id: Some(b"id".to_vec()), ..Default::default() }).unwrap();
    assert_eq!(found.len(), 2, "a private and a public token object");
    host.check(&HashMap::from([(token.key.public_key.clone(), 2)]), "copied");
    assert!(matches!(
        keystore.token_key_from_session_key(token.record.id, &ObjectChange::default()),
        Err(Error::Unsupported(_))
    ));
}

#[test]
fn session_keys_of_a_dead_process_are_kept_and_reported() {
    let host = Host::new();
    let keystore = host.process();
    let pair = session_pair(&keystore);
    drop(keystore);
    host.check(&HashMap::new(), "dead session");
    let process = host.process();
    let leftovers: Vec<_> = process
        .findings()
        .unwrap()
        .into_iter()
        .filter_map(|finding| match finding {
            Finding::Leftover(leftover) => Some(leftover),
            _ => None,
        })
        .collect();
    assert_eq!(leftovers.len(), 1);
    assert_eq!(leftovers[0].public_key.as_ref(), Some(&pair.public.key.public_key));
    process.remove_leftover(leftovers[0].id).unwrap();
    assert_eq!(slots(&host.sim), 3);
    assert!(process.sign(&pair.private.key, &[1; 32]).is_err());
}

#[test]
fn initialising_a_token_removes_its_keys_only_when_the_backend_agreed() {
    let host = Host::new();
    let keystore = host.process();
    let pair = generate(&keystore, "a");
    let mut elsewhere = request("b");
    elsewhere.token_serial = "other".into();
    let kept = keystore.generate(&elsewhere).unwrap();
    let pending = keystore.begin_init_token(TOKEN).unwrap();
    assert!(host.process().find(TOKEN, &ObjectFilter::default()).unwrap().is_empty());
    assert!(matches!(host.process().begin_init_token(TOKEN), Err(Error::Conflict { .. })));
    pending.withdraw().unwrap();
    host.check(&HashMap::from([(pair.public.key.public_key.clone(), 2)]), "withdrawn");
    keystore.begin_init_token(TOKEN).unwrap().complete(Some("fedcba")).unwrap();
    assert!(keystore.find(TOKEN, &ObjectFilter::default()).unwrap().is_empty());
    assert!(keystore.sign(&kept.private.key, &[1; 32]).is_ok());
    assert!(matches!(keystore.sign(&pair.private.key, &[1; 32]), Err(Error::KeyLost { .. } | Error::Device(_))));
    let mut again = request("c");
    again.token_serial = "fedcba".into();
    let next = keystore.generate(&again).unwrap();
    assert_eq!(next.private.key.node(), "holdfast-1234567890abcdef-p256 m/1'", "its wallet goes on");
    host.check(&HashMap::new(), "completed");
}

#[test]
fn an_interrupted_initialisation_waits_for_the_operator() {
    for happened in [false, true] {
        let host = Host::new();
        let keystore = host.process();
        let pair = generate(&keystore, "a");
        drop(keystore.begin_init_token(TOKEN).unwrap());
        drop(keystore);
        let process = host.process();
        process.repair().unwrap();
        assert!(process.find(TOKEN, &ObjectFilter::default()).unwrap().is_empty());
        let reported = process.findings().unwrap();
        assert!(reported.iter().any(|f| matches!(f, Finding::InterruptedInitToken { accepted: false, .. })));
        process.resolve_init_token(TOKEN, happened).unwrap();
        let expected = if happened { HashMap::new() } else { HashMap::from([(pair.public.key.public_key.clone(), 2)]) };
        host.check(&expected, "resolved");
        assert_eq!(slots(&host.sim), if happened { 3 } else { 4 });
    }
}

/// A key made then would be hidden with the others, and removed with them.
#[test]
fn i1_no_key_is_made_for_a_token_whose_initialisation_is_not_settled() {
    let host = Host::new();
    let keystore = host.process();
    generate(&keystore, "a");
    let pending = keystore.begin_init_token(TOKEN).unwrap();
    let refused = |process: &holdfast_keystore::Keystore| {
        let error = process.generate(&request("b")).unwrap_err();
        assert!(matches!(error, Error::InitTokenUnsettled { .. }), "{error}");
        assert_eq!(slots(&host.sim), 4, "nothing was made, or it was removed again");
    };
    refused(&host.process());
    drop(pending);
    refused(&keystore);
    keystore.resolve_init_token(TOKEN, false).unwrap();
    let pair = generate(&keystore, "c");
    assert!(keystore.object(pair.private.record.id).unwrap().is_some());
}

/// The backend has initialised the token, and the device cannot be reached then: what is left is done with the next
/// generation, whose key is there to stay.
#[test]
fn i1_an_initialisation_that_is_known_to_have_happened_is_finished_before_the_next_key() {
    let host = Host::new();
    let keystore = host.process();
    let old = generate(&keystore, "a");
    let pending = keystore.begin_init_token(TOKEN).unwrap();
    host.sim.state().unreachable = true;
    assert!(pending.complete(None).is_err());
    assert!(keystore.generate(&request("b")).is_err());
    host.sim.state().unreachable = false;
    let new = generate(&keystore, "b");
    assert!(keystore.object(new.private.record.id).unwrap().is_some());
    assert!(keystore.object(old.private.record.id).unwrap().is_none());
    keystore.resolve_init_token(TOKEN, true).unwrap();
    host.check(&HashMap::from([(new.public.key.public_key.clone(), 2)]), "nothing is left to settle");
}

#[test]
fn a_store_that_may_not_be_written_changes_nothing_on_the_device() {
    // As root every store can be written: the unprivileged half of this is in `processes.rs`.
    let host = Host::new();
    let keystore = host.process();
    generate(&keystore, "a");
    let directory = host.database().parent().unwrap().to_owned();
    let mut mode = std::fs::metadata(&directory).unwrap().permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut mode, 0o777);
    std::fs::set_permissions(&directory, mode).unwrap();
    let before = slots(&host.sim);
    let outcome = host.process().generate(&request("b"));
    assert!(matches!(outcome, Err(Error::Store(StoreError::Permissions { .. }))), "{outcome:?}");
    assert_eq!(slots(&host.sim), before);
}

#[test]
fn an_older_store_gives_out_no_index_again() {
    let host = Host::new();
    let keystore = host.process();
    let first = generate(&keystore, "first");
    let saved = std::fs::read(host.database()).unwrap();
    let second = generate(&keystore, "second");
    let third = generate(&keystore, "third");
    keystore.destroy_key(second.private.key.id).unwrap();
    keystore.destroy_key(third.private.key.id).unwrap();
    drop(keystore);
    // Only the database is put back; then, in a second round, the owners' file goes too.
    for round in 0..2 {
        std::fs::write(host.database(), &saved).unwrap();
        if round == 1 {
            let _ = std::fs::remove_file(host.database().with_file_name("mapping.db.owners"));
            // Without the file only the device can tell: it has a later node.
            let mut state = host.sim.state();
            let wallet = first.private.key.node().split(' ').next().unwrap().to_owned();
            let node = common::Node { wallet, path: "m/7'".parse().unwrap(), curve: Curve::P256, secret: [8; 32] };
            state.slots.insert(50, node);
        }
        let process = host.process();
        let next = generate(&process, "next");
        assert!(next.private.key.node().contains("-p256-"), "round {round}: {}", next.private.key.node());
        assert!(process.sign(&first.private.key, &[1; 32]).is_ok(), "old keys work");
        assert!(host.sim.state().violations.is_empty());
    }
}
