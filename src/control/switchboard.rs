//! What can be done with calls: the functions behind the API.
//!
//! What can fail outside fails before anything is promised. A call is opened in the relay, then
//! stored, then announced; it is ended in the relay, then stored, then reported as ended. Nothing
//! here waits for a client: the API runs these functions to their end whoever hangs up.

mod refusals;
mod upkeep;

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use tracing::{error, info};
use vizard_proto::auth::ticket::{CallId, Ticket, TicketKeys};
use vizard_proto::contract::{Command, Scope};

use super::calls::{Call, Outcome, Party, Phase};
use super::keys::ApiKeys;
use super::names;
use super::policy::{self, Decision, Policy, Request, Route};
use super::problem::{Kind, Problem};
use super::registry::Registry;
use super::store::{Change, DoneRequest, REQUEST_REMEMBERED, RequestKey, Store, StoreError};
use super::{Clock, RelayControl};
use crate::telemetry::Metrics;
use refusals::{forgotten, not_answered, refused, time_to_live};
use upkeep::log_end;

pub(super) use refusals::{because, reachable};

/// Calls read from the store at a time.
const PAGE: usize = 500;
/// Requests about different calls that can be carried out side by side.
const TURNS: usize = 64;

/// What may change while the node runs.
#[derive(Clone)]
pub struct Live {
    /// The policy.
    pub policy: Policy,
    /// Who may use the API.
    pub api_keys: ApiKeys,
    /// The keys of the tickets; the relay has the same.
    pub tickets: Arc<TicketKeys>,
    /// Where the relay is reached: `turn:HOST:PORT?transport=udp` and the like, best first. While
    /// there is none, nobody is given a ticket.
    pub ice_urls: Vec<String>,
    /// Names that clients may call this node by, beside its addresses and `localhost`.
    pub host_names: Vec<String>,
    /// How many calls the relay takes.
    pub calls_limit: usize,
    /// Most kilobits of payload per second that a call may ask for one allocation; 0 is no limit.
    pub kbps_limit: u32,
}

/// A call that somebody wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Each party's id and the names of its devices, in the request's order.
    pub names: Vec<(String, Vec<String>)>,
    /// What the policy is asked.
    pub request: Request,
    /// Seconds that the tickets shall live; `None`: as long as the policy says.
    pub ttl: Option<u32>,
    /// Limit for what one allocation sends, in kilobits of payload per second.
    pub kbps: Option<NonZeroU32>,
}

/// A request that is to be carried out once.
#[derive(Clone, Copy, Debug)]
pub struct Once {
    /// Who asked, where, and its `Idempotency-Key`.
    pub key: RequestKey,
    /// Hash of the body.
    pub body: [u8; 32],
}

/// What would be decided, in both phases.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decided {
    /// While the call rings.
    pub ringing: Decision,
    /// When everybody has answered.
    pub answered: Decision,
}

/// Some calls of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The calls.
    pub calls: Vec<Call>,
    /// Whether there are more behind the last.
    pub more: bool,
}

/// See the module's description.
pub struct Switchboard {
    live: ArcSwap<Live>,
    registry: Mutex<Registry>,
    store: Arc<dyn Store>,
    relay: Arc<dyn RelayControl>,
    clock: Clock,
    /// Held while a request about a call (by a hash) is carried out, one after the other.
    turns: [Mutex<()>; TURNS],
    draining: AtomicBool,
    /// Whether the store failed and has not been written since, so that the log says it once.
    store_failed: AtomicBool,
    metrics: Arc<Metrics>,
}

impl Switchboard {
    /// Takes up what the store remembers: tells the relay which calls go on and which tickets are
    /// dead. Only after that may requests be let in.
    pub fn start(
        live: Live,
        relay: Arc<dyn RelayControl>,
        store: Arc<dyn Store>,
        clock: Clock,
        metrics: Arc<Metrics>,
    ) -> Result<Self, StoreError> {
        let switchboard = Self {
            live: ArcSwap::from_pointee(live),
            registry: Mutex::new(Registry::new()),
            store,
            relay,
            clock,
            turns: [const { Mutex::new(()) }; TURNS],
            draining: AtomicBool::new(false),
            store_failed: AtomicBool::new(false),
            metrics,
        };
        switchboard.replay()?;
        Ok(switchboard)
    }

    /// The settings in force.
    pub fn live(&self) -> Arc<Live> {
        self.live.load_full()
    }

    /// From here on these settings hold; calls that go on are not touched.
    pub fn reload(&self, live: Live) {
        self.live.store(Arc::new(live));
    }

