//! A module and its function list: that of 2.40, or one of 3.x.

use std::ffi::CStr;

use cryptoki_sys::{
    CK_FLAGS, CK_FUNCTION_LIST, CK_FUNCTION_LIST_3_0, CK_FUNCTION_LIST_3_2, CK_FUNCTION_LIST_PTR, CK_INTERFACE,
    CK_INTERFACE_PTR, CK_INTERFACE_PTR_PTR, CK_RV, CK_ULONG, CK_ULONG_PTR, CK_UTF8CHAR_PTR, CK_VERSION, CK_VERSION_PTR,
    CKR_OK,
};

const NAME: &CStr = c"PKCS 11";

/// The versions that have an interface.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Version {
    V2_40,
    V3_0,
    V3_2,
}

pub struct Module {
    pub list: &'static CK_FUNCTION_LIST,
    pub list_3_0: Option<&'static CK_FUNCTION_LIST_3_0>,
    pub list_3_2: Option<&'static CK_FUNCTION_LIST_3_2>,
}

type GetInterface = unsafe extern "C" fn(CK_UTF8CHAR_PTR, CK_VERSION_PTR, CK_INTERFACE_PTR_PTR, CK_FLAGS) -> CK_RV;
type GetInterfaceList = unsafe extern "C" fn(CK_INTERFACE_PTR, CK_ULONG_PTR) -> CK_RV;

fn open(path: &str) -> &'static libloading::Library {
    // SAFETY: the module is ours or a backend; none has initialisers that ask anything of the caller.
    let library = unsafe { libloading::Library::new(path) }.unwrap_or_else(|error| panic!("{path}: {error}"));
    // Its lists live as long as the library, which is never closed.
    Box::leak(Box::new(library))
}

fn function_list(library: &libloading::Library) -> &'static CK_FUNCTION_LIST {
    let mut list: CK_FUNCTION_LIST_PTR = std::ptr::null_mut();
    // SAFETY: the symbol has this type in every PKCS#11 module (v2.40, section "C_GetFunctionList").
    let rv = unsafe {
        let get: libloading::Symbol<'_, unsafe extern "C" fn(*mut CK_FUNCTION_LIST_PTR) -> CK_RV> =
            library.get(b"C_GetFunctionList\0").expect("a PKCS#11 module");
        get(&mut list)
    };
    assert_eq!(rv, CKR_OK, "C_GetFunctionList");
    // SAFETY: CKR_OK promises a valid list; it is never written.
    unsafe { list.as_ref() }.expect("a function list")
}

/// The interface of a version, or the default one.
fn interface(library: &libloading::Library, version: Option<(u8, u8)>) -> Option<&'static CK_INTERFACE> {
    let mut version = version.map(|(major, minor)| CK_VERSION { major, minor });
    let name = if version.is_some() { NAME.as_ptr().cast_mut().cast() } else { std::ptr::null_mut() };
    let wanted = version.as_mut().map_or(std::ptr::null_mut(), std::ptr::from_mut);
    let mut found = std::ptr::null_mut();
    // SAFETY: the symbol has this type in every PKCS#11 module that has it (v3.0, section "C_GetInterface").
    let rv = unsafe {
        let get: libloading::Symbol<'_, GetInterface> = library.get(b"C_GetInterface\0").ok()?;
        get(name, wanted, &mut found, 0)
    };
    // SAFETY: CKR_OK promises a valid interface; it is never written.
    if rv == CKR_OK { unsafe { found.as_ref() } } else { None }
}

impl Module {
    pub fn load(path: &str, version: Version) -> Self {
        let library = open(path);
        let of = |wanted| interface(library, Some(wanted)).expect("the module has this version").pFunctionList;
        // Every later list begins with the functions of 2.40.
        match version {
            Version::V2_40 => Self { list: function_list(library), list_3_0: None, list_3_2: None },
            Version::V3_0 => {
                // SAFETY: the interface of this version has a list of this version.
                let list = unsafe { &*of((3, 0)).cast::<CK_FUNCTION_LIST_3_0>() };
                // SAFETY: as above.
                Self { list: unsafe { &*of((3, 0)).cast() }, list_3_0: Some(list), list_3_2: None }
            }
            Version::V3_2 => {
                let list = of((3, 2));
                // SAFETY: as above; the functions of 3.0 stand before those of 3.2.
                unsafe { Self { list: &*list.cast(), list_3_0: Some(&*list.cast()), list_3_2: Some(&*list.cast()) } }
            }
        }
    }
}

/// A list's version, and of each of its entries whether there is a function.
fn entries(list: *const CK_VERSION) -> String {
    // SAFETY: every list begins with its version.
    let version = unsafe { *list };
    let size = match (version.major, version.minor) {
        (2, _) => size_of::<CK_FUNCTION_LIST>(),
        (3, 0 | 1) => size_of::<CK_FUNCTION_LIST_3_0>(),
        _ => size_of::<CK_FUNCTION_LIST_3_2>(),
    };
    // SAFETY: after the version, padded to a pointer's size, a list is pointers.
    let words = unsafe { std::slice::from_raw_parts(list.cast::<usize>(), size / size_of::<usize>()) };
    let there: String = words[1..].iter().map(|&word| if word == 0 { '-' } else { 'f' }).collect();
    format!("{}.{} {} {there}", version.major, version.minor, there.len())
}

fn describe(interface: &CK_INTERFACE) -> String {
    // SAFETY: names end with a zero byte.
    let name = unsafe { CStr::from_ptr(interface.pInterfaceName.cast()) };
    format!("{name:?} {:#x} {}", { interface.flags }, entries(interface.pFunctionList.cast()))
}

/// Every list that the module has, by all ways of asking for one.
pub fn interfaces(path: &str) -> Vec<String> {
    let library = open(path);
    let mut lines = vec![format!("C_GetFunctionList {}", entries(std::ptr::from_ref(function_list(library)).cast()))];
    // SAFETY: the symbol has this type in every PKCS#11 module that has it (v3.0, section "C_GetInterfaceList").
    let get = unsafe { library.get::<GetInterfaceList>(b"C_GetInterfaceList\0") }.expect("C_GetInterfaceList");
    let mut count: CK_ULONG = 16;
    let none = CK_INTERFACE { pInterfaceName: std::ptr::null_mut(), pFunctionList: std::ptr::null_mut(), flags: 0 };
    let mut list = [none; 16];
    // SAFETY: the array and its length.
    let rv = unsafe { get(list.as_mut_ptr(), &mut count) };
    lines.push(format!("C_GetInterfaceList {rv:#x} {count}"));
    lines.extend(list[..count as usize].iter().map(|interface| format!("C_GetInterfaceList {}", describe(interface))));
    for version in [None, Some((2, 40)), Some((3, 0)), Some((3, 1)), Some((3, 2)), Some((4, 0))] {
        let found = interface(library, version).map(describe);
        lines.push(format!("C_GetInterface {version:?} {found:?}"));
    }
    lines
}

/// Calls one function of the list.
#[macro_export]
macro_rules! call {
    ($module:expr, $function:ident $(, $argument:expr)* $(,)?) => { $crate::call_of!($module.list, $function $(, $argument)*) };
}

/// Calls one function of a list.
#[macro_export]
macro_rules! call_of {
    ($list:expr, $function:ident $(, $argument:expr)* $(,)?) => {{
        let function = $list.$function.expect(stringify!($function));
        #[allow(clippy::macro_metavars_in_unsafe)] // The arguments are what the call is about.
        // SAFETY: every pointer given comes from a live local of the caller, with its true length, or is null on purpose.
        unsafe { function($($argument),*) }
    }};
}
