use std::fmt;

use zeroize::Zeroizing;

use super::cipher::Parameters;
use super::shamir::Value;
use super::{Slip39Error, rs1024, words};

/// Two words of identifier, flag and exponent, and two of indices and thresholds.
const HEADER_WORDS: usize = 4;
const CHECKSUM_WORDS: usize = 3;
const MIN_WORDS: usize = 20;

/// One share (SLIP-0039, "Format of the share mnemonic"). Wiped from memory on drop, never printed by `Debug`.
///
/// Group and member indices count from 0, as in the standard.
#[derive(Clone, PartialEq, Eq)]
pub struct Share {
    pub(super) identifier: u16,
    pub(super) extendable: bool,
    pub(super) iteration_exponent: u8,
    pub(super) group_index: u8,
    pub(super) group_threshold: u8,
    pub(super) group_count: u8,
    pub(super) member_index: u8,
    pub(super) member_threshold: u8,
    pub(super) value: Value,
}

impl Share {
    /// Reads one share as a person types it: in any case, with any white space between the words. This is also the
    /// validator: what is returned is a well-formed share.
    pub fn parse(mnemonic: &str) -> Result<Self, Slip39Error> {
        let mnemonic = Zeroizing::new(mnemonic.to_ascii_lowercase());
        let count = mnemonic.split_whitespace().count();
        // At most 8 bits of padding in front of a value of whole 16-bit units (SLIP-0039, "Combining the shares").
        let padding = count.saturating_sub(HEADER_WORDS + CHECKSUM_WORDS) * 10 % 16;
        if count < MIN_WORDS || padding > 8 {
            return Err(Slip39Error::WordCount(count));
        }
        let mut words = Zeroizing::new(Vec::with_capacity(count));
        for (position, word) in mnemonic.split_whitespace().enumerate() {
            words.push(words::index(word).ok_or(Slip39Error::UnknownWord(position))?);
        }
        Self::from_words(&words, padding)
    }

    fn from_words(words: &[u16], padding: usize) -> Result<Self, Slip39Error> {
        // 40 bits: identifier 15, extendable 1, exponent 4, then five fields of 4.
        let header = words[..HEADER_WORDS].iter().fold(0_u64, |bits, word| bits << 10 | u64::from(*word));
        let field = |shift: u32, bits: u32| (header >> shift & ((1 << bits) - 1)) as u8;
        let extendable = field(24, 1) == 1;
        if !rs1024::verify(extendable, words) {
            return Err(Slip39Error::Checksum);
        }
        let (group_threshold, group_count) = (field(12, 4) + 1, field(8, 4) + 1);
        if group_threshold > group_count {
            return Err(Slip39Error::GroupThreshold { threshold: group_threshold, count: group_count });
        }
        Ok(Self {
            identifier: (header >> 25) as u16,
            extendable,
            iteration_exponent: field(20, 4),
            group_index: field(16, 4),
            group_threshold,
            group_count,
            member_index: field(4, 4),
            member_threshold: field(0, 4) + 1,
            value: value(&words[HEADER_WORDS..words.len() - CHECKSUM_WORDS], padding)?,
        })
    }

    /// The share as words, one space between.
    pub fn mnemonic(&self) -> Zeroizing<String> {
        let fields = [
            (u64::from(self.identifier), 15),
            (u64::from(self.extendable), 1),
            (u64::from(self.iteration_exponent), 4),
            (u64::from(self.group_index), 4),
            (u64::from(self.group_threshold - 1), 4),
            (u64::from(self.group_count - 1), 4),
            (u64::from(self.member_index), 4),
            (u64::from(self.member_threshold - 1), 4),
        ];
        let header = fields.iter().fold(0, |bits, (value, width)| bits << width | value);
        let value_words = (self.value.len() * 8).div_ceil(10);
        let mut indices = Zeroizing::new(Vec::with_capacity(HEADER_WORDS + value_words + CHECKSUM_WORDS));
        indices.extend([30, 20, 10, 0].map(|shift| (header >> shift & 1023) as u16));
        let (mut bits, mut held) = (0_u32, value_words * 10 - self.value.len() * 8);
        for byte in self.value.iter() {
            bits = bits << 8 | u32::from(*byte);
            held += 8;
            if held >= 10 {
                held -= 10;
                indices.push((bits >> held & 1023) as u16);
            }
        }
        let checksum = rs1024::checksum(self.extendable, &indices);
        indices.extend(checksum);
        // Reserved in full, so that no copy is left behind by growing: words have 8 letters at most.
        let mut mnemonic = Zeroizing::new(String::with_capacity(indices.len() * 9));
        for index in indices.iter() {
            if !mnemonic.is_empty() {
                mnemonic.push(' ');
            }
            mnemonic.push_str(words::word(*index));
        }
        mnemonic
    }

    /// The identifier, 15 bits, that all shares of a splitting have in common.
    pub fn identifier(&self) -> u16 {
        self.identifier
    }

    /// Whether further splittings of the secret may go with the same passphrase ("extendable backup flag").
    pub fn is_extendable(&self) -> bool {
        self.extendable
    }

    /// The exponent e of the 10000·2^e rounds of PBKDF2.
    pub fn iteration_exponent(&self) -> u8 {
        self.iteration_exponent
    }

    /// The group, from 0.
    pub fn group_index(&self) -> u8 {
        self.group_index
    }

    /// How many groups are needed.
    pub fn group_threshold(&self) -> u8 {
        self.group_threshold
    }

    /// How many groups there are.
    pub fn group_count(&self) -> u8 {
        self.group_count
    }

    /// The member of the group, from 0.
    pub fn member_index(&self) -> u8 {
        self.member_index
    }

    /// How many members of this group are needed.
    pub fn member_threshold(&self) -> u8 {
        self.member_threshold
    }

    /// The share's value: as many bytes as the secret has.
    pub fn value(&self) -> &[u8] {
        &self.value
    }

    /// The same share with another value, for who keeps shares under a password of their own; `None` when it has
    /// another length.
    pub fn with_value(&self, value: &[u8]) -> Option<Self> {
        let same_length = value.len() == self.value.len();
        same_length.then(|| Self { value: Zeroizing::new(value.to_vec()), ..self.clone() })
    }

    pub(super) fn parameters(&self) -> Parameters {
        Parameters {
            identifier: self.identifier,
            extendable: self.extendable,
            iteration_exponent: self.iteration_exponent,
        }
    }
}

impl fmt::Debug for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Share")
            .field("identifier", &self.identifier)
            .field("group_index", &self.group_index)
            .field("group_threshold", &self.group_threshold)
            .field("member_index", &self.member_index)
            .field("member_threshold", &self.member_threshold)
            .finish_non_exhaustive()
    }
}

/// The bytes in `words`, after `padding` bits that must be zero.
fn value(words: &[u16], padding: usize) -> Result<Value, Slip39Error> {
    let mut value = Zeroizing::new(Vec::with_capacity(words.len() * 10 / 8));
    let (mut bits, mut held) = (0_u32, 0);
    for (position, word) in words.iter().enumerate() {
        bits = bits << 10 | u32::from(*word);
        held += 10;
        if position == 0 {
            held -= padding;
            if bits >> held != 0 {
                return Err(Slip39Error::Padding);
            }
        }
        while held >= 8 {
            held -= 8;
            value.push((bits >> held) as u8);
        }
    }
    Ok(value)
}
