//! Login, logout, the end of sessions, tokens initialised again, forks and threads.

use std::ptr;

use cryptoki_sys::{
    CK_ULONG, CKA_CLASS, CKA_EC_PARAMS, CKA_ID, CKA_PRIVATE, CKM_ECDSA, CKO_PRIVATE_KEY, CKR_CRYPTOKI_NOT_INITIALIZED,
    CKR_KEY_HANDLE_INVALID, CKR_OBJECT_HANDLE_INVALID, CKR_OK, CKR_OPERATION_NOT_INITIALIZED, CKR_PIN_INCORRECT,
    CKR_SESSION_EXISTS, CKR_SESSION_HANDLE_INVALID, CKR_USER_ALREADY_LOGGED_IN, CKU_CONTEXT_SPECIFIC, CKU_SO,
};

use super::{Session, Template, logged_in, verifies};
use crate::fixture::{Pkcs11, SO_PIN, World, ck, device, in_fork, scenario};

fn affected() -> World {
    World::mapped("")
}

fn wallet_slots() -> usize {
    device().slots().unwrap().slots.iter().filter(|slot| slot.wallet.is_some()).count()
}

#[test]
fn b7_logout_ends_operations_and_private_handles() {
    scenario("mapped::sessions::b7_logout_ends_operations_and_private_handles", affected, || {
        let (module, session) = logged_in();
        let (public_key, private_key) = session.pair(&[1]);
        assert_eq!(session.sign_init(CKM_ECDSA, private_key), CKR_OK);
        // In the middle of a search, too.
        let searching = Session { module, handle: module.open() };
        assert_eq!(ck!(module, C_FindObjectsInit(searching.handle, ptr::null_mut(), 0)), CKR_OK);
        assert_eq!(ck!(module, C_Logout(session.handle)), CKR_OK);
        let (mut found, mut count) = ([0; 10], 0);
        assert_eq!(ck!(module, C_FindObjects(searching.handle, found.as_mut_ptr(), 10, &mut count)), CKR_OK);
        assert!(!found[..count as usize].contains(&private_key));
        assert_eq!(session.sign_into(&[1; 32], 100), Err(CKR_OPERATION_NOT_INITIALIZED));
        assert_eq!(session.attribute(private_key, CKA_ID), Err(CKR_OBJECT_HANDLE_INVALID));
        assert_eq!(session.sign_init(CKM_ECDSA, private_key), CKR_KEY_HANDLE_INVALID);
        // The public half needs no login.
        assert_eq!(session.find(&Template::default()), [public_key]);
        assert_eq!(module.login(session.handle), CKR_OK);
        assert_eq!(session.attribute(private_key, CKA_ID), Err(CKR_OBJECT_HANDLE_INVALID), "the old handle");
        let again = session.find(&Template::default().number(CKA_CLASS, CKO_PRIVATE_KEY));
        session.sign(CKM_ECDSA, again[0], &[1; 32]).unwrap();
    });
}

#[test]
fn b1_the_security_officer_sees_no_private_key() {
    scenario("mapped::sessions::b1_the_security_officer_sees_no_private_key", affected, || {
        let (module, session) = logged_in();
        let (public_key, _) = session.pair(&[1]);
        assert_eq!(module.login(session.handle), CKR_USER_ALREADY_LOGGED_IN);
        assert_eq!(ck!(module, C_Logout(session.handle)), CKR_OK);
        let so_pin = SO_PIN.as_ptr().cast_mut();
        assert_eq!(ck!(module, C_Login(session.handle, CKU_SO, so_pin, 4)), CKR_OK);
        assert_eq!(session.find(&Template::default()), [public_key]);
    });
}

/// No mapped key asks for it (`CKA_ALWAYS_AUTHENTICATE` is false): it is the backend's to answer, and the signature goes on.
#[test]
fn a_context_specific_login_is_the_backends_to_answer() {
    scenario("mapped::sessions::a_context_specific_login_is_the_backends_to_answer", affected, || {
        let (module, session) = logged_in();
        let (_, key) = session.pair(&[1]);
        assert_eq!(session.sign_init(CKM_ECDSA, key), CKR_OK);
        let pin = crate::fixture::PIN;
        let (pin, length) = (pin.as_ptr().cast_mut(), pin.len() as CK_ULONG);
        let rv = ck!(module, C_Login(session.handle, CKU_CONTEXT_SPECIFIC, pin, length));
        assert_eq!(rv, CKR_OPERATION_NOT_INITIALIZED, "as SoftHSM2 says without an operation of its own");
        session.sign_into(&[1; 32], 64).unwrap();
    });
}

