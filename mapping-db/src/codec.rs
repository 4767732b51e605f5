//! Rows to types. What the schema's checks cannot say is checked here.

use holdfast_wallet::{ChildNumber, Curve, DerivationPath, PublicKey};
use rusqlite::Row;
use rusqlite::types::Type;

use crate::OwnerId;
use crate::rows::{
    Intent, IntentId, IntentKind, KeyId, KeyRecord, Leftover, LeftoverId, LeftoverReason, ObjectClass, ObjectId,
    ObjectRecord, Origin, Recovery, WalletId, WalletRecord,
};

type SqlResult<T> = rusqlite::Result<T>;

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct BadValue(String);

fn bad(column: &str, kind: Type, what: impl std::fmt::Display) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(0, kind, Box::new(BadValue(format!("column {column}: {what}"))))
}

pub(crate) const WALLET_COLUMNS: &str = "w.id, w.name, w.curve, w.device_serial, w.token_serial, w.token_label, \
     w.master_slot, w.recovery, w.confirmed, w.next_index, w.capacity, w.hardened, w.derivation_agrees, w.retired, \
     w.single_key, w.created_at";

pub(crate) fn wallet(row: &Row<'_>) -> SqlResult<WalletRecord> {
    Ok(WalletRecord {
        id: WalletId(row.get(0)?),
        name: row.get(1)?,
        curve: curve(row.get_ref(2)?.as_str()?)?,
        device_serial: row.get(3)?,
        token_serial: row.get(4)?,
        token_label: row.get(5)?,
        master_slot: row.get(6)?,
        recovery: recovery(row.get_ref(7)?.as_str()?)?,
        confirmed: row.get(8)?,
        next_index: row.get(9)?,
        capacity: row.get(10)?,
        hardened: row.get(11)?,
        derivation_agrees: row.get(12)?,
        retired: row.get(13)?,
        single_key: row.get(14)?,
        created_at: row.get(15)?,
    })
}

/// To be read with [`key`], `keys k LEFT JOIN wallets w`.
pub(crate) const KEY_COLUMNS: &str = "k.id, k.wallet, w.name, k.path, k.device_serial, k.slot, k.curve, \
     k.public_key, k.token_serial, k.token_label, k.session_owner, k.created_at";

pub(crate) fn key(row: &Row<'_>, first: usize) -> SqlResult<KeyRecord> {
    let wallet: Option<i64> = row.get(first + 1)?;
    let origin = match wallet {
        None => Origin::Adopted,
        Some(wallet) => Origin::Derived {
            wallet: WalletId(wallet),
            wallet_name: row.get(first + 2)?,
            path: path(row.get_ref(first + 3)?.as_str()?)?,
        },
    };
    Ok(KeyRecord {
        id: KeyId(row.get(first)?),
        origin,
        device_serial: row.get(first + 4)?,
        slot: row.get(first + 5)?,
        public_key: public_key(row.get_ref(first + 6)?.as_str()?, row.get_ref(first + 7)?.as_blob()?)?,
        token_serial: row.get(first + 8)?,
        token_label: row.get(first + 9)?,
        session: row.get::<_, Option<i64>>(first + 10)?.is_some(),
        created_at: row.get(first + 11)?,
    })
}

pub(crate) const OBJECT_COLUMNS: &str = "o.id, o.key, o.class, o.session_owner, o.cka_id, o.label, o.private, \
     o.modifiable, o.destroyable, o.copyable, o.sign, o.verify, o.derive, o.subject, o.start_date, o.end_date, \
     o.unique_id";
pub(crate) const OBJECT_COLUMN_COUNT: usize = 17;

pub(crate) fn object(row: &Row<'_>) -> SqlResult<ObjectRecord> {
    Ok(ObjectRecord {
        id: ObjectId(row.get(0)?),
        key: KeyId(row.get(1)?),
        class: class(row.get_ref(2)?.as_str()?)?,
        session: row.get::<_, Option<i64>>(3)?.is_some(),
        cka_id: row.get(4)?,
        label: row.get(5)?,
        private: row.get(6)?,
        modifiable: row.get(7)?,
        destroyable: row.get(8)?,
        copyable: row.get(9)?,
        sign: row.get(10)?,
        verify: row.get(11)?,
        derive: row.get(12)?,
        subject: row.get(13)?,
        start_date: row.get(14)?,
        end_date: row.get(15)?,
        unique_id: row.get(16)?,
    })
}

