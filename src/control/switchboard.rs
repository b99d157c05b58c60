//! What can be done with calls: the functions behind the API.
//!
//! What can fail outside fails before anything is promised. A call is opened in the relay, then
//! stored, then announced; it is ended in the relay, then stored, then reported as ended. Ending
//! waits for nothing before the media has stopped: not for the store, and for no other request.
//! Nothing here waits for a client: the API runs these functions to their end whoever hangs up.
//!
//! Every change of a call has its turn, one after the other. Ending takes its turn only to store
//! what has already happened, so a change that finds the call ended when it is through stores that
//! once more.

mod lists;
mod opening;
mod refusals;
mod tickets;
mod upkeep;

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use tracing::{debug, error, info};
use vizard_proto::auth::ticket::{CallId, TicketKeys};
use vizard_proto::contract::{Command, Scope};

use super::RelayControl;
use super::calls::Call;
use super::clock::{Cautious, Clock, Now};
use super::keys::ApiKeys;
use super::names;
use super::offers::Offer;
use super::policy::{self, Decision, Policy, Request};
use super::problem::{Kind, Problem};
use super::registry::Registry;
use super::store::{Change, DoneRequest, REQUEST_REMEMBERED, RequestKey, Store, StoreError};
use super::turns::Turns;
use crate::telemetry::Metrics;
use refusals::{not_answered, reachable, time_to_live};
use upkeep::log_end;

pub use lists::Cursor;
pub(super) use refusals::because;
pub use tickets::{Handed, Held, Tickets};

/// What may change while the node runs.
#[derive(Clone)]
pub struct Live {
    /// The policy.
    pub policy: Policy,
    /// Who may use the API.
    pub api_keys: ApiKeys,
    /// The keys of the tickets; the relay has the same.
    pub tickets: Arc<TicketKeys>,
    /// Where clients reach the relay, best first. While there is none, nobody is given a ticket.
    pub offers: Vec<Offer>,
    /// Names that clients may call this node by, beside its addresses and `localhost`.
    pub host_names: Vec<String>,
    /// How many calls the relay takes.
    pub calls_limit: usize,
    /// Most kilobits per second that a call may ask for each ticket; 0 is no limit.
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
    /// Limit for what one ticket sends, in kilobits per second.
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

/// See the module's description.
pub struct Switchboard {
    live: ArcSwap<Live>,
    registry: Mutex<Registry>,
    store: Arc<dyn Store>,
    relay: Arc<dyn RelayControl>,
    clock: Clock,
    /// Changes of a call.
    turns: Turns<CallId>,
    /// Requests with the same `Idempotency-Key`.
    repeats: Turns<RequestKey>,
    /// What time it is to whatever would be forgotten.
    cautious: Mutex<Cautious>,
    /// Up to which call the store was told of usage.
    told_up_to: Mutex<CallId>,
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
            turns: Turns::new(),
            repeats: Turns::new(),
            cautious: Mutex::default(),
            told_up_to: Mutex::new(CallId([0; 16])),
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

    /// From here on clients are given these URLs.
    pub fn offer(&self, offers: &[Offer]) {
        self.live.rcu(|live| Live {
            offers: offers.to_vec(),
            ..Live::clone(live)
        });
    }

    /// From here on no call is opened.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Whether it was told to open no calls.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// How many calls take a place in the relay.
    pub fn open_calls(&self) -> usize {
        self.relay.open_calls()
    }

    /// Whether the media of calls goes on.
    pub fn alive(&self) -> Result<(), Problem> {
        if self.relay.is_alive() {
            return Ok(());
        }
        let detail = "A worker of the relay is stuck: restart the node.";
        Err(Problem::new(Kind::NotReady, detail))
    }

    /// Whether calls can be opened.
    pub fn ready(&self) -> Result<(), Problem> {
        self.alive()?;
        if self.store_failed.load(Ordering::Relaxed) {
            let detail = "The store can't be written; is the disk full?";
            return Err(Problem::new(Kind::NotReady, detail));
        }
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
        time_to_live(&live.policy, wanted.ttl)?;
        Ok(self.decide_by(&live.policy, wanted))
    }

    fn decide_by(&self, policy: &Policy, wanted: &Wanted) -> Decided {
        let decided = Decided {
            ringing: policy::decide(policy, &wanted.request, policy::Phase::Ringing),
            answered: policy::decide(policy, &wanted.request, policy::Phase::Answered),
        };
        self.metrics
            .decisions
            .of([decided.answered.route.as_str()])
            .inc();
        decided
    }

    /// A party answers on a device.
    pub fn answer(
        &self,
        id: CallId,
        party: &str,
        device: Option<&str>,
        once: Option<Once>,
    ) -> Result<Handed, Problem> {
        let live = self.live();
        let _turn = self.turns.take(id);
        let done = self.done(once)?;
        let mut call = self.current(id)?;
        if done.is_some() && call.end.is_some() {
            return Ok(Handed::bare(call));
        }
        let answered = call
            .answer(&live.policy, party, device, self.now().wall)
            .map_err(not_answered)?;
        let tickets = call.restarted().then(|| Tickets::living(&live, &call));
        let tickets = tickets.transpose()?;
        if !answered.changed {
            return Ok(Handed { call, tickets });
        }
        if let Some(tickets) = &tickets {
            self.admit(&call, tickets)?;
        }
        let done = once.map(|once| (once.key, self.now_done(once, id)));
        let call = self.change(call, done)?;
        for scope in answered.lost {
            self.revoke(&call, scope);
        }
        if call.end.is_some() {
            return Err(Problem::new(Kind::CallEnded, ""));
        }
        let route = call.outcome().route.as_str();
        debug!(call = %names::written(id), route, "call answered");
        Ok(Handed { call, tickets })
    }

