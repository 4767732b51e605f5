//! What belongs to something that is no more: a session, a login, a store, a parent process.

use std::ptr;

use cryptoki_sys::{
    CK_TOKEN_INFO, CK_ULONG, CKA_CLASS, CKA_EC_PARAMS, CKA_ID, CKA_TOKEN, CKF_TOKEN_INITIALIZED, CKM_EC_KEY_PAIR_GEN,
    CKM_ECDSA, CKM_ECDSA_SHA384, CKO_PRIVATE_KEY, CKR_ARGUMENTS_BAD, CKR_CRYPTOKI_NOT_INITIALIZED,
    CKR_OBJECT_HANDLE_INVALID, CKR_OK, CKR_TEMPLATE_INCONSISTENT,
};
use openssl::hash::{MessageDigest, hash};

use super::{P256, P384, Session, Template, logged_in, mechanism, private, public, verifies};
use crate::fixture::{SO_PIN, World, ck, directory, in_fork, in_raw_fork, scenario};

fn affected() -> World {
    World::mapped("")
}

/// SoftHSM2 2.6.1 has no CKM_ECDSA_SHA384: the digest is made here.
#[test]
fn a_logout_never_makes_raw_data_of_what_was_to_be_digested() {
    scenario("mapped::stale::a_logout_never_makes_raw_data_of_what_was_to_be_digested", affected, || {
        let (module, session) = logged_in();
        let (public_key, key) = session.generate(&public(P384), &private(&[1])).unwrap();
        let openssl_key = session.openssl_key(public_key);
        // A search, so that the session is known here.
        assert_eq!(session.find(&Template::default()).len(), 2);
        let data = [7; 48];
        assert_eq!(session.sign_init(CKM_ECDSA_SHA384, key), CKR_OK);
        assert_eq!(ck!(module, C_Logout(session.handle)), CKR_OK);
        // Whether the operation outlives the logout is the backend's to say.
        if let Ok(signature) = session.sign_into(&data, 200) {
            assert!(!verifies(&openssl_key, &data, &signature), "the data was taken for its digest");
            assert!(verifies(&openssl_key, &hash(MessageDigest::sha384(), &data).unwrap(), &signature));
        }
    });
}

/// Whether the backend has an operation in progress is learnt by asking it for one with handle 0.
#[test]
fn a_backend_that_takes_any_handle_is_left_without_an_operation() {
    let world = || World::mapped_around_softhsm("ANY_KEY");
    scenario("mapped::stale::a_backend_that_takes_any_handle_is_left_without_an_operation", world, || {
        let (_, session) = logged_in();
        let (mapped_public, mapped) = session.pair(&[1]);
        let (backends_public, backends) = session.generate(&public(P384), &private(&[2])).unwrap();
        for (public_key, key) in [(mapped_public, mapped), (backends_public, backends)].repeat(2) {
            let signature = session.sign(CKM_ECDSA, key, &[4; 32]).unwrap();
            assert_eq!(session.verify_init(CKM_ECDSA, public_key), CKR_OK);
            assert_eq!(session.verify(&[4; 32], &signature), CKR_OK);
        }
    });
}

#[test]
fn a_token_that_is_none_for_a_moment_keeps_its_keys_and_loses_them_when_it_is_initialised() {
    let world = || World::mapped_around_softhsm("FLICKERING");
    scenario(
        "mapped::stale::a_token_that_is_none_for_a_moment_keeps_its_keys_and_loses_them_when_it_is_initialised",
        world,
        || {
            let (module, _) = logged_in();
            for id in 0..3 {
                let session = Session { module, handle: module.open() };
                let (_, key) = session.pair(&[id]);
                session.sign(CKM_ECDSA, key, &[4; 32]).unwrap();
                assert_eq!(ck!(module, C_CloseSession(session.handle)), CKR_OK);
            }
            let slot = module.slot();
            assert_eq!(ck!(module, C_CloseAllSessions(slot)), CKR_OK);
            // It is none at the next call.
            let mut info = unsafe { std::mem::zeroed::<CK_TOKEN_INFO>() };
            while info.flags & CKF_TOKEN_INITIALIZED == 0 {
                let _ = ck!(module, C_GetTokenInfo(slot, &mut info));
            }
            let mut label = *b"test                            ";
            let (pin, length) = (SO_PIN.as_ptr().cast_mut(), SO_PIN.len() as CK_ULONG);
            assert_eq!(ck!(module, C_InitToken(slot, pin, length, label.as_mut_ptr())), CKR_OK);
            let session = Session { module, handle: module.open() };
            assert!(session.find(&Template::default()).is_empty());
        },
    );
}

