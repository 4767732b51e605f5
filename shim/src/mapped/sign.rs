//! Signatures and verifications: with mapped keys, and `CKM_ECDSA_SHA*` with keys of a backend that lacks those.
//!
//! When an operation ends (v3.2, "C_Sign" and "C_SignFinal"): a length query, or a buffer that is too small, keeps it
//! and never makes a signature; everything else ends it, an error too.

use std::sync::Arc;

use cryptoki_sys::{
    CK_FLAGS, CK_INVALID_HANDLE, CK_SESSION_HANDLE, CKA_KEY_TYPE, CKF_FIND_OBJECTS, CKF_SIGN, CKF_VERIFY, CKK_EC,
    CKM_ECDSA, CKR_OPERATION_ACTIVE,
};
use holdfast_keystore::{KeyRecord, Object, ObjectClass};

use super::mechanism::{Digester, is_added, to_256_bits};
use super::session::Operations;
use crate::abi::args::{InSlice, Mechanism, OutBuffer, Room};
use crate::abi::calls::Calls;
use crate::error::Error;
use crate::lifecycle::Instance;
use crate::route::{BackendObjectHandle, MappedHandle};

/// The bytes of r‖s on a 256-bit curve.
const SIGNATURE_BYTES: usize = 64;

/// The bytes of r‖s on the largest curve that any backend has (P-521).
const LARGEST_SIGNATURE_BYTES: usize = 132;

/// A signature in progress.
#[derive(Clone)]
pub struct SignOperation {
    key: Key,
    input: Input,
}

/// A verification in progress.
#[derive(Clone)]
pub struct VerifyOperation {
    key: Key,
    input: Input,
}

#[derive(Clone)]
enum Key {
    Mapped(Arc<KeyRecord>),
    /// A key of the backend, which has an operation with `CKM_ECDSA` of its own in progress.
    Backend,
}

/// What the key is to sign.
#[derive(Clone)]
enum Input {
    /// `CKM_ECDSA`: the client brings the digest, in one part.
    Digest,
    /// `CKM_ECDSA_SHA*`: digested here.
    Data { digester: Box<Digester>, continued: bool },
}

impl SignOperation {
    /// Whether it is a mapped key that signs.
    pub fn is_mapped(&self) -> bool {
        matches!(self.key, Key::Mapped(_))
    }
}

impl VerifyOperation {
    /// Whether it is a mapped key that verifies.
    pub fn is_mapped(&self) -> bool {
        matches!(self.key, Key::Mapped(_))
    }
}

impl Input {
    fn of(mechanism: &Mechanism<'_>) -> Result<Self, Error> {
        let input = match Digester::new(mechanism.kind) {
            Some(digester) => Self::Data { digester: Box::new(digester), continued: false },
            None if mechanism.kind == CKM_ECDSA => Self::Digest,
            None => return Err(Error::MechanismInvalid),
        };
        if mechanism.parameter.is_empty() {
            Ok(input)
        } else {
            Err(Error::MechanismParamInvalid("CKM_ECDSA and CKM_ECDSA_SHA* have no parameter"))
        }
    }

    /// Takes a part of the data.
    fn update(&mut self, part: &[u8]) -> Result<(), Error> {
        match self {
            // As the backend says of its own single-part mechanisms.
            Self::Digest => Err(Error::OperationNotInitialized),
            Self::Data { digester, continued } => {
                digester.update(part);
                *continued = true;
                Ok(())
            }
        }
    }

    /// The digest of all of the data, in one part.
    fn whole(self, data: &[u8]) -> Result<Vec<u8>, Error> {
        match self {
            Self::Digest if data.is_empty() => Err(Error::DataLenRange),
            Self::Digest => Ok(data.to_vec()),
            // The specification: C_Sign cannot end an operation that C_SignUpdate continued.
            Self::Data { continued: true, .. } => Err(Error::OperationNotInitialized),
            Self::Data { mut digester, .. } => {
                digester.update(data);
                Ok(digester.finish())
            }
        }
    }

    /// The digest of the parts.
    fn parts(self) -> Result<Vec<u8>, Error> {
        match self {
            Self::Digest => Err(Error::OperationNotInitialized),
            Self::Data { digester, .. } => Ok(digester.finish()),
        }
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Sign,
    Verify,
}

impl Kind {
    fn is_active(self, operations: &Operations) -> bool {
        match self {
            Self::Sign => operations.sign.is_some(),
            Self::Verify => operations.verify.is_some(),
        }
    }

