//! Templates of clients, read into what the keystore records: every attribute is understood, refused with the
//! specification's code, or - a use that hardware cannot honour - accepted and recorded as false. Nothing is weakened.

use cryptoki_sys::{
    CK_ATTRIBUTE_TYPE, CK_FALSE, CK_ULONG, CKA_ALLOWED_MECHANISMS, CKA_ALWAYS_AUTHENTICATE, CKA_ALWAYS_SENSITIVE,
    CKA_CLASS, CKA_COPYABLE, CKA_DECAPSULATE, CKA_DECRYPT, CKA_DERIVE, CKA_DESTROYABLE, CKA_EC_PARAMS, CKA_EC_POINT,
    CKA_ENCAPSULATE, CKA_ENCRYPT, CKA_END_DATE, CKA_EXTRACTABLE, CKA_ID, CKA_KEY_GEN_MECHANISM, CKA_KEY_TYPE,
    CKA_LABEL, CKA_LOCAL, CKA_MODIFIABLE, CKA_NEVER_EXTRACTABLE, CKA_PRIVATE, CKA_PUBLIC_KEY_INFO, CKA_SENSITIVE,
    CKA_SIGN, CKA_SIGN_RECOVER, CKA_START_DATE, CKA_SUBJECT, CKA_TOKEN, CKA_TRUSTED, CKA_UNIQUE_ID, CKA_UNWRAP,
    CKA_VALUE, CKA_VERIFY, CKA_VERIFY_RECOVER, CKA_WRAP, CKA_WRAP_WITH_TRUSTED, CKK_EC,
};
use holdfast_keystore::{NewObject, ObjectChange, ObjectClass, ObjectRecord};

use super::attributes::{class, curve_of_params};
use crate::abi::args::{Attribute, Template};
use crate::error::Error;

/// What one half's template of `C_GenerateKeyPair` says.
pub fn new_object(template: &Template<'_>, half: ObjectClass) -> Result<NewObject, Error> {
    let mut object = match half {
        ObjectClass::PublicKey => NewObject::public(),
        ObjectClass::PrivateKey => NewObject::private(),
    };
    check_repeated(template)?;
    for attribute in template.attributes() {
        read_generation(&mut object, attribute, half)?;
    }
    Ok(object)
}

fn read_generation(object: &mut NewObject, attribute: Attribute<'_>, half: ObjectClass) -> Result<(), Error> {
    let private = half == ObjectClass::PrivateKey;
    let value = attribute.value;
    match attribute.kind {
        CKA_CLASS => expect(number(value)? == class(half), "CKA_CLASS is not that of this half"),
        CKA_KEY_TYPE => expect(number(value)? == CKK_EC, "CKA_KEY_TYPE is not CKK_EC"),
        // Where the pair is made was decided by the private half.
        CKA_TOKEN => flag(value).map(|_| ()),
        CKA_PRIVATE => set(&mut object.private, flag(value)?),
        CKA_MODIFIABLE => set(&mut object.modifiable, flag(value)?),
        CKA_DESTROYABLE => set(&mut object.destroyable, flag(value)?),
        // Token keys are never copied, whatever is asked.
        CKA_COPYABLE => flag(value).map(|_| ()),
        CKA_LABEL => set(&mut object.label, Some(value.to_vec())),
        CKA_ID => set(&mut object.cka_id, Some(value.to_vec())),
        CKA_SUBJECT => set(&mut object.subject, value.to_vec()),
        CKA_START_DATE => set(&mut object.start_date, date(value)?),
        CKA_END_DATE => set(&mut object.end_date, date(value)?),
        CKA_DERIVE => set(&mut object.derive, flag(value)?),
        CKA_EC_PARAMS => expect(curve_of_params(value).is_some(), "CKA_EC_PARAMS of the halves differ"),
        CKA_SIGN if private => set(&mut object.sign, flag(value)?),
        CKA_VERIFY if !private => set(&mut object.verify, flag(value)?),
        CKA_SIGN_RECOVER | CKA_DECRYPT | CKA_UNWRAP | CKA_WRAP_WITH_TRUSTED | CKA_DECAPSULATE if private => {
            flag(value).map(|_| ())
        }
        CKA_VERIFY_RECOVER | CKA_ENCRYPT | CKA_WRAP | CKA_ENCAPSULATE if !private => flag(value).map(|_| ()),
        CKA_SENSITIVE if private => expect(flag(value)?, "a key in hardware is sensitive"),
        CKA_EXTRACTABLE if private => expect(!flag(value)?, "a key in hardware cannot be extracted"),
        CKA_ALWAYS_AUTHENTICATE if private => {
            expect(!flag(value)?, "a key in hardware cannot ask for the PIN at every use")
        }
        CKA_TRUSTED if !private => {
            if flag(value)? {
                Err(Error::AttributeReadOnly)
            } else {
                Ok(())
            }
        }
        CKA_ALLOWED_MECHANISMS => Err(Error::TemplateInconsistent("mechanisms of a mapped key cannot be restricted")),
        CKA_LOCAL | CKA_KEY_GEN_MECHANISM | CKA_UNIQUE_ID => Err(Error::AttributeReadOnly),
        CKA_ALWAYS_SENSITIVE | CKA_NEVER_EXTRACTABLE if private => Err(Error::AttributeReadOnly),
        CKA_VALUE | CKA_EC_POINT | CKA_PUBLIC_KEY_INFO => {
            Err(Error::TemplateInconsistent("the mechanism makes the key's value"))
        }
        _ => Err(Error::AttributeTypeInvalid),
    }
}

