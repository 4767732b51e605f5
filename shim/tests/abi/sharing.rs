//! Next to other libraries in one process: adopted backends, two copies, symbols that collide, unloading.

use std::path::Path;

use cryptoki_sys::{CKR_CRYPTOKI_ALREADY_INITIALIZED, CKR_CRYPTOKI_NOT_INITIALIZED, CKR_OK};
use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_LOCAL, RTLD_NOW};

use crate::fixture::{Pkcs11, SOFTHSM, World, directory, in_fork, module_path, scenario};

#[test]
fn a5_an_adopted_backend_is_not_ours_to_finalise() {
    scenario("sharing::a5_an_adopted_backend_is_not_ours_to_finalise", World::softhsm, || {
        let other = Pkcs11::load(Path::new(SOFTHSM));
        assert_eq!(other.initialize(), CKR_OK);
        let session = other.open();
        assert_eq!(other.login(session), CKR_OK);

        let module = Pkcs11::holdfast();
        for _ in 0..2 {
            assert_eq!(module.initialize(), CKR_OK);
            assert_eq!(module.initialize(), CKR_CRYPTOKI_ALREADY_INITIALIZED);
            assert_eq!(module.random(module.open()), CKR_OK);
            assert_eq!(module.finalize(), CKR_OK);
            assert_eq!(other.random(session), CKR_OK, "the other library's session lives on");
        }
        assert_eq!(module.initialize(), CKR_OK);
        let status = in_fork(|| {
            assert_eq!(module.initialize(), CKR_OK);
            assert_eq!(other.random(session), CKR_OK, "nor is it initialised a second time in a child");
            assert_eq!(module.finalize(), CKR_OK);
            assert_eq!(other.random(session), CKR_OK);
        });
        assert_eq!(status, Some(0));
        assert_eq!(module.finalize(), CKR_OK);
        assert_eq!(other.finalize(), CKR_OK);
        // Now nobody has it: the next one to initialise it is us.
        assert_eq!(module.initialize(), CKR_OK);
        assert_eq!(other.initialize(), CKR_CRYPTOKI_ALREADY_INITIALIZED);
        assert_eq!(module.finalize(), CKR_OK);
        assert_eq!(other.finalize(), CKR_CRYPTOKI_NOT_INITIALIZED);
    });
}

#[test]
fn a5_who_finalises_first_does_not_crash_the_other() {
    scenario("sharing::a5_who_finalises_first_does_not_crash_the_other", World::softhsm, || {
        let other = Pkcs11::load(Path::new(SOFTHSM));
        let module = Pkcs11::holdfast();
        assert_eq!(other.initialize(), CKR_OK);
        assert_eq!(module.initialize(), CKR_OK);
        let session = module.open();
        assert_eq!(other.finalize(), CKR_OK);
        assert_eq!(module.random(session), CKR_CRYPTOKI_NOT_INITIALIZED, "the backend's own word");
        assert_eq!(module.finalize(), CKR_OK);
        assert_eq!(module.initialize(), CKR_OK);
        assert_eq!(other.finalize(), CKR_OK);
        assert_eq!(module.finalize(), CKR_OK, "somebody else finalised what was ours");
    });
}

#[test]
fn two_copies_in_one_process() {
    scenario("sharing::two_copies_in_one_process", World::softhsm, || {
        let copy = directory().join("copy.so");
        std::fs::copy(module_path(), &copy).unwrap();
        let first = Pkcs11::holdfast();
        let second = Pkcs11::load(&copy);
        assert_ne!(first.symbol("C_Sign"), second.symbol("C_Sign"));
        assert_eq!(first.initialize(), CKR_OK);
        assert_eq!(second.initialize(), CKR_OK);
        let session = first.open();
        assert_eq!(second.random(second.open()), CKR_OK);
        assert_eq!(second.finalize(), CKR_OK);
        assert_eq!(first.random(session), CKR_OK);
        assert_eq!(first.finalize(), CKR_OK);
    });
}

