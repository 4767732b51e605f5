//! Parallel function management functions, and the asynchronous functions of 3.2.

use cryptoki_sys::{CK_ASYNC_DATA, CK_BYTE_PTR, CK_SESSION_HANDLE, CK_ULONG, CK_ULONG_PTR, CK_UTF8CHAR_PTR};

use super::entry::{entry, forward, forwarded};
use super::handles;
use crate::lifecycle;

forwarded! {
    /// `C_GetFunctionStatus`: a legacy function.
    fn C_GetFunctionStatus(hSession: CK_SESSION_HANDLE);

    /// `C_CancelFunction`: a legacy function.
    fn C_CancelFunction(hSession: CK_SESSION_HANDLE);

    /// `C_AsyncGetID`: a number for an operation that is to go on after its session.
    fn C_AsyncGetID(hSession: CK_SESSION_HANDLE, pFunctionName: CK_UTF8CHAR_PTR, pulID: CK_ULONG_PTR);

    /// `C_AsyncJoin`: takes up an operation by its number.
    fn C_AsyncJoin(
        hSession: CK_SESSION_HANDLE,
        pFunctionName: CK_UTF8CHAR_PTR,
        ulID: CK_ULONG,
        pData: CK_BYTE_PTR,
        ulData: CK_ULONG,
    ) [ulData];
}

entry! {
    /// `C_AsyncComplete`: the result of an asynchronous operation, which may be new objects.
    fn C_AsyncComplete(hSession: CK_SESSION_HANDLE, pFunctionName: CK_UTF8CHAR_PTR, pResult: *mut CK_ASYNC_DATA) {
        let call = lifecycle::enter()?;
        forward!(call.C_AsyncComplete(hSession, pFunctionName, pResult))?;
        // SAFETY: the backend answered CKR_OK, so it wrote its result through this pointer.
        unsafe {
            handles::show_handle(&call, handles::field(pResult, |result| &raw mut (*result).hObject))?;
            handles::show_handle(&call, handles::field(pResult, |result| &raw mut (*result).hAdditionalObject))
        }
    }
}