/// Threads close and open sessions; what one has in its new session is not ended by the other's late news.
#[test]
fn closing_one_session_leaves_the_next_with_its_handle_alone() {
    scenario("mapped::stale::closing_one_session_leaves_the_next_with_its_handle_alone", affected, || {
        let (module, session) = logged_in();
        let (_, key) = session.pair(&[1]);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..150 {
                        let session = Session { module, handle: module.open() };
                        assert_eq!(session.sign_init(CKM_ECDSA, key), CKR_OK);
                        let mut length = 0;
                        let digest = [1u8; 32];
                        let rv = ck!(
                            module,
                            C_Sign(session.handle, digest.as_ptr().cast_mut(), 32, ptr::null_mut(), &mut length)
                        );
                        assert_eq!((rv, length), (CKR_OK, 64), "the operation is still there");
                        assert_eq!(session.find(&Template::default()).len(), 2);
                        assert_eq!(ck!(module, C_CloseSession(session.handle)), CKR_OK);
                    }
                });
            }
        });
    });
}

/// Numbers of objects are given out again when the store is replaced by an older copy of itself.
#[test]
fn a_handle_does_not_follow_its_number_into_a_restored_store() {
    scenario("mapped::stale::a_handle_does_not_follow_its_number_into_a_restored_store", affected, || {
        let (_, session) = logged_in();
        session.pair(&[1]);
        let store = directory().join("store/mapping.db");
        let backup = directory().join("store/backup");
        std::fs::copy(&store, &backup).unwrap();
        let (lost_public, lost) = session.pair(&[2]);
        std::fs::rename(&backup, &store).unwrap();
        // Until it is known to be gone: the number may mean another object by now.
        let (new_public, new) = session.pair(&[3]);
        assert_ne!((lost_public, lost), (new_public, new));
        assert_eq!(session.attribute(lost, CKA_ID), Err(CKR_OBJECT_HANDLE_INVALID));
        assert_eq!(session.attribute(lost_public, CKA_ID), Err(CKR_OBJECT_HANDLE_INVALID));
        let openssl_key = session.openssl_key(new_public);
        let signature = session.sign(CKM_ECDSA, new, &[1; 32]).unwrap();
        assert!(verifies(&openssl_key, &[1; 32], &signature));
    });
}

/// A backend reads what we do not: it must not get the chance to make the key in software.
#[test]
fn d2_a_template_that_says_two_things_or_cannot_be_read_makes_no_key() {
    scenario("mapped::stale::d2_a_template_that_says_two_things_or_cannot_be_read_makes_no_key", affected, || {
        let (module, session) = logged_in();
        let twice = Template::default().flag(CKA_TOKEN, false);
        let refused = Err(CKR_TEMPLATE_INCONSISTENT);
        assert_eq!(session.generate(&public(P256), &twice.flag(CKA_TOKEN, true)), refused);
        let curves = Template::default().flag(CKA_TOKEN, true).bytes(CKA_EC_PARAMS, P384).bytes(CKA_EC_PARAMS, P256);
        assert_eq!(session.generate(&curves, &private(&[1])), refused);
        // One byte beside where the attributes should be.
        let (mut public, mut private) = (public(P256), private(&[1]));
        let (mut raw, mut raw_private) = (public.raw(), private.raw());
        let bytes = size_of_val(raw.as_slice());
        let mut beside = vec![0u64; bytes / 8 + 1];
        let beside = unsafe { beside.as_mut_ptr().cast::<u8>().add(1) };
        unsafe { ptr::copy_nonoverlapping(raw.as_mut_ptr().cast::<u8>(), beside, bytes) };
        let (mut first, mut second) = (0, 0);
        let rv = ck!(
            module,
            C_GenerateKeyPair(
                session.handle,
                &mut mechanism(CKM_EC_KEY_PAIR_GEN),
                beside.cast(),
                raw.len() as CK_ULONG,
                raw_private.as_mut_ptr(),
                raw_private.len() as CK_ULONG,
                &mut first,
                &mut second,
            )
        );
        assert_eq!(rv, CKR_ARGUMENTS_BAD);
        assert!(session.find(&Template::default()).is_empty());
    });
}

/// Some clients' fork handlers call C_Finalize in the child: that is no initialisation.
#[test]
fn e1_a_child_that_finalises_first_has_neither_login_nor_session_of_its_parent() {
    scenario(
        "mapped::stale::e1_a_child_that_finalises_first_has_neither_login_nor_session_of_its_parent",
        affected,
        || {
            let (module, session) = logged_in();
            let (public_key, key) = session.pair(&[1]);
            let openssl_key = session.openssl_key(public_key);
            session.sign(CKM_ECDSA, key, &[1; 32]).unwrap();
            let child = || {
                assert_eq!(module.finalize(), CKR_CRYPTOKI_NOT_INITIALIZED);
                assert_eq!(module.initialize(), CKR_OK);
                let own = Session { module, handle: module.open() };
                assert_eq!(own.find(&Template::default()).len(), 1, "nobody is logged in");
                assert_eq!(module.login(own.handle), CKR_OK);
                let key = own.find(&Template::default().number(CKA_CLASS, CKO_PRIVATE_KEY))[0];
                let signature = own.sign(CKM_ECDSA, key, &[2; 32]).unwrap();
                assert!(verifies(&openssl_key, &[2; 32], &signature));
            };
            assert_eq!(in_fork(child), Some(0));
            assert_eq!(in_raw_fork(child), Some(0));
            session.sign(CKM_ECDSA, key, &[3; 32]).unwrap();
        },
    );
}
