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
    #[error("the device refused {call}{}", refusal(call))]
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

/// What may be behind a refusal, where there is more to think of than a key that is not there.
fn refusal(call: &str) -> &'static str {
    match call {
        "zkGenWalletMasterSeedWithBIP39" => {
            " and does not say why: its key store may be full, the wallet's name taken, or a SLIP39 session left open, \
             which blocks it until the session is finished or cancelled"
        }
        "zkGenWalletChildKey" => {
            " and does not say why: its key store may be full, the node there already, or a SLIP39 session left open, \
             which blocks it until the session is finished or cancelled"
        }
        "zkExportPubKey" => " and does not say why: the slot may be empty, or the export of its public key disabled",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn g6_a_refused_generation_makes_one_think_of_an_open_slip39_session() {
        for call in ["zkGenWalletMasterSeedWithBIP39", "zkGenWalletChildKey"] {
            assert!(DeviceError::Refused { call }.to_string().contains("SLIP39 session"), "{call}");
        }
        assert_eq!(DeviceError::Refused { call: "zkRemoveKey" }.to_string(), "the device refused zkRemoveKey");
    }

    #[test]
    fn g5_nobody_is_told_to_restart_the_daemon() {
        let error = DeviceError::Unreachable { reason: "x".into(), maybe_done: true };
        let message = error.to_string();
        assert!(message.contains("systemctl status zkifc") && !message.contains("restart"), "{message}");
    }
}
