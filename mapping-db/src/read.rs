//! Questions to the store. Each is one statement, prepared once per connection, over an index where rows can be many.

use std::path::Path;

use holdfast_wallet::{Curve, PublicKey};
use rusqlite::{Connection, OptionalExtension, Params, Row};

use crate::codec::{self, INTENT_COLUMNS, KEY_COLUMNS, OBJECT_COLUMN_COUNT, OBJECT_COLUMNS, WALLET_COLUMNS};
use crate::error::sqlite_error;
use crate::{
    Intent, KeyId, KeyRecord, Leftover, LeftoverId, ObjectFilter, ObjectId, ObjectRecord, OwnerId, StoreError,
    WalletId, WalletRecord,
};

/// A consistent view of the store, for as long as a closure given to [`Store::read`](crate::Store::read) or
/// [`Store::write`](crate::Store::write) runs.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a> {
    pub(crate) connection: &'a Connection,
    pub(crate) path: &'a Path,
}

/// Objects whose key is being destroyed or whose token is being initialised are shown to no client.
const VISIBLE: &str = "NOT EXISTS (SELECT 1 FROM intents i WHERE i.key = o.key)
    AND NOT EXISTS (SELECT 1 FROM intents i WHERE i.kind = 'init-token' AND i.token_serial = o.token_serial)";

