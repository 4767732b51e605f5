//! C_GetInterface and C_GetInterfaceList in front of backends that offer this and that.

use std::ffi::CStr;
use std::ptr;

use cryptoki_sys::{
    CK_FUNCTION_LIST_3_2, CK_INTERFACE, CK_RV, CK_ULONG, CK_VERSION, CKF_INTERFACE_FORK_SAFE, CKR_ARGUMENTS_BAD,
    CKR_BUFFER_TOO_SMALL, CKR_CRYPTOKI_NOT_INITIALIZED, CKR_FUNCTION_FAILED, CKR_FUNCTION_NOT_SUPPORTED, CKR_OK,
};

use crate::fixture::{Pkcs11, World, ck, scenario, scenario_with_log};

type GetInterface = unsafe extern "C" fn(*mut u8, *mut CK_VERSION, *mut *mut CK_INTERFACE, CK_ULONG) -> CK_RV;
type GetInterfaceList = unsafe extern "C" fn(*mut CK_INTERFACE, *mut CK_ULONG) -> CK_RV;

/// `C_GetInterface` by name and version.
pub fn get(module: &Pkcs11, name: Option<&CStr>, version: Option<(u8, u8)>) -> Result<&'static CK_INTERFACE, CK_RV> {
    let function: GetInterface = unsafe { std::mem::transmute(module.symbol("C_GetInterface").unwrap()) };
    let name = name.map_or(ptr::null_mut(), |name| name.as_ptr().cast_mut().cast());
    let mut version = version.map(|(major, minor)| CK_VERSION { major, minor });
    let version = version.as_mut().map_or(ptr::null_mut(), ptr::from_mut);
    let mut interface = ptr::null_mut();
    match unsafe { function(name, version, &mut interface, 0) } {
        CKR_OK => Ok(unsafe { &*interface }),
        rv => Err(rv),
    }
}

fn version(interface: &CK_INTERFACE) -> (u8, u8) {
    assert_eq!(unsafe { CStr::from_ptr(interface.pInterfaceName.cast()) }, c"PKCS 11");
    let version = unsafe { *interface.pFunctionList.cast::<CK_VERSION>() };
    (version.major, version.minor)
}

fn listed(module: &Pkcs11) -> Vec<(u8, u8)> {
    let function: GetInterfaceList = unsafe { std::mem::transmute(module.symbol("C_GetInterfaceList").unwrap()) };
    let mut count = 0;
    assert_eq!(unsafe { function(ptr::null_mut(), &mut count) }, CKR_OK);
    let empty = CK_INTERFACE { pInterfaceName: ptr::null_mut(), pFunctionList: ptr::null_mut(), flags: 9 };
    let mut list = vec![empty; count as usize];
    let mut short = count - 1;
    assert_eq!(unsafe { function(list.as_mut_ptr(), &mut short) }, CKR_BUFFER_TOO_SMALL);
    assert_eq!(short, count);
    assert_eq!(unsafe { function(list.as_mut_ptr(), &mut count) }, CKR_OK);
    assert_eq!(unsafe { function(list.as_mut_ptr(), ptr::null_mut()) }, CKR_ARGUMENTS_BAD);
    assert!(list.iter().all(|interface| interface.flags == 0));
    list.iter().map(version).collect()
}

#[test]
fn a2_only_2_40_in_front_of_a_backend_without_interfaces() {
    scenario("interfaces::a2_only_2_40_in_front_of_a_backend_without_interfaces", World::softhsm, || {
        let module = Pkcs11::holdfast();
        assert_eq!(listed(&module), [(2, 40)], "before C_Initialize");
        assert_eq!(module.initialize(), CKR_OK);
        assert_eq!(listed(&module), [(2, 40)]);
        let any = get(&module, None, None).unwrap();
        assert_eq!(version(any), (2, 40));
        assert!(ptr::eq(any.pFunctionList.cast(), module.list));
        assert!(get(&module, Some(c"PKCS 11"), Some((2, 40))).is_ok());
        for wrong in [(3, 0), (3, 1), (3, 2), (2, 4), (2, 20), (2, 0x28 + 1), (0, 0)] {
            assert_eq!(get(&module, Some(c"PKCS 11"), Some(wrong)).err(), Some(CKR_FUNCTION_FAILED), "{wrong:?}");
        }
        assert_eq!(get(&module, Some(c"PKCS11"), None).err(), Some(CKR_FUNCTION_FAILED));
        assert_eq!(get(&module, Some(c""), None).err(), Some(CKR_FUNCTION_FAILED));
        let function: GetInterface = unsafe { std::mem::transmute(module.symbol("C_GetInterface").unwrap()) };
        assert_eq!(unsafe { function(ptr::null_mut(), ptr::null_mut(), ptr::null_mut(), 0) }, CKR_ARGUMENTS_BAD);
        let mut interface = ptr::null_mut();
        let fork_safe = CKF_INTERFACE_FORK_SAFE;
        assert_eq!(
            unsafe { function(ptr::null_mut(), ptr::null_mut(), &mut interface, fork_safe) },
            CKR_FUNCTION_FAILED
        );
        // The functions of 3.x are exported all the same.
        type OneArgument = unsafe extern "C" fn(CK_ULONG, CK_ULONG) -> CK_RV;
        let cancel: OneArgument = unsafe { std::mem::transmute(module.symbol("C_SessionCancel").unwrap()) };
        assert_eq!(unsafe { cancel(module.open(), 0) }, CKR_FUNCTION_NOT_SUPPORTED);
    });
}

