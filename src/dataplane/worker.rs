//! One worker: a thread with its own sockets, connections, gate and forwarding table.
//!
//! Every turn of its loop waits for events, reads at most one batch from each socket and
//! connection, and sends what comes of it. A packet with an entry in the table takes no lock and
//! allocates nothing on its way.

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

use super::brain::Brain;
use super::coalesce::Coalescer;
use super::counters::{Closed, Loss, Purpose, Round, Trouble};
use super::desk::Desk;
use super::exits::Exits;
use super::stream::{Connections, Listener};
use super::udp::{self, Arrival, FastPath, Inbox};

/// How many datagrams are received before they are dealt with.
pub(super) const BATCH: usize = 32;
/// The largest packet that is taken in, in bytes: a payload of 4 KiB, which the core passes on, and
/// the headers and attributes around it.
pub(super) const SLOT: usize = 4096 + 256;

/// The token of the waker; sockets, listeners and connections follow in this order.
pub(super) const WAKER: Token = Token(0);
const FIRST_SOCKET: usize = 1;

/// How often usage is reported and connections are checked.
const TICK: Duration = Duration::from_secs(1);
/// The most that the first worker sleeps: it tells the relay the time, and another worker may have
/// set a timer meanwhile.
const TIMER_GRAIN: Duration = Duration::from_millis(250);

/// What a worker starts with.
pub(super) struct Seat {
    pub(super) hand: u16,
    pub(super) poll: Poll,
    pub(super) sockets: Vec<udp::Socket>,
    pub(super) listeners: Vec<Listener>,
}

impl Seat {
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
    hand: u16,
    brain: Arc<Brain>,
    poll: Poll,
    events: Events,
    listeners: Vec<Listener>,
    /// Which sockets may have something.
    readable: Vec<bool>,
    desk: Desk,
    exits: Exits,
    /// Where packets are received and changed: datagrams, and at the start what is read from a
    /// connection.
    inbox: Inbox,
    /// How many times in a row receiving went wrong.
    troubles: usize,
    /// What sockets, inbox and exits follow.
    fast_path: Option<FastPath>,
    coalescer: Coalescer,
    /// How many datagrams were received in this turn.
    received: usize,
    /// The connection whose messages are being dealt with.
    serving: Option<usize>,
    next_tick: Timestamp,
}

impl Worker {
    pub(super) fn new(seat: Seat, registry: mio::Registry, brain: Arc<Brain>, desk: Desk) -> Self {
        let Seat {
            hand,
            poll,
            sockets,
            listeners,
        } = seat;
        let first_connection = FIRST_SOCKET + sockets.len() + listeners.len();
        let connections =
            Connections::new(hand, registry, first_connection, brain.quota.patience());
        Self {
            hand,
            poll,
            events: Events::with_capacity(1024),
            listeners,
            readable: vec![true; sockets.len()],
            desk,
            exits: Exits::new(hand, Arc::clone(&brain), sockets, connections),
            inbox: Inbox::new(BATCH, SLOT),
            troubles: 0,
            fast_path: None,
            coalescer: Coalescer::new(brain.coalesce()),
            received: 0,
            serving: None,
            next_tick: brain.now() + TICK,
            brain,
        }
    }

    /// Works until told to stop. A panic is a bug of ours and ends one turn, not the calls of
    /// everybody else.
    pub(super) fn run(mut self) {
        // Sleeps are as long as they are to be, not up to 50 us longer. If that is refused, they are.
        let _ = set_timerslack(1);
        self.brain.wait_for_doors();
        while !self.brain.is_stopping() {
            if catch_unwind(AssertUnwindSafe(|| self.turn())).is_err() {
                self.recover();
            }
        }
        self.desk.report_usage();
        self.exits.counters.flush();
    }

    /// Nothing half done may go out: not what waits to be sent, not by a table that may be wrong,
    /// not from a connection that has lost its rhythm.
    fn recover(&mut self) {
        self.brain.metrics.worker_panics.inc();
        self.exits.discard();
        if let Some(place) = self.serving.take() {
            self.exits.connections.doom(place, Closed::Failed);
        }
        if let Some(mailbox) = self.brain.mailbox(self.hand) {
            mailbox.demand_rebuild();
        }
    }

    fn turn(&mut self) {
        self.wait();
        if let Some(mailbox) = self.brain.mailbox(self.hand) {
            mailbox.awake();
            for tuple in mailbox.take_cut_off() {
                self.exits.connections.cut_off(&tuple);
            }
        }
        let looked = self.brain.now();
        self.follow(self.brain.fast_path());
        self.desk.catch_up();
        self.exits.take_parcels();
        for index in 0..self.readable.len() {
            if self.readable[index] {
                self.receive_batch(index);
            }
        }
        self.serve_streams();
        self.coalescer
            .note(looked, std::mem::take(&mut self.received));
        self.keep_time();
        self.exits.counters.flush();
    }

    /// Has datagrams travel as they are to from here on.
    fn follow(&mut self, fast_path: FastPath) {
        if self.fast_path.replace(fast_path) != Some(fast_path) {
            self.inbox.follow(fast_path);
            self.exits.follow(fast_path);
        }
    }

