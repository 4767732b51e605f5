//! General-purpose functions.

use std::ffi::CStr;

use cryptoki_sys::{
    CK_FLAGS, CK_FUNCTION_LIST_PTR, CK_FUNCTION_LIST_PTR_PTR, CK_INFO_PTR, CK_INTERFACE, CK_INTERFACE_PTR,
    CK_INTERFACE_PTR_PTR, CK_ULONG_PTR, CK_UTF8CHAR_PTR, CK_VERSION_PTR, CK_VOID_PTR,
};

use super::args::{self, InitializeArgs, OutArray};
use super::entry::{entry, forwarded};
use super::tables;
use crate::backend::{INTERFACE_NAME, Offers};
use crate::error::Error;
use crate::version::Version;
use crate::{lifecycle, log};

forwarded! {
    /// `C_GetInfo`: about the library. It is the backend's own answer.
    fn C_GetInfo(pInfo: CK_INFO_PTR);
}

entry! {
    /// `C_Initialize`: begins the use of the library in this process.
    fn C_Initialize(pInitArgs: CK_VOID_PTR) {
        // SAFETY: the client's argument, valid for the call.
        lifecycle::initialize(&unsafe { InitializeArgs::read(pInitArgs) }?)
    }

    /// `C_Finalize`: ends the use of the library in this process.
    fn C_Finalize(pReserved: CK_VOID_PTR) {
        lifecycle::finalize(pReserved.is_null())
    }

    /// `C_GetFunctionList`: the functions of 2.40. Needs neither configuration nor backend.
    fn C_GetFunctionList(ppFunctionList: CK_FUNCTION_LIST_PTR_PTR) {
        let list: CK_FUNCTION_LIST_PTR = (&raw const tables::LIST_2_40).cast_mut();
        // SAFETY: the client's place for one pointer.
        unsafe { args::put(ppFunctionList, list) }
    }

    /// `C_GetInterfaceList` (3.0): our interfaces, the latest first. Works before `C_Initialize`, for which it loads
    /// the backend; if that fails, the log says why and 2.40 is left.
    fn C_GetInterfaceList(pInterfacesList: CK_INTERFACE_PTR, pulCount: CK_ULONG_PTR) {
        let interfaces: Vec<CK_INTERFACE> =
            tables::interfaces(offers()).map(|(_, interface)| *interface.as_ck()).collect();
        // SAFETY: the client's array and its length.
        unsafe { OutArray::read(pInterfacesList, pulCount) }?.put(&interfaces)
    }

    /// `C_GetInterface` (3.0): an interface by name, version and flags; null for whatever will do. Works before
    /// `C_Initialize`, as [`C_GetInterfaceList`].
    ///
    /// `CKR_FUNCTION_FAILED` if there is none. Ours are not fork safe in the sense of `CKF_INTERFACE_FORK_SAFE`.
    fn C_GetInterface(
        pInterfaceName: CK_UTF8CHAR_PTR,
        pVersion: CK_VERSION_PTR,
        ppInterface: CK_INTERFACE_PTR_PTR,
        flags: CK_FLAGS,
    ) {
        // SAFETY: null or the client's string, which ends with a zero byte.
        let name = (!pInterfaceName.is_null()).then(|| unsafe { CStr::from_ptr(pInterfaceName.cast()) });
        // SAFETY: null or the client's version; two bytes have no alignment.
        let version = unsafe { pVersion.as_ref() }.map(|version| Version::from(*version));
        if ppInterface.is_null() {
            return Err(Error::ArgumentsBad("ppInterface is null"));
        }
        if name.is_some_and(|name| name != INTERFACE_NAME) || flags != 0 {
            return Err(Error::NoSuchInterface);
        }
        let offers = offers();
        let wanted = version.or(offers.default);
        let interface = tables::interfaces(offers)
            .find(|(version, _)| wanted.is_none_or(|wanted| wanted == *version))
            .or_else(|| if version.is_none() { tables::interfaces(offers).next() } else { None })
            .ok_or(Error::NoSuchInterface)?;
        // SAFETY: the client's place for one pointer.
        unsafe { args::put(ppInterface, std::ptr::from_ref(interface.1.as_ck()).cast_mut()) }
    }
}

/// What the backend offers; nothing beyond 2.40 if it cannot be loaded.
fn offers() -> Offers {
    match lifecycle::module() {
        Ok(module) => module.backend.offers,
        Err(error) => {
            log::failure("C_GetInterface", &error);
            Offers::default()
        }
    }
}
