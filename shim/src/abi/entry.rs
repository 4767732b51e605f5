//! How every entry point is written: the `extern "C"` shell, the panic boundary and the way to the backend.

use std::panic::{AssertUnwindSafe, catch_unwind};

use cryptoki_sys::{CK_RV, CKR_GENERAL_ERROR, CKR_OK};

use crate::error::Error;
use crate::log;

/// Writes entry points.
///
/// The body is an expression of type `Result<(), Error>` in which `?` works. It runs inside the panic boundary; the
/// result becomes the return code through [`crate::error`].
macro_rules! entry {
    ($(
        $(#[$meta:meta])*
        fn $name:ident($($argument:ident: $type:ty),* $(,)?) $body:block
    )+) => {$(
        $(#[$meta])*
        ///
        /// # Safety
        /// The pointers are what the specification says of this function's arguments: null where it allows that, else
        /// good for the lengths given, and not used by another thread until the call returns.
        #[unsafe(no_mangle)]
        #[allow(non_snake_case, clippy::too_many_arguments, reason = "as the specification has them")]
        pub unsafe extern "C" fn $name($($argument: $type),*) -> cryptoki_sys::CK_RV {
            $crate::abi::entry::guarded(stringify!($name), move || $body)
        }
    )+};
}

/// Writes entry points that hand everything to the backend as it is. Lengths of what the backend reads or fills are
/// named after the arguments, to be looked at before.
macro_rules! forwarded {
    ($(
        $(#[$meta:meta])*
        fn $name:ident($($argument:ident: $type:ty),* $(,)?) $([$($length:ident),+])?;
    )+) => {
        $crate::abi::entry::entry! {$(
            $(#[$meta])*
            fn $name($($argument: $type),*) {
                let call = $crate::lifecycle::enter()?;
                $($($crate::abi::args::plausible($length)?;)+)?
                $crate::abi::entry::forward!(call.$name($($argument),*))
            }
        )+}
    };
}

/// Writes entry points that begin an operation with a mechanism and a key of the backend, which no mapped key can be.
macro_rules! forwarded_init {
    ($(
        $(#[$meta:meta])*
        fn $name:ident;
    )+) => {
        $crate::abi::entry::entry! {$(
            $(#[$meta])*
            fn $name(
                hSession: cryptoki_sys::CK_SESSION_HANDLE,
                pMechanism: cryptoki_sys::CK_MECHANISM_PTR,
                hKey: cryptoki_sys::CK_OBJECT_HANDLE,
            ) {
                let call = $crate::lifecycle::enter()?;
                // SAFETY: the client's mechanism.
                let mut mechanism = unsafe { $crate::abi::mechanism::Sound::read(pMechanism) };
                match call.object(hKey) {
                    $crate::lifecycle::Object::Backend(key) => {
                        $crate::abi::entry::forward!(call.$name(hSession, mechanism.as_ptr(), key))
                    }
                    $crate::lifecycle::Object::Mapped(_) => Err($crate::error::Error::KeyFunctionNotPermitted),
                }
            }
        )+}
    };
}

/// Calls a function of the backend and gives its return code as `Result<(), Error>`; a function that the backend does
/// not have is [`Error::FunctionNotSupported`].
macro_rules! forward {
    ($call:ident.$name:ident($($argument:expr),* $(,)?)) => {
        match $call.functions.$name {
            // SAFETY: the backend promised this function under this name and type in its function list; the pointers
            // are the client's own, who promises the backend what the specification says of them.
            Some(function) => $crate::abi::entry::outcome(unsafe { function($($argument),*) }),
            None => Err($crate::error::Error::FunctionNotSupported),
        }
    };
}

pub(crate) use {entry, forward, forwarded, forwarded_init};

/// The return code of a call to the backend as a result.
#[inline(always)]
pub fn outcome(rv: CK_RV) -> Result<(), Error> {
    if rv == CKR_OK { Ok(()) } else { Err(Error::Backend(rv)) }
}

/// Runs the body of an entry point and makes its result a return code.
///
/// Codes of the backend pass through unlooked at; our own are logged by how much an operator needs them. A panic is
/// `CKR_GENERAL_ERROR`.
#[inline(always)]
pub fn guarded(function: &'static str, body: impl FnOnce() -> Result<(), Error>) -> CK_RV {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(())) => CKR_OK,
        Ok(Err(Error::Backend(rv))) => rv,
        Ok(Err(error)) => refused(function, &error),
        Err(payload) => {
            // Dropping it could panic again.
            std::mem::forget(payload);
            panicked(function)
        }
    }
}

#[cold]
fn refused(function: &'static str, error: &Error) -> CK_RV {
    log::failure(function, error);
    error.code()
}

#[cold]
fn panicked(function: &'static str) -> CK_RV {
    log::panic(function);
    CKR_GENERAL_ERROR
}

#[cfg(test)]
mod tests {
    use super::*;
    use cryptoki_sys::{CKR_ARGUMENTS_BAD, CKR_PIN_INCORRECT};

    #[test]
    fn k4_a_panic_stays_inside() {
        assert_eq!(guarded("C_Test", || panic!("on purpose")), CKR_GENERAL_ERROR);
    }

    #[test]
    fn results_become_codes() {
        assert_eq!(guarded("C_Test", || Ok(())), CKR_OK);
        assert_eq!(guarded("C_Test", || Err(Error::ArgumentsBad("x"))), CKR_ARGUMENTS_BAD);
        assert_eq!(guarded("C_Test", || outcome(CKR_PIN_INCORRECT)), CKR_PIN_INCORRECT);
    }
}
