//! `CKM_ECDH1_DERIVE` with a mapped key: from the other party's point to the secret key that the backend gets.
//!
//! `CKM_ECDH1_COFACTOR_DERIVE` is the same computation: both curves have the cofactor 1.

use cryptoki_sys::{
    CK_ATTRIBUTE_TYPE, CK_EC_KDF_TYPE, CK_KEY_TYPE, CK_SESSION_HANDLE, CK_ULONG, CKA_CLASS, CKA_KEY_TYPE, CKA_VALUE,
    CKA_VALUE_LEN, CKD_NULL, CKD_SHA1_KDF, CKD_SHA224_KDF, CKD_SHA256_KDF, CKD_SHA384_KDF, CKD_SHA512_KDF, CKK_AES,
    CKK_AES_XTS, CKK_ARIA, CKK_CAMELLIA, CKK_CHACHA20, CKK_DES, CKK_DES2, CKK_DES3, CKK_GENERIC_SECRET, CKK_POLY1305,
    CKK_SEED, CKK_TWOFISH, CKO_SECRET_KEY,
};
use holdfast_keystore::ObjectClass;
use holdfast_wallet::{Curve, PublicKey};
use zeroize::Zeroizing;

use super::mechanism::{DigestKind, Digester};
use crate::abi::args::{Attribute, Ecdh1, Template};
use crate::abi::calls::Calls;
use crate::error::Error;
use crate::lifecycle::Instance;
use crate::route::{BackendObjectHandle, MappedHandle};

/// The bytes of a shared secret: the X coordinate of a point on a 256-bit curve.
const SECRET_BYTES: usize = 32;

/// More bytes than this are no key: a client's CKA_VALUE_LEN was not initialised.
const MAX_KEY_BYTES: usize = 1 << 16;

/// The DER tag.
const OCTET_STRING: u8 = 0x04;

/// The other party's public key (v3.2, "Elliptic curve Diffie-Hellman key derivation").
///
/// A raw point or the DER encoding of one as an OCTET STRING, uncompressed or compressed (SEC 1, section 2.3.3). All of
/// these are `CKR_MECHANISM_PARAM_INVALID`: other encodings, hybrid ones included, the point at infinity, and
/// coordinates that are not on the curve, so that no point of a weaker curve reaches the device.
pub fn parse_peer(curve: Curve, data: &[u8]) -> Result<PublicKey, Error> {
    const NO_POINT: Error = Error::MechanismParamInvalid("the public data is no point of the key's curve");
    let point = match data {
        // No raw point begins with its own length.
        [OCTET_STRING, length @ (33 | 65), point @ ..] if point.len() == usize::from(*length) => point,
        _ => data,
    };
    match point {
        [0x02 | 0x03, x @ ..] if x.len() == 32 => {
            let decompressed = decompress(curve, point).ok_or(NO_POINT)?;
            PublicKey::from_sec1(curve, &decompressed).map_err(|_| NO_POINT)
        }
        _ => PublicKey::from_sec1(curve, point).map_err(|_| NO_POINT),
    }
}

/// The uncompressed form of a point, if it is one.
fn decompress(curve: Curve, point: &[u8]) -> Option<Vec<u8>> {
    match curve {
        Curve::P256 => {
            let key = p256::ecdsa::VerifyingKey::from_sec1_bytes(point).ok()?;
            Some(key.to_sec1_point(false).as_bytes().to_vec())
        }
        Curve::Secp256k1 => {
            let key = k256::ecdsa::VerifyingKey::from_sec1_bytes(point).ok()?;
            Some(key.to_sec1_point(false).as_bytes().to_vec())
        }
    }
}

/// How a shared secret becomes a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kdf {
    /// `CKD_NULL`: it is the key.
    Null,
    /// `CKD_SHA*_KDF`: the key derivation function of ANSI X9.63 over a digest.
    X963(DigestKind),
}

impl Kdf {
    fn read(kdf: CK_EC_KDF_TYPE, shared_data: &[u8]) -> Result<Self, Error> {
        let digest = match kdf {
            CKD_NULL if shared_data.is_empty() => return Ok(Self::Null),
            CKD_NULL => return Err(Error::MechanismParamInvalid("CKD_NULL takes no shared data")),
            CKD_SHA1_KDF => DigestKind::Sha1,
            CKD_SHA224_KDF => DigestKind::Sha224,
            CKD_SHA256_KDF => DigestKind::Sha256,
            CKD_SHA384_KDF => DigestKind::Sha384,
            CKD_SHA512_KDF => DigestKind::Sha512,
            _ => return Err(Error::MechanismParamInvalid("this key derivation function is not supported")),
        };
        Ok(Self::X963(digest))
    }

