//! Rows go in and come out; transactions hold; searches are narrowed.

mod common;

use common::{add_key, location, public_keys, wallet};
use holdfast_mapping_db::{IntentKind, NewIntent, ObjectClass, ObjectFilter, Store, StoreError};

#[test]
fn what_goes_in_comes_out() {
    let directory = tempfile::tempdir().unwrap();
    let location = location(directory.path());
    assert!(Store::open(&location).unwrap().is_none());
    let mut store = Store::open_or_create(&location).unwrap();
    let id = store.write::<_, StoreError>(|tx| tx.insert_wallet(&wallet())).unwrap();
    let keys = public_keys(3);
    for (n, key) in keys.iter().enumerate() {
        add_key(&mut store, id, key, &[n as u8], b"label").unwrap();
    }
    let mut other = Store::open(&location).unwrap().unwrap();
    let all = other.read::<_, StoreError>(|rows| rows.find("1234", None, &ObjectFilter::default())).unwrap();
    assert_eq!(all.len(), 6);
    let (record, key) = &all[3];
    assert_eq!(key.public_key, keys[1]);
    assert_eq!(key.node(), "holdfast-1234-p256 m/1'");
    assert_eq!(
        (record.class, &record.cka_id[..], &record.label[..]),
        (ObjectClass::PrivateKey, &[1][..], &b"label"[..])
    );
    assert_eq!((record.start_date, record.end_date), (Some(*b"20250101"), None));
    assert!(record.sign && record.private && record.derive && !record.verify && !record.copyable && !record.session);
    let find = |other: &mut Store, filter: ObjectFilter| {
        other.read::<_, StoreError>(|rows| rows.find("1234", None, &filter)).unwrap().len()
    };
    assert_eq!(find(&mut other, ObjectFilter { cka_id: Some(vec![2]), ..Default::default() }), 2);
    assert_eq!(find(&mut other, ObjectFilter { label: Some(b"label".to_vec()), ..Default::default() }), 6);
    assert_eq!(find(&mut other, ObjectFilter { label: Some(b"labe".to_vec()), ..Default::default() }), 0);
    let one =
        ObjectFilter { class: Some(ObjectClass::PublicKey), cka_id: Some(vec![2]), label: Some(b"label".to_vec()) };
    assert_eq!(find(&mut other, one), 1);
    assert_eq!(other.read::<_, StoreError>(|rows| rows.find("99", None, &ObjectFilter::default())).unwrap().len(), 0);
}

#[test]
fn another_process_s_changes_are_noticed() {
    let directory = tempfile::tempdir().unwrap();
    let location = location(directory.path());
    let mut writer = Store::open_or_create(&location).unwrap();
    let reader = Store::open(&location).unwrap().unwrap();
    let before = reader.data_version().unwrap();
    assert_eq!(reader.data_version().unwrap(), before);
    writer.write::<_, StoreError>(|tx| tx.insert_wallet(&wallet())).unwrap();
    assert_ne!(reader.data_version().unwrap(), before);
}

#[test]
fn a_failed_change_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = Store::open_or_create(&location(directory.path())).unwrap();
    let id = store.write::<_, StoreError>(|tx| tx.insert_wallet(&wallet())).unwrap();
    let key = public_keys(1).remove(0);
    add_key(&mut store, id, &key, b"1", b"a").unwrap();
    let error = add_key(&mut store, id, &key, b"2", b"b").unwrap_err();
    assert!(matches!(error, StoreError::Conflict { .. }), "{error}");
    let wallet = store.read::<_, StoreError>(|rows| rows.wallet(id)).unwrap().unwrap();
    assert_eq!(wallet.next_index, 1, "the reservation of the failed transaction is gone with it");
}

#[test]
fn a_public_key_is_remembered_for_ever() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = Store::open_or_create(&location(directory.path())).unwrap();
    let id = store.write::<_, StoreError>(|tx| tx.insert_wallet(&wallet())).unwrap();
    let key = public_keys(1).remove(0);
    add_key(&mut store, id, &key, b"1", b"a").unwrap();
    let row = store.read::<_, StoreError>(|rows| rows.keys()).unwrap().remove(0);
    assert!(store.write::<_, StoreError>(|tx| tx.delete_key(row.id)).unwrap());
    assert!(store.read::<_, StoreError>(|rows| rows.public_key_seen(&key)).unwrap());
    assert!(matches!(add_key(&mut store, id, &key, b"1", b"a"), Err(StoreError::Conflict { .. })));
}

