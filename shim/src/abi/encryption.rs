//! Encryption and decryption functions. Mapped keys sign and derive, they do not encrypt or decrypt.

use cryptoki_sys::{CK_BYTE_PTR, CK_SESSION_HANDLE, CK_ULONG, CK_ULONG_PTR};

use super::entry::{forwarded, forwarded_init};

forwarded_init! {
    /// `C_EncryptInit`: begins an encryption.
    fn C_EncryptInit;

    /// `C_DecryptInit`: begins a decryption.
    fn C_DecryptInit;
}

forwarded! {
    /// `C_Encrypt`: encrypts in one part.
    fn C_Encrypt(
        hSession: CK_SESSION_HANDLE,
        pData: CK_BYTE_PTR,
        ulDataLen: CK_ULONG,
        pEncryptedData: CK_BYTE_PTR,
        pulEncryptedDataLen: CK_ULONG_PTR,
    ) [ulDataLen];

    /// `C_EncryptUpdate`: continues an encryption.
    fn C_EncryptUpdate(
        hSession: CK_SESSION_HANDLE,
        pPart: CK_BYTE_PTR,
        ulPartLen: CK_ULONG,
        pEncryptedPart: CK_BYTE_PTR,
        pulEncryptedPartLen: CK_ULONG_PTR,
    ) [ulPartLen];

    /// `C_EncryptFinal`: ends an encryption.
    fn C_EncryptFinal(
        hSession: CK_SESSION_HANDLE,
        pLastEncryptedPart: CK_BYTE_PTR,
        pulLastEncryptedPartLen: CK_ULONG_PTR,
    );

    /// `C_Decrypt`: decrypts in one part.
    fn C_Decrypt(
        hSession: CK_SESSION_HANDLE,
        pEncryptedData: CK_BYTE_PTR,
        ulEncryptedDataLen: CK_ULONG,
        pData: CK_BYTE_PTR,
        pulDataLen: CK_ULONG_PTR,
    ) [ulEncryptedDataLen];

    /// `C_DecryptUpdate`: continues a decryption.
    fn C_DecryptUpdate(
        hSession: CK_SESSION_HANDLE,
        pEncryptedPart: CK_BYTE_PTR,
        ulEncryptedPartLen: CK_ULONG,
        pPart: CK_BYTE_PTR,
        pulPartLen: CK_ULONG_PTR,
    ) [ulEncryptedPartLen];

    /// `C_DecryptFinal`: ends a decryption.
    fn C_DecryptFinal(hSession: CK_SESSION_HANDLE, pLastPart: CK_BYTE_PTR, pulLastPartLen: CK_ULONG_PTR);
}
