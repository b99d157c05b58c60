//! One worker: a thread with its own sockets, connections, gate and forwarding entries.
//!
//! Every round of its loop waits for events, reads at most one batch from each socket and
//! connection, and sends what comes of it. A packet with an entry takes no lock and allocates
//! nothing on its way.

use std::io;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use mio::{Events, Poll, Token};
use nix::sys::prctl::set_timerslack;
use vizard_proto::address::{Client, FiveTuple, Transport};
use vizard_proto::framing::{Frame, next_frame};
use vizard_proto::time::Timestamp;

use super::batch::{BATCH, SLOT};
use super::carrier::Carrier;
use super::coalesce::Coalescer;
use super::counters::{Closed, Loss, Purpose, Round, Trouble};
use super::egress::Egress;
use super::shared::Shared;
use super::stream::{Connections, Listener};
use super::udp::{self, Arrival, FastPath, Inbox};

/// The token of the waker; sockets, listeners and connections follow in this order.
pub(super) const WAKER: Token = Token(0);
const FIRST_SOCKET: usize = 1;

/// How often usage is reported and connections are checked.
const TICK: Duration = Duration::from_secs(1);
/// The most that the leading worker sleeps: it tells the relay the time, and another worker may have
/// set a timer meanwhile.
const TIMER_GRAIN: Duration = Duration::from_millis(250);

/// What a worker listens on, and how it waits.
pub(super) struct WorkerSockets {
    pub(super) worker: u16,
    pub(super) poll: Poll,
    pub(super) sockets: Vec<udp::Socket>,
    pub(super) listeners: Vec<Listener>,
}

impl WorkerSockets {
    /// Registers everything with the poll.
    pub(super) fn register(&mut self) -> io::Result<()> {
        let registry = self.poll.registry();
        for (index, socket) in self.sockets.iter_mut().enumerate() {
            socket.register(registry, Token(FIRST_SOCKET + index))?;
        }
        let first_listener = FIRST_SOCKET + self.sockets.len();
        for (index, listener) in self.listeners.iter_mut().enumerate() {
            listener.register(registry, Token(first_listener + index))?;
        }
        Ok(())
    }
}

/// Where the packets of a batch lie, and whose they are.
type Batch = [Option<(Range<usize>, Client)>; BATCH];

pub(super) struct Worker {
    index: u16,
    shared: Arc<Shared>,
    poll: Poll,
    events: Events,
    listeners: Vec<Listener>,
    /// Which sockets may have something.
    readable: Vec<bool>,
    carrier: Carrier,
    egress: Egress,
    /// Where packets are received and changed: datagrams, and at the start what is read from a
    /// connection.
    inbox: Inbox,
    /// How many times in a row receiving went wrong.
    troubles: usize,
    /// What sockets, inbox and egress follow.
    fast_path: Option<FastPath>,
    coalescer: Coalescer,
    /// How many datagrams were received in this round.
    received: usize,
    /// The connection whose messages are being dealt with.
    serving: Option<usize>,
    next_tick: Timestamp,
}

impl Worker {
    pub(super) fn new(
        sockets: WorkerSockets,
        registry: mio::Registry,
        shared: Arc<Shared>,
        core: vizard_proto::Worker,
    ) -> Self {
        let WorkerSockets {
            worker: index,
            poll,
            sockets,
            listeners,
        } = sockets;
        let first_connection = FIRST_SOCKET + sockets.len() + listeners.len();
        let patience = shared.quota.patience();
        let connections = Connections::new(index, registry, first_connection, patience);
        Self {
            index,
            poll,
            events: Events::with_capacity(1024),
            listeners,
            readable: vec![true; sockets.len()],
            carrier: Carrier::new(index, Arc::clone(&shared), core),
            egress: Egress::new(index, Arc::clone(&shared), sockets, connections),
            inbox: Inbox::new(BATCH, SLOT),
            troubles: 0,
            fast_path: None,
            coalescer: Coalescer::new(shared.rules.coalesce()),
            received: 0,
            serving: None,
            next_tick: shared.clock.now() + TICK,
            shared,
        }
    }

