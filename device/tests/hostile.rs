//! Libraries that load, and answer what they may not. None may get anything past the client, or crash it.

mod common;

use common::Fake;
use holdfast_device::{DeviceError, KeySlot, WalletDevice};
use holdfast_wallet::{ChildNumber, Curve, DerivationPath, PublicKey};
use std::time::{Duration, Instant};

fn slot(number: i32) -> KeySlot {
    KeySlot::new(number).unwrap()
}

fn peer(device: &dyn WalletDevice) -> PublicKey {
    device.export_public_key(slot(16), Curve::P256).unwrap()
}

fn child() -> ChildNumber {
    ChildNumber::new(0, true).unwrap()
}

/// The generator of P-256, for use where the library's own keys are bad.
fn generator() -> PublicKey {
    peer(&*Fake::new(&[]).into_device())
}

#[track_caller]
fn invalid<T: std::fmt::Debug>(result: Result<T, DeviceError>, says: &str) {
    match result {
        Err(DeviceError::InvalidReply { reason, .. }) => assert!(reason.contains(says), "{reason:?} says not {says:?}"),
        other => panic!("{says}: {other:?}"),
    }
}

#[test]
fn the_fake_is_right_in_form_when_nothing_is_asked() {
    let fake = Fake::new(&[]);
    let device = fake.device();
    assert_eq!(device.identity().unwrap().serial, "FAKE");
    assert!(device.sign_digest(slot(16), &[1; 32]).is_ok());
    assert!(device.raw_ecdh(slot(16), &peer(&device)).is_ok());
    assert_eq!(device.allocated_slots().unwrap().slots, [slot(16), slot(17)]);
    assert_eq!(device.create_wallet(Curve::P256, "w").unwrap(), slot(17));
    assert_eq!(device.generate_child(slot(16), child()).unwrap(), slot(17));
    let node = device.node_of_slot(slot(17)).unwrap();
    assert_eq!((node.path.to_string(), node.wallet_name, node.master_slot), ("m/0'".into(), "wallet".into(), slot(16)));
    assert_eq!(device.slot_of_node(&DerivationPath::master().child(child()), "wallet").unwrap(), slot(17));
    device.remove_key(slot(17)).unwrap();
    assert_eq!(fake.count("zkOpen"), 1);
    drop(device);
    assert_eq!(fake.count("zkClose"), 1);
}

#[test]
fn the_passphrase_goes_over_in_base64_and_the_words_come_back() {
    let fake = Fake::new(&[]);
    let (made, words) = fake.device().create_wallet_bip39(Curve::P256, "w", "pass phrase").unwrap();
    assert_eq!((made, words.split(' ').count()), (slot(17), 24));
    assert!(fake.calls().contains(&"cGFzcyBwaHJhc2U=".to_owned()), "{:?}", fake.calls());
}

#[test]
fn k2_null_pointers() {
    let device = Fake::new(&["NULLS"]).into_device();
    invalid(device.identity(), "NULL");
    invalid(device.allocated_slots(), "NULL");
    // A device of one slot that it lists nothing of: the other calls need a list to check their slot against.
    let device = Fake::new(&["NULLS", "NO_SLOTS"]).into_device();
    invalid(device.sign_digest(slot(16), &[1; 32]), "NULL");
    invalid(device.raw_ecdh(slot(16), &generator()), "NULL");
    invalid(device.export_public_key(slot(16), Curve::P256), "NULL");
    invalid(device.create_wallet_bip39(Curve::P256, "w", ""), "NULL");
    invalid(device.node_of_slot(slot(16)), "NULL");
    invalid(Fake::new(&["SAME"]).into_device().node_of_slot(slot(16)), "same memory");
}

#[test]
fn k2_memory_that_is_shorter_than_said() {
    // The sizes are below what malloc rounds them to.
    let device = Fake::new(&["MEMORY=8"]).into_device();
    invalid(device.sign_digest(slot(16), &[1; 32]), "a size of 64 for memory of");
    invalid(device.raw_ecdh(slot(16), &generator()), "a size of 32 for memory of");
    invalid(device.export_public_key(slot(16), Curve::P256), "a size of 64 for memory of");
    invalid(Fake::new(&["LIST_SIZE=65535"]).into_device().allocated_slots(), "for memory of");
}

