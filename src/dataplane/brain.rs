//! What all workers share: the relay behind its one short lock, and what is needed to reach the
//! workers.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use vizard_proto::Relay;
use vizard_proto::address::{Family, FiveTuple};
use vizard_proto::config::Limits;
use vizard_proto::contract::{AllocationId, Command, CommandError, Event, Output, Usage};
use vizard_proto::forward::ForwardTable;
use vizard_proto::time::{Timestamp, WallClock};

use super::counters::{Locks, Purpose, end_label};
use super::mailbox::{Change, Mailbox};
use super::stream::Quota;
use super::udp::FastPath;
use super::{Load, Report};
use crate::telemetry::Metrics;
use crate::telemetry::metrics::Gauge;

/// By how much the wall clock may differ from what it was taken for.
const CLOCK_TOLERANCE_SECS: u64 = 2;

/// Where reports go.
pub(super) type Reporter = Box<dyn Fn(Report) + Send + Sync>;

/// See the module's description.
pub(super) struct Brain {
    state: Mutex<State>,
    mailboxes: Box<[Mailbox]>,
    report: Reporter,
    origin: Instant,
    /// [`Relay::poll_timeout`] in nanoseconds, as of the last time that the lock was held.
    deadline: AtomicU64,
    /// Entries of the first worker's table.
    forwards: AtomicUsize,
    /// What the gates follow.
    rules: Mutex<Rules>,
    rules_version: AtomicU64,
    /// Whether clients are served yet.
    doors: (Mutex<bool>, Condvar),
    stopping: AtomicBool,
    /// [`FastPath`] as a number.
    fast_path: AtomicU8,
    /// In nanoseconds.
    coalesce: AtomicU64,
    locks: Locks,
    /// TCP connections of all workers together.
    pub(super) quota: Quota,
    pub(super) metrics: Arc<Metrics>,
}

/// What a worker's gate is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rules {
    pub(super) limits: Limits,
    pub(super) clock: WallClock,
}

struct State {
    relay: Relay,
    /// The latest time the relay was told. A worker takes its time before it waits for the lock,
    /// and the relay's time must not run backwards.
    now: Timestamp,
    families: HashMap<AllocationId, Family>,
    gauges: [Gauge; 2],
}

impl State {
    fn advance(&mut self, now: Timestamp) -> Timestamp {
        self.now = self.now.max(now);
        self.now
    }

    fn count(&mut self, event: Event, metrics: &Metrics) {
        match event {
            Event::AllocationCreated {
                allocation, family, ..
            } => {
                self.families.insert(allocation, family);
                self.gauges[family as usize].inc();
            }
            Event::AllocationEnded {
                allocation, reason, ..
            } => {
                if let Some(family) = self.families.remove(&allocation) {
                    self.gauges[family as usize].dec();
                }
                metrics.allocations_ended.of([end_label(reason)]).inc();
            }
        }
    }
}

impl Brain {
    pub(super) fn new(
        relay: Relay,
        rules: Rules,
        origin: Instant,
        mailboxes: Box<[Mailbox]>,
        quota: Quota,
        report: Reporter,
        metrics: Arc<Metrics>,
    ) -> Self {
        let gauges = [
            metrics.allocations.of(["v4"]),
            metrics.allocations.of(["v6"]),
        ];
        Self {
            state: Mutex::new(State {
                relay,
                now: Timestamp::ZERO,
                families: HashMap::new(),
                gauges,
            }),
            mailboxes,
            report,
            origin,
            deadline: AtomicU64::new(Timestamp::NEVER.as_nanos()),
            forwards: AtomicUsize::new(0),
            rules: Mutex::new(rules),
            rules_version: AtomicU64::new(0),
            doors: (Mutex::new(false), Condvar::new()),
            stopping: AtomicBool::new(false),
            fast_path: AtomicU8::new(FastPath::default() as u8),
            coalesce: AtomicU64::new(0),
            locks: Locks::new(&metrics),
            quota,
            metrics,
        }
    }

    /// What time it is on the clock that the relay is told.
    pub(super) fn now(&self) -> Timestamp {
        let nanos = self.origin.elapsed().as_nanos();
        Timestamp::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// Does something with the relay and hands out what it leaves to be done: table changes into
    /// every worker's mailbox and events to the reporter, both in the relay's order.
    pub(super) fn with_relay<R>(
        &self,
        purpose: Purpose,
        now: Timestamp,
        act: impl FnOnce(&mut Relay, Timestamp) -> R,
    ) -> R {
        let mut state = self.lock(purpose);
        let now = state.advance(now);
        let result = act(&mut state.relay, now);
        while let Some(output) = state.relay.poll_output() {
            match output {
                Output::InstallForward(key, forward) => self.post(Change::Install(key, forward)),
                Output::RemoveForward(key) => self.post(Change::Remove(key)),
                Output::Disconnect(client) => {
                    if let Some(mailbox) = self.mailbox(client.hand) {
                        mailbox.cut_off(client.tuple);
                    }
                }
                Output::Event(event) => {
                    state.count(event, &self.metrics);
                    (self.report)(Report::Event(event));
                }
            }
        }
        let deadline = state.relay.poll_timeout().unwrap_or(Timestamp::NEVER);
        self.deadline.store(deadline.as_nanos(), Ordering::Relaxed);
        result
    }

    fn post(&self, change: Change) {
        for mailbox in &self.mailboxes {
            mailbox.post(change);
        }
    }

    fn lock(&self, purpose: Purpose) -> MutexGuard<'_, State> {
        self.locks.taken(purpose);
        self.state
            .lock()
            .unwrap_or_else(|poisoned| self.recover(poisoned))
    }

