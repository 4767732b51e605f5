//! `holdfast wallet create`: the wallet for a token, and how it can be recovered.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use holdfast_config::{Config, Strategy};
use holdfast_keystore::{Keystore, NewWallet, Origin, Recovery, WalletRecord, WalletRecovery};
use holdfast_wallet::Curve;
use serde_json::json;
use zeroize::Zeroizing;

use crate::backend::Token;
use crate::context::{self, Context, shown};
use crate::failure::Failure;
use crate::file::read_secret;
use crate::present;
use crate::report::Report;
use crate::verbs::generate::curve_warning;
use crate::words::{Outlet, Recipient};

/// For which token, and with which recovery.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Label of the token whose keys it will hold, or a pkcs11: URI of it
    #[arg(long, value_name = "LABEL")]
    token: String,
    /// How the wallet can be brought back on another device; fixed for ever
    #[arg(long, value_enum)]
    recovery: RecoveryArgument,
    /// Curve of its keys: p256 or secp256k1
    #[arg(long, value_name = "CURVE", default_value = "p256")]
    curve: Curve,
    /// Write the recovery words to a new FILE (mode 0600) instead of showing them on the terminal
    #[arg(long, value_name = "FILE")]
    words_out: Option<PathBuf>,
    /// Encrypt FILE to this age recipient
    #[arg(long, value_name = "AGE-RECIPIENT", requires = "words_out")]
    encrypt_to: Option<Recipient>,
    /// File with a BIP39 passphrase, needed in addition to the words to recover the wallet
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
}

/// Recovery methods by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum RecoveryArgument {
    /// None: its keys die with the device
    None,
    /// 24 words (BIP39)
    Bip39,
    /// Shares (SLIP39)
    Slip39,
}

/// Makes the wallet, unless the token has one like it. Everything that could go wrong is tried before the device is
/// changed; the wallet takes keys once somebody has the words.
pub fn run(arguments: Arguments, context: &Context) -> Result<Report, Failure> {
    let recovery = check(&arguments, context)?;
    let config = context.config()?;
    let passphrase = match &arguments.passphrase_file {
        Some(path) => read_secret(path, "passphrase")?,
        None => Zeroizing::new(String::new()),
    };
    let (_backend, token) = context::token(&config, &arguments.token)?;
    let keystore = context::keystore(&config);
    if let Some(wallet) = existing(&keystore, &config, &token, arguments.curve, recovery)? {
        let text = format!("nothing to do: token {:?} has wallet {}\n", token.label, wallet.name);
        let json = json!({ "changed": false, "wallet": wallet_json(&keystore, &wallet)?, "words_out": null });
        return Ok(Report::fine(text, json).with_warnings(recovery_warning(&wallet)));
    }
    let outlet = match (recovery, &arguments.words_out) {
        (Recovery::None, _) => None,
        (_, Some(path)) => Some(Outlet::file(path, arguments.encrypt_to.clone())?),
        (_, None) => Some(Outlet::terminal()?),
    };
    let created = keystore.create_wallet(&NewWallet {
        token_serial: token.serial,
        token_label: token.label.clone(),
        curve: arguments.curve,
        recovery: match recovery {
            Recovery::None => WalletRecovery::None,
            _ => WalletRecovery::Bip39 { passphrase },
        },
    })?;
    let mut wallet = created.record;
    if let (Some(words), Some(outlet)) = (created.words, outlet) {
        outlet.deliver(&words, &wallet.name).map_err(|error| unconfirmed(&wallet, &error))?;
        keystore.confirm_wallet(wallet.id)?;
        wallet.confirmed = true;
    }
    let mut text = format!(
        "made wallet {} for {} keys of token {:?}, recovery: {}\n",
        wallet.name,
        wallet.curve,
        token.label,
        present::loud(wallet.recovery.name())
    );
    if let Some(path) = &arguments.words_out {
        text.push_str(&format!("its words are in {}: move them off this host\n", path.display()));
    }
    let json = json!({
        "changed": true,
        "wallet": wallet_json(&keystore, &wallet)?,
        "words_out": arguments.words_out.as_deref().map(shown),
    });
    let warnings = [curve_warning(arguments.curve), recovery_warning(&wallet), derivation_warning(&wallet)];
    Ok(Report::fine(text, json).with_warnings(warnings.into_iter().flatten()))
}

