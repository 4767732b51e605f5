//! Views of raw arguments: checked for null, alignment and length before anything is read or written through them.
//!
//! Pure: nothing here calls anything, so that Miri can run all of it.

use std::marker::PhantomData;
use std::ops::Deref;
use std::ptr;

use cryptoki_sys::{
    CK_ATTRIBUTE, CK_ATTRIBUTE_TYPE, CK_C_INITIALIZE_ARGS, CK_EC_KDF_TYPE, CK_ECDH1_DERIVE_PARAMS, CK_MECHANISM,
    CK_MECHANISM_TYPE, CK_ULONG, CK_UNAVAILABLE_INFORMATION, CK_VOID_PTR,
};

use crate::error::Error;

/// More attributes than this are no template: a client's count was not initialised.
pub const MAX_ATTRIBUTES: usize = 4096;

/// More bytes than this are not in one buffer: 64 GiB, or as much as an address space of 32 bits can hold.
pub const MAX_BYTES: CK_ULONG = if CK_ULONG::BITS > 32 { (1 << (CK_ULONG::BITS / 2)) << 4 } else { CK_ULONG::MAX / 2 };

/// Whether a client's buffer can be `length` bytes long. Asked before the backend gets a length that would have it read
/// beyond all bounds; SoftHSM2 2.6.1 crashes on most of them.
#[inline(always)]
pub fn plausible(length: CK_ULONG) -> Result<(), Error> {
    if length > MAX_BYTES { Err(Error::ArgumentsBad("the length is absurd")) } else { Ok(()) }
}

/// Whether a backend can be given this template for reading. What is null or misaligned is the backend's to refuse.
///
/// # Safety
/// Null, or good for reading `count` attributes.
pub unsafe fn check_template(pointer: *const CK_ATTRIBUTE, count: CK_ULONG) -> Result<(), Error> {
    if pointer.is_null() {
        return Ok(());
    }
    check_attribute_count(pointer, count)?;
    for index in 0..count {
        // SAFETY: less than `count`, which fits `usize`, as it is at most MAX_ATTRIBUTES.
        let attribute = unsafe { pointer.add(index as usize).read_unaligned() };
        if !attribute.pValue.is_null() {
            plausible(attribute.ulValueLen)?;
        }
    }
    Ok(())
}

/// Whether a backend can be given as many attributes to answer.
pub fn check_attribute_count(pointer: *const CK_ATTRIBUTE, count: CK_ULONG) -> Result<(), Error> {
    if !pointer.is_null() && count > MAX_ATTRIBUTES as CK_ULONG {
        return Err(Error::ArgumentsBad("the number of attributes is absurd"));
    }
    Ok(())
}

/// The argument of `C_Initialize`.
#[derive(Debug)]
pub struct InitializeArgs {
    pointer: CK_VOID_PTR,
    partial_mutexes: bool,
    reserved: bool,
}

impl InitializeArgs {
    /// Reads the argument of `C_Initialize`, which may be null.
    ///
    /// # Safety
    /// Null, or a `CK_C_INITIALIZE_ARGS` that stays valid while the result is used.
    pub unsafe fn read(pointer: CK_VOID_PTR) -> Result<Self, Error> {
        if pointer.is_null() {
            return Ok(Self { pointer, partial_mutexes: false, reserved: false });
        }
        let args = pointer.cast::<CK_C_INITIALIZE_ARGS>();
        if !args.is_aligned() {
            return Err(Error::ArgumentsBad("pInitArgs is misaligned"));
        }
        // SAFETY: not null, aligned, and the caller says what it points to.
        let args = unsafe { &*args };
        let mutexes = [
            args.CreateMutex.is_some(),
            args.DestroyMutex.is_some(),
            args.LockMutex.is_some(),
            args.UnlockMutex.is_some(),
        ];
        let given = mutexes.iter().filter(|given| **given).count();
        Ok(Self { pointer, partial_mutexes: given != 0 && given != mutexes.len(), reserved: !args.pReserved.is_null() })
    }

