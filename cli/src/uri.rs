//! PKCS#11 URIs (RFC 7512): those parts of one that can say which key is meant.

/// What a `pkcs11:` URI says about an object and its token. An attribute that is absent matches anything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Uri {
    /// `token`: the token's label.
    pub token: Option<Vec<u8>>,
    /// `serial`: the token's serial number.
    pub serial: Option<Vec<u8>>,
    /// `object`: `CKA_LABEL`.
    pub object: Option<Vec<u8>>,
    /// `id`: `CKA_ID`.
    pub id: Option<Vec<u8>>,
    /// `type`: the class of the object.
    pub class: Option<Class>,
}

/// The classes of RFC 7512, `type` (section 2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// `public`
    Public,
    /// `private`
    Private,
    /// `cert`, `secret-key` or `data`: never a mapped key.
    Other,
}

/// Why text is no URI that could name a key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UriError {
    /// Not `pkcs11:`.
    #[error("a PKCS#11 URI begins with pkcs11:")]
    Scheme,
    /// An attribute without `=`.
    #[error("{0:?} is not of the form name=value")]
    NotAPair(String),
    /// `%` without two hexadecimal digits after it.
    #[error("{0:?}: % must be followed by two hexadecimal digits")]
    Percent(String),
    /// A character that RFC 7512 wants percent-encoded.
    #[error("{attribute}: {character:?} must be percent-encoded in a PKCS#11 URI")]
    Character {
        /// The attribute.
        attribute: String,
        /// The character.
        character: char,
    },
    /// The same attribute twice (section 2.3 forbids it).
    #[error("{0} appears twice")]
    Twice(String),
    /// A path attribute that we cannot compare. Ignoring it could pick a key that its author meant to exclude.
    #[error("{0} cannot be compared with a key: use token, serial, object, id and type")]
    Unknown(String),
    /// `type` with a value that RFC 7512 does not list.
    #[error("type={0}: public, private, cert, secret-key or data expected")]
    Type(String),
    /// `pin-value`: everybody on the host can read arguments.
    #[error("pin-value puts the PIN where everybody can read it: use --pin-file")]
    PinValue,
}

impl Uri {
    /// Whether `text` means to be a PKCS#11 URI: the scheme is compared without case (RFC 3986, section 3.1).
    pub fn is_uri(text: &str) -> bool {
        text.get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case("pkcs11:"))
    }

    /// Parses a URI. Path attributes narrow the choice, so one that we cannot compare is refused. Attributes of the
    /// query say how to reach the token, not which object is meant: they are ignored, except `pin-value`, refused.
    pub fn parse(text: &str) -> Result<Self, UriError> {
        if !Self::is_uri(text) {
            return Err(UriError::Scheme);
        }
        let (path, query) = match text[7..].split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (&text[7..], None),
        };
        let mut uri = Self::default();
        // RFC 7512 lets white space in for line breaks in prose (appendix C of RFC 3986); a trailing ';' is common.
        for pair in path.split(';').filter(|pair| !pair.is_empty()) {
            uri.path_attribute(pair)?;
        }
        for pair in query.into_iter().flat_map(|query| query.split('&')).filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').ok_or_else(|| UriError::NotAPair(pair.to_owned()))?;
            if name == "pin-value" {
                return Err(UriError::PinValue);
            }
            decode(name, value, true)?;
        }
        Ok(uri)
    }

    fn path_attribute(&mut self, pair: &str) -> Result<(), UriError> {
        let (name, value) = pair.split_once('=').ok_or_else(|| UriError::NotAPair(pair.to_owned()))?;
        let value = decode(name, value, false)?;
        let place = match name {
            "token" => &mut self.token,
            "serial" => &mut self.serial,
            "object" => &mut self.object,
            "id" => &mut self.id,
            "type" => {
                let class = match value.as_slice() {
                    b"public" => Class::Public,
                    b"private" => Class::Private,
                    b"cert" | b"secret-key" | b"data" => Class::Other,
                    other => return Err(UriError::Type(String::from_utf8_lossy(other).into_owned())),
                };
                return match self.class.replace(class) {
                    None => Ok(()),
                    Some(_) => Err(UriError::Twice(name.to_owned())),
                };
            }
            _ => return Err(UriError::Unknown(name.to_owned())),
        };
        match place.replace(value) {
            None => Ok(()),
            Some(_) => Err(UriError::Twice(name.to_owned())),
        }
    }
}

