//! secp256k1 by BIP32, with the arithmetic of the `bip32` crate.

use bip32::{PrivateKey, PublicKey};
use k256::elliptic_curve::sec1::ToSec1Point;
use zeroize::Zeroizing;

use super::{HdCurve, HdError, Secret, hmac_sha512};
use crate::ChildNumber;

/// BIP32, "Master key generation". The crate's own constructor takes only three of the seed lengths.
pub(super) fn master(seed: &[u8]) -> Result<(Secret, Secret), HdError> {
    let (key, chain_code) = hmac_sha512(b"Bitcoin seed", &[seed]);
    match k256::SecretKey::from_slice(&*key) {
        Ok(_) => Ok((key, chain_code)),
        Err(_) => Err(HdError::InvalidMaster(HdCurve::Secp256k1)),
    }
}

/// BIP32, CKDpriv.
pub(super) fn child(key: &Secret, chain_code: &Secret, child: ChildNumber) -> Result<(Secret, Secret), HdError> {
    let invalid = |_| HdError::InvalidChild(child);
    let parent = secret_key(key);
    let (tweak, chain_code) = parent.derive_tweak(chain_code, number(child)).map_err(invalid)?;
    let tweak = Zeroizing::new(tweak);
    let key = parent.derive_child(*tweak).map_err(invalid)?;
    Ok((Zeroizing::new(PrivateKey::to_bytes(&key)), Zeroizing::new(chain_code)))
}

/// BIP32, CKDpub. The child is not hardened.
pub(super) fn public_child(
    parent: &k256::PublicKey,
    chain_code: &[u8; 32],
    child: ChildNumber,
) -> Result<([u8; 64], [u8; 32]), HdError> {
    let invalid = |_| HdError::InvalidChild(child);
    let (tweak, chain_code) = parent.derive_tweak(chain_code, number(child)).map_err(invalid)?;
    let key = parent.derive_child(tweak).map_err(invalid)?;
    Ok((coordinates(&key), chain_code))
}

/// X‖Y of the private key's point.
pub(super) fn public_key(key: &Secret) -> [u8; 64] {
    coordinates(&secret_key(key).public_key())
}

fn secret_key(key: &Secret) -> k256::SecretKey {
    k256::SecretKey::from_slice(&**key).expect("checked when the extended key was made")
}

fn coordinates(key: &k256::PublicKey) -> [u8; 64] {
    let mut coordinates = [0; 64];
    coordinates.copy_from_slice(&key.to_sec1_point(false).as_bytes()[1..]);
    coordinates
}

fn number(child: ChildNumber) -> bip32::ChildNumber {
    bip32::ChildNumber(child.to_bits())
}