/// What `C_SetAttributeValue` may change of an object.
pub fn change(template: &Template<'_>, half: ObjectClass) -> Result<ObjectChange, Error> {
    check_repeated(template)?;
    let mut change = ObjectChange::default();
    for attribute in template.attributes() {
        read_change(&mut change, attribute, half)?;
    }
    Ok(change)
}

/// What `C_CopyObject` may change besides, and whether the copy is a token object.
pub fn copy(template: &Template<'_>, object: &ObjectRecord) -> Result<(ObjectChange, bool), Error> {
    let half = object.class;
    check_repeated(template)?;
    let (mut change, mut token) = (ObjectChange::default(), false);
    for attribute in template.attributes() {
        let value = attribute.value;
        match attribute.kind {
            CKA_TOKEN => token = flag(value)?,
            CKA_PRIVATE => {
                let private = flag(value)?;
                expect(private || !object.private, "the copy of a private object is private")?;
                change.private = Some(private);
            }
            CKA_MODIFIABLE => change.modifiable = Some(flag(value)?),
            CKA_DESTROYABLE => change.destroyable = Some(flag(value)?),
            CKA_COPYABLE => _ = flag(value)?,
            CKA_CLASS => expect(number(value)? == class(half), "CKA_CLASS is not that of the object")?,
            CKA_KEY_TYPE => expect(number(value)? == CKK_EC, "CKA_KEY_TYPE is not CKK_EC")?,
            _ => read_change(&mut change, attribute, half)?,
        }
    }
    Ok((change, token))
}

