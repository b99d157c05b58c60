//! The calls that are going on, and for a moment those that just ended.
//!
//! Calls that are over move to the store as soon as their last traffic has been reported
//! ([`SETTLING`]): what this holds is bounded by the number of calls that the relay admits.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use vizard_proto::auth::ticket::CallId;
use vizard_proto::id::AllocationId;

use super::calls::{Call, Phase, Traffic};
use super::clock::Now;

/// How long an ended call waits for the last reports of what it sent, in seconds.
pub const SETTLING: u64 = 5;

/// Calls by name.
#[derive(Default)]
pub struct Registry {
    entries: BTreeMap<CallId, Entry>,
    /// Calls that go on, by the wall clock's time of their expiry.
    by_wall: BTreeSet<(u64, CallId)>,
    /// The same by the steady clock's.
    by_steady: BTreeSet<(u64, CallId)>,
    /// Ended calls, by the steady clock's time at which no more reports are waited for.
    settling: BTreeSet<(u64, CallId)>,
    /// Calls that go on and may be shown, by phase: ringing, answered.
    phases: [BTreeSet<CallId>; 2],
    owners: HashMap<AllocationId, (CallId, usize)>,
    /// Allocations that ended, and when their last traffic has been reported (steady clock).
    leaving: VecDeque<(u64, AllocationId)>,
    /// Calls that go on and of whose usage the store does not know all.
    used: BTreeSet<CallId>,
}

struct Entry {
    call: Call,
    /// Whether the store has yet to promise to keep it; until then nobody is told of it.
    opening: bool,
    /// Where it is in `by_steady` or `settling`.
    steady: u64,
    allocations: Vec<AllocationId>,
    /// Whether it has ended and the store has not seen it as it is.
    unsaved: bool,
}

impl Registry {
    /// Nothing going on.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes in a call that is being opened. It can be ended, and is not shown.
    pub fn open(&mut self, call: Call, now: Now) {
        self.enter(call, now, true);
    }

    /// Takes in a call that the store knows.
    pub fn insert(&mut self, call: Call, now: Now) {
        self.enter(call, now, false);
    }

    fn enter(&mut self, call: Call, now: Now, opening: bool) {
        let id = call.id;
        let entry = Entry {
            call,
            opening,
            steady: 0,
            allocations: Vec::new(),
            unsaved: false,
        };
        self.entries.insert(id, entry);
        self.place(id, now);
    }

    /// The store keeps the call that was being opened; what it is by then.
    pub fn opened(&mut self, id: CallId, now: Now) -> Option<Call> {
        self.entries.get_mut(&id)?.opening = false;
        self.place(id, now);
        self.get(id).cloned()
    }

    /// The call that was being opened is not.
    pub fn discard(&mut self, id: CallId) {
        self.displace(id);
        self.entries.remove(&id);
    }

    /// The call of that name.
    pub fn get(&self, id: CallId) -> Option<&Call> {
        let entry = self.entries.get(&id)?;
        (!entry.opening).then_some(&entry.call)
    }

    /// The call of that name if it goes on, or is about to.
    pub fn living(&self, id: CallId) -> Option<&Call> {
        let call = &self.entries.get(&id)?.call;
        call.end.is_none().then_some(call)
    }

