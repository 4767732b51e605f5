//! Keys of the four types that the device knows, and what each can do.

use std::fmt;

use hkdf::Hkdf;
use holdfast_wallet::{Curve, PublicKey};
use k256::elliptic_curve::point::AffineCoordinates;
use serde::{Deserialize, Serialize};
use sha2::{Sha256, Sha512};
use zeroize::Zeroizing;

use crate::error::{Error, Result};
use crate::hex::HexBytes;

/// `ZK_EC_KEY_TYPE` of zk_app_utils.h.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyType {
    /// `ZK_NISTP256`, also `ZK_SECP256R1`.
    P256,
    /// `ZK_SECP256K1`.
    Secp256k1,
    /// `ZK_ED25519`.
    Ed25519,
    /// `ZK_X25519`.
    X25519,
}

impl KeyType {
    /// From the number that the C ABI uses.
    pub fn from_number(number: i32) -> Result<Self> {
        match number {
            0 => Ok(Self::P256),
            1 => Ok(Self::Secp256k1),
            2 => Ok(Self::Ed25519),
            3 => Ok(Self::X25519),
            _ => Err(Error::Argument("type")),
        }
    }

    /// The name that the state file and the command line use.
    pub const fn name(self) -> &'static str {
        match self {
            Self::P256 => "p256",
            Self::Secp256k1 => "secp256k1",
            Self::Ed25519 => "ed25519",
            Self::X25519 => "x25519",
        }
    }

    /// The curve of ECDSA keys.
    pub const fn ecdsa_curve(self) -> Option<Curve> {
        match self {
            Self::P256 => Some(Curve::P256),
            Self::Secp256k1 => Some(Curve::Secp256k1),
            Self::Ed25519 | Self::X25519 => None,
        }
    }

    /// How many bytes an exported public key has.
    pub const fn public_len(self) -> usize {
        if self.ecdsa_curve().is_some() { 64 } else { 32 }
    }

    /// Checks a public key that came from outside: on its curve, and in the form in which it is kept. A point may
    /// come with the 0x04 of SEC 1.
    ///
    /// # Errors
    /// [`Error::PublicKey`].
    pub fn parse_public(self, bytes: &[u8]) -> Result<HexBytes> {
        let error = || Error::PublicKey(self);
        match self.ecdsa_curve() {
            Some(curve) if bytes.len() == 65 => {
                let key = PublicKey::from_sec1(curve, bytes).map_err(|_| error())?;
                Ok(key.coordinates().to_vec().into())
            }
            Some(curve) => {
                let key = PublicKey::from_coordinates(curve, bytes).map_err(|_| error())?;
                Ok(key.coordinates().to_vec().into())
            }
            None => {
                let bytes: [u8; 32] = bytes.try_into().map_err(|_| error())?;
                if self == Self::Ed25519 {
                    ed25519_dalek::VerifyingKey::from_bytes(&bytes).map_err(|_| error())?;
                }
                Ok(bytes.to_vec().into())
            }
        }
    }

    /// The public key as a SubjectPublicKeyInfo in PEM (RFC 5280, RFC 8410, RFC 7468).
    pub fn public_pem(self, public: &[u8]) -> String {
        // The DER up to the key itself: it is the same for every key of a type.
        let prefix: &[u8] = match self {
            Self::P256 => b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x03\x42\x00\x04",
            Self::Secp256k1 => b"\x30\x56\x30\x10\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x05\x2b\x81\x04\x00\x0a\x03\x42\x00\x04",
            Self::Ed25519 => b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00",
            Self::X25519 => b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x6e\x03\x21\x00",
        };
        let text = base64(&[prefix, public].concat());
        let mut pem = String::from("-----BEGIN PUBLIC KEY-----\n");
        for line in text.as_bytes().chunks(64) {
            pem.push_str(&String::from_utf8_lossy(line));
            pem.push('\n');
        }
        pem.push_str("-----END PUBLIC KEY-----\n");
        pem
    }
}

impl fmt::Display for KeyType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A key of the key store. Nodes of oversight wallets have no private half.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyPair {
    /// The type.
    pub key_type: KeyType,
    /// X‖Y, or the 32 bytes of the Edwards and Montgomery curves.
    pub public: HexBytes,
    /// The scalar or the seed, 32 bytes; kL‖kR, 64 bytes, for a node of a Cardano wallet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub private: Option<HexBytes>,
}

/// A signature, and the parity and overflow of its R (SEC 1, section 4.1.6), 0 for Ed25519.
pub type SignatureAndRecovery = ([u8; 64], u8);

impl KeyPair {
    /// A new random key.
    pub fn generate(key_type: KeyType) -> Self {
        loop {
            let private = random::<32>();
            if let Ok(pair) = Self::from_private(key_type, private.as_slice()) {
                return pair;
            }
        }
    }

