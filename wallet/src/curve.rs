use std::fmt;
use std::str::FromStr;

use p256::elliptic_curve::Curve as _;
use p256::elliptic_curve::point::AffineCoordinates as _;

/// An elliptic curve on which Holdfast maps keys.
///
/// The device knows Ed25519 and X25519 too; those keys are never mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Curve {
    /// NIST P-256, also called secp256r1 and prime256v1 (SEC 2, section 2.4.2).
    P256,
    /// secp256k1 (SEC 2, section 2.4.1).
    Secp256k1,
}

/// A curve name that is neither `p256` nor `secp256k1`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown curve {0:?}: p256 or secp256k1 expected")]
pub struct UnknownCurve(pub String);

impl Curve {
    /// Both curves, in the order in which they are offered.
    pub const ALL: [Curve; 2] = [Curve::P256, Curve::Secp256k1];

    /// The name used in wallet names, on the command line and in the store.
    pub const fn name(self) -> &'static str {
        match self {
            Curve::P256 => "p256",
            Curve::Secp256k1 => "secp256k1",
        }
    }

    /// The curve's name in `CKA_EC_PARAMS` when given as a PrintableString (PKCS#11 v2.40, "Elliptic curve").
    pub const fn sec2_name(self) -> &'static str {
        match self {
            Curve::P256 => "secp256r1",
            Curve::Secp256k1 => "secp256k1",
        }
    }

    /// The DER encoding of the curve's object identifier, as it stands in `CKA_EC_PARAMS`.
    pub const fn oid_der(self) -> &'static [u8] {
        match self {
            // 1.2.840.10045.3.1.7
            Curve::P256 => &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07],
            // 1.3.132.0.10
            Curve::Secp256k1 => &[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x0a],
        }
    }

    /// Whether `der`, a `SpecifiedECDomain` (SEC 1, appendix C.2), is this curve with its parameters spelt out: known
    /// by base point and order.
    pub fn is_specified_by(self, der: &[u8]) -> bool {
        const SEQUENCE: u8 = 0x30;
        let (order, base_point) = match self {
            Curve::P256 => (p256::NistP256::ORDER, p256::AffinePoint::GENERATOR.x()),
            Curve::Secp256k1 => (k256::Secp256k1::ORDER, k256::AffinePoint::GENERATOR.x()),
        };
        let order = order.to_be_bytes();
        let says = |number: &[u8]| der.windows(number.len()).any(|window| window == number);
        der.first() == Some(&SEQUENCE) && says(order.as_ref()) && says(&base_point)
    }
}

impl fmt::Display for Curve {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Curve {
    type Err = UnknownCurve;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        match name.to_ascii_lowercase().as_str() {
            "p256" | "p-256" | "secp256r1" | "prime256v1" | "nistp256" => Ok(Curve::P256),
            "secp256k1" => Ok(Curve::Secp256k1),
            _ => Err(UnknownCurve(name.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `openssl ecparam -name ... -param_enc explicit -outform DER`, of OpenSSL 3.0.
    const SPECIFIED: [(Curve, &[u8]); 2] = [
        (Curve::P256, include_bytes!("../tests/vectors/p256-specified.der")),
        (Curve::Secp256k1, include_bytes!("../tests/vectors/secp256k1-specified.der")),
    ];

    #[test]
    fn curves_are_known_by_their_parameters() {
        for (curve, der) in SPECIFIED {
            for other in Curve::ALL {
                assert_eq!(other.is_specified_by(der), other == curve);
            }
            assert!(!curve.is_specified_by(&der[1..]));
            assert!(!curve.is_specified_by(&der[..der.len() - 8]), "its order is cut short");
        }
    }

    #[test]
    fn names_round_trip() {
        for curve in Curve::ALL {
            assert_eq!(curve.name().parse(), Ok(curve));
            assert_eq!(curve.sec2_name().parse(), Ok(curve));
        }
        assert!("p384".parse::<Curve>().is_err());
    }
}
