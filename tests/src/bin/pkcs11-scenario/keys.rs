//! Keys that are never mapped: RSA, AES, and curves that the device's wallets do not have.

use anyhow::{Context as _, Result};
use cryptoki::context::Pkcs11;
use cryptoki::mechanism::{Mechanism, MechanismType, aead::GcmParams, rsa::PkcsMgfType, rsa::PkcsPssParams};
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::Slot;
use holdfast_tests::token::PIN;
use holdfast_tests::unhex;

use crate::token::pin;
use crate::{needed, say, say_bytes, say_done, say_length};

/// 1.3.132.0.34
const P384: &[u8] = &[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22];

fn logged_in(module: &Pkcs11, slot: Slot) -> Result<Session> {
    let session = module.open_rw_session(slot)?;
    session.login(UserType::User, Some(&pin(PIN)))?;
    Ok(session)
}

pub fn rsa(module: &Pkcs11, slot: Slot, key: &serde_json::Value) -> Result<()> {
    let part = |name: &str| unhex(key[name].as_str().with_context(|| format!("the RSA key has no {name}"))?);
    let session = logged_in(module, slot)?;
    let private = needed(say_done(
        "RSA private key",
        session.create_object(&[
            Attribute::Class(ObjectClass::PRIVATE_KEY),
            Attribute::KeyType(KeyType::RSA),
            Attribute::Token(true),
            Attribute::Private(true),
            Attribute::Sensitive(true),
            Attribute::Sign(true),
            Attribute::Decrypt(true),
            Attribute::Id(vec![0xa1]),
            Attribute::Modulus(part("n")?),
            Attribute::PublicExponent(part("e")?),
            Attribute::PrivateExponent(part("d")?),
            Attribute::Prime1(part("p")?),
            Attribute::Prime2(part("q")?),
            Attribute::Exponent1(part("dmp1")?),
            Attribute::Exponent2(part("dmq1")?),
            Attribute::Coefficient(part("iqmp")?),
        ]),
    ))?;
    let public = needed(say_done(
        "RSA public key",
        session.create_object(&[
            Attribute::Class(ObjectClass::PUBLIC_KEY),
            Attribute::KeyType(KeyType::RSA),
            Attribute::Token(true),
            Attribute::Verify(true),
            Attribute::Encrypt(true),
            Attribute::Id(vec![0xa1]),
            Attribute::Modulus(part("n")?),
            Attribute::PublicExponent(part("e")?),
        ]),
    ))?;
    say("its modulus", session.get_attributes(private, &[AttributeType::Modulus, AttributeType::Sensitive]));
    say("its secret", session.get_attributes(private, &[AttributeType::PrivateExponent]));
    for mechanism in [Mechanism::RsaPkcs, Mechanism::Sha1RsaPkcs, Mechanism::Sha256RsaPkcs, Mechanism::Sha512RsaPkcs] {
        let name = format!("{:?}", mechanism.mechanism_type());
        let signature = say_bytes(&name, session.sign(&mechanism, private, b"some data"));
        let signature = needed(signature)?;
        say("verify", session.verify(&mechanism, public, b"some data", &signature));
        say("verify other data", session.verify(&mechanism, public, b"other data", &signature));
        say("verify a short one", session.verify(&mechanism, public, b"some data", &signature[1..]));
    }
    let pss = Mechanism::Sha256RsaPkcsPss(PkcsPssParams {
        hash_alg: MechanismType::SHA256,
        mgf: PkcsMgfType::MGF1_SHA256,
        s_len: 32.into(),
    });
    let signature = needed(say_length("PSS", session.sign(&pss, private, b"some data")))?;
    say("verify", session.verify(&pss, public, b"some data", &signature));
    say("begin to sign", session.sign_init(&Mechanism::Sha256RsaPkcs, private));
    say("begin again", session.sign_init(&Mechanism::Sha256RsaPkcs, private));
    say("first part", session.sign_update(b"some "));
    say("second part", session.sign_update(b"data"));
    say_bytes("in two parts", session.sign_final());
    let secret = needed(say_length("encrypt", session.encrypt(&Mechanism::RsaPkcs, public, b"secret")))?;
    say_bytes("decrypt", session.decrypt(&Mechanism::RsaPkcs, private, &secret));
    say_length("sign too much", session.sign(&Mechanism::RsaPkcs, private, &[0; 300]));
    say_length("sign with a public key", session.sign(&Mechanism::RsaPkcs, public, b"some data"));
    say_length("ECDSA with an RSA key", session.sign(&Mechanism::Ecdsa, private, &[0; 32]));

    let public_template = [
        Attribute::Token(false),
        Attribute::ModulusBits(2048.into()),
        Attribute::PublicExponent(vec![1, 0, 1]),
        Attribute::Verify(true),
    ];
    let private_template = [Attribute::Token(false), Attribute::Sign(true), Attribute::Sensitive(true)];
    let generated = say_done(
        "generate",
        session.generate_key_pair(&Mechanism::RsaPkcsKeyPairGen, &public_template, &private_template),
    );
    let (made_public, made_private) = needed(generated)?;
    let wanted = [AttributeType::Local, AttributeType::AlwaysSensitive, AttributeType::NeverExtractable];
    say("its attributes", session.get_attributes(made_private, &wanted));
    let signature = needed(say_length("sign", session.sign(&Mechanism::Sha256RsaPkcs, made_private, b"some data")))?;
    say("verify", session.verify(&Mechanism::Sha256RsaPkcs, made_public, b"some data", &signature));
    let nonsense = [Attribute::Token(false), Attribute::ModulusBits(7.into())];
    say_done(
        "generate nonsense",
        session.generate_key_pair(&Mechanism::RsaPkcsKeyPairGen, &nonsense, &private_template),
    );
    Ok(())
}

