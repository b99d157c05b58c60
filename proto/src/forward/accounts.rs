//! The accounts that a worker's entries charge and number by, with what was sent since the last
//! drain. They stand in chunks, so that one more never moves the others.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::net::SocketAddrV4;

use ahash::RandomState;

use super::segments::Segments;
use crate::account::Account;
use crate::id::AllocationId;
use crate::time::Timestamp;
use crate::usage::{DropReason, Usage};

/// Where an account stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub(super) struct Place(pub(super) u32);

const CHUNK: usize = 1024;

pub(super) struct Accounts {
    chunks: Vec<Box<[Slot]>>,
    free: Vec<Place>,
    by_allocation: Segments<(AllocationId, Place)>,
    hasher: RandomState,
    /// The last of those that were used since a drain began; each knows the one before.
    last_used: Option<Place>,
    /// The next that the drain under way comes to.
    draining: Option<Place>,
}

/// Traffic since the last drain; 32 bits of packets are hours at any rate that one flow reaches.
#[derive(Default)]
struct Slot {
    account: Option<Account>,
    /// Whether its account has a limit: most have none, and need not be looked at.
    is_limited: bool,
    bytes: u64,
    packets: u32,
    /// How many clients and entries refer to it.
    holders: u32,
    /// Whether a list of the used has it. It keeps its place until a drain comes to it.
    is_listed: bool,
    /// The one that was used before it.
    used_before: Option<Place>,
    /// The IPv4 mask address that its client's packets come from in Data indications.
    mask: Option<SocketAddrV4>,
}

impl Accounts {
    pub(super) fn new(seed: [u8; 32]) -> Self {
        Self {
            chunks: Vec::new(),
            free: Vec::new(),
            by_allocation: Segments::new(),
            hasher: crate::hash::state(seed, "accounts"),
            last_used: None,
            draining: None,
        }
    }

    /// The place of `account`, held once more.
    pub(super) fn hold(&mut self, account: &Account) -> Place {
        let allocation = account.allocation();
        let hash = self.hasher.hash_one(allocation);
        let known = self.by_allocation.find(hash, |(id, _)| *id == allocation);
        let place = match known {
            Some((_, place)) => *place,
            None => self.add(hash, account),
        };
        self.slot_mut(place).holders += 1;
        place
    }

    /// Holds a place once more.
    pub(super) fn hold_again(&mut self, place: Place) {
        self.slot_mut(place).holders += 1;
    }

    fn add(&mut self, hash: u64, account: &Account) -> Place {
        let place = self.free.pop().unwrap_or_else(|| self.grow());
        let hasher = &self.hasher;
        let value = (account.allocation(), place);
        self.by_allocation
            .insert(hash, value, |(id, _)| hasher.hash_one(id));
        let slot = self.slot_mut(place);
        slot.is_limited = account.is_limited();
        slot.account = Some(account.clone());
        place
    }

    fn grow(&mut self) -> Place {
        let first = self.chunks.len() * CHUNK;
        self.chunks
            .push((0..CHUNK).map(|_| Slot::default()).collect());
        let place = |index: usize| Place(u32::try_from(first + index).unwrap_or(u32::MAX));
        self.free.extend((1..CHUNK).rev().map(place));
        place(0)
    }

    /// One holds it less. With the last, what was sent goes to `report` and the place is free.
    pub(super) fn release(&mut self, place: Place, report: &mut impl FnMut(AllocationId, Usage)) {
        let slot = self.slot_mut(place);
        slot.holders = slot.holders.saturating_sub(1);
        if slot.holders > 0 {
            return;
        }
        let left = core::mem::take(slot);
        (slot.is_listed, slot.used_before) = (left.is_listed, left.used_before);
        if let Some(account) = left.account {
            let allocation = account.allocation();
            let hash = self.hasher.hash_one(allocation);
            self.by_allocation.remove(hash, |(id, _)| *id == allocation);
            if left.packets > 0 {
                let packets = u64::from(left.packets);
                report(
                    allocation,
                    Usage {
                        packets,
                        bytes: left.bytes,
                    },
                );
            }
        }
        if !left.is_listed {
            self.free.push(place);
        }
    }

    /// Looks at what [`Self::count`] will change.
    pub(super) fn peek(&self, place: Place) -> u32 {
        self.slot(place).packets
    }

    pub(super) fn get(&self, place: Place) -> Option<&Account> {
        self.slot(place).account.as_ref()
    }

    pub(super) fn mask(&self, place: Place) -> Option<SocketAddrV4> {
        self.slot(place).mask
    }

    pub(super) fn set_mask(&mut self, place: Place, mask: SocketAddrV4) {
        self.slot_mut(place).mask = Some(mask);
    }

    /// Whether the client of this account may send `payload`, which is then charged to it.
    pub(super) fn charge(
        &self,
        place: Place,
        now: Timestamp,
        cap: usize,
        payload: &[u8],
    ) -> Result<(), DropReason> {
        let slot = self.slot(place);
        match &slot.account {
            Some(account) if slot.is_limited || payload.len() > cap => {
                account.charge(now, cap, payload)
            }
            _ => Ok(()),
        }
    }

