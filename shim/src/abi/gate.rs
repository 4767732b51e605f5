//! The gate that every call passes: open between `C_Initialize` and `C_Finalize`, closed at once in a forked child.
//!
//! Passing costs two loads and two plain stores to memory that only this thread writes. There is no lock, no atomic
//! read-modify-write and no system call:
//!
//! - What is behind the gate is named by a pointer in a page with `MADV_WIPEONFORK`: the kernel clears it in a forked
//!   child. Where the kernel cannot (before 4.14), the fork handler of [`crate::abi::fork`] clears it.
//! - Each thread counts its own calls in a slot of its own. Closing the gate clears the pointer, makes all threads of
//!   the process pass a memory barrier (`membarrier`), and then waits until no slot counts a call: whoever is inside
//!   has what is behind the gate to the end of the call, whoever comes later is refused.

use std::cell::Cell;
use std::ops::Deref;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, Ordering, compiler_fence, fence};
use std::time::{Duration, Instant};

/// The part of a gate that a fork clears.
struct Page {
    /// What the gate guards, type erased; null while closed.
    inside: AtomicPtr<()>,
    /// Thread that is opening or closing, 0 for none.
    owner: AtomicU32,
    /// Whether this page was written since the last fork: false in a child until it first opens or closes the gate.
    written: AtomicBool,
    /// Whether the gate was opened since the last fork: false in a child until it is.
    opened: AtomicBool,
}

impl Page {
    const fn new() -> Self {
        Self {
            inside: AtomicPtr::new(ptr::null_mut()),
            owner: AtomicU32::new(0),
            written: AtomicBool::new(false),
            opened: AtomicBool::new(false),
        }
    }
}

/// Stands for the page of a gate that was never opened. Never written.
static CLOSED: Page = Page::new();

/// Guards one value of type `T`, of which there is one while the gate is open.
pub struct Gate<T> {
    page: AtomicPtr<Page>,
    /// Used when no page that forks clear can be had.
    fallback: Page,
    /// Whether `Page::written` was ever set, which a fork does not clear.
    used: AtomicBool,
    /// Likewise for `Page::opened`.
    ever_opened: AtomicBool,
    guarded: std::marker::PhantomData<AtomicPtr<T>>,
}

/// A call inside the gate: what is behind it stays until this is dropped.
pub struct Entered<T> {
    inside: *const T,
    slot: &'static Slot,
}

/// The right to open and close, which one thread has at a time.
pub struct Transition<'gate, T> {
    gate: &'gate Gate<T>,
    page: &'static Page,
}

/// How closing ended.
pub enum Closed<T> {
    /// Nobody is inside any more.
    Drained(Box<T>),
    /// Somebody stayed inside beyond our patience; what they use is given up, never freed.
    Busy,
}

