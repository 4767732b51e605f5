//! A token that is initialised again: its keys are hidden before, and removed only after, the backend has agreed.

use holdfast_mapping_db::{Intent, IntentId, IntentKind, KeyRecord, NewIntent, Origin, OwnerId, Rows, StoreError};

use crate::{Error, Keystore};

/// A token initialisation that is announced in the store: the token's keys are hidden until it is completed or
/// withdrawn. Dropped without either, as when the process dies, it waits for the operator's word
/// ([`Keystore::resolve_init_token`]).
#[must_use = "the token's keys stay hidden until the initialisation is completed or withdrawn"]
#[derive(Debug)]
pub struct PendingInitToken<'a> {
    keystore: &'a Keystore,
    token_serial: String,
    /// `None` when there was no store, and so nothing to hide, or when it was settled.
    intent: Option<IntentId>,
}

impl PendingInitToken<'_> {
    /// The backend answered `CKR_OK`: the keys of the token are removed, adopted ones released. `new_serial` is the
    /// token's serial number now; its wallets, which stay, go on under it.
    ///
    /// What cannot be removed stays hidden and is reported.
    pub fn complete(mut self, new_serial: Option<&str>) -> Result<(), Error> {
        let Some(intent) = self.intent else { return Ok(()) };
        self.keystore.step("init-token: accepted by the backend");
        self.keystore.write(|tx| Ok(tx.accept_init_token(intent)?))?;
        self.keystore.step("init-token: acceptance recorded");
        // From here on a failure leaves the intent to the operator, by way of `drop`.
        self.keystore.remove_keys_of_token(&self.token_serial, intent, new_serial)?;
        self.intent = None;
        Ok(())
    }

    /// The backend refused: the keys are shown again.
    pub fn withdraw(mut self) -> Result<(), Error> {
        let Some(intent) = self.intent else { return Ok(()) };
        self.keystore.write(|tx| Ok(tx.delete_intent(intent)?))?;
        self.intent = None;
        self.keystore.step("init-token: withdrawn");
        Ok(())
    }
}

impl Drop for PendingInitToken<'_> {
    fn drop(&mut self) {
        if let Some(intent) = self.intent {
            tracing::error!(
                token_serial = self.token_serial,
                "the token's initialisation was not finished; its keys stay hidden until `holdfast repair` is told \
                 whether it happened"
            );
            // When this fails the process's end says the same.
            let _ = self.keystore.write(|tx| Ok(tx.take_over_intent(intent, OwnerId::NOBODY)?));
        }
    }
}