    /// Whether the specification allows the argument: all mutex functions or none, nothing reserved.
    ///
    /// We lock with the operating system's means whatever it says; the backend gets the argument as it is.
    pub fn check(&self) -> Result<(), Error> {
        if self.partial_mutexes {
            return Err(Error::ArgumentsBad("some, but not all mutex functions are given"));
        }
        if self.reserved {
            return Err(Error::ArgumentsBad("pReserved is not null"));
        }
        Ok(())
    }

    /// The argument as the client gave it.
    pub fn as_ptr(&self) -> CK_VOID_PTR {
        self.pointer
    }
}

/// Bytes that the client gives.
#[derive(Clone, Copy, Debug)]
pub struct InSlice<'a>(&'a [u8]);

impl<'a> InSlice<'a> {
    /// The `length` bytes at `pointer`. A null pointer is no bytes if the length is 0, else an error.
    ///
    /// # Safety
    /// Null, or good for reading `length` bytes, which nobody changes during `'a`.
    pub unsafe fn read(pointer: *const u8, length: CK_ULONG) -> Result<Self, Error> {
        // SAFETY: as for this function.
        Ok(Self(unsafe { slice(pointer, length, MAX_BYTES as usize) }?))
    }

    /// The bytes.
    pub fn bytes(self) -> &'a [u8] {
        self.0
    }
}

impl Deref for InSlice<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.0
    }
}

/// What a client's output buffer has room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// The buffer takes the result: make it, then call [`OutArray::put`].
    Enough,
    /// Only the length was asked for, and is answered: make nothing.
    Queried,
}

/// A client's buffer for bytes and their number; see [`OutArray`].
pub type OutBuffer<'a> = OutArray<'a, u8>;

/// A client's array for results and its length: the two-call protocol of "Conventions for functions returning output
/// in a variable-length buffer" (v3.2). A null array asks for the length; one that is too short is told it.
#[derive(Debug)]
pub struct OutArray<'a, T> {
    array: *mut T,
    length: *mut CK_ULONG,
    buffer: PhantomData<&'a mut [T]>,
}

impl<T: Copy> OutArray<'_, T> {
    /// The client's `array`, of which `length` says how many items it takes.
    ///
    /// # Safety
    /// `length` is null or good for reading and writing, `array` is null or good for writing `*length` items, both
    /// during the lifetime of the result.
    pub unsafe fn read(array: *mut T, length: *mut CK_ULONG) -> Result<Self, Error> {
        if length.is_null() || !length.is_aligned() {
            return Err(Error::ArgumentsBad("the length pointer is null or misaligned"));
        }
        if !array.is_aligned() {
            return Err(Error::ArgumentsBad("the buffer is misaligned"));
        }
        Ok(Self { array, length, buffer: PhantomData })
    }

    /// As [`OutArray::read`], where the backend would have written through a misaligned pointer.
    ///
    /// # Safety
    /// As for [`OutArray::read`], aligned or not.
    pub unsafe fn read_unaligned(array: *mut T, length: *mut CK_ULONG) -> Result<Self, Error> {
        if length.is_null() {
            return Err(Error::ArgumentsBad("the length pointer is null"));
        }
        Ok(Self { array, length, buffer: PhantomData })
    }

    /// What the client's length says now: the room, or what was written.
    pub fn length(&self) -> CK_ULONG {
        // SAFETY: not null since it was read, where the caller promised the rest.
        unsafe { self.length.read_unaligned() }
    }

    /// Asks for room for `needed` items, before they are made.
    ///
    /// A query is answered. A buffer that is too short is told the length and is [`Error::BufferTooSmall`].
    pub fn room(&mut self, needed: usize) -> Result<Room, Error> {
        let needed = CK_ULONG::try_from(needed).map_err(|_| Error::BufferTooSmall)?;
        let available = self.length();
        if !self.array.is_null() && available >= needed {
            return Ok(Room::Enough);
        }
        // SAFETY: as above.
        unsafe { self.length.write_unaligned(needed) };
        if self.array.is_null() { Ok(Room::Queried) } else { Err(Error::BufferTooSmall) }
    }

    /// Hands `items` over, or their number, if that is all that was asked for.
    pub fn put(mut self, items: &[T]) -> Result<(), Error> {
        if self.room(items.len())? == Room::Enough {
            // SAFETY: the array is not null and takes as many items, copied as bytes as it may not be aligned; `items` is
            // ours, not the client's.
            unsafe {
                ptr::copy_nonoverlapping(items.as_ptr().cast::<u8>(), self.array.cast::<u8>(), size_of_val(items));
                // Fits, or `room` had failed.
                self.length.write_unaligned(items.len() as CK_ULONG);
            }
        }
        Ok(())
    }
}

