//! Key management functions.

use cryptoki_sys::{
    CK_ATTRIBUTE_PTR, CK_BYTE_PTR, CK_MECHANISM_PTR, CK_OBJECT_HANDLE, CK_OBJECT_HANDLE_PTR, CK_SESSION_HANDLE,
    CK_ULONG, CK_ULONG_PTR, CKM_ECDH1_COFACTOR_DERIVE, CKM_ECDH1_DERIVE,
};

use super::entry::{entry, forward};
use super::mechanism::{self, Sound, Translated};
use super::{args, handles};
use crate::error::Error;
use crate::lifecycle::{self, Instance, Object};
use crate::log;
use crate::mapped::{derive, keygen};
use crate::route::MappedHandle;

entry! {
    /// `C_GenerateKey`: makes a secret key or domain parameters.
    fn C_GenerateKey(
        hSession: CK_SESSION_HANDLE,
        pMechanism: CK_MECHANISM_PTR,
        pTemplate: CK_ATTRIBUTE_PTR,
        ulCount: CK_ULONG,
        phKey: CK_OBJECT_HANDLE_PTR,
    ) {
        let call = lifecycle::enter()?;
        // SAFETY: the client's mechanism.
        let mut mechanism = unsafe { Sound::read(pMechanism) };
        // SAFETY: the client's template.
        unsafe { args::check_template(pTemplate, ulCount) }?;
        forward!(call.C_GenerateKey(hSession, mechanism.as_ptr(), pTemplate, ulCount, phKey))?;
        // SAFETY: the backend answered CKR_OK, so it wrote a handle through this pointer.
        unsafe { handles::show_handle(&call, phKey) }
    }

    /// `C_GenerateKeyPair`: makes a key pair.
    fn C_GenerateKeyPair(
        hSession: CK_SESSION_HANDLE,
        pMechanism: CK_MECHANISM_PTR,
        pPublicKeyTemplate: CK_ATTRIBUTE_PTR,
        ulPublicKeyAttributeCount: CK_ULONG,
        pPrivateKeyTemplate: CK_ATTRIBUTE_PTR,
        ulPrivateKeyAttributeCount: CK_ULONG,
        phPublicKey: CK_OBJECT_HANDLE_PTR,
        phPrivateKey: CK_OBJECT_HANDLE_PTR,
    ) {
        let call = lifecycle::enter()?;
        // SAFETY: the client's mechanism.
        let mut mechanism = unsafe { Sound::read(pMechanism) };
        // SAFETY: the client's templates.
        unsafe {
            args::check_template(pPublicKeyTemplate, ulPublicKeyAttributeCount)?;
            args::check_template(pPrivateKeyTemplate, ulPrivateKeyAttributeCount)?;
        }
        // SAFETY: the client's mechanism and templates, checked just now.
        let made = unsafe {
            mapped_pair(
                &call,
                hSession,
                &mut mechanism,
                (pPublicKeyTemplate, ulPublicKeyAttributeCount),
                (pPrivateKeyTemplate, ulPrivateKeyAttributeCount),
                (phPublicKey, phPrivateKey),
            )
        }?;
        if let Some((public, private)) = made {
            // SAFETY: the client promises room for a handle each.
            return unsafe { args::put(phPublicKey, public).and_then(|()| args::put(phPrivateKey, private)) };
        }
        forward!(call.C_GenerateKeyPair(
            hSession,
            mechanism.as_ptr(),
            pPublicKeyTemplate,
            ulPublicKeyAttributeCount,
            pPrivateKeyTemplate,
            ulPrivateKeyAttributeCount,
            phPublicKey,
            phPrivateKey
        ))?;
        // SAFETY: the backend answered CKR_OK, so it wrote a handle through each of these pointers.
        unsafe {
            handles::show_handle(&call, phPublicKey)?;
            handles::show_handle(&call, phPrivateKey)
        }
    }

    /// `C_WrapKey`: encrypts a key with another one. Mapped keys do neither.
    fn C_WrapKey(
        hSession: CK_SESSION_HANDLE,
        pMechanism: CK_MECHANISM_PTR,
        hWrappingKey: CK_OBJECT_HANDLE,
        hKey: CK_OBJECT_HANDLE,
        pWrappedKey: CK_BYTE_PTR,
        pulWrappedKeyLen: CK_ULONG_PTR,
    ) {
        let call = lifecycle::enter()?;
        // SAFETY: the client's mechanism.
        let mut mechanism = unsafe { Sound::read(pMechanism) };
        match (call.object(hWrappingKey), call.object(hKey)) {
            (Object::Backend(wrapping_key), Object::Backend(key)) => {
                forward!(call.C_WrapKey(hSession, mechanism.as_ptr(), wrapping_key, key, pWrappedKey, pulWrappedKeyLen))
            }
            (Object::Mapped(_), _) => Err(Error::KeyFunctionNotPermitted),
            (Object::Backend(_), Object::Mapped(_)) => Err(Error::KeyUnextractable),
        }
    }

    /// `C_WrapKeyAuthenticated` (3.2): encrypts and authenticates a key with another one. Mapped keys do neither.
    fn C_WrapKeyAuthenticated(
        hSession: CK_SESSION_HANDLE,
        pMechanism: CK_MECHANISM_PTR,
        hWrappingKey: CK_OBJECT_HANDLE,
        hKey: CK_OBJECT_HANDLE,
        pAssociatedData: CK_BYTE_PTR,
        ulAssociatedDataLen: CK_ULONG,
        pWrappedKey: CK_BYTE_PTR,
        pulWrappedKeyLen: CK_ULONG_PTR,
    ) {
        let call = lifecycle::enter()?;
        args::plausible(ulAssociatedDataLen)?;
        // SAFETY: the client's mechanism.
        let mut mechanism = unsafe { Sound::read(pMechanism) };
        match (call.object(hWrappingKey), call.object(hKey)) {
            (Object::Backend(wrapping_key), Object::Backend(key)) => {
                forward!(call.C_WrapKeyAuthenticated(
                    hSession,
                    mechanism.as_ptr(),
                    wrapping_key,
                    key,
                    pAssociatedData,
                    ulAssociatedDataLen,
                    pWrappedKey,
                    pulWrappedKeyLen
                ))
            }
            (Object::Mapped(_), _) => Err(Error::KeyFunctionNotPermitted),
            (Object::Backend(_), Object::Mapped(_)) => Err(Error::KeyUnextractable),
        }
    }

    /// `C_UnwrapKey`: decrypts a key with another one, which no mapped key does.
    fn C_UnwrapKey(
        hSession: CK_SESSION_HANDLE,
        pMechanism: CK_MECHANISM_PTR,
        hUnwrappingKey: CK_OBJECT_HANDLE,
        pWrappedKey: CK_BYTE_PTR,
        ulWrappedKeyLen: CK_ULONG,
        pTemplate: CK_ATTRIBUTE_PTR,
        ulAttributeCount: CK_ULONG,
        phKey: CK_OBJECT_HANDLE_PTR,
    ) {
        let call = lifecycle::enter()?;
        args::plausible(ulWrappedKeyLen)?;
        // SAFETY: the client's mechanism.
        let mut mechanism = unsafe { Sound::read(pMechanism) };
        // SAFETY: the client's template.
        unsafe { args::check_template(pTemplate, ulAttributeCount) }?;
        match call.object(hUnwrappingKey) {
            Object::Backend(unwrapping_key) => {
                forward!(call.C_UnwrapKey(
                    hSession,
                    mechanism.as_ptr(),
                    unwrapping_key,
                    pWrappedKey,
                    ulWrappedKeyLen,
                    pTemplate,
                    ulAttributeCount,
                    phKey
                ))?;
                // SAFETY: the backend answered CKR_OK, so it wrote a handle through this pointer.
                unsafe { handles::show_handle(&call, phKey) }
            }
            Object::Mapped(_) => Err(Error::KeyFunctionNotPermitted),
        }
    }

    /// `C_UnwrapKeyAuthenticated` (3.2): decrypts and checks a key with another one, which no mapped key does.
    fn C_UnwrapKeyAuthenticated(
        hSession: CK_SESSION_HANDLE,
        pMechanism: CK_MECHANISM_PTR,
        hUnwrappingKey: CK_OBJECT_HANDLE,
        pWrappedKey: CK_BYTE_PTR,
        ulWrappedKeyLen: CK_ULONG,
        pTemplate: CK_ATTRIBUTE_PTR,
        ulAttributeCount: CK_ULONG,
        pAssociatedData: CK_BYTE_PTR,
        ulAssociatedDataLen: CK_ULONG,
        phKey: CK_OBJECT_HANDLE_PTR,
    ) {
        let call = lifecycle::enter()?;
        args::plausible(ulWrappedKeyLen)?;
        args::plausible(ulAssociatedDataLen)?;
        // SAFETY: the client's mechanism.
        let mut mechanism = unsafe { Sound::read(pMechanism) };
        // SAFETY: the client's template.
        unsafe { args::check_template(pTemplate, ulAttributeCount) }?;
        match call.object(hUnwrappingKey) {
            Object::Backend(unwrapping_key) => {
                forward!(call.C_UnwrapKeyAuthenticated(
                    hSession,
                    mechanism.as_ptr(),
                    unwrapping_key,
                    pWrappedKey,
                    ulWrappedKeyLen,
                    pTemplate,
                    ulAttributeCount,
                    pAssociatedData,
                    ulAssociatedDataLen,
                    phKey
                ))?;
                // SAFETY: the backend answered CKR_OK, so it wrote a handle through this pointer.
                unsafe { handles::show_handle(&call, phKey) }
            }
            Object::Mapped(_) => Err(Error::KeyFunctionNotPermitted),
        }
    }

    /// `C_DeriveKey`: makes a key from another one.
    fn C_DeriveKey(
        hSession: CK_SESSION_HANDLE,
        pMechanism: CK_MECHANISM_PTR,
        hBaseKey: CK_OBJECT_HANDLE,
        pTemplate: CK_ATTRIBUTE_PTR,
        ulAttributeCount: CK_ULONG,
        phKey: CK_OBJECT_HANDLE_PTR,
    ) {
        let call = lifecycle::enter()?;
        // SAFETY: the client's mechanism.
        let mut mechanism = unsafe { Sound::read(pMechanism) };
        // SAFETY: the client's template.
        unsafe { args::check_template(pTemplate, ulAttributeCount) }?;
        match call.object(hBaseKey) {
            Object::Backend(base_key) => {
                // SAFETY: the client's mechanism, or what was made of it.
                let mut translated = unsafe { Translated::read(&call, mechanism.as_ptr()) };
                let mechanism = translated.as_mut().map_or(mechanism.as_ptr(), Translated::as_ptr);
                forward!(call.C_DeriveKey(hSession, mechanism, base_key, pTemplate, ulAttributeCount, phKey))?;
                // SAFETY: the backend answered CKR_OK. Mechanisms that leave their keys elsewhere (TLS key material)
                // take a null pointer here.
                unsafe {
                    handles::show_handle(&call, phKey)?;
                    mechanism::show_key_material(&call, mechanism)
                }
            }
            Object::Mapped(base_key) => {
                // SAFETY: the client's mechanism and template.
                let (mechanism, template) = unsafe {
                    (args::Mechanism::read(mechanism.as_ptr())?, args::Template::read(pTemplate, ulAttributeCount)?)
                };
                if !matches!(mechanism.kind, CKM_ECDH1_DERIVE | CKM_ECDH1_COFACTOR_DERIVE) {
                    return Err(Error::MechanismInvalid);
                }
                // SAFETY: the mechanism is one of those whose parameter this is.
                let parameters = unsafe { args::Ecdh1::read(&mechanism) }?;
                args::check_place(phKey)?;
                let key = log::scoped(|| derive::derive_key(&call, hSession, base_key, &parameters, &template))?;
                // SAFETY: the client promises room for a handle.
                unsafe { args::put(phKey, call.aliases.to_client(key)?) }
            }
        }
    }

    /// `C_EncapsulateKey` (3.2): makes a key and encrypts it for the owner of a public key.
    fn C_EncapsulateKey(
        hSession: CK_SESSION_HANDLE,
        pMechanism: CK_MECHANISM_PTR,
        hPublicKey: CK_OBJECT_HANDLE,
        pTemplate: CK_ATTRIBUTE_PTR,
        ulAttributeCount: CK_ULONG,
        pCiphertext: CK_BYTE_PTR,
        pulCiphertextLen: CK_ULONG_PTR,
        phKey: CK_OBJECT_HANDLE_PTR,
    ) {
        let call = lifecycle::enter()?;
        // SAFETY: the client's mechanism.
        let mut mechanism = unsafe { Sound::read(pMechanism) };
        // SAFETY: the client's template.
        unsafe { args::check_template(pTemplate, ulAttributeCount) }?;
        match call.object(hPublicKey) {
            Object::Backend(public_key) => {
                forward!(call.C_EncapsulateKey(
                    hSession,
                    mechanism.as_ptr(),
                    public_key,
                    pTemplate,
                    ulAttributeCount,
                    pCiphertext,
                    pulCiphertextLen,
                    phKey
                ))?;
                if pCiphertext.is_null() {
                    // A length query makes no key.
                    return Ok(());
                }
                // SAFETY: the backend answered CKR_OK, so it wrote a handle through this pointer.
                unsafe { handles::show_handle(&call, phKey) }
            }
            Object::Mapped(_) => Err(Error::KeyFunctionNotPermitted),
        }
    }

    /// `C_DecapsulateKey` (3.2): decrypts a key that was encrypted for us.
    fn C_DecapsulateKey(
        hSession: CK_SESSION_HANDLE,
        pMechanism: CK_MECHANISM_PTR,
        hPrivateKey: CK_OBJECT_HANDLE,
        pTemplate: CK_ATTRIBUTE_PTR,
        ulAttributeCount: CK_ULONG,
        pCiphertext: CK_BYTE_PTR,
        ulCiphertextLen: CK_ULONG,
        phKey: CK_OBJECT_HANDLE_PTR,
    ) {
        let call = lifecycle::enter()?;
        args::plausible(ulCiphertextLen)?;
        // SAFETY: the client's mechanism.
        let mut mechanism = unsafe { Sound::read(pMechanism) };
        // SAFETY: the client's template.
        unsafe { args::check_template(pTemplate, ulAttributeCount) }?;
        match call.object(hPrivateKey) {
            Object::Backend(private_key) => {
                forward!(call.C_DecapsulateKey(
                    hSession,
                    mechanism.as_ptr(),
                    private_key,
                    pTemplate,
                    ulAttributeCount,
                    pCiphertext,
                    ulCiphertextLen,
                    phKey
                ))?;
                // SAFETY: the backend answered CKR_OK, so it wrote a handle through this pointer.
                unsafe { handles::show_handle(&call, phKey) }
            }
            Object::Mapped(_) => Err(Error::KeyFunctionNotPermitted),
        }
    }
}

