//! The words that configuration values are chosen from.

use std::fmt;
use std::path::PathBuf;

/// Declares an enum whose variants have one spelling each in the configuration.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)+
        }

        impl $name {
            /// Every value, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The value as it is written in the configuration.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }

            /// The value written `word`; spelling and case are exact.
            pub fn from_word(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|value| value.as_str() == word)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

words! {
    /// `mapping.policy`: when an EC key generation is mapped to the device.
    Policy {
        /// On affected and on unknown firmware.
        Auto = "auto",
        /// Whatever the firmware.
        Always = "always",
        /// Not at all: every generation goes to the backend. Keys mapped earlier still work.
        Never = "never",
    }
}

words! {
    /// `mapping.strategy`: how keys are spread over wallets.
    Strategy {
        /// One wallet per token and curve.
        WalletPerToken = "wallet-per-token",
        /// A wallet of its own for each key.
        WalletPerKey = "wallet-per-key",
        /// One wallet per curve for all tokens.
        SharedWallet = "shared-wallet",
    }
}

words! {
    /// `mapping.session-keys`: where EC session key pairs are made.
    SessionKeys {
        /// In the backend: TLS clients' ephemeral keys must not eat hardware slots.
        Backend = "backend",
        /// In a wallet on the device, until the session ends.
        Wallet = "wallet",
    }
}

words! {
    /// `mapping.auto-create-wallet`: what a generation does when the token has no wallet yet.
    AutoCreateWallet {
        /// Makes one that cannot be recovered.
        NoRecovery = "no-recovery",
        /// Refuses, until `holdfast wallet create` has made one.
        Refuse = "refuse",
    }
}

words! {
    /// `log.level`: the least severe level that is logged.
    Level {
        /// What failed.
        Error = "error",
        /// And what needs attention.
        Warn = "warn",
        /// And what happened.
        Info = "info",
        /// And how.
        Debug = "debug",
    }
}

/// `log.target`: where log lines go.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum LogTarget {
    /// The standard error of the process.
    Stderr,
    /// The system log.
    Syslog,
    /// A file, by its absolute path.
    File(PathBuf),
}

impl fmt::Display for LogTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stderr => f.write_str("stderr"),
            Self::Syslog => f.write_str("syslog"),
            Self::File(path) => write!(f, "{}", path.display()),
        }
    }
}
