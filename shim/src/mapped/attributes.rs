//! The attributes of a mapped object, as "Cryptoki objects" and "Elliptic curve" (v3.2) have them.

use cryptoki_sys::{
    CK_ATTRIBUTE_TYPE, CK_FALSE, CK_OBJECT_CLASS, CK_TRUE, CK_ULONG, CKA_ALWAYS_AUTHENTICATE, CKA_ALWAYS_SENSITIVE,
    CKA_CLASS, CKA_COPYABLE, CKA_DECAPSULATE, CKA_DECRYPT, CKA_DERIVE, CKA_DESTROYABLE, CKA_EC_PARAMS, CKA_EC_POINT,
    CKA_ENCAPSULATE, CKA_ENCRYPT, CKA_END_DATE, CKA_EXTRACTABLE, CKA_ID, CKA_KEY_GEN_MECHANISM, CKA_KEY_TYPE,
    CKA_LABEL, CKA_LOCAL, CKA_MODIFIABLE, CKA_NEVER_EXTRACTABLE, CKA_PRIVATE, CKA_PUBLIC_KEY_INFO, CKA_SENSITIVE,
    CKA_SIGN, CKA_SIGN_RECOVER, CKA_START_DATE, CKA_SUBJECT, CKA_TOKEN, CKA_TRUSTED, CKA_UNIQUE_ID, CKA_UNWRAP,
    CKA_VALUE, CKA_VERIFY, CKA_VERIFY_RECOVER, CKA_WRAP, CKA_WRAP_WITH_TRUSTED, CKK_EC, CKM_EC_KEY_PAIR_GEN,
    CKO_PRIVATE_KEY, CKO_PUBLIC_KEY,
};
use holdfast_keystore::{Object, ObjectClass, ObjectFilter, ObjectRecord};
use holdfast_wallet::{Curve, PublicKey};

use crate::abi::args::{OutTemplate, Template};
use crate::error::Error;

/// The DER tag.
const OCTET_STRING: u8 = 0x04;

/// What an object answers when asked for an attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The value.
    Value(Vec<u8>),
    /// There is one, which is never given.
    Sensitive,
    /// The object does not have the attribute.
    Unavailable,
}

/// What `object` answers when asked for `kind`.
pub fn answer(object: &Object, kind: CK_ATTRIBUTE_TYPE) -> Answer {
    let private = object.record.class == ObjectClass::PrivateKey;
    common(object, kind)
        .or_else(|| if private { private_key(object, kind) } else { public_key(object, kind) })
        .unwrap_or(Answer::Unavailable)
}

fn common(object: &Object, kind: CK_ATTRIBUTE_TYPE) -> Option<Answer> {
    let record = &object.record;
    let public_key = &object.key.public_key;
    Some(match kind {
        CKA_CLASS => number(class(record.class)),
        CKA_KEY_TYPE => number(CKK_EC),
        CKA_TOKEN => flag(!record.session),
        CKA_PRIVATE => flag(record.private),
        CKA_MODIFIABLE => flag(record.modifiable),
        CKA_DESTROYABLE => flag(record.destroyable),
        CKA_COPYABLE => flag(record.copyable),
        CKA_LABEL => bytes(&record.label),
        CKA_ID => bytes(&record.cka_id),
        CKA_SUBJECT => bytes(&record.subject),
        CKA_START_DATE => bytes(record.start_date.as_ref().map_or(&[], <[u8; 8]>::as_slice)),
        CKA_END_DATE => bytes(record.end_date.as_ref().map_or(&[], <[u8; 8]>::as_slice)),
        CKA_UNIQUE_ID => bytes(record.unique_id.as_bytes()),
        CKA_DERIVE => flag(record.derive),
        CKA_LOCAL => flag(true),
        CKA_KEY_GEN_MECHANISM => number(CKM_EC_KEY_PAIR_GEN),
        CKA_EC_PARAMS => bytes(public_key.curve().oid_der()),
        // On the private key too: clients that see only that half can make the pair of it.
        CKA_EC_POINT => Answer::Value(ec_point(public_key)),
        CKA_PUBLIC_KEY_INFO => Answer::Value(subject_public_key_info(public_key)),
        _ => return None,
    })
}

fn private_key(object: &Object, kind: CK_ATTRIBUTE_TYPE) -> Option<Answer> {
    Some(match kind {
        CKA_SIGN => flag(object.record.sign),
        CKA_SIGN_RECOVER
        | CKA_DECRYPT
        | CKA_UNWRAP
        | CKA_ALWAYS_AUTHENTICATE
        | CKA_WRAP_WITH_TRUSTED
        | CKA_EXTRACTABLE
        | CKA_DECAPSULATE => flag(false),
        CKA_SENSITIVE | CKA_ALWAYS_SENSITIVE | CKA_NEVER_EXTRACTABLE => flag(true),
        CKA_VALUE => Answer::Sensitive,
        _ => return None,
    })
}

fn public_key(object: &Object, kind: CK_ATTRIBUTE_TYPE) -> Option<Answer> {
    Some(match kind {
        CKA_VERIFY => flag(object.record.verify),
        CKA_VERIFY_RECOVER | CKA_ENCRYPT | CKA_WRAP | CKA_TRUSTED | CKA_ENCAPSULATE => flag(false),
        _ => return None,
    })
}