impl<T: Send + Sync + 'static> Gate<T> {
    /// A closed gate.
    #[allow(clippy::new_without_default, reason = "gates are statics")]
    pub const fn new() -> Self {
        Self {
            page: AtomicPtr::new((&raw const CLOSED).cast_mut()),
            fallback: Page::new(),
            used: AtomicBool::new(false),
            ever_opened: AtomicBool::new(false),
            guarded: std::marker::PhantomData,
        }
    }

    /// Passes the gate, if it is open.
    #[inline(always)]
    pub fn enter(&'static self) -> Option<Entered<T>> {
        let slot = Slot::of_this_thread();
        slot.depth.store(slot.depth.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
        // The other half of this barrier is `membarrier` in `Transition::close`.
        compiler_fence(Ordering::SeqCst);
        let inside = self.page_now().inside.load(Ordering::Acquire).cast::<T>().cast_const();
        let entered = Entered { inside, slot };
        if inside.is_null() { None } else { Some(entered) }
    }

    /// Takes the right to open and close, waiting for another thread that has it.
    ///
    /// `None` when that lasts longer than `patience`, or the right is this thread's already: what opens or closes
    /// called back.
    pub fn begin(&'static self, patience: Duration) -> Option<Transition<'static, T>> {
        let page = self.own_page();
        let me = this_thread();
        let deadline = Instant::now() + patience;
        while let Err(owner) = page.owner.compare_exchange(0, me, Ordering::Acquire, Ordering::Relaxed) {
            if owner == me || Instant::now() >= deadline {
                return None;
            }
            std::thread::sleep(Duration::from_micros(100));
        }
        if !page.written.swap(true, Ordering::Relaxed) && self.used.swap(true, Ordering::Relaxed) {
            Slot::forget_other_threads();
        }
        Some(Transition { gate: self, page })
    }

    /// Closes the gate in a forked child, where its kernel did not.
    pub fn close_after_fork(&self) {
        let page = self.page_now();
        if !ptr::eq(page, &CLOSED) {
            page.inside.store(ptr::null_mut(), Ordering::Relaxed);
            page.owner.store(0, Ordering::Relaxed);
            page.written.store(false, Ordering::Relaxed);
            page.opened.store(false, Ordering::Relaxed);
        }
    }

    #[inline(always)]
    fn page_now(&self) -> &'static Page {
        // SAFETY: `page` only ever holds the address of `CLOSED`, of the fallback in this gate, which is a static, or
        // of a mapping that is never unmapped. All zero bytes, as after a fork, are a valid `Page`.
        unsafe { &*self.page.load(Ordering::Acquire) }
    }

    /// The page of this gate, made at the first call.
    fn own_page(&'static self) -> &'static Page {
        let page = self.page_now();
        if !ptr::eq(page, &CLOSED) {
            return page;
        }
        let fresh = wiped_on_fork();
        let fresh_or_fallback = fresh.unwrap_or((&raw const self.fallback).cast_mut());
        let closed = (&raw const CLOSED).cast_mut();
        if self.page.compare_exchange(closed, fresh_or_fallback, Ordering::AcqRel, Ordering::Acquire).is_err()
            && let Some(unused) = fresh
        {
            // SAFETY: mapped by `wiped_on_fork` just now with this length, and nobody else has the address.
            unsafe { libc::munmap(unused.cast(), PAGE_BYTES) };
        }
        self.page_now()
    }
}

impl<T> Transition<'_, T> {
    /// Whether the process forked since the gate was last opened: this is a child that inherited what was behind it, and
    /// has not opened the gate for itself. An attempt to close it, which children make, does not change that.
    pub fn forked(&self) -> bool {
        !self.page.opened.load(Ordering::Relaxed) && self.gate.ever_opened.load(Ordering::Relaxed)
    }

    /// Whether the gate is open.
    pub fn is_open(&self) -> bool {
        !self.page.inside.load(Ordering::Relaxed).is_null()
    }

    /// Opens the gate, which is closed, in front of `inside`. An open one stays as it is.
    pub fn open(&self, inside: Box<T>) {
        if !self.is_open() {
            membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED);
            self.page.opened.store(true, Ordering::Relaxed);
            self.gate.ever_opened.store(true, Ordering::Relaxed);
            self.page.inside.store(Box::into_raw(inside).cast(), Ordering::Release);
        }
    }

    /// Closes the gate and waits up to `patience` until nobody is inside. `None` if it was closed.
    pub fn close(&self, patience: Duration) -> Option<Closed<T>> {
        let inside = self.page.inside.swap(ptr::null_mut(), Ordering::AcqRel).cast::<T>();
        if inside.is_null() {
            return None;
        }
        barrier_in_all_threads();
        if !Slot::wait_until_idle(patience) {
            return Some(Closed::Busy);
        }
        // SAFETY: made by `Box::into_raw` in `open` and swapped out just now, so nobody else frees it. Nobody uses it:
        // after the barrier a thread either has its count in its slot, and we waited for it, or sees null.
        Some(Closed::Drained(unsafe { Box::from_raw(inside) }))
    }

    /// The gate that this right is for.
    pub fn gate(&self) -> &Gate<T> {
        self.gate
    }
}

impl<T> Drop for Transition<'_, T> {
    fn drop(&mut self) {
        self.page.owner.store(0, Ordering::Release);
    }
}

impl<T> Deref for Entered<T> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        // SAFETY: not null, or `enter` had not given it out; `close` frees it only when no slot counts a call, and
        // ours counts this one until `drop`.
        unsafe { &*self.inside }
    }
}

impl<T> Drop for Entered<T> {
    #[inline(always)]
    fn drop(&mut self) {
        let depth = self.slot.depth.load(Ordering::Relaxed);
        self.slot.depth.store(depth.wrapping_sub(1), Ordering::Release);
    }
}

/// Counts the calls that one thread is inside. Slots are made once and then passed from ended threads to new ones.
#[repr(align(64))]
struct Slot {
    /// Written by the owning thread only.
    depth: AtomicU32,
    /// Whether a thread owns it.
    taken: AtomicBool,
    next: AtomicPtr<Slot>,
}

