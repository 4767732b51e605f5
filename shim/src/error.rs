//! Why a call fails, and the one place that makes return codes of it.

use std::path::PathBuf;

use cryptoki_sys::{
    CK_RV, CKR_ACTION_PROHIBITED, CKR_ARGUMENTS_BAD, CKR_ATTRIBUTE_READ_ONLY, CKR_ATTRIBUTE_SENSITIVE,
    CKR_ATTRIBUTE_TYPE_INVALID, CKR_ATTRIBUTE_VALUE_INVALID, CKR_BUFFER_TOO_SMALL, CKR_CRYPTOKI_ALREADY_INITIALIZED,
    CKR_CRYPTOKI_NOT_INITIALIZED, CKR_DATA_LEN_RANGE, CKR_DEVICE_ERROR, CKR_DEVICE_MEMORY, CKR_FUNCTION_FAILED,
    CKR_FUNCTION_NOT_SUPPORTED, CKR_GENERAL_ERROR, CKR_HOST_MEMORY, CKR_KEY_FUNCTION_NOT_PERMITTED,
    CKR_KEY_HANDLE_INVALID, CKR_KEY_INDIGESTIBLE, CKR_KEY_NOT_WRAPPABLE, CKR_KEY_SIZE_RANGE, CKR_KEY_TYPE_INCONSISTENT,
    CKR_KEY_UNEXTRACTABLE, CKR_MECHANISM_INVALID, CKR_MECHANISM_PARAM_INVALID, CKR_OBJECT_HANDLE_INVALID,
    CKR_OPERATION_ACTIVE, CKR_OPERATION_NOT_INITIALIZED, CKR_SESSION_READ_ONLY, CKR_SIGNATURE_INVALID,
    CKR_SIGNATURE_LEN_RANGE, CKR_STATE_UNSAVEABLE, CKR_TEMPLATE_INCOMPLETE, CKR_TEMPLATE_INCONSISTENT,
    CKR_TOKEN_WRITE_PROTECTED, CKR_USER_NOT_LOGGED_IN, CKR_WRAPPING_KEY_HANDLE_INVALID,
};
use holdfast_keystore::{Error as KeystoreError, StoreError};

