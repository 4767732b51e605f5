use std::fmt;
use std::str::FromStr;

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

    #[test]
    fn names_round_trip() {
        for curve in Curve::ALL {
            assert_eq!(curve.name().parse(), Ok(curve));
            assert_eq!(curve.sec2_name().parse(), Ok(curve));
        }
        assert!("p384".parse::<Curve>().is_err());
    }
}
