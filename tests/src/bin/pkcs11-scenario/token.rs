//! Slots, tokens, sessions, login, random numbers, digests, certificates, PINs, initialisation.

use anyhow::Result;
use cryptoki::context::Pkcs11;
use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki::object::{Attribute, AttributeType, CertificateType, ObjectClass};
use cryptoki::session::UserType;
use cryptoki::slot::Slot;
use cryptoki::types::AuthPin;
use holdfast_tests::token::{PIN, SO_PIN};

use crate::{needed, say, say_bytes, say_done, say_length};

/// What the shim adds to the backend's list, as its documentation says.
const ADDED: [MechanismType; 6] = [
    MechanismType::ECDSA_SHA1,
    MechanismType::ECDSA_SHA224,
    MechanismType::ECDSA_SHA256,
    MechanismType::ECDSA_SHA384,
    MechanismType::ECDSA_SHA512,
    MechanismType::ECDH1_DERIVE,
];

pub fn pin(text: &str) -> AuthPin {
    AuthPin::new(text.into())
}

pub fn facts(module: &Pkcs11, slot: Slot) {
    if let Ok(info) = module.get_library_info() {
        println!("library: {} {:?}", info.manufacturer_id(), info.cryptoki_version());
    }
    say("slots", module.get_all_slots().map(|slots| slots.len()));
    say("slots with a token", module.get_slots_with_initialized_token().map(|slots| slots.len()));
    say("slot", module.get_slot_info(slot));
    say(
        "token",
        module.get_token_info(slot).map(|info| {
            let names = [info.label(), info.manufacturer_id(), info.model(), info.serial_number()].join("|");
            let flags = (info.login_required(), info.user_pin_initialized(), info.write_protected(), info.rng());
            (names, flags, info.max_pin_length(), info.min_pin_length())
        }),
    );
    let mechanisms = module.get_mechanism_list(slot).unwrap_or_default();
    for mechanism in mechanisms.into_iter().filter(|mechanism| !ADDED.contains(mechanism)) {
        say(&format!("{mechanism:?}"), module.get_mechanism_info(slot, mechanism));
    }
    say("a mechanism that nobody has", module.get_mechanism_info(slot, MechanismType::ML_KEM));
}

pub fn random_and_digests(module: &Pkcs11, slot: Slot) -> Result<()> {
    let session = module.open_rw_session(slot)?;
    say("session", session.get_session_info().map(|info| (info.session_state(), info.read_write())));
    say_length("random 32", session.generate_random_vec(32));
    say_length("random 0", session.generate_random_vec(0));
    let (one, two) = (session.generate_random_vec(32)?, session.generate_random_vec(32)?);
    println!("random differs: {}", one != two);
    say("seed random", session.seed_random(b"seed"));
    for mechanism in [Mechanism::Sha1, Mechanism::Sha224, Mechanism::Sha256, Mechanism::Sha384, Mechanism::Sha512] {
        let name = format!("{:?}", mechanism.mechanism_type());
        say_bytes(&format!("{name} of nothing"), session.digest(&mechanism, b""));
        say_bytes(&name, session.digest(&mechanism, b"some data"));
        say("begin", session.digest_init(&mechanism));
        say("begin again", session.digest_init(&mechanism));
        say("first part", session.digest_update(b"some "));
        say("second part", session.digest_update(b"data"));
        say_bytes("in two parts", session.digest_final());
    }
    say("a part of nothing", session.digest_update(b"data"));
    Ok(())
}

