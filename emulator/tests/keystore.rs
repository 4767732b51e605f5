//! The key store through the C ABI: what each kind of key does, and what a power cycle leaves of it.

mod common;

use common::{Client, TempDevice, openssl_verifies, role};
use openssl::nid::Nid;

const P256: i32 = 0;
const SECP256K1: i32 = 1;
const ED25519: i32 = 2;
const X25519: i32 = 3;

/// Runs `body` in a child process that has the device in its environment.
fn in_child(test: &str, device: &TempDevice, body: impl FnOnce(&Client)) {
    if role().is_some() {
        body(&Client::open().expect("the device opens"));
        return;
    }
    let output = device.role(test, "client").output().expect("the test runs again");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"), "the child ran no test");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(said.matches("EMULATED Zymbit device").count(), 1, "it says once that it is an emulation: {said}");
}

#[test]
fn every_type_of_key_does_what_it_can() {
    let device = TempDevice::new(&[]);
    in_child("every_type_of_key_does_what_it_can", &device, |client| {
        let digest = [0xa5; 32];
        for (key_type, nid, len) in
            [(P256, Some(Nid::X9_62_PRIME256V1), 64), (SECP256K1, Some(Nid::SECP256K1), 64), (ED25519, None, 32)]
        {
            let slot = client.generate(key_type);
            let public = client.export(slot, false).expect("an exported key");
            assert_eq!(public.len(), len);
            // Often enough to meet a high and a low s.
            for _ in 0..16 {
                let (signature, recovery) = client.sign_with_recovery(slot, &digest).expect("a signature");
                assert_eq!(signature.len(), 64);
                assert!(recovery < 4);
                assert_eq!(client.verify(slot, &digest, &signature), 1);
                assert_eq!(client.verify(slot, &[0; 32], &signature), 0);
                assert_eq!(client.verify(slot, &digest, &signature[..63]), -1);
                if let Some(nid) = nid {
                    assert!(openssl_verifies(nid, &public, &digest, &signature));
                }
            }
        }
        let slot = client.generate(X25519);
        assert_eq!(client.sign(slot, &digest), Err(-1));
        assert_eq!(client.generate(4), -1);
    });
}

#[test]
fn the_recovery_id_recovers_the_public_key() {
    let device = TempDevice::new(&[]);
    in_child("the_recovery_id_recovers_the_public_key", &device, |client| {
        let slot = client.generate(SECP256K1);
        let public = client.export(slot, false).expect("an exported key");
        let mut high = 0;
        for n in 0..64_u8 {
            let digest = [n; 32];
            let (bytes, recovery) = client.sign_with_recovery(slot, &digest).expect("a signature");
            let signature = k256::ecdsa::Signature::from_slice(&bytes).expect("r and s");
            // The crate recovers from low-s signatures only; n-s goes with the other parity.
            let low = signature.normalize_s();
            let flipped = low != signature;
            high += i32::from(flipped);
            let id = k256::ecdsa::RecoveryId::from_byte(recovery ^ u8::from(flipped)).expect("0 to 3");
            let key = k256::ecdsa::VerifyingKey::recover_from_prehash(&digest, &low, id).expect("a key");
            assert_eq!(&key.to_sec1_point(false).as_bytes()[1..], public);
        }
        assert!((1..64).contains(&high), "{high} of 64 signatures have a high s");
    });
}

#[test]
fn both_sides_of_ecdh_agree() {
    let device = TempDevice::new(&[]);
    in_child("both_sides_of_ecdh_agree", &device, |client| {
        for key_type in [P256, SECP256K1, X25519] {
            let (a, b) = (client.generate(key_type), client.generate(key_type));
            let (public_a, public_b) = (client.export(a, false).expect("a"), client.export(b, false).expect("b"));
            let secret = client.ecdh(a, &public_b).expect("a secret");
            assert_eq!(client.ecdh(b, &public_a), Ok(secret));
            let mut wrong = public_b;
            wrong[if key_type == X25519 { 0 } else { 63 }] ^= 1;
            assert_eq!(client.ecdh(a, &wrong).is_ok(), key_type == X25519, "a point off the curve");
        }
        assert_eq!(client.ecdh(client.generate(X25519), &[0; 32]), Err(-1), "a point of small order");
        let ed25519 = client.generate(ED25519);
        let public = client.export(ed25519, false).expect("a key");
        assert_eq!(client.ecdh(ed25519, &public), Err(-1));
    });
}

