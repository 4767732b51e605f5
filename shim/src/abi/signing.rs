//! Signing, MACing and verification functions, with and without message recovery.

use cryptoki_sys::{
    CK_BYTE_PTR, CK_MECHANISM_PTR, CK_OBJECT_HANDLE, CK_SESSION_HANDLE, CK_ULONG, CK_ULONG_PTR, CKR_BUFFER_TOO_SMALL,
    CKR_MECHANISM_INVALID,
};

use super::args;
use super::entry::{entry, forward, forwarded, forwarded_init};
use super::mechanism::Sound;
use crate::error::Error;
use crate::lifecycle::{self, Instance, Object};
use crate::log;
use crate::mapped::sign::{self, Ending, Signing, signs, verifies};
use crate::route::BackendObjectHandle;

entry! {
    /// `C_SignInit`: begins a signature.
    fn C_SignInit(hSession: CK_SESSION_HANDLE, pMechanism: CK_MECHANISM_PTR, hKey: CK_OBJECT_HANDLE) {
        let call = lifecycle::enter()?;
        // SAFETY: the client's mechanism.
        let mut mechanism = unsafe { Sound::read(pMechanism) };
        if signs(&call, hSession) {
            return sign_again(&call, hSession, mechanism.as_ptr());
        }
        match call.object(hKey) {
            Object::Backend(key) => {
                let outcome = forward!(call.C_SignInit(hSession, mechanism.as_ptr(), key));
                let Err(refusal @ Error::Backend(CKR_MECHANISM_INVALID)) = outcome else { return outcome };
                // SAFETY: the client's mechanism.
                let Ok(mechanism) = (unsafe { args::Mechanism::read(mechanism.as_ptr()) }) else { return Err(refusal) };
                sign::sign_init_for_backend(&call, hSession, &mechanism, BackendObjectHandle(key), refusal)
            }
            Object::Mapped(key) => {
                // SAFETY: the client's mechanism.
                let mechanism = unsafe { args::Mechanism::read(mechanism.as_ptr()) }?;
                log::scoped(|| sign::sign_init(&call, hSession, &mechanism, key))
            }
        }
    }

    /// `C_VerifyInit`: begins a verification.
    fn C_VerifyInit(hSession: CK_SESSION_HANDLE, pMechanism: CK_MECHANISM_PTR, hKey: CK_OBJECT_HANDLE) {
        let call = lifecycle::enter()?;
        // SAFETY: the client's mechanism.
        let mut mechanism = unsafe { Sound::read(pMechanism) };
        if verifies(&call, hSession) {
            return verify_again(&call, hSession, mechanism.as_ptr());
        }
        match call.object(hKey) {
            Object::Backend(key) => {
                let outcome = forward!(call.C_VerifyInit(hSession, mechanism.as_ptr(), key));
                let Err(refusal @ Error::Backend(CKR_MECHANISM_INVALID)) = outcome else { return outcome };
                // SAFETY: the client's mechanism.
                let Ok(mechanism) = (unsafe { args::Mechanism::read(mechanism.as_ptr()) }) else { return Err(refusal) };
                sign::verify_init_for_backend(&call, hSession, &mechanism, BackendObjectHandle(key), refusal)
            }
            Object::Mapped(key) => {
                // SAFETY: the client's mechanism.
                let mechanism = unsafe { args::Mechanism::read(mechanism.as_ptr()) }?;
                log::scoped(|| sign::verify_init(&call, hSession, &mechanism, key))
            }
        }
    }

    /// `C_VerifySignatureInit` (3.2): begins a verification of a signature given now.
    fn C_VerifySignatureInit(
        hSession: CK_SESSION_HANDLE,
        pMechanism: CK_MECHANISM_PTR,
        hKey: CK_OBJECT_HANDLE,
        pSignature: CK_BYTE_PTR,
        ulSignatureLen: CK_ULONG,
    ) {
        let call = lifecycle::enter()?;
        args::plausible(ulSignatureLen)?;
        // SAFETY: the client's mechanism.
        let mut mechanism = unsafe { Sound::read(pMechanism) };
        match call.object(hKey) {
            Object::Backend(key) => {
                forward!(call.C_VerifySignatureInit(hSession, mechanism.as_ptr(), key, pSignature, ulSignatureLen))
            }
            Object::Mapped(_) => Err(Error::KeyFunctionNotPermitted),
        }
    }
}