/// A mechanism and its parameter.
#[derive(Clone, Copy, Debug)]
pub struct Mechanism<'a> {
    /// `CKM_*`
    pub kind: CK_MECHANISM_TYPE,
    /// The parameter as bytes; empty if there is none.
    pub parameter: &'a [u8],
}

impl Mechanism<'_> {
    /// The mechanism at `pointer`.
    ///
    /// # Safety
    /// Null, or a `CK_MECHANISM` whose parameter is null or good for reading its length, unchanged during the lifetime
    /// of the result.
    pub unsafe fn read(pointer: *const CK_MECHANISM) -> Result<Self, Error> {
        // SAFETY: as for this function.
        let mechanism = unsafe { reference(pointer, "pMechanism is null or misaligned") }?;
        // SAFETY: as for this function.
        let parameter =
            unsafe { slice(mechanism.pParameter.cast::<u8>(), mechanism.ulParameterLen, MAX_BYTES as usize) }?;
        Ok(Self { kind: mechanism.mechanism, parameter })
    }
}

/// The parameter of CKM_ECDH1_DERIVE.
#[derive(Clone, Copy, Debug)]
pub struct Ecdh1<'a> {
    /// `CKD_*`
    pub kdf: CK_EC_KDF_TYPE,
    /// Data that enters the derivation, or none.
    pub shared_data: &'a [u8],
    /// The other party's public key.
    pub public_data: &'a [u8],
}

impl<'a> Ecdh1<'a> {
    /// The `CK_ECDH1_DERIVE_PARAMS` that is the parameter of `mechanism`.
    ///
    /// # Safety
    /// The mechanism was read from a client, who says that it is CKM_ECDH1_DERIVE: shared and public data are null or
    /// good for reading their lengths, unchanged during `'a`.
    pub unsafe fn read(mechanism: &Mechanism<'a>) -> Result<Self, Error> {
        if mechanism.parameter.len() != size_of::<CK_ECDH1_DERIVE_PARAMS>() {
            return Err(Error::MechanismParamInvalid("not a CK_ECDH1_DERIVE_PARAMS by its length"));
        }
        // SAFETY: the bytes are as many as the structure, which consists of numbers and pointers.
        let parameter = unsafe { mechanism.parameter.as_ptr().cast::<CK_ECDH1_DERIVE_PARAMS>().read_unaligned() };
        // SAFETY: as for this function.
        let data = unsafe {
            (
                slice(parameter.pSharedData.cast_const(), parameter.ulSharedDataLen, MAX_BYTES as usize),
                slice(parameter.pPublicData.cast_const(), parameter.ulPublicDataLen, MAX_BYTES as usize),
            )
        };
        let (Ok(shared_data), Ok(public_data)) = data else {
            return Err(Error::MechanismParamInvalid("shared or public data cannot be read"));
        };
        Ok(Self { kdf: parameter.kdf, shared_data, public_data })
    }
}

/// Attributes that a client gives.
#[derive(Clone, Copy, Debug)]
pub struct Template<'a> {
    attributes: &'a [CK_ATTRIBUTE],
}

/// An attribute that a client gives.
#[derive(Clone, Copy, Debug)]
pub struct Attribute<'a> {
    /// `CKA_*`
    pub kind: CK_ATTRIBUTE_TYPE,
    /// The value as bytes.
    pub value: &'a [u8],
}

