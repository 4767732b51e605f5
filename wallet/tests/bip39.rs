//! BIP39 against the published vectors and against python-mnemonic.

mod common;

use std::str::FromStr;

use bip32::XPrv;
use common::{hex, list, text, to_hex};
use holdfast_wallet::bip39::{Bip39Error, Mnemonic};
use holdfast_wallet::hd::{ExtendedPrivateKey, HdCurve};
use proptest::prelude::{any, prop, prop_assert, prop_assert_eq, proptest};
use serde_json::Value;

fn agree(vector: &Value, passphrase: &str) -> Mnemonic {
    let words = Mnemonic::from_entropy(&hex(text(vector, "entropy"))).unwrap();
    assert_eq!(*words.phrase(), text(vector, "words"));
    let parsed = Mnemonic::parse(text(vector, "words")).unwrap();
    assert_eq!(to_hex(&parsed.entropy()), text(vector, "entropy"));
    assert_eq!(to_hex(&*parsed.seed(passphrase)), text(vector, "seed"));
    parsed
}

#[test]
fn bip39_test_vectors() {
    let vectors: Value = serde_json::from_str(include_str!("vectors/bip39.json")).unwrap();
    assert_eq!(list(&vectors).len(), 24);
    for vector in list(&vectors) {
        let words = agree(vector, "TREZOR");
        let master = ExtendedPrivateKey::from_seed(HdCurve::Secp256k1, &*words.seed("TREZOR")).unwrap();
        let expected = XPrv::from_str(text(vector, "xprv")).unwrap();
        assert_eq!(master.private_key(), &expected.to_bytes());
        assert_eq!(master.chain_code(), &expected.attrs().chain_code);
    }
}

#[test]
fn agrees_with_python_mnemonic() {
    let vectors: Value = serde_json::from_str(include_str!("vectors/python-mnemonic.json")).unwrap();
    assert_eq!(list(&vectors).len(), 20);
    for vector in list(&vectors) {
        agree(vector, text(vector, "passphrase"));
    }
}

#[test]
fn says_which_word_is_wrong() {
    let words = "legal winner thank year wave sausage worth useful legal winner thank yellow";
    assert!(Mnemonic::parse(words).is_ok());
    assert!(
        Mnemonic::parse("  Legal WINNER thank\tyear wave sausage\n worth useful legal winner thank yellow\n").is_ok()
    );
    let error = |words: &str| Mnemonic::parse(words).unwrap_err();
    assert_eq!(error(&words.replace("sausage", "sossage")), Bip39Error::UnknownWord(6));
    assert_eq!(error(&words.replace("yellow", "year")), Bip39Error::Checksum);
    assert_eq!(error(&words.replace("legal winner thank year", "winner legal thank year")), Bip39Error::Checksum);
    assert_eq!(error(&words.replace(" yellow", "")), Bip39Error::WordCount(11));
    assert_eq!(error(""), Bip39Error::WordCount(0));
    assert_eq!(Mnemonic::from_entropy(&[0; 17]).unwrap_err(), Bip39Error::EntropyLength(17));
    assert_eq!(Mnemonic::from_entropy(&[0; 36]).unwrap_err(), Bip39Error::EntropyLength(36));
}

#[test]
fn shows_no_word() {
    let words = Mnemonic::from_entropy(&[0; 32]).unwrap();
    assert_eq!(format!("{words:?}"), "Mnemonic(24 words)");
    let typed = words.phrase().replacen("abandon", "abandom", 1);
    assert!(!Mnemonic::parse(&typed).unwrap_err().to_string().contains("abando"));
}

proptest! {
    #[test]
    fn words_and_entropy_are_one(length in prop::sample::select(vec![16_usize, 20, 24, 28, 32]), bytes in any::<[u8; 32]>()) {
        let words = Mnemonic::from_entropy(&bytes[..length]).unwrap();
        prop_assert_eq!(words.words().count(), length / 4 * 3);
        let again = Mnemonic::parse(&words.phrase()).unwrap();
        prop_assert_eq!(&again.entropy()[..], &bytes[..length]);
    }

    #[test]
    fn any_text_is_parsed_or_refused(words in "[a-z ]{0,200}") {
        prop_assert!(Mnemonic::parse(&words).is_err());
    }
}
