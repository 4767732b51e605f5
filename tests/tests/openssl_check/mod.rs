//! Signatures checked by OpenSSL, which shares no code with what made them.

use anyhow::Result;
use holdfast_tests::client::Curve;
use openssl::bn::{BigNum, BigNumContext};
use openssl::ec::{EcGroup, EcKey, EcPoint};
use openssl::ecdsa::EcdsaSig;
use openssl::nid::Nid;

/// Whether `signature` (`r‖s`) is the signature of a digest by the key with the public point `04‖X‖Y`.
///
/// # Errors
/// When the point is not on the curve, or the signature is no pair of numbers.
pub fn verifies(curve: Curve, point: &[u8], digest: &[u8], signature: &[u8]) -> Result<bool> {
    let nid = match curve {
        Curve::P256 => Nid::X9_62_PRIME256V1,
        Curve::Secp256k1 => Nid::SECP256K1,
    };
    let group = EcGroup::from_curve_name(nid)?;
    let mut context = BigNumContext::new()?;
    let point = EcPoint::from_bytes(&group, point, &mut context)?;
    let key = EcKey::from_public_key(&group, &point)?;
    key.check_key()?;
    let (r, s) = signature.split_at(signature.len() / 2);
    let signature = EcdsaSig::from_private_components(BigNum::from_slice(r)?, BigNum::from_slice(s)?)?;
    Ok(signature.verify(digest, &key)?)
}
