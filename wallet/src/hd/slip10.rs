//! P-256 and Ed25519 by SLIP-0010.

use p256::elliptic_curve::PrimeField;
use p256::elliptic_curve::sec1::ToSec1Point;
use p256::{NonZeroScalar, ProjectivePoint, PublicKey, Scalar, SecretKey};
use zeroize::{Zeroize, Zeroizing};

use super::{Secret, hmac_sha512};
use crate::ChildNumber;

/// SLIP-0010, "Master key generation": hashed again while the key is zero or not below the order.
pub(super) fn p256_master(seed: &[u8]) -> (Secret, Secret) {
    let (mut key, mut chain_code) = hmac_sha512(b"Nist256p1 seed", &[seed]);
    while SecretKey::from_slice(&*key).is_err() {
        (key, chain_code) = hmac_sha512(b"Nist256p1 seed", &[&*key, &*chain_code]);
    }
    (key, chain_code)
}

/// SLIP-0010, "Private parent key → private child key".
pub(super) fn p256_child(key: &Secret, chain_code: &Secret, child: ChildNumber) -> (Secret, Secret) {
    let index = child.to_bits().to_be_bytes();
    let parent = secret_key(key);
    let (mut left, mut right) = if child.is_hardened() {
        hmac_sha512(&**chain_code, &[&[0], &**key, &index])
    } else {
        let point = parent.public_key().to_sec1_point(true);
        hmac_sha512(&**chain_code, &[point.as_bytes(), &index])
    };
    let mut parent = *parent.to_nonzero_scalar();
    let child = loop {
        let child = scalar(&left).and_then(|tweak| {
            let tweak = Zeroizing::new(tweak);
            Option::<NonZeroScalar>::from(NonZeroScalar::new(*tweak + parent))
        });
        match child {
            Some(child) => break Zeroizing::new(child),
            None => (left, right) = hmac_sha512(&**chain_code, &[&[1], &*right, &index]),
        }
    };
    parent.zeroize();
    (Zeroizing::new((*child).to_repr().into()), right)
}

/// SLIP-0010, "Public parent key → public child key". The child is not hardened.
pub(super) fn p256_public_child(parent: &PublicKey, chain_code: &[u8; 32], child: ChildNumber) -> ([u8; 64], [u8; 32]) {
    let index = child.to_bits().to_be_bytes();
    let (mut left, mut right) = hmac_sha512(chain_code, &[parent.to_sec1_point(true).as_bytes(), &index]);
    loop {
        let child = scalar(&left).and_then(|tweak| {
            let point = ProjectivePoint::GENERATOR * tweak + parent.to_projective();
            PublicKey::from_affine(point.to_affine()).ok()
        });
        match child {
            Some(child) => break (coordinates(&child), *right),
            None => (left, right) = hmac_sha512(chain_code, &[&[1], &*right, &index]),
        }
    }
}

/// X‖Y of the private key's point.
pub(super) fn p256_public_key(key: &Secret) -> [u8; 64] {
    coordinates(&secret_key(key).public_key())
}

/// SLIP-0010, "Master key generation": every 32 bytes are a private key of Ed25519.
pub(super) fn ed25519_master(seed: &[u8]) -> (Secret, Secret) {
    hmac_sha512(b"ed25519 seed", &[seed])
}

/// SLIP-0010, "Private parent key → private child key". The child is hardened.
pub(super) fn ed25519_child(key: &Secret, chain_code: &Secret, child: ChildNumber) -> (Secret, Secret) {
    hmac_sha512(&**chain_code, &[&[0], &**key, &child.to_bits().to_be_bytes()])
}

/// The number, if it is below the order of P-256.
fn scalar(bytes: &Secret) -> Option<Scalar> {
    Scalar::from_repr((**bytes).into()).into()
}

fn secret_key(key: &Secret) -> SecretKey {
    SecretKey::from_slice(&**key).expect("checked when the extended key was made")
}

fn coordinates(key: &PublicKey) -> [u8; 64] {
    let mut coordinates = [0; 64];
    coordinates.copy_from_slice(&key.to_sec1_point(false).as_bytes()[1..]);
    coordinates
}
