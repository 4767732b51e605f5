//! Why a call fails, and the one place that makes return codes of it.

use std::path::PathBuf;

use cryptoki_sys::{
    CK_RV, CKR_ARGUMENTS_BAD, CKR_BUFFER_TOO_SMALL, CKR_CRYPTOKI_ALREADY_INITIALIZED, CKR_CRYPTOKI_NOT_INITIALIZED,
    CKR_FUNCTION_FAILED, CKR_FUNCTION_NOT_SUPPORTED, CKR_GENERAL_ERROR, CKR_HOST_MEMORY,
    CKR_KEY_FUNCTION_NOT_PERMITTED, CKR_KEY_HANDLE_INVALID, CKR_KEY_INDIGESTIBLE, CKR_KEY_NOT_WRAPPABLE,
    CKR_KEY_UNEXTRACTABLE, CKR_MECHANISM_PARAM_INVALID, CKR_OBJECT_HANDLE_INVALID, CKR_WRAPPING_KEY_HANDLE_INVALID,
};

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
            | Self::KeyIndigestible => Severity::Protocol,
        }
    }
}
