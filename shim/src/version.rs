//! Versions of the PKCS#11 interface.

use cryptoki_sys::CK_VERSION;

/// A version of the "PKCS 11" interface, ordered as the pair (major, minor).
///
/// The minor number of 2.40 is 40, not 4 or 0x28 read as text: 2.40 comes after 2.5 and before 3.0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// Major number.
    pub major: u8,
    /// Minor number, hundredths in the numbering of 2.x.
    pub minor: u8,
}

/// The functions that a list of some version holds; lists of versions between two of these hold the earlier's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Shape {
    /// `CK_FUNCTION_LIST`.
    V2,
    /// `CK_FUNCTION_LIST_3_0`.
    V3_0,
    /// `CK_FUNCTION_LIST_3_2`.
    V3_2,
}

impl Version {
    /// 2.40
    pub const V2_40: Self = Self { major: 2, minor: 40 };
    /// 3.0
    pub const V3_0: Self = Self { major: 3, minor: 0 };
    /// 3.1, whose function list is that of 3.0.
    pub const V3_1: Self = Self { major: 3, minor: 1 };
    /// 3.2
    pub const V3_2: Self = Self { major: 3, minor: 2 };

    /// The shape of a function list that says it is of this version; `None` for versions whose list is not known:
    /// reading it as another would call the wrong function.
    ///
    /// Minor versions only append to the list, so what 3.2 has is in every later 3.x.
    pub fn shape(self) -> Option<Shape> {
        match self.major {
            2 => Some(Shape::V2),
            3 if self >= Self::V3_2 => Some(Shape::V3_2),
            3 => Some(Shape::V3_0),
            _ => None,
        }
    }
}

impl From<CK_VERSION> for Version {
    fn from(version: CK_VERSION) -> Self {
        Self { major: version.major, minor: version.minor }
    }
}

impl From<Version> for CK_VERSION {
    fn from(version: Version) -> Self {
        Self { major: version.major, minor: version.minor }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v(major: u8, minor: u8) -> Version {
        Version { major, minor }
    }

    #[test]
    fn versions_compare_as_pairs() {
        let ordered = [v(0, 255), v(2, 1), v(2, 11), v(2, 20), v(2, 40), v(3, 0), v(3, 1), v(3, 2), v(3, 10), v(4, 0)];
        for (i, a) in ordered.iter().enumerate() {
            for (j, b) in ordered.iter().enumerate() {
                assert_eq!(a.cmp(b), i.cmp(&j), "{a:?} against {b:?}");
            }
        }
    }

    #[test]
    fn a_list_is_read_as_no_more_than_its_version_promises() {
        assert_eq!(v(2, 40).shape(), Some(Shape::V2));
        assert_eq!(v(2, 1).shape(), Some(Shape::V2));
        assert_eq!(v(3, 0).shape(), Some(Shape::V3_0));
        assert_eq!(v(3, 1).shape(), Some(Shape::V3_0));
        assert_eq!(v(3, 2).shape(), Some(Shape::V3_2));
        assert_eq!(v(3, 9).shape(), Some(Shape::V3_2));
        assert_eq!(v(1, 0).shape(), None);
        assert_eq!(v(4, 0).shape(), None);
    }
}
