//! KEY on the command line: a label, `id:HEX`, or a `pkcs11:` URI.

use std::fmt;
use std::str::FromStr;

use holdfast_keystore::{KeyState, KeyWithState, Keystore, ObjectClass};

use crate::failure::Failure;
use crate::present;
use crate::uri::{Class, Uri};

/// How the user names a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRef {
    text: String,
    uri: Uri,
}

impl FromStr for KeyRef {
    type Err = String;

    /// Every way of naming a key says what a URI could say.
    fn from_str(text: &str) -> Result<Self, String> {
        let uri = if Uri::is_uri(text) {
            Uri::parse(text).map_err(|error| error.to_string())?
        } else if let Some(hex) = text.strip_prefix("id:") {
            Uri { id: Some(parse_hex(hex)?), ..Uri::default() }
        } else if text.is_empty() {
            return Err("empty: give a label, id:HEX, or a pkcs11: URI".to_owned());
        } else {
            Uri { object: Some(text.as_bytes().to_vec()), ..Uri::default() }
        };
        Ok(Self { text: text.to_owned(), uri })
    }
}

impl fmt::Display for KeyRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.text)
    }
}

impl KeyRef {
    /// The one key that is meant, hidden ones included; `None` when there is none. Several are an error that lists
    /// them. Session keys belong to the process that made them and are never meant.
    pub fn find(&self, keystore: &Keystore) -> Result<Option<KeyWithState>, Failure> {
        let mut found: Vec<_> = keystore.keys()?.into_iter().filter(|key| self.means(key)).collect();
        if found.len() > 1 {
            // A key on its way out gives way to one that has taken its name.
            let ready = found.iter().filter(|key| key.state == KeyState::Ready).count();
            if ready == 1 {
                found.retain(|key| key.state == KeyState::Ready);
            } else {
                return Err(Failure::usage(format!(
                    "{} keys are meant by {self}; name one by id:HEX or by a pkcs11: URI:",
                    found.len()
                ))
                .with_candidates(found.iter().map(present::candidate).collect()));
            }
        }
        Ok(found.pop())
    }

    /// The one key that is meant and that clients can use.
    pub fn ready(&self, keystore: &Keystore) -> Result<KeyWithState, Failure> {
        let key = self.find(keystore)?.ok_or_else(|| self.missing())?;
        match key.state {
            KeyState::Ready => Ok(key),
            KeyState::PublicOnly => Err(Failure::finding(format!(
                "key {self} cannot sign: its private half was destroyed, only the public object is left"
            ))),
            state => Err(Failure::finding(format!(
                "key {self} is hidden: {}; `holdfast status` says what to do",
                present::state(state)
            ))),
        }
    }

    /// What to say when there is no such key.
    pub fn missing(&self) -> Failure {
        Failure::usage(format!("there is no key {self}: `holdfast list` shows those there are"))
    }

    fn means(&self, key: &KeyWithState) -> bool {
        let wanted = &self.uri;
        let same = |wanted: &Option<Vec<u8>>, is: &[u8]| wanted.as_deref().is_none_or(|wanted| wanted == is);
        key.state != KeyState::Session
            && same(&wanted.token, key.key.token_label.as_bytes())
            && same(&wanted.serial, key.key.token_serial.as_bytes())
            && key.objects.iter().any(|object| {
                !object.session
                    && same(&wanted.object, &object.label)
                    && same(&wanted.id, &object.cka_id)
                    && match wanted.class {
                        None => true,
                        Some(Class::Public) => object.class == ObjectClass::PublicKey,
                        Some(Class::Private) => object.class == ObjectClass::PrivateKey,
                        Some(Class::Other) => false,
                    }
            })
    }
}

/// Bytes written as hexadecimal digits.
pub fn parse_hex(text: &str) -> Result<Vec<u8>, String> {
    let digits = text.as_bytes();
    if digits.is_empty() || !digits.len().is_multiple_of(2) || !digits.iter().all(u8::is_ascii_hexdigit) {
        return Err(format!("{text:?}: an even number of hexadecimal digits expected, as in 01ab"));
    }
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(&String::from_utf8_lossy(pair), 16).map_err(|error| error.to_string()))
        .collect()
}

/// Bytes as hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_ways_to_name_a_key() {
        let label: KeyRef = "tls".parse().unwrap();
        let uri: KeyRef = "pkcs11:object=tls".parse().unwrap();
        assert_eq!(label.uri, uri.uri);
        let id: KeyRef = "id:01aB".parse().unwrap();
        assert_eq!(id.uri.id.as_deref(), Some([0x01, 0xab].as_slice()));
        for text in ["", "id:", "id:1", "id:xy", "id:é1", "pkcs11:object"] {
            assert!(text.parse::<KeyRef>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn hex_both_ways() {
        assert_eq!(parse_hex(&hex(&[0, 255, 16])).unwrap(), [0, 255, 16]);
    }
}