    /// Works until told to stop. A panic is a bug of ours and ends one round, not the calls of
    /// everybody else.
    pub(super) fn run(mut self) {
        // Sleeps are as long as they are to be, not up to 50 us longer. If that is refused, they are.
        let _ = set_timerslack(1);
        self.shared.lifecycle.wait_for_start();
        while !self.shared.lifecycle.is_stopping() {
            if catch_unwind(AssertUnwindSafe(|| self.run_once())).is_err() {
                self.recover();
            }
        }
        self.carrier.report_all_usage();
        self.egress.flush_counters();
    }

    /// Nothing half done may go out: not what waits to be sent, not by entries that may be wrong,
    /// not from a connection that has lost its rhythm.
    fn recover(&mut self) {
        self.shared.metrics.worker_panics.inc();
        self.egress.discard();
        if let Some(place) = self.serving.take() {
            self.egress.close(place, Closed::Failed);
        }
        if let Some(mailbox) = self.shared.mailbox(self.index) {
            mailbox.demand_rebuild();
        }
    }

    fn run_once(&mut self) {
        self.wait();
        if let Some(mailbox) = self.shared.mailbox(self.index) {
            mailbox.awake();
            for tuple in mailbox.take_cut_off() {
                self.egress.cut_off(&tuple);
            }
        }
        let looked = self.shared.clock.now();
        self.shared.beats.beat(self.index, looked);
        self.follow(self.shared.rules.fast_path());
        self.carrier.catch_up();
        self.egress.take_handovers(self.inbox.buffers());
        for index in 0..self.readable.len() {
            if self.readable[index] {
                self.receive_batch(index);
            }
        }
        self.serve_streams();
        self.coalescer
            .note(looked, std::mem::take(&mut self.received));
        self.keep_time();
        self.egress.flush_counters();
    }

    /// Has datagrams travel as they are to from here on.
    fn follow(&mut self, fast_path: FastPath) {
        if self.fast_path.replace(fast_path) != Some(fast_path) {
            self.inbox.follow(fast_path);
            self.egress.follow(fast_path);
        }
    }

    /// Sleeps until something happens, and notes what.
    fn wait(&mut self) {
        let patience = self.patience();
        let began = if patience.is_zero() {
            Round::AtOnce
        } else {
            let nap = self.coalescer.nap(self.shared.clock.now());
            if nap.is_zero() {
                Round::Event
            } else {
                std::thread::sleep(nap);
                Round::Sleep
            }
        };
        self.egress.round(began);
        if let Err(error) = self.poll.poll(&mut self.events, Some(patience)) {
            if error.kind() != io::ErrorKind::Interrupted {
                self.egress.trouble(Trouble::Poll);
                std::thread::sleep(Duration::from_millis(10));
            }
            return;
        }
        let first_listener = FIRST_SOCKET + self.readable.len();
        let first_connection = first_listener + self.listeners.len();
        for event in &self.events {
            let Token(token) = event.token();
            if token >= first_connection {
                self.egress.notify(token, event);
            } else if token >= first_listener {
                self.listeners[token - first_listener].notify();
            } else if token >= FIRST_SOCKET {
                self.readable[token - FIRST_SOCKET] = true;
            }
        }
    }

    /// How long to sleep if nothing happens.
    fn patience(&self) -> Duration {
        let is_busy = self.readable.contains(&true) || self.egress.ready_count() > 0;
        if is_busy || self.carrier.is_draining() {
            return Duration::ZERO;
        }
        let now = self.shared.clock.now();
        let listeners = self.listeners.iter().map(Listener::wakes_at);
        let mut until = listeners.fold(self.next_tick, Timestamp::min);
        if self.shared.beats.leads(self.index, now) {
            until = until.min(self.shared.deadline()).min(now + TIMER_GRAIN);
        }
        until.since(now)
    }

