//! The schema, its version, and the creation of a store.

use rusqlite::{Connection, OpenFlags};
use rustix::fs::{AtFlags, Mode, OFlags};

use crate::StoreError;
use crate::error::sqlite_error;
use crate::location::{Location, Place, give_to_group, io_error, move_into_place, temporary_name};

/// `PRAGMA application_id` of our files: "Hfst".
pub(crate) const APPLICATION_ID: i64 = 0x4866_7374;

/// The schema that this version writes.
pub(crate) const CURRENT_VERSION: i64 = 1;

/// The oldest schema that this version reads: the one before, so that servers that are running survive an upgrade or
/// a downgrade by one release. There was none before the first.
pub(crate) const OLDEST_READABLE: i64 = 1;

// Numbers are 64-bit integers and text UTF-8 in SQLite's own endian-neutral encoding; STRICT keeps them so.
const CREATE: &str = "
CREATE TABLE meta (
    -- one row
    id INTEGER PRIMARY KEY CHECK (id = 1),
    -- random, tells this store from any other
    lineage BLOB NOT NULL CHECK (length(lineage) = 16),
    -- how many node indices were ever given out; compared with the owners' file to notice an older copy
    issued INTEGER NOT NULL CHECK (issued >= 0),
    created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE wallets (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL,
    curve TEXT NOT NULL CHECK (curve IN ('p256', 'secp256k1')),
    device_serial TEXT NOT NULL,
    token_serial TEXT,
    token_label TEXT NOT NULL,
    master_slot INTEGER NOT NULL CHECK (master_slot BETWEEN 0 AND 2147483647),
    recovery TEXT NOT NULL CHECK (recovery IN ('none', 'bip39', 'slip39')),
    confirmed INTEGER NOT NULL CHECK (confirmed IN (0, 1)),
    next_index INTEGER NOT NULL CHECK (next_index BETWEEN 0 AND 2147483648),
    capacity INTEGER CHECK (capacity BETWEEN 1 AND 2147483648),
    hardened INTEGER NOT NULL CHECK (hardened IN (0, 1)),
    derivation_agrees INTEGER CHECK (derivation_agrees IN (0, 1)),
    retired INTEGER NOT NULL CHECK (retired IN (0, 1)),
    single_key INTEGER NOT NULL CHECK (single_key IN (0, 1)),
    created_at INTEGER NOT NULL,
    UNIQUE (device_serial, name)
) STRICT;

CREATE TABLE keys (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    -- NULL: an adopted slot
    wallet INTEGER REFERENCES wallets (id),
    path TEXT,
    device_serial TEXT NOT NULL,
    slot INTEGER NOT NULL CHECK (slot BETWEEN 0 AND 2147483647),
    curve TEXT NOT NULL CHECK (curve IN ('p256', 'secp256k1')),
    public_key BLOB NOT NULL CHECK (length(public_key) = 64),
    token_serial TEXT NOT NULL,
    token_label TEXT NOT NULL,
    -- NULL: a token key
    session_owner INTEGER,
    created_at INTEGER NOT NULL,
    CHECK ((wallet IS NULL) = (path IS NULL)),
    UNIQUE (wallet, path),
    UNIQUE (public_key, curve)
) STRICT;

CREATE TABLE objects (
    -- never used again, so that a handle made from it never means another object
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    key INTEGER NOT NULL REFERENCES keys (id),
    -- the key's, repeated for the indexes
    token_serial TEXT NOT NULL,
    class TEXT NOT NULL CHECK (class IN ('public', 'private')),
    session_owner INTEGER,
    cka_id BLOB NOT NULL,
    label BLOB NOT NULL,
    private INTEGER NOT NULL CHECK (private IN (0, 1)),
    modifiable INTEGER NOT NULL CHECK (modifiable IN (0, 1)),
    destroyable INTEGER NOT NULL CHECK (destroyable IN (0, 1)),
    copyable INTEGER NOT NULL CHECK (copyable IN (0, 1)),
    sign INTEGER NOT NULL CHECK (sign IN (0, 1)),
    verify INTEGER NOT NULL CHECK (verify IN (0, 1)),
    derive INTEGER NOT NULL CHECK (derive IN (0, 1)),
    subject BLOB NOT NULL,
    start_date BLOB CHECK (length(start_date) = 8),
    end_date BLOB CHECK (length(end_date) = 8),
    unique_id TEXT NOT NULL UNIQUE
) STRICT;
CREATE INDEX objects_by_id ON objects (token_serial, cka_id);
CREATE INDEX objects_by_label ON objects (token_serial, label);
CREATE INDEX objects_by_key ON objects (key);

CREATE TABLE intents (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL CHECK (kind IN ('generate', 'destroy', 'create-wallet', 'init-token')),
    owner INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    wallet INTEGER REFERENCES wallets (id),
    child INTEGER CHECK (child BETWEEN 0 AND 4294967295),
    key INTEGER REFERENCES keys (id),
    name TEXT,
    curve TEXT,
    device_serial TEXT,
    token_serial TEXT,
    accepted INTEGER NOT NULL DEFAULT 0 CHECK (accepted IN (0, 1)),
    whole INTEGER NOT NULL DEFAULT 0 CHECK (whole IN (0, 1))
) STRICT;
CREATE UNIQUE INDEX intents_by_node ON intents (wallet, child) WHERE wallet IS NOT NULL;
CREATE UNIQUE INDEX intents_by_key ON intents (key) WHERE key IS NOT NULL;
CREATE UNIQUE INDEX intents_by_name ON intents (device_serial, name) WHERE name IS NOT NULL;
CREATE UNIQUE INDEX intents_by_token ON intents (token_serial) WHERE kind = 'init-token';

CREATE TABLE leftovers (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    device_serial TEXT NOT NULL,
    wallet_name TEXT NOT NULL,
    path TEXT NOT NULL,
    curve TEXT,
    public_key BLOB CHECK (length(public_key) = 64),
    reason TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    UNIQUE (device_serial, wallet_name, path)
) STRICT;

-- Every public key ever recorded, of keys long destroyed too: none is accepted again as new.
CREATE TABLE seen_public_keys (
    public_key BLOB NOT NULL CHECK (length(public_key) = 64),
    curve TEXT NOT NULL,
    first_seen INTEGER NOT NULL,
    PRIMARY KEY (public_key, curve)
) STRICT, WITHOUT ROWID;
";

/// What stands in a file's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileVersion {
    /// Nothing was ever written to it.
    Empty,
    /// A store of ours with this schema, which is one that we read.
    Readable(i64),
}

