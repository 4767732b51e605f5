//! Keys that are made on the device: SoftHSM2 behind the module, an emulated device beside it. Signatures are verified
//! with OpenSSL.

mod generation;
mod healing;
mod objects;
mod operations;
mod processes;
mod sessions;
mod stale;

use std::ptr;

use cryptoki_sys::{
    CK_ATTRIBUTE, CK_ATTRIBUTE_TYPE, CK_MECHANISM, CK_MECHANISM_TYPE, CK_OBJECT_HANDLE, CK_RV, CK_SESSION_HANDLE,
    CK_ULONG, CKA_DERIVE, CKA_EC_PARAMS, CKA_EC_POINT, CKA_ID, CKA_LABEL, CKA_PRIVATE, CKA_SENSITIVE, CKA_SIGN,
    CKA_TOKEN, CKA_VERIFY, CKM_EC_KEY_PAIR_GEN, CKR_OK,
};
use openssl::bn::{BigNum, BigNumContext};
use openssl::ec::{EcGroup, EcKey, EcPoint};
use openssl::ecdsa::EcdsaSig;
use openssl::nid::Nid;
use openssl::pkey::Public;

use crate::fixture::{Pkcs11, ck};

pub const P256: &[u8] = &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
pub const SECP256K1: &[u8] = &[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x0a];
pub const P384: &[u8] = &[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22];

/// Attributes with values of their own.
#[derive(Clone, Default)]
pub struct Template(Vec<(CK_ATTRIBUTE_TYPE, Vec<u8>)>);

impl Template {
    pub fn bytes(mut self, kind: CK_ATTRIBUTE_TYPE, value: &[u8]) -> Self {
        self.0.push((kind, value.to_vec()));
        self
    }

    pub fn flag(self, kind: CK_ATTRIBUTE_TYPE, value: bool) -> Self {
        self.bytes(kind, &[u8::from(value)])
    }

    pub fn number(self, kind: CK_ATTRIBUTE_TYPE, value: CK_ULONG) -> Self {
        self.bytes(kind, &value.to_ne_bytes())
    }

    pub fn raw(&mut self) -> Vec<CK_ATTRIBUTE> {
        let entry = |(kind, value): &mut (CK_ATTRIBUTE_TYPE, Vec<u8>)| CK_ATTRIBUTE {
            type_: *kind,
            pValue: value.as_mut_ptr().cast(),
            ulValueLen: value.len() as CK_ULONG,
        };
        self.0.iter_mut().map(entry).collect()
    }
}

pub fn mechanism(kind: CK_MECHANISM_TYPE) -> CK_MECHANISM {
    CK_MECHANISM { mechanism: kind, pParameter: ptr::null_mut(), ulParameterLen: 0 }
}

/// The public template of most tests.
pub fn public(curve: &[u8]) -> Template {
    Template::default().flag(CKA_TOKEN, true).flag(CKA_VERIFY, true).bytes(CKA_EC_PARAMS, curve)
}

/// The private template of most tests.
pub fn private(id: &[u8]) -> Template {
    Template::default()
        .flag(CKA_TOKEN, true)
        .flag(CKA_PRIVATE, true)
        .flag(CKA_SENSITIVE, true)
        .flag(CKA_SIGN, true)
        .flag(CKA_DERIVE, true)
        .bytes(CKA_ID, id)
        .bytes(CKA_LABEL, b"a label")
}

/// A session of our module.
pub struct Session<'module> {
    pub module: &'module Pkcs11,
    pub handle: CK_SESSION_HANDLE,
}

/// Our module, initialised, with a session logged in.
pub fn logged_in() -> (&'static Pkcs11, Session<'static>) {
    let module: &'static Pkcs11 = Box::leak(Box::new(Pkcs11::holdfast()));
    assert_eq!(module.initialize_for_threads(), CKR_OK);
    let session = Session { module, handle: module.open() };
    assert_eq!(module.login(session.handle), CKR_OK);
    (module, session)
}

