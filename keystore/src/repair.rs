//! Finishing or undoing what was interrupted.
//!
//! The rule that decides everything here: a node is never removed from the device on the store's evidence alone. The
//! store may be an older one - a restored backup, a root file system rolled back - and what it calls half-made may
//! have become somebody's key since. So what might be half-made is kept, hidden and reported; only the operator's
//! explicit word ([`Keystore::remove_leftover`]) removes it.

use std::collections::BTreeMap;

use holdfast_mapping_db::{
    Intent, IntentKind, KeyId, KeyRecord, LeftoverId, LeftoverReason, NewLeftover, ObjectClass, ObjectId, ObjectRecord,
    Origin, OwnerId, WriteTx,
};
use holdfast_wallet::{Curve, DerivationPath, PublicKey};

use crate::keystore::has_private;
use crate::locate::is_refusal;
use crate::{Error, Keystore};

impl Keystore {
    /// Finishes or undoes the work of processes that have ended; says what was done, nothing when there was nothing.
    ///
    /// An interrupted initialisation of a token is not touched: see [`Keystore::resolve_init_token`].
    pub fn repair(&self) -> Result<Vec<String>, Error> {
        let mut done = Vec::new();
        let dead = self.dead_work()?;
        let leftovers = self.read(|rows, _| Ok(rows.leftovers()?))?.unwrap_or_default();
        if dead.is_empty() && leftovers.is_empty() {
            return Ok(done);
        }
        let serial = self.identify()?.serial;
        for intent in &dead.intents {
            done.extend(self.repair_intent(intent, &serial)?);
        }
        for (key, objects) in &dead.session_objects {
            done.extend(self.repair_session(*key, objects, &serial)?);
        }
        for leftover in leftovers.iter().filter(|leftover| leftover.device_serial == serial) {
            if self.slot_of(&leftover.path, &leftover.wallet_name, None)?.is_none()
                && self.write(|tx| Ok(tx.delete_leftover(leftover.id)?))? == Some(true)
            {
                done.push(format!("{} {} is not on the device any more", leftover.wallet_name, leftover.path));
            }
        }
        for line in &done {
            tracing::info!("repaired: {line}");
        }
        Ok(done)
    }

    /// [`Keystore::repair`] before other work, when there is something to repair. That it fails does not stop the work.
    pub(crate) fn tidy(&self) {
        let outcome = self.dead_work().and_then(|dead| if dead.is_empty() { Ok(Vec::new()) } else { self.repair() });
        if let Err(error) = outcome {
            tracing::debug!(%error, "nothing was repaired");
        }
    }

    /// Removes a leftover from the device, on the operator's explicit word.
    ///
    /// A seed is only removed when no node is under it.
    pub fn remove_leftover(&self, id: LeftoverId) -> Result<(), Error> {
        let leftover = self.read(|rows, _| Ok(rows.leftover(id)?))?.flatten();
        let Some(leftover) = leftover else { return Ok(()) };
        let node = format!("{} {}", leftover.wallet_name, leftover.path);
        let attached = self.identify()?.serial;
        if attached != leftover.device_serial {
            return Err(Error::OtherDevice { node, recorded: leftover.device_serial, attached });
        }
        match self.slot_of(&leftover.path, &leftover.wallet_name, None)? {
            None => {}
            Some(slot) => {
                let recorded = self.read(|rows, _| {
                    let same = |key: &KeyRecord| {
                        matches!(&key.origin, Origin::Derived { wallet_name, path, .. }
                        if *wallet_name == leftover.wallet_name && *path == leftover.path)
                    };
                    Ok(rows.keys()?.iter().any(same))
                })?;
                if recorded == Some(true) {
                    return Err(Error::Conflict { what: format!("{node} is a key") });
                }
                for other in self.device.allocated_slots()?.slots.into_iter().filter(|other| *other != slot) {
                    match self.device.node_of_slot(other) {
                        Ok(below)
                            if below.wallet_name == leftover.wallet_name
                                && leftover.path.is_ancestor_of(&below.path) =>
                        {
                            return Err(Error::Conflict { what: format!("{node} has nodes under it") });
                        }
                        Ok(_) => {}
                        Err(error) if is_refusal(&error) => {}
                        Err(error) => return Err(error.into()),
                    }
                }
                self.device.remove_key(slot)?;
                tracing::info!(node, slot = slot.number(), "removed a leftover, as the operator asked");
            }
        }
        self.write(|tx| Ok(tx.delete_leftover(id)?))?;
        Ok(())
    }

