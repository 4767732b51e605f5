//! `holdfast csr KEY`: a certificate request that the device signs.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use crate::context::{Context, keystore, shown};
use crate::failure::Failure;
use crate::file::{existing, write_result};
use crate::key_ref::KeyRef;
use crate::present;
use crate::report::Report;
use crate::x509::{self, AltName, Subject};

/// Which key, and for whom.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Label, id:HEX, or pkcs11: URI
    key: KeyRef,
    /// Distinguished name as RFC 4514 writes it, such as CN=www.example.org,O=Example
    #[arg(long, value_name = "NAME")]
    subject: Subject,
    /// Subject alternative name: DNS:name, IP:address, EMAIL:address or URI:uri; several with commas or repeated
    #[arg(long = "san", value_name = "NAME", value_delimiter = ',')]
    names: Vec<AltName>,
    /// Write to FILE instead of standard output
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Replace FILE when it holds something else
    #[arg(long, requires = "out")]
    force: bool,
}

/// Makes the request, PEM. A file that already holds the same request is left alone.
pub fn run(arguments: Arguments, context: &Context) -> Result<Report, Failure> {
    let keystore = keystore(&context.config()?);
    let key = arguments.key.ready(&keystore)?;
    let public_key = &key.key.public_key;
    let Subject(subject) = &arguments.subject;
    let there = arguments.out.as_deref().map(existing).transpose()?.flatten();
    let unchanged = there.filter(|there| x509::is_same_request(there, public_key, subject, &arguments.names));
    let changed = unchanged.is_none();
    let pem = match unchanged {
        Some(there) => String::from_utf8_lossy(&there).into_owned(),
        None => {
            let sign = |digest: &[u8; 32]| keystore.sign(&key.key, digest).map_err(Failure::from);
            let request = x509::request(public_key, subject, &arguments.names, &sign)?;
            x509::pem(&request, "CERTIFICATE REQUEST")?
        }
    };
    let mut json = json!({
        "label": present::label(&key),
        "id": present::id(&key),
        "subject": subject.to_string(),
        "request": pem,
        "out": arguments.out.as_deref().map(shown),
    });
    match &arguments.out {
        None => Ok(Report::fine(pem, json)),
        Some(path) => {
            if changed {
                write_result(path, pem.as_bytes(), arguments.force)?;
            }
            json["changed"] = json!(changed);
            Ok(Report::fine(Vec::new(), json))
        }
    }
}
