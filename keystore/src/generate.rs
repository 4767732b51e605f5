//! Making a key: reserve and announce, derive, record - each durable before the next.

use std::collections::HashSet;
use std::time::Instant;

use holdfast_device::{DeviceError, KeySlot};
use holdfast_mapping_db::{
    IntentId, IntentKind, KeyId, KeyRecord, LeftoverReason, NewIntent, NewKey, NewLeftover, NewObjectRow, ObjectClass,
    ObjectRecord, Origin, OwnerId, WalletRecord,
};
use holdfast_wallet::{ChildNumber, DerivationPath, PublicKey};
use sha1::{Digest, Sha1};

use crate::fresh::Before;
use crate::init_token::unsettled;
use crate::locate::is_refusal;
use crate::wallets::{Choice, Purpose, Wanted};
use crate::{Error, GenerateRequest, GeneratedPair, Keystore, NewObject, Object, WalletRecovery};

/// The longest `CKA_LABEL`, in bytes: OpenSSH gives up on a whole token when it meets a longer one.
pub(crate) const LABEL_LIMIT: usize = 255;
/// The longest `CKA_ID` and `CKA_SUBJECT`, in bytes, so that a template cannot fill the disk.
pub(crate) const BYTES_LIMIT: usize = 16 * 1024;

/// How often another wallet is tried when one turns out to have a past that the store does not know.
const ATTEMPTS: usize = 3;

/// A node that is ours to derive.
#[derive(Clone, Debug)]
pub(crate) struct Reservation {
    wallet: WalletRecord,
    child: ChildNumber,
    intent: IntentId,
    owner: OwnerId,
}

impl Reservation {
    fn path(&self) -> DerivationPath {
        DerivationPath::master().child(self.child)
    }

    fn node(&self) -> String {
        format!("{} {}", self.wallet.name, self.path())
    }
}

impl Keystore {
    /// Makes a key pair. When it answers, the key is durable on the device and in the store, and signs after any later
    /// crash or power cut. When it fails, no key is left behind: what cannot be removed again is hidden and reported.
    pub fn generate(&self, request: &GenerateRequest) -> Result<GeneratedPair, Error> {
        check_lengths(&request.public)?;
        check_lengths(&request.private)?;
        let device_serial = self.identify()?.serial;
        self.require_room(1)?;
        self.tidy();
        self.settle_init_token(&request.token_serial)?;
        let purpose = self.purpose(device_serial, &request.token_serial, &request.token_label, request.curve);
        let mut attempt = 1;
        loop {
            self.retire_wallets_with_a_past(&purpose)?;
            let reservation = self.reserve(&purpose)?;
            self.step("generate: index reserved");
            match self.derive_and_record(&reservation, request) {
                Ok(pair) => {
                    let key = &pair.private.key;
                    tracing::info!(
                        node = key.node(),
                        slot = key.slot,
                        token = key.token_label,
                        curve = %request.curve,
                        session = key.session,
                        "made a key on the device"
                    );
                    return Ok(pair);
                }
                Err(error @ Error::NotFresh { .. }) if attempt < ATTEMPTS => {
                    tracing::warn!(%error, "trying in another wallet");
                    attempt += 1;
                }
                Err(error) => {
                    tracing::warn!(node = reservation.node(), %error, "no key was made");
                    return Err(error);
                }
            }
        }
    }

    /// Takes wallets out of use whose device knows nodes that the store has not given out yet: then the store is an
    /// older copy, and the next index may have been used before.
    fn retire_wallets_with_a_past(&self, purpose: &Purpose) -> Result<(), Error> {
        let allocated = self.device.allocated_slots()?.slots;
        let recorded = self.read(|rows, _| Ok(rows.recorded_slots()?.into_iter().collect::<HashSet<_>>()))?;
        let Some(recorded) = recorded else { return Ok(()) };
        let unknown: Vec<KeySlot> = {
            let known = self.lock_known();
            allocated
                .into_iter()
                .filter(|slot| !recorded.contains(&slot.number()) && !known.foreign.contains(slot))
                .collect()
        };
        for slot in unknown {
            let node = match self.device.node_of_slot(slot) {
                Ok(node) => Some(node),
                Err(error) if is_refusal(&error) => None,
                Err(error) => return Err(error.into()),
            };
            // Asked after the device, so that the store knows of every node made before by a living process.
            let ours = match &node {
                Some(node) => {
                    self.read(|rows, _| Ok(rows.wallet_by_name(&purpose.device_serial, &node.wallet_name)?))?.flatten()
                }
                None => None,
            };
            match (node, ours) {
                (Some(node), Some(wallet)) => {
                    let unheard_of = node.path.steps().first().is_some_and(|step| step.index() >= wallet.next_index);
                    if unheard_of && !wallet.retired {
                        tracing::warn!(
                            wallet = wallet.name,
                            node = %node.path,
                            slot = slot.number(),
                            "the device has a node that the store has not given out yet, so the store is an older \
                             copy: new keys go to a new wallet"
                        );
                        self.write(|tx| Ok(tx.retire_wallet(wallet.id)?))?;
                    }
                }
                _ => {
                    self.lock_known().foreign.insert(slot);
                }
            }
        }
        Ok(())
    }

