//! What ends by the clock: allocations, permissions, channels, tickets, and calls' memories.

use alloc::vec::Vec;

use super::{Relay, Timer};
use crate::auth::ticket::CallId;
use crate::contract::EndReason;
use crate::id::AllocationId;
use crate::time::{Timestamp, WallClock};

/// After how many steps of work one call leaves the rest for the next: well below a millisecond.
const STEPS_AT_ONCE: usize = 512;

impl Relay {
    /// Ends what is due. When very much ends at the same time this does a part of it, and
    /// [`Self::poll_timeout`] is due again at once, so that nobody else has to wait for all of it.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        self.steps = 0;
        while self.steps < STEPS_AT_ONCE {
            let Some((_, timer)) = self.timers.first().copied().filter(|(due, _)| *due <= now)
            else {
                return;
            };
            self.timers.pop_first();
            self.steps += 1;
            match timer {
                Timer::Allocation(id) => self.expire_allocation(now, id),
                Timer::Call(call) => self.expire_call(now, call),
                Timer::Doomed(call) => self.end_doomed(now, call),
            }
        }
    }

    fn expire_allocation(&mut self, now: Timestamp, id: AllocationId) {
        let Some(allocation) = self.allocations.get(&id) else {
            return;
        };
        if allocation.ticket_ends_at <= now {
            // Its call may have been renewed since: that is looked at where it matters.
            self.set_session_end(id, now);
        }
        let Some(allocation) = self.allocations.get_mut(&id) else {
            return;
        };
        if allocation.ticket_ends_at <= now {
            return self.end(id, EndReason::TicketExpired);
        }
        if allocation.expires_at <= now {
            return self.end(id, EndReason::Expired);
        }
        let channels = allocation.channels.iter();
        let mut ended: Vec<_> = channels
            .filter(|channel| channel.expires_at <= now)
            .map(|channel| channel.peer.ip())
            .collect();
        allocation.permissions.retain(|permission| {
            let lives = now < permission.expires_at;
            if !lives {
                ended.push(permission.ip);
            }
            lives
        });
        // Entries must be taken out of the workers before their channels are forgotten.
        self.sync_circuits_to(now, id, &ended);
        if let Some(allocation) = self.allocations.get_mut(&id) {
            allocation
                .channels
                .retain(|channel| now < channel.expires_at);
        }
        self.watch(id);
    }

    /// A call that the wall clock has ended stays ended, whatever the clock shows later.
    fn expire_call(&mut self, now: Timestamp, call: CallId) {
        let clock = self.config.clock;
        let Some(until) = self.calls.until(call) else {
            return;
        };
        if until <= clock.unix_secs(now) {
            self.calls.run_out(call);
            self.end_doomed(now, call);
            self.calls.forget(now, call, self.config.realm.as_bytes());
        }
        // Looked at again when there is something to be done; its last member's end is, too.
        if self.calls.due(call, clock).is_some_and(|due| now < due) {
            self.watch_call(call);
        }
    }

    /// Ends the members whose tickets have been revoked: as many as one input may, and the rest
    /// with the next [`Self::handle_timeout`], which is due at once.
    pub(super) fn end_doomed(&mut self, now: Timestamp, call: CallId) {
        let until = self.calls.until(call).unwrap_or_default();
        let reason = if until <= self.config.clock.unix_secs(now) {
            EndReason::TicketExpired
        } else {
            EndReason::Revoked
        };
        let doomed: Vec<_> = self.calls.doomed(call).take(STEPS_AT_ONCE + 1).collect();
        for id in doomed {
            if self.steps >= STEPS_AT_ONCE {
                self.timers.insert((now, Timer::Doomed(call)));
                return;
            }
            self.end(id, reason);
        }
    }

    /// The wall clock was set: tickets end when it says so. What has ended by it ends with the
    /// next [`Self::handle_timeout`].
    #[expect(clippy::disallowed_methods, reason = "sorted before anybody sees it")]
    pub(super) fn set_clock(&mut self, now: Timestamp, clock: WallClock) {
        self.config.clock = clock;
        let mut ids: Vec<_> = self.allocations.keys().copied().collect();
        ids.sort_unstable();
        for id in ids {
            self.set_session_end(id, now);
        }
        for call in self.calls.ids() {
            self.watch_call(call);
        }
    }
}
