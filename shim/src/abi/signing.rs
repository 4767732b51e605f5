//! Signing, MACing and verification functions, with and without message recovery.

use cryptoki_sys::{CK_BYTE_PTR, CK_MECHANISM_PTR, CK_OBJECT_HANDLE, CK_SESSION_HANDLE, CK_ULONG, CK_ULONG_PTR};

use super::args;
use super::entry::{entry, forward, forwarded, forwarded_init};
use super::mechanism::Sound;
use crate::error::Error;
use crate::lifecycle::{self, Object};

entry! {
    /// `C_SignInit`: begins a signature.
    fn C_SignInit(hSession: CK_SESSION_HANDLE, pMechanism: CK_MECHANISM_PTR, hKey: CK_OBJECT_HANDLE) {
        let call = lifecycle::enter()?;
        // SAFETY: the client's mechanism.
        let mut mechanism = unsafe { Sound::read(pMechanism) };
        match call.object(hKey) {
            Object::Backend(key) => forward!(call.C_SignInit(hSession, mechanism.as_ptr(), key)),
            Object::Mapped(_) => Err(Error::KeyFunctionNotPermitted),
        }
    }

    /// `C_VerifyInit`: begins a verification.
    fn C_VerifyInit(hSession: CK_SESSION_HANDLE, pMechanism: CK_MECHANISM_PTR, hKey: CK_OBJECT_HANDLE) {
        let call = lifecycle::enter()?;
        // SAFETY: the client's mechanism.
        let mut mechanism = unsafe { Sound::read(pMechanism) };
        match call.object(hKey) {
            Object::Backend(key) => forward!(call.C_VerifyInit(hSession, mechanism.as_ptr(), key)),
            Object::Mapped(_) => Err(Error::KeyFunctionNotPermitted),
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

forwarded! {
    /// `C_Sign`: signs in one part.
    fn C_Sign(
        hSession: CK_SESSION_HANDLE,
        pData: CK_BYTE_PTR,
        ulDataLen: CK_ULONG,
        pSignature: CK_BYTE_PTR,
        pulSignatureLen: CK_ULONG_PTR,
    ) [ulDataLen];

    /// `C_SignUpdate`: continues a signature.
    fn C_SignUpdate(hSession: CK_SESSION_HANDLE, pPart: CK_BYTE_PTR, ulPartLen: CK_ULONG) [ulPartLen];

    /// `C_SignFinal`: ends a signature.
    fn C_SignFinal(hSession: CK_SESSION_HANDLE, pSignature: CK_BYTE_PTR, pulSignatureLen: CK_ULONG_PTR);

    /// `C_SignRecover`: signs with recovery.
    fn C_SignRecover(
        hSession: CK_SESSION_HANDLE,
        pData: CK_BYTE_PTR,
        ulDataLen: CK_ULONG,
        pSignature: CK_BYTE_PTR,
        pulSignatureLen: CK_ULONG_PTR,
    ) [ulDataLen];

    /// `C_Verify`: verifies in one part.
    fn C_Verify(
        hSession: CK_SESSION_HANDLE,
        pData: CK_BYTE_PTR,
        ulDataLen: CK_ULONG,
        pSignature: CK_BYTE_PTR,
        ulSignatureLen: CK_ULONG,
    ) [ulDataLen, ulSignatureLen];

    /// `C_VerifyUpdate`: continues a verification.
    fn C_VerifyUpdate(hSession: CK_SESSION_HANDLE, pPart: CK_BYTE_PTR, ulPartLen: CK_ULONG) [ulPartLen];

    /// `C_VerifyFinal`: ends a verification.
    fn C_VerifyFinal(hSession: CK_SESSION_HANDLE, pSignature: CK_BYTE_PTR, ulSignatureLen: CK_ULONG) [ulSignatureLen];

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
