//! The backend module: load, negotiate versions, call.
#![allow(unsafe_code, reason = "the backend is C; nothing but this file loads it")]

use std::ffi::{CStr, c_int, c_void};
use std::mem::ManuallyDrop;
use std::path::{Path, PathBuf};
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

use cryptoki_sys::{
    CK_C_GetFunctionList, CK_C_GetInterface, CK_FUNCTION_LIST, CK_FUNCTION_LIST_3_0, CK_FUNCTION_LIST_3_2,
    CK_INTERFACE, CK_RV, CK_VERSION, CKR_FUNCTION_NOT_SUPPORTED, CKR_OK,
};
use holdfast_config::{Config, TrustError};
use libloading::os::unix::{Library, RTLD_LAZY, RTLD_LOCAL};

use crate::abi::args::InitializeArgs;
use crate::abi::tables;
use crate::config;
use crate::error::{BackendError, Error};
use crate::version::{Shape, Version};

/// The name of the interface that the specification defines.
pub const INTERFACE_NAME: &CStr = c"PKCS 11";

/// The configuration and the backend that it names: what a process has once.
pub struct Module {
    /// The configuration as it was when the backend was loaded.
    pub config: Config,
    /// The backend.
    pub backend: Backend,
}

/// A backend module. Its library is never closed: its threads, fork handlers and our clients' calls may be inside.
pub struct Backend {
    /// The file that was loaded.
    pub path: PathBuf,
    /// Every function of the backend; null entries are `None`. Those of 3.x are set only where it offers 3.x.
    pub functions: CK_FUNCTION_LIST_3_2,
    /// What it offers beside 2.40.
    pub offers: Offers,
    errors: Option<OpensslErrors>,
}

/// The error queue of the OpenSSL that the backend is linked with, if it is.
///
/// SoftHSM2 leaves errors there whenever it starts, because it looks for an OpenSSL engine that is not there. A server's
/// worker initialises us in the middle of its first TLS handshake, after the fork, and would take them for its own: that
/// handshake failed.
#[derive(Clone, Copy)]
struct OpensslErrors {
    set_mark: unsafe extern "C" fn() -> c_int,
    pop_to_mark: unsafe extern "C" fn() -> c_int,
}

/// The 3.x interfaces of a backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offers {
    /// "PKCS 11" 3.0
    pub v3_0: bool,
    /// "PKCS 11" 3.1
    pub v3_1: bool,
    /// "PKCS 11" 3.2
    pub v3_2: bool,
    /// What it gives to whoever does not ask for a version.
    pub default: Option<Version>,
}

static MODULE: AtomicPtr<Module> = AtomicPtr::new(ptr::null_mut());

/// The module, if it was loaded.
pub fn loaded() -> Option<&'static Module> {
    // SAFETY: null, or leaked by `load` and never changed after.
    unsafe { MODULE.load(Ordering::Acquire).cast_const().as_ref() }
}

/// Reads the configuration and loads the backend that it names. One thread at a time.
pub fn load() -> Result<&'static Module, Error> {
    let config = config::load()?;
    let backend = Backend::load(&config.backend.module).map_err(Box::new)?;
    let module = Box::leak(Box::new(Module { config, backend }));
    MODULE.store(module, Ordering::Release);
    Ok(module)
}

impl Backend {
    /// Loads the PKCS#11 module `path`, which nobody but its owner may be able to change.
    ///
    /// Its symbols stay its own (`RTLD_LOCAL`). The library is not unloaded when something is wrong with it either:
    /// it may have started threads.
    pub fn load(path: &Path) -> Result<Self, BackendError> {
        let unloadable = |reason: String| BackendError::Load { path: path.to_owned(), reason };
        holdfast_config::check_trusted_file(path).map_err(|error| match error {
            TrustError::Io { source, .. } => unloadable(source.to_string()),
            error => BackendError::Untrusted(error),
        })?;
        // SAFETY: runs the constructors of a library that only the operator could have named and put there.
        let library = unsafe { Library::open(Some(path), RTLD_LAZY | RTLD_LOCAL) }
            .map_err(|error| unloadable(error.to_string()))?;
        let library = ManuallyDrop::new(library);
        let mut functions = function_list(&library, path)?;
        let offers = interfaces(&library, &mut functions);
        tables::take_back_interposed(&mut functions, |name| symbol(&library, name));
        if tables::holds_our_functions(&functions) {
            return Err(BackendError::Loop { path: path.to_owned() });
        }
        Ok(Self { path: path.to_owned(), functions, offers, errors: OpensslErrors::of(&library) })
    }

