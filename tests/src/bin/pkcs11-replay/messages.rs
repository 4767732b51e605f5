//! Calls of 3.0: many messages under one key, logging in by name, cancelling.

use std::ptr::null_mut;

use cryptoki_sys::*;
use holdfast_tests::token;

use crate::call_of;
use crate::calls::Player;
use crate::values::{Output, digest, mechanism};

type List = &'static CK_FUNCTION_LIST_3_0;

/// An IV and a tag for one message, as CKM_AES_GCM takes them.
struct Gcm {
    iv: [u8; 12],
    tag: [u8; 16],
}

impl Gcm {
    /// The IV is given, never made: answers would not be the same twice.
    fn parameters(&mut self) -> CK_GCM_MESSAGE_PARAMS {
        CK_GCM_MESSAGE_PARAMS {
            pIv: self.iv.as_mut_ptr(),
            ulIvLen: 12,
            ulIvFixedBits: 0,
            ivGenerator: CKG_NO_GENERATE,
            pTag: self.tag.as_mut_ptr(),
            ulTagBits: 128,
        }
    }
}

const PARAMETERS: CK_ULONG = size_of::<CK_GCM_MESSAGE_PARAMS>() as CK_ULONG;

impl Player<'_> {
    pub(crate) fn call_of_3_0(&mut self, list: List) -> String {
        match self.random.below(20) {
            0..=8 => self.cipher_message(list),
            9 | 10 => self.whole_message(list),
            11..=15 => self.signed_message(list),
            16 => {
                let session = self.session();
                let mut pin = if self.random.once_in(4) { b"wrong".to_vec() } else { token::PIN.as_bytes().to_vec() };
                let mut name = b"somebody".to_vec();
                let length = *self.random.pick(&[0, 8]);
                let (pin, pin_length, name) = (pin.as_mut_ptr(), pin.len() as CK_ULONG, name.as_mut_ptr());
                let rv = call_of!(list, C_LoginUser, session, CKU_USER, pin, pin_length, name, length);
                format!("C_LoginUser {session} {length} {rv:#x}")
            }
            _ => {
                let session = self.session();
                let flags = *self.random.pick(&[
                    CKF_MESSAGE_ENCRYPT,
                    CKF_MESSAGE_DECRYPT | CKF_ENCRYPT,
                    CKF_MESSAGE_SIGN,
                    CKF_FIND_OBJECTS,
                    CKF_SIGN | CKF_VERIFY,
                    CKF_DIGEST | CKF_DECRYPT,
                    0,
                    1 << 30,
                ]);
                let rv = call_of!(list, C_SessionCancel, session, flags);
                format!("C_SessionCancel {session} {flags:#x} {rv:#x}")
            }
        }
    }

    /// One call of an encryption or decryption of messages.
    fn cipher_message(&mut self, list: List) -> String {
        let session = self.session();
        let kind = *self.random.pick(&[CKM_AES_GCM, CKM_AES_GCM, CKM_AES_GCM, CKM_AES_CBC, CKM_RSA_PKCS]);
        let key = self.key_for(kind);
        let mut raw_mechanism = mechanism(kind, &mut []);
        let mut gcm = Gcm { iv: [self.random.below(3) as u8; 12], tag: [0; 16] };
        let mut parameters = gcm.parameters();
        let parameters = (&raw mut parameters).cast();
        let (mut aad, mut data) = ([0x61_u8; 5], [0x71_u8; 40]);
        let (aad, data) = (aad.as_mut_ptr(), data.as_mut_ptr());
        let length = *self.random.pick(&[0, 16, 40]);
        let mut output = Output::new(*self.random.pick(&[0, 16, 64, 64]));
        let out = if self.random.once_in(6) { null_mut() } else { output.pointer() };
        let out_length = &mut output.length;
        let flags = if self.random.once_in(2) { CKF_END_OF_MESSAGE } else { 0 };
        let (name, rv) = match self.random.below(12) {
            0 | 1 => ("C_MessageEncryptInit", call_of!(list, C_MessageEncryptInit, session, &mut raw_mechanism, key)),
            2 => ("C_MessageDecryptInit", call_of!(list, C_MessageDecryptInit, session, &mut raw_mechanism, key)),
            3 => {
                let function = list.C_EncryptMessage.expect("C_EncryptMessage");
                // SAFETY: every pointer comes from a local above, with its length.
                let rv = unsafe { function(session, parameters, PARAMETERS, aad, 5, data, length, out, out_length) };
                ("C_EncryptMessage", rv)
            }
            4 => {
                let function = list.C_DecryptMessage.expect("C_DecryptMessage");
                // SAFETY: as above.
                let rv = unsafe { function(session, parameters, PARAMETERS, aad, 5, data, length, out, out_length) };
                ("C_DecryptMessage", rv)
            }
            5 => {
                let rv = call_of!(list, C_EncryptMessageBegin, session, parameters, PARAMETERS, aad, 5);
                ("C_EncryptMessageBegin", rv)
            }
            6 => {
                let rv = call_of!(list, C_DecryptMessageBegin, session, parameters, PARAMETERS, aad, 5);
                ("C_DecryptMessageBegin", rv)
            }
            7 | 8 => {
                let function = list.C_EncryptMessageNext.expect("C_EncryptMessageNext");
                // SAFETY: as above.
                let rv = unsafe { function(session, parameters, PARAMETERS, data, length, out, out_length, flags) };
                ("C_EncryptMessageNext", rv)
            }
            9 => {
                let function = list.C_DecryptMessageNext.expect("C_DecryptMessageNext");
                // SAFETY: as above.
                let rv = unsafe { function(session, parameters, PARAMETERS, data, length, out, out_length, flags) };
                ("C_DecryptMessageNext", rv)
            }
            10 => ("C_MessageEncryptFinal", call_of!(list, C_MessageEncryptFinal, session)),
            _ => ("C_MessageDecryptFinal", call_of!(list, C_MessageDecryptFinal, session)),
        };
        let described = output.describe(rv, !out.is_null());
        format!("{name} {session} {key} {kind:#x} {length} {flags} {described} {}", digest(&gcm.tag))
    }

    /// A message that is encrypted and decrypted again, each in one part or in two.
    fn whole_message(&mut self, list: List) -> String {
        let session = self.session();
        let key = self.key_for(CKM_AES_GCM);
        let mut raw_mechanism = mechanism(CKM_AES_GCM, &mut []);
        let mut gcm = Gcm { iv: [7; 12], tag: [0; 16] };
        let mut data = [0x71_u8; 40];
        let init = call_of!(list, C_MessageEncryptInit, session, &mut raw_mechanism, key);
        let (name, rv, mut encrypted) = if self.random.once_in(2) {
            encrypt(list, session, &mut gcm, &mut data)
        } else {
            encrypt_parts(list, session, &mut gcm, &mut data)
        };
        let end = call_of!(list, C_MessageEncryptFinal, session);
        let first = format!("{init:#x} {} {end:#x} {}", encrypted.describe(rv, true), digest(&gcm.tag));
        if rv != CKR_OK {
            return format!("{name} {session} {key} {first}");
        }
        let encrypted = &mut encrypted.bytes[..encrypted.length as usize];
        let init = call_of!(list, C_MessageDecryptInit, session, &mut raw_mechanism, key);
        let (second_name, rv, decrypted) = if self.random.once_in(2) {
            decrypt(list, session, &mut gcm, encrypted)
        } else {
            decrypt_parts(list, session, &mut gcm, encrypted)
        };
        let end = call_of!(list, C_MessageDecryptFinal, session);
        let second = format!("{init:#x} {} {end:#x}", decrypted.describe(rv, true));
        format!("{name}+{second_name} {session} {key} {first} {second}")
    }

    fn signed_message(&mut self, list: List) -> String {
        let session = self.session();
        let kind = *self.random.pick(&[CKM_ECDSA, CKM_SHA256_HMAC, CKM_SHA256_RSA_PKCS]);
        let key = self.key_for(kind);
        let mut raw_mechanism = mechanism(kind, &mut []);
        let mut data = [0x31_u8; 32];
        let data = data.as_mut_ptr();
        let mut output = Output::new(*self.random.pick(&[0, 64, 128]));
        let (out, out_length) = (output.pointer(), &mut output.length);
        let mut signature = [0x77_u8; 64];
        let signature = signature.as_mut_ptr();
        let none = null_mut();
        let (name, rv) = match self.random.below(10) {
            0 => ("C_MessageSignInit", call_of!(list, C_MessageSignInit, session, &mut raw_mechanism, key)),
            1 => ("C_SignMessage", call_of!(list, C_SignMessage, session, none, 0, data, 32, out, out_length)),
            2 => ("C_SignMessageBegin", call_of!(list, C_SignMessageBegin, session, none, 0)),
            3 => {
                let rv = call_of!(list, C_SignMessageNext, session, none, 0, data, 32, out, out_length);
                ("C_SignMessageNext", rv)
            }
            4 => ("C_MessageSignFinal", call_of!(list, C_MessageSignFinal, session)),
            5 => ("C_MessageVerifyInit", call_of!(list, C_MessageVerifyInit, session, &mut raw_mechanism, key)),
            6 => ("C_VerifyMessage", call_of!(list, C_VerifyMessage, session, none, 0, data, 32, signature, 64)),
            7 => ("C_VerifyMessageBegin", call_of!(list, C_VerifyMessageBegin, session, none, 0)),
            8 => {
                ("C_VerifyMessageNext", call_of!(list, C_VerifyMessageNext, session, none, 0, data, 32, signature, 64))
            }
            _ => ("C_MessageVerifyFinal", call_of!(list, C_MessageVerifyFinal, session)),
        };
        format!("{name} {session} {key} {kind:#x} {}", output.describe(rv, false))
    }
}

