//! Signatures, verifications and derivations with mapped keys, and what is added for the backend's.

use std::ptr;

use cryptoki_sys::{
    CK_ECDH1_DERIVE_PARAMS, CK_MECHANISM, CK_MECHANISM_TYPE, CK_RV, CK_ULONG, CKA_CLASS, CKA_EXTRACTABLE, CKA_ID,
    CKA_KEY_TYPE, CKA_SENSITIVE, CKA_SIGN, CKA_TOKEN, CKA_VALUE, CKA_VALUE_LEN, CKD_NULL, CKK_AES, CKK_GENERIC_SECRET,
    CKM_AES_CBC, CKM_AES_KEY_WRAP, CKM_ECDH1_DERIVE, CKM_ECDSA, CKM_ECDSA_SHA1, CKM_ECDSA_SHA224, CKM_ECDSA_SHA256,
    CKM_ECDSA_SHA384, CKM_ECDSA_SHA512, CKM_RSA_PKCS, CKO_PUBLIC_KEY, CKO_SECRET_KEY, CKR_BUFFER_TOO_SMALL,
    CKR_DATA_LEN_RANGE, CKR_DEVICE_ERROR, CKR_KEY_FUNCTION_NOT_PERMITTED, CKR_KEY_SIZE_RANGE,
    CKR_KEY_TYPE_INCONSISTENT, CKR_MECHANISM_INVALID, CKR_MECHANISM_PARAM_INVALID, CKR_OK, CKR_OPERATION_ACTIVE,
    CKR_OPERATION_NOT_INITIALIZED, CKR_SIGNATURE_INVALID, CKR_SIGNATURE_LEN_RANGE, CKR_STATE_UNSAVEABLE,
};
use openssl::hash::MessageDigest;
use openssl::sha::sha256;

use super::{P256, P384, Session, Template, logged_in, mechanism, private, public, verifies};
use crate::fixture::{World, ck, device, scenario};

fn affected() -> World {
    World::mapped("")
}

fn digests() -> [(CK_MECHANISM_TYPE, MessageDigest); 5] {
    [
        (CKM_ECDSA_SHA1, MessageDigest::sha1()),
        (CKM_ECDSA_SHA224, MessageDigest::sha224()),
        (CKM_ECDSA_SHA256, MessageDigest::sha256()),
        (CKM_ECDSA_SHA384, MessageDigest::sha384()),
        (CKM_ECDSA_SHA512, MessageDigest::sha512()),
    ]
}

fn update(session: &Session<'_>, part: &[u8]) -> CK_RV {
    ck!(session.module, C_SignUpdate(session.handle, part.as_ptr().cast_mut(), part.len() as CK_ULONG))
}

fn last(session: &Session<'_>) -> Result<Vec<u8>, CK_RV> {
    let (mut signature, mut length) = (vec![0; 200], 200);
    match ck!(session.module, C_SignFinal(session.handle, signature.as_mut_ptr(), &mut length)) {
        CKR_OK => {
            signature.truncate(length as usize);
            Ok(signature)
        }
        rv => Err(rv),
    }
}

#[test]
fn b4_b5_digests_of_every_length() {
    scenario("mapped::operations::b4_b5_digests_of_every_length", affected, || {
        let (_, session) = logged_in();
        let (public_key, private_key) = session.pair(&[1]);
        let key = session.openssl_key(public_key);
        for length in 1..=128u8 {
            let digest: Vec<u8> = (0..length).map(|byte| byte.wrapping_mul(37).wrapping_add(length)).collect();
            let signature = session.sign(CKM_ECDSA, private_key, &digest).unwrap();
            assert_eq!(signature.len(), 64);
            assert!(verifies(&key, &digest, &signature), "{length} bytes");
            assert_eq!(session.verify_init(CKM_ECDSA, public_key), CKR_OK);
            assert_eq!(session.verify(&digest, &signature), CKR_OK);
        }
        assert_eq!(session.sign(CKM_ECDSA, private_key, &[]), Err(CKR_DATA_LEN_RANGE));
    });
}

