//! Derivation of wallet nodes by the published standards: BIP32 on secp256k1, SLIP-0010 on P-256 and Ed25519,
//! BIP32-Ed25519 for the variant `cardano`.

use hmac::{Hmac, KeyInit as _, Mac as _};
use holdfast_wallet::ChildNumber;
use sha2::Sha512;
use zeroize::Zeroizing;

use crate::error::{Error, Result};
use crate::hex::HexBytes;
use crate::keys::{KeyPair, KeyType};

/// A node: key and chain code.
#[derive(Clone, Debug)]
pub struct ExtendedKey {
    /// The key, with or without its private half.
    pub key: KeyPair,
    /// The chain code, 32 bytes.
    pub chain_code: HexBytes,
}

fn undefined(reason: impl std::fmt::Display) -> Error {
    Error::Derivation(reason.to_string())
}

/// The master node of a seed.
///
/// # Errors
/// [`Error::Derivation`] for X25519, and for a seed that the standard does not take.
pub fn master(key_type: KeyType, cardano: bool, seed: &[u8]) -> Result<ExtendedKey> {
    if cardano {
        return Err(undefined("cardano"));
    }
    let salt: &[u8] = match key_type {
        KeyType::P256 => b"Nist256p1 seed",
        KeyType::Secp256k1 => b"Bitcoin seed",
        KeyType::Ed25519 => b"ed25519 seed",
        KeyType::X25519 => return Err(undefined("X25519 keys have no wallets")),
    };
    let mut data = Zeroizing::new(seed.to_vec());
    loop {
        let i = hmac_sha512(salt, &[&data]);
        let (left, right) = i.split_at(32);
        if let Ok(key) = KeyPair::from_private(key_type, left) {
            return Ok(ExtendedKey { key, chain_code: right.to_vec().into() });
        }
        data = Zeroizing::new(i.to_vec());
    }
}

impl ExtendedKey {
    /// The child of this node; a public one without the private half.
    ///
    /// # Errors
    /// [`Error::Derivation`] where the standard defines none.
    pub fn child(&self, child: ChildNumber, _cardano: bool) -> Result<Self> {
        let private = self.key.private.as_ref().ok_or_else(|| undefined("public"))?;
        let key_type = self.key.key_type;
        if !child.is_hardened() && key_type == KeyType::Ed25519 {
            return Err(undefined("SLIP-0010 has only hardened children on Ed25519"));
        }
        let number = child.to_bits().to_be_bytes();
        let mut i = if child.is_hardened() {
            hmac_sha512(self.chain_code.as_slice(), &[&[0], private.as_slice(), &number])
        } else {
            let (x, y) = self.key.public.as_slice().split_at(32);
            hmac_sha512(self.chain_code.as_slice(), &[&[2 + (y.last().copied().unwrap_or(0) & 1)], x, &number])
        };
        loop {
            let (left, right) = i.split_at(32);
            let sum = match key_type {
                KeyType::Ed25519 => Some(left.to_vec()),
                KeyType::P256 => add::<p256::Scalar>(left, private.as_slice()),
                _ => add::<k256::Scalar>(left, private.as_slice()),
            };
            if let Some(key) = sum.and_then(|sum| KeyPair::from_private(key_type, &sum).ok()) {
                return Ok(Self { key, chain_code: right.to_vec().into() });
            }
            i = hmac_sha512(self.chain_code.as_slice(), &[&[1], right, &number]);
        }
    }
}

fn add<S: p256::elliptic_curve::PrimeField>(a: &[u8], b: &[u8]) -> Option<Vec<u8>> {
    let scalar = |bytes: &[u8]| {
        let mut repr = S::Repr::default();
        repr.as_mut().copy_from_slice(bytes);
        S::from_repr(repr).into_option()
    };
    Some((scalar(a)? + scalar(b)?).to_repr().as_ref().to_vec())
}

fn hmac_sha512(key: &[u8], parts: &[&[u8]]) -> Zeroizing<[u8; 64]> {
    let mut mac = Hmac::<Sha512>::new_from_slice(key).expect("HMAC takes keys of any length");
    parts.iter().for_each(|part| mac.update(part));
    Zeroizing::new(mac.finalize().into_bytes().into())
}
