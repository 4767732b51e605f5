//! From the fuzzer's bytes to arguments: mostly what clients send, and everything else.

use cryptoki_sys::*;
use libfuzzer_sys::arbitrary::{Result, Unstructured};

use crate::call::{Mechanism, Template};
use crate::key::{Key, P256, SECP256K1};

/// Every attribute that a key can have, some that it cannot, and one that nobody defined.
pub const ATTRIBUTES: &[CK_ATTRIBUTE_TYPE] = &[
    CKA_CLASS,
    CKA_TOKEN,
    CKA_PRIVATE,
    CKA_LABEL,
    CKA_UNIQUE_ID,
    CKA_VALUE,
    CKA_OBJECT_ID,
    CKA_CERTIFICATE_TYPE,
    CKA_TRUSTED,
    CKA_KEY_TYPE,
    CKA_SUBJECT,
    CKA_ID,
    CKA_SENSITIVE,
    CKA_ENCRYPT,
    CKA_DECRYPT,
    CKA_WRAP,
    CKA_UNWRAP,
    CKA_SIGN,
    CKA_SIGN_RECOVER,
    CKA_VERIFY,
    CKA_VERIFY_RECOVER,
    CKA_DERIVE,
    CKA_START_DATE,
    CKA_END_DATE,
    CKA_MODULUS,
    CKA_VALUE_LEN,
    CKA_EXTRACTABLE,
    CKA_LOCAL,
    CKA_NEVER_EXTRACTABLE,
    CKA_ALWAYS_SENSITIVE,
    CKA_KEY_GEN_MECHANISM,
    CKA_MODIFIABLE,
    CKA_COPYABLE,
    CKA_DESTROYABLE,
    CKA_EC_PARAMS,
    CKA_EC_POINT,
    CKA_ALWAYS_AUTHENTICATE,
    CKA_WRAP_WITH_TRUSTED,
    CKA_PUBLIC_KEY_INFO,
    CKA_ALLOWED_MECHANISMS,
    CKA_ENCAPSULATE,
    CKA_DECAPSULATE,
    0x8123_4567,
];

/// Mechanisms that sign, and that a mapped key can have.
pub const SIGNING: &[CK_MECHANISM_TYPE] =
    &[CKM_ECDSA, CKM_ECDSA_SHA1, CKM_ECDSA_SHA224, CKM_ECDSA_SHA256, CKM_ECDSA_SHA384, CKM_ECDSA_SHA512];

/// One of `choices`.
pub fn pick<T: Copy>(u: &mut Unstructured<'_>, choices: &[T]) -> Result<T> {
    u.choose(choices).copied()
}

/// Up to `most` bytes.
pub fn bytes(u: &mut Unstructured<'_>, most: usize) -> Result<Vec<u8>> {
    let length = u.int_in_range(0..=most)?;
    Ok(u.bytes(length.min(u.len()))?.to_vec())
}

/// A template.
pub fn template(u: &mut Unstructured<'_>) -> Result<Template> {
    let mut template = Template::default();
    for _ in 0..u.int_in_range(0..=7)? {
        let kind = if u.ratio(1, 30)? { u.arbitrary::<u32>()?.into() } else { pick(u, ATTRIBUTES)? };
        template = template.bytes(kind, &value(u, kind)?);
    }
    Ok(template)
}

/// A value for an attribute of `kind`; of its type most of the time.
fn value(u: &mut Unstructured<'_>, kind: CK_ATTRIBUTE_TYPE) -> Result<Vec<u8>> {
    if u.ratio(1, 12)? {
        return bytes(u, 40);
    }
    let number = |value: CK_ULONG| value.to_ne_bytes().to_vec();
    Ok(match kind {
        CKA_CLASS => number(pick(u, &[CKO_PUBLIC_KEY, CKO_PRIVATE_KEY, CKO_SECRET_KEY, CKO_DATA, CKO_CERTIFICATE])?),
        CKA_KEY_TYPE => number(pick(u, &[CKK_EC, CKK_EC, CKK_GENERIC_SECRET, CKK_AES, CKK_RSA, CKK_EC_EDWARDS])?),
        CKA_VALUE_LEN => number(pick(u, &[16, 24, 32, 0, 1, 33, 48, 64, 65_537, CK_ULONG::MAX])?),
        CKA_KEY_GEN_MECHANISM => number(pick(u, &[CKM_EC_KEY_PAIR_GEN, CK_UNAVAILABLE_INFORMATION])?),
        CKA_LABEL | CKA_ID => vec![b'k', u.int_in_range(b'0'..=b'3')?],
        CKA_EC_PARAMS => curve(u)?,
        CKA_START_DATE | CKA_END_DATE => pick(u, &[&b"20260101"[..], b"", b"2026013", b"2026-1-1"])?.to_vec(),
        CKA_SUBJECT | CKA_VALUE | CKA_EC_POINT | CKA_PUBLIC_KEY_INFO | CKA_MODULUS | CKA_UNIQUE_ID => bytes(u, 70)?,
        CKA_ALLOWED_MECHANISMS => [CKM_ECDSA.to_ne_bytes(), CKM_ECDSA_SHA256.to_ne_bytes()].concat(),
        CKA_CERTIFICATE_TYPE => number(CKC_X_509),
        _ => vec![pick(u, &[0, 1, 1, 1, 2, 255])?],
    })
}

