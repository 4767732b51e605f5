//! Forks, several processes at once, and a module that is loaded again and again, while keys are made and used.

use std::fs::File;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use cryptoki_sys::{CK_ULONG, CKA_CLASS, CKA_ID, CKM_ECDSA, CKO_PRIVATE_KEY, CKR_FUNCTION_FAILED, CKR_OK};
use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};

use super::{P256, Session, Template, logged_in, private, public, verifies};
use crate::fixture::{PIN, Pkcs11, SO_PIN, World, ck, device, directory, in_fork, module_path, scenario};

fn affected() -> World {
    World::mapped("")
}

/// What this process has open of the store. The device's connection is the vendor's library's, which alone could close it.
fn open_files() -> Vec<String> {
    let store = directory().join("store");
    let links = std::fs::read_dir("/proc/self/fd").unwrap();
    let links = links.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
    links.filter(|path| path.starts_with(&store)).map(|path| path.display().to_string()).collect()
}

fn of_id(id: &[u8]) -> Template {
    Template::default().bytes(CKA_ID, id).number(CKA_CLASS, CKO_PRIVATE_KEY)
}

/// The fork meets store transactions and calls of the device, wherever they are.
#[test]
fn e1_a_fork_at_any_moment_of_a_generation_leaves_both_sides_whole() {
    scenario("mapped::processes::e1_a_fork_at_any_moment_of_a_generation_leaves_both_sides_whole", affected, || {
        let (module, session) = logged_in();
        let (public_key, key) = session.pair(&[0]);
        let openssl_key = session.openssl_key(public_key);
        let (stop, made) = (AtomicBool::new(false), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for thread in 1..=2u8 {
                let (stop, made) = (&stop, &made);
                // SoftHSM2 2.6.1 does not recognise a token that another process, a child, is logging in to.
                let session = Session { module, handle: module.open() };
                scope.spawn(move || {
                    while !stop.load(Ordering::Relaxed) {
                        session.pair(&[thread]);
                        made.fetch_add(1, Ordering::Relaxed);
                        session.sign(CKM_ECDSA, key, &[thread; 32]).unwrap();
                    }
                });
            }
            for round in 0..12u64 {
                std::thread::sleep(std::time::Duration::from_millis(7 * (round % 5)));
                let status = in_fork(|| {
                    assert_eq!(open_files(), [""; 0], "inherited");
                    let (_, session) = logged_in();
                    let found = session.find(&of_id(&[0]));
                    let signature = session.sign(CKM_ECDSA, found[0], &[9; 32]).unwrap();
                    assert!(verifies(&openssl_key, &[9; 32], &signature));
                    session.pair(b"child");
                });
                assert_eq!(status, Some(0), "round {round}");
            }
            stop.store(true, Ordering::Relaxed);
        });
        device().power_cycle().unwrap();
        let all = session.find(&Template::default().number(CKA_CLASS, CKO_PRIVATE_KEY));
        assert_eq!(all.len(), 1 + 12 + made.load(Ordering::Relaxed));
        for key in all {
            session.sign(CKM_ECDSA, key, &[4; 32]).unwrap();
        }
    });
}

#[test]
fn j4_processes_make_find_use_and_destroy_keys_at_once() {
    scenario("mapped::processes::j4_processes_make_find_use_and_destroy_keys_at_once", affected, || {
        const ROUNDS: u8 = 5;
        std::thread::scope(|scope| {
            for process in 1..=4u8 {
                scope.spawn(move || {
                    let work = || {
                        // SoftHSM2 2.6.1 does not recognise a token that another process is logging in to.
                        let turn = File::create(directory().join("turn")).unwrap();
                        turn.lock().unwrap();
                        let (module, session) = logged_in();
                        turn.unlock().unwrap();
                        for round in 0..ROUNDS {
                            let id = [process, round];
                            let (public_key, key) = session.pair(&id);
                            assert_eq!(session.find(&of_id(&id)), [key]);
                            // Those of the others come and go meanwhile.
                            let all = session.find_by(&Template::default().number(CKA_CLASS, CKO_PRIVATE_KEY), 2);
                            assert!(all.contains(&key));
                            let signature = session.sign(CKM_ECDSA, key, &[round; 32]).unwrap();
                            assert!(verifies(&session.openssl_key(public_key), &[round; 32], &signature));
                            if round % 2 == 1 {
                                for object in [key, public_key] {
                                    assert_eq!(ck!(module, C_DestroyObject(session.handle, object)), CKR_OK);
                                }
                            }
                        }
                        assert_eq!(module.finalize(), CKR_OK);
                    };
                    assert_eq!(in_fork(work), Some(0), "process {process}");
                });
            }
        });
        device().power_cycle().unwrap();
        let (_, session) = logged_in();
        for process in 1..=4u8 {
            for round in 0..ROUNDS {
                let found = session.find(&of_id(&[process, round]));
                assert_eq!(found.len(), usize::from(round % 2 == 0), "process {process}, round {round}");
                for key in found {
                    session.sign(CKM_ECDSA, key, &[4; 32]).unwrap();
                }
            }
        }
    });
}