    /// The backend's `C_Initialize`.
    pub fn initialize(&self, args: &InitializeArgs) -> CK_RV {
        let Some(function) = self.functions.C_Initialize else { return CKR_FUNCTION_NOT_SUPPORTED };
        OpensslErrors::keep(self.errors, || {
            // SAFETY: the client's argument, which it promises to be valid until its own C_Initialize returns.
            unsafe { function(args.as_ptr()) }
        })
    }

    /// The backend's `C_Finalize`.
    pub fn finalize(&self) -> CK_RV {
        match self.functions.C_Finalize {
            // SAFETY: null is what the specification wants as argument.
            Some(function) => unsafe { function(ptr::null_mut()) },
            None => CKR_FUNCTION_NOT_SUPPORTED,
        }
    }
}

impl OpensslErrors {
    /// Those of the OpenSSL among the libraries that the backend brought along.
    fn of(library: &Library) -> Option<Self> {
        type Function = unsafe extern "C" fn() -> c_int;
        let function = |name: &CStr| {
            // SAFETY: both have this type in every OpenSSL (ERR_set_mark(3)); null becomes `None`.
            unsafe { std::mem::transmute::<*mut c_void, Option<Function>>(symbol(library, name)) }
        };
        Some(Self { set_mark: function(c"ERR_set_mark")?, pop_to_mark: function(c"ERR_pop_to_mark")? })
    }

    /// Runs `body`, and takes away the errors that it leaves and no others.
    fn keep<T>(errors: Option<Self>, body: impl FnOnce() -> T) -> T {
        let Some(errors) = errors else { return body() };
        // SAFETY: takes nothing, and works on the calling thread's own queue.
        unsafe { (errors.set_mark)() };
        let result = body();
        // SAFETY: as above. An empty queue has no mark: then all that is in it now is the body's, and all of it goes.
        unsafe { (errors.pop_to_mark)() };
        result
    }
}

/// The address of `name` in `library` or in what it depends on; null if there is none.
fn symbol(library: &Library, name: &CStr) -> *mut c_void {
    // SAFETY: nothing is called; the type is that of a plain address.
    match unsafe { library.get::<*mut c_void>(name.to_bytes_with_nul()) } {
        Ok(address) => address.into_raw(),
        Err(_) => ptr::null_mut(),
    }
}

/// The functions of 2.40.
fn function_list(library: &Library, path: &Path) -> Result<CK_FUNCTION_LIST_3_2, BackendError> {
    let bad = |reason: String| BackendError::BadFunctionList { path: path.to_owned(), reason };
    let address = symbol(library, c"C_GetFunctionList");
    // SAFETY: the specification gives the symbol of this name this type; null becomes `None`.
    let get = unsafe { std::mem::transmute::<*mut c_void, CK_C_GetFunctionList>(address) };
    let Some(get) = get else { return Err(BackendError::NoFunctionList { path: path.to_owned() }) };
    if tables::is_ours(get as usize) {
        return Err(BackendError::Loop { path: path.to_owned() });
    }
    let mut list = ptr::null_mut::<CK_FUNCTION_LIST>();
    // SAFETY: a place for one pointer, as the function wants.
    let rv = unsafe { get(&raw mut list) };
    if rv != CKR_OK {
        return Err(bad(format!("C_GetFunctionList answered {rv:#x}")));
    }
    if list.is_null() || !list.is_aligned() {
        return Err(bad("C_GetFunctionList gave a null or misaligned pointer".to_owned()));
    }
    // SAFETY: a list begins with its version, whatever follows.
    let version = Version::from(unsafe { (*list).version });
    if version.shape() != Some(Shape::V2) {
        return Err(bad(format!("C_GetFunctionList gave a list of version {}.{}", version.major, version.minor)));
    }
    let mut functions = tables::empty();
    // SAFETY: a list of version 2.x holds what CK_FUNCTION_LIST holds: no 2.x version added functions after 2.01.
    tables::overlay_2_40(&mut functions, unsafe { &*list });
    Ok(functions)
}

