use std::fmt;
use std::str::FromStr;

const HARDENED: u32 = 1 << 31;

/// One step of a derivation path: a 31-bit index, hardened or not (BIP32, "Child key derivation functions").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChildNumber(u32);

impl ChildNumber {
    /// The child `index`, hardened when `hardened` says so; `None` when the index has more than 31 bits.
    pub const fn new(index: u32, hardened: bool) -> Option<Self> {
        if index >= HARDENED {
            None
        } else if hardened {
            Some(Self(index | HARDENED))
        } else {
            Some(Self(index))
        }
    }

    /// From the 32-bit number that enters the derivation: bit 31 says hardened.
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    /// The index without the hardened bit, 0 to 2^31-1.
    pub const fn index(self) -> u32 {
        self.0 & !HARDENED
    }

    /// Whether the child is hardened.
    pub const fn is_hardened(self) -> bool {
        self.0 & HARDENED != 0
    }

    /// The 32-bit number that enters the derivation.
    pub const fn to_bits(self) -> u32 {
        self.0
    }
}

impl fmt::Display for ChildNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.index(), if self.is_hardened() { "'" } else { "" })
    }
}

/// A node's address in its wallet, `m/44'/60'/0'/0/3`; the master is `m`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DerivationPath(Vec<ChildNumber>);

/// Text that is not a derivation path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a derivation path such as m/0'")]
pub struct PathError(pub String);

impl DerivationPath {
    /// The master node, `m`.
    pub const fn master() -> Self {
        Self(Vec::new())
    }

    /// The node one step below this one.
    pub fn child(&self, child: ChildNumber) -> Self {
        let mut steps = self.0.clone();
        steps.push(child);
        Self(steps)
    }

    /// The node one step above, `None` for the master.
    pub fn parent(&self) -> Option<Self> {
        let (_, above) = self.0.split_last()?;
        Some(Self(above.to_vec()))
    }

    /// The last step, `None` for the master.
    pub fn last(&self) -> Option<ChildNumber> {
        self.0.last().copied()
    }

    /// Whether this is the master node.
    pub fn is_master(&self) -> bool {
        self.0.is_empty()
    }

    /// The steps from the master down.
    pub fn steps(&self) -> &[ChildNumber] {
        &self.0
    }

    /// Whether `self` is a proper ancestor of `other`.
    pub fn is_ancestor_of(&self, other: &Self) -> bool {
        self.0.len() < other.0.len() && other.0.starts_with(&self.0)
    }
}

impl FromIterator<ChildNumber> for DerivationPath {
    fn from_iter<I: IntoIterator<Item = ChildNumber>>(steps: I) -> Self {
        Self(steps.into_iter().collect())
    }
}

impl fmt::Display for DerivationPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("m")?;
        self.0.iter().try_for_each(|step| write!(f, "/{step}"))
    }
}

impl FromStr for DerivationPath {
    type Err = PathError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || PathError(text.to_owned());
        let mut parts = text.split('/');
        if parts.next() != Some("m") {
            return Err(error());
        }
        parts
            .map(|part| {
                let (digits, hardened) = match part.strip_suffix(['\'', 'h', 'H']) {
                    Some(digits) => (digits, true),
                    None => (part, false),
                };
                if !digits.bytes().all(|b| b.is_ascii_digit()) {
                    return Err(error());
                }
                let index = digits.parse().map_err(|_| error())?;
                ChildNumber::new(index, hardened).ok_or_else(error)
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop, prop_assert, prop_assert_eq, proptest};

    use super::*;

    #[test]
    fn parses_and_prints() {
        for text in ["m", "m/0'", "m/44'/60'/0'/0/3", "m/2147483647'"] {
            assert_eq!(text.parse::<DerivationPath>().unwrap().to_string(), text);
        }
        assert_eq!("m/1h/2H".parse::<DerivationPath>().unwrap().to_string(), "m/1'/2'");
    }

    #[test]
    fn refuses_what_is_not_a_path() {
        for text in ["", "m/", "/0", "M/0", "m/2147483648", "m/+1", "m/1''", "m//1", "m/a", "m/ 1"] {
            assert!(text.parse::<DerivationPath>().is_err(), "{text}");
        }
    }

    #[test]
    fn knows_its_ancestors() {
        let path = |text: &str| text.parse::<DerivationPath>().unwrap();
        assert!(path("m").is_ancestor_of(&path("m/0'")));
        assert!(path("m/1").is_ancestor_of(&path("m/1/2")));
        assert!(!path("m/1").is_ancestor_of(&path("m/1'/2")));
        assert!(!path("m/1").is_ancestor_of(&path("m/1")));
        assert_eq!(path("m/1/2").parent(), Some(path("m/1")));
    }

    proptest! {
        #[test]
        fn paths_survive_their_text(bits in prop::collection::vec(any::<u32>(), 0..8)) {
            let path: DerivationPath = bits.into_iter().map(ChildNumber::from_bits).collect();
            prop_assert_eq!(path.to_string().parse(), Ok(path.clone()));
            let child = path.child(ChildNumber::from_bits(7));
            prop_assert!(path.is_ancestor_of(&child) && !child.is_ancestor_of(&path));
            prop_assert_eq!(child.parent(), Some(path));
        }

        #[test]
        fn child_numbers_survive_their_bits(bits: u32) {
            let child = ChildNumber::from_bits(bits);
            prop_assert_eq!(child.to_bits(), bits);
            prop_assert_eq!(ChildNumber::new(child.index(), child.is_hardened()), Some(child));
        }

        #[test]
        fn any_text_is_parsed_or_refused(text in "[m/0-9'hH+ -]{0,24}") {
            if let Ok(path) = text.parse::<DerivationPath>() {
                prop_assert_eq!(path.to_string().parse(), Ok(path));
            }
        }
    }
}