#[test]
fn b6_digests_are_made_for_every_ec_key_of_the_token() {
    scenario("mapped::operations::b6_digests_are_made_for_every_ec_key_of_the_token", affected, || {
        let (_, session) = logged_in();
        let (_, mapped) = session.pair(&[1]);
        let mapped_public = session.find(&Template::default().bytes(CKA_ID, &[1]).number(CKA_CLASS, CKO_PUBLIC_KEY))[0];
        let (backend_public, backend) = session.generate(&public(P384), &private(&[2])).unwrap();
        for (public_key, private_key) in [(mapped_public, mapped), (backend_public, backend)] {
            let key = session.openssl_key(public_key);
            for (kind, digest) in digests() {
                let expected = openssl::hash::hash(digest, b"one two three").unwrap();
                let whole = session.sign(kind, private_key, b"one two three").unwrap();
                assert!(verifies(&key, &expected, &whole), "{kind:#x} in one part");
                assert_eq!(session.sign_init(kind, private_key), CKR_OK);
                for part in [&b"one "[..], b"", b"two", b" three"] {
                    assert_eq!(update(&session, part), CKR_OK);
                }
                let parts = last(&session).unwrap();
                assert!(verifies(&key, &expected, &parts), "{kind:#x} in parts");
                assert_eq!(session.verify_init(kind, public_key), CKR_OK);
                assert_eq!(session.verify(b"one two three", &parts), CKR_OK, "{kind:#x}");
                assert_eq!(session.verify_init(kind, public_key), CKR_OK);
                assert_eq!(session.verify(b"one two four", &parts), CKR_SIGNATURE_INVALID, "{kind:#x}");
            }
        }
        // The refusal stands where digesting does not help.
        assert_eq!(session.sign_init(CKM_RSA_PKCS, mapped), CKR_MECHANISM_INVALID);
    });
}

#[test]
fn b3_length_queries_and_short_buffers_keep_the_operation_and_never_sign() {
    scenario(
        "mapped::operations::b3_length_queries_and_short_buffers_keep_the_operation_and_never_sign",
        affected,
        || {
            let (module, session) = logged_in();
            let (_, mapped) = session.pair(&[1]);
            let (_, backend) = session.generate(&public(P384), &private(&[2])).unwrap();
            session.sign(CKM_ECDSA, mapped, &[1; 32]).unwrap();
            device().change_behaviour(|behaviour| behaviour.trace = true).unwrap();
            for (key, size) in [(mapped, 64), (backend, 96)] {
                assert_eq!(session.sign_init(CKM_ECDSA_SHA256, key), CKR_OK);
                for _ in 0..3 {
                    let mut length = 0;
                    let data = b"data".as_ptr().cast_mut();
                    let rv = ck!(module, C_Sign(session.handle, data, 4, ptr::null_mut(), &mut length));
                    assert_eq!((rv, length), (CKR_OK, size));
                    assert_eq!(session.sign_into(b"data", size as usize - 1), Err(CKR_BUFFER_TOO_SMALL));
                }
                assert_eq!(device().trace().unwrap().matches("ECDSASig").count(), 0, "the device has signed");
                assert_eq!(session.sign_into(b"data", size as usize).unwrap().len(), size as usize);
                assert_eq!(session.sign_into(b"data", 200), Err(CKR_OPERATION_NOT_INITIALIZED));
                device().clear_trace().unwrap();
            }
        },
    );
}

#[test]
fn b8_operations_begin_and_end_as_specified() {
    scenario("mapped::operations::b8_operations_begin_and_end_as_specified", affected, || {
        let (module, session) = logged_in();
        let (public_key, mapped) = session.pair(&[1]);
        let (_, backend) = session.generate(&public(P384), &private(&[2])).unwrap();
        // One signature at a time, whosever the keys.
        for (first, second) in [(mapped, backend), (backend, mapped), (mapped, mapped)] {
            assert_eq!(session.sign_init(CKM_ECDSA, first), CKR_OK);
            assert_eq!(session.sign_init(CKM_ECDSA, second), CKR_OPERATION_ACTIVE);
            session.sign_into(&[1; 32], 200).unwrap();
        }
        // A signature and a verification side by side.
        let signature = session.sign(CKM_ECDSA, mapped, &[1; 32]).unwrap();
        assert_eq!(session.verify_init(CKM_ECDSA, public_key), CKR_OK);
        assert_eq!(session.sign_init(CKM_ECDSA, mapped), CKR_OK);
        assert_eq!(session.verify(&[1; 32], &signature), CKR_OK);
        session.sign_into(&[1; 32], 200).unwrap();
        // CKM_ECDSA has one part; what was continued does not end in one.
        assert_eq!(session.sign_init(CKM_ECDSA, mapped), CKR_OK);
        assert_eq!(update(&session, &[1]), CKR_OPERATION_NOT_INITIALIZED);
        assert_eq!(session.sign_init(CKM_ECDSA_SHA256, mapped), CKR_OK);
        assert_eq!(update(&session, b"part"), CKR_OK);
        assert_eq!(session.sign_into(b"rest", 200), Err(CKR_OPERATION_NOT_INITIALIZED));
        assert_eq!(last(&session), Err(CKR_OPERATION_NOT_INITIALIZED));
        // A null mechanism cancels, ours and the one that the backend has in progress for us.
        for key in [mapped, backend] {
            assert_eq!(session.sign_init(CKM_ECDSA_SHA256, key), CKR_OK);
            let mut state_length = 0;
            let rv = ck!(module, C_GetOperationState(session.handle, ptr::null_mut(), &mut state_length));
            assert_eq!(rv, CKR_STATE_UNSAVEABLE);
            assert_eq!(ck!(module, C_SignInit(session.handle, ptr::null_mut(), key)), CKR_OK);
            assert_eq!(session.sign_into(b"data", 200), Err(CKR_OPERATION_NOT_INITIALIZED));
            session.sign(CKM_ECDSA, key, &[1; 32]).unwrap();
        }
        // Another session knows nothing of it.
        let other = Session { module, handle: module.open() };
        assert_eq!(session.sign_init(CKM_ECDSA, mapped), CKR_OK);
        assert_eq!(other.sign_into(&[1; 32], 200), Err(CKR_OPERATION_NOT_INITIALIZED));
        session.sign_into(&[1; 32], 200).unwrap();
    });
}