    /// Somebody panicked inside the relay. What it had not handed out yet may be lost, so every
    /// table is made from the relay's own state again.
    fn recover<'a>(
        &'a self,
        poisoned: PoisonError<MutexGuard<'a, State>>,
    ) -> MutexGuard<'a, State> {
        self.state.clear_poison();
        for mailbox in &self.mailboxes {
            mailbox.demand_rebuild();
            mailbox.wake();
        }
        poisoned.into_inner()
    }

    pub(super) fn command(&self, command: Command) -> Result<(), CommandError> {
        let limits = match &command {
            Command::SetPolicy { limits, .. } => Some(limits.clone()),
            _ => None,
        };
        self.with_relay(Purpose::Command, self.now(), |relay, now| {
            relay.handle_command(now, command)
        })?;
        if let Some(limits) = limits {
            self.change_rules(|rules| rules.limits = limits);
        }
        Ok(())
    }

    fn rules(&self) -> MutexGuard<'_, Rules> {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change_rules(&self, change: impl FnOnce(&mut Rules)) {
        change(&mut self.rules());
        self.rules_version.fetch_add(1, Ordering::Release);
    }

    /// The rules, if they are not those of version `seen`, which is then brought up to date.
    pub(super) fn new_rules(&self, seen: &mut u64) -> Option<Rules> {
        let version = self.rules_version.load(Ordering::Acquire);
        (version != std::mem::replace(seen, version)).then(|| self.rules().clone())
    }

    /// One worker's part of the limits. Clients of one prefix come in at all workers alike.
    pub(super) fn share(&self, limits: &Limits) -> Limits {
        share(limits, self.mailboxes.len())
    }

    /// Tells the relay if the machine's wall clock was set, or went on while the machine slept and
    /// our own clock stood still: tickets end by the wall clock.
    pub(super) fn check_clock(&self) {
        let Ok(unix) = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH) else {
            return;
        };
        let now = self.now();
        if self.rules().clock.unix_secs(now).abs_diff(unix.as_secs()) < CLOCK_TOLERANCE_SECS {
            return;
        }
        let clock = WallClock::new(unix.as_secs().saturating_sub(now.as_secs()));
        self.change_rules(|rules| rules.clock = clock);
        tracing::warn!("the wall clock was set: tickets follow it");
        if self.command(Command::SetClock(clock)).is_err() {
            tracing::error!("the relay did not take over the wall clock");
        }
    }

    /// Lets the workers serve clients.
    pub(super) fn open_doors(&self) {
        *self.doors.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.doors.1.notify_all();
    }

    /// Waits until clients are to be served, or the node stops.
    pub(super) fn wait_for_doors(&self) {
        let mut open = self.doors.0.lock().unwrap_or_else(PoisonError::into_inner);
        while !*open {
            open = self
                .doors
                .1
                .wait(open)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Chooses how datagrams travel; each worker follows at its next turn.
    pub(super) fn set_fast_path(&self, fast_path: FastPath) {
        self.fast_path.store(fast_path as u8, Ordering::Relaxed);
    }

    /// How datagrams are to travel.
    pub(super) fn fast_path(&self) -> FastPath {
        let number = self.fast_path.load(Ordering::Relaxed);
        let same = |it: &FastPath| *it as u8 == number;
        FastPath::ALL.into_iter().find(same).unwrap_or_default()
    }

    /// Chooses how often workers look for datagrams while they keep coming.
    pub(super) fn set_coalesce(&self, interval: Duration) {
        let nanos = u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX);
        self.coalesce.store(nanos, Ordering::Relaxed);
    }

    /// How often workers are to look for datagrams while they keep coming.
    pub(super) fn coalesce(&self) -> Duration {
        Duration::from_nanos(self.coalesce.load(Ordering::Relaxed))
    }

    /// When the relay wants to be told the time.
    pub(super) fn deadline(&self) -> Timestamp {
        Timestamp::from_nanos(self.deadline.load(Ordering::Relaxed))
    }

    pub(super) fn has_allocation(&self, now: Timestamp, tuple: &FiveTuple) -> bool {
        self.with_relay(Purpose::Check, now, |relay, _| relay.has_allocation(tuple))
    }

    pub(super) fn report_usage(&self, allocation: AllocationId, usage: Usage) {
        (self.report)(Report::Usage(allocation, usage));
    }

    /// How many forwarding entries there are, as one worker sees it.
    pub(super) fn note_forwards(&self, count: usize) {
        self.forwards.store(count, Ordering::Relaxed);
        self.metrics
            .forwards
            .set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    pub(super) fn mailbox(&self, hand: u16) -> Option<&Mailbox> {
        self.mailboxes.get(usize::from(hand))
    }

    /// Fills `table`, which must be empty, with every entry there is, and starts `hand`'s mailbox
    /// over.
    pub(super) fn rebuild(&self, hand: u16, table: &mut ForwardTable) {
        let state = self.lock(Purpose::Rebuild);
        if let Some(mailbox) = self.mailbox(hand) {
            mailbox.begin_rebuild();
        }
        state
            .relay
            .forwards(|key, forward| table.insert(key, forward));
        self.metrics.table_rebuilds.inc();
    }

    pub(super) fn load(&self) -> Load {
        let state = self.lock(Purpose::Load);
        Load {
            allocations: state.relay.allocation_count(),
            calls: state.relay.call_count(),
            forwards: self.forwards.load(Ordering::Relaxed),
        }
    }

    pub(super) fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        self.open_doors();
        for mailbox in &self.mailboxes {
            mailbox.force_awake();
        }
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }
}

