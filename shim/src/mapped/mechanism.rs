//! The mechanisms of mapped keys, and the digests that they take.

use cryptoki_sys::{
    CK_MECHANISM_TYPE, CKM_ECDSA_SHA1, CKM_ECDSA_SHA224, CKM_ECDSA_SHA256, CKM_ECDSA_SHA384, CKM_ECDSA_SHA512,
};
use sha1::Sha1;
use sha2::{Digest as _, Sha224, Sha256, Sha384, Sha512};

/// A digest in progress.
#[derive(Clone)]
pub enum Digester {
    /// FIPS 180-4, SHA-1
    Sha1(Sha1),
    /// SHA-224
    Sha224(Sha224),
    /// SHA-256
    Sha256(Sha256),
    /// SHA-384
    Sha384(Sha384),
    /// SHA-512
    Sha512(Sha512),
}

impl Digester {
    /// The digest of a `CKM_ECDSA_SHA*` mechanism; `None` for any other.
    pub fn new(kind: CK_MECHANISM_TYPE) -> Option<Self> {
        Some(match kind {
            CKM_ECDSA_SHA1 => Self::Sha1(Sha1::new()),
            CKM_ECDSA_SHA224 => Self::Sha224(Sha224::new()),
            CKM_ECDSA_SHA256 => Self::Sha256(Sha256::new()),
            CKM_ECDSA_SHA384 => Self::Sha384(Sha384::new()),
            CKM_ECDSA_SHA512 => Self::Sha512(Sha512::new()),
            _ => return None,
        })
    }

    /// Takes more data.
    pub fn update(&mut self, data: &[u8]) {
        match self {
            Self::Sha1(d) => d.update(data),
            Self::Sha224(d) => d.update(data),
            Self::Sha256(d) => d.update(data),
            Self::Sha384(d) => d.update(data),
            Self::Sha512(d) => d.update(data),
        }
    }

    /// The digest.
    pub fn finish(self) -> Vec<u8> {
        match self {
            Self::Sha1(d) => d.finalize().to_vec(),
            Self::Sha224(d) => d.finalize().to_vec(),
            Self::Sha256(d) => d.finalize().to_vec(),
            Self::Sha384(d) => d.finalize().to_vec(),
            Self::Sha512(d) => d.finalize().to_vec(),
        }
    }
}

/// Whether we add the mechanism where the backend lacks it.
pub fn is_added(kind: CK_MECHANISM_TYPE) -> bool {
    Digester::new(kind).is_some()
}

/// What ECDSA on a 256-bit curve signs of a digest: the leftmost bits of a longer one; a shorter one is padded on the left.
pub fn to_256_bits(digest: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    if digest.len() >= 32 {
        if let Some(d) = digest.get(..32) {
            out.copy_from_slice(d);
        }
    } else if let Some(tail) = out.get_mut(32 - digest.len()..) {
        tail.copy_from_slice(digest);
    }
    out
}