    /// The work whose owners have ended, initialisations of tokens left aside.
    fn dead_work(&self) -> Result<DeadWork, Error> {
        let found = self.with_store(|store| {
            let own = store.known_owner();
            let (intents, sessions) = store.read(|rows| Ok::<_, Error>((rows.intents()?, rows.session_objects()?)))?;
            let mut dead = DeadWork::default();
            if store.write_obstacle().is_some() {
                return Ok(dead);
            }
            let mut is_dead =
                |owner: OwnerId| -> Result<bool, Error> { Ok(own != Some(owner) && !store.owner_alive(owner)?) };
            for intent in intents {
                if !matches!(intent.kind, IntentKind::InitToken { .. }) && is_dead(intent.owner)? {
                    dead.intents.push(intent);
                }
            }
            for (object, key, owner) in sessions {
                if is_dead(owner)? {
                    dead.session_objects.entry(key).or_default().push(object);
                }
            }
            Ok(dead)
        })?;
        Ok(found.unwrap_or_default())
    }

    fn repair_intent(&self, intent: &Intent, serial: &str) -> Result<Option<String>, Error> {
        match &intent.kind {
            IntentKind::Generate { wallet, child } => {
                let wallet = self.read(|rows, _| Ok(rows.wallet(*wallet)?))?.flatten();
                match wallet {
                    Some(wallet) if wallet.device_serial == serial => {
                        let path = DerivationPath::master().child(*child);
                        let reason = LeftoverReason::InterruptedGeneration;
                        self.settle_node(intent, serial, &wallet.name, path, Some(wallet.curve), reason)
                    }
                    _ => Ok(None),
                }
            }
            IntentKind::CreateWallet { name, device_serial, .. } if device_serial == serial => {
                let reason = LeftoverReason::InterruptedWallet;
                self.settle_node(intent, serial, name, DerivationPath::master(), None, reason)
            }
            IntentKind::Destroy { key, whole } => self.settle_destruction(intent, *key, *whole, serial),
            IntentKind::CreateWallet { .. } | IntentKind::InitToken { .. } => Ok(None),
        }
    }

    /// An interrupted making of a node: forgotten when the device has no such node, otherwise kept as a leftover.
    fn settle_node(
        &self,
        intent: &Intent,
        serial: &str,
        wallet_name: &str,
        path: DerivationPath,
        curve: Option<Curve>,
        reason: LeftoverReason,
    ) -> Result<Option<String>, Error> {
        let leftover = match self.slot_of(&path, wallet_name, None)? {
            None => None,
            Some(slot) => {
                let public_key = curve.and_then(|curve| self.device.export_public_key(slot, curve).ok());
                Some(new_leftover(serial, wallet_name, &path, public_key, reason))
            }
        };
        self.step("repair: looked at the device");
        let settled = self.write(|tx| {
            if !tx.delete_intent(intent.id)? {
                return Ok(false);
            }
            if let Some(leftover) = &leftover {
                tx.insert_leftover(leftover)?;
            }
            Ok(true)
        })?;
        Ok((settled == Some(true)).then(|| match leftover {
            None => format!("an interrupted {} of {wallet_name} {path} had not reached the device", intent.kind.name()),
            Some(_) => format!(
                "an interrupted {} left {wallet_name} {path} on the device; it is kept and reported",
                intent.kind.name()
            ),
        }))
    }

