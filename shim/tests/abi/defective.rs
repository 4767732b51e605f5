//! Backends that are wrong on purpose.

use std::ptr;

use cryptoki_sys::{
    CK_FUNCTION_LIST_3_2, CK_MECHANISM, CK_OBJECT_HANDLE, CK_ULONG, CKM_CONCATENATE_BASE_AND_KEY, CKM_ECDSA_SHA256,
    CKR_CRYPTOKI_ALREADY_INITIALIZED, CKR_CRYPTOKI_NOT_INITIALIZED, CKR_DEVICE_ERROR, CKR_FUNCTION_FAILED,
    CKR_FUNCTION_NOT_SUPPORTED, CKR_OBJECT_HANDLE_INVALID, CKR_OK, CKR_OPERATION_ACTIVE,
};

use crate::fixture::{Pkcs11, World, ck, directory, in_fork, scenario, scenario_with_log};
use crate::interfaces;

/// The backend's own variables.
struct Inside(Pkcs11);

impl Inside {
    fn new() -> Self {
        Self(Pkcs11::load(&directory().join("backend.so")))
    }

    fn handle(&self, name: &str) -> CK_OBJECT_HANDLE {
        unsafe { *self.0.symbol(name).unwrap().cast::<CK_OBJECT_HANDLE>() }
    }

    fn count(&self, name: &str) -> i32 {
        unsafe { *self.0.symbol(name).unwrap().cast::<i32>() }
    }
}

#[test]
fn null_entries_are_functions_not_supported() {
    scenario(
        "defective::null_entries_are_functions_not_supported",
        || World::with_compiled_backend("backend", &["HOLES"]),
        || {
            let module = Pkcs11::holdfast();
            assert_eq!(module.initialize(), CKR_OK);
            let mut session = 0;
            let rv = ck!(module, C_OpenSession(1, 4, ptr::null_mut(), None, &mut session));
            assert_eq!(rv, CKR_FUNCTION_NOT_SUPPORTED);
            assert_eq!(ck!(module, C_DestroyObject(1, 1)), CKR_FUNCTION_NOT_SUPPORTED);
            let rv = ck!(module, C_WaitForSlotEvent(0, ptr::null_mut(), ptr::null_mut()));
            assert_eq!(rv, CKR_FUNCTION_NOT_SUPPORTED);
            let mut slots = [0; 4];
            let mut count = 4;
            assert_eq!(ck!(module, C_GetSlotList(1, slots.as_mut_ptr(), &mut count)), CKR_OK);
            assert_eq!(module.finalize(), CKR_OK);
        },
    );
}

fn unusable(test: &str, define: &str, complaint: &str) {
    scenario_with_log(
        test,
        || World::with_compiled_backend("backend", &[define]),
        || {
            let module = Pkcs11::holdfast();
            assert_eq!(module.initialize(), CKR_FUNCTION_FAILED);
            assert_eq!(module.finalize(), CKR_CRYPTOKI_NOT_INITIALIZED);
        },
        |log| assert!(log.contains(complaint) && log.contains("backend.so"), "{log}"),
    );
}

#[test]
fn no_function_list_is_no_backend() {
    unusable("defective::no_function_list_is_no_backend", "NO_LIST", "no C_GetFunctionList");
}

#[test]
fn a_failing_function_list_is_no_backend() {
    unusable("defective::a_failing_function_list_is_no_backend", "LIST_FAILS", "answered 0x5");
}

#[test]
fn a_null_function_list_is_no_backend() {
    unusable("defective::a_null_function_list_is_no_backend", "NULL_LIST", "null");
}

#[test]
fn a_function_list_of_an_unknown_version_is_no_backend() {
    unusable("defective::a_function_list_of_an_unknown_version_is_no_backend", "OLD_LIST", "version 1.40");
}

#[test]
fn a6_a_backend_that_does_not_initialise() {
    scenario(
        "defective::a6_a_backend_that_does_not_initialise",
        || World::with_compiled_backend("backend", &["INIT_FAILS"]),
        || {
            let module = Pkcs11::holdfast();
            assert_eq!(module.initialize(), CKR_DEVICE_ERROR, "its own code");
            assert_eq!(module.finalize(), CKR_CRYPTOKI_NOT_INITIALIZED);
            assert_eq!(Inside::new().count("backend_finalized"), 0);
        },
    );
}

