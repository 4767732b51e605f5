//! Files that are not what they should be.

mod common;

use std::os::unix::fs::symlink;

use common::{add_key, location, public_keys, wallet};
use holdfast_mapping_db::{IntentKind, Location, NewIntent, ObjectFilter, Store, StoreError};
use proptest::prelude::*;

fn filled(location: &Location) {
    let mut store = Store::open_or_create(location).unwrap();
    let id = store.write::<_, StoreError>(|tx| tx.insert_wallet(&wallet())).unwrap();
    for (n, key) in public_keys(8).iter().enumerate() {
        add_key(&mut store, id, key, &[n as u8], b"label").unwrap();
    }
    let owner = store.owner().unwrap();
    let kind = IntentKind::InitToken { token_serial: "other".into(), accepted: false };
    store.write::<_, StoreError>(|tx| tx.insert_intent(&NewIntent { kind, owner })).unwrap();
}

#[test]
fn links_are_not_followed() {
    let directory = tempfile::tempdir().unwrap();
    let real = location(directory.path());
    filled(&real);
    let file_link = Location { database: directory.path().join("other/mapping.db"), ..real.clone() };
    std::fs::create_dir(directory.path().join("other")).unwrap();
    symlink(&real.database, &file_link.database).unwrap();
    symlink(directory.path().join("store"), directory.path().join("linked")).unwrap();
    let directory_link = Location { database: directory.path().join("linked/mapping.db"), ..real.clone() };
    for linked in [file_link, directory_link] {
        assert!(matches!(Store::open(&linked), Err(StoreError::Permissions { .. })));
        assert!(matches!(Store::open_or_create(&linked), Err(StoreError::Permissions { .. })));
    }
    // A link further up is the administrator's, as is /var/run.
    symlink(directory.path(), directory.path().join("up")).unwrap();
    let further = Location { database: directory.path().join("up/store/mapping.db"), ..real.clone() };
    assert!(Store::open(&further).unwrap().is_some());
    // A link in the place of the owners' file.
    let owners = real.database.with_file_name("mapping.db.owners");
    std::fs::remove_file(&owners).unwrap();
    symlink("/etc/passwd", &owners).unwrap();
    assert!(Store::open(&real).unwrap().unwrap().owner().is_err());
}

#[test]
fn a_directory_is_no_store() {
    let directory = tempfile::tempdir().unwrap();
    let location = location(directory.path());
    std::fs::create_dir_all(&location.database).unwrap();
    assert!(matches!(Store::open(&location), Err(StoreError::Permissions { .. })));
}

#[test]
fn what_is_missing_is_no_store_yet() {
    let directory = tempfile::tempdir().unwrap();
    let location = location(directory.path());
    assert!(Store::open(&location).unwrap().is_none());
    std::fs::create_dir(directory.path().join("store")).unwrap();
    assert!(Store::open(&location).unwrap().is_none());
    std::fs::write(&location.database, b"").unwrap();
    assert!(Store::open(&location).unwrap().is_none(), "an empty file is none either");
    assert!(Store::open_or_create(&location).is_ok(), "and becomes one");
    assert!(Store::open(&location).unwrap().is_some());
    let nowhere = Location { database: directory.path().join("a/b/c/mapping.db"), ..location };
    assert!(Store::open(&nowhere).unwrap().is_none());
    assert!(matches!(Store::open_or_create(&nowhere), Err(StoreError::Missing { .. })));
}

#[test]
fn versions_that_are_not_known_are_refused_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let location = location(directory.path());
    filled(&location);
    let set = |sql: &str| rusqlite::Connection::open(&location.database).unwrap().execute_batch(sql).unwrap();
    let mut running = Store::open(&location).unwrap().unwrap();
    set("PRAGMA user_version = 99");
    for outcome in [Store::open(&location).map(|_| ()), Store::open_or_create(&location).map(|_| ())] {
        let error = outcome.unwrap_err();
        assert!(matches!(error, StoreError::UnknownVersion { found: 99, .. }), "{error}");
        assert!(error.to_string().contains("99") && error.to_string().contains("newer"), "{error}");
    }
    let error = running.write::<_, StoreError>(|tx| tx.retire_all_wallets()).unwrap_err();
    assert!(matches!(error, StoreError::UnknownVersion { found: 99, .. }), "a running process too: {error}");
    set("PRAGMA user_version = 0");
    assert!(Store::open(&location).unwrap_err().to_string().contains("install the version"));
    set("PRAGMA user_version = 1; PRAGMA application_id = 7");
    assert!(matches!(Store::open(&location), Err(StoreError::Corrupt { .. })), "somebody else's database");
}

#[test]
fn a_store_replaced_while_it_is_open_is_opened_again() {
    let directory = tempfile::tempdir().unwrap();
    let location = location(directory.path());
    filled(&location);
    let mut store = Store::open(&location).unwrap().unwrap();
    let owner = store.owner().unwrap();
    let other = Location { database: directory.path().join("store/other.db"), ..location.clone() };
    drop(Store::open_or_create(&other).unwrap());
    std::fs::rename(&other.database, &location.database).unwrap();
    assert!(!store.is_current().unwrap());
    assert!(store.reopen().unwrap());
    assert!(store.read::<_, StoreError>(|rows| rows.wallets()).unwrap().is_empty());
    assert_eq!(store.owner().unwrap(), owner, "work in progress keeps its owner");
    std::fs::remove_file(&location.database).unwrap();
    assert!(!store.reopen().unwrap());
}

