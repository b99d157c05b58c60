//! The calls that are going on, and for a moment those that just ended.
//!
//! Calls that are over move to the store as soon as their last traffic has been reported
//! ([`SETTLING`]): what this holds is bounded by the number of calls that the relay admits.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use vizard_proto::auth::ticket::CallId;
use vizard_proto::contract::AllocationId;

use super::calls::{Call, Phase, Traffic};

/// How long an ended call waits for the last reports of what it sent, in seconds.
pub const SETTLING: u64 = 5;

/// Calls by name.
#[derive(Default)]
pub struct Registry {
    entries: BTreeMap<CallId, Entry>,
    /// When to look at which call again: at its expiry, or when it has settled.
    due: BTreeSet<(u64, CallId)>,
    owners: HashMap<AllocationId, (CallId, usize)>,
    /// Allocations that ended, and when their last traffic has been reported.
    leaving: VecDeque<(u64, AllocationId)>,
}

struct Entry {
    call: Call,
    due: u64,
    allocations: Vec<AllocationId>,
    /// Whether the store has not seen it as it is.
    unsaved: bool,
}

impl Registry {
    /// Nothing going on.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes in a call that the store knows.
    pub fn insert(&mut self, call: Call) {
        let (id, due) = (call.id, call.expires_at);
        self.due.insert((due, id));
        self.entries.insert(
            id,
            Entry {
                call,
                due,
                allocations: Vec::new(),
                unsaved: false,
            },
        );
    }

    /// The call of that name.
    pub fn get(&self, id: CallId) -> Option<&Call> {
        self.entries.get(&id).map(|entry| &entry.call)
    }

    /// `call` is what holds from here on; what was reported of its traffic meanwhile stays.
    pub fn replace(&mut self, mut call: Call) {
        let Some(entry) = self.entries.get_mut(&call.id) else {
            return;
        };
        for (party, current) in call.parties.iter_mut().zip(&entry.call.parties) {
            party.connected_at = current.connected_at;
            party.sent = current.sent;
        }
        entry.call = call;
    }

    /// Ends a call, once; the store is yet to see it.
    pub fn finish(&mut self, id: CallId, now: u64) {
        let Some(entry) = self.entries.get_mut(&id) else {
            return;
        };
        if entry.call.end.is_none() {
            entry.call.finish(now);
            self.settle(id, now);
        }
    }

    /// The call of that name if it has ended and the store is yet to see it as it is.
    pub fn unsaved(&self, id: CallId) -> Option<Call> {
        self.entries
            .get(&id)
            .filter(|entry| entry.unsaved)
            .map(|entry| entry.call.clone())
    }

    /// The store has seen an ended call as it was then.
    pub fn saved(&mut self, call: &Call) {
        if let Some(entry) = self.entries.get_mut(&call.id) {
            entry.unsaved = entry.call != *call;
        }
    }

    /// Ends what has expired by `now`, and names the ended calls that have settled. These come
    /// again with every call of this function until they are removed.
    pub fn advance(&mut self, now: u64) -> Advanced {
        while let Some((at, allocation)) = self.leaving.front().copied() {
            if at > now {
                break;
            }
            self.leaving.pop_front();
            self.disown(allocation);
        }
        let mut advanced = Advanced::default();
        let due: Vec<_> = self
            .due
            .range(..=(now, CallId([u8::MAX; 16])))
            .copied()
            .collect();
        for (_, id) in due {
            let Some(entry) = self.entries.get_mut(&id) else {
                continue;
            };
            if entry.call.end.is_some() {
                let (call, unsaved) = (entry.call.clone(), entry.unsaved);
                advanced.settled.push(Settled { call, unsaved });
            } else {
                entry.call.settle(now);
                advanced.expired.push(entry.call.clone());
                self.settle(id, now);
            }
        }
        advanced
    }

    /// Forgets an ended call, unless it has changed since it looked like `call`.
    pub fn remove(&mut self, call: &Call) {
        if self.get(call.id) != Some(call) {
            return;
        }
        let Some(entry) = self.entries.remove(&call.id) else {
            return;
        };
        self.due.remove(&(entry.due, call.id));
        for allocation in entry.allocations {
            self.owners.remove(&allocation);
        }
    }

    /// A party made an allocation.
    pub fn allocated(&mut self, allocation: AllocationId, id: CallId, party: usize, now: u64) {
        let Some(entry) = self.entries.get_mut(&id) else {
            return;
        };
        let Some(owner) = entry.call.parties.get_mut(party) else {
            return;
        };
        owner.connected_at.get_or_insert(now);
        entry.allocations.push(allocation);
        self.owners.insert(allocation, (id, party));
    }

    /// An allocation is gone.
    pub fn released(&mut self, allocation: AllocationId, now: u64) {
        if self.owners.contains_key(&allocation) {
            self.leaving
                .push_back((now.saturating_add(SETTLING), allocation));
        }
    }

    /// An allocation has sent so much more.
    pub fn used(&mut self, allocation: AllocationId, more: Traffic) {
        let Some((id, party)) = self.owners.get(&allocation) else {
            return;
        };
        let Some(entry) = self.entries.get_mut(id) else {
            return;
        };
        entry.unsaved |= entry.call.end.is_some();
        let sent = &mut entry.call.parties[*party].sent;
        *sent = sent.plus(more.packets, more.bytes);
    }

    /// At most `most` calls in `phase` behind `after`, in the order of their names.
    pub fn page(&self, phase: Phase, after: Option<CallId>, most: usize) -> Vec<Call> {
        use std::ops::Bound::{Excluded, Unbounded};
        self.entries
            .range((after.map_or(Unbounded, Excluded), Unbounded))
            .map(|(_, entry)| &entry.call)
            .filter(|call| call.phase() == phase)
            .take(most)
            .cloned()
            .collect()
    }

    /// How many calls are in each of [`Phase::ALL`].
    pub fn counts(&self) -> [usize; 3] {
        let mut counts = [0; 3];
        for entry in self.entries.values() {
            counts[entry.call.phase() as usize] += 1;
        }
        counts
    }

    fn disown(&mut self, allocation: AllocationId) {
        let Some((id, _)) = self.owners.remove(&allocation) else {
            return;
        };
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.allocations.retain(|other| *other != allocation);
        }
    }

    /// Waits for the last reports of a call that has ended.
    fn settle(&mut self, id: CallId, now: u64) {
        let Some(entry) = self.entries.get_mut(&id) else {
            return;
        };
        self.due.remove(&(entry.due, id));
        entry.due = now.saturating_add(SETTLING);
        entry.unsaved = true;
        self.due.insert((entry.due, id));
    }
}

/// What the passing of time brought.
#[derive(Default)]
pub struct Advanced {
    /// Calls that ended because their time was over.
    pub expired: Vec<Call>,
    /// Ended calls about which no more reports are waited for.
    pub settled: Vec<Settled>,
}

/// An ended call.
pub struct Settled {
    /// The call.
    pub call: Call,
    /// Whether the store is yet to see it as it is.
    pub unsaved: bool,
}
