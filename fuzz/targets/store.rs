//! Damaged store files: the database, its journal, the owners' file, one or several at once.
#![no_main]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::OnceLock;

use holdfast_mapping_db::{
    Location, NewKey, NewObjectRow, NewWallet, ObjectClass, ObjectFilter, Recovery, Store, StoreError,
};
use holdfast_wallet::{Curve, DerivationPath, PublicKey};
use libfuzzer_sys::arbitrary::{Result, Unstructured};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _ = damage(&mut Unstructured::new(data));
});

/// The store's files as they are undamaged, and a journal that a crashed writer left.
struct Sound {
    location: Location,
    files: Vec<(PathBuf, Vec<u8>)>,
}

fn sound() -> &'static Sound {
    static SOUND: OnceLock<Sound> = OnceLock::new();
    SOUND.get_or_init(|| {
        let directory = std::env::temp_dir().join(format!("holdfast-fuzz-{}", std::process::id()));
        fs::create_dir(&directory).expect("a directory of our own");
        let location = Location { database: directory.join("store/mapping.db"), group: None, mode: 0o660 };
        let mut store = Store::open_or_create(&location).expect("a new store");
        fill(&mut store).expect("rows");
        let journal = location.database.with_file_name("mapping.db-journal");
        let mut left = Vec::new();
        // While a transaction is going on its journal is what a crash would leave.
        let _ = store.write::<(), StoreError>(|tx| {
            tx.retire_all_wallets()?;
            left = fs::read(&journal).unwrap_or_default();
            Err(StoreError::Io {
                path: journal.clone(),
                action: "stopping",
                reason: std::io::Error::other("on purpose"),
            })
        });
        drop(store);
        let mut files: Vec<_> = fs::read_dir(location.database.parent().expect("a directory"))
            .expect("the store's directory")
            .map(|entry| entry.expect("an entry").path())
            .map(|path| (path.clone(), fs::read(path).expect("a file")))
            .filter(|(path, _)| *path != journal)
            .collect();
        files.sort();
        files.push((journal, left));
        Sound { location, files }
    })
}

fn fill(store: &mut Store) -> std::result::Result<(), StoreError> {
    store.write(|tx| {
        let wallet = tx.insert_wallet(&NewWallet {
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
        })?;
        for scalar in 1..=3_u8 {
            let mut secret = [0; 32];
            secret[31] = scalar;
            let point = p256::SecretKey::from_slice(&secret).expect("a scalar").public_key().to_sec1_bytes();
            let child = tx.reserve_index(wallet)?;
            let key = tx.insert_key(&NewKey {
                node: Some((wallet, DerivationPath::master().child(child))),
                device_serial: "device".into(),
                slot: 16 + i32::from(scalar),
                public_key: PublicKey::from_sec1(Curve::P256, &point).expect("a point"),
                token_serial: "1234".into(),
                token_label: "token".into(),
                session_owner: None,
            })?;
            for class in [ObjectClass::PublicKey, ObjectClass::PrivateKey] {
                tx.insert_object(&NewObjectRow {
                    key,
                    class,
                    session_owner: None,
                    cka_id: vec![scalar],
                    label: b"label".to_vec(),
                    private: class == ObjectClass::PrivateKey,
                    modifiable: true,
                    destroyable: true,
                    copyable: false,
                    sign: true,
                    verify: true,
                    derive: true,
                    subject: vec![0x30, 0x00],
                    start_date: Some(*b"20250101"),
                    end_date: None,
                })?;
            }
        }
        Ok(())
    })
}

fn damage(u: &mut Unstructured<'_>) -> Result<()> {
    let sound = sound();
    let with_journal = u.ratio(1, 3)?;
    let mut files = sound.files.clone();
    if !with_journal {
        files.pop();
    }
    for _ in 0..u.int_in_range(0..=6)? {
        let index = u.choose_index(files.len())?;
        let bytes = &mut files[index].1;
        if bytes.is_empty() {
            continue;
        }
        // Where pages begin is where their structure is.
        let place = match u.int_in_range(0..=2)? {
            0 => u.choose_index(bytes.len().min(120))?,
            1 => (u.choose_index(bytes.len().div_ceil(4096))? * 4096 + u.int_in_range(0..=40)?).min(bytes.len() - 1),
            _ => u.choose_index(bytes.len())?,
        };
        match u.int_in_range(0..=8)? {
            0 => bytes.truncate(place),
            1 => bytes.splice(place..place, u.bytes(4.min(u.len()))?.iter().copied()).for_each(drop),
            2 => bytes[place] ^= 1 << u.int_in_range(0..=7)?,
            _ => {
                for (old, new) in bytes[place..].iter_mut().zip(u.bytes(u.len().min(4))?) {
                    *old = *new;
                }
            }
        }
    }
    let directory = sound.location.database.parent().expect("a directory");
    for entry in fs::read_dir(directory).expect("the store's directory") {
        fs::remove_file(entry.expect("an entry").path()).expect("a file of ours");
    }
    for (path, bytes) in &files {
        fs::write(path, bytes).expect("a file of ours");
        fs::set_permissions(path, fs::Permissions::from_mode(0o660)).expect("a file of ours");
    }
    use_it(&sound.location);
    Ok(())
}

/// Everything that can be asked of it, and a change: an answer or an error, and no other key than those that were in it.
fn use_it(location: &Location) {
    let Ok(Some(mut store)) = Store::open(location) else { return };
    for filter in [
        ObjectFilter::default(),
        ObjectFilter { cka_id: Some(vec![2]), ..ObjectFilter::default() },
        ObjectFilter {
            label: Some(b"label".to_vec()),
            class: Some(ObjectClass::PrivateKey),
            ..ObjectFilter::default()
        },
    ] {
        if let Ok(found) = store.read::<_, StoreError>(|rows| rows.find("1234", None, &filter)) {
            assert!(found.len() < 1000);
        }
    }
    let _ = store.read::<(), StoreError>(|rows| {
        let _ = rows.intents();
        let _ = rows.leftovers();
        let _ = rows.wallets();
        let _ = rows.recorded_slots();
        let _ = rows.session_objects();
        for key in rows.keys()? {
            rows.objects_of_key(key.id)?;
        }
        Ok(())
    });
    let _ = store.owner();
    let _ = store.write::<(), StoreError>(|tx| {
        for wallet in tx.wallets()? {
            tx.reserve_index(wallet.id)?;
        }
        Ok(())
    });
    let _ = store.data_version();
    let _ = store.is_current();
}