/// Why a call failed. The message is for the log; the client gets [`Error::code`].
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The backend's own answer, passed through unchanged.
    #[error("the backend answered {0:#x}")]
    Backend(CK_RV),
    /// The backend answered one of our own calls with what cannot be.
    #[error("the backend's answer makes no sense: {0}")]
    BackendReply(&'static str),
    /// No `C_Initialize` in this process since it began, forked, or called `C_Finalize`.
    #[error("not initialised")]
    NotInitialized,
    /// A second `C_Initialize`.
    #[error("already initialised")]
    AlreadyInitialized,
    /// An argument that no backend may see: null, misaligned, too long, or contradictory.
    #[error("bad argument: {0}")]
    ArgumentsBad(&'static str),
    /// A mechanism parameter that cannot be read.
    #[error("bad mechanism parameter: {0}")]
    MechanismParamInvalid(&'static str),
    /// The client's buffer is too small; its length argument says what is needed.
    #[error("the buffer is too small")]
    BufferTooSmall,
    /// The backend does not have the function.
    #[error("the backend does not have this function")]
    FunctionNotSupported,
    /// No interface of that name, version and flags.
    #[error("no such interface")]
    NoSuchInterface,
    /// A handle of a mapped object that is not, or no longer, there.
    #[error("no such object")]
    ObjectHandleInvalid,
    /// A handle of a mapped object where the specification wants some other key.
    #[error("no such key")]
    KeyHandleInvalid,
    /// A mapped key as wrapping key.
    #[error("no such wrapping key")]
    WrappingKeyHandleInvalid,
    /// A mapped key does not serve for this.
    #[error("the key does not permit this function")]
    KeyFunctionNotPermitted,
    /// A mapped private key cannot leave the device.
    #[error("the key cannot be extracted")]
    KeyUnextractable,
    /// A mapped public key is no secret to be wrapped.
    #[error("the key cannot be wrapped")]
    KeyNotWrappable,
    /// A mapped key cannot be digested: its value never leaves the device.
    #[error("the key cannot be digested")]
    KeyIndigestible,
    /// An operation of the kind is in progress in the session.
    #[error("an operation is in progress")]
    OperationActive,
    /// No operation of the kind is in progress in the session.
    #[error("no operation is in progress")]
    OperationNotInitialized,
    /// The mechanism is none that the key serves for.
    #[error("no such mechanism for this key")]
    MechanismInvalid,
    /// The key is of a type that the mechanism does not take.
    #[error("the key is of the wrong type")]
    KeyTypeInconsistent,
    /// Data of a length that the mechanism does not take.
    #[error("the data has the wrong length")]
    DataLenRange,
    /// A signature of the wrong length.
    #[error("the signature has the wrong length")]
    SignatureLenRange,
    /// A signature that is not the key's.
    #[error("the signature is invalid")]
    SignatureInvalid,
    /// The state of a mapped operation cannot leave the module.
    #[error("the state of the operation cannot be saved")]
    StateUnsaveable,
    /// A change of a token object in a read-only session.
    #[error("the session is read-only")]
    SessionReadOnly,
    /// A private object without the user logged in.
    #[error("the user is not logged in")]
    UserNotLoggedIn,
    /// An object that may not be copied, changed or destroyed.
    #[error("prohibited: {0}")]
    ActionProhibited(&'static str),
    /// Attribute values that contradict each other, the mechanism, or what hardware can do.
    #[error("template: {0}")]
    TemplateInconsistent(&'static str),
    /// An attribute that has to be given is missing.
    #[error("template: {0} is missing")]
    TemplateIncomplete(&'static str),
    /// A length that the key type, or what the key is made of, does not allow.
    #[error("no key of this type can have this length here")]
    KeySizeRange,
    /// A value that its attribute cannot have.
    #[error("template: {0}")]
    AttributeValueInvalid(&'static str),
    /// An attribute that the object does not have.
    #[error("no such attribute")]
    AttributeTypeInvalid,
    /// An attribute that clients cannot set.
    #[error("the attribute is read-only")]
    AttributeReadOnly,
    /// The value of a private key.
    #[error("the attribute is sensitive")]
    AttributeSensitive,
    /// A change over device and store failed; see the keystore's own message.
    #[error(transparent)]
    Keystore(Box<holdfast_keystore::Error>),
    /// More backend handles in our range than there are aliases.
    #[error("the backend gave out more than 2^29 object handles in the range of ours")]
    TooManyAliases,
    /// `C_Initialize` or `C_Finalize` called from inside one of them, or another thread hangs in one.
    #[error("another C_Initialize or C_Finalize is still at work")]
    TransitionBusy,
    /// No memory for fork handlers.
    #[error("cannot register fork handlers: out of memory")]
    ForkHandlers,
    /// The configuration is missing or wrong.
    #[error("{0}")]
    Config(#[from] Box<holdfast_config::ConfigError>),
    /// The backend module could not be loaded.
    #[error(transparent)]
    BackendUnusable(#[from] Box<BackendError>),
}

/// Why the backend module cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// Others than its owner could have changed the file.
    #[error("the backend module is not trusted: {0}")]
    Untrusted(holdfast_config::TrustError),
    /// The dynamic linker refuses it.
    #[error("cannot load the backend module {}: {reason}; set backend.module to the PKCS#11 module to stand in front of", path.display())]
    Load {
        /// The module.
        path: PathBuf,
        /// What the dynamic linker said.
        reason: String,
    },
    /// It has no `C_GetFunctionList`.
    #[error("the backend module {} is no PKCS#11 module: it has no C_GetFunctionList", path.display())]
    NoFunctionList {
        /// The module.
        path: PathBuf,
    },
    /// `C_GetFunctionList` failed or gave nothing usable.
    #[error("the backend module {} gives no function list ({reason})", path.display())]
    BadFunctionList {
        /// The module.
        path: PathBuf,
        /// What it answered instead.
        reason: String,
    },
    /// It is this module.
    #[error("the backend module {} is Holdfast itself; set backend.module to the module to stand in front of", path.display())]
    Loop {
        /// The module.
        path: PathBuf,
    },
}

/// How loudly an error is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The client's own doing, in the course of the protocol.
    Protocol,
    /// An operator has to do something.
    Operator,
}

impl Error {
    /// The return code for the client. The only place where errors become codes.
    pub fn code(&self) -> CK_RV {
        match self {
            Self::Backend(rv) => *rv,
            Self::BackendReply(_) => CKR_GENERAL_ERROR,
            Self::NotInitialized => CKR_CRYPTOKI_NOT_INITIALIZED,
            Self::AlreadyInitialized => CKR_CRYPTOKI_ALREADY_INITIALIZED,
            Self::ArgumentsBad(_) => CKR_ARGUMENTS_BAD,
            Self::MechanismParamInvalid(_) => CKR_MECHANISM_PARAM_INVALID,
            Self::BufferTooSmall => CKR_BUFFER_TOO_SMALL,
            Self::FunctionNotSupported => CKR_FUNCTION_NOT_SUPPORTED,
            Self::NoSuchInterface => CKR_FUNCTION_FAILED,
            Self::ObjectHandleInvalid => CKR_OBJECT_HANDLE_INVALID,
            Self::KeyHandleInvalid => CKR_KEY_HANDLE_INVALID,
            Self::WrappingKeyHandleInvalid => CKR_WRAPPING_KEY_HANDLE_INVALID,
            Self::KeyFunctionNotPermitted => CKR_KEY_FUNCTION_NOT_PERMITTED,
            Self::KeyUnextractable => CKR_KEY_UNEXTRACTABLE,
            Self::KeyNotWrappable => CKR_KEY_NOT_WRAPPABLE,
            Self::KeyIndigestible => CKR_KEY_INDIGESTIBLE,
            Self::OperationActive => CKR_OPERATION_ACTIVE,
            Self::OperationNotInitialized => CKR_OPERATION_NOT_INITIALIZED,
            Self::MechanismInvalid => CKR_MECHANISM_INVALID,
            Self::KeyTypeInconsistent => CKR_KEY_TYPE_INCONSISTENT,
            Self::DataLenRange => CKR_DATA_LEN_RANGE,
            Self::SignatureLenRange => CKR_SIGNATURE_LEN_RANGE,
            Self::SignatureInvalid => CKR_SIGNATURE_INVALID,
            Self::StateUnsaveable => CKR_STATE_UNSAVEABLE,
            Self::SessionReadOnly => CKR_SESSION_READ_ONLY,
            Self::UserNotLoggedIn => CKR_USER_NOT_LOGGED_IN,
            Self::ActionProhibited(_) => CKR_ACTION_PROHIBITED,
            Self::TemplateInconsistent(_) => CKR_TEMPLATE_INCONSISTENT,
            Self::TemplateIncomplete(_) => CKR_TEMPLATE_INCOMPLETE,
            Self::KeySizeRange => CKR_KEY_SIZE_RANGE,
            Self::AttributeValueInvalid(_) => CKR_ATTRIBUTE_VALUE_INVALID,
            Self::AttributeTypeInvalid => CKR_ATTRIBUTE_TYPE_INVALID,
            Self::AttributeReadOnly => CKR_ATTRIBUTE_READ_ONLY,
            Self::AttributeSensitive => CKR_ATTRIBUTE_SENSITIVE,
            Self::Keystore(error) => keystore_code(error),
            Self::TooManyAliases => CKR_HOST_MEMORY,
            Self::TransitionBusy => CKR_FUNCTION_FAILED,
            Self::ForkHandlers => CKR_HOST_MEMORY,
            // C_Initialize has no code of its own for these. GENERAL_ERROR is "cannot recover", which is right until
            // somebody edits the configuration; FUNCTION_FAILED leaves room for the module to be installed later.
            Self::Config(_) => CKR_GENERAL_ERROR,
            Self::BackendUnusable(_) => CKR_FUNCTION_FAILED,
        }
    }

    /// How loudly it is logged.
    pub fn severity(&self) -> Severity {
        match self {
            Self::BackendReply(_)
            | Self::TooManyAliases
            | Self::TransitionBusy
            | Self::ForkHandlers
            | Self::Config(_)
            | Self::BackendUnusable(_) => Severity::Operator,
            Self::Keystore(error) => match **error {
                // What a client asked for, not the state of device or store.
                KeystoreError::AttributeTooLong { .. }
                | KeystoreError::NoSuchKey(_)
                | KeystoreError::NoSuchObject(_) => Severity::Protocol,
                _ => Severity::Operator,
            },
            Self::Backend(_)
            | Self::NotInitialized
            | Self::AlreadyInitialized
            | Self::ArgumentsBad(_)
            | Self::MechanismParamInvalid(_)
            | Self::BufferTooSmall
            | Self::FunctionNotSupported
            | Self::NoSuchInterface
            | Self::ObjectHandleInvalid
            | Self::KeyHandleInvalid
            | Self::WrappingKeyHandleInvalid
            | Self::KeyFunctionNotPermitted
            | Self::KeyUnextractable
            | Self::KeyNotWrappable
            | Self::OperationActive
            | Self::OperationNotInitialized
            | Self::MechanismInvalid
            | Self::KeyTypeInconsistent
            | Self::DataLenRange
            | Self::SignatureLenRange
            | Self::SignatureInvalid
            | Self::StateUnsaveable
            | Self::SessionReadOnly
            | Self::UserNotLoggedIn
            | Self::ActionProhibited(_)
            | Self::TemplateInconsistent(_)
            | Self::TemplateIncomplete(_)
            | Self::KeySizeRange
            | Self::AttributeValueInvalid(_)
            | Self::AttributeTypeInvalid
            | Self::AttributeReadOnly
            | Self::AttributeSensitive
            | Self::KeyIndigestible => Severity::Protocol,
        }
    }
}

impl From<KeystoreError> for Error {
    fn from(error: KeystoreError) -> Self {
        Self::Keystore(Box::new(error))
    }
}

/// The return code of a failed change. Device, capacity, permission and configuration are told apart, in the code as in
/// the message: something is wrong with the device or what it holds; no room; no right to write; something that the
/// operator has to settle first.
fn keystore_code(error: &KeystoreError) -> CK_RV {
    match error {
        KeystoreError::Device(_)
        | KeystoreError::WrongSignature { .. }
        | KeystoreError::SlotSwapped { .. }
        | KeystoreError::KeyLost { .. }
        | KeystoreError::OtherDevice { .. }
        | KeystoreError::NotFresh { .. } => CKR_DEVICE_ERROR,
        KeystoreError::NoRoom { .. } | KeystoreError::Store(StoreError::Full { .. }) => CKR_DEVICE_MEMORY,
        KeystoreError::Store(StoreError::ReadOnly { .. }) => CKR_TOKEN_WRITE_PROTECTED,
        KeystoreError::AttributeTooLong { .. } => CKR_ATTRIBUTE_VALUE_INVALID,
        KeystoreError::NoSuchKey(_) | KeystoreError::NoSuchObject(_) => CKR_OBJECT_HANDLE_INVALID,
        KeystoreError::Store(_)
        | KeystoreError::NoWallet { .. }
        | KeystoreError::WalletUnconfirmed { .. }
        | KeystoreError::Conflict { .. }
        | KeystoreError::InitTokenUnsettled { .. }
        | KeystoreError::Unsupported(_)
        | KeystoreError::NoSuchWallet(_) => CKR_FUNCTION_FAILED,
    }
}
