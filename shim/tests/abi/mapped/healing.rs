//! A device that fails, answers late or is away: the right code, nothing lost, and the next call works.

use std::time::Duration;

use cryptoki_sys::{
    CK_ECDH1_DERIVE_PARAMS, CK_MECHANISM, CK_OBJECT_HANDLE, CK_RV, CK_SESSION_HANDLE, CK_ULONG, CKA_CLASS,
    CKA_EC_PARAMS, CKA_EC_POINT, CKA_ID, CKA_KEY_TYPE, CKA_PRIVATE, CKA_TOKEN, CKD_NULL, CKK_GENERIC_SECRET,
    CKM_ECDH1_DERIVE, CKM_ECDSA, CKM_ECDSA_SHA256, CKO_PRIVATE_KEY, CKO_SECRET_KEY, CKR_CRYPTOKI_NOT_INITIALIZED,
    CKR_DEVICE_ERROR, CKR_FUNCTION_FAILED, CKR_KEY_HANDLE_INVALID, CKR_OBJECT_HANDLE_INVALID, CKR_OK,
    CKR_OPERATION_NOT_INITIALIZED, CKR_PIN_INCORRECT, CKR_SESSION_HANDLE_INVALID, CKR_USER_NOT_LOGGED_IN, CKU_USER,
};
use zk_app_utils::behaviour::{ANY, Fault, FaultKind};

use super::{P256, Session, Template, logged_in, private, public, verifies};
use crate::fixture::{Pkcs11, World, ck, device, directory, in_fork, scenario};

fn affected() -> World {
    World::mapped("")
}

/// The `after`th call of the device goes wrong.
fn goes_wrong(kind: FaultKind, after: u64) {
    let fault = Fault { call: ANY.to_owned(), after, times: 1, kind };
    device().change_behaviour(|behaviour| behaviour.faults.push(fault)).unwrap();
}

fn whole_again() {
    device().change_behaviour(|behaviour| behaviour.faults.clear()).unwrap();
}

/// Every call of the device takes that long.
fn slow(ms: u64) {
    device().change_behaviour(|behaviour| behaviour.latencies = [(ANY.to_owned(), ms)].into()).unwrap();
}

fn private_keys(session: &Session<'_>) -> Vec<CK_OBJECT_HANDLE> {
    session.find(&Template::default().number(CKA_CLASS, CKO_PRIVATE_KEY))
}

/// The secret shared with the key itself.
fn derive(session: &Session<'_>, key: CK_OBJECT_HANDLE) -> Result<CK_OBJECT_HANDLE, CK_RV> {
    let point = session.attribute(key, CKA_EC_POINT)?;
    let mut parameters = CK_ECDH1_DERIVE_PARAMS {
        kdf: CKD_NULL,
        ulSharedDataLen: 0,
        pSharedData: std::ptr::null_mut(),
        ulPublicDataLen: point.len() as CK_ULONG,
        pPublicData: point.as_ptr().cast_mut(),
    };
    let mut mechanism = CK_MECHANISM {
        mechanism: CKM_ECDH1_DERIVE,
        pParameter: (&raw mut parameters).cast(),
        ulParameterLen: size_of::<CK_ECDH1_DERIVE_PARAMS>() as CK_ULONG,
    };
    let mut template = Template::default().number(CKA_CLASS, CKO_SECRET_KEY).number(CKA_KEY_TYPE, CKK_GENERIC_SECRET);
    let (mut raw, mut secret) = (template.raw(), 0);
    let count = raw.len() as CK_ULONG;
    match ck!(session.module, C_DeriveKey(session.handle, &mut mechanism, key, raw.as_mut_ptr(), count, &mut secret)) {
        CKR_OK => Ok(secret),
        rv => Err(rv),
    }
}