impl<'a> Template<'a> {
    /// The `count` attributes at `pointer`; none if the count is 0.
    ///
    /// # Safety
    /// Null, or good for reading `count` attributes, of which each value is null or good for reading its length, all
    /// unchanged during `'a`.
    pub unsafe fn read(pointer: *const CK_ATTRIBUTE, count: CK_ULONG) -> Result<Self, Error> {
        // SAFETY: as for this function.
        let attributes = unsafe { slice(pointer, count, MAX_ATTRIBUTES) }?;
        for attribute in attributes {
            // SAFETY: as for this function. Checked here, so that `attributes` has nothing left to refuse.
            unsafe { slice(attribute.pValue.cast::<u8>().cast_const(), attribute.ulValueLen, MAX_BYTES as usize) }?;
        }
        Ok(Self { attributes })
    }

    /// How many attributes there are.
    pub fn len(&self) -> usize {
        self.attributes.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.attributes.is_empty()
    }

    /// The attributes in the client's order, repeated ones included.
    pub fn attributes(&self) -> impl Iterator<Item = Attribute<'a>> + use<'a> {
        self.attributes.iter().map(|attribute| {
            // SAFETY: as `read` promised; it failed for values that cannot be read.
            let value =
                unsafe { slice(attribute.pValue.cast::<u8>().cast_const(), attribute.ulValueLen, MAX_BYTES as usize) };
            Attribute { kind: attribute.type_, value: value.unwrap_or(&[]) }
        })
    }

    /// The value of the first attribute of `kind`.
    pub fn get(&self, kind: CK_ATTRIBUTE_TYPE) -> Option<&'a [u8]> {
        self.attributes().find(|attribute| attribute.kind == kind).map(|attribute| attribute.value)
    }
}

/// Attributes that a client asks for: the template of `C_GetAttributeValue`.
#[derive(Debug)]
pub struct OutTemplate<'a> {
    attributes: *mut CK_ATTRIBUTE,
    count: usize,
    template: PhantomData<&'a mut [CK_ATTRIBUTE]>,
}

/// An attribute that a client asks for.
#[derive(Debug)]
pub struct OutAttribute<'a> {
    attribute: *mut CK_ATTRIBUTE,
    template: PhantomData<&'a mut CK_ATTRIBUTE>,
}

impl<'a> OutTemplate<'a> {
    /// The `count` attributes at `pointer`.
    ///
    /// # Safety
    /// Null, or good for reading and writing `count` attributes, of which each value is null or good for writing its
    /// length, during `'a`, by nobody else.
    pub unsafe fn read(pointer: *mut CK_ATTRIBUTE, count: CK_ULONG) -> Result<Self, Error> {
        // SAFETY: as for this function. The slice is for the check only and gone before anything is written.
        let count = unsafe { slice(pointer.cast_const(), count, MAX_ATTRIBUTES) }?.len();
        Ok(Self { attributes: pointer, count, template: PhantomData })
    }

    /// The attributes in the client's order.
    pub fn attributes(&mut self) -> impl Iterator<Item = OutAttribute<'_>> {
        let first = self.attributes;
        (0..self.count).map(move |index| OutAttribute {
            // SAFETY: within the `count` attributes that `read` was promised.
            attribute: unsafe { first.add(index) },
            template: PhantomData,
        })
    }
}