    /// Receives from one socket and deals with what there was.
    fn receive_batch(&mut self, index: usize) {
        let reception = self.egress.receive(index, &mut self.inbox);
        self.readable[index] = reception.is_more;
        if reception.troubles > 0 {
            self.troubles += 1;
            if self.troubles == BATCH {
                self.readable[index] = false; // Until the next tick: this is no passing error.
            }
        } else {
            self.troubles = 0;
        }
        let now = self.shared.clock.now();
        self.carrier.catch_up();
        let mut batch = [const { None }; BATCH];
        while let count @ 1.. = self.take_out(&mut batch) {
            self.received += count;
            self.handle_batch(now, &mut batch);
        }
        self.egress.flush(self.inbox.buffers());
    }

    /// Fills `batch` with where packets lie and whose they are, and says how many there are.
    fn take_out(&mut self, batch: &mut Batch) -> usize {
        let mut count = 0;
        while let Some(slot) = batch.get_mut(count) {
            match self.inbox.next() {
                Some(Arrival::Packet {
                    place,
                    remote,
                    local,
                }) => {
                    let transport = Transport::Udp;
                    let tuple = FiveTuple {
                        transport,
                        local,
                        remote,
                    };
                    let worker = self.index;
                    *slot = Some((place, Client { tuple, worker }));
                    count += 1;
                }
                Some(Arrival::Oversized) => self.egress.lost(Loss::Oversized),
                Some(Arrival::NoDestination) => self.egress.lost(Loss::NoDestination),
                None => break,
            }
        }
        count
    }

    fn handle_batch(&mut self, now: Timestamp, batch: &mut Batch) {
        let arena = self.inbox.buffers();
        if batch[1].is_some() {
            let packets = batch.iter().flatten();
            self.carrier
                .look_ahead(packets.map(|(range, from)| (&from.tuple, &arena[range.clone()])));
        }
        for (range, from) in batch.iter_mut().filter_map(Option::take) {
            self.carrier
                .handle(now, &from, arena, range, &mut self.egress);
        }
    }

    fn serve_streams(&mut self) {
        let now = self.shared.clock.now();
        let carrier = &self.carrier;
        for listener in &mut self.listeners {
            self.egress
                .accept(listener, now, |tuple| carrier.knows(tuple));
        }
        for _ in 0..self.egress.ready_count() {
            if let Some((place, from, len)) = self.egress.read_next(self.inbox.buffers()) {
                self.read_messages(place, &from, len);
            }
        }
        let carrier = &self.carrier;
        self.egress.reap(now, |tuple| carrier.knows(tuple));
    }

    /// Deals with the messages in the first `len` bytes of the arena, which came from a connection.
    fn read_messages(&mut self, place: usize, from: &Client, len: usize) {
        let now = self.shared.clock.now();
        self.serving = Some(place);
        self.carrier.catch_up();
        let arena = self.inbox.buffers();
        let mut start = 0;
        let mut is_turn = self.egress.is_turn(place);
        while self.egress.is_open(place) {
            match next_frame(&arena[start..len], SLOT) {
                Frame::Complete { message, total } => {
                    let range = start..start + message;
                    self.carrier
                        .handle(now, from, arena, range, &mut self.egress);
                    start += total;
                    is_turn = true;
                }
                Frame::Incomplete { .. } => break,
                Frame::TooLong { total } if is_turn => {
                    let there = total.min(len - start);
                    self.egress.pass_over(place, total, there);
                    start += there;
                }
                Frame::TooLong { .. } | Frame::Invalid => {
                    self.egress.close(place, Closed::NotTurn);
                }
            }
        }
        self.egress.flush(arena);
        self.egress.keep(place, is_turn, &arena[start..len]);
        self.serving = None;
    }

    fn keep_time(&mut self) {
        let now = self.shared.clock.now();
        // One worker is enough to tell the relay the time.
        let leads = self.shared.beats.leads(self.index, now);
        if leads && now >= self.shared.deadline() {
            self.shared
                .with_relay(Purpose::Timeout, now, vizard_proto::Relay::handle_timeout);
        }
        if now >= self.next_tick {
            self.next_tick = now + TICK;
            self.readable.fill(true);
            self.coalescer.set_interval(self.shared.rules.coalesce());
            self.carrier.tick();
            if leads {
                self.shared.check_clock();
            }
            let carrier = &self.carrier;
            self.egress.check(now, |tuple| carrier.knows(tuple));
        }
        self.carrier.report_usage();
    }
}
