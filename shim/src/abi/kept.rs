//! Values that are made once and kept to the end of the process, behind no lock: one that another thread holds while the
//! process forks stays locked in the child.

use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

/// A value that is kept, if there is one.
pub struct Kept<T: 'static> {
    value: AtomicPtr<T>,
}

impl<T: Send + Sync + 'static> Kept<T> {
    /// No value yet.
    #[allow(clippy::new_without_default, reason = "these are statics")]
    pub const fn new() -> Self {
        Self { value: AtomicPtr::new(ptr::null_mut()) }
    }

    /// The value, if there is one.
    #[inline]
    pub fn get(&self) -> Option<&'static T> {
        // SAFETY: null, or leaked by `set`, which nobody but us calls, and never freed.
        unsafe { self.value.load(Ordering::Acquire).cast_const().as_ref() }
    }

    /// Keeps `value` from now on. What was kept before is never freed, as others may be using it.
    pub fn set(&self, value: T) -> &'static T {
        let value: &'static T = Box::leak(Box::new(value));
        self.value.store(ptr::from_ref(value).cast_mut(), Ordering::Release);
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_value_is_kept_and_the_one_before_stays_good() {
        static KEPT: Kept<String> = Kept::new();
        assert!(KEPT.get().is_none());
        let first = KEPT.set("first".to_owned());
        assert_eq!(KEPT.set("second".to_owned()), "second");
        assert_eq!((first.as_str(), KEPT.get().map(String::as_str)), ("first", Some("second")));
    }
}
