//! Handles of mapped objects: the same for the same object while it is visible, never used for another one.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use holdfast_keystore::{KeyId, Object, ObjectId};

use crate::error::Error;
use crate::route::MappedHandle;

/// The handles of one initialisation.
#[derive(Default)]
pub struct HandleTable {
    inner: Mutex<Inner>,
    issued: AtomicU32,
}

#[derive(Default)]
struct Inner {
    objects: HashMap<MappedHandle, Entry>,
    handles: HashMap<ObjectId, MappedHandle>,
}

struct Entry {
    object: ObjectId,
    /// Tells objects apart that have the same number in different stores: the file may be replaced by a backup of itself.
    unique_id: String,
    key: KeyId,
    session: bool,
    token_serial: String,
    private: bool,
}

impl HandleTable {
    /// Whether `handle` was ever given out. One that was not is left to the backend to refuse.
    #[inline(always)]
    pub fn was_issued(&self, handle: MappedHandle) -> bool {
        handle.number() <= self.issued.load(Ordering::Relaxed)
    }

    /// The handle of an object, a new one if it has none.
    ///
    /// Fails with [`Error::TooManyAliases`] when 2^29 handles were given out.
    pub fn handle(&self, object: &Object) -> Result<MappedHandle, Error> {
        let mut inner = self.lock();
        if let Some(handle) = inner.handles.get(&object.record.id).copied() {
            match inner.objects.get(&handle) {
                Some(entry) if entry.unique_id == object.record.unique_id => return Ok(handle),
                _ => _ = inner.objects.remove(&handle),
            }
        }
        let number = self.issued.load(Ordering::Relaxed).saturating_add(1);
        let handle = MappedHandle::new(number).ok_or(Error::TooManyAliases)?;
        let entry = Entry {
            object: object.record.id,
            unique_id: object.record.unique_id.clone(),
            key: object.key.id,
            session: object.record.session,
            token_serial: object.key.token_serial.clone(),
            private: object.record.private,
        };
        inner.objects.insert(handle, entry);
        inner.handles.insert(object.record.id, handle);
        self.issued.store(number, Ordering::Relaxed);
        Ok(handle)
    }

    /// The object behind a handle; `None` when the handle is not valid (any more).
    pub fn object(&self, handle: MappedHandle) -> Option<ObjectId> {
        self.lock().objects.get(&handle).map(|entry| entry.object)
    }

    /// Whether `object`, which the store has under the number that [`HandleTable::object`] said, is the one that the
    /// handle was given out for.
    pub fn is_of(&self, handle: MappedHandle, object: &Object) -> bool {
        self.lock().objects.get(&handle).is_some_and(|entry| entry.unique_id == object.record.unique_id)
    }

    /// Makes the handle of an object invalid: it is gone.
    pub fn forget(&self, object: ObjectId) {
        let mut inner = self.lock();
        if let Some(handle) = inner.handles.remove(&object) {
            inner.objects.remove(&handle);
        }
    }

    /// Makes the handles of a token's objects invalid: all, or the private ones.
    pub fn forget_token(&self, token_serial: &str, only_private: bool) {
        self.retain(|entry| entry.token_serial != token_serial || (only_private && !entry.private));
    }

    /// Makes the handles of a key's session objects invalid.
    pub fn forget_session_objects(&self, key: KeyId) {
        self.retain(|entry| entry.key != key || !entry.session);
    }

    fn retain(&self, stays: impl Fn(&Entry) -> bool) {
        let mut inner = self.lock();
        let Inner { objects, handles } = &mut *inner;
        objects.retain(|_, entry| {
            let stays = stays(entry);
            if !stays {
                handles.remove(&entry.object);
            }
            stays
        });
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Between its two insertions the worst a panic leaves is an entry that nobody asks for.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
