//! Wallets through the C ABI: the rules that the vendor documents, and what a power cycle leaves.

mod common;

use common::{Client, TempDevice, role};

const P256: i32 = 0;
const SECP256K1: i32 = 1;
const ED25519: i32 = 2;
const X25519: i32 = 3;

/// Runs `body` in a child process that has the device in its environment, and says whether this process is that child.
fn in_child(test: &str, device: &TempDevice, body: impl FnOnce(&Client)) -> bool {
    if role().is_some() {
        body(&Client::open().expect("the device opens"));
        return true;
    }
    let output = device.role(test, "client").output().expect("the test runs again");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
    false
}

#[test]
fn removing_a_node_removes_what_was_derived_from_it_and_nothing_else() {
    let device = TempDevice::new(&[]);
    in_child("removing_a_node_removes_what_was_derived_from_it_and_nothing_else", &device, |client| {
        let master = client.create_wallet(P256, "w");
        let other = client.create_wallet(P256, "w2");
        let a = client.child(master, 1, true);
        let aa = client.child(a, 1, false);
        let aaa = client.child(aa, 5, true);
        let b = client.child(master, 1, false);
        let c = client.child(other, 1, true);
        assert_eq!(client.node(aaa), Ok(("m/1'/1/5'".into(), "w".into(), master)));
        assert_eq!(client.remove(a, false), 0);
        assert_eq!([a, aa, aaa].map(|slot| client.node(slot).is_ok()), [false; 3]);
        assert_eq!([master, other, b, c].map(|slot| client.node(slot).is_ok()), [true; 4]);
        assert_eq!(client.slot_of("m/1'", Some("w"), 0), Err(-1));
        assert_eq!(client.child(master, 1, true), a, "the lowest free slot is given out again");
        assert_eq!(client.remove(master, false), 0);
        assert_eq!([master, a, b].map(|slot| client.node(slot).is_ok()), [false; 3]);
        assert_eq!(client.node(c).map(|(path, ..)| path), Ok("m/1'".into()));
        assert_eq!(client.create_wallet(P256, "w"), master, "the name is free again");
    });
}

#[test]
fn what_makes_no_wallet_and_no_child() {
    let device = TempDevice::new(&["--slots", "4"]);
    in_child("what_makes_no_wallet_and_no_child", &device, |client| {
        for name in ["", "tab\t", "\u{fc}", &"x".repeat(129)] {
            assert_eq!(client.create_wallet(P256, name), -1, "{name:?}");
        }
        assert_eq!(client.create_wallet(X25519, "w"), -1);
        let master = client.create_wallet(P256, "w");
        assert_eq!(client.create_wallet(SECP256K1, "w"), -1, "names are unique");
        assert_eq!(client.export(master, false), Err(-1));
        assert_eq!(client.sign(master, &[1; 32]), Err(-1));
        let child = client.child(master, 0, true);
        assert_eq!(client.child(master, 0, true), -1, "the node exists");
        assert_eq!(client.child(master, 1 << 31, true), -1);
        assert_eq!(client.child(0, 0, true), -1, "a factory key is in no wallet");
        assert_eq!(client.child(99, 0, true), -1);
        assert_eq!(client.child_with_chain_code(master, 1, false), Err(-1));
        let (hardened, code) = client.child_with_chain_code(master, 1, true).expect("a child");
        assert_eq!((client.generate(P256), client.child(master, 2, true)), (19, -1), "four slots are four slots");
        assert_eq!(client.create_wallet(P256, "w2"), -1);
        assert_eq!(client.remove(hardened, false), 0);
        assert_eq!(client.child_with_chain_code(master, 1, true), Ok((hardened, code)), "the same child again");
        let digest = [7; 32];
        let signature = client.sign(child, &digest).expect("a signature");
        assert_eq!(client.verify(child, &digest, &signature), 1);
    });
}

#[test]
fn an_open_slip39_session_locks_wallets_until_it_ends() {
    let device = TempDevice::new(&[]);
    let child = in_child("an_open_slip39_session_locks_wallets_until_it_ends", &device, |client| {
        let master = client.create_wallet(P256, "w");
        assert_eq!(client.add_member(""), (-1, None), "no session");
        assert_eq!(client.set_group(0, 1, 1), -1);
        assert_eq!(client.open_slip39(P256, "s", 2, 1, ""), 0);
        assert_eq!(client.add_member(""), (-1, None), "no group yet");
        assert_eq!(client.create_wallet(P256, "x"), -1);
        assert_eq!(client.create_wallet_bip39(P256, "x", &[], ""), Err(-1));
        assert_eq!(client.open_slip39(P256, "x", 1, 1, ""), -1);
        assert_eq!(client.child(master, 0, true), -1);
        assert_eq!(client.add_share("", "word"), -1, "a session of the other kind");
        assert!(client.generate(P256) > 0, "key pairs outside wallets go on");
        assert_eq!(client.set_group(0, 2, 2), 0);
        let (answer, words) = client.add_member("");
        assert!(answer == -1 && words.is_some_and(|words| words.split(' ').count() == 33));
        assert_eq!(client.set_group(1, 1, 1), -1, "the first group is not complete");
    });
    if child {
        return;
    }
    assert_eq!(device.emulator(&["show"])["slip39_session"], true, "the session outlives its process");
    device.emulator(&["power-cycle"]);
    assert_eq!(device.emulator(&["show"])["slip39_session"], false);
    assert_eq!(device.slot(16)["wallet"], "w");
}

