//! Where the store is, and the check that nobody who must not can change it.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::StoreError;

/// Where the store is, and who may use it.
///
/// Whoever can read the file can list and sign; whoever can write it can generate. A store is refused when the file
/// or its directory
///
/// * is a symbolic link, or not a file (a directory),
/// * can be written by everybody, or by a group other than [`Location::group`],
/// * belongs to a stranger: somebody who is neither root nor the user of this process. Members of the configured
///   group are no strangers where that group may write, as one of them may have made the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// The database file, as an absolute path.
    pub database: PathBuf,
    /// The group, by name or number, to which file and directory are given; `None` or empty leaves the group alone,
    /// and then any group's write permission is taken as meant.
    pub group: Option<String>,
    /// The permission bits of the file, 0o660 or 0o640; the directory's follow from them (2770, 2750).
    pub mode: u32,
}

impl Location {
    /// The permission bits of the directory: the file's, with search permission for whoever may read, and set-gid so
    /// that everything made in it belongs to its group.
    pub fn directory_mode(&self) -> u32 {
        0o2000 | self.file_mode() | ((self.file_mode() & 0o444) >> 2)
    }

    pub(crate) fn file_mode(&self) -> u32 {
        self.mode & 0o777
    }

    /// The number of the configured group, `None` when the group is to be left alone.
    pub(crate) fn gid(&self) -> Result<Option<u32>, StoreError> {
        let Some(name) = self.group.as_deref().filter(|name| !name.is_empty()) else { return Ok(None) };
        if let Ok(Some(group)) = nix::unistd::Group::from_name(name) {
            return Ok(Some(group.gid.as_raw()));
        }
        name.parse().map(Some).map_err(|_| StoreError::Permissions {
            path: self.database.clone(),
            what: format!("its configured group {name:?} does not exist"),
            fix: format!("make it with `groupadd --system {name}`, or change [mapping] group"),
        })
    }
}

/// The store's directory, held open so that everything is looked up in the directory that was checked.
#[derive(Debug)]
pub(crate) struct Place {
    directory: OwnedFd,
    /// The directory's path without symbolic links.
    pub directory_path: PathBuf,
    pub file_name: OsString,
    /// The database's path without symbolic links.
    pub path: PathBuf,
}

/// What one `stat` tells: enough to know that a file is still the same file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileIdentity {
    pub device: u64,
    pub inode: u64,
}

impl From<&Stat> for FileIdentity {
    #[allow(clippy::unnecessary_cast, reason = "the fields' types differ between architectures")]
    fn from(stat: &Stat) -> Self {
        Self { device: stat.st_dev as u64, inode: stat.st_ino as u64 }
    }
}

impl Place {
    /// Finds and checks the directory; `None` when there is none.
    pub fn find(location: &Location) -> Result<Option<Self>, StoreError> {
        let (parent, directory_name, file_name) = split(&location.database)?;
        let parent = match std::fs::canonicalize(parent) {
            Ok(parent) => parent,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                return Err(may_not_read(location, parent, "enter the directory above the store's"));
            }
            Err(reason) => return Err(io_error(parent, "looking for the store's directory", reason)),
        };
        let directory_path = match directory_name {
            Some(name) => parent.join(name),
            None => parent,
        };
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = match rustix::fs::openat(CWD, &directory_path, flags, Mode::empty()) {
            Ok(directory) => directory,
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::NOTDIR | Errno::LOOP) => {
                return Err(StoreError::Permissions {
                    path: directory_path,
                    what: "is a symbolic link or a file where the store's directory should be".to_owned(),
                    fix: "set [mapping] database to the real path".to_owned(),
                });
            }
            Err(errno) => return Err(io_error(&directory_path, "opening the store's directory", errno.into())),
        };
        let stat = rustix::fs::fstat(&directory)
            .map_err(|errno| io_error(&directory_path, "looking at the store's directory", errno.into()))?;
        check_access(location, &directory_path, &stat, "the directory")?;
        let path = directory_path.join(file_name);
        Ok(Some(Self { directory, directory_path, file_name: file_name.to_owned(), path }))
    }

    /// Makes the directory where it is missing, with its final mode and group, and finds it.
    pub fn find_or_create(location: &Location) -> Result<Self, StoreError> {
        if let Some(place) = Self::find(location)? {
            return Ok(place);
        }
        let (parent, directory_name, _) = split(&location.database)?;
        let missing =
            |reason: io::Error| StoreError::Missing { path: parent.join(directory_name.unwrap_or_default()), reason };
        let parent_path = std::fs::canonicalize(parent).map_err(missing)?;
        let name = directory_name.ok_or_else(|| missing(io::ErrorKind::NotFound.into()))?;
        create_directory(location, &parent_path, name, &missing)?;
        Self::find(location)?.ok_or_else(|| missing(io::ErrorKind::NotFound.into()))
    }

    pub fn directory(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }

    /// The name of a file that belongs to the store, `mapping.db` + `suffix`.
    pub fn sibling(&self, suffix: &str) -> OsString {
        let mut name = self.file_name.clone();
        name.push(suffix);
        name
    }

    /// Looks at a file in the directory without following links; `None` when there is none.
    pub fn stat(&self, name: &OsStr) -> Result<Option<Stat>, StoreError> {
        match rustix::fs::statat(&self.directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(io_error(&self.directory_path.join(name), "looking at the file", errno.into())),
        }
    }

    /// Looks at the database file and checks it; `None` when there is none.
    pub fn checked_file(&self, location: &Location) -> Result<Option<Stat>, StoreError> {
        let stat = match rustix::fs::statat(&self.directory, &self.file_name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::ACCESS) => {
                return Err(may_not_read(location, &self.directory_path, "enter the store's directory"));
            }
            Err(errno) => return Err(io_error(&self.path, "looking at the store", errno.into())),
        };
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(StoreError::Permissions {
                path: self.path.clone(),
                what: "is a symbolic link or something else that is no file".to_owned(),
                fix: "remove it, or set [mapping] database to the real path".to_owned(),
            });
        }
        check_access(location, &self.path, &stat, "the file")?;
        if access_at(self.directory(), &self.file_name, Access::READ_OK) == Err(Errno::ACCESS) {
            return Err(may_not_read(location, &self.path, "read the store"));
        }
        Ok(Some(stat))
    }

    /// Why this process may not write the store; `None` when it may.
    pub fn write_obstacle(&self) -> Option<String> {
        let denied = |name: &OsStr, access| match access_at(self.directory(), name, access) {
            Ok(()) => None,
            Err(errno) => Some(io::Error::from(errno).to_string()),
        };
        denied(&self.file_name, Access::WRITE_OK).map(|reason| format!("the file: {reason}")).or_else(|| {
            denied(OsStr::new("."), Access::WRITE_OK | Access::EXEC_OK).map(|reason| format!("its directory: {reason}"))
        })
    }
}