forwarded_init! {
    /// `C_SignRecoverInit`: begins a signature with recovery, which no mapped key makes.
    fn C_SignRecoverInit;

    /// `C_VerifyRecoverInit`: begins a verification with recovery, which no mapped key does.
    fn C_VerifyRecoverInit;
}

entry! {
    /// `C_Sign`: signs in one part.
    fn C_Sign(
        hSession: CK_SESSION_HANDLE,
        pData: CK_BYTE_PTR,
        ulDataLen: CK_ULONG,
        pSignature: CK_BYTE_PTR,
        pulSignatureLen: CK_ULONG_PTR,
    ) {
        let call = lifecycle::enter()?;
        args::plausible(ulDataLen)?;
        if signs(&call, hSession) {
            // SAFETY: the client's data.
            let data = unsafe { args::InSlice::read(pData, ulDataLen) };
            // SAFETY: the client's buffer.
            return unsafe { finish_signature(&call, hSession, data.map(Ending::whole), pSignature, pulSignatureLen) };
        }
        forward!(call.C_Sign(hSession, pData, ulDataLen, pSignature, pulSignatureLen))
    }

    /// `C_SignUpdate`: continues a signature.
    fn C_SignUpdate(hSession: CK_SESSION_HANDLE, pPart: CK_BYTE_PTR, ulPartLen: CK_ULONG) {
        let call = lifecycle::enter()?;
        args::plausible(ulPartLen)?;
        if signs(&call, hSession) {
            // SAFETY: the client's data.
            let part = unsafe { args::InSlice::read(pPart, ulPartLen) };
            return sign::sign_update(&call, hSession, part.map(args::InSlice::bytes));
        }
        forward!(call.C_SignUpdate(hSession, pPart, ulPartLen))
    }

    /// `C_SignFinal`: ends a signature.
    fn C_SignFinal(hSession: CK_SESSION_HANDLE, pSignature: CK_BYTE_PTR, pulSignatureLen: CK_ULONG_PTR) {
        let call = lifecycle::enter()?;
        if signs(&call, hSession) {
            // SAFETY: the client's buffer.
            return unsafe { finish_signature(&call, hSession, Ok(Ending::Parts), pSignature, pulSignatureLen) };
        }
        forward!(call.C_SignFinal(hSession, pSignature, pulSignatureLen))
    }

    /// `C_Verify`: verifies in one part.
    fn C_Verify(
        hSession: CK_SESSION_HANDLE,
        pData: CK_BYTE_PTR,
        ulDataLen: CK_ULONG,
        pSignature: CK_BYTE_PTR,
        ulSignatureLen: CK_ULONG,
    ) {
        let call = lifecycle::enter()?;
        args::plausible(ulDataLen)?;
        args::plausible(ulSignatureLen)?;
        if verifies(&call, hSession) {
            // SAFETY: the client's data and signature.
            let (data, signature) = unsafe {
                (args::InSlice::read(pData, ulDataLen), args::InSlice::read(pSignature, ulSignatureLen))
            };
            return sign::verify(&call, hSession, data.map(Ending::whole), signature.map(args::InSlice::bytes));
        }
        forward!(call.C_Verify(hSession, pData, ulDataLen, pSignature, ulSignatureLen))
    }

    /// `C_VerifyUpdate`: continues a verification.
    fn C_VerifyUpdate(hSession: CK_SESSION_HANDLE, pPart: CK_BYTE_PTR, ulPartLen: CK_ULONG) {
        let call = lifecycle::enter()?;
        args::plausible(ulPartLen)?;
        if verifies(&call, hSession) {
            // SAFETY: the client's data.
            let part = unsafe { args::InSlice::read(pPart, ulPartLen) };
            return sign::verify_update(&call, hSession, part.map(args::InSlice::bytes));
        }
        forward!(call.C_VerifyUpdate(hSession, pPart, ulPartLen))
    }

    /// `C_VerifyFinal`: ends a verification.
    fn C_VerifyFinal(hSession: CK_SESSION_HANDLE, pSignature: CK_BYTE_PTR, ulSignatureLen: CK_ULONG) {
        let call = lifecycle::enter()?;
        args::plausible(ulSignatureLen)?;
        if verifies(&call, hSession) {
            // SAFETY: the client's signature.
            let signature = unsafe { args::InSlice::read(pSignature, ulSignatureLen) };
            return sign::verify(&call, hSession, Ok(Ending::Parts), signature.map(args::InSlice::bytes));
        }
        forward!(call.C_VerifyFinal(hSession, pSignature, ulSignatureLen))
    }
}

