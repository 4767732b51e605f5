//! SLIP39 sessions: a master seed is made, or brought back, over several calls.
//!
//! One session at a time; a power cycle ends it. While it is open nothing else can be generated in wallets. The shares
//! are those of the standard, not extendable, as the vendor's firmware is older than that flag. SLIP-0039 has no
//! passwords of members: a share with a non-empty one has its value masked with PBKDF2 of it, so another password
//! gives a wrong share, and the words of a share without a password are those of the standard.

use holdfast_wallet::slip39::{Combiner, GroupSpec, Share, Splitter};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use zeroize::{Zeroize, Zeroizing};

use crate::error::{Error, Result};
use crate::hex::HexBytes;
use crate::keys::{KeyType, random};
use crate::state::{State, is_scm};
use crate::wallets::NewWallet;

/// The highest iteration exponent that the device takes.
pub const MAX_ITERATION_EXPONENT: i32 = 5;
/// PBKDF2's iterations for a member's password.
const MEMBER_ITERATIONS: u32 = 10_000;

/// An open session.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Slip39Session {
    /// The type of the wallet's keys.
    pub key_type: KeyType,
    /// Empty or `cardano`.
    pub variant: String,
    /// The wallet's name.
    pub name: String,
    /// The master generator key.
    pub master_generator_key: HexBytes,
    /// What the session is for.
    pub purpose: Purpose,
}

/// What a session is for, and how far it came.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Purpose {
    /// A new master seed.
    Generate {
        /// The master secret.
        secret: HexBytes,
        /// The groups whose members are not known yet, as [`Splitter::suspend`] put them away.
        left: Vec<String>,
        /// The words of the members of the current group who have not been given theirs, the next one last.
        waiting: Vec<String>,
    },
    /// A master seed is brought back.
    Restore {
        /// The passphrase of all.
        passphrase: String,
        /// The good shares so far, as words.
        shares: Vec<String>,
    },
}

/// Says which purpose, and nothing of the secrets.
impl std::fmt::Debug for Purpose {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Generate { .. } => "Generate",
            Self::Restore { .. } => "Restore",
        })
    }
}

impl Drop for Purpose {
    fn drop(&mut self) {
        match self {
            Self::Generate { secret: _, left, waiting } => {
                left.iter_mut().chain(waiting).for_each(Zeroize::zeroize);
            }
            Self::Restore { passphrase, shares } => {
                passphrase.zeroize();
                shares.zeroize();
            }
        }
    }
}

/// How a new seed is shared out among groups.
#[derive(Clone, Copy, Debug)]
pub struct Groups<'a> {
    /// How many groups there are.
    pub count: i32,
    /// How many are needed.
    pub threshold: i32,
    /// 0 to [`MAX_ITERATION_EXPONENT`].
    pub iteration_exponent: i32,
    /// The passphrase of all.
    pub passphrase: &'a str,
}

impl State {
    /// How many groups, and members of a group, the device takes.
    pub fn slip39_limit(&self) -> i32 {
        if is_scm(&self.model) { 16 } else { 14 }
    }

    /// `zkGenWalletMasterSeedWithSLIP39`: opens a session for a new seed.
    ///
    /// # Errors
    /// As [`State::create_wallet`], and [`Error::Argument`] for groups that the device does not take.
    pub fn open_generation(&mut self, new: &NewWallet<'_>, groups: &Groups<'_>) -> Result<()> {
        self.check_new_wallet(new)?;
        let limit = self.slip39_limit();
        let count = small(groups.count, limit).ok_or(Error::Argument("group_count"))?;
        let threshold = small(groups.threshold, groups.count).ok_or(Error::Argument("group_threshold"))?;
        let exponent = u8::try_from(groups.iteration_exponent).ok().filter(|e| i32::from(*e) <= MAX_ITERATION_EXPONENT);
        let exponent = exponent.ok_or(Error::Argument("group_iteration_exponent"))?;
        let secret = random::<32>();
        let splitter = Splitter::new(secret.as_slice(), groups.passphrase, false, exponent, threshold, count);
        let left = put_away(&splitter.map_err(words_error)?);
        let purpose = Purpose::Generate { secret: secret.to_vec().into(), left, waiting: Vec::new() };
        self.slip39 = Some(session(new, purpose));
        Ok(())
    }

    /// `zkSetSLIP39GroupInfo`: who the members of a group are. The group before must have given out all its shares.
    ///
    /// # Errors
    /// [`Error::NoSession`], [`Error::SessionOrder`], [`Error::Argument`].
    pub fn set_group(&mut self, index: i32, count: i32, threshold: i32) -> Result<()> {
        let limit = self.slip39_limit();
        let Some(Purpose::Generate { left, waiting, .. }) = self.purpose_mut() else { return Err(Error::NoSession) };
        if !waiting.is_empty() {
            return Err(Error::SessionOrder("the current group has members without a share"));
        }
        let count = small(count, limit).ok_or(Error::Argument("member_count"))?;
        let threshold = small(threshold, count.into()).ok_or(Error::Argument("member_threshold"))?;
        let index = usize::try_from(index).map_err(|_| Error::Argument("group_index"))?;
        let mut splitter = Splitter::resume(left).map_err(words_error)?;
        let members = splitter.group(index, GroupSpec { threshold, count }).map_err(words_error)?;
        *waiting = members.iter().rev().map(|share| share.mnemonic().to_string()).collect();
        *left = put_away(&splitter);
        Ok(())
    }

