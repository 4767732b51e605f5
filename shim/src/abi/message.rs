//! Message-based encryption, decryption, signing and verification functions (3.0). Mapped keys have none of them.

use cryptoki_sys::{CK_BYTE_PTR, CK_FLAGS, CK_SESSION_HANDLE, CK_ULONG, CK_ULONG_PTR, CK_VOID_PTR};

use super::entry::{forwarded, forwarded_init};

forwarded_init! {
    /// `C_MessageEncryptInit`: begins encrypting messages.
    fn C_MessageEncryptInit;

    /// `C_MessageDecryptInit`: begins decrypting messages.
    fn C_MessageDecryptInit;

    /// `C_MessageSignInit`: begins signing messages.
    fn C_MessageSignInit;

    /// `C_MessageVerifyInit`: begins verifying messages.
    fn C_MessageVerifyInit;
}

forwarded! {
    /// `C_EncryptMessage`: encrypts a message in one part.
    fn C_EncryptMessage(
        hSession: CK_SESSION_HANDLE,
        pParameter: CK_VOID_PTR,
        ulParameterLen: CK_ULONG,
        pAssociatedData: CK_BYTE_PTR,
        ulAssociatedDataLen: CK_ULONG,
        pPlaintext: CK_BYTE_PTR,
        ulPlaintextLen: CK_ULONG,
        pCiphertext: CK_BYTE_PTR,
        pulCiphertextLen: CK_ULONG_PTR,
    ) [ulParameterLen, ulAssociatedDataLen, ulPlaintextLen];

    /// `C_EncryptMessageBegin`: begins a message.
    fn C_EncryptMessageBegin(
        hSession: CK_SESSION_HANDLE,
        pParameter: CK_VOID_PTR,
        ulParameterLen: CK_ULONG,
        pAssociatedData: CK_BYTE_PTR,
        ulAssociatedDataLen: CK_ULONG,
    ) [ulParameterLen, ulAssociatedDataLen];

    /// `C_EncryptMessageNext`: continues a message.
    fn C_EncryptMessageNext(
        hSession: CK_SESSION_HANDLE,
        pParameter: CK_VOID_PTR,
        ulParameterLen: CK_ULONG,
        pPlaintextPart: CK_BYTE_PTR,
        ulPlaintextPartLen: CK_ULONG,
        pCiphertextPart: CK_BYTE_PTR,
        pulCiphertextPartLen: CK_ULONG_PTR,
        flags: CK_FLAGS,
    ) [ulParameterLen, ulPlaintextPartLen];

    /// `C_MessageEncryptFinal`: ends encrypting messages.
    fn C_MessageEncryptFinal(hSession: CK_SESSION_HANDLE);

    /// `C_DecryptMessage`: decrypts a message in one part.
    fn C_DecryptMessage(
        hSession: CK_SESSION_HANDLE,
        pParameter: CK_VOID_PTR,
        ulParameterLen: CK_ULONG,
        pAssociatedData: CK_BYTE_PTR,
        ulAssociatedDataLen: CK_ULONG,
        pCiphertext: CK_BYTE_PTR,
        ulCiphertextLen: CK_ULONG,
        pPlaintext: CK_BYTE_PTR,
        pulPlaintextLen: CK_ULONG_PTR,
    ) [ulParameterLen, ulAssociatedDataLen, ulCiphertextLen];

    /// `C_DecryptMessageBegin`: begins a message.
    fn C_DecryptMessageBegin(
        hSession: CK_SESSION_HANDLE,
        pParameter: CK_VOID_PTR,
        ulParameterLen: CK_ULONG,
        pAssociatedData: CK_BYTE_PTR,
        ulAssociatedDataLen: CK_ULONG,
    ) [ulParameterLen, ulAssociatedDataLen];

    /// `C_DecryptMessageNext`: continues a message.
    fn C_DecryptMessageNext(
        hSession: CK_SESSION_HANDLE,
        pParameter: CK_VOID_PTR,
        ulParameterLen: CK_ULONG,
        pCiphertextPart: CK_BYTE_PTR,
        ulCiphertextPartLen: CK_ULONG,
        pPlaintextPart: CK_BYTE_PTR,
        pulPlaintextPartLen: CK_ULONG_PTR,
        flags: CK_FLAGS,
    ) [ulParameterLen, ulCiphertextPartLen];

    /// `C_MessageDecryptFinal`: ends decrypting messages.
    fn C_MessageDecryptFinal(hSession: CK_SESSION_HANDLE);

    /// `C_SignMessage`: signs a message in one part.
    fn C_SignMessage(
        hSession: CK_SESSION_HANDLE,
        pParameter: CK_VOID_PTR,
        ulParameterLen: CK_ULONG,
        pData: CK_BYTE_PTR,
        ulDataLen: CK_ULONG,
        pSignature: CK_BYTE_PTR,
        pulSignatureLen: CK_ULONG_PTR,
    ) [ulParameterLen, ulDataLen];

    /// `C_SignMessageBegin`: begins a message.
    fn C_SignMessageBegin(hSession: CK_SESSION_HANDLE, pParameter: CK_VOID_PTR, ulParameterLen: CK_ULONG) [ulParameterLen];

    /// `C_SignMessageNext`: continues a message.
    fn C_SignMessageNext(
        hSession: CK_SESSION_HANDLE,
        pParameter: CK_VOID_PTR,
        ulParameterLen: CK_ULONG,
        pDataPart: CK_BYTE_PTR,
        ulDataPartLen: CK_ULONG,
        pSignature: CK_BYTE_PTR,
        pulSignatureLen: CK_ULONG_PTR,
    ) [ulParameterLen, ulDataPartLen];

    /// `C_MessageSignFinal`: ends signing messages.
    fn C_MessageSignFinal(hSession: CK_SESSION_HANDLE);

    /// `C_VerifyMessage`: verifies a message in one part.
    fn C_VerifyMessage(
        hSession: CK_SESSION_HANDLE,
        pParameter: CK_VOID_PTR,
        ulParameterLen: CK_ULONG,
        pData: CK_BYTE_PTR,
        ulDataLen: CK_ULONG,
        pSignature: CK_BYTE_PTR,
        ulSignatureLen: CK_ULONG,
    ) [ulParameterLen, ulDataLen, ulSignatureLen];

    /// `C_VerifyMessageBegin`: begins a message.
    fn C_VerifyMessageBegin(hSession: CK_SESSION_HANDLE, pParameter: CK_VOID_PTR, ulParameterLen: CK_ULONG) [ulParameterLen];

    /// `C_VerifyMessageNext`: continues a message.
    fn C_VerifyMessageNext(
        hSession: CK_SESSION_HANDLE,
        pParameter: CK_VOID_PTR,
        ulParameterLen: CK_ULONG,
        pDataPart: CK_BYTE_PTR,
        ulDataPartLen: CK_ULONG,
        pSignature: CK_BYTE_PTR,
        ulSignatureLen: CK_ULONG,
    ) [ulParameterLen, ulDataPartLen, ulSignatureLen];

    /// `C_MessageVerifyFinal`: ends verifying messages.
    fn C_MessageVerifyFinal(hSession: CK_SESSION_HANDLE);
}
