//! The mechanisms that mapped keys add to those of the backend, and the digests inside them.

use cryptoki_sys::{
    CK_FLAGS, CK_MECHANISM_INFO, CK_MECHANISM_TYPE, CKF_DERIVE, CKF_EC_F_P, CKF_EC_OID, CKF_EC_UNCOMPRESS,
    CKF_GENERATE_KEY_PAIR, CKF_HW, CKF_SIGN, CKF_VERIFY, CKM_EC_KEY_PAIR_GEN, CKM_ECDH1_DERIVE, CKM_ECDSA,
    CKM_ECDSA_SHA1, CKM_ECDSA_SHA224, CKM_ECDSA_SHA256, CKM_ECDSA_SHA384, CKM_ECDSA_SHA512,
};
use sha1::Sha1;
use sha2::{Digest, Sha224, Sha256, Sha384, Sha512};

/// What mapped keys serve for. `CKM_ECDH1_COFACTOR_DERIVE` is the same computation, as the cofactor of both curves is
/// 1, but it is not added where the backend does not have it: clients that can use it can use `CKM_ECDH1_DERIVE`.
const ADDED: [CK_MECHANISM_TYPE; 8] = [
    CKM_EC_KEY_PAIR_GEN,
    CKM_ECDSA,
    CKM_ECDSA_SHA1,
    CKM_ECDSA_SHA224,
    CKM_ECDSA_SHA256,
    CKM_ECDSA_SHA384,
    CKM_ECDSA_SHA512,
    CKM_ECDH1_DERIVE,
];

/// The size of mapped keys in bits.
const KEY_BITS: cryptoki_sys::CK_ULONG = 256;

/// Prime fields, curves by name, points that are not compressed.
const EC: CK_FLAGS = CKF_EC_F_P | CKF_EC_OID | CKF_EC_UNCOMPRESS;

/// Whether `kind` is one of the mechanisms that a token has for its mapped keys, whatever its backend lacks.
pub fn is_added(kind: CK_MECHANISM_TYPE) -> bool {
    ADDED.contains(&kind)
}

/// The mechanisms of a token: the backend's in its order, then those of ours that it lacks.
pub fn merged_list(backend: Vec<CK_MECHANISM_TYPE>) -> Vec<CK_MECHANISM_TYPE> {
    let mut list = backend;
    for kind in ADDED {
        if !list.contains(&kind) {
            list.push(kind);
        }
    }
    list
}

/// About a mechanism that the backend lacks; `None` if mapped keys do not add it.
///
/// A digest before `CKM_ECDSA` is made for the backend's own keys too, so that such a mechanism takes the sizes that
/// `ecdsa`, the backend's answer about `CKM_ECDSA`, says it takes. `CKF_HW` is said of the mapped keys, whose part is
/// done by the device.
pub fn added_info(kind: CK_MECHANISM_TYPE, ecdsa: Option<CK_MECHANISM_INFO>) -> Option<CK_MECHANISM_INFO> {
    if !is_added(kind) {
        return None;
    }
    let use_flags = match kind {
        CKM_EC_KEY_PAIR_GEN => CKF_GENERATE_KEY_PAIR,
        CKM_ECDH1_DERIVE => CKF_DERIVE,
        _ => CKF_SIGN | CKF_VERIFY,
    };
    let (smallest, largest) = match ecdsa {
        Some(ecdsa) if digest_of(kind).is_some() => {
            (KEY_BITS.min(ecdsa.ulMinKeySize), KEY_BITS.max(ecdsa.ulMaxKeySize))
        }
        _ => (KEY_BITS, KEY_BITS),
    };
    Some(CK_MECHANISM_INFO { ulMinKeySize: smallest, ulMaxKeySize: largest, flags: CKF_HW | EC | use_flags })
}

/// A digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DigestKind {
    /// SHA-1
    Sha1,
    /// SHA-224
    Sha224,
    /// SHA-256
    Sha256,
    /// SHA-384
    Sha384,
    /// SHA-512
    Sha512,
}

impl DigestKind {
    /// The length in bytes.
    pub fn length(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha224 => 28,
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }
}

