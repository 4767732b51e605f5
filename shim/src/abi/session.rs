//! Session management functions.

use cryptoki_sys::{
    CK_BYTE_PTR, CK_FLAGS, CK_FLAGS_PTR, CK_NOTIFY, CK_OBJECT_HANDLE, CK_SESSION_HANDLE, CK_SESSION_HANDLE_PTR,
    CK_SESSION_INFO_PTR, CK_SESSION_VALIDATION_FLAGS_TYPE, CK_SLOT_ID, CK_ULONG, CK_ULONG_PTR, CK_USER_TYPE,
    CK_UTF8CHAR_PTR, CK_VOID_PTR,
};

use super::args;
use super::entry::{entry, forward, forwarded};
use crate::error::Error;
use crate::lifecycle::{self, Object};
use crate::log;
use crate::mapped::{self, sign};

forwarded! {
    /// `C_GetSessionInfo`: about a session.
    fn C_GetSessionInfo(hSession: CK_SESSION_HANDLE, pInfo: CK_SESSION_INFO_PTR);

    /// `C_Login`: logs in.
    fn C_Login(hSession: CK_SESSION_HANDLE, userType: CK_USER_TYPE, pPin: CK_UTF8CHAR_PTR, ulPinLen: CK_ULONG) [ulPinLen];

    /// `C_LoginUser` (3.0): logs in with a user name.
    fn C_LoginUser(
        hSession: CK_SESSION_HANDLE,
        userType: CK_USER_TYPE,
        pPin: CK_UTF8CHAR_PTR,
        ulPinLen: CK_ULONG,
        pUsername: CK_UTF8CHAR_PTR,
        ulUsernameLen: CK_ULONG,
    ) [ulPinLen, ulUsernameLen];

    /// `C_GetSessionValidationFlags` (3.2): how a session's last operation was validated.
    fn C_GetSessionValidationFlags(
        hSession: CK_SESSION_HANDLE,
        r#type: CK_SESSION_VALIDATION_FLAGS_TYPE,
        pFlags: CK_FLAGS_PTR,
    );
}

entry! {
    /// `C_OpenSession`: opens a session. The handle is the backend's own.
    fn C_OpenSession(
        slotID: CK_SLOT_ID,
        flags: CK_FLAGS,
        pApplication: CK_VOID_PTR,
        Notify: CK_NOTIFY,
        phSession: CK_SESSION_HANDLE_PTR,
    ) {
        let call = lifecycle::enter()?;
        forward!(call.C_OpenSession(slotID, flags, pApplication, Notify, phSession))?;
        if !phSession.is_null() {
            // SAFETY: not null, and the backend answered CKR_OK, so it wrote a handle there, aligned or not.
            let session = unsafe { phSession.read_unaligned() };
            log::scoped(|| call.mapped.session_opened(session));
        }
        Ok(())
    }

    /// `C_CloseSession`: closes a session.
    fn C_CloseSession(hSession: CK_SESSION_HANDLE) {
        let call = lifecycle::enter()?;
        log::scoped(|| call.mapped.closing(&[hSession], || forward!(call.C_CloseSession(hSession))))
    }

    /// `C_CloseAllSessions`: closes the sessions of a slot.
    fn C_CloseAllSessions(slotID: CK_SLOT_ID) {
        let call = lifecycle::enter()?;
        let sessions = call.mapped.sessions.of_slot(slotID);
        log::scoped(|| call.mapped.closing(&sessions, || forward!(call.C_CloseAllSessions(slotID))))
    }

    /// `C_Logout`: logs out.
    fn C_Logout(hSession: CK_SESSION_HANDLE) {
        let call = lifecycle::enter()?;
        forward!(call.C_Logout(hSession))?;
        log::scoped(|| mapped::logged_out(&call, hSession));
        Ok(())
    }

    /// `C_GetOperationState`: the state of the operation in progress; that of a mapped one stays here.
    fn C_GetOperationState(
        hSession: CK_SESSION_HANDLE,
        pOperationState: CK_BYTE_PTR,
        pulOperationStateLen: CK_ULONG_PTR,
    ) {
        let call = lifecycle::enter()?;
        if sign::signs(&call, hSession) || sign::verifies(&call, hSession) {
            return Err(Error::StateUnsaveable);
        }
        forward!(call.C_GetOperationState(hSession, pOperationState, pulOperationStateLen))
    }

    /// `C_SessionCancel` (3.0): ends operations.
    fn C_SessionCancel(hSession: CK_SESSION_HANDLE, flags: CK_FLAGS) {
        let call = lifecycle::enter()?;
        forward!(call.C_SessionCancel(hSession, flags))?;
        sign::session_cancelled(&call, hSession, flags);
        Ok(())
    }

    /// `C_SetOperationState`: takes up an operation by its state.
    fn C_SetOperationState(
        hSession: CK_SESSION_HANDLE,
        pOperationState: CK_BYTE_PTR,
        ulOperationStateLen: CK_ULONG,
        hEncryptionKey: CK_OBJECT_HANDLE,
        hAuthenticationKey: CK_OBJECT_HANDLE,
    ) {
        let call = lifecycle::enter()?;
        args::plausible(ulOperationStateLen)?;
        match (call.object(hEncryptionKey), call.object(hAuthenticationKey)) {
            (Object::Backend(encryption_key), Object::Backend(authentication_key)) => {
                forward!(call.C_SetOperationState(
                    hSession,
                    pOperationState,
                    ulOperationStateLen,
                    encryption_key,
                    authentication_key
                ))
            }
            // No state that the backend saved belongs to a mapped key.
            (Object::Mapped(_), _) | (_, Object::Mapped(_)) => Err(Error::KeyHandleInvalid),
        }
    }
}
