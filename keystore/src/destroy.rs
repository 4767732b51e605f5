//! Removing objects and keys: announced, removed on the device, and only then forgotten.

use std::collections::HashSet;

use holdfast_device::DeviceError;
use holdfast_mapping_db::{
    IntentId, IntentKind, KeyId, KeyRecord, LeftoverReason, NewIntent, ObjectId, ObjectRecord, Origin, OwnerId, Rows,
    WalletId, WalletRecord,
};
use holdfast_wallet::DerivationPath;

use crate::keystore::has_private;
use crate::locate::is_refusal;
use crate::repair::new_leftover;
use crate::{Error, Keystore};

/// What the removal of some objects of a key comes to.
enum Plan {
    /// Rows only, done already: another private object still needs the device's key, or none had it any more.
    Done,
    /// The device's key goes; its objects are hidden meanwhile.
    Remove { key: Box<KeyRecord>, objects: Vec<ObjectId>, intent: IntentId },
}

impl Keystore {
    /// Destroys one object. The device's key goes with its last private object, an adopted one being let go of; public
    /// objects stay, objects being independent in PKCS#11, and still verify.
    ///
    /// Destroying is not erasing: the key can be derived again from the wallet's seed.
    pub fn destroy_object(&self, id: ObjectId) -> Result<(), Error> {
        let key = self.object(id)?.ok_or(Error::NoSuchObject(id))?.key;
        if !self.remove_objects(key.id, |object, _| object.id == id)? {
            return Err(Error::NoSuchObject(id));
        }
        Ok(())
    }

    /// Destroys a key with all its objects; an adopted one is let go of and stays on the device.
    pub fn destroy_key(&self, id: KeyId) -> Result<(), Error> {
        if !self.remove_objects(id, |_, _| true)? {
            return Err(Error::NoSuchKey(id));
        }
        Ok(())
    }

    /// Ends the session objects that this process has of a key. The device's key goes too, unless a token object needs
    /// it. Nothing happens when there are none.
    pub fn drop_session_key(&self, id: KeyId) -> Result<(), Error> {
        self.drop_session_objects(id, |_| true)
    }

    /// The same for those of them that are private, as `C_Logout` has it.
    pub fn drop_private_session_objects(&self, id: KeyId) -> Result<(), Error> {
        self.drop_session_objects(id, |object| object.private)
    }

    fn drop_session_objects(&self, id: KeyId, which: impl Fn(&ObjectRecord) -> bool) -> Result<(), Error> {
        let own = self.read(|rows, owner| {
            let own = |by| Some(by) == owner;
            let objects = rows.session_objects()?.into_iter();
            let own: HashSet<_> = objects.filter(|(_, key, by)| *key == id && own(*by)).map(|(id, ..)| id).collect();
            let mut picked = rows.objects_of_key(id)?;
            picked.retain(|object| own.contains(&object.id) && which(object));
            Ok(picked.into_iter().map(|object| object.id).collect::<HashSet<ObjectId>>())
        })?;
        let Some(own) = own.filter(|own| !own.is_empty()) else { return Ok(()) };
        let outcome = self.remove_objects(id, |object, _| own.contains(&object.id));
        // Not while somebody else is destroying the key, nor when it is the store that fails.
        if matches!(&outcome, Err(error) if !matches!(error, Error::Conflict { .. } | Error::Store(_))) {
            self.leave_session_key(id, &own)?;
        }
        outcome.map(|_| ())
    }

    /// Drops session objects whose key could not be removed from the device: they end with their session all the same.
    /// What is left on the device is reported, as it is when a process ends without ending its sessions.
    fn leave_session_key(&self, id: KeyId, objects: &HashSet<ObjectId>) -> Result<(), Error> {
        let left = self.write(|tx| {
            let Some(key) = tx.key(id)? else { return Ok(None) };
            let (go, stay): (Vec<_>, Vec<_>) =
                tx.objects_of_key(id)?.into_iter().partition(|object| objects.contains(&object.id));
            for object in &go {
                tx.delete_object(object.id)?;
            }
            if let Origin::Derived { wallet_name, path, .. } = &key.origin
                && has_private(&go)
                && !has_private(&stay)
            {
                let public_key = Some(key.public_key.clone());
                let reason = LeftoverReason::EndedSession;
                tx.insert_leftover(&new_leftover(&key.device_serial, wallet_name, path, public_key, reason))?;
            }
            if stay.is_empty() {
                tx.delete_key(id)?;
            }
            Ok(Some(key))
        })?;
        if let Some(key) = left.flatten() {
            self.step("drop session: left on the device");
            self.forget_slot(&key);
            self.lock_store().forget(id);
        }
        Ok(())
    }

