//! The functions that mapped keys have no part in: they answer as ever, and leave what is in progress with mapped keys
//! alone, as the steps that follow find.

use std::ptr::null_mut;

use cryptoki_sys::*;
use libfuzzer_sys::arbitrary::{Result, Unstructured};

use super::model::{Half, Login};
use super::{Client, expect};
use crate::call;
use crate::call::{Guarded, Mechanism, Template};
use crate::input::pick;
use crate::site::PIN;

impl Client<'_> {
    pub(super) fn others(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        match u.int_in_range(0..=6)? {
            0 => self.about_the_token(),
            1 => self.digest(u)?,
            2 => self.nothing_begun(u)?,
            3 => self.combined(u)?,
            4 => self.secret_key(u)?,
            5 => self.change_pin(u)?,
            _ => self.legacy(u)?,
        }
        Ok(())
    }

    fn about_the_token(&self) {
        let errors: &[CK_RV] = if self.model.initialized { &[] } else { &[CKR_CRYPTOKI_NOT_INITIALIZED] };
        // SAFETY: numbers and bytes, for which zero is a value.
        let (mut info, mut slot_info, mut token_info) = unsafe { std::mem::zeroed() };
        expect("C_GetInfo", call!(self.module(), C_GetInfo(&mut info)), errors);
        expect("C_GetSlotInfo", call!(self.module(), C_GetSlotInfo(self.world.slot, &mut slot_info)), errors);
        expect("C_GetTokenInfo", call!(self.module(), C_GetTokenInfo(self.world.slot, &mut token_info)), errors);
        let mut count = 0;
        let rv = call!(self.module(), C_GetMechanismList(self.world.slot, null_mut(), &mut count));
        expect("C_GetMechanismList", rv, errors);
        let mut list = vec![0; count as usize];
        let rv = call!(self.module(), C_GetMechanismList(self.world.slot, list.as_mut_ptr(), &mut count));
        expect("C_GetMechanismList", rv, errors);
        assert!(!self.model.initialized || list.contains(&CKM_ECDSA_SHA256), "{list:x?}");
        let mut mechanism_info = CK_MECHANISM_INFO { ulMinKeySize: 0, ulMaxKeySize: 0, flags: 0 };
        let rv = call!(self.module(), C_GetMechanismInfo(self.world.slot, CKM_ECDSA_SHA256, &mut mechanism_info));
        expect("C_GetMechanismInfo", rv, errors);
    }

    /// A digest from its beginning to its end, with a mapped key that cannot be digested in the middle.
    fn digest(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        let half = pick(u, &[Half::Public, Half::Private])?;
        let (session, object) = (self.a_session(u)?, self.an_object(u, half)?);
        let mut errors = self.model.session_errors(session);
        if self.searching(session) {
            errors.push(CKR_OPERATION_ACTIVE);
        }
        let mut mechanism = Mechanism::plain(CKM_SHA256).raw();
        let rv = call!(self.module(), C_DigestInit(session, &mut mechanism));
        expect("C_DigestInit", rv, &errors);
        if rv != CKR_OK {
            return Ok(());
        }
        let mut data = *b"some data";
        let rv = call!(self.module(), C_DigestUpdate(session, data.as_mut_ptr(), 9));
        expect("C_DigestUpdate", rv, &[]);
        if self.model.object(object).is_some() {
            expect("C_DigestKey", call!(self.module(), C_DigestKey(session, object)), &[CKR_KEY_INDIGESTIBLE]);
        }
        let (mut digest, mut length) = (Guarded::new(32), 32);
        expect("C_DigestFinal", call!(self.module(), C_DigestFinal(session, digest.pointer(), &mut length)), &[]);
        digest.check();
        Ok(())
    }

    /// What goes on with an operation that nobody began.
    fn nothing_begun(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        let session = self.a_session(u)?;
        let mut errors = self.model.session_errors(session);
        errors.extend([CKR_OPERATION_NOT_INITIALIZED, CKR_FUNCTION_NOT_SUPPORTED]);
        let (mut data, mut out, mut length) = ([1; 16], Guarded::new(64), 64);
        let (data, out_pointer) = (data.as_mut_ptr(), out.pointer());
        let module = self.module();
        let answers = [
            call!(module, C_Encrypt(session, data, 16, out_pointer, &mut length)),
            call!(module, C_EncryptUpdate(session, data, 16, out_pointer, &mut length)),
            call!(module, C_EncryptFinal(session, out_pointer, &mut length)),
            call!(module, C_Decrypt(session, data, 16, out_pointer, &mut length)),
            call!(module, C_DecryptUpdate(session, data, 16, out_pointer, &mut length)),
            call!(module, C_DecryptFinal(session, out_pointer, &mut length)),
            call!(module, C_Digest(session, data, 16, out_pointer, &mut length)),
            call!(module, C_SignRecover(session, data, 16, out_pointer, &mut length)),
            call!(module, C_VerifyRecover(session, data, 16, out_pointer, &mut length)),
            call!(module, C_DigestEncryptUpdate(session, data, 16, out_pointer, &mut length)),
            call!(module, C_DecryptDigestUpdate(session, data, 16, out_pointer, &mut length)),
        ];
        for (number, rv) in answers.into_iter().enumerate() {
            expect(&format!("function {number} of those that need an operation"), rv, &errors);
        }
        out.check();
        Ok(())
    }

    /// With a mapped key's operation or without, there is no encryption and no decryption to combine it with.
    fn combined(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        let session = self.a_session(u)?;
        let mut errors = self.model.session_errors(session);
        errors.extend([CKR_OPERATION_NOT_INITIALIZED, CKR_FUNCTION_NOT_SUPPORTED]);
        let (mut data, mut out, mut length) = ([1; 16], Guarded::new(16), 16);
        let data = data.as_mut_ptr();
        let rv = call!(self.module(), C_SignEncryptUpdate(session, data, 16, out.pointer(), &mut length));
        expect("C_SignEncryptUpdate", rv, &errors);
        let rv = call!(self.module(), C_DecryptVerifyUpdate(session, data, 16, out.pointer(), &mut length));
        expect("C_DecryptVerifyUpdate", rv, &errors);
        out.check();
        Ok(())
    }

    /// A key of the backend, which wraps no mapped one.
    fn secret_key(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        let (session, object) = (self.a_session(u)?, self.an_object(u, Half::Private)?);
        let mut template = Template::default()
            .flag(CKA_TOKEN, false)
            .flag(CKA_PRIVATE, false)
            .number(CKA_VALUE_LEN, 16)
            .flag(CKA_WRAP, true)
            .flag(CKA_UNWRAP, true);
        let (mut raw, mut mechanism, mut key) = (template.raw(), Mechanism::plain(CKM_AES_KEY_GEN).raw(), 0);
        let count = raw.len() as CK_ULONG;
        let rv = call!(self.module(), C_GenerateKey(session, &mut mechanism, raw.as_mut_ptr(), count, &mut key));
        expect("C_GenerateKey", rv, &self.model.session_errors(session));
        if rv != CKR_OK {
            return Ok(());
        }
        if self.model.object(object).is_some() {
            let (mut wrap, mut length) = (Mechanism::plain(CKM_AES_KEY_WRAP).raw(), 0);
            let rv = call!(self.module(), C_WrapKey(session, &mut wrap, key, object, null_mut(), &mut length));
            expect("C_WrapKey", rv, &[CKR_KEY_UNEXTRACTABLE, CKR_KEY_NOT_WRAPPABLE]);
        }
        expect("C_DestroyObject", call!(self.module(), C_DestroyObject(session, key)), &[]);
        Ok(())
    }

    /// To the same one.
    fn change_pin(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        let session = self.a_session(u)?;
        let user = self.model.login == Login::User;
        if !user || self.model.session(session).is_none_or(|session| !session.read_write) {
            return Ok(());
        }
        let (mut pin, length) = (PIN.to_vec(), PIN.len() as CK_ULONG);
        let pin = pin.as_mut_ptr();
        expect("C_SetPIN", call!(self.module(), C_SetPIN(session, pin, length, pin, length)), &[]);
        Ok(())
    }

    fn legacy(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        let session = self.a_session(u)?;
        let mut errors = self.model.session_errors(session);
        errors.push(CKR_FUNCTION_NOT_PARALLEL);
        expect("C_GetFunctionStatus", call!(self.module(), C_GetFunctionStatus(session)), &errors);
        expect("C_CancelFunction", call!(self.module(), C_CancelFunction(session)), &errors);
        let mut seed = [1; 16];
        let rv = call!(self.module(), C_SeedRandom(session, seed.as_mut_ptr(), 16));
        expect("C_SeedRandom", rv, &self.model.session_errors(session));
        let mut slot = 0;
        let rv = call!(self.module(), C_WaitForSlotEvent(CKF_DONT_BLOCK, &mut slot, null_mut()));
        expect("C_WaitForSlotEvent", rv, &[CKR_NO_EVENT, CKR_FUNCTION_NOT_SUPPORTED, CKR_CRYPTOKI_NOT_INITIALIZED]);
        let mut state = [7; 8];
        let rv = call!(self.module(), C_SetOperationState(session, state.as_mut_ptr(), 8, 0, 0));
        assert_ne!(rv, CKR_OK, "C_SetOperationState took nonsense");
        Ok(())
    }
}
