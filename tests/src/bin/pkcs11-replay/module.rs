//! A module and its 2.40 function list.

use cryptoki_sys::{CK_FUNCTION_LIST, CK_FUNCTION_LIST_PTR, CK_RV, CKR_OK};

pub struct Module {
    pub list: &'static CK_FUNCTION_LIST,
}

impl Module {
    pub fn load(path: &str) -> Self {
        // SAFETY: the module is ours or SoftHSM2; neither has initialisers that ask anything of the caller.
        let library = unsafe { libloading::Library::new(path) }.unwrap_or_else(|error| panic!("{path}: {error}"));
        let mut list: CK_FUNCTION_LIST_PTR = std::ptr::null_mut();
        // SAFETY: the symbol has this type in every PKCS#11 module (v2.40, section "C_GetFunctionList").
        let rv = unsafe {
            let get: libloading::Symbol<'_, unsafe extern "C" fn(*mut CK_FUNCTION_LIST_PTR) -> CK_RV> =
                library.get(b"C_GetFunctionList\0").expect("a PKCS#11 module");
            get(&mut list)
        };
        assert_eq!(rv, CKR_OK, "C_GetFunctionList");
        // The list lives as long as the library, which is never closed.
        std::mem::forget(library);
        // SAFETY: CKR_OK promises a valid list; it is never written.
        Self { list: unsafe { list.as_ref() }.expect("a function list") }
    }
}

/// Calls one function of the list.
#[macro_export]
macro_rules! call {
    ($module:expr, $function:ident $(, $argument:expr)* $(,)?) => {{
        let function = $module.list.$function.expect(stringify!($function));
        #[allow(clippy::macro_metavars_in_unsafe)] // The arguments are what the call is about.
        // SAFETY: every pointer given comes from a live local of the caller, with its true length, or is null on purpose.
        unsafe { function($($argument),*) }
    }};
}