pub fn certificates_and_data(module: &Pkcs11, slot: Slot) -> Result<()> {
    let session = module.open_rw_session(slot)?;
    let certificate = [
        Attribute::Class(ObjectClass::CERTIFICATE),
        Attribute::CertificateType(CertificateType::X_509),
        Attribute::Token(true),
        Attribute::Private(false),
        Attribute::Subject(b"subject".to_vec()),
        Attribute::Issuer(b"issuer".to_vec()),
        Attribute::SerialNumber(vec![2, 1, 5]),
        Attribute::Id(vec![0xc1]),
        Attribute::Label(b"certificate".to_vec()),
        Attribute::Value(b"not read by the token".to_vec()),
    ];
    say_done("certificate without login", session.create_object(&certificate));
    say("login", session.login(UserType::User, Some(&pin(PIN))));
    say_done("certificate", session.create_object(&certificate));
    let by_id = [Attribute::Class(ObjectClass::CERTIFICATE), Attribute::Id(vec![0xc1])];
    let found = needed(say("certificates", session.find_objects(&by_id).map(|found| found.len())))?;
    println!("certificates found: {found}");
    for object in session.find_objects(&by_id)? {
        let wanted = [AttributeType::Value, AttributeType::Label, AttributeType::Subject, AttributeType::Modifiable];
        say("its attributes", session.get_attributes(object, &wanted));
        say("its modulus", session.get_attributes(object, &[AttributeType::Modulus]));
        say("rename", session.update_attributes(object, &[Attribute::Label(b"renamed".to_vec())]));
        say("its label", session.get_attributes(object, &[AttributeType::Label]));
        say("another class", session.update_attributes(object, &[Attribute::Class(ObjectClass::DATA)]));
        say("destroy", session.destroy_object(object));
        say("destroy again", session.destroy_object(object));
    }
    let data = [
        Attribute::Class(ObjectClass::DATA),
        Attribute::Token(true),
        Attribute::Private(true),
        Attribute::Application(b"tests".to_vec()),
        Attribute::Label(b"data".to_vec()),
        Attribute::Value(b"a value".to_vec()),
    ];
    let object = needed(say_done("data", session.create_object(&data)))?;
    say("its value", session.get_attributes(object, &[AttributeType::Value]));
    let copy = say_done("copy", session.copy_object(object, &[Attribute::Label(b"copy".to_vec())]));
    say("its label", session.get_attributes(needed(copy)?, &[AttributeType::Label]));
    say("logout", session.logout());
    say("private after logout", session.get_attributes(object, &[AttributeType::Value]));
    let by_label = [Attribute::Class(ObjectClass::DATA), Attribute::Label(b"data".to_vec())];
    say("private, found after logout", session.find_objects(&by_label).map(|found| found.len()));
    Ok(())
}

pub fn pins(module: &Pkcs11, slot: Slot) -> Result<()> {
    let session = module.open_rw_session(slot)?;
    say("logout of nobody", session.logout());
    say("wrong PIN", session.login(UserType::User, Some(&pin("wrong pin"))));
    say("short PIN", session.login(UserType::User, Some(&pin("1"))));
    say("login", session.login(UserType::User, Some(&pin(PIN))));
    say("login again", session.login(UserType::User, Some(&pin(PIN))));
    say("SO while the user is", session.login(UserType::So, Some(&pin(SO_PIN))));
    say("wrong old PIN", session.set_pin(&pin("wrong pin"), &pin("a new pin")));
    say("too short a PIN", session.set_pin(&pin(PIN), &pin("1")));
    say("new PIN", session.set_pin(&pin(PIN), &pin("a new pin")));
    say("logout", session.logout());
    say("old PIN", session.login(UserType::User, Some(&pin(PIN))));
    say("new PIN works", session.login(UserType::User, Some(&pin("a new pin"))));
    say("PIN as it was", session.set_pin(&pin("a new pin"), &pin(PIN)));
    say("logout", session.logout());
    say("SO", session.login(UserType::So, Some(&pin(SO_PIN))));
    say("SO state", session.get_session_info().map(|info| info.session_state()));
    say("SO sets the user's PIN", session.init_pin(&pin("set by so")));
    say("logout", session.logout());
    say("PIN set by the SO", session.login(UserType::User, Some(&pin("set by so"))));
    say("user sets a user's PIN", session.init_pin(&pin(PIN)));
    say("PIN as it was", session.set_pin(&pin("set by so"), &pin(PIN)));
    let reader = module.open_ro_session(slot)?;
    say("read-only session", reader.get_session_info().map(|info| (info.session_state(), info.read_write())));
    let data = [Attribute::Class(ObjectClass::DATA), Attribute::Token(true), Attribute::Value(b"x".to_vec())];
    say_done("write through it", reader.create_object(&data));
    Ok(())
}

pub fn initialise(module: &Pkcs11, slot: Slot) -> Result<()> {
    let session = module.open_rw_session(slot)?;
    say("initialise with a session open", module.init_token(slot, &pin(SO_PIN), "anew"));
    session.close()?;
    say("initialise with a wrong PIN", module.init_token(slot, &pin("wrong pin"), "anew"));
    say("initialise", module.init_token(slot, &pin(SO_PIN), "anew"));
    say("token", module.get_token_info(slot).map(|info| (info.label().to_owned(), info.user_pin_initialized())));
    let session = module.open_rw_session(slot)?;
    say("no user yet", session.login(UserType::User, Some(&pin(PIN))));
    say("SO", session.login(UserType::So, Some(&pin(SO_PIN))));
    say("SO sets the user's PIN", session.init_pin(&pin(PIN)));
    say("logout", session.logout());
    say("login", session.login(UserType::User, Some(&pin(PIN))));
    say("objects left", session.find_objects(&[]).map(|found| found.len()));
    Ok(())
}
