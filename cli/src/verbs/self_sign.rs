//! `holdfast self-sign KEY`: a certificate that the key signs for itself, on the device.

use std::path::PathBuf;

use clap::Args;
use der::Encode;
use holdfast_keystore::KeyWithState;
use serde_json::json;
use x509_cert::Certificate;

use crate::backend::{self, Backend};
use crate::context::{Context, keystore, shown};
use crate::failure::Failure;
use crate::file::{existing, write_result};
use crate::key_ref::KeyRef;
use crate::pin::PinArguments;
use crate::present;
use crate::report::Report;
use crate::x509::{self, AltName, Found, Subject};

/// Which key, for whom, and where the certificate goes.
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
    /// Days until the certificate expires
    #[arg(long, value_name = "DAYS", default_value_t = 365, value_parser = clap::value_parser!(u32).range(1..))]
    days: u32,
    /// Keep the certificate in the token too, with the key's ID and label: Java sees no key without one
    #[arg(long)]
    store: bool,
    /// Write to FILE instead of standard output
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Make a new certificate although there is one that is still valid; replace FILE whatever it holds
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    pin: PinArguments,
}

/// Makes the certificate, PEM. One that says the same, is valid and already stands in the token or in the file is taken
/// again, unless `--force` asks for a new one. In the token a new one takes the place of those that the key signed for
/// the same subject; what an authority issued stays.
pub fn run(arguments: Arguments, context: &Context) -> Result<Report, Failure> {
    let config = context.config()?;
    let keystore = keystore(&config);
    let key = arguments.key.ready(&keystore)?;
    let public_key = &key.key.public_key;
    let Subject(subject) = &arguments.subject;
    let compare = |der: &[u8]| x509::compare_certificate(der, public_key, subject, &arguments.names);
    let usable = |der: &[u8]| !arguments.force && compare(der) == Found::Same;

    let place = arguments.store.then(|| place(&config.backend.module, &key)).transpose()?;
    let mut own = match &place {
        Some((backend, token, id, _)) => backend.certificates(token, id)?,
        None => Vec::new(),
    };
    own.retain(|der| compare(der) != Found::Other);
    let stored = own.iter().find(|der| usable(der)).cloned();
    let there = arguments.out.as_deref().map(existing).transpose()?.flatten();
    let in_file = there.as_deref().and_then(x509::pem_contents).filter(|der| usable(der));
    let to_store = arguments.store && stored.is_none();
    let der = match stored.or_else(|| in_file.clone()) {
        Some(der) => der,
        None => {
            let mut serial = [0; 16];
            getrandom::fill(&mut serial).map_err(|error| Failure::finding(format!("no random bytes: {error}")))?;
            let sign = |digest: &[u8; 32]| keystore.sign(&key.key, digest).map_err(Failure::from);
            let certificate = x509::self_signed(public_key, subject, &arguments.names, arguments.days, &serial, &sign)?;
            certificate.to_der().map_err(|error| Failure::usage(format!("this cannot be encoded: {error}")))?
        }
    };
    let pem = x509::pem(&der, "CERTIFICATE")?;
    let to_write = arguments.out.is_some() && in_file.as_ref() != Some(&der);
    if let (Some(path), true) = (&arguments.out, to_write) {
        write_result(path, pem.as_bytes(), arguments.force)?;
    }
    if let (Some((backend, token, id, label)), true) = (&place, to_store) {
        keep(&der, backend, token, (id, label), &own, || arguments.pin.pin(&token.label, context))?;
    }

    let mut json = json!({
        "label": present::label(&key),
        "id": present::id(&key),
        "subject": subject.to_string(),
        "certificate": pem,
        "out": arguments.out.as_deref().map(shown),
        "stored": arguments.store,
    });
    if arguments.store || arguments.out.is_some() {
        json["changed"] = json!(to_store || to_write);
    }
    let text = if arguments.out.is_some() { String::new() } else { pem };
    Ok(Report::fine(text, json))
}

type Place = (Backend, backend::Token, Vec<u8>, Vec<u8>);

/// The token that shows the key, and the ID and label that make the certificate the key's.
fn place(module: &std::path::Path, key: &KeyWithState) -> Result<Place, Failure> {
    let backend = Backend::load(module)?;
    let token = backend.token_with_serial(&key.key.token_serial, &key.key.token_label)?;
    let object = present::main_object(key)
        .ok_or_else(|| Failure::finding("the key has no object left: run `holdfast verify`"))?;
    Ok((backend, token, object.cka_id.clone(), object.label.clone()))
}

fn keep(
    der: &[u8],
    backend: &Backend,
    token: &backend::Token,
    (id, label): (&[u8], &[u8]),
    replaces: &[Vec<u8>],
    pin: impl FnOnce() -> Result<zeroize::Zeroizing<String>, Failure>,
) -> Result<(), Failure> {
    let encoding = |error: der::Error| Failure::usage(format!("this cannot be encoded: {error}"));
    let certificate = <Certificate as der::Decode>::from_der(der).map_err(encoding)?;
    let inner = certificate.tbs_certificate();
    let subject = inner.subject().to_der().map_err(encoding)?;
    let serial = inner.serial_number().to_der().map_err(encoding)?;
    backend.store_certificate(
        token,
        &backend::Certificate { value: der, subject: &subject, serial: &serial, id, label },
        replaces,
        pin,
    )
}
