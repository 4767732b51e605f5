//! The one lock around the device: whoever waits for it does not wait for ever.

use std::ops::{Deref, DerefMut};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A lock on a `T` that can be waited for with bounded patience. One that was held during a panic works on: what it
/// holds is put back as it is.
#[derive(Debug, Default)]
pub struct Gate<T> {
    place: Mutex<Place<T>>,
    freed: Condvar,
}

#[derive(Debug, Default)]
struct Place<T> {
    value: T,
    /// Who has taken the value, and when.
    holder: Option<Holder>,
}

/// A holder of a lock who does not let go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder {
    /// What it is doing.
    pub call: &'static str,
    /// Since when.
    pub since: Instant,
}

/// The value, to be put back when this is dropped.
#[derive(Debug)]
pub struct Held<'a, T: Default> {
    gate: &'a Gate<T>,
    value: T,
}

impl<T: Default> Gate<T> {
    /// Takes the value, for `call`. Gives up when one holder has kept it for as long as `patience`, however many have
    /// come and gone before.
    pub fn enter(&self, call: &'static str, patience: Duration) -> Result<Held<'_, T>, Holder> {
        let mut place = self.lock();
        loop {
            let Some(holder) = place.holder else {
                place.holder = Some(Holder { call, since: Instant::now() });
                let value = std::mem::take(&mut place.value);
                return Ok(Held { gate: self, value });
            };
            let left = patience.saturating_sub(holder.since.elapsed());
            if left.is_zero() {
                return Err(holder);
            }
            place = self.freed.wait_timeout(place, left).map_or_else(|error| error.into_inner().0, |(place, _)| place);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Place<T>> {
        // Nothing can panic while the mutex is held.
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Default> Drop for Held<'_, T> {
    fn drop(&mut self) {
        let mut place = self.gate.lock();
        place.value = std::mem::take(&mut self.value);
        place.holder = None;
        drop(place);
        self.gate.freed.notify_one();
    }
}

impl<T: Default> Deref for Held<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: Default> DerefMut for Held<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.value
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::thread;

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn the_value_is_kept() {
        let gate = Gate::<u32>::default();
        *gate.enter("a", LONG).unwrap() = 7;
        assert_eq!(*gate.enter("b", LONG).unwrap(), 7);
    }

    #[test]
    fn one_at_a_time() {
        let gate = Arc::new(Gate::<u32>::default());
        let threads: Vec<_> = (0..8)
            .map(|_| {
                let gate = Arc::clone(&gate);
                thread::spawn(move || {
                    for _ in 0..500 {
                        let mut value = gate.enter("count", LONG).unwrap();
                        let seen = *value;
                        thread::yield_now();
                        *value = seen + 1;
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(*gate.enter("read", LONG).unwrap(), 4000);
    }

    #[test]
    fn i7_whoever_waits_for_one_that_hangs_gives_up() {
        let gate = Gate::<u32>::default();
        let held = gate.enter("zkGenKeyPair", LONG).unwrap();
        let started = Instant::now();
        let holder = gate.enter("zkOpen", Duration::from_millis(60)).unwrap_err();
        assert_eq!(holder.call, "zkGenKeyPair");
        assert!(started.elapsed() < LONG / 2);
        // And does not wait at all for one that has hung for long enough.
        assert!(gate.enter("zkOpen", Duration::ZERO).is_err());
        drop(held);
        assert!(gate.enter("zkOpen", Duration::ZERO).is_ok());
    }

    #[test]
    fn k4_a_panic_while_it_is_held_does_not_close_it() {
        let gate = Arc::new(Gate::<u32>::default());
        let inner = Arc::clone(&gate);
        let panicked = thread::spawn(move || {
            let mut value = inner.enter("a", LONG).unwrap();
            *value = 3;
            panic!("on purpose");
        });
        assert!(panicked.join().is_err());
        assert_eq!(*gate.enter("b", LONG).unwrap(), 3);
    }
}
