//! Calls that make, find, read and change objects.

use std::ptr::null_mut;

use cryptoki_sys::*;

use crate::call;
use crate::calls::Player;
use crate::values::{P256_GENERATOR, P256_OID, P384_OID, RSA, Template, digest, mechanism, unhex};

/// How the labels of mapped keys begin.
const MAPPED: &str = "mapped";

impl Player<'_> {
    fn new_object(&mut self) -> Template {
        let on_token = self.random.once_in(6);
        let private = self.random.once_in(2);
        let label = format!("object {}", self.random.below(8));
        let common = Template::default()
            .flag(CKA_TOKEN, on_token)
            .flag(CKA_PRIVATE, private)
            .bytes(CKA_LABEL, label.as_bytes())
            .bytes(CKA_ID, &[self.random.below(8) as u8]);
        let key_usage = |template: Template| {
            [CKA_ENCRYPT, CKA_DECRYPT, CKA_SIGN, CKA_VERIFY, CKA_WRAP, CKA_UNWRAP, CKA_DERIVE]
                .iter()
                .fold(template, |template, &usage| template.flag(usage, true))
                .flag(CKA_EXTRACTABLE, true)
                .flag(CKA_SENSITIVE, false)
        };
        match self.random.below(8) {
            0 => {
                let mut data = common.number(CKA_CLASS, CKO_DATA).bytes(CKA_VALUE, b"some data");
                data.0.retain(|(kind, _)| *kind != CKA_ID);
                data
            }
            1 => common
                .number(CKA_CLASS, CKO_CERTIFICATE)
                .number(CKA_CERTIFICATE_TYPE, CKC_X_509)
                .bytes(CKA_SUBJECT, b"0\x00")
                .bytes(CKA_VALUE, b"0\x03\x02\x01\x01"),
            2 => {
                let key = vec![self.random.below(4) as u8; *self.random.pick(&[16, 24, 32, 15])];
                key_usage(common.number(CKA_CLASS, CKO_SECRET_KEY).number(CKA_KEY_TYPE, CKK_AES).bytes(CKA_VALUE, &key))
            }
            3 => {
                let key = vec![7; *self.random.pick(&[20, 32, 64])];
                key_usage(
                    common
                        .number(CKA_CLASS, CKO_SECRET_KEY)
                        .number(CKA_KEY_TYPE, CKK_GENERIC_SECRET)
                        .bytes(CKA_VALUE, &key),
                )
            }
            4 => {
                let scalar = [vec![0; 31], vec![1 + self.random.below(3) as u8]].concat();
                common
                    .number(CKA_CLASS, CKO_PRIVATE_KEY)
                    .number(CKA_KEY_TYPE, CKK_EC)
                    .bytes(CKA_EC_PARAMS, P256_OID)
                    .bytes(CKA_VALUE, &scalar)
                    .flag(CKA_SIGN, true)
                    .flag(CKA_DERIVE, true)
                    .flag(CKA_SENSITIVE, false)
                    .flag(CKA_EXTRACTABLE, true)
            }
            5 | 6 => {
                let private_half = self.random.once_in(2);
                let class = if private_half { CKO_PRIVATE_KEY } else { CKO_PUBLIC_KEY };
                let key = key_usage(common.number(CKA_CLASS, class).number(CKA_KEY_TYPE, CKK_RSA));
                let parts = if private_half { RSA.len() } else { 2 };
                let mut key = RSA[..parts].iter().fold(key, |key, (kind, value)| key.bytes(*kind, &unhex(value)));
                let other_half: &[CK_ATTRIBUTE_TYPE] = if private_half {
                    &[CKA_ENCRYPT, CKA_VERIFY, CKA_WRAP]
                } else {
                    &[CKA_DECRYPT, CKA_SIGN, CKA_UNWRAP, CKA_EXTRACTABLE, CKA_SENSITIVE]
                };
                key.0.retain(|(kind, _)| !other_half.contains(kind));
                key
            }
            _ => {
                let point = [vec![0x04, 0x41], unhex(P256_GENERATOR)].concat();
                common
                    .number(CKA_CLASS, CKO_PUBLIC_KEY)
                    .number(CKA_KEY_TYPE, CKK_EC)
                    .bytes(CKA_EC_PARAMS, P256_OID)
                    .bytes(CKA_EC_POINT, &point)
                    .flag(CKA_VERIFY, true)
            }
        }
    }

    pub(crate) fn create_object(&mut self) -> String {
        let session = self.session();
        let mut template = self.new_object();
        // A template that lacks something, or has something odd, now and then.
        if self.random.once_in(10) {
            let without = self.random.below(template.0.len());
            template.0.remove(without);
        }
        if self.random.once_in(15) {
            template = template.number(0x8877_6655, 5);
        }
        let mut raw = template.raw();
        let mut handle = 0;
        let count = raw.len() as CK_ULONG;
        let rv = call!(self.module, C_CreateObject, session, raw.as_mut_ptr(), count, &mut handle);
        self.remember(rv, handle);
        if let (CKR_OK, Some(key_type)) = (rv, template.key_type()) {
            self.keys.push((handle, key_type));
        }
        format!("C_CreateObject {session} {rv:#x} {handle}")
    }

    pub(crate) fn generate(&mut self) -> String {
        let session = self.session();
        let (mut first, mut second) = (0, 0);
        let session_key = Template::default().flag(CKA_TOKEN, false).bytes(CKA_LABEL, b"generated");
        match self.random.below(6) {
            0..=3 => {
                let length = *self.random.pick(&[16, 32, 17]);
                let mut raw_mechanism = mechanism(CKM_AES_KEY_GEN, &mut []);
                let mut template =
                    session_key.number(CKA_VALUE_LEN, length).flag(CKA_ENCRYPT, true).flag(CKA_DECRYPT, true);
                let mut raw = template.raw();
                let count = raw.len() as CK_ULONG;
                let rv =
                    call!(self.module, C_GenerateKey, session, &mut raw_mechanism, raw.as_mut_ptr(), count, &mut first);
                // Its value is random, so nothing later may depend on it: it is not remembered.
                format!("C_GenerateKey {session} {rv:#x} {first}")
            }
            kind => {
                // P-384 is never ours; a session pair on P-256 is the backend's by default.
                let curve = if kind == 4 { P384_OID } else { P256_OID };
                let mut raw_mechanism = mechanism(CKM_EC_KEY_PAIR_GEN, &mut []);
                let mut public = session_key.clone().bytes(CKA_EC_PARAMS, curve);
                let mut private = session_key.flag(CKA_SIGN, true);
                let (mut raw_public, mut raw_private) = (public.raw(), private.raw());
                let (public_count, private_count) = (raw_public.len() as CK_ULONG, raw_private.len() as CK_ULONG);
                let rv = call!(
                    self.module,
                    C_GenerateKeyPair,
                    session,
                    &mut raw_mechanism,
                    raw_public.as_mut_ptr(),
                    public_count,
                    raw_private.as_mut_ptr(),
                    private_count,
                    &mut first,
                    &mut second,
                );
                format!("C_GenerateKeyPair {session} {kind} {rv:#x} {first} {second}")
            }
        }
    }

    pub(crate) fn copy_object(&mut self) -> String {
        let (session, object) = (self.session(), self.object());
        let mut template = Template::default().bytes(CKA_LABEL, b"a copy").flag(CKA_TOKEN, self.random.once_in(4));
        let mut raw = template.raw();
        let mut handle = 0;
        let count = raw.len() as CK_ULONG;
        let rv = call!(self.module, C_CopyObject, session, object, raw.as_mut_ptr(), count, &mut handle);
        self.remember(rv, handle);
        format!("C_CopyObject {session} {object} {rv:#x} {handle}")
    }

    pub(crate) fn destroy_object(&mut self) -> String {
        let (session, object) = (self.session(), self.object());
        let rv = call!(self.module, C_DestroyObject, session, object);
        // Now and then a handle is used on after its object is gone.
        if rv == CKR_OK && !self.random.once_in(3) {
            self.keys.retain(|&(key, _)| key != object);
        }
        format!("C_DestroyObject {session} {object} {rv:#x}")
    }

    pub(crate) fn get_attributes(&mut self) -> String {
        const KINDS: [CK_ATTRIBUTE_TYPE; 22] = [
            CKA_CLASS,
            CKA_TOKEN,
            CKA_PRIVATE,
            CKA_LABEL,
            CKA_VALUE,
            CKA_KEY_TYPE,
            CKA_ID,
            CKA_SENSITIVE,
            CKA_ENCRYPT,
            CKA_SIGN,
            CKA_DERIVE,
            CKA_MODULUS,
            CKA_EC_PARAMS,
            CKA_EC_POINT,
            CKA_LOCAL,
            CKA_NEVER_EXTRACTABLE,
            CKA_ALWAYS_SENSITIVE,
            CKA_KEY_GEN_MECHANISM,
            CKA_MODIFIABLE,
            CKA_VALUE_LEN,
            CKA_SUBJECT,
            0x8765_4321,
        ];
        let (session, object) = (self.session(), self.object());
        if self.random.once_in(8) {
            let mut size = 0;
            let rv = call!(self.module, C_GetObjectSize, session, object, &mut size);
            return format!("C_GetObjectSize {session} {object} {rv:#x} {size}");
        }
        let mut buffers: Vec<Vec<u8>> = Vec::new();
        let mut raw = Vec::new();
        for _ in 0..self.random.below(6) {
            let kind = *self.random.pick(&KINDS);
            let size = *self.random.pick(&[0, 1, 8, 200, 200, 200]);
            let mut buffer = vec![0_u8; size];
            let pointer = if size == 0 { null_mut() } else { buffer.as_mut_ptr().cast() };
            raw.push(CK_ATTRIBUTE { type_: kind, pValue: pointer, ulValueLen: size as CK_ULONG });
            buffers.push(buffer);
        }
        let count = raw.len() as CK_ULONG;
        let rv = call!(self.module, C_GetAttributeValue, session, object, raw.as_mut_ptr(), count);
        let answers: Vec<String> = raw
            .iter()
            .zip(&buffers)
            .map(|(attribute, buffer)| {
                let length = { attribute.ulValueLen };
                format!("{:#x}:{length:#x}:{}", { attribute.type_ }, digest(buffer))
            })
            .collect();
        format!("C_GetAttributeValue {session} {object} {rv:#x} {answers:?}")
    }

    pub(crate) fn set_attributes(&mut self) -> String {
        let (session, object) = (self.session(), self.object());
        let mut template = match self.random.below(5) {
            0 => Template::default().bytes(CKA_LABEL, b"object 1"),
            1 => Template::default().bytes(CKA_ID, &[3]),
            // kryoptic lets a key become data, and then shows the bytes that it was encrypted to, which are random.
            2 if !self.kryoptic => Template::default().number(CKA_CLASS, CKO_DATA),
            3 => Template::default().flag(CKA_SENSITIVE, true),
            _ => Template::default().bytes(CKA_LABEL, b"object 2").bytes(0x8765_4321, b"?"),
        };
        let mut raw = template.raw();
        let count = raw.len() as CK_ULONG;
        let rv = call!(self.module, C_SetAttributeValue, session, object, raw.as_mut_ptr(), count);
        format!("C_SetAttributeValue {session} {object} {rv:#x}")
    }

    pub(crate) fn find(&mut self) -> String {
        let session = self.session();
        match self.random.below(8) {
            0 => {
                let rv = call!(self.module, C_FindObjectsFinal, session);
                return format!("C_FindObjectsFinal {session} {rv:#x}");
            }
            1 => {
                let mut template = Template::default().number(CKA_CLASS, CKO_SECRET_KEY);
                let mut raw = template.raw();
                let rv = call!(self.module, C_FindObjectsInit, session, raw.as_mut_ptr(), 1);
                return format!("C_FindObjectsInit {session} {rv:#x}");
            }
            2 => {
                let mut found = [0; 3];
                let mut count = 0;
                let rv = call!(self.module, C_FindObjects, session, found.as_mut_ptr(), 3, &mut count);
                return format!("C_FindObjects {session} {rv:#x} {count}");
            }
            _ => {}
        }
        let mut template = Template::default();
        if !self.random.once_in(3) {
            template = template.bytes(CKA_LABEL, format!("object {}", self.random.below(8)).as_bytes());
        }
        if self.random.once_in(3) {
            let class =
                *self.random.pick(&[CKO_DATA, CKO_SECRET_KEY, CKO_PRIVATE_KEY, CKO_PUBLIC_KEY, CKO_CERTIFICATE]);
            template = template.number(CKA_CLASS, class);
        }
        if self.random.once_in(6) {
            template = template.bytes(CKA_ID, &[self.random.below(8) as u8]);
        }
        let mut raw = template.raw();
        let count = raw.len() as CK_ULONG;
        let pointer = if raw.is_empty() { null_mut() } else { raw.as_mut_ptr() };
        let rv = call!(self.module, C_FindObjectsInit, session, pointer, count);
        let mut line = format!("C_FindObjectsInit {session} {rv:#x}");
        if rv != CKR_OK {
            return line;
        }
        let batch = *self.random.pick(&[1, 2, 7, 100]);
        let mut all = Vec::new();
        loop {
            let mut found = vec![0; batch];
            let mut got = 0;
            let rv = call!(self.module, C_FindObjects, session, found.as_mut_ptr(), batch as CK_ULONG, &mut got);
            found.truncate(got as usize);
            all.extend_from_slice(&found);
            if rv != CKR_OK || got == 0 {
                line += &format!(" {rv:#x}");
                break;
            }
        }
        let mut found: Vec<String> = all.iter().filter_map(|&handle| self.describe_found(session, handle)).collect();
        found.sort_unstable();
        let rv = call!(self.module, C_FindObjectsFinal, session);
        line + &format!(" {found:?} {rv:#x}")
    }

    /// SoftHSM2 finds objects in no order, and a token object gets its handle when it is first met: what is found is
    /// known by its class, label and ID. None of it is remembered: among it are keys whose values are random. Mapped
    /// keys, which are there through one module only, are left out.
    fn describe_found(&self, session: CK_SESSION_HANDLE, object: CK_OBJECT_HANDLE) -> Option<String> {
        let (mut class, mut label, mut id) = ([0_u8; 8], [0_u8; 40], [0_u8; 40]);
        let entry = |kind, buffer: &mut [u8]| CK_ATTRIBUTE {
            type_: kind,
            pValue: buffer.as_mut_ptr().cast(),
            ulValueLen: buffer.len() as CK_ULONG,
        };
        let mut raw = [entry(CKA_CLASS, &mut class), entry(CKA_LABEL, &mut label), entry(CKA_ID, &mut id)];
        let rv = call!(self.module, C_GetAttributeValue, session, object, raw.as_mut_ptr(), 3);
        let description = format!("{rv:#x}:{}", digest(&[class.as_slice(), label.as_slice(), id.as_slice()].concat()));
        (!label.starts_with(MAPPED.as_bytes())).then_some(description)
    }
}
