//! Wallets: which one a key goes to, and how one is made.

use std::time::{Duration, Instant};

use holdfast_config::{AutoCreateWallet, Strategy};
use holdfast_device::KeySlot;
use holdfast_mapping_db::{
    IntentId, IntentKind, NewIntent, NewLeftover, NewWallet as NewWalletRow, Recovery, Rows, WalletId, WalletRecord,
};
use holdfast_mapping_db::{LeftoverReason, OwnerId, WriteTx};
use holdfast_wallet::bip39::Mnemonic;
use holdfast_wallet::hd::{ExtendedPrivateKey, HdCurve};
use holdfast_wallet::{ChildNumber, Curve, DerivationPath, PublicKey};
use zeroize::Zeroizing;

use crate::fresh::Before;
use crate::locate::is_refusal;
use crate::{CreatedWallet, Error, Keystore, NewWallet, WalletRecovery};

/// How long one process waits for another that is making the wallet both need.
const WAIT_FOR_WALLET: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(20);

/// What a wallet is wanted for.
#[derive(Clone, Debug)]
pub(crate) struct Purpose {
    pub device_serial: String,
    /// `None`: shared by all tokens.
    pub token_serial: Option<String>,
    pub token_label: String,
    pub curve: Curve,
    pub single_key: bool,
}

/// Why a wallet is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// The operator said so.
    ByTheOperator,
    /// A key is to be made and no wallet takes it.
    ForWantOfOne,
}

enum Announced {
    As(IntentId),
    NameTaken,
    NotNeeded,
}

/// Where a key shall go.
pub(crate) enum Choice {
    Wallet(Box<WalletRecord>),
    /// None has room: one is to be made first.
    Make,
    /// Another process is making one.
    Wait(OwnerId),
}

impl Keystore {
    /// Makes a wallet. One with recovery words takes no key before [`Keystore::confirm_wallet`].
    ///
    /// With words at hand the device's first child is compared with our own derivation of it, and the outcome
    /// recorded. That child is removed again and its index never used.
    pub fn create_wallet(&self, wallet: &NewWallet) -> Result<CreatedWallet, Error> {
        let device_serial = self.identify()?.serial;
        self.tidy();
        let purpose = self.purpose(device_serial, &wallet.token_serial, &wallet.token_label, wallet.curve);
        self.require_room(1)?;
        let made = self.make_wallet(&purpose, &wallet.recovery, Wanted::ByTheOperator)?;
        made.ok_or_else(|| Error::Conflict { what: "making a wallet".to_owned() })
    }

    /// Records that the words of a wallet are written down: it takes keys from now on.
    pub fn confirm_wallet(&self, id: WalletId) -> Result<(), Error> {
        match self.write(|tx| Ok(tx.confirm_wallet(id)?))? {
            Some(true) => Ok(()),
            Some(false) | None => Err(Error::NoSuchWallet(id)),
        }
    }

    pub(crate) fn purpose(
        &self,
        device_serial: String,
        token_serial: &str,
        token_label: &str,
        curve: Curve,
    ) -> Purpose {
        let shared = self.settings.strategy == Strategy::SharedWallet;
        Purpose {
            device_serial,
            token_serial: (!shared).then(|| token_serial.to_owned()),
            token_label: if shared { String::new() } else { token_label.to_owned() },
            curve,
            single_key: self.settings.strategy == Strategy::WalletPerKey,
        }
    }

    /// Fails when fewer than `slots` slots of the device are free.
    pub(crate) fn require_room(&self, slots: usize) -> Result<Vec<KeySlot>, Error> {
        let allocated = self.device.allocated_slots()?;
        if allocated.slots.len() + slots > allocated.capacity {
            return Err(Error::NoRoom { used: allocated.slots.len(), capacity: allocated.capacity });
        }
        Ok(allocated.slots)
    }

