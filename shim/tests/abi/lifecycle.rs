//! C_Initialize, C_Finalize and what stands between them.

use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use cryptoki_sys::{
    CK_C_INITIALIZE_ARGS, CK_INFO, CK_RV, CK_SESSION_HANDLE, CK_VOID_PTR, CKF_LIBRARY_CANT_CREATE_OS_THREADS,
    CKF_OS_LOCKING_OK, CKR_ARGUMENTS_BAD, CKR_CRYPTOKI_ALREADY_INITIALIZED, CKR_CRYPTOKI_NOT_INITIALIZED,
    CKR_GENERAL_ERROR, CKR_OK, CKR_SESSION_HANDLE_INVALID,
};
use holdfast_pkcs11::abi::tables::NAMES;

use crate::fixture::{Pkcs11, World, ck, scenario, scenario_with_log};

const NO_ARGS: CK_C_INITIALIZE_ARGS = CK_C_INITIALIZE_ARGS {
    CreateMutex: None,
    DestroyMutex: None,
    LockMutex: None,
    UnlockMutex: None,
    flags: 0,
    pReserved: ptr::null_mut(),
};

unsafe extern "C" fn create_mutex(mutex: *mut CK_VOID_PTR) -> CK_RV {
    unsafe { *mutex = Box::into_raw(Box::new(std::sync::atomic::AtomicBool::new(false))).cast() };
    CKR_OK
}

unsafe extern "C" fn destroy_mutex(_mutex: CK_VOID_PTR) -> CK_RV {
    CKR_OK
}

unsafe extern "C" fn lock_mutex(mutex: CK_VOID_PTR) -> CK_RV {
    let mutex = unsafe { &*mutex.cast::<AtomicBool>() };
    while mutex.swap(true, Ordering::Acquire) {
        std::thread::yield_now();
    }
    CKR_OK
}

unsafe extern "C" fn unlock_mutex(mutex: CK_VOID_PTR) -> CK_RV {
    unsafe { &*mutex.cast::<AtomicBool>() }.store(false, Ordering::Release);
    CKR_OK
}

fn initialize_with(module: &Pkcs11, mut args: CK_C_INITIALIZE_ARGS) -> CK_RV {
    ck!(module, C_Initialize((&raw mut args).cast()))
}

#[test]
fn a3_initialize_arguments() {
    scenario("lifecycle::a3_initialize_arguments", World::softhsm, || {
        let module = Pkcs11::holdfast();
        let all = CK_C_INITIALIZE_ARGS {
            CreateMutex: Some(create_mutex),
            DestroyMutex: Some(destroy_mutex),
            LockMutex: Some(lock_mutex),
            UnlockMutex: Some(unlock_mutex),
            ..NO_ARGS
        };
        for good in [
            NO_ARGS,
            CK_C_INITIALIZE_ARGS { flags: CKF_OS_LOCKING_OK, ..NO_ARGS },
            CK_C_INITIALIZE_ARGS { flags: CKF_OS_LOCKING_OK | CKF_LIBRARY_CANT_CREATE_OS_THREADS, ..NO_ARGS },
            all,
            CK_C_INITIALIZE_ARGS { flags: CKF_OS_LOCKING_OK, ..all },
        ] {
            assert_eq!(initialize_with(&module, good), CKR_OK);
            assert_eq!(module.finalize(), CKR_OK);
        }
        for bad in [
            CK_C_INITIALIZE_ARGS { CreateMutex: None, ..all },
            CK_C_INITIALIZE_ARGS { DestroyMutex: None, ..all },
            CK_C_INITIALIZE_ARGS { LockMutex: None, ..all },
            CK_C_INITIALIZE_ARGS { UnlockMutex: None, ..all },
            CK_C_INITIALIZE_ARGS { CreateMutex: Some(create_mutex), flags: CKF_OS_LOCKING_OK, ..NO_ARGS },
            CK_C_INITIALIZE_ARGS { pReserved: ptr::dangling_mut(), ..NO_ARGS },
        ] {
            assert_eq!(initialize_with(&module, bad), CKR_ARGUMENTS_BAD);
        }
        let misaligned = (&raw const all).cast::<u8>().wrapping_add(1).cast_mut();
        assert_eq!(ck!(module, C_Initialize(misaligned.cast())), CKR_ARGUMENTS_BAD);
        assert_eq!(module.initialize(), CKR_OK, "a refusal leaves nothing behind");
        // Being initialised already outranks a bad argument, as on SoftHSM2.
        assert_eq!(module.initialize(), CKR_CRYPTOKI_ALREADY_INITIALIZED);
    });
}

