//! C_GenerateKeyPair: what clients send, what is refused, and where keys go.

use std::ptr;

use cryptoki_sys::{
    CK_RV, CK_ULONG, CKA_ALWAYS_AUTHENTICATE, CKA_CLASS, CKA_DECRYPT, CKA_DERIVE, CKA_EC_PARAMS, CKA_EC_POINT,
    CKA_ENCRYPT, CKA_EXTRACTABLE, CKA_ID, CKA_KEY_TYPE, CKA_LABEL, CKA_LOCAL, CKA_MODULUS, CKA_PRIVATE, CKA_SENSITIVE,
    CKA_SIGN, CKA_SIGN_RECOVER, CKA_START_DATE, CKA_TOKEN, CKA_TRUSTED, CKA_UNWRAP, CKA_VALUE, CKA_VERIFY, CKA_WRAP,
    CKF_SERIAL_SESSION, CKK_EC, CKK_RSA, CKM_EC_KEY_PAIR_GEN, CKM_EC_KEY_PAIR_GEN_W_EXTRA_BITS, CKM_ECDSA,
    CKO_PRIVATE_KEY, CKO_PUBLIC_KEY, CKR_ARGUMENTS_BAD, CKR_ATTRIBUTE_READ_ONLY, CKR_ATTRIBUTE_TYPE_INVALID,
    CKR_ATTRIBUTE_VALUE_INVALID, CKR_MECHANISM_INVALID, CKR_OK, CKR_SESSION_READ_ONLY, CKR_TEMPLATE_INCONSISTENT,
    CKR_USER_NOT_LOGGED_IN,
};

use openssl::ec::{Asn1Flag, EcGroup, EcKey};
use openssl::nid::Nid;

use super::{P256, P384, SECP256K1, Template, logged_in, mechanism, private, public, verifies};
use crate::fixture::{World, ck, device, scenario};

fn wallet_slots() -> usize {
    device().slots().unwrap().slots.iter().filter(|slot| slot.wallet.is_some()).count()
}

fn affected() -> World {
    World::mapped("")
}

#[test]
fn d1_templates_of_real_clients() {
    scenario("mapped::generation::d1_templates_of_real_clients", affected, || {
        let (_, session) = logged_in();
        let named = |template: Template, id: &[u8]| template.bytes(CKA_LABEL, b"server").bytes(CKA_ID, id);
        let pkcs11_tool = (
            named(
                Template::default()
                    .number(CKA_CLASS, CKO_PUBLIC_KEY)
                    .flag(CKA_TOKEN, true)
                    .flag(CKA_VERIFY, true)
                    .flag(CKA_DERIVE, true)
                    .bytes(CKA_EC_PARAMS, P256)
                    .number(CKA_KEY_TYPE, CKK_EC),
                &[1],
            ),
            named(
                Template::default()
                    .number(CKA_CLASS, CKO_PRIVATE_KEY)
                    .flag(CKA_TOKEN, true)
                    .flag(CKA_PRIVATE, true)
                    .flag(CKA_SENSITIVE, true)
                    .flag(CKA_SIGN, true)
                    .flag(CKA_DERIVE, true)
                    .number(CKA_KEY_TYPE, CKK_EC),
                &[1],
            ),
        );
        let nss = (
            public(P256).flag(CKA_PRIVATE, false),
            Template::default()
                .flag(CKA_TOKEN, true)
                .flag(CKA_PRIVATE, true)
                .flag(CKA_SENSITIVE, true)
                .flag(CKA_EXTRACTABLE, false)
                .flag(CKA_SIGN, true),
        );
        let provider = (
            named(public(P256).flag(CKA_WRAP, true).flag(CKA_ENCRYPT, true).flag(CKA_DERIVE, true), &[3]),
            named(
                Template::default()
                    .flag(CKA_TOKEN, true)
                    .flag(CKA_PRIVATE, true)
                    .flag(CKA_SIGN, true)
                    .flag(CKA_UNWRAP, true)
                    .flag(CKA_DECRYPT, true)
                    .flag(CKA_DERIVE, true),
                &[3],
            ),
        );
        for (public_half, private_half) in [pkcs11_tool, nss, provider] {
            let (first, second) = session.generate(&public_half, &private_half).unwrap();
            assert_eq!(session.attribute(first, CKA_ID), session.attribute(second, CKA_ID));
            for unsupported in [CKA_DECRYPT, CKA_UNWRAP] {
                assert_eq!(session.attribute(second, unsupported).unwrap(), [0]);
            }
            let signature = session.sign(CKM_ECDSA, second, &[7; 32]).unwrap();
            assert!(verifies(&session.openssl_key(first), &[7; 32], &signature));
        }
        // One seed, three keys.
        assert_eq!(wallet_slots(), 4);
    });
}

