//! Dual-function cryptographic functions.

use cryptoki_sys::{CK_BYTE_PTR, CK_SESSION_HANDLE, CK_ULONG, CK_ULONG_PTR};

use super::entry::forwarded;

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

    /// `C_SignEncryptUpdate`: continues a signature and an encryption.
    fn C_SignEncryptUpdate(
        hSession: CK_SESSION_HANDLE,
        pPart: CK_BYTE_PTR,
        ulPartLen: CK_ULONG,
        pEncryptedPart: CK_BYTE_PTR,
        pulEncryptedPartLen: CK_ULONG_PTR,
    ) [ulPartLen];

    /// `C_DecryptVerifyUpdate`: continues a decryption and a verification.
    fn C_DecryptVerifyUpdate(
        hSession: CK_SESSION_HANDLE,
        pEncryptedPart: CK_BYTE_PTR,
        ulEncryptedPartLen: CK_ULONG,
        pPart: CK_BYTE_PTR,
        pulPartLen: CK_ULONG_PTR,
    ) [ulEncryptedPartLen];
}
