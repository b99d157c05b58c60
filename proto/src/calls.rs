//! Which allocations belong to which call, and which tickets are dead.

use alloc::string::String;
use alloc::vec::Vec;
use core::net::IpAddr;
use serde::{Deserialize, Serialize};

use crate::auth::ticket::{CallId, Ticket};
use crate::auth::userhash;
use crate::contract::{AllocationId, Scope};
use crate::hash::{self, Map};

#[derive(Clone, Default, Serialize, Deserialize)]
pub(crate) struct Call {
    /// Its parties' allocations.
    pub(crate) members: Vec<AllocationId>,
    /// Who of them has a mask address with that IP address, in order.
    places: Vec<(IpAddr, AllocationId)>,
    pub(crate) revoked: Vec<Scope>,
    usernames: Vec<String>,
    /// Whether it takes one of the node's places.
    open: bool,
    /// Unix seconds from which on none of its tickets is valid any more.
    until: u64,
}

impl Call {
    fn is_revoked(&self, ticket: &Ticket) -> bool {
        self.revoked
            .iter()
            .any(|scope| scope.covers(ticket.party, ticket.device))
    }
}

pub(crate) struct Calls {
    calls: Map<CallId, Call>,
    /// USERHASH to the username behind it.
    names: Map<[u8; 32], String>,
    open: usize,
}

impl Calls {
    pub(crate) fn new(seed: [u8; 32]) -> Self {
        Self {
            calls: Map::with_hasher(hash::state(seed, "calls")),
            names: Map::with_hasher(hash::state(seed, "names")),
            open: 0,
        }
    }

    /// How many calls take a place.
    pub(crate) fn open_count(&self) -> usize {
        self.open
    }

    pub(crate) fn is_open(&self, id: CallId) -> bool {
        self.calls.get(&id).is_some_and(|call| call.open)
    }

    pub(crate) fn members(&self, id: CallId) -> &[AllocationId] {
        self.calls.get(&id).map_or(&[], |call| &call.members)
    }

    /// The members that have a mask address with this IP address.
    pub(crate) fn members_at(
        &self,
        id: CallId,
        ip: IpAddr,
    ) -> impl Iterator<Item = AllocationId> + '_ {
        let places = self.calls.get(&id).map_or(&[][..], |call| &call.places);
        let start = places.partition_point(|(other, _)| *other < ip);
        places[start..]
            .iter()
            .take_while(move |(other, _)| *other == ip)
            .map(|(_, member)| *member)
    }

    /// A member has been given a mask address.
    pub(crate) fn settle(&mut self, id: CallId, ip: IpAddr, member: AllocationId) {
        if let Some(call) = self.calls.get_mut(&id)
            && let Err(index) = call.places.binary_search(&(ip, member))
        {
            call.places.insert(index, (ip, member));
        }
    }

    /// A member has given a mask address back.
    pub(crate) fn unsettle(&mut self, id: CallId, ip: IpAddr, member: AllocationId) {
        if let Some(call) = self.calls.get_mut(&id)
            && let Ok(index) = call.places.binary_search(&(ip, member))
        {
            call.places.remove(index);
        }
    }

    pub(crate) fn is_revoked(&self, ticket: &Ticket) -> bool {
        self.calls
            .get(&ticket.call)
            .is_some_and(|call| call.is_revoked(ticket))
    }

    /// The username whose USERHASH this is, if its call was opened here.
    pub(crate) fn resolve(&self, hash: &[u8; 32]) -> Option<&str> {
        self.names.get(hash).map(String::as_str)
    }

    pub(crate) fn open(&mut self, id: CallId, until: u64, realm: &[u8], usernames: Vec<String>) {
        for name in &usernames {
            self.names
                .insert(userhash(name.as_bytes(), realm), name.clone());
        }
        let call = self.calls.entry(id).or_default();
        call.until = call.until.max(until);
        call.usernames.extend(usernames);
        if !call.open {
            call.open = true;
            self.open += 1;
        }
    }

    pub(crate) fn revoke(&mut self, id: CallId, scope: Scope, until: u64) {
        let call = self.calls.entry(id).or_default();
        call.until = call.until.max(until);
        if !call.revoked.contains(&scope) {
            call.revoked.push(scope);
        }
        if scope == Scope::Call && call.open {
            call.open = false;
            self.open -= 1;
        }
    }

    pub(crate) fn join(&mut self, ticket: &Ticket, member: AllocationId) {
        let call = self.calls.entry(ticket.call).or_default();
        call.until = call.until.max(ticket.expires_at);
        call.members.push(member);
    }

    pub(crate) fn leave(&mut self, id: CallId, member: AllocationId) {
        if let Some(call) = self.calls.get_mut(&id) {
            call.members.retain(|other| *other != member);
        }
    }

    /// Unix seconds at which the call is to be looked at again.
    pub(crate) fn until(&self, id: CallId) -> Option<u64> {
        self.calls.get(&id).map(|call| call.until)
    }

    /// Forgets a call whose tickets have all run out; whether it is gone.
    pub(crate) fn expire(&mut self, unix_secs: u64, id: CallId, realm: &[u8]) -> bool {
        let Some(call) = self.calls.get(&id) else {
            return true;
        };
        if unix_secs < call.until || !call.members.is_empty() {
            return false;
        }
        if let Some(call) = self.calls.remove(&id) {
            self.open -= usize::from(call.open);
            for name in &call.usernames {
                self.names.remove(&userhash(name.as_bytes(), realm));
            }
        }
        true
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