fn offers(test: &str, defines: &[&str], all: &[(u8, u8)], default: (u8, u8)) {
    scenario(
        test,
        || World::with_compiled_backend("backend", defines),
        || {
            let module = Pkcs11::holdfast();
            assert_eq!(listed(&module), all);
            assert_eq!(version(get(&module, None, None).unwrap()), default);
            assert_eq!(version(get(&module, Some(c"PKCS 11"), None).unwrap()), default);
            for wanted in [(2, 40), (3, 0), (3, 1), (3, 2), (3, 3)] {
                let got = get(&module, Some(c"PKCS 11"), Some(wanted)).map(version);
                assert_eq!(got.ok(), all.contains(&wanted).then_some(wanted));
            }
            assert_eq!(module.initialize(), CKR_OK);
            assert_eq!(listed(&module), all);
        },
    );
}

#[test]
fn interfaces_3_0() {
    offers("interfaces::interfaces_3_0", &["V3_0"], &[(3, 0), (2, 40)], (3, 0));
}

#[test]
fn interfaces_3_1() {
    offers("interfaces::interfaces_3_1", &["V3_1"], &[(3, 1), (2, 40)], (3, 1));
}

#[test]
fn interfaces_3_2_alone() {
    offers("interfaces::interfaces_3_2_alone", &["V3_2"], &[(3, 2), (2, 40)], (3, 2));
}

#[test]
fn interfaces_3_0_and_3_2_and_the_backends_own_default() {
    offers(
        "interfaces::interfaces_3_0_and_3_2_and_the_backends_own_default",
        &["V3_0", "V3_2"],
        &[(3, 2), (3, 0), (2, 40)],
        (3, 0),
    );
}

#[test]
fn a_vendors_default_interface_is_not_passed_on() {
    offers(
        "interfaces::a_vendors_default_interface_is_not_passed_on",
        &["V3_0", "V3_2", "VENDOR_DEFAULT"],
        &[(3, 2), (3, 0), (2, 40)],
        (3, 2),
    );
}

#[test]
fn a_list_that_is_not_of_the_version_asked_for_is_not_offered() {
    offers(
        "interfaces::a_list_that_is_not_of_the_version_asked_for_is_not_offered",
        &["WRONG_VERSION"],
        &[(2, 40)],
        (2, 40),
    );
}

#[test]
fn an_interface_that_is_none_is_not_offered() {
    offers("interfaces::an_interface_that_is_none_is_not_offered", &["NULL_INTERFACE"], &[(2, 40)], (2, 40));
}

#[test]
fn functions_of_3_x_reach_the_backend() {
    scenario(
        "interfaces::functions_of_3_x_reach_the_backend",
        || World::with_compiled_backend("backend", &["V3_0", "V3_2"]),
        || {
            let module = Pkcs11::holdfast();
            let interface = get(&module, Some(c"PKCS 11"), Some((3, 2))).unwrap();
            let list = unsafe { &*interface.pFunctionList.cast::<CK_FUNCTION_LIST_3_2>() };
            let call = |rv| assert_eq!(rv, CKR_OK);
            let cancel = list.C_SessionCancel.unwrap();
            assert_eq!(unsafe { cancel(1, 0) }, CKR_CRYPTOKI_NOT_INITIALIZED);
            assert_eq!(module.initialize(), CKR_OK);
            unsafe {
                call(cancel(1, 0));
                call(list.C_LoginUser.unwrap()(1, 1, ptr::null_mut(), 0, ptr::null_mut(), 0));
                call(list.C_SignMessage.unwrap()(
                    1,
                    ptr::null_mut(),
                    0,
                    ptr::null_mut(),
                    0,
                    ptr::null_mut(),
                    ptr::null_mut(),
                ));
                call(list.C_VerifySignatureFinal.unwrap()(1));
                // A null entry in the backend's list.
                assert_eq!(
                    list.C_UnwrapKeyAuthenticated.unwrap()(
                        1,
                        ptr::null_mut(),
                        1,
                        ptr::null_mut(),
                        0,
                        ptr::null_mut(),
                        0,
                        ptr::null_mut(),
                        0,
                        ptr::null_mut()
                    ),
                    CKR_FUNCTION_NOT_SUPPORTED
                );
            }
            assert_eq!(module.random(module.open()), CKR_OK);
        },
    );
}

#[test]
fn what_lies_behind_a_3_0_list_is_not_called() {
    scenario(
        "interfaces::what_lies_behind_a_3_0_list_is_not_called",
        || World::with_compiled_backend("backend", &["V3_0"]),
        || {
            let module = Pkcs11::holdfast();
            assert_eq!(module.initialize(), CKR_OK);
            type OneArgument = unsafe extern "C" fn(CK_ULONG) -> CK_RV;
            let last: OneArgument = unsafe { std::mem::transmute(module.symbol("C_VerifySignatureFinal").unwrap()) };
            assert_eq!(unsafe { last(1) }, CKR_FUNCTION_NOT_SUPPORTED);
        },
    );
}

#[test]
fn without_a_backend_2_40_is_left() {
    scenario_with_log(
        "interfaces::without_a_backend_2_40_is_left",
        || World::with_backend("/nonexistent/libpkcs11.so".as_ref()),
        || {
            let module = Pkcs11::holdfast();
            assert_eq!(listed(&module), [(2, 40)]);
            assert_eq!(ck!(module, C_Finalize(ptr::null_mut())), CKR_CRYPTOKI_NOT_INITIALIZED);
        },
        |log| assert!(log.contains("/nonexistent/libpkcs11.so"), "{log}"),
    );
}