fn may_not_read(location: &Location, path: &Path, action: &str) -> StoreError {
    let fix = match location.group.as_deref().filter(|group| !group.is_empty()) {
        Some(group) => format!("make its user a member of the group (`usermod -aG {group} USER`) and start it again"),
        None => "give its user access, best by setting [mapping] group to a group of its own".to_owned(),
    };
    StoreError::Permissions { path: path.to_owned(), what: format!("this process may not {action}"), fix }
}

/// By the effective user and group, which is what opening a file goes by.
fn access_at(directory: BorrowedFd<'_>, name: &OsStr, access: Access) -> Result<(), Errno> {
    match rustix::fs::accessat(directory, name, access, AtFlags::EACCESS) {
        // Kernels before 5.8 and some containers know only the call that goes by the real user.
        Err(Errno::NOSYS | Errno::INVAL | Errno::OPNOTSUPP) => {
            rustix::fs::accessat(directory, name, access, AtFlags::empty())
        }
        outcome => outcome,
    }
}

fn split(database: &Path) -> Result<(&Path, Option<&OsStr>, &OsStr), StoreError> {
    let refuse = |what: &str| StoreError::Permissions {
        path: database.to_owned(),
        what: what.to_owned(),
        fix: "set [mapping] database to an absolute path such as /var/lib/holdfast/mapping.db".to_owned(),
    };
    if !database.is_absolute() {
        return Err(refuse("is not an absolute path"));
    }
    let file_name = database.file_name().ok_or_else(|| refuse("names no file"))?;
    let directory = database.parent().ok_or_else(|| refuse("names no file"))?;
    match (directory.parent(), directory.file_name()) {
        (Some(parent), Some(name)) => Ok((parent, Some(name), file_name)),
        (None, _) => Ok((directory, None, file_name)),
        (Some(_), None) => Err(refuse("has `..` before the file's name")),
    }
}

fn check_access(location: &Location, path: &Path, stat: &Stat, which: &str) -> Result<(), StoreError> {
    let refuse = |what: String, fix: String| StoreError::Permissions { path: path.to_owned(), what, fix };
    let mode = stat.st_mode & 0o7777;
    if mode & 0o002 != 0 {
        return Err(refuse(
            format!("{which} can be written by everybody (mode {mode:04o})"),
            format!("`chmod o-w {}` after checking what is in it", path.display()),
        ));
    }
    let group_writes = mode & 0o020 != 0;
    let mut group_is_ours = false;
    if group_writes && let Some(gid) = location.gid()? {
        group_is_ours = stat.st_gid == gid;
        if !group_is_ours {
            let configured = location.group.as_deref().unwrap_or_default();
            return Err(refuse(
                format!("{which} can be written by group {}, not by the configured group {configured:?}", stat.st_gid),
                format!("`chgrp {configured} {}`, or change [mapping] group", path.display()),
            ));
        }
    }
    let ours = stat.st_uid == 0 || stat.st_uid == rustix::process::geteuid().as_raw();
    if !ours && !group_is_ours {
        return Err(refuse(
            format!("{which} belongs to user {}, neither root nor the user of this process", stat.st_uid),
            format!("`chown root {}` after checking what is in it", path.display()),
        ));
    }
    Ok(())
}

