//! Object management functions.

use cryptoki_sys::{
    CK_ATTRIBUTE_PTR, CK_OBJECT_HANDLE, CK_OBJECT_HANDLE_PTR, CK_SESSION_HANDLE, CK_ULONG, CK_ULONG_PTR,
};

use super::entry::{entry, forward};
use super::{args, handles};
use crate::error::Error;
use crate::lifecycle::{self, Instance, Object};
use crate::log;
use crate::mapped::{find, object};

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
            Object::Mapped(mapped) => {
                // SAFETY: the client's template.
                let template = unsafe { args::Template::read(pTemplate, ulCount) }?;
                args::check_place(phNewObject)?;
                let copy = log::scoped(|| object::copy_object(&call, hSession, mapped, &template))?;
                // SAFETY: the client promises room for a handle.
                unsafe { args::put(phNewObject, copy.to_client()) }
            }
        }
    }

    /// `C_DestroyObject`: removes an object.
    fn C_DestroyObject(hSession: CK_SESSION_HANDLE, hObject: CK_OBJECT_HANDLE) {
        let call = lifecycle::enter()?;
        match call.object(hObject) {
            Object::Backend(object) => forward!(call.C_DestroyObject(hSession, object)),
            Object::Mapped(mapped) => log::scoped(|| object::destroy_object(&call, hSession, mapped)),
        }
    }

    /// `C_GetObjectSize`: how much room an object takes.
    fn C_GetObjectSize(hSession: CK_SESSION_HANDLE, hObject: CK_OBJECT_HANDLE, pulSize: CK_ULONG_PTR) {
        let call = lifecycle::enter()?;
        match call.object(hObject) {
            Object::Backend(object) => forward!(call.C_GetObjectSize(hSession, object, pulSize)),
            Object::Mapped(mapped) => {
                let size = log::scoped(|| object::get_object_size(&call, hSession, mapped))?;
                // SAFETY: the client promises room for a number.
                unsafe { args::put(pulSize, size as CK_ULONG) }
            }
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
            Object::Mapped(mapped) => {
                // SAFETY: the client's template.
                let mut template = unsafe { args::OutTemplate::read(pTemplate, ulCount) }?;
                log::scoped(|| object::get_attribute_value(&call, hSession, mapped, &mut template))
            }
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
            Object::Mapped(mapped) => {
                // SAFETY: the client's template.
                let template = unsafe { args::Template::read(pTemplate, ulCount) }?;
                log::scoped(|| object::set_attribute_value(&call, hSession, mapped, &template))
            }
        }
    }

    /// `C_FindObjectsInit`: begins a search, in both worlds.
    fn C_FindObjectsInit(hSession: CK_SESSION_HANDLE, pTemplate: CK_ATTRIBUTE_PTR, ulCount: CK_ULONG) {
        let call = lifecycle::enter()?;
        // SAFETY: the client's template.
        unsafe { args::check_template(pTemplate, ulCount) }?;
        forward!(call.C_FindObjectsInit(hSession, pTemplate, ulCount))?;
        // SAFETY: the client's template.
        // One that is misaligned, which the backend did not mind: it has its search, and no object of ours matches.
        if let Ok(template) = unsafe { args::Template::read(pTemplate, ulCount) } {
            log::scoped(|| find::init(&call, hSession, &template));
        }
        Ok(())
    }

    /// `C_FindObjectsFinal`: ends a search.
    fn C_FindObjectsFinal(hSession: CK_SESSION_HANDLE) {
        let call = lifecycle::enter()?;
        forward!(call.C_FindObjectsFinal(hSession))?;
        find::finish(&call, hSession);
        Ok(())
    }

    /// `C_FindObjects`: the next objects that a search finds.
    fn C_FindObjects(
        hSession: CK_SESSION_HANDLE,
        phObject: CK_OBJECT_HANDLE_PTR,
        ulMaxObjectCount: CK_ULONG,
        pulObjectCount: CK_ULONG_PTR,
    ) {
        let call = lifecycle::enter()?;
        if call.mapped.sessions.is_busy(hSession) && !phObject.is_null() && !pulObjectCount.is_null() {
            // SAFETY: not null; the client promises room for as many handles as it says, and for their number.
            return unsafe { next_of_both(&call, hSession, phObject, ulMaxObjectCount, pulObjectCount) };
        }
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

/// Mapped objects first, then, in the room that is left, the backend's.
///
/// # Safety
/// `array` is good for writing `room` handles, `count` for writing.
unsafe fn next_of_both(
    call: &Instance,
    session: CK_SESSION_HANDLE,
    array: CK_OBJECT_HANDLE_PTR,
    room: CK_ULONG,
    count: CK_ULONG_PTR,
) -> Result<(), Error> {
    let ours = find::next(call, session, usize::try_from(room).unwrap_or(usize::MAX));
    for (index, handle) in ours.iter().enumerate() {
        // SAFETY: at most `room` of them.
        unsafe { args::put_unaligned(array.add(index), *handle) }?;
    }
    let given = ours.len() as CK_ULONG;
    let left = room.saturating_sub(given);
    let mut found: CK_ULONG = 0;
    if left > 0 || given == 0 {
        // SAFETY: within the client's array, or one past its end.
        let rest = unsafe { array.add(ours.len()) };
        forward!(call.C_FindObjects(session, rest, left, &raw mut found))?;
        found = found.min(left);
        // SAFETY: the backend answered CKR_OK, so it wrote as many handles.
        unsafe { handles::show_handles(call, rest, found) }?;
    }
    // SAFETY: the client promises room for a number.
    unsafe { args::put_unaligned(count, given + found) }
}
