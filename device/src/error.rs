use std::path::PathBuf;

/// Why the device did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeviceError {
    /// The vendor's library cannot be used: it is not there, not to be trusted, or not what it should be.
    #[error(
        "the device's library {} cannot be used: {reason}; it comes with the vendor's package zkapputilslib, and \
         device.library in the configuration says where it is",
        path.display()
    )]
    Library {
        /// The configured path.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// No answer from the device.
    #[error(
        "the device cannot be reached: {reason}{}; see whether the vendor's service zkifc is running \
         (systemctl status zkifc) and whether this account is in the group zk_pkcs11",
        if *maybe_done { " - what was asked for may have been done" } else { "" }
    )]
    Unreachable {
        /// What was tried, and for how long.
        reason: String,
        /// Whether the call had been sent, so that the device may have acted on it.
        maybe_done: bool,
    },
    /// The device is there and answered that it will not: no such key or node, no room, a name that exists. It gives no
    /// reasons.
    #[error("the device refused {call}")]
    Refused {
        /// The function of the C library.
        call: &'static str,
    },
    /// The device's answer is not one that it may give. Whatever was asked for may have been done.
    #[error("the device's answer to {call} is not valid: {reason}")]
    InvalidReply {
        /// The function of the C library.
        call: &'static str,
        /// What is wrong with it; never the answer itself.
        reason: String,
    },
    /// An argument that cannot be handed to the C library, so that it was not called.
    #[error("{call} was not called: {reason}")]
    InvalidArgument {
        /// The function of the C library.
        call: &'static str,
        /// What is wrong with it.
        reason: &'static str,
    },
}