pub fn aes(module: &Pkcs11, slot: Slot) -> Result<()> {
    let session = logged_in(module, slot)?;
    let key = needed(say_done(
        "AES key",
        session.create_object(&[
            Attribute::Class(ObjectClass::SECRET_KEY),
            Attribute::KeyType(KeyType::AES),
            Attribute::Token(true),
            Attribute::Encrypt(true),
            Attribute::Decrypt(true),
            Attribute::Wrap(true),
            Attribute::Unwrap(true),
            Attribute::Sign(true),
            Attribute::Value((0..32).collect()),
        ]),
    ))?;
    let block = [7; 16];
    for mechanism in [Mechanism::AesEcb, Mechanism::AesCbc(block), Mechanism::AesCbcPad(block)] {
        let name = format!("{:?}", mechanism.mechanism_type());
        if let Some(secret) = say_bytes(&name, session.encrypt(&mechanism, key, &[1; 48])) {
            say_bytes("decrypt", session.decrypt(&mechanism, key, &secret));
        }
        say_bytes("of odd length", session.encrypt(&mechanism, key, &[1; 17]));
        say_bytes("decrypt nonsense", session.decrypt(&mechanism, key, &[9; 16]));
    }
    let mut iv = [3; 12];
    let gcm = Mechanism::AesGcm(GcmParams::new(&mut iv, b"header", 128.into())?);
    say_bytes("GCM", session.encrypt(&gcm, key, b"some data"));
    say("begin", session.encrypt_init(&Mechanism::AesCbcPad(block), key));
    say_bytes("first part", session.encrypt_update(&[1; 20]));
    say_bytes("second part", session.encrypt_update(&[1; 20]));
    say_bytes("end", session.encrypt_final());
    say_bytes("CMAC", session.sign(&Mechanism::AesCMac, key, b"some data"));

    let template = [
        Attribute::Token(false),
        Attribute::ValueLen(32.into()),
        Attribute::Sensitive(false),
        Attribute::Extractable(true),
        Attribute::Encrypt(true),
        Attribute::Decrypt(true),
    ];
    let made = needed(say_done("generate", session.generate_key(&Mechanism::AesKeyGen, &template)))?;
    let value = session.get_attributes(made, &[AttributeType::Value]);
    say("its value has", value.map(|values| format!("{values:?}").len() > 60));
    let wrapped = needed(say_length("wrap", session.wrap_key(&Mechanism::AesKeyWrap, key, made)))?;
    let unwrapped = [
        Attribute::Class(ObjectClass::SECRET_KEY),
        Attribute::KeyType(KeyType::AES),
        Attribute::Token(false),
        Attribute::Encrypt(true),
        Attribute::Decrypt(true),
    ];
    let again = needed(say_done("unwrap", session.unwrap_key(&Mechanism::AesKeyWrap, key, &wrapped, &unwrapped)))?;
    let secret = session.encrypt(&Mechanism::AesCbcPad(block), made, b"some data")?;
    say_bytes("decrypt with what was unwrapped", session.decrypt(&Mechanism::AesCbcPad(block), again, &secret));
    say_done("unwrap nonsense", session.unwrap_key(&Mechanism::AesKeyWrap, key, &[1; 40], &unwrapped));
    Ok(())
}

/// P-384 is a curve that the device's wallets do not have: such keys stay in the backend.
pub fn other_curves(module: &Pkcs11, slot: Slot) -> Result<()> {
    let session = logged_in(module, slot)?;
    let public_template = [Attribute::Token(true), Attribute::EcParams(P384.to_vec()), Attribute::Verify(true)];
    let private_template = [Attribute::Token(true), Attribute::Sign(true), Attribute::Id(vec![0x84])];
    let generated =
        say_done("P-384", session.generate_key_pair(&Mechanism::EccKeyPairGen, &public_template, &private_template));
    let (public, private) = needed(generated)?;
    let signature = needed(say_length("sign", session.sign(&Mechanism::Ecdsa, private, &[5; 48])))?;
    say("verify", session.verify(&Mechanism::Ecdsa, public, &[5; 48], &signature));
    say("verify other data", session.verify(&Mechanism::Ecdsa, public, &[6; 48], &signature));
    let wanted = [AttributeType::Id, AttributeType::Local, AttributeType::Sensitive, AttributeType::Extractable];
    say("its attributes", session.get_attributes(private, &wanted));
    say("its secret", session.get_attributes(private, &[AttributeType::Value]));
    let no_curve = [Attribute::Token(true), Attribute::EcParams(vec![6, 1, 1])];
    say_done("no curve", session.generate_key_pair(&Mechanism::EccKeyPairGen, &no_curve, &private_template));
    say("destroy", session.destroy_object(private));
    say("destroy", session.destroy_object(public));
    Ok(())
}