/// Its sessions all have the same handle. What was begun in one is not there in the next, however the first one ended.
#[test]
fn session_handles_that_are_used_again() {
    scenario(
        "defective::session_handles_that_are_used_again",
        || World::with_compiled_backend("backend", &["NO_DIGESTS"]),
        || {
            let module = Pkcs11::holdfast();
            assert_eq!(module.initialize(), CKR_OK);
            let mut key = 0;
            let mut length = 0;
            for close_all in [true, false] {
                let session = module.open();
                assert_eq!(ck!(module, C_CreateObject(session, ptr::null_mut(), 0, &mut key)), CKR_OK);
                let mut mechanism =
                    CK_MECHANISM { mechanism: CKM_ECDSA_SHA256, pParameter: ptr::null_mut(), ulParameterLen: 0 };
                assert_eq!(ck!(module, C_SignInit(session, &mut mechanism, key)), CKR_OK);
                let rv = ck!(module, C_SignInit(session, &mut mechanism, key));
                assert_eq!(rv, CKR_OPERATION_ACTIVE, "it is digested here");
                if close_all {
                    assert_eq!(ck!(module, C_CloseAllSessions(1)), CKR_OK);
                }
                let next = module.open();
                assert_eq!(next, session);
                assert_eq!(ck!(module, C_SignInit(next, &mut mechanism, key)), CKR_OK);
                assert_eq!(ck!(module, C_CloseSession(next)), CKR_OK);
                // Forwarded to a backend that signs nothing and says so with CKR_OK.
                assert_eq!(ck!(module, C_SignFinal(next, ptr::null_mut(), &mut length)), CKR_OK);
            }
        },
    );
}

/// The search that the backend has begun is not refused, or the next one would find it in progress.
#[test]
fn a_search_without_a_token_finds_what_the_backend_has() {
    scenario(
        "defective::a_search_without_a_token_finds_what_the_backend_has",
        || World::with_compiled_backend("backend", &[]),
        || {
            let module = Pkcs11::holdfast();
            assert_eq!(module.initialize(), CKR_OK);
            let session = module.open();
            let (mut key, mut found, mut count) = (0, [0; 4], 0);
            assert_eq!(ck!(module, C_CreateObject(session, ptr::null_mut(), 0, &mut key)), CKR_OK);
            assert_eq!(ck!(module, C_FindObjectsInit(session, ptr::null_mut(), 0)), CKR_OK);
            assert_eq!(ck!(module, C_FindObjects(session, found.as_mut_ptr(), 4, &mut count)), CKR_OK);
            assert_eq!((count, found[0]), (1, key));
        },
    );
}

#[test]
fn lists_that_grow_between_two_calls() {
    scenario(
        "defective::lists_that_grow_between_two_calls",
        || World::with_compiled_backend("backend", &["GROWING"]),
        || {
            let module = Pkcs11::holdfast();
            assert_eq!(module.initialize(), CKR_OK);
            // Forwarded as it is: the client sees what it would see without us.
            let mut count = 0;
            assert_eq!(ck!(module, C_GetSlotList(1, ptr::null_mut(), &mut count)), CKR_OK);
            let mut slots = vec![0; count as usize];
            let rv = ck!(module, C_GetSlotList(1, slots.as_mut_ptr(), &mut count));
            assert_eq!((rv, count), (cryptoki_sys::CKR_BUFFER_TOO_SMALL, slots.len() as CK_ULONG + 1));
        },
    );
}

