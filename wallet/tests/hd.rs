//! Extended keys against the vectors of BIP32, SLIP-0010 and CIP-3, and against bip_utils.

mod common;

use std::str::FromStr;

use bip32::{ExtendedKey, XPrv, XPub};
use common::{hex, list, text, to_hex};
use holdfast_wallet::hd::{ExtendedPrivateKey, ExtendedPublicKey, HdCurve, HdError};
use holdfast_wallet::{ChildNumber, DerivationPath};
use proptest::prelude::{ProptestConfig, Strategy, any, prop, prop_assert_eq, proptest};
use serde_json::Value;

fn vectors(json: &str) -> Value {
    serde_json::from_str(json).expect("JSON")
}

fn compressed(public_key: &[u8]) -> Vec<u8> {
    match public_key.len() {
        64 => [&[2 + (public_key[63] & 1)], &public_key[..32]].concat(),
        _ => [&[0], public_key].concat(),
    }
}

fn path(text: &str) -> DerivationPath {
    text.parse().expect("a path")
}

/// The node's public key again, derived from its parent's public key, where the standard has that.
fn from_public_parent(master: &ExtendedPrivateKey, node: &DerivationPath) -> Option<ExtendedPublicKey> {
    let last = node.last().filter(|last| !last.is_hardened())?;
    let parent = master.derive_path(&node.parent()?).expect("the parent exists").extended_public_key();
    let parent =
        ExtendedPublicKey::new(parent.curve(), parent.public_key(), parent.chain_code()).expect("on the curve");
    Some(parent.derive_child(last).expect("the child exists"))
}

#[test]
fn bip32_test_vectors_1_to_4() {
    let vectors = vectors(include_str!("vectors/bip32.json"));
    assert_eq!(list(&vectors["valid"]).len(), 4);
    for vector in list(&vectors["valid"]) {
        let master = ExtendedPrivateKey::from_seed(HdCurve::Secp256k1, &hex(text(vector, "seed"))).unwrap();
        for node in list(&vector["nodes"]) {
            let path = path(text(node, "path"));
            let (xprv, xpub) =
                (XPrv::from_str(text(node, "xprv")).unwrap(), XPub::from_str(text(node, "xpub")).unwrap());
            let key = master.derive_path(&path).unwrap();
            assert_eq!(key.private_key(), &xprv.to_bytes(), "{path}");
            assert_eq!(key.chain_code(), &xprv.attrs().chain_code, "{path}");
            assert_eq!(compressed(&key.public_key()), xpub.to_bytes(), "{path}");
            assert_eq!(key.chain_code(), &xpub.attrs().chain_code, "{path}");
            if let Some(public) = from_public_parent(&master, &path) {
                assert_eq!(public, key.extended_public_key(), "{path}");
            }
        }
    }
}

/// Vector 5 is a list of serialised keys that must not be imported. We read no such serialisation: whatever the bip32
/// crate lets through must be refused when its parts are given to us.
#[test]
fn bip32_test_vector_5() {
    let vectors = vectors(include_str!("vectors/bip32.json"));
    let mut refused = Vec::new();
    for vector in list(&vectors["invalid"]) {
        let Ok(key) = text(vector, "key").parse::<ExtendedKey>() else {
            refused.push(text(vector, "why"));
            continue;
        };
        let accepted = match key.key_bytes {
            [0, secret @ ..] if key.prefix.is_private() => {
                ExtendedPrivateKey::from_parts(HdCurve::Secp256k1, &secret, &key.attrs.chain_code).is_ok()
            }
            point if key.prefix.is_public() => {
                ExtendedPublicKey::new(HdCurve::Secp256k1, &point, &key.attrs.chain_code).is_ok()
            }
            _ => false,
        };
        // Depth, fingerprint and index of the serialisation are no part of our keys.
        assert_eq!(accepted, text(vector, "why").starts_with("zero depth"), "{vector}");
        if !accepted {
            refused.push(text(vector, "why"));
        }
    }
    assert_eq!(refused.len(), 12);
}

