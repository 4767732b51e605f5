use std::collections::BTreeMap;

use zeroize::Zeroizing;

use super::shamir::{self, Value};
use super::{Common, Share, Slip39Error, cipher};

/// How far one group has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupProgress {
    /// The group's index, from 0.
    pub group: u8,
    /// Its shares so far.
    pub shares: u8,
    /// How many it needs.
    pub needed: u8,
}

/// How far a set of shares has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Groups that have all the shares they need.
    pub complete_groups: u8,
    /// Groups needed.
    pub needed_groups: u8,
    /// The groups of which there are shares, in the order of their indices.
    pub groups: Vec<GroupProgress>,
}

impl Progress {
    /// Whether the secret can be recovered.
    pub fn is_complete(&self) -> bool {
        self.needed_groups != 0 && self.complete_groups == self.needed_groups
    }
}

/// Shares as they come in, one by one (SLIP-0039, "Combining the shares").
///
/// A share that is refused changes nothing, so the next can be tried.
#[derive(Default)]
pub struct Combiner {
    /// The shares by group, those of one group in the order in which they came.
    groups: BTreeMap<u8, Vec<Share>>,
}

impl Combiner {
    /// An empty set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads a share and adds it.
    pub fn add_mnemonic(&mut self, mnemonic: &str) -> Result<Progress, Slip39Error> {
        self.add(Share::parse(mnemonic)?)
    }

    /// Adds a share, or says what is wrong with it. A group's digest is checked when its last share comes, that of the
    /// groups with the last share of all.
    ///
    /// A share that completes a group with a wrong digest is refused, but an earlier one may be the wrong one: then begin
    /// again, with other shares.
    pub fn add(&mut self, share: Share) -> Result<Progress, Slip39Error> {
        self.check(&share)?;
        let group = share.group_index;
        let last = self.groups.entry(group).or_default();
        last.push(share);
        let verdict = self.check_digests(group);
        if let Err(error) = verdict {
            if let Some(shares) = self.groups.get_mut(&group) {
                shares.pop();
            }
            self.groups.retain(|_, shares| !shares.is_empty());
            return Err(error);
        }
        Ok(self.progress())
    }

    /// How far the set has come.
    pub fn progress(&self) -> Progress {
        let groups: Vec<_> = self
            .groups
            .iter()
            .filter_map(|(group, shares)| {
                let needed = shares.first()?.member_threshold;
                Some(GroupProgress { group: *group, shares: shares.len() as u8, needed })
            })
            .collect();
        Progress {
            complete_groups: groups.iter().filter(|group| group.shares == group.needed).count() as u8,
            needed_groups: self.any_share().map_or(0, |share| share.group_threshold),
            groups,
        }
    }

    /// The secret (SLIP-0039, "Combining the shares" and "Decryption of the master secret"). Another passphrase than at
    /// the splitting gives another secret, not an error.
    pub fn secret(&self, passphrase: &str) -> Result<Zeroizing<Vec<u8>>, Slip39Error> {
        let progress = self.progress();
        let share = self
            .any_share()
            .filter(|_| progress.is_complete())
            .ok_or(Slip39Error::Incomplete { complete: progress.complete_groups, needed: progress.needed_groups })?;
        cipher::decrypt(share.parameters(), passphrase, &self.encrypted_secret()?)
    }

    fn any_share(&self) -> Option<&Share> {
        self.groups.values().flatten().next()
    }

    /// Whether `share` fits the shares so far.
    fn check(&self, share: &Share) -> Result<(), Slip39Error> {
        let Some(first) = self.any_share() else { return Ok(()) };
        let differs = [
            (Common::Identifier, first.identifier != share.identifier),
            (Common::Extendable, first.extendable != share.extendable),
            (Common::IterationExponent, first.iteration_exponent != share.iteration_exponent),
            (Common::GroupThreshold, first.group_threshold != share.group_threshold),
            (Common::GroupCount, first.group_count != share.group_count),
            (Common::Length, first.value.len() != share.value.len()),
        ];
        if let Some((common, _)) = differs.into_iter().find(|(_, differs)| *differs) {
            return Err(Slip39Error::Mismatch(common));
        }
        let group = share.group_index;
        let members = self.groups.get(&group).map_or(&[][..], Vec::as_slice);
        if members.contains(share) {
            return Err(Slip39Error::Repeated(group));
        }
        if members.iter().any(|member| member.member_threshold != share.member_threshold) {
            return Err(Slip39Error::MemberThreshold(group));
        }
        if members.iter().any(|member| member.member_index == share.member_index) {
            return Err(Slip39Error::DuplicateMember { group, member: share.member_index });
        }
        if self.progress().is_complete() {
            return Err(Slip39Error::SetComplete);
        }
        if is_complete(members) {
            return Err(Slip39Error::GroupComplete(group));
        }
        Ok(())
    }

    /// After a share of `group` came: whether the group, and the whole set, give what their digests say.
    fn check_digests(&self, group: u8) -> Result<(), Slip39Error> {
        match self.groups.get(&group) {
            Some(shares) if is_complete(shares) => group_secret(group, shares)?,
            _ => return Ok(()),
        };
        if self.progress().is_complete() {
            self.encrypted_secret()?;
        }
        Ok(())
    }

    fn encrypted_secret(&self) -> Result<Value, Slip39Error> {
        let complete = self.groups.iter().filter(|(_, shares)| is_complete(shares));
        let groups = complete
            .map(|(group, shares)| Ok((*group, group_secret(*group, shares)?)))
            .collect::<Result<Vec<_>, Slip39Error>>()?;
        shamir::recover(&groups).ok_or(Slip39Error::Digest)
    }
}

fn is_complete(shares: &[Share]) -> bool {
    shares.first().is_some_and(|share| shares.len() == usize::from(share.member_threshold))
}

/// The group's share of the secret.
fn group_secret(group: u8, shares: &[Share]) -> Result<Value, Slip39Error> {
    let points: Vec<_> = shares.iter().map(|share| (share.member_index, share.value.clone())).collect();
    shamir::recover(&points).ok_or(Slip39Error::GroupDigest(group))
}
