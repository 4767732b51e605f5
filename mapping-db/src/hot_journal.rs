//! A reader that may not write, and a journal that a crashed writer left behind.
//!
//! Such a journal must be rolled back before the file can be read, and SQLite refuses that to a reader. So file and
//! journal are copied to a private directory, rolled back there, and read from memory until somebody who may write
//! has rolled the file back.

use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use rusqlite::Connection;
use rustix::fs::{Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::StoreError;
use crate::error::sqlite_error;
use crate::location::{FileIdentity, Place, io_error, random_u64};
use crate::owner::{byte, range};

const JOURNAL_SUFFIX: &str = "-journal";

// Where SQLite locks (sqlite3.c, "os.h"): readers share a range, a writer first reserves and then excludes.
const PENDING_BYTE: i64 = 0x4000_0000;
const RESERVED_BYTE: i64 = PENDING_BYTE + 1;
const SHARED_FIRST: i64 = PENDING_BYTE + 2;
const SHARED_SIZE: i64 = 510;

/// The store as it was before the crashed write, in memory.
#[derive(Debug)]
pub(crate) struct Frozen {
    pub connection: Connection,
    stamps: Stamps,
}

/// Both files as they were when they were copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamps {
    file: Stamp,
    journal: Stamp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    identity: FileIdentity,
    size: i64,
    changed: (i64, i64),
}

impl From<&Stat> for Stamp {
    #[allow(clippy::unnecessary_cast, reason = "the fields' types differ between architectures")]
    fn from(stat: &Stat) -> Self {
        Self {
            identity: FileIdentity::from(stat),
            size: stat.st_size as i64,
            changed: (stat.st_ctime as i64, stat.st_ctime_nsec as i64),
        }
    }
}

impl Frozen {
    /// Whether the same journal still waits beside the same file.
    pub fn is_current(&self, place: &Place) -> Result<bool, StoreError> {
        Ok(stamps(place)? == Some(self.stamps))
    }
}

fn stamps(place: &Place) -> Result<Option<Stamps>, StoreError> {
    let file = place.stat(&place.file_name)?;
    let journal = place.stat(&place.sibling(JOURNAL_SUFFIX))?;
    Ok(file.zip(journal).map(|(file, journal)| Stamps { file: Stamp::from(&file), journal: Stamp::from(&journal) }))
}

/// Copies the store and rolls the copy back; `None` when the file itself can (soon) be read again.
pub(crate) fn freeze(place: &Place, identity: FileIdentity) -> Result<Option<Frozen>, StoreError> {
    let mut registry = DESCRIPTORS.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let Some(file) = descriptor(&mut registry, place, identity)? else { return Ok(None) };
    let Some(guard) = SharedLock::take(file.as_fd(), place)? else { return Ok(None) };
    // Under the shared lock nobody changes the file. Is it still the dead writer's journal, and not that of a living
    // one who holds the reserved byte?
    if guard.is_reserved(place)? {
        return Ok(None);
    }
    let Some(stamps) = stamps(place)? else { return Ok(None) };
    let Some(journal) = read_journal(place)? else { return Ok(None) };
    let content = read_all(file.as_fd(), place)?;
    drop(guard);
    drop(registry);
    let connection = roll_back(place, &content, &journal)?;
    Ok(Some(Frozen { connection, stamps }))
}

/// Descriptors of database files, one for each file ever frozen, never closed: closing one would drop the locks that
/// SQLite holds on the file for other connections of this process.
static DESCRIPTORS: Mutex<Vec<(FileIdentity, OwnedFd)>> = Mutex::new(Vec::new());

/// In a forked child, which must not hold what its parent opened. Closing drops no lock of the parent's.
pub fn forget_after_fork() {
    // Not held by another thread: the use of a store, in a process that forks, is under the lock that the forking
    // thread holds.
    if let Ok(mut registry) = DESCRIPTORS.try_lock() {
        registry.clear();
    }
}

fn descriptor<'a>(
    registry: &'a mut Vec<(FileIdentity, OwnedFd)>,
    place: &Place,
    identity: FileIdentity,
) -> Result<Option<&'a OwnedFd>, StoreError> {
    if !registry.iter().any(|(known, _)| *known == identity) {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(place.directory(), &place.file_name, flags, Mode::empty())
            .map_err(|errno| io_error(&place.path, "opening the store to copy it", errno.into()))?;
        let stat = rustix::fs::fstat(&file)
            .map_err(|errno| io_error(&place.path, "looking at the store to copy it", errno.into()))?;
        registry.push((FileIdentity::from(&stat), file));
    }
    // Not found when the file was replaced in between: it is to be opened afresh.
    Ok(registry.iter().find(|(known, _)| *known == identity).map(|(_, file)| file))
}

/// SQLite's shared lock, taken on a descriptor of our own.
struct SharedLock<'a> {
    file: BorrowedFd<'a>,
}

