//! Slot and token management functions.

use cryptoki_sys::{
    CK_BBOOL, CK_FLAGS, CK_MECHANISM_INFO_PTR, CK_MECHANISM_TYPE, CK_MECHANISM_TYPE_PTR, CK_SESSION_HANDLE, CK_SLOT_ID,
    CK_SLOT_ID_PTR, CK_SLOT_INFO_PTR, CK_TOKEN_INFO_PTR, CK_ULONG, CK_ULONG_PTR, CK_UTF8CHAR_PTR, CK_VOID_PTR,
    CKM_ECDSA, CKR_MECHANISM_INVALID,
};

use super::args::{self, OutArray};
use super::entry::{entry, forward, forwarded, outcome};
use crate::error::Error;
use crate::lifecycle;
use crate::log;
use crate::mapped::{self, mechanism};

forwarded! {
    /// `C_GetSlotList`: the slots, or how many there are.
    fn C_GetSlotList(tokenPresent: CK_BBOOL, pSlotList: CK_SLOT_ID_PTR, pulCount: CK_ULONG_PTR);

    /// `C_GetSlotInfo`: about a slot.
    fn C_GetSlotInfo(slotID: CK_SLOT_ID, pInfo: CK_SLOT_INFO_PTR);

    /// `C_GetTokenInfo`: about a token.
    fn C_GetTokenInfo(slotID: CK_SLOT_ID, pInfo: CK_TOKEN_INFO_PTR);

    /// `C_InitPIN`: the security officer sets the user's PIN.
    fn C_InitPIN(hSession: CK_SESSION_HANDLE, pPin: CK_UTF8CHAR_PTR, ulPinLen: CK_ULONG) [ulPinLen];

    /// `C_SetPIN`: changes the PIN of whoever is logged in.
    fn C_SetPIN(
        hSession: CK_SESSION_HANDLE,
        pOldPin: CK_UTF8CHAR_PTR,
        ulOldLen: CK_ULONG,
        pNewPin: CK_UTF8CHAR_PTR,
        ulNewLen: CK_ULONG,
    ) [ulOldLen, ulNewLen];
}

entry! {
    /// `C_GetMechanismList`: the mechanisms of a token, or how many there are: the backend's, then what mapped keys add.
    ///
    /// The addition is the same for all slots, one whose token is not initialised included: a client may look first and
    /// initialise later. What the backend refuses is refused with its code.
    fn C_GetMechanismList(slotID: CK_SLOT_ID, pMechanismList: CK_MECHANISM_TYPE_PTR, pulCount: CK_ULONG_PTR) {
        let call = lifecycle::enter()?;
        if pulCount.is_null() {
            return forward!(call.C_GetMechanismList(slotID, pMechanismList, pulCount));
        }
        // SAFETY: the client's array and its length.
        let list = unsafe { OutArray::read_unaligned(pMechanismList, pulCount) }?;
        list.put(&mechanism::merged_list(call.calls().mechanisms(slotID)?))
    }

    /// `C_GetMechanismInfo`: about a mechanism. The backend has the first word, also on what mapped keys add: ours
    /// counts where it answers `CKR_MECHANISM_INVALID`.
    fn C_GetMechanismInfo(slotID: CK_SLOT_ID, r#type: CK_MECHANISM_TYPE, pInfo: CK_MECHANISM_INFO_PTR) {
        let call = lifecycle::enter()?;
        match forward!(call.C_GetMechanismInfo(slotID, r#type, pInfo)) {
            Err(Error::Backend(CKR_MECHANISM_INVALID)) if mechanism::is_added(r#type) && !pInfo.is_null() => {
                let ecdsa = call.calls().mechanism_info(slotID, CKM_ECDSA).ok();
                let info = mechanism::added_info(r#type, ecdsa).ok_or(Error::Backend(CKR_MECHANISM_INVALID))?;
                // SAFETY: the client's place for the information.
                unsafe { args::put_unaligned(pInfo, info) }
            }
            answer => answer,
        }
    }

    /// `C_InitToken`: makes a token empty, its mapped keys with it.
    fn C_InitToken(slotID: CK_SLOT_ID, pPin: CK_UTF8CHAR_PTR, ulPinLen: CK_ULONG, pLabel: CK_UTF8CHAR_PTR) {
        let call = lifecycle::enter()?;
        args::plausible(ulPinLen)?;
        log::scoped(|| mapped::init_token(&call, slotID, || forward!(call.C_InitToken(slotID, pPin, ulPinLen, pLabel))))
    }

    /// `C_WaitForSlotEvent`: waits until a token is inserted or removed.
    ///
    /// The only call that is not counted as in progress: the specification lets `C_Finalize` end it.
    fn C_WaitForSlotEvent(flags: CK_FLAGS, pSlot: CK_SLOT_ID_PTR, pReserved: CK_VOID_PTR) {
        let function = lifecycle::enter()?.functions.C_WaitForSlotEvent;
        let Some(function) = function else { return Err(Error::FunctionNotSupported) };
        // SAFETY: the backend promised this function in its function list and is never unloaded; the pointers are the
        // client's own.
        outcome(unsafe { function(flags, pSlot, pReserved) })
    }
}
