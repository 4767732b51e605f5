//! A fork of the process. All use of SQLite is under one mutex, which the forking thread holds across the fork: a child
//! never inherits an open transaction, which it could only roll back together with its parent's.

use std::cell::RefCell;
use std::mem::ManuallyDrop;
use std::sync::MutexGuard;

use holdfast_wallet::{TablesAtRest, tables_at_rest};

use crate::Keystore;
use crate::keystore::{Known, StoreSlot};

struct Held {
    keystore: *const Keystore,
    slot: MutexGuard<'static, StoreSlot>,
    known: MutexGuard<'static, Known>,
    /// A child forked while another thread makes the curves' tables would wait for them for ever.
    _tables: TablesAtRest,
}

thread_local! {
    // Without a destructor: one would keep the module from being unloaded while the thread lives.
    static HELD: ManuallyDrop<RefCell<Vec<Held>>> = const { ManuallyDrop::new(RefCell::new(Vec::new())) };
}

impl Keystore {
    /// Before a fork, in the thread that forks: waits until no other thread is inside SQLite, and keeps them out.
    pub fn fork_prepare(&'static self) {
        let (slot, known) = (self.lock_store(), self.lock_known());
        let held = Held { keystore: self, slot, known, _tables: tables_at_rest() };
        HELD.with(|all| all.borrow_mut().push(held));
    }

    /// After a fork, in the parent: lets the threads in again.
    pub fn fork_parent(&'static self) {
        drop(self.take_held());
    }

    /// After a fork, in the child: abandons the connection without closing it, gives up the parent's owner lock, and
    /// forgets the device's connection and which slots were checked.
    pub fn fork_child(&'static self) {
        self.device.forget_after_fork();
        holdfast_mapping_db::forget_after_fork();
        let Some(mut held) = self.take_held() else { return };
        let slot = std::mem::take(&mut *held.slot);
        if let Some(store) = slot.store {
            store.abandon();
        }
        *held.known = Known::default();
        self.device.forget_after_fork();
    }

    fn take_held(&'static self) -> Option<Held> {
        HELD.with(|all| {
            let mut all = all.borrow_mut();
            let index = all.iter().position(|held| std::ptr::eq(held.keystore, self))?;
            Some(all.swap_remove(index))
        })
    }
}