#[test]
fn a_closed_session_takes_its_operations_along() {
    scenario("mapped::sessions::a_closed_session_takes_its_operations_along", affected, || {
        let (module, session) = logged_in();
        let (_, key) = session.pair(&[1]);
        let other = Session { module, handle: module.open() };
        assert_eq!(other.sign_init(CKM_ECDSA, key), CKR_OK);
        assert_eq!(ck!(module, C_CloseSession(other.handle)), CKR_OK);
        assert_eq!(other.sign_into(&[1; 32], 100), Err(CKR_SESSION_HANDLE_INVALID));
        assert_eq!(other.sign_init(CKM_ECDSA, key), CKR_SESSION_HANDLE_INVALID);
        assert_eq!(other.attribute(key, CKA_ID), Err(CKR_SESSION_HANDLE_INVALID));
        assert_eq!(ck!(module, C_CloseAllSessions(module.slot())), CKR_OK);
        let fresh = Session { module, handle: module.open() };
        assert_eq!(fresh.sign_into(&[1; 32], 100), Err(CKR_OPERATION_NOT_INITIALIZED));
    });
}

#[test]
fn session_keys_leave_the_device_with_their_session() {
    scenario(
        "mapped::sessions::session_keys_leave_the_device_with_their_session",
        || World::mapped("session-keys = \"wallet\""),
        || {
            let (module, session) = logged_in();
            session.pair(&[1]);
            let kept = wallet_slots();
            let other = Session { module, handle: module.open() };
            for session in [&session, &other] {
                let public = Template::default().bytes(CKA_EC_PARAMS, super::P256);
                let (_, key) = session.generate(&public, &Template::default()).unwrap();
                session.sign(CKM_ECDSA, key, &[1; 32]).unwrap();
            }
            assert_eq!(wallet_slots(), kept + 2);
            assert_eq!(ck!(module, C_CloseSession(other.handle)), CKR_OK);
            assert_eq!(wallet_slots(), kept + 1);
            assert_eq!(module.finalize(), CKR_OK);
            assert_eq!(wallet_slots(), kept);
        },
    );
}

#[test]
fn session_keys_leave_the_device_with_a_process_that_exits() {
    scenario(
        "mapped::sessions::session_keys_leave_the_device_with_a_process_that_exits",
        || World::mapped("session-keys = \"wallet\""),
        || {
            let status = in_fork(|| {
                let (_, session) = logged_in();
                session.pair(&[1]);
                let public = Template::default().bytes(CKA_EC_PARAMS, super::P256);
                session.generate(&public, &Template::default()).unwrap();
                assert_eq!(wallet_slots(), 3);
                unsafe { libc::exit(0) };
            });
            assert_eq!(status, Some(0));
            assert_eq!(wallet_slots(), 2, "the seed and the token's key");
        },
    );
}

/// As the specification has it: a logout destroys private session objects, and only these.
#[test]
fn a_logout_ends_private_session_objects() {
    scenario(
        "mapped::sessions::a_logout_ends_private_session_objects",
        || World::mapped("session-keys = \"wallet\""),
        || {
            let (module, session) = logged_in();
            let public = Template::default().bytes(CKA_EC_PARAMS, super::P256);
            let (public_key, private_key) = session.generate(&public, &Template::default()).unwrap();
            let signature = session.sign(CKM_ECDSA, private_key, &[1; 32]).unwrap();
            let open = Template::default().flag(CKA_PRIVATE, false);
            let (_, not_private) = session.generate(&public, &open).unwrap();
            let made = wallet_slots();
            assert_eq!(ck!(module, C_Logout(session.handle)), CKR_OK);
            assert_eq!(wallet_slots(), made - 1);
            assert_eq!(session.attribute(private_key, CKA_ID), Err(CKR_OBJECT_HANDLE_INVALID));
            assert_eq!(session.verify_init(CKM_ECDSA, public_key), CKR_OK);
            assert_eq!(session.verify(&[1; 32], &signature), CKR_OK);
            session.sign(CKM_ECDSA, not_private, &[1; 32]).unwrap();
            assert_eq!(ck!(module, C_CloseSession(session.handle)), CKR_OK);
            assert_eq!(wallet_slots(), 1, "the seed of the wallet");
            let fresh = Session { module, handle: module.open() };
            assert!(fresh.find(&Template::default()).is_empty());
        },
    );
}

#[test]
fn an_initialised_token_loses_its_keys_and_a_refused_one_does_not() {
    scenario("mapped::sessions::an_initialised_token_loses_its_keys_and_a_refused_one_does_not", affected, || {
        let (module, session) = logged_in();
        session.pair(&[1]);
        let with_keys = wallet_slots();
        let slot = module.slot();
        assert_eq!(ck!(module, C_CloseAllSessions(slot)), CKR_OK);
        let mut label = [b' '; 32];
        label[..4].copy_from_slice(b"test");
        let init = |pin: &str| {
            let mut label = label;
            ck!(module, C_InitToken(slot, pin.as_ptr().cast_mut(), pin.len() as CK_ULONG, label.as_mut_ptr()))
        };
        assert_eq!(init("wrong"), CKR_PIN_INCORRECT);
        let session = Session { module, handle: module.open() };
        assert_eq!(module.login(session.handle), CKR_OK);
        let key = session.find(&Template::default().number(CKA_CLASS, CKO_PRIVATE_KEY))[0];
        session.sign(CKM_ECDSA, key, &[1; 32]).unwrap();
        assert_eq!(init(SO_PIN), CKR_SESSION_EXISTS);
        session.sign(CKM_ECDSA, key, &[1; 32]).unwrap();
        assert_eq!(ck!(module, C_CloseAllSessions(slot)), CKR_OK);
        assert_eq!(init(SO_PIN), CKR_OK);
        assert_eq!(wallet_slots(), with_keys - 1, "the key is gone, the seed is not");
        let session = Session { module, handle: module.open() };
        assert!(session.find(&Template::default()).is_empty());
    });
}

