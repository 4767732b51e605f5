//! Files that hold secrets, and files that hold results.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use zeroize::Zeroizing;

use crate::failure::Failure;

/// No PIN or passphrase is longer; what is longer is some other file.
const MAX_SECRET_BYTES: u64 = 4096;

/// Reads a PIN or a passphrase: the file's text without the line end that editors put there.
pub fn read_secret(path: &Path, what: &str) -> Result<Zeroizing<String>, Failure> {
    let failed = |reason: String| Failure::usage(format!("{}: cannot read the {what}: {reason}", path.display()));
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_SECRET_BYTES as usize + 1));
    let file = File::open(path).map_err(|error| failed(error.to_string()))?;
    file.take(MAX_SECRET_BYTES + 1).read_to_end(&mut bytes).map_err(|error| failed(error.to_string()))?;
    if bytes.len() as u64 > MAX_SECRET_BYTES {
        return Err(failed(format!("longer than {MAX_SECRET_BYTES} bytes")));
    }
    let text = std::str::from_utf8(&bytes).map_err(|_| failed("it is not UTF-8 text".to_owned()))?;
    let text = text.strip_suffix('\n').map_or(text, |text| text.strip_suffix('\r').unwrap_or(text));
    if text.is_empty() {
        return Err(failed("it is empty".to_owned()));
    }
    Ok(Zeroizing::new(text.to_owned()))
}

/// A new file that only its owner can read, made before anything irreversible is done, so that it is known to be
/// possible. It is removed again unless it is kept.
#[derive(Debug)]
pub struct SecretFile {
    path: PathBuf,
    file: Option<File>,
}

impl SecretFile {
    /// Makes the file, mode 0600. What exists there already, a symbolic link too, is never touched.
    pub fn create(path: &Path) -> Result<Self, Failure> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let descriptor = rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR).map_err(|errno| {
            let advice = match errno {
                rustix::io::Errno::EXIST => ": it is never overwritten; name a file that does not exist yet",
                _ => "",
            };
            Failure::usage(format!("{}: {}{advice}", path.display(), io::Error::from(errno)))
        })?;
        Ok(Self { path: path.to_owned(), file: Some(File::from(descriptor)) })
    }

    /// Writes `bytes` and keeps the file; they are on the disk when this answers.
    pub fn keep(mut self, bytes: &[u8]) -> io::Result<()> {
        if let Some(file) = &mut self.file {
            file.write_all(bytes)?;
            file.sync_all()?;
            sync_directory(&self.path)?;
        }
        self.file = None;
        Ok(())
    }
}

impl Drop for SecretFile {
    fn drop(&mut self) {
        if self.file.is_some() {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Whether a result was written, or stood there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// The file is new, or has new contents.
    Changed,
    /// The file already held what was wanted.
    Unchanged,
}

/// What is at the place where a result shall go, when that is a regular file.
pub fn existing(path: &Path) -> Result<Option<Vec<u8>>, Failure> {
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_file() => match fs::read(path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) => Err(Failure::usage(format!("{}: {error}", path.display()))),
        },
        // A device or a pipe, such as /dev/stdout: there is nothing to lose.
        Ok(_) => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Failure::usage(format!("{}: {error}", path.display()))),
    }
}

/// Writes a result to `path`. A file that is there with other contents is replaced only when `force` says so, and then
/// in one step.
pub fn write_result(path: &Path, bytes: &[u8], force: bool) -> Result<Written, Failure> {
    let failed = |error: io::Error| Failure::usage(format!("{}: {error}", path.display()));
    match existing(path)? {
        Some(there) if there == bytes => return Ok(Written::Unchanged),
        Some(_) if !force => {
            return Err(Failure::usage(format!(
                "{}: the file exists and holds something else; name another, or replace it with --force",
                path.display()
            )));
        }
        Some(_) => {}
        None if fs::metadata(path).is_ok() => {
            let mut file = fs::OpenOptions::new().write(true).open(path).map_err(failed)?;
            return file.write_all(bytes).map(|()| Written::Changed).map_err(failed);
        }
        None => {}
    }
    // Through links to the file itself, which is what shall be replaced.
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let mut temporary = target.clone().into_os_string();
    temporary.push(format!(".{}.new", std::process::id()));
    let temporary = PathBuf::from(temporary);
    let outcome = (|| {
        let mut file = fs::OpenOptions::new().write(true).create_new(true).open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, &target)?;
        sync_directory(&target)
    })();
    outcome.map(|()| Written::Changed).map_err(|error| {
        let _ = fs::remove_file(&temporary);
        failed(error)
    })
}

fn sync_directory(path: &Path) -> io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn i1_a_trailing_newline_is_no_part_of_a_secret() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pin");
        for (text, pin) in [("1234", "1234"), ("1234\n", "1234"), ("1234\r\n", "1234"), (" 12 \n\n", " 12 \n")] {
            fs::write(&path, text).unwrap();
            assert_eq!(read_secret(&path, "PIN").unwrap().as_str(), pin);
        }
        for text in [b"".as_slice(), b"\n", b"\xff\n", &[b'1'; 5000]] {
            fs::write(&path, text).unwrap();
            assert!(read_secret(&path, "PIN").is_err());
        }
    }

    #[test]
    fn a_secret_file_is_new_private_and_gone_unless_kept() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("words");
        drop(SecretFile::create(&path).unwrap());
        assert!(!path.exists());
        SecretFile::create(&path).unwrap().keep(b"zoo").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"zoo");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
        let error = SecretFile::create(&path).unwrap_err();
        assert!(error.message.contains("never overwritten"), "{error}");
        let link = directory.path().join("link");
        std::os::unix::fs::symlink(directory.path().join("elsewhere"), &link).unwrap();
        assert!(SecretFile::create(&link).is_err());
        assert!(!directory.path().join("elsewhere").exists());
    }

    #[test]
    fn a_result_is_not_overwritten_unasked() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("out.pem");
        assert_eq!(write_result(&path, b"one", false).unwrap(), Written::Changed);
        assert_eq!(write_result(&path, b"one", false).unwrap(), Written::Unchanged);
        assert!(write_result(&path, b"two", false).is_err());
        assert_eq!(fs::read(&path).unwrap(), b"one");
        assert_eq!(write_result(&path, b"two", true).unwrap(), Written::Changed);
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
        assert_eq!(write_result(Path::new("/dev/null"), b"x", false).unwrap(), Written::Changed);
    }
}