/// The answers to strangers that the limits allow, divided by `workers`; the rest as it is.
pub(super) fn share(limits: &Limits, workers: usize) -> Limits {
    let workers = u32::try_from(workers).unwrap_or(u32::MAX).max(1);
    Limits {
        answers_per_second: limits.answers_per_second.div_ceil(workers),
        answers_burst: limits.answers_burst.div_ceil(workers),
        ..limits.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use mio::{Poll, Waker};
    use vizard_proto::auth::ticket::{CallId, TicketKey, TicketKeys};
    use vizard_proto::config::{Config, Masking};
    use vizard_proto::time::WallClock;

    use super::*;
    use crate::dataplane::ConnectionLimits;
    use crate::dataplane::worker::WAKER;

    fn brain() -> (Poll, Brain) {
        let poll = Poll::new().expect("a poll");
        let waker = Waker::new(poll.registry(), WAKER).expect("a waker");
        let key = TicketKey {
            id: 1,
            secret: [1; 32],
        };
        let config = Config {
            realm: "vizard".into(),
            clock: WallClock::new(1_790_000_000),
            tickets: Arc::new(TicketKeys::new(&key, &[])),
            nonce_secret: [1; 32],
            masking: Masking::default(),
            limits: Limits::default(),
        };
        let brain = Brain::new(
            Relay::new(config, [2; 32]),
            Rules {
                limits: Limits::default(),
                clock: WallClock::new(1_790_000_000),
            },
            Instant::now(),
            Box::new([Mailbox::new(waker, 4, false)]),
            Quota::new(ConnectionLimits::default()),
            Box::new(|_| {}),
            Arc::new(Metrics::new()),
        );
        (poll, brain)
    }

    #[test]
    fn a_panic_in_the_relay_costs_a_rebuild() {
        let (_poll, brain) = brain();
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            brain.with_relay(Purpose::Packet, Timestamp::ZERO, |_, _| {
                panic!("on purpose")
            });
        }));
        assert!(panicked.is_err());
        let call = CallId([1; 16]);
        let open = Command::OpenCall {
            call,
            until: 1_790_003_600,
            usernames: Vec::new(),
        };
        assert_eq!(brain.command(open), Ok(()));
        assert!(brain.mailbox(0).expect("there is one").wants_rebuild());
        assert_eq!(brain.load().calls, 1);
    }

    #[test]
    fn the_relays_time_does_not_run_backwards() {
        let (_poll, brain) = brain();
        let told = |at| brain.with_relay(Purpose::Packet, Timestamp::from_secs(at), |_, now| now);
        assert_eq!(told(5), Timestamp::from_secs(5));
        assert_eq!(told(3), Timestamp::from_secs(5));
        assert_eq!(told(6), Timestamp::from_secs(6));
    }

    #[test]
    fn rules_are_handed_out_once() {
        let (_poll, brain) = brain();
        let mut seen = 0;
        assert_eq!(brain.new_rules(&mut seen), None);
        let limits = Limits {
            calls: 7,
            ..Limits::default()
        };
        let command = Command::SetPolicy {
            masking: Masking::default(),
            limits: limits.clone(),
        };
        assert_eq!(brain.command(command), Ok(()));
        let rules = brain.new_rules(&mut seen).expect("new ones");
        assert_eq!(rules.limits, limits);
        assert_eq!(brain.new_rules(&mut seen), None);
        brain.check_clock();
        let rules = brain.new_rules(&mut seen).expect("it is not 2026-09-21");
        assert_ne!(rules.clock, WallClock::new(1_790_000_000));
        brain.check_clock();
        assert_eq!(brain.new_rules(&mut seen), None);
    }

    #[test]
    fn workers_share_what_strangers_get() {
        let limits = Limits {
            answers_per_second: 50,
            answers_burst: 500,
            ..Limits::default()
        };
        let part = share(&limits, 4);
        assert_eq!((part.answers_per_second, part.answers_burst), (13, 125));
        assert_eq!(share(&limits, 1), limits);
    }
}