#[test]
fn loading_twice_is_one_module() {
    scenario("sharing::loading_twice_is_one_module", World::softhsm, || {
        let first = Pkcs11::holdfast();
        let second = Pkcs11::holdfast();
        assert_eq!(first.initialize(), CKR_OK);
        assert_eq!(second.initialize(), CKR_CRYPTOKI_ALREADY_INITIALIZED);
        assert_eq!(second.finalize(), CKR_OK);
        assert_eq!(first.finalize(), CKR_CRYPTOKI_NOT_INITIALIZED);
    });
}

#[test]
fn unload_and_load_again() {
    scenario("sharing::unload_and_load_again", World::softhsm, || {
        type Call = unsafe extern "C" fn(*mut std::ffi::c_void) -> cryptoki_sys::CK_RV;
        for finalize in [true, false, true] {
            let library = unsafe { Library::open(Some(module_path()), RTLD_NOW | RTLD_LOCAL) }.unwrap();
            let initialize = unsafe { library.get::<Call>(b"C_Initialize") }.unwrap();
            let rv = unsafe { initialize(std::ptr::null_mut()) };
            // The code stays in memory, and with it what an unloader forgot to finalise.
            assert!(matches!(rv, CKR_OK | CKR_CRYPTOKI_ALREADY_INITIALIZED), "{rv:#x}");
            if finalize {
                let finalize = unsafe { library.get::<Call>(b"C_Finalize") }.unwrap();
                assert_eq!(unsafe { finalize(std::ptr::null_mut()) }, CKR_OK);
            }
            library.close().unwrap();
            // Fork handlers and the destructors of ended threads still find their code.
            assert_eq!(in_fork(|| {}), Some(0));
        }
        std::thread::spawn(|| {
            let library = unsafe { Library::open(Some(module_path()), RTLD_NOW | RTLD_LOCAL) }.unwrap();
            let finalize = unsafe { library.get::<Call>(b"C_Finalize") }.unwrap();
            unsafe { finalize(std::ptr::null_mut()) };
            library.close().unwrap();
        })
        .join()
        .unwrap();
    });
}

#[test]
fn our_lists_are_ours_with_the_backend_preloaded() {
    scenario(
        "sharing::our_lists_are_ours_with_the_backend_preloaded",
        || World::softhsm().with("LD_PRELOAD", SOFTHSM),
        || {
            let module = Pkcs11::holdfast();
            assert_eq!(module.list.C_Sign.map(|f| f as usize), module.symbol("C_Sign").map(|f| f as usize));
            let preloaded = Pkcs11::load(Path::new(SOFTHSM));
            assert_ne!(module.symbol("C_Sign"), preloaded.symbol("C_Sign"));
            assert_eq!(module.initialize(), CKR_OK);
            assert_eq!(module.random(module.open()), CKR_OK);
            assert_eq!(module.finalize(), CKR_OK);
        },
    );
}

#[test]
fn a_backend_whose_symbols_lead_to_us_is_put_right() {
    // A backend linked without -Bsymbolic refers to its functions by name. Loaded with RTLD_GLOBAL, ours come first.
    scenario(
        "sharing::a_backend_whose_symbols_lead_to_us_is_put_right",
        || World::with_compiled_backend("backend", &["BY_NAME"]),
        || {
            let module = Pkcs11::load_with(&module_path(), RTLD_NOW | RTLD_GLOBAL);
            assert_eq!(module.initialize(), CKR_OK);
            assert_eq!(module.random(module.open()), CKR_OK);
            assert_eq!(module.finalize(), CKR_OK);
        },
    );
}

#[test]
fn softhsm_behind_a_module_with_global_symbols() {
    scenario("sharing::softhsm_behind_a_module_with_global_symbols", World::softhsm, || {
        let module = Pkcs11::load_with(&module_path(), RTLD_NOW | RTLD_GLOBAL);
        assert_eq!(module.initialize(), CKR_OK);
        let session = module.open();
        assert_eq!(module.login(session), CKR_OK);
        assert_eq!(module.random(session), CKR_OK);
        assert_eq!(module.finalize(), CKR_OK);
    });
}