    /// `call` is what holds from here on, unless it has ended meanwhile; what was reported of its
    /// traffic stays. Returns what holds.
    pub fn replace(&mut self, mut call: Call, now: Now) -> Option<Call> {
        let id = call.id;
        let entry = self.entries.get_mut(&id)?;
        if entry.call.end.is_some() {
            entry.unsaved = true;
            return Some(entry.call.clone());
        }
        for (party, current) in call.parties.iter_mut().zip(&entry.call.parties) {
            party.connected_at = current.connected_at;
            party.sent = current.sent;
        }
        self.displace(id);
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.call = call;
        }
        self.place(id, now);
        self.get(id).cloned()
    }

    /// Ends a call, once; the store is yet to see it.
    pub fn finish(&mut self, id: CallId, now: Now) {
        self.end(id, now, |call| call.finish(now.wall));
    }

    /// Ends a call whose time is over, once.
    pub fn expire(&mut self, id: CallId, now: Now) {
        self.end(id, now, |call| call.expire(now.wall));
    }

    fn end(&mut self, id: CallId, now: Now, end: impl FnOnce(&mut Call)) {
        if self.living(id).is_none() {
            return;
        }
        self.displace(id);
        self.used.remove(&id);
        if let Some(entry) = self.entries.get_mut(&id) {
            end(&mut entry.call);
            entry.unsaved = true;
        }
        self.place(id, now);
    }

    /// The call of that name if it has ended and the store is yet to see it as it is.
    pub fn unsaved(&self, id: CallId) -> Option<Call> {
        let entry = self.entries.get(&id)?;
        entry.unsaved.then(|| entry.call.clone())
    }

    /// The store has seen an ended call as it was then.
    pub fn saved(&mut self, call: &Call) {
        if let Some(entry) = self.entries.get_mut(&call.id) {
            entry.unsaved = entry.call != *call;
        }
    }

    /// Which calls have expired by `now`.
    pub fn expired(&self, now: Now) -> Vec<Call> {
        let (by_wall, by_steady) = (
            due(&self.by_wall, now.wall),
            due(&self.by_steady, now.steady),
        );
        let ids: BTreeSet<CallId> = by_wall.chain(by_steady).collect();
        let calls = ids.iter().filter_map(|id| self.living(*id));
        calls.cloned().collect()
    }

    /// The ended calls that have settled by `now`. These come again with every call of this
    /// function until they are removed.
    pub fn settled(&mut self, now: Now) -> Vec<Settled> {
        while let Some((at, allocation)) = self.leaving.front().copied() {
            if at > now.steady {
                break;
            }
            self.leaving.pop_front();
            self.disown(allocation);
        }
        let entries = due(&self.settling, now.steady).filter_map(|id| self.entries.get(&id));
        let settled = entries.map(|entry| Settled {
            call: entry.call.clone(),
            unsaved: entry.unsaved,
        });
        settled.collect()
    }

    /// Forgets an ended call, unless it has changed since it looked like `call`.
    pub fn remove(&mut self, call: &Call) {
        if self.entries.get(&call.id).map(|entry| &entry.call) != Some(call) {
            return;
        }
        self.displace(call.id);
        if let Some(entry) = self.entries.remove(&call.id) {
            for allocation in entry.allocations {
                self.owners.remove(&allocation);
            }
        }
    }

    /// A party made an allocation.
    pub fn allocated(&mut self, allocation: AllocationId, id: CallId, party: usize, now: Now) {
        let Some(entry) = self.entries.get_mut(&id) else {
            return;
        };
        let Some(owner) = entry.call.parties.get_mut(party) else {
            return;
        };
        owner.connected_at.get_or_insert(now.wall);
        entry.allocations.push(allocation);
        self.owners.insert(allocation, (id, party));
        self.note_usage(id);
    }

    /// An allocation is gone.
    pub fn released(&mut self, allocation: AllocationId, now: Now) {
        if self.owners.contains_key(&allocation) {
            self.leaving
                .push_back((now.steady.saturating_add(SETTLING), allocation));
        }
    }

    /// An allocation has sent so much more.
    pub fn used(&mut self, allocation: AllocationId, more: Traffic) {
        let Some((id, party)) = self.owners.get(&allocation).copied() else {
            return;
        };
        let Some(entry) = self.entries.get_mut(&id) else {
            return;
        };
        let sent = &mut entry.call.parties[party].sent;
        *sent = sent.plus(more.packets, more.bytes);
        self.note_usage(id);
    }

    fn note_usage(&mut self, id: CallId) {
        if let Some(entry) = self.entries.get_mut(&id) {
            if entry.call.end.is_some() {
                entry.unsaved = true;
            } else {
                self.used.insert(id);
            }
        }
    }

    /// At most `most` calls that go on and whose usage the store is to be told of: whoever has
    /// waited longest after `after` comes first.
    pub fn take_used(&mut self, after: CallId, most: usize) -> Vec<Call> {
        use std::ops::Bound::{Excluded, Unbounded};
        let later = self.used.range((Excluded(after), Unbounded));
        let earlier = self.used.range(..=after);
        let ids: Vec<CallId> = later.chain(earlier).copied().take(most).collect();
        for id in &ids {
            self.used.remove(id);
        }
        ids.iter().filter_map(|id| self.get(*id).cloned()).collect()
    }

    /// The store has not been told of the usage of `calls` after all.
    pub fn untold(&mut self, calls: &[Call]) {
        for call in calls {
            self.note_usage(call.id);
        }
    }

    /// At most `most` calls in `phase` that go on, after `after`, in the order of their names.
    pub fn page(&self, phase: Phase, after: Option<CallId>, most: usize) -> Vec<Call> {
        use std::ops::Bound::{Excluded, Unbounded};
        let Some(ids) = self.phases.get(phase as usize) else {
            return Vec::new();
        };
        let from = after.map_or(Unbounded, Excluded);
        let calls = ids.range((from, Unbounded)).filter_map(|id| self.get(*id));
        calls.take(most).cloned().collect()
    }

    /// Ended calls that the store has not seen as ended.
    pub fn ended_unsaved(&self) -> Vec<Call> {
        let entries = self
            .settling
            .iter()
            .filter_map(|(_, id)| self.entries.get(id));
        let unsaved = entries.filter(|entry| entry.unsaved && !entry.opening);
        unsaved.map(|entry| entry.call.clone()).collect()
    }

    /// How many calls are in each of [`Phase::ALL`].
    pub fn counts(&self) -> [usize; 3] {
        let [ringing, answered] = self.phases.each_ref().map(BTreeSet::len);
        [ringing, answered, self.settling.len()]
    }

    fn disown(&mut self, allocation: AllocationId) {
        let Some((id, _)) = self.owners.remove(&allocation) else {
            return;
        };
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.allocations.retain(|other| *other != allocation);
        }
    }

    /// Puts a call into the indices.
    fn place(&mut self, id: CallId, now: Now) {
        self.displace(id);
        let Some(entry) = self.entries.get_mut(&id) else {
            return;
        };
        if entry.call.end.is_some() {
            entry.steady = now.steady.saturating_add(SETTLING);
            self.settling.insert((entry.steady, id));
            return;
        }
        let left = entry.call.expires_at.saturating_sub(now.wall);
        entry.steady = now.steady.saturating_add(left);
        self.by_steady.insert((entry.steady, id));
        self.by_wall.insert((entry.call.expires_at, id));
        if !entry.opening
            && let Some(phase) = self.phases.get_mut(entry.call.phase() as usize)
        {
            phase.insert(id);
        }
    }

    /// Takes a call out of the indices.
    fn displace(&mut self, id: CallId) {
        let Some(entry) = self.entries.get(&id) else {
            return;
        };
        self.settling.remove(&(entry.steady, id));
        self.by_steady.remove(&(entry.steady, id));
        self.by_wall.remove(&(entry.call.expires_at, id));
        for phase in &mut self.phases {
            phase.remove(&id);
        }
    }
}

fn due(index: &BTreeSet<(u64, CallId)>, now: u64) -> impl Iterator<Item = CallId> + '_ {
    let last = (now, CallId([u8::MAX; 16]));
    index.range(..=last).map(|(_, id)| *id)
}

/// An ended call.
pub struct Settled {
    /// The call.
    pub call: Call,
    /// Whether the store is yet to see it as it is.
    pub unsaved: bool,
}
