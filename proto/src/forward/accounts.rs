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
    /// The last of those that were used since the last drain; each knows the one before.
    last_used: Option<Place>,
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
    /// The one that was used before it since the last drain.
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
        // What is in the list of the used must stay where it is until the next drain.
        if slot.packets > 0 {
            self.drain(&mut *report);
        }
        if let Some(account) = self.slot_mut(place).account.take() {
            let allocation = account.allocation();
            let hash = self.hasher.hash_one(allocation);
            self.by_allocation.remove(hash, |(id, _)| *id == allocation);
        }
        *self.slot_mut(place) = Slot::default();
        self.free.push(place);
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
        let is_first = slot.packets == 0;
        slot.packets = slot.packets.saturating_add(1);
        slot.bytes = slot.bytes.saturating_add(payload as u64);
        if is_first {
            slot.used_before = last_used;
            self.last_used = Some(place);
        }
    }

    /// Reports what was sent since the last time.
    pub(super) fn drain(&mut self, mut report: impl FnMut(AllocationId, Usage)) {
        let mut next = self.last_used.take();
        while let Some(place) = next {
            let slot = self.slot_mut(place);
            let usage = Usage {
                packets: u64::from(core::mem::take(&mut slot.packets)),
                bytes: core::mem::take(&mut slot.bytes),
            };
            next = slot.used_before.take();
            if let Some(account) = &slot.account {
                report(account.allocation(), usage);
            }
        }
    }

    pub(super) fn clear(&mut self) {
        self.chunks.clear();
        self.free.clear();
        self.by_allocation.clear();
        self.last_used = None;
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

    #[test]
    fn usage_is_reported_once_in_a_drain_or_when_the_last_holder_leaves() {
        let mut accounts = Accounts::new([1; 32]);
        let places: Vec<_> = (0..3).map(|id| accounts.hold(&account(id))).collect();
        assert_eq!(accounts.hold(&account(1)), places[1]);
        for (place, payload) in [(0, 10), (1, 20), (0, 5)] {
            accounts.count(places[place], payload);
        }
        let mut reported = Vec::new();
        let usage = |packets, bytes| Usage { packets, bytes };
        let mut report = |id, usage| reported.push((id, usage));
        accounts.release(places[1], &mut report);
        accounts.release(places[2], &mut report);
        accounts.drain(&mut report);
        accounts.count(places[1], 7);
        accounts.release(places[1], &mut report);
        accounts.drain(&mut report);
        let [first, second] = [AllocationId(0), AllocationId(1)];
        assert_eq!(
            reported,
            [
                (second, usage(1, 20)),
                (first, usage(2, 15)),
                (second, usage(1, 7))
            ]
        );
        let again = accounts.hold(&account(9));
        assert_eq!(again, places[1], "the place is free");
        assert_eq!(accounts.get(again), Some(&account(9)));
    }
}
