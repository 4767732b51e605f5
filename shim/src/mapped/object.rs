//! Object management functions on mapped objects.

use cryptoki_sys::CK_SESSION_HANDLE;
use holdfast_config::SessionKeys;
use holdfast_keystore::{Object, ObjectChange};

use super::session::Session;
use super::{attributes, template};
use crate::abi::args::{OutTemplate, Template};
use crate::error::Error;
use crate::lifecycle::Instance;
use crate::route::MappedHandle;

/// The session and the object of a call; [`Error::ObjectHandleInvalid`] when the object is gone or not to be seen.
fn subject(instance: &Instance, session: CK_SESSION_HANDLE, object: MappedHandle) -> Result<(Session, Object), Error> {
    let session = instance.mapped.sessions.session(&instance.calls(), session)?;
    let object = instance.mapped.visible(&session, object)?.ok_or(Error::ObjectHandleInvalid)?;
    Ok((session, object))
}

/// `C_GetAttributeValue`
pub fn get_attribute_value(
    instance: &Instance,
    session: CK_SESSION_HANDLE,
    object: MappedHandle,
    template: &mut OutTemplate<'_>,
) -> Result<(), Error> {
    let (_, object) = subject(instance, session, object)?;
    attributes::get(&object, template)
}

/// `C_SetAttributeValue`: each half for itself; NSS sets the ID of both after generation.
pub fn set_attribute_value(
    instance: &Instance,
    session: CK_SESSION_HANDLE,
    object: MappedHandle,
    template: &Template<'_>,
) -> Result<(), Error> {
    let (session, object) = subject(instance, session, object)?;
    may_change(&session, &object)?;
    if !object.record.modifiable {
        return Err(Error::ActionProhibited("CKA_MODIFIABLE is false"));
    }
    let change = template::change(template, object.record.class)?;
    if change != ObjectChange::default() {
        instance.mapped.keystore.update_object(object.record.id, &change)?;
    }
    Ok(())
}

/// `C_GetObjectSize`
pub fn get_object_size(instance: &Instance, session: CK_SESSION_HANDLE, object: MappedHandle) -> Result<usize, Error> {
    let (_, object) = subject(instance, session, object)?;
    Ok(attributes::size(&object.record))
}

/// `C_DestroyObject`. The device's key goes with the private object; the public one stays until it is destroyed too.
pub fn destroy_object(instance: &Instance, session: CK_SESSION_HANDLE, object: MappedHandle) -> Result<(), Error> {
    let (session, object) = subject(instance, session, object)?;
    may_change(&session, &object)?;
    if !object.record.destroyable {
        return Err(Error::ActionProhibited("CKA_DESTROYABLE is false"));
    }
    instance.mapped.keystore.destroy_object(object.record.id)?;
    instance.mapped.handles.forget(object.record.id);
    Ok(())
}

/// `C_CopyObject`: a session object becomes a token object, where session keys are mapped: Java's keytool generates
/// that way. Any other copy is prohibited, as `CKA_COPYABLE` says.
pub fn copy_object(
    instance: &Instance,
    session: CK_SESSION_HANDLE,
    object: MappedHandle,
    template: &Template<'_>,
) -> Result<MappedHandle, Error> {
    let (session, object) = subject(instance, session, object)?;
    if !object.record.session || instance.mapped.session_keys != SessionKeys::Wallet {
        return Err(Error::ActionProhibited("a key in hardware cannot be copied"));
    }
    if !object.record.copyable {
        return Err(Error::ActionProhibited("CKA_COPYABLE is false"));
    }
    let (change, on_token) = template::copy(template, &object.record)?;
    if !on_token {
        return Err(Error::ActionProhibited("only a token object can be made of a session object"));
    }
    if change.private == Some(true) && !session.user {
        return Err(Error::UserNotLoggedIn);
    }
    if !session.read_write {
        return Err(Error::SessionReadOnly);
    }
    let copy = instance.mapped.keystore.token_key_from_session_key(object.record.id, &change)?;
    instance.mapped.handles.handle(&copy)
}

fn may_change(session: &Session, object: &Object) -> Result<(), Error> {
    if session.read_write || object.record.session { Ok(()) } else { Err(Error::SessionReadOnly) }
}
