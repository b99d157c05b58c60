//! Which allocations belong to which call, and which tickets are dead.

use alloc::string::String;
use alloc::vec::Vec;
use core::net::IpAddr;
use serde::{Deserialize, Serialize};

use crate::auth::ticket::{CallId, Ticket};
use crate::auth::userhash;
use crate::contract::Scope;
use crate::hash::{self, Map};
use crate::id::AllocationId;
use crate::rate::Meter;
use crate::sorted::Sorted;
use crate::time::{Timestamp, WallClock};

/// An allocation of a call. Those of one ticket stand next to each other, in the order of their
/// making.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Member {
    party: u8,
    device: u8,
    id: AllocationId,
}

impl Member {
    fn new(ticket: &Ticket, id: AllocationId) -> Self {
        Self {
            party: ticket.party,
            device: ticket.device,
            id,
        }
    }
}

/// A ticket of a call that is opened.
pub(crate) struct Opened {
    pub(crate) username: String,
    /// Its party and device, if it is one of ours.
    pub(crate) device: Option<(u8, u8)>,
}

#[derive(Clone, Default, Serialize, Deserialize)]
pub(crate) struct Call {
    members: Sorted<Member>,
    /// Who of them has a mask address with that IP address.
    places: Sorted<(IpAddr, AllocationId)>,
    /// How much the tickets of each party and device have sent lately.
    meters: Vec<(u8, u8, Meter)>,
    pub(crate) revoked: Vec<Scope>,
    usernames: Vec<String>,
    /// Party and device of each of its tickets, in order.
    devices: Vec<(u8, u8)>,
    /// Whether it takes one of the node's places.
    open: bool,
    /// Unix seconds from which on none of its tickets is valid any more.
    until: u64,
    /// Unix seconds until when it was renewed; 0 if it was not.
    renewed_until: u64,
    /// When the clock was to show that, as it stood when it was said. The call is remembered until
    /// both have passed: a clock that was set wrong for a moment ends it for good and makes nobody
    /// forget that it has ended.
    remembered_until: Timestamp,
    /// Of a call that was not opened here: its tickets that expire by then have run out. Others,
    /// which nobody has shown yet, may be longer.
    ran_out_at: u64,
}

impl Call {
    fn is_dead(&self, ticket: &Ticket) -> bool {
        ticket.expires_at <= self.ran_out_at || self.is_revoked(ticket.party, ticket.device)
    }

    fn is_revoked(&self, party: u8, device: u8) -> bool {
        let mut scopes = self.revoked.iter();
        scopes.any(|scope| scope.covers(party, device))
    }

    fn has_ended(&self) -> bool {
        self.revoked.contains(&Scope::Call) || self.until <= self.ran_out_at
    }

    fn extend(&mut self, until: u64, clock: WallClock) {
        self.until = self.until.max(until);
        self.remembered_until = self.remembered_until.max(clock.timestamp(until));
    }
}

pub(crate) struct Calls {
    calls: Map<CallId, Call>,
    /// USERHASH to the username behind it.
    names: Map<[u8; 32], String>,
    open: usize,
    /// Unix seconds up to which calls have been forgotten.
    floor: u64,
}

impl Calls {
    pub(crate) fn new(seed: [u8; 32]) -> Self {
        Self {
            calls: Map::with_hasher(hash::state(seed, "calls")),
            names: Map::with_hasher(hash::state(seed, "names")),
            open: 0,
            floor: 0,
        }
    }

    /// Unix seconds up to which calls have been forgotten: a ticket that expires by then may be one
    /// of theirs.
    pub(crate) fn floor(&self) -> u64 {
        self.floor
    }

    pub(crate) fn raise_floor(&mut self, unix_secs: u64) {
        self.floor = self.floor.max(unix_secs);
    }

    /// How many calls take a place.
    pub(crate) fn open_count(&self) -> usize {
        self.open
    }

    pub(crate) fn is_open(&self, id: CallId) -> bool {
        self.calls.get(&id).is_some_and(|call| call.open)
    }

