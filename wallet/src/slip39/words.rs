//! The word list of SLIP-0039 ("Wordlist"): 1024 words in alphabetical order, told apart by their first four letters.

use std::sync::LazyLock;

static WORDS: LazyLock<Vec<&'static str>> =
    LazyLock::new(|| include_str!("wordlist.txt").split_ascii_whitespace().collect());

/// The word for ten bits.
pub(super) fn word(index: u16) -> &'static str {
    WORDS[usize::from(index & 1023)]
}

/// The ten bits of a word.
pub(super) fn index(word: &str) -> Option<u16> {
    WORDS.binary_search(&word).ok().map(|index| index as u16)
}

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256};

    use super::*;

    #[test]
    fn the_list_is_the_published_one() {
        let digest = Sha256::digest(include_str!("wordlist.txt"));
        let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "bcc4555340332d169718aed8bf31dd9d5248cb7da6e5d355140ef4f1e601eec3");
        assert_eq!(WORDS.len(), 1024);
        assert!(WORDS.windows(2).all(|pair| pair[0][..4] < pair[1][..4]));
        for number in 0..1024 {
            assert_eq!(index(word(number)), Some(number));
        }
        assert_eq!(index("abandon"), None);
    }
}
