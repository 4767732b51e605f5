use std::fmt;

use holdfast_mapping_db::WalletRecord;
use holdfast_wallet::Curve;
use zeroize::Zeroizing;

use crate::Object;

/// One half of a key pair to be made: what a template may say about it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewObject {
    /// `CKA_ID`. Left out: the other half's, and when that is left out too the SHA-1 of the public point.
    pub cka_id: Option<Vec<u8>>,
    /// `CKA_LABEL`. Left out: the other half's, else empty. At most 255 bytes.
    pub label: Option<Vec<u8>>,
    /// `CKA_PRIVATE`.
    pub private: bool,
    /// `CKA_MODIFIABLE`.
    pub modifiable: bool,
    /// `CKA_DESTROYABLE`.
    pub destroyable: bool,
    /// `CKA_COPYABLE`.
    pub copyable: bool,
    /// `CKA_SIGN`.
    pub sign: bool,
    /// `CKA_VERIFY`.
    pub verify: bool,
    /// `CKA_DERIVE`.
    pub derive: bool,
    /// `CKA_SUBJECT`.
    pub subject: Vec<u8>,
    /// `CKA_START_DATE`, `YYYYMMDD` in ASCII.
    pub start_date: Option<[u8; 8]>,
    /// `CKA_END_DATE`.
    pub end_date: Option<[u8; 8]>,
}

impl NewObject {
    /// A public object as PKCS#11 gives it by default: login-free, verifies, can be changed and destroyed.
    pub fn public() -> Self {
        Self { modifiable: true, destroyable: true, verify: true, ..Self::default() }
    }

    /// A private object as PKCS#11 gives it by default: private, signs, can be changed and destroyed.
    pub fn private() -> Self {
        Self { private: true, modifiable: true, destroyable: true, sign: true, ..Self::default() }
    }
}

/// A key pair to be made.
#[derive(Clone, Debug)]
pub struct GenerateRequest {
    /// The token that shall show the key.
    pub token_serial: String,
    /// Its label.
    pub token_label: String,
    /// The curve.
    pub curve: Curve,
    /// Whether the pair is made of session objects, seen by this process only and gone with it.
    pub session: bool,
    /// The public half.
    pub public: NewObject,
    /// The private half.
    pub private: NewObject,
}

/// A key pair that exists, is recorded, and survives a power cut from now on.
#[derive(Clone, Debug)]
pub struct GeneratedPair {
    /// The public half.
    pub public: Object,
    /// The private half.
    pub private: Object,
}

/// How a new wallet's seed shall be recoverable.
#[derive(Clone)]
pub enum WalletRecovery {
    /// Not at all.
    None,
    /// By 24 words and this passphrase, which may be empty. The passphrase is not kept.
    Bip39 {
        /// The BIP39 passphrase.
        passphrase: Zeroizing<String>,
    },
}

/// A wallet to be made.
#[derive(Clone, Debug)]
pub struct NewWallet {
    /// The token it is for; ignored, as is the label, under the strategy that shares one wallet.
    pub token_serial: String,
    /// That token's label.
    pub token_label: String,
    /// The curve of its keys.
    pub curve: Curve,
    /// How its seed shall be recoverable.
    pub recovery: WalletRecovery,
}

/// A wallet that exists now.
pub struct CreatedWallet {
    /// What was recorded.
    pub record: WalletRecord,
    /// The recovery words, here and nowhere else. The wallet takes no key before
    /// [`Keystore::confirm_wallet`](crate::Keystore::confirm_wallet).
    pub words: Option<Zeroizing<String>>,
}

// Neither a passphrase nor words may get into a log by way of `{:?}`.
impl fmt::Debug for WalletRecovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("None"),
            Self::Bip39 { .. } => f.debug_struct("Bip39").finish_non_exhaustive(),
        }
    }
}

impl fmt::Debug for CreatedWallet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CreatedWallet").field("record", &self.record).finish_non_exhaustive()
    }
}
