//! Changes to the store, inside one immediate transaction.

use std::cell::Cell;
use std::ops::Deref;

use holdfast_wallet::{ChildNumber, PublicKey};
use rusqlite::{Connection, Params};

use crate::codec::class_name;
use crate::owner::Witness;
use crate::read::Rows;
use crate::{
    IntentId, IntentKind, KeyId, LeftoverId, NewIntent, NewKey, NewLeftover, NewObjectRow, NewWallet, ObjectId,
    ObjectRecord, OwnerId, StoreError, WalletId,
};

/// An open write transaction, see [`Store::write`](crate::Store::write). Reads of [`Rows`] see what it has written.
#[derive(Debug)]
pub struct WriteTx<'a> {
    pub(crate) rows: Rows<'a>,
    pub(crate) witness: Witness,
    pub(crate) issued: Cell<bool>,
}

impl<'a> Deref for WriteTx<'a> {
    type Target = Rows<'a>;

    fn deref(&self) -> &Rows<'a> {
        &self.rows
    }
}

/// The first index that no node can have (BIP32: 31 bits).
const INDEX_LIMIT: u32 = 1 << 31;

impl WriteTx<'_> {
    fn connection(&self) -> &Connection {
        self.rows.connection
    }

    fn execute(&self, sql: &str, params: impl Params) -> Result<usize, StoreError> {
        self.connection()
            .prepare_cached(sql)
            .and_then(|mut statement| statement.execute(params))
            .map_err(|reason| self.rows.error(reason))
    }

    fn insert(&self, sql: &str, params: impl Params) -> Result<i64, StoreError> {
        self.connection()
            .prepare_cached(sql)
            .and_then(|mut statement| statement.insert(params))
            .map_err(|reason| self.rows.error(reason))
    }

    fn conflict(&self, what: String) -> StoreError {
        StoreError::Conflict { path: self.rows.path.to_owned(), what }
    }

    /// Records a wallet.
    pub fn insert_wallet(&self, wallet: &NewWallet) -> Result<WalletId, StoreError> {
        let id = self.insert(
            "INSERT INTO wallets (name, curve, device_serial, token_serial, token_label, master_slot, recovery,
                 confirmed, next_index, capacity, hardened, derivation_agrees, retired, single_key, created_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, 0, ?13, unixepoch())",
            rusqlite::params![
                wallet.name,
                wallet.curve.name(),
                wallet.device_serial,
                wallet.token_serial,
                wallet.token_label,
                wallet.master_slot,
                wallet.recovery.name(),
                wallet.confirmed,
                wallet.next_index,
                wallet.capacity,
                wallet.hardened,
                wallet.derivation_agrees,
                wallet.single_key,
            ],
        )?;
        // Indices that the making of the wallet used count as given out.
        self.count_issued(wallet.next_index)?;
        Ok(WalletId(id))
    }

    /// Gives the wallets of a token to another serial number, which the token got when it was initialised again.
    pub fn move_wallets(&self, from: &str, to: &str) -> Result<(), StoreError> {
        self.execute("UPDATE wallets SET token_serial = ?2 WHERE token_serial = ?1", [from, to]).map(|_| ())
    }

    /// Records that a wallet's words are written down; `false` when there is no such wallet.
    pub fn confirm_wallet(&self, id: WalletId) -> Result<bool, StoreError> {
        Ok(self.execute("UPDATE wallets SET confirmed = 1 WHERE id = ?1", [id.0])? == 1)
    }

    /// Says that no further key is made in a wallet.
    pub fn retire_wallet(&self, id: WalletId) -> Result<(), StoreError> {
        self.execute("UPDATE wallets SET retired = 1 WHERE id = ?1", [id.0]).map(|_| ())
    }

    /// Says that no further key is made in any wallet there is now.
    pub fn retire_all_wallets(&self) -> Result<usize, StoreError> {
        self.execute("UPDATE wallets SET retired = 1 WHERE retired = 0", [])
    }

    /// Records whether the device derives as the published standard says.
    pub fn set_derivation_agrees(&self, id: WalletId, agrees: bool) -> Result<(), StoreError> {
        self.execute("UPDATE wallets SET derivation_agrees = ?2 WHERE id = ?1", (id.0, agrees)).map(|_| ())
    }

    /// Records where a wallet's seed was found.
    pub fn set_master_slot(&self, id: WalletId, slot: i32) -> Result<(), StoreError> {
        self.execute("UPDATE wallets SET master_slot = ?2 WHERE id = ?1", (id.0, slot)).map(|_| ())
    }

    /// Forgets a wallet that has no key any more.
    pub fn delete_wallet(&self, id: WalletId) -> Result<(), StoreError> {
        self.execute("DELETE FROM wallets WHERE id = ?1", [id.0]).map(|_| ())
    }

    /// Gives out the next index of a wallet. It is never given out again, whatever becomes of it; the owners' file
    /// learns of it when the transaction has been committed.
    pub fn reserve_index(&self, id: WalletId) -> Result<ChildNumber, StoreError> {
        let wallet = self.wallet(id)?.ok_or_else(|| self.conflict(format!("there is no wallet {id} any more")))?;
        let child = ChildNumber::new(wallet.next_index, wallet.hardened).ok_or_else(|| {
            self.conflict(format!("wallet {} has given out all its {INDEX_LIMIT} indices", wallet.name))
        })?;
        self.execute("UPDATE wallets SET next_index = next_index + 1 WHERE id = ?1", [id.0])?;
        self.count_issued(1)?;
        Ok(child)
    }

    fn count_issued(&self, indices: u32) -> Result<(), StoreError> {
        if indices > 0 {
            self.execute("UPDATE meta SET issued = issued + ?1", [indices])?;
            self.issued.set(true);
        }
        Ok(())
    }

    /// Whether the file is an older copy of the store: the owners' file has seen indices given out that this file
    /// does not know of. Indices of its wallets must then not be given out.
    pub fn is_older_copy(&self) -> Result<bool, StoreError> {
        let (lineage, issued) = self.lineage()?;
        Ok(self.witness.has_seen_more_than(lineage, issued))
    }

    /// After every wallet was retired: goes on from here, so that [`WriteTx::is_older_copy`] answers `false` again.
    pub fn accept_older_copy(&self) -> Result<(), StoreError> {
        let (_, issued) = self.lineage()?;
        self.execute("UPDATE meta SET issued = ?1", [issued.max(self.witness.issued()) as i64])?;
        self.issued.set(true);
        Ok(())
    }

    /// Records that work is about to be done. A second intent for the same node, key, wallet name or token is a
    /// [`StoreError::Conflict`].
    pub fn insert_intent(&self, intent: &NewIntent) -> Result<IntentId, StoreError> {
        let kind = intent.kind.name();
        let owner = intent.owner.0;
        let id = match &intent.kind {
            IntentKind::Generate { wallet, child } => self.insert(
                "INSERT INTO intents (kind, owner, created_at, wallet, child) VALUES (?1, ?2, unixepoch(), ?3, ?4)",
                (kind, owner, wallet.0, child.to_bits()),
            ),
            IntentKind::Destroy { key, whole } => self.insert(
                "INSERT INTO intents (kind, owner, created_at, key, whole) VALUES (?1, ?2, unixepoch(), ?3, ?4)",
                (kind, owner, key.0, whole),
            ),
            IntentKind::CreateWallet { name, curve, device_serial, token_serial } => self.insert(
                "INSERT INTO intents (kind, owner, created_at, name, curve, device_serial, token_serial)
                 VALUES (?1, ?2, unixepoch(), ?3, ?4, ?5, ?6)",
                (kind, owner, name, curve.name(), device_serial, token_serial),
            ),
            IntentKind::InitToken { token_serial, accepted } => self.insert(
                "INSERT INTO intents (kind, owner, created_at, token_serial, accepted)
                 VALUES (?1, ?2, unixepoch(), ?3, ?4)",
                (kind, owner, token_serial, accepted),
            ),
        }?;
        Ok(IntentId(id))
    }

    /// Removes an intent; `false` when it was gone, because somebody else finished or undid the work.
    pub fn delete_intent(&self, id: IntentId) -> Result<bool, StoreError> {
        Ok(self.execute("DELETE FROM intents WHERE id = ?1", [id.0])? == 1)
    }

    /// Records that the backend accepted the initialisation of a token; `false` when the intent is gone.
    pub fn accept_init_token(&self, id: IntentId) -> Result<bool, StoreError> {
        Ok(self.execute("UPDATE intents SET accepted = 1 WHERE id = ?1 AND kind = 'init-token'", [id.0])? == 1)
    }

    /// Takes over the work of a process that has ended.
    pub fn take_over_intent(&self, id: IntentId, owner: OwnerId) -> Result<bool, StoreError> {
        Ok(self.execute("UPDATE intents SET owner = ?2 WHERE id = ?1", (id.0, owner.0))? == 1)
    }

    /// Records a key and, for ever, its public key. A [`StoreError::Conflict`] when the public key or the node was
    /// recorded before.
    pub fn insert_key(&self, key: &NewKey) -> Result<KeyId, StoreError> {
        self.mark_seen(&key.public_key)?;
        let (wallet, path) = match &key.node {
            Some((wallet, path)) => (Some(wallet.0), Some(path.to_string())),
            None => (None, None),
        };
        let id = self.insert(
            "INSERT INTO keys (wallet, path, device_serial, slot, curve, public_key, token_serial, token_label,
                 session_owner, created_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, unixepoch())",
            rusqlite::params![
                wallet,
                path,
                key.device_serial,
                key.slot,
                key.public_key.curve().name(),
                &key.public_key.coordinates()[..],
                key.token_serial,
                key.token_label,
                key.session_owner.map(|owner| owner.0),
            ],
        )?;
        Ok(KeyId(id))
    }

    /// Records a public key for ever, without a key; [`StoreError::Conflict`] when it was recorded before.
    pub fn mark_seen(&self, key: &PublicKey) -> Result<(), StoreError> {
        self.insert(
            "INSERT INTO seen_public_keys (public_key, curve, first_seen) VALUES (?1, ?2, unixepoch())",
            (&key.coordinates()[..], key.curve().name()),
        )
        .map(|_| ())
    }

    /// Records where a key was found.
    pub fn set_slot(&self, id: KeyId, slot: i32) -> Result<(), StoreError> {
        self.execute("UPDATE keys SET slot = ?2 WHERE id = ?1", (id.0, slot)).map(|_| ())
    }

    /// Makes a token key of a session key; `false` when it was none.
    pub fn make_token_key(&self, id: KeyId) -> Result<bool, StoreError> {
        let sql = "UPDATE keys SET session_owner = NULL WHERE id = ?1 AND session_owner IS NOT NULL";
        Ok(self.execute(sql, [id.0])? == 1)
    }

    /// Forgets a key and its objects, not its public key.
    pub fn delete_key(&self, id: KeyId) -> Result<bool, StoreError> {
        self.execute("DELETE FROM objects WHERE key = ?1", [id.0])?;
        self.execute("DELETE FROM intents WHERE key = ?1", [id.0])?;
        Ok(self.execute("DELETE FROM keys WHERE id = ?1", [id.0])? == 1)
    }

    /// Records an object of a key, on the key's token.
    pub fn insert_object(&self, object: &NewObjectRow) -> Result<ObjectId, StoreError> {
        let unique = format!("{:016x}{:016x}", crate::location::random_u64()?, crate::location::random_u64()?);
        let id = self.insert(
            "INSERT INTO objects (key, token_serial, class, session_owner, cka_id, label, private, modifiable,
                 destroyable, copyable, sign, verify, derive, subject, start_date, end_date, unique_id)
             VALUES (?1, (SELECT token_serial FROM keys WHERE id = ?1), ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12,
                 ?13, ?14, ?15, ?16)",
            rusqlite::params![
                object.key.0,
                class_name(object.class),
                object.session_owner.map(|owner| owner.0),
                object.cka_id,
                object.label,
                object.private,
                object.modifiable,
                object.destroyable,
                object.copyable,
                object.sign,
                object.verify,
                object.derive,
                object.subject,
                object.start_date.as_ref().map(|date| &date[..]),
                object.end_date.as_ref().map(|date| &date[..]),
                unique,
            ],
        )?;
        Ok(ObjectId(id))
    }

    /// Writes back what can change in an object; `false` when it is gone.
    pub fn update_object(&self, object: &ObjectRecord) -> Result<bool, StoreError> {
        let changed = self.execute(
            "UPDATE objects SET cka_id = ?2, label = ?3, private = ?4, modifiable = ?5, destroyable = ?6,
                 copyable = ?7, sign = ?8, verify = ?9, derive = ?10, subject = ?11, start_date = ?12, end_date = ?13
             WHERE id = ?1",
            rusqlite::params![
                object.id.0,
                object.cka_id,
                object.label,
                object.private,
                object.modifiable,
                object.destroyable,
                object.copyable,
                object.sign,
                object.verify,
                object.derive,
                object.subject,
                object.start_date.as_ref().map(|date| &date[..]),
                object.end_date.as_ref().map(|date| &date[..]),
            ],
        )?;
        Ok(changed == 1)
    }

    /// Forgets an object; `false` when it was gone.
    pub fn delete_object(&self, id: ObjectId) -> Result<bool, StoreError> {
        Ok(self.execute("DELETE FROM objects WHERE id = ?1", [id.0])? == 1)
    }

    /// Records something on the device that is no key, or updates what is known of it; its public key, when known, is
    /// never accepted as new again.
    pub fn insert_leftover(&self, leftover: &NewLeftover) -> Result<LeftoverId, StoreError> {
        if let Some(key) = &leftover.public_key
            && !self.public_key_seen(key)?
        {
            self.mark_seen(key)?;
        }
        let public_key = leftover.public_key.as_ref();
        self.insert(
            "INSERT INTO leftovers (device_serial, wallet_name, path, curve, public_key, reason, created_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, unixepoch())
             ON CONFLICT DO UPDATE SET curve = excluded.curve, public_key = excluded.public_key, reason = excluded.reason",
            rusqlite::params![
                leftover.device_serial,
                leftover.wallet_name,
                leftover.path.to_string(),
                public_key.map(|key| key.curve().name()),
                public_key.map(|key| &key.coordinates()[..]),
                leftover.reason.name(),
            ],
        )
        .map(LeftoverId)
    }

    /// Forgets a leftover.
    pub fn delete_leftover(&self, id: LeftoverId) -> Result<bool, StoreError> {
        Ok(self.execute("DELETE FROM leftovers WHERE id = ?1", [id.0])? == 1)
    }
}