#[test]
fn one_bad_row_takes_no_other_away() {
    let directory = tempfile::tempdir().unwrap();
    let location = location(directory.path());
    filled(&location);
    let connection = rusqlite::Connection::open(&location.database).unwrap();
    connection
        .execute_batch(
            "PRAGMA ignore_check_constraints = 1;
             UPDATE keys SET public_key = zeroblob(64) WHERE id = 3;
             UPDATE keys SET path = 'nonsense' WHERE id = 4;
             UPDATE objects SET class = 'neither' WHERE id = 1;",
        )
        .unwrap();
    let mut store = Store::open(&location).unwrap().unwrap();
    let found = store.read::<_, StoreError>(|rows| rows.find("1234", None, &ObjectFilter::default())).unwrap();
    assert_eq!(found.len(), 16 - 2 - 2 - 1);
    assert_eq!(store.read::<_, StoreError>(|rows| rows.keys()).unwrap().len(), 6);
}

#[test]
fn searching_five_thousand_keys_takes_no_longer_than_fifty() {
    let directory = tempfile::tempdir().unwrap();
    let times = [50u64, 5000].map(|count| {
        let location =
            Location { database: directory.path().join(format!("{count}/mapping.db")), group: None, mode: 0o660 };
        let mut store = Store::open_or_create(&location).unwrap();
        let id = store.write::<_, StoreError>(|tx| tx.insert_wallet(&wallet())).unwrap();
        let keys = public_keys(count);
        store
            .write::<_, StoreError>(|tx| {
                for (n, key) in keys.iter().enumerate() {
                    common::add_key_in(tx, id, key, &(n as u32).to_be_bytes(), format!("label {n}").as_bytes())?;
                }
                Ok(())
            })
            .unwrap();
        let mut times: Vec<_> = (0..200u32)
            .map(|n| {
                let wanted = n * 7 % count as u32;
                let by_id = ObjectFilter { cka_id: Some(wanted.to_be_bytes().to_vec()), ..Default::default() };
                let by_label =
                    ObjectFilter { label: Some(format!("label {wanted}").into_bytes()), ..Default::default() };
                let start = std::time::Instant::now();
                for filter in [&by_id, &by_label] {
                    assert_eq!(store.read::<_, StoreError>(|rows| rows.find("1234", None, filter)).unwrap().len(), 2);
                }
                start.elapsed()
            })
            .collect();
        times.sort();
        times[100]
    });
    assert!(times[1] < times[0] * 4, "{times:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// Any bytes as ID, label and subject come back as they went in, and are found by exactly these bytes.
    #[test]
    fn bytes_come_back_as_they_went_in(id in any::<Vec<u8>>(), label in any::<Vec<u8>>(), other in any::<Vec<u8>>()) {
        let directory = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let mut store = Store::open_or_create(&location(directory.path())).unwrap();
        let wallet = store.write::<_, StoreError>(|tx| tx.insert_wallet(&wallet())).unwrap();
        add_key(&mut store, wallet, &public_keys(1)[0], &id, &label).unwrap();
        let find = |store: &mut Store, id: &[u8], label: &[u8]| {
            let filter = ObjectFilter { class: None, cka_id: Some(id.to_vec()), label: Some(label.to_vec()) };
            store.read::<_, StoreError>(|rows| rows.find("1234", None, &filter)).unwrap()
        };
        let found = find(&mut store, &id, &label);
        prop_assert_eq!(found.len(), 2);
        prop_assert_eq!(&found[0].0.cka_id, &id);
        prop_assert_eq!(&found[1].0.label, &label);
        prop_assert_eq!(find(&mut store, &other, &label).len(), if other == id { 2 } else { 0 });
        prop_assert_eq!(find(&mut store, &id, &other).len(), if other == label { 2 } else { 0 });
    }

    /// A file damaged anywhere is an error or read as far as it can be; it never brings the process down.
    #[test]
    fn damaged_files_are_survived(damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..40), cut in any::<Option<prop::sample::Index>>()) {
        let directory = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let location = location(directory.path());
        filled(&location);
        let mut content = std::fs::read(&location.database).unwrap();
        for (at, byte) in &damage {
            let at = at.index(content.len());
            content[at] ^= byte;
        }
        if let Some(cut) = cut {
            content.truncate(cut.index(content.len()));
        }
        std::fs::write(&location.database, &content).unwrap();
        if let Ok(Some(mut store)) = Store::open(&location) {
            let _ = store.read::<_, StoreError>(|rows| rows.find("1234", None, &ObjectFilter::default()));
            let _ = store.read::<_, StoreError>(|rows| rows.keys());
            let _ = store.read::<_, StoreError>(|rows| rows.wallets());
            let _ = store.read::<_, StoreError>(|rows| rows.intents());
            let _ = store.write::<_, StoreError>(|tx| tx.retire_all_wallets());
            let _ = store.owner();
        }
    }
}
