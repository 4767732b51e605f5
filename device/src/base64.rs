//! Base64 (RFC 4648, section 4), in memory that can be wiped.

use std::ffi::CString;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// The encoding of `bytes`, with padding. Its memory is allocated once, so that no copy is left behind.
pub fn encode(bytes: &[u8]) -> CString {
    let mut text = Vec::with_capacity(bytes.len().div_ceil(3) * 4 + 1);
    for chunk in bytes.chunks(3) {
        let group = (0..3).fold(0_u32, |group, i| group << 8 | u32::from(chunk.get(i).copied().unwrap_or(0)));
        for i in 0..4 {
            let sextet = group >> (18 - 6 * i) & 63;
            // One byte fills two characters, two fill three.
            let letter = if i > chunk.len() { None } else { ALPHABET.get(sextet as usize) };
            text.push(letter.copied().unwrap_or(b'='));
        }
    }
    // The alphabet has no zero byte.
    CString::new(text).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodes_as_rfc_4648_section_10() {
        for (plain, encoded) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(encode(plain.as_bytes()).to_str(), Ok(encoded));
        }
        assert_eq!(encode(&[0xff, 0xef, 0xbe]).to_str(), Ok("/+++"));
    }
}
