//! Backend object handles that look like ours, and the aliases that clients see instead.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use cryptoki_sys::CK_OBJECT_HANDLE;

use crate::error::Error;
use crate::route::{self, AliasNumber, BackendObjectHandle};

/// The aliases of one initialisation. An alias stays what it is until `C_Finalize`, as the backend may use a handle
/// again for another object exactly when it may do so towards any client.
///
/// Handles of real backends are small numbers or pointers below this range, so that the table is empty and never
/// asked: the lock is none of the forwarding path.
#[derive(Default)]
pub struct AliasTable {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    handles: Vec<BackendObjectHandle>,
    numbers: HashMap<BackendObjectHandle, AliasNumber>,
}

impl AliasTable {
    /// The handle to show a client for a handle that the backend gave out.
    ///
    /// Fails with [`Error::TooManyAliases`] when 2^29 handles are aliased already.
    #[inline(always)]
    pub fn to_client(&self, handle: BackendObjectHandle) -> Result<CK_OBJECT_HANDLE, Error> {
        if route::is_tagged(handle.0) { self.alias(handle) } else { Ok(handle.0) }
    }

    #[cold]
    fn alias(&self, handle: BackendObjectHandle) -> Result<CK_OBJECT_HANDLE, Error> {
        // A panic cannot leave the two halves in disagreement that matters: a vector entry without number is unused.
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(number) = inner.numbers.get(&handle) {
            return Ok(number.to_client());
        }
        let number = u32::try_from(inner.handles.len()).ok().and_then(AliasNumber::new).ok_or(Error::TooManyAliases)?;
        inner.handles.push(handle);
        inner.numbers.insert(handle, number);
        Ok(number.to_client())
    }

    /// The backend handle behind an alias; `None` if it was never given out.
    #[cold]
    pub fn to_backend(&self, number: AliasNumber) -> Option<BackendObjectHandle> {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.handles.get(usize::try_from(number.number()).ok()?).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::{Target, target};

    #[test]
    fn an_untagged_handle_stays_what_it_is() {
        let table = AliasTable::default();
        assert_eq!(table.to_client(BackendObjectHandle(7)).unwrap(), 7);
        assert!(table.inner.lock().unwrap().handles.is_empty());
    }

    #[test]
    fn a_tagged_handle_has_one_alias_that_leads_back() {
        let table = AliasTable::default();
        for backend in [0x4000_0000, 0x4000_0001, 0x5fff_ffff, 0x6000_0000, 0x7fff_ffff].map(BackendObjectHandle) {
            let client = table.to_client(backend).unwrap();
            assert_eq!(table.to_client(backend).unwrap(), client);
            let Target::Alias(number) = target(client) else { panic!("{client:#x} is no alias") };
            assert_eq!(table.to_backend(number), Some(backend));
        }
        assert_eq!(table.to_backend(AliasNumber::new(5).unwrap()), None);
    }
}
