//! Public keys as an independent implementation has them: what signatures and shared secrets are checked with.

use cryptoki_sys::CK_MECHANISM_TYPE;
use cryptoki_sys::{CKM_ECDSA, CKM_ECDSA_SHA1, CKM_ECDSA_SHA224, CKM_ECDSA_SHA256, CKM_ECDSA_SHA384, CKM_ECDSA_SHA512};
use k256::ecdsa::signature::hazmat::PrehashVerifier as _;
use k256::elliptic_curve::sec1::ToSec1Point as _;
use sha1::Digest as _;

/// `CKA_EC_PARAMS` of P-256.
pub const P256: &[u8] = &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
/// `CKA_EC_PARAMS` of secp256k1.
pub const SECP256K1: &[u8] = &[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x0a];

/// A public key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Key {
    /// On P-256.
    P256(p256::PublicKey),
    /// On secp256k1.
    Secp256k1(k256::PublicKey),
}

impl Key {
    /// From `CKA_EC_PARAMS` and `CKA_EC_POINT`.
    pub fn new(params: &[u8], point: &[u8]) -> Self {
        let [0x04, 65, point @ ..] = point else { panic!("no DER OCTET STRING of a point: {point:x?}") };
        match params {
            P256 => Self::P256(p256::PublicKey::from_sec1_bytes(point).expect("a point of P-256")),
            SECP256K1 => Self::Secp256k1(k256::PublicKey::from_sec1_bytes(point).expect("a point of secp256k1")),
            other => panic!("no curve of ours: {other:x?}"),
        }
    }

    /// Whether `signature` (r‖s) is one of `data` under `mechanism`.
    pub fn verifies(&self, mechanism: CK_MECHANISM_TYPE, data: &[u8], signature: &[u8]) -> bool {
        let digest = digest(mechanism, data);
        match self {
            Self::P256(key) => p256::ecdsa::Signature::from_slice(signature).is_ok_and(|signature| {
                p256::ecdsa::VerifyingKey::from(key).verify_prehash(&digest, &signature).is_ok()
            }),
            // An S of the upper half is as good: low S is a rule of Bitcoin's.
            Self::Secp256k1(key) => k256::ecdsa::Signature::from_slice(signature).is_ok_and(|signature| {
                let signature = signature.normalize_s();
                k256::ecdsa::VerifyingKey::from(key).verify_prehash(&digest, &signature).is_ok()
            }),
        }
    }

    /// The X coordinate shared with whoever has the secret scalar `scalar`, a small number.
    pub fn shared_with(&self, scalar: u8) -> Vec<u8> {
        match self {
            Self::P256(key) => {
                let secret = p256::SecretKey::from_slice(&secret(scalar)).expect("a scalar");
                p256::ecdh::diffie_hellman(secret.to_nonzero_scalar(), key.as_affine()).raw_secret_bytes().to_vec()
            }
            Self::Secp256k1(key) => {
                let secret = k256::SecretKey::from_slice(&secret(scalar)).expect("a scalar");
                k256::ecdh::diffie_hellman(secret.to_nonzero_scalar(), key.as_affine()).raw_secret_bytes().to_vec()
            }
        }
    }

    /// The public key on this key's curve of whoever has `scalar`, as SEC 1 writes it.
    pub fn peer(&self, scalar: u8, compressed: bool) -> Vec<u8> {
        match self {
            Self::P256(_) => {
                let key = p256::SecretKey::from_slice(&secret(scalar)).expect("a scalar").public_key();
                key.to_sec1_point(compressed).as_bytes().to_vec()
            }
            Self::Secp256k1(_) => {
                let key = k256::SecretKey::from_slice(&secret(scalar)).expect("a scalar").public_key();
                key.to_sec1_point(compressed).as_bytes().to_vec()
            }
        }
    }
}

fn secret(scalar: u8) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes[31] = scalar.max(1);
    bytes
}

/// The digest that `mechanism` signs, 32 bytes at least.
fn digest(mechanism: CK_MECHANISM_TYPE, data: &[u8]) -> Vec<u8> {
    let digest = match mechanism {
        CKM_ECDSA => data.to_vec(),
        CKM_ECDSA_SHA1 => sha1::Sha1::digest(data).to_vec(),
        CKM_ECDSA_SHA224 => sha2::Sha224::digest(data).to_vec(),
        CKM_ECDSA_SHA256 => sha2::Sha256::digest(data).to_vec(),
        CKM_ECDSA_SHA384 => sha2::Sha384::digest(data).to_vec(),
        CKM_ECDSA_SHA512 => sha2::Sha512::digest(data).to_vec(),
        other => panic!("mechanism {other:#x} signs nothing here"),
    };
    // A shorter one is the number that it is.
    [vec![0; 32_usize.saturating_sub(digest.len())], digest].concat()
}
