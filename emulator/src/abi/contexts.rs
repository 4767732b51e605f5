//! The open contexts of this process.
//!
//! A `zkCTX` is a number, not a pointer: a closed or invented one is recognised. The table takes no lock, because a
//! child that is forked while another thread held it could never take it again.

use std::ffi::c_void;
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

use crate::error::{Error, Result};
use crate::store::Directory;

/// `zkCTX`.
pub type ZkCtx = *mut c_void;

const CONTEXTS: usize = 4096;
const INDEX_BITS: usize = 12;

const FREE: u64 = 0;
const BUSY: u64 = 1;

struct Entry {
    /// [`FREE`], [`BUSY`] while it is being filled, or the use number of an open context.
    state: AtomicU64,
    directory: AtomicPtr<Known>,
    boots: AtomicU64,
    connections: AtomicU64,
}

/// A state directory that was opened once. There are few in a process, and they stay.
struct Known {
    directory: Directory,
    next: *const Known,
}

static TABLE: [Entry; CONTEXTS] = [const {
    Entry {
        state: AtomicU64::new(FREE),
        directory: AtomicPtr::new(ptr::null_mut()),
        boots: AtomicU64::new(0),
        connections: AtomicU64::new(0),
    }
}; CONTEXTS];
static KNOWN: AtomicPtr<Known> = AtomicPtr::new(ptr::null_mut());
static USES: AtomicU64 = AtomicU64::new(BUSY);

/// What an open context stands for.
#[derive(Clone, Copy)]
pub struct Context {
    /// The device's state directory.
    pub directory: &'static Directory,
    /// The device's boot count when it was opened.
    pub boots: u64,
    /// The device's connection count when it was opened.
    pub connections: u64,
}

/// Opens a context.
pub fn open(directory: &Directory, boots: u64, connections: u64) -> Result<ZkCtx> {
    for (index, entry) in TABLE.iter().enumerate() {
        if entry.state.compare_exchange(FREE, BUSY, Ordering::Acquire, Ordering::Relaxed).is_err() {
            continue;
        }
        entry.directory.store(known(directory).cast_mut(), Ordering::Relaxed);
        entry.boots.store(boots, Ordering::Relaxed);
        entry.connections.store(connections, Ordering::Relaxed);
        // 19 bits of the use number and 12 of the index fit a pointer of 32 bits, and are never NULL.
        let usage = (USES.fetch_add(1, Ordering::Relaxed) & 0x7_ffff) + BUSY + 1;
        entry.state.store(usage, Ordering::Release);
        return Ok(ptr::without_provenance_mut((usage as usize) << INDEX_BITS | index));
    }
    Err(Error::Full)
}

/// Looks a context up.
pub fn find(ctx: ZkCtx) -> Result<Context> {
    let (entry, usage) = entry(ctx).ok_or(Error::Context)?;
    if entry.state.load(Ordering::Acquire) != usage {
        return Err(Error::Context);
    }
    let known = entry.directory.load(Ordering::Relaxed);
    // SAFETY: what `open` stores comes from `known`, whose entries are never freed or changed.
    let known: &'static Known = unsafe { known.as_ref() }.ok_or(Error::Context)?;
    Ok(Context {
        directory: &known.directory,
        boots: entry.boots.load(Ordering::Relaxed),
        connections: entry.connections.load(Ordering::Relaxed),
    })
}

/// Closes a context.
pub fn close(ctx: ZkCtx) -> Result<()> {
    let (entry, usage) = entry(ctx).ok_or(Error::Context)?;
    let closed = entry.state.compare_exchange(usage, FREE, Ordering::AcqRel, Ordering::Relaxed);
    closed.map(|_| ()).map_err(|_| Error::Context)
}

fn entry(ctx: ZkCtx) -> Option<(&'static Entry, u64)> {
    let number = ctx.addr();
    let usage = (number >> INDEX_BITS) as u64;
    (usage > BUSY).then(|| TABLE.get(number & (CONTEXTS - 1)).map(|entry| (entry, usage))).flatten()
}

fn known(directory: &Directory) -> *const Known {
    let mut head = KNOWN.load(Ordering::Acquire);
    let mut at = head.cast_const();
    // SAFETY: entries are reachable from KNOWN once they are complete, and are never freed or changed.
    while let Some(known) = unsafe { at.as_ref() } {
        if known.directory == *directory {
            return at;
        }
        at = known.next;
    }
    let new = Box::into_raw(Box::new(Known { directory: directory.clone(), next: head }));
    loop {
        match KNOWN.compare_exchange(head, new, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => return new,
            Err(current) => {
                head = current;
                // SAFETY: the entry is not in the list yet, so it is ours alone.
                unsafe { (*new).next = head };
            }
        }
    }
}
