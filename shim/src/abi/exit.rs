//! The handler that `exit` runs.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::lifecycle;

static REGISTERED: AtomicBool = AtomicBool::new(false);

/// Registers the exit handler, once in the life of the process, after the backend was loaded: `exit` then runs it before
/// the backend's destructors. A child inherits it.
///
/// Without memory for it the process ends as it would in front of the bare backend.
pub fn register_handler() {
    if !REGISTERED.swap(true, Ordering::AcqRel) {
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
