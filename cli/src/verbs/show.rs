//! `holdfast show KEY`: one key in full.

use clap::Args;
use holdfast_keystore::{ObjectClass, ObjectRecord, Origin};
use serde_json::{Value, json};

use crate::context::{Context, keystore};
use crate::failure::Failure;
use crate::key_ref::{KeyRef, hex};
use crate::present;
use crate::report::Report;
use crate::table;
use crate::x509;

/// Which key.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Label, id:HEX, or pkcs11: URI
    key: KeyRef,
}

/// Shows what is recorded of a key; the device is not asked.
pub fn run(arguments: Arguments, context: &Context) -> Result<Report, Failure> {
    let keystore = keystore(&context.config()?);
    let key = arguments.key.find(&keystore)?.ok_or_else(|| arguments.key.missing())?;
    let wallets = present::by_id(&keystore.wallets()?);
    let record = &key.key;
    let pem = x509::public_key_pem(&record.public_key)?;
    let fingerprint = x509::openssh_fingerprint(&record.public_key);

    let recovery = present::recovery(&key, &wallets);
    let (wallet, node) = match &record.origin {
        Origin::Derived { wallet_name, path, .. } => (wallet_name.clone(), path.to_string()),
        Origin::Adopted => ("-".to_owned(), "adopted slot, never removed from the device".to_owned()),
    };
    let mut text = format!("key {}\n", table::printable(&present::label(&key)));
    text.push_str(&table::pairs(&[
        ("id", present::id(&key)),
        ("state", present::state(key.state).to_owned()),
        ("token", format!("{} (serial {})", record.token_label, record.token_serial)),
        ("curve", record.public_key.curve().to_string()),
        ("device", record.device_serial.clone()),
        ("wallet", wallet),
        ("node", node),
        ("slot", format!("{} (where it was last found)", record.slot)),
        ("recovery", present::loud(recovery)),
        ("created", present::time(record.created_at)),
        ("uri", present::uri(&key)),
        ("ssh", fingerprint.clone().unwrap_or_else(|| format!("OpenSSH lacks {}", record.public_key.curve()))),
    ]));
    for object in &key.objects {
        text.push_str(&format!(
            "  {:9}  label {:?}, id {}, {}\n",
            class(object.class),
            table::printable(&String::from_utf8_lossy(&object.label)),
            hex(&object.cka_id),
            flags(object).into_iter().filter(|(_, set)| *set).map(|(name, _)| name).collect::<Vec<_>>().join(" ")
        ));
    }
    text.push_str(&pem);

    let mut json = present::key_json(&key, &wallets);
    json["public_key_pem"] = json!(pem);
    json["ssh_fingerprint"] = json!(fingerprint);
    json["objects"] = key.objects.iter().map(object_json).collect();
    Ok(Report::fine(text, json!({ "key": json })))
}

fn class(class: ObjectClass) -> &'static str {
    match class {
        ObjectClass::PublicKey => "public",
        ObjectClass::PrivateKey => "private",
    }
}

fn flags(object: &ObjectRecord) -> Vec<(&'static str, bool)> {
    vec![
        ("private", object.private),
        ("modifiable", object.modifiable),
        ("destroyable", object.destroyable),
        ("copyable", object.copyable),
        ("sign", object.sign),
        ("verify", object.verify),
        ("derive", object.derive),
    ]
}

fn object_json(object: &ObjectRecord) -> Value {
    let date = |date: Option<[u8; 8]>| date.map(|date| String::from_utf8_lossy(&date).into_owned());
    let mut json = json!({
        "class": class(object.class),
        "label": String::from_utf8_lossy(&object.label),
        "label_hex": hex(&object.label),
        "id": hex(&object.cka_id),
        "subject": hex(&object.subject),
        "start_date": date(object.start_date),
        "end_date": date(object.end_date),
        "unique_id": object.unique_id,
    });
    for (name, set) in flags(object) {
        json[name] = json!(set);
    }
    json
}
