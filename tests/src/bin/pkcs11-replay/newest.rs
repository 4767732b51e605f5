//! Calls of 3.2: signatures that are known first, encapsulation, authenticated wrapping, asynchronous calls.

use std::ptr::null_mut;

use cryptoki_sys::*;

use crate::calls::Player;
use crate::values::{Output, Template, mechanism};
use crate::{call, call_of};

type List = &'static CK_FUNCTION_LIST_3_2;

impl Player<'_> {
    pub(crate) fn call_of_3_2(&mut self, list: List) -> String {
        match self.random.below(12) {
            0..=3 => self.known_signature(list),
            4 | 5 => self.whole_signature(list),
            6 | 7 => self.encapsulation(list),
            8 | 9 => self.authenticated_wrapping(list),
            10 => {
                let session = self.session();
                let kind = *self.random.pick(&[CKS_LAST_VALIDATION_OK, 0, 99]);
                let mut flags = 0;
                let rv = call_of!(list, C_GetSessionValidationFlags, session, kind, &mut flags);
                format!("C_GetSessionValidationFlags {session} {kind} {rv:#x} {flags:#x}")
            }
            _ => self.asynchronous(list),
        }
    }

    fn known_signature(&mut self, list: List) -> String {
        let session = self.session();
        let kind = *self.random.pick(&[CKM_ECDSA, CKM_ECDSA_SHA256, CKM_SHA256_HMAC, CKM_SHA256_RSA_PKCS]);
        let key = self.key_for(kind);
        let mut raw_mechanism = mechanism(kind, &mut []);
        let (mut data, mut signature) = ([0x31_u8; 32], [0x77_u8; 128]);
        let (data, signature) = (data.as_mut_ptr(), signature.as_mut_ptr());
        let length = *self.random.pick(&[32, 64, 128]);
        let (name, rv) = match self.random.below(6) {
            0 | 1 => {
                let function = list.C_VerifySignatureInit.expect("C_VerifySignatureInit");
                // SAFETY: every pointer comes from a local above, with its length.
                let rv = unsafe { function(session, &mut raw_mechanism, key, signature, length) };
                ("C_VerifySignatureInit", rv)
            }
            2 => ("C_VerifySignature", call_of!(list, C_VerifySignature, session, data, 32)),
            3 | 4 => ("C_VerifySignatureUpdate", call_of!(list, C_VerifySignatureUpdate, session, data, 32)),
            _ => ("C_VerifySignatureFinal", call_of!(list, C_VerifySignatureFinal, session)),
        };
        format!("{name} {session} {key} {kind:#x} {length} {rv:#x}")
    }

    /// Signs, and verifies what came of it, in one part or in several.
    fn whole_signature(&mut self, list: List) -> String {
        let session = self.session();
        let kind = *self.random.pick(&[CKM_ECDSA, CKM_ECDSA_SHA256, CKM_SHA256_HMAC, CKM_SHA256_RSA_PKCS]);
        let (key, other) = (self.key_for(kind), self.key_for(kind));
        let mut raw_mechanism = mechanism(kind, &mut []);
        let mut data = [0x31_u8; 32];
        let data = data.as_mut_ptr();
        let mut signed = Output::new(300);
        let init = call!(self.module, C_SignInit, session, &mut raw_mechanism, key);
        let (out, out_length) = (signed.pointer(), &mut signed.length);
        let rv = call!(self.module, C_Sign, session, data, 32, out, out_length);
        let first = format!("{init:#x} {rv:#x}");
        if rv != CKR_OK {
            return format!("C_SignInit+C_Sign {session} {key} {kind:#x} {first}");
        }
        let (signature, length) = (signed.pointer(), signed.length);
        let init = call_of!(list, C_VerifySignatureInit, session, &mut raw_mechanism, other, signature, length);
        let (name, rv) = if self.random.once_in(2) {
            ("C_VerifySignature", call_of!(list, C_VerifySignature, session, data, 32))
        } else {
            let update = call_of!(list, C_VerifySignatureUpdate, session, data, 32);
            let end = call_of!(list, C_VerifySignatureFinal, session);
            ("C_VerifySignatureUpdate+C_VerifySignatureFinal", if update == CKR_OK { end } else { update })
        };
        format!("{name} {session} {key} {other} {kind:#x} {first} {length} {init:#x} {rv:#x}")
    }

    fn encapsulation(&mut self, list: List) -> String {
        let session = self.session();
        let kind = *self.random.pick(&[CKM_ML_KEM, CKM_RSA_PKCS, CKM_ECDH1_DERIVE]);
        let key = self.key_for(kind);
        let mut raw_mechanism = mechanism(kind, &mut []);
        let mut template = Template::default().number(CKA_CLASS, CKO_SECRET_KEY).number(CKA_KEY_TYPE, CKK_AES);
        let mut raw = template.raw();
        let (template, count) = (raw.as_mut_ptr(), raw.len() as CK_ULONG);
        let mut handle = 0;
        let mut output = Output::new(300);
        let (out, length) = (output.pointer(), &mut output.length);
        let (name, rv) = if self.random.once_in(2) {
            let function = list.C_EncapsulateKey.expect("C_EncapsulateKey");
            // SAFETY: every pointer comes from a local above, with its length.
            let rv = unsafe { function(session, &mut raw_mechanism, key, template, count, out, length, &mut handle) };
            ("C_EncapsulateKey", rv)
        } else {
            let function = list.C_DecapsulateKey.expect("C_DecapsulateKey");
            // SAFETY: as above.
            let rv = unsafe { function(session, &mut raw_mechanism, key, template, count, out, 128, &mut handle) };
            ("C_DecapsulateKey", rv)
        };
        format!("{name} {session} {key} {kind:#x} {} {handle}", output.describe(rv, false))
    }

    fn authenticated_wrapping(&mut self, list: List) -> String {
        let (session, other) = (self.session(), self.object());
        let kind = *self.random.pick(&[CKM_AES_GCM, CKM_AES_KEY_WRAP]);
        let key = self.key_for(kind);
        let mut raw_mechanism = mechanism(kind, &mut []);
        let mut aad = [0x61_u8; 5];
        let aad = aad.as_mut_ptr();
        let mut output = Output::new(300);
        let (out, length) = (output.pointer(), &mut output.length);
        if self.random.once_in(2) {
            let function = list.C_WrapKeyAuthenticated.expect("C_WrapKeyAuthenticated");
            // SAFETY: every pointer comes from a local above, with its length.
            let rv = unsafe { function(session, &mut raw_mechanism, key, other, aad, 5, out, length) };
            return format!("C_WrapKeyAuthenticated {session} {key} {other} {kind:#x} {}", output.describe(rv, false));
        }
        let mut template = Template::default().number(CKA_CLASS, CKO_SECRET_KEY).number(CKA_KEY_TYPE, CKK_AES);
        let mut raw = template.raw();
        let (template, count) = (raw.as_mut_ptr(), raw.len() as CK_ULONG);
        let mut handle = 0;
        let function = list.C_UnwrapKeyAuthenticated.expect("C_UnwrapKeyAuthenticated");
        // SAFETY: as above.
        let rv = unsafe { function(session, &mut raw_mechanism, key, out, 24, template, count, aad, 5, &mut handle) };
        self.remember(rv, handle);
        format!("C_UnwrapKeyAuthenticated {session} {key} {kind:#x} {rv:#x} {handle}")
    }

    fn asynchronous(&mut self, list: List) -> String {
        let session = self.session();
        let name = c"C_Sign".as_ptr().cast_mut().cast();
        let mut number = 0;
        match self.random.below(3) {
            0 => {
                let mut data =
                    CK_ASYNC_DATA { ulVersion: 0, pValue: null_mut(), ulValue: 0, hObject: 0, hAdditionalObject: 0 };
                let rv = call_of!(list, C_AsyncComplete, session, name, &mut data);
                format!("C_AsyncComplete {session} {rv:#x} {}", { data.ulValue })
            }
            1 => {
                let rv = call_of!(list, C_AsyncGetID, session, name, &mut number);
                format!("C_AsyncGetID {session} {rv:#x} {number}")
            }
            _ => {
                let mut data = [0_u8; 16];
                let rv = call_of!(list, C_AsyncJoin, session, name, 1, data.as_mut_ptr(), 16);
                format!("C_AsyncJoin {session} {rv:#x}")
            }
        }
    }
}