impl Keystore {
    /// Announces that a token is about to be initialised and hides its keys, durably.
    pub fn begin_init_token(&self, token_serial: &str) -> Result<PendingInitToken<'_>, Error> {
        let pending = |intent| PendingInitToken { keystore: self, token_serial: token_serial.to_owned(), intent };
        let has_keys = self.read(|rows, _| Ok(!rows.keys_of_token(token_serial)?.is_empty()))?;
        let may_write = self.write_obstacle()?.is_none();
        if has_keys.is_none() || (has_keys == Some(false) && !may_write) {
            return Ok(pending(None));
        }
        let earlier = self.read(|rows, _| Ok(unsettled(rows, token_serial)?))?;
        let intent = self.with_store(|store| {
            let owner = store.owner()?;
            if let Some(earlier) = earlier.flatten() {
                if store.owner_alive(earlier.owner)? {
                    return Err(Error::Conflict { what: format!("initialising token {token_serial}") });
                }
                // An interrupted one is simply being done again.
                let taken = store.write(|tx| tx.take_over_intent(earlier.id, owner))?;
                return taken
                    .then_some(earlier.id)
                    .ok_or_else(|| Error::Conflict { what: format!("initialising token {token_serial}") });
            }
            let kind = IntentKind::InitToken { token_serial: token_serial.to_owned(), accepted: false };
            Ok(store.write(|tx| tx.insert_intent(&NewIntent { kind, owner }))?)
        })?;
        self.step("init-token: intent recorded");
        Ok(pending(intent))
    }

    /// The operator's word on an interrupted initialisation: when it `happened` the token's keys are removed,
    /// otherwise they are shown again. That it did not happen is refused when it is known that it did.
    pub fn resolve_init_token(&self, token_serial: &str, happened: bool) -> Result<(), Error> {
        let Some(intent) = self.read(|rows, _| Ok(unsettled(rows, token_serial)?))?.flatten() else { return Ok(()) };
        if !happened && matches!(intent.kind, IntentKind::InitToken { accepted: true, .. }) {
            return Err(Error::Unsupported(
                "the token is known to have been initialised, and some of its keys may be gone: it cannot be taken back",
            ));
        }
        let taken = self.with_store(|store| {
            let own = store.owner()?;
            if intent.owner != own && store.owner_alive(intent.owner)? {
                return Ok(false);
            }
            Ok(store.write(|tx| tx.take_over_intent(intent.id, own))?)
        })?;
        if taken != Some(true) {
            return Err(Error::Conflict { what: format!("initialising token {token_serial}") });
        }
        if happened {
            let outcome = self.remove_keys_of_token(token_serial, intent.id, None);
            if outcome.is_err() {
                let _ = self.write(|tx| Ok(tx.take_over_intent(intent.id, OwnerId::NOBODY)?));
            }
            return outcome;
        }
        self.write(|tx| Ok(tx.delete_intent(intent.id)?))?;
        tracing::info!(token_serial, "the token was not initialised: its keys are shown again");
        Ok(())
    }

    /// Before a key is made for a token: finishes an initialisation that is known to have happened. One of which that is
    /// not known stands in the way ([`Error::InitTokenUnsettled`]).
    pub(crate) fn settle_init_token(&self, token_serial: &str) -> Result<(), Error> {
        match self.read(|rows, _| Ok(unsettled(rows, token_serial)?))?.flatten() {
            None => Ok(()),
            Some(Intent { kind: IntentKind::InitToken { accepted: true, .. }, .. }) => {
                self.resolve_init_token(token_serial, true)
            }
            Some(_) => Err(Error::InitTokenUnsettled { token_serial: token_serial.to_owned() }),
        }
    }

    fn remove_keys_of_token(
        &self,
        token_serial: &str,
        intent: IntentId,
        new_serial: Option<&str>,
    ) -> Result<(), Error> {
        // While the intent exists no key is made for the token, so these are all from before. Once it is gone somebody else
        // has finished, and there may be new ones.
        let keys = self.read(|rows, _| match unsettled(rows, token_serial)? {
            Some(found) if found.id == intent => Ok(Some(rows.keys_of_token(token_serial)?)),
            _ => Ok(None),
        })?;
        let Some(keys) = keys.flatten() else { return Ok(()) };
        for key in &keys {
            self.remove_key_of_token(key)?;
        }
        self.write(|tx| {
            if let Some(new) = new_serial.filter(|new| *new != token_serial) {
                tx.move_wallets(token_serial, new)?;
            }
            Ok(tx.delete_intent(intent)?)
        })?;
        self.step("init-token: finished");
        tracing::info!(token_serial, keys = keys.len(), "the token was initialised: its keys are gone");
        Ok(())
    }

    fn remove_key_of_token(&self, key: &KeyRecord) -> Result<(), Error> {
        let objects = self.read(|rows, _| Ok(rows.objects_of_key(key.id)?))?.unwrap_or_default();
        if crate::keystore::has_private(&objects) {
            self.remove_from_device(key)?;
            self.step("init-token: key removed on the device");
        }
        let wallet_gone = self.remove_single_key_seed(key)?;
        let ids: Vec<_> = objects.iter().map(|object| object.id).collect();
        self.forget_objects(key, &ids, wallet_gone.as_ref(), None)?;
        self.step("init-token: key's rows dropped");
        tracing::info!(
            node = key.node(),
            slot = key.slot,
            adopted = (key.origin == Origin::Adopted),
            "destroyed a key with its token"
        );
        Ok(())
    }
}

/// The initialisation of a token that is going on, or was when a process ended.
pub(crate) fn unsettled(rows: &Rows<'_>, token_serial: &str) -> Result<Option<Intent>, StoreError> {
    let of_token = |kind: &IntentKind| matches!(kind, IntentKind::InitToken { token_serial: serial, .. } if serial == token_serial);
    Ok(rows.intents()?.into_iter().find(|intent| of_token(&intent.kind)))
}
