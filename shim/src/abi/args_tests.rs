//! Tests of the argument views, all of which Miri can run.

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
fn b3_the_two_call_protocol_through_misaligned_pointers() {
    const SIZE: usize = size_of::<CK_ULONG>();
    let mut memory = [0xeeu8; 4 * SIZE];
    let mut length = [0xeeu8; SIZE + 1];
    length[1..].copy_from_slice(&(2 as CK_ULONG).to_ne_bytes());
    // SAFETY: room for two numbers and for one, at odd addresses.
    let array = unsafe {
        let array = memory.as_mut_ptr().add(1).cast::<CK_ULONG>();
        OutArray::read_unaligned(array, length.as_mut_ptr().add(1).cast()).unwrap()
    };
    array.put(&[5]).unwrap();
    assert_eq!(length[1..], (1 as CK_ULONG).to_ne_bytes());
    assert_eq!(memory[1..=SIZE], (5 as CK_ULONG).to_ne_bytes());
    assert_eq!((memory[0], &memory[SIZE + 1..]), (0xee, &[0xee; 3 * SIZE - 1][..]));
    // SAFETY: refused without being read.
    assert!(refused(unsafe { OutArray::<CK_ULONG>::read_unaligned(ptr::null_mut(), ptr::null_mut()) }));
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
