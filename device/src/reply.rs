//! What the C library may answer. Every reply passes here before anybody else sees it; nothing here knows C.
//!
//! An error says what is wrong with a reply and never quotes it: replies hold secrets.

use std::collections::BTreeSet;
use std::ffi::c_int;

use holdfast_wallet::{Curve, DerivationPath, PublicKey};
use zeroize::Zeroizing;

use crate::{AllocatedSlots, KeySlot};

/// No string of the device is longer, in bytes.
pub const MAX_TEXT: usize = 1024;

/// Far above any device's key store. It only tells numbers from garbage; which slots there are, the device says.
pub const MAX_SLOT: c_int = 65_535;

/// The slot of the ephemeral key, which no list of ours has.
const EPHEMERAL: c_int = -1;

/// BIP32 counts the steps from the master in one byte.
const MAX_DEPTH: usize = 255;

/// 256 bits of entropy, as the vendor documents.
const MNEMONIC_WORDS: usize = 24;

/// What is wrong with a reply.
pub type Invalid = String;

/// r‖s. Neither half of a signature is zero (SEC 1, section 4.1.3); which is all that can be said without the key.
pub fn signature(bytes: &[u8]) -> Result<[u8; 64], Invalid> {
    let signature: [u8; 64] = exactly(bytes, "a signature")?;
    let (r, s) = signature.split_at(32);
    if [r, s].iter().any(|half| half.iter().all(|&byte| byte == 0)) {
        return Err("a signature with a zero in it".into());
    }
    Ok(signature)
}

/// The X coordinate of a shared point. Zero is no X that an honest peer's key leads to, but it is what memory that
/// nobody wrote to holds.
pub fn shared_secret(bytes: &[u8]) -> Result<Zeroizing<[u8; 32]>, Invalid> {
    let secret = Zeroizing::new(exactly::<32>(bytes, "a shared secret")?);
    if secret.iter().all(|&byte| byte == 0) {
        return Err("a shared secret of zeros".into());
    }
    Ok(secret)
}

/// X‖Y of a point on `curve`.
pub fn public_key(curve: Curve, bytes: &[u8]) -> Result<PublicKey, Invalid> {
    PublicKey::from_coordinates(curve, bytes).map_err(|error| error.to_string())
}

/// A slot that the device made or found.
pub fn slot(number: c_int) -> Result<KeySlot, Invalid> {
    KeySlot::new(number).filter(|slot| slot.number() <= MAX_SLOT).ok_or_else(|| format!("{number} is no slot number"))
}

/// The number of slots in a list and of keys that fit in.
pub fn slot_counts(capacity: c_int, count: c_int) -> Result<(usize, usize), Invalid> {
    let bounded = |number: c_int, what: &str| {
        usize::try_from(number).ok().filter(|_| number <= MAX_SLOT).ok_or_else(|| format!("{number} is no {what}"))
    };
    let capacity = bounded(capacity, "number of keys that fit")?;
    if capacity == 0 {
        return Err("a key store that holds no keys".into());
    }
    Ok((capacity, bounded(count, "number of slots")?))
}

/// The slots of a list, each once.
pub fn allocated_slots(capacity: usize, numbers: &[c_int]) -> Result<AllocatedSlots, Invalid> {
    let mut slots = BTreeSet::new();
    for &number in numbers.iter().filter(|&&number| number != EPHEMERAL) {
        if !slots.insert(slot(number)?) {
            return Err(format!("slot {number} is listed twice"));
        }
    }
    Ok(AllocatedSlots { capacity, slots: slots.into_iter().collect() })
}

/// A string of printable characters, without its terminating zero.
pub fn text(bytes: &[u8], what: &str) -> Result<String, Invalid> {
    if bytes.len() > MAX_TEXT {
        return Err(format!("{what} is longer than {MAX_TEXT} bytes"));
    }
    let text = str::from_utf8(bytes).map_err(|_| format!("{what} is not UTF-8"))?;
    if text.trim().is_empty() {
        return Err(format!("{what} is empty"));
    }
    if text.chars().any(char::is_control) {
        return Err(format!("{what} has control characters"));
    }
    Ok(text.to_owned())
}

/// The address of a node. The vendor's documentation writes one as `m / 3' / 1'` too.
pub fn node_path(bytes: &[u8]) -> Result<DerivationPath, Invalid> {
    let text = text(bytes, "the node address")?.replace(" / ", "/");
    let path: DerivationPath = text.parse().map_err(|_| "the node address is not a path such as m/0'".to_owned())?;
    if path.steps().len() > MAX_DEPTH {
        return Err(format!("the node address has more than {MAX_DEPTH} steps"));
    }
    Ok(path)
}

