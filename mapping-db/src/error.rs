use std::path::PathBuf;

/// Why the store could not be used. Every message names the file and says what to do next.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// A directory on the way does not exist and cannot be made.
    #[error("{}: {reason}; make the directory, or set [mapping] database to where the store shall be", path.display())]
    Missing {
        /// What is missing.
        path: PathBuf,
        /// The system's reason.
        reason: std::io::Error,
    },
    /// The file or its directory can be changed by somebody who must not, or is not what it should be.
    #[error("{}: {what}; {fix}", path.display())]
    Permissions {
        /// The file or directory.
        path: PathBuf,
        /// What is wrong.
        what: String,
        /// What to do about it.
        fix: String,
    },
    /// This process may read the store but not write it.
    #[error("{}: this process may not write the store: {reason}; run as root or as a member of the store's group", path.display())]
    ReadOnly {
        /// The store.
        path: PathBuf,
        /// Which permission is missing.
        reason: String,
    },
    /// Another process held the store's lock for longer than the busy timeout.
    #[error("{}: another process has held the lock for {waited_ms} ms; try again, and look for a stopped process that has the file open", path.display())]
    Busy {
        /// The store.
        path: PathBuf,
        /// The busy timeout.
        waited_ms: u64,
    },
    /// The file is no sound store of ours.
    #[error("{}: damaged: {what}; restore it with `holdfast backup restore`, or rebuild it from the device with `holdfast repair`", path.display())]
    Corrupt {
        /// The store.
        path: PathBuf,
        /// What was found.
        what: String,
    },
    /// The file's schema is not one that this version reads.
    #[error("{}: the store has schema version {found}, this version reads {supported}; {}", path.display(), if *found > *newest { "install the newer version of Holdfast" } else { "install the version of Holdfast that wrote it" })]
    UnknownVersion {
        /// The store.
        path: PathBuf,
        /// The file's version.
        found: i64,
        /// The versions that are read, as text.
        supported: String,
        /// The newest of them.
        newest: i64,
    },
    /// The disk, or a quota, is full.
    #[error("{}: the disk is full; free some space and try again", path.display())]
    Full {
        /// The store.
        path: PathBuf,
    },
    /// The operating system failed.
    #[error("{}: {action}: {reason}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What was being done.
        action: &'static str,
        /// The system's reason.
        reason: std::io::Error,
    },
    /// A rule of the store would have been broken, for example by recording a public key twice.
    #[error("{}: {what}", path.display())]
    Conflict {
        /// The store.
        path: PathBuf,
        /// Which rule.
        what: String,
    },
    /// Anything else that SQLite reports.
    #[error("{}: {reason}", path.display())]
    Sqlite {
        /// The store.
        path: PathBuf,
        /// SQLite's reason.
        reason: rusqlite::Error,
    },
}

/// What SQLite reports, in the words of this crate.
pub(crate) fn sqlite_error(path: &std::path::Path, reason: rusqlite::Error) -> StoreError {
    use rusqlite::ErrorCode;
    let path = path.to_owned();
    match &reason {
        rusqlite::Error::SqliteFailure(failure, message) => {
            let text = || message.clone().unwrap_or_else(|| failure.to_string());
            match failure.code {
                ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => {
                    StoreError::Busy { path, waited_ms: crate::store::BUSY_TIMEOUT.as_millis() as u64 }
                }
                ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => StoreError::Corrupt { path, what: text() },
                ErrorCode::DiskFull => StoreError::Full { path },
                ErrorCode::ReadOnly if failure.extended_code != rusqlite::ffi::SQLITE_READONLY_ROLLBACK => {
                    StoreError::ReadOnly { path, reason: text() }
                }
                ErrorCode::ConstraintViolation => StoreError::Conflict { path, what: text() },
                _ => StoreError::Sqlite { path, reason },
            }
        }
        rusqlite::Error::FromSqlConversionFailure(..)
        | rusqlite::Error::IntegralValueOutOfRange(..)
        | rusqlite::Error::InvalidColumnType(..) => StoreError::Corrupt { path, what: reason.to_string() },
        _ => StoreError::Sqlite { path, reason },
    }
}

impl StoreError {
    /// Whether a crashed writer's journal stands in the way of a reader that may not roll it back.
    pub(crate) fn is_hot_journal(&self) -> bool {
        matches!(self, StoreError::Sqlite { reason: rusqlite::Error::SqliteFailure(failure, _), .. }
            if failure.extended_code == rusqlite::ffi::SQLITE_READONLY_ROLLBACK)
    }
}