    /// Removes the objects of a key that `which` picks; `false` when there was nothing to remove.
    fn remove_objects(&self, id: KeyId, which: impl Fn(&ObjectRecord, OwnerId) -> bool) -> Result<bool, Error> {
        let plan = self.with_store(|store| {
            let owner = store.owner()?;
            store.write(|tx| {
                let Some(key) = tx.key(id)? else { return Ok(None) };
                let (go, stay): (Vec<_>, Vec<_>) = tx.objects_of_key(id)?.into_iter().partition(|o| which(o, owner));
                if go.is_empty() && !stay.is_empty() {
                    return Ok(None);
                }
                if tx
                    .intents()?
                    .iter()
                    .any(|intent| matches!(intent.kind, IntentKind::Destroy { key, .. } if key == id))
                {
                    return Err(Error::Conflict { what: format!("destroying {}", key.node()) });
                }
                if has_private(&stay) || !has_private(&go) {
                    for object in &go {
                        tx.delete_object(object.id)?;
                    }
                    if stay.is_empty() {
                        tx.delete_key(id)?;
                    }
                    return Ok(Some(Plan::Done));
                }
                let kind = IntentKind::Destroy { key: id, whole: stay.is_empty() };
                let intent = tx.insert_intent(&NewIntent { kind, owner })?;
                let objects = go.into_iter().map(|object| object.id).collect();
                Ok::<_, Error>(Some(Plan::Remove { key: Box::new(key), objects, intent }))
            })
        })?;
        match plan.flatten() {
            None => Ok(false),
            Some(Plan::Done) => {
                self.step("destroy: rows dropped");
                self.lock_store().forget(id);
                Ok(true)
            }
            Some(Plan::Remove { key, objects, intent }) => {
                self.step("destroy: intent recorded");
                if let Err(error) = self.remove_from_device(&key) {
                    tracing::warn!(node = key.node(), %error, "the key was not destroyed");
                    self.withdraw(intent);
                    return Err(error);
                }
                self.step("destroy: removed on the device");
                let wallet_gone = self.remove_single_key_seed(&key)?;
                self.step("destroy: seed removed");
                self.forget_objects(&key, &objects, wallet_gone.as_ref(), Some(intent))?;
                self.step("destroy: rows dropped");
                tracing::info!(
                    node = key.node(),
                    slot = key.slot,
                    token = key.token_label,
                    adopted = (key.origin == Origin::Adopted),
                    "destroyed a key"
                );
                Ok(true)
            }
        }
    }

    /// Drops the rows of objects whose device key is gone: the key's too with its last object, and the wallet's when
    /// its seed has gone.
    pub(crate) fn forget_objects(
        &self,
        key: &KeyRecord,
        objects: &[ObjectId],
        wallet_gone: Option<&WalletRecord>,
        intent: Option<IntentId>,
    ) -> Result<(), Error> {
        self.write(|tx| {
            for object in objects {
                tx.delete_object(*object)?;
            }
            if let Some(intent) = intent {
                tx.delete_intent(intent)?;
            }
            if tx.objects_of_key(key.id)?.is_empty() {
                tx.delete_key(key.id)?;
            }
            if let Some(wallet) = wallet_gone {
                // A public object that was kept still names its wallet.
                if tx.keys_in_wallet(wallet.id)? == 0 {
                    tx.delete_wallet(wallet.id)?;
                } else {
                    tx.retire_wallet(wallet.id)?;
                }
            }
            Ok(())
        })?;
        self.forget_slot(key);
        self.lock_store().forget(key.id);
        Ok(())
    }

    /// Removes a key's node from the device, when it is there and has the recorded public key. An adopted slot is never
    /// removed.
    pub(crate) fn remove_from_device(&self, key: &KeyRecord) -> Result<(), Error> {
        let Origin::Derived { wallet_name, path, .. } = &key.origin else { return Ok(()) };
        self.require_device(key)?;
        let Some(slot) = self.slot_of(path, wallet_name, Some(key.slot))? else {
            tracing::warn!(node = key.node(), "the key was not on the device any more");
            return Ok(());
        };
        if path.is_master() || !self.is_node_of(slot, key)? || !self.has_public_key(slot, key)? {
            return Err(Error::SlotSwapped { node: key.node(), slot: slot.number() });
        }
        self.step("destroy: about to remove on the device");
        match self.device.remove_key(slot) {
            Ok(()) => Ok(()),
            // It may have been removed all the same.
            Err(_) if matches!(self.slot_of(path, wallet_name, Some(slot.number())), Ok(None)) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// The seed of a wallet made for one key goes with that key, when nothing else is under it. Answers the wallet when
    /// its seed is gone.
    pub(crate) fn remove_single_key_seed(&self, key: &KeyRecord) -> Result<Option<WalletRecord>, Error> {
        let Origin::Derived { wallet, wallet_name, .. } = &key.origin else { return Ok(None) };
        let record = self.read(|rows, _| only_key_of_its_wallet(rows, *wallet))?.flatten();
        let Some(record) = record else { return Ok(None) };
        let master = match self.slot_of(&DerivationPath::master(), wallet_name, Some(record.master_slot)) {
            Ok(Some(slot)) => slot,
            Ok(None) => return Ok(Some(record)),
            Err(error) => return self.keep_seed(&record, &error),
        };
        // Anything under the seed that the store does not know keeps it.
        let allocated = match self.device.allocated_slots() {
            Ok(allocated) => allocated.slots,
            Err(error) => return self.keep_seed(&record, &error),
        };
        for slot in allocated.into_iter().filter(|slot| *slot != master) {
            match self.device.node_of_slot(slot) {
                Ok(node) if node.wallet_name == *wallet_name => return Ok(None),
                Ok(_) => {}
                Err(error) if is_refusal(&error) => {}
                Err(error) => return self.keep_seed(&record, &error),
            }
        }
        match self.device.remove_key(master) {
            Ok(()) => {
                tracing::info!(
                    wallet = wallet_name,
                    slot = master.number(),
                    "removed the childless seed of a one-key wallet"
                );
                Ok(Some(record))
            }
            Err(error) => self.keep_seed(&record, &error),
        }
    }

    /// The key is gone, which is what was asked for; its seed stays and is shown as a wallet without keys.
    fn keep_seed(&self, wallet: &WalletRecord, error: &DeviceError) -> Result<Option<WalletRecord>, Error> {
        tracing::warn!(wallet = wallet.name, %error, "the wallet's seed could not be removed and stays");
        Ok(None)
    }
}

fn only_key_of_its_wallet(rows: &Rows<'_>, wallet: WalletId) -> Result<Option<WalletRecord>, Error> {
    let Some(record) = rows.wallet(wallet)? else { return Ok(None) };
    Ok((record.single_key && rows.keys_in_wallet(wallet)? == 1).then_some(record))
}