/// The words a wallet can be recovered from. That they are words of the list and that their checksum is right is for
/// whoever knows BIP39 to say.
pub fn mnemonic(bytes: &[u8]) -> Result<Zeroizing<String>, Invalid> {
    const WHAT: &str = "the mnemonic";
    if bytes.len() > MAX_TEXT {
        return Err(format!("{WHAT} is longer than {MAX_TEXT} bytes"));
    }
    let text = str::from_utf8(bytes).map_err(|_| format!("{WHAT} is not UTF-8"))?;
    let is_word = |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase());
    if !text.split(' ').all(is_word) {
        return Err(format!("{WHAT} is not lower-case words with one space between them"));
    }
    let words = text.split(' ').count();
    if words != MNEMONIC_WORDS {
        return Err(format!("{WHAT} has {words} words, not {MNEMONIC_WORDS}"));
    }
    Ok(Zeroizing::new(text.to_owned()))
}

fn exactly<const N: usize>(bytes: &[u8], what: &str) -> Result<[u8; N], Invalid> {
    bytes.try_into().map_err(|_| format!("{what} of {} bytes, not {N}", bytes.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::any;
    use proptest::{prop_assert, prop_assert_eq, proptest};

    /// The generator of P-256 (SEC 2, section 2.4.2).
    const P256_G: [u8; 64] = [
        0x6b, 0x17, 0xd1, 0xf2, 0xe1, 0x2c, 0x42, 0x47, 0xf8, 0xbc, 0xe6, 0xe5, 0x63, 0xa4, 0x40, 0xf2, 0x77, 0x03,
        0x7d, 0x81, 0x2d, 0xeb, 0x33, 0xa0, 0xf4, 0xa1, 0x39, 0x45, 0xd8, 0x98, 0xc2, 0x96, 0x4f, 0xe3, 0x42, 0xe2,
        0xfe, 0x1a, 0x7f, 0x9b, 0x8e, 0xe7, 0xeb, 0x4a, 0x7c, 0x0f, 0x9e, 0x16, 0x2b, 0xce, 0x33, 0x57, 0x6b, 0x31,
        0x5e, 0xce, 0xcb, 0xb6, 0x40, 0x68, 0x37, 0xbf, 0x51, 0xf5,
    ];

    #[test]
    fn k2_signatures_have_two_halves() {
        assert!(signature(&[1; 64]).is_ok());
        assert!(signature(&[1; 63]).is_err());
        assert!(signature(&[1; 65]).is_err());
        assert!(signature(&[]).is_err());
        for zero in [0..32, 32..64] {
            let mut bytes = [1; 64];
            bytes[zero].fill(0);
            assert!(signature(&bytes).is_err());
        }
    }

    #[test]
    fn k2_shared_secrets_are_32_bytes_and_not_zero() {
        assert!(shared_secret(&[1; 32]).is_ok());
        assert!(shared_secret(&[0; 32]).is_err());
        assert!(shared_secret(&[1; 31]).is_err());
        assert!(shared_secret(&[1; 33]).is_err());
    }

    #[test]
    fn k2_public_keys_are_on_the_curve_that_was_asked_for() {
        assert!(public_key(Curve::P256, &P256_G).is_ok());
        assert!(public_key(Curve::Secp256k1, &P256_G).is_err());
        assert!(public_key(Curve::P256, &P256_G[..63]).is_err());
        assert!(public_key(Curve::P256, &[0; 64]).is_err());
        for bit in 0..512 {
            let mut bytes = P256_G;
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(public_key(Curve::P256, &bytes).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn g4_slots_are_bounded() {
        assert_eq!(slot(0).map(KeySlot::number), Ok(0));
        assert_eq!(slot(MAX_SLOT).map(KeySlot::number), Ok(MAX_SLOT));
        for number in [-1, -2, c_int::MIN, MAX_SLOT + 1, c_int::MAX] {
            assert!(slot(number).is_err(), "{number}");
        }
    }

    #[test]
    fn k1_counts_are_bounded() {
        assert_eq!(slot_counts(512, 16), Ok((512, 16)));
        assert_eq!(slot_counts(1, 0), Ok((1, 0)));
        for (capacity, count) in [(0, 0), (-1, 0), (512, -1), (512, c_int::MAX), (c_int::MAX, 0), (512, MAX_SLOT + 1)] {
            assert!(slot_counts(capacity, count).is_err(), "{capacity} {count}");
        }
    }

    #[test]
    fn k2_slot_lists_hold_each_slot_once() {
        let list = allocated_slots(512, &[17, 0, 16, EPHEMERAL]).unwrap();
        assert_eq!(list.slots.iter().map(|slot| slot.number()).collect::<Vec<_>>(), [0, 16, 17]);
        for numbers in [&[16, 16][..], &[-2], &[c_int::MAX]] {
            assert!(allocated_slots(512, numbers).is_err());
        }
    }

    #[test]
    fn k2_strings_are_printable_and_bounded() {
        assert_eq!(text(b"01.02.02release", "x").as_deref(), Ok("01.02.02release"));
        assert_eq!(text("Bär 1".as_bytes(), "x").as_deref(), Ok("Bär 1"));
        assert!(text(&[b'a'; MAX_TEXT], "x").is_ok());
        for bytes in [&b""[..], b"  ", b"a\nb", b"a\x1b[31m", b"\xff", &[b'a'; MAX_TEXT + 1], "a\u{85}".as_bytes()] {
            assert!(text(bytes, "x").is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn k2_node_addresses_are_paths() {
        assert_eq!(node_path(b"m").unwrap(), DerivationPath::master());
        assert_eq!(node_path(b"m/44'/0").unwrap().to_string(), "m/44'/0");
        assert_eq!(node_path(b"m / 3' / 1").unwrap().to_string(), "m/3'/1");
        assert!(node_path(format!("m{}", "/1".repeat(255)).as_bytes()).is_ok());
        assert!(node_path(format!("m{}", "/1".repeat(256)).as_bytes()).is_err());
        for bytes in [&b""[..], b"m/", b"44'", b"m/2147483648", b"m/0\n"] {
            assert!(node_path(bytes).is_err());
        }
    }

    #[test]
    fn k2_a_mnemonic_has_24_words() {
        let words = |count: usize| vec!["abandon"; count].join(" ");
        assert!(mnemonic(words(24).as_bytes()).is_ok());
        for text in [
            words(23),
            words(25),
            words(12),
            String::new(),
            words(24) + " ",
            words(24).replace(' ', "  "),
            words(24).to_uppercase(),
        ] {
            assert!(mnemonic(text.as_bytes()).is_err());
        }
    }

    #[test]
    fn k7_what_is_wrong_with_a_mnemonic_does_not_quote_it() {
        let mut text = vec!["secretword"; 23].join(" ");
        assert!(!mnemonic(text.as_bytes()).unwrap_err().contains("secretword"));
        text.push_str(" UPPER");
        assert!(!mnemonic(text.as_bytes()).unwrap_err().contains("secretword"));
    }

    proptest! {
        /// Any bytes are answered, and what is accepted is what came.
        #[test]
        fn k1_any_bytes_are_answered(bytes in vec(any::<u8>(), 0..200), number in any::<i32>(), count in any::<i32>()) {
            if let Ok(accepted) = signature(&bytes) { prop_assert_eq!(&accepted[..], &bytes[..]); }
            if let Ok(accepted) = shared_secret(&bytes) { prop_assert_eq!(&accepted[..], &bytes[..]); }
            for curve in Curve::ALL {
                if let Ok(accepted) = public_key(curve, &bytes) { prop_assert_eq!(&accepted.coordinates()[..], &bytes[..]); }
            }
            if let Ok(accepted) = text(&bytes, "it") { prop_assert_eq!(accepted.as_bytes(), &bytes[..]); }
            if let Ok(accepted) = slot(number) { prop_assert!((0..=MAX_SLOT).contains(&accepted.number())); }
            if let Ok((capacity, size)) = slot_counts(number, count) { prop_assert!(capacity <= 65_535 && size <= 65_535); }
            let _ = (node_path(&bytes), mnemonic(&bytes));
        }

        /// Any list is answered, sorted and without doubles.
        #[test]
        fn k1_any_list_is_answered(numbers in vec(-2..40i32, 0..20)) {
            if let Ok(list) = allocated_slots(512, &numbers) {
                prop_assert!(list.slots.windows(2).all(|pair| pair[0] < pair[1]));
                prop_assert!(list.slots.iter().all(|slot| numbers.contains(&slot.number())));
            }
        }

        /// Paths that print as they were read.
        #[test]
        fn k1_any_path_is_answered(text in "m(/[0-9]{1,11}'?){0,5}") {
            if let Ok(path) = node_path(text.as_bytes()) {
                prop_assert_eq!(node_path(path.to_string().as_bytes()), Ok(path));
            }
        }
    }
}