/// What the arguments alone can tell.
fn check(arguments: &Arguments, context: &Context) -> Result<Recovery, Failure> {
    match arguments.recovery {
        RecoveryArgument::Slip39 => Err(Failure::usage(
            "recovery by SLIP39 shares is not available in this version: use --recovery bip39; nothing was done",
        )),
        RecoveryArgument::None if arguments.words_out.is_some() || arguments.passphrase_file.is_some() => {
            Err(Failure::usage(
                "--words-out and --passphrase-file need --recovery bip39: a wallet with no recovery has no words",
            ))
        }
        RecoveryArgument::None => Ok(Recovery::None),
        RecoveryArgument::Bip39 if arguments.words_out.is_none() && context.non_interactive() => Err(Failure::usage(
            "--non-interactive forbids showing recovery words on a terminal: give --words-out FILE; nothing was done",
        )),
        RecoveryArgument::Bip39 => Ok(Recovery::Bip39),
    }
}

/// A wallet of the attached device to which the token's next key would go and that has the same recovery.
fn existing(
    keystore: &Keystore,
    config: &Config,
    token: &Token,
    curve: Curve,
    recovery: Recovery,
) -> Result<Option<WalletRecord>, Failure> {
    let device = keystore.device().identity()?.serial;
    let strategy = config.mapping.strategy;
    let token_serial = (strategy != Strategy::SharedWallet).then_some(token.serial.as_str());
    let mut candidates = Vec::new();
    for wallet in keystore.wallets()? {
        let serves = wallet.device_serial == device
            && wallet.token_serial.as_deref() == token_serial
            && wallet.curve == curve
            && wallet.single_key == (strategy == Strategy::WalletPerKey)
            && wallet.confirmed
            && !wallet.retired;
        if serves && has_room(keystore, config, &wallet)? {
            candidates.push(wallet);
        }
    }
    if let Some(same) = candidates.iter().rposition(|wallet| wallet.recovery == recovery) {
        return Ok(Some(candidates.swap_remove(same)));
    }
    match candidates.iter().find(|wallet| wallet.recovery != Recovery::None) {
        Some(better) if recovery == Recovery::None => Err(Failure::usage(format!(
            "token {:?} has wallet {} with recovery {}, and new keys go there: a wallet without recovery would stay unused",
            token.label,
            better.name,
            better.recovery.name()
        ))),
        _ => Ok(None),
    }
}

fn has_room(keystore: &Keystore, config: &Config, wallet: &WalletRecord) -> Result<bool, Failure> {
    let capacity = if wallet.single_key {
        Some(1)
    } else {
        [wallet.capacity, config.mapping.wallet_capacity.map(std::num::NonZeroU32::get)].into_iter().flatten().min()
    };
    Ok(match capacity {
        Some(capacity) => keys_in(keystore, wallet)? < capacity as usize,
        None => true,
    })
}

fn keys_in(keystore: &Keystore, wallet: &WalletRecord) -> Result<usize, Failure> {
    let of_wallet = |origin: &Origin| matches!(origin, Origin::Derived { wallet: id, .. } if *id == wallet.id);
    Ok(keystore.keys()?.iter().filter(|key| of_wallet(&key.key.origin)).count())
}

fn wallet_json(keystore: &Keystore, wallet: &WalletRecord) -> Result<serde_json::Value, Failure> {
    Ok(present::wallet_json(wallet, keys_in(keystore, wallet)?))
}

fn recovery_warning(wallet: &WalletRecord) -> Option<String> {
    (wallet.recovery == Recovery::None).then(|| {
        format!("wallet {} has NO RECOVERY: its keys die with the device {}", wallet.name, wallet.device_serial)
    })
}

fn derivation_warning(wallet: &WalletRecord) -> Option<String> {
    (wallet.derivation_agrees == Some(false)).then(|| {
        format!(
            "the device derives the keys of wallet {} in another way than the published standards: its words bring \
             them back on a device of this kind only",
            wallet.name
        )
    })
}

fn unconfirmed(wallet: &WalletRecord, error: &std::io::Error) -> Failure {
    Failure::finding(format!(
        "the recovery words of wallet {} were not handed over ({error}); the wallet takes no keys and its words cannot be \
         shown again: run `holdfast wallet create` again, which makes another",
        wallet.name
    ))
}