#[test]
fn d2_both_curves_by_object_identifier_and_by_name() {
    scenario("mapped::generation::d2_both_curves_by_object_identifier_and_by_name", affected, || {
        let (_, session) = logged_in();
        for curve in [P256, SECP256K1, b"\x13\x09secp256r1", b"\x13\x09secp256k1", b"\x13\x0aprime256v1"] {
            let before = wallet_slots();
            let (first, second) = session.generate(&public(curve), &private(&[9])).unwrap();
            assert!(wallet_slots() > before);
            // Named curves come back as object identifiers.
            assert_eq!(session.attribute(first, CKA_EC_PARAMS).unwrap()[0], 0x06);
            let signature = session.sign(CKM_ECDSA, second, &[3; 32]).unwrap();
            assert!(verifies(&session.openssl_key(second), &[3; 32], &signature));
        }
    });
}

/// Else the backend would make them in software, and they would be lost.
#[test]
fn curves_and_mechanisms_said_otherwise_never_lead_to_the_backend() {
    scenario("mapped::generation::curves_and_mechanisms_said_otherwise_never_lead_to_the_backend", affected, || {
        let (module, session) = logged_in();
        for (nid, name) in [(Nid::X9_62_PRIME256V1, P256), (Nid::SECP256K1, SECP256K1)] {
            let mut group = EcGroup::from_curve_name(nid).unwrap();
            group.set_asn1_flag(Asn1Flag::EXPLICIT_CURVE);
            let with_parameters = specified(&group);
            let before = wallet_slots();
            let (_, key) = session.generate(&public(&with_parameters), &private(&[7])).unwrap();
            assert!(wallet_slots() > before);
            assert_eq!(session.attribute(key, CKA_EC_PARAMS).unwrap(), name);
        }
        let made = wallet_slots();
        let (mut one, mut other) = (public(P256), private(&[8]));
        let (mut one, mut other) = (one.raw(), other.raw());
        let counts = (one.len() as CK_ULONG, other.len() as CK_ULONG);
        let rv = ck!(
            module,
            C_GenerateKeyPair(
                session.handle,
                &mut mechanism(CKM_EC_KEY_PAIR_GEN_W_EXTRA_BITS),
                one.as_mut_ptr(),
                counts.0,
                other.as_mut_ptr(),
                counts.1,
                &mut 0,
                &mut 0,
            )
        );
        assert_eq!(rv, CKR_MECHANISM_INVALID);
        assert_eq!((wallet_slots(), session.find(&Template::default()).len()), (made, 4));
    });
}

/// `SpecifiedECDomain`, as it stands in an EC private key of OpenSSL's that does not name its curve.
fn specified(group: &EcGroup) -> Vec<u8> {
    let key = EcKey::generate(group).unwrap().private_key_to_der().unwrap();
    let sequences = (1..key.len()).filter(|at| key[*at..].starts_with(&[0x30, 0x81]));
    sequences.map(|at| key[at..at + 3 + usize::from(key[at + 2])].to_vec()).next().unwrap()
}

#[test]
fn what_is_not_ours_goes_to_the_backend() {
    scenario("mapped::generation::what_is_not_ours_goes_to_the_backend", affected, || {
        let (_, session) = logged_in();
        session.generate(&public(P384), &private(&[1])).unwrap();
        let session_pair = Template::default().flag(CKA_SIGN, true);
        session.generate(&Template::default().bytes(CKA_EC_PARAMS, P256), &session_pair).unwrap();
        assert_eq!(wallet_slots(), 0);
    });
}

#[test]
fn policy_never_leaves_all_to_the_backend() {
    scenario(
        "mapped::generation::policy_never_leaves_all_to_the_backend",
        || World::mapped("policy = \"never\""),
        || {
            let (_, session) = logged_in();
            session.pair(&[1]);
            assert_eq!(wallet_slots(), 0);
        },
    );
}

