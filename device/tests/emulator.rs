//! The client on the emulated device: what it does when all is well, and when a call goes wrong.

mod common;

use common::emulated::{Emulated, with_emulator};
use holdfast_device::{Device, DeviceError, KeySlot, Verdict, WalletDevice, verdict};
use holdfast_wallet::bip39::Mnemonic;
use holdfast_wallet::hd::ExtendedPrivateKey;
use holdfast_wallet::{ChildNumber, Curve, DerivationPath};
use std::time::{Duration, Instant};
use zk_app_utils::behaviour::FaultKind;

const DIGEST: [u8; 32] = [7; 32];

fn hardened(index: u32) -> ChildNumber {
    ChildNumber::new(index, true).unwrap()
}

fn slot(number: i32) -> KeySlot {
    KeySlot::new(number).unwrap()
}

/// A wallet with one key, and every call of the interface on it, by the C function's name.
struct Bench<'a> {
    emulated: &'a Emulated,
    device: Device,
    master: KeySlot,
    key: KeySlot,
}

type Call<'a> = (&'static str, bool, Box<dyn Fn() -> Result<(), DeviceError> + 'a>);

impl<'a> Bench<'a> {
    fn new(emulated: &'a Emulated) -> Self {
        let device = emulated.device();
        let master = device.create_wallet(Curve::P256, "bench").unwrap();
        let key = device.generate_child(master, hardened(0)).unwrap();
        device.allocated_slots().unwrap();
        Self { emulated, device, master, key }
    }

    /// Name, whether it changes the device, and the call, which works any number of times.
    fn calls(&self) -> Vec<Call<'_>> {
        let device = &self.device;
        let path = DerivationPath::master().child(hardened(0));
        let peer = device.export_public_key(self.key, Curve::P256).unwrap();
        let count = std::cell::Cell::new(0_u32);
        let next = std::rc::Rc::new(count);
        let (names, children) = (next.clone(), next);
        vec![
            ("zkGetModelNumberString", false, Box::new(move || device.identity().map(drop))),
            ("zkGetFirmwareVersionString", false, Box::new(move || device.identity().map(drop))),
            ("zkGetSerialNumberString", false, Box::new(move || device.identity().map(drop))),
            ("zkGenECDSASigFromDigest", false, Box::new(move || device.sign_digest(self.key, &DIGEST).map(drop))),
            ("zkDoRawECDH", false, Box::new(move || device.raw_ecdh(self.key, &peer).map(drop))),
            ("zkExportPubKey", false, Box::new(move || device.export_public_key(self.key, Curve::P256).map(drop))),
            ("zkGetAllocSlotsList", false, Box::new(move || device.allocated_slots().map(drop))),
            ("zkGetWalletNodeAddrFromKeySlot", false, Box::new(move || device.node_of_slot(self.key).map(drop))),
            ("zkGetWalletKeySlotFromNodeAddr", false, Box::new(move || device.slot_of_node(&path, "bench").map(drop))),
            (
                "zkGenWalletMasterSeedWithBIP39",
                true,
                Box::new(move || {
                    names.set(names.get() + 1);
                    device.create_wallet(Curve::P256, &format!("bench-{}", names.get())).map(drop)
                }),
            ),
            (
                "zkGenWalletChildKey",
                true,
                Box::new(move || {
                    children.set(children.get() + 1);
                    device.generate_child(self.master, hardened(1000 + children.get())).map(drop)
                }),
            ),
            (
                "zkRemoveKey",
                true,
                // Of the keys this call finds beside the one it needs, the newest; a healthy one is made if need be.
                Box::new(move || {
                    let newest = || {
                        let slots = self.emulated.admin().slots().unwrap().slots;
                        slots.iter().map(|info| info.slot).filter(|&number| number > self.key.number()).max()
                    };
                    let victim = newest().expect("other calls made keys before");
                    device.remove_key(slot(victim)).map(drop)
                }),
            ),
        ]
    }
}