    /// Chooses the wallet, gives out its next index and records the intent, in one transaction. Makes a wallet first
    /// where there is none.
    fn reserve(&self, purpose: &Purpose) -> Result<Reservation, Error> {
        let since = Instant::now();
        loop {
            let outcome = self.with_new_store(|store| {
                let owner = store.owner()?;
                store.write(|tx| {
                    if tx.is_older_copy()? {
                        tracing::warn!(
                            "the store is an older copy of itself: no further keys are made in its wallets, new keys \
                             go to new ones"
                        );
                        tx.retire_all_wallets()?;
                        tx.accept_older_copy()?;
                    }
                    match self.choose(tx, purpose)? {
                        Choice::Wallet(wallet) => {
                            let child = tx.reserve_index(wallet.id)?;
                            let kind = IntentKind::Generate { wallet: wallet.id, child };
                            let intent = tx.insert_intent(&NewIntent { kind, owner })?;
                            Ok(Ok(Reservation { wallet: *wallet, child, intent, owner }))
                        }
                        other => Ok::<_, Error>(Err(other)),
                    }
                })
            })?;
            match outcome {
                Ok(reservation) => return Ok(reservation),
                Err(Choice::Wait(owner)) => self.wait_for_wallet(owner, since)?,
                Err(_) => {
                    // The seed and the key.
                    self.require_room(2)?;
                    self.make_wallet(purpose, &WalletRecovery::None, Wanted::ForWantOfOne)?;
                }
            }
        }
    }

    fn derive_and_record(&self, reservation: &Reservation, request: &GenerateRequest) -> Result<GeneratedPair, Error> {
        let (master, before) = match self.prepare_derivation(reservation) {
            Ok(prepared) => prepared,
            Err(error) => {
                match error {
                    Error::NotFresh { .. } => self.give_wallet_up(reservation),
                    _ => self.withdraw(reservation.intent),
                }
                return Err(error);
            }
        };
        let derived = self.device.generate_child(master, reservation.child);
        let made = derived.as_ref().ok().map(|slot| slot.number());
        self.step("generate: derived");
        let outcome = match derived {
            Ok(slot) => self.check_derived(reservation, slot, &before),
            Err(error) => Err(self.explain_refusal(reservation, error, &before)),
        };
        let recorded = outcome.and_then(|(slot, public_key)| {
            self.step("generate: public key read");
            self.record(reservation, request, slot, public_key)
        });
        match recorded {
            Ok(pair) => {
                self.step("generate: recorded");
                Ok(pair)
            }
            Err(error) => {
                self.undo(reservation, made, &before, &error);
                Err(error)
            }
        }
    }

    /// Finds the seed, makes sure that the node does not exist, and looks at what does.
    fn prepare_derivation(&self, reservation: &Reservation) -> Result<(KeySlot, Before), Error> {
        let wallet = &reservation.wallet;
        let path = DerivationPath::master();
        let cached = KeySlot::new(wallet.master_slot);
        let master = match cached.map(|slot| (slot, self.device.node_of_slot(slot))) {
            Some((slot, Ok(node))) if node.path == path && node.wallet_name == wallet.name => slot,
            Some((_, Err(error @ (DeviceError::Unreachable { .. } | DeviceError::Library { .. })))) => {
                return Err(error.into());
            }
            _ => match self.slot_of(&path, &wallet.name, None)? {
                Some(slot) => {
                    self.write(|tx| Ok(tx.set_master_slot(wallet.id, slot.number())?))?;
                    slot
                }
                None => {
                    tracing::error!(wallet = wallet.name, "the wallet's seed is not on the device: its keys are lost");
                    self.write(|tx| Ok(tx.retire_wallet(wallet.id)?))?;
                    return Err(Error::NotFresh {
                        node: reservation.node(),
                        reason: "its wallet is not on the device",
                    });
                }
            },
        };
        match self.device.slot_of_node(&reservation.path(), &wallet.name) {
            Ok(_) => return Err(Error::NotFresh { node: reservation.node(), reason: "the node existed before" }),
            Err(error) if is_refusal(&error) => {}
            // No answer is not a no.
            Err(error) => return Err(error.into()),
        }
        Ok((master, self.look_before(reservation.intent)?))
    }