#[test]
fn a4_second_initialize_and_stray_finalize() {
    scenario("lifecycle::a4_second_initialize_and_stray_finalize", World::softhsm, || {
        let module = Pkcs11::holdfast();
        assert_eq!(module.finalize(), CKR_CRYPTOKI_NOT_INITIALIZED);
        assert_eq!(ck!(module, C_Finalize(ptr::dangling_mut())), CKR_CRYPTOKI_NOT_INITIALIZED);
        for _ in 0..3 {
            assert_eq!(module.initialize(), CKR_OK);
            assert_eq!(module.initialize(), CKR_CRYPTOKI_ALREADY_INITIALIZED);
            let session = module.open();
            assert_eq!(ck!(module, C_Finalize(ptr::dangling_mut())), CKR_ARGUMENTS_BAD);
            assert_eq!(module.random(session), CKR_OK, "a refused C_Finalize ends nothing");
            assert_eq!(module.finalize(), CKR_OK);
            assert_eq!(module.finalize(), CKR_CRYPTOKI_NOT_INITIALIZED);
            assert_eq!(module.random(session), CKR_CRYPTOKI_NOT_INITIALIZED);
        }
    });
}

#[test]
fn a7_get_info_is_the_backends_and_constant() {
    scenario("lifecycle::a7_get_info_is_the_backends_and_constant", World::softhsm, || {
        let info = |module: &Pkcs11| {
            let mut info = std::mem::MaybeUninit::<CK_INFO>::zeroed();
            assert_eq!(ck!(module, C_GetInfo(info.as_mut_ptr())), CKR_OK);
            unsafe { std::mem::transmute::<CK_INFO, [u8; size_of::<CK_INFO>()]>(info.assume_init()) }
        };
        let module = Pkcs11::holdfast();
        module.initialize();
        let first = info(&module);
        module.finalize();
        module.initialize();
        assert_eq!(info(&module), first);
        module.finalize();
        let bare = Pkcs11::load(crate::fixture::SOFTHSM.as_ref());
        bare.initialize();
        assert_eq!(info(&bare), first);
    });
}

#[test]
fn nothing_works_before_initialize() {
    scenario("lifecycle::nothing_works_before_initialize", World::softhsm, || {
        let module = Pkcs11::holdfast();
        assert_not_initialized(&module);
        assert_eq!(module.initialize(), CKR_OK);
        assert_eq!(module.finalize(), CKR_OK);
        assert_not_initialized(&module);
    });
}

/// Every function but those that need no `C_Initialize` says that it is missing, whatever the arguments.
pub fn assert_not_initialized(module: &Pkcs11) {
    for name in NAMES.iter().map(|name| name.to_str().unwrap()) {
        if matches!(name, "C_Initialize" | "C_GetFunctionList" | "C_GetInterface" | "C_GetInterfaceList") {
            continue;
        }
        // More arguments than a function has are passed in registers and on the stack and looked at by nobody.
        type Any = unsafe extern "C" fn(usize, usize, usize, usize, usize, usize, usize, usize, usize, usize) -> CK_RV;
        let function = unsafe { std::mem::transmute::<*mut std::ffi::c_void, Any>(module.symbol(name).unwrap()) };
        let rv = unsafe { function(0, 0, 0, 0, 0, 0, 0, 0, 0, 0) };
        assert_eq!(rv, CKR_CRYPTOKI_NOT_INITIALIZED, "{name}");
    }
}