#[test]
fn k1_sizes_that_are_wrong() {
    for size in ["-1", "0", "63", "65", "2147483647", "-2147483648"] {
        let device = Fake::new(&[&format!("SIZE=({size})"), "MEMORY=128"]).into_device();
        assert!(matches!(device.sign_digest(slot(16), &[1; 32]), Err(DeviceError::InvalidReply { .. })), "{size}");
        let key = device.export_public_key(slot(16), Curve::P256);
        assert!(matches!(key, Err(DeviceError::InvalidReply { .. })), "{size}");
    }
    for size in ["-1", "2147483647", "65536"] {
        invalid(Fake::new(&[&format!("LIST_SIZE=({size})")]).into_device().allocated_slots(), "is no number of slots");
    }
    for capacity in ["-1", "0", "2147483647"] {
        let device = Fake::new(&[&format!("CAPACITY=({capacity})")]).into_device();
        assert!(matches!(device.allocated_slots(), Err(DeviceError::InvalidReply { .. })), "{capacity}");
    }
}

#[test]
fn k2_contents_that_are_wrong() {
    let device = Fake::new(&["ZEROS"]).into_device();
    invalid(device.sign_digest(slot(16), &[1; 32]), "zero");
    invalid(device.raw_ecdh(slot(16), &generator()), "zeros");
    invalid(device.export_public_key(slot(16), Curve::P256), "not on p256");
    invalid(Fake::new(&["OFF_CURVE"]).into_device().export_public_key(slot(16), Curve::P256), "not on p256");
    invalid(Fake::new(&[]).into_device().export_public_key(slot(16), Curve::Secp256k1), "not on secp256k1");
    invalid(Fake::new(&["SLOTS=16,16"]).into_device().allocated_slots(), "twice");
    invalid(Fake::new(&["SLOTS=16,-7"]).into_device().allocated_slots(), "-7 is no slot");
    invalid(Fake::new(&["SLOTS=16,2000000000"]).into_device().allocated_slots(), "2000000000 is no slot");
}

#[test]
fn k2_pointers_that_are_no_memory_of_malloc() {
    let device = Fake::new(&["MISALIGNED"]).into_device();
    invalid(device.sign_digest(slot(16), &[1; 32]), "malloc");
}

#[test]
fn k2_strings_that_are_wrong() {
    for (macros, says) in [
        (&["TEXT=\"\""][..], "empty"),
        (&["TEXT=\"a\\nb\""], "control characters"),
        (&["TEXT=\"\\xff\""], "UTF-8"),
        // Within what may be read, and beyond it.
        (&["UNENDING=24"], "does not end"),
        (&["UNENDING=100000"], "does not end"),
    ] {
        invalid(Fake::new(macros).into_device().identity(), says);
    }
    for (macros, says) in [
        (&["PATH=\"x\""][..], "not a path"),
        (&["PATH=\"m/4294967296\""], "not a path"),
        (&["NAME=\"\""], "wallet name is empty"),
        (&["NAME=\"a\\tb\""], "control characters"),
        (&["MASTER=-1"], "-1 is no slot"),
        (&["MASTER=2147483647"], "is no slot"),
    ] {
        invalid(Fake::new(macros).into_device().node_of_slot(slot(16)), says);
    }
    for (macros, says) in [
        (&["MNEMONIC=\"abandon\""][..], "1 words"),
        (&["MNEMONIC=\"\""], "words"),
        (&["UNENDING=4000"], "does not end"),
    ] {
        invalid(Fake::new(macros).into_device().create_wallet_bip39(Curve::P256, "w", ""), says);
    }
}

#[test]
fn k2_slots_that_are_wrong() {
    for number in ["65536", "2147483647"] {
        let device = Fake::new(&[&format!("SLOT={number}")]).into_device();
        invalid(device.create_wallet(Curve::P256, "w"), "is no slot");
        invalid(device.generate_child(slot(16), child()), "is no slot");
        invalid(device.slot_of_node(&DerivationPath::master(), "w"), "is no slot");
    }
    // An answer that all went well, and no slot.
    invalid(Fake::new(&["UNSET"]).into_device().slot_of_node(&DerivationPath::master(), "w"), "-1 is no slot");
}

