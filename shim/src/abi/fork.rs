//! The handlers that `fork` runs.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::lifecycle;

static REGISTERED: AtomicBool = AtomicBool::new(false);

/// Registers the fork handlers, once in the life of the process: a child inherits them.
///
/// False when there is no memory for it; the next call tries again.
pub fn register_handlers() -> bool {
    if REGISTERED.swap(true, Ordering::AcqRel) {
        return true;
    }
    // SAFETY: the handlers are functions of this library, which is linked with `-z nodelete` and so never unmapped.
    let registered = unsafe { libc::pthread_atfork(Some(prepare), Some(parent), Some(child)) } == 0;
    if !registered {
        REGISTERED.store(false, Ordering::Release);
    }
    registered
}

unsafe extern "C" fn prepare() {
    contained(lifecycle::fork_prepare);
}

unsafe extern "C" fn parent() {
    contained(lifecycle::fork_parent);
}

unsafe extern "C" fn child() {
    contained(lifecycle::fork_child);
}

/// Nothing can be reported from inside `fork`; a panic must not cross it either.
fn contained(handler: fn()) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(handler)) {
        std::mem::forget(payload);
    }
}
