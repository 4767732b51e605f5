//! What the calls are given and give back: templates, mechanisms, output buffers.

use std::ptr::null_mut;

use cryptoki_sys::*;
use sha2::{Digest as _, Sha256};

pub const P384_OID: &[u8] = &[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22];
pub const P256_OID: &[u8] = &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
/// The generator of P-256, a point everybody knows; its private key is 1.
pub const P256_GENERATOR: &str = "046b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c2964fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5";

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