    /// Counts a packet that the client of this account sent.
    pub(super) fn count(&mut self, place: Place, payload: usize) {
        let last_used = self.last_used;
        let slot = self.slot_mut(place);
        let is_first = !slot.is_listed;
        slot.packets = slot.packets.saturating_add(1);
        slot.bytes = slot.bytes.saturating_add(payload as u64);
        if is_first {
            slot.is_listed = true;
            slot.used_before = last_used;
            self.last_used = Some(place);
        }
    }

    /// Reports what was sent, of `most` accounts at most. Returns whether there are more: those that
    /// were used before the drain began. What is used meanwhile is for the next drain.
    pub(super) fn drain(
        &mut self,
        most: usize,
        mut report: impl FnMut(AllocationId, Usage),
    ) -> bool {
        if self.draining.is_none() {
            self.draining = self.last_used.take();
        }
        for _ in 0..most {
            let Some(place) = self.draining else { break };
            let slot = self.slot_mut(place);
            let usage = Usage {
                packets: u64::from(core::mem::take(&mut slot.packets)),
                bytes: core::mem::take(&mut slot.bytes),
            };
            slot.is_listed = false;
            let next = slot.used_before.take();
            match &slot.account {
                Some(account) => report(account.allocation(), usage),
                // Its last holder left, and reported it.
                None => self.free.push(place),
            }
            self.draining = next;
        }
        self.draining.is_some()
    }

    /// Whether a drain would report something.
    pub(super) fn has_usage(&self) -> bool {
        self.last_used.is_some() || self.draining.is_some()
    }

    pub(super) fn clear(&mut self) {
        self.chunks.clear();
        self.free.clear();
        self.by_allocation.clear();
        (self.last_used, self.draining) = (None, None);
    }

    fn slot(&self, Place(index): Place) -> &Slot {
        let index = index as usize;
        &self.chunks[index / CHUNK][index % CHUNK]
    }

    fn slot_mut(&mut self, Place(index): Place) -> &mut Slot {
        let index = index as usize;
        &mut self.chunks[index / CHUNK][index % CHUNK]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rate::Meter;

    fn account(id: u64) -> Account {
        Account::new(AllocationId(id), None, Meter::default())
    }

    const fn usage(packets: u64, bytes: u64) -> Usage {
        Usage { packets, bytes }
    }

    #[test]
    fn usage_is_reported_once_in_a_drain_or_when_the_last_holder_leaves() {
        let mut accounts = Accounts::new([1; 32]);
        let places: Vec<_> = (0..3).map(|id| accounts.hold(&account(id))).collect();
        assert_eq!(accounts.hold(&account(1)), places[1]);
        for (place, payload) in [(0, 10), (1, 20), (0, 5)] {
            accounts.count(places[place], payload);
        }
        let mut reported = Vec::new();
        let mut report = |AllocationId(id), usage| reported.push((id, usage));
        accounts.release(places[1], &mut report);
        accounts.release(places[2], &mut report);
        assert!(!accounts.drain(9, &mut report));
        accounts.count(places[1], 7);
        accounts.release(places[1], &mut report);
        assert!(!accounts.drain(9, &mut report));
        assert_eq!(
            reported,
            [(1, usage(1, 20)), (0, usage(2, 15)), (1, usage(1, 7))]
        );
        let again = accounts.hold(&account(9));
        assert_eq!(again, places[1], "the place is free");
        assert_eq!(accounts.get(again), Some(&account(9)));
    }

    /// Whatever comes between the parts of a drain, each account's sum comes out, and each place
    /// is free once.
    #[test]
    fn a_drain_in_parts_loses_nothing() {
        let mut accounts = Accounts::new([1; 32]);
        let places: Vec<_> = (0..10).map(|id| accounts.hold(&account(id))).collect();
        let mut sums = [Usage::default(); 12];
        let mut report = |AllocationId(id), more| sums[usize::try_from(id).expect("few")] += more;
        for place in &places {
            accounts.count(*place, 100);
        }
        assert!(accounts.drain(4, &mut report), "there are six more");
        // One that was drained and one that was not, used again; and both kinds leave.
        for index in [9, 0] {
            accounts.count(places[index], 1);
        }
        for index in [8, 1] {
            accounts.release(places[index], &mut report);
        }
        // One that is still in the list is not given to another.
        for id in [10, 11] {
            let place = accounts.hold(&account(id));
            assert_ne!(place, places[1]);
            accounts.count(place, 7);
        }
        while accounts.drain(4, &mut report) {}
        while accounts.drain(4, &mut report) {}
        let free = accounts.free.len();
        for place in [9, 0, 2, 3, 4, 5, 6, 7].map(|index| places[index]) {
            accounts.release(place, &mut report);
        }
        assert_eq!(accounts.free.len(), free + 8);
        let once = usage(1, 100);
        assert_eq!(sums[1..9], [once; 8]);
        assert_eq!([sums[0], sums[9]], [usage(2, 101); 2]);
        assert_eq!(sums[10..], [usage(1, 7); 2]);
    }
}
