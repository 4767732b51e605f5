use std::fmt;

use p256::ecdsa::signature::hazmat::PrehashVerifier;

use crate::Curve;

/// An ECDSA public key: a point of its curve, never the point at infinity.
///
/// The coordinates are kept as the device gives them, X and Y, 32 bytes each, big-endian.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct PublicKey {
    curve: Curve,
    coordinates: [u8; 64],
}

/// Bytes that are no public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublicKeyError {
    /// Neither X‖Y (64 bytes) nor an uncompressed SEC 1 point (65 bytes, the first 0x04).
    #[error("a public key of {0} bytes: 64 expected")]
    Length(usize),
    /// The coordinates satisfy no equation of this curve.
    #[error("the point is not on {0}")]
    NotOnCurve(Curve),
}

impl PublicKey {
    /// From X‖Y, 64 bytes big-endian, as the device exports a key.
    pub fn from_coordinates(curve: Curve, coordinates: &[u8]) -> Result<Self, PublicKeyError> {
        let coordinates: [u8; 64] = coordinates.try_into().map_err(|_| PublicKeyError::Length(coordinates.len()))?;
        let key = Self { curve, coordinates };
        let sec1 = key.to_sec1();
        let on_curve = match curve {
            Curve::P256 => p256::PublicKey::from_sec1_bytes(&sec1).is_ok(),
            Curve::Secp256k1 => k256::PublicKey::from_sec1_bytes(&sec1).is_ok(),
        };
        if on_curve { Ok(key) } else { Err(PublicKeyError::NotOnCurve(curve)) }
    }

    /// From an uncompressed point, 0x04‖X‖Y (SEC 1, section 2.3.3).
    pub fn from_sec1(curve: Curve, point: &[u8]) -> Result<Self, PublicKeyError> {
        match point {
            [0x04, coordinates @ ..] if coordinates.len() == 64 => Self::from_coordinates(curve, coordinates),
            _ => Err(PublicKeyError::Length(point.len())),
        }
    }

    /// The curve of the point.
    pub fn curve(&self) -> Curve {
        self.curve
    }

    /// X‖Y, big-endian.
    pub fn coordinates(&self) -> &[u8; 64] {
        &self.coordinates
    }

    /// The uncompressed point, 0x04‖X‖Y.
    pub fn to_sec1(&self) -> [u8; 65] {
        let mut point = [0x04; 65];
        point[1..].copy_from_slice(&self.coordinates);
        point
    }

    /// Whether `signature` (r‖s, 64 bytes) is this key's ECDSA signature of `digest`, taken as the 32 leftmost
    /// bytes that ECDSA on a 256-bit curve prescribes. A high s is accepted, as ECDSA does.
    pub fn verify_prehash(&self, digest: &[u8; 32], signature: &[u8]) -> bool {
        let sec1 = self.to_sec1();
        match self.curve {
            Curve::P256 => {
                let (Ok(key), Ok(signature)) =
                    (p256::ecdsa::VerifyingKey::from_sec1_bytes(&sec1), p256::ecdsa::Signature::from_slice(signature))
                else {
                    return false;
                };
                key.verify_prehash(digest, &signature).is_ok()
            }
            Curve::Secp256k1 => {
                let (Ok(key), Ok(signature)) =
                    (k256::ecdsa::VerifyingKey::from_sec1_bytes(&sec1), k256::ecdsa::Signature::from_slice(signature))
                else {
                    return false;
                };
                // k256 refuses a high s (a rule of Bitcoin's, not of ECDSA): s and n-s verify alike.
                let signature = signature.normalize_s();
                key.verify_prehash(digest, &signature).is_ok()
            }
        }
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({}, ", self.curve)?;
        self.coordinates.iter().take(8).try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str("..)")
    }
}
