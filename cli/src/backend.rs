//! The backend module, seen as any PKCS#11 client sees it: which tokens there are, and certificates kept in them.

use std::path::Path;

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::object::{Attribute, AttributeType, CertificateType, ObjectClass};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::Slot;
use cryptoki::types::AuthPin;
use holdfast_config::check_trusted_file;
use serde_json::json;
use zeroize::Zeroizing;

use crate::failure::Failure;
use crate::uri::Uri;

/// A loaded and initialised backend module.
#[derive(Debug)]
pub struct Backend {
    module: Pkcs11,
    path: String,
}

/// An initialised token of the backend.
#[derive(Clone, Debug)]
pub struct Token {
    slot: Slot,
    /// Its label.
    pub label: String,
    /// Its serial number, as Holdfast records it with keys.
    pub serial: String,
}

/// A certificate to be kept beside its key.
#[derive(Debug)]
pub struct Certificate<'a> {
    /// The certificate, DER.
    pub value: &'a [u8],
    /// The subject's name, DER; the issuer's too, as it signs itself.
    pub subject: &'a [u8],
    /// The serial number, DER.
    pub serial: &'a [u8],
    /// `CKA_ID`, the key's.
    pub id: &'a [u8],
    /// `CKA_LABEL`, the key's.
    pub label: &'a [u8],
}