#[test]
fn the_life_of_a_key_on_both_curves() {
    with_emulator("the_life_of_a_key_on_both_curves", |emulated| {
        let device = emulated.device();
        let identity = device.identity().unwrap();
        assert_eq!(identity.firmware, "01.02.02release");
        assert_eq!(verdict(&identity).0, Verdict::Affected);
        let before = device.allocated_slots().unwrap();
        for curve in Curve::ALL {
            let name = format!("life-{curve}");
            let master = device.create_wallet(curve, &name).unwrap();
            let key = device.generate_child(master, hardened(3)).unwrap();
            let public = device.export_public_key(key, curve).unwrap();
            let signature = device.sign_digest(key, &DIGEST).unwrap();
            assert!(public.verify_prehash(&DIGEST, &signature));

            let other = device.generate_child(master, ChildNumber::new(4, false).unwrap()).unwrap();
            let other_public = device.export_public_key(other, curve).unwrap();
            let secret = device.raw_ecdh(key, &other_public).unwrap();
            assert_eq!(secret, device.raw_ecdh(other, &public).unwrap());

            let path = DerivationPath::master().child(hardened(3));
            let node = device.node_of_slot(key).unwrap();
            assert_eq!((node.path, node.wallet_name.as_str(), node.master_slot), (path.clone(), name.as_str(), master));
            assert_eq!(device.slot_of_node(&path, &name), Ok(key));
            device.remove_key(key).unwrap();
            let refused = |call| Some(DeviceError::Refused { call });
            assert_eq!(device.slot_of_node(&path, &name).err(), refused("zkGetWalletKeySlotFromNodeAddr"));
            assert_eq!(device.sign_digest(key, &DIGEST).err(), refused("zkGenECDSASigFromDigest"));
            assert_eq!(device.create_wallet(curve, &name).err(), refused("zkGenWalletMasterSeedWithBIP39"));
            device.remove_key(master).unwrap();
        }
        assert_eq!(device.allocated_slots().unwrap(), before);
    });
}

#[test]
fn k2_whatever_is_wrong_with_a_reply_is_seen_and_the_next_call_works() {
    with_emulator("k2_whatever_is_wrong_with_a_reply_is_seen_and_the_next_call_works", |emulated| {
        let bench = Bench::new(emulated);
        const TEXTS: [&str; 3] = ["zkGetModelNumberString", "zkGetFirmwareVersionString", "zkGetSerialNumberString"];
        for (name, _, call) in bench.calls() {
            let kinds: &[FaultKind] = match name {
                _ if TEXTS.contains(&name) => &[FaultKind::NullReply, FaultKind::ShortReply],
                "zkGenECDSASigFromDigest" => &[FaultKind::NullReply, FaultKind::ShortReply],
                "zkDoRawECDH" => &[FaultKind::NullReply],
                "zkExportPubKey" => &[FaultKind::NullReply, FaultKind::ShortReply, FaultKind::BadPoint],
                "zkGetAllocSlotsList" => &[FaultKind::NullReply, FaultKind::WrongSlot],
                "zkGetWalletNodeAddrFromKeySlot" => &[FaultKind::NullReply, FaultKind::WrongSlot],
                "zkGetWalletKeySlotFromNodeAddr" | "zkGenWalletMasterSeedWithBIP39" | "zkGenWalletChildKey" => {
                    &[FaultKind::WrongSlot]
                }
                _ => &[],
            };
            for &kind in kinds {
                emulated.fault(name, 1, kind);
                let error = call().unwrap_err();
                assert!(matches!(error, DeviceError::InvalidReply { call, .. } if call == name), "{kind}: {error}");
                emulated.assert_no_fault_left();
                call().unwrap();
            }
        }
    });
}

#[test]
fn i7_a_connection_that_dies_in_any_call_is_opened_again() {
    with_emulator("i7_a_connection_that_dies_in_any_call_is_opened_again", |emulated| {
        let bench = Bench::new(emulated);
        for (name, changes, call) in bench.calls() {
            emulated.fault(name, 1, FaultKind::Disconnect);
            match call() {
                Ok(()) => assert!(!changes, "{name} was sent twice"),
                Err(error) => {
                    assert!(changes, "{name}: {error}");
                    assert!(matches!(error, DeviceError::Unreachable { maybe_done: true, .. }), "{name}: {error}");
                }
            }
            emulated.assert_no_fault_left();
            call().unwrap_or_else(|error| panic!("{name}, the call after: {error}"));
        }
    });
}

#[test]
fn a_refusal_is_told_from_a_lost_connection_in_any_call() {
    with_emulator("a_refusal_is_told_from_a_lost_connection_in_any_call", |emulated| {
        let bench = Bench::new(emulated);
        for (name, _, call) in bench.calls() {
            emulated.fault(name, 1, FaultKind::Error);
            assert_eq!(call(), Err(DeviceError::Refused { call: name }));
            emulated.assert_no_fault_left();
            call().unwrap();
        }
    });
}

