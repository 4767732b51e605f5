use zeroize::Zeroizing;

use super::{ExtendedPublicKey, HdCurve, HdError, Secret, bip32, cardano, slip10};
use crate::{ChildNumber, DerivationPath};

/// A private key with its chain code. Both are wiped from memory on drop and never printed.
#[derive(Clone)]
pub struct ExtendedPrivateKey {
    curve: HdCurve,
    key: Secret,
    /// kR of BIP32-Ed25519, zero for the other schemes.
    right: Secret,
    chain_code: Secret,
}

impl ExtendedPrivateKey {
    /// The master key of a wallet (BIP32 and SLIP-0010, "Master key generation"; CIP-3, "Icarus").
    ///
    /// `seed` has 16 to 64 bytes: what BIP39 makes of the words, or the master secret of SLIP-0039. For
    /// [`HdCurve::Ed25519Cardano`] it is the salt of Icarus' PBKDF2 with an empty password; wallets of Cardano put
    /// there the *entropy* of the words, not their BIP39 seed, see [`Self::cardano_master`].
    pub fn from_seed(curve: HdCurve, seed: &[u8]) -> Result<Self, HdError> {
        if !(16..=64).contains(&seed.len()) {
            return Err(HdError::SeedLength(seed.len()));
        }
        let (key, chain_code) = match curve {
            HdCurve::Secp256k1 => bip32::master(seed)?,
            HdCurve::P256 => slip10::p256_master(seed),
            HdCurve::Ed25519 => slip10::ed25519_master(seed),
            HdCurve::Ed25519Cardano => return Self::cardano_master(seed, ""),
        };
        Ok(Self { curve, key, right: Secret::default(), chain_code })
    }

    /// The master key of a Cardano wallet by CIP-3, "Icarus": from the entropy of its words and a passphrase, which
    /// may be empty.
    pub fn cardano_master(entropy: &[u8], passphrase: &str) -> Result<Self, HdError> {
        if !(16..=64).contains(&entropy.len()) {
            return Err(HdError::SeedLength(entropy.len()));
        }
        let (key, right, chain_code) = cardano::icarus_master(entropy, passphrase.as_bytes());
        Ok(Self { curve: HdCurve::Ed25519Cardano, key, right, chain_code })
    }

    /// A key that was taken apart with [`Self::secret_bytes`] and [`Self::chain_code`].
    ///
    /// Refuses what is no private key of the curve: a wrong length, zero, a number not below the order.
    pub fn from_parts(curve: HdCurve, secret: &[u8], chain_code: &[u8; 32]) -> Result<Self, HdError> {
        let length = if curve == HdCurve::Ed25519Cardano { 64 } else { 32 };
        if secret.len() != length {
            return Err(HdError::PrivateKey(curve));
        }
        let (mut key, mut right) = (Secret::default(), Secret::default());
        key.copy_from_slice(&secret[..32]);
        right[..length - 32].copy_from_slice(&secret[32..]);
        let valid = match curve {
            HdCurve::Secp256k1 => k256::SecretKey::from_slice(secret).is_ok(),
            HdCurve::P256 => p256::SecretKey::from_slice(secret).is_ok(),
            HdCurve::Ed25519 => true,
            HdCurve::Ed25519Cardano => cardano::is_valid(&key),
        };
        if !valid {
            return Err(HdError::PrivateKey(curve));
        }
        Ok(Self { curve, key, right, chain_code: Zeroizing::new(*chain_code) })
    }

    /// The child `child` of this key (BIP32 and SLIP-0010, "Private parent key → private child key").
    pub fn derive_child(&self, child: ChildNumber) -> Result<Self, HdError> {
        let curve = self.curve;
        if !curve.supports(child) {
            return Err(HdError::HardenedOnly(child));
        }
        let (key, right, chain_code) = match curve {
            HdCurve::Secp256k1 => {
                let (key, chain_code) = bip32::child(&self.key, &self.chain_code, child)?;
                (key, Secret::default(), chain_code)
            }
            HdCurve::P256 => {
                let (key, chain_code) = slip10::p256_child(&self.key, &self.chain_code, child);
                (key, Secret::default(), chain_code)
            }
            HdCurve::Ed25519 => {
                let (key, chain_code) = slip10::ed25519_child(&self.key, &self.chain_code, child);
                (key, Secret::default(), chain_code)
            }
            HdCurve::Ed25519Cardano => cardano::child(&self.key, &self.right, &self.chain_code, child)?,
        };
        Ok(Self { curve, key, right, chain_code })
    }

    /// The node at `path` below this key, which stands for `m`.
    pub fn derive_path(&self, path: &DerivationPath) -> Result<Self, HdError> {
        path.steps().iter().try_fold(self.clone(), |node, &step| node.derive_child(step))
    }

    /// The curve and scheme.
    pub fn curve(&self) -> HdCurve {
        self.curve
    }

    /// The private key: a big-endian number on the ECDSA curves, the seed of RFC 8032 for Ed25519, and kL (a
    /// little-endian number) for Cardano, whose whole key is in [`Self::secret_bytes`].
    pub fn private_key(&self) -> &[u8; 32] {
        &self.key
    }

    /// The whole secret as [`Self::from_parts`] takes it: [`Self::private_key`], for Cardano kL‖kR.
    pub fn secret_bytes(&self) -> Zeroizing<Vec<u8>> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(64));
        bytes.extend_from_slice(&*self.key);
        if self.curve == HdCurve::Ed25519Cardano {
            bytes.extend_from_slice(&*self.right);
        }
        bytes
    }

    /// The chain code, from which children take their entropy.
    pub fn chain_code(&self) -> &[u8; 32] {
        &self.chain_code
    }

    /// The public key: X‖Y (64 bytes) on the ECDSA curves, the 32 bytes of RFC 8032 on the others.
    pub fn public_key(&self) -> Vec<u8> {
        match self.curve {
            HdCurve::Secp256k1 => bip32::public_key(&self.key).to_vec(),
            HdCurve::P256 => slip10::p256_public_key(&self.key).to_vec(),
            HdCurve::Ed25519 => ed25519_dalek::SigningKey::from_bytes(&self.key).verifying_key().to_bytes().to_vec(),
            HdCurve::Ed25519Cardano => cardano::public_key(&self.key).to_vec(),
        }
    }

    /// The public half with the chain code: "neutered" in BIP32.
    pub fn extended_public_key(&self) -> ExtendedPublicKey {
        ExtendedPublicKey::of_private(self.curve, self.public_key(), *self.chain_code)
    }
}
