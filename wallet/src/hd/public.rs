use std::fmt;

use p256::elliptic_curve::sec1::ToSec1Point;

use super::{HdCurve, HdError, bip32, cardano, slip10};
use crate::ChildNumber;

/// A public key with its chain code: what an oversight wallet is made of. Derives the children that are not hardened.
#[derive(Clone, PartialEq, Eq)]
pub struct ExtendedPublicKey {
    curve: HdCurve,
    /// X‖Y on the ECDSA curves, 32 bytes on the others; on the curve.
    public_key: Vec<u8>,
    chain_code: [u8; 32],
}

impl ExtendedPublicKey {
    /// From a public key and its chain code.
    ///
    /// On the ECDSA curves the key is X‖Y (64 bytes), or a compressed or uncompressed point of SEC 1 (33 or 65 bytes);
    /// on the others the 32 bytes of RFC 8032. Refuses what is not on the curve.
    pub fn new(curve: HdCurve, public_key: &[u8], chain_code: &[u8; 32]) -> Result<Self, HdError> {
        let error = HdError::PublicKey(curve);
        let public_key = match curve {
            HdCurve::Secp256k1 => k256::PublicKey::from_sec1_bytes(&sec1(public_key))
                .map(|key| key.to_sec1_point(false).as_bytes()[1..].to_vec())
                .map_err(|_| error)?,
            HdCurve::P256 => p256::PublicKey::from_sec1_bytes(&sec1(public_key))
                .map(|key| key.to_sec1_point(false).as_bytes()[1..].to_vec())
                .map_err(|_| error)?,
            HdCurve::Ed25519 | HdCurve::Ed25519Cardano => {
                cardano::decode_point(public_key).ok_or(error)?;
                public_key.to_vec()
            }
        };
        Ok(Self { curve, public_key, chain_code: *chain_code })
    }

    pub(super) fn of_private(curve: HdCurve, public_key: Vec<u8>, chain_code: [u8; 32]) -> Self {
        Self { curve, public_key, chain_code }
    }

    /// The child `child`, not hardened (BIP32 and SLIP-0010, "Public parent key → public child key").
    pub fn derive_child(&self, child: ChildNumber) -> Result<Self, HdError> {
        if self.curve == HdCurve::Ed25519 {
            return Err(HdError::NoPublicDerivation);
        }
        if child.is_hardened() {
            return Err(HdError::HardenedFromPublic(child));
        }
        let error = || HdError::PublicKey(self.curve);
        let (public_key, chain_code) = match self.curve {
            HdCurve::Secp256k1 => {
                let key = k256::PublicKey::from_sec1_bytes(&sec1(&self.public_key)).map_err(|_| error())?;
                let (key, chain_code) = bip32::public_child(&key, &self.chain_code, child)?;
                (key.to_vec(), chain_code)
            }
            HdCurve::P256 => {
                let key = p256::PublicKey::from_sec1_bytes(&sec1(&self.public_key)).map_err(|_| error())?;
                let (key, chain_code) = slip10::p256_public_child(&key, &self.chain_code, child);
                (key.to_vec(), chain_code)
            }
            HdCurve::Ed25519 | HdCurve::Ed25519Cardano => {
                let point = cardano::decode_point(&self.public_key).ok_or_else(error)?;
                let (key, chain_code) = cardano::public_child(&point, &self.chain_code, child)?;
                (key.to_vec(), chain_code)
            }
        };
        Ok(Self { curve: self.curve, public_key, chain_code })
    }

    /// The curve and scheme.
    pub fn curve(&self) -> HdCurve {
        self.curve
    }

    /// The public key: X‖Y (64 bytes) on the ECDSA curves, the 32 bytes of RFC 8032 on the others.
    pub fn public_key(&self) -> &[u8] {
        &self.public_key
    }

    /// The chain code.
    pub fn chain_code(&self) -> &[u8; 32] {
        &self.chain_code
    }
}

impl fmt::Debug for ExtendedPublicKey {
    /// Leaves the chain code out: with it and one private child, BIP32's parent private key can be computed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ExtendedPublicKey({}, ", self.curve)?;
        self.public_key.iter().take(8).try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str("..)")
    }
}

/// X‖Y gets the prefix that SEC 1 gives it; anything else is left to the decoder.
fn sec1(public_key: &[u8]) -> Vec<u8> {
    let prefix: &[u8] = if public_key.len() == 64 { &[0x04] } else { &[] };
    [prefix, public_key].concat()
}
