//! A hash table that grows in steps: many small ones, each of which grows on its own. One table of
//! a million entries would make its worker's clients wait while it moves.

use alloc::vec::Vec;
use hashbrown::HashTable;

/// With a million entries a step moves a thousand of them.
const SEGMENTS: usize = 1024;

pub(super) struct Segments<T> {
    segments: Vec<HashTable<T>>,
    len: usize,
}

impl<T> Segments<T> {
    pub(super) fn new() -> Self {
        Self {
            segments: (0..SEGMENTS).map(|_| HashTable::new()).collect(),
            len: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn find(&self, hash: u64, is_it: impl Fn(&T) -> bool) -> Option<&T> {
        self.segments[segment(hash)].find(hash, is_it)
    }

    /// Puts a value in whose key is not in yet.
    pub(super) fn insert(&mut self, hash: u64, value: T, rehash: impl Fn(&T) -> u64) {
        self.segments[segment(hash)].insert_unique(hash, value, rehash);
        self.len += 1;
    }

    pub(super) fn remove(&mut self, hash: u64, is_it: impl Fn(&T) -> bool) -> Option<T> {
        let entry = self.segments[segment(hash)].find_entry(hash, is_it).ok()?;
        self.len -= 1;
        Some(entry.remove().0)
    }

    pub(super) fn clear(&mut self) {
        self.segments.iter_mut().for_each(HashTable::clear);
        self.len = 0;
    }
}

/// By bits that the tables themselves do not look at: they take the lowest and the highest.
fn segment(hash: u64) -> usize {
    (hash >> 32) as usize % SEGMENTS
}
