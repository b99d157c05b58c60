//! The clients whose packets arrive at a worker, by their 5-tuples.

use core::net::SocketAddr;

use ahash::RandomState;

use super::accounts::Place;
use super::entry::{NarrowKey, half};
use super::segments::Segments;
use crate::address::FiveTuple;

/// A client with an allocation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    /// Where its account stands.
    pub(super) place: Place,
    /// Whether its own address is kept from it.
    pub(super) masked: bool,
}

pub(super) struct Clients {
    narrow: Segments<(NarrowKey, Known)>,
    wide: Segments<(FiveTuple, Known)>,
    hasher: RandomState,
}

impl Clients {
    pub(super) fn new(seed: [u8; 32]) -> Self {
        Self {
            narrow: Segments::new(),
            wide: Segments::new(),
            hasher: crate::hash::state(seed, "clients"),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.narrow.len() + self.wide.len()
    }

    pub(super) fn find(&self, tuple: &FiveTuple) -> Option<Known> {
        if let Some(key) = narrow(tuple) {
            let hash = self.hasher.hash_one(key);
            let found = self.narrow.find(hash, |(other, _)| *other == key)?;
            return Some(found.1);
        }
        let hash = self.hasher.hash_one(tuple);
        let found = self.wide.find(hash, |(other, _)| other == tuple)?;
        Some(found.1)
    }

    /// Puts in a client that is not in yet.
    pub(super) fn insert(&mut self, tuple: FiveTuple, known: Known) {
        let hasher = &self.hasher;
        if let Some(key) = narrow(&tuple) {
            let rehash = |(key, _): &(NarrowKey, Known)| hasher.hash_one(key);
            self.narrow
                .insert(hasher.hash_one(key), (key, known), rehash);
        } else {
            let rehash = |(tuple, _): &(FiveTuple, Known)| hasher.hash_one(tuple);
            self.wide
                .insert(hasher.hash_one(tuple), (tuple, known), rehash);
        }
    }

    pub(super) fn remove(&mut self, tuple: &FiveTuple) -> Option<Known> {
        if let Some(key) = narrow(tuple) {
            let hash = self.hasher.hash_one(key);
            let removed = self.narrow.remove(hash, |(other, _)| *other == key)?;
            return Some(removed.1);
        }
        let hash = self.hasher.hash_one(tuple);
        let removed = self.wide.remove(hash, |(other, _)| other == tuple)?;
        Some(removed.1)
    }

    pub(super) fn clear(&mut self) {
        self.narrow.clear();
        self.wide.clear();
    }
}

/// An IPv4 5-tuple in 16 bytes.
fn narrow(tuple: &FiveTuple) -> Option<NarrowKey> {
    let (SocketAddr::V4(local), SocketAddr::V4(remote)) = (tuple.local, tuple.remote) else {
        return None;
    };
    Some(NarrowKey([
        half(remote) << 16 | u64::from(tuple.transport.is_stream()),
        half(local) << 16,
    ]))
}