/// The device goes wrong at each of its calls in turn, in each way, in each call of ours that needs it.
#[test]
fn i7_whatever_goes_wrong_the_next_call_works_and_no_key_is_lost() {
    scenario("mapped::healing::i7_whatever_goes_wrong_the_next_call_works_and_no_key_is_lost", affected, || {
        let (module, session) = logged_in();
        let (public_key, key) = session.pair(&[0]);
        let openssl_key = session.openssl_key(public_key);
        let mut made = 1;
        let mut failed = [0; 4];
        let kinds = [
            FaultKind::Error,
            FaultKind::ErrorAfter,
            FaultKind::Disconnect,
            FaultKind::ShortReply,
            FaultKind::NullReply,
            FaultKind::WrongSlot,
            FaultKind::WrongSignature,
            FaultKind::BadPoint,
        ];
        for (kind, after) in kinds.into_iter().flat_map(|kind| (1..=6).map(move |after| (kind, after))) {
            let context = format!("{kind}, call {after}");
            let check = |outcome: CK_RV| {
                whole_again();
                let known = [CKR_OK, CKR_DEVICE_ERROR, CKR_FUNCTION_FAILED];
                assert!(known.contains(&outcome), "{context}: {outcome:#x}");
                // What was known before is.
                assert_eq!(session.attribute(key, CKA_ID).unwrap(), [0], "{context}");
                let signature = session.sign(CKM_ECDSA, key, &[after as u8; 32]).expect(&context);
                assert!(verifies(&openssl_key, &[after as u8; 32], &signature), "{context}");
                usize::from(outcome != CKR_OK)
            };
            goes_wrong(kind, after);
            let signed = session.sign(CKM_ECDSA, key, &[9; 32]);
            if let Ok(signature) = &signed {
                assert!(verifies(&openssl_key, &[9; 32], signature), "{context}");
            }
            failed[0] += check(signed.err().unwrap_or(CKR_OK));
            assert_eq!(session.sign_into(&[9; 32], 64), Err(CKR_OPERATION_NOT_INITIALIZED), "{context}: it has ended");

            goes_wrong(kind, after);
            failed[1] += check(derive(&session, key).err().unwrap_or(CKR_OK));

            goes_wrong(kind, after);
            let pair = session.generate(&public(P256), &private(&[1]));
            failed[2] += check(pair.err().unwrap_or(CKR_OK));
            made += usize::from(pair.is_ok());
            assert_eq!(private_keys(&session).len(), made, "{context}: exactly those that were reported");

            let (_, short_lived) = session.pair(&[2]);
            goes_wrong(kind, after);
            failed[3] += check(ck!(module, C_DestroyObject(session.handle, short_lived)));
            // Gone, or there and to be destroyed again.
            let rv = ck!(module, C_DestroyObject(session.handle, short_lived));
            assert!(matches!(rv, CKR_OK | CKR_OBJECT_HANDLE_INVALID), "{context}: {rv:#x}");
            assert_eq!(private_keys(&session).len(), made, "{context}");
        }
        assert!(failed.iter().all(|failed| *failed > 0), "{failed:?}: a call that was never disturbed");
        device().power_cycle().unwrap();
        for key in private_keys(&session) {
            let signature = session.sign(CKM_ECDSA, key, &[3; 32]).unwrap();
            assert!(verifies(&session.openssl_key(key), &[3; 32], &signature));
        }
    });
}

/// While one thread waits for the device, the others do everything that needs no device.
#[test]
fn i6_j3_a_device_that_hangs_holds_up_only_those_who_need_it() {
    scenario("mapped::healing::i6_j3_a_device_that_hangs_holds_up_only_those_who_need_it", affected, || {
        let (module, session) = logged_in();
        let (public_key, key) = session.pair(&[1]);
        let openssl_key = session.openssl_key(public_key);
        session.sign(CKM_ECDSA, key, &[1; 32]).unwrap();
        goes_wrong(FaultKind::Hang(6000), 1);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| {
                let session = Session { module, handle: module.open() };
                session.sign(CKM_ECDSA, key, &[2; 32])
            });
            std::thread::sleep(Duration::from_millis(200));
            assert_eq!(module.random(session.handle), CKR_OK);
            assert_eq!(private_keys(&session), [key]);
            assert_eq!(session.attribute(key, CKA_ID).unwrap(), [1]);
            assert_eq!(session.set(key, &Template::default().bytes(CKA_ID, &[7])), CKR_OK);
            assert_eq!(session.verify_init(CKM_ECDSA, public_key), CKR_OK);
            let other = module.open();
            assert_eq!(ck!(module, C_CloseSession(other)), CKR_OK);
            assert!(!waiting.is_finished(), "the device was not away long enough to show anything");
            let signature = waiting.join().unwrap().unwrap();
            assert!(verifies(&openssl_key, &[2; 32], &signature));
        });
        session.sign(CKM_ECDSA, key, &[3; 32]).unwrap();
    });
}

/// What another thread does to a session whose call waits for the device.
type Interruption = fn(&Pkcs11, CK_SESSION_HANDLE) -> CK_RV;

