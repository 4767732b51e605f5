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
    #[error("these {0} bytes are no public key: X‖Y (64 bytes) or 0x04‖X‖Y expected")]
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
        crate::tables::prepare_tables_of(self.curve);
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

#[cfg(test)]
mod tests {
    use std::array::from_fn;

    use p256::ecdsa::signature::hazmat::PrehashSigner;
    use proptest::prelude::{Strategy, any, prop, prop_assert, prop_assert_eq, proptest};
    use sha2::{Digest, Sha256, Sha384};

    use super::*;

    fn hex<const N: usize>(text: &str) -> [u8; N] {
        assert_eq!(text.len(), 2 * N);
        from_fn(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap())
    }

    /// RFC 6979, A.2.5. The first signature has a high s.
    #[test]
    fn verifies_the_signatures_of_rfc_6979() {
        let key = "60FED4BA255A9D31C961EB74C6356D68C049B8923B61FA6CE669622E60F29FB6\
                   7903FE1008B8BC99A41AE9E95628BC64F2F1B20C2D7E9F5177A3C294D4462299";
        let key = PublicKey::from_coordinates(Curve::P256, &hex::<64>(key)).unwrap();
        let sha256: [u8; 32] = Sha256::digest(b"sample").into();
        let sha384: [u8; 32] = Sha384::digest(b"sample")[..32].try_into().unwrap();
        let signature256: [u8; 64] = hex("EFD48B2AACB6A8FD1140DD9CD45E81D69D2C877B56AAF991C34D0EA84EAF3716\
             F7CB1C942D657C41D436C7A1B6E29F65F3E900DBB9AFF4064DC4AB2F843ACDA8");
        let signature384: [u8; 64] = hex("0EAFEA039B20E9B42309FB1D89E213057CBF973DC0CFC8F129EDDDC800EF7719\
             4861F0491E6998B9455193E34E7B0D284DDD7149A74B95B9261F13ABDE940954");
        assert!(key.verify_prehash(&sha256, &signature256));
        assert!(key.verify_prehash(&sha384, &signature384));
        assert!(!key.verify_prehash(&sha256, &signature384));
    }

    #[test]
    fn refuses_what_is_no_point() {
        for curve in Curve::ALL {
            for length in [0, 32, 33, 63, 65] {
                let error = PublicKey::from_coordinates(curve, &vec![4; length]);
                assert_eq!(error, Err(PublicKeyError::Length(length)));
            }
            for coordinates in [[0; 64], [1; 64], [0xff; 64]] {
                let error = PublicKey::from_coordinates(curve, &coordinates);
                assert_eq!(error, Err(PublicKeyError::NotOnCurve(curve)));
            }
            for point in [&[0][..], &[4; 64], &[4; 66], &[2; 33], &[6; 65], &[0; 65]] {
                assert_eq!(PublicKey::from_sec1(curve, point), Err(PublicKeyError::Length(point.len())));
            }
        }
    }

    /// A public key, a digest, and its signature with the s that the signer chose and with n - s.
    fn signed() -> impl Strategy<Value = (PublicKey, [u8; 32], [[u8; 64]; 2])> {
        let secret = any::<[u8; 32]>();
        (prop::sample::select(Curve::ALL.as_slice()), secret, any::<[u8; 32]>()).prop_filter_map(
            "the secret is below the order",
            |(curve, secret, digest)| {
                let (point, signatures) = match curve {
                    Curve::P256 => {
                        let key = p256::ecdsa::SigningKey::from_slice(&secret).ok()?;
                        let signature: p256::ecdsa::Signature = key.sign_prehash(&digest).ok()?;
                        let (r, s) = signature.split_scalars();
                        let other = p256::ecdsa::Signature::from_scalars(r, -*s).ok()?;
                        let point = key.verifying_key().to_sec1_point(false).as_bytes().to_vec();
                        (point, [signature.to_bytes().into(), other.to_bytes().into()])
                    }
                    Curve::Secp256k1 => {
                        let key = k256::ecdsa::SigningKey::from_slice(&secret).ok()?;
                        let signature: k256::ecdsa::Signature = key.sign_prehash(&digest).ok()?;
                        let (r, s) = signature.split_scalars();
                        let other = k256::ecdsa::Signature::from_scalars(r, -*s).ok()?;
                        let point = key.verifying_key().to_sec1_point(false).as_bytes().to_vec();
                        (point, [signature.to_bytes().into(), other.to_bytes().into()])
                    }
                };
                Some((PublicKey::from_sec1(curve, &point).ok()?, digest, signatures))
            },
        )
    }

    proptest! {
        #[test]
        fn accepts_its_own_signatures_only(
            (key, digest, signatures) in signed(),
            other in signed(),
            at in any::<prop::sample::Index>(),
            bit in 0_u8..8,
        ) {
            for signature in signatures {
                prop_assert!(key.verify_prehash(&digest, &signature));
                prop_assert!(!other.0.verify_prehash(&digest, &signature));
                prop_assert!(!key.verify_prehash(&other.1, &signature));
                let mut wrong = signature;
                wrong[at.index(64)] ^= 1 << bit;
                prop_assert!(!key.verify_prehash(&digest, &wrong));
                prop_assert!(!key.verify_prehash(&digest, &signature[..63]));
                prop_assert!(!key.verify_prehash(&digest, &[&signature[..], &[0]].concat()));
            }
            prop_assert!(!key.verify_prehash(&digest, &[0; 64]));
        }

        #[test]
        fn both_forms_are_the_same_key((key, ..) in signed(), at in any::<prop::sample::Index>(), bit in 0_u8..8) {
            let curve = key.curve();
            let again = PublicKey::from_coordinates(curve, key.coordinates());
            prop_assert_eq!(again.as_ref(), Ok(&key));
            let again = PublicKey::from_sec1(curve, &key.to_sec1());
            prop_assert_eq!(again.as_ref(), Ok(&key));
            let mut wrong = *key.coordinates();
            wrong[at.index(64)] ^= 1 << bit;
            // A changed X may have a point, but hardly with this Y.
            prop_assert_eq!(PublicKey::from_coordinates(curve, &wrong), Err(PublicKeyError::NotOnCurve(curve)));
        }
    }
}
