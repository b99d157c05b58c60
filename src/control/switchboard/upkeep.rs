//! What the switchboard does unasked: at its start, by the clock, and when the relay reports.

use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError};

use tracing::{debug, error, warn};
use vizard_proto::auth::ticket::CallId;
use vizard_proto::contract::{Command, Event, Scope};

use super::{Live, Switchboard, Tickets};
use crate::control::calls::{Call, Phase, Traffic};
use crate::control::clock::{Cautious, Now};
use crate::control::names;
use crate::control::policy;
use crate::control::problem::Problem;
use crate::control::reports::News;
use crate::control::store::{Change, DoneRequest, RequestKey, StoreError};

/// Calls read from the store or written to it at a time.
const AT_ONCE: usize = 500;
/// How many times that many calls' usage is saved in one second: that of 20,000 calls. Requests are
/// stored in between. With more of them, each has to wait for its turn.
const USAGE_TURNS: usize = 40;

/// The key of no request: no hash is all zeros.
const NO_REQUEST: RequestKey = RequestKey([0; 32]);

impl Switchboard {
    /// Takes in what the relay reports.
    pub fn report(&self, news: News) {
        let now = self.now();
        let mut registry = self.registry();
        for event in news.events {
            match event {
                Event::AllocationCreated {
                    allocation,
                    call,
                    party,
                    ..
                } => registry.allocated(allocation, call, usize::from(party), now),
                Event::AllocationEnded { allocation, .. } => registry.released(allocation, now),
            }
        }
        for (allocation, usage) in news.usage {
            let more = Traffic {
                packets: usage.packets,
                bytes: usage.bytes,
            };
            registry.used(allocation, more);
        }
    }

    /// Time has passed: ends what has expired, saves what the store has not seen, forgets what is
    /// over.
    pub fn tick(&self) {
        let now = self.now();
        self.end_expired(now);
        self.store_settled(now);
        let mut saved = Ok(true);
        for _ in 0..USAGE_TURNS {
            saved = self.store_usage(AT_ONCE);
            if !matches!(saved, Ok(true)) {
                break;
            }
        }
        let believed = self.cautious().at(now);
        // What can't be forgotten at this time is forgotten at the next.
        let _ = self.asked(self.store.forget(believed));
        if saved.is_ok() && self.store_failed.load(Ordering::Relaxed) {
            self.try_store(now);
        }
    }

    /// Writes something that is soon forgotten: whether the store works again is not to be left
    /// to the next call, which may go to another node as long as this one says that it is not ready.
    fn try_store(&self, now: Now) {
        let nothing = DoneRequest {
            body: [0; 32],
            call: CallId([0; 16]),
            until: now.wall,
        };
        let _ = self.commit(&[Change::Request(&NO_REQUEST, &nothing)]);
    }

    /// Saves all that the store has not seen: nothing comes after this.
    pub fn close(&self) {
        // What is known already comes first: ending waits for the relay, which may be stuck.
        let unsaved = self.registry().ended_unsaved();
        let _ = self.store_ended(&unsaved);
        while let Ok(true) = self.store_usage(AT_ONCE) {}
        self.end_expired(self.now());
    }

    /// The tickets of these calls have run out by one of the clocks. The other may disagree, here,
    /// in the relay, or after a restart: so each of them ends like one that was ended.
    fn end_expired(&self, now: Now) {
        let expired = self.registry().expired(now);
        for call in &expired {
            self.expire(call, now);
        }
        let registry = self.registry();
        let ids = expired.iter().map(|call| call.id);
        let unsaved: Vec<Call> = ids.filter_map(|id| registry.unsaved(id)).collect();
        drop(registry);
        // What can't be saved here is saved when it has settled.
        let _ = self.store_ended(&unsaved);
    }

    fn store_settled(&self, now: Now) {
        let settled = self.registry().settled(now);
        let unsaved = settled.iter().filter(|settled| settled.unsaved);
        let unsaved: Vec<Call> = unsaved.map(|settled| settled.call.clone()).collect();
        if self.store_ended(&unsaved).is_err() {
            return;
        }
        let mut registry = self.registry();
        for settled in &settled {
            registry.remove(&settled.call);
        }
    }

    fn store_ended(&self, calls: &[Call]) -> Result<(), Problem> {
        for calls in calls.chunks(AT_ONCE) {
            let changes: Vec<_> = calls.iter().map(Change::Call).collect();
            self.commit(&changes)?;
            let mut registry = self.registry();
            for call in calls {
                registry.saved(call);
            }
        }
        Ok(())
    }

    /// Saves the usage of some calls that go on. Returns whether there was any.
    fn store_usage(&self, most: usize) -> Result<bool, Problem> {
        let mut told_up_to = self
            .told_up_to
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let calls = self.registry().take_used(*told_up_to, most);
        let Some(last) = calls.last() else {
            return Ok(false);
        };
        *told_up_to = last.id;
        let changes: Vec<_> = calls.iter().map(Change::Usage).collect();
        self.commit(&changes)
            .inspect_err(|_| self.registry().untold(&calls))?;
        Ok(true)
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
        let live = self.live();
        let floor = Command::EndedBefore(self.store.ended_before()?);
        if self.relay.command(floor).is_err() {
            error!("the relay did not take which calls are forgotten");
        }
        let (mut after, mut unreadable, mut homeless) = (None, 0_usize, 0_usize);
        loop {
            let page = self.store.calls(after, AT_ONCE)?;
            let Some(last) = page.last() else { break };
            after = Some(last.id);
            for kept in page {
                if let Some(call) = kept.call {
                    homeless += usize::from(!self.take_up(&live, call));
                } else {
                    unreadable += 1;
                    // No ticket lives longer than that, whatever was stored.
                    let most = self.now().wall.saturating_add(u64::from(policy::MAX_TTL));
                    self.revoke_id(kept.id, kept.expires_at.min(most), Scope::Call);
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

    /// Tells the relay of a call from before; whether it has room for it. One that has ended is
    /// revoked however it ended: the clock may show an earlier time by now.
    fn take_up(&self, live: &Arc<Live>, call: Call) -> bool {
        let now = self.now();
        if call.end.is_some() {
            self.revoke(&call, Scope::Call);
            return true;
        }
        if now.wall >= call.expires_at {
            self.registry().insert(call.clone(), now);
            self.expire(&call, now);
            return true;
        }
        let command = Command::OpenCall {
            call: call.id,
            until: call.expires_at,
            usernames: Tickets::all(live, &call),
        };
        let admitted = self.relay.command(command).is_ok();
        for scope in call.all_lost() {
            self.revoke(&call, scope);
        }
        self.registry().insert(call, now);
        admitted
    }

    fn cautious(&self) -> MutexGuard<'_, Cautious> {
        self.cautious.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) fn log_end(call: &Call) {
    let route = call.outcome().route.as_str();
    debug!(call = %names::written(call.id), route, "call ended");
}