    /// Sleeps until something happens, and notes what.
    fn wait(&mut self) {
        let patience = self.patience();
        let began = if patience.is_zero() {
            Round::AtOnce
        } else {
            let nap = self.coalescer.nap(self.brain.now());
            if nap.is_zero() {
                Round::Event
            } else {
                std::thread::sleep(nap);
                Round::Sleep
            }
        };
        self.exits.counters.round(began);
        if let Err(error) = self.poll.poll(&mut self.events, Some(patience)) {
            if error.kind() != io::ErrorKind::Interrupted {
                self.exits.counters.trouble(Trouble::Poll);
                std::thread::sleep(Duration::from_millis(10));
            }
            return;
        }
        let first_listener = FIRST_SOCKET + self.readable.len();
        let first_connection = first_listener + self.listeners.len();
        for event in &self.events {
            let Token(token) = event.token();
            if token >= first_connection {
                self.exits.connections.notify(token, event);
            } else if token >= first_listener {
                self.listeners[token - first_listener].notify();
            } else if token >= FIRST_SOCKET {
                self.readable[token - FIRST_SOCKET] = true;
            }
        }
    }

    /// How long to sleep if nothing happens.
    fn patience(&self) -> Duration {
        if self.readable.contains(&true) || self.exits.connections.ready_count() > 0 {
            return Duration::ZERO;
        }
        let now = self.brain.now();
        let listeners = self.listeners.iter().map(Listener::wakes_at);
        let mut until = listeners.fold(self.next_tick, Timestamp::min);
        if self.hand == 0 {
            until = until.min(self.brain.deadline()).min(now + TIMER_GRAIN);
        }
        until.since(now)
    }

    /// Receives from one socket and deals with what there was.
    fn receive_batch(&mut self, index: usize) {
        let reception = self.inbox.receive(&mut self.exits.sockets[index]);
        self.readable[index] = reception.is_more;
        self.exits
            .counters
            .lost_many(Loss::QueueFull, reception.overflows);
        if reception.troubles > 0 {
            self.exits.counters.trouble(Trouble::Receive);
            self.troubles += 1;
            if self.troubles == BATCH {
                self.readable[index] = false; // Until the next tick: this is no passing error.
            }
        } else {
            self.troubles = 0;
        }
        let now = self.brain.now();
        self.desk.catch_up();
        let mut batch = [const { None }; BATCH];
        while let count @ 1.. = self.take_out(&mut batch) {
            self.received += count;
            self.handle_batch(now, &mut batch);
        }
        self.exits.flush(self.inbox.buffers());
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
                    let hand = self.hand;
                    *slot = Some((place, Client { tuple, hand }));
                    count += 1;
                }
                Some(Arrival::Oversized) => self.exits.counters.lost(Loss::Oversized),
                Some(Arrival::NoDestination) => self.exits.counters.lost(Loss::NoDestination),
                None => break,
            }
        }
        count
    }

    fn handle_batch(&mut self, now: Timestamp, batch: &mut Batch) {
        let arena = self.inbox.buffers();
        if batch[1].is_some() {
            let packets = batch.iter().flatten();
            self.desk
                .look_ahead(packets.map(|(range, from)| (&from.tuple, &arena[range.clone()])));
        }
        for (range, from) in batch.iter_mut().filter_map(Option::take) {
            self.desk.handle(now, &from, arena, range, &mut self.exits);
        }
    }

    fn serve_streams(&mut self) {
        let now = self.brain.now();
        for listener in &mut self.listeners {
            let Exits {
                connections,
                counters,
                ..
            } = &mut self.exits;
            connections.accept(listener, now, &self.brain, counters);
        }
        for _ in 0..self.exits.connections.ready_count() {
            if let Some((place, from, len)) = self.exits.connections.read_next(self.inbox.buffers())
            {
                self.read_messages(place, &from, len);
            }
        }
        let Exits {
            connections,
            counters,
            ..
        } = &mut self.exits;
        connections.bury(now, &self.brain, counters);
    }

    /// Deals with the messages in the first `len` bytes of the arena, which came from a connection.
    fn read_messages(&mut self, place: usize, from: &Client, len: usize) {
        let now = self.brain.now();
        self.serving = Some(place);
        self.desk.catch_up();
        let arena = self.inbox.buffers();
        let mut start = 0;
        let mut is_turn = self.exits.connections.is_turn(place);
        while self.exits.connections.is_open(place) {
            match next_frame(&arena[start..len], SLOT) {
                Frame::Complete { message, total } => {
                    let range = start..start + message;
                    self.desk.handle(now, from, arena, range, &mut self.exits);
                    start += total;
                    is_turn = true;
                }
                Frame::Incomplete { .. } => break,
                Frame::TooLong { total } if is_turn => {
                    self.exits.counters.lost(Loss::Oversized);
                    let there = total.min(len - start);
                    self.exits.connections.pass_over(place, total - there);
                    start += there;
                }
                Frame::TooLong { .. } | Frame::Invalid => {
                    self.exits.connections.doom(place, Closed::NotTurn);
                }
            }
        }
        self.exits.flush(arena);
        self.exits
            .connections
            .keep(place, is_turn, &arena[start..len]);
        self.serving = None;
    }

    fn keep_time(&mut self) {
        let now = self.brain.now();
        // One worker is enough to tell the relay the time.
        if self.hand == 0 && now >= self.brain.deadline() {
            self.brain
                .with_relay(Purpose::Timeout, now, vizard_proto::Relay::handle_timeout);
        }
        if now >= self.next_tick {
            self.next_tick = now + TICK;
            self.readable.fill(true);
            self.coalescer.set_interval(self.brain.coalesce());
            self.desk.tick();
            self.exits.connections.check(now, &self.brain);
        }
    }
}
