//! The owners' file beside the database: who is alive, and how many node indices were ever given out.
//!
//! A process that does work in the store keeps one byte of the file locked, at an offset of its own. The kernel lets
//! go of the lock when the process ends, however it ends, and everybody can ask whether it is held. Open file
//! description locks are used because ordinary ones vanish with the first descriptor that anybody in the process
//! closes. Process numbers would not do: they mean something else in every container.
//!
//! The file's content is the witness: the store's lineage and the number of node indices it had given out. A database
//! that knows of fewer is an older copy.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use crate::StoreError;
use crate::location::{
    FileIdentity, Location, Place, give_to_group, io_error, move_into_place, random_u64, temporary_name,
};

const SUFFIX: &str = ".owners";

/// A process that does work in the store, as others can check whether it still lives: the offset of the byte that it
/// keeps locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct OwnerId(pub(crate) i64);

impl OwnerId {
    /// Nobody: an owner that never lives, for work that waits for the operator.
    pub const NOBODY: OwnerId = OwnerId(1);
}

/// Owners' bytes begin behind the content; offsets fit the 32-bit `off_t` of armhf.
const FIRST_OFFSET: i64 = 4096;
const LAST_OFFSET: i64 = (1 << 31) - 2;
/// The byte that is locked while the witness is written.
const WITNESS_OFFSET: i64 = 0;

const MAGIC: [u8; 8] = *b"HFOWNER1";
const CONTENT_LENGTH: usize = 8 + 16 + 8;

/// The owners' file, held open by a process that writes. The lock of the process, once taken, lasts as long as this.
#[derive(Debug)]
pub(crate) struct Owners {
    file: OwnedFd,
    identity: FileIdentity,
    path: PathBuf,
    own: Option<OwnerId>,
}

impl Owners {
    /// Opens the file, and makes it first where it is missing, with its final mode and group.
    pub fn open(location: &Location, place: &Place) -> Result<Self, StoreError> {
        let name = place.sibling(SUFFIX);
        let path = place.directory_path.join(&name);
        let error = |action, errno: Errno| io_error(&path, action, errno.into());
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        for _ in 0..10 {
            match rustix::fs::openat(place.directory(), &name, flags, Mode::empty()) {
                Ok(file) => {
                    let stat = rustix::fs::fstat(&file).map_err(|errno| error("looking at the owners' file", errno))?;
                    return Ok(Self { file, identity: FileIdentity::from(&stat), path, own: None });
                }
                Err(Errno::NOENT) => Self::create(location, place)?,
                Err(errno) => return Err(error("opening the owners' file", errno)),
            }
        }
        Err(error("opening the owners' file", Errno::NOENT))
    }

    /// Opens the file for questions only; `None` when it is missing, and so nobody is alive.
    pub fn open_to_ask(place: &Place) -> Result<Option<Self>, StoreError> {
        let name = place.sibling(SUFFIX);
        let path = place.directory_path.join(&name);
        let error = |errno: Errno| io_error(&path, "opening the owners' file", errno.into());
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match rustix::fs::openat(place.directory(), &name, flags, Mode::empty()) {
            Ok(file) => {
                let identity = FileIdentity::from(&rustix::fs::fstat(&file).map_err(error)?);
                Ok(Some(Self { file, identity, path, own: None }))
            }
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(error(errno)),
        }
    }

    fn create(location: &Location, place: &Place) -> Result<(), StoreError> {
        let name = place.sibling(SUFFIX);
        let path = place.directory_path.join(&name);
        let error = |errno: Errno| io_error(&path, "making the owners' file", errno.into());
        let temporary = temporary_name(&name)?;
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file =
            rustix::fs::openat(place.directory(), &temporary, flags, Mode::from_raw_mode(0o600)).map_err(error)?;
        let outcome = (|| {
            // Written out now, so that the witness never fails for want of space.
            rustix::io::pwrite(&file, &[0; CONTENT_LENGTH], 0).map_err(error)?;
            rustix::fs::fsync(&file).map_err(error)?;
            give_to_group(place.directory(), &temporary, &path, location.gid()?, location)?;
            rustix::fs::fchmod(&file, Mode::from_raw_mode(location.file_mode())).map_err(error)?;
            move_into_place(place.directory(), &temporary, &name).map_err(error)
        })();
        if !matches!(outcome, Ok(true)) {
            let _ = rustix::fs::unlinkat(place.directory(), &temporary, AtFlags::empty());
        }
        outcome.map(|_| ())
    }

    /// Whether the file still has its name. When it was removed, locks on it are seen by nobody who comes later.
    pub fn is_current(&self, place: &Place) -> Result<bool, StoreError> {
        Ok(place.stat(&place.sibling(SUFFIX))?.is_some_and(|stat| FileIdentity::from(&stat) == self.identity))
    }