#[test]
fn rows_are_numbered_once() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = Store::open_or_create(&location(directory.path())).unwrap();
    let id = store.write::<_, StoreError>(|tx| tx.insert_wallet(&wallet())).unwrap();
    let mut seen = std::collections::HashSet::new();
    for (n, key) in public_keys(5).iter().enumerate() {
        add_key(&mut store, id, key, &[n as u8], b"").unwrap();
        let rows = store.read::<_, StoreError>(|rows| rows.find("1234", None, &ObjectFilter::default())).unwrap();
        for (object, _) in &rows {
            assert!(seen.insert(object.id));
        }
        store.write::<_, StoreError>(|tx| tx.delete_key(rows[0].1.id)).unwrap();
    }
}

#[test]
fn objects_of_keys_being_destroyed_are_hidden() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = Store::open_or_create(&location(directory.path())).unwrap();
    let id = store.write::<_, StoreError>(|tx| tx.insert_wallet(&wallet())).unwrap();
    let keys = public_keys(2);
    add_key(&mut store, id, &keys[0], b"1", b"").unwrap();
    add_key(&mut store, id, &keys[1], b"2", b"").unwrap();
    let key = store.read::<_, StoreError>(|rows| rows.keys()).unwrap()[0].id;
    let owner = store.owner().unwrap();
    let find = |store: &mut Store| {
        store.read::<_, StoreError>(|rows| rows.find("1234", None, &ObjectFilter::default())).unwrap().len()
    };
    let destroy = NewIntent { kind: IntentKind::Destroy { key, whole: true }, owner };
    let intent = store.write::<_, StoreError>(|tx| tx.insert_intent(&destroy)).unwrap();
    assert_eq!(find(&mut store), 2);
    let twice = store.write::<_, StoreError>(|tx| tx.insert_intent(&destroy));
    assert!(matches!(twice, Err(StoreError::Conflict { .. })));
    assert!(store.write::<_, StoreError>(|tx| tx.delete_intent(intent)).unwrap());
    assert!(!store.write::<_, StoreError>(|tx| tx.delete_intent(intent)).unwrap());
    assert_eq!(find(&mut store), 4);
    let init = NewIntent { kind: IntentKind::InitToken { token_serial: "1234".into(), accepted: false }, owner };
    store.write::<_, StoreError>(|tx| tx.insert_intent(&init)).unwrap();
    assert_eq!(find(&mut store), 0);
}

#[test]
fn owners_live_as_long_as_their_lock() {
    let directory = tempfile::tempdir().unwrap();
    let location = location(directory.path());
    let mut first = Store::open_or_create(&location).unwrap();
    let mut second = Store::open_or_create(&location).unwrap();
    let owner = first.owner().unwrap();
    assert_eq!(first.owner().unwrap(), owner);
    assert!(first.owner_alive(owner).unwrap());
    assert!(second.owner_alive(owner).unwrap());
    assert_ne!(second.owner().unwrap(), owner);
    drop(first);
    assert!(!second.owner_alive(owner).unwrap());
}

#[test]
fn an_older_copy_is_noticed() {
    let directory = tempfile::tempdir().unwrap();
    let location = location(directory.path());
    let saved = directory.path().join("saved.db");
    let mut store = Store::open_or_create(&location).unwrap();
    let id = store.write::<_, StoreError>(|tx| tx.insert_wallet(&wallet())).unwrap();
    store.write::<_, StoreError>(|tx| tx.reserve_index(id)).unwrap();
    assert!(!store.write::<_, StoreError>(|tx| tx.is_older_copy()).unwrap());
    drop(store);
    std::fs::copy(&location.database, &saved).unwrap();
    let mut store = Store::open(&location).unwrap().unwrap();
    store.write::<_, StoreError>(|tx| tx.reserve_index(id)).unwrap();
    assert!(!store.write::<_, StoreError>(|tx| tx.is_older_copy()).unwrap());
    assert!(store.is_current().unwrap());
    std::fs::rename(&saved, &location.database).unwrap();
    assert!(!store.is_current().unwrap());
    assert!(store.reopen().unwrap());
    assert!(store.write::<_, StoreError>(|tx| tx.is_older_copy()).unwrap());
    store.write::<_, StoreError>(|tx| tx.accept_older_copy()).unwrap();
    assert!(!store.write::<_, StoreError>(|tx| tx.is_older_copy()).unwrap());
}
