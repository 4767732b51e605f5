//! `C_GenerateKeyPair`: which pairs are ours, and making them.

use cryptoki_sys::{
    CK_FALSE, CK_MECHANISM_TYPE, CK_SESSION_HANDLE, CKA_COPYABLE, CKA_EC_PARAMS, CKA_TOKEN, CKM_EC_KEY_PAIR_GEN,
    CKM_EC_KEY_PAIR_GEN_W_EXTRA_BITS,
};
use holdfast_config::{Policy, SessionKeys};
use holdfast_keystore::{GenerateRequest, GeneratedPair, ObjectClass};
use holdfast_wallet::Curve;

use super::attributes::curve_of_params;
use super::template;
use crate::abi::args::{Mechanism, Template};
use crate::abi::exit;
use crate::error::Error;
use crate::lifecycle::Instance;
use crate::log;

/// A pair that may be ours by mechanism, curve and kind; policy and firmware have still to be asked.
pub struct Candidate {
    curve: Curve,
    session_pair: bool,
}

/// Whether a generation may be ours: an EC mechanism on a curve that the device's wallets have, the private key to be
/// a token object - or a session object, where session keys are mapped too.
///
/// A template that says two things about the curve, or about where the private key goes, is
/// [`Error::TemplateInconsistent`]: the backend might read the one that we do not, and make the key in software.
pub fn candidate(
    instance: &Instance,
    mechanism: &Mechanism<'_>,
    public: &Template<'_>,
    private: &Template<'_>,
) -> Result<Option<Candidate>, Error> {
    if !makes_ec_pairs(mechanism.kind) {
        return Ok(None);
    }
    if instance.mapped.keystore.settings().policy == Policy::Never {
        return Ok(left_to_backend("policy never maps no key"));
    }
    for (template, kind) in [(public, CKA_EC_PARAMS), (private, CKA_EC_PARAMS), (private, CKA_TOKEN)] {
        template::check_once(template, kind)?;
    }
    let Some(params) = public.get(CKA_EC_PARAMS).or_else(|| private.get(CKA_EC_PARAMS)) else {
        return Ok(left_to_backend("the template names no curve"));
    };
    let Some(curve) = curve_of_params(params) else {
        return Ok(left_to_backend("the device's wallets do not have its curve"));
    };
    let on_token = private.get(CKA_TOKEN).is_some_and(|value| value != [CK_FALSE]);
    if !on_token && instance.mapped.session_keys == SessionKeys::Backend {
        return Ok(left_to_backend("session keys go to the backend"));
    }
    Ok(Some(Candidate { curve, session_pair: !on_token }))
}

/// Whether a generation with templates that cannot be read is refused here. The backend might read them all the same, and
/// make in software what should be a key of the device.
pub fn refuses_unreadable(instance: &Instance, mechanism: Option<CK_MECHANISM_TYPE>) -> bool {
    mechanism.is_some_and(makes_ec_pairs) && instance.mapped.keystore.settings().policy != Policy::Never
}

/// CKM_ECDSA_KEY_PAIR_GEN is the first one's number under its older name.
fn makes_ec_pairs(mechanism: CK_MECHANISM_TYPE) -> bool {
    [CKM_EC_KEY_PAIR_GEN, CKM_EC_KEY_PAIR_GEN_W_EXTRA_BITS].contains(&mechanism)
}

/// Every generation of an EC pair is logged with where it goes.
fn left_to_backend(why: &str) -> Option<Candidate> {
    log::info(format_args!("C_GenerateKeyPair: an EC pair is left to the backend: {why}"));
    None
}

/// Makes a pair on the device; `None` when policy and firmware leave it to the backend.
///
/// There is no third way: when the device cannot be reached or is full, the generation fails.
pub fn generate(
    instance: &Instance,
    session: CK_SESSION_HANDLE,
    candidate: &Candidate,
    mechanism: &Mechanism<'_>,
    public: &Template<'_>,
    private: &Template<'_>,
) -> Result<Option<GeneratedPair>, Error> {
    let mapped = &instance.mapped;
    let session = mapped.sessions.session(&instance.calls(), session)?;
    let placement = mapped.keystore.placement()?;
    if !placement.maps {
        log::info(format_args!(
            "C_GenerateKeyPair: the {} pair for token {:?} is made by the backend: {}",
            candidate.curve, session.token.label, placement.reason
        ));
        return Ok(None);
    }
    if mechanism.kind != CKM_EC_KEY_PAIR_GEN {
        // How the random number is drawn is not ours to choose, and the backend's key would not survive.
        return Err(Error::MechanismInvalid);
    }
    if !mechanism.parameter.is_empty() {
        return Err(Error::MechanismParamInvalid("CKM_EC_KEY_PAIR_GEN has no parameter"));
    }
    let mut public_half = template::new_object(public, ObjectClass::PublicKey)?;
    let mut private_half = template::new_object(private, ObjectClass::PrivateKey)?;
    let both_name_it = public.get(CKA_EC_PARAMS).zip(private.get(CKA_EC_PARAMS));
    if both_name_it.is_some_and(|(one, other)| curve_of_params(one) != curve_of_params(other)) {
        return Err(Error::TemplateInconsistent("CKA_EC_PARAMS of the halves differ"));
    }
    let on_token = !candidate.session_pair || template::optional_flag(public, CKA_TOKEN)?.unwrap_or(false);
    if on_token && candidate.session_pair {
        return Err(Error::TemplateInconsistent("a public token key of a private session key"));
    }
    if on_token && !session.read_write {
        return Err(Error::SessionReadOnly);
    }
    if (private_half.private || public_half.private) && !session.user {
        return Err(Error::UserNotLoggedIn);
    }
    for (half, template) in [(&mut public_half, public), (&mut private_half, private)] {
        half.copyable = candidate.session_pair && template::optional_flag(template, CKA_COPYABLE)?.unwrap_or(true);
    }
    if candidate.curve == Curve::Secp256k1 {
        log::warn(format_args!(
            "C_GenerateKeyPair: the pair is on secp256k1, which OpenSSH, Java and most TLS clients do not know"
        ));
    }
    let request = GenerateRequest {
        token_serial: session.token.serial.clone(),
        token_label: session.token.label.clone(),
        curve: candidate.curve,
        session: candidate.session_pair,
        public: public_half,
        private: private_half,
    };
    let pair = mapped.keystore.generate(&request)?;
    if candidate.session_pair {
        exit::register_handler(exit::Library::Device);
        mapped.sessions.with(session.handle, |operations| operations.keys.push(pair.private.key.id));
    }
    log::info(format_args!(
        "C_GenerateKeyPair: the {} pair for token {:?} is {} on the device: {}",
        candidate.curve,
        session.token.label,
        pair.private.key.node(),
        placement.reason
    ));
    Ok(Some(pair))
}
