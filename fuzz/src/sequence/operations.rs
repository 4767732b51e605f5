//! Signatures, verifications and derivations.

use std::ptr::null_mut;

use cryptoki_sys::*;
use libfuzzer_sys::arbitrary::{Result, Unstructured};

use super::model::{Half, Operation};
use super::{Client, expect};
use crate::call;
use crate::call::{Guarded, Mechanism, Template};
use crate::input::{self, pick};

impl Client<'_> {
    pub(super) fn key_errors(&self, session: CK_SESSION_HANDLE, object: CK_OBJECT_HANDLE, half: Half) -> Vec<CK_RV> {
        let mut errors = self.model.session_errors(session);
        if errors.is_empty() {
            match self.model.object(object) {
                None => errors.extend([CKR_KEY_HANDLE_INVALID, CKR_OBJECT_HANDLE_INVALID]),
                Some((_, of)) if of != half => {
                    errors.extend([CKR_KEY_TYPE_INCONSISTENT, CKR_KEY_FUNCTION_NOT_PERMITTED]);
                }
                Some(_) => {}
            }
        }
        errors
    }

    /// The codes for beginning an operation with a mapped key.
    pub(super) fn init_errors(
        &mut self,
        session: CK_SESSION_HANDLE,
        object: CK_OBJECT_HANDLE,
        half: Half,
        mechanism: &Mechanism,
    ) -> Vec<CK_RV> {
        let mut errors = self.key_errors(session, object, half);
        if let Some(session) = self.model.session(session) {
            let active = if half == Half::Private { &session.sign } else { &session.verify };
            if active.is_some() {
                errors.push(CKR_OPERATION_ACTIVE);
            }
            if !input::SIGNING.contains(&mechanism.kind) {
                errors.push(CKR_MECHANISM_INVALID);
            }
            if !mechanism.is_plain() {
                errors.extend([CKR_MECHANISM_PARAM_INVALID, CKR_ARGUMENTS_BAD, CKR_MECHANISM_INVALID]);
            }
        }
        errors
    }

    /// Whether the backend has a search in progress: SoftHSM2 begins nothing else in that session.
    pub(super) fn searching(&mut self, session: CK_SESSION_HANDLE) -> bool {
        self.model.session(session).is_some_and(|session| session.searching)
    }

    pub(super) fn sign_init(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        let (session, object) = (self.a_session(u)?, self.an_object(u, Half::Private)?);
        let mut mechanism = input::signing_mechanism(u)?;
        let rv = call!(self.module(), C_SignInit(session, &mut mechanism.raw(), object));
        let errors = self.init_errors(session, object, Half::Private, &mechanism);
        if rv == CKR_OPERATION_ACTIVE && self.searching(session) {
            return Ok(());
        }
        expect("C_SignInit", rv, &errors);
        if rv == CKR_OK {
            let (pair, _) = self.model.object(object).expect("checked above");
            let operation = Operation { pair, mechanism: mechanism.kind, data: Vec::new(), continued: false };
            self.model.session(session).expect("checked above").sign = Some(operation);
        }
        Ok(())
    }

    pub(super) fn sign(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        let session = self.a_session(u)?;
        let last = u.ratio(1, 3)?;
        let mut data = input::bytes(u, 70)?;
        let room = pick(u, &[64, 64, 200, 64, 63, 0])?;
        let query = u.ratio(1, 8)?;
        let mut signature = Guarded::new(room);
        let mut length = room as CK_ULONG;
        let place = if query { null_mut() } else { signature.pointer() };
        let rv = if last {
            call!(self.module(), C_SignFinal(session, place, &mut length))
        } else {
            call!(self.module(), C_Sign(session, data.as_mut_ptr(), data.len() as CK_ULONG, place, &mut length))
        };
        signature.check();
        let errors = self.model.session_errors(session);
        let Some(state) = self.model.session(session) else {
            expect("C_Sign", rv, &errors);
            return Ok(());
        };
        let Some(operation) = &state.sign else {
            expect("C_Sign", rv, &[CKR_OPERATION_NOT_INITIALIZED]);
            return Ok(());
        };
        if query {
            expect("C_Sign, for the length", rv, &[]);
            assert_eq!(length, 64);
            return Ok(());
        }
        if room < 64 {
            expect("C_Sign", rv, &[CKR_BUFFER_TOO_SMALL]);
            assert_eq!(length, 64);
            return Ok(());
        }
        let mut errors = Vec::new();
        if operation.mechanism == CKM_ECDSA {
            if last {
                errors.push(CKR_OPERATION_NOT_INITIALIZED);
            } else if data.is_empty() {
                errors.push(CKR_DATA_LEN_RANGE);
            }
        } else if !last && operation.continued {
            errors.push(CKR_OPERATION_NOT_INITIALIZED);
        }
        let operation = state.sign.take().expect("looked at above");
        let pair = &self.model.pairs[operation.pair];
        if errors.is_empty() && !pair.has_private {
            errors.extend([CKR_KEY_HANDLE_INVALID, CKR_DEVICE_ERROR, CKR_FUNCTION_FAILED, CKR_OBJECT_HANDLE_INVALID]);
        }
        self.expect_of_device("C_Sign", rv, &errors);
        if rv == CKR_OK {
            let whole = if last { operation.data } else { data };
            assert_eq!(length, 64);
            let signature = signature.written(64);
            assert!(pair.key.verifies(operation.mechanism, &whole, signature), "a signature that does not verify");
        }
        Ok(())
    }

    pub(super) fn sign_update(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        let session = self.a_session(u)?;
        let mut data = input::bytes(u, 40)?;
        let verifying = u.ratio(1, 3)?;
        let rv = if verifying {
            call!(self.module(), C_VerifyUpdate(session, data.as_mut_ptr(), data.len() as CK_ULONG))
        } else {
            call!(self.module(), C_SignUpdate(session, data.as_mut_ptr(), data.len() as CK_ULONG))
        };
        let mut errors = self.model.session_errors(session);
        if let Some(session) = self.model.session(session) {
            let operation = if verifying { &mut session.verify } else { &mut session.sign };
            match operation {
                Some(running) if running.mechanism != CKM_ECDSA => {
                    running.data.append(&mut data);
                    running.continued = true;
                }
                // It ends an operation that takes one part only.
                _ => {
                    *operation = None;
                    errors.push(CKR_OPERATION_NOT_INITIALIZED);
                }
            }
        }
        expect("C_SignUpdate or C_VerifyUpdate", rv, &errors);
        Ok(())
    }

    pub(super) fn verify_init(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        let (session, object) = (self.a_session(u)?, self.an_object(u, Half::Public)?);
        let mut mechanism = input::signing_mechanism(u)?;
        let rv = call!(self.module(), C_VerifyInit(session, &mut mechanism.raw(), object));
        let errors = self.init_errors(session, object, Half::Public, &mechanism);
        if rv == CKR_OPERATION_ACTIVE && self.searching(session) {
            return Ok(());
        }
        expect("C_VerifyInit", rv, &errors);
        if rv == CKR_OK {
            let (pair, _) = self.model.object(object).expect("checked above");
            let operation = Operation { pair, mechanism: mechanism.kind, data: Vec::new(), continued: false };
            self.model.session(session).expect("checked above").verify = Some(operation);
        }
        Ok(())
    }

    pub(super) fn verify(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        let session = self.a_session(u)?;
        let last = u.ratio(1, 3)?;
        let mut data = input::bytes(u, 40)?;
        let mut signature = u.bytes(64.min(u.len()))?.to_vec();
        let (pointer, length) = (signature.as_mut_ptr(), signature.len() as CK_ULONG);
        let rv = if last {
            call!(self.module(), C_VerifyFinal(session, pointer, length))
        } else {
            call!(self.module(), C_Verify(session, data.as_mut_ptr(), data.len() as CK_ULONG, pointer, length))
        };
        let mut errors = self.model.session_errors(session);
        let Some(state) = self.model.session(session) else {
            expect("C_Verify", rv, &errors);
            return Ok(());
        };
        match state.verify.take() {
            None => errors.push(CKR_OPERATION_NOT_INITIALIZED),
            Some(operation) if operation.mechanism == CKM_ECDSA && last => errors.push(CKR_OPERATION_NOT_INITIALIZED),
            Some(operation) if operation.mechanism == CKM_ECDSA && data.is_empty() => errors.push(CKR_DATA_LEN_RANGE),
            Some(operation) if !last && operation.continued => errors.push(CKR_OPERATION_NOT_INITIALIZED),
            Some(_) if signature.len() != 64 => errors.push(CKR_SIGNATURE_LEN_RANGE),
            Some(operation) => {
                let whole = if last { &operation.data } else { &data };
                if !self.model.pairs[operation.pair].key.verifies(operation.mechanism, whole, &signature) {
                    errors.push(CKR_SIGNATURE_INVALID);
                }
            }
        }
        expect("C_Verify", rv, &errors);
        Ok(())
    }

    pub(super) fn derive(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        let (session, object) = (self.a_session(u)?, self.an_object(u, Half::Private)?);
        let Some((number, _)) = self.model.object(object) else { return Ok(()) };
        let scalar = u.int_in_range(1..=255)?;
        let key = &self.model.pairs[number].key;
        let mut mechanism = Mechanism::ecdh(CKM_ECDH1_DERIVE, CKD_NULL, Vec::new(), key.peer(scalar, u.ratio(1, 2)?));
        let mut template = Template::default()
            .number(CKA_CLASS, CKO_SECRET_KEY)
            .number(CKA_KEY_TYPE, CKK_GENERIC_SECRET)
            .number(CKA_VALUE_LEN, 32)
            .flag(CKA_TOKEN, false)
            .flag(CKA_SENSITIVE, false)
            .flag(CKA_EXTRACTABLE, true);
        let mut raw = template.raw();
        let mut secret = 0;
        let rv = call!(
            self.module(),
            C_DeriveKey(session, &mut mechanism.raw(), object, raw.as_mut_ptr(), raw.len() as CK_ULONG, &mut secret)
        );
        let errors = self.key_errors(session, object, Half::Private);
        self.expect_of_device("C_DeriveKey", rv, &errors);
        if rv == CKR_OK {
            let value = self.attribute(session, secret, CKA_VALUE);
            assert_eq!(value, Some(self.model.pairs[number].key.shared_with(scalar)), "a wrong shared secret");
            expect("C_DestroyObject", call!(self.module(), C_DestroyObject(session, secret)), &[]);
        }
        Ok(())
    }
}
