//! A PKCS#11 client that does what it is told, for tests that need a process with a life of its own.
//!
//! ```text
//! pkcs11-client MODULE TOKEN-LABEL
//! ```
//!
//! It initialises the module and opens a read-write session, then reads one request per line from standard input and
//! writes one answer per line: `{"ok": ...}`, `{"function": ..., "code": ...}` when the module refused, or
//! `{"failed": ...}` when the request itself is at fault. `holdfast_tests::Client` speaks the other side.

use std::io::{BufRead as _, Write as _};

use anyhow::{Context as _, Result, bail};
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::Error as Pkcs11Error;
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::types::AuthPin;
use holdfast_tests::{hex, unhex};
use serde_json::{Value, json};

/// 1.2.840.10045.3.1.7
const P256: &[u8] = &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
/// 1.3.132.0.10
const SECP256K1: &[u8] = &[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x0a];

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, path, label] = arguments.as_slice() else { bail!("usage: pkcs11-client MODULE TOKEN-LABEL") };
    let (module, session) = match open(path, label) {
        Ok(opened) => opened,
        Err(error) => return answer(&Err(error)),
    };
    answer(&Ok(Value::Null))?;
    for line in std::io::stdin().lock().lines() {
        let request: Value = serde_json::from_str(&line?)?;
        if request["do"] == "finish" {
            session.close()?;
            module.finalize()?;
            return answer(&Ok(Value::Null));
        }
        answer(&obey(&session, &request))?;
    }
    Ok(())
}

fn open(path: &str, label: &str) -> Result<(Pkcs11, Session)> {
    let module = Pkcs11::new(path)?;
    module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK))?;
    for slot in module.get_slots_with_token()? {
        if module.get_token_info(slot)?.label() == label {
            let session = module.open_rw_session(slot)?;
            return Ok((module, session));
        }
    }
    bail!("no token is labelled {label:?}")
}

fn answer(result: &Result<Value>) -> Result<()> {
    let line = match result {
        Ok(value) => json!({ "ok": value }),
        Err(error) => match error.downcast_ref::<Pkcs11Error>() {
            Some(Pkcs11Error::Pkcs11(code, function)) => {
                json!({ "function": format!("{function:?}"), "code": format!("{code:?}") })
            }
            _ => json!({ "failed": format!("{error:#}") }),
        },
    };
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}

fn obey(session: &Session, request: &Value) -> Result<Value> {
    let text = |name: &str| request[name].as_str().with_context(|| format!("{name} is missing in {request}"));
    let bytes = |name: &str| unhex(text(name)?);
    match text("do")? {
        "login" => session.login(UserType::User, Some(&AuthPin::new(text("pin")?.into())))?,
        "generate" => {
            let token = request["token"].as_bool().context("token is missing")?;
            generate(session, text("curve")?, text("label")?.as_bytes(), bytes("id")?, token)?;
        }
        "find" => {
            let class = match text("class")? {
                "private" => ObjectClass::PRIVATE_KEY,
                _ => ObjectClass::PUBLIC_KEY,
            };
            let mut template = vec![Attribute::Class(class)];
            if !request["id"].is_null() {
                template.push(Attribute::Id(bytes("id")?));
            }
            let mut labels = Vec::new();
            for object in session.find_objects(&template)? {
                // kryoptic's keys have a label only if they were given one.
                let label = match session.get_attributes(object, &[AttributeType::Label])?.into_iter().next() {
                    Some(Attribute::Label(label)) => label,
                    _ => Vec::new(),
                };
                labels.push(String::from_utf8(label)?);
            }
            labels.sort();
            return Ok(json!(labels));
        }
        "public-point" => {
            let object = one(session, ObjectClass::PUBLIC_KEY, bytes("id")?)?;
            return Ok(json!(hex(&value(session, object, AttributeType::EcPoint)?)));
        }
        "sign" => {
            let mechanism = match text("mechanism")? {
                "ecdsa" => Mechanism::Ecdsa,
                "ecdsa-sha256" => Mechanism::EcdsaSha256,
                other => bail!("no mechanism {other}"),
            };
            let key = one(session, ObjectClass::PRIVATE_KEY, bytes("id")?)?;
            return Ok(json!(hex(&session.sign(&mechanism, key, &bytes("data")?)?)));
        }
        "destroy" => {
            for class in [ObjectClass::PRIVATE_KEY, ObjectClass::PUBLIC_KEY] {
                session.destroy_object(one(session, class, bytes("id")?)?)?;
            }
        }
        other => bail!("cannot {other}"),
    }
    Ok(Value::Null)
}

fn generate(session: &Session, curve: &str, label: &[u8], id: Vec<u8>, token: bool) -> Result<()> {
    let oid = if curve == "secp256k1" { SECP256K1 } else { P256 };
    let common = [Attribute::Token(token), Attribute::Label(label.to_vec()), Attribute::Id(id)];
    let public = [&common[..], &[Attribute::EcParams(oid.to_vec()), Attribute::Verify(true)]].concat();
    let private =
        [&common[..], &[Attribute::Private(true), Attribute::Sensitive(true), Attribute::Sign(true)]].concat();
    session.generate_key_pair(&Mechanism::EccKeyPairGen, &public, &private)?;
    Ok(())
}

/// The one object of a class with an ID.
fn one(session: &Session, class: ObjectClass, id: Vec<u8>) -> Result<ObjectHandle> {
    match session.find_objects(&[Attribute::Class(class), Attribute::Id(id)])?.as_slice() {
        [object] => Ok(*object),
        objects => bail!("{} objects of this class and ID", objects.len()),
    }
}

/// A byte string of an object.
fn value(session: &Session, object: ObjectHandle, kind: AttributeType) -> Result<Vec<u8>> {
    match session.get_attributes(object, &[kind])?.into_iter().next() {
        Some(Attribute::Label(value) | Attribute::EcPoint(value)) => Ok(value),
        other => bail!("{kind:?} is {other:?}"),
    }
}