    /// `zkAddSLIP39MemberPassword`: the words of the next member. With the last of all, the slot of the new seed.
    ///
    /// # Errors
    /// [`Error::NoSession`], [`Error::SessionOrder`] before a group was set, and what [`State::create_wallet`] answers.
    pub fn next_member(&mut self, password: &str) -> Result<(Zeroizing<String>, Option<i32>)> {
        let Some(Purpose::Generate { secret, left, waiting }) = self.purpose_mut() else {
            return Err(Error::NoSession);
        };
        let words = waiting.pop().ok_or(Error::SessionOrder("set a group first"))?;
        let share = Share::parse(&words).map_err(words_error)?;
        let words = mask(&share, password)?.mnemonic();
        if !(waiting.is_empty() && left.is_empty()) {
            return Ok((words, None));
        }
        let secret = secret.clone();
        let slot = self.close_with_seed(secret.as_slice())?;
        Ok((words, Some(slot)))
    }

    /// `zkCancelSLIP39Session`: ends a session of either kind.
    ///
    /// # Errors
    /// [`Error::NoSession`].
    pub fn cancel_session(&mut self) -> Result<()> {
        self.slip39.take().map(|_| ()).ok_or(Error::NoSession)
    }

    /// `zkRestoreWalletMasterSeedFromSLIP39`: opens a session that takes shares.
    ///
    /// # Errors
    /// As [`State::create_wallet`].
    pub fn open_restoration(&mut self, new: &NewWallet<'_>, passphrase: &str) -> Result<()> {
        self.check_new_wallet(new)?;
        let purpose = Purpose::Restore { passphrase: passphrase.into(), shares: Vec::new() };
        self.slip39 = Some(session(new, purpose));
        Ok(())
    }

    /// `zkAddRestoreSLIP39Mnemonic`: takes a share. The slot of the seed once there are enough, `None` before. A share
    /// that does not fit is refused and not kept, so the next can be given.
    ///
    /// # Errors
    /// [`Error::NoSession`], [`Error::Words`], and what [`State::create_wallet`] answers.
    pub fn add_share(&mut self, password: &str, words: &str) -> Result<Option<i32>> {
        let Some(Purpose::Restore { passphrase, shares }) = self.purpose_mut() else { return Err(Error::NoSession) };
        let share = mask(&Share::parse(words).map_err(words_error)?, password)?;
        let mut combiner = Combiner::new();
        for known in shares.iter() {
            combiner.add_mnemonic(known).map_err(words_error)?;
        }
        let plain = share.mnemonic().to_string();
        let progress = combiner.add(share).map_err(words_error)?;
        shares.push(plain);
        if !progress.is_complete() {
            return Ok(None);
        }
        let secret = combiner.secret(passphrase).map_err(words_error)?;
        self.close_with_seed(&secret).map(Some)
    }

    fn purpose_mut(&mut self) -> Option<&mut Purpose> {
        self.slip39.as_mut().map(|session| &mut session.purpose)
    }

    fn close_with_seed(&mut self, secret: &[u8]) -> Result<i32> {
        let session = self.slip39.take().ok_or(Error::NoSession)?;
        let new = NewWallet {
            key_type: session.key_type,
            variant: &session.variant,
            name: &session.name,
            master_generator_key: session.master_generator_key.as_slice(),
        };
        self.check_new_wallet(&new)?;
        self.add_master(&new, secret, "")
    }
}

fn session(new: &NewWallet<'_>, purpose: Purpose) -> Slip39Session {
    Slip39Session {
        key_type: new.key_type,
        variant: new.variant.into(),
        name: new.name.into(),
        master_generator_key: new.master_generator_key.to_vec().into(),
        purpose,
    }
}

fn put_away(splitter: &Splitter) -> Vec<String> {
    splitter.suspend().iter().map(|words| words.to_string()).collect()
}

/// A number from 1 to `max`.
fn small(number: i32, max: i32) -> Option<u8> {
    (1..=max).contains(&number).then(|| u8::try_from(number).ok()).flatten()
}

/// Masks the value of a share with a member's password, or takes the mask off again; without one nothing changes.
fn mask(share: &Share, password: &str) -> Result<Share> {
    if password.is_empty() {
        return Ok(share.clone());
    }
    let mut salt = b"holdfast-emulator SLIP39 member".to_vec();
    salt.extend(share.identifier().to_be_bytes());
    salt.extend([share.group_index(), share.member_index()]);
    let mut value = Zeroizing::new(vec![0; share.value().len()]);
    pbkdf2::pbkdf2_hmac::<Sha256>(password.as_bytes(), &salt, MEMBER_ITERATIONS, &mut value);
    value.iter_mut().zip(share.value()).for_each(|(mask, byte)| *mask ^= byte);
    share.with_value(&value).ok_or(Error::Argument("share"))
}

fn words_error(error: impl std::fmt::Display) -> Error {
    Error::Words(error.to_string())
}
