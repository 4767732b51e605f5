//! The function lists of 2.40, 3.0 and 3.2 and the interfaces, from one declaration.

use std::ffi::{CStr, c_void};

use cryptoki_sys::{CK_FUNCTION_LIST, CK_FUNCTION_LIST_3_0, CK_FUNCTION_LIST_3_2, CK_INTERFACE};

use crate::backend::{INTERFACE_NAME, Offers};
use crate::version::Version;

use super::{digest, dual, encryption, general, keys, message, object, parallel, random, session, signing, slot};

/// Makes everything that names all functions. A function missing here fails to compile: the lists have a field for it.
macro_rules! functions {
    (
        v2_40 { $($m2:ident: $($f2:ident)+;)+ }
        v3_0 { $($m30:ident: $($f30:ident)+;)+ }
        v3_2 { $($m32:ident: $($f32:ident)+;)+ }
    ) => {
        /// The function list of 2.40.
        pub static LIST_2_40: CK_FUNCTION_LIST =
            CK_FUNCTION_LIST { version: version(Version::V2_40), $($($f2: Some($m2::$f2),)+)+ };

        const fn list_3_0(of: Version) -> CK_FUNCTION_LIST_3_0 {
            CK_FUNCTION_LIST_3_0 {
                version: version(of),
                $($($f2: Some($m2::$f2),)+)+
                $($($f30: Some($m30::$f30),)+)+
            }
        }

        static LIST_3_0: CK_FUNCTION_LIST_3_0 = list_3_0(Version::V3_0);

        /// 3.1 added no function.
        static LIST_3_1: CK_FUNCTION_LIST_3_0 = list_3_0(Version::V3_1);

        static LIST_3_2: CK_FUNCTION_LIST_3_2 = CK_FUNCTION_LIST_3_2 {
            version: version(Version::V3_2),
            $($($f2: Some($m2::$f2),)+)+
            $($($f30: Some($m30::$f30),)+)+
            $($($f32: Some($m32::$f32),)+)+
        };

        /// The names of all functions: those of 2.40, then what 3.0 and 3.2 added.
        pub const NAMES: &[&CStr] = &[
            $($(c_name(concat!(stringify!($f2), "\0")),)+)+
            $($(c_name(concat!(stringify!($f30), "\0")),)+)+
            $($(c_name(concat!(stringify!($f32), "\0")),)+)+
        ];

        /// A list without functions.
        pub(crate) fn empty() -> CK_FUNCTION_LIST_3_2 {
            CK_FUNCTION_LIST_3_2 {
                version: version(Version::V3_2),
                $($($f2: None,)+)+
                $($($f30: None,)+)+
                $($($f32: None,)+)+
            }
        }

        /// Puts the functions of `list` over those of `functions`; null entries leave what is there.
        pub(crate) fn overlay_2_40(functions: &mut CK_FUNCTION_LIST_3_2, list: &CK_FUNCTION_LIST) {
            $($(functions.$f2 = list.$f2.or(functions.$f2);)+)+
        }

        /// As [`overlay_2_40`].
        pub(crate) fn overlay_3_0(functions: &mut CK_FUNCTION_LIST_3_2, list: &CK_FUNCTION_LIST_3_0) {
            $($(functions.$f2 = list.$f2.or(functions.$f2);)+)+
            $($(functions.$f30 = list.$f30.or(functions.$f30);)+)+
        }

        /// As [`overlay_2_40`].
        pub(crate) fn overlay_3_2(functions: &mut CK_FUNCTION_LIST_3_2, list: &CK_FUNCTION_LIST_3_2) {
            $($(functions.$f2 = list.$f2.or(functions.$f2);)+)+
            $($(functions.$f30 = list.$f30.or(functions.$f30);)+)+
            $($(functions.$f32 = list.$f32.or(functions.$f32);)+)+
        }

        /// Whether `address` is that of one of our entry points.
        pub(crate) fn is_ours(address: usize) -> bool {
            false
                $($(|| address == $m2::$f2 as *const () as usize)+)+
                $($(|| address == $m30::$f30 as *const () as usize)+)+
                $($(|| address == $m32::$f32 as *const () as usize)+)+
        }

        /// Replaces every function of ours in a backend's list by the one that `find` has under its name.
        ///
        /// A backend that refers to its functions by their exported names gets ours instead, when the host loaded us
        /// with `RTLD_GLOBAL` or linked us: all modules export the same names, and the first one loaded wins.
        pub(crate) fn take_back_interposed(
            functions: &mut CK_FUNCTION_LIST_3_2,
            find: impl Fn(&CStr) -> *mut c_void,
        ) {
            $($(
                if functions.$f2.is_some_and(|function| is_ours(function as usize)) {
                    let address = find(c_name(concat!(stringify!($f2), "\0")));
                    // SAFETY: what a module exports under the name of this function has the type of this function.
                    functions.$f2 = unsafe { retyped(functions.$f2, address) };
                }
            )+)+
            $($(
                if functions.$f30.is_some_and(|function| is_ours(function as usize)) {
                    let address = find(c_name(concat!(stringify!($f30), "\0")));
                    // SAFETY: as above.
                    functions.$f30 = unsafe { retyped(functions.$f30, address) };
                }
            )+)+
            $($(
                if functions.$f32.is_some_and(|function| is_ours(function as usize)) {
                    let address = find(c_name(concat!(stringify!($f32), "\0")));
                    // SAFETY: as above.
                    functions.$f32 = unsafe { retyped(functions.$f32, address) };
                }
            )+)+
        }

        /// Whether a function of `functions` is one of ours.
        pub(crate) fn holds_our_functions(functions: &CK_FUNCTION_LIST_3_2) -> bool {
            false
                $($(|| functions.$f2.is_some_and(|function| is_ours(function as usize)))+)+
                $($(|| functions.$f30.is_some_and(|function| is_ours(function as usize)))+)+
                $($(|| functions.$f32.is_some_and(|function| is_ours(function as usize)))+)+
        }
    };
}

