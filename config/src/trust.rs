//! Who could have written a file that decides what code runs (client-expectations of PKCS#11 modules: the configuration
//! and the modules it names must be writable by their owner only).

use std::ffi::OsString;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};

/// As many as the kernel follows.
const MAX_SYMLINKS: usize = 40;

/// Why a file is not trusted.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// Owned by a user who is neither root nor the one this process runs as.
    #[error(
        "{} belongs to user {owner}, who could change what {} is; it must belong to root or to user {euid}, who runs \
         this process: chown it",
        component.display(), wanted.display()
    )]
    Owner {
        /// The file, directory or symbolic link on the way to it that is at fault.
        component: PathBuf,
        /// The file that was asked for.
        wanted: PathBuf,
        /// Whose it is.
        owner: u32,
        /// Who we are.
        euid: u32,
    },
    /// Writable by its group or by everybody.
    #[error(
        "{} (mode {mode:04o}) can be written by others than its owner, who could change what {} is: chmod go-w it",
        component.display(), wanted.display()
    )]
    Writable {
        /// The file or directory on the way to it that is at fault.
        component: PathBuf,
        /// The file that was asked for.
        wanted: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A directory, device or pipe.
    #[error("{} is not a regular file", path.display())]
    NotAFile {
        /// What it is called.
        path: PathBuf,
    },
    /// It cannot be looked at.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file, or the directory on the way to it.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Whether nobody but root and the user of this process could have made `path` what it is: the file, every directory
/// on the way to it and every symbolic link followed belong to root or to the effective user, and neither the file nor
/// a directory can be written by group or others. A sticky directory (`/tmp`) passes: nobody can replace in it what
/// belongs to somebody else.
///
/// A relative path is taken from the working directory.
pub fn check_trusted_file(path: &Path) -> Result<(), TrustError> {
    let failed = |path: &Path, source| TrustError::Io { path: path.to_owned(), source };
    let absolute = std::path::absolute(path).map_err(|source| failed(path, source))?;
    let check = |metadata: &Metadata, component: &Path| check_component(metadata, component, path);

    let mut resolved = PathBuf::from("/");
    check(&fs::symlink_metadata(&resolved).map_err(|source| failed(&resolved, source))?, &resolved)?;
    // Components still to be walked, the next one last.
    let mut ahead: Vec<OsString> = components_reversed(&absolute);
    let mut symlinks = 0;
    let mut last = None;
    while let Some(component) = ahead.pop() {
        if component == ".." {
            // What is resolved holds no link any more, so its parent is the real one, and was checked.
            resolved.pop();
            continue;
        }
        let here = resolved.join(&component);
        let metadata = fs::symlink_metadata(&here).map_err(|source| failed(&here, source))?;
        check(&metadata, &here)?;
        if metadata.is_symlink() {
            symlinks += 1;
            if symlinks > MAX_SYMLINKS {
                return Err(failed(path, rustix::io::Errno::LOOP.into()));
            }
            let target = fs::read_link(&here).map_err(|source| failed(&here, source))?;
            if target.is_absolute() {
                resolved = PathBuf::from("/");
            }
            ahead.extend(components_reversed(&target));
            continue;
        }
        if !ahead.is_empty() && !metadata.is_dir() {
            return Err(failed(&here, rustix::io::Errno::NOTDIR.into()));
        }
        resolved = here;
        last = Some(metadata);
    }
    match last {
        Some(metadata) if metadata.is_file() => Ok(()),
        _ => Err(TrustError::NotAFile { path: path.to_owned() }),
    }
}

/// The same rule for a file that is already open, so that what was checked is what is read.
pub(crate) fn check_opened_file(file: &File, path: &Path) -> Result<(), TrustError> {
    let metadata = file.metadata().map_err(|source| TrustError::Io { path: path.to_owned(), source })?;
    if !metadata.is_file() {
        return Err(TrustError::NotAFile { path: path.to_owned() });
    }
    check_component(&metadata, path, path)
}

fn components_reversed(path: &Path) -> Vec<OsString> {
    let mut all: Vec<_> = path
        .components()
        .filter_map(|component| match component {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some("..".into()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
        })
        .collect();
    all.reverse();
    all
}

fn check_component(metadata: &Metadata, component: &Path, wanted: &Path) -> Result<(), TrustError> {
    let euid = rustix::process::geteuid().as_raw();
    judge(metadata.uid(), metadata.mode(), euid).map_err(|fault| match fault {
        Fault::Owner => TrustError::Owner {
            component: component.to_owned(),
            wanted: wanted.to_owned(),
            owner: metadata.uid(),
            euid,
        },
        Fault::Writable => TrustError::Writable {
            component: component.to_owned(),
            wanted: wanted.to_owned(),
            mode: metadata.mode() & 0o7777,
        },
    })
}

#[derive(Debug, PartialEq, Eq)]
enum Fault {
    Owner,
    Writable,
}

/// The rule itself: `mode` with its file type bits.
fn judge(owner: u32, mode: u32, euid: u32) -> Result<(), Fault> {
    const TYPE: u32 = 0o170_000;
    const DIRECTORY: u32 = 0o040_000;
    const SYMLINK: u32 = 0o120_000;
    const STICKY: u32 = 0o1000;
    if owner != 0 && owner != euid {
        return Err(Fault::Owner);
    }
    let sticky_directory = mode & TYPE == DIRECTORY && mode & STICKY != 0;
    // The permission bits of a symbolic link mean nothing.
    if mode & 0o022 != 0 && mode & TYPE != SYMLINK && !sticky_directory {
        return Err(Fault::Writable);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::Permissions;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    fn chmod(path: &Path, mode: u32) {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    /// A directory of ours below the sticky /tmp, and a file in it.
    fn fixture() -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        chmod(directory.path(), 0o755);
        let file = directory.path().join("module.so");
        fs::write(&file, "x").unwrap();
        chmod(&file, 0o644);
        (directory, file)
    }

    #[test]
    fn k6_the_owner_is_root_or_this_user() {
        const FILE: u32 = 0o100_644;
        assert_eq!(judge(0, FILE, 1000), Ok(()));
        assert_eq!(judge(1000, FILE, 1000), Ok(()));
        assert_eq!(judge(1001, FILE, 1000), Err(Fault::Owner));
        assert_eq!(judge(1000, FILE, 0), Err(Fault::Owner), "root does not trust a user's file");
    }

    #[test]
    fn k6_only_the_owner_writes() {
        for (mode, expected) in [
            (0o100_644, Ok(())),
            (0o100_600, Ok(())),
            (0o100_664, Err(Fault::Writable)),
            (0o100_646, Err(Fault::Writable)),
            (0o040_755, Ok(())),
            (0o040_775, Err(Fault::Writable)),
            (0o041_777, Ok(())),
            // Sticky means something on directories only.
            (0o101_666, Err(Fault::Writable)),
            (0o120_777, Ok(())),
        ] {
            assert_eq!(judge(0, mode, 0), expected, "{mode:o}");
        }
    }

    #[test]
    fn k6_a_file_of_ours_is_trusted() {
        let (_directory, file) = fixture();
        check_trusted_file(&file).unwrap();
        check_opened_file(&File::open(&file).unwrap(), &file).unwrap();
    }

    #[test]
    fn k6_a_writable_file_is_refused_and_named() {
        let (_directory, file) = fixture();
        chmod(&file, 0o666);
        let error = check_trusted_file(&file).unwrap_err();
        assert!(matches!(&error, TrustError::Writable { component, .. } if *component == file), "{error}");
        assert!(error.to_string().contains("chmod"), "{error}");
        assert!(check_opened_file(&File::open(&file).unwrap(), &file).is_err());
    }

    #[test]
    fn k6_a_writable_directory_anywhere_on_the_way_is_refused() {
        let (directory, _file) = fixture();
        let inner = directory.path().join("a/b");
        fs::create_dir_all(&inner).unwrap();
        chmod(&directory.path().join("a"), 0o755);
        chmod(&inner, 0o755);
        let file = inner.join("f");
        fs::write(&file, "x").unwrap();
        chmod(&file, 0o600);
        check_trusted_file(&file).unwrap();
        chmod(&directory.path().join("a"), 0o775);
        let error = check_trusted_file(&file).unwrap_err();
        assert!(matches!(&error, TrustError::Writable { component, .. } if component.ends_with("a")), "{error}");
    }

    #[test]
    fn k6_links_are_followed_and_their_way_is_checked() {
        let (directory, file) = fixture();
        let link = directory.path().join("link");
        symlink("module.so", &link).unwrap();
        check_trusted_file(&link).unwrap();

        let open = directory.path().join("open");
        fs::create_dir(&open).unwrap();
        fs::write(open.join("f"), "x").unwrap();
        chmod(&open, 0o777);
        let into_open = directory.path().join("into-open");
        symlink("open/f", &into_open).unwrap();
        assert!(matches!(check_trusted_file(&into_open).unwrap_err(), TrustError::Writable { .. }));
        // A way through an untrusted directory is untrusted, even when it leads out of it again.
        let through = directory.path().join("through");
        symlink("open/../module.so", &through).unwrap();
        assert!(matches!(check_trusted_file(&through).unwrap_err(), TrustError::Writable { .. }));
        chmod(&open, 0o755);
        check_trusted_file(&through).unwrap();
        let absolute = directory.path().join("absolute");
        symlink(&file, &absolute).unwrap();
        check_trusted_file(&absolute).unwrap();
    }

    #[test]
    fn k5_link_loops_directories_and_pipes_are_refused() {
        let (directory, _file) = fixture();
        let path = directory.path().join("loop");
        symlink("loop", &path).unwrap();
        assert!(matches!(check_trusted_file(&path).unwrap_err(), TrustError::Io { .. }));
        assert!(matches!(check_trusted_file(directory.path()).unwrap_err(), TrustError::NotAFile { .. }));
        assert!(matches!(
            check_trusted_file(Path::new("/dev/null")),
            Err(TrustError::NotAFile { .. } | TrustError::Writable { .. })
        ));
        assert!(matches!(check_trusted_file(Path::new("/")).unwrap_err(), TrustError::NotAFile { .. }));
    }

    #[test]
    fn what_is_absent_is_named() {
        let (directory, file) = fixture();
        let error = check_trusted_file(&directory.path().join("none/f")).unwrap_err();
        assert!(
            matches!(&error, TrustError::Io { path, source } if path.ends_with("none") && source.kind() == io::ErrorKind::NotFound),
            "{error}"
        );
        assert!(matches!(check_trusted_file(&file.join("below")).unwrap_err(), TrustError::Io { .. }));
    }
}
