//! Stores to test with.
#![allow(dead_code, reason = "each test file uses a part")]

use std::path::Path;

use holdfast_mapping_db::{
    KeyId, Location, NewKey, NewObjectRow, NewWallet, ObjectClass, Recovery, Store, StoreError, WalletId, WriteTx,
};
use holdfast_wallet::{Curve, DerivationPath, PublicKey};

pub fn location(directory: &Path) -> Location {
    Location { database: directory.join("store/mapping.db"), group: None, mode: 0o660 }
}

/// Multiples of the generator are as good as any other keys: `n` distinct ones.
pub fn public_keys(n: u64) -> Vec<PublicKey> {
    (1..=n)
        .map(|scalar| {
            let mut bytes = [0; 32];
            bytes[24..].copy_from_slice(&scalar.to_be_bytes());
            let secret = p256::SecretKey::from_slice(&bytes).unwrap();
            PublicKey::from_sec1(Curve::P256, &secret.public_key().to_sec1_bytes()).unwrap()
        })
        .collect()
}

pub fn wallet() -> NewWallet {
    NewWallet {
        name: "holdfast-1234-p256".into(),
        curve: Curve::P256,
        device_serial: "device".into(),
        token_serial: Some("1234".into()),
        token_label: "token".into(),
        master_slot: 16,
        recovery: Recovery::None,
        confirmed: true,
        next_index: 0,
        capacity: None,
        hardened: true,
        derivation_agrees: None,
        single_key: false,
    }
}

pub fn object(key: KeyId, class: ObjectClass, id: &[u8], label: &[u8]) -> NewObjectRow {
    NewObjectRow {
        key,
        class,
        session_owner: None,
        cka_id: id.to_vec(),
        label: label.to_vec(),
        private: class == ObjectClass::PrivateKey,
        modifiable: true,
        destroyable: true,
        copyable: false,
        sign: class == ObjectClass::PrivateKey,
        verify: class == ObjectClass::PublicKey,
        derive: true,
        subject: vec![0x30, 0x00],
        start_date: Some(*b"20250101"),
        end_date: None,
    }
}

pub fn add_key(
    store: &mut Store,
    wallet: WalletId,
    public_key: &PublicKey,
    id: &[u8],
    label: &[u8],
) -> Result<(), StoreError> {
    store.write(|tx| add_key_in(tx, wallet, public_key, id, label))
}

pub fn add_key_in(
    tx: &WriteTx<'_>,
    wallet: WalletId,
    public_key: &PublicKey,
    id: &[u8],
    label: &[u8],
) -> Result<(), StoreError> {
    let child = tx.reserve_index(wallet)?;
    let key = tx.insert_key(&NewKey {
        node: Some((wallet, DerivationPath::master().child(child))),
        device_serial: "device".into(),
        slot: 17,
        public_key: public_key.clone(),
        token_serial: "1234".into(),
        token_label: "token".into(),
        session_owner: None,
    })?;
    tx.insert_object(&object(key, ObjectClass::PublicKey, id, label))?;
    tx.insert_object(&object(key, ObjectClass::PrivateKey, id, label))?;
    Ok(())
}