functions! {
    v2_40 {
        general: C_Initialize C_Finalize C_GetInfo C_GetFunctionList;
        slot: C_GetSlotList C_GetSlotInfo C_GetTokenInfo C_GetMechanismList C_GetMechanismInfo C_InitToken C_InitPIN
            C_SetPIN;
        session: C_OpenSession C_CloseSession C_CloseAllSessions C_GetSessionInfo C_GetOperationState
            C_SetOperationState C_Login C_Logout;
        object: C_CreateObject C_CopyObject C_DestroyObject C_GetObjectSize C_GetAttributeValue C_SetAttributeValue
            C_FindObjectsInit C_FindObjects C_FindObjectsFinal;
        encryption: C_EncryptInit C_Encrypt C_EncryptUpdate C_EncryptFinal C_DecryptInit C_Decrypt C_DecryptUpdate
            C_DecryptFinal;
        digest: C_DigestInit C_Digest C_DigestUpdate C_DigestKey C_DigestFinal;
        signing: C_SignInit C_Sign C_SignUpdate C_SignFinal C_SignRecoverInit C_SignRecover C_VerifyInit C_Verify
            C_VerifyUpdate C_VerifyFinal C_VerifyRecoverInit C_VerifyRecover;
        dual: C_DigestEncryptUpdate C_DecryptDigestUpdate C_SignEncryptUpdate C_DecryptVerifyUpdate;
        keys: C_GenerateKey C_GenerateKeyPair C_WrapKey C_UnwrapKey C_DeriveKey;
        random: C_SeedRandom C_GenerateRandom;
        parallel: C_GetFunctionStatus C_CancelFunction;
        slot: C_WaitForSlotEvent;
    }
    v3_0 {
        general: C_GetInterfaceList C_GetInterface;
        session: C_LoginUser C_SessionCancel;
        message: C_MessageEncryptInit C_EncryptMessage C_EncryptMessageBegin C_EncryptMessageNext
            C_MessageEncryptFinal C_MessageDecryptInit C_DecryptMessage C_DecryptMessageBegin C_DecryptMessageNext
            C_MessageDecryptFinal C_MessageSignInit C_SignMessage C_SignMessageBegin C_SignMessageNext
            C_MessageSignFinal C_MessageVerifyInit C_VerifyMessage C_VerifyMessageBegin C_VerifyMessageNext
            C_MessageVerifyFinal;
    }
    v3_2 {
        keys: C_EncapsulateKey C_DecapsulateKey;
        signing: C_VerifySignatureInit C_VerifySignature C_VerifySignatureUpdate C_VerifySignatureFinal;
        session: C_GetSessionValidationFlags;
        parallel: C_AsyncComplete C_AsyncGetID C_AsyncJoin;
        keys: C_WrapKeyAuthenticated C_UnwrapKeyAuthenticated;
    }
}