#[test]
fn keys_serve_for_what_they_are_and_nothing_else() {
    scenario("mapped::operations::keys_serve_for_what_they_are_and_nothing_else", affected, || {
        let (module, session) = logged_in();
        let (public_key, private_key) = session.pair(&[1]);
        let unusable = Template::default().flag(CKA_TOKEN, true).flag(CKA_SIGN, false);
        let (_, no_signer) = session.generate(&public(P256), &unusable).unwrap();
        assert_eq!(session.sign_init(CKM_ECDSA, no_signer), CKR_KEY_FUNCTION_NOT_PERMITTED);
        assert_eq!(session.sign_init(CKM_ECDSA, public_key), CKR_KEY_TYPE_INCONSISTENT);
        assert_eq!(session.verify_init(CKM_ECDSA, private_key), CKR_KEY_TYPE_INCONSISTENT);
        let mut parameter = [0u8; 4];
        let mut with_parameter =
            CK_MECHANISM { mechanism: CKM_ECDSA, pParameter: parameter.as_mut_ptr().cast(), ulParameterLen: 4 };
        let rv = ck!(module, C_SignInit(session.handle, &mut with_parameter, private_key));
        assert_eq!(rv, CKR_MECHANISM_PARAM_INVALID);
        assert_eq!(session.verify_init(CKM_ECDSA, public_key), CKR_OK);
        assert_eq!(session.verify(&[1; 32], &[1; 63]), CKR_SIGNATURE_LEN_RANGE);
        assert_eq!(session.verify_init(CKM_ECDSA, public_key), CKR_OK);
        assert_eq!(session.verify(&[1; 32], &[0; 64]), CKR_SIGNATURE_INVALID);
        let handle = session.handle;
        let (mut buffer, mut length) = ([0u8; 256], 256);
        let mut mechanism = mechanism(CKM_AES_KEY_WRAP);
        let wrap =
            ck!(module, C_WrapKey(handle, &mut mechanism, private_key, private_key, buffer.as_mut_ptr(), &mut length));
        assert_eq!(wrap, CKR_KEY_FUNCTION_NOT_PERMITTED);
        for rv in [
            ck!(module, C_EncryptInit(handle, &mut mechanism, public_key)),
            ck!(module, C_DecryptInit(handle, &mut mechanism, private_key)),
            ck!(module, C_SignRecoverInit(handle, &mut mechanism, private_key)),
            ck!(module, C_VerifyRecoverInit(handle, &mut mechanism, public_key)),
        ] {
            assert_eq!(rv, CKR_KEY_FUNCTION_NOT_PERMITTED);
        }
    });
}

