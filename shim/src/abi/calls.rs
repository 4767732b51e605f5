//! The calls that the module itself makes to the backend, as safe functions over owned values.

use std::ptr;

use cryptoki_sys::{
    CK_ATTRIBUTE, CK_ATTRIBUTE_TYPE, CK_FUNCTION_LIST_3_2, CK_MECHANISM, CK_MECHANISM_INFO, CK_MECHANISM_TYPE,
    CK_OBJECT_HANDLE, CK_SESSION_HANDLE, CK_SESSION_INFO, CK_SLOT_ID, CK_TOKEN_INFO, CK_ULONG,
    CK_UNAVAILABLE_INFORMATION, CKR_BUFFER_TOO_SMALL,
};

use super::entry::outcome;
use crate::error::Error;
use crate::route::BackendObjectHandle;

/// No backend list or value is longer; what says so is not believed.
const MAX_ITEMS: usize = 1 << 20;

/// How often a list that grows between its two calls is asked for again.
const ATTEMPTS: usize = 8;

/// The backend's functions, to be called with our own arguments.
#[derive(Clone, Copy)]
pub struct Calls<'a>(pub &'a CK_FUNCTION_LIST_3_2);

/// Calls `$function` of the list with arguments of ours.
macro_rules! call {
    ($calls:ident.$function:ident($($argument:expr),* $(,)?)) => {
        match $calls.0.$function {
            // SAFETY: the backend promised this function under this name and type; every pointer here leads to a local
            // value or slice of the length given with it, which outlives the call.
            Some(function) => outcome(unsafe { function($($argument),*) }),
            None => Err(Error::FunctionNotSupported),
        }
    };
}