/// The digest in `CKM_ECDSA_SHA*`; `None` for every other mechanism.
pub fn digest_of(kind: CK_MECHANISM_TYPE) -> Option<DigestKind> {
    match kind {
        CKM_ECDSA_SHA1 => Some(DigestKind::Sha1),
        CKM_ECDSA_SHA224 => Some(DigestKind::Sha224),
        CKM_ECDSA_SHA256 => Some(DigestKind::Sha256),
        CKM_ECDSA_SHA384 => Some(DigestKind::Sha384),
        CKM_ECDSA_SHA512 => Some(DigestKind::Sha512),
        _ => None,
    }
}

/// A digest in the making.
#[derive(Clone)]
pub enum Digester {
    /// SHA-1
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
    /// For the digest in `CKM_ECDSA_SHA*`; `None` for every other mechanism.
    pub fn new(kind: CK_MECHANISM_TYPE) -> Option<Self> {
        digest_of(kind).map(Self::of)
    }

    /// For a digest.
    pub fn of(kind: DigestKind) -> Self {
        match kind {
            DigestKind::Sha1 => Self::Sha1(Sha1::new()),
            DigestKind::Sha224 => Self::Sha224(Sha224::new()),
            DigestKind::Sha256 => Self::Sha256(Sha256::new()),
            DigestKind::Sha384 => Self::Sha384(Sha384::new()),
            DigestKind::Sha512 => Self::Sha512(Sha512::new()),
        }
    }

    /// Takes the next part of the data.
    pub fn update(&mut self, part: &[u8]) {
        match self {
            Self::Sha1(digest) => digest.update(part),
            Self::Sha224(digest) => digest.update(part),
            Self::Sha256(digest) => digest.update(part),
            Self::Sha384(digest) => digest.update(part),
            Self::Sha512(digest) => digest.update(part),
        }
    }

    /// The digest of all parts.
    pub fn finish(self) -> Vec<u8> {
        match self {
            Self::Sha1(digest) => digest.finalize().to_vec(),
            Self::Sha224(digest) => digest.finalize().to_vec(),
            Self::Sha256(digest) => digest.finalize().to_vec(),
            Self::Sha384(digest) => digest.finalize().to_vec(),
            Self::Sha512(digest) => digest.finalize().to_vec(),
        }
    }
}

/// A digest as the 32 bytes that ECDSA on a 256-bit curve signs: the leftmost bits of a longer one (FIPS 186-5, 6.4.1),
/// a shorter one as the number that it is.
pub fn to_256_bits(digest: &[u8]) -> [u8; 32] {
    let mut bits = [0; 32];
    let skipped = bits.len().saturating_sub(digest.len());
    bits.iter_mut().skip(skipped).zip(digest).for_each(|(bit, byte)| *bit = *byte);
    bits
}

#[cfg(test)]
mod tests {
    use super::*;
    use cryptoki_sys::{CKM_AES_CBC, CKM_ECDH1_COFACTOR_DERIVE, CKM_RSA_PKCS, CKM_SHA256};

    #[test]
    fn the_backends_mechanisms_come_first_and_ours_once() {
        assert_eq!(merged_list(Vec::new()), ADDED);
        let backend = [CKM_ECDH1_COFACTOR_DERIVE, CKM_ECDSA, CKM_RSA_PKCS, CKM_ECDSA_SHA256];
        let merged = merged_list(backend.to_vec());
        assert_eq!(merged[..4], backend);
        assert_eq!(
            merged[4..],
            [
                CKM_EC_KEY_PAIR_GEN,
                CKM_ECDSA_SHA1,
                CKM_ECDSA_SHA224,
                CKM_ECDSA_SHA384,
                CKM_ECDSA_SHA512,
                CKM_ECDH1_DERIVE
            ]
        );
        assert_eq!(merged_list(ADDED.to_vec()), ADDED);
        // What a backend says twice it says twice.
        assert_eq!(merged_list(vec![CKM_AES_CBC; 2])[..2], [CKM_AES_CBC; 2]);
    }

