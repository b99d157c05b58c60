//! What ends by the clock: allocations, permissions, channels, tickets, and calls' memories.

use super::{Relay, Timer};
use crate::auth::ticket::CallId;
use crate::contract::{AllocationId, EndReason};
use crate::time::Timestamp;

impl Relay {
    /// Ends everything that is due.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        while let Some((due, timer)) = self.timers.first().copied() {
            if now < due {
                break;
            }
            self.timers.pop_first();
            match timer {
                Timer::Allocation(id) => self.expire_allocation(now, id),
                Timer::Call(call) => self.expire_call(now, call),
            }
        }
    }

    fn expire_allocation(&mut self, now: Timestamp, id: AllocationId) {
        let Some(allocation) = self.allocations.get_mut(&id) else {
            return;
        };
        if allocation.ticket_ends_at <= now {
            return self.end(now, id, EndReason::TicketExpired);
        }
        if allocation.expires_at <= now {
            return self.end(now, id, EndReason::Expired);
        }
        allocation
            .permissions
            .retain(|permission| now < permission.expires_at);
        // Entries must be taken out of the hands before their channels are forgotten.
        self.sync_circuits(now, id);
        if let Some(allocation) = self.allocations.get_mut(&id) {
            allocation
                .channels
                .retain(|channel| now < channel.expires_at);
        }
        self.watch(id);
    }

    fn expire_call(&mut self, now: Timestamp, call: CallId) {
        if self.calls.until(call).is_some_and(|until| now < until) {
            return self.watch_call(call);
        }
        self.calls.expire(now, call, self.gate.realm());
    }
}
