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

    /// Asks for room for `needed` items, before they are made.
    ///
    /// A query is answered. A buffer that is too short is told the length and is [`Error::BufferTooSmall`].
    pub fn room(&mut self, needed: usize) -> Result<Room, Error> {
        let needed = CK_ULONG::try_from(needed).map_err(|_| Error::BufferTooSmall)?;
        // SAFETY: not null and aligned since `read`, whose caller promised the rest.
        let available = unsafe { self.length.read() };
        if !self.array.is_null() && available >= needed {
            return Ok(Room::Enough);
        }
        // SAFETY: as above.
        unsafe { self.length.write(needed) };
        if self.array.is_null() { Ok(Room::Queried) } else { Err(Error::BufferTooSmall) }
    }

    /// Hands `items` over, or their number, if that is all that was asked for.
    pub fn put(mut self, items: &[T]) -> Result<(), Error> {
        if self.room(items.len())? == Room::Enough {
            // SAFETY: the array is not null, aligned, and takes as many items; `items` is ours, not the client's.
            unsafe {
                ptr::copy_nonoverlapping(items.as_ptr(), self.array, items.len());
                // Fits, or `room` had failed.
                self.length.write(items.len() as CK_ULONG);
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
    if pointer.is_null() || !pointer.is_aligned() {
        return Err(Error::ArgumentsBad("the pointer for the result is null or misaligned"));
    }
    // SAFETY: not null, aligned, and the caller says the rest.
    unsafe { pointer.write(value) };
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
mod tests {
    use super::*;
    use cryptoki_sys::{CKA_ID, CKA_LABEL, CKD_NULL, CKM_ECDH1_DERIVE, CKM_ECDSA};

    fn attribute(kind: CK_ATTRIBUTE_TYPE, value: &mut [u8]) -> CK_ATTRIBUTE {
        CK_ATTRIBUTE { type_: kind, pValue: value.as_mut_ptr().cast(), ulValueLen: value.len() as CK_ULONG }
    }

    fn refused<T>(result: Result<T, Error>) -> bool {
        matches!(result, Err(Error::ArgumentsBad(_)))
    }

    #[test]
    fn bytes_are_read_or_refused() {
        let bytes = [1u8, 2, 3];
        // SAFETY: three bytes, or what must be refused without being read.
        unsafe {
            assert_eq!(InSlice::read(bytes.as_ptr(), 3).unwrap().bytes(), [1, 2, 3]);
            assert!(InSlice::read(ptr::null(), 0).unwrap().is_empty());
            assert!(InSlice::read(bytes.as_ptr(), 0).unwrap().is_empty());
            assert!(refused(InSlice::read(ptr::null(), 1)));
            assert!(refused(InSlice::read(bytes.as_ptr(), CK_ULONG::MAX)));
            assert!(refused(InSlice::read(bytes.as_ptr(), CK_ULONG::MAX / 2)));
        }
    }

    #[test]
    fn k1_a_count_that_overflows_is_refused() {
        let one = CK_ATTRIBUTE { type_: CKA_LABEL, pValue: ptr::null_mut(), ulValueLen: 0 };
        let size = size_of::<CK_ATTRIBUTE>() as CK_ULONG;
        for count in [CK_ULONG::MAX, CK_ULONG::MAX / size, CK_ULONG::MAX / size + 2, MAX_ATTRIBUTES as CK_ULONG + 1] {
            // SAFETY: refused without being read.
            unsafe {
                assert!(refused(Template::read(&raw const one, count)), "{count}");
                assert!(refused(OutTemplate::read((&raw const one).cast_mut(), count)), "{count}");
                assert!(refused(check_template(&raw const one, count)), "{count}");
            }
        }
    }

    #[test]
    fn misaligned_pointers_are_refused() {
        let words = [0 as CK_ULONG; 8];
        let odd = words.as_ptr().cast::<u8>().wrapping_add(1);
        // SAFETY: refused without being read.
        unsafe {
            assert!(refused(Template::read(odd.cast(), 1)));
            assert!(refused(Mechanism::read(odd.cast())));
            assert!(refused(Mechanism::read(ptr::null())));
            assert!(refused(OutBuffer::read(ptr::null_mut(), odd.cast_mut().cast())));
            assert!(refused(OutBuffer::read(ptr::null_mut(), ptr::null_mut())));
            assert!(refused(OutArray::<CK_ULONG>::read(odd.cast_mut().cast(), words.as_ptr().cast_mut())));
            assert!(refused(put(odd.cast_mut().cast::<CK_ULONG>(), 1)));
            assert!(refused(put(ptr::null_mut::<CK_ULONG>(), 1)));
        }
    }

    #[test]
    fn a_template_gives_its_attributes_in_order() {
        let (mut label, mut id, mut second) = (*b"label", [7u8], *b"again");
        let attributes = [
            attribute(CKA_LABEL, &mut label),
            attribute(CKA_ID, &mut id),
            attribute(CKA_LABEL, &mut second),
            CK_ATTRIBUTE { type_: CKA_ID, pValue: ptr::null_mut(), ulValueLen: 0 },
        ];
        // SAFETY: four attributes whose values outlive the template.
        let template = unsafe { Template::read(attributes.as_ptr(), 4) }.unwrap();
        assert_eq!(template.len(), 4);
        assert_eq!(template.get(CKA_LABEL), Some(&b"label"[..]));
        assert_eq!(template.get(CKA_ID), Some(&[7u8][..]));
        assert_eq!(template.get(cryptoki_sys::CKA_CLASS), None);
        assert_eq!(template.attributes().map(|a| a.value.len()).collect::<Vec<_>>(), [5, 1, 5, 0]);
        // SAFETY: no attributes.
        assert!(unsafe { Template::read(ptr::null(), 0) }.unwrap().is_empty());
    }

    #[test]
    fn a_value_that_cannot_be_read_spoils_the_template() {
        let mut label = *b"label";
        let good = attribute(CKA_LABEL, &mut label);
        for bad in [
            CK_ATTRIBUTE { pValue: ptr::null_mut(), ..good },
            CK_ATTRIBUTE { ulValueLen: CK_UNAVAILABLE_INFORMATION, ..good },
            CK_ATTRIBUTE { ulValueLen: CK_ULONG::MAX / 2, ..good },
        ] {
            // SAFETY: two attributes, of which the second's value is refused without being read.
            assert!(refused(unsafe { Template::read([good, bad].as_ptr(), 2) }));
        }
    }

    #[test]
    fn b3_the_two_call_protocol() {
        let mut buffer = [0u8; 4];
        let mut length: CK_ULONG = 99;
        // SAFETY: a null buffer, then one of the length given.
        unsafe {
            let mut query = OutBuffer::read(ptr::null_mut(), &raw mut length).unwrap();
            assert_eq!(query.room(3).unwrap(), Room::Queried);
            assert_eq!(length, 3);
            length = 2;
            let short = OutBuffer::read(buffer.as_mut_ptr(), &raw mut length).unwrap();
            assert!(matches!(short.put(b"abc"), Err(Error::BufferTooSmall)));
            assert_eq!((length, buffer), (3, [0; 4]));
            length = 4;
            let mut enough = OutBuffer::read(buffer.as_mut_ptr(), &raw mut length).unwrap();
            assert_eq!(enough.room(3).unwrap(), Room::Enough);
            assert_eq!(length, 4, "nothing is written before the result");
            enough.put(b"abc").unwrap();
            assert_eq!((length, &buffer), (3, b"abc\0"));
            length = 0;
            let none = OutBuffer::read(buffer.as_mut_ptr(), &raw mut length).unwrap();
            none.put(b"").unwrap();
            assert_eq!(length, 0);
        }
    }

    #[test]
    fn c7_attributes_that_are_asked_for() {
        let mut value = [0u8; 4];
        let mut attributes = [
            CK_ATTRIBUTE { type_: CKA_LABEL, pValue: ptr::null_mut(), ulValueLen: 77 },
            attribute(CKA_ID, &mut value),
            attribute(CKA_ID, &mut [0u8; 1]),
            attribute(CKA_ID, &mut [0u8; 1]),
        ];
        attributes[3].ulValueLen = CK_UNAVAILABLE_INFORMATION;
        {
            // SAFETY: four attributes with buffers of their lengths, of which the last two are not written to.
            let mut template = unsafe { OutTemplate::read(attributes.as_mut_ptr(), 4) }.unwrap();
            let mut all: Vec<_> = template.attributes().collect();
            assert_eq!(all[0].kind(), CKA_LABEL);
            all[0].put(b"label").unwrap();
            all[1].put(b"id").unwrap();
            assert!(matches!(all[2].put(b"id"), Err(Error::BufferTooSmall)));
            assert!(matches!(all[3].put(b"id"), Err(Error::BufferTooSmall)));
        }
        assert_eq!(attributes.map(|a| a.ulValueLen), [5, 2, CK_UNAVAILABLE_INFORMATION, CK_UNAVAILABLE_INFORMATION]);
        assert_eq!(&value, b"id\0\0");
    }

    #[test]
    fn mechanisms_and_their_parameters() {
        let (mut shared, mut public) = ([1u8, 2], [4u8; 65]);
        let parameter = CK_ECDH1_DERIVE_PARAMS {
            kdf: CKD_NULL,
            ulSharedDataLen: 2,
            pSharedData: shared.as_mut_ptr(),
            ulPublicDataLen: 65,
            pPublicData: public.as_mut_ptr(),
        };
        let with = |parameter: &CK_ECDH1_DERIVE_PARAMS| CK_MECHANISM {
            mechanism: CKM_ECDH1_DERIVE,
            pParameter: ptr::from_ref(parameter).cast_mut().cast(),
            ulParameterLen: size_of::<CK_ECDH1_DERIVE_PARAMS>() as CK_ULONG,
        };
        // SAFETY: mechanisms whose parameters outlive them, or are refused without being read.
        unsafe {
            let raw = with(&parameter);
            let mechanism = Mechanism::read(&raw const raw).unwrap();
            let ecdh = Ecdh1::read(&mechanism).unwrap();
            assert_eq!((ecdh.kdf, ecdh.shared_data, ecdh.public_data.len()), (CKD_NULL, &[1u8, 2][..], 65));
            let lying = CK_ECDH1_DERIVE_PARAMS { pPublicData: ptr::null_mut(), ..parameter };
            let raw = with(&lying);
            let mechanism = Mechanism::read(&raw const raw).unwrap();
            assert!(matches!(Ecdh1::read(&mechanism), Err(Error::MechanismParamInvalid(_))));
            let raw = CK_MECHANISM { mechanism: CKM_ECDSA, pParameter: ptr::null_mut(), ulParameterLen: 0 };
            let mechanism = Mechanism::read(&raw const raw).unwrap();
            assert!(mechanism.kind == CKM_ECDSA && mechanism.parameter.is_empty());
            assert!(matches!(Ecdh1::read(&mechanism), Err(Error::MechanismParamInvalid(_))));
            let raw = CK_MECHANISM { ulParameterLen: 8, ..raw };
            assert!(Mechanism::read(&raw const raw).is_err());
        }
    }

    #[test]
    fn a3_initialize_arguments() {
        // SAFETY: null, or a structure that outlives its reading.
        unsafe {
            assert!(InitializeArgs::read(ptr::null_mut()).unwrap().check().is_ok());
            let mut args = CK_C_INITIALIZE_ARGS {
                CreateMutex: None,
                DestroyMutex: None,
                LockMutex: None,
                UnlockMutex: None,
                flags: 0,
                pReserved: ptr::null_mut(),
            };
            assert!(InitializeArgs::read((&raw mut args).cast()).unwrap().check().is_ok());
            args.pReserved = (&raw mut args).cast();
            assert!(refused(InitializeArgs::read((&raw mut args).cast()).unwrap().check()));
            assert!(refused(InitializeArgs::read((&raw mut args).cast::<u8>().wrapping_add(1).cast())));
        }
    }
}