static SLOTS: AtomicPtr<Slot> = AtomicPtr::new(ptr::null_mut());

thread_local! {
    static SLOT: Cell<Option<&'static Slot>> = const { Cell::new(None) };
    static RETURN_SLOT: ReturnSlot = const { ReturnSlot };
    /// Whether this thread's destructors ran while it was inside: `exit`, called from a signal handler for one, runs them
    /// before its handlers, and in the midst of the call.
    static ENDED_INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// Gives the slot of an ending thread back.
struct ReturnSlot;

impl Drop for ReturnSlot {
    fn drop(&mut self) {
        if let Some(slot) = SLOT.take() {
            if slot.depth.load(Ordering::Relaxed) != 0 {
                ENDED_INSIDE.set(true);
            }
            // A thread that was ended inside a call is not inside any more.
            slot.depth.store(0, Ordering::Relaxed);
            slot.taken.store(false, Ordering::Release);
        }
    }
}

impl Slot {
    #[inline(always)]
    fn of_this_thread() -> &'static Self {
        match SLOT.get() {
            Some(slot) => slot,
            None => Self::claim(),
        }
    }

    /// A slot for a thread that calls for the first time.
    #[cold]
    fn claim() -> &'static Self {
        let slot = Self::all().find(|slot| Self::take(slot)).unwrap_or_else(Self::add);
        SLOT.set(Some(slot));
        // A thread that is past its destructors keeps the slot for ever.
        let _ = RETURN_SLOT.try_with(|_| ());
        slot
    }

    fn take(&self) -> bool {
        self.taken.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    fn add() -> &'static Self {
        let slot: &'static Self = Box::leak(Box::new(Self {
            depth: AtomicU32::new(0),
            taken: AtomicBool::new(true),
            next: AtomicPtr::new(ptr::null_mut()),
        }));
        let mut head = SLOTS.load(Ordering::Relaxed);
        loop {
            slot.next.store(head, Ordering::Relaxed);
            match SLOTS.compare_exchange_weak(head, ptr::from_ref(slot).cast_mut(), Ordering::AcqRel, Ordering::Relaxed)
            {
                Ok(_) => return slot,
                Err(now) => head = now,
            }
        }
    }

    fn all() -> impl Iterator<Item = &'static Self> {
        let mut next = SLOTS.load(Ordering::Acquire);
        std::iter::from_fn(move || {
            // SAFETY: null or a leaked slot, published with its `next` by `add` and never changed there again.
            let slot = unsafe { next.cast_const().as_ref::<'static>() }?;
            next = slot.next.load(Ordering::Acquire);
            Some(slot)
        })
    }

    /// In a forked child: the other threads are the parent's and will never leave.
    fn forget_other_threads() {
        let mine = SLOT.get();
        for slot in Self::all().filter(|slot| !mine.is_some_and(|mine| ptr::eq(mine, *slot))) {
            slot.depth.store(0, Ordering::Relaxed);
            slot.taken.store(false, Ordering::Relaxed);
        }
    }

    /// Waits until no thread counts a call; false when that does not come to pass within `patience`, or cannot,
    /// because this thread itself is inside.
    fn wait_until_idle(patience: Duration) -> bool {
        if ENDED_INSIDE.get() || SLOT.get().is_some_and(|mine| mine.depth.load(Ordering::Relaxed) != 0) {
            return false;
        }
        let deadline = Instant::now() + patience;
        for slot in Self::all() {
            while slot.depth.load(Ordering::Acquire) != 0 {
                if Instant::now() >= deadline {
                    return false;
                }
                std::thread::sleep(Duration::from_micros(100));
            }
        }
        true
    }
}

const PAGE_BYTES: usize = size_of::<Page>();

// From linux/membarrier.h; the libc crate has the system call only.
const MEMBARRIER_CMD_GLOBAL: libc::c_int = 1 << 0;
const MEMBARRIER_CMD_PRIVATE_EXPEDITED: libc::c_int = 1 << 3;
const MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED: libc::c_int = 1 << 4;