fn encrypt(list: List, session: CK_SESSION_HANDLE, gcm: &mut Gcm, data: &mut [u8]) -> (&'static str, CK_RV, Output) {
    let mut parameters = gcm.parameters();
    let mut output = Output::new(64);
    let mut aad = [0x61_u8; 5];
    let rv = call_of!(
        list,
        C_EncryptMessage,
        session,
        (&raw mut parameters).cast(),
        PARAMETERS,
        aad.as_mut_ptr(),
        5,
        data.as_mut_ptr(),
        data.len() as CK_ULONG,
        output.pointer(),
        &mut output.length,
    );
    ("C_EncryptMessage", rv, output)
}

/// The same in two parts; the first code that is no `CKR_OK`.
fn encrypt_parts(
    list: List,
    session: CK_SESSION_HANDLE,
    gcm: &mut Gcm,
    data: &mut [u8],
) -> (&'static str, CK_RV, Output) {
    let mut parameters = gcm.parameters();
    let mut output = Output::new(64);
    let mut aad = [0x61_u8; 5];
    let parameters = (&raw mut parameters).cast();
    let mut rv = call_of!(list, C_EncryptMessageBegin, session, parameters, PARAMETERS, aad.as_mut_ptr(), 5);
    let mut done = 0;
    let half = data.len() / 2;
    for (part, flags) in [(0..half, 0), (half..data.len(), CKF_END_OF_MESSAGE)] {
        let part = &mut data[part];
        let mut length = 64 - done;
        let answer = call_of!(
            list,
            C_EncryptMessageNext,
            session,
            parameters,
            PARAMETERS,
            part.as_mut_ptr(),
            part.len() as CK_ULONG,
            output.bytes[done as usize..].as_mut_ptr(),
            &mut length,
            flags,
        );
        done += if answer == CKR_OK { length } else { 0 };
        rv = if rv == CKR_OK { answer } else { rv };
    }
    output.length = done;
    ("C_EncryptMessageBegin+C_EncryptMessageNext", rv, output)
}

