//! SLIP-0039: a secret shared out in mnemonics, of which some, and not fewer, give it back.
//!
//! [`Splitter`] makes the shares, [`Share::parse`] checks a single one, [`Combiner`] takes them one by one and says what
//! is wrong with each, and [`Combiner::secret`] gives the secret back.
//!
//! A wrong passphrase gives a different secret and no error: the standard means it so.

mod cipher;
mod combine;
mod gf256;
mod rs1024;
mod shamir;
mod share;
mod split;
mod words;

use std::fmt;

pub use combine::{Combiner, GroupProgress, Progress};
pub use share::Share;
pub use split::{GroupSpec, Splitter, split};

/// SLIP-0039, "Format of the share mnemonic": indices and thresholds have four bits.
pub const MAX_SHARES: u8 = 16;

/// SLIP-0039, "Format of the share mnemonic": the iteration exponent has four bits.
pub const MAX_ITERATION_EXPONENT: u8 = 15;

/// What all shares of one secret have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Common {
    /// The random identifier of the splitting.
    Identifier,
    /// Whether the identifier enters the encryption.
    Extendable,
    /// The iteration exponent.
    IterationExponent,
    /// How many groups are needed.
    GroupThreshold,
    /// How many groups there are.
    GroupCount,
    /// The length of the secret.
    Length,
}

impl fmt::Display for Common {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Common::Identifier => "identifier",
            Common::Extendable => "extendable backup flag",
            Common::IterationExponent => "iteration exponent",
            Common::GroupThreshold => "group threshold",
            Common::GroupCount => "group count",
            Common::Length => "length",
        })
    }
}

/// What is wrong with a share, a set of them, or the wish to make some.
///
/// Words, groups and members count from 1 in the texts; the fields hold the numbers of the standard, from 0. No text
/// shows a word or a passphrase.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Slip39Error {
    /// No share has so many words.
    #[error("{0} words: a share has 20 or 33, or another number that a secret of 16 bytes or more gives")]
    WordCount(usize),
    /// The word at this position (from 0) is not in the list.
    #[error("word {} is not in the SLIP-0039 list: check its spelling", .0 + 1)]
    UnknownWord(usize),
    /// Every word is in the list, but one is wrong or two are exchanged.
    #[error("the words do not fit together (checksum): one is wrong, or the order is")]
    Checksum,
    /// The bits that fill up the share value are not zero.
    #[error("the padding of the share is not zero")]
    Padding,
    /// More groups needed than there are.
    #[error("the share asks for {threshold} groups of {count}")]
    GroupThreshold {
        /// Groups needed.
        threshold: u8,
        /// Groups there are.
        count: u8,
    },
    /// The share is of another secret, or of another splitting of the same one.
    #[error("the share is of another set: its {0} differs")]
    Mismatch(Common),
    /// Two shares of one group ask for different numbers of shares.
    #[error("the share does not belong to group {} as entered so far: it asks for another number of shares", .0 + 1)]
    MemberThreshold(u8),
    /// This very share was added before.
    #[error("this share of group {} was entered already", .0 + 1)]
    Repeated(u8),
    /// Another share has the same place in the group.
    #[error("another share of group {} has the same member number {}", .group + 1, .member + 1)]
    DuplicateMember {
        /// The group's index.
        group: u8,
        /// The member's index.
        member: u8,
    },
    /// The share's group needs no more.
    #[error("group {} is complete: no further share of it is needed", .0 + 1)]
    GroupComplete(u8),
    /// Nothing more is needed.
    #[error("the set is complete: no further share is needed")]
    SetComplete,
    /// The shares of this group do not belong together.
    #[error("the shares of group {} do not give a secret: one of them is wrong", .0 + 1)]
    GroupDigest(u8),
    /// The groups do not belong together.
    #[error("the groups do not give a secret: one of them is wrong")]
    Digest,
    /// More shares are needed.
    #[error("shares are missing: {complete} of {needed} groups are complete")]
    Incomplete {
        /// Groups that have all the shares they need.
        complete: u8,
        /// Groups needed.
        needed: u8,
    },
    /// The standard has printable ASCII (32 to 126) only.
    #[error("the passphrase has a character that SLIP-0039 does not allow: only printable ASCII")]
    Passphrase,
    /// A secret has 16 bytes or more, and an even number of them.
    #[error("a secret of {0} bytes: 16 or more expected, and an even number")]
    SecretLength(usize),
    /// No such number of groups, or no such threshold.
    #[error("{threshold} of {count} groups: 1 to 16 groups, and no more needed than there are")]
    Groups {
        /// Groups needed.
        threshold: usize,
        /// Groups there are.
        count: usize,
    },
    /// No such number of members, or no such threshold; or several members of which one is enough, which the standard
    /// forbids because they would all be the same share.
    #[error("{} of {} members: 1 to 16 members, no more needed than there are; 1 only of 1", .0.threshold, .0.count)]
    Members(GroupSpec),
    /// The groups were made already, or the index is none of theirs.
    #[error("there is no group {} to make", .0 + 1)]
    NoSuchGroup(usize),
    /// 0 to 15.
    #[error("iteration exponent {0}: 0 to 15 expected")]
    IterationExponent(u8),
    /// The operating system gave no random bytes.
    #[error("no random bytes from the operating system: {0}")]
    Random(String),
}
