//! The checksum of a share: a Reed-Solomon code over GF(1024) that finds any three wrong words (SLIP-0039, "Checksum").

const GENERATOR: [u32; 10] = [
    0x00e0_e040,
    0x01c1_c080,
    0x0383_8100,
    0x0707_0200,
    0x0e0e_0009,
    0x1c0c_2412,
    0x3808_6c24,
    0x3090_fc48,
    0x21b1_f890,
    0x03f3_f120,
];

fn polymod(customization: &str, words: &[u16]) -> u32 {
    let values = customization.bytes().map(u32::from).chain(words.iter().map(|&word| u32::from(word)));
    values.fold(1, |checksum, value| {
        let top = checksum >> 20;
        let shifted = ((checksum & 0xf_ffff) << 10) ^ value;
        // A mask instead of a branch: the words are secret.
        GENERATOR.iter().enumerate().fold(shifted, |sum, (bit, term)| sum ^ (term & 0_u32.wrapping_sub(top >> bit & 1)))
    })
}

fn customization(extendable: bool) -> &'static str {
    if extendable { "shamir_extendable" } else { "shamir" }
}

/// The three words that follow `words`.
pub(super) fn checksum(extendable: bool, words: &[u16]) -> [u16; 3] {
    let padded: zeroize::Zeroizing<Vec<u16>> = [words, &[0; 3]].concat().into();
    let polymod = polymod(customization(extendable), &padded) ^ 1;
    [20, 10, 0].map(|shift| (polymod >> shift & 1023) as u16)
}

/// Whether the last three of `words` are the checksum of the others.
pub(super) fn verify(extendable: bool, words: &[u16]) -> bool {
    polymod(customization(extendable), words) == 1
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop, prop_assert, proptest};

    use super::*;

    proptest! {
        #[test]
        fn finds_three_wrong_words(
            words in prop::collection::vec(0_u16..1024, 17..30),
            extendable: bool,
            wrong in prop::collection::vec((any::<prop::sample::Index>(), 1_u16..1024), 1..4),
        ) {
            let checksum = checksum(extendable, &words);
            let mut words = [words, checksum.to_vec()].concat();
            prop_assert!(verify(extendable, &words));
            prop_assert!(!verify(!extendable, &words));
            let good = words.clone();
            wrong.iter().for_each(|(at, difference)| words[at.index(good.len())] ^= difference);
            prop_assert!(words == good || !verify(extendable, &words));
        }
    }
}