    /// The key with this private half.
    ///
    /// # Errors
    /// [`Error::Argument`] for bytes that are no private key of the type.
    pub fn from_private(key_type: KeyType, private: &[u8]) -> Result<Self> {
        let error = || Error::Argument("private key");
        let seed = || -> Result<[u8; 32]> { private.try_into().map_err(|_| error()) };
        let public: HexBytes = match key_type {
            KeyType::P256 => {
                let secret = p256::SecretKey::from_slice(private).map_err(|_| error())?;
                secret.public_key().to_sec1_bytes().get(1..).unwrap_or_default().to_vec().into()
            }
            KeyType::Secp256k1 => {
                let secret = k256::SecretKey::from_slice(private).map_err(|_| error())?;
                let public = secret.public_key();
                let point = k256::elliptic_curve::sec1::ToSec1Point::to_sec1_point(&public, false);
                point.as_bytes().get(1..).unwrap_or_default().to_vec().into()
            }
            KeyType::Ed25519 if private.len() == 64 => {
                let expanded = extended_ed25519(private)?;
                ed25519_dalek::VerifyingKey::from(&expanded).to_bytes().to_vec().into()
            }
            KeyType::Ed25519 => {
                ed25519_dalek::SigningKey::from_bytes(&seed()?).verifying_key().to_bytes().to_vec().into()
            }
            KeyType::X25519 => {
                x25519_dalek::PublicKey::from(&x25519_dalek::StaticSecret::from(seed()?)).to_bytes().to_vec().into()
            }
        };
        Ok(Self { key_type, public, private: Some(private.to_vec().into()) })
    }

    /// The signature of a digest. ECDSA takes the 32 bytes as they are, Ed25519 signs them as a message; the nonce of
    /// ECDSA is random, as a device's is, and s is as often high as low.
    ///
    /// # Errors
    /// [`Error::KeyType`] for X25519, [`Error::NoPrivateKey`] for a public key alone (the slot is not known here: -1).
    pub fn sign(&self, digest: &[u8; 32]) -> Result<SignatureAndRecovery> {
        let private = self.private()?;
        let extra = random::<32>();
        match self.key_type {
            KeyType::P256 => {
                let secret = p256::SecretKey::from_slice(private).map_err(|_| Error::Argument("private key"))?;
                let (signature, recovery) = ecdsa::hazmat::sign_prehashed_rfc6979::<p256::NistP256, Sha256>(
                    &secret.to_nonzero_scalar(),
                    digest,
                    extra.as_slice(),
                );
                Ok((signature.to_bytes().into(), recovery.to_byte()))
            }
            KeyType::Secp256k1 => {
                let secret = k256::SecretKey::from_slice(private).map_err(|_| Error::Argument("private key"))?;
                let (signature, recovery) = ecdsa::hazmat::sign_prehashed_rfc6979::<k256::Secp256k1, Sha256>(
                    &secret.to_nonzero_scalar(),
                    digest,
                    extra.as_slice(),
                );
                // k256 always gives the low s, which Bitcoin wants and ECDSA does not know.
                if random::<1>()[0] & 1 == 0 {
                    return Ok((signature.to_bytes().into(), recovery.to_byte()));
                }
                let (r, s) = signature.split_scalars();
                let high = k256::ecdsa::Signature::from_scalars(r.to_bytes(), (-s).to_bytes())
                    .map_err(|_| Error::Argument("digest"))?;
                Ok((high.to_bytes().into(), recovery.to_byte() ^ 1))
            }
            KeyType::Ed25519 if private.len() == 64 => {
                let expanded = extended_ed25519(private)?;
                let public = ed25519_dalek::VerifyingKey::from(&expanded);
                Ok((ed25519_dalek::hazmat::raw_sign::<Sha512>(&expanded, digest, &public).to_bytes(), 0))
            }
            KeyType::Ed25519 => {
                use ed25519_dalek::Signer as _;
                let seed = private.try_into().map_err(|_| Error::Argument("private key"))?;
                Ok((ed25519_dalek::SigningKey::from_bytes(seed).sign(digest).to_bytes(), 0))
            }
            KeyType::X25519 => Err(Error::KeyType(self.key_type, "sign")),
        }
    }

    /// The shared secret of ECDH: the X coordinate on P-256 and secp256k1, the u coordinate on X25519.
    ///
    /// # Errors
    /// [`Error::KeyType`] for Ed25519, [`Error::PublicKey`] for a peer that is not on the curve or of small order.
    pub fn ecdh(&self, peer: &[u8]) -> Result<Zeroizing<[u8; 32]>> {
        let private = self.private()?;
        let peer = self.key_type.parse_public(peer)?;
        let sec1 = [&[0x04], peer.as_slice()].concat();
        let error = || Error::PublicKey(self.key_type);
        match self.key_type {
            KeyType::P256 => {
                let secret = p256::SecretKey::from_slice(private).map_err(|_| Error::Argument("private key"))?;
                let peer = p256::PublicKey::from_sec1_bytes(&sec1).map_err(|_| error())?;
                let shared = (peer.to_projective() * *secret.to_nonzero_scalar()).to_affine();
                Ok(Zeroizing::new(shared.x().into()))
            }
            KeyType::Secp256k1 => {
                let secret = k256::SecretKey::from_slice(private).map_err(|_| Error::Argument("private key"))?;
                let peer = k256::PublicKey::from_sec1_bytes(&sec1).map_err(|_| error())?;
                let shared = (peer.to_projective() * *secret.to_nonzero_scalar()).to_affine();
                Ok(Zeroizing::new(shared.x().into()))
            }
            KeyType::X25519 => {
                let seed: [u8; 32] = private.try_into().map_err(|_| Error::Argument("private key"))?;
                let peer: [u8; 32] = peer.to_array().ok_or_else(error)?;
                let shared = x25519_dalek::StaticSecret::from(seed).diffie_hellman(&peer.into());
                if shared.was_contributory() { Ok(Zeroizing::new(shared.to_bytes())) } else { Err(error()) }
            }
            KeyType::Ed25519 => Err(Error::KeyType(self.key_type, "do ECDH")),
        }
    }