impl Session<'_> {
    pub fn generate(
        &self,
        public: &Template,
        private: &Template,
    ) -> Result<(CK_OBJECT_HANDLE, CK_OBJECT_HANDLE), CK_RV> {
        let (mut public, mut private) = (public.clone(), private.clone());
        let (mut raw_public, mut raw_private) = (public.raw(), private.raw());
        let (public_count, private_count) = (raw_public.len() as CK_ULONG, raw_private.len() as CK_ULONG);
        let mut mechanism = mechanism(CKM_EC_KEY_PAIR_GEN);
        let (mut first, mut second) = (0, 0);
        let rv = ck!(
            self.module,
            C_GenerateKeyPair(
                self.handle,
                &mut mechanism,
                raw_public.as_mut_ptr(),
                public_count,
                raw_private.as_mut_ptr(),
                private_count,
                &mut first,
                &mut second,
            )
        );
        if rv == CKR_OK { Ok((first, second)) } else { Err(rv) }
    }

    /// A P-256 pair: public and private handle.
    pub fn pair(&self, id: &[u8]) -> (CK_OBJECT_HANDLE, CK_OBJECT_HANDLE) {
        self.generate(&public(P256), &private(id)).unwrap()
    }

    pub fn attribute(&self, object: CK_OBJECT_HANDLE, kind: CK_ATTRIBUTE_TYPE) -> Result<Vec<u8>, CK_RV> {
        let mut value = vec![0; 600];
        let mut attribute = CK_ATTRIBUTE { type_: kind, pValue: value.as_mut_ptr().cast(), ulValueLen: 600 };
        match ck!(self.module, C_GetAttributeValue(self.handle, object, &mut attribute, 1)) {
            CKR_OK => {
                value.truncate(attribute.ulValueLen as usize);
                Ok(value)
            }
            rv => Err(rv),
        }
    }

    pub fn set(&self, object: CK_OBJECT_HANDLE, template: &Template) -> CK_RV {
        let mut template = template.clone();
        let mut raw = template.raw();
        let count = raw.len() as CK_ULONG;
        ck!(self.module, C_SetAttributeValue(self.handle, object, raw.as_mut_ptr(), count))
    }

    /// What a search finds, in batches of `batch`, in no order.
    pub fn find_by(&self, template: &Template, batch: usize) -> Vec<CK_OBJECT_HANDLE> {
        let mut template = template.clone();
        let mut raw = template.raw();
        let count = raw.len() as CK_ULONG;
        assert_eq!(ck!(self.module, C_FindObjectsInit(self.handle, raw.as_mut_ptr(), count)), CKR_OK);
        let mut all = Vec::new();
        loop {
            let mut found = vec![0; batch];
            let mut count = 0;
            let rv = ck!(self.module, C_FindObjects(self.handle, found.as_mut_ptr(), batch as CK_ULONG, &mut count));
            assert_eq!(rv, CKR_OK);
            assert!(count as usize <= batch);
            if count == 0 {
                break;
            }
            all.extend_from_slice(&found[..count as usize]);
        }
        assert_eq!(ck!(self.module, C_FindObjectsFinal(self.handle)), CKR_OK);
        all.sort_unstable();
        all
    }

    pub fn find(&self, template: &Template) -> Vec<CK_OBJECT_HANDLE> {
        self.find_by(template, 100)
    }

    pub fn sign_init(&self, kind: CK_MECHANISM_TYPE, key: CK_OBJECT_HANDLE) -> CK_RV {
        ck!(self.module, C_SignInit(self.handle, &mut mechanism(kind), key))
    }

    pub fn verify_init(&self, kind: CK_MECHANISM_TYPE, key: CK_OBJECT_HANDLE) -> CK_RV {
        ck!(self.module, C_VerifyInit(self.handle, &mut mechanism(kind), key))
    }

    /// `C_Sign` with room for `room` bytes.
    pub fn sign_into(&self, data: &[u8], room: usize) -> Result<Vec<u8>, CK_RV> {
        let mut signature = vec![0; room];
        let mut length = room as CK_ULONG;
        let (pointer, data_length) = (data.as_ptr().cast_mut(), data.len() as CK_ULONG);
        match ck!(self.module, C_Sign(self.handle, pointer, data_length, signature.as_mut_ptr(), &mut length)) {
            CKR_OK => {
                signature.truncate(length as usize);
                Ok(signature)
            }
            rv => Err(rv),
        }
    }

    pub fn sign(&self, kind: CK_MECHANISM_TYPE, key: CK_OBJECT_HANDLE, data: &[u8]) -> Result<Vec<u8>, CK_RV> {
        match self.sign_init(kind, key) {
            CKR_OK => self.sign_into(data, 200),
            rv => Err(rv),
        }
    }

    pub fn verify(&self, data: &[u8], signature: &[u8]) -> CK_RV {
        let (data, length) = (data.as_ptr().cast_mut(), data.len() as CK_ULONG);
        let signature_length = signature.len() as CK_ULONG;
        ck!(self.module, C_Verify(self.handle, data, length, signature.as_ptr().cast_mut(), signature_length))
    }

    /// The public key of an object, as OpenSSL has it.
    pub fn openssl_key(&self, object: CK_OBJECT_HANDLE) -> EcKey<Public> {
        let params = self.attribute(object, CKA_EC_PARAMS).unwrap();
        let nid = match params.as_slice() {
            P256 => Nid::X9_62_PRIME256V1,
            P384 => Nid::SECP384R1,
            _ => Nid::SECP256K1,
        };
        let group = EcGroup::from_curve_name(nid).unwrap();
        let der = self.attribute(object, CKA_EC_POINT).unwrap();
        let point = EcPoint::from_bytes(&group, &der[2..], &mut BigNumContext::new().unwrap()).unwrap();
        EcKey::from_public_key(&group, &point).unwrap()
    }
}

/// OpenSSL's opinion of a signature r‖s.
pub fn verifies(key: &EcKey<Public>, digest: &[u8], signature: &[u8]) -> bool {
    let (r, s) = signature.split_at(signature.len() / 2);
    let number = |bytes| BigNum::from_slice(bytes).unwrap();
    let signature = EcdsaSig::from_private_components(number(r), number(s)).unwrap();
    signature.verify(digest, key).unwrap()
}