    /// The length of a key for which nothing says one: all of the secret, or one block.
    fn natural_length(self) -> usize {
        match self {
            Self::Null => SECRET_BYTES,
            Self::X963(digest) => digest.length(),
        }
    }

    fn check_length(self, length: usize) -> Result<(), Error> {
        let longest = match self {
            Self::Null => SECRET_BYTES,
            Self::X963(_) => MAX_KEY_BYTES,
        };
        if (1..=longest).contains(&length) { Ok(()) } else { Err(Error::KeySizeRange) }
    }
}

/// The `length` bytes that `kdf` makes of a shared secret.
///
/// A key shorter than the secret under `CKD_NULL` is its end: "The truncation removes bytes from the leading end of the
/// secret value", says the specification in all its versions, and so does SoftHSM2. The functions of ANSI X9.63 make as
/// many bytes as are wanted, and nothing is truncated.
///
/// `CKR_KEY_SIZE_RANGE` for more bytes than there are, or none; `CKR_MECHANISM_PARAM_INVALID` for functions other than
/// `CKD_NULL` without shared data, and `CKD_SHA1_KDF` to `CKD_SHA512_KDF`.
pub fn derived_value(
    secret: &[u8; SECRET_BYTES],
    kdf: CK_EC_KDF_TYPE,
    shared_data: &[u8],
    length: usize,
) -> Result<Zeroizing<Vec<u8>>, Error> {
    let kdf = Kdf::read(kdf, shared_data)?;
    kdf.check_length(length)?;
    match kdf {
        Kdf::Null => {
            let removed = SECRET_BYTES.saturating_sub(length);
            Ok(Zeroizing::new(secret.iter().skip(removed).copied().collect()))
        }
        Kdf::X963(digest) => Ok(x963(digest, secret, shared_data, length)),
    }
}

/// The key derivation function of ANSI X9.63 (SEC 1, section 3.6.1).
fn x963(digest: DigestKind, secret: &[u8], shared_info: &[u8], length: usize) -> Zeroizing<Vec<u8>> {
    // With room for the last block, so that growing leaves no copies behind.
    let mut key = Zeroizing::new(Vec::with_capacity(length.saturating_add(digest.length())));
    for counter in 1u32.. {
        if key.len() >= length {
            break;
        }
        let mut digester = Digester::of(digest);
        digester.update(secret);
        digester.update(&counter.to_be_bytes());
        digester.update(shared_info);
        key.extend_from_slice(&Zeroizing::new(digester.finish()));
    }
    key.truncate(length);
    key
}

/// What the client's template says of the key that is derived.
pub struct DerivedTemplate<'a> {
    /// The attributes for the backend, but for the class, the type and the value.
    attributes: Vec<Attribute<'a>>,
    key_type: CK_KEY_TYPE,
    length: usize,
}

impl DerivedTemplate<'_> {
    /// The length of the key in bytes.
    pub fn length(&self) -> usize {
        self.length
    }
}

/// Reads the client's template. Nothing is asked of the device for one that is refused, if this is called first.
///
/// - `CKA_CLASS` is `CKO_SECRET_KEY`, `CKA_KEY_TYPE` `CKK_GENERIC_SECRET`, unless given.
/// - The length is that of the key type. Where it leaves a choice it is `CKA_VALUE_LEN`, which has to be given for
///   block ciphers; else it is that of the whole secret, or of one block of the key derivation function.
/// - `CKR_TEMPLATE_INCONSISTENT`: another class, a value, a length that is not the key type's, an attribute given twice
///   with different values. `CKR_TEMPLATE_INCOMPLETE`: a missing length. `CKR_KEY_SIZE_RANGE`: one that the key type
///   or the secret does not allow. `CKR_ATTRIBUTE_VALUE_INVALID`: a number that is none.
/// - All else is the backend's to judge, as are the defaults of what is not given, `CKA_SENSITIVE` and
///   `CKA_EXTRACTABLE` among it: the specification leaves them to the token.
pub fn derived_template<'a>(template: &Template<'a>, params: &Ecdh1<'_>) -> Result<DerivedTemplate<'a>, Error> {
    read_template(template.attributes(), Kdf::read(params.kdf, params.shared_data)?)
}

