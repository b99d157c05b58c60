//! Small sets in one piece of memory: most calls have two members, for which a tree would take a
//! node of eleven places.

use alloc::vec::Vec;
use core::ops::{Deref, RangeInclusive};
use serde::{Deserialize, Serialize};

/// A set of elements in order.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Sorted<T>(Vec<T>);

impl<T> Default for Sorted<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Ord> Sorted<T> {
    /// Puts an element in, unless it is in already.
    pub(crate) fn insert(&mut self, element: T) {
        let Err(index) = self.0.binary_search(&element) else {
            return;
        };
        if self.0.len() < 2 {
            self.0.reserve_exact(1);
        }
        self.0.insert(index, element);
    }

    /// Takes an element out.
    pub(crate) fn remove(&mut self, element: &T) {
        if let Ok(index) = self.0.binary_search(element) {
            self.0.remove(index);
        }
    }

    /// The elements from one to another.
    pub(crate) fn range(&self, bounds: &RangeInclusive<T>) -> &[T] {
        let first = self.0.partition_point(|element| element < bounds.start());
        let end = self.0.partition_point(|element| element <= bounds.end());
        self.0.get(first..end).unwrap_or_default()
    }
}

impl<T> Deref for Sorted<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_in_order() {
        let mut set = Sorted::default();
        for element in [5, 1, 3, 1, 9] {
            set.insert(element);
        }
        assert_eq!(*set, [1, 3, 5, 9]);
        assert_eq!(set.range(&(2..=5)), [3, 5]);
        assert!(set.range(&(6..=8)).is_empty());
        set.remove(&3);
        set.remove(&4);
        assert_eq!(*set, [1, 5, 9]);
    }
}