#[test]
fn e3_finalize_while_other_threads_call() {
    scenario("lifecycle::e3_finalize_while_other_threads_call", World::softhsm, || {
        let module = Pkcs11::holdfast();
        let stop = AtomicBool::new(false);
        let good = AtomicU64::new(0);
        let refused = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let mut session = 0;
                    while !stop.load(Ordering::Relaxed) {
                        match module.random(session) {
                            CKR_OK => good.fetch_add(1, Ordering::Relaxed),
                            CKR_CRYPTOKI_NOT_INITIALIZED => refused.fetch_add(1, Ordering::Relaxed),
                            CKR_SESSION_HANDLE_INVALID => {
                                let mut slots = [0; 8];
                                let mut count = 8;
                                let rv = ck!(module, C_GetSlotList(1, slots.as_mut_ptr(), &mut count));
                                assert!(matches!(rv, CKR_OK | CKR_CRYPTOKI_NOT_INITIALIZED), "{rv:#x}");
                                let rv = ck!(module, C_OpenSession(slots[0], 4, ptr::null_mut(), None, &mut session));
                                // The slot's number is of no meaning in the next initialisation.
                                if rv != CKR_OK {
                                    session = 0;
                                }
                                0
                            }
                            rv => panic!("{rv:#x}"),
                        };
                    }
                });
            }
            let start = Instant::now();
            let mut rounds = 0;
            while start.elapsed() < Duration::from_secs(4) {
                assert_eq!(module.initialize_for_threads(), CKR_OK);
                std::thread::sleep(Duration::from_millis(3));
                assert_eq!(module.finalize(), CKR_OK);
                rounds += 1;
            }
            stop.store(true, Ordering::Relaxed);
            assert!(rounds > 20, "{rounds} rounds");
        });
        assert!(good.into_inner() > 100 && refused.into_inner() > 100);
    });
}

#[test]
fn e3_many_threads_initialize_once() {
    scenario("lifecycle::e3_many_threads_initialize_once", World::softhsm, || {
        let module = Pkcs11::holdfast();
        for _ in 0..50 {
            let first = AtomicU64::new(0);
            std::thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| match module.initialize() {
                        CKR_OK => first.fetch_add(1, Ordering::Relaxed),
                        rv => {
                            assert_eq!(rv, CKR_CRYPTOKI_ALREADY_INITIALIZED);
                            0
                        }
                    });
                }
            });
            assert_eq!(first.into_inner(), 1);
            assert_eq!(module.finalize(), CKR_OK);
        }
    });
}

#[test]
fn a6_finalize_at_exit_and_after_a_failed_initialize() {
    scenario("lifecycle::a6_finalize_at_exit_and_after_a_failed_initialize", World::softhsm, || {
        extern "C" fn finalize_at_exit() {
            let module = Pkcs11::holdfast();
            let rv = module.finalize();
            if rv != CKR_OK || module.finalize() != CKR_CRYPTOKI_NOT_INITIALIZED {
                unsafe { libc::_exit(3) };
            }
        }
        let module = Pkcs11::holdfast();
        assert_eq!(initialize_with(&module, CK_C_INITIALIZE_ARGS { pReserved: ptr::dangling_mut(), ..NO_ARGS }), 7);
        assert_eq!(module.finalize(), CKR_CRYPTOKI_NOT_INITIALIZED);
        module.initialize();
        let session = module.open();
        assert_eq!(module.login(session), CKR_OK);
        unsafe { libc::atexit(finalize_at_exit) };
    });
}