#[test]
fn i7_a_restart_or_reboot_between_calls_is_not_noticed_by_questions() {
    with_emulator("i7_a_restart_or_reboot_between_calls_is_not_noticed_by_questions", |emulated| {
        let bench = Bench::new(emulated);
        for (name, changes, call) in bench.calls() {
            if changes {
                continue;
            }
            emulated.admin().disconnect().unwrap();
            call().unwrap_or_else(|error| panic!("{name}: {error}"));
            emulated.admin().power_cycle().unwrap();
            call().unwrap_or_else(|error| panic!("{name}: {error}"));
        }
    });
}

#[test]
fn i7_a_device_that_is_away_for_a_while_is_waited_for() {
    with_emulator("i7_a_device_that_is_away_for_a_while_is_waited_for", |emulated| {
        let bench = Bench::new(emulated);
        emulated.fault("zkGenECDSASigFromDigest", 1, FaultKind::Disconnect);
        for after in 1..=3 {
            emulated.fault("zkOpen", after, FaultKind::Error);
        }
        bench.device.sign_digest(bench.key, &DIGEST).unwrap();
    });
}

#[test]
fn i7_a_call_that_hangs_for_a_while_ends_well_and_so_do_those_that_wait() {
    with_emulator("i7_a_call_that_hangs_for_a_while_ends_well_and_so_do_those_that_wait", |emulated| {
        let bench = Bench::new(emulated);
        emulated.fault("zkGenECDSASigFromDigest", 1, FaultKind::Hang(400));
        let started = Instant::now();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| bench.device.sign_digest(bench.key, &DIGEST).unwrap());
            }
        });
        assert!(started.elapsed() >= Duration::from_millis(400));
        emulated.assert_no_fault_left();
    });
}

#[test]
fn many_threads_share_a_device_whose_connection_keeps_dying() {
    with_emulator("many_threads_share_a_device_whose_connection_keeps_dying", |emulated| {
        let bench = Bench::new(emulated);
        let public = bench.device.export_public_key(bench.key, Curve::P256).unwrap();
        let (device, key) = (&bench.device, bench.key);
        std::thread::scope(|scope| {
            for thread in 0..6 {
                let public = &public;
                scope.spawn(move || {
                    for round in 0..20 {
                        let digest = [thread * 20 + round; 32];
                        let signature = device.sign_digest(key, &digest).unwrap();
                        assert!(public.verify_prehash(&digest, &signature));
                    }
                });
            }
            scope.spawn(|| {
                for _ in 0..10 {
                    std::thread::sleep(Duration::from_millis(10));
                    emulated.admin().disconnect().unwrap();
                }
            });
        });
    });
}

#[test]
fn a_device_without_state_is_unreachable_and_the_message_says_where_to_look() {
    with_emulator("a_device_without_state_is_unreachable_and_the_message_says_where_to_look", |emulated| {
        let device = Device::new(holdfast_device::DeviceConfig {
            library: emulated.library(),
            open_timeout: Duration::from_millis(50),
            retry_interval: Duration::from_millis(10),
        });
        let state = std::path::PathBuf::from(std::env::var_os("HOLDFAST_EMULATOR_STATE").unwrap());
        let away = state.with_file_name("away");
        std::fs::rename(&state, &away).unwrap();
        let error = device.identity().unwrap_err();
        assert!(matches!(error, DeviceError::Unreachable { maybe_done: false, .. }), "{error}");
        assert!(error.to_string().contains("zkifc") && error.to_string().contains("zk_pkcs11"), "{error}");
        std::fs::rename(&away, &state).unwrap();
        device.identity().unwrap();
    });
}

#[test]
fn words_and_passphrase_bring_the_keys_back_by_the_published_standards() {
    with_emulator("words_and_passphrase_bring_the_keys_back_by_the_published_standards", |emulated| {
        let device = emulated.device();
        for (curve, passphrase) in [(Curve::P256, ""), (Curve::P256, "password"), (Curve::Secp256k1, "correct horse")] {
            let name = format!("words-{curve}-{passphrase}");
            let (master, words) = device.create_wallet_bip39(curve, &name, passphrase).unwrap();
            let key = device.generate_child(master, hardened(5)).unwrap();
            let seed = Mnemonic::parse(&words).unwrap().seed(passphrase);
            let master = ExtendedPrivateKey::from_seed(curve.into(), seed.as_slice()).unwrap();
            let expected = master.derive_child(hardened(5)).unwrap().public_key();
            assert_eq!(device.export_public_key(key, curve).unwrap().coordinates()[..], expected[..], "{name}");
        }
    });
}