#[test]
fn i4_a_signature_that_does_not_verify_never_leaves() {
    scenario("mapped::operations::i4_a_signature_that_does_not_verify_never_leaves", affected, || {
        let (module, session) = logged_in();
        let (_, key) = session.pair(&[1]);
        session.sign(CKM_ECDSA, key, &[1; 32]).unwrap();
        let slots = device().slots().unwrap().slots;
        let slot = slots.iter().find(|slot| slot.node.as_deref() == Some("m/0'")).unwrap().slot;
        // Somebody else's key, at the same slot and the same node address.
        device().replace_key(slot).unwrap();
        assert_eq!(session.sign_init(CKM_ECDSA, key), CKR_OK);
        let (mut signature, mut length) = ([0xee_u8; 64], 64);
        let data = [1u8; 32];
        let rv = ck!(module, C_Sign(session.handle, data.as_ptr().cast_mut(), 32, signature.as_mut_ptr(), &mut length));
        assert_eq!(rv, CKR_DEVICE_ERROR);
        assert_eq!(signature, [0xee; 64], "something was written");
    });
}

#[test]
fn i7_a_lost_connection_heals_and_handles_stay() {
    scenario("mapped::operations::i7_a_lost_connection_heals_and_handles_stay", affected, || {
        let (_, session) = logged_in();
        let (public_key, key) = session.pair(&[1]);
        for round in 0..5u8 {
            device().disconnect().unwrap();
            let signature = session.sign(CKM_ECDSA, key, &[round; 32]).unwrap();
            assert!(verifies(&session.openssl_key(public_key), &[round; 32], &signature));
            device().power_cycle().unwrap();
            session.sign(CKM_ECDSA, key, &[round; 32]).unwrap();
        }
    });
}

/// The mapped key's part of it is done here, the other by the backend.
#[test]
fn a_signature_goes_on_with_an_encryption_and_a_verification_with_a_decryption() {
    scenario(
        "mapped::operations::a_signature_goes_on_with_an_encryption_and_a_verification_with_a_decryption",
        affected,
        || {
            let (module, session) = logged_in();
            let (public_key, private_key) = session.pair(&[1]);
            let mut template = Template::default()
                .number(CKA_CLASS, CKO_SECRET_KEY)
                .number(CKA_KEY_TYPE, CKK_AES)
                .flag(CKA_TOKEN, false)
                .bytes(CKA_VALUE, &[7; 16]);
            let (mut raw, mut aes) = (template.raw(), 0);
            let count = raw.len() as CK_ULONG;
            assert_eq!(ck!(module, C_CreateObject(session.handle, raw.as_mut_ptr(), count, &mut aes)), CKR_OK);
            let mut iv = [3u8; 16];
            let mut cbc =
                CK_MECHANISM { mechanism: CKM_AES_CBC, pParameter: iv.as_mut_ptr().cast(), ulParameterLen: 16 };
            let data: Vec<u8> = (0..64).collect();
            let cipher = openssl::symm::Cipher::aes_128_cbc();
            let mut expected = openssl::symm::encrypt(cipher, &[7; 16], Some(&[3; 16]), &data).unwrap();
            expected.truncate(64);

            let update = |part: &[u8], room: usize| {
                let (mut out, mut length) = (vec![0; room], room as CK_ULONG);
                let pointer = if room == 0 { ptr::null_mut() } else { out.as_mut_ptr() };
                let (part, part_length) = (part.as_ptr().cast_mut(), part.len() as CK_ULONG);
                let rv = ck!(module, C_SignEncryptUpdate(session.handle, part, part_length, pointer, &mut length));
                out.truncate(length as usize);
                (rv, out)
            };
            assert_eq!(session.sign_init(CKM_ECDSA_SHA256, private_key), CKR_OK);
            let (rv, _) = update(&data[..32], 64);
            assert_eq!(rv, CKR_OPERATION_NOT_INITIALIZED, "there is no encryption yet");
            assert_eq!(ck!(module, C_EncryptInit(session.handle, &mut cbc, aes)), CKR_OK);
            // A query, and a buffer that is too small, sign nothing.
            assert_eq!(update(&data[..32], 0).0, CKR_OK);
            assert_eq!(update(&data[..32], 8).0, CKR_BUFFER_TOO_SMALL);
            let encrypted: Vec<u8> = [&data[..32], &data[32..]]
                .map(|part| {
                    let (rv, encrypted) = update(part, 64);
                    assert_eq!(rv, CKR_OK);
                    encrypted
                })
                .concat();
            assert_eq!(encrypted, expected);
            let mut length = 0;
            assert_eq!(ck!(module, C_EncryptFinal(session.handle, ptr::null_mut(), &mut length)), CKR_OK);
            let mut rest = [0; 16];
            assert_eq!(ck!(module, C_EncryptFinal(session.handle, rest.as_mut_ptr(), &mut length)), CKR_OK);
            let signature = last(&session).unwrap();
            assert!(verifies(&session.openssl_key(public_key), &sha256(&data), &signature));

            assert_eq!(session.verify_init(CKM_ECDSA_SHA256, public_key), CKR_OK);
            assert_eq!(ck!(module, C_DecryptInit(session.handle, &mut cbc, aes)), CKR_OK);
            let mut decrypted = Vec::new();
            // In place, as the specification allows.
            for part in encrypted.chunks(16) {
                let (mut part, mut length) = (part.to_vec(), 16);
                let pointer = part.as_mut_ptr();
                assert_eq!(
                    ck!(module, C_DecryptVerifyUpdate(session.handle, pointer, 16, pointer, &mut length)),
                    CKR_OK
                );
                decrypted.extend_from_slice(&part[..length as usize]);
            }
            let (mut rest, mut length) = ([0; 16], 16);
            assert_eq!(ck!(module, C_DecryptFinal(session.handle, rest.as_mut_ptr(), &mut length)), CKR_OK);
            decrypted.extend_from_slice(&rest[..length as usize]);
            assert_eq!(decrypted, data);
            let (pointer, length) = (signature.as_ptr().cast_mut(), signature.len() as CK_ULONG);
            assert_eq!(ck!(module, C_VerifyFinal(session.handle, pointer, length)), CKR_OK);
        },
    );
}