#[test]
fn slip_0010_test_vectors() {
    let vectors = vectors(include_str!("vectors/slip-0010.json"));
    assert_eq!(list(&vectors).len(), 8);
    for vector in list(&vectors) {
        let curve = match text(vector, "curve") {
            "secp256k1" => HdCurve::Secp256k1,
            "nist256p1" => HdCurve::P256,
            "ed25519" => HdCurve::Ed25519,
            other => panic!("{other}"),
        };
        let master = ExtendedPrivateKey::from_seed(curve, &hex(text(vector, "seed"))).unwrap();
        for node in list(&vector["nodes"]) {
            let path = path(text(node, "path"));
            let title = format!("{}, {path}", text(vector, "title"));
            let key = master.derive_path(&path).unwrap();
            assert_eq!(to_hex(key.private_key()), text(node, "private"), "{title}");
            assert_eq!(to_hex(key.chain_code()), text(node, "chain_code"), "{title}");
            assert_eq!(to_hex(&compressed(&key.public_key())), text(node, "public"), "{title}");
            if let Some(public) = from_public_parent(&master, &path) {
                assert_eq!(public, key.extended_public_key(), "{title}");
            }
        }
    }
}

#[test]
fn cip_3_icarus_test_vectors() {
    for vector in list(&vectors(include_str!("vectors/icarus.json"))) {
        let words = bip39::Mnemonic::parse_normalized(text(vector, "words")).unwrap();
        let key = ExtendedPrivateKey::cardano_master(&words.to_entropy(), text(vector, "passphrase")).unwrap();
        assert_eq!(to_hex(&key.secret_bytes()) + &to_hex(key.chain_code()), text(vector, "master"));
        assert_eq!(key.private_key()[..], key.secret_bytes()[..32]);
    }
}

#[test]
fn agrees_with_bip_utils() {
    let vectors = vectors(include_str!("vectors/bip-utils.json"));
    assert_eq!(list(&vectors).len(), 168);
    for vector in list(&vectors) {
        let curve = HdCurve::ALL.into_iter().find(|curve| curve.to_string() == text(vector, "curve")).unwrap();
        let master = ExtendedPrivateKey::from_seed(curve, &hex(text(vector, "seed"))).unwrap();
        let path = path(text(vector, "path"));
        let key = master.derive_path(&path).unwrap();
        assert_eq!(to_hex(&key.secret_bytes()), text(vector, "private"), "{curve} {path}");
        assert_eq!(to_hex(key.chain_code()), text(vector, "chain_code"), "{curve} {path}");
        assert_eq!(to_hex(&key.public_key()), text(vector, "public"), "{curve} {path}");
        if let Some(public) = from_public_parent(&master, &path) {
            assert_eq!(public, key.extended_public_key(), "{curve} {path}");
        }
    }
}

#[test]
fn refuses_what_the_standards_do_not_have() {
    let (hardened, plain) = (ChildNumber::new(5, true).unwrap(), ChildNumber::new(5, false).unwrap());
    for curve in HdCurve::ALL {
        for length in [0, 15, 65] {
            let seed = vec![1; length];
            assert_eq!(ExtendedPrivateKey::from_seed(curve, &seed).err(), Some(HdError::SeedLength(length)));
        }
        let public = ExtendedPrivateKey::from_seed(curve, &[1; 32]).unwrap().extended_public_key();
        let error = public.derive_child(hardened).unwrap_err();
        if curve == HdCurve::Ed25519 {
            assert_eq!(error, HdError::NoPublicDerivation);
            assert_eq!(public.derive_child(plain), Err(HdError::NoPublicDerivation));
        } else {
            assert_eq!(error, HdError::HardenedFromPublic(hardened));
        }
        for length in [0, 31, 34, 63, 66] {
            let error = ExtendedPublicKey::new(curve, &vec![4; length], &[0; 32]).unwrap_err();
            assert_eq!(error, HdError::PublicKey(curve));
        }
    }
    let ed25519 = ExtendedPrivateKey::from_seed(HdCurve::Ed25519, &[1; 32]).unwrap();
    assert_eq!(ed25519.derive_child(plain).err(), Some(HdError::HardenedOnly(plain)));
}