/// Memory for a page, zero now and again in every forked child; `None` if the system cannot give that.
fn wiped_on_fork() -> Option<*mut Page> {
    // SAFETY: a new private mapping; no memory that is in use is touched.
    let page = unsafe {
        libc::mmap(
            ptr::null_mut(),
            PAGE_BYTES,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    if page == libc::MAP_FAILED {
        return None;
    }
    // SAFETY: the mapping made just now.
    if unsafe { libc::madvise(page, PAGE_BYTES, libc::MADV_WIPEONFORK) } != 0 {
        // SAFETY: the same mapping, of which nobody has the address.
        unsafe { libc::munmap(page, PAGE_BYTES) };
        return None;
    }
    Some(page.cast())
}

fn this_thread() -> u32 {
    // SAFETY: no arguments, cannot fail. Thread IDs are positive.
    unsafe { libc::gettid() }.unsigned_abs()
}

fn membarrier(command: libc::c_int) -> bool {
    // SAFETY: takes numbers only and touches no memory of ours.
    unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) == 0 }
}

/// Returns after every thread of this process has passed a full memory barrier.
fn barrier_in_all_threads() {
    fence(Ordering::SeqCst);
    if !membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED) && !membarrier(MEMBARRIER_CMD_GLOBAL) {
        // Without the system call there is only time: a store reaches the other processors within microseconds.
        std::thread::sleep(Duration::from_millis(20));
    }
    fence(Ordering::SeqCst);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    const SOON: Duration = Duration::from_secs(20);

    /// Tells whether it was freed.
    struct Guarded(Arc<AtomicBool>);

    impl Drop for Guarded {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }

    // One test: slots count the calls of all gates, so that gates of tests at the same time would wait for each other.
    #[test]
    fn a_gate_opens_closes_and_waits() {
        static GATE: Gate<Guarded> = Gate::new();
        assert!(GATE.enter().is_none());
        let freed = Arc::new(AtomicBool::new(false));

        let transition = GATE.begin(SOON).unwrap();
        assert!(!transition.is_open() && !transition.forked());
        assert!(GATE.begin(SOON).is_none(), "not twice by the same thread");
        assert!(transition.close(SOON).is_none());
        transition.open(Box::new(Guarded(Arc::clone(&freed))));
        assert!(transition.is_open());
        drop(transition);

        // Calls nest, and closing waits for the last of them.
        std::thread::scope(|scope| {
            let (entered_sender, entered) = std::sync::mpsc::channel();
            let (leave_sender, leave) = std::sync::mpsc::channel();
            let seen = Arc::clone(&freed);
            scope.spawn(move || {
                let outer = GATE.enter().unwrap();
                drop(GATE.enter().unwrap());
                entered_sender.send(()).unwrap();
                leave.recv().unwrap();
                assert!(!seen.load(Ordering::SeqCst) && !outer.0.load(Ordering::SeqCst));
            });
            entered.recv().unwrap();
            let transition = GATE.begin(SOON).unwrap();
            let release = scope.spawn(move || {
                std::thread::sleep(Duration::from_millis(50));
                assert!(GATE.enter().is_none(), "closed to newcomers while it drains");
                leave_sender.send(()).unwrap();
            });
            assert!(matches!(transition.close(SOON), Some(Closed::Drained(_))));
            release.join().unwrap();
        });
        assert!(freed.load(Ordering::SeqCst));

        // Whoever stays keeps what is behind the gate.
        let freed = Arc::new(AtomicBool::new(false));
        GATE.begin(SOON).unwrap().open(Box::new(Guarded(Arc::clone(&freed))));
        let call = GATE.enter().unwrap();
        let transition = GATE.begin(SOON).unwrap();
        assert!(matches!(transition.close(Duration::ZERO), Some(Closed::Busy)));
        assert!(!call.0.load(Ordering::SeqCst));
        drop(call);
        assert!(!freed.load(Ordering::SeqCst));

        // Opened again, and closed as by a fork.
        transition.open(Box::new(Guarded(freed)));
        drop(transition);
        assert!(GATE.enter().is_some());
        GATE.close_after_fork();
        assert!(GATE.enter().is_none());
        assert!(GATE.begin(SOON).unwrap().forked());
        let transition = GATE.begin(SOON).unwrap();
        assert!(transition.forked(), "until it is opened");
        transition.open(Box::new(Guarded(Arc::default())));
        assert!(!transition.forked());
        drop(transition);
        assert!(!GATE.begin(SOON).unwrap().forked());
    }

    #[test]
    fn the_kernel_wipes_the_page() {
        // Where the fallback is in use, tests of forks without handlers would fail for no fault of ours.
        let page = wiped_on_fork().expect("Linux 4.14");
        // SAFETY: mapped just now, for nobody else.
        unsafe { libc::munmap(page.cast(), PAGE_BYTES) };
    }
}
