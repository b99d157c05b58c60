//! What all workers share: the relay behind its one short lock, and the drain of what it leaves to
//! be done.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vizard_proto::address::Family;
use vizard_proto::contract::{Command, CommandError, Event, Output};
use vizard_proto::id::AllocationId;
use vizard_proto::time::Timestamp;
use vizard_proto::{Relay, Worker};

use super::beats::Beats;
use super::clock::Clock;
use super::counters::{Locks, Purpose, end_label};
use super::lifecycle::Lifecycle;
use super::mailbox::Mailbox;
use super::quota::Quota;
use super::report::{Load, Reporter};
use super::rules::Rules;
use crate::telemetry::Metrics;
use crate::telemetry::metrics::Gauge;

/// See the module's description. The rest are parts of their own, which workers reach by it.
pub(super) struct Shared {
    state: Mutex<State>,
    mailboxes: Box<[Mailbox]>,
    pub(super) reporter: Arc<dyn Reporter>,
    /// [`Relay::poll_timeout`] in nanoseconds, as of the last time that the lock was held.
    deadline: AtomicU64,
    /// [`Relay::call_count`], as of then.
    calls: AtomicUsize,
    locks: Locks,
    pub(super) beats: Beats,
    pub(super) clock: Clock,
    pub(super) rules: Rules,
    pub(super) lifecycle: Lifecycle,
    /// TCP connections of all workers together.
    pub(super) quota: Quota,
    pub(super) metrics: Arc<Metrics>,
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

impl Shared {
    pub(super) fn new(
        relay: Relay,
        clock: Clock,
        rules: Rules,
        mailboxes: Box<[Mailbox]>,
        quota: Quota,
        reporter: Arc<dyn Reporter>,
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
            beats: Beats::new(mailboxes.len()),
            mailboxes,
            reporter,
            deadline: AtomicU64::new(Timestamp::NEVER.as_nanos()),
            calls: AtomicUsize::new(0),
            locks: Locks::new(&metrics),
            clock,
            rules,
            lifecycle: Lifecycle::default(),
            quota,
            metrics,
        }
    }