impl Backend {
    /// Loads the module at `path`, which must be trusted as the configuration is.
    pub fn load(path: &Path) -> Result<Self, Failure> {
        let shown = path.display().to_string();
        let advice = "set [backend] module in the configuration to the PKCS#11 module of your tokens";
        let failed = |reason: String| Failure::unreachable(format!("the backend {shown} cannot be loaded: {reason}"));
        check_trusted_file(path).map_err(|error| failed(format!("{error}; {advice}")))?;
        let module = Pkcs11::new(path).map_err(|error| failed(format!("{error}; {advice}")))?;
        match module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
            Ok(()) | Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => Ok(Self { module, path: shown }),
            Err(error) => Err(failed(format!(
                "{}; check that this user may use it and that its own configuration is in place (for SoftHSM, SOFTHSM2_CONF)",
                described(&error)
            ))),
        }
    }

    /// Every initialised token.
    pub fn tokens(&self) -> Result<Vec<Token>, Failure> {
        let slots = self.module.get_slots_with_initialized_token().map_err(|error| self.failed(error))?;
        slots
            .into_iter()
            .map(|slot| {
                let info = self.module.get_token_info(slot).map_err(|error| self.failed(error))?;
                Ok(Token { slot, label: info.label().to_owned(), serial: info.serial_number().to_owned() })
            })
            .collect()
    }

    /// The token that `name` means: a label, or a PKCS#11 URI with `token` or `serial`.
    pub fn token(&self, name: &str) -> Result<Token, Failure> {
        let uri = match Uri::is_uri(name) {
            true => Uri::parse(name).map_err(|error| Failure::usage(format!("--token: {error}")))?,
            false => Uri { token: Some(name.as_bytes().to_vec()), ..Uri::default() },
        };
        let matches =
            |wanted: &Option<Vec<u8>>, is: &str| wanted.as_deref().is_none_or(|wanted| wanted == is.as_bytes());
        let tokens = self.tokens()?;
        let found: Vec<_> = tokens
            .iter()
            .filter(|token| matches(&uri.token, &token.label) && matches(&uri.serial, &token.serial))
            .collect();
        match found.as_slice() {
            [token] => Ok((*token).clone()),
            [] => Err(Failure::usage(format!(
                "no token {name:?} in {}{}",
                self.path,
                if tokens.is_empty() {
                    ": it has no initialised token; make one with `pkcs11-tool --init-token`"
                } else {
                    "; its tokens are:"
                }
            ))
            .with_candidates(tokens.iter().map(candidate).collect())),
            several => Err(Failure::usage(format!(
                "{} tokens are called {name:?}; name one by its serial number, --token 'pkcs11:serial=...':",
                several.len()
            ))
            .with_candidates(several.iter().copied().map(candidate).collect())),
        }
    }

    /// The token with this serial number.
    pub fn token_with_serial(&self, serial: &str, label: &str) -> Result<Token, Failure> {
        let tokens = self.tokens()?;
        tokens.into_iter().find(|token| token.serial == serial).ok_or_else(|| {
            Failure::unreachable(format!(
                "token {label:?} (serial {serial}) is not in {}: is it the right backend?",
                self.path
            ))
        })
    }

    /// The certificates with this `CKA_ID` that can be read without a PIN, DER.
    pub fn certificates(&self, token: &Token, id: &[u8]) -> Result<Vec<Vec<u8>>, Failure> {
        let session = self.module.open_ro_session(token.slot).map_err(|error| self.failed(error))?;
        let template = [Attribute::Class(ObjectClass::CERTIFICATE), Attribute::Id(id.to_vec())];
        let objects = session.find_objects(&template).map_err(|error| self.failed(error))?;
        let mut values = Vec::new();
        for object in objects {
            let attributes =
                session.get_attributes(object, &[AttributeType::Value]).map_err(|error| self.failed(error))?;
            values.extend(attributes.into_iter().filter_map(|attribute| match attribute {
                Attribute::Value(value) => Some(value),
                _ => None,
            }));
        }
        Ok(values)
    }

    /// Keeps a certificate in the token, and then removes those that it replaces. `pin` is called only when the token
    /// refuses without login.
    pub fn store_certificate(
        &self,
        token: &Token,
        certificate: &Certificate<'_>,
        replaces: &[Vec<u8>],
        pin: impl FnOnce() -> Result<Zeroizing<String>, Failure>,
    ) -> Result<(), Failure> {
        let template = [
            Attribute::Class(ObjectClass::CERTIFICATE),
            Attribute::CertificateType(CertificateType::X_509),
            Attribute::Token(true),
            Attribute::Private(false),
            Attribute::Id(certificate.id.to_vec()),
            Attribute::Label(certificate.label.to_vec()),
            Attribute::Subject(certificate.subject.to_vec()),
            Attribute::Issuer(certificate.subject.to_vec()),
            Attribute::SerialNumber(certificate.serial.to_vec()),
            Attribute::Value(certificate.value.to_vec()),
        ];
        let session = self.module.open_rw_session(token.slot).map_err(|error| self.failed(error))?;
        match session.create_object(&template) {
            Err(Error::Pkcs11(RvError::UserNotLoggedIn, _)) => {
                self.login(&session, token, &pin()?)?;
                session.create_object(&template).map_err(|error| self.failed(error))?;
            }
            outcome => {
                outcome.map_err(|error| self.failed(error))?;
            }
        }
        // Handles end with the session they were found in, so the old ones are looked up again.
        for old in replaces {
            let same = [
                Attribute::Class(ObjectClass::CERTIFICATE),
                Attribute::Id(certificate.id.to_vec()),
                Attribute::Value(old.clone()),
            ];
            for object in session.find_objects(&same).map_err(|error| self.failed(error))? {
                session.destroy_object(object).map_err(|error| self.failed(error))?;
            }
        }
        Ok(())
    }

    /// Once: a wrong PIN is never tried again, as the token counts.
    fn login(&self, session: &Session, token: &Token, pin: &str) -> Result<(), Failure> {
        let pin = AuthPin::from(pin);
        match session.login(UserType::User, Some(&pin)) {
            Ok(()) => Ok(()),
            Err(Error::Pkcs11(RvError::PinIncorrect | RvError::PinInvalid | RvError::PinLenRange, _)) => {
                Err(Failure::usage(format!(
                    "token {:?} refused the PIN; it was tried once and will not be repeated, as tokens lock after a few",
                    token.label
                )))
            }
            Err(Error::Pkcs11(RvError::PinLocked, _)) => Err(Failure::usage(format!(
                "the user PIN of token {:?} is locked: the security officer can set a new one",
                token.label
            ))),
            Err(error) => Err(self.failed(error)),
        }
    }

    fn failed(&self, error: Error) -> Failure {
        Failure::unreachable(format!("the backend {} failed: {}", self.path, described(&error)))
    }
}

/// The function and its code; the crate's own text for a code is a paragraph of the specification.
fn described(error: &Error) -> String {
    match error {
        Error::Pkcs11(code, function) => format!("C_{function:?} answered {code:?}"),
        other => other.to_string(),
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        // Some modules flush their files only now; what they answer changes nothing any more.
        let _ = self.module.clone().finalize();
    }
}

fn candidate(token: &Token) -> (String, serde_json::Value) {
    (
        format!("{:?} (serial {})", token.label, token.serial),
        json!({ "token": token.label, "token_serial": token.serial }),
    )
}