forwarded! {
    /// `C_SignRecover`: signs with recovery.
    fn C_SignRecover(
        hSession: CK_SESSION_HANDLE,
        pData: CK_BYTE_PTR,
        ulDataLen: CK_ULONG,
        pSignature: CK_BYTE_PTR,
        pulSignatureLen: CK_ULONG_PTR,
    ) [ulDataLen];

    /// `C_VerifyRecover`: verifies and recovers the data.
    fn C_VerifyRecover(
        hSession: CK_SESSION_HANDLE,
        pSignature: CK_BYTE_PTR,
        ulSignatureLen: CK_ULONG,
        pData: CK_BYTE_PTR,
        pulDataLen: CK_ULONG_PTR,
    ) [ulSignatureLen];

    /// `C_VerifySignature`: (3.2) verifies in one part.
    fn C_VerifySignature(hSession: CK_SESSION_HANDLE, pData: CK_BYTE_PTR, ulDataLen: CK_ULONG) [ulDataLen];

    /// `C_VerifySignatureUpdate`: (3.2) continues a verification.
    fn C_VerifySignatureUpdate(hSession: CK_SESSION_HANDLE, pPart: CK_BYTE_PTR, ulPartLen: CK_ULONG) [ulPartLen];

    /// `C_VerifySignatureFinal`: (3.2) ends a verification.
    fn C_VerifySignatureFinal(hSession: CK_SESSION_HANDLE);
}

/// `C_SignInit` while a signature of ours is in progress: a null mechanism cancels it (3.0).
fn sign_again(call: &Instance, session: CK_SESSION_HANDLE, mechanism: CK_MECHANISM_PTR) -> Result<(), Error> {
    if !mechanism.is_null() {
        return Err(Error::OperationActive);
    }
    sign::cancel_signature(call, session);
    Ok(())
}

/// `C_VerifyInit` while a verification of ours is in progress: a null mechanism cancels it (3.0).
fn verify_again(call: &Instance, session: CK_SESSION_HANDLE, mechanism: CK_MECHANISM_PTR) -> Result<(), Error> {
    if !mechanism.is_null() {
        return Err(Error::OperationActive);
    }
    sign::cancel_verification(call, session);
    Ok(())
}

/// Ends a signature of ours, into the client's buffer.
///
/// # Safety
/// `length` is null or good for reading and writing, `buffer` is null or good for writing as much as it says.
unsafe fn finish_signature(
    call: &Instance,
    session: CK_SESSION_HANDLE,
    ending: Result<Ending<'_>, Error>,
    buffer: CK_BYTE_PTR,
    length: CK_ULONG_PTR,
) -> Result<(), Error> {
    // SAFETY: as for this function.
    let output = unsafe { args::OutBuffer::read(buffer, length) };
    let Signing::ByBackend(digest) = log::scoped(|| sign::sign(call, session, ending, output))? else { return Ok(()) };
    let outcome = forward!(call.C_Sign(session, digest.as_ptr().cast_mut(), digest.len() as CK_ULONG, buffer, length));
    // A length query and a buffer that is too small keep the operation, the backend's and ours.
    let kept = match outcome {
        Ok(()) => buffer.is_null(),
        Err(Error::Backend(rv)) => rv == CKR_BUFFER_TOO_SMALL,
        Err(_) => false,
    };
    if !kept {
        sign::sign_ended(call, session);
    }
    outcome
}