    /// Checks that the device made what was asked for, and made it now.
    fn check_derived(
        &self,
        reservation: &Reservation,
        slot: KeySlot,
        before: &Before,
    ) -> Result<(KeySlot, PublicKey), Error> {
        let not_fresh = |reason| Error::NotFresh { node: reservation.node(), reason };
        let node = self.device.node_of_slot(slot)?;
        if !self.is_fresh(slot, before)? {
            return Err(not_fresh("the slot was taken before"));
        }
        if node.path != reservation.path() || node.wallet_name != reservation.wallet.name {
            return Err(not_fresh("the slot holds another node"));
        }
        let public_key = self.device.export_public_key(slot, reservation.wallet.curve)?;
        if self.read(|rows, _| Ok(rows.public_key_seen(&public_key)?))? == Some(true) {
            return Err(not_fresh("the public key was recorded before"));
        }
        Ok((slot, public_key))
    }

    /// A derivation that was refused: because the node existed before, because there is no room, or for a reason that
    /// only the device knows.
    fn explain_refusal(&self, reservation: &Reservation, error: DeviceError, before: &Before) -> Error {
        if !matches!(error, DeviceError::Refused { .. }) {
            return error.into();
        }
        if let Ok(Some(slot)) = self.slot_of(&reservation.path(), &reservation.wallet.name, None)
            && before.slots.contains(&slot)
        {
            return Error::NotFresh { node: reservation.node(), reason: "the node existed before" };
        }
        match self.require_room(1) {
            Err(no_room @ Error::NoRoom { .. }) => no_room,
            _ => error.into(),
        }
    }

    fn record(
        &self,
        reservation: &Reservation,
        request: &GenerateRequest,
        slot: KeySlot,
        public_key: PublicKey,
    ) -> Result<GeneratedPair, Error> {
        let owner = request.session.then_some(reservation.owner);
        let (public, private) = named(request, &public_key);
        let key = NewKey {
            node: Some((reservation.wallet.id, reservation.path())),
            device_serial: reservation.wallet.device_serial.clone(),
            slot: slot.number(),
            public_key,
            token_serial: request.token_serial.clone(),
            token_label: request.token_label.clone(),
            session_owner: owner,
        };
        let recorded = self.write(|tx| {
            if !tx.delete_intent(reservation.intent)? {
                return Err(Error::Conflict { what: format!("making {}", reservation.node()) });
            }
            if unsettled(tx, &key.token_serial)?.is_some() {
                return Err(Error::InitTokenUnsettled { token_serial: key.token_serial.clone() });
            }
            let id = tx.insert_key(&key)?;
            tx.insert_object(&row(id, ObjectClass::PublicKey, owner, &public))?;
            tx.insert_object(&row(id, ObjectClass::PrivateKey, owner, &private))?;
            let record = tx.key(id)?.ok_or(Error::NoSuchKey(id))?;
            Ok((record, tx.objects_of_key(id)?))
        });
        let (record, objects) = match recorded {
            Ok(Some(recorded)) => recorded,
            Ok(None) => return Err(Error::Conflict { what: "the store was removed".to_owned() }),
            // An error of the commit leaves open whether it happened.
            Err(error) => match self.recorded_after_all(&key) {
                Some(recorded) => recorded,
                None => return Err(error),
            },
        };
        self.lock_known().checked.insert(record.id, slot);
        let key = std::sync::Arc::new(record);
        let mut halves = objects.into_iter().map(|record| Object { record, key: std::sync::Arc::clone(&key) });
        match (halves.next(), halves.next()) {
            (Some(public), Some(private)) => Ok(GeneratedPair { public, private }),
            _ => Err(Error::NoSuchKey(key.id)),
        }
    }

    /// What was recorded although its commit failed. It counts only after one more change went through: what is read
    /// now may still be on its way to the disk.
    fn recorded_after_all(&self, key: &NewKey) -> Option<(KeyRecord, Vec<ObjectRecord>)> {
        let (wallet, path) = key.node.as_ref()?;
        let recorded = self.read(|rows, _| {
            let found = rows.keys()?.into_iter().find(|found| {
                found.public_key == key.public_key
                    && matches!(&found.origin, Origin::Derived { wallet: w, path: p, .. } if w == wallet && p == path)
            });
            match found {
                Some(found) => {
                    let objects = rows.objects_of_key(found.id)?;
                    Ok(Some((found, objects)))
                }
                None => Ok(None),
            }
        });
        let recorded = recorded.ok().flatten().flatten()?;
        let written = self.write(|tx| Ok(tx.set_slot(recorded.0.id, key.slot)?));
        matches!(written, Ok(Some(()))).then_some(recorded)
    }