#[test]
fn the_hsm6_takes_fourteen_groups_and_has_twelve_factory_keys() {
    let device = TempDevice::new(&["--model", "HSM6"]);
    in_child("the_hsm6_takes_fourteen_groups_and_has_twelve_factory_keys", &device, |client| {
        assert_eq!(client.allocated(false), Ok((524, (0..12).collect())));
        assert_eq!(client.open_slip39(P256, "s", 15, 1, ""), -1);
        assert_eq!(client.open_slip39(P256, "s", 14, 1, ""), 0);
        assert_eq!(client.set_group(0, 15, 2), -1);
        assert_eq!(client.set_group(0, 14, 2), 0);
    });
}

#[test]
fn seeds_come_back_from_words_and_shares_without_their_children() {
    let device = TempDevice::new(&[]);
    in_child("seeds_come_back_from_words_and_shares_without_their_children", &device, |client| {
        for key_type in [P256, SECP256K1, ED25519] {
            let (master, words) = client.create_wallet_bip39(key_type, "w", b"key", "pass").expect("a wallet");
            let public = client.export(client.child(master, 5, true), false);
            assert!(public.is_ok());
            assert_eq!(client.remove(master, false), 0);
            let wrong = words.replacen(' ', "  ", 1).replacen(words.split(' ').next().expect("a word"), "zzz", 1);
            assert_eq!(client.restore_bip39(key_type, "w", b"key", "pass", &wrong), -1);
            assert_eq!(client.restore_bip39(key_type, "w", b"key", "pass", &words), master);
            assert_eq!(client.slot_of("m/5'", Some("w"), 0), Err(-1));
            assert_eq!(client.export(client.child(master, 5, true), false), public);
            assert_eq!(client.remove(master, false), 0);

            assert_eq!(client.open_slip39(key_type, "w", 1, 1, "secret"), 0);
            assert_eq!(client.set_group(0, 3, 2), 0);
            let shares: Vec<_> = ["", "alpha", "beta"].map(|password| (password, client.add_member(password))).into();
            let master = shares[2].1.0;
            assert_eq!([shares[0].1.0, shares[1].1.0], [-1, -1]);
            let public = client.export(client.child(master, 5, true), false);
            assert_eq!(client.remove(master, false), 0);
            let feed =
                |index: usize, password: &str| client.add_share(password, shares[index].1.1.as_deref().expect("words"));
            assert_eq!(client.restore_slip39(key_type, "w", "secret"), -1);
            assert_eq!([feed(1, "alpha"), feed(2, "gamma"), feed(1, "alpha")], [-1; 3]);
            assert_eq!(feed(2, "beta"), master);
            assert_eq!(client.export(client.child(master, 5, true), false), public);
            assert_eq!(client.remove(master, false), 0);
            // Another passphrase gives another seed, as the standard means it.
            assert_eq!(client.restore_slip39(key_type, "w", "public"), -1);
            assert_eq!((feed(0, ""), feed(2, "beta")), (-1, master));
            assert_ne!(client.export(client.child(master, 5, true), false), public);
            assert_eq!(client.remove(master, false), 0);
        }
    });
}

#[test]
fn wallets_survive_power_cycles_on_every_firmware() {
    for firmware in ["01.02.02release", "01.00.00"] {
        let device = TempDevice::new(&["--firmware", firmware]);
        let child = in_child("wallets_survive_power_cycles_on_every_firmware", &device, |client| {
            let master = client.create_wallet(SECP256K1, "w");
            let (node, code) = client.child_with_chain_code(master, 0, true).expect("a child");
            let public = client.export(node, false).expect("a key");
            let oversight = client.oversight(SECP256K1, "o", &public, &code, "m/0'");
            assert!(client.child(node, 0, false) > 0 && client.child(oversight, 0, false) > 0);
        });
        if child {
            return;
        }
        let before = device.emulator(&["slots"]);
        assert_eq!(before["slots"].as_array().map(Vec::len), Some(21));
        for _ in 0..3 {
            device.emulator(&["power-cycle"]);
        }
        assert_eq!(device.emulator(&["slots"]), before);
    }
}

#[test]
fn a_device_can_be_made_that_answers_the_slot_of_an_existing_node() {
    let device = TempDevice::new(&["--existing-node", "answer", "--allocation", "rotating", "--slots", "5"]);
    in_child("a_device_can_be_made_that_answers_the_slot_of_an_existing_node", &device, |client| {
        let master = client.create_wallet(P256, "w");
        let (child, code) = client.child_with_chain_code(master, 0, true).expect("a child");
        assert_eq!(client.child_with_chain_code(master, 0, true), Ok((child, code)));
        assert_eq!((master, child), (16, 17));
        assert_eq!(client.remove(child, false), 0);
        assert_eq!((0..4).map(|_| client.generate(P256)).collect::<Vec<_>>(), [18, 19, 20, 17]);
        assert_eq!(client.generate(P256), -1);
    });
}