    /// Asks the backend to begin one with a handle that is none.
    fn begin(self, calls: &Calls<'_>, session: CK_SESSION_HANDLE) -> Result<(), Error> {
        let none = BackendObjectHandle(CK_INVALID_HANDLE);
        match self {
            Self::Sign => calls.sign_init(session, CKM_ECDSA, none),
            Self::Verify => calls.verify_init(session, CKM_ECDSA, none),
        }
    }

    /// Ends the backend's, by a signature that nobody gets: the one way that every backend has.
    fn end(self, calls: &Calls<'_>, session: CK_SESSION_HANDLE) {
        let _ = match self {
            Self::Sign => calls.sign(session, &[0; 32], &mut [0; LARGEST_SIGNATURE_BYTES]).map(|_| ()),
            Self::Verify => calls.verify(session, &[0; 32], &[1; SIGNATURE_BYTES]),
        };
    }
}

/// How the data comes to its end.
pub enum Ending<'a> {
    /// `C_Sign`, `C_Verify`: all of the data.
    Whole(&'a [u8]),
    /// `C_SignFinal`, `C_VerifyFinal`: after its parts.
    Parts,
}

impl<'a> Ending<'a> {
    /// All of the data.
    pub fn whole(data: InSlice<'a>) -> Self {
        Self::Whole(data.bytes())
    }

