use zeroize::Zeroizing;

use super::cipher::{self, Parameters};
use super::shamir::{self, Value};
use super::{Common, MAX_ITERATION_EXPONENT, MAX_SHARES, Share, Slip39Error};

/// How one group is shared out among its members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupSpec {
    /// How many members are needed.
    pub threshold: u8,
    /// How many members there are.
    pub count: u8,
}

/// A secret on its way into shares, its groups made one by one, in any order (SLIP-0039, "Generating the shares").
///
/// Holds the encrypted secret, wiped from memory on drop.
pub struct Splitter {
    parameters: Parameters,
    group_threshold: u8,
    group_count: u8,
    /// The share of each group, `None` once it was shared out.
    groups: Vec<Option<Value>>,
}

impl Splitter {
    /// Encrypts `secret` with `passphrase` (empty: none) and shares it out among `group_count` groups, of which
    /// `group_threshold` are needed.
    ///
    /// The secret has 16 bytes or more, and an even number; 10000·2^`iteration_exponent` rounds of PBKDF2 stretch the
    /// passphrase. `extendable` says whether the same secret may later be shared out anew under the same passphrase; it
    /// is what the standard recommends, while devices older than 2024 read only shares that are not.
    pub fn new(
        secret: &[u8],
        passphrase: &str,
        extendable: bool,
        iteration_exponent: u8,
        group_threshold: u8,
        group_count: u8,
    ) -> Result<Self, Slip39Error> {
        if secret.len() < 16 || !secret.len().is_multiple_of(2) {
            return Err(Slip39Error::SecretLength(secret.len()));
        }
        if iteration_exponent > MAX_ITERATION_EXPONENT {
            return Err(Slip39Error::IterationExponent(iteration_exponent));
        }
        if !is_sharing(group_threshold, group_count) {
            return Err(Slip39Error::Groups { threshold: group_threshold.into(), count: group_count.into() });
        }
        cipher::check_passphrase(passphrase)?;
        let random = shamir::random(2)?;
        let identifier = u16::from_be_bytes([random[0], random[1]]) & 0x7fff;
        let parameters = Parameters { identifier, extendable, iteration_exponent };
        let encrypted = cipher::encrypt(parameters, passphrase, secret)?;
        let groups = shamir::split(group_threshold, group_count, &encrypted)?.into_iter().map(Some).collect();
        Ok(Self { parameters, group_threshold, group_count, groups })
    }

    /// Shares the group `index` (from 0) out among its members, once.
    ///
    /// Several members of which one is enough are refused, as the standard wants it: they would all be one share.
    pub fn group(&mut self, index: usize, spec: GroupSpec) -> Result<Vec<Share>, Slip39Error> {
        if !is_sharing(spec.threshold, spec.count) || (spec.threshold == 1 && spec.count > 1) {
            return Err(Slip39Error::Members(spec));
        }
        let share = self.groups.get_mut(index).ok_or(Slip39Error::NoSuchGroup(index))?;
        let value = share.as_ref().ok_or(Slip39Error::NoSuchGroup(index))?;
        let members = shamir::split(spec.threshold, spec.count, value)?;
        *share = None;
        let members = (0..).zip(members);
        Ok(members.map(|(member, value)| self.share(index, member, spec.threshold, value)).collect())
    }

    /// What is left to share out, one mnemonic for each group that was not made yet, so that another process can go on
    /// with [`Self::resume`]. As secret as the secret itself.
    pub fn suspend(&self) -> Vec<Zeroizing<String>> {
        let left = self.groups.iter().enumerate();
        left.filter_map(|(index, value)| Some(self.share(index, 0, 1, value.clone()?).mnemonic())).collect()
    }

    /// Goes on where [`Self::suspend`] stopped. Refuses anything but the mnemonics that it gave, at least one of them.
    pub fn resume<S: AsRef<str>>(left: &[S]) -> Result<Self, Slip39Error> {
        let shares = left.iter().map(|share| Share::parse(share.as_ref())).collect::<Result<Vec<_>, _>>()?;
        let first = shares.first().ok_or(Slip39Error::NoSuchGroup(0))?;
        let mut splitter = Self {
            parameters: first.parameters(),
            group_threshold: first.group_threshold,
            group_count: first.group_count,
            groups: vec![None; usize::from(first.group_count)],
        };
        for share in &shares {
            let index = usize::from(share.group_index);
            if *share != splitter.share(index, 0, 1, share.value.clone()) {
                return Err(Slip39Error::Mismatch(Common::Identifier));
            }
            *splitter.groups.get_mut(index).ok_or(Slip39Error::NoSuchGroup(index))? = Some(share.value.clone());
        }
        Ok(splitter)
    }

    fn share(&self, group: usize, member: u8, threshold: u8, value: Value) -> Share {
        Share {
            identifier: self.parameters.identifier,
            extendable: self.parameters.extendable,
            iteration_exponent: self.parameters.iteration_exponent,
            group_index: group as u8,
            group_threshold: self.group_threshold,
            group_count: self.group_count,
            member_index: member,
            member_threshold: threshold,
            value,
        }
    }
}

fn is_sharing(threshold: u8, count: u8) -> bool {
    (1..=count).contains(&threshold) && count <= MAX_SHARES
}

/// Shares a secret out at once: the mnemonics of each group's members. See [`Splitter::new`] for the arguments.
pub fn split(
    secret: &[u8],
    passphrase: &str,
    extendable: bool,
    iteration_exponent: u8,
    group_threshold: u8,
    groups: &[GroupSpec],
) -> Result<Vec<Vec<Zeroizing<String>>>, Slip39Error> {
    let count = u8::try_from(groups.len())
        .map_err(|_| Slip39Error::Groups { threshold: group_threshold.into(), count: groups.len() })?;
    let mut splitter = Splitter::new(secret, passphrase, extendable, iteration_exponent, group_threshold, count)?;
    let mnemonics = |shares: Vec<Share>| shares.iter().map(Share::mnemonic).collect();
    groups.iter().enumerate().map(|(index, spec)| splitter.group(index, *spec).map(mnemonics)).collect()
}
