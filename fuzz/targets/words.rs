//! What people type: recovery words, SLIP39 shares, derivation paths, PKCS#11 URIs.
#![no_main]

// The command line is a program, not a library.
#[path = "../../cli/src/uri.rs"]
#[allow(dead_code)]
mod uri;

use holdfast_wallet::DerivationPath;
use holdfast_wallet::bip39::Mnemonic;
use holdfast_wallet::slip39::{Combiner, Share};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(mnemonic) = Mnemonic::parse(text) {
        let phrase = mnemonic.phrase();
        let again = Mnemonic::parse(&phrase).expect("what was read can be read again");
        assert_eq!(*again.entropy(), *mnemonic.entropy());
    }
    if let Ok(share) = Share::parse(text) {
        let again = Share::parse(&share.mnemonic()).expect("what was read can be read again");
        assert_eq!((again.identifier(), again.value()), (share.identifier(), share.value()));
    }
    let mut combiner = Combiner::new();
    for line in text.lines() {
        let _ = combiner.add_mnemonic(line);
    }
    if !combiner.progress().is_complete() {
        assert!(combiner.secret("").is_err());
    }
    if let Ok(path) = text.parse::<DerivationPath>() {
        assert_eq!(path.to_string().parse().ok(), Some(path));
    }
    if let Ok(uri) = uri::Uri::parse(text) {
        assert!(uri::Uri::is_uri(text));
        if let Some(id) = &uri.id {
            let written = format!("pkcs11:id={}", uri::encode(id, true));
            assert_eq!(uri::Uri::parse(&written).map(|uri| uri.id), Ok(Some(id.clone())));
        }
    }
});
