//! Forked children: uninitialised until they call C_Initialize, which then succeeds.

use cryptoki_sys::{CKR_CRYPTOKI_NOT_INITIALIZED, CKR_OK, CKR_SESSION_HANDLE_INVALID, CKR_USER_ALREADY_LOGGED_IN};

use crate::fixture::{Pkcs11, World, in_fork, in_raw_fork, scenario};
use crate::lifecycle::assert_not_initialized;

#[test]
fn e1_a_child_is_uninitialised() {
    scenario("fork::e1_a_child_is_uninitialised", World::softhsm, || {
        let module = Pkcs11::holdfast();
        module.initialize();
        let session = module.open();
        assert_eq!(module.login(session), CKR_OK);
        let child = || {
            assert_not_initialized(&module);
            assert_eq!(module.finalize(), CKR_CRYPTOKI_NOT_INITIALIZED);
        };
        assert_eq!(in_fork(child), Some(0));
        assert_eq!(in_raw_fork(child), Some(0), "noticed by the kernel, not by the C library");
        assert_eq!(module.random(session), CKR_OK, "the parent goes on");
        assert_eq!(module.login(session), CKR_USER_ALREADY_LOGGED_IN);
    });
}

#[test]
fn e1_a_child_initialises_afresh() {
    scenario("fork::e1_a_child_initialises_afresh", World::softhsm, || {
        let module = Pkcs11::holdfast();
        module.initialize();
        let session = module.open();
        assert_eq!(module.login(session), CKR_OK);
        let child = || {
            assert_eq!(module.initialize(), CKR_OK);
            assert_eq!(module.random(session), CKR_SESSION_HANDLE_INVALID, "sessions are the parent's");
            let own = module.open();
            assert_eq!(module.login(own), CKR_OK, "and so is its login");
            assert_eq!(module.random(own), CKR_OK);
            // And its child.
            assert_eq!(
                in_fork(|| {
                    assert_eq!(module.random(own), CKR_CRYPTOKI_NOT_INITIALIZED);
                    assert_eq!(module.initialize(), CKR_OK);
                    assert_eq!(module.login(module.open()), CKR_OK);
                    assert_eq!(module.finalize(), CKR_OK);
                }),
                Some(0)
            );
            assert_eq!(module.random(own), CKR_OK);
            assert_eq!(module.finalize(), CKR_OK);
            assert_eq!(module.initialize(), CKR_OK);
            assert_eq!(module.login(module.open()), CKR_OK);
            assert_eq!(module.finalize(), CKR_OK);
        };
        assert_eq!(in_fork(child), Some(0));
        assert_eq!(in_raw_fork(child), Some(0));
        assert_eq!(module.random(session), CKR_OK);
        assert_eq!(module.finalize(), CKR_OK);
        // Forked after C_Finalize, and before any C_Initialize of the parent.
        assert_eq!(in_fork(|| assert_eq!(module.initialize(), CKR_OK)), Some(0));
    });
}

#[test]
fn fork_while_other_threads_call() {
    use std::sync::atomic::{AtomicBool, Ordering};

    scenario("fork::fork_while_other_threads_call", World::softhsm, || {
        let module = Pkcs11::holdfast();
        module.initialize_for_threads();
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    let session = module.open();
                    while !stop.load(Ordering::Relaxed) {
                        let mut info = std::mem::MaybeUninit::uninit();
                        let rv = crate::fixture::ck!(module, C_GetSessionInfo(session, info.as_mut_ptr()));
                        assert_eq!(rv, CKR_OK);
                    }
                });
            }
            for _ in 0..100 {
                // The threads that were inside calls do not exist in the child: it must not wait for them.
                let status = in_fork(|| {
                    assert_eq!(module.finalize(), CKR_CRYPTOKI_NOT_INITIALIZED);
                    assert_not_initialized(&module);
                });
                assert_eq!(status, Some(0));
            }
            stop.store(true, Ordering::Relaxed);
        });
        assert_eq!(module.finalize(), CKR_OK);
    });
}