    /// The wallet of a purpose that takes the next key. A recoverable one is preferred, then the newest.
    pub(crate) fn choose(&self, rows: &Rows<'_>, purpose: &Purpose) -> Result<Choice, Error> {
        let mut unconfirmed = None;
        let mut best: Option<WalletRecord> = None;
        for wallet in rows.wallets_for(&purpose.device_serial, purpose.token_serial.as_deref(), purpose.curve)? {
            if wallet.retired || wallet.single_key != purpose.single_key || !self.has_room(rows, &wallet)? {
                continue;
            }
            if !wallet.confirmed {
                unconfirmed = Some(wallet.name);
                continue;
            }
            let recoverable = |wallet: &WalletRecord| wallet.recovery != Recovery::None;
            if best.as_ref().is_none_or(|best| recoverable(&wallet) >= recoverable(best)) {
                best = Some(wallet);
            }
        }
        if let Some(wallet) = best {
            return Ok(Choice::Wallet(Box::new(wallet)));
        }
        if let Some(name) = unconfirmed {
            return Err(Error::WalletUnconfirmed { name });
        }
        if self.settings.auto_create_wallet == AutoCreateWallet::Refuse {
            return Err(Error::NoWallet { token: purpose.token_label.clone(), curve: purpose.curve });
        }
        let others = rows.intents()?.into_iter().find(|intent| {
            matches!(&intent.kind, IntentKind::CreateWallet { curve, device_serial, token_serial, .. }
                    if *curve == purpose.curve
                        && *device_serial == purpose.device_serial
                        && *token_serial == purpose.token_serial)
        });
        Ok(match others {
            // Each key gets its own: no reason to wait for somebody else's.
            Some(intent) if !purpose.single_key => Choice::Wait(intent.owner),
            _ => Choice::Make,
        })
    }

    fn has_room(&self, rows: &Rows<'_>, wallet: &WalletRecord) -> Result<bool, Error> {
        if wallet.next_index >= 1 << 31 {
            return Ok(false);
        }
        if wallet.single_key {
            // The first index of a wallet with words was used up by the comparison of derivations.
            return Ok(wallet.next_index <= u32::from(wallet.recovery == Recovery::Bip39));
        }
        let configured = self.settings.wallet_capacity.map(std::num::NonZeroU32::get);
        match [wallet.capacity, configured].into_iter().flatten().min() {
            Some(capacity) => Ok(rows.keys_in_wallet(wallet.id)? < capacity),
            None => Ok(true),
        }
    }

    /// Waits until another process has made its wallet, or has ended.
    pub(crate) fn wait_for_wallet(&self, owner: OwnerId, since: Instant) -> Result<(), Error> {
        if since.elapsed() > WAIT_FOR_WALLET {
            return Err(Error::Conflict {
                what: "another process has been making the same wallet for too long".to_owned(),
            });
        }
        if self.with_store(|store| Ok(store.owner_alive(owner)?))? == Some(false) {
            self.tidy();
        }
        std::thread::sleep(POLL);
        Ok(())
    }

    /// Makes a wallet; `None` when it was only wanted for want of one, and somebody else was faster.
    pub(crate) fn make_wallet(
        &self,
        purpose: &Purpose,
        recovery: &WalletRecovery,
        wanted: Wanted,
    ) -> Result<Option<CreatedWallet>, Error> {
        let Some((name, intent)) = self.announce_wallet(purpose, wanted)? else { return Ok(None) };
        self.step("create-wallet: intent recorded");
        let before = match self.look_before(intent) {
            Ok(before) => before,
            Err(error) => {
                self.withdraw(intent);
                return Err(error);
            }
        };
        let made = match recovery {
            WalletRecovery::None => self.device.create_wallet(purpose.curve, &name).map(|slot| (slot, None)),
            WalletRecovery::Bip39 { passphrase } => self
                .device
                .create_wallet_bip39(purpose.curve, &name, passphrase)
                .map(|(slot, words)| (slot, Some(words))),
        };
        self.step("create-wallet: seed made");
        let (master, words) = match made {
            Ok(made) => made,
            Err(error) => {
                self.leave_or_withdraw_wallet(purpose, &name, intent);
                return Err(error.into());
            }
        };
        let finished = self.finish_wallet(purpose, recovery, &name, intent, master, &before, words.as_deref());
        match finished {
            Ok(record) => {
                tracing::info!(
                    wallet = record.name,
                    slot = record.master_slot,
                    token = record.token_label,
                    curve = %record.curve,
                    recovery = record.recovery.name(),
                    "made a wallet"
                );
                if record.recovery == Recovery::None {
                    tracing::warn!(
                        wallet = record.name,
                        "the wallet has no recovery: its keys die with the device. `holdfast wallet create --recovery \
                         bip39` makes one that can be recovered"
                    );
                }
                Ok(Some(CreatedWallet { record, words }))
            }
            Err(error) => {
                self.leave_or_withdraw_wallet(purpose, &name, intent);
                Err(error)
            }
        }
    }