fn flag(value: bool) -> Answer {
    Answer::Value(vec![if value { CK_TRUE } else { CK_FALSE }])
}

fn number(value: CK_ULONG) -> Answer {
    Answer::Value(value.to_ne_bytes().to_vec())
}

fn bytes(value: &[u8]) -> Answer {
    Answer::Value(value.to_vec())
}

/// `CKO_*` of a class.
pub fn class(class: ObjectClass) -> CK_OBJECT_CLASS {
    match class {
        ObjectClass::PublicKey => CKO_PUBLIC_KEY,
        ObjectClass::PrivateKey => CKO_PRIVATE_KEY,
    }
}

/// `CKA_EC_POINT`: the uncompressed point in a DER OCTET STRING. OpenSSH takes nothing else.
fn ec_point(key: &PublicKey) -> Vec<u8> {
    let point = key.to_sec1();
    // 65 bytes: the short form of the length.
    let mut der = vec![OCTET_STRING, point.len() as u8];
    der.extend_from_slice(&point);
    der
}

/// `CKA_PUBLIC_KEY_INFO`: the DER SubjectPublicKeyInfo of RFC 5480, section 2.
pub fn subject_public_key_info(key: &PublicKey) -> Vec<u8> {
    // SEQUENCE { SEQUENCE { id-ecPublicKey, namedCurve }, BIT STRING }, with all lengths in the short form.
    const EC_PUBLIC_KEY: &[u8] = &[0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
    let curve = key.curve().oid_der();
    let point = key.to_sec1();
    let mut algorithm = vec![0x30, (EC_PUBLIC_KEY.len() + curve.len()) as u8];
    algorithm.extend_from_slice(EC_PUBLIC_KEY);
    algorithm.extend_from_slice(curve);
    let mut der = vec![0x30, (algorithm.len() + 3 + point.len()) as u8];
    der.extend_from_slice(&algorithm);
    der.extend_from_slice(&[0x03, (point.len() + 1) as u8, 0]);
    der.extend_from_slice(&point);
    der
}

/// The curve that `CKA_EC_PARAMS` gives, by OID, by name or with its parameters; `None` for any other.
pub fn curve_of_params(params: &[u8]) -> Option<Curve> {
    const PRINTABLE_STRING: u8 = 0x13;
    Curve::ALL.into_iter().find(|curve| {
        let by_name = |name: &str| match params {
            [PRINTABLE_STRING, length, text @ ..] => usize::from(*length) == text.len() && text == name.as_bytes(),
            _ => false,
        };
        params == curve.oid_der()
            || by_name(curve.sec2_name())
            || curve.is_specified_by(params)
            || (*curve == Curve::P256 && (by_name("prime256v1") || by_name("P-256")))
    })
}

/// Whether an object has every attribute of a search template, byte for byte.
pub fn matches(object: &Object, template: &Template<'_>) -> bool {
    template.attributes().all(|wanted| match answer(object, wanted.kind) {
        Answer::Value(value) => value == wanted.value,
        Answer::Sensitive | Answer::Unavailable => false,
    })
}

/// The part of a search template that the store has an index for; `None` when no mapped object can match.
pub fn filter(template: &Template<'_>) -> Option<ObjectFilter> {
    let class = match template.get(CKA_CLASS) {
        None => None,
        Some(value) if *value == CKO_PUBLIC_KEY.to_ne_bytes() => Some(ObjectClass::PublicKey),
        Some(value) if *value == CKO_PRIVATE_KEY.to_ne_bytes() => Some(ObjectClass::PrivateKey),
        Some(_) => return None,
    };
    if template.get(CKA_KEY_TYPE).is_some_and(|value| *value != CKK_EC.to_ne_bytes()) {
        return None;
    }
    let owned = |kind| template.get(kind).map(<[u8]>::to_vec);
    Some(ObjectFilter { class, cka_id: owned(CKA_ID), label: owned(CKA_LABEL) })
}

/// `C_GetAttributeValue`: every entry is answered; one that cannot be makes the call fail, the first sensitive or
/// missing one deciding how, before those whose buffers are too small.
pub fn get(object: &Object, template: &mut OutTemplate<'_>) -> Result<(), Error> {
    let (mut refused, mut too_small) = (None, None);
    for mut entry in template.attributes() {
        match answer(object, entry.kind()) {
            Answer::Value(value) => {
                if let Err(error) = entry.put(&value) {
                    too_small.get_or_insert(error);
                }
            }
            Answer::Sensitive => {
                entry.unavailable();
                refused.get_or_insert(Error::AttributeSensitive);
            }
            Answer::Unavailable => {
                entry.unavailable();
                refused.get_or_insert(Error::AttributeTypeInvalid);
            }
        }
    }
    refused.or(too_small).map_or(Ok(()), Err)
}

/// `C_GetObjectSize`: the bytes of what the store keeps of an object, about.
pub fn size(record: &ObjectRecord) -> usize {
    // The point, its curve and the fixed columns.
    const FIXED: usize = 160;
    FIXED + record.label.len() + record.cka_id.len() + record.subject.len() + record.unique_id.len()
}