/// Undoes percent-encoding and refuses what must be encoded (RFC 7512, section 2.3, `pk11-pchar` and `pk11-qchar`).
fn decode(attribute: &str, value: &str, in_query: bool) -> Result<Vec<u8>, UriError> {
    let mut decoded = Vec::with_capacity(value.len());
    let mut rest = value.chars();
    while let Some(character) = rest.next() {
        match character {
            '%' => {
                let byte = rest.as_str().get(..2).filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
                let byte = byte.and_then(|digits| u8::from_str_radix(digits, 16).ok());
                decoded.push(byte.ok_or_else(|| UriError::Percent(value.to_owned()))?);
                rest.nth(1);
            }
            c if c.is_ascii_alphanumeric() || "-._~:[]@!$'()*+,=".contains(c) => decoded.push(c as u8),
            '&' if !in_query => decoded.push(b'&'),
            '/' | '?' | '|' if in_query => decoded.push(character as u8),
            _ => return Err(UriError::Character { attribute: attribute.to_owned(), character }),
        }
    }
    Ok(decoded)
}

/// Percent-encodes `bytes` for the path of a URI; the ID is encoded in full, as RFC 7512 recommends.
pub fn encode(bytes: &[u8], all: bool) -> String {
    bytes
        .iter()
        .map(|byte| match char::from(*byte) {
            c if !all && (c.is_ascii_alphanumeric() || "-._~".contains(c)) => c.to_string(),
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_attributes_that_name_a_key() {
        let uri = Uri::parse("pkcs11:token=My%20Token;serial=0a;object=tls%3Bkey;id=%01%AB;type=private").unwrap();
        assert_eq!(uri.token.as_deref(), Some(b"My Token".as_slice()));
        assert_eq!(uri.serial.as_deref(), Some(b"0a".as_slice()));
        assert_eq!(uri.object.as_deref(), Some(b"tls;key".as_slice()));
        assert_eq!(uri.id.as_deref(), Some([0x01, 0xab].as_slice()));
        assert_eq!(uri.class, Some(Class::Private));
    }

    #[test]
    fn ignores_what_says_how_to_reach_the_token() {
        let uri = Uri::parse("PKCS11:object=a?module-path=/usr/lib/x.so&pin-source=file:/etc/pin&x-vendor=1").unwrap();
        assert_eq!(uri, Uri { object: Some(b"a".to_vec()), ..Uri::default() });
        assert_eq!(Uri::parse("pkcs11:").unwrap(), Uri::default());
    }

    #[test]
    fn refuses_what_it_cannot_compare_or_must_not_see() {
        assert_eq!(Uri::parse("pkcs11:slot-id=1"), Err(UriError::Unknown("slot-id".to_owned())));
        assert_eq!(Uri::parse("pkcs11:x-mine=1"), Err(UriError::Unknown("x-mine".to_owned())));
        assert_eq!(Uri::parse("pkcs11:object=a?pin-value=1234"), Err(UriError::PinValue));
        assert_eq!(Uri::parse("pkcs11:object=a;object=b"), Err(UriError::Twice("object".to_owned())));
        assert_eq!(Uri::parse("pkcs11:type=public;type=private"), Err(UriError::Twice("type".to_owned())));
        assert_eq!(Uri::parse("pkcs11:type=key"), Err(UriError::Type("key".to_owned())));
        assert_eq!(Uri::parse("pkcs11:object"), Err(UriError::NotAPair("object".to_owned())));
        assert_eq!(Uri::parse("pkcs12:object=a"), Err(UriError::Scheme));
        for text in ["pkcs11:id=%", "pkcs11:id=%1", "pkcs11:id=%zz", "pkcs11:id=%+1", "pkcs11:id=%1é"] {
            assert!(matches!(Uri::parse(text), Err(UriError::Percent(_))), "{text}");
        }
        for text in ["pkcs11:object=a b", "pkcs11:object=ä", "pkcs11:object=a/b", "pkcs11:object=a#b"] {
            assert!(matches!(Uri::parse(text), Err(UriError::Character { .. })), "{text}");
        }
    }

    #[test]
    fn encodes_what_it_decodes() {
        let label: Vec<u8> = (0..=255).collect();
        for all in [true, false] {
            let uri = Uri::parse(&format!("pkcs11:object={}", encode(&label, all))).unwrap();
            assert_eq!(uri.object.as_deref(), Some(label.as_slice()));
        }
        assert_eq!(encode(b"tls key", false), "tls%20key");
        assert_eq!(encode(&[1, 0x41], true), "%01%41");
    }
}
