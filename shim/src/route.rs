//! Where an object handle leads. Pure, and the only place that knows how our handles look.
//!
//! A handle whose bits 30 and up are exactly `01` is ours; every other one is the backend's own. Bit 29 parts ours in
//! two: the handles of mapped objects, and aliases that stand for backend handles which happen to look like ours.
//! Thirty-two bits hold all of it, which is what `CK_ULONG` has on armhf.

use cryptoki_sys::CK_OBJECT_HANDLE;

const TAG: CK_OBJECT_HANDLE = 0x4000_0000;
const TAG_SHIFT: u32 = 30;
const ALIAS: CK_OBJECT_HANDLE = 0x2000_0000;
const NUMBER: CK_OBJECT_HANDLE = 0x1fff_ffff;

/// An object handle as the backend gave it out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BackendObjectHandle(pub CK_OBJECT_HANDLE);

/// The number of a mapped object's handle: 1 to [`MappedHandle::MAX`], given out by the object table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MappedHandle(u32);

/// The number of an alias, given out by the alias table: 0 to [`AliasNumber::MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AliasNumber(u32);

/// What an object handle of a client denotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// An object of the backend, or nothing that the backend knows: it has the word.
    Backend(BackendObjectHandle),
    /// An object of the backend whose handle stands in the alias table.
    Alias(AliasNumber),
    /// A mapped object, or one that was.
    Mapped(MappedHandle),
}

impl MappedHandle {
    /// The greatest number.
    pub const MAX: u32 = 0x1fff_ffff;

    /// The handle number `number`; `None` for 0 and above [`MappedHandle::MAX`].
    pub fn new(number: u32) -> Option<Self> {
        (1..=Self::MAX).contains(&number).then_some(Self(number))
    }

    /// The number.
    pub fn number(self) -> u32 {
        self.0
    }

    /// The handle as clients see it.
    pub fn to_client(self) -> CK_OBJECT_HANDLE {
        TAG | CK_OBJECT_HANDLE::from(self.0)
    }
}

impl AliasNumber {
    /// The greatest number.
    pub const MAX: u32 = 0x1fff_ffff;

    /// The alias number `number`; `None` above [`AliasNumber::MAX`].
    pub fn new(number: u32) -> Option<Self> {
        (number <= Self::MAX).then_some(Self(number))
    }

    /// The number.
    pub fn number(self) -> u32 {
        self.0
    }

    /// The handle as clients see it.
    pub fn to_client(self) -> CK_OBJECT_HANDLE {
        TAG | ALIAS | CK_OBJECT_HANDLE::from(self.0)
    }
}

/// Whether `handle` looks like ours: given by the backend, it needs an alias; given by a client, it needs a table.
#[inline(always)]
pub fn is_tagged(handle: CK_OBJECT_HANDLE) -> bool {
    handle >> TAG_SHIFT == 1
}

/// What `handle` denotes.
#[inline(always)]
pub fn target(handle: CK_OBJECT_HANDLE) -> Target {
    if !is_tagged(handle) {
        return Target::Backend(BackendObjectHandle(handle));
    }
    // Masked to 29 bits: it fits.
    let number = (handle & NUMBER) as u32;
    match (handle & ALIAS != 0, number) {
        (true, _) => Target::Alias(AliasNumber(number)),
        // Number 0 is never given out.
        (false, 0) => Target::Backend(BackendObjectHandle(handle)),
        (false, _) => Target::Mapped(MappedHandle(number)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn small_and_invalid_handles_are_the_backends() {
        for handle in [0, 1, 2, 0x3fff_ffff, 0x8000_0000, 0xc000_0000, 0xffff_ffff, CK_OBJECT_HANDLE::MAX] {
            assert_eq!(target(handle), Target::Backend(BackendObjectHandle(handle)));
        }
    }

    #[test]
    fn handles_fit_32_bits() {
        assert_eq!(MappedHandle::new(MappedHandle::MAX).unwrap().to_client(), 0x5fff_ffff);
        assert_eq!(AliasNumber::new(AliasNumber::MAX).unwrap().to_client(), 0x7fff_ffff);
        assert_eq!(MappedHandle::new(0), None);
        assert_eq!(MappedHandle::new(MappedHandle::MAX + 1), None);
        assert_eq!(AliasNumber::new(AliasNumber::MAX + 1), None);
    }

    proptest! {
        #[test]
        fn mapped_handles_lead_back(number in 1..=MappedHandle::MAX) {
            let handle = MappedHandle::new(number).unwrap();
            prop_assert!(is_tagged(handle.to_client()));
            prop_assert_eq!(target(handle.to_client()), Target::Mapped(handle));
        }

        #[test]
        fn aliases_lead_back(number in 0..=AliasNumber::MAX) {
            let alias = AliasNumber::new(number).unwrap();
            prop_assert!(is_tagged(alias.to_client()));
            prop_assert_eq!(target(alias.to_client()), Target::Alias(alias));
        }

        #[test]
        fn a_handle_is_the_backends_unless_tagged(handle: CK_OBJECT_HANDLE) {
            prop_assert_eq!(target(handle) == Target::Backend(BackendObjectHandle(handle)),
                !is_tagged(handle) || handle == TAG);
        }
    }
}
