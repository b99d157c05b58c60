//! The ways out of a worker: its sockets, its connections, and the mailboxes of the workers that
//! have the other connections.

use std::ops::Range;
use std::sync::Arc;

use vizard_proto::address::{Client, FiveTuple};
use vizard_proto::contract::Delivery;
use vizard_proto::forward::Hop;

use super::brain::Brain;
use super::counters::{Counters, Loss, Path};
use super::stream::Connections;
use super::udp::{self, FastPath, Outbound};

/// Zero bytes behind a message; what came in as padding is never passed on.
const PADDING: [u8; 4] = [0; 4];
/// `ChannelData`'s header.
const HEADER: usize = vizard_proto::channel_data::HEADER_LEN;

/// What a datagram counts as when it has been sent.
#[derive(Clone, Copy)]
enum Note {
    Forwarded(Path, usize),
    Answer,
}

pub(super) struct Exits {
    pub(super) counters: Counters,
    pub(super) sockets: Vec<udp::Socket>,
    pub(super) connections: Connections,
    /// Of each datagram we want to know which way it took and how long its payload is.
    datagrams: udp::Sender<Note>,
    brain: Arc<Brain>,
    hand: u16,
}

impl Exits {
    pub(super) fn new(
        hand: u16,
        brain: Arc<Brain>,
        sockets: Vec<udp::Socket>,
        connections: Connections,
    ) -> Self {
        Self {
            counters: Counters::new(&brain.metrics),
            datagrams: udp::Sender::new(&sockets),
            sockets,
            connections,
            brain,
            hand,
        }
    }

    /// Passes on the `ChannelData` message that starts at `start` in the arena.
    pub(super) fn pass_on(&mut self, hop: &Hop, arena: &[u8], start: usize) {
        let message = start..start + hop.len;
        let tuple = &hop.to.tuple;
        if tuple.transport.is_stream() {
            let parts = [&arena[message], &PADDING[..hop.padding]];
            return self.send_to_stream(&hop.to, Path::Table, hop.len - HEADER, &parts);
        }
        let outbound = Outbound {
            from: tuple.local,
            to: tuple.remote,
            head: &[],
            body: message,
            padding: 0,
        };
        let note = Note::Forwarded(Path::Table, hop.len - HEADER);
        self.send_datagram(&outbound, note, arena);
    }

    fn send_datagram(&mut self, outbound: &Outbound<'_>, note: Note, arena: &[u8]) {
        if self.datagrams.is_full() {
            self.flush(arena);
        }
        if let Err(loss) = self.datagrams.push(outbound, note) {
            self.counters.lost(loss);
        }
    }

    /// Sends the datagrams that have been gathered.
    pub(super) fn flush(&mut self, arena: &[u8]) {
        let counters = &mut self.counters;
        self.datagrams
            .flush(&self.sockets, arena, |note, sent| match (note, sent) {
                (Note::Forwarded(path, payload), Ok(())) => counters.forwarded(path, payload),
                (Note::Answer, Ok(())) => {}
                (_, Err(loss)) => counters.lost(loss),
            });
    }

    /// Chooses how datagrams travel. Nothing may be waiting.
    pub(super) fn follow(&mut self, fast_path: FastPath) {
        self.datagrams.follow(fast_path);
        for socket in &self.sockets {
            socket.follow(fast_path);
        }
    }

    /// Forgets the datagrams that have been gathered.
    pub(super) fn discard(&mut self) {
        self.datagrams.discard();
    }

    /// Sends what the relay wants delivered; `packet` is where the packet that it came in lies in
    /// the arena.
    pub(super) fn deliver(&mut self, delivery: &Delivery, arena: &[u8], packet: Range<usize>) {
        let body = packet.start + delivery.payload.start..packet.start + delivery.payload.end;
        if delivery.to.tuple.transport.is_stream() {
            let (head, body) = (delivery.prefix.as_bytes(), &arena[body]);
            let parts = [head, body, &PADDING[..delivery.padding]];
            return self.send_to_stream(&delivery.to, Path::Relay, body.len(), &parts);
        }
        let note = Note::Forwarded(Path::Relay, body.len());
        let outbound = Outbound {
            from: delivery.to.tuple.local,
            to: delivery.to.tuple.remote,
            head: delivery.prefix.as_bytes(),
            body,
            padding: delivery.padding,
        };
        self.send_datagram(&outbound, note, arena);
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

    /// Sends what other workers have for connections of this one.
    pub(super) fn take_parcels(&mut self) {
        let brain = Arc::clone(&self.brain);
        let Some(mailbox) = brain.mailbox(self.hand) else {
            return;
        };
        while let Some(parcel) = mailbox.next_parcel() {
            match self
                .connections
                .send_media(&parcel.to, &[parcel.as_bytes()])
            {
                Ok(()) => self.counters.forwarded(parcel.path, parcel.payload),
                Err(loss) => self.counters.lost(loss),
            }
            mailbox.give_back(parcel);
        }
    }

    fn send_to_stream(&mut self, to: &Client, path: Path, payload: usize, parts: &[&[u8]]) {
        if to.hand != self.hand {
            return self.hand_over(to, path, payload, parts);
        }
        match self.connections.send_media(&to.tuple, parts) {
            Ok(()) => self.counters.forwarded(path, payload),
            Err(loss) => self.counters.lost(loss),
        }
    }

    fn hand_over(&mut self, to: &Client, path: Path, payload: usize, parts: &[&[u8]]) {
        match self.brain.mailbox(to.hand) {
            None => self.counters.lost(Loss::NoConnection),
            Some(mailbox) => {
                if !mailbox.hand_over(to.tuple, path, payload, parts) {
                    self.counters.lost(Loss::HandoverFull);
                }
            }
        }
    }
}
