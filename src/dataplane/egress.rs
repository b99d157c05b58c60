//! The ways out of a worker: its sockets, its connections, and the mailboxes of the workers that
//! have the other connections.

use std::sync::Arc;

use mio::event::Event;
use vizard_proto::address::{Client, FiveTuple, Transport};
use vizard_proto::time::Timestamp;
use vizard_proto::transmit::Transmit;
use vizard_proto::usage::DropReason;

use super::counters::{Closed, Counters, Loss, Path, Round, Trouble};
use super::shared::Shared;
use super::stream::{self, Connections, Listener};
use super::udp::{self, FastPath, Inbox, Outbound, Reception};

/// Zero bytes after a message; what came in as padding is never passed on.
const PADDING: [u8; 4] = [0; 4];

/// What a datagram counts as when it has been sent.
#[derive(Clone, Copy)]
enum Note {
    Forwarded(Path, usize),
    Answer,
}

/// See the module's description.
pub(super) struct Egress {
    counters: Counters,
    sockets: Vec<udp::Socket>,
    connections: Connections,
    /// Of each datagram we want to know which way it took and how long its payload is.
    datagrams: udp::Sender<Note>,
    messages: stream::Sender<(Path, usize)>,
    shared: Arc<Shared>,
    index: u16,
}

impl Egress {
    pub(super) fn new(
        index: u16,
        shared: Arc<Shared>,
        sockets: Vec<udp::Socket>,
        connections: Connections,
    ) -> Self {
        Self {
            counters: Counters::new(&shared.metrics),
            datagrams: udp::Sender::new(&sockets),
            messages: stream::Sender::new(),
            sockets,
            connections,
            shared,
            index,
        }
    }

    /// Passes on a part of the packet that starts at `start` in the arena.
    pub(super) fn transmit(&mut self, transmit: &Transmit, path: Path, arena: &[u8], start: usize) {
        let Transmit {
            to,
            prefix,
            body,
            padding,
        } = transmit;
        let body = start + body.start..start + body.end;
        let payload = body.len();
        if to.tuple.transport.is_stream() {
            if to.worker != self.index {
                let parts = [prefix.as_bytes(), &arena[body], &PADDING[..*padding]];
                return self.hand_over(to, path, payload, &parts);
            }
            let message = stream::Outbound {
                to: &to.tuple,
                prefix: Some(prefix),
                body,
                padding: *padding,
            };
            return self.send_message(&message, path, payload, arena);
        }
        let outbound = Outbound {
            from: to.tuple.local,
            to: to.tuple.remote,
            head: prefix.as_bytes(),
            body,
            padding: *padding,
        };
        self.send_datagram(&outbound, Note::Forwarded(path, payload), arena);
    }

    /// Answers a client of this worker.
    pub(super) fn answer(&mut self, to: &FiveTuple, answer: &[u8], arena: &[u8]) {
        self.counters.answered(answer);
        if to.transport.is_stream() {
            if let Err(loss) = self.connections.send_answer(to, answer) {
                self.counters.lost(loss);
            }
            return;
        }
        let outbound = Outbound {
            from: to.local,
            to: to.remote,
            head: answer,
            body: 0..0,
            padding: 0,
        };
        self.send_datagram(&outbound, Note::Answer, arena);
    }

    fn send_datagram(&mut self, outbound: &Outbound<'_>, note: Note, arena: &[u8]) {
        if self.datagrams.is_full() {
            self.flush(arena);
        }
        if let Err(loss) = self.datagrams.push(outbound, note) {
            self.counters.lost(loss);
        }
    }

    fn send_message(
        &mut self,
        message: &stream::Outbound<'_>,
        path: Path,
        payload: usize,
        arena: &[u8],
    ) {
        if self.messages.is_full() {
            self.flush_messages(arena);
        }
        let pushed = self
            .messages
            .push(&self.connections, message, (path, payload));
        if let Err(loss) = pushed {
            self.counters.lost(loss);
        }
    }

    fn flush_messages(&mut self, arena: &[u8]) {
        let counters = &mut self.counters;
        let report = |(path, payload), sent| match sent {
            Ok(()) => counters.forwarded(path, payload),
            Err(loss) => counters.lost(loss),
        };
        let calls = self.messages.flush(&mut self.connections, arena, report);
        self.counters.wrote(calls);
    }

    /// Sends what has been gathered.
    pub(super) fn flush(&mut self, arena: &[u8]) {
        self.flush_messages(arena);
        let counters = &mut self.counters;
        self.datagrams
            .flush(&self.sockets, arena, |note, sent| match (note, sent) {
                (Note::Forwarded(path, payload), Ok(())) => counters.forwarded(path, payload),
                (Note::Answer, Ok(())) => {}
                (_, Err(loss)) => counters.lost(loss),
            });
    }

    /// Forgets what has been gathered.
    pub(super) fn discard(&mut self) {
        self.messages.discard();
        self.datagrams.discard();
    }

    /// Chooses how datagrams travel. Nothing may be waiting.
    pub(super) fn follow(&mut self, fast_path: FastPath) {
        self.datagrams.follow(fast_path);
        for socket in &self.sockets {
            socket.follow(fast_path);
        }
    }