impl<'a> SharedLock<'a> {
    fn take(file: BorrowedFd<'a>, place: &Place) -> Result<Option<Self>, StoreError> {
        let set = |lock| match fcntl(file, FcntlArg::F_OFD_SETLK(&lock)) {
            Ok(_) => Ok(true),
            Err(nix::errno::Errno::EAGAIN | nix::errno::Errno::EACCES) => Ok(false),
            Err(errno) => Err(io_error(&place.path, "locking the store to copy it", errno.into())),
        };
        if !set(byte(PENDING_BYTE, libc::F_RDLCK))? {
            return Ok(None);
        }
        let shared = set(range(SHARED_FIRST, SHARED_SIZE, libc::F_RDLCK));
        set(byte(PENDING_BYTE, libc::F_UNLCK))?;
        Ok(shared?.then_some(Self { file }))
    }

    fn is_reserved(&self, place: &Place) -> Result<bool, StoreError> {
        let mut lock = byte(RESERVED_BYTE, libc::F_WRLCK);
        fcntl(self.file, FcntlArg::F_OFD_GETLK(&mut lock))
            .map_err(|errno| io_error(&place.path, "asking for the store's lock", errno.into()))?;
        Ok(i32::from(lock.l_type) != libc::F_UNLCK)
    }
}

impl Drop for SharedLock<'_> {
    fn drop(&mut self) {
        let _ = fcntl(self.file, FcntlArg::F_OFD_SETLK(&range(SHARED_FIRST, SHARED_SIZE, libc::F_UNLCK)));
    }
}

fn read_journal(place: &Place) -> Result<Option<Vec<u8>>, StoreError> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let name = place.sibling(JOURNAL_SUFFIX);
    let path = place.directory_path.join(&name);
    let mut content = Vec::new();
    match rustix::fs::openat(place.directory(), &name, flags, Mode::empty()) {
        Ok(file) => std::fs::File::from(file)
            .read_to_end(&mut content)
            .map_err(|reason| io_error(&path, "reading the journal", reason))?,
        Err(Errno::NOENT) => return Ok(None),
        Err(errno) => return Err(io_error(&path, "opening the journal", errno.into())),
    };
    // A journal that begins with zero is finished with.
    Ok(content.first().is_some_and(|first| *first != 0).then_some(content))
}

fn read_all(file: BorrowedFd<'_>, place: &Place) -> Result<Vec<u8>, StoreError> {
    let mut content = Vec::new();
    let mut chunk = vec![0; 1 << 16];
    loop {
        match rustix::io::pread(file, &mut chunk, content.len() as u64) {
            Ok(0) => return Ok(content),
            Ok(read) => content.extend(chunk.iter().take(read)),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(io_error(&place.path, "copying the store", errno.into())),
        }
    }
}

fn roll_back(place: &Place, content: &[u8], journal: &[u8]) -> Result<Connection, StoreError> {
    let directory = PrivateDirectory::make()?;
    let copy = directory.path.join("copy.db");
    let write = |path: &Path, bytes: &[u8]| {
        std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .and_then(|mut file| file.write_all(bytes))
            .map_err(|reason| io_error(path, "writing a private copy of the store", reason))
    };
    write(&copy, content)?;
    write(&directory.path.join("copy.db-journal"), journal)?;
    let load = || -> rusqlite::Result<Connection> {
        // Opening for writing rolls back.
        let source = Connection::open_with_flags(&copy, crate::schema::open_flags(true))?;
        source.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
        let mut memory = Connection::open_in_memory()?;
        let backup = rusqlite::backup::Backup::new(&source, &mut memory)?;
        while backup.step(-1)? == rusqlite::backup::StepResult::More {}
        drop(backup);
        Ok(memory)
    };
    load().map_err(|reason| sqlite_error(&place.path, reason))
}

/// A directory that only this user can enter, removed again at the end.
struct PrivateDirectory {
    path: PathBuf,
}

impl PrivateDirectory {
    fn make() -> Result<Self, StoreError> {
        let mut parents: Vec<PathBuf> = ["/dev/shm", "/tmp", "/var/tmp", "/run"].map(PathBuf::from).into();
        // TMPDIR is the caller's word, which a process with more rights than its caller must not take.
        let same_user = rustix::process::getuid() == rustix::process::geteuid();
        if same_user && rustix::process::getgid() == rustix::process::getegid() {
            parents.insert(0, std::env::temp_dir());
        }
        let mut last = None;
        for parent in parents {
            let Ok(parent) = parent.canonicalize() else { continue };
            let path = parent.join(format!("holdfast-{:016x}", random_u64()?));
            match std::fs::DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => return Ok(Self { path }),
                Err(reason) => last = Some(io_error(&path, "making a private directory", reason)),
            }
        }
        Err(last.unwrap_or_else(|| StoreError::Io {
            path: PathBuf::from("/tmp"),
            action: "making a private directory",
            reason: std::io::ErrorKind::NotFound.into(),
        }))
    }
}

impl Drop for PrivateDirectory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.path);
    }
}