    /// Does something with the relay and hands out what it leaves to be done: changes into the
    /// workers' mailboxes and events to the reporter, both in the relay's order.
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
                Output::Change(worker, change) => {
                    if let Some(mailbox) = self.mailbox(worker) {
                        mailbox.post(change);
                    }
                }
                Output::Disconnect(client) => {
                    if let Some(mailbox) = self.mailbox(client.worker) {
                        mailbox.cut_off(client.tuple);
                    }
                }
                Output::Event(event) => {
                    state.count(event, &self.metrics);
                    self.reporter.event(event);
                }
            }
        }
        let deadline = state.relay.poll_timeout().unwrap_or(Timestamp::NEVER);
        self.deadline.store(deadline.as_nanos(), Ordering::Relaxed);
        self.calls
            .store(state.relay.call_count(), Ordering::Relaxed);
        result
    }

    fn lock(&self, purpose: Purpose) -> MutexGuard<'_, State> {
        self.locks.taken(purpose);
        self.state
            .lock()
            .unwrap_or_else(|poisoned| self.recover(poisoned))
    }

    /// A thread panicked inside the relay. What it had not handed out yet may be lost, so every
    /// worker starts over with the relay's own state.
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

    /// Tells the relay something, and the workers as far as it concerns them.
    pub(super) fn command(&self, command: Command) -> Result<(), CommandError> {
        let told = command.clone();
        self.with_relay(Purpose::Command, self.clock.now(), |relay, now| {
            relay.handle_command(now, command)
        })?;
        self.rules.follow(&told);
        Ok(())
    }

    /// Tells the relay if the machine's wall clock was set: tickets end by it.
    pub(super) fn check_clock(&self) {
        let taken_for = self.rules.config().clock;
        let Some(clock) = self.clock.was_set(taken_for) else {
            return;
        };
        tracing::warn!("the wall clock was set: tickets follow it");
        if self.command(Command::SetClock(clock)).is_err() {
            tracing::error!("the relay did not take over the wall clock");
        }
    }

    /// When the relay wants to be told the time.
    pub(super) fn deadline(&self) -> Timestamp {
        Timestamp::from_nanos(self.deadline.load(Ordering::Relaxed))
    }

    /// How many calls there are.
    pub(super) fn open_calls(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }

    /// A worker has `now` entries after it had `before`.
    pub(super) fn note_forwards(&self, before: usize, now: usize) {
        let count = |entries| i64::try_from(entries).unwrap_or(i64::MAX);
        self.metrics.forwards.add(count(now) - count(before));
    }

    pub(super) fn mailbox(&self, worker: u16) -> Option<&Mailbox> {
        self.mailboxes.get(usize::from(worker))
    }

    /// Has a worker start over with all that the relay knows, and its mailbox with it.
    pub(super) fn rebuild(&self, index: u16, worker: &mut Worker) {
        let state = self.lock(Purpose::Rebuild);
        if let Some(mailbox) = self.mailbox(index) {
            mailbox.begin_rebuild();
        }
        worker.clear();
        state.relay.changes(index, |change| worker.apply(change));
        self.metrics.table_rebuilds.inc();
    }

    pub(super) fn load(&self) -> Load {
        let state = self.lock(Purpose::Load);
        Load {
            allocations: state.relay.allocation_count(),
            calls: state.relay.call_count(),
            forwards: usize::try_from(self.metrics.forwards.get()).unwrap_or_default(),
        }
    }

    pub(super) fn stop(&self) {
        self.lifecycle.stop();
        for mailbox in &self.mailboxes {
            mailbox.force_awake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::time::Duration;

    use mio::{Poll, Token, Waker};
    use vizard_proto::auth::ticket::{CallId, TicketKey, TicketKeys};
    use vizard_proto::config::{Config, Limits, Masking};
    use vizard_proto::time::WallClock;

    use super::*;
    use crate::dataplane::{ConnectionLimits, FastPath, UsageBatch};

    struct Deaf;

    impl Reporter for Deaf {
        fn event(&self, _: Event) {}

        fn usage(&self, _: &mut dyn FnMut() -> UsageBatch) -> bool {
            false
        }
    }

    fn shared() -> (Poll, Shared) {
        let poll = Poll::new().expect("a poll");
        let waker = Waker::new(poll.registry(), Token(0)).expect("a waker");
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
        let (clock, _) = Clock::start();
        let shared = Shared::new(
            Relay::new(config.clone(), [2; 32]),
            clock,
            Rules::new(config, FastPath::default(), Duration::ZERO),
            Box::new([Mailbox::new(waker, 4, false)]),
            Quota::new(ConnectionLimits::default()),
            Arc::new(Deaf),
            Arc::new(Metrics::new()),
        );
        (poll, shared)
    }

    #[test]
    fn a_panic_in_the_relay_costs_a_rebuild() {
        let (_poll, shared) = shared();
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            shared.with_relay(Purpose::Packet, Timestamp::ZERO, |_, _| {
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
        assert_eq!(shared.command(open), Ok(()));
        assert!(shared.mailbox(0).expect("there is one").wants_rebuild());
        assert_eq!(shared.load().calls, 1);
    }

    #[test]
    fn the_relays_time_does_not_run_backwards() {
        let (_poll, shared) = shared();
        let told = |at| shared.with_relay(Purpose::Packet, Timestamp::from_secs(at), |_, now| now);
        assert_eq!(told(5), Timestamp::from_secs(5));
        assert_eq!(told(3), Timestamp::from_secs(5));
        assert_eq!(told(6), Timestamp::from_secs(6));
    }

    #[test]
    fn rules_are_handed_out_once() {
        let (_poll, shared) = shared();
        let mut seen = 0;
        let news = |seen: &mut u64| shared.rules.news(seen);
        assert!(news(&mut seen).is_none());
        let limits = Limits {
            calls: 7,
            ..Limits::default()
        };
        let command = Command::SetPolicy {
            masking: Masking::default(),
            limits: limits.clone(),
        };
        assert_eq!(shared.command(command), Ok(()));
        assert_eq!(news(&mut seen).expect("new ones").limits, limits);
        assert!(news(&mut seen).is_none());
        shared.check_clock();
        let config = news(&mut seen).expect("it is not 2026-09-21");
        assert_ne!(config.clock, WallClock::new(1_790_000_000));
        shared.check_clock();
        assert!(news(&mut seen).is_none());
    }
}