#[test]
fn refuses_keys_that_are_zero_or_not_below_the_order() {
    let orders = [
        (HdCurve::Secp256k1, "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141"),
        (HdCurve::P256, "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551"),
    ];
    for (curve, order) in orders {
        let mut last = hex(order);
        *last.last_mut().unwrap() -= 1;
        assert!(ExtendedPrivateKey::from_parts(curve, &last, &[0; 32]).is_ok());
        for key in [vec![0; 32], hex(order), vec![0xff; 32], vec![1; 31], vec![1; 64]] {
            let error = ExtendedPrivateKey::from_parts(curve, &key, &[0; 32]).err();
            assert_eq!(error, Some(HdError::PrivateKey(curve)));
        }
    }
    // The order of Ed25519's group, little-endian: its public key would be the identity.
    let mut order = hex("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010");
    order.resize(64, 0);
    for key in [order, vec![0; 64], vec![1; 32]] {
        assert!(ExtendedPrivateKey::from_parts(HdCurve::Ed25519Cardano, &key, &[0; 32]).is_err());
    }
    // The identity and a point of order 8.
    for point in [
        "0100000000000000000000000000000000000000000000000000000000000000",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    ] {
        assert!(ExtendedPublicKey::new(HdCurve::Ed25519Cardano, &hex(point), &[0; 32]).is_err());
    }
}

fn curves() -> impl Strategy<Value = HdCurve> {
    prop::sample::select(HdCurve::ALL.as_slice())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn public_and_private_derivation_agree(
        curve in curves(), seed in any::<[u8; 32]>(), account: u32, index in 0_u32..1 << 31,
    ) {
        let child = ChildNumber::new(index, curve == HdCurve::Ed25519).unwrap();
        let account = ChildNumber::from_bits(account | 1 << 31);
        let parent = ExtendedPrivateKey::from_seed(curve, &seed).unwrap().derive_child(account).unwrap();
        let private = parent.derive_child(child).unwrap();
        if curve != HdCurve::Ed25519 {
            let public = parent.extended_public_key().derive_child(child).unwrap();
            prop_assert_eq!(&public, &private.extended_public_key());
            prop_assert_eq!(public.public_key(), private.public_key());
        }
        let again = ExtendedPrivateKey::from_parts(curve, &private.secret_bytes(), private.chain_code()).unwrap();
        prop_assert_eq!(again.extended_public_key(), private.extended_public_key());
    }

    #[test]
    fn every_form_of_a_public_key_is_read(curve in curves(), seed in any::<[u8; 32]>()) {
        let public = ExtendedPrivateKey::from_seed(curve, &seed).unwrap().extended_public_key();
        let raw = public.public_key();
        let forms = match curve.ecdsa() {
            Some(_) => vec![raw.to_vec(), compressed(raw), [&[4], raw].concat()],
            None => vec![raw.to_vec()],
        };
        for form in forms {
            let read = ExtendedPublicKey::new(curve, &form, public.chain_code());
            prop_assert_eq!(read.as_ref(), Ok(&public));
        }
    }

    #[test]
    fn a_path_is_its_steps_one_by_one(curve in curves(), seed in any::<[u8; 16]>(), steps in prop::collection::vec(any::<u32>(), 0..4)) {
        let steps = steps.into_iter().map(|bits| ChildNumber::from_bits(bits | u32::from(curve == HdCurve::Ed25519) << 31));
        let path: DerivationPath = steps.collect();
        let master = ExtendedPrivateKey::from_seed(curve, &seed).unwrap();
        let at_once = master.derive_path(&path).unwrap();
        let one_by_one = path.steps().iter().fold(master, |node, &step| node.derive_child(step).unwrap());
        prop_assert_eq!(at_once.secret_bytes(), one_by_one.secret_bytes());
        prop_assert_eq!(at_once.chain_code(), one_by_one.chain_code());
    }
}
