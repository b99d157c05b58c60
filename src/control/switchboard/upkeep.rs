//! What the switchboard does unasked: at its start, by the clock, and when the relay reports.

use tracing::{info, warn};
use vizard_proto::contract::{Event, Scope};

use super::{PAGE, Switchboard};
use crate::control::calls::{Call, EndReason, Phase, Traffic};
use crate::control::names;
use crate::control::store::{Change, StoreError};
use crate::dataplane::Report;

impl Switchboard {
    /// Takes in what the relay reports.
    pub fn report(&self, reports: impl IntoIterator<Item = Report>) {
        let now = self.now();
        let mut registry = self.registry();
        for report in reports {
            match report {
                Report::Event(Event::AllocationCreated {
                    allocation,
                    call,
                    party,
                    ..
                }) => {
                    registry.allocated(allocation, call, usize::from(party), now);
                }
                Report::Event(Event::AllocationEnded { allocation, .. }) => {
                    registry.released(allocation, now);
                }
                Report::Usage(allocation, usage) => {
                    let more = Traffic {
                        packets: usage.packets,
                        bytes: usage.bytes,
                    };
                    registry.used(allocation, more);
                }
            }
        }
    }

    /// Time has passed: ends what has expired, saves what has settled, forgets what is over.
    pub fn tick(&self) {
        let now = self.now();
        let advanced = self.registry().advance(now);
        for call in &advanced.expired {
            // Its tickets have run out; this is for a relay whose clock differs from ours.
            self.revoke(call, Scope::Call);
            log_end(call);
        }
        let unsaved = advanced.settled.iter().filter(|settled| settled.unsaved);
        let changes: Vec<_> = unsaved.map(|settled| Change::Call(&settled.call)).collect();
        if !changes.is_empty() && self.commit(&changes).is_err() {
            return;
        }
        for settled in &advanced.settled {
            self.registry().remove(&settled.call);
        }
        // What can't be forgotten at this time is forgotten at the next.
        let _ = self.asked(self.store.forget(now));
    }

    /// Brings the gauge of calls up to date.
    pub fn measure(&self) {
        let counts = self.registry().counts();
        for (phase, count) in Phase::ALL.into_iter().zip(counts) {
            let gauge = self.metrics.calls.of([phase.as_str()]);
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }

    pub(super) fn replay(&self) -> Result<(), StoreError> {
        let (mut after, mut unreadable, mut homeless) = (None, 0_usize, 0_usize);
        loop {
            let page = self.store.calls(after, PAGE)?;
            let Some(last) = page.last() else { break };
            after = Some(last.id);
            for kept in page {
                if let Some(call) = kept.call {
                    homeless += usize::from(!self.take_up(call));
                } else {
                    unreadable += 1;
                    self.revoke_id(kept.id, kept.expires_at, Scope::Call);
                }
            }
        }
        if unreadable > 0 {
            warn!(
                calls = unreadable,
                "calls written by another version were ended"
            );
        }
        if homeless > 0 {
            warn!(
                calls = homeless,
                "more calls go on than the relay has room for"
            );
        }
        Ok(())
    }

    /// Tells the relay of a call from before; whether it has room for it.
    fn take_up(&self, mut call: Call) -> bool {
        call.settle(self.now());
        match call.end {
            Some(end) if end.reason == EndReason::Expired => true,
            Some(_) => {
                self.revoke(&call, Scope::Call);
                true
            }
            None => {
                let admitted = self.admit(&call, &call.tickets()).is_ok();
                for scope in call.all_lost() {
                    self.revoke(&call, scope);
                }
                self.registry().insert(call);
                admitted
            }
        }
    }
}

pub(super) fn log_end(call: &Call) {
    let route = call.outcome().route.as_str();
    info!(call = %names::written(call.id), route, "call ended");
}
