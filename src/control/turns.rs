//! One after the other, where it is about the same thing.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Who is at work on what. Holds nothing for what nobody works on.
pub(super) struct Turns<K> {
    /// How many wait for each.
    busy: Mutex<HashMap<K, usize>>,
    done: Condvar,
}

impl<K: Copy + Eq + Hash> Turns<K> {
    /// Nobody at work.
    pub(super) fn new() -> Self {
        Self {
            busy: Mutex::default(),
            done: Condvar::new(),
        }
    }

    /// Waits until nobody else works on `what`. It is others' turn when the answer is dropped.
    pub(super) fn take(&self, what: K) -> Turn<'_, K> {
        let mut busy = self.busy();
        while busy.contains_key(&what) {
            *busy.entry(what).or_default() += 1;
            busy = self.done.wait(busy).unwrap_or_else(PoisonError::into_inner);
        }
        busy.insert(what, 0);
        Turn { turns: self, what }
    }

    fn busy(&self) -> MutexGuard<'_, HashMap<K, usize>> {
        self.busy.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to work on something.
pub(super) struct Turn<'a, K: Copy + Eq + Hash> {
    turns: &'a Turns<K>,
    what: K,
}

impl<K: Copy + Eq + Hash> Drop for Turn<'_, K> {
    fn drop(&mut self) {
        let waiting = self.turns.busy().remove(&self.what);
        if waiting.is_some_and(|waiting| waiting > 0) {
            self.turns.done.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn the_same_is_done_once_at_a_time_and_nothing_stays() {
        let (turns, inside) = (Turns::new(), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for number in 0..16 {
                let (turns, inside) = (&turns, &inside);
                scope.spawn(move || {
                    let _other = turns.take(100 + number);
                    let _turn = turns.take(1);
                    assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                    std::thread::yield_now();
                    inside.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        assert!(turns.busy().is_empty());
    }
}
