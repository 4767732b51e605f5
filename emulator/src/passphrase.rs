//! The passphrase of a wallet as it comes over the C ABI.
//!
//! The vendor's documentation asks for the passphrase of a seed in base64; what the device makes of other text it does
//! not say. Here canonical base64 of text is decoded, and anything else is taken as it is. The passwords of single
//! SLIP39 shares are plain text, as in the vendor's tutorial.

use zeroize::{Zeroize as _, Zeroizing};

/// The passphrase that `given` stands for.
pub fn decode(given: &str) -> Zeroizing<String> {
    decode_base64(given.as_bytes())
        .and_then(|bytes| String::from_utf8(bytes).map_err(|error| error.into_bytes().zeroize()).ok())
        .map_or_else(|| Zeroizing::new(given.to_owned()), Zeroizing::new)
}

/// RFC 4648, section 4, with its padding and nothing else.
fn decode_base64(text: &[u8]) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(4) {
        return None;
    }
    let padding = text.iter().rev().take_while(|&&c| c == b'=').count();
    let digits = text.len().checked_sub(padding).filter(|_| padding <= 2)?;
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut group, mut bits) = (0_u32, 0);
    for &c in text.get(..digits)? {
        let sextet = match c {
            b'A'..=b'Z' => c - b'A',
            b'a'..=b'z' => c - b'a' + 26,
            b'0'..=b'9' => c - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        group = group << 6 | u32::from(sextet);
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push((group >> bits) as u8);
            group &= (1 << bits) - 1;
        }
    }
    // What is left over of the last digit is zero.
    (group == 0).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_of_text_is_decoded() {
        for (given, meant) in [("", ""), ("aGk=", "hi"), ("Zm9v", "foo"), ("Zm9vYg==", "foob"), ("w6Q=", "ä")] {
            assert_eq!(*decode(given), meant);
        }
    }

    #[test]
    fn other_text_is_taken_as_it_is() {
        // No base64; not canonical; not text when it is decoded.
        for given in ["hi", "p@ssw0rd", "TREZOR", "aGl=", "====", "=aGk", "aGk=aGk=", "/+++", "ä123"] {
            assert_eq!(*decode(given), given);
        }
    }
}