#[test]
fn b7_sessions_end_while_their_calls_wait_for_the_device() {
    scenario("mapped::healing::b7_sessions_end_while_their_calls_wait_for_the_device", affected, || {
        let (module, session) = logged_in();
        let (public_key, _) = session.pair(&[0]);
        let openssl_key = session.openssl_key(public_key);
        let interruptions: [(&str, Interruption); 4] = [
            ("C_CloseSession", |module, session| ck!(module, C_CloseSession(session))),
            ("C_CloseAllSessions", |module, _| ck!(module, C_CloseAllSessions(module.slot()))),
            ("C_Logout", |module, session| ck!(module, C_Logout(session))),
            ("C_Finalize", |module, _| module.finalize()),
        ];
        let mut made = 1;
        for (name, interrupt) in interruptions {
            for generates in [false, true] {
                let waiting = Session { module, handle: module.open() };
                module.login(waiting.handle);
                let key = waiting.find(&Template::default().bytes(CKA_ID, &[0]).number(CKA_CLASS, CKO_PRIVATE_KEY))[0];
                let handle = waiting.handle;
                slow(150);
                let outcome = std::thread::scope(|scope| {
                    let call = scope.spawn(|| {
                        if generates {
                            return waiting.generate(&public(P256), &private(&[1])).map(|_| Vec::new());
                        }
                        waiting.sign(CKM_ECDSA, key, &[5; 32])
                    });
                    std::thread::sleep(Duration::from_millis(75));
                    assert_eq!(interrupt(module, handle), CKR_OK, "{name}");
                    call.join().unwrap()
                });
                slow(0);
                match &outcome {
                    Ok(_) if generates => made += 1,
                    Ok(signature) => assert!(verifies(&openssl_key, &[5; 32], signature), "{name}"),
                    Err(rv) => {
                        let specified = [
                            CKR_SESSION_HANDLE_INVALID,
                            CKR_USER_NOT_LOGGED_IN,
                            CKR_KEY_HANDLE_INVALID,
                            CKR_OPERATION_NOT_INITIALIZED,
                            CKR_CRYPTOKI_NOT_INITIALIZED,
                        ];
                        assert!(specified.contains(rv), "{name}: {rv:#x}");
                    }
                }
                // Whatever it was, the next ones find a whole module, and the keys that were reported.
                module.initialize_for_threads();
                let next = Session { module, handle: module.open() };
                module.login(next.handle);
                assert_eq!(private_keys(&next).len(), made, "{name}");
            }
        }
    });
}

/// A PIN reaches the backend when a client gives it, and never again: a wrong one that is said over and over locks a token.
#[test]
fn i7_no_pin_is_ever_said_again() {
    let world = || World::mapped_around_softhsm("LOGINS");
    scenario("mapped::healing::i7_no_pin_is_ever_said_again", world, || {
        let (module, session) = logged_in();
        let (_, key) = session.pair(&[1]);
        let inside = Pkcs11::load(&directory().join("around_softhsm.so"));
        let logins = || unsafe { *inside.symbol("logins").unwrap().cast::<i32>() };
        assert_eq!(logins(), 1);
        // Nobody is logged in, whatever is lost, closed, begun anew.
        let nobody = |session: &Session<'_>| {
            device().disconnect().unwrap();
            assert_ne!(session.sign_init(CKM_ECDSA, key), CKR_OK);
            assert_eq!(session.generate(&public(P256), &private(&[2])), Err(CKR_USER_NOT_LOGGED_IN));
            assert!(private_keys(session).is_empty());
            device().power_cycle().unwrap();
            assert_eq!(session.generate(&public(P256), &private(&[2])), Err(CKR_USER_NOT_LOGGED_IN));
        };
        assert_eq!(ck!(module, C_Logout(session.handle)), CKR_OK);
        let wrong = "wrong";
        let (pin, length) = (wrong.as_ptr().cast_mut(), wrong.len() as CK_ULONG);
        assert_eq!(ck!(module, C_Login(session.handle, CKU_USER, pin, length)), CKR_PIN_INCORRECT);
        nobody(&session);
        assert_eq!(ck!(module, C_CloseAllSessions(module.slot())), CKR_OK);
        nobody(&Session { module, handle: module.open() });
        assert_eq!(module.finalize(), CKR_OK);
        assert_eq!(module.initialize_for_threads(), CKR_OK);
        nobody(&Session { module, handle: module.open() });
        let again = || {
            assert_eq!(module.initialize(), CKR_OK);
            nobody(&Session { module, handle: module.open() });
            assert_eq!(logins(), 2, "in a child");
        };
        assert_eq!(in_fork(again), Some(0));
        assert_eq!(logins(), 2);
        // Nor is the right one, for a device that is reached again or for a session after the last one.
        let session = Session { module, handle: module.open() };
        assert_eq!(module.login(session.handle), CKR_OK);
        let key = private_keys(&session)[0];
        device().disconnect().unwrap();
        session.sign(CKM_ECDSA, key, &[1; 32]).unwrap();
        assert_eq!(ck!(module, C_CloseAllSessions(module.slot())), CKR_OK);
        let session = Session { module, handle: module.open() };
        assert_eq!(session.sign_init(CKM_ECDSA, key), CKR_KEY_HANDLE_INVALID);
        assert_eq!(logins(), 3);
    });
}