/// The 3.x interfaces, and their functions into `functions`.
fn interfaces(library: &Library, functions: &mut CK_FUNCTION_LIST_3_2) -> Offers {
    let address = symbol(library, c"C_GetInterface");
    // SAFETY: the specification gives the symbol of this name this type; null becomes `None`.
    let Some(get) = (unsafe { std::mem::transmute::<*mut c_void, CK_C_GetInterface>(address) }) else {
        return Offers::default();
    };
    if tables::is_ours(get as usize) {
        return Offers::default();
    }
    let mut offer = |wanted: Version| {
        let Some(list) = interface(get, Some(wanted)) else { return false };
        if list.version != wanted {
            return false;
        }
        match wanted.shape() {
            Some(Shape::V3_2) => {
                // SAFETY: the list says that it is of version 3.2, so it has the functions of 3.2.
                tables::overlay_3_2(functions, unsafe { &*list.address.cast::<CK_FUNCTION_LIST_3_2>() });
                true
            }
            Some(Shape::V3_0) => {
                // SAFETY: the list says that it is of version 3.0 or 3.1, so it has the functions of 3.0.
                tables::overlay_3_0(functions, unsafe { &*list.address.cast::<CK_FUNCTION_LIST_3_0>() });
                true
            }
            Some(Shape::V2) | None => false,
        }
    };
    // The latest last: where lists differ, its functions win.
    let v3_0 = offer(Version::V3_0);
    let v3_1 = offer(Version::V3_1);
    let v3_2 = offer(Version::V3_2);
    Offers { v3_0, v3_1, v3_2, default: interface(get, None).map(|list| list.version) }
}

struct FoundList {
    address: *mut c_void,
    version: Version,
}

/// The list of interface "PKCS 11" in version `wanted`, or of the default interface if that is "PKCS 11".
fn interface(
    get: unsafe extern "C" fn(*mut u8, *mut CK_VERSION, *mut *mut CK_INTERFACE, cryptoki_sys::CK_FLAGS) -> CK_RV,
    wanted: Option<Version>,
) -> Option<FoundList> {
    let mut version = wanted.map(CK_VERSION::from);
    let name = if wanted.is_some() { INTERFACE_NAME.as_ptr().cast_mut().cast() } else { ptr::null_mut() };
    let version_ptr = version.as_mut().map_or(ptr::null_mut(), ptr::from_mut);
    let mut found = ptr::null_mut::<CK_INTERFACE>();
    // SAFETY: name and version are null or valid and are only read by contract; `found` is a place for one pointer.
    let rv = unsafe { get(name, version_ptr, &raw mut found, 0) };
    if rv != CKR_OK || found.is_null() || !found.is_aligned() {
        return None;
    }
    // SAFETY: the backend answered CKR_OK and gave an interface, which it keeps for the life of the library.
    let interface = unsafe { &*found };
    let list = interface.pFunctionList;
    if interface.pInterfaceName.is_null() || list.is_null() || !list.cast::<CK_FUNCTION_LIST>().is_aligned() {
        return None;
    }
    // SAFETY: interface names end with a zero byte, as the specification has it.
    if unsafe { CStr::from_ptr(interface.pInterfaceName.cast()) } != INTERFACE_NAME {
        return None;
    }
    // SAFETY: every list of interface "PKCS 11" begins with its version.
    let version = Version::from(unsafe { *list.cast::<CK_VERSION>() });
    Some(FoundList { address: list, version })
}