#[test]
fn secrets_are_derived_as_openssl_derives_them() {
    scenario("mapped::operations::secrets_are_derived_as_openssl_derives_them", affected, || {
        let (module, session) = logged_in();
        let (public_key, private_key) = session.pair(&[1]);
        let group = openssl::ec::EcGroup::from_curve_name(openssl::nid::Nid::X9_62_PRIME256V1).unwrap();
        let peer = openssl::ec::EcKey::generate(&group).unwrap();
        let mut context = openssl::bn::BigNumContext::new().unwrap();
        let form = openssl::ec::PointConversionForm::UNCOMPRESSED;
        let point = peer.public_key().to_bytes(&group, form, &mut context).unwrap();
        let ours = openssl::pkey::PKey::from_ec_key(session.openssl_key(public_key)).unwrap();
        let theirs = openssl::pkey::PKey::from_ec_key(peer).unwrap();
        let mut deriver = openssl::derive::Deriver::new(&theirs).unwrap();
        deriver.set_peer(&ours).unwrap();
        let expected = deriver.derive_to_vec().unwrap();

        let derive = |public_data: &[u8], length: Option<CK_ULONG>| {
            let mut parameters = CK_ECDH1_DERIVE_PARAMS {
                kdf: CKD_NULL,
                ulSharedDataLen: 0,
                pSharedData: ptr::null_mut(),
                ulPublicDataLen: public_data.len() as CK_ULONG,
                pPublicData: public_data.as_ptr().cast_mut(),
            };
            let mut mechanism = CK_MECHANISM {
                mechanism: CKM_ECDH1_DERIVE,
                pParameter: (&raw mut parameters).cast(),
                ulParameterLen: size_of::<CK_ECDH1_DERIVE_PARAMS>() as CK_ULONG,
            };
            let mut template = Template::default()
                .number(CKA_CLASS, CKO_SECRET_KEY)
                .number(CKA_KEY_TYPE, CKK_GENERIC_SECRET)
                .flag(CKA_SENSITIVE, false)
                .flag(CKA_EXTRACTABLE, true);
            if let Some(length) = length {
                template = template.number(CKA_VALUE_LEN, length);
            }
            let (mut raw, mut secret) = (template.raw(), 0);
            let count = raw.len() as CK_ULONG;
            let rv = ck!(
                module,
                C_DeriveKey(session.handle, &mut mechanism, private_key, raw.as_mut_ptr(), count, &mut secret)
            );
            if rv == CKR_OK { session.attribute(secret, CKA_VALUE) } else { Err(rv) }
        };
        let der = [&[0x04, 0x41], point.as_slice()].concat();
        assert_eq!(derive(&point, None).unwrap(), expected);
        assert_eq!(derive(&der, Some(32)).unwrap(), expected);
        assert_eq!(derive(&point, Some(16)).unwrap(), expected[16..]);
        let mut off_curve = point.clone();
        off_curve[64] ^= 1;
        assert_eq!(derive(&off_curve, None), Err(CKR_MECHANISM_PARAM_INVALID));
        assert_eq!(derive(&[], None), Err(CKR_MECHANISM_PARAM_INVALID));
        assert_eq!(derive(&point, Some(33)), Err(CKR_KEY_SIZE_RANGE));
    });
}