fn read_change(change: &mut ObjectChange, attribute: Attribute<'_>, half: ObjectClass) -> Result<(), Error> {
    let private = half == ObjectClass::PrivateKey;
    let value = attribute.value;
    match attribute.kind {
        CKA_LABEL => set(&mut change.label, Some(value.to_vec())),
        CKA_ID => set(&mut change.cka_id, Some(value.to_vec())),
        CKA_SUBJECT => set(&mut change.subject, Some(value.to_vec())),
        CKA_START_DATE => set(&mut change.start_date, Some(date(value)?)),
        CKA_END_DATE => set(&mut change.end_date, Some(date(value)?)),
        CKA_DERIVE => set(&mut change.derive, Some(flag(value)?)),
        CKA_SIGN if private => set(&mut change.sign, Some(flag(value)?)),
        CKA_VERIFY if !private => set(&mut change.verify, Some(flag(value)?)),
        // Uses that hardware cannot honour stay false.
        CKA_SIGN_RECOVER | CKA_DECRYPT | CKA_UNWRAP if private => refuse_true(flag(value)?),
        CKA_VERIFY_RECOVER | CKA_ENCRYPT | CKA_WRAP if !private => refuse_true(flag(value)?),
        // From false to true, and from true to false: that is how both are already.
        CKA_SENSITIVE | CKA_WRAP_WITH_TRUSTED if private => {
            if flag(value)? == (attribute.kind == CKA_SENSITIVE) {
                Ok(())
            } else {
                Err(Error::AttributeReadOnly)
            }
        }
        CKA_EXTRACTABLE if private => {
            if flag(value)? {
                Err(Error::AttributeReadOnly)
            } else {
                Ok(())
            }
        }
        CKA_CLASS
        | CKA_KEY_TYPE
        | CKA_TOKEN
        | CKA_PRIVATE
        | CKA_MODIFIABLE
        | CKA_COPYABLE
        | CKA_DESTROYABLE
        | CKA_LOCAL
        | CKA_KEY_GEN_MECHANISM
        | CKA_UNIQUE_ID
        | CKA_EC_PARAMS
        | CKA_EC_POINT
        | CKA_PUBLIC_KEY_INFO => Err(Error::AttributeReadOnly),
        CKA_VALUE | CKA_ALWAYS_SENSITIVE | CKA_NEVER_EXTRACTABLE | CKA_ALWAYS_AUTHENTICATE if private => {
            Err(Error::AttributeReadOnly)
        }
        CKA_TRUSTED if !private => Err(Error::AttributeReadOnly),
        _ => Err(Error::AttributeTypeInvalid),
    }
}

/// A boolean of a template; `None` when it is not there.
pub fn optional_flag(template: &Template<'_>, kind: CK_ATTRIBUTE_TYPE) -> Result<Option<bool>, Error> {
    template.get(kind).map(flag).transpose()
}

fn flag(value: &[u8]) -> Result<bool, Error> {
    match value {
        [byte] => Ok(*byte != CK_FALSE),
        _ => Err(Error::AttributeValueInvalid("a CK_BBOOL is one byte")),
    }
}

fn number(value: &[u8]) -> Result<CK_ULONG, Error> {
    let bytes = value.try_into().map_err(|_| Error::AttributeValueInvalid("a CK_ULONG has another length"))?;
    Ok(CK_ULONG::from_ne_bytes(bytes))
}

/// A `CK_DATE`: eight digits, or nothing.
fn date(value: &[u8]) -> Result<Option<[u8; 8]>, Error> {
    if value.is_empty() {
        return Ok(None);
    }
    let digits: [u8; 8] = value.try_into().map_err(|_| Error::AttributeValueInvalid("a CK_DATE has 8 digits"))?;
    if !digits.iter().all(u8::is_ascii_digit) {
        return Err(Error::AttributeValueInvalid("a CK_DATE has 8 digits"));
    }
    Ok(Some(digits))
}

fn expect(consistent: bool, complaint: &'static str) -> Result<(), Error> {
    if consistent { Ok(()) } else { Err(Error::TemplateInconsistent(complaint)) }
}

fn refuse_true(value: bool) -> Result<(), Error> {
    expect(!value, "hardware does not serve for this use")
}

fn set<T>(field: &mut T, value: T) -> Result<(), Error> {
    *field = value;
    Ok(())
}

/// An attribute given twice has to have the same value twice.
fn check_repeated(template: &Template<'_>) -> Result<(), Error> {
    template.attributes().try_for_each(|attribute| check_once(template, attribute.kind))
}

/// That an attribute is given at most once, or has the same value each time.
pub fn check_once(template: &Template<'_>, kind: CK_ATTRIBUTE_TYPE) -> Result<(), Error> {
    let mut values = template.attributes().filter(|attribute| attribute.kind == kind).map(|attribute| attribute.value);
    let first = values.next();
    expect(values.all(|value| Some(value) == first), "an attribute is given twice, with different values")
}