/// Every function that takes or gives object handles, on a backend whose handles begin at `base`.
fn handles(base: CK_OBJECT_HANDLE) {
    let module = Pkcs11::holdfast();
    assert_eq!(module.initialize(), CKR_OK);
    let inside = Inside::new();
    let session = module.open();
    let ours = |handle: CK_OBJECT_HANDLE| handle >> 30 == 1;
    let mut made: Vec<CK_OBJECT_HANDLE> = Vec::new();
    let mut seen = Vec::new();
    let mut new = |handle: CK_OBJECT_HANDLE| {
        // An alias leads back to the handle that the backend gave for it.
        assert_eq!(ck!(module, C_DestroyObject(session, handle)), CKR_OK);
        let expected = base + made.len() as CK_OBJECT_HANDLE;
        assert_eq!(inside.handle("backend_object"), expected);
        assert!(if ours(expected) { ours(handle) } else { handle == expected }, "{handle:#x} for {expected:#x}");
        made.push(expected);
        assert!(!seen.contains(&handle));
        seen.push(handle);
        handle
    };

    let mut handle = 0;
    assert_eq!(ck!(module, C_CreateObject(session, ptr::null_mut(), 0, &mut handle)), CKR_OK);
    let first = new(handle);
    assert_eq!(ck!(module, C_CopyObject(session, first, ptr::null_mut(), 0, &mut handle)), CKR_OK);
    assert_eq!(inside.handle("backend_object"), base);
    let second = new(handle);
    assert_eq!(ck!(module, C_GenerateKey(session, ptr::null_mut(), ptr::null_mut(), 0, &mut handle)), CKR_OK);
    new(handle);
    let mut private = 0;
    let rv = ck!(
        module,
        C_GenerateKeyPair(session, ptr::null_mut(), ptr::null_mut(), 0, ptr::null_mut(), 0, &mut handle, &mut private)
    );
    assert_eq!(rv, CKR_OK);
    new(handle);
    new(private);
    assert_eq!(
        ck!(module, C_UnwrapKey(session, ptr::null_mut(), second, ptr::null_mut(), 0, ptr::null_mut(), 0, &mut handle)),
        CKR_OK
    );
    assert_eq!(inside.handle("backend_object"), base + 1);
    new(handle);
    assert_eq!(ck!(module, C_DeriveKey(session, ptr::null_mut(), second, ptr::null_mut(), 0, &mut handle)), CKR_OK);
    assert_eq!(inside.handle("backend_object"), base + 1);
    new(handle);
    assert_eq!(
        ck!(module, C_DeriveKey(session, ptr::null_mut(), second, ptr::null_mut(), 0, ptr::null_mut())),
        CKR_OK,
        "TLS keys go elsewhere"
    );

    // A handle inside a mechanism parameter.
    let mut parameter = first;
    let mut mechanism = CK_MECHANISM {
        mechanism: CKM_CONCATENATE_BASE_AND_KEY,
        pParameter: (&raw mut parameter).cast(),
        ulParameterLen: size_of::<CK_OBJECT_HANDLE>() as CK_ULONG,
    };
    assert_eq!(ck!(module, C_DeriveKey(session, &mut mechanism, second, ptr::null_mut(), 0, &mut handle)), CKR_OK);
    assert_eq!(inside.handle("backend_parameter"), base);
    assert_eq!(parameter, first, "the client's own is left alone");
    new(handle);

    assert_eq!(
        ck!(module, C_WrapKey(session, ptr::null_mut(), second, first, ptr::null_mut(), ptr::null_mut())),
        CKR_OK
    );
    assert_eq!((inside.handle("backend_object"), inside.handle("backend_object2")), (base + 1, base));
    assert_eq!(ck!(module, C_SetOperationState(session, ptr::null_mut(), 0, first, second)), CKR_OK);
    assert_eq!((inside.handle("backend_object"), inside.handle("backend_object2")), (base, base + 1));
    assert_eq!(ck!(module, C_SetOperationState(session, ptr::null_mut(), 0, 0, 0)), CKR_OK);
    assert_eq!((inside.handle("backend_object"), inside.handle("backend_object2")), (0, 0));

    let init = [
        module.list.C_EncryptInit,
        module.list.C_DecryptInit,
        module.list.C_SignInit,
        module.list.C_SignRecoverInit,
        module.list.C_VerifyInit,
        module.list.C_VerifyRecoverInit,
    ];
    let mut any = CK_MECHANISM { mechanism: 0x8000_0000, pParameter: ptr::null_mut(), ulParameterLen: 0 };
    for (index, init) in init.into_iter().enumerate() {
        assert_eq!(unsafe { init.unwrap()(session, &mut any, second) }, CKR_OK, "{index}");
        assert_eq!(inside.handle("backend_object"), base + 1);
        assert_eq!(unsafe { init.unwrap()(session, &mut any, 0) }, CKR_OBJECT_HANDLE_INVALID, "{index}");
    }
    assert_eq!(ck!(module, C_DigestKey(session, second)), CKR_OK);
    assert_eq!(inside.handle("backend_object"), base + 1);
    for function in [module.list.C_GetAttributeValue, module.list.C_SetAttributeValue] {
        assert_eq!(unsafe { function.unwrap()(session, second, ptr::null_mut(), 0) }, CKR_OK);
        assert_eq!(inside.handle("backend_object"), base + 1);
    }
    let mut size = 0;
    assert_eq!(ck!(module, C_GetObjectSize(session, second, &mut size)), CKR_OK);

    // A handle that was never given out is the backend's to refuse.
    let unknown = 0x7fff_fff0;
    assert_eq!(ck!(module, C_DestroyObject(session, unknown)), CKR_OBJECT_HANDLE_INVALID);
    assert_eq!(inside.handle("backend_object"), unknown);

    let list = interfaces::get(&module, Some(c"PKCS 11"), Some((3, 2))).unwrap().pFunctionList;
    let list = unsafe { &*list.cast::<CK_FUNCTION_LIST_3_2>() };
    let mut length = 0;
    let mut text = [0u8];
    unsafe {
        let encapsulate = list.C_EncapsulateKey.unwrap();
        handle = 0x4000_0001;
        let rv = encapsulate(
            session,
            ptr::null_mut(),
            second,
            ptr::null_mut(),
            0,
            ptr::null_mut(),
            &mut length,
            &mut handle,
        );
        assert_eq!((rv, handle), (CKR_OK, 0x4000_0001), "a length query makes no key");
        let rv = encapsulate(
            session,
            ptr::null_mut(),
            second,
            ptr::null_mut(),
            0,
            text.as_mut_ptr(),
            &mut length,
            &mut handle,
        );
        assert_eq!(rv, CKR_OK);
        assert_eq!(inside.handle("backend_object"), base + 1);
        new(handle);
        assert_eq!(list.C_MessageSignInit.unwrap()(session, ptr::null_mut(), second), CKR_OK);
        assert_eq!(inside.handle("backend_object"), base + 1);
    }

    // All of them are found again, under the handles they had.
    let mut found = vec![0; 64];
    let mut count = 0;
    assert_eq!(ck!(module, C_FindObjects(session, found.as_mut_ptr(), 64, &mut count)), CKR_OK);
    found.truncate(count as usize);
    assert_eq!(found, seen);
    assert_eq!(module.finalize(), CKR_OK);
}