fn decrypt(list: List, session: CK_SESSION_HANDLE, gcm: &mut Gcm, data: &mut [u8]) -> (&'static str, CK_RV, Output) {
    let mut parameters = gcm.parameters();
    let mut output = Output::new(64);
    let mut aad = [0x61_u8; 5];
    let rv = call_of!(
        list,
        C_DecryptMessage,
        session,
        (&raw mut parameters).cast(),
        PARAMETERS,
        aad.as_mut_ptr(),
        5,
        data.as_mut_ptr(),
        data.len() as CK_ULONG,
        output.pointer(),
        &mut output.length,
    );
    ("C_DecryptMessage", rv, output)
}

/// The same in two parts; the first code that is no `CKR_OK`.
fn decrypt_parts(
    list: List,
    session: CK_SESSION_HANDLE,
    gcm: &mut Gcm,
    data: &mut [u8],
) -> (&'static str, CK_RV, Output) {
    let mut parameters = gcm.parameters();
    let mut output = Output::new(64);
    let mut aad = [0x61_u8; 5];
    let parameters = (&raw mut parameters).cast();
    let mut rv = call_of!(list, C_DecryptMessageBegin, session, parameters, PARAMETERS, aad.as_mut_ptr(), 5);
    let mut done = 0;
    let half = data.len() / 2;
    for (part, flags) in [(0..half, 0), (half..data.len(), CKF_END_OF_MESSAGE)] {
        let part = &mut data[part];
        let mut length = 64 - done;
        let answer = call_of!(
            list,
            C_DecryptMessageNext,
            session,
            parameters,
            PARAMETERS,
            part.as_mut_ptr(),
            part.len() as CK_ULONG,
            output.bytes[done as usize..].as_mut_ptr(),
            &mut length,
            flags,
        );
        done += if answer == CKR_OK { length } else { 0 };
        rv = if rv == CKR_OK { answer } else { rv };
    }
    output.length = done;
    ("C_DecryptMessageBegin+C_DecryptMessageNext", rv, output)
}