#[test]
fn a_context_that_is_null_is_none() {
    let error = Fake::new(&["NO_CONTEXT"]).into_device().identity().unwrap_err();
    assert!(matches!(&error, DeviceError::Unreachable { maybe_done: false, .. }), "{error}");
    assert!(error.to_string().contains("NULL"), "{error}");
}

#[test]
fn g4_large_slots_never_reach_the_library() {
    let fake = Fake::new(&["CAPACITY=512", "SLOTS=0,16,527"]);
    let device = fake.device();
    for number in [0, 512, 527] {
        assert!(device.sign_digest(slot(number), &[1; 32]).is_ok(), "{number}");
    }
    for number in [528, 65_535, i32::MAX] {
        assert_eq!(
            device.sign_digest(slot(number), &[1; 32]),
            Err(DeviceError::Refused { call: "zkGenECDSASigFromDigest" }),
            "{number}"
        );
    }
    assert_eq!(fake.count("zkGenECDSASigFromDigest"), 3);
    // Known slots cost no question: one list before the first, one for each that was not known.
    assert_eq!(fake.count("zkGetAllocSlotsList"), 4);
}

#[test]
fn k1_names_that_c_cannot_take_are_refused_before_the_call() {
    let fake = Fake::new(&[]);
    let device = fake.device();
    for name in ["", "a\0b", "a\nb", &"a".repeat(256)] {
        assert!(
            matches!(device.create_wallet(Curve::P256, name), Err(DeviceError::InvalidArgument { .. })),
            "{name:?}"
        );
    }
    assert_eq!(fake.calls(), [""; 0]);
}

#[test]
fn a_library_without_a_function_is_named_with_it() {
    let fake = Fake::new(&["WITHOUT_REMOVE"]);
    let error = fake.device().identity().unwrap_err();
    assert!(matches!(error, DeviceError::Library { .. }), "{error}");
    let message = error.to_string();
    assert!(message.contains("zkRemoveKey") && message.contains(fake.path().to_str().unwrap()), "{message}");
}

#[test]
fn a_library_that_is_none_or_not_there_is_named() {
    let fake = Fake::new(&[]);
    std::fs::write(fake.path(), "no library").unwrap();
    let error = fake.device().identity().unwrap_err().to_string();
    assert!(error.contains(fake.path().to_str().unwrap()) && error.contains("device.library"), "{error}");
    std::fs::remove_file(fake.path()).unwrap();
    let error = fake.device().identity().unwrap_err();
    assert!(matches!(error, DeviceError::Library { .. }), "{error}");
    assert!(error.to_string().contains("No such file"), "{error}");
}

#[test]
fn k6_a_library_that_others_can_write_is_not_loaded() {
    use std::os::unix::fs::PermissionsExt;
    let fake = Fake::new(&[]);
    let device = fake.device();
    std::fs::set_permissions(fake.path(), PermissionsExt::from_mode(0o777)).unwrap();
    let error = device.identity().unwrap_err();
    assert!(matches!(&error, DeviceError::Library { reason, .. } if reason.contains("chmod go-w")), "{error}");
    assert_eq!(fake.calls(), [""; 0]);
    // Put right, it is used, without a new `Device`.
    std::fs::set_permissions(fake.path(), PermissionsExt::from_mode(0o755)).unwrap();
    device.identity().unwrap();
}

#[test]
fn j1_nothing_is_loaded_or_opened_before_the_first_call() {
    let fake = Fake::new(&[]);
    drop(fake.device());
    assert_eq!(fake.calls(), [""; 0]);
}

