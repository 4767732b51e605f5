//! Keys and wallets as people and programs see them.

use std::collections::HashMap;
use std::time::Duration;

use der::DateTime;
use holdfast_keystore::{KeyState, KeyWithState, ObjectClass, ObjectRecord, Origin, Recovery, WalletId, WalletRecord};
use serde_json::{Value, json};

use crate::key_ref::hex;
use crate::uri;

/// Wallets by row, to say of a key how it can be recovered.
pub type Wallets = HashMap<WalletId, WalletRecord>;

/// Wallets by row.
pub fn by_id(wallets: &[WalletRecord]) -> Wallets {
    wallets.iter().map(|wallet| (wallet.id, wallet.clone())).collect()
}

/// The object that speaks for a key: the private one, or the public one when that is gone.
pub fn main_object(key: &KeyWithState) -> Option<&ObjectRecord> {
    key.objects.iter().find(|object| object.class == ObjectClass::PrivateKey).or(key.objects.first())
}

/// The key's label, as text.
pub fn label(key: &KeyWithState) -> String {
    main_object(key).map_or_else(String::new, |object| String::from_utf8_lossy(&object.label).into_owned())
}

/// The key's `CKA_ID`, hexadecimal.
pub fn id(key: &KeyWithState) -> String {
    main_object(key).map_or_else(String::new, |object| hex(&object.cka_id))
}

/// What is going on with a key.
pub fn state(state: KeyState) -> &'static str {
    match state {
        KeyState::Ready => "ready",
        KeyState::Session => "session",
        KeyState::PublicOnly => "public-only",
        KeyState::Destroying => "destroying",
        KeyState::InitialisingToken => "initialising-token",
    }
}

/// How a key can be brought back on another device: `none`, `bip39`, `slip39`, or `unknown` for an adopted slot.
pub fn recovery(key: &KeyWithState, wallets: &Wallets) -> &'static str {
    match &key.key.origin {
        Origin::Derived { wallet, .. } => wallets.get(wallet).map_or("unknown", |wallet| wallet.recovery.name()),
        Origin::Adopted => "unknown",
    }
}

/// Recovery as it stands in tables: the absence of any is shouted.
pub fn loud(recovery: &str) -> String {
    if recovery == Recovery::None.name() { "NONE".to_owned() } else { recovery.to_owned() }
}

/// A key, for JSON.
pub fn key_json(key: &KeyWithState, wallets: &Wallets) -> Value {
    let record = &key.key;
    let (origin, wallet, path) = match &record.origin {
        Origin::Derived { wallet_name, path, .. } => ("derived", Some(wallet_name.as_str()), Some(path.to_string())),
        Origin::Adopted => ("adopted", None, None),
    };
    let recovery = recovery(key, wallets);
    json!({
        "label": label(key),
        "id": id(key),
        "token": record.token_label,
        "token_serial": record.token_serial,
        "curve": record.public_key.curve().name(),
        "public_key": hex(&record.public_key.to_sec1()),
        "device_serial": record.device_serial,
        "origin": origin,
        "wallet": wallet,
        "path": path,
        "slot": record.slot,
        "recovery": recovery,
        "recoverable": recovery == "bip39" || recovery == "slip39",
        "state": state(key.state),
        "created_at": time(record.created_at),
        "uri": uri(key),
    })
}

/// A wallet, for JSON; `keys` is how many keys it holds.
pub fn wallet_json(wallet: &WalletRecord, keys: usize) -> Value {
    json!({
        "name": wallet.name,
        "curve": wallet.curve.name(),
        "token": wallet.token_serial.as_ref().map(|_| wallet.token_label.as_str()),
        "token_serial": wallet.token_serial,
        "device_serial": wallet.device_serial,
        "recovery": wallet.recovery.name(),
        "recoverable": wallet.recovery != Recovery::None && wallet.confirmed,
        "confirmed": wallet.confirmed,
        "keys": keys,
        "next_index": wallet.next_index,
        "capacity": wallet.capacity,
        "hardened": wallet.hardened,
        "retired": wallet.retired,
        "derivation_agrees": wallet.derivation_agrees,
        "created_at": time(wallet.created_at),
    })
}

/// The PKCS#11 URI (RFC 7512) of a key, as other programs take it.
pub fn uri(key: &KeyWithState) -> String {
    let record = &key.key;
    let mut parts = Vec::new();
    let mut add = |name: &str, value: &[u8], all| {
        if !value.is_empty() {
            parts.push(format!("{name}={}", uri::encode(value, all)));
        }
    };
    add("token", record.token_label.as_bytes(), false);
    add("serial", record.token_serial.as_bytes(), false);
    if let Some(object) = main_object(key) {
        add("id", &object.cka_id, true);
        add("object", &object.label, false);
    }
    format!("pkcs11:{};type=private", parts.join(";"))
}

/// One of several keys that could have been meant.
pub fn candidate(key: &KeyWithState) -> (String, Value) {
    let text =
        format!("{:?}  id:{}  token {:?} (serial {})", label(key), id(key), key.key.token_label, key.key.token_serial);
    let json = json!({
        "label": label(key),
        "id": id(key),
        "token": key.key.token_label,
        "token_serial": key.key.token_serial,
        "uri": uri(key),
    });
    (text, json)
}

/// Seconds since the epoch as RFC 3339 has it, in UTC.
pub fn time(seconds: i64) -> String {
    u64::try_from(seconds)
        .ok()
        .and_then(|seconds| DateTime::from_unix_duration(Duration::from_secs(seconds)).ok())
        .map_or_else(|| seconds.to_string(), |time| time.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rfc_3339() {
        assert_eq!(time(0), "1970-01-01T00:00:00Z");
        assert_eq!(time(1_700_000_000), "2023-11-14T22:13:20Z");
        assert_eq!(time(-1), "-1");
    }
}