#[test]
fn the_ephemeral_key_is_slot_minus_one() {
    let device = TempDevice::new(&[]);
    in_child("the_ephemeral_key_is_slot_minus_one", &device, |client| {
        assert_eq!(client.sign(-1, &[1; 32]), Err(-1));
        assert_eq!(client.generate_ephemeral(P256), 0);
        let public = client.export(-1, false).expect("a key");
        let secret = client.ecdh(-1, &client.export(0, false).expect("a factory key")).expect("a secret");
        assert_eq!(client.ecdh(0, &public), Ok(secret));
        assert_eq!(client.generate_ephemeral(P256), 0);
        assert_ne!(client.export(-1, false).expect("a key"), public);
    });
    if role().is_none() {
        assert!(device.used_slots().contains(&-1));
        device.emulator(&["power-cycle"]);
        assert!(!device.used_slots().contains(&-1));
    }
}

#[test]
fn foreign_keys_have_their_own_numbers_and_end_at_128() {
    let device = TempDevice::new(&[]);
    in_child("foreign_keys_have_their_own_numbers_and_end_at_128", &device, |client| {
        let own = client.export(0, false).expect("a factory key");
        assert_eq!(client.store_foreign(P256, &own[..63]), -1);
        assert_eq!(client.store_foreign(P256, &[7; 64]), -1, "not on the curve");
        for expected in 0..128 {
            assert_eq!(client.store_foreign(P256, &own), expected);
        }
        assert_eq!(client.store_foreign(P256, &own), -1);
        assert_eq!(client.remove(77, true), 0);
        assert_eq!(client.store_foreign(P256, &own), 77);
        assert_eq!(client.export(77, true), Ok(own));
        assert_eq!(client.disable_export(77, true), 0);
        assert_eq!(client.export(77, true), Err(-1));
        assert_eq!(client.allocated(true).expect("a list").0, 128);
    });
}

#[test]
fn slots_are_given_out_from_sixteen_lowest_first() {
    let device = TempDevice::new(&["--slots", "4"]);
    in_child("slots_are_given_out_from_sixteen_lowest_first", &device, |client| {
        assert_eq!((0..5).map(|_| client.generate(P256)).collect::<Vec<_>>(), [16, 17, 18, 19, -1]);
        assert_eq!(client.remove(17, false), 0);
        assert_eq!(client.sign(17, &[0; 32]), Err(-1));
        assert_eq!(client.generate(SECP256K1), 17);
        assert_eq!(client.remove(99, false), -1);
        assert_eq!(client.remove(0, false), -1, "factory keys stay");
        let (max, slots) = client.allocated(false).expect("a list");
        assert_eq!((max, slots), (20, (0..20).collect()));
    });
}

#[test]
fn disabling_export_is_for_good_and_leaves_the_rest() {
    let device = TempDevice::new(&[]);
    in_child("disabling_export_is_for_good_and_leaves_the_rest", &device, |client| {
        let slot = client.generate(P256);
        let public = client.export(slot, false).expect("a key");
        assert_eq!(client.disable_export(slot, false), 0);
        assert_eq!(client.export(slot, false), Err(-1));
        let signature = client.sign(slot, &[9; 32]).expect("a signature");
        assert_eq!(client.verify(slot, &[9; 32], &signature), 1);
        assert!(openssl_verifies(Nid::X9_62_PRIME256V1, &public, &[9; 32], &signature));
        assert_eq!(client.disable_export(200, false), -1);
    });
}

#[test]
fn public_keys_in_pem_are_what_openssl_reads() {
    let device = TempDevice::new(&[]);
    in_child("public_keys_in_pem_are_what_openssl_reads", &device, |client| {
        let directory = tempfile::tempdir().expect("a directory");
        for (key_type, id) in [
            (P256, openssl::pkey::Id::EC),
            (SECP256K1, openssl::pkey::Id::EC),
            (ED25519, openssl::pkey::Id::ED25519),
            (X25519, openssl::pkey::Id::X25519),
        ] {
            let (slot, file) = (client.generate(key_type), directory.path().join(key_type.to_string()));
            assert_eq!(client.export_pem(&file, slot), 0);
            let pem = std::fs::read(file).expect("a file");
            let key = openssl::pkey::PKey::public_key_from_pem(&pem).expect("PEM of a public key");
            assert_eq!(key.id(), id);
            let raw = client.export(slot, false).expect("a key");
            let der = key.public_key_to_der().expect("DER");
            assert!(der.ends_with(&raw));
        }
        assert_eq!(client.export_pem(std::path::Path::new("/nonexistent/x"), 0), -1);
    });
}