#[test]
fn i7_a_dead_connection_is_opened_again_once_for_a_question() {
    let fake = Fake::new(&["DEAD"]);
    let error = fake.device().sign_digest(slot(16), &[1; 32]).unwrap_err();
    assert!(matches!(&error, DeviceError::Unreachable { maybe_done: false, .. }), "{error}");
    assert!(error.to_string().contains("zkifc") && error.to_string().contains("zk_pkcs11"), "{error}");
    assert_eq!(fake.count("zkGenECDSASigFromDigest"), 2);
    assert_eq!((fake.count("zkOpen"), fake.count("zkClose")), (2, 2));
}

#[test]
fn i7_a_change_is_never_sent_twice() {
    let fake = Fake::new(&["DEAD"]);
    let device = fake.device();
    let error = device.create_wallet(Curve::P256, "w").unwrap_err();
    assert!(matches!(&error, DeviceError::Unreachable { maybe_done: true, .. }), "{error}");
    assert!(error.to_string().contains("may have been done"), "{error}");
    assert_eq!((fake.count("zkGenWalletMasterSeedWithBIP39"), fake.count("zkOpen")), (1, 1));
}

#[test]
fn g5_opening_is_bounded_in_time_and_number() {
    let fake = Fake::new(&["OPEN_AFTER=\"/nonexistent/file\""]);
    let (timeout, interval) = (Duration::from_millis(300), Duration::from_millis(100));
    let device = fake.device_with(timeout, interval);
    let started = Instant::now();
    assert!(matches!(device.identity(), Err(DeviceError::Unreachable { maybe_done: false, .. })));
    let took = started.elapsed();
    assert!(took >= Duration::from_millis(200) && took < Duration::from_secs(5), "{took:?}");
    let tries = fake.count("zkOpen");
    assert!((2..=4).contains(&tries), "{tries}");
    // Now it is known to be away: each call tries once, no sooner than the interval allows.
    let started = Instant::now();
    for _ in 0..3 {
        assert!(device.identity().is_err());
    }
    assert_eq!(fake.count("zkOpen"), tries + 3);
    assert!(started.elapsed() >= 2 * interval);
}

#[test]
fn g5_with_no_timeout_a_device_is_tried_once() {
    let fake = Fake::new(&["OPEN_AFTER=\"/nonexistent/file\""]);
    let device = fake.device_with(Duration::ZERO, Duration::from_secs(60));
    for _ in 0..3 {
        assert!(matches!(device.identity(), Err(DeviceError::Unreachable { .. })));
    }
    assert_eq!(fake.count("zkOpen"), 1);
}

#[test]
fn i7_the_next_call_after_the_device_came_back_works() {
    let directory = common::directory();
    let up = directory.path().join("up");
    let fake = Fake::new(&[&format!("OPEN_AFTER=\"{}\"", up.display())]);
    let device = fake.device_with(Duration::from_millis(50), Duration::from_millis(20));
    assert!(device.identity().is_err());
    std::fs::write(&up, "").unwrap();
    device.identity().unwrap();
    // One that comes back while a call waits for it is caught by that call.
    std::fs::remove_file(&up).unwrap();
    let device = fake.device_with(Duration::from_secs(60), Duration::from_millis(20));
    std::thread::scope(|scope| {
        let call = scope.spawn(|| device.identity());
        std::thread::sleep(Duration::from_millis(100));
        std::fs::write(&up, "").unwrap();
        call.join().unwrap().unwrap();
    });
}

#[test]
fn g5_many_threads_do_not_wait_one_after_another_for_a_dead_device() {
    let fake = Fake::new(&["OPEN_AFTER=\"/nonexistent/file\""]);
    let device = fake.device_with(Duration::from_millis(300), Duration::from_millis(50));
    let started = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..20 {
            scope.spawn(|| assert!(device.identity().is_err()));
        }
    });
    // Twenty times 300 ms would be six seconds.
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
}

#[test]
fn j3_one_call_at_a_time_reaches_the_device() {
    let fake = Fake::new(&["STALL=20"]);
    let device = fake.device();
    device.identity().unwrap();
    let started = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..5 {
            scope.spawn(|| device.sign_digest(slot(16), &[1; 32]).unwrap());
        }
    });
    assert!(started.elapsed() >= Duration::from_millis(100), "{:?}", started.elapsed());
    assert_eq!(fake.count("zkOpen"), 1);
}