    #[test]
    fn every_added_mechanism_has_its_info_and_no_other() {
        for kind in ADDED {
            let info = added_info(kind, None).unwrap();
            let uses = info.flags & (CKF_SIGN | CKF_VERIFY | CKF_DERIVE | CKF_GENERATE_KEY_PAIR);
            let expected = match kind {
                CKM_EC_KEY_PAIR_GEN => CKF_GENERATE_KEY_PAIR,
                CKM_ECDH1_DERIVE => CKF_DERIVE,
                _ => CKF_SIGN | CKF_VERIFY,
            };
            assert_eq!(uses, expected);
            assert_eq!(info.flags & !uses, CKF_HW | CKF_EC_F_P | CKF_EC_OID | CKF_EC_UNCOMPRESS);
            let (smallest, largest) = (info.ulMinKeySize, info.ulMaxKeySize);
            assert_eq!((smallest, largest), (256, 256));
        }
        for kind in [CKM_RSA_PKCS, CKM_SHA256, CKM_ECDH1_COFACTOR_DERIVE] {
            assert!(!is_added(kind) && added_info(kind, None).is_none());
        }
    }

    #[test]
    fn digests_before_the_backends_ecdsa_take_what_it_takes() {
        let range = |kind, smallest, largest| {
            let ecdsa = CK_MECHANISM_INFO { ulMinKeySize: smallest, ulMaxKeySize: largest, flags: 0 };
            let info = added_info(kind, Some(ecdsa)).unwrap();
            (info.ulMinKeySize, info.ulMaxKeySize)
        };
        assert_eq!(range(CKM_ECDSA_SHA256, 112, 521), (112, 521));
        assert_eq!(range(CKM_ECDSA_SHA256, 384, 521), (256, 521));
        assert_eq!(range(CKM_ECDSA_SHA1, 112, 192), (112, 256));
        assert_eq!(range(CKM_ECDH1_DERIVE, 112, 521), (256, 256));
        assert_eq!(range(CKM_EC_KEY_PAIR_GEN, 112, 521), (256, 256));
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// "abc", from the examples with FIPS 180.
    #[test]
    fn digests_are_those_of_fips_180() {
        for (kind, digest, expected) in [
            (CKM_ECDSA_SHA1, DigestKind::Sha1, "a9993e364706816aba3e25717850c26c9cd0d89d"),
            (CKM_ECDSA_SHA224, DigestKind::Sha224, "23097d223405d8228642a477bda255b32aadbce4bda0b3f7e36c9da7"),
            (CKM_ECDSA_SHA256, DigestKind::Sha256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
            (
                CKM_ECDSA_SHA384,
                DigestKind::Sha384,
                "cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed8086072ba1e7cc2358baeca134c825a7",
            ),
            (
                CKM_ECDSA_SHA512,
                DigestKind::Sha512,
                "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a\
                 2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
            ),
        ] {
            assert_eq!(digest_of(kind), Some(digest));
            assert_eq!(digest.length() * 2, expected.len());
            let mut whole = Digester::new(kind).unwrap();
            whole.update(b"abc");
            assert_eq!(hex(&whole.finish()), expected);
            let mut parts = Digester::of(digest);
            parts.update(b"a");
            parts.update(b"");
            // The state of an operation can be set aside and taken up again.
            let mut copy = parts.clone();
            copy.update(b"bc");
            assert_eq!(hex(&copy.finish()), expected);
            parts.update(b"b");
            parts.update(b"c");
            assert_eq!(hex(&parts.finish()), expected);
        }
        for kind in [CKM_ECDSA, CKM_SHA256, CKM_ECDH1_DERIVE] {
            assert!(digest_of(kind).is_none() && Digester::new(kind).is_none());
        }
    }

    #[test]
    fn b5_digests_become_256_bits() {
        let digest: Vec<u8> = (1..=64).collect();
        assert_eq!(to_256_bits(&digest)[..], digest[..32]);
        assert_eq!(to_256_bits(&digest[..33])[..], digest[..32]);
        assert_eq!(to_256_bits(&digest[..32])[..], digest[..32]);
        let short = to_256_bits(&digest[..20]);
        assert_eq!((&short[..12], &short[12..]), (&[0; 12][..], &digest[..20]));
        assert_eq!(to_256_bits(&[7])[30..], [0, 7]);
        assert_eq!(to_256_bits(&[]), [0; 32]);
    }
}