const fn version(of: Version) -> cryptoki_sys::CK_VERSION {
    cryptoki_sys::CK_VERSION { major: of.major, minor: of.minor }
}

const fn c_name(name: &'static str) -> &'static CStr {
    match CStr::from_bytes_with_nul(name.as_bytes()) {
        Ok(name) => name,
        Err(_) => c"",
    }
}

/// The function at `address` in the type of `like`; `None` for null.
///
/// # Safety
/// `F` is the type of function pointers, and the function at `address` is of it.
unsafe fn retyped<F: Copy>(like: Option<F>, address: *mut c_void) -> Option<F> {
    const { assert!(size_of::<F>() == size_of::<*mut c_void>() && size_of::<Option<F>>() == size_of::<F>()) };
    if address.is_null() || like.is_none() {
        return None;
    }
    // SAFETY: the caller says so, and the sizes agree.
    Some(unsafe { std::mem::transmute_copy::<*mut c_void, F>(&address) })
}

/// An interface of ours, which never changes.
#[repr(transparent)]
pub struct Interface(CK_INTERFACE);

// SAFETY: the pointers inside lead to statics that are never written.
unsafe impl Sync for Interface {}

impl Interface {
    const fn new<L>(list: &'static L) -> Self {
        Self(CK_INTERFACE {
            pInterfaceName: INTERFACE_NAME.as_ptr().cast_mut().cast(),
            pFunctionList: std::ptr::from_ref(list).cast_mut().cast(),
            // Not CKF_INTERFACE_FORK_SAFE: a forked child of ours is uninitialised.
            flags: 0,
        })
    }

    /// What the client gets.
    pub fn as_ck(&self) -> &CK_INTERFACE {
        &self.0
    }
}

static INTERFACE_2_40: Interface = Interface::new(&LIST_2_40);
static INTERFACE_3_0: Interface = Interface::new(&LIST_3_0);
static INTERFACE_3_1: Interface = Interface::new(&LIST_3_1);
static INTERFACE_3_2: Interface = Interface::new(&LIST_3_2);

/// Our interfaces in front of a backend that offers `offers`, the latest first: 2.40 always, 3.x exactly where the
/// backend has it. Interfaces of other names are not passed on, as their calls would go past us.
pub fn interfaces(offers: Offers) -> impl Iterator<Item = (Version, &'static Interface)> {
    [
        (offers.v3_2, Version::V3_2, &INTERFACE_3_2),
        (offers.v3_1, Version::V3_1, &INTERFACE_3_1),
        (offers.v3_0, Version::V3_0, &INTERFACE_3_0),
        (true, Version::V2_40, &INTERFACE_2_40),
    ]
    .into_iter()
    .filter_map(|(offered, version, interface)| offered.then_some((version, interface)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_all_of_them_and_each_once() {
        assert_eq!(NAMES.len(), 104);
        assert_eq!(NAMES.iter().collect::<std::collections::HashSet<_>>().len(), 104);
        assert!(NAMES.iter().all(|name| name.to_bytes().starts_with(b"C_")));
    }

    #[test]
    fn our_functions_are_known_as_ours() {
        let mut functions = empty();
        assert!(!holds_our_functions(&functions));
        overlay_2_40(&mut functions, &LIST_2_40);
        assert!(holds_our_functions(&functions));
        assert!(functions.C_SignMessage.is_none());
        overlay_3_2(&mut functions, &LIST_3_2);
        assert!(functions.C_SignMessage.is_some());
        take_back_interposed(&mut functions, |_| std::ptr::null_mut());
        assert!(!holds_our_functions(&functions), "what the backend does not export itself is gone");
        assert!(functions.C_Sign.is_none());
    }

    #[test]
    fn null_entries_leave_what_is_there() {
        let mut functions = empty();
        overlay_2_40(&mut functions, &LIST_2_40);
        overlay_3_2(&mut functions, &empty());
        assert!(functions.C_Sign.is_some());
        assert!(functions.C_EncapsulateKey.is_none());
    }

    #[test]
    fn interfaces_follow_the_backend() {
        let versions = |offers| interfaces(offers).map(|(version, _)| version).collect::<Vec<_>>();
        assert_eq!(versions(Offers::default()), [Version::V2_40]);
        assert_eq!(
            versions(Offers { v3_0: true, v3_2: true, ..Offers::default() }),
            [Version::V3_2, Version::V3_0, Version::V2_40]
        );
    }
}
