//! The state directory: one lock file, one file with the device, one with what tests ask of it.
//!
//! A file is replaced as a whole (written beside, synced, renamed, directory synced), so a process that is killed at
//! any moment leaves the old or the new state. The lock is taken on a file of its own that is opened anew for each
//! call: it holds between processes and between threads, and a forked child inherits no lock of its own making.

use std::collections::HashMap;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, TryLockError};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::behaviour::Behaviour;
use crate::error::{Error, Result};
use crate::state::{FORMAT, State};

/// The environment variable that names the state directory.
pub const STATE_VARIABLE: &str = "HOLDFAST_EMULATOR_STATE";

const DEVICE_FILE: &str = "device.json";
const BEHAVIOUR_FILE: &str = "behaviour.json";
const LOCK_FILE: &str = "lock";
const TRACE_FILE: &str = "trace.log";

/// A state directory.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Directory(PathBuf);

/// The right to talk to the device: one call at a time, whatever the process or thread.
#[derive(Debug)]
pub struct DeviceLock(File);

impl Drop for DeviceLock {
    fn drop(&mut self) {
        // Closing would not be enough: a child forked in the middle of a call holds a copy of the descriptor.
        let _ = self.0.unlock();
    }
}

impl Directory {
    /// The directory at `path`, which need not exist.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// The directory that the environment names.
    ///
    /// # Errors
    /// [`Error::NoStateDirectory`] when the variable is not set or empty.
    pub fn from_environment() -> Result<Self> {
        match std::env::var_os(STATE_VARIABLE) {
            Some(path) if !path.is_empty() => Ok(Self::new(path)),
            _ => Err(Error::NoStateDirectory),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Makes the directory and its first files. `mode` is that of the files, 0600 without one; the directory can be
    /// entered by whoever may read them and written by whoever may write them.
    ///
    /// # Errors
    /// [`Error::DeviceExists`], or what the operating system says.
    pub fn create(&self, state: &State, mode: Option<u32>) -> Result<()> {
        if !self.0.is_dir() {
            DirBuilder::new().recursive(true).mode(0o700).create(&self.0).map_err(|e| self.file_error("", e))?;
        }
        if let Some(mode) = mode {
            let permissions = Permissions::from_mode(mode | (mode & 0o444) >> 2);
            fs::set_permissions(&self.0, permissions).map_err(|e| self.file_error("", e))?;
        }
        let mode = mode.unwrap_or(0o600);
        let lock_path = self.0.join(LOCK_FILE);
        let lock =
            OpenOptions::new().create(true).append(true).open(&lock_path).map_err(|e| self.file_error(LOCK_FILE, e))?;
        lock.set_permissions(Permissions::from_mode(mode)).map_err(|e| self.file_error(LOCK_FILE, e))?;
        let _lock = self.lock()?;
        if self.0.join(DEVICE_FILE).exists() {
            return Err(Error::DeviceExists(self.0.clone()));
        }
        self.save_state(state)
    }

    /// Waits for the device.
    ///
    /// # Errors
    /// [`Error::NoDevice`] when there is no lock file, or what the operating system says.
    pub fn lock(&self) -> Result<DeviceLock> {
        let file = File::open(self.0.join(LOCK_FILE)).map_err(|e| self.file_error(LOCK_FILE, e))?;
        loop {
            match file.lock() {
                Ok(()) => return Ok(DeviceLock(file)),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(self.file_error(LOCK_FILE, e)),
            }
        }
    }

    /// The device's state; to be called with the lock held.
    ///
    /// # Errors
    /// [`Error::NoDevice`], [`Error::Format`], or what the operating system says.
    pub fn load_state(&self) -> Result<Arc<State>> {
        static CACHE: Cache<State> = Mutex::new(None);
        let state = self.load_cached(DEVICE_FILE, &CACHE)?.ok_or_else(|| Error::NoDevice(self.0.clone()))?;
        if state.format != FORMAT {
            let reason = format!("format {}, this version knows {FORMAT}", state.format);
            return Err(Error::Format { path: self.0.join(DEVICE_FILE), reason });
        }
        Ok(state)
    }

    /// Replaces the device's state, durably.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn save_state(&self, state: &State) -> Result<()> {
        self.replace(DEVICE_FILE, state)
    }

    /// What tests ask of the device; nothing, when the file is not there.
    ///
    /// # Errors
    /// [`Error::Format`], or what the operating system says.
    pub fn load_behaviour(&self) -> Result<Option<Arc<Behaviour>>> {
        static CACHE: Cache<Behaviour> = Mutex::new(None);
        self.load_cached(BEHAVIOUR_FILE, &CACHE)
    }

    /// Replaces what tests ask of the device, durably; the file goes when they ask nothing.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn save_behaviour(&self, behaviour: &Behaviour) -> Result<()> {
        if !behaviour.is_empty() {
            return self.replace(BEHAVIOUR_FILE, behaviour);
        }
        match fs::remove_file(self.0.join(BEHAVIOUR_FILE)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(self.file_error(BEHAVIOUR_FILE, e)),
            _ => self.sync_directory(),
        }
    }