    /// The allocations of the ticket, oldest first.
    pub(crate) fn members_of(&self, ticket: &Ticket) -> impl Iterator<Item = AllocationId> + '_ {
        let [first, last] = [0, u64::MAX].map(|id| Member::new(ticket, AllocationId(id)));
        let call = self.calls.get(&ticket.call);
        call.into_iter()
            .flat_map(move |call| call.members.range(&(first..=last)))
            .map(|member| member.id)
    }

    /// The members whose tickets have been revoked.
    pub(crate) fn doomed(&self, id: CallId) -> impl Iterator<Item = AllocationId> + '_ {
        self.calls.get(&id).into_iter().flat_map(|call| {
            let members = call.members.iter();
            members
                .filter(|member| call.is_revoked(member.party, member.device))
                .map(|member| member.id)
        })
    }

    /// Unix seconds until when an open call was renewed.
    pub(crate) fn renewed_until(&self, id: CallId) -> Option<u64> {
        let call = self.calls.get(&id).filter(|call| call.open)?;
        (call.renewed_until > 0).then_some(call.renewed_until)
    }

    /// How many devices the call has tickets for, as far as that is known.
    pub(crate) fn device_count(&self, id: CallId) -> usize {
        self.calls.get(&id).map_or(0, |call| call.devices.len())
    }

    /// The members that have a mask address with this IP address.
    pub(crate) fn members_at(
        &self,
        id: CallId,
        ip: IpAddr,
    ) -> impl Iterator<Item = AllocationId> + '_ {
        let [first, last] = [0, u64::MAX].map(|id| (ip, AllocationId(id)));
        let call = self.calls.get(&id);
        call.into_iter()
            .flat_map(move |call| call.places.range(&(first..=last)))
            .map(|(_, member)| *member)
    }

    /// A member has been given a mask address.
    pub(crate) fn settle(&mut self, id: CallId, ip: IpAddr, member: AllocationId) {
        if let Some(call) = self.calls.get_mut(&id) {
            call.places.insert((ip, member));
        }
    }

    /// A member has given a mask address back.
    pub(crate) fn unsettle(&mut self, id: CallId, ip: IpAddr, member: AllocationId) {
        if let Some(call) = self.calls.get_mut(&id) {
            call.places.remove(&(ip, member));
        }
    }

    /// Whether the ticket was revoked, or may be one of a call that has ended and was forgotten.
    pub(crate) fn is_dead(&self, ticket: &Ticket) -> bool {
        let call = self.calls.get(&ticket.call);
        let is_open = call.is_some_and(|call| call.open);
        call.is_some_and(|call| call.is_dead(ticket))
            || (ticket.expires_at <= self.floor && !is_open)
    }

    /// The username whose USERHASH this is, if its call was opened here.
    pub(crate) fn resolve(&self, hash: &[u8; 32]) -> Option<&str> {
        self.names.get(hash).map(String::as_str)
    }

    pub(crate) fn open(
        &mut self,
        id: CallId,
        until: u64,
        clock: WallClock,
        realm: &[u8],
        tickets: Vec<Opened>,
    ) {
        let call = self.calls.entry(id).or_default();
        if call.open && call.until < until {
            call.renewed_until = until;
        }
        call.extend(until, clock);
        for Opened { username, device } in tickets {
            let hash = userhash(username.as_bytes(), realm);
            if self.names.insert(hash, username.clone()).is_none() {
                call.usernames.push(username);
            }
            if let Some(device) = device
                && let Err(index) = call.devices.binary_search(&device)
            {
                call.devices.insert(index, device);
            }
        }
        if !call.open && !call.has_ended() {
            call.open = true;
            self.open += 1;
        }
    }

    pub(crate) fn revoke(&mut self, id: CallId, scope: Scope, until: u64, clock: WallClock) {
        let call = self.calls.entry(id).or_default();
        call.extend(until, clock);
        if !call.revoked.contains(&scope) {
            call.revoked.push(scope);
        }
        if scope == Scope::Call && call.open {
            call.open = false;
            self.open -= 1;
        }
    }

    /// All tickets of the call that are known have run out.
    pub(crate) fn run_out(&mut self, id: CallId) {
        if let Some(call) = self.calls.get_mut(&id) {
            if call.open {
                call.open = false;
                self.open -= 1;
                call.revoked.push(Scope::Call);
            }
            call.ran_out_at = call.until;
        }
    }

    pub(crate) fn join(&mut self, ticket: &Ticket, member: AllocationId, clock: WallClock) {
        let call = self.calls.entry(ticket.call).or_default();
        call.extend(ticket.expires_at, clock);
        call.members.insert(Member::new(ticket, member));
    }

    /// The meter of a ticket. It outlives allocations, so that new ones make no new rate.
    pub(crate) fn meter(&mut self, ticket: &Ticket) -> Meter {
        let meters = &mut self.calls.entry(ticket.call).or_default().meters;
        let whose = |(party, device, _): &&(u8, u8, Meter)| {
            (*party, *device) == (ticket.party, ticket.device)
        };
        if let Some((_, _, meter)) = meters.iter().find(whose) {
            return meter.clone();
        }
        let meter = Meter::default();
        meters.push((ticket.party, ticket.device, meter.clone()));
        meter
    }

    pub(crate) fn leave(&mut self, ticket: &Ticket, member: AllocationId) {
        if let Some(call) = self.calls.get_mut(&ticket.call) {
            call.members.remove(&Member::new(ticket, member));
        }
    }

    /// Unix seconds at which the call's last ticket expires.
    pub(crate) fn until(&self, id: CallId) -> Option<u64> {
        self.calls.get(&id).map(|call| call.until)
    }

    /// When the call is to be looked at again.
    pub(crate) fn due(&self, id: CallId, clock: WallClock) -> Option<Timestamp> {
        let call = self.calls.get(&id)?;
        let runs_out = clock.timestamp(call.until);
        Some(if call.has_ended() {
            runs_out.max(call.remembered_until)
        } else {
            runs_out
        })
    }

    /// Forgets a call whose tickets have all run out by the wall clock, if by the other clock they
    /// have as well and nobody is there any more. The floor remembers in its place.
    pub(crate) fn forget(&mut self, now: Timestamp, id: CallId, realm: &[u8]) {
        let Some(call) = self.calls.get(&id) else {
            return;
        };
        if now < call.remembered_until || !call.members.is_empty() {
            return;
        }
        self.raise_floor(call.until);
        if let Some(call) = self.calls.remove(&id) {
            self.open -= usize::from(call.open);
            for name in &call.usernames {
                self.names.remove(&userhash(name.as_bytes(), realm));
            }
        }
    }

    /// Every call's id, in order.
    #[expect(clippy::disallowed_methods, reason = "sorted before anybody sees it")]
    pub(crate) fn ids(&self) -> Vec<CallId> {
        let mut ids: Vec<_> = self.calls.keys().copied().collect();
        ids.sort_unstable();
        ids
    }

    /// Every call, ordered by its id.
    #[expect(clippy::disallowed_methods, reason = "sorted before anybody sees it")]
    pub(crate) fn export(&self) -> Vec<(CallId, Call)> {
        let mut calls: Vec<_> = self
            .calls
            .iter()
            .map(|(id, call)| (*id, call.clone()))
            .collect();
        calls.sort_unstable_by_key(|(id, _)| *id);
        calls
    }

    /// Takes back what [`Self::export`] gave.
    pub(crate) fn import(&mut self, realm: &[u8], calls: Vec<(CallId, Call)>) {
        for (id, call) in calls {
            for name in &call.usernames {
                self.names
                    .insert(userhash(name.as_bytes(), realm), name.clone());
            }
            self.open += usize::from(call.open);
            self.calls.insert(id, call);
        }
    }
}
