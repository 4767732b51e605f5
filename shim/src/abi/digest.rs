//! Message digesting functions.

use cryptoki_sys::{CK_BYTE_PTR, CK_MECHANISM_PTR, CK_OBJECT_HANDLE, CK_SESSION_HANDLE, CK_ULONG, CK_ULONG_PTR};

use super::entry::{entry, forward, forwarded};
use super::mechanism::Sound;
use crate::error::Error;
use crate::lifecycle::{self, Object};

forwarded! {
    /// `C_Digest`: digests in one part.
    fn C_Digest(
        hSession: CK_SESSION_HANDLE,
        pData: CK_BYTE_PTR,
        ulDataLen: CK_ULONG,
        pDigest: CK_BYTE_PTR,
        pulDigestLen: CK_ULONG_PTR,
    ) [ulDataLen];

    /// `C_DigestUpdate`: continues a digest.
    fn C_DigestUpdate(hSession: CK_SESSION_HANDLE, pPart: CK_BYTE_PTR, ulPartLen: CK_ULONG) [ulPartLen];

    /// `C_DigestFinal`: ends a digest.
    fn C_DigestFinal(hSession: CK_SESSION_HANDLE, pDigest: CK_BYTE_PTR, pulDigestLen: CK_ULONG_PTR);
}

entry! {
    /// `C_DigestInit`: begins a digest.
    fn C_DigestInit(hSession: CK_SESSION_HANDLE, pMechanism: CK_MECHANISM_PTR) {
        let call = lifecycle::enter()?;
        // SAFETY: the client's mechanism.
        let mut mechanism = unsafe { Sound::read(pMechanism) };
        forward!(call.C_DigestInit(hSession, mechanism.as_ptr()))
    }

    /// `C_DigestKey`: continues a digest with the value of a secret key, which no mapped key is.
    fn C_DigestKey(hSession: CK_SESSION_HANDLE, hKey: CK_OBJECT_HANDLE) {
        let call = lifecycle::enter()?;
        match call.object(hKey) {
            Object::Backend(key) => forward!(call.C_DigestKey(hSession, key)),
            Object::Mapped(_) => Err(Error::KeyIndigestible),
        }
    }
}