    /// Receives from the socket of this number.
    pub(super) fn receive(&mut self, socket: usize, inbox: &mut Inbox) -> Reception {
        let reception = inbox.receive(&mut self.sockets[socket]);
        self.counters
            .lost_many(Loss::QueueFull, reception.overflows);
        if reception.troubles > 0 {
            self.counters.trouble(Trouble::Receive);
        }
        reception
    }

    /// Sends what other workers have for connections of this one. It is gathered in `arena`.
    pub(super) fn take_handovers(&mut self, arena: &mut [u8]) {
        let shared = Arc::clone(&self.shared);
        let Some(mailbox) = shared.mailbox(self.index) else {
            return;
        };
        let mut end = 0;
        while let Some(handover) = mailbox.next_handover() {
            let bytes = handover.as_bytes();
            if arena.len() - end < bytes.len() {
                self.flush_messages(arena);
                end = 0;
            }
            let body = end..end + bytes.len();
            arena[body.clone()].copy_from_slice(bytes);
            end = body.end;
            let message = stream::Outbound {
                to: &handover.to,
                prefix: None,
                body,
                padding: 0,
            };
            self.send_message(&message, handover.path, handover.payload, arena);
            mailbox.give_back(handover);
        }
        self.flush_messages(arena);
    }

    fn hand_over(&mut self, to: &Client, path: Path, payload: usize, parts: &[&[u8]]) {
        match self.shared.mailbox(to.worker) {
            None => self.counters.lost(Loss::NoConnection),
            Some(mailbox) => {
                if !mailbox.hand_over(to.tuple, path, payload, parts) {
                    self.counters.lost(Loss::HandoverFull);
                }
            }
        }
    }

    /// Takes the connections that wait at `listener`.
    pub(super) fn accept(
        &mut self,
        listener: &mut Listener,
        now: Timestamp,
        has_allocation: impl Fn(&FiveTuple) -> bool,
    ) {
        let (shared, counters) = (&self.shared, &mut self.counters);
        self.connections
            .accept(listener, now, shared, counters, has_allocation);
    }

    /// Something happened at the connection with this token.
    pub(super) fn notify(&mut self, token: usize, event: &Event) {
        self.connections.notify(token, event);
    }

    /// How many connections have something to read.
    pub(super) fn ready_count(&self) -> usize {
        self.connections.ready_count()
    }

    /// See [`Connections::read_next`].
    pub(super) fn read_next(&mut self, arena: &mut [u8]) -> Option<(usize, Client, usize)> {
        self.connections.read_next(arena)
    }

    /// Whether the connection is still to be served.
    pub(super) fn is_open(&self, place: usize) -> bool {
        self.connections.is_open(place)
    }

    /// Whether a whole message has come from the connection.
    pub(super) fn is_turn(&self, place: usize) -> bool {
        self.connections.is_turn(place)
    }

    /// Passes over a message of `total` bytes, of which `there` have come.
    pub(super) fn pass_over(&mut self, place: usize, total: usize, there: usize) {
        self.counters.lost(Loss::Oversized);
        self.connections.pass_over(place, total - there);
    }

    /// See [`Connections::keep`].
    pub(super) fn keep(&mut self, place: usize, is_turn: bool, rest: &[u8]) {
        self.connections.keep(place, is_turn, rest);
    }

    /// Closes a connection at the end of the round.
    pub(super) fn close(&mut self, place: usize, reason: Closed) {
        self.connections.mark_closing(place, reason);
    }

    /// Closes a client's connection at the end of the round, without sending what waits in it.
    pub(super) fn cut_off(&mut self, tuple: &FiveTuple) {
        self.connections.cut_off(tuple);
    }

    /// Closes what is marked for it.
    pub(super) fn reap(&mut self, now: Timestamp, has_allocation: impl Fn(&FiveTuple) -> bool) {
        let (shared, counters) = (&self.shared, &mut self.counters);
        self.connections.reap(now, shared, counters, has_allocation);
    }

    /// Closes the connections that hold no allocation.
    pub(super) fn check(&mut self, now: Timestamp, has_allocation: impl Fn(&FiveTuple) -> bool) {
        self.connections.check(now, has_allocation);
    }

    /// Counts a packet that came in.
    pub(super) fn received(&mut self, transport: Transport, bytes: usize) {
        self.counters.received(transport, bytes);
    }

    /// Counts a packet that the core drops.
    pub(super) fn dropped(&mut self, reason: DropReason) {
        self.counters.dropped(reason);
    }

    /// Counts a packet that the sockets lose.
    pub(super) fn lost(&mut self, loss: Loss) {
        self.counters.lost(loss);
    }

    /// Counts a failure of the poll.
    pub(super) fn trouble(&mut self, trouble: Trouble) {
        self.counters.trouble(trouble);
    }

    /// Counts a round of the worker's loop.
    pub(super) fn round(&mut self, began: Round) {
        self.counters.round(began);
    }

    /// Moves what was counted into the metrics.
    pub(super) fn flush_counters(&mut self) {
        self.counters.flush();
    }
}
