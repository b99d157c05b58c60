//! Calls that go on for longer than their first tickets.
//!
//! The control side opens a call once more, with a later end and fresh tickets. Allocations that
//! there are live on until that end, whichever of the two tickets their clients show; a ticket that
//! has expired makes no new one.

use super::Relay;
use crate::address::Client;
use crate::auth::ticket::Ticket;
use crate::id::AllocationId;
use crate::time::Timestamp;

impl Relay {
    /// When the sessions of a ticket end: with the ticket, or with its renewed call.
    pub(super) fn session_end(&self, ticket: &Ticket) -> Timestamp {
        let renewed = self.calls.renewed_until(ticket.call).unwrap_or_default();
        let unix_secs = ticket.expires_at.max(renewed);
        self.config.clock.timestamp(unix_secs)
    }

    /// Has an allocation end when its ticket or its renewed call does, at `earliest` if that has
    /// passed.
    pub(super) fn set_session_end(&mut self, id: AllocationId, earliest: Timestamp) {
        let allocation = self.allocations.get(&id);
        let ends_at = allocation.map(|allocation| self.session_end(&allocation.ticket));
        if let Some((allocation, ends_at)) = self.allocations.get_mut(&id).zip(ends_at) {
            allocation.ticket_ends_at = ends_at.max(earliest);
        }
        self.watch(id);
    }

    /// Whether an expired ticket has an allocation on this 5-tuple that its call's renewal keeps.
    pub(super) fn lives_on(&self, now: Timestamp, from: &Client, ticket: &Ticket) -> bool {
        let id = self.by_tuple.get(&from.tuple);
        let allocation = id.and_then(|id| self.allocations.get(id));
        allocation.is_some_and(|allocation| {
            ticket.has_expired(self.config.clock.unix_secs(now))
                && allocation.ticket.is_of_same_device(ticket)
                && self.calls.renewed_until(ticket.call).is_some()
                && now < self.session_end(&allocation.ticket)
        })
    }

    /// An allocation goes over to the fresher ticket that its client has shown, and lives on with
    /// its renewed call.
    pub(super) fn hand_over(&mut self, now: Timestamp, id: AllocationId, ticket: &Ticket) {
        if let Some(allocation) = self.allocations.get_mut(&id)
            && allocation.ticket.expires_at < ticket.expires_at
        {
            allocation.ticket = *ticket;
        }
        self.set_session_end(id, now);
    }
}
