//! BIP39: words that stand for the entropy of a wallet, and the seed that they give. English words only, as on the
//! device.

use std::borrow::Cow;
use std::fmt;

use bip39::{Error, Language};
use zeroize::{Zeroize, Zeroizing};

/// What is wrong with words or entropy. Positions count from 1; the words themselves are secret and never shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Bip39Error {
    /// BIP39 encodes 128 to 256 bits, in steps of 32.
    #[error("{0} bytes of entropy: 16, 20, 24, 28 or 32 expected")]
    EntropyLength(usize),
    /// The number of words that go with those lengths.
    #[error("{0} words: 12, 15, 18, 21 or 24 expected")]
    WordCount(usize),
    /// The word at this position is not in the list.
    #[error("word {0} is not in the English BIP39 list: check its spelling")]
    UnknownWord(usize),
    /// Every word is in the list, but one is wrong or two are exchanged.
    #[error("the words do not fit together (checksum): one is wrong, or the order is")]
    Checksum,
}

/// A mnemonic sentence with a correct checksum. Wiped from memory on drop, never printed by `Debug`.
#[derive(Clone)]
pub struct Mnemonic(bip39::Mnemonic);

impl Mnemonic {
    /// The words for this entropy (BIP39, "Generating the mnemonic"): 3 for every 4 bytes.
    pub fn from_entropy(entropy: &[u8]) -> Result<Self, Bip39Error> {
        let words = bip39::Mnemonic::from_entropy_in(Language::English, entropy);
        words.map(Self).map_err(|_| Bip39Error::EntropyLength(entropy.len()))
    }

    /// Reads words as a person types them: in any case, with any white space between.
    pub fn parse(words: &str) -> Result<Self, Bip39Error> {
        let words = Zeroizing::new(words.to_lowercase());
        bip39::Mnemonic::parse_in_normalized(Language::English, &words).map(Self).map_err(|error| match error {
            Error::BadWordCount(count) => Bip39Error::WordCount(count),
            Error::UnknownWord(index) => Bip39Error::UnknownWord(index + 1),
            // The other two cannot come from parsing in a given language.
            Error::InvalidChecksum | Error::BadEntropyBitCount(_) | Error::AmbiguousLanguages(_) => {
                Bip39Error::Checksum
            }
        })
    }

    /// The words in their order.
    pub fn words(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.0.words()
    }

    /// The words, one space between.
    pub fn phrase(&self) -> Zeroizing<String> {
        // Reserved in full, so that no copy is left behind by growing: words have 8 letters at most.
        let mut phrase = Zeroizing::new(String::with_capacity(24 * 9));
        for word in self.0.words() {
            if !phrase.is_empty() {
                phrase.push(' ');
            }
            phrase.push_str(word);
        }
        phrase
    }

    /// The entropy that the words encode, 16 to 32 bytes.
    pub fn entropy(&self) -> Zeroizing<Vec<u8>> {
        let (mut array, length) = self.0.to_entropy_array();
        let entropy = Zeroizing::new(array[..length].to_vec());
        array.zeroize();
        entropy
    }

    /// The seed of the wallet (BIP39, "From mnemonic to seed"). The passphrase is normalised (NFKD); without one, give
    /// an empty string. A wrong passphrase cannot be told from a right one.
    pub fn seed(&self, passphrase: &str) -> Zeroizing<[u8; 64]> {
        let mut normalized = Cow::Borrowed(passphrase);
        bip39::Mnemonic::normalize_utf8_cow(&mut normalized);
        let seed = Zeroizing::new(self.0.to_seed_normalized(&normalized));
        if let Cow::Owned(mut passphrase) = normalized {
            passphrase.zeroize();
        }
        seed
    }
}

impl fmt::Debug for Mnemonic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mnemonic({} words)", self.0.word_count())
    }
}
