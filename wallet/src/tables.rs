//! The tables of the curves' base points.
//!
//! The curve crates make them at their first use, while other threads that want them wait. A child that is forked just
//! then waits for ever, for the thread that makes them is not in the child. So they are made under a lock of ours, which
//! whoever forks can hold meanwhile.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use p256::ecdsa::signature::hazmat::{PrehashSigner, PrehashVerifier};

static MAKING: Mutex<()> = Mutex::new(());
static MADE: AtomicBool = AtomicBool::new(false);

thread_local! {
    /// Whether this thread holds [`MAKING`]: a process may have several handlers that run before a fork.
    static HOLDING: Cell<bool> = const { Cell::new(false) };
}

/// While this lives, no other thread makes the tables: they are there, or nobody has begun.
#[must_use]
pub struct TablesAtRest(Option<MutexGuard<'static, ()>>);

impl Drop for TablesAtRest {
    fn drop(&mut self) {
        if self.0.is_some() {
            HOLDING.set(false);
        }
    }
}

/// For a handler of pthread_atfork(3): waits until no thread makes the tables, and keeps it so until the value is
/// dropped, after the fork, in the parent and in the child. Several at once in one thread are as one.
pub fn tables_at_rest() -> TablesAtRest {
    if HOLDING.replace(true) {
        return TablesAtRest(None);
    }
    TablesAtRest(Some(MAKING.lock().unwrap_or_else(PoisonError::into_inner)))
}

/// Makes the tables, unless they are there. Signing, verifying and deriving are slower once without it.
pub fn prepare_tables() {
    if MADE.load(Ordering::Acquire) {
        return;
    }
    let _making = tables_at_rest();
    // Whatever the crates make for signing and for verifying: both are done once. That these keys, of no meaning, are
    // valid is for their crates' tests; a failure here would only leave the tables for later.
    if let Ok(key) = p256::ecdsa::SigningKey::from_slice(&[1; 32]) {
        let signature: Result<p256::ecdsa::Signature, _> = key.sign_prehash(&[1; 32]);
        let _ = signature.and_then(|signature| key.verifying_key().verify_prehash(&[1; 32], &signature));
    }
    if let Ok(key) = k256::ecdsa::SigningKey::from_slice(&[1; 32]) {
        let signature: Result<k256::ecdsa::Signature, _> = key.sign_prehash(&[1; 32]);
        let _ = signature.and_then(|signature| key.verifying_key().verify_prehash(&[1; 32], &signature));
    }
    MADE.store(true, Ordering::Release);
}