    fn private(&self) -> Result<&[u8]> {
        self.private.as_ref().map(HexBytes::as_slice).ok_or(Error::NoPrivateKey(-1))
    }
}

/// Whether `signature` is the signature of `digest` by the key with this public half.
///
/// # Errors
/// [`Error::KeyType`] for X25519.
pub fn verify(key_type: KeyType, public: &HexBytes, digest: &[u8; 32], signature: &[u8; 64]) -> Result<bool> {
    match key_type.ecdsa_curve() {
        Some(curve) => {
            let key = PublicKey::from_coordinates(curve, public.as_slice()).map_err(|_| Error::PublicKey(key_type))?;
            Ok(key.verify_prehash(digest, signature))
        }
        None if key_type == KeyType::Ed25519 => {
            use ed25519_dalek::Verifier as _;
            let public: [u8; 32] = public.to_array().ok_or(Error::PublicKey(key_type))?;
            let key = ed25519_dalek::VerifyingKey::from_bytes(&public).map_err(|_| Error::PublicKey(key_type))?;
            Ok(key.verify(digest, &ed25519_dalek::Signature::from_bytes(signature)).is_ok())
        }
        None => Err(Error::KeyType(key_type, "verify")),
    }
}

/// `ZK_ECDH_KDF_TYPE` of zk_app_utils.h, which counts from 0 (the Python client subtracts 1 from its own numbers).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kdf {
    /// HKDF (RFC 5869) with SHA-256.
    HkdfSha256,
    /// HKDF (RFC 5869) with SHA-512.
    HkdfSha512,
    /// PBKDF2 (RFC 8018) with HMAC-SHA-256.
    Pbkdf2Sha256,
    /// PBKDF2 (RFC 8018) with HMAC-SHA-512.
    Pbkdf2Sha512,
}

impl Kdf {
    /// From the number that the C ABI uses.
    pub fn from_number(number: i32) -> Result<Self> {
        match number {
            0 => Ok(Self::HkdfSha256),
            1 => Ok(Self::HkdfSha512),
            2 => Ok(Self::Pbkdf2Sha256),
            3 => Ok(Self::Pbkdf2Sha512),
            _ => Err(Error::Argument("kdf_type")),
        }
    }

    /// `len` bytes derived from `secret`. HKDF ignores `iterations`, PBKDF2 ignores `info`.
    ///
    /// # Errors
    /// [`Error::Argument`] for a length that the function cannot give, or no iteration.
    pub fn derive(
        self,
        secret: &[u8],
        salt: &[u8],
        info: &[u8],
        iterations: i32,
        len: usize,
    ) -> Result<Zeroizing<Vec<u8>>> {
        let mut derived = Zeroizing::new(vec![0; len]);
        let rounds = u32::try_from(iterations).ok().filter(|n| *n > 0).ok_or(Error::Argument("num_iterations"));
        let length = |_| Error::Argument("derived_key_sz");
        match self {
            Self::HkdfSha256 => Hkdf::<Sha256>::new(Some(salt), secret).expand(info, &mut derived).map_err(length)?,
            Self::HkdfSha512 => Hkdf::<Sha512>::new(Some(salt), secret).expand(info, &mut derived).map_err(length)?,
            Self::Pbkdf2Sha256 => pbkdf2::pbkdf2_hmac::<Sha256>(secret, salt, rounds?, &mut derived),
            Self::Pbkdf2Sha512 => pbkdf2::pbkdf2_hmac::<Sha512>(secret, salt, rounds?, &mut derived),
        }
        Ok(derived)
    }
}

/// Random bytes of the operating system.
///
/// # Panics
/// When the operating system has none, which it never says after boot.
pub fn random<const N: usize>() -> Zeroizing<[u8; N]> {
    let mut bytes = Zeroizing::new([0; N]);
    getrandom::fill(bytes.as_mut_slice()).expect("the operating system gives random bytes");
    bytes
}

fn extended_ed25519(private: &[u8]) -> Result<ed25519_dalek::hazmat::ExpandedSecretKey> {
    ed25519_dalek::hazmat::ExpandedSecretKey::from_slice(private).map_err(|_| Error::Argument("private key"))
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let bits = chunk.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for at in 0..4 {
            let index = (bits >> (18 - 6 * at) & 0x3f) as usize;
            text.push(if at <= chunk.len() { char::from(ALPHABET[index]) } else { '=' });
        }
    }
    text
}
