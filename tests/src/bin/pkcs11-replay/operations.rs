//! Calls that use keys: encryption, digests, signatures, wrapping and derivation.

use std::ptr::null_mut;

use cryptoki_sys::*;

use crate::call;
use crate::calls::Player;
use crate::values::{Output, P256_GENERATOR, Template, mechanism, unhex};

impl Player<'_> {
    pub(crate) fn cipher(&mut self) -> String {
        let session = self.session();
        let kind =
            *self.random.pick(&[CKM_AES_ECB, CKM_AES_ECB, CKM_AES_CBC, CKM_AES_CBC_PAD, CKM_RSA_PKCS, CKM_ECDSA]);
        let key = self.key_for(kind);
        let mut iv = [9_u8; 16];
        let parameter: &mut [u8] = if kind == CKM_AES_CBC || kind == CKM_AES_CBC_PAD { &mut iv } else { &mut [] };
        let mut raw_mechanism = mechanism(kind, parameter);
        let length = *self.random.pick(&[0, 1, 16, 32, 33, 64]);
        let mut data = vec![0x5c_u8; length];
        let mut output = Output::new(*self.random.pick(&[0, 16, 256, 256, 256]));
        let (pointer, data_length) = (data.as_mut_ptr(), length as CK_ULONG);
        let out = if self.random.once_in(6) { null_mut() } else { output.pointer() };
        let (name, rv) = match self.random.below(16) {
            10.. => {
                let init = call!(self.module, C_EncryptInit, session, &mut raw_mechanism, key);
                if init != CKR_OK {
                    return format!("C_EncryptInit {session} {key} {kind:#x} {init:#x}");
                }
                let rv = call!(self.module, C_Encrypt, session, pointer, data_length, out, &mut output.length);
                if rv == CKR_OK && !out.is_null() {
                    return self.decrypt_again(session, &mut raw_mechanism, key, &output);
                }
                ("C_EncryptInit+C_Encrypt", rv)
            }
            0 | 1 => ("C_EncryptInit", call!(self.module, C_EncryptInit, session, &mut raw_mechanism, key)),
            2 => ("C_DecryptInit", call!(self.module, C_DecryptInit, session, &mut raw_mechanism, key)),
            3 => {
                let length = &mut output.length;
                ("C_Encrypt", call!(self.module, C_Encrypt, session, pointer, data_length, out, length))
            }
            4 => {
                let length = &mut output.length;
                ("C_EncryptUpdate", call!(self.module, C_EncryptUpdate, session, pointer, data_length, out, length))
            }
            5 => ("C_EncryptFinal", call!(self.module, C_EncryptFinal, session, out, &mut output.length)),
            6 => {
                let length = &mut output.length;
                ("C_Decrypt", call!(self.module, C_Decrypt, session, pointer, data_length, out, length))
            }
            7 => {
                let length = &mut output.length;
                ("C_DecryptUpdate", call!(self.module, C_DecryptUpdate, session, pointer, data_length, out, length))
            }
            8 => ("C_DecryptFinal", call!(self.module, C_DecryptFinal, session, out, &mut output.length)),
            _ => {
                let rv = call!(self.module, C_EncryptInit, session, null_mut(), key);
                ("C_EncryptInit null", rv)
            }
        };
        // The one ciphertext of this length is RSA's, whose padding is random.
        let reproducible = !out.is_null() && output.length != 128;
        format!("{name} {session} {key} {kind:#x} {length} {}", output.describe(rv, reproducible))
    }

    /// Decrypts what was just encrypted; with RSA that takes the other half of the key.
    fn decrypt_again(
        &mut self,
        session: CK_SESSION_HANDLE,
        raw_mechanism: &mut CK_MECHANISM,
        key: CK_OBJECT_HANDLE,
        encrypted: &Output,
    ) -> String {
        let (kind, length) = ({ raw_mechanism.mechanism }, encrypted.length);
        // RSA's padding is random.
        let first = encrypted.describe(CKR_OK, kind != CKM_RSA_PKCS);
        let other = if kind == CKM_RSA_PKCS { self.key_for(kind) } else { key };
        let init = call!(self.module, C_DecryptInit, session, raw_mechanism, other);
        let mut bytes = encrypted.bytes.clone();
        let mut output = Output::new(256);
        let (out, out_length) = (output.pointer(), &mut output.length);
        let rv = call!(self.module, C_Decrypt, session, bytes.as_mut_ptr(), length, out, out_length);
        // With a padding that is wrong, SoftHSM2's answer depends on the random bytes.
        let described = if init == CKR_OK && rv == CKR_OK { output.describe(rv, true) } else { format!("{rv:#x}") };
        format!("C_Encrypt+C_Decrypt {session} {key} {other} {kind:#x} {first} {init:#x} {described}")
    }

    pub(crate) fn digest(&mut self) -> String {
        let session = self.session();
        let mut raw_mechanism =
            mechanism(*self.random.pick(&[CKM_SHA256, CKM_SHA_1, CKM_SHA512, CKM_AES_CBC]), &mut []);
        let mut data = vec![1_u8; *self.random.pick(&[0, 1, 100])];
        let (pointer, length) = (data.as_mut_ptr(), data.len() as CK_ULONG);
        let mut output = Output::new(*self.random.pick(&[10, 64, 64, 64]));
        let (name, rv) = match self.random.below(5) {
            0 | 1 => ("C_DigestInit", call!(self.module, C_DigestInit, session, &mut raw_mechanism)),
            2 => {
                let (out, out_length) = (output.pointer(), &mut output.length);
                ("C_Digest", call!(self.module, C_Digest, session, pointer, length, out, out_length))
            }
            3 if self.random.once_in(3) => {
                let key = self.object();
                ("C_DigestKey", call!(self.module, C_DigestKey, session, key))
            }
            3 => ("C_DigestUpdate", call!(self.module, C_DigestUpdate, session, pointer, length)),
            _ => {
                let (out, out_length) = (output.pointer(), &mut output.length);
                ("C_DigestFinal", call!(self.module, C_DigestFinal, session, out, out_length))
            }
        };
        format!("{name} {session} {}", output.describe(rv, true))
    }

    pub(crate) fn sign_or_verify(&mut self) -> String {
        let session = self.session();
        let kind = *self.random.pick(&[
            CKM_SHA256_HMAC,
            CKM_SHA_1_HMAC,
            CKM_ECDSA,
            CKM_ECDSA,
            CKM_AES_CMAC,
            CKM_RSA_PKCS,
            CKM_SHA256_RSA_PKCS,
        ]);
        let key = self.key_for(kind);
        let mut raw_mechanism = mechanism(kind, &mut []);
        let mut data = vec![0x31_u8; *self.random.pick(&[0, 20, 32, 48, 100])];
        let (pointer, length) = (data.as_mut_ptr(), data.len() as CK_ULONG);
        let mut output = Output::new(*self.random.pick(&[0, 20, 64, 64, 300]));
        let out = if self.random.once_in(5) { null_mut() } else { output.pointer() };
        let mut signature = vec![0x77_u8; *self.random.pick(&[20, 32, 64])];
        let (signature_pointer, signature_length) = (signature.as_mut_ptr(), signature.len() as CK_ULONG);
        let (name, rv) = match self.random.below(14) {
            0 | 1 => ("C_SignInit", call!(self.module, C_SignInit, session, &mut raw_mechanism, key)),
            2 => ("C_Sign", call!(self.module, C_Sign, session, pointer, length, out, &mut output.length)),
            3 => ("C_SignUpdate", call!(self.module, C_SignUpdate, session, pointer, length)),
            4 => ("C_SignFinal", call!(self.module, C_SignFinal, session, out, &mut output.length)),
            5 => ("C_VerifyInit", call!(self.module, C_VerifyInit, session, &mut raw_mechanism, key)),
            6 => {
                let rv = call!(self.module, C_Verify, session, pointer, length, signature_pointer, signature_length);
                ("C_Verify", rv)
            }
            7 => ("C_VerifyUpdate", call!(self.module, C_VerifyUpdate, session, pointer, length)),
            8 => ("C_VerifyFinal", call!(self.module, C_VerifyFinal, session, signature_pointer, signature_length)),
            9 => ("C_SignInit null", call!(self.module, C_SignInit, session, null_mut(), key)),
            _ => {
                let init = call!(self.module, C_SignInit, session, &mut raw_mechanism, key);
                if init != CKR_OK {
                    return format!("C_SignInit {session} {key} {kind:#x} {init:#x}");
                }
                let rv = call!(self.module, C_Sign, session, pointer, length, out, &mut output.length);
                if rv == CKR_OK && !out.is_null() {
                    return self.verify_again(session, &mut raw_mechanism, key, &mut data, &output);
                }
                ("C_SignInit+C_Sign", rv)
            }
        };
        // An ECDSA signature is random, and which mechanism an open operation has is not known here: lengths only.
        format!("{name} {session} {key} {kind:#x} {}", output.describe(rv, false))
    }

    /// Verifies what was just signed: with the same key, or the newest that the mechanism takes.
    fn verify_again(
        &mut self,
        session: CK_SESSION_HANDLE,
        raw_mechanism: &mut CK_MECHANISM,
        key: CK_OBJECT_HANDLE,
        data: &mut [u8],
        signed: &Output,
    ) -> String {
        let kind = raw_mechanism.mechanism;
        let first = signed.describe(CKR_OK, kind != CKM_ECDSA);
        let other = if self.random.once_in(2) { key } else { self.key_for(kind) };
        let mut signature = signed.bytes.clone();
        let (pointer, length) = (data.as_mut_ptr(), data.len() as CK_ULONG);
        let init = call!(self.module, C_VerifyInit, session, raw_mechanism, other);
        let (signature, signature_length) = (signature.as_mut_ptr(), signed.length);
        let rv = call!(self.module, C_Verify, session, pointer, length, signature, signature_length);
        format!("C_Sign+C_Verify {session} {key} {other} {kind:#x} {first} {init:#x} {rv:#x}")
    }

    pub(crate) fn wrap_unwrap_derive(&mut self) -> String {
        let (session, other) = (self.session(), self.object());
        let function = self.random.below(3);
        let key = self.key_for(if function == 2 { CKM_ECDH1_DERIVE } else { CKM_AES_KEY_WRAP });
        match function {
            0 => {
                let mut raw_mechanism = mechanism(CKM_AES_KEY_WRAP, &mut []);
                let mut output = Output::new(300);
                let (out, length) = (output.pointer(), &mut output.length);
                let rv = call!(self.module, C_WrapKey, session, &mut raw_mechanism, key, other, out, length);
                let described = output.describe(rv, true);
                if rv != CKR_OK {
                    return format!("C_WrapKey {session} {key} {other} {described}");
                }
                let mut wrapped = output.bytes[..output.length as usize].to_vec();
                format!("C_WrapKey+{} {other} {described}", self.unwrap_key(session, key, &mut wrapped))
            }
            1 => self.unwrap_key(session, key, &mut [0x42; 24]),
            _ => {
                let mut point = unhex(P256_GENERATOR);
                if self.random.once_in(3) {
                    point = [vec![0x04, 0x41], point].concat();
                }
                let mut parameters = CK_ECDH1_DERIVE_PARAMS {
                    kdf: CKD_NULL,
                    ulSharedDataLen: 0,
                    pSharedData: null_mut(),
                    ulPublicDataLen: point.len() as CK_ULONG,
                    pPublicData: point.as_mut_ptr(),
                };
                let mut raw_mechanism = CK_MECHANISM {
                    mechanism: CKM_ECDH1_DERIVE,
                    pParameter: (&raw mut parameters).cast(),
                    ulParameterLen: size_of::<CK_ECDH1_DERIVE_PARAMS>() as CK_ULONG,
                };
                let mut template = Template::default()
                    .number(CKA_CLASS, CKO_SECRET_KEY)
                    .number(CKA_KEY_TYPE, CKK_GENERIC_SECRET)
                    .number(CKA_VALUE_LEN, 32)
                    .flag(CKA_SENSITIVE, false)
                    .flag(CKA_EXTRACTABLE, true);
                let mut raw = template.raw();
                let count = raw.len() as CK_ULONG;
                let mut handle = 0;
                let rv = call!(
                    self.module,
                    C_DeriveKey,
                    session,
                    &mut raw_mechanism,
                    key,
                    raw.as_mut_ptr(),
                    count,
                    &mut handle
                );
                self.remember(rv, handle);
                format!("C_DeriveKey {session} {key} {rv:#x} {handle}")
            }
        }
    }

    /// Unwraps what should be an AES key.
    fn unwrap_key(&mut self, session: CK_SESSION_HANDLE, key: CK_OBJECT_HANDLE, wrapped: &mut [u8]) -> String {
        let mut raw_mechanism = mechanism(CKM_AES_KEY_WRAP, &mut []);
        let mut template = Template::default().number(CKA_CLASS, CKO_SECRET_KEY).number(CKA_KEY_TYPE, CKK_AES);
        let mut raw = template.raw();
        let (template, count) = (raw.as_mut_ptr(), raw.len() as CK_ULONG);
        let (wrapped, length) = (wrapped.as_mut_ptr(), wrapped.len() as CK_ULONG);
        let mut handle = 0;
        let rv = call!(
            self.module,
            C_UnwrapKey,
            session,
            &mut raw_mechanism,
            key,
            wrapped,
            length,
            template,
            count,
            &mut handle
        );
        self.remember(rv, handle);
        format!("C_UnwrapKey {session} {key} {rv:#x} {handle}")
    }

    pub(crate) fn combined(&mut self) -> String {
        let (session, key) = (self.session(), self.object());
        let mut data = [3_u8; 16];
        let mut output = Output::new(64);
        let (pointer, out, length) = (data.as_mut_ptr(), output.pointer(), &raw mut output.length);
        let mut raw_mechanism = mechanism(CKM_ECDSA, &mut []);
        let module = self.module;
        let (name, rv) = match self.random.below(9) {
            0 => ("C_DigestEncryptUpdate", call!(module, C_DigestEncryptUpdate, session, pointer, 16, out, length)),
            1 => ("C_DecryptDigestUpdate", call!(module, C_DecryptDigestUpdate, session, pointer, 16, out, length)),
            2 => ("C_SignEncryptUpdate", call!(module, C_SignEncryptUpdate, session, pointer, 16, out, length)),
            3 => ("C_DecryptVerifyUpdate", call!(module, C_DecryptVerifyUpdate, session, pointer, 16, out, length)),
            4 => ("C_SignRecoverInit", call!(module, C_SignRecoverInit, session, &mut raw_mechanism, key)),
            5 => ("C_SignRecover", call!(module, C_SignRecover, session, pointer, 16, out, length)),
            6 => ("C_VerifyRecoverInit", call!(module, C_VerifyRecoverInit, session, &mut raw_mechanism, key)),
            7 => ("C_VerifyRecover", call!(module, C_VerifyRecover, session, pointer, 16, out, length)),
            _ => {
                let rv = call!(module, C_Encrypt, session, null_mut(), 0, null_mut(), null_mut());
                ("C_Encrypt null", rv)
            }
        };
        format!("{name} {session} {rv:#x}")
    }

    pub(crate) fn operation_state(&mut self) -> String {
        let session = self.session();
        if self.random.once_in(2) {
            let mut output = Output::new(1000);
            let (out, length) = (output.pointer(), &mut output.length);
            let rv = call!(self.module, C_GetOperationState, session, out, length);
            if rv == CKR_OK {
                self.saved_state = output.bytes[..output.length as usize].to_vec();
            }
            return format!("C_GetOperationState {session} {}", output.describe(rv, true));
        }
        let mut state = self.saved_state.clone();
        let length = state.len() as CK_ULONG;
        let rv = call!(self.module, C_SetOperationState, session, state.as_mut_ptr(), length, 0, 0);
        format!("C_SetOperationState {session} {rv:#x}")
    }
}
