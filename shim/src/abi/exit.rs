//! The handler that `exit` runs.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::lifecycle;

/// What has destructors that must find the module closed.
pub enum Library {
    /// The backend module.
    Backend,
    /// The device's library, which ending session keys needs whole.
    Device,
}

/// Registers the exit handler once a library was loaded, once in the life of the process for each: `exit` runs what was
/// registered last first, so the handler comes before the library's destructors. A child inherits it.
///
/// Without memory for it the process ends as it would in front of the bare backend.
pub fn register_handler(after: Library) {
    static BACKEND: AtomicBool = AtomicBool::new(false);
    static DEVICE: AtomicBool = AtomicBool::new(false);
    let registered = match after {
        Library::Backend => &BACKEND,
        Library::Device => &DEVICE,
    };
    if !registered.swap(true, Ordering::AcqRel) {
        // SAFETY: the handler is a function of this library, which is linked with `-z nodelete` and so never unmapped.
        unsafe { libc::atexit(exiting) };
    }
}

extern "C" fn exiting() {
    // Nothing can be reported any more; a panic must not leave.
    if let Err(payload) = catch_unwind(AssertUnwindSafe(lifecycle::exiting)) {
        std::mem::forget(payload);
    }
}
