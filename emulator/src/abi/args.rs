//! Arguments and results in C's clothes.

use std::ffi::{CStr, c_char, c_int};
use std::mem::align_of;
use std::ptr::{self, NonNull};
use std::slice;

use crate::error::{Error, Result};

/// C's `bool`. A caller may pass any byte, of which Rust's own type allows only two.
pub type CBool = u8;

/// Where a result goes: a pointer that was given and can be written.
#[derive(Clone, Copy)]
pub struct Out<T>(NonNull<T>);

impl<T> Out<T> {
    /// # Safety
    /// A pointer that is not NULL can be written until the call returns.
    pub unsafe fn new(pointer: *mut T) -> Result<Self> {
        // SAFETY: the caller's promise is passed on.
        unsafe { Self::optional(pointer) }?.ok_or(Error::Argument("NULL pointer"))
    }

    /// `None` for NULL.
    ///
    /// # Safety
    /// A pointer that is not NULL can be written until the call returns.
    pub unsafe fn optional(pointer: *mut T) -> Result<Option<Self>> {
        if !pointer.addr().is_multiple_of(align_of::<T>()) {
            return Err(Error::Argument("misaligned pointer"));
        }
        Ok(NonNull::new(pointer).map(Self))
    }

    /// Writes the result.
    pub fn set(self, value: T) {
        // SAFETY: `new` was promised that the pointer can be written during the call, and an `Out` does not leave it.
        unsafe { self.0.as_ptr().write(value) };
    }
}

impl Out<*mut u8> {
    /// Answers bytes in memory that the caller frees. Even no bytes have a pointer.
    pub fn set_bytes(self, bytes: &[u8]) -> Result<()> {
        self.set(allocate(bytes, 0)?);
        Ok(())
    }
}

impl Out<*mut c_char> {
    /// Answers a string in memory that the caller frees.
    pub fn set_text(self, text: &str) -> Result<()> {
        self.set(allocate(text.as_bytes(), 1)?.cast());
        Ok(())
    }
}

impl Out<*mut c_int> {
    /// Answers an array in memory that the caller frees.
    pub fn set_numbers(self, numbers: &[c_int]) -> Result<()> {
        let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_ne_bytes()).collect();
        self.set(allocate(&bytes, 0)?.cast());
        Ok(())
    }
}

/// Memory of malloc(3) with a copy of the bytes and `zeros` zero bytes after them.
fn allocate(bytes: &[u8], zeros: usize) -> Result<*mut u8> {
    let len = bytes.len() + zeros;
    // SAFETY: malloc has no precondition; at least one byte, since malloc(0) may answer NULL.
    let memory = unsafe { libc::malloc(len.max(1)) }.cast::<u8>();
    if memory.is_null() {
        return Err(Error::Argument("too large"));
    }
    // SAFETY: malloc gave at least `len` bytes that nobody else knows yet.
    unsafe {
        ptr::copy_nonoverlapping(bytes.as_ptr(), memory, bytes.len());
        ptr::write_bytes(memory.add(bytes.len()), 0, zeros);
    }
    Ok(memory)
}

/// Bytes that the caller passes. NULL is the same as none.
///
/// # Safety
/// A pointer that is not NULL points to `len` bytes that do not change until the call returns.
pub unsafe fn bytes<'a>(pointer: *const u8, len: c_int) -> Result<&'a [u8]> {
    let len = usize::try_from(len).map_err(|_| Error::Argument("negative size"))?;
    match (pointer.is_null(), len) {
        (_, 0) => Ok(&[]),
        (true, _) => Err(Error::Argument("NULL pointer")),
        // SAFETY: not NULL, and the caller promises `len` bytes.
        (false, _) => Ok(unsafe { slice::from_raw_parts(pointer, len) }),
    }
}

/// An array whose length the header fixes.
///
/// # Safety
/// A pointer that is not NULL points to `N` bytes that do not change until the call returns.
pub unsafe fn array<'a, const N: usize>(pointer: *const u8) -> Result<&'a [u8; N]> {
    // SAFETY: the caller promises `N` bytes, which have no alignment.
    unsafe { pointer.cast::<[u8; N]>().as_ref() }.ok_or(Error::Argument("NULL pointer"))
}

/// A string that must be given.
///
/// # Safety
/// A pointer that is not NULL points to a string with its zero byte, which does not change until the call returns.
pub unsafe fn text<'a>(pointer: *const c_char) -> Result<&'a str> {
    // SAFETY: the caller's promise is passed on.
    unsafe { optional_text(pointer) }?.ok_or(Error::Argument("NULL string"))
}

/// A string that may be NULL.
///
/// # Safety
/// As [`text`].
pub unsafe fn optional_text<'a>(pointer: *const c_char) -> Result<Option<&'a str>> {
    if pointer.is_null() {
        return Ok(None);
    }
    // SAFETY: not NULL, and the caller promises a terminated string.
    let text = unsafe { CStr::from_ptr(pointer) };
    text.to_str().map(Some).map_err(|_| Error::Argument("text that is not UTF-8"))
}