    /// An interrupted destruction: finished when the device's key is gone, undone when it is still there.
    fn settle_destruction(
        &self,
        intent: &Intent,
        key: KeyId,
        whole: bool,
        serial: &str,
    ) -> Result<Option<String>, Error> {
        let found = self.read(|rows, _| Ok((rows.key(key)?, rows.objects_of_key(key)?)))?;
        let Some((Some(key), objects)) = found else { return Ok(None) };
        let gone = match &key.origin {
            // Nothing is removed on the device for an adopted key: letting go of it is all there was to do.
            Origin::Adopted => true,
            Origin::Derived { .. } if key.device_serial != serial => return Ok(None),
            Origin::Derived { wallet_name, path, .. } => self.slot_of(path, wallet_name, Some(key.slot))?.is_none(),
        };
        self.step("repair: looked at the device");
        if gone {
            let goes = |object: &&ObjectRecord| whole || object.class == ObjectClass::PrivateKey;
            let ids: Vec<ObjectId> = objects.iter().filter(goes).map(|object| object.id).collect();
            self.forget_objects(&key, &ids, None, Some(intent.id))?;
            return Ok(Some(format!("the interrupted destruction of {} was finished", key.node())));
        }
        let withdrawn = self.write(|tx| Ok(tx.delete_intent(intent.id)?))?;
        Ok((withdrawn == Some(true))
            .then(|| format!("the interrupted destruction of {} was undone: the key is there again", key.node())))
    }

    /// Session objects of a process that has ended: they are dropped. A key that only they had is kept as a leftover.
    fn repair_session(&self, key: KeyId, objects: &[ObjectId], serial: &str) -> Result<Option<String>, Error> {
        let found = self.read(|rows, _| Ok((rows.key(key)?, rows.objects_of_key(key)?)))?;
        let Some((Some(record), all)) = found else { return Ok(None) };
        let stay: Vec<_> = all.iter().filter(|object| !objects.contains(&object.id)).cloned().collect();
        let leftover = match &record.origin {
            Origin::Derived { wallet_name, path, .. } if !has_private(&stay) && has_private(&all) => {
                if record.device_serial != serial {
                    return Ok(None);
                }
                match self.slot_of(path, wallet_name, Some(record.slot))? {
                    None => None,
                    Some(_) => {
                        let public_key = Some(record.public_key.clone());
                        Some(new_leftover(serial, wallet_name, path, public_key, LeftoverReason::EndedSession))
                    }
                }
            }
            _ => None,
        };
        self.write(|tx: &WriteTx<'_>| {
            for object in objects {
                tx.delete_object(*object)?;
            }
            if tx.objects_of_key(key)?.is_empty() {
                tx.delete_key(key)?;
            }
            if let Some(leftover) = &leftover {
                tx.insert_leftover(leftover)?;
            }
            Ok(())
        })?;
        Ok(Some(match leftover {
            None => format!("session objects of {} were dropped, their process having ended", record.node()),
            Some(_) => {
                format!("{} was a session key of a process that has ended; it is kept and reported", record.node())
            }
        }))
    }
}

#[derive(Default)]
struct DeadWork {
    intents: Vec<Intent>,
    session_objects: BTreeMap<KeyId, Vec<ObjectId>>,
}

impl DeadWork {
    fn is_empty(&self) -> bool {
        self.intents.is_empty() && self.session_objects.is_empty()
    }
}

pub(crate) fn new_leftover(
    serial: &str,
    wallet_name: &str,
    path: &DerivationPath,
    public_key: Option<PublicKey>,
    reason: LeftoverReason,
) -> NewLeftover {
    NewLeftover {
        device_serial: serial.to_owned(),
        wallet_name: wallet_name.to_owned(),
        path: path.clone(),
        public_key,
        reason,
    }
}
