//! Ed25519 as Cardano derives it: the master key of CIP-3 ("Icarus"), children by BIP32-Ed25519.
//!
//! Icarus was chosen for the master because it is how Cardano's hardware wallets make one from words. The master key
//! that the BIP32-Ed25519 paper itself describes, with its retries, is used by Ledger only.

use curve25519_dalek::edwards::CompressedEdwardsY;
use curve25519_dalek::traits::IsIdentity;
use curve25519_dalek::{EdwardsPoint, Scalar};
use pbkdf2::pbkdf2_hmac;
use sha2::Sha512;
use zeroize::Zeroizing;

use super::{HdError, Secret, hmac_sha512};
use crate::ChildNumber;

/// CIP-3, "Icarus": PBKDF2-HMAC-SHA512 with 4096 rounds, kL tweaked. Returns kL, kR and the chain code.
pub(super) fn icarus_master(entropy: &[u8], passphrase: &[u8]) -> (Secret, Secret, Secret) {
    let mut data = Zeroizing::new([0; 96]);
    pbkdf2_hmac::<Sha512>(passphrase, entropy, 4096, &mut *data);
    data[0] &= 0b1111_1000;
    data[31] &= 0b0001_1111;
    data[31] |= 0b0100_0000;
    let part = |number: usize| {
        let mut part = Secret::default();
        part.copy_from_slice(&data[32 * number..32 * (number + 1)]);
        part
    };
    (part(0), part(1), part(2))
}

/// BIP32-Ed25519, "Child keys", private. Returns kL, kR and the chain code.
pub(super) fn child(
    left: &Secret,
    right: &Secret,
    chain_code: &Secret,
    child: ChildNumber,
) -> Result<(Secret, Secret, Secret), HdError> {
    let index = child.to_bits().to_le_bytes();
    let point = public_key(left);
    let hash = |tag: u8| {
        if child.is_hardened() {
            hmac_sha512(&**chain_code, &[&[tag], &**left, &**right, &index])
        } else {
            hmac_sha512(&**chain_code, &[&[tag | 2], &point, &index])
        }
    };
    let (z_left, z_right) = hash(0);
    let (_, chain_code) = hash(1);
    let left = add(&eight_times(&z_left), left);
    if !is_valid(&left) {
        return Err(HdError::InvalidChild(child));
    }
    Ok((left, add(&z_right, right), chain_code))
}

/// BIP32-Ed25519, "Child keys", public. The child is not hardened.
pub(super) fn public_child(
    parent: &EdwardsPoint,
    chain_code: &[u8; 32],
    child: ChildNumber,
) -> Result<([u8; 32], [u8; 32]), HdError> {
    let index = child.to_bits().to_le_bytes();
    let compressed = parent.compress();
    let (z_left, _) = hmac_sha512(chain_code, &[&[2], compressed.as_bytes(), &index]);
    let (_, chain_code) = hmac_sha512(chain_code, &[&[3], compressed.as_bytes(), &index]);
    let point = parent + EdwardsPoint::mul_base(&Scalar::from_bytes_mod_order(*eight_times(&z_left)));
    if point.is_identity() {
        return Err(HdError::InvalidChild(child));
    }
    Ok((point.compress().to_bytes(), *chain_code))
}

/// kL times the base point. kL is taken modulo the order, which changes no point.
pub(super) fn public_key(left: &Secret) -> [u8; 32] {
    EdwardsPoint::mul_base(&Zeroizing::new(Scalar::from_bytes_mod_order(**left))).compress().to_bytes()
}

/// BIP32-Ed25519: a kL that is a multiple of the order has the identity as its public key.
pub(super) fn is_valid(left: &Secret) -> bool {
    *Zeroizing::new(Scalar::from_bytes_mod_order(**left)) != Scalar::ZERO
}

/// A public key that is on the curve and in the prime-order group, so no key of small order either.
pub(super) fn decode_point(public_key: &[u8]) -> Option<EdwardsPoint> {
    let point = CompressedEdwardsY::from_slice(public_key).ok()?.decompress()?;
    (!point.is_identity() && point.is_torsion_free()).then_some(point)
}

/// 8 times the leftmost 28 bytes, little-endian: cannot overflow.
fn eight_times(z_left: &Secret) -> Secret {
    let mut product = Secret::default();
    let mut carry = 0;
    for (to, from) in product.iter_mut().zip(&z_left[..28]) {
        *to = (from << 3) | carry;
        carry = from >> 5;
    }
    product[28] = carry;
    product
}

/// The sum of two little-endian numbers modulo 2^256.
fn add(a: &Secret, b: &Secret) -> Secret {
    let mut sum = Secret::default();
    let mut carry = 0;
    for (to, (a, b)) in sum.iter_mut().zip(a.iter().zip(b.iter())) {
        let digit = u16::from(*a) + u16::from(*b) + carry;
        *to = digit as u8;
        carry = digit >> 8;
    }
    sum
}