    /// This process as an owner; takes the lock at the first call.
    pub fn own(&mut self) -> Result<OwnerId, StoreError> {
        if let Some(own) = self.own {
            return Ok(own);
        }
        for _ in 0..100 {
            let offset = FIRST_OFFSET + (random_u64()? % (LAST_OFFSET - FIRST_OFFSET) as u64) as i64;
            if self.lock(offset, libc::F_WRLCK)? {
                self.own = Some(OwnerId(offset));
                return Ok(OwnerId(offset));
            }
        }
        Err(StoreError::Io {
            path: self.path.clone(),
            action: "taking an owner's lock",
            reason: io::ErrorKind::ResourceBusy.into(),
        })
    }

    /// This process as an owner, when it has become one.
    pub fn known_own(&self) -> Option<OwnerId> {
        self.own
    }

    /// Whether a process keeps the owner's byte locked.
    pub fn is_alive(&self, owner: OwnerId) -> Result<bool, StoreError> {
        if self.own == Some(owner) {
            return Ok(true);
        }
        let mut range = byte(owner.0, libc::F_WRLCK);
        fcntl(self.file.as_fd(), FcntlArg::F_OFD_GETLK(&mut range))
            .map_err(|errno| io_error(&self.path, "asking for an owner's lock", errno.into()))?;
        Ok(i32::from(range.l_type) != libc::F_UNLCK)
    }

    /// What the file has seen.
    pub fn witness(&self) -> Result<Witness, StoreError> {
        let mut content = [0; CONTENT_LENGTH];
        let read = rustix::io::pread(&self.file, &mut content, 0)
            .map_err(|errno| io_error(&self.path, "reading the owners' file", errno.into()))?;
        if read < CONTENT_LENGTH || content[..8] != MAGIC {
            return Ok(Witness::default());
        }
        let (mut lineage, mut issued) = ([0; 16], [0; 8]);
        lineage.copy_from_slice(&content[8..24]);
        issued.copy_from_slice(&content[24..32]);
        Ok(Witness { seen: Some((lineage, u64::from_le_bytes(issued))) })
    }

    /// Makes it durable that the store of this lineage has given out `issued` indices.
    pub fn testify(&self, lineage: [u8; 16], issued: u64) -> Result<(), StoreError> {
        self.lock_waiting(WITNESS_OFFSET)?;
        let outcome = (|| {
            match self.witness()?.seen {
                Some((known, seen)) if known == lineage && seen >= issued => return Ok(()),
                _ => {}
            }
            let mut content = [0; CONTENT_LENGTH];
            content[..8].copy_from_slice(&MAGIC);
            content[8..24].copy_from_slice(&lineage);
            content[24..].copy_from_slice(&issued.to_le_bytes());
            rustix::io::pwrite(&self.file, &content, 0)
                .and_then(|_| rustix::fs::fdatasync(&self.file))
                .map_err(|errno| io_error(&self.path, "writing the owners' file", errno.into()))
        })();
        self.lock(WITNESS_OFFSET, libc::F_UNLCK)?;
        outcome
    }

    fn lock(&self, offset: i64, kind: i32) -> Result<bool, StoreError> {
        match fcntl(self.file.as_fd(), FcntlArg::F_OFD_SETLK(&byte(offset, kind))) {
            Ok(_) => Ok(true),
            Err(nix::errno::Errno::EAGAIN | nix::errno::Errno::EACCES) => Ok(false),
            Err(errno) => Err(io_error(&self.path, "locking the owners' file", errno.into())),
        }
    }

    fn lock_waiting(&self, offset: i64) -> Result<(), StoreError> {
        loop {
            match fcntl(self.file.as_fd(), FcntlArg::F_OFD_SETLKW(&byte(offset, libc::F_WRLCK))) {
                Ok(_) => return Ok(()),
                Err(nix::errno::Errno::EINTR) => {}
                Err(errno) => return Err(io_error(&self.path, "locking the owners' file", errno.into())),
            }
        }
    }
}

#[allow(clippy::unnecessary_cast, reason = "the fields' types differ between architectures")]
pub(crate) fn byte(offset: i64, kind: i32) -> libc::flock {
    range(offset, 1, kind)
}

#[allow(clippy::unnecessary_cast, reason = "the fields' types differ between architectures")]
pub(crate) fn range(offset: i64, length: i64, kind: i32) -> libc::flock {
    libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: offset as libc::off_t,
        l_len: length as libc::off_t,
        l_pid: 0,
    }
}

/// What the owners' file has seen: a lineage, and how many indices its store had given out.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Witness {
    seen: Option<([u8; 16], u64)>,
}

impl Witness {
    /// Whether a store with this lineage and count has forgotten something. One of another lineage was put in the
    /// place of the one that was seen; it may have forgotten anything, unless it never gave out an index.
    pub fn has_seen_more_than(&self, lineage: [u8; 16], issued: u64) -> bool {
        match self.seen {
            None => false,
            Some((seen_lineage, _)) if seen_lineage != lineage => issued > 0,
            Some((_, seen)) => seen > issued,
        }
    }

    pub fn issued(&self) -> u64 {
        self.seen.map_or(0, |(_, issued)| issued)
    }
}