/// Makes the directory under another name, gives it its mode and group, and only then its name: nobody ever sees it
/// with less.
fn create_directory(
    location: &Location,
    parent_path: &Path,
    name: &OsStr,
    missing: &dyn Fn(io::Error) -> StoreError,
) -> Result<(), StoreError> {
    let path = parent_path.join(name);
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let parent = rustix::fs::openat(CWD, parent_path, flags, Mode::empty()).map_err(|errno| missing(errno.into()))?;
    let temporary = temporary_name(name)?;
    rustix::fs::mkdirat(&parent, &temporary, Mode::from_raw_mode(0o700)).map_err(|errno| missing(errno.into()))?;
    let outcome = (|| {
        let gid = location.gid()?;
        give_to_group(&parent, &temporary, &path, gid, location)?;
        rustix::fs::chmodat(&parent, &temporary, Mode::from_raw_mode(location.directory_mode()), AtFlags::empty())
            .map_err(|errno| io_error(&path, "setting the directory's mode", errno.into()))?;
        match move_into_place(&parent, &temporary, name) {
            Ok(_) => Ok(()),
            Err(errno) => Err(io_error(&path, "making the directory", errno.into())),
        }
    })();
    // Still there when something failed or somebody else was faster.
    let _ = rustix::fs::unlinkat(&parent, &temporary, AtFlags::REMOVEDIR);
    outcome
}

pub(crate) fn give_to_group(
    directory: impl AsFd,
    name: &OsStr,
    path: &Path,
    gid: Option<u32>,
    location: &Location,
) -> Result<(), StoreError> {
    let Some(gid) = gid else { return Ok(()) };
    let group = rustix::fs::Gid::from_raw(gid);
    match rustix::fs::chownat(directory, name, None, Some(group), AtFlags::SYMLINK_NOFOLLOW) {
        Ok(()) => Ok(()),
        Err(Errno::PERM) => {
            let group = location.group.as_deref().unwrap_or_default();
            Err(StoreError::Permissions {
                path: path.to_owned(),
                what: format!("this process may not give it to group {group:?}"),
                fix: format!("make the store as root, or as a member of the group (`usermod -aG {group} USER`)"),
            })
        }
        Err(errno) => Err(io_error(path, "giving it to its group", errno.into())),
    }
}

/// Renames without ever replacing; `false` when the name was already taken.
pub(crate) fn move_into_place(directory: impl AsFd, from: &OsStr, to: &OsStr) -> Result<bool, Errno> {
    let directory = directory.as_fd();
    match rustix::fs::renameat_with(directory, from, directory, to, rustix::fs::RenameFlags::NOREPLACE) {
        Ok(()) => Ok(true),
        Err(Errno::EXIST) => Ok(false),
        // A file system without RENAME_NOREPLACE: a second name does the same for files.
        Err(Errno::INVAL | Errno::NOSYS) => {
            match rustix::fs::linkat(directory, from, directory, to, AtFlags::empty()) {
                Ok(()) => {
                    let _ = rustix::fs::unlinkat(directory, from, AtFlags::empty());
                    Ok(true)
                }
                Err(Errno::EXIST) => Ok(false),
                Err(errno) => Err(errno),
            }
        }
        Err(errno) => Err(errno),
    }
}

/// A name beside `name` that nobody else uses: `.mapping.db.<random>.new`.
pub(crate) fn temporary_name(name: &OsStr) -> Result<OsString, StoreError> {
    let mut temporary = OsString::from(".");
    temporary.push(name);
    temporary.push(format!(".{:016x}.new", random_u64()?));
    Ok(temporary)
}

pub(crate) fn random_u64() -> Result<u64, StoreError> {
    getrandom::u64().map_err(|error| StoreError::Io {
        path: PathBuf::from("/dev/urandom"),
        action: "getting random bytes",
        reason: io::Error::other(error.to_string()),
    })
}

pub(crate) fn io_error(path: &Path, action: &'static str, reason: io::Error) -> StoreError {
    match reason.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::NOSPC | Errno::DQUOT) => StoreError::Full { path: path.to_owned() },
        Some(Errno::ROFS) => StoreError::ReadOnly { path: path.to_owned(), reason: reason.to_string() },
        _ => StoreError::Io { path: path.to_owned(), action, reason },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directory_mode_follows_the_files() {
        let location = |mode| Location { database: "/x/y".into(), group: None, mode };
        assert_eq!(location(0o660).directory_mode(), 0o2770);
        assert_eq!(location(0o640).directory_mode(), 0o2750);
        assert_eq!(location(0o600).directory_mode(), 0o2700);
    }

    #[test]
    fn only_absolute_paths_of_files() {
        for path in ["mapping.db", "./a/b", "/", "/a/../b/.."] {
            assert!(split(Path::new(path)).is_err(), "{path}");
        }
        assert!(split(Path::new("/mapping.db")).is_ok());
    }
}