#[test]
fn contradictions_have_the_specified_codes() {
    scenario("mapped::generation::contradictions_have_the_specified_codes", affected, || {
        let (_, session) = logged_in();
        let of_private = |template: Template, code: CK_RV| (public(P256), template, code);
        let of_public = |template: Template, code: CK_RV| (template, private(&[1]), code);
        let cases = [
            of_private(private(&[1]).flag(CKA_EXTRACTABLE, true), CKR_TEMPLATE_INCONSISTENT),
            of_private(Template::default().flag(CKA_TOKEN, true).flag(CKA_SENSITIVE, false), CKR_TEMPLATE_INCONSISTENT),
            of_private(private(&[1]).flag(CKA_ALWAYS_AUTHENTICATE, true), CKR_TEMPLATE_INCONSISTENT),
            of_private(private(&[1]).bytes(CKA_VALUE, &[1; 32]), CKR_TEMPLATE_INCONSISTENT),
            of_private(private(&[1]).number(CKA_CLASS, CKO_PUBLIC_KEY), CKR_TEMPLATE_INCONSISTENT),
            of_private(private(&[1]).number(CKA_KEY_TYPE, CKK_RSA), CKR_TEMPLATE_INCONSISTENT),
            of_private(private(&[1]).bytes(CKA_ID, &[2]), CKR_TEMPLATE_INCONSISTENT),
            of_private(private(&[1]).bytes(CKA_EC_PARAMS, SECP256K1), CKR_TEMPLATE_INCONSISTENT),
            of_private(private(&[1]).bytes(CKA_SIGN_RECOVER, &[]), CKR_ATTRIBUTE_VALUE_INVALID),
            of_private(private(&[1]).bytes(CKA_START_DATE, b"tomorrow"), CKR_ATTRIBUTE_VALUE_INVALID),
            of_private(private(&[1]).flag(CKA_LOCAL, true), CKR_ATTRIBUTE_READ_ONLY),
            of_private(private(&[1]).flag(CKA_VERIFY, true), CKR_ATTRIBUTE_TYPE_INVALID),
            of_private(private(&[1]).bytes(CKA_MODULUS, &[1]), CKR_ATTRIBUTE_TYPE_INVALID),
            of_public(public(P256).bytes(CKA_EC_POINT, &[4; 67]), CKR_TEMPLATE_INCONSISTENT),
            of_public(public(P256).flag(CKA_TRUSTED, true), CKR_ATTRIBUTE_READ_ONLY),
            of_public(public(P256).bytes(CKA_LABEL, &[b'x'; 256]), CKR_ATTRIBUTE_VALUE_INVALID),
        ];
        for (number, (public_half, private_half, code)) in cases.iter().enumerate() {
            assert_eq!(session.generate(public_half, private_half), Err(*code), "case {number}");
        }
        assert_eq!(wallet_slots(), 0, "nothing was made");
    });
}

#[test]
fn sessions_that_may_not_make_keys() {
    scenario("mapped::generation::sessions_that_may_not_make_keys", affected, || {
        let (module, session) = logged_in();
        let mut read_only = 0;
        let rv = ck!(module, C_OpenSession(module.slot(), CKF_SERIAL_SESSION, ptr::null_mut(), None, &mut read_only));
        assert_eq!(rv, CKR_OK);
        let read_only = super::Session { module, handle: read_only };
        assert_eq!(read_only.generate(&public(P256), &private(&[1])), Err(CKR_SESSION_READ_ONLY));
        assert_eq!(ck!(module, C_Logout(session.handle)), CKR_OK);
        assert_eq!(session.generate(&public(P256), &private(&[1])), Err(CKR_USER_NOT_LOGGED_IN));
        assert_eq!(wallet_slots(), 0);
        // Nowhere to put the handles: nothing is made either.
        assert_eq!(module.login(session.handle), CKR_OK);
        let (mut one, mut other) = (public(P256), private(&[1]));
        let (mut one, mut other) = (one.raw(), other.raw());
        let (counts, mut handle) = ((one.len() as CK_ULONG, other.len() as CK_ULONG), 0);
        let rv = ck!(
            module,
            C_GenerateKeyPair(
                session.handle,
                &mut mechanism(CKM_EC_KEY_PAIR_GEN),
                one.as_mut_ptr(),
                counts.0,
                other.as_mut_ptr(),
                counts.1,
                &mut handle,
                ptr::null_mut(),
            )
        );
        assert_eq!(rv, CKR_ARGUMENTS_BAD);
        assert_eq!(wallet_slots(), 0);
    });
}

#[test]
fn c4_names_missing_on_one_half_come_from_the_other() {
    scenario("mapped::generation::c4_names_missing_on_one_half_come_from_the_other", affected, || {
        let (_, session) = logged_in();
        let bare = Template::default().flag(CKA_TOKEN, true);
        let (first, second) = session.generate(&public(P256).bytes(CKA_ID, &[5, 6]), &bare).unwrap();
        assert_eq!(session.attribute(second, CKA_ID).unwrap(), [5, 6]);
        let (third, fourth) = session.generate(&public(P256), &bare).unwrap();
        let point = session.attribute(third, CKA_EC_POINT).unwrap();
        let customary = openssl::hash::hash(openssl::hash::MessageDigest::sha1(), &point[2..]).unwrap();
        assert_eq!(session.attribute(third, CKA_ID).unwrap(), *customary);
        assert_eq!(session.attribute(fourth, CKA_ID).unwrap(), *customary);
        assert_ne!(session.attribute(first, CKA_EC_POINT).unwrap(), point);
    });
}
