//! The tables of the curves' base points.
//!
//! The curve crates make them at their first use, while other threads that want them wait. A child that is forked just
//! then waits for ever, for the thread that makes them is not in the child. So they are made under a lock of ours, which
//! whoever forks can hold meanwhile.

use std::cell::Cell;
use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use p256::elliptic_curve::group::Group;

use crate::Curve;

static MAKING: Mutex<()> = Mutex::new(());

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

/// Makes the tables of both curves, unless they are there. Who signs or derives while others may fork calls it before.
pub fn prepare_tables() {
    Curve::ALL.into_iter().for_each(prepare_tables_of);
}

/// Makes the tables of one curve, unless they are there.
pub(crate) fn prepare_tables_of(curve: Curve) {
    static MADE: [AtomicBool; 2] = [const { AtomicBool::new(false) }; 2];
    let made = match curve {
        Curve::P256 => &MADE[0],
        Curve::Secp256k1 => &MADE[1],
    };
    if made.load(Ordering::Acquire) {
        return;
    }
    let _making = tables_at_rest();
    // Any multiple of the base point is taken from the tables.
    match curve {
        Curve::P256 => drop(black_box(p256::ProjectivePoint::mul_by_generator(&p256::Scalar::ONE))),
        Curve::Secp256k1 => drop(black_box(k256::ProjectivePoint::mul_by_generator(&k256::Scalar::ONE))),
    }
    made.store(true, Ordering::Release);
}
