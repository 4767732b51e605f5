//! Dual-function cryptographic functions.

use cryptoki_sys::{CK_BYTE_PTR, CK_SESSION_HANDLE, CK_ULONG, CK_ULONG_PTR};

use super::args;
use super::entry::{entry, forward, forwarded};
use crate::lifecycle;
use crate::mapped::sign::{self, signs, verifies};

forwarded! {
    /// `C_DigestEncryptUpdate`: continues a digest and an encryption.
    fn C_DigestEncryptUpdate(
        hSession: CK_SESSION_HANDLE,
        pPart: CK_BYTE_PTR,
        ulPartLen: CK_ULONG,
        pEncryptedPart: CK_BYTE_PTR,
        pulEncryptedPartLen: CK_ULONG_PTR,
    ) [ulPartLen];

    /// `C_DecryptDigestUpdate`: continues a decryption and a digest.
    fn C_DecryptDigestUpdate(
        hSession: CK_SESSION_HANDLE,
        pEncryptedPart: CK_BYTE_PTR,
        ulEncryptedPartLen: CK_ULONG,
        pPart: CK_BYTE_PTR,
        pulPartLen: CK_ULONG_PTR,
    ) [ulEncryptedPartLen];
}

entry! {
    /// `C_SignEncryptUpdate`: continues a signature and an encryption. Where the signature is ours, the encryption is the
    /// backend's alone. What is not encrypted is not signed either (v3.2, "C_SignEncryptUpdate").
    fn C_SignEncryptUpdate(
        hSession: CK_SESSION_HANDLE,
        pPart: CK_BYTE_PTR,
        ulPartLen: CK_ULONG,
        pEncryptedPart: CK_BYTE_PTR,
        pulEncryptedPartLen: CK_ULONG_PTR,
    ) {
        let call = lifecycle::enter()?;
        args::plausible(ulPartLen)?;
        if !signs(&call, hSession) {
            return forward!(
                call.C_SignEncryptUpdate(hSession, pPart, ulPartLen, pEncryptedPart, pulEncryptedPartLen)
            );
        }
        // SAFETY: the client's data.
        let part = unsafe { args::InSlice::read(pPart, ulPartLen) }?;
        // Before the backend writes, which may be to the same place.
        let continued = sign::continued_signature(&call, hSession, part.bytes())?;
        forward!(call.C_EncryptUpdate(hSession, pPart, ulPartLen, pEncryptedPart, pulEncryptedPartLen))?;
        if !pEncryptedPart.is_null() {
            sign::continue_signature(&call, hSession, continued);
        }
        Ok(())
    }

    /// `C_DecryptVerifyUpdate`: continues a decryption and a verification, likewise.
    fn C_DecryptVerifyUpdate(
        hSession: CK_SESSION_HANDLE,
        pEncryptedPart: CK_BYTE_PTR,
        ulEncryptedPartLen: CK_ULONG,
        pPart: CK_BYTE_PTR,
        pulPartLen: CK_ULONG_PTR,
    ) {
        let call = lifecycle::enter()?;
        args::plausible(ulEncryptedPartLen)?;
        if !verifies(&call, hSession) {
            return forward!(
                call.C_DecryptVerifyUpdate(hSession, pEncryptedPart, ulEncryptedPartLen, pPart, pulPartLen)
            );
        }
        sign::can_continue_verification(&call, hSession)?;
        // SAFETY: the client's buffer.
        let part = unsafe { args::OutBuffer::read(pPart, pulPartLen) }?;
        let room = part.length();
        forward!(call.C_DecryptUpdate(hSession, pEncryptedPart, ulEncryptedPartLen, pPart, pulPartLen))?;
        if pPart.is_null() {
            return Ok(());
        }
        // SAFETY: the backend has filled it, as far as it says, which is no further than the client's room.
        let part = unsafe { args::InSlice::read(pPart, part.length().min(room)) };
        sign::verify_update(&call, hSession, part.map(args::InSlice::bytes))
    }
}