/// As OpenSSL's cleanup does: its handler is older than the backend's destructors, and runs after them.
#[test]
fn a6_a_host_that_cleans_up_after_the_backend_is_gone() {
    scenario("lifecycle::a6_a_host_that_cleans_up_after_the_backend_is_gone", World::softhsm, || {
        static SESSION: AtomicUsize = AtomicUsize::new(0);
        extern "C" fn clean_up() {
            let module = Pkcs11::holdfast();
            let session = SESSION.load(Ordering::Relaxed) as CK_SESSION_HANDLE;
            let ended = ck!(module, C_CloseSession(session)) == CKR_CRYPTOKI_NOT_INITIALIZED
                && ck!(module, C_CloseAllSessions(0)) == CKR_CRYPTOKI_NOT_INITIALIZED
                && module.finalize() == CKR_CRYPTOKI_NOT_INITIALIZED;
            if !ended {
                unsafe { libc::_exit(3) };
            }
        }
        unsafe { libc::atexit(clean_up) };
        let module = Pkcs11::holdfast();
        assert_eq!(module.initialize(), CKR_OK);
        let session = module.open();
        assert_eq!(module.login(session), CKR_OK);
        SESSION.store(session as usize, Ordering::Relaxed);
    });
}

#[test]
fn a_missing_backend_is_a_clear_failure() {
    scenario_with_log(
        "lifecycle::a_missing_backend_is_a_clear_failure",
        || World::with_backend("/nonexistent/libpkcs11.so".as_ref()),
        || {
            let module = Pkcs11::holdfast();
            for _ in 0..2 {
                assert_eq!(module.initialize(), cryptoki_sys::CKR_FUNCTION_FAILED);
                assert_eq!(module.finalize(), CKR_CRYPTOKI_NOT_INITIALIZED);
            }
            assert_not_initialized(&module);
            // The operator repairs it; the process need not be restarted.
            let config = crate::fixture::directory().join("holdfast.toml");
            let text = std::fs::read_to_string(&config).unwrap();
            std::fs::write(&config, text.replace("/nonexistent/libpkcs11.so", crate::fixture::SOFTHSM)).unwrap();
            assert_eq!(module.initialize(), CKR_OK);
        },
        |log| {
            assert!(log.contains("/nonexistent/libpkcs11.so") && log.contains("C_Initialize"), "{log}");
        },
    );
}

#[test]
fn a_bad_configuration_is_a_clear_failure() {
    scenario_with_log(
        "lifecycle::a_bad_configuration_is_a_clear_failure",
        || {
            let world = World::softhsm();
            world.configure("[backend]\nmodul = \"/usr/lib/softhsm/libsofthsm2.so\"\n");
            world
        },
        || {
            assert_eq!(Pkcs11::holdfast().initialize(), CKR_GENERAL_ERROR);
        },
        |log| assert!(log.contains("modul") && log.contains("line 2"), "{log}"),
    );
}

#[test]
fn a_bad_log_section_stops_nothing() {
    scenario_with_log(
        "lifecycle::a_bad_log_section_stops_nothing",
        || {
            let world = World::softhsm();
            world.configure(
                "[backend]\nmodule = \"/usr/lib/softhsm/libsofthsm2.so\"\n[log]\nlevel = \"shout\"\ntarget = \"nowhere\"\n",
            );
            world
        },
        || assert_eq!(Pkcs11::holdfast().initialize(), CKR_OK),
        |log| assert!(log.contains("shout") && log.contains("nowhere"), "{log}"),
    );
}

#[test]
fn k6_a_backend_that_others_can_write_is_refused() {
    scenario_with_log(
        "lifecycle::k6_a_backend_that_others_can_write_is_refused",
        || {
            let world = World::with_compiled_backend("backend", &[]);
            use std::os::unix::fs::PermissionsExt;
            std::fs::set_permissions(world.path("backend.so"), PermissionsExt::from_mode(0o775)).unwrap();
            world
        },
        || assert_eq!(Pkcs11::holdfast().initialize(), cryptoki_sys::CKR_FUNCTION_FAILED),
        |log| assert!(log.contains("backend.so") && log.contains("chmod"), "{log}"),
    );
}

#[test]
fn the_module_itself_is_no_backend() {
    scenario_with_log(
        "lifecycle::the_module_itself_is_no_backend",
        || World::with_backend(&crate::fixture::module_path()),
        || assert_eq!(Pkcs11::holdfast().initialize(), cryptoki_sys::CKR_FUNCTION_FAILED),
        |log| assert!(log.contains("Holdfast itself"), "{log}"),
    );
}