impl OutAttribute<'_> {
    /// `CKA_*`
    pub fn kind(&self) -> CK_ATTRIBUTE_TYPE {
        // SAFETY: aligned and readable since `OutTemplate::read`.
        unsafe { (*self.attribute).type_ }
    }

    /// Answers with `value`: its length if only that is asked for. [`Error::BufferTooSmall`], and the length -1, if the
    /// client's buffer is too short. As "C_GetAttributeValue" (v3.2) says in its cases 3 to 5.
    pub fn put(&mut self, value: &[u8]) -> Result<(), Error> {
        // SAFETY: aligned, readable and writable since `OutTemplate::read`; the value is good for its length. `value`
        // is ours, not the client's.
        unsafe {
            let buffer = (*self.attribute).pValue.cast::<u8>();
            let available = (*self.attribute).ulValueLen;
            let needed = value.len() as CK_ULONG;
            if buffer.is_null() {
                (*self.attribute).ulValueLen = needed;
            } else if available >= needed && available != CK_UNAVAILABLE_INFORMATION {
                ptr::copy_nonoverlapping(value.as_ptr(), buffer, value.len());
                (*self.attribute).ulValueLen = needed;
            } else {
                (*self.attribute).ulValueLen = CK_UNAVAILABLE_INFORMATION;
                return Err(Error::BufferTooSmall);
            }
        }
        Ok(())
    }

    /// Answers that there is no value to be had: cases 1 and 2. The caller returns the code that says why.
    pub fn unavailable(&mut self) {
        // SAFETY: aligned and writable since `OutTemplate::read`.
        unsafe { (*self.attribute).ulValueLen = CK_UNAVAILABLE_INFORMATION };
    }
}

/// Writes `value` to where the client wants it.
///
/// # Safety
/// Null, or good for writing one value.
pub unsafe fn put<T>(pointer: *mut T, value: T) -> Result<(), Error> {
    check_place(pointer)?;
    // SAFETY: not null, aligned, and the caller says the rest.
    unsafe { pointer.write(value) };
    Ok(())
}

/// That a result has a place, before it is made.
pub fn check_place<T>(pointer: *const T) -> Result<(), Error> {
    if pointer.is_null() || !pointer.is_aligned() {
        return Err(Error::ArgumentsBad("the pointer for the result is null or misaligned"));
    }
    Ok(())
}

/// Writes `value` to where a backend would have written it, aligned or not, if that is anywhere.
///
/// # Safety
/// Null, or good for writing one value.
#[inline(always)]
pub unsafe fn put_unaligned<T>(pointer: *mut T, value: T) -> Result<(), Error> {
    if !pointer.is_null() {
        // SAFETY: not null, and the caller says the rest.
        unsafe { pointer.write_unaligned(value) };
    }
    Ok(())
}

/// The value at `pointer`.
///
/// # Safety
/// Null, or good for reading during `'a`.
unsafe fn reference<'a, T>(pointer: *const T, complaint: &'static str) -> Result<&'a T, Error> {
    if !pointer.is_aligned() {
        return Err(Error::ArgumentsBad(complaint));
    }
    // SAFETY: aligned; the caller says that what is not null is good.
    unsafe { pointer.as_ref() }.ok_or(Error::ArgumentsBad(complaint))
}

/// The `count` items at `pointer`, at most `limit`. A null pointer is none if the count is 0, else an error.
///
/// # Safety
/// Null, or good for reading `count` items, unchanged during `'a`.
unsafe fn slice<'a, T>(pointer: *const T, count: CK_ULONG, limit: usize) -> Result<&'a [T], Error> {
    let count = usize::try_from(count).map_err(|_| Error::ArgumentsBad("the length is absurd"))?;
    if count == 0 {
        return Ok(&[]);
    }
    if pointer.is_null() {
        return Err(Error::ArgumentsBad("a length is given, but the pointer is null"));
    }
    if !pointer.is_aligned() {
        return Err(Error::ArgumentsBad("a pointer is misaligned"));
    }
    let bytes = count.checked_mul(size_of::<T>()).filter(|bytes| isize::try_from(*bytes).is_ok());
    let end = bytes.and_then(|bytes| pointer.addr().checked_add(bytes));
    if end.is_none() || count > limit {
        return Err(Error::ArgumentsBad("the length is absurd"));
    }
    // SAFETY: not null, aligned, of a size that an object can have; the caller says that it is readable.
    Ok(unsafe { std::slice::from_raw_parts(pointer, count) })
}

#[cfg(test)]
#[path = "args_tests.rs"]
mod tests;
