//! One thread of the generator: its pairs, their sockets, and the loop that sends and receives.

mod load;
mod setup;

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use vizard_proto::address::Transport;

use super::Fault;
use super::client::{Client, Nanos, Request, State, Trouble};
use super::frames::{self, Heard, Sender};
use super::media::Media;
use super::plan::Plan;
use super::sockets::{Streams, Wire, Wiring, wait_for};

/// Requests under way at the same time, in setting up and in renewing.
const REQUESTS: usize = 128;
/// Half of the time between two renewals of the same kind, below a permission's five minutes.
const RENEW: Nanos = 120_000_000_000;
/// How long an unpinned thread sleeps at most.
const NAP: Nanos = 1_000_000;

/// The time of a run.
#[derive(Clone, Copy)]
pub(super) struct Clock(Instant);

impl Clock {
    pub(super) fn new() -> Self {
        Self(Instant::now())
    }

    pub(super) fn now(self) -> Nanos {
        u64::try_from(self.0.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// What a thread shares with whoever shows its progress.
#[derive(Default)]
pub(super) struct Progress {
    pub(super) ready: AtomicU64,
    pub(super) sent: AtomicU64,
    pub(super) received: AtomicU64,
    /// Whoever waits has had enough: a step ends early, and a round of requests too.
    pub(super) stop: Arc<AtomicBool>,
}

/// How a round of requests went.
#[derive(Default)]
pub(super) struct Round {
    pub(super) succeeded: u64,
    pub(super) troubles: HashMap<Trouble, u64>,
    pub(super) elapsed: Duration,
}

/// See the module's description.
pub(super) struct Engine {
    plan: Arc<Plan>,
    clock: Clock,
    pairs: Range<usize>,
    pinned: bool,
    clients: Vec<Client>,
    wire: Wire,
    peers: Option<Wire>,
    /// What each client asks for to reach its pair's other end; empty until that is known.
    reach: Vec<Request>,
    media: Media,
    renewal: Renewal,
    progress: Arc<Progress>,
    drops: u64,
}

/// Keeping allocations and permissions alive.
#[derive(Default)]
struct Renewal {
    due: Nanos,
    /// The next client of this round.
    next: usize,
    rounds: u64,
    active: Vec<usize>,
    failed: u64,
}

impl Engine {
    /// Opens the sockets of `pairs`.
    pub(super) fn new(
        plan: Arc<Plan>,
        clock: Clock,
        run: u32,
        pairs: Range<usize>,
        pinned: bool,
        progress: Arc<Progress>,
    ) -> Result<Self, Fault> {
        let ends = if plan.mode.has_peer() { 1 } else { 2 };
        let first = u32::try_from(2 * pairs.start).unwrap_or(u32::MAX);
        let wiring = Wiring {
            sources: plan.sources,
            first,
            largest: 2048,
            trains: plan.uses_trains(),
        };
        let count = ends * pairs.len();
        let wire = match plan.transport {
            Transport::Tcp => Wire::Streams(Streams::open(&wiring, count, plan.server)?),
            Transport::Udp => Wire::udp(&wiring, count, plan.server)?,
        };
        let peers = match ends {
            1 => {
                let first = first + u32::try_from(count).unwrap_or(u32::MAX);
                let wiring = Wiring { first, ..wiring };
                Some(Wire::udp(&wiring, count, plan.server)?)
            }
            _ => None,
        };
        let clients = (0..count)
            .map(|index| new_client(&plan, run, pairs.start + index / ends, index % ends))
            .collect();
        let media = Media::new(run, plan.size);
        Ok(Self {
            plan,
            clock,
            pairs,
            pinned,
            clients,
            wire,
            peers,
            reach: Vec::new(),
            media,
            renewal: Renewal::default(),
            progress,
            drops: 0,
        })
    }

    /// Takes in what has arrived; whether there was anything.
    fn receive(&mut self) -> bool {
        let Self {
            clients,
            wire,
            peers,
            media,
            clock,
            ..
        } = self;
        let clock = *clock;
        let each_has_two = peers.is_none();
        let mut any = wire.receive(&mut |index, known, packet| {
            let now = clock.now();
            let end = if each_has_two { index } else { 2 * index };
            match frames::read(packet) {
                Heard::Media(sender, payload) if media.has(end) => {
                    media.arrive(end, sender, known, &packet[payload], now);
                }
                Heard::Message(message) if known => {
                    clients[index].handle(now, &message);
                }
                _ => media.garbage(),
            }
        });
        if let Some(peers) = peers {
            any |= peers.receive(&mut |index, known, packet| {
                let end = 2 * index + 1;
                if media.has(end) {
                    media.arrive(end, Sender::Plain, known, packet, clock.now());
                }
            });
        }
        any
    }

    /// Keeps allocations and permissions alive; to be called often.
    pub(super) fn renew(&mut self, now: Nanos) {
        if now < self.renewal.due {
            return;
        }
        let mut active = std::mem::take(&mut self.renewal.active);
        if self.renewal.next < self.clients.len() && active.len() < REQUESTS / 8 {
            let next = self.renewal.next;
            let request = if self.renewal.rounds.is_multiple_of(2) {
                self.reach[next]
            } else {
                Request::Refresh(600)
            };
            self.clients[next].ask(request, now);
            active.push(next);
            self.renewal.next += 1;
        }
        self.transmit(&active, now);
        let (clients, failed) = (&self.clients, &mut self.renewal.failed);
        active.retain(|index| {
            let state = clients[*index].state();
            *failed += u64::from(matches!(state, State::Failed(_)));
            state == State::Busy
        });
        if self.renewal.next == self.clients.len() && active.is_empty() {
            self.renewal.next = 0;
            self.renewal.rounds += 1;
            self.renewal.due = now + RENEW;
        }
        self.renewal.active = active;
    }

    /// Between steps: takes in what comes, and renews.
    pub(super) fn rest(&mut self) {
        self.receive();
        if !self.reach.is_empty() {
            self.renew(self.clock.now());
        }
    }

    fn wait(&self, most: Nanos) {
        let most = Duration::from_nanos(most);
        match &self.peers {
            None => wait_for(&[self.wire.descriptor()], most),
            Some(peers) => wait_for(&[self.wire.descriptor(), peers.descriptor()], most),
        }
    }

    fn publish(&self) {
        let counts = &self.media.tally.counts;
        self.progress.sent.store(counts.sent, Ordering::Relaxed);
        let received = &self.progress.received;
        received.store(counts.received, Ordering::Relaxed);
    }

    /// The smallest receive buffer of our sockets.
    pub(super) fn receive_buffer(&self) -> Option<usize> {
        self.wire.receive_buffer()
    }
}

fn new_client(plan: &Plan, run: u32, pair: usize, end: usize) -> Client {
    let mut seed = [0; 8];
    let number = u32::try_from(2 * pair + end).unwrap_or(u32::MAX);
    seed[..4].copy_from_slice(&run.to_be_bytes());
    seed[4..].copy_from_slice(&number.to_be_bytes());
    let stream = plan.transport == Transport::Tcp;
    Client::new(
        plan.logins.of(pair, end),
        seed,
        stream,
        plan.server.is_ipv6(),
    )
}

fn nanos(duration: Duration) -> Nanos {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
