//! `holdfast generate`: a key pair in a wallet of the device, without another tool.

use clap::Args;
use holdfast_config::Policy;
use holdfast_keystore::{GenerateRequest, KeyState, KeyWithState, Keystore, NewObject};
use holdfast_wallet::Curve;
use serde_json::json;

use crate::context::{self, Context};
use crate::failure::Failure;
use crate::key_ref::parse_hex;
use crate::present;
use crate::report::Report;

/// Which key.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Label of the token that shall show the key, or a pkcs11: URI of it
    #[arg(long, value_name = "LABEL")]
    token: String,
    /// Label of the key
    #[arg(long, value_name = "LABEL")]
    label: String,
    /// CKA_ID of the key [default: the SHA-1 of its public point]
    #[arg(long, value_name = "HEX", value_parser = parse_hex)]
    id: Option<std::vec::Vec<u8>>,
    /// Curve of the key: p256 or secp256k1
    #[arg(long, value_name = "CURVE", default_value = "p256")]
    curve: Curve,
}

/// What OpenSSH users should know before they use the curve that the vendor's examples use.
pub fn curve_warning(curve: Curve) -> Option<String> {
    (curve == Curve::Secp256k1).then(|| {
        "OpenSSH, Java, GnuTLS, browsers and most TLS clients do not know secp256k1: use p256 for anything but blockchains"
            .to_owned()
    })
}

/// Makes the key, unless it is there.
pub fn run(arguments: Arguments, context: &Context) -> Result<Report, Failure> {
    let config = context.config()?;
    if config.mapping.policy == Policy::Never {
        return Err(Failure::usage(
            "policy is \"never\": keys are made by the backend, with any PKCS#11 tool; \
             set [mapping] policy to auto or always to make keys in a wallet",
        ));
    }
    let (_backend, token) = context::token(&config, &arguments.token)?;
    let keystore = context::keystore(&config);
    if let Some(key) = existing(&keystore, &token.serial, &arguments)? {
        return report(&keystore, &key, false);
    }
    let half = |object: NewObject| NewObject {
        cka_id: arguments.id.clone(),
        label: Some(arguments.label.clone().into_bytes()),
        ..object
    };
    let pair = keystore.generate(&GenerateRequest {
        token_serial: token.serial,
        token_label: token.label,
        curve: arguments.curve,
        session: false,
        public: half(NewObject::public()),
        private: half(NewObject { derive: true, ..NewObject::private() }),
    })?;
    let key = KeyWithState {
        key: pair.private.key,
        objects: vec![pair.public.record, pair.private.record],
        state: KeyState::Ready,
    };
    report(&keystore, &key, true).map(|report| report.with_warnings(curve_warning(arguments.curve)))
}

/// The key that was asked for, when it is there. One that would be mistaken for it is an error.
fn existing(keystore: &Keystore, token: &str, arguments: &Arguments) -> Result<Option<KeyWithState>, Failure> {
    let keys = keystore.keys()?;
    let of_token = keys.into_iter().filter(|key| key.state == KeyState::Ready && key.key.token_serial == token);
    for key in of_token {
        let same_label = key.objects.iter().any(|object| object.label == arguments.label.as_bytes());
        let same_id = arguments.id.as_ref().map(|id| key.objects.iter().any(|object| object.cka_id == *id));
        let is_same = match (same_label, same_id) {
            (true, None | Some(true)) => key.key.public_key.curve() == arguments.curve,
            (false, Some(true)) => false,
            // Two keys may share a label as long as their IDs tell them apart.
            (_, Some(false)) | (false, None) => continue,
        };
        if is_same {
            return Ok(Some(key));
        }
        return Err(Failure::usage(format!(
            "the token has another key of that {}: label {:?}, id {}, curve {}; give a different --label or --id, or destroy it first",
            if same_id == Some(true) { "id" } else { "label" },
            present::label(&key),
            present::id(&key),
            key.key.public_key.curve()
        )));
    }
    Ok(None)
}

fn report(keystore: &Keystore, key: &KeyWithState, changed: bool) -> Result<Report, Failure> {
    let wallets = present::by_id(&keystore.wallets()?);
    let record = &key.key;
    let text = format!(
        "{} {:?} (id {}) of token {:?}: {} at {} in slot {}\n",
        if changed { "made key" } else { "nothing to do: there is key" },
        present::label(key),
        present::id(key),
        record.token_label,
        record.public_key.curve(),
        record.node(),
        record.slot
    );
    let mut warnings = Vec::new();
    if present::recovery(key, &wallets) == "none" {
        warnings.push(format!("its wallet has NO RECOVERY: the key dies with the device {}", record.device_serial));
    }
    let json = json!({ "changed": changed, "key": present::key_json(key, &wallets) });
    Ok(Report::fine(text, json).with_warnings(warnings))
}