fn read_template<'a>(attributes: impl Iterator<Item = Attribute<'a>>, kdf: Kdf) -> Result<DerivedTemplate<'a>, Error> {
    let mut once: Vec<Attribute<'a>> = Vec::new();
    for attribute in attributes {
        match once.iter().find(|known| known.kind == attribute.kind) {
            None => once.push(attribute),
            Some(known) if known.value == attribute.value => {}
            Some(_) => return Err(Error::TemplateInconsistent("an attribute is given twice, with different values")),
        }
    }
    let given = |kind: CK_ATTRIBUTE_TYPE| {
        once.iter().find(|attribute| attribute.kind == kind).map(|attribute| number(attribute.value)).transpose()
    };
    if given(CKA_CLASS)?.is_some_and(|class| class != CKO_SECRET_KEY) {
        return Err(Error::TemplateInconsistent("a derived key is a CKO_SECRET_KEY"));
    }
    if once.iter().any(|attribute| attribute.kind == CKA_VALUE) {
        return Err(Error::TemplateInconsistent("the mechanism makes the key's value"));
    }
    let key_type = given(CKA_KEY_TYPE)?.unwrap_or(CKK_GENERIC_SECRET);
    let asked = given(CKA_VALUE_LEN)?.map(|length| usize::try_from(length).map_err(|_| Error::KeySizeRange));
    let length = length_of(key_type, asked.transpose()?, kdf)?;
    kdf.check_length(length)?;
    once.retain(|attribute| ![CKA_CLASS, CKA_KEY_TYPE, CKA_VALUE_LEN].contains(&attribute.kind));
    Ok(DerivedTemplate { attributes: once, key_type, length })
}

/// The length of a key of `key_type` for which the template asks for `asked` bytes.
fn length_of(key_type: CK_KEY_TYPE, asked: Option<usize>, kdf: Kdf) -> Result<usize, Error> {
    let fixed = |length| match asked {
        // These types do not have CKA_VALUE_LEN, but some clients say the length of everything.
        Some(asked) if asked != length => Err(Error::TemplateInconsistent("CKA_VALUE_LEN is not that of the key type")),
        _ => Ok(length),
    };
    let one_of = |lengths: &[usize]| match asked {
        Some(asked) if lengths.contains(&asked) => Ok(asked),
        Some(_) => Err(Error::KeySizeRange),
        None => Err(Error::TemplateIncomplete("CKA_VALUE_LEN")),
    };
    match key_type {
        CKK_DES => fixed(8),
        CKK_DES2 | CKK_SEED => fixed(16),
        CKK_DES3 => fixed(24),
        CKK_CHACHA20 | CKK_POLY1305 => fixed(32),
        CKK_AES | CKK_CAMELLIA | CKK_ARIA | CKK_TWOFISH => one_of(&[16, 24, 32]),
        CKK_AES_XTS => one_of(&[32, 64]),
        _ => Ok(asked.unwrap_or(kdf.natural_length())),
    }
}

fn number(value: &[u8]) -> Result<CK_ULONG, Error> {
    let bytes = value.try_into().map_err(|_| Error::AttributeValueInvalid("a CK_ULONG has another length"))?;
    Ok(CK_ULONG::from_ne_bytes(bytes))
}

/// Gives every byte odd parity in its lowest bit, as DES keys have it (FIPS 46-3).
fn set_odd_parity(key: &mut [u8]) {
    for byte in key {
        if byte.count_ones() % 2 == 0 {
            *byte ^= 1;
        }
    }
}

/// A number as the value of an attribute, aligned as backends read it.
#[repr(align(8))]
struct Aligned([u8; size_of::<CK_ULONG>()]);