    /// From here on no call is opened.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Whether calls can be opened.
    pub fn ready(&self) -> Result<(), Problem> {
        if self.draining.load(Ordering::Relaxed) {
            return Err(Problem::new(Kind::NotReady, "The node is being drained."));
        }
        let live = self.live();
        reachable(&live).map_err(|problem| Problem::new(Kind::NotReady, problem.detail))?;
        if self.relay.open_calls() >= live.calls_limit {
            return Err(Problem::new(
                Kind::NotReady,
                "The node has no room for another call.",
            ));
        }
        Ok(())
    }

    /// What the policy says of a call; nothing is done.
    pub fn decide(&self, wanted: &Wanted) -> Result<Decided, Problem> {
        let live = self.live();
        time_to_live(&live.policy, wanted)?;
        let decided = Decided {
            ringing: policy::decide(&live.policy, &wanted.request, policy::Phase::Ringing),
            answered: policy::decide(&live.policy, &wanted.request, policy::Phase::Answered),
        };
        self.metrics
            .decisions
            .of([decided.answered.route.as_str()])
            .inc();
        Ok(decided)
    }

    /// Opens a call, or finds the one that this request opened before.
    pub fn open(&self, wanted: Wanted, once: Option<Once>) -> Result<Call, Problem> {
        let _turn = once.map(|once| self.turn(once.key.0));
        if let Some(done) = self.done(once)? {
            return self.find(done.call).map_err(forgotten);
        }
        let decided = self.decide(&wanted)?;
        if self.draining.load(Ordering::Relaxed) {
            let detail = "The node is being drained; open the call on another.";
            return Err(Problem::new(Kind::CannotMask, detail));
        }
        reachable(&self.live())?;
        let call = self.propose(wanted, decided)?;
        self.admit(&call, &call.tickets())?;
        let done = once.map(|once| (once.key, self.now_done(once, call.id)));
        let mut changes = vec![Change::Call(&call)];
        changes.extend(done.iter().map(|(key, done)| Change::Request(key, done)));
        if let Err(problem) = self.commit(&changes) {
            self.revoke(&call, Scope::Call);
            return Err(problem);
        }
        self.registry().insert(call.clone());
        info!(call = %names::written(call.id), route = call.opened.route.as_str(), "call opened");
        Ok(call)
    }

    /// A party answers on a device.
    pub fn answer(
        &self,
        id: CallId,
        party: &str,
        device: Option<&str>,
        once: Option<Once>,
    ) -> Result<Call, Problem> {
        let _turn = self.turn(id.0);
        self.done(once)?;
        let mut call = self.find(id)?;
        let live = self.live();
        let answered = call
            .answer(&live.policy, party, device, self.now())
            .map_err(not_answered)?;
        if !answered.changed {
            return Ok(call);
        }
        if answered.became_direct {
            let mut fresh = call.tickets();
            fresh.retain(|ticket| !ticket.masked);
            self.admit(&call, &fresh)?;
        }
        let done = once.map(|once| (once.key, self.now_done(once, id)));
        let mut changes = vec![Change::Call(&call)];
        changes.extend(done.iter().map(|(key, done)| Change::Request(key, done)));
        self.commit(&changes)?;
        self.registry().replace(call.clone());
        for scope in answered.lost {
            self.revoke(&call, scope);
        }
        let route = call.outcome().route.as_str();
        info!(call = %names::written(id), route, "call answered");
        Ok(call)
    }

    /// Ends a call; to end it again changes nothing.
    pub fn end(&self, id: CallId) -> Result<Call, Problem> {
        let _turn = self.turn(id.0);
        let call = self.find(id)?;
        if call.end.is_none() {
            self.revoke(&call, Scope::Call);
            self.registry().finish(id, self.now());
            log_end(&call);
        }
        let unsaved = self.registry().unsaved(id);
        let Some(call) = unsaved else {
            return self.find(id);
        };
        self.commit(&[Change::Call(&call)]).map_err(|problem| {
            let detail = "The media has stopped, but a restart would not know; try again.";
            Problem {
                detail: detail.into(),
                ..problem
            }
        })?;
        self.registry().saved(&call);
        Ok(call)
    }

    /// The call of that name.
    pub fn find(&self, id: CallId) -> Result<Call, Problem> {
        if let Some(call) = self.registry().get(id) {
            return Ok(call.clone());
        }
        let call = self.asked(self.store.call(id))?;
        let mut call = call.ok_or_else(|| {
            Problem::new(
                Kind::CallNotFound,
                "It never existed, or its tickets expired a while ago.",
            )
        })?;
        call.settle(self.now());
        Ok(call)
    }

    /// At most `most` calls (in `phase`) behind `after`.
    pub fn list(
        &self,
        phase: Option<Phase>,
        after: Option<CallId>,
        most: usize,
    ) -> Result<Page, Problem> {
        let mut calls = match phase {
            Some(phase @ (Phase::Ringing | Phase::Answered)) => {
                self.registry().page(phase, after, most + 1)
            }
            _ => self.list_all(phase, after, most + 1)?,
        };
        let more = calls.len() > most;
        calls.truncate(most);
        Ok(Page { calls, more })
    }