/// The child starts clean, logs in by itself and signs; the parent's handles and session go on.
#[test]
fn e1_a_forked_child_signs_after_its_own_initialisation() {
    scenario("mapped::sessions::e1_a_forked_child_signs_after_its_own_initialisation", affected, || {
        let (module, session) = logged_in();
        let (public_key, key) = session.pair(&[1]);
        let openssl_key = session.openssl_key(public_key);
        session.sign(CKM_ECDSA, key, &[1; 32]).unwrap();
        for _ in 0..3 {
            let status = in_fork(|| {
                assert_eq!(session.attribute(key, CKA_ID), Err(CKR_CRYPTOKI_NOT_INITIALIZED));
                assert_eq!(module.initialize(), CKR_OK);
                let session = Session { module, handle: module.open() };
                assert_eq!(module.login(session.handle), CKR_OK);
                let parents = Template::default().number(CKA_CLASS, CKO_PRIVATE_KEY).bytes(CKA_ID, &[1]);
                let key = session.find(&parents)[0];
                let signature = session.sign(CKM_ECDSA, key, &[2; 32]).unwrap();
                assert!(verifies(&openssl_key, &[2; 32], &signature));
                session.pair(&std::process::id().to_be_bytes());
            });
            assert_eq!(status, Some(0));
            let signature = session.sign(CKM_ECDSA, key, &[3; 32]).unwrap();
            assert!(verifies(&openssl_key, &[3; 32], &signature));
        }
        // What the children made is found at the next search.
        assert_eq!(session.find(&Template::default().number(CKA_CLASS, CKO_PRIVATE_KEY)).len(), 4);
    });
}

#[test]
fn threads_sign_generate_search_and_destroy_at_once() {
    scenario("mapped::sessions::threads_sign_generate_search_and_destroy_at_once", affected, || {
        let (module, session) = logged_in();
        let (public_key, key) = session.pair(&[0]);
        let openssl_key = session.openssl_key(public_key);
        std::thread::scope(|scope| {
            for thread in 1..=6u8 {
                let openssl_key = &openssl_key;
                scope.spawn(move || {
                    let session = Session { module, handle: module.open() };
                    for round in 0..8 {
                        let digest = [thread ^ round; 32];
                        let signature = session.sign(CKM_ECDSA, key, &digest).unwrap();
                        assert!(verifies(openssl_key, &digest, &signature));
                        let (mine_public, mine) = session.pair(&[thread]);
                        let signature = session.sign(CKM_ECDSA, mine, &digest).unwrap();
                        assert!(verifies(&session.openssl_key(mine_public), &digest, &signature));
                        let found = session.find(&Template::default().bytes(CKA_ID, &[thread]));
                        assert_eq!(found.len(), 2);
                        for object in found {
                            assert_eq!(ck!(module, C_DestroyObject(session.handle, object)), CKR_OK);
                        }
                    }
                    assert_eq!(ck!(module, C_CloseSession(session.handle)), CKR_OK);
                });
            }
        });
        assert_eq!(wallet_slots(), 2);
    });
}

#[test]
fn j4_nothing_of_a_finished_instance_is_left() {
    scenario("mapped::sessions::j4_nothing_of_a_finished_instance_is_left", affected, || {
        let (module, session) = logged_in();
        session.pair(&[1]);
        let descriptors = || std::fs::read_dir("/proc/self/fd").unwrap().count();
        assert_eq!(module.finalize(), CKR_OK);
        let first = descriptors();
        for _ in 0..5 {
            let again: &Pkcs11 = module;
            assert_eq!(again.initialize(), CKR_OK);
            let session = Session { module: again, handle: again.open() };
            assert_eq!(again.login(session.handle), CKR_OK);
            let key = session.find(&Template::default().number(CKA_CLASS, CKO_PRIVATE_KEY))[0];
            session.sign(CKM_ECDSA, key, &[1; 32]).unwrap();
            assert_eq!(again.finalize(), CKR_OK);
        }
        assert_eq!(descriptors(), first);
        let open: Vec<_> = std::fs::read_dir("/proc/self/fd").unwrap().flatten().collect();
        let leads_to_store = |entry: &std::fs::DirEntry| {
            std::fs::read_link(entry.path()).is_ok_and(|path| path.to_string_lossy().contains("mapping.db"))
        };
        assert!(!open.iter().any(leads_to_store), "the store is still open");
    });
}
