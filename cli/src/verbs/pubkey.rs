//! `holdfast pubkey KEY`: a public key, for other tools.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use der::Encode;
use serde_json::json;

use crate::context::{Context, keystore, shown};
use crate::failure::Failure;
use crate::file::{Written, write_result};
use crate::key_ref::{KeyRef, hex};
use crate::present;
use crate::report::Report;
use crate::x509;

/// Which key, and how.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Label, id:HEX, or pkcs11: URI
    key: KeyRef,
    /// How to write it
    #[arg(long, value_enum, default_value_t = Format::Pem)]
    format: Format,
    /// Write to FILE instead of standard output
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Replace FILE when it holds something else
    #[arg(long, requires = "out")]
    force: bool,
}

/// How to write a public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// SubjectPublicKeyInfo in PEM, as OpenSSL reads it
    Pem,
    /// One line of OpenSSH's authorized_keys; P-256 only
    Ssh,
    /// SubjectPublicKeyInfo in DER
    Der,
}

/// Prints the recorded public key; the device is not asked.
pub fn run(arguments: Arguments, context: &Context) -> Result<Report, Failure> {
    let keystore = keystore(&context.config()?);
    let key = arguments.key.find(&keystore)?.ok_or_else(|| arguments.key.missing())?;
    let public_key = &key.key.public_key;
    let (name, bytes) = match arguments.format {
        Format::Pem => ("pem", x509::public_key_pem(public_key)?.into_bytes()),
        Format::Der => {
            let info = x509::public_key_info(public_key)?;
            ("der", info.to_der().map_err(|error| Failure::usage(format!("this cannot be encoded: {error}")))?)
        }
        Format::Ssh => {
            let line = x509::openssh(public_key, &present::label(&key)).ok_or_else(|| {
                Failure::usage(format!(
                    "key {} is on {}, which OpenSSH does not know: it takes P-256 keys of ours; use --format pem, or make a p256 key",
                    arguments.key,
                    public_key.curve()
                ))
            })?;
            ("ssh", line.into_bytes())
        }
    };
    let value = match arguments.format {
        Format::Der => hex(&bytes),
        _ => String::from_utf8_lossy(&bytes).into_owned(),
    };
    let mut json = json!({
        "format": name,
        "encoding": if name == "der" { "hex" } else { "text" },
        "public_key": value,
        "label": present::label(&key),
        "id": present::id(&key),
        "out": arguments.out.as_deref().map(shown),
    });
    match &arguments.out {
        None => Ok(Report::fine(bytes, json)),
        Some(path) => {
            let changed = write_result(path, &bytes, arguments.force)? == Written::Changed;
            json["changed"] = json!(changed);
            Ok(Report::fine(Vec::new(), json))
        }
    }
}
