//! Object handles that the backend has written to where the client wants them.

use std::ptr;

use cryptoki_sys::{CK_OBJECT_HANDLE, CK_ULONG};

use crate::error::Error;
use crate::lifecycle::Instance;
use crate::route::BackendObjectHandle;

/// Replaces the backend's object handle at `pointer` by the one that clients see.
///
/// # Safety
/// Null, or a handle that the backend has just written.
#[inline(always)]
pub unsafe fn show_handle(instance: &Instance, pointer: *mut CK_OBJECT_HANDLE) -> Result<(), Error> {
    if !pointer.is_null() {
        // SAFETY: not null, so a handle stands there. The backend managed to write it, aligned or not.
        unsafe {
            let handle = pointer.read_unaligned();
            pointer.write_unaligned(instance.aliases.to_client(BackendObjectHandle(handle))?);
        }
    }
    Ok(())
}

/// As [`show_handle`], for `count` handles.
///
/// # Safety
/// Null, or `count` handles that the backend has just written.
#[inline(always)]
pub unsafe fn show_handles(instance: &Instance, handles: *mut CK_OBJECT_HANDLE, count: CK_ULONG) -> Result<(), Error> {
    if !handles.is_null() {
        for index in 0..count {
            // SAFETY: the backend has written a handle there.
            unsafe { show_handle(instance, handles.add(index as usize)) }?;
        }
    }
    Ok(())
}

/// The address of a field, or null for a null structure.
///
/// # Safety
/// `structure` is null or valid.
pub unsafe fn field<S, F>(structure: *mut S, of: impl FnOnce(*mut S) -> *mut F) -> *mut F {
    if structure.is_null() { ptr::null_mut() } else { of(structure) }
}