/// Makes the pair on the device; `None` when it is for the backend to make.
///
/// # Safety
/// Mechanism and templates are the client's.
unsafe fn mapped_pair(
    call: &Instance,
    session: CK_SESSION_HANDLE,
    mechanism: &mut Sound,
    public: (CK_ATTRIBUTE_PTR, CK_ULONG),
    private: (CK_ATTRIBUTE_PTR, CK_ULONG),
    places: (CK_OBJECT_HANDLE_PTR, CK_OBJECT_HANDLE_PTR),
) -> Result<Option<(CK_OBJECT_HANDLE, CK_OBJECT_HANDLE)>, Error> {
    let kind = mechanism.kind();
    // SAFETY: as for this function. What cannot be read is left to the backend to refuse, unless it may be ours.
    let (mechanism, public, private) = unsafe {
        match (
            args::Mechanism::read(mechanism.as_ptr()),
            args::Template::read(public.0, public.1),
            args::Template::read(private.0, private.1),
        ) {
            (Ok(mechanism), Ok(public), Ok(private)) => (mechanism, public, private),
            (mechanism, public, private) if keygen::refuses_unreadable(call, kind) => {
                let refusal = mechanism.err().or(public.err()).or(private.err());
                return refusal.map_or(Ok(None), Err);
            }
            _ => return Ok(None),
        }
    };
    let Some(candidate) = keygen::candidate(call, &mechanism, &public, &private)? else { return Ok(None) };
    // Before a key is made that nobody could be told of.
    args::check_place(places.0)?;
    args::check_place(places.1)?;
    log::scoped(|| {
        let made = keygen::generate(call, session, &candidate, &mechanism, &public, &private)?;
        let Some(pair) = made else { return Ok(None) };
        let handle = |object| call.mapped.handles.handle(object).map(MappedHandle::to_client);
        Ok(Some((handle(&pair.public)?, handle(&pair.private)?)))
    })
}