#[test]
fn a_power_cycle_loses_generated_keys_on_the_affected_firmware_only() {
    for (model, firmware, lost) in [
        ("SCM", "01.02.02release", true),
        ("SCM", "01.02.02", false),
        ("SCM", "01.02.02release ", false),
        ("SCM", "01.00.00", false),
        ("SCM", "01.02.03release", false),
        ("HSM6", "01.02.02release", false),
    ] {
        let device = TempDevice::new(&["--model", model, "--firmware", firmware]);
        let test = "a_power_cycle_loses_generated_keys_on_the_affected_firmware_only";
        in_child(test, &device, |client| {
            assert!(client.firmware().is_ok_and(|firmware| firmware.starts_with("01.0")));
            assert_eq!(client.generate(P256), 16);
            assert_eq!(client.create_wallet(P256, "w"), 17);
            assert_eq!(client.child(17, 0, true), 18);
            let key = client.export(0, false).expect("a factory key");
            assert_eq!(client.store_foreign(P256, &key), 0);
        });
        if role().is_some() {
            return;
        }
        assert_eq!(device.slot(16)["volatile"], lost, "{model} {firmware}");
        let before = device.slot(18);
        assert_eq!(
            device.emulator(&["power-cycle"])["lost"],
            if lost { serde_json::json!([16]) } else { serde_json::json!([]) }
        );
        let used = device.used_slots();
        assert_eq!(used.contains(&16), !lost, "{model} {firmware}");
        assert!(used.contains(&0) && used.contains(&17) && used.contains(&18));
        assert_eq!(device.slot(18), before);
        assert_eq!(device.emulator(&["slots"])["foreign"].as_array().map(Vec::len), Some(1));
    }
}

#[test]
fn a_power_cycle_or_a_disconnection_ends_every_context() {
    let device = TempDevice::new(&["--firmware", "01.00.00"]);
    let name = "a_power_cycle_or_a_disconnection_ends_every_context";
    if role().is_some() {
        let state = std::env::var("HOLDFAST_EMULATOR_STATE").expect("a device");
        for verb in ["power-cycle", "disconnect"] {
            let (old, other) = (Client::open().expect("opens"), Client::open().expect("opens"));
            assert!(old.generate(P256) >= 16);
            let status = std::process::Command::new(env!("CARGO_BIN_EXE_holdfast-emulator"))
                .args(["--state", &state, verb])
                .status();
            assert!(status.expect("runs").success());
            assert_eq!((old.generate(P256), old.sign(0, &[0; 32]), old.firmware()), (-1, Err(-1), Err(-1)));
            assert_eq!(other.sign(0, &[0; 32]), Err(-1));
            let new = Client::open().expect("opens again");
            assert!(new.sign(0, &[0; 32]).is_ok());
            assert_eq!(old.close(), 0, "a lost context can still be closed");
            assert_eq!(old.close(), -1, "once");
        }
        return;
    }
    in_child(name, &device, |_| unreachable!("the child returned above"));
}

#[test]
fn without_a_device_nothing_opens() {
    let device = TempDevice::new(&[]);
    if role().is_some() {
        assert_eq!(Client::open().err(), Some(-1));
        return;
    }
    let empty = tempfile::tempdir().expect("a directory");
    for state in [Some(empty.path()), None, Some(std::path::Path::new(""))] {
        let mut command = device.role("without_a_device_nothing_opens", "client");
        match state {
            Some(path) => command.env("HOLDFAST_EMULATOR_STATE", path),
            None => command.env_remove("HOLDFAST_EMULATOR_STATE"),
        };
        let output = command.output().expect("runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        assert!(!String::from_utf8_lossy(&output.stderr).contains("EMULATED"));
    }
}
