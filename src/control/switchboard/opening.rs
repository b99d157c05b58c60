//! Opening a call.

use std::num::NonZeroU32;
use std::sync::atomic::Ordering;

use tracing::debug;
use vizard_proto::contract::Scope;

use super::refusals::{forgotten, reachable, refused, time_to_live};
use super::{Handed, Live, Once, Switchboard, Tickets, Wanted};
use crate::control::calls::{Call, Outcome, Party};
use crate::control::names;
use crate::control::policy::Route;
use crate::control::problem::{Kind, Problem};

impl Switchboard {
    /// Opens a call, or finds the one that this request opened before, as it is by now.
    pub fn open(&self, wanted: Wanted, once: Option<Once>) -> Result<Handed, Problem> {
        let live = self.live();
        let _turn = once.map(|once| self.repeats.take(once.key));
        if let Some(done) = self.done(once)? {
            let call = self.find(done.call).map_err(forgotten)?;
            return self.hand_out_again(&live, call);
        }
        let call = self.propose(&live, wanted)?;
        let tickets = Tickets::first(&live, &call)?;
        let _turn = self.turns.take(call.id);
        self.admit(&call, &tickets)?;
        self.registry().open(call.clone(), self.now());
        let done = once.map(|once| (once.key, self.now_done(once, call.id)));
        if let Err(problem) = self.store_with(&call, done) {
            self.revoke(&call, Scope::Call);
            self.registry().discard(call.id);
            return Err(problem);
        }
        debug!(call = %names::written(call.id), route = call.opened.route.as_str(), "call opened");
        let opened = self.registry().opened(call.id, self.now());
        self.unless_ended(opened.unwrap_or(call), tickets)
    }

    /// The call that `wanted` becomes, unless it is refused.
    fn propose(&self, live: &Live, wanted: Wanted) -> Result<Call, Problem> {
        let ttl = time_to_live(&live.policy, wanted.ttl)?;
        let decided = self.decide_by(&live.policy, &wanted);
        if self.draining.load(Ordering::Relaxed) {
            let detail = "The node is being drained; open the call on another.";
            return Err(Problem::new(Kind::CannotMask, detail));
        }
        reachable(live)?;
        if decided.ringing.route == Route::Refused {
            return Err(refused(&wanted, &decided.ringing));
        }
        let now = self.now().wall;
        let names = wanted.names.into_iter();
        Ok(Call {
            id: names::new(),
            opened_at: now,
            expires_at: now.saturating_add(u64::from(ttl)),
            kbps: within(live.kbps_limit, wanted.kbps),
            request: wanted.request,
            parties: names.map(|(id, devices)| Party::new(id, devices)).collect(),
            opened: Outcome::new(now, decided.ringing),
            if_answered: Outcome::new(now, decided.answered),
            answered: None,
            end: None,
        })
    }

    /// What the opener of `call` gets: it may have been ended in the meantime.
    fn unless_ended(&self, call: Call, tickets: Tickets) -> Result<Handed, Problem> {
        if call.end.is_none() {
            let tickets = Some(tickets);
            return Ok(Handed { call, tickets });
        }
        self.revoke(&call, Scope::Call);
        self.store_end(call.id)?;
        Ok(Handed::bare(call))
    }
}

/// What a call gets of the rate that it asks for; 0 is no limit on either side.
fn within(limit: u32, wanted: Option<NonZeroU32>) -> u32 {
    match wanted.map(NonZeroU32::get) {
        Some(wanted) if limit == 0 => wanted,
        Some(wanted) => wanted.min(limit),
        None => limit,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_call_asks_its_way_past_the_limit() {
        let wanted = NonZeroU32::new;
        assert_eq!(within(0, None), 0);
        assert_eq!(within(0, wanted(500)), 500);
        assert_eq!(within(100, None), 100);
        assert_eq!(within(100, wanted(500)), 100);
        assert_eq!(within(100, wanted(50)), 50);
    }
}