/// Reads the version, and refuses what is not ours by name.
pub(crate) fn check_version(connection: &Connection, place: &Place) -> Result<FileVersion, StoreError> {
    let read = || -> rusqlite::Result<(i64, i64, i64)> {
        let mut statement = connection.prepare_cached(
            "SELECT (SELECT application_id FROM pragma_application_id), (SELECT user_version FROM pragma_user_version),
                    (SELECT count(*) FROM sqlite_schema)",
        )?;
        statement.query_row([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
    };
    let (application, version, tables) = read().map_err(|reason| sqlite_error(&place.path, reason))?;
    if (application, version, tables) == (0, 0, 0) {
        return Ok(FileVersion::Empty);
    }
    if application != APPLICATION_ID {
        return Err(StoreError::Corrupt {
            path: place.path.clone(),
            what: "an SQLite database, but not one of Holdfast's".to_owned(),
        });
    }
    if !(OLDEST_READABLE..=CURRENT_VERSION).contains(&version) {
        return Err(StoreError::UnknownVersion {
            path: place.path.clone(),
            found: version,
            supported: if OLDEST_READABLE == CURRENT_VERSION {
                CURRENT_VERSION.to_string()
            } else {
                format!("{OLDEST_READABLE} to {CURRENT_VERSION}")
            },
            newest: CURRENT_VERSION,
        });
    }
    Ok(FileVersion::Readable(version))
}

/// Writes the schema into an empty file, in one transaction that looks first whether somebody else was faster.
pub(crate) fn initialise(connection: &mut Connection, place: &Place) -> Result<(), StoreError> {
    let error = |reason| sqlite_error(&place.path, reason);
    let lineage = [crate::location::random_u64()?.to_be_bytes(), crate::location::random_u64()?.to_be_bytes()].concat();
    let tx = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate).map_err(error)?;
    if check_version(&tx, place)? == FileVersion::Empty {
        tx.execute_batch(CREATE).map_err(error)?;
        tx.execute("INSERT INTO meta (id, lineage, issued, created_at) VALUES (1, ?1, 0, unixepoch())", [lineage])
            .map_err(error)?;
        tx.pragma_update(None, "application_id", APPLICATION_ID).map_err(error)?;
        tx.pragma_update(None, "user_version", CURRENT_VERSION).map_err(error)?;
    }
    tx.commit().map_err(error)
}

/// Makes the store under a name of its own, complete and with its final mode and group, and then moves it into place
/// unless somebody else was faster: no process ever sees half a store.
pub(crate) fn create(location: &Location, place: &Place) -> Result<(), StoreError> {
    let temporary = temporary_name(&place.file_name)?;
    let temporary_path = place.directory_path.join(&temporary);
    let outcome = (|| {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(place.directory(), &temporary, flags, Mode::from_raw_mode(0o600))
            .map_err(|errno| creation_error(place, errno))?;
        // Nobody else knows the name: closing the descriptor can drop no lock.
        drop(file);
        let mut connection = Connection::open_with_flags(&temporary_path, open_flags(true))
            .map_err(|reason| sqlite_error(&place.path, reason))?;
        connection
            .execute_batch("PRAGMA journal_mode=DELETE; PRAGMA synchronous=EXTRA;")
            .map_err(|reason| sqlite_error(&place.path, reason))?;
        initialise(&mut connection, place)?;
        connection.close().map_err(|(_, reason)| sqlite_error(&place.path, reason))?;
        give_to_group(place.directory(), &temporary, &place.path, location.gid()?, location)?;
        rustix::fs::chmodat(place.directory(), &temporary, Mode::from_raw_mode(location.file_mode()), AtFlags::empty())
            .map_err(|errno| io_error(&place.path, "setting the file's mode", errno.into()))?;
        let moved = move_into_place(place.directory(), &temporary, &place.file_name)
            .map_err(|errno| io_error(&place.path, "moving the new store into place", errno.into()))?;
        sync_directory(place)?;
        Ok(moved)
    })();
    if !matches!(outcome, Ok(true)) {
        let mut journal = temporary.clone();
        journal.push("-journal");
        for name in [&temporary, &journal] {
            let _ = rustix::fs::unlinkat(place.directory(), name, AtFlags::empty());
        }
    }
    match outcome? {
        true => tracing::info!(store = %place.path.display(), "made a new store"),
        false => tracing::debug!(store = %place.path.display(), "another process made the store first"),
    }
    Ok(())
}

fn creation_error(place: &Place, errno: rustix::io::Errno) -> StoreError {
    use rustix::io::Errno;
    match errno {
        Errno::ACCESS | Errno::PERM | Errno::ROFS => StoreError::ReadOnly {
            path: place.path.clone(),
            reason: format!("there is no store yet, and its directory: {}", std::io::Error::from(errno)),
        },
        errno => io_error(&place.path, "making the store", errno.into()),
    }
}

pub(crate) fn sync_directory(place: &Place) -> Result<(), StoreError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(place.directory(), ".", flags, Mode::empty())
        .and_then(|directory| rustix::fs::fsync(&directory))
        .map_err(|errno| io_error(&place.directory_path, "making the directory durable", errno.into()))
}

/// No URI names, no links, and SQLite's own mutexes off: one thread at a time uses a connection.
pub(crate) fn open_flags(writable: bool) -> OpenFlags {
    let access = if writable { OpenFlags::SQLITE_OPEN_READ_WRITE } else { OpenFlags::SQLITE_OPEN_READ_ONLY };
    access | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_NOFOLLOW | OpenFlags::SQLITE_OPEN_EXRESCODE
}