pub(crate) const INTENT_COLUMNS: &str = "i.id, i.kind, i.owner, i.created_at, i.wallet, i.child, i.key, i.name, \
     i.curve, i.device_serial, i.token_serial, i.accepted, i.whole";

pub(crate) fn intent(row: &Row<'_>) -> SqlResult<Intent> {
    let kind = match row.get_ref(1)?.as_str()? {
        "generate" => {
            IntentKind::Generate { wallet: WalletId(row.get(4)?), child: ChildNumber::from_bits(row.get(5)?) }
        }
        "destroy" => IntentKind::Destroy { key: KeyId(row.get(6)?), whole: row.get(12)? },
        "create-wallet" => IntentKind::CreateWallet {
            name: row.get(7)?,
            curve: curve(row.get_ref(8)?.as_str()?)?,
            device_serial: row.get(9)?,
            token_serial: row.get(10)?,
        },
        "init-token" => IntentKind::InitToken { token_serial: row.get(10)?, accepted: row.get(11)? },
        other => return Err(bad("kind", Type::Text, other)),
    };
    Ok(Intent { id: IntentId(row.get(0)?), kind, owner: OwnerId(row.get(2)?), created_at: row.get(3)? })
}

pub(crate) fn leftover(row: &Row<'_>) -> SqlResult<Leftover> {
    let public_key = match (row.get_ref(4)?.as_str_or_null()?, row.get_ref(5)?.as_blob_or_null()?) {
        (Some(curve), Some(coordinates)) => Some(public_key(curve, coordinates)?),
        _ => None,
    };
    Ok(Leftover {
        id: LeftoverId(row.get(0)?),
        device_serial: row.get(1)?,
        wallet_name: row.get(2)?,
        path: path(row.get_ref(3)?.as_str()?)?,
        public_key,
        reason: leftover_reason(row.get_ref(6)?.as_str()?)?,
        created_at: row.get(7)?,
    })
}

fn curve(name: &str) -> SqlResult<Curve> {
    Curve::ALL.into_iter().find(|curve| curve.name() == name).ok_or_else(|| bad("curve", Type::Text, name))
}

fn path(text: &str) -> SqlResult<DerivationPath> {
    text.parse().map_err(|error| bad("path", Type::Text, error))
}

fn public_key(curve_name: &str, coordinates: &[u8]) -> SqlResult<PublicKey> {
    PublicKey::from_coordinates(curve(curve_name)?, coordinates).map_err(|error| bad("public_key", Type::Blob, error))
}

fn recovery(name: &str) -> SqlResult<Recovery> {
    [Recovery::None, Recovery::Bip39, Recovery::Slip39]
        .into_iter()
        .find(|recovery| recovery.name() == name)
        .ok_or_else(|| bad("recovery", Type::Text, name))
}

pub(crate) const fn class_name(class: ObjectClass) -> &'static str {
    match class {
        ObjectClass::PublicKey => "public",
        ObjectClass::PrivateKey => "private",
    }
}

fn class(name: &str) -> SqlResult<ObjectClass> {
    [ObjectClass::PublicKey, ObjectClass::PrivateKey]
        .into_iter()
        .find(|class| class_name(*class) == name)
        .ok_or_else(|| bad("class", Type::Text, name))
}

fn leftover_reason(name: &str) -> SqlResult<LeftoverReason> {
    use LeftoverReason::{EndedSession, InterruptedGeneration, InterruptedWallet};
    [InterruptedGeneration, EndedSession, InterruptedWallet]
        .into_iter()
        .find(|reason| reason.name() == name)
        .ok_or_else(|| bad("reason", Type::Text, name))
}
