//! Objects: pairs made, found, read, changed and destroyed, and what no mapped key does.

use std::collections::BTreeSet;
use std::ptr::null_mut;

use cryptoki_sys::*;
use libfuzzer_sys::arbitrary::{Result, Unstructured};

use super::model::{Half, Login, Pair};
use super::{Client, MAPPED, expect};
use crate::call;
use crate::call::{Guarded, Mechanism, Template};
use crate::input::{self, pick};
use crate::key::{Key, P256, SECP256K1};

impl Client<'_> {
    pub(super) fn generate(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        let session = self.a_session(u)?;
        let params = pick(u, &[P256, P256, SECP256K1])?;
        let token = !u.ratio(1, 6)?;
        let id = vec![u.int_in_range(b'0'..=b'4')?];
        let mut public = Template::default().flag(CKA_TOKEN, token).bytes(CKA_EC_PARAMS, params).bytes(CKA_ID, &id);
        let mut private =
            Template::default().flag(CKA_TOKEN, token).flag(CKA_SIGN, true).flag(CKA_DERIVE, true).bytes(CKA_ID, &id);
        let contradiction = u.ratio(1, 15)?;
        if contradiction {
            private = private.flag(CKA_EXTRACTABLE, true);
        }
        let (mut raw_public, mut raw_private) = (public.raw(), private.raw());
        let mut mechanism = Mechanism::plain(CKM_EC_KEY_PAIR_GEN);
        let (mut first, mut second) = (0, 0);
        let rv = call!(
            self.module(),
            C_GenerateKeyPair(
                session,
                &mut mechanism.raw(),
                raw_public.as_mut_ptr(),
                raw_public.len() as CK_ULONG,
                raw_private.as_mut_ptr(),
                raw_private.len() as CK_ULONG,
                &mut first,
                &mut second,
            )
        );
        let mut errors = self.model.session_errors(session);
        let login = self.model.login;
        if let Some(session) = self.model.session(session) {
            if contradiction {
                errors.push(CKR_TEMPLATE_INCONSISTENT);
            }
            if token && !session.read_write {
                errors.push(CKR_SESSION_READ_ONLY);
            }
            if login != Login::User {
                errors.push(CKR_USER_NOT_LOGGED_IN);
            }
        }
        self.expect_of_device("C_GenerateKeyPair", rv, &errors);
        if rv == CKR_OK {
            for handle in [first, second] {
                assert_eq!(handle & !0x3fff_ffff, MAPPED, "a pair of the backend: {handle:#x}");
                assert!(self.model.object(handle).is_none(), "two objects have one handle");
                assert!(!self.model.dead.contains(&handle), "a handle is used again");
            }
            let key = self.key(session, first);
            assert_eq!(key, self.key(session, second), "the halves are of different keys");
            assert!(self.model.pairs.iter().all(|pair| pair.key != key), "a key is there twice");
            self.model.pairs.push(Pair {
                key,
                id,
                public: Some(first),
                private: Some(second),
                has_public: true,
                has_private: true,
                session: (!token).then_some(session),
            });
        }
        Ok(())
    }

    /// The public key of an object.
    pub(super) fn key(&self, session: CK_SESSION_HANDLE, object: CK_OBJECT_HANDLE) -> Key {
        let params = self.attribute(session, object, CKA_EC_PARAMS).expect("CKA_EC_PARAMS");
        let point = self.attribute(session, object, CKA_EC_POINT).expect("CKA_EC_POINT");
        Key::new(&params, &point)
    }

    pub(super) fn attribute(
        &self,
        session: CK_SESSION_HANDLE,
        object: CK_OBJECT_HANDLE,
        kind: CK_ATTRIBUTE_TYPE,
    ) -> Option<Vec<u8>> {
        let mut value = Guarded::new(300);
        let mut attribute = CK_ATTRIBUTE { type_: kind, pValue: value.pointer().cast(), ulValueLen: 300 };
        match call!(self.module(), C_GetAttributeValue(session, object, &mut attribute, 1)) {
            CKR_OK => Some(value.written(attribute.ulValueLen as usize).to_vec()),
            _ => None,
        }
    }

    /// A whole search, in batches of the fuzzer's size: exactly the objects of the model are found.
    pub(super) fn find(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        let session = self.a_session(u)?;
        let id = if u.ratio(1, 2)? { Some(vec![u.int_in_range(b'0'..=b'4')?]) } else { None };
        let class = pick(u, &[None, Some(CKO_PUBLIC_KEY), Some(CKO_PRIVATE_KEY)])?;
        let batch = pick(u, &[1, 2, 3, 100])?;
        let mut template = Template::default();
        if let Some(id) = &id {
            template = template.bytes(CKA_ID, id);
        }
        if let Some(class) = class {
            template = template.number(CKA_CLASS, class);
        }
        self.find_exactly(session, template, id.as_deref(), class, batch);
        Ok(())
    }

    pub(super) fn find_exactly(
        &mut self,
        session: CK_SESSION_HANDLE,
        mut template: Template,
        id: Option<&[u8]>,
        class: Option<CK_OBJECT_CLASS>,
        batch: usize,
    ) {
        let mut raw = template.raw();
        let rv = call!(self.module(), C_FindObjectsInit(session, raw.as_mut_ptr(), raw.len() as CK_ULONG));
        let mut errors = self.model.session_errors(session);
        if self.model.session(session).is_some_and(|session| session.searching) {
            errors.push(CKR_OPERATION_ACTIVE);
        }
        expect("C_FindObjectsInit", rv, &errors);
        if rv != CKR_OK {
            return;
        }
        let mut found = Vec::new();
        loop {
            let (mut handles, mut count) = (vec![0; batch], 0);
            let rv = call!(self.module(), C_FindObjects(session, handles.as_mut_ptr(), batch as CK_ULONG, &mut count));
            expect("C_FindObjects", rv, &[]);
            assert!(count as usize <= batch);
            if count == 0 {
                break;
            }
            found.extend_from_slice(&handles[..count as usize]);
        }
        expect("C_FindObjectsFinal", call!(self.module(), C_FindObjectsFinal(session)), &[]);
        let distinct: BTreeSet<_> = found.iter().collect();
        assert_eq!(distinct.len(), found.len(), "an object is found twice");
        found.retain(|handle| handle & !0x3fff_ffff == MAPPED);
        let wanted = |pair: &Pair, class_of: CK_OBJECT_CLASS| {
            class.is_none_or(|class| class == class_of) && id.is_none_or(|id| pair.id == id)
        };
        let login = self.model.login;
        let mut matched = BTreeSet::new();
        for handle in found {
            let key = self.key(session, handle);
            let class = self.attribute(session, handle, CKA_CLASS).expect("CKA_CLASS");
            let half = if class == CKO_PUBLIC_KEY.to_ne_bytes() { Half::Public } else { Half::Private };
            let number = self.model.pairs.iter().position(|pair| pair.key == key).expect("a key that nobody made");
            let pair = &mut self.model.pairs[number];
            let (there, known, class) = match half {
                Half::Public => (pair.has_public, &mut pair.public, CKO_PUBLIC_KEY),
                Half::Private => (pair.has_private && login == Login::User, &mut pair.private, CKO_PRIVATE_KEY),
            };
            assert!(there, "an object is found that is gone, or not to be seen");
            assert!(known.is_none_or(|known| known == handle), "an object has two handles");
            *known = Some(handle);
            assert!(!self.model.dead.contains(&handle), "a dead handle is given out again");
            assert!(wanted(&self.model.pairs[number], class), "an object is found that does not match");
            matched.insert((number, half == Half::Private));
        }
        for (number, pair) in self.model.pairs.iter().enumerate() {
            if pair.has_public && wanted(pair, CKO_PUBLIC_KEY) {
                assert!(matched.contains(&(number, false)), "a public key is not found");
            }
            if pair.has_private && login == Login::User && wanted(pair, CKO_PRIVATE_KEY) {
                assert!(matched.contains(&(number, true)), "a private key is not found");
            }
        }
    }

    pub(super) fn object_errors(&self, session: CK_SESSION_HANDLE, object: CK_OBJECT_HANDLE) -> Vec<CK_RV> {
        let mut errors = self.model.session_errors(session);
        if errors.is_empty() && self.model.object(object).is_none() {
            errors.push(CKR_OBJECT_HANDLE_INVALID);
        }
        errors
    }

    pub(super) fn change_errors(&mut self, session: CK_SESSION_HANDLE, object: CK_OBJECT_HANDLE) -> Vec<CK_RV> {
        let mut errors = self.object_errors(session, object);
        let on_token = self.model.object(object).is_some_and(|(number, _)| self.model.pairs[number].session.is_none());
        if self.model.session(session).is_some_and(|session| !session.read_write) && on_token {
            errors.push(CKR_SESSION_READ_ONLY);
        }
        errors
    }

    pub(super) fn destroy(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        let half = pick(u, &[Half::Public, Half::Private])?;
        let (session, object) = (self.a_session(u)?, self.an_object(u, half)?);
        let rv = call!(self.module(), C_DestroyObject(session, object));
        let errors = self.change_errors(session, object);
        self.expect_of_device("C_DestroyObject", rv, &errors);
        let Some((number, half)) = self.model.object(object) else { return Ok(()) };
        if rv == CKR_OK || self.model.trouble && errors.is_empty() {
            // A destruction that the device did not answer may go on later: then the object is not shown meanwhile.
            let gone = rv == CKR_OK || self.attribute(session, object, CKA_CLASS).is_none();
            let pair = &mut self.model.pairs[number];
            if gone && half == Half::Private {
                pair.has_private = false;
                pair.private = None;
                self.model.bury(Some(object));
                if rv != CKR_OK {
                    // While it lasts, neither half is.
                    self.model.end_pair(number);
                }
            } else if gone {
                pair.has_public = false;
                pair.public = None;
                self.model.bury(Some(object));
            }
        }
        Ok(())
    }

    pub(super) fn set_id(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        let half = pick(u, &[Half::Public, Half::Private])?;
        let (session, object) = (self.a_session(u)?, self.an_object(u, half)?);
        let Some((number, _)) = self.model.object(object) else { return Ok(()) };
        let id = self.model.pairs[number].id.clone();
        // The same ID: the model has one for both halves.
        let mut template = Template::default().bytes(CKA_ID, &id).bytes(CKA_LABEL, &input::bytes(u, 20)?);
        let mut raw = template.raw();
        let rv = call!(self.module(), C_SetAttributeValue(session, object, raw.as_mut_ptr(), raw.len() as CK_ULONG));
        expect("C_SetAttributeValue", rv, &self.change_errors(session, object));
        Ok(())
    }

    pub(super) fn read(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        let half = pick(u, &[Half::Public, Half::Private])?;
        let (session, object) = (self.a_session(u)?, self.an_object(u, half)?);
        let mut size = 0;
        let rv = call!(self.module(), C_GetObjectSize(session, object, &mut size));
        expect("C_GetObjectSize", rv, &self.object_errors(session, object));
        let mut value = Guarded::new(100);
        let mut entry = CK_ATTRIBUTE { type_: CKA_EC_PARAMS, pValue: value.pointer().cast(), ulValueLen: 100 };
        let rv = call!(self.module(), C_GetAttributeValue(session, object, &mut entry, 1));
        expect("C_GetAttributeValue", rv, &self.object_errors(session, object));
        value.check();
        Ok(())
    }

    /// What no mapped key does.
    pub(super) fn refused(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        let half = pick(u, &[Half::Public, Half::Private])?;
        let (session, object) = (self.a_session(u)?, self.an_object(u, half)?);
        if self.model.object(object).is_none() || self.model.session(session).is_none() {
            return Ok(());
        }
        let mut aes = Mechanism::plain(CKM_AES_ECB).raw();
        let (mut length, mut handle) = (0, 0);
        let (what, rv, errors): (_, _, &[CK_RV]) = match u.int_in_range(0..=7)? {
            0 => (
                "C_EncryptInit",
                call!(self.module(), C_EncryptInit(session, &mut aes, object)),
                &[CKR_KEY_FUNCTION_NOT_PERMITTED],
            ),
            1 => (
                "C_DecryptInit",
                call!(self.module(), C_DecryptInit(session, &mut aes, object)),
                &[CKR_KEY_FUNCTION_NOT_PERMITTED],
            ),
            2 => (
                "C_SignRecoverInit",
                call!(self.module(), C_SignRecoverInit(session, &mut aes, object)),
                &[CKR_KEY_FUNCTION_NOT_PERMITTED],
            ),
            3 => (
                "C_VerifyRecoverInit",
                call!(self.module(), C_VerifyRecoverInit(session, &mut aes, object)),
                &[CKR_KEY_FUNCTION_NOT_PERMITTED],
            ),
            4 => (
                "C_WrapKey",
                call!(self.module(), C_WrapKey(session, &mut aes, object, object, null_mut(), &mut length)),
                &[CKR_KEY_FUNCTION_NOT_PERMITTED, CKR_KEY_UNEXTRACTABLE],
            ),
            5 => (
                "C_UnwrapKey",
                call!(
                    self.module(),
                    C_UnwrapKey(session, &mut aes, object, [0; 16].as_mut_ptr(), 16, null_mut(), 0, &mut handle)
                ),
                &[CKR_KEY_FUNCTION_NOT_PERMITTED],
            ),
            6 => (
                "C_DigestKey",
                call!(self.module(), C_DigestKey(session, object)),
                &[CKR_KEY_INDIGESTIBLE, CKR_OPERATION_NOT_INITIALIZED],
            ),
            _ => (
                "C_CopyObject",
                call!(self.module(), C_CopyObject(session, object, null_mut(), 0, &mut handle)),
                &[CKR_ACTION_PROHIBITED],
            ),
        };
        expect(what, rv, errors);
        Ok(())
    }

    /// The backend's own objects, between ours.
    pub(super) fn backend(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        let session = self.a_session(u)?;
        let mut object = 0;
        let mut data = Template::default()
            .number(CKA_CLASS, CKO_DATA)
            .flag(CKA_TOKEN, false)
            .flag(CKA_PRIVATE, false)
            .bytes(CKA_LABEL, b"data");
        let mut raw = data.raw();
        let rv = call!(self.module(), C_CreateObject(session, raw.as_mut_ptr(), raw.len() as CK_ULONG, &mut object));
        expect("C_CreateObject", rv, &self.model.session_errors(session));
        if rv == CKR_OK {
            assert_ne!(object & !0x3fff_ffff, MAPPED, "an object of the backend with a handle of ours");
        }
        let mut random = Guarded::new(16);
        let rv = call!(self.module(), C_GenerateRandom(session, random.pointer(), 16));
        expect("C_GenerateRandom", rv, &self.model.session_errors(session));
        random.check();
        Ok(())
    }
}