    fn digest(self, input: Input) -> Result<Vec<u8>, Error> {
        match self {
            Self::Whole(data) => input.whole(data),
            Self::Parts => input.parts(),
        }
    }
}

/// `C_SignInit` with a mapped key.
pub fn sign_init(
    instance: &Instance,
    session: CK_SESSION_HANDLE,
    mechanism: &Mechanism<'_>,
    key: MappedHandle,
) -> Result<(), Error> {
    let object = begin(instance, session, key, Kind::Sign)?;
    let input = Input::of(mechanism)?;
    match object.record.class {
        ObjectClass::PublicKey => return Err(Error::KeyTypeInconsistent),
        ObjectClass::PrivateKey if !object.record.sign => return Err(Error::KeyFunctionNotPermitted),
        ObjectClass::PrivateKey => {}
    }
    let operation = SignOperation { key: Key::Mapped(object.key), input };
    instance.mapped.sessions.with(session, |operations| operations.sign = Some(operation));
    Ok(())
}

/// `C_VerifyInit` with a mapped key.
pub fn verify_init(
    instance: &Instance,
    session: CK_SESSION_HANDLE,
    mechanism: &Mechanism<'_>,
    key: MappedHandle,
) -> Result<(), Error> {
    let object = begin(instance, session, key, Kind::Verify)?;
    let input = Input::of(mechanism)?;
    match object.record.class {
        ObjectClass::PrivateKey => return Err(Error::KeyTypeInconsistent),
        ObjectClass::PublicKey if !object.record.verify => return Err(Error::KeyFunctionNotPermitted),
        ObjectClass::PublicKey => {}
    }
    let operation = VerifyOperation { key: Key::Mapped(object.key), input };
    instance.mapped.sessions.with(session, |operations| operations.verify = Some(operation));
    Ok(())
}

/// The object of a key handle, when an operation of the kind may begin in the session. Whether the backend has one in
/// progress is learnt by asking it to begin one with a handle that is none.
fn begin(instance: &Instance, session: CK_SESSION_HANDLE, key: MappedHandle, kind: Kind) -> Result<Object, Error> {
    let mapped = &instance.mapped;
    let calls = instance.calls();
    let session = mapped.sessions.session(&calls, session)?;
    if mapped.sessions.is_busy(session.handle)
        && mapped.sessions.with(session.handle, |operations| kind.is_active(operations))
    {
        return Err(Error::OperationActive);
    }
    match kind.begin(&calls, session.handle) {
        // One that takes any handle. What it began is not the client's.
        Ok(()) => kind.end(&calls, session.handle),
        Err(Error::Backend(CKR_OPERATION_ACTIVE)) => return Err(Error::OperationActive),
        Err(_) => {}
    }
    mapped.visible(&session, key)?.ok_or(Error::KeyHandleInvalid)
}

/// `C_SignInit` with a key of the backend, which refused the mechanism: when it is one of those that we add and the
/// key is an EC key, we digest, and the backend signs the digest with `CKM_ECDSA`. Else the refusal stands.
pub fn sign_init_for_backend(
    instance: &Instance,
    session: CK_SESSION_HANDLE,
    mechanism: &Mechanism<'_>,
    key: BackendObjectHandle,
    refusal: Error,
) -> Result<(), Error> {
    let Some(input) = digested_for_backend(instance, session, mechanism, key) else { return Err(refusal) };
    instance.calls().sign_init(session, CKM_ECDSA, key)?;
    let operation = SignOperation { key: Key::Backend, input };
    instance.mapped.sessions.with(session, |operations| operations.sign = Some(operation));
    Ok(())
}

/// `C_VerifyInit` likewise.
pub fn verify_init_for_backend(
    instance: &Instance,
    session: CK_SESSION_HANDLE,
    mechanism: &Mechanism<'_>,
    key: BackendObjectHandle,
    refusal: Error,
) -> Result<(), Error> {
    let Some(input) = digested_for_backend(instance, session, mechanism, key) else { return Err(refusal) };
    instance.calls().verify_init(session, CKM_ECDSA, key)?;
    let operation = VerifyOperation { key: Key::Backend, input };
    instance.mapped.sessions.with(session, |operations| operations.verify = Some(operation));
    Ok(())
}

fn digested_for_backend(
    instance: &Instance,
    session: CK_SESSION_HANDLE,
    mechanism: &Mechanism<'_>,
    key: BackendObjectHandle,
) -> Option<Input> {
    if !is_added(mechanism.kind) || !mechanism.parameter.is_empty() {
        return None;
    }
    let digester = Digester::new(mechanism.kind)?;
    let key_type = instance.calls().attribute(session, key, CKA_KEY_TYPE).ok()?;
    (key_type == CKK_EC.to_ne_bytes()).then_some(Input::Data { digester: Box::new(digester), continued: false })
}

/// Whether a signature of ours is in progress in the session.
pub fn signs(instance: &Instance, session: CK_SESSION_HANDLE) -> bool {
    let sessions = &instance.mapped.sessions;
    sessions.is_busy(session) && sessions.with(session, |operations| operations.sign.is_some())
}

/// Whether a verification of ours is in progress in the session.
pub fn verifies(instance: &Instance, session: CK_SESSION_HANDLE) -> bool {
    let sessions = &instance.mapped.sessions;
    sessions.is_busy(session) && sessions.with(session, |operations| operations.verify.is_some())
}

/// `C_SignUpdate`. A part that cannot be read ends the operation, as every error does.
pub fn sign_update(instance: &Instance, session: CK_SESSION_HANDLE, part: Result<&[u8], Error>) -> Result<(), Error> {
    instance.mapped.sessions.with(session, |operations| {
        let operation = operations.sign.as_mut().ok_or(Error::OperationNotInitialized)?;
        part.and_then(|part| operation.input.update(part)).inspect_err(|_| operations.sign = None)
    })
}

/// `C_VerifyUpdate` likewise.
pub fn verify_update(instance: &Instance, session: CK_SESSION_HANDLE, part: Result<&[u8], Error>) -> Result<(), Error> {
    instance.mapped.sessions.with(session, |operations| {
        let operation = operations.verify.as_mut().ok_or(Error::OperationNotInitialized)?;
        part.and_then(|part| operation.input.update(part)).inspect_err(|_| operations.verify = None)
    })
}

/// The signature in progress as it is after one more part, to be put in its place by [`continue_signature`].
pub fn continued_signature(
    instance: &Instance,
    session: CK_SESSION_HANDLE,
    part: &[u8],
) -> Result<SignOperation, Error> {
    let operation = instance.mapped.sessions.with(session, |operations| operations.sign.clone());
    let mut operation = operation.ok_or(Error::OperationNotInitialized)?;
    operation.input.update(part)?;
    Ok(operation)
}

/// Whether the verification in progress takes parts at all.
pub fn can_continue_verification(instance: &Instance, session: CK_SESSION_HANDLE) -> Result<(), Error> {
    let operation = instance.mapped.sessions.with(session, |operations| operations.verify.clone());
    operation.ok_or(Error::OperationNotInitialized)?.input.update(&[])
}

/// Goes on with a signature, unless a logout or another thread has ended it meanwhile.
pub fn continue_signature(instance: &Instance, session: CK_SESSION_HANDLE, continued: SignOperation) {
    instance.mapped.sessions.with(session, |operations| {
        if let Some(sign) = &mut operations.sign {
            *sign = continued;
        }
    });
}

/// What there is to do for `C_Sign` and `C_SignFinal`.
pub enum Signing {
    /// Done.
    Done,
    /// The backend is to sign this digest, into the client's buffer. [`sign_ended`] says how that went.
    ByBackend(Vec<u8>),
}

/// `C_Sign` and `C_SignFinal`.
pub fn sign(
    instance: &Instance,
    session: CK_SESSION_HANDLE,
    ending: Result<Ending<'_>, Error>,
    signature: Result<OutBuffer<'_>, Error>,
) -> Result<Signing, Error> {
    let sessions = &instance.mapped.sessions;
    let operation = sessions.with(session, |operations| operations.sign.clone());
    let operation = operation.ok_or(Error::OperationNotInitialized)?;
    let (ending, mut signature) = match (ending, signature) {
        (Ok(ending), Ok(signature)) => (ending, signature),
        (Err(error), _) | (_, Err(error)) => {
            cancel_signature(instance, session);
            return Err(error);
        }
    };
    match operation.key {
        // Kept until the backend has answered: it alone knows whether that was a length query.
        Key::Backend => match ending.digest(operation.input) {
            Ok(digest) => Ok(Signing::ByBackend(digest)),
            Err(error) => {
                cancel_signature(instance, session);
                Err(error)
            }
        },
        Key::Mapped(key) => {
            if signature.room(SIGNATURE_BYTES)? == Room::Queried {
                return Ok(Signing::Done);
            }
            sign_ended(instance, session);
            let digest = to_256_bits(&ending.digest(operation.input)?);
            let made = instance.mapped.keystore.sign(&key, &digest)?;
            signature.put(&made).map(|()| Signing::Done)
        }
    }
}

/// The signature in progress has come to its end.
pub fn sign_ended(instance: &Instance, session: CK_SESSION_HANDLE) {
    instance.mapped.sessions.with(session, |operations| operations.sign = None);
}

/// Gives up the signature in progress, with the one that the backend has in progress for it.
pub fn cancel_signature(instance: &Instance, session: CK_SESSION_HANDLE) {
    let operation = instance.mapped.sessions.with(session, |operations| operations.sign.take());
    if let Some(SignOperation { key: Key::Backend, .. }) = operation {
        Kind::Sign.end(&instance.calls(), session);
    }
}

/// Gives up the verification in progress likewise.
pub fn cancel_verification(instance: &Instance, session: CK_SESSION_HANDLE) {
    let operation = instance.mapped.sessions.with(session, |operations| operations.verify.take());
    if let Some(VerifyOperation { key: Key::Backend, .. }) = operation {
        Kind::Verify.end(&instance.calls(), session);
    }
}

/// After the backend's `C_SessionCancel`.
pub fn session_cancelled(instance: &Instance, session: CK_SESSION_HANDLE, flags: CK_FLAGS) {
    let sessions = &instance.mapped.sessions;
    if sessions.is_busy(session) {
        sessions.with(session, |operations| {
            if flags & CKF_SIGN != 0 {
                operations.sign = None;
            }
            if flags & CKF_VERIFY != 0 {
                operations.verify = None;
            }
            if flags & CKF_FIND_OBJECTS != 0 {
                operations.found.clear();
            }
        });
    }
}

/// `C_Verify` and `C_VerifyFinal`, which end the operation whatever they find.
pub fn verify(
    instance: &Instance,
    session: CK_SESSION_HANDLE,
    ending: Result<Ending<'_>, Error>,
    signature: Result<&[u8], Error>,
) -> Result<(), Error> {
    let operation = instance.mapped.sessions.with(session, |operations| operations.verify.clone());
    let operation = operation.ok_or(Error::OperationNotInitialized)?;
    let given = ending.and_then(|ending| ending.digest(operation.input)).and_then(|digest| Ok((digest, signature?)));
    let (digest, signature) = match given {
        Ok(given) => given,
        Err(error) => {
            cancel_verification(instance, session);
            return Err(error);
        }
    };
    instance.mapped.sessions.with(session, |operations| operations.verify = None);
    match operation.key {
        Key::Backend => instance.calls().verify(session, &digest, signature),
        Key::Mapped(_) if signature.len() != SIGNATURE_BYTES => Err(Error::SignatureLenRange),
        Key::Mapped(key) if key.public_key.verify_prehash(&to_256_bits(&digest), signature) => Ok(()),
        Key::Mapped(_) => Err(Error::SignatureInvalid),
    }
}