/// The device is away for longer than any call waits for it.
#[test]
fn i7_while_the_device_is_away_calls_fail_that_need_it_and_no_others() {
    let world = || World::mapped("session-keys = \"wallet\"");
    scenario("mapped::healing::i7_while_the_device_is_away_calls_fail_that_need_it_and_no_others", world, || {
        let (module, session) = logged_in();
        let (public_key, key) = session.pair(&[1]);
        let openssl_key = session.openssl_key(public_key);
        let signature = session.sign(CKM_ECDSA, key, &[1; 32]).unwrap();
        let other = Session { module, handle: module.open() };
        let of_session = Template::default().bytes(CKA_EC_PARAMS, P256);
        let in_session = |session: &Session<'_>, private: bool| {
            session.generate(&of_session, &Template::default().flag(CKA_PRIVATE, private))
        };
        let (_, session_key) = in_session(&session, false).unwrap();
        let (_, private_session_key) = in_session(&session, true).unwrap();
        let (_, others_key) = in_session(&other, false).unwrap();
        let fault = Fault { call: ANY.to_owned(), after: 1, times: 0, kind: FaultKind::Error };
        device().change_behaviour(|behaviour| behaviour.faults.push(fault)).unwrap();

        for key in [key, session_key] {
            assert_eq!(session.sign(CKM_ECDSA, key, &[2; 32]), Err(CKR_DEVICE_ERROR));
            assert_eq!(session.sign_into(&[2; 32], 64), Err(CKR_OPERATION_NOT_INITIALIZED));
            assert_eq!(session.sign_init(CKM_ECDSA_SHA256, key), CKR_OK);
            let mut part = [3; 100];
            assert_eq!(ck!(module, C_SignUpdate(session.handle, part.as_mut_ptr(), 100)), CKR_OK);
            let (mut made, mut length) = ([0; 64], 64);
            let mut last = || ck!(module, C_SignFinal(session.handle, made.as_mut_ptr(), &mut length));
            assert_eq!(last(), CKR_DEVICE_ERROR);
            assert_eq!(last(), CKR_OPERATION_NOT_INITIALIZED);
            assert_eq!(made, [0; 64]);
        }
        assert_eq!(derive(&session, key), Err(CKR_DEVICE_ERROR));
        assert_eq!(session.generate(&public(P256), &private(&[2])), Err(CKR_DEVICE_ERROR));
        assert_eq!(in_session(&session, false), Err(CKR_DEVICE_ERROR));
        assert_eq!(ck!(module, C_DestroyObject(session.handle, key)), CKR_DEVICE_ERROR);
        assert_eq!(ck!(module, C_DestroyObject(session.handle, session_key)), CKR_DEVICE_ERROR);

        // What is in the store, and what is the backend's.
        assert_eq!(module.random(session.handle), CKR_OK);
        assert_eq!(private_keys(&session).len(), 4);
        assert_eq!(session.attribute(key, CKA_ID).unwrap(), [1]);
        assert_eq!(session.set(key, &Template::default().bytes(CKA_ID, &[7])), CKR_OK);
        assert_eq!(session.verify_init(CKM_ECDSA, public_key), CKR_OK);
        assert_eq!(session.verify(&[1; 32], &signature), CKR_OK);
        // What ends with a session or a login does, though the device does not know of it.
        assert_eq!(ck!(module, C_CloseSession(other.handle)), CKR_OK);
        assert_eq!(session.attribute(others_key, CKA_ID), Err(CKR_OBJECT_HANDLE_INVALID));
        assert_eq!(private_keys(&session), [key, session_key, private_session_key]);
        assert_eq!(ck!(module, C_Logout(session.handle)), CKR_OK);
        assert_eq!(module.login(session.handle), CKR_OK);
        let key = session.find(&Template::default().number(CKA_CLASS, CKO_PRIVATE_KEY).flag(CKA_TOKEN, true))[0];
        assert_eq!(private_keys(&session), [session_key, key]);

        whole_again();
        for key in [key, session_key] {
            session.sign(CKM_ECDSA, key, &[4; 32]).unwrap();
        }
        derive(&session, key).unwrap();
        assert_eq!(ck!(module, C_DestroyObject(session.handle, session_key)), CKR_OK);
        session.pair(&[2]);
        device().power_cycle().unwrap();
        let signature = session.sign(CKM_ECDSA, key, &[5; 32]).unwrap();
        assert!(verifies(&openssl_key, &[5; 32], &signature));
        assert_eq!(private_keys(&session).len(), 2);
    });
}