    /// Finds a name that is free in the store and on the device, and records that a wallet of that name is being made.
    /// A wallet on the device that the store does not know is never taken for ours: its indices may be used up.
    fn announce_wallet(&self, purpose: &Purpose, wanted: Wanted) -> Result<Option<(String, IntentId)>, Error> {
        let base = base_name(purpose);
        let mut number = 1u32;
        loop {
            let name = if number == 1 { base.clone() } else { format!("{base}-{number}") };
            number += 1;
            let serial = purpose.device_serial.as_str();
            if self.read(|rows, _| name_taken(rows, serial, &name))?.unwrap_or(false) {
                continue;
            }
            match self.device.slot_of_node(&DerivationPath::master(), &name) {
                Ok(slot) => {
                    tracing::warn!(
                        wallet = name,
                        slot = slot.number(),
                        "the device has a wallet of this name that the store does not know: another name is used"
                    );
                    continue;
                }
                Err(error) if is_refusal(&error) => {}
                Err(error) => return Err(error.into()),
            }
            let announced = self.with_new_store(|store| {
                let owner = store.owner()?;
                store.write(|tx| {
                    if wanted == Wanted::ForWantOfOne && !matches!(self.choose(tx, purpose)?, Choice::Make) {
                        return Ok(Announced::NotNeeded);
                    }
                    if name_taken(tx, serial, &name)? {
                        return Ok(Announced::NameTaken);
                    }
                    let kind = IntentKind::CreateWallet {
                        name: name.clone(),
                        curve: purpose.curve,
                        device_serial: serial.to_owned(),
                        token_serial: purpose.token_serial.clone(),
                    };
                    Ok::<_, Error>(Announced::As(tx.insert_intent(&NewIntent { kind, owner })?))
                })
            })?;
            match announced {
                Announced::As(intent) => return Ok(Some((name, intent))),
                Announced::NotNeeded => return Ok(None),
                Announced::NameTaken => {}
            }
        }
    }

    #[allow(clippy::too_many_arguments, reason = "one step of one operation, split for its length")]
    fn finish_wallet(
        &self,
        purpose: &Purpose,
        recovery: &WalletRecovery,
        name: &str,
        intent: IntentId,
        master: KeySlot,
        before: &Before,
        words: Option<&String>,
    ) -> Result<WalletRecord, Error> {
        let not_fresh = |reason| Error::NotFresh { node: format!("{name} m"), reason };
        if !self.is_fresh(master, before)? {
            return Err(not_fresh("the slot was taken before"));
        }
        let node = self.device.node_of_slot(master)?;
        if !node.path.is_master() || node.wallet_name != name {
            return Err(not_fresh("the slot holds another node"));
        }
        let (recovery_kind, agrees) = match (recovery, words) {
            (WalletRecovery::Bip39 { passphrase }, Some(words)) => {
                // That it cannot be compared is no reason to lose words that were just made.
                let agrees = self
                    .compare_derivation(purpose.curve, name, intent, master, words, passphrase)
                    .inspect_err(|error| tracing::warn!(wallet = name, %error, "the derivation could not be compared"))
                    .unwrap_or(None);
                (Recovery::Bip39, agrees)
            }
            _ => (Recovery::None, None),
        };
        self.step("create-wallet: derivation compared");
        let row = NewWalletRow {
            name: name.to_owned(),
            curve: purpose.curve,
            device_serial: purpose.device_serial.clone(),
            token_serial: purpose.token_serial.clone(),
            token_label: purpose.token_label.clone(),
            master_slot: master.number(),
            recovery: recovery_kind,
            confirmed: recovery_kind == Recovery::None,
            next_index: u32::from(recovery_kind == Recovery::Bip39),
            capacity: self.settings.wallet_capacity.map(std::num::NonZeroU32::get),
            hardened: self.settings.hardened,
            derivation_agrees: agrees,
            single_key: purpose.single_key,
        };
        let recorded = self.write(|tx| {
            if !tx.delete_intent(intent)? {
                return Err(Error::Conflict { what: format!("making wallet {name}") });
            }
            let id = tx.insert_wallet(&row)?;
            tx.wallet(id)?.ok_or(Error::NoSuchWallet(id))
        });
        let recorded = match recorded {
            Ok(recorded) => recorded,
            // The commit may have happened all the same.
            Err(error) => match self.read(|rows, _| Ok(rows.wallet_by_name(&purpose.device_serial, name)?)) {
                Ok(Some(Some(record))) => Some(record),
                _ => return Err(error),
            },
        };
        self.step("create-wallet: recorded");
        recorded.ok_or_else(|| Error::Conflict { what: format!("making wallet {name}") })
    }

