//! Derivation of wallet nodes by the published standards, which are in `holdfast-wallet`.

use holdfast_wallet::ChildNumber;
use holdfast_wallet::hd::{ExtendedPrivateKey, ExtendedPublicKey, HdCurve, HdError};
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

impl From<HdError> for Error {
    fn from(error: HdError) -> Self {
        Self::Derivation(error.to_string())
    }
}

/// The scheme by which a wallet derives.
///
/// # Errors
/// [`Error::KeyType`] for X25519.
pub fn scheme(key_type: KeyType, cardano: bool) -> Result<HdCurve> {
    match key_type {
        KeyType::P256 => Ok(HdCurve::P256),
        KeyType::Secp256k1 => Ok(HdCurve::Secp256k1),
        KeyType::Ed25519 if cardano => Ok(HdCurve::Ed25519Cardano),
        KeyType::Ed25519 => Ok(HdCurve::Ed25519),
        KeyType::X25519 => Err(Error::KeyType(key_type, "form wallets")),
    }
}

/// The master node of a seed. A Cardano wallet takes the entropy of its words and the passphrase, which the seed of
/// the others contains already.
///
/// # Errors
/// [`Error::KeyType`], and [`Error::Derivation`] for a seed that the standard does not take.
pub fn master(key_type: KeyType, cardano: bool, seed: &[u8], passphrase: &str) -> Result<ExtendedKey> {
    let master = match scheme(key_type, cardano)? {
        HdCurve::Ed25519Cardano => ExtendedPrivateKey::cardano_master(seed, passphrase)?,
        curve => ExtendedPrivateKey::from_seed(curve, seed)?,
    };
    Ok(ExtendedKey::of_private(key_type, &master))
}

impl ExtendedKey {
    fn of_private(key_type: KeyType, key: &ExtendedPrivateKey) -> Self {
        let private = Some(key.secret_bytes().to_vec().into());
        let pair = KeyPair { key_type, public: key.public_key().into(), private };
        Self { key: pair, chain_code: key.chain_code().to_vec().into() }
    }

    /// The child of this node; a public one without the private half.
    ///
    /// # Errors
    /// [`Error::Derivation`] where the standard defines none.
    pub fn child(&self, child: ChildNumber, cardano: bool) -> Result<Self> {
        let key_type = self.key.key_type;
        let curve = scheme(key_type, cardano)?;
        let chain_code: Zeroizing<[u8; 32]> =
            Zeroizing::new(self.chain_code.to_array().ok_or(Error::Argument("chain code"))?);
        if let Some(private) = &self.key.private {
            let parent = ExtendedPrivateKey::from_parts(curve, private.as_slice(), &chain_code)?;
            return Ok(Self::of_private(key_type, &parent.derive_child(child)?));
        }
        let parent = ExtendedPublicKey::new(curve, self.key.public.as_slice(), &chain_code)?;
        let derived = parent.derive_child(child)?;
        let pair = KeyPair { key_type, public: derived.public_key().to_vec().into(), private: None };
        Ok(Self { key: pair, chain_code: derived.chain_code().to_vec().into() })
    }
}
