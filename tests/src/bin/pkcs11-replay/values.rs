//! What the calls are given and give back: templates, mechanisms, output buffers.

use std::ptr::null_mut;

use cryptoki_sys::*;
use sha2::{Digest as _, Sha256};

pub const P384_OID: &[u8] = &[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22];
pub const P256_OID: &[u8] = &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
/// The generator of P-256, a point everybody knows; its private key is 1.
pub const P256_GENERATOR: &str = "046b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c2964fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5";

/// An RSA key of 1024 bits that was made for this: attributes and values, the public ones first.
pub const RSA: [(CK_ATTRIBUTE_TYPE, &str); 8] = [
    (
        CKA_MODULUS,
        "b3678a132798702bcfe77017fd915f1d546b455d68e0eee5cf494391952a8c217e8e54adc8b028a9b16aac7a81e1efe398697ab0f90cb8fb5da8ef8f805ba4fc9bfe9e9a54ddbe77385e4fd38df7ec8057790bd1118cff89f9fdb56f109aee8699cb25e519a1cecad88aca9d84ad5116dedbba18fd0b35330b98c9e9cd1d130b",
    ),
    (CKA_PUBLIC_EXPONENT, "010001"),
    (
        CKA_PRIVATE_EXPONENT,
        "342aea729173f942342d7761f28100287630cf35cf568101605a4c849bdc886d00f1005c9c5be5271b090ae880b6235c8a2839de163d85d8ca2e62a2d6cf4f550c2a2fe0a993a57afef1f809a56340bad6b0e65e64bc4ce1d162efa013dda4f4f8dcd48df198f8368a5da56ffc97ca344128a82ab7328f3ca5d0fe8c20b497c1",
    ),
    (
        CKA_PRIME_1,
        "e998ce382e60580491330b0726b83a7d92eeb61f58ca996abe33f17f14177e454029efc0ffa2f9ba78ce17e8ca37d889cc30fe2f4fa118985f07c5b88ce71661",
    ),
    (
        CKA_PRIME_2,
        "c49c37f8621a61c7213d1856d0b0552be5258e8374ab6ed6b3fe4d9db3474262aad6524ce8fddaac19737d2008a85889e94434c1284ca580436a2cf2981888eb",
    ),
    (
        CKA_EXPONENT_1,
        "9a9f1ec169513471b17acbedebdf3e3828ae01b7361ac4fa36f443020ed68e2a609261b4aa81c233800b4b2037da4766ced60f2a59d71464a76289a9e2fa8381",
    ),
    (
        CKA_EXPONENT_2,
        "be44ac49bcaee9572b4c93c4585b7d616875cb105e951543c496e3082d9a559d64d4da7ac1b401ae3147399d09a3d9634592933726c7de165da75fee39d0ec97",
    ),
    (
        CKA_COEFFICIENT,
        "8e81f4d63893c6c8000133a3f3e432df0844c153a0059fac12280ef9fa125920985e12951af819d2b861ac2c658f946b1cca49a6775126e6ec9d0727b5926285",
    ),
];

/// A template that owns its values.
#[derive(Clone, Default)]
pub struct Template(pub Vec<(CK_ATTRIBUTE_TYPE, Vec<u8>)>);

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

    /// The type of the key that this template makes.
    pub fn key_type(&self) -> Option<CK_KEY_TYPE> {
        let (_, value) = self.0.iter().find(|(kind, _)| *kind == CKA_KEY_TYPE)?;
        Some(CK_KEY_TYPE::from_ne_bytes(value.as_slice().try_into().ok()?))
    }

    pub fn raw(&mut self) -> Vec<CK_ATTRIBUTE> {
        self.0
            .iter_mut()
            .map(|(kind, value)| CK_ATTRIBUTE {
                type_: *kind,
                pValue: value.as_mut_ptr().cast(),
                ulValueLen: value.len() as CK_ULONG,
            })
            .collect()
    }
}

/// An output buffer with canaries behind it: a module that writes past its length is caught.
pub struct Output {
    pub bytes: Vec<u8>,
    pub length: CK_ULONG,
}

pub const CANARY: [u8; 8] = [0xa5; 8];

impl Output {
    pub fn new(capacity: usize) -> Self {
        let mut bytes = vec![0; capacity];
        bytes.extend_from_slice(&CANARY);
        Self { bytes, length: capacity as CK_ULONG }
    }

    pub fn pointer(&mut self) -> *mut u8 {
        self.bytes.as_mut_ptr()
    }

    /// The answer's length, and a digest of its bytes where they do not depend on the token's random numbers.
    pub fn describe(&self, rv: CK_RV, reproducible: bool) -> String {
        let capacity = self.bytes.len() - CANARY.len();
        assert_eq!(self.bytes[capacity..], CANARY, "written past the end of the buffer");
        let length = usize::try_from(self.length).unwrap_or(usize::MAX);
        if rv == CKR_OK && length <= capacity && reproducible {
            format!("{rv:#x} {length} {}", digest(&self.bytes[..length]))
        } else {
            format!("{rv:#x} {length}")
        }
    }
}

pub fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

pub fn unhex(text: &str) -> Vec<u8> {
    (0..text.len() / 2).map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).expect("hexadecimal")).collect()
}

/// A mechanism with a parameter of plain bytes.
pub fn mechanism(kind: CK_MECHANISM_TYPE, parameter: &mut [u8]) -> CK_MECHANISM {
    CK_MECHANISM {
        mechanism: kind,
        pParameter: if parameter.is_empty() { null_mut() } else { parameter.as_mut_ptr().cast() },
        ulParameterLen: parameter.len() as CK_ULONG,
    }
}