    /// Has a call live longer and hands out fresh tickets; those that it has live on as well.
    pub fn renew(
        &self,
        id: CallId,
        ttl: Option<u32>,
        once: Option<Once>,
    ) -> Result<Handed, Problem> {
        let live = self.live();
        let ttl = time_to_live(&live.policy, ttl)?;
        let _turn = self.turns.take(id);
        let done = self.done(once)?;
        let mut call = self.current(id)?;
        if done.is_some() {
            return self.hand_out_again(&live, call);
        }
        if call.end.is_some() {
            return Err(Problem::new(Kind::CallEnded, ""));
        }
        call.renew(self.now().wall, ttl, live.policy.max_call);
        let tickets = Tickets::living(&live, &call)?;
        self.admit(&call, &tickets)?;
        let done = once.map(|once| (once.key, self.now_done(once, id)));
        let call = self.change(call, done)?;
        if call.end.is_some() {
            return Err(Problem::new(Kind::CallEnded, ""));
        }
        debug!(call = %names::written(id), "call renewed");
        Ok(Handed {
            call,
            tickets: Some(tickets),
        })
    }

    /// Stops a call's media at once and for good, as far as the relay goes. [`Self::end`] does the
    /// same and has it stored.
    pub fn stop(&self, id: CallId) {
        let living = self.registry().living(id).cloned();
        if let Some(call) = living {
            self.revoke(&call, Scope::Call);
            self.registry().finish(id, self.now());
            log_end(&call);
        }
    }

    /// Ends a call; to end it again changes nothing.
    pub fn end(&self, id: CallId) -> Result<Call, Problem> {
        self.stop(id);
        let _turn = self.turns.take(id);
        self.store_end(id)?;
        self.find(id)
    }

    /// Has the store see an ended call as it is.
    fn store_end(&self, id: CallId) -> Result<(), Problem> {
        let unsaved = self.registry().unsaved(id);
        let Some(call) = unsaved else { return Ok(()) };
        self.commit(&[Change::Call(&call)]).map_err(|problem| {
            let detail = "The media has stopped, but a restart would not know; try again.";
            Problem {
                detail: detail.into(),
                ..problem
            }
        })?;
        self.registry().saved(&call);
        Ok(())
    }

    /// Stores a changed call and has it hold; what holds then, which may be that it has ended.
    fn change(&self, call: Call, done: Option<(RequestKey, DoneRequest)>) -> Result<Call, Problem> {
        self.store_with(&call, done)?;
        let holds = self.registry().replace(call.clone(), self.now());
        let call = holds.unwrap_or(call);
        if call.end.is_some() {
            // The relay may have been told of it once more, and the store that it goes on.
            self.revoke(&call, Scope::Call);
            self.store_end(call.id)?;
        }
        Ok(call)
    }

    fn store_with(
        &self,
        call: &Call,
        done: Option<(RequestKey, DoneRequest)>,
    ) -> Result<(), Problem> {
        let mut changes = vec![Change::Call(call)];
        changes.extend(done.iter().map(|(key, done)| Change::Request(key, done)));
        self.commit(&changes)
    }

    /// What the repetition of a request gets: the call as it is by now.
    fn hand_out_again(&self, live: &Arc<Live>, call: Call) -> Result<Handed, Problem> {
        if call.end.is_some() {
            return Ok(Handed::bare(call));
        }
        let tickets = Tickets::living(live, &call)?;
        // The keys may have changed since: the relay is to know these names as well.
        self.admit(&call, &tickets)?;
        Ok(Handed {
            call,
            tickets: Some(tickets),
        })
    }

    /// The call of that name; one whose time is over has ended.
    fn current(&self, id: CallId) -> Result<Call, Problem> {
        let call = self.find(id)?;
        let now = self.now();
        if call.end.is_some() || now.wall < call.expires_at {
            return Ok(call);
        }
        self.expire(&call, now);
        self.find(id)
    }

    fn expire(&self, call: &Call, now: Now) {
        self.revoke(call, Scope::Call);
        self.registry().expire(call.id, now);
        log_end(call);
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
        call.settle(self.now().wall);
        Ok(call)
    }

    /// Has the relay take a place for the call and learn these tickets.
    fn admit(&self, call: &Call, tickets: &Tickets) -> Result<(), Problem> {
        let command = Command::OpenCall {
            call: call.id,
            until: call.expires_at,
            usernames: tickets.usernames(),
        };
        self.relay.command(command).map_err(|_| {
            let detail = "The relay has no room for another call; it is not made without.";
            Problem::new(Kind::CannotMask, detail)
        })
    }

    fn revoke(&self, call: &Call, scope: Scope) {
        self.revoke_id(call.id, call.expires_at, scope);
    }

    fn revoke_id(&self, call: CallId, until: u64, scope: Scope) {
        let command = Command::Revoke { call, scope, until };
        if self.relay.command(command).is_err() {
            error!(call = %names::written(call), "the relay did not take a revocation");
        }
    }

    /// What the same request did before.
    fn done(&self, once: Option<Once>) -> Result<Option<DoneRequest>, Problem> {
        let Some(once) = once else { return Ok(None) };
        let done = self.asked(self.store.request(&once.key, self.now().wall))?;
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
            until: self.now().wall.saturating_add(REQUEST_REMEMBERED),
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

    fn now(&self) -> Now {
        self.clock.now()
    }

    fn registry(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