    /// Derives the wallet's first child on the device and by the published standard, and removes it again.
    fn compare_derivation(
        &self,
        curve: Curve,
        name: &str,
        intent: IntentId,
        master: KeySlot,
        words: &str,
        passphrase: &Zeroizing<String>,
    ) -> Result<Option<bool>, Error> {
        let Some(child) = ChildNumber::new(0, self.settings.hardened) else { return Ok(None) };
        let path = DerivationPath::master().child(child);
        let before = self.look_before(intent)?;
        let slot = self.device.generate_child(master, child)?;
        self.step("create-wallet: first child derived");
        let exported = self.device.export_public_key(slot, curve);
        let node = self.device.node_of_slot(slot)?;
        if node.path == path && node.wallet_name == name && self.is_fresh(slot, &before)? {
            self.device.remove_key(slot)?;
        }
        let Some(expected) = expected_public_key(curve, words, passphrase, &path) else { return Ok(None) };
        let agrees = exported? == expected;
        if !agrees {
            tracing::warn!(
                wallet = name,
                "the device does not derive keys as the published standard says: the words bring its keys back on such a device only"
            );
        }
        Ok(Some(agrees))
    }

    /// After a failure: takes the intent back, or, when the seed exists or that cannot be known, keeps the seed and
    /// records it as something left over. A seed is never removed here.
    fn leave_or_withdraw_wallet(&self, purpose: &Purpose, name: &str, intent: IntentId) {
        let path = DerivationPath::master();
        let exists = !matches!(self.slot_of(&path, name, None), Ok(None));
        let leftover = exists.then(|| NewLeftover {
            device_serial: purpose.device_serial.clone(),
            wallet_name: name.to_owned(),
            path,
            public_key: None,
            reason: LeftoverReason::InterruptedWallet,
        });
        self.replace_intent(intent, leftover.as_ref());
    }

    /// Takes an intent back. When the store fails here too, the intent stays until this process has ended and somebody
    /// repairs it.
    pub(crate) fn withdraw(&self, intent: IntentId) {
        self.replace_intent(intent, None);
    }

    pub(crate) fn replace_intent(&self, intent: IntentId, leftover: Option<&NewLeftover>) {
        let outcome = self.write(|tx: &WriteTx<'_>| {
            if tx.delete_intent(intent)?
                && let Some(leftover) = leftover
            {
                tx.insert_leftover(leftover)?;
            }
            Ok(())
        });
        if let Some(leftover) = leftover {
            tracing::warn!(
                wallet = leftover.wallet_name,
                node = %leftover.path,
                reason = leftover.reason.name(),
                "something was left on the device that is no key; see `holdfast status`"
            );
        }
        if let Err(error) = outcome {
            tracing::warn!(%error, "interrupted work could not be taken back: `holdfast repair` does it later");
        }
    }
}

fn name_taken(rows: &Rows<'_>, device_serial: &str, name: &str) -> Result<bool, Error> {
    let intended = |kind: &IntentKind| {
        matches!(kind, IntentKind::CreateWallet { name: other, device_serial: device, .. }
            if other == name && device == device_serial)
    };
    Ok(rows.wallet_by_name(device_serial, name)?.is_some()
        || rows.intents()?.iter().any(|intent| intended(&intent.kind))
        || rows.leftovers()?.iter().any(|l| l.device_serial == device_serial && l.wallet_name == name))
}

/// `holdfast-<token serial>-p256`: a name that says whose the wallet is.
fn base_name(purpose: &Purpose) -> String {
    let owner = match &purpose.token_serial {
        None => "shared".to_owned(),
        Some(serial) => {
            let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') { c } else { '_' };
            serial.trim().chars().map(plain).collect()
        }
    };
    format!("holdfast-{owner}-{}", purpose.curve)
}

/// What the published standards say the public key of a node is: BIP39 from the words to the seed, then BIP32 or
/// SLIP-0010. `None` when they do not say, for words that are not BIP39's.
fn expected_public_key(curve: Curve, words: &str, passphrase: &str, path: &DerivationPath) -> Option<PublicKey> {
    let seed = Mnemonic::parse(words).ok()?.seed(passphrase);
    let master = ExtendedPrivateKey::from_seed(HdCurve::from(curve), &seed[..]).ok()?;
    let node = master.derive_path(path).ok()?;
    PublicKey::from_coordinates(curve, &node.public_key()).ok()
}