    /// Adds a line to the trace of calls.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn append_trace(&self, line: &str) -> Result<()> {
        let mut options = OpenOptions::new();
        options.create(true).append(true).mode(self.mode());
        let mut file = options.open(self.0.join(TRACE_FILE)).map_err(|e| self.file_error(TRACE_FILE, e))?;
        file.write_all(format!("{line}\n").as_bytes()).map_err(|e| self.file_error(TRACE_FILE, e))
    }

    /// The trace of calls so far, one a line.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn read_trace(&self) -> Result<String> {
        match fs::read_to_string(self.0.join(TRACE_FILE)) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(String::new()),
            other => other.map_err(|e| self.file_error(TRACE_FILE, e)),
        }
    }

    /// Forgets the trace.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn clear_trace(&self) -> Result<()> {
        match fs::remove_file(self.0.join(TRACE_FILE)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(self.file_error(TRACE_FILE, e)),
            _ => Ok(()),
        }
    }

    fn load_cached<T: DeserializeOwned>(&self, name: &str, cache: &Cache<T>) -> Result<Option<Arc<T>>> {
        let path = self.0.join(name);
        let identity = match fs::metadata(&path) {
            Ok(metadata) => (metadata.dev(), metadata.ino()),
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(self.file_error(name, e)),
        };
        // Another thread never holds the cache for long. If it seems so, we are the child of a fork that happened
        // then, and do without the cache rather than wait for ever.
        let mut cache = match cache.try_lock() {
            Ok(guard) => Some(guard),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        };
        if let Some(found) =
            cache.as_ref().and_then(|cache| cache.as_ref()?.get(&path)).filter(|c| c.identity == identity)
        {
            return Ok(Some(Arc::clone(&found.value)));
        }
        let mut file = File::open(&path).map_err(|e| self.file_error(name, e))?;
        let metadata = file.metadata().map_err(|e| self.file_error(name, e))?;
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(|e| self.file_error(name, e))?;
        let value: T =
            serde_json::from_str(&text).map_err(|e| Error::Format { path: path.clone(), reason: e.to_string() })?;
        let value = Arc::new(value);
        if let Some(cache) = cache.as_mut() {
            let entry = Cached { identity: (metadata.dev(), metadata.ino()), _file: file, value: Arc::clone(&value) };
            cache.get_or_insert_default().insert(path, entry);
        }
        Ok(Some(value))
    }

    fn replace<T: Serialize>(&self, name: &str, value: &T) -> Result<()> {
        let text =
            serde_json::to_vec(value).map_err(|e| Error::Format { path: self.0.join(name), reason: e.to_string() })?;
        let temporary = format!("{name}.new");
        let write = || -> io::Result<()> {
            let path = self.0.join(&temporary);
            let mode = self.mode();
            // Left behind by a process that was killed here, perhaps one of another user.
            let _ = fs::remove_file(&path);
            let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&path)?;
            file.set_permissions(Permissions::from_mode(mode))?;
            file.write_all(&text)?;
            file.sync_all()?;
            fs::rename(&path, self.0.join(name))
        };
        write().map_err(|e| self.file_error(name, e))?;
        self.sync_directory()
    }

    fn sync_directory(&self) -> Result<()> {
        File::open(&self.0).and_then(|directory| directory.sync_all()).map_err(|e| self.file_error("", e))
    }

    /// The mode of new files is that of the lock file.
    fn mode(&self) -> u32 {
        fs::metadata(self.0.join(LOCK_FILE)).map_or(0o600, |metadata| metadata.mode() & 0o666)
    }

    fn file_error(&self, name: &str, source: io::Error) -> Error {
        if name == LOCK_FILE && source.kind() == io::ErrorKind::NotFound {
            return Error::NoDevice(self.0.clone());
        }
        Error::File { path: if name.is_empty() { self.0.clone() } else { self.0.join(name) }, source }
    }
}

/// What was read last from each file. The file is kept open, so that its inode number is not given out again and
/// comparing numbers tells whether the name still stands for the same file.
type Cache<T> = Mutex<Option<HashMap<PathBuf, Cached<T>>>>;

struct Cached<T> {
    identity: (u64, u64),
    _file: File,
    value: Arc<T>,
}
