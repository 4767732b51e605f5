//! "Zymkey Context".

use std::ffi::c_int;
use std::sync::atomic::{AtomicBool, Ordering};

use holdfast_wallet::prepare_tables;

use super::args::Out;
use super::call::{announce, guarded, without_context};
use super::contexts::{self, ZkCtx};
use crate::store::Directory;

pub(super) const NAMES: &[&str] = &["zkOpen", "zkClose"];

/// Opens a context on the device of `HOLDFAST_EMULATOR_STATE`; fails when there is none. A context is good until the
/// next power cycle or disconnection.
///
/// # Safety
/// `ctx` is NULL or can be written.
#[unsafe(no_mangle)]
#[allow(non_snake_case)]
pub unsafe extern "C" fn zkOpen(ctx: *mut ZkCtx) -> c_int {
    guarded(|| {
        // SAFETY: the caller promises that it can be written.
        let out = unsafe { Out::new(ctx) }?;
        let directory = Directory::from_environment()?;
        prepare_fork();
        without_context(&directory, "zkOpen", |device| {
            let state = device.state();
            let ctx = contexts::open(device.directory(), state.boots, state.connections)?;
            announce(device.directory());
            out.set(ctx);
            Ok(0)
        })
    })
}

/// Sees to it that no child is forked while the curves' tables are being made, and makes them.
fn prepare_fork() {
    static REGISTERED: AtomicBool = AtomicBool::new(false);
    unsafe extern "C" fn before_fork() {
        // Waits for another thread that makes them just now.
        prepare_tables();
    }
    if !REGISTERED.swap(true, Ordering::Relaxed) {
        // SAFETY: the handler takes no argument and calls nothing that forks; glibc drops it when the library is
        // unloaded. It can fail only for want of memory, and then children are in no greater danger than without it.
        unsafe { libc::pthread_atfork(Some(before_fork), None, None) };
        prepare_tables();
    }
}

/// Closes a context, also one that was lost.
///
/// # Safety
/// There is nothing to promise: a context that is not open is refused.
#[unsafe(no_mangle)]
#[allow(non_snake_case)]
pub unsafe extern "C" fn zkClose(ctx: ZkCtx) -> c_int {
    guarded(|| {
        let context = contexts::find(ctx)?;
        contexts::close(ctx)?;
        // Faults may ask for something, but a device that is no longer there keeps nobody from closing.
        let answer = without_context(context.directory, "zkClose", |_| Ok(0));
        answer.or_else(|error| if matches!(error, crate::Error::Injected) { Err(error) } else { Ok(0) })
    })
}
