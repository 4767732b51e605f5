//! Object management functions.

use cryptoki_sys::{
    CK_ATTRIBUTE_PTR, CK_OBJECT_HANDLE, CK_OBJECT_HANDLE_PTR, CK_SESSION_HANDLE, CK_ULONG, CK_ULONG_PTR,
};

use super::entry::{entry, forward, forwarded};
use super::{args, handles};
use crate::error::Error;
use crate::lifecycle::{self, Object};

forwarded! {
    /// `C_FindObjectsFinal`: ends a search.
    fn C_FindObjectsFinal(hSession: CK_SESSION_HANDLE);
}

entry! {
    /// `C_CreateObject`: makes an object.
    fn C_CreateObject(
        hSession: CK_SESSION_HANDLE,
        pTemplate: CK_ATTRIBUTE_PTR,
        ulCount: CK_ULONG,
        phObject: CK_OBJECT_HANDLE_PTR,
    ) {
        let call = lifecycle::enter()?;
        // SAFETY: the client's template.
        unsafe { args::check_template(pTemplate, ulCount) }?;
        forward!(call.C_CreateObject(hSession, pTemplate, ulCount, phObject))?;
        // SAFETY: the backend answered CKR_OK, so it wrote a handle through this pointer.
        unsafe { handles::show_handle(&call, phObject) }
    }

    /// `C_CopyObject`: makes a copy of an object.
    fn C_CopyObject(
        hSession: CK_SESSION_HANDLE,
        hObject: CK_OBJECT_HANDLE,
        pTemplate: CK_ATTRIBUTE_PTR,
        ulCount: CK_ULONG,
        phNewObject: CK_OBJECT_HANDLE_PTR,
    ) {
        let call = lifecycle::enter()?;
        // SAFETY: the client's template.
        unsafe { args::check_template(pTemplate, ulCount) }?;
        match call.object(hObject) {
            Object::Backend(object) => {
                forward!(call.C_CopyObject(hSession, object, pTemplate, ulCount, phNewObject))?;
                // SAFETY: the backend answered CKR_OK, so it wrote a handle through this pointer.
                unsafe { handles::show_handle(&call, phNewObject) }
            }
            Object::Mapped(_) => Err(Error::ObjectHandleInvalid),
        }
    }

    /// `C_DestroyObject`: removes an object.
    fn C_DestroyObject(hSession: CK_SESSION_HANDLE, hObject: CK_OBJECT_HANDLE) {
        let call = lifecycle::enter()?;
        match call.object(hObject) {
            Object::Backend(object) => forward!(call.C_DestroyObject(hSession, object)),
            Object::Mapped(_) => Err(Error::ObjectHandleInvalid),
        }
    }

    /// `C_GetObjectSize`: how much room an object takes.
    fn C_GetObjectSize(hSession: CK_SESSION_HANDLE, hObject: CK_OBJECT_HANDLE, pulSize: CK_ULONG_PTR) {
        let call = lifecycle::enter()?;
        match call.object(hObject) {
            Object::Backend(object) => forward!(call.C_GetObjectSize(hSession, object, pulSize)),
            Object::Mapped(_) => Err(Error::ObjectHandleInvalid),
        }
    }

    /// `C_GetAttributeValue`: attributes of an object.
    fn C_GetAttributeValue(
        hSession: CK_SESSION_HANDLE,
        hObject: CK_OBJECT_HANDLE,
        pTemplate: CK_ATTRIBUTE_PTR,
        ulCount: CK_ULONG,
    ) {
        let call = lifecycle::enter()?;
        args::check_attribute_count(pTemplate, ulCount)?;
        match call.object(hObject) {
            Object::Backend(object) => forward!(call.C_GetAttributeValue(hSession, object, pTemplate, ulCount)),
            Object::Mapped(_) => Err(Error::ObjectHandleInvalid),
        }
    }

    /// `C_SetAttributeValue`: changes attributes of an object.
    fn C_SetAttributeValue(
        hSession: CK_SESSION_HANDLE,
        hObject: CK_OBJECT_HANDLE,
        pTemplate: CK_ATTRIBUTE_PTR,
        ulCount: CK_ULONG,
    ) {
        let call = lifecycle::enter()?;
        // SAFETY: the client's template.
        unsafe { args::check_template(pTemplate, ulCount) }?;
        match call.object(hObject) {
            Object::Backend(object) => forward!(call.C_SetAttributeValue(hSession, object, pTemplate, ulCount)),
            Object::Mapped(_) => Err(Error::ObjectHandleInvalid),
        }
    }

    /// `C_FindObjectsInit`: begins a search.
    fn C_FindObjectsInit(hSession: CK_SESSION_HANDLE, pTemplate: CK_ATTRIBUTE_PTR, ulCount: CK_ULONG) {
        let call = lifecycle::enter()?;
        // SAFETY: the client's template.
        unsafe { args::check_template(pTemplate, ulCount) }?;
        forward!(call.C_FindObjectsInit(hSession, pTemplate, ulCount))
    }

    /// `C_FindObjects`: the next objects that a search finds.
    fn C_FindObjects(
        hSession: CK_SESSION_HANDLE,
        phObject: CK_OBJECT_HANDLE_PTR,
        ulMaxObjectCount: CK_ULONG,
        pulObjectCount: CK_ULONG_PTR,
    ) {
        let call = lifecycle::enter()?;
        // A count of ours, so that what is read below is what the backend wrote.
        let mut found: CK_ULONG = 0;
        let found_or_null = if pulObjectCount.is_null() { pulObjectCount } else { &raw mut found };
        forward!(call.C_FindObjects(hSession, phObject, ulMaxObjectCount, found_or_null))?;
        // SAFETY: the backend answered CKR_OK, so it found a place for the count and wrote as many handles, at most
        // `ulMaxObjectCount`, through the first pointer.
        unsafe {
            handles::show_handles(&call, phObject, ulMaxObjectCount.min(found))?;
            args::put_unaligned(pulObjectCount, found)
        }
    }
}