/// `CKA_EC_PARAMS`.
fn curve(u: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    const P384: &[u8] = &[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22];
    const BY_NAME: &[u8] = b"\x13\x0aprime256v1";
    Ok(pick(u, &[P256, P256, P256, SECP256K1, SECP256K1, P384, BY_NAME, b"\x05\x00", b""])?.to_vec())
}

/// The templates of a pair: what a client sends, with a few attributes of the fuzzer's added.
pub fn pair_templates(u: &mut Unstructured<'_>) -> Result<(Template, Template)> {
    let (mut public, mut private) = (Template::default(), Template::default());
    if !u.ratio(1, 20)? {
        let token = !u.ratio(1, 6)?;
        public = public.flag(CKA_TOKEN, token).flag(CKA_VERIFY, true).bytes(CKA_EC_PARAMS, &curve(u)?);
        private = private.flag(CKA_TOKEN, token).flag(CKA_SIGN, true).flag(CKA_DERIVE, true);
    }
    if u.ratio(2, 3)? {
        let id = [u.int_in_range(b'0'..=b'3')?];
        public = public.bytes(CKA_ID, &id).bytes(CKA_LABEL, &id);
        private = private.bytes(CKA_ID, &id).bytes(CKA_LABEL, &id);
    }
    if u.ratio(1, 3)? {
        public.0.extend(template(u)?.0);
        private.0.extend(template(u)?.0);
    }
    Ok((public, private))
}

/// A mechanism to sign or verify with.
pub fn signing_mechanism(u: &mut Unstructured<'_>) -> Result<Mechanism> {
    if !u.ratio(1, 4)? {
        return Ok(Mechanism::plain(pick(u, SIGNING)?));
    }
    // None of these has pointers in its parameter.
    let kind = match u.int_in_range(0..=2)? {
        0 => pick(u, SIGNING)?,
        1 => {
            pick(u, &[CKM_EC_KEY_PAIR_GEN, CKM_RSA_PKCS, CKM_SHA256_RSA_PKCS, CKM_EDDSA, CKM_SHA256, CKM_ECDH1_DERIVE])?
        }
        _ => CK_MECHANISM_TYPE::from(u.arbitrary::<u16>()?) | 0x8000_0000,
    };
    Ok(if u.ratio(1, 2)? {
        Mechanism::with_bytes(kind, bytes(u, 15)?)
    } else {
        Mechanism::length_only(kind, pick(u, &[1, 8, 4096, usize::MAX])?)
    })
}

/// The other side of an ECDH.
pub struct Peer {
    /// Its secret scalar, if its point is a good one of `key`'s curve.
    pub scalar: Option<u8>,
    /// The derivation function.
    pub kdf: CK_EC_KDF_TYPE,
    /// Whether there are shared data.
    pub shared_data: bool,
}

/// A mechanism to derive with, and what it says of the other side.
pub fn ecdh_mechanism(u: &mut Unstructured<'_>, key: &Key) -> Result<(Mechanism, Peer)> {
    let kind = pick(u, &[CKM_ECDH1_DERIVE, CKM_ECDH1_DERIVE, CKM_ECDH1_COFACTOR_DERIVE])?;
    let mut peer = Peer { scalar: None, kdf: CKD_NULL, shared_data: false };
    if u.ratio(1, 10)? {
        return Ok((Mechanism::with_bytes(kind, bytes(u, 39)?), peer));
    }
    peer.kdf = pick(
        u,
        &[
            CKD_NULL,
            CKD_NULL,
            CKD_NULL,
            CKD_SHA1_KDF,
            CKD_SHA224_KDF,
            CKD_SHA256_KDF,
            CKD_SHA384_KDF,
            CKD_SHA512_KDF,
            0,
            CKD_SHA1_KDF_ASN1,
            CK_ULONG::MAX,
        ],
    )?;
    let shared = if u.ratio(1, 3)? { bytes(u, 20)? } else { Vec::new() };
    peer.shared_data = !shared.is_empty();
    let point = if u.ratio(2, 3)? {
        let scalar = u.int_in_range(1..=200)?;
        peer.scalar = Some(scalar);
        let point = key.peer(scalar, u.ratio(1, 3)?);
        if u.ratio(1, 2)? { [vec![0x04, point.len() as u8], point].concat() } else { point }
    } else {
        let mut point = key.peer(3, false);
        for _ in 0..u.int_in_range(0..=4)? {
            let place = u.choose_index(point.len())?;
            point[place] = u.arbitrary()?;
        }
        point.truncate(u.int_in_range(0..=point.len())?);
        peer.scalar = None;
        point
    };
    Ok((Mechanism::ecdh(kind, peer.kdf, shared, point), peer))
}
