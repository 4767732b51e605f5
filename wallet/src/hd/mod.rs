//! Extended keys: a key with its chain code, from which child keys are derived.
//!
//! | curve | standard | children |
//! |---|---|---|
//! | [`HdCurve::Secp256k1`] | BIP32 | hardened and not |
//! | [`HdCurve::P256`] | SLIP-0010 | hardened and not |
//! | [`HdCurve::Ed25519`] | SLIP-0010 | hardened only |
//! | [`HdCurve::Ed25519Cardano`] | CIP-3 (Icarus) master, BIP32-Ed25519 derivation | hardened and not |
//!
//! An index whose key would be invalid is skipped by SLIP-0010 itself (it hashes again); BIP32 leaves that to the
//! caller, and so does BIP32-Ed25519: [`HdError::InvalidChild`]. The chance is below 2^-127.

mod bip32;
mod cardano;
mod private;
mod public;
mod slip10;

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha512;
use zeroize::Zeroizing;

pub use private::ExtendedPrivateKey;
pub use public::ExtendedPublicKey;

use crate::{ChildNumber, Curve};

/// The curve of a wallet together with the way in which its keys are derived.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HdCurve {
    /// secp256k1 as in BIP32.
    Secp256k1,
    /// NIST P-256 as in SLIP-0010.
    P256,
    /// Ed25519 as in SLIP-0010: the private key is the 32-byte seed of RFC 8032, children are hardened.
    Ed25519,
    /// Ed25519 as Cardano uses it: a 64-byte extended private key kL‖kR, children by BIP32-Ed25519
    /// (Khovratovich and Law, 2017, in Cardano's "V2" reading: 28 bytes of zL, little-endian indices).
    Ed25519Cardano,
}

impl HdCurve {
    /// All four.
    pub const ALL: [HdCurve; 4] = [HdCurve::Secp256k1, HdCurve::P256, HdCurve::Ed25519, HdCurve::Ed25519Cardano];

    /// The ECDSA curve, `None` for the two that sign with EdDSA.
    pub const fn ecdsa(self) -> Option<Curve> {
        match self {
            HdCurve::Secp256k1 => Some(Curve::Secp256k1),
            HdCurve::P256 => Some(Curve::P256),
            HdCurve::Ed25519 | HdCurve::Ed25519Cardano => None,
        }
    }

    /// Whether the scheme has a derivation for `child` at all, from a private parent.
    pub const fn supports(self, child: ChildNumber) -> bool {
        child.is_hardened() || !matches!(self, HdCurve::Ed25519)
    }
}

impl From<Curve> for HdCurve {
    fn from(curve: Curve) -> Self {
        match curve {
            Curve::P256 => HdCurve::P256,
            Curve::Secp256k1 => HdCurve::Secp256k1,
        }
    }
}

impl fmt::Display for HdCurve {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            HdCurve::Secp256k1 => "secp256k1",
            HdCurve::P256 => "p256",
            HdCurve::Ed25519 => "ed25519",
            HdCurve::Ed25519Cardano => "ed25519 (cardano)",
        })
    }
}

/// Why there is no such extended key. Names no secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HdError {
    /// BIP32, "Master key generation", and SLIP-0010 take 128 to 512 bits.
    #[error("a seed of {0} bytes: 16 to 64 expected")]
    SeedLength(usize),
    /// BIP32: the master key is zero or not below the order of the curve. Another seed is needed.
    #[error("this seed gives no valid master key on {0}")]
    InvalidMaster(HdCurve),
    /// BIP32: this child does not exist; "one should proceed with the next value for i".
    #[error("child {0} has no valid key: take the next index")]
    InvalidChild(ChildNumber),
    /// SLIP-0010 derives only hardened children on Ed25519.
    #[error("child {0}: ed25519 has hardened children only (SLIP-0010)")]
    HardenedOnly(ChildNumber),
    /// A hardened child needs the parent's private key.
    #[error("child {0} is hardened: it cannot be derived from a public key")]
    HardenedFromPublic(ChildNumber),
    /// SLIP-0010: Ed25519 public keys have no children.
    #[error("an ed25519 public key has no children (SLIP-0010)")]
    NoPublicDerivation,
    /// Bytes that are no private key of this curve: wrong length, zero, or not below the order.
    #[error("no private key of {0}")]
    PrivateKey(HdCurve),
    /// Bytes that are no public key of this curve: wrong length, or not on the curve.
    #[error("no public key of {0}")]
    PublicKey(HdCurve),
}

type Secret = Zeroizing<[u8; 32]>;

/// HMAC-SHA512 of the concatenated parts, in its two halves: I_L and I_R of BIP32.
fn hmac_sha512(key: &[u8], parts: &[&[u8]]) -> (Secret, Secret) {
    let mut mac = Hmac::<Sha512>::new_from_slice(key).expect("HMAC takes keys of any length");
    parts.iter().for_each(|part| mac.update(part));
    let digest = Zeroizing::new(<[u8; 64]>::from(mac.finalize().into_bytes()));
    halves(&digest)
}

fn halves(bytes: &[u8; 64]) -> (Secret, Secret) {
    let (mut left, mut right) = (Secret::default(), Secret::default());
    left.copy_from_slice(&bytes[..32]);
    right.copy_from_slice(&bytes[32..]);
    (left, right)
}