    /// The node that was to be derived was there before, so the wallet's past is not known: no further key is made in
    /// it. What is there stays, it may be somebody's key.
    fn give_wallet_up(&self, reservation: &Reservation) {
        let outcome = self.write(|tx| {
            tx.retire_wallet(reservation.wallet.id)?;
            tx.delete_intent(reservation.intent)?;
            Ok(())
        });
        if let Err(error) = outcome {
            tracing::warn!(%error, "the intent could not be taken back: `holdfast repair` does it later");
        }
    }

    /// After a failure: removes the node again if it was made by this very call - the evidence is this process's own,
    /// not the store's - and takes the intent back. What cannot be removed is recorded as left over.
    fn undo(&self, reservation: &Reservation, made: Option<i32>, before: &Before, cause: &Error) {
        let (path, wallet) = (reservation.path(), &reservation.wallet);
        if matches!(cause, Error::NotFresh { .. }) {
            self.give_wallet_up(reservation);
            return;
        }
        // Unless the intent is still ours, somebody else has taken care of the node already.
        let still_ours = self.read(|rows, _| Ok(rows.intents()?.iter().any(|intent| intent.id == reservation.intent)));
        let gone = match (still_ours, self.slot_of(&path, &wallet.name, made)) {
            (Ok(Some(false) | None), _) => return,
            (_, Ok(None)) => true,
            // A slot that was taken before may have been given up and taken again since. That is no evidence.
            (Ok(Some(true)), Ok(Some(slot))) if !before.slots.contains(&slot) => {
                let removed = self.device.remove_key(slot).is_ok();
                self.step("generate: derived node removed again");
                removed
            }
            _ => false,
        };
        let leftover = (!gone).then(|| NewLeftover {
            device_serial: wallet.device_serial.clone(),
            wallet_name: wallet.name.clone(),
            path,
            public_key: None,
            reason: LeftoverReason::InterruptedGeneration,
        });
        self.replace_intent(reservation.intent, leftover.as_ref());
    }
}

/// The halves with ID and label filled in: one missing is taken from the other half; both missing, the ID is the SHA-1
/// of the public point, as is customary.
fn named(request: &GenerateRequest, public_key: &PublicKey) -> (NewObject, NewObject) {
    let (mut public, mut private) = (request.public.clone(), request.private.clone());
    let id = public.cka_id.clone().or_else(|| private.cka_id.clone());
    let id = id.unwrap_or_else(|| Sha1::digest(public_key.to_sec1()).to_vec());
    let label = public.label.clone().or_else(|| private.label.clone()).unwrap_or_default();
    for half in [&mut public, &mut private] {
        half.cka_id.get_or_insert_with(|| id.clone());
        half.label.get_or_insert_with(|| label.clone());
    }
    (public, private)
}

pub(crate) fn row(key: KeyId, class: ObjectClass, session_owner: Option<OwnerId>, object: &NewObject) -> NewObjectRow {
    NewObjectRow {
        key,
        class,
        session_owner,
        cka_id: object.cka_id.clone().unwrap_or_default(),
        label: object.label.clone().unwrap_or_default(),
        private: object.private,
        modifiable: object.modifiable,
        destroyable: object.destroyable,
        copyable: object.copyable,
        sign: object.sign,
        verify: object.verify,
        derive: object.derive,
        subject: object.subject.clone(),
        start_date: object.start_date,
        end_date: object.end_date,
    }
}

fn check_lengths(object: &NewObject) -> Result<(), Error> {
    check_length("CKA_ID", object.cka_id.as_deref(), BYTES_LIMIT)?;
    check_length("CKA_LABEL", object.label.as_deref(), LABEL_LIMIT)?;
    check_length("CKA_SUBJECT", Some(&object.subject), BYTES_LIMIT)
}

pub(crate) fn check_length(attribute: &'static str, value: Option<&[u8]>, limit: usize) -> Result<(), Error> {
    match value {
        Some(value) if value.len() > limit => Err(Error::AttributeTooLong { attribute, length: value.len(), limit }),
        _ => Ok(()),
    }
}