#[test]
fn ordinary_handles_pass_through() {
    scenario(
        "defective::ordinary_handles_pass_through",
        || World::with_compiled_backend("backend", &["V3_2"]),
        || handles(1),
    );
}

#[test]
fn handles_with_our_tag_bit_are_aliased() {
    scenario(
        "defective::handles_with_our_tag_bit_are_aliased",
        || World::with_compiled_backend("backend", &["V3_2", "HANDLE_BASE=0x40000001"]),
        || handles(0x4000_0001),
    );
}

#[test]
fn handles_like_our_aliases_are_aliased() {
    scenario(
        "defective::handles_like_our_aliases_are_aliased",
        || World::with_compiled_backend("backend", &["V3_2", "HANDLE_BASE=0x60000003"]),
        || handles(0x6000_0003),
    );
}

#[test]
fn handles_that_run_into_our_range() {
    scenario(
        "defective::handles_that_run_into_our_range",
        || World::with_compiled_backend("backend", &["V3_2", "HANDLE_BASE=0x3ffffffe"]),
        || handles(0x3fff_fffe),
    );
}

#[cfg(target_pointer_width = "64")]
#[test]
fn handles_of_64_bits_pass_through() {
    scenario(
        "defective::handles_of_64_bits_pass_through",
        || World::with_compiled_backend("backend", &["V3_2", "HANDLE_BASE=0x7f0040000001"]),
        || handles(0x7f00_4000_0001),
    );
}

#[test]
fn a_backend_that_notices_forks_itself() {
    scenario(
        "defective::a_backend_that_notices_forks_itself",
        || World::with_compiled_backend("backend", &["FORK_AWARE"]),
        || {
            let module = Pkcs11::holdfast();
            let inside = Inside::new();
            assert_eq!(module.initialize(), CKR_OK);
            let status = in_fork(|| {
                assert_eq!(module.initialize(), CKR_OK);
                assert_eq!(inside.count("backend_finalized"), 0, "nothing of the parent's is finalised in the child");
                assert_eq!(module.finalize(), CKR_OK);
                assert_eq!(inside.count("backend_finalized"), 1);
            });
            assert_eq!(status, Some(0));
        },
    );
}

#[test]
fn a_backend_that_cannot_start_again_in_a_child() {
    scenario_with_log(
        "defective::a_backend_that_cannot_start_again_in_a_child",
        || World::with_compiled_backend("backend", &["STUBBORN"]),
        || {
            let module = Pkcs11::holdfast();
            assert_eq!(module.initialize(), CKR_OK);
            let status = in_fork(|| {
                assert_eq!(module.initialize(), CKR_CRYPTOKI_ALREADY_INITIALIZED);
                assert_eq!(module.finalize(), CKR_CRYPTOKI_NOT_INITIALIZED);
            });
            assert_eq!(status, Some(0));
            assert_eq!(module.finalize(), CKR_OK);
        },
        |log| assert!(log.contains("forked child"), "{log}"),
    );
}

#[test]
fn a5_an_adopted_fork_aware_backend_stays_the_others() {
    scenario(
        "defective::a5_an_adopted_fork_aware_backend_stays_the_others",
        || World::with_compiled_backend("backend", &["FORK_AWARE"]),
        || {
            let inside = Inside::new();
            assert_eq!(inside.0.initialize(), CKR_OK);
            let module = Pkcs11::holdfast();
            assert_eq!(module.initialize(), CKR_OK);
            let status = in_fork(|| {
                assert_eq!(module.initialize(), CKR_OK);
                assert_eq!(module.random(module.open()), CKR_OK);
                assert_eq!(module.finalize(), CKR_OK);
                assert_eq!(inside.count("backend_finalized"), 0);
            });
            assert_eq!(status, Some(0));
            assert_eq!(module.finalize(), CKR_OK);
            assert_eq!((inside.count("backend_initialized"), inside.count("backend_finalized")), (1, 0));
        },
    );
}