/// `C_DeriveKey` with a mapped key. What can be refused without the device is refused before it is asked.
pub fn derive_key(
    instance: &Instance,
    session: CK_SESSION_HANDLE,
    base_key: MappedHandle,
    params: &Ecdh1<'_>,
    template: &Template<'_>,
) -> Result<BackendObjectHandle, Error> {
    let mapped = &instance.mapped;
    let calls = instance.calls();
    let seen_by = mapped.sessions.session(&calls, session)?;
    let base = mapped.visible(&seen_by, base_key)?.ok_or(Error::KeyHandleInvalid)?;
    match base.record.class {
        ObjectClass::PublicKey => return Err(Error::KeyTypeInconsistent),
        ObjectClass::PrivateKey if !base.record.derive => return Err(Error::KeyFunctionNotPermitted),
        ObjectClass::PrivateKey => {}
    }
    derived_template(template, params)?;
    let peer = parse_peer(base.key.public_key.curve(), params.public_data)?;
    let secret = mapped.keystore.ecdh(&base.key, &peer)?;
    derive(&calls, session, &secret, params, template)
}

/// Makes the derived key: an object of the backend, created in `session` under the client's template.
///
/// The secret is what the device made of the key and [`parse_peer`]'s point. For the backend the key is one that came
/// from outside: `CKA_ALWAYS_SENSITIVE` and `CKA_NEVER_EXTRACTABLE` are false, though the base key's are true, as no
/// client of a backend can set them.
fn derive(
    calls: &Calls<'_>,
    session: CK_SESSION_HANDLE,
    secret: &[u8; SECRET_BYTES],
    params: &Ecdh1<'_>,
    template: &Template<'_>,
) -> Result<BackendObjectHandle, Error> {
    let template = derived_template(template, params)?;
    let mut value = derived_value(secret, params.kdf, params.shared_data, template.length)?;
    if [CKK_DES, CKK_DES2, CKK_DES3].contains(&template.key_type) {
        set_odd_parity(&mut value);
    }
    let class = Aligned(CKO_SECRET_KEY.to_ne_bytes());
    let key_type = Aligned(template.key_type.to_ne_bytes());
    let mut attributes: Vec<(CK_ATTRIBUTE_TYPE, &[u8])> =
        vec![(CKA_CLASS, class.0.as_slice()), (CKA_KEY_TYPE, key_type.0.as_slice()), (CKA_VALUE, value.as_slice())];
    attributes.extend(template.attributes.iter().map(|attribute| (attribute.kind, attribute.value)));
    calls.create_object(session, &attributes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;
    use cryptoki_sys::{
        CKA_LABEL, CKA_SENSITIVE, CKA_TOKEN, CKD_SHA1_KDF_ASN1, CKD_SHA256_KDF_SP800, CKK_SHA256_HMAC, CKO_DATA,
        CKR_ATTRIBUTE_VALUE_INVALID, CKR_KEY_SIZE_RANGE, CKR_MECHANISM_PARAM_INVALID, CKR_TEMPLATE_INCOMPLETE,
        CKR_TEMPLATE_INCONSISTENT,
    };

    fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<u32> = text.chars().map(|digit| digit.to_digit(16).unwrap()).collect();
        digits.chunks_exact(2).map(|pair| (pair[0] * 16 + pair[1]) as u8).collect()
    }

    fn code<T>(result: Result<T, Error>) -> Option<cryptoki_sys::CK_RV> {
        result.err().map(|error| error.code())
    }

    const SECRET: [u8; 32] = {
        let mut secret = [0; 32];
        let mut at = 0;
        while at < 32 {
            secret[at] = at as u8;
            at += 1;
        }
        secret
    };

    /// The initiator's key in RFC 5903, section 8.1, and the generator of secp256k1 in SEC 2, with their compressed
    /// forms.
    const POINTS: [(Curve, &str, &str, u8); 2] = [
        (
            Curve::P256,
            "dad0b65394221cf9b051e1feca5787d098dfe637fc90b9ef945d0c3772581180",
            "5271a0461cdb8252d61f1c456fa3e59ab1f45b33accf5f58389e0577b8990bb3",
            0x03,
        ),
        (
            Curve::Secp256k1,
            "79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798",
            "483ada7726a3c4655da4fbfc0e1108a8fd17b448a68554199c47d08ffb10d4b8",
            0x02,
        ),
    ];

    #[test]
    fn a_peers_point_comes_in_four_forms() {
        for (curve, x, y, sign) in POINTS {
            let uncompressed = [vec![4], hex(x), hex(y)].concat();
            let compressed = [vec![sign], hex(x)].concat();
            for point in [uncompressed.clone(), compressed] {
                let der = [vec![4, point.len() as u8], point.clone()].concat();
                for form in [point, der] {
                    let key = parse_peer(curve, &form).unwrap();
                    assert_eq!((key.curve(), key.to_sec1().to_vec()), (curve, uncompressed.clone()));
                }
            }
            // The other sign is the other point.
            let other = parse_peer(curve, &[vec![sign ^ 1], hex(x)].concat()).unwrap();
            assert_eq!(other.to_sec1()[..33], uncompressed[..33]);
            assert_ne!(other.to_sec1()[33..], uncompressed[33..]);
        }
    }

    #[test]
    fn what_is_no_point_of_the_curve_is_refused() {
        let invalid = Some(CKR_MECHANISM_PARAM_INVALID);
        for (at, (curve, x, y, sign)) in POINTS.into_iter().enumerate() {
            let point = [vec![4], hex(x), hex(y)].concat();
            let other = POINTS[1 - at].0;
            assert_eq!(code(parse_peer(other, &point)), invalid, "a point of the other curve");
            let mut off = point.clone();
            off[64] ^= 1;
            let der = [vec![4, 65], point.clone()].concat();
            let hybrid = [vec![sign | 4], hex(x), hex(y)].concat();
            for bad in [
                &[][..],
                &[0],
                &[4],
                &[4, 65],
                &[2; 1],
                &[0; 65],
                &[0xff; 33],
                &[[2; 1].as_slice(), &[0xff; 32]].concat(),
                &off,
                &[&[4u8, 65], off.as_slice()].concat(),
                &hybrid,
                &point[..64],
                &point[1..],
                &[point.as_slice(), &[0]].concat(),
                &der[..66],
                &[der.as_slice(), &[0]].concat(),
                &[&[3u8, 65], point.as_slice()].concat(),
            ] {
                assert_eq!(code(parse_peer(curve, bad)), invalid, "{bad:02x?}");
            }
        }
    }

    /// From `ansx963_2001.rsp` of NIST's Cryptographic Algorithm Validation Program (SP 800-135 components): digest,
    /// secret, shared info, key.
    const X963: [(DigestKind, &str, &str, &str); 7] = [
        (
            DigestKind::Sha1,
            "fd17198b89ab39c4ab5d7cca363b82f9fd7e23c3984dc8a2",
            "856a53f3e36a26bbc5792879f307cce2",
            "6e5fad865cb4a51c95209b16df0cc490bc2c9064405c5bccd4ee4832a531fbe7f10cb79e2eab6ab1149fbd5a23cfdabc41242269c9d\
             f22f628c4424333855b64e95e2d4fb8469c669f17176c07d103376b10b384ec5763d8b8c610409f19aca8eb31f9d85cc61a8d6d4a03\
             d03e5a506b78d6847e93d295ee548c65afedd2efec",
        ),
        (
            DigestKind::Sha224,
            "da67a73072d521a8272c69023573012ddf9b46bff65b3900",
            "727997aed53e78f74b1d66743a4ea4d2",
            "dfc3126c5eebf9a58d89730e8d8ff7cc772592f28c10b349b437d9d068698a22e532eae975dfaf9c5c6a9f2935eafb05353013c2534\
             44e61f07bc9ddd15948e614bdc7e445ba3b1893f42f87f18fb352d49956009a642c362d45410b43a9ab376e9261210739174759511d\
             1f9e52f6ec73dfed446dbafaf7fd1a57113abc2e8d",
        ),
        (
            DigestKind::Sha256,
            "22518b10e70f2a3f243810ae3254139efbee04aa57c7af7d",
            "75eef81aa3041e33b80971203d2c0c52",
            "c498af77161cc59f2962b9a713e2b215152d139766ce34a776df11866a69bf2e52a13d9c7c6fc878c50c5ea0bc7b00e0da2447cfd87\
             4f6cf92f30d0097111485500c90c3af8b487872d04685d14c8d1dc8d7fa08beb0ce0ababc11f0bd496269142d43525a78e5bc79a17f\
             59676a5706dc54d54d4d1f0bd7e386128ec26afc21",
        ),
        (
            DigestKind::Sha384,
            "d8554db1b392cd55c3fe957bed76af09c13ac2a9392f88f6",
            "",
            "671a46aada145162f8ddf1ca586a1cda",
        ),
        (
            DigestKind::Sha384,
            "c051fd22539c9de791d6c43a854b8f80a6bf70190050854a",
            "1317504aa34759bb4c931e3b78201945",
            "cf6a84434734ac6949e1d7976743277be789906908ad3ca3a8923da7f476abbeb574306d7243031a85566914bfd247d2519c479953d\
             9d55b6b831e56260806c39af21b74e3ecf470e3bd8332791c8a23c13352514fdef00c2d1a408ba31b2d3f9fdcb373895484649a645d\
             1845eec91b5bfdc5ad28c7824984482002dd4a8677",
        ),
        (
            DigestKind::Sha512,
            "87fc0d8c4477485bb574f5fcea264b30885dc8d90ad82782",
            "",
            "947665fbb9152153ef460238506a0245",
        ),
        (
            DigestKind::Sha512,
            "00aa5bb79b33e389fa58ceadc047197f14e73712f452caa9fc4c9adb369348b81507392f1a86ddfdb7c4ff8231c4bd0f44e44a1b55b\
             1404747a9e2e753f55ef05a2d",
            "e3b5b4c1b0d5cf1d2b3a2f9937895d31",
            "4463f869f3cc18769b52264b0112b5858f7ad32a5a2d96d8cffabf7fa733633d6e4dd2a599acceb3ea54a6217ce0b50eef4f6b40a5c\
             30250a5a8eeee208002267089dbf351f3f5022aa9638bf1ee419dea9c4ff745a25ac27bda33ca08bd56dd1a59b4106cf2dbbc0ab2aa\
             8e2efa7b17902d34276951ceccab87f9661c3e8816",
        ),
    ];

    #[test]
    fn the_key_derivation_function_is_that_of_x9_63() {
        for (digest, secret, info, key) in X963 {
            let (secret, info, key) = (hex(secret), hex(info), hex(key));
            for length in [1, key.len() - 1, key.len()] {
                assert_eq!(x963(digest, &secret, &info, length)[..], key[..length]);
            }
        }
    }

    #[test]
    fn every_function_uses_its_digest() {
        for (kdf, digest) in [
            (CKD_SHA1_KDF, DigestKind::Sha1),
            (CKD_SHA224_KDF, DigestKind::Sha224),
            (CKD_SHA256_KDF, DigestKind::Sha256),
            (CKD_SHA384_KDF, DigestKind::Sha384),
            (CKD_SHA512_KDF, DigestKind::Sha512),
        ] {
            for info in [&b""[..], b"info"] {
                let value = derived_value(&SECRET, kdf, info, 100).unwrap();
                assert_eq!(value, x963(digest, &SECRET, info, 100));
            }
            for length in [0, MAX_KEY_BYTES + 1, usize::MAX] {
                assert_eq!(code(derived_value(&SECRET, kdf, b"", length)), Some(CKR_KEY_SIZE_RANGE));
            }
        }
        for kdf in [0, CKD_SHA1_KDF_ASN1, CKD_SHA256_KDF_SP800, CK_EC_KDF_TYPE::MAX] {
            assert_eq!(code(derived_value(&SECRET, kdf, b"", 16)), Some(CKR_MECHANISM_PARAM_INVALID));
        }
    }

    #[test]
    fn without_a_function_the_end_of_the_secret_is_the_key() {
        for length in 1..=32 {
            assert_eq!(derived_value(&SECRET, CKD_NULL, b"", length).unwrap()[..], SECRET[32 - length..]);
        }
        for length in [0, 33, usize::MAX] {
            assert_eq!(code(derived_value(&SECRET, CKD_NULL, b"", length)), Some(CKR_KEY_SIZE_RANGE));
        }
        assert_eq!(code(derived_value(&SECRET, CKD_NULL, b"x", 32)), Some(CKR_MECHANISM_PARAM_INVALID));
    }

    /// The length of a key of the type given, with the CKA_VALUE_LEN given.
    fn length(kdf: Kdf, key_type: Option<CK_KEY_TYPE>, asked: Option<CK_ULONG>) -> Result<usize, Error> {
        let key_type = key_type.map(CK_KEY_TYPE::to_ne_bytes);
        let asked = asked.map(CK_ULONG::to_ne_bytes);
        let attributes = [
            key_type.as_ref().map(|value| Attribute { kind: CKA_KEY_TYPE, value }),
            asked.as_ref().map(|value| Attribute { kind: CKA_VALUE_LEN, value }),
        ];
        read_template(attributes.into_iter().flatten(), kdf).map(|template| template.length())
    }

    #[test]
    fn lengths_are_those_of_the_key_type() {
        let (null, sha512) = (Kdf::Null, Kdf::X963(DigestKind::Sha512));
        for (kdf, key_type, asked, expected) in [
            (null, None, None, 32),
            (null, Some(CKK_GENERIC_SECRET), None, 32),
            (null, Some(CKK_GENERIC_SECRET), Some(5), 5),
            (null, Some(CKK_SHA256_HMAC), None, 32),
            (sha512, None, None, 64),
            (sha512, None, Some(1000), 1000),
            (null, Some(CKK_AES), Some(16), 16),
            (null, Some(CKK_AES), Some(24), 24),
            (sha512, Some(CKK_AES), Some(32), 32),
            (sha512, Some(CKK_AES_XTS), Some(64), 64),
            (null, Some(CKK_DES), None, 8),
            (null, Some(CKK_DES2), None, 16),
            (null, Some(CKK_DES3), None, 24),
            (null, Some(CKK_DES3), Some(24), 24),
            (null, Some(CKK_CHACHA20), None, 32),
        ] {
            assert_eq!(length(kdf, key_type, asked).unwrap(), expected, "{kdf:?} {key_type:?} {asked:?}");
        }
        for (kdf, key_type, asked, expected) in [
            (null, None, Some(0), CKR_KEY_SIZE_RANGE),
            (null, None, Some(33), CKR_KEY_SIZE_RANGE),
            (sha512, None, Some(CK_ULONG::MAX), CKR_KEY_SIZE_RANGE),
            (null, Some(CKK_AES), Some(17), CKR_KEY_SIZE_RANGE),
            (null, Some(CKK_AES), Some(0), CKR_KEY_SIZE_RANGE),
            (null, Some(CKK_AES_XTS), Some(64), CKR_KEY_SIZE_RANGE),
            (null, Some(CKK_AES), None, CKR_TEMPLATE_INCOMPLETE),
            (null, Some(CKK_DES3), Some(16), CKR_TEMPLATE_INCONSISTENT),
        ] {
            assert_eq!(code(length(kdf, key_type, asked)), Some(expected), "{kdf:?} {key_type:?} {asked:?}");
        }
    }

    #[test]
    fn the_template_goes_on_without_what_the_mechanism_makes() {
        let (class, key_type) = (CKO_SECRET_KEY.to_ne_bytes(), CKK_AES.to_ne_bytes());
        let (length, data) = ((16 as CK_ULONG).to_ne_bytes(), CKO_DATA.to_ne_bytes());
        let of = |kind, value| Attribute { kind, value };
        let label = of(CKA_LABEL, b"derived");
        let all = [
            of(CKA_CLASS, &class),
            of(CKA_TOKEN, &[1]),
            label,
            of(CKA_KEY_TYPE, &key_type),
            of(CKA_VALUE_LEN, &length),
            of(CKA_SENSITIVE, &[0]),
            label,
        ];
        let template = read_template(all.into_iter(), Kdf::Null).unwrap();
        let passed: Vec<_> = template.attributes.iter().map(|attribute| (attribute.kind, attribute.value)).collect();
        assert_eq!(passed, [(CKA_TOKEN, &[1][..]), (CKA_LABEL, b"derived"), (CKA_SENSITIVE, &[0])]);
        assert_eq!((template.key_type, template.length()), (CKK_AES, 16));
        for (bad, expected) in [
            (of(CKA_VALUE, &[]), CKR_TEMPLATE_INCONSISTENT),
            (of(CKA_CLASS, &data), CKR_TEMPLATE_INCONSISTENT),
            (of(CKA_LABEL, b"another"), CKR_TEMPLATE_INCONSISTENT),
        ] {
            assert_eq!(code(read_template(all.into_iter().chain([bad]), Kdf::Null)), Some(expected));
        }
        for kind in [CKA_CLASS, CKA_KEY_TYPE, CKA_VALUE_LEN] {
            let short = read_template([of(kind, &[0; 3])].into_iter(), Kdf::Null);
            assert_eq!(code(short), Some(CKR_ATTRIBUTE_VALUE_INVALID));
        }
    }

    #[test]
    fn parity_is_odd() {
        let mut key: Vec<u8> = (0..=255).collect();
        set_odd_parity(&mut key);
        for (byte, before) in key.iter().zip(0..=255u8) {
            assert_eq!(byte.count_ones() % 2, 1);
            assert_eq!(byte | 1, before | 1, "only the lowest bit changes");
        }
    }
}
