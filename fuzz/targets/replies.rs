//! What a device may answer: every reply is refused or is what it should be.
#![no_main]

use holdfast_device::reply;
use holdfast_wallet::Curve;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|reply: (u8, &[u8])| {
    let (what, bytes) = reply;
    let numbers: Vec<i32> =
        bytes.chunks_exact(4).map(|four| i32::from_ne_bytes([four[0], four[1], four[2], four[3]])).collect();
    let number = numbers.first().copied().unwrap_or(0);
    match what % 9 {
        0 => {
            if let Ok(signature) = reply::signature(bytes) {
                assert_eq!(signature, bytes);
            }
        }
        1 => {
            if let Ok(secret) = reply::shared_secret(bytes) {
                assert_eq!(*secret, bytes);
            }
        }
        2 => {
            // On the curve, by an implementation that is not asked through ours.
            let point = [&[4][..], bytes].concat();
            let good = bytes.len() == 64 && p256::PublicKey::from_sec1_bytes(&point).is_ok();
            assert_eq!(reply::public_key(Curve::P256, bytes).is_ok(), good);
            let good = bytes.len() == 64 && k256::PublicKey::from_sec1_bytes(&point).is_ok();
            assert_eq!(reply::public_key(Curve::Secp256k1, bytes).is_ok(), good);
        }
        3 => {
            if let Ok(slot) = reply::slot(number) {
                assert!(slot.number() == number && (0..=reply::MAX_SLOT).contains(&number));
            }
        }
        4 => {
            let count = numbers.get(1).copied().unwrap_or(0);
            if let Ok((capacity, used)) = reply::slot_counts(number, count) {
                assert!(capacity > 0 && capacity <= 65_535 && used <= 65_535);
            }
        }
        5 => {
            if let Ok(slots) = reply::allocated_slots(512, &numbers) {
                assert!(slots.slots.len() <= numbers.len());
            }
        }
        6 => {
            if let Ok(text) = reply::text(bytes, "the text") {
                assert!(!text.trim().is_empty() && text.len() <= reply::MAX_TEXT);
            }
        }
        7 => {
            if let Ok(path) = reply::node_path(bytes) {
                // Written and read again it is the same path.
                assert_eq!(path.to_string().parse().ok(), Some(path));
            }
        }
        _ => {
            if let Ok(words) = reply::mnemonic(bytes) {
                assert_eq!(words.split(' ').count(), 24);
            }
        }
    }
});
