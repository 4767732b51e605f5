//! An open store: the connection, its checks, and the transactions.

use std::cell::Cell;
use std::os::fd::RawFd;
use std::path::Path;
use std::time::Duration;

use rusqlite::Connection;
use rusqlite::config::DbConfig;

use crate::error::sqlite_error;
use crate::hot_journal::{self, Frozen};
use crate::location::{FileIdentity, Location, Place};
use crate::owner::{OwnerId, Owners};
use crate::read::Rows;
use crate::schema::{self, FileVersion};
use crate::{StoreError, WriteTx};

/// A store's lineage and how many indices it has given out.
type Testimony = ([u8; 16], u64);

/// How long a statement waits for other processes. Each of them holds the lock for one transaction, a few
/// synchronous writes, so this is far beyond what sixteen generations at once need, on a slow card too.
pub(crate) const BUSY_TIMEOUT: Duration = Duration::from_secs(15);

/// Distinct statements kept prepared.
const STATEMENTS: usize = 64;

/// An open store.
///
/// Not to be used in a forked child, which calls [`Store::abandon`].
#[derive(Debug)]
pub struct Store {
    location: Location,
    place: Place,
    connection: Connection,
    /// SQLite's descriptor of the database file, when it could be told.
    descriptor: Option<RawFd>,
    identity: FileIdentity,
    /// Why this process may not write; `None` when it may.
    obstacle: Option<String>,
    /// What readers see while a crashed writer's journal waits for a process that may roll it back.
    frozen: Option<Frozen>,
    owners: Option<Owners>,
}

impl Store {
    /// Opens the store, for reading and writing or for reading only as permissions allow. `None` when there is no
    /// store yet, which is seen without opening any file.
    pub fn open(location: &Location) -> Result<Option<Self>, StoreError> {
        let Some(place) = Place::find(location)? else { return Ok(None) };
        Self::open_in(location, place)
    }

    /// Opens the store, and makes it first where there is none.
    pub fn open_or_create(location: &Location) -> Result<Self, StoreError> {
        let place = Place::find_or_create(location)?;
        match place.checked_file(location)? {
            None => schema::create(location, &place)?,
            // Made by somebody else, for example by a package: it keeps its mode and gets the schema.
            Some(stat) if stat.st_size == 0 => {
                let mut connection = connect(&place, place.write_obstacle().as_deref())?;
                schema::initialise(&mut connection, &place)?;
            }
            Some(_) => {}
        }
        let path = place.path.clone();
        Self::open_in(location, place)?.ok_or_else(|| StoreError::Io {
            path,
            action: "opening the store that was just made",
            reason: std::io::ErrorKind::NotFound.into(),
        })
    }

    fn open_in(location: &Location, place: Place) -> Result<Option<Self>, StoreError> {
        let Some(stat) = place.checked_file(location)? else { return Ok(None) };
        if stat.st_size == 0 {
            return Ok(None);
        }
        let obstacle = place.write_obstacle();
        let expected = next_descriptor();
        let connection = connect(&place, obstacle.as_deref())?;
        let identity = FileIdentity::from(&stat);
        let descriptor = expected.filter(|descriptor| is_descriptor_of(*descriptor, identity));
        let location = location.clone();
        let mut store =
            Self { location, place, connection, descriptor, identity, obstacle, frozen: None, owners: None };
        match store.with_readable(schema::check_version)? {
            FileVersion::Empty => Ok(None),
            FileVersion::Readable(_) => Ok(Some(store)),
        }
    }

    /// The database file's path, without symbolic links.
    pub fn path(&self) -> &Path {
        &self.place.path
    }

    /// Where the store was looked for.
    pub fn location(&self) -> &Location {
        &self.location
    }

    /// Why this process may not write the store; `None` when it may.
    pub fn write_obstacle(&self) -> Option<&str> {
        self.obstacle.as_deref()
    }

    /// Whether the file that is open is still the one with the store's name. It is not after a migration or a restore.
    pub fn is_current(&self) -> Result<bool, StoreError> {
        Ok(self.place.stat(&self.place.file_name)?.is_some_and(|stat| FileIdentity::from(&stat) == self.identity))
    }