#[test]
fn e3_loaded_used_and_unloaded_again_and_again() {
    scenario("mapped::processes::e3_loaded_used_and_unloaded_again_and_again", affected, || {
        let count = |what: &str| std::fs::read_dir(format!("/proc/self/{what}")).unwrap().count();
        let mut before = None;
        for round in 0..20u8 {
            // Beside the one that is loaded below, and closed again.
            let library = unsafe { Library::open(Some(module_path()), RTLD_NOW | RTLD_LOCAL) }.unwrap();
            let (module, session) = logged_in();
            if round == 0 {
                session.pair(&[1]);
            }
            let key = session.find(&of_id(&[1]))[0];
            session.sign(CKM_ECDSA, key, &[round; 32]).unwrap();
            assert_eq!(module.finalize(), CKR_OK);
            library.close().unwrap();
            assert_eq!(open_files(), [""; 0]);
            let now = (count("fd"), count("task"));
            assert_eq!(*before.get_or_insert(now), now, "round {round}");
        }
    });
}

/// The process ends inside the backend's C_InitToken, before or after the token has changed.
#[test]
fn i1_an_initialisation_of_a_token_that_ends_in_the_middle() {
    let world = || World::mapped_around_softhsm("DYING");
    scenario("mapped::processes::i1_an_initialisation_of_a_token_that_ends_in_the_middle", world, || {
        let token = |name: &str| {
            let init = ["--init-token", "--free", "--label", name, "--pin", PIN, "--so-pin", SO_PIN];
            let output = std::process::Command::new("softhsm2-util").args(init).output().unwrap();
            assert!(output.status.success(), "{output:?}");
        };
        token("other");
        let slot_of = |module: &Pkcs11, name: &str| {
            let (mut slots, mut count) = ([0; 8], 8);
            assert_eq!(ck!(module, C_GetSlotList(1, slots.as_mut_ptr(), &mut count)), CKR_OK);
            let labelled = |slot: &&cryptoki_sys::CK_SLOT_ID| {
                let mut info = unsafe { std::mem::zeroed::<cryptoki_sys::CK_TOKEN_INFO>() };
                assert_eq!(ck!(module, C_GetTokenInfo(**slot, &mut info)), CKR_OK);
                info.label.starts_with(name.as_bytes())
            };
            *slots[..count as usize].iter().find(labelled).unwrap()
        };
        let session_of = |module: &'static Pkcs11, name: &str| {
            let (slot, mut handle) = (slot_of(module, name), 0);
            let flags = cryptoki_sys::CKF_SERIAL_SESSION | cryptoki_sys::CKF_RW_SESSION;
            assert_eq!(ck!(module, C_OpenSession(slot, flags, std::ptr::null_mut(), None, &mut handle)), CKR_OK);
            assert_eq!(module.login(handle), CKR_OK);
            Session { module, handle }
        };
        let init_token = |module: &Pkcs11| {
            let mut label = *b"test                            ";
            let (slot, pin) = (slot_of(module, "test"), SO_PIN);
            ck!(module, C_InitToken(slot, pin.as_ptr().cast_mut(), pin.len() as CK_ULONG, label.as_mut_ptr()))
        };
        let module: &'static Pkcs11 = Box::leak(Box::new(Pkcs11::holdfast()));
        let initialised = || assert_eq!(module.initialize(), CKR_OK);
        for moment in ["before", "after"] {
            let made = in_fork(|| {
                initialised();
                for (name, id) in [("test", 1), ("other", 2)] {
                    session_of(module, name).pair(&[id]);
                }
            });
            assert_eq!(made, Some(0));
            let killed = in_fork(|| {
                initialised();
                unsafe { std::env::set_var("BACKEND_DIES", moment) };
                init_token(module);
            });
            assert_eq!(killed, Some(77 << 8), "{moment}");
            let settled = in_fork(|| {
                initialised();
                let other = session_of(module, "other");
                let key = other.find(&of_id(&[2]))[0];
                other.sign(CKM_ECDSA, key, &[1; 32]).unwrap();
                assert_eq!(ck!(module, C_CloseSession(other.handle)), CKR_OK);
                if moment == "before" {
                    // Whether it happened is not known: what was there is hidden, and nothing new is made.
                    let session = session_of(module, "test");
                    assert!(session.find(&of_id(&[1])).is_empty());
                    assert_eq!(session.generate(&public(P256), &private(&[3])), Err(CKR_FUNCTION_FAILED));
                    assert_eq!(ck!(module, C_CloseSession(session.handle)), CKR_OK);
                }
                // Doing it again settles it.
                assert_eq!(init_token(module), CKR_OK);
                let (slot, mut handle) = (slot_of(module, "test"), 0);
                let flags = cryptoki_sys::CKF_SERIAL_SESSION | cryptoki_sys::CKF_RW_SESSION;
                assert_eq!(ck!(module, C_OpenSession(slot, flags, std::ptr::null_mut(), None, &mut handle)), CKR_OK);
                let so = |pin: &str| (pin.as_ptr().cast_mut(), pin.len() as CK_ULONG);
                let (pin, length) = so(SO_PIN);
                assert_eq!(ck!(module, C_Login(handle, cryptoki_sys::CKU_SO, pin, length)), CKR_OK);
                let (pin, length) = so(PIN);
                assert_eq!(ck!(module, C_InitPIN(handle, pin, length)), CKR_OK);
                assert_eq!(ck!(module, C_CloseSession(handle)), CKR_OK);
                let session = session_of(module, "test");
                assert!(session.find(&of_id(&[1])).is_empty());
                session.pair(&[3]);
                assert_eq!(session.find(&Template::default()).len(), 2);
            });
            assert_eq!(settled, Some(0), "{moment}");
        }
    });
}