    /// The call that `wanted` becomes, unless it is refused.
    fn propose(&self, wanted: Wanted, decided: Decided) -> Result<Call, Problem> {
        if decided.ringing.route == Route::Refused {
            return Err(refused(&wanted, &decided.ringing));
        }
        let live = self.live();
        let ttl = time_to_live(&live.policy, &wanted)?;
        let now = self.now();
        Ok(Call {
            id: names::new(),
            opened_at: now,
            expires_at: now + u64::from(ttl),
            kbps: within(live.kbps_limit, wanted.kbps),
            request: wanted.request,
            parties: wanted
                .names
                .into_iter()
                .map(|(id, devices)| Party::new(id, devices))
                .collect(),
            opened: Outcome::new(now, decided.ringing),
            if_answered: Outcome::new(now, decided.answered),
            answered: None,
            end: None,
        })
    }

    /// Has the relay take a place for the call and learn these tickets.
    fn admit(&self, call: &Call, tickets: &[Ticket]) -> Result<(), Problem> {
        let problem = |detail: &str| Err(Problem::new(Kind::CannotMask, detail));
        let keys = &self.live().tickets;
        let usernames = tickets
            .iter()
            .map(|ticket| keys.mint(ticket).username)
            .collect();
        let command = Command::OpenCall {
            call: call.id,
            until: call.expires_at,
            usernames,
        };
        match self.relay.command(command) {
            Ok(()) => Ok(()),
            Err(_) => problem("The relay has no room for another call; it is not made without."),
        }
    }

    fn revoke(&self, call: &Call, scope: Scope) {
        self.revoke_id(call.id, call.expires_at, scope);
    }

    fn revoke_id(&self, call: CallId, until: u64, scope: Scope) {
        // No ticket lives longer than that, whatever was stored.
        let until = until.min(self.now() + u64::from(policy::MAX_TTL));
        if self
            .relay
            .command(Command::Revoke { call, scope, until })
            .is_err()
        {
            error!(call = %names::written(call), "the relay did not take a revocation");
        }
    }

    /// What the same request did before.
    fn done(&self, once: Option<Once>) -> Result<Option<DoneRequest>, Problem> {
        let Some(once) = once else { return Ok(None) };
        let done = self.asked(self.store.request(&once.key, self.now()))?;
        if done.is_some_and(|done| done.body != once.body) {
            let detail = "This Idempotency-Key came with another body before; take a new one.";
            return Err(Problem::new(Kind::IdempotencyKeyReused, detail));
        }
        Ok(done)
    }

    fn now_done(&self, once: Once, call: CallId) -> DoneRequest {
        DoneRequest {
            body: once.body,
            call,
            until: self.now() + REQUEST_REMEMBERED,
        }
    }

    /// Calls of every phase or, with `phase`, those that have ended: all that the store knows, as
    /// the registry knows them.
    fn list_all(
        &self,
        phase: Option<Phase>,
        mut after: Option<CallId>,
        most: usize,
    ) -> Result<Vec<Call>, Problem> {
        let mut found = Vec::new();
        loop {
            let page = self.asked(self.store.calls(after, PAGE))?;
            let Some(last) = page.last() else {
                return Ok(found);
            };
            after = Some(last.id);
            let (registry, now) = (self.registry(), self.now());
            for mut call in page.into_iter().filter_map(|kept| kept.call) {
                if let Some(current) = registry.get(call.id) {
                    call = current.clone();
                }
                call.settle(now);
                if phase.is_none_or(|phase| phase == call.phase()) {
                    found.push(call);
                }
                if found.len() == most {
                    return Ok(found);
                }
            }
        }
    }

    fn commit(&self, changes: &[Change<'_>]) -> Result<(), Problem> {
        self.asked(self.store.commit(changes))?;
        if self.store_failed.swap(false, Ordering::Relaxed) {
            info!("the store works again");
        }
        Ok(())
    }

    /// The store's answer; the first of several errors is logged.
    fn asked<T>(&self, answer: Result<T, StoreError>) -> Result<T, Problem> {
        answer.map_err(|error| {
            if !self.store_failed.swap(true, Ordering::Relaxed) {
                error!(%error, "nothing can be promised; is the disk full?");
            }
            Problem::new(
                Kind::StoreUnavailable,
                "Nothing was promised or changed; try again.",
            )
        })
    }

    fn now(&self) -> u64 {
        (self.clock)()
    }

    fn registry(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn turn<const N: usize>(&self, of: [u8; N]) -> MutexGuard<'_, ()> {
        // The last byte: a call's name begins with the time.
        let turn = of.last().map_or(0, |byte| usize::from(*byte)) % TURNS;
        self.turns[turn]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
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