    /// Opens the file that has the store's name now, keeping this process's owner lock; `false` when there is none.
    pub fn reopen(&mut self) -> Result<bool, StoreError> {
        let Some(mut fresh) = Self::open(&self.location)? else { return Ok(false) };
        if let Some(owners) = self.owners.take()
            && owners.is_current(&fresh.place)?
        {
            fresh.owners = Some(owners);
        }
        *self = fresh;
        Ok(true)
    }

    /// A number that changes whenever another process has changed the store since the last call. Costs a few system
    /// calls, no query.
    pub fn data_version(&self) -> Result<i64, StoreError> {
        self.connection
            .prepare_cached("SELECT data_version FROM pragma_data_version")
            .and_then(|mut statement| statement.query_row([], |row| row.get(0)))
            .map_err(|reason| sqlite_error(&self.place.path, reason))
    }

    /// Answers questions from one consistent state of the store, the latest.
    pub fn read<T, E: From<StoreError>>(&mut self, questions: impl FnOnce(&Rows<'_>) -> Result<T, E>) -> Result<T, E> {
        self.with_readable(|connection, place| Ok(questions(&Rows { connection, path: &place.path })))
            .map_err(E::from)?
    }

    /// Begins a read transaction on the file, or on a rolled back copy of it when a crashed writer's journal is in the
    /// way and this process may not roll it back itself.
    fn with_readable<T>(
        &mut self,
        work: impl FnOnce(&Connection, &Place) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        const ATTEMPTS: u32 = 100;
        for attempt in 0..ATTEMPTS {
            match begin_read(&self.connection, &self.place) {
                Ok(()) => {
                    self.frozen = None;
                    let outcome = work(&self.connection, &self.place);
                    end_read(&self.connection);
                    return outcome;
                }
                Err(error) if error.is_hot_journal() => {
                    if let Some(frozen) = &self.frozen
                        && frozen.is_current(&self.place)?
                    {
                        break;
                    }
                    self.frozen = hot_journal::freeze(&self.place, self.identity)?;
                    if self.frozen.is_some() {
                        tracing::warn!(
                            store = %self.place.path.display(),
                            "a process ended in the middle of a write: reading a rolled back copy until a process \
                             that may write the store rolls it back"
                        );
                        break;
                    }
                    // Somebody else is rolling back, or has: the file itself can be read soon.
                    std::thread::sleep(Duration::from_millis(u64::from(attempt.min(20))));
                }
                Err(error) => return Err(error),
            }
        }
        let Some(frozen) = &self.frozen else {
            return Err(StoreError::Busy {
                path: self.place.path.clone(),
                waited_ms: (0..u64::from(ATTEMPTS)).map(|attempt| attempt.min(20)).sum(),
            });
        };
        begin_read(&frozen.connection, &self.place)?;
        let outcome = work(&frozen.connection, &self.place);
        end_read(&frozen.connection);
        outcome
    }

    /// Makes `changes` in one immediate transaction: all of them, durable when this returns, or none.
    ///
    /// An error of the commit itself leaves open whether the changes were made; whoever must know asks again.
    pub fn write<T, E: From<StoreError>>(
        &mut self,
        changes: impl FnOnce(&WriteTx<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        if let Some(reason) = &self.obstacle {
            return Err(StoreError::ReadOnly { path: self.place.path.clone(), reason: reason.clone() }.into());
        }
        let witness = self.owners()?.witness();
        let path = &self.place.path;
        let run = |sql: &str| {
            self.connection
                .prepare_cached(sql)
                .and_then(|mut statement| statement.execute([]))
                .map(|_| ())
                .map_err(|reason| sqlite_error(path, reason))
        };
        run("BEGIN IMMEDIATE")?;
        let outcome: Result<(T, Option<Testimony>), E> = (|| {
            if schema::check_version(&self.connection, &self.place)? == FileVersion::Empty {
                return Err(StoreError::Corrupt { path: path.clone(), what: "its tables are gone".to_owned() }.into());
            }
            let rows = Rows { connection: &self.connection, path };
            let tx = WriteTx { rows, witness: witness?, issued: Cell::new(false) };
            let value = changes(&tx)?;
            let issued = if tx.issued.get() { Some(rows.lineage()?) } else { None };
            run("COMMIT")?;
            Ok((value, issued))
        })();
        if !self.connection.is_autocommit() {
            // Nothing more can be done when this fails: the journal brings the old state back.
            let _ = run("ROLLBACK");
        }
        let (value, issued) = outcome?;
        if let Some((lineage, issued)) = issued {
            self.owners()?.testify(lineage, issued)?;
        }
        Ok(value)
    }

    /// This process as an owner of work; takes its lock at the first call. Only who may write does work.
    pub fn owner(&mut self) -> Result<OwnerId, StoreError> {
        if let Some(reason) = &self.obstacle {
            return Err(StoreError::ReadOnly { path: self.place.path.clone(), reason: reason.clone() });
        }
        self.owners()?.own()
    }

    /// This process as an owner of work, when it has become one.
    pub fn known_owner(&self) -> Option<OwnerId> {
        self.owners.as_ref().and_then(Owners::known_own)
    }

    /// Whether the process behind an owner still lives.
    pub fn owner_alive(&mut self, owner: OwnerId) -> Result<bool, StoreError> {
        if self.obstacle.is_some() {
            return match Owners::open_to_ask(&self.place) {
                Ok(Some(owners)) => owners.is_alive(owner),
                Ok(None) => Ok(false),
                // Who cannot tell takes it to live.
                Err(StoreError::Io { reason, .. }) if reason.kind() == std::io::ErrorKind::PermissionDenied => Ok(true),
                Err(error) => Err(error),
            };
        }
        self.owners()?.is_alive(owner)
    }

    fn owners(&mut self) -> Result<&mut Owners, StoreError> {
        let kept = match self.owners.take() {
            Some(owners) if owners.is_current(&self.place)? => Some(owners),
            _ => None,
        };
        let owners = match kept {
            Some(owners) => owners,
            None => Owners::open(&self.location, &self.place)?,
        };
        Ok(self.owners.insert(owners))
    }

    /// In a forked child: lets go of everything without letting SQLite act. Closing the connection as usual would
    /// roll back, and so delete the journal of, a transaction that is the parent's.
    pub fn abandon(self) {
        let Self { connection, descriptor, frozen, .. } = self;
        std::mem::forget(connection);
        std::mem::forget(frozen);
        if let Some(descriptor) = descriptor {
            // The child holds no lock that closing could drop: record locks are not inherited.
            let _ = nix::unistd::close(descriptor);
        }
    }
}

fn connect(place: &Place, obstacle: Option<&str>) -> Result<Connection, StoreError> {
    let writable = obstacle.is_none();
    let open = || -> rusqlite::Result<Connection> {
        let connection = Connection::open_with_flags(&place.path, schema::open_flags(writable))?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS);
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
        if writable {
            // These read the file, which a reader cannot be sure to be able to; it needs none of them.
            connection.execute_batch(
                "PRAGMA foreign_keys=ON; PRAGMA synchronous=EXTRA; PRAGMA journal_mode=DELETE; PRAGMA cache_size=-1024;",
            )?;
        }
        Ok(connection)
    };
    open().map_err(|reason| sqlite_error(&place.path, reason))
}

pub(crate) fn begin_read(connection: &Connection, place: &Place) -> Result<(), StoreError> {
    let begin = || -> rusqlite::Result<()> {
        connection.prepare_cached("BEGIN")?.execute([])?;
        // The lock is only taken, and a journal only found, at the first read.
        connection.prepare_cached("SELECT rootpage FROM sqlite_schema LIMIT 1")?.query([])?.next().map(|_| ())
    };
    begin().map_err(|reason| {
        end_read(connection);
        sqlite_error(&place.path, reason)
    })
}

fn end_read(connection: &Connection) {
    if !connection.is_autocommit() {
        // Nothing was written: ending the transaction cannot lose anything.
        let _ = connection.prepare_cached("ROLLBACK").and_then(|mut statement| statement.execute([]));
    }
}

/// The number that the next opened descriptor gets, unless another thread is faster.
fn next_descriptor() -> Option<RawFd> {
    use std::os::fd::AsRawFd;
    std::fs::File::open("/dev/null").ok().map(|probe| probe.as_raw_fd())
}

fn is_descriptor_of(descriptor: RawFd, identity: FileIdentity) -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(format!("/proc/self/fd/{descriptor}"))
        .is_ok_and(|metadata| FileIdentity { device: metadata.dev(), inode: metadata.ino() } == identity)
}