impl Calls<'_> {
    /// `C_GetSessionInfo`
    pub fn session_info(&self, session: CK_SESSION_HANDLE) -> Result<CK_SESSION_INFO, Error> {
        let mut info = CK_SESSION_INFO { slotID: 0, state: 0, flags: 0, ulDeviceError: 0 };
        call!(self.C_GetSessionInfo(session, &raw mut info))?;
        Ok(info)
    }

    /// `C_GetTokenInfo`
    pub fn token_info(&self, slot: CK_SLOT_ID) -> Result<CK_TOKEN_INFO, Error> {
        // SAFETY: integers and arrays of bytes only, for which zero is a value.
        let mut info = unsafe { std::mem::zeroed::<CK_TOKEN_INFO>() };
        call!(self.C_GetTokenInfo(slot, &raw mut info))?;
        Ok(info)
    }

    /// `C_GetMechanismList`, all of it. A list that changes between its length and itself is asked for again.
    pub fn mechanisms(&self, slot: CK_SLOT_ID) -> Result<Vec<CK_MECHANISM_TYPE>, Error> {
        let mut last = Err(Error::BufferTooSmall);
        for _ in 0..ATTEMPTS {
            let mut count: CK_ULONG = 0;
            call!(self.C_GetMechanismList(slot, ptr::null_mut(), &raw mut count))?;
            let mut list = vec![0; bounded(count)?];
            last = call!(self.C_GetMechanismList(slot, list.as_mut_ptr(), &raw mut count));
            match last {
                Ok(()) => {
                    list.truncate(bounded(count)?);
                    return Ok(list);
                }
                Err(Error::Backend(CKR_BUFFER_TOO_SMALL)) => {}
                Err(error) => return Err(error),
            }
        }
        last.map(|()| Vec::new())
    }

    /// `C_GetMechanismInfo`
    pub fn mechanism_info(&self, slot: CK_SLOT_ID, mechanism: CK_MECHANISM_TYPE) -> Result<CK_MECHANISM_INFO, Error> {
        let mut info = CK_MECHANISM_INFO { ulMinKeySize: 0, ulMaxKeySize: 0, flags: 0 };
        call!(self.C_GetMechanismInfo(slot, mechanism, &raw mut info))?;
        Ok(info)
    }

    /// `C_CreateObject`
    pub fn create_object(
        &self,
        session: CK_SESSION_HANDLE,
        template: &[(CK_ATTRIBUTE_TYPE, &[u8])],
    ) -> Result<BackendObjectHandle, Error> {
        let mut attributes = to_attributes(template);
        let mut object: CK_OBJECT_HANDLE = 0;
        let count = attributes.len() as CK_ULONG;
        call!(self.C_CreateObject(session, attributes.as_mut_ptr(), count, &raw mut object))?;
        Ok(BackendObjectHandle(object))
    }

    /// `C_DestroyObject`
    pub fn destroy_object(&self, session: CK_SESSION_HANDLE, object: BackendObjectHandle) -> Result<(), Error> {
        call!(self.C_DestroyObject(session, object.0))
    }

    /// `C_GetAttributeValue` for one attribute.
    pub fn attribute(
        &self,
        session: CK_SESSION_HANDLE,
        object: BackendObjectHandle,
        kind: CK_ATTRIBUTE_TYPE,
    ) -> Result<Vec<u8>, Error> {
        let mut attribute = CK_ATTRIBUTE { type_: kind, pValue: ptr::null_mut(), ulValueLen: 0 };
        call!(self.C_GetAttributeValue(session, object.0, &raw mut attribute, 1))?;
        let mut value = vec![0u8; bounded(attribute.ulValueLen)?];
        attribute.pValue = value.as_mut_ptr().cast();
        attribute.ulValueLen = value.len() as CK_ULONG;
        call!(self.C_GetAttributeValue(session, object.0, &raw mut attribute, 1))?;
        value.truncate(bounded(attribute.ulValueLen)?);
        Ok(value)
    }

    /// `C_SignInit`
    pub fn sign_init(
        &self,
        session: CK_SESSION_HANDLE,
        mechanism: CK_MECHANISM_TYPE,
        key: BackendObjectHandle,
    ) -> Result<(), Error> {
        let mut mechanism = CK_MECHANISM { mechanism, pParameter: ptr::null_mut(), ulParameterLen: 0 };
        call!(self.C_SignInit(session, &raw mut mechanism, key.0))
    }

    /// `C_Sign` into `signature`; how many bytes it is.
    pub fn sign(&self, session: CK_SESSION_HANDLE, data: &[u8], signature: &mut [u8]) -> Result<usize, Error> {
        let mut length = signature.len() as CK_ULONG;
        call!(self.C_Sign(
            session,
            data.as_ptr().cast_mut(),
            data.len() as CK_ULONG,
            signature.as_mut_ptr(),
            &raw mut length
        ))?;
        bounded(length)
    }

    /// `C_VerifyInit`
    pub fn verify_init(
        &self,
        session: CK_SESSION_HANDLE,
        mechanism: CK_MECHANISM_TYPE,
        key: BackendObjectHandle,
    ) -> Result<(), Error> {
        let mut mechanism = CK_MECHANISM { mechanism, pParameter: ptr::null_mut(), ulParameterLen: 0 };
        call!(self.C_VerifyInit(session, &raw mut mechanism, key.0))
    }

    /// `C_Verify`
    pub fn verify(&self, session: CK_SESSION_HANDLE, data: &[u8], signature: &[u8]) -> Result<(), Error> {
        call!(self.C_Verify(
            session,
            data.as_ptr().cast_mut(),
            data.len() as CK_ULONG,
            signature.as_ptr().cast_mut(),
            signature.len() as CK_ULONG
        ))
    }

    /// `C_FindObjectsInit`
    pub fn find_init(&self, session: CK_SESSION_HANDLE, template: &[(CK_ATTRIBUTE_TYPE, &[u8])]) -> Result<(), Error> {
        let mut attributes = to_attributes(template);
        let count = attributes.len() as CK_ULONG;
        call!(self.C_FindObjectsInit(session, attributes.as_mut_ptr(), count))
    }

    /// `C_FindObjects` into `objects`; how many it found.
    pub fn find(&self, session: CK_SESSION_HANDLE, objects: &mut [CK_OBJECT_HANDLE]) -> Result<usize, Error> {
        let mut found: CK_ULONG = 0;
        let room = objects.len() as CK_ULONG;
        call!(self.C_FindObjects(session, objects.as_mut_ptr(), room, &raw mut found))?;
        Ok(bounded(found)?.min(objects.len()))
    }

    /// `C_FindObjectsFinal`
    pub fn find_final(&self, session: CK_SESSION_HANDLE) -> Result<(), Error> {
        call!(self.C_FindObjectsFinal(session))
    }
}

/// The backend only reads what is behind these pointers.
fn to_attributes(template: &[(CK_ATTRIBUTE_TYPE, &[u8])]) -> Vec<CK_ATTRIBUTE> {
    template
        .iter()
        .map(|(kind, value)| CK_ATTRIBUTE {
            type_: *kind,
            pValue: value.as_ptr().cast_mut().cast(),
            ulValueLen: value.len() as CK_ULONG,
        })
        .collect()
}

/// A length that the backend gave, if it can be one.
fn bounded(length: CK_ULONG) -> Result<usize, Error> {
    if length == CK_UNAVAILABLE_INFORMATION {
        return Err(Error::BackendReply("a length of -1"));
    }
    usize::try_from(length).ok().filter(|length| *length <= MAX_ITEMS).ok_or(Error::BackendReply("an absurd length"))
}