impl Rows<'_> {
    pub(crate) fn error(&self, reason: rusqlite::Error) -> StoreError {
        sqlite_error(self.path, reason)
    }

    fn one<T>(
        &self,
        sql: &str,
        params: impl Params,
        decode: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, StoreError> {
        self.connection
            .prepare_cached(sql)
            .and_then(|mut statement| statement.query_row(params, decode).optional())
            .map_err(|reason| self.error(reason))
    }

    /// Every row that can be decoded. One that cannot is logged and left out: a single bad row must not take
    /// everybody's keys away.
    fn many<T>(
        &self,
        what: &'static str,
        sql: &str,
        params: impl Params,
        decode: impl Fn(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, StoreError> {
        let error = |reason| self.error(reason);
        let mut statement = self.connection.prepare_cached(sql).map_err(error)?;
        let mut rows = statement.query(params).map_err(error)?;
        let mut found = Vec::new();
        while let Some(row) = rows.next().map_err(error)? {
            match decode(row) {
                Ok(value) => found.push(value),
                Err(reason) => {
                    let id: i64 = row.get(0).unwrap_or(-1);
                    tracing::warn!(store = %self.path.display(), row = id, %reason, "a row of {what} is damaged and left out");
                }
            }
        }
        Ok(found)
    }

    /// The visible objects of a token that `filter` lets through, in the order in which they were made, each with its
    /// key. Session objects are those of `owner`.
    pub fn find(
        &self,
        token_serial: &str,
        owner: Option<OwnerId>,
        filter: &ObjectFilter,
    ) -> Result<Vec<(ObjectRecord, KeyRecord)>, StoreError> {
        let mut sql = format!(
            "SELECT {OBJECT_COLUMNS}, {KEY_COLUMNS} FROM objects o JOIN keys k ON k.id = o.key
             LEFT JOIN wallets w ON w.id = k.wallet
             WHERE o.token_serial = ?1 AND (o.session_owner IS NULL OR o.session_owner = ?2)"
        );
        let owner = owner.map(|owner| owner.0);
        let class = filter.class.map(codec::class_name);
        let mut params: Vec<&dyn rusqlite::ToSql> = vec![&token_serial, &owner];
        // An index is only used for a plain comparison, so each combination is a statement of its own.
        if let Some(id) = &filter.cka_id {
            params.push(id);
            sql.push_str(&format!(" AND o.cka_id = ?{}", params.len()));
        }
        if let Some(label) = &filter.label {
            params.push(label);
            sql.push_str(&format!(" AND o.label = ?{}", params.len()));
        }
        if let Some(class) = &class {
            params.push(class);
            sql.push_str(&format!(" AND o.class = ?{}", params.len()));
        }
        sql.push_str(&format!(" AND {VISIBLE} ORDER BY o.id"));
        self.many("objects", &sql, &*params, |row| Ok((codec::object(row)?, codec::key(row, OBJECT_COLUMN_COUNT)?)))
    }

    /// One object and its key, when it is visible to `owner`.
    pub fn visible_object(
        &self,
        id: ObjectId,
        owner: Option<OwnerId>,
    ) -> Result<Option<(ObjectRecord, KeyRecord)>, StoreError> {
        let sql = format!(
            "SELECT {OBJECT_COLUMNS}, {KEY_COLUMNS} FROM objects o JOIN keys k ON k.id = o.key
             LEFT JOIN wallets w ON w.id = k.wallet
             WHERE o.id = ?1 AND (o.session_owner IS NULL OR o.session_owner = ?2) AND {VISIBLE}"
        );
        self.one(&sql, (id.0, owner.map(|owner| owner.0)), |row| {
            Ok((codec::object(row)?, codec::key(row, OBJECT_COLUMN_COUNT)?))
        })
    }

    /// The objects of a key, hidden or not, whoever owns them.
    pub fn objects_of_key(&self, key: KeyId) -> Result<Vec<ObjectRecord>, StoreError> {
        let sql = format!("SELECT {OBJECT_COLUMNS} FROM objects o WHERE o.key = ?1 ORDER BY o.id");
        self.many("objects", &sql, [key.0], codec::object)
    }

    /// Session objects and the processes that own them.
    pub fn session_objects(&self) -> Result<Vec<(ObjectId, KeyId, OwnerId)>, StoreError> {
        let sql = "SELECT id, key, session_owner FROM objects WHERE session_owner IS NOT NULL ORDER BY id";
        self.many("objects", sql, [], |row| Ok((ObjectId(row.get(0)?), KeyId(row.get(1)?), OwnerId(row.get(2)?))))
    }

    /// One key, hidden or not.
    pub fn key(&self, id: KeyId) -> Result<Option<KeyRecord>, StoreError> {
        let sql = format!("SELECT {KEY_COLUMNS} FROM keys k LEFT JOIN wallets w ON w.id = k.wallet WHERE k.id = ?1");
        self.one(&sql, [id.0], |row| codec::key(row, 0))
    }

    /// Every key, in the order in which they were made.
    pub fn keys(&self) -> Result<Vec<KeyRecord>, StoreError> {
        let sql = format!("SELECT {KEY_COLUMNS} FROM keys k LEFT JOIN wallets w ON w.id = k.wallet ORDER BY k.id");
        self.many("keys", &sql, [], |row| codec::key(row, 0))
    }

    /// The keys of a token, hidden or not.
    pub fn keys_of_token(&self, token_serial: &str) -> Result<Vec<KeyRecord>, StoreError> {
        let sql = format!(
            "SELECT {KEY_COLUMNS} FROM keys k LEFT JOIN wallets w ON w.id = k.wallet WHERE k.token_serial = ?1
             ORDER BY k.id"
        );
        self.many("keys", &sql, [token_serial], |row| codec::key(row, 0))
    }

    /// How many keys a wallet has, counting those that are being made.
    pub fn keys_in_wallet(&self, id: WalletId) -> Result<u32, StoreError> {
        let sql =
            "SELECT (SELECT count(*) FROM keys WHERE wallet = ?1) + (SELECT count(*) FROM intents WHERE wallet = ?1)";
        Ok(self.one(sql, [id.0], |row| row.get(0))?.unwrap_or(0))
    }

    /// The slots in which keys and seeds were last found.
    pub fn recorded_slots(&self) -> Result<Vec<i32>, StoreError> {
        self.many("slots", "SELECT slot FROM keys UNION SELECT master_slot FROM wallets", [], |row| row.get(0))
    }

    /// The keys whose private half is there, with the slots in which they were last found; keys that are being destroyed
    /// are left out.
    pub fn private_key_slots(&self) -> Result<Vec<(KeyId, i32)>, StoreError> {
        let sql = "SELECT k.id, k.slot FROM keys k
             WHERE EXISTS (SELECT 1 FROM objects o WHERE o.key = k.id AND o.class = 'private')
                 AND NOT EXISTS (SELECT 1 FROM intents i WHERE i.key = k.id)";
        self.many("keys", sql, [], |row| Ok((KeyId(row.get(0)?), row.get(1)?)))
    }

    /// The process that holds a key as a session key; `None` for a token key.
    pub fn session_owner(&self, id: KeyId) -> Result<Option<OwnerId>, StoreError> {
        let owner =
            self.one("SELECT session_owner FROM keys WHERE id = ?1", [id.0], |row| row.get::<_, Option<i64>>(0))?;
        Ok(owner.flatten().map(OwnerId))
    }

    /// One wallet.
    pub fn wallet(&self, id: WalletId) -> Result<Option<WalletRecord>, StoreError> {
        let sql = format!("SELECT {WALLET_COLUMNS} FROM wallets w WHERE w.id = ?1");
        self.one(&sql, [id.0], codec::wallet)
    }

    /// A wallet by its name on a device.
    pub fn wallet_by_name(&self, device_serial: &str, name: &str) -> Result<Option<WalletRecord>, StoreError> {
        let sql = format!("SELECT {WALLET_COLUMNS} FROM wallets w WHERE w.device_serial = ?1 AND w.name = ?2");
        self.one(&sql, [device_serial, name], codec::wallet)
    }

    /// Every wallet, in the order in which they were made.
    pub fn wallets(&self) -> Result<Vec<WalletRecord>, StoreError> {
        let sql = format!("SELECT {WALLET_COLUMNS} FROM wallets w ORDER BY w.id");
        self.many("wallets", &sql, [], codec::wallet)
    }

    /// Work in progress, of living and of dead processes.
    pub fn intents(&self) -> Result<Vec<Intent>, StoreError> {
        let sql = format!("SELECT {INTENT_COLUMNS} FROM intents i ORDER BY i.id");
        self.many("intents", &sql, [], codec::intent)
    }

    /// What is on the device and no key.
    pub fn leftovers(&self) -> Result<Vec<Leftover>, StoreError> {
        self.many("leftovers", &format!("{LEFTOVER} ORDER BY l.id"), [], codec::leftover)
    }

    /// One leftover.
    pub fn leftover(&self, id: LeftoverId) -> Result<Option<Leftover>, StoreError> {
        self.one(&format!("{LEFTOVER} WHERE l.id = ?1"), [id.0], codec::leftover)
    }

    /// Whether this public key was ever recorded, though its key may be long gone.
    pub fn public_key_seen(&self, key: &PublicKey) -> Result<bool, StoreError> {
        let sql = "SELECT 1 FROM seen_public_keys WHERE public_key = ?1 AND curve = ?2";
        Ok(self.one(sql, (&key.coordinates()[..], key.curve().name()), |_| Ok(()))?.is_some())
    }

    /// The wallets that may serve a token and a curve: those of the token, or for `None` the shared ones.
    pub fn wallets_for(
        &self,
        device_serial: &str,
        token_serial: Option<&str>,
        curve: Curve,
    ) -> Result<Vec<WalletRecord>, StoreError> {
        let sql = format!(
            "SELECT {WALLET_COLUMNS} FROM wallets w
             WHERE w.device_serial = ?1 AND w.token_serial IS ?2 AND w.curve = ?3 ORDER BY w.id"
        );
        self.many("wallets", &sql, (device_serial, token_serial, curve.name()), codec::wallet)
    }

    /// What tells this store from any other, and how many node indices it has given out.
    pub(crate) fn lineage(&self) -> Result<([u8; 16], u64), StoreError> {
        self.one("SELECT lineage, issued FROM meta WHERE id = 1", [], |row| {
            Ok((row.get(0)?, row.get::<_, i64>(1)? as u64))
        })?
        .ok_or_else(|| StoreError::Corrupt {
            path: self.path.to_owned(),
            what: "the row that names the store is missing".to_owned(),
        })
    }
}

const LEFTOVER: &str = "SELECT l.id, l.device_serial, l.wallet_name, l.path, l.curve, l.public_key, l.reason, \
     l.created_at FROM leftovers l";
