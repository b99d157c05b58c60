//! A server without sockets, and clients of it: "from this client, this, at this time -> that".

use std::net::SocketAddr;
use std::time::Duration;

use vizard_proto::address::{Client, FiveTuple};
use vizard_proto::auth::ticket::Ticket;
use vizard_proto::config::Config;
use vizard_proto::contract::{Event, Output};
use vizard_proto::stun::{Class, Message, Method, TransactionId, Writer};
use vizard_proto::time::Timestamp;
use vizard_proto::usage::DropReason;

use crate::client::{
    TurnClient, Verdict, channel, channel_data, code, compose, lifetime, over_udp, peer,
};
use crate::defaults::{config, credential, ticket, udp};
use crate::server::{Outcome, Server};

/// The server with its clock, one worker, and everything that came out of it.
pub struct World {
    pub server: Server,
    pub now: Timestamp,
    pub events: Vec<Event>,
    /// Whose connections were to be closed.
    pub cut_off: Vec<FiveTuple>,
    transactions: u64,
}

/// What became of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reaction {
    /// Sent back to the sender.
    Answer(Vec<u8>),
    /// Arrived at this client, as these bytes on the wire.
    Arrives(FiveTuple, Vec<u8>),
    Dropped(DropReason),
}

impl From<Outcome> for Reaction {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Answer(answer) => Self::Answer(answer),
            Outcome::Arrives(to, wire, _) => Self::Arrives(to.tuple, wire),
            Outcome::Dropped(reason) => Self::Dropped(reason),
        }
    }
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}

impl World {
    pub fn new() -> Self {
        Self::with(config())
    }

    pub fn with(config: Config) -> Self {
        Self::with_workers(config, 1)
    }

    pub fn with_workers(config: Config, workers: usize) -> Self {
        Self {
            server: Server::new(config, workers),
            now: Timestamp::from_secs(10),
            events: Vec::new(),
            cut_off: Vec::new(),
            transactions: 0,
        }
    }

    pub fn send(&mut self, from: FiveTuple, bytes: &[u8]) -> Reaction {
        self.send_by(0, from, bytes).into()
    }

    /// As [`Self::send`], with the worker that it arrives at.
    pub fn send_by(&mut self, worker: u16, tuple: FiveTuple, bytes: &[u8]) -> Outcome {
        let client = Client { tuple, worker };
        let outcome = self.server.packet(self.now, client, bytes);
        self.drain();
        outcome
    }

    /// Past the worker's entries.
    pub fn send_the_long_way(&mut self, tuple: FiveTuple, bytes: &[u8]) -> Reaction {
        let client = Client { tuple, worker: 0 };
        let outcome = self.server.by_relay(self.now, client, bytes);
        self.drain();
        outcome.into()
    }

    /// Time passes; timers fire when they are due.
    pub fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        self.server.pass(self.now, end);
        self.drain();
        self.now = end;
    }

    pub fn command(&mut self, command: vizard_proto::contract::Command) {
        self.server
            .command(self.now, command)
            .expect("there is room");
        self.drain();
    }

    pub fn forward_count(&self) -> usize {
        self.server.forward_count()
    }

    fn drain(&mut self) {
        for output in self.server.outputs.drain(..) {
            match output {
                Output::Change(..) => {}
                Output::Disconnect(client) => self.cut_off.push(client.tuple),
                Output::Event(event) => self.events.push(event),
            }
        }
    }

    pub fn transaction(&mut self) -> TransactionId {
        self.transactions += 1;
        let mut bytes = [0xab; 12];
        bytes[4..].copy_from_slice(&self.transactions.to_be_bytes());
        TransactionId(bytes)
    }
}

/// A client on one 5-tuple with one ticket.
#[derive(Clone)]
pub struct Phone {
    pub tuple: FiveTuple,
    pub client: TurnClient,
}

impl Phone {
    pub fn new(tuple: FiveTuple, ticket: &Ticket) -> Self {
        Self {
            tuple,
            client: TurnClient::new(credential(ticket)),
        }
    }

    /// A signed request with what `attributes` puts in.
    pub fn request(
        &self,
        method: Method,
        transaction: TransactionId,
        attributes: impl FnOnce(&mut Writer<'_>),
    ) -> Vec<u8> {
        self.message(Class::Request, method, transaction, attributes, false)
    }

    /// The same with FINGERPRINT, and nothing of its own.
    pub fn request_with_fingerprint(&self, method: Method, transaction: TransactionId) -> Vec<u8> {
        self.message(Class::Request, method, transaction, |_| {}, true)
    }

    /// A signed message, though there may be no nonce.
    pub fn message(
        &self,
        class: Class,
        method: Method,
        transaction: TransactionId,
        attributes: impl FnOnce(&mut Writer<'_>),
        fingerprint: bool,
    ) -> Vec<u8> {
        compose(class, method, transaction, |writer| {
            attributes(writer);
            self.client.sign(writer);
            if fingerprint {
                writer.fingerprint();
            }
        })
    }

    /// Asks once without a signature, to be told a nonce.
    pub fn knock(&mut self, world: &mut World) {
        self.client.nonce.clear();
        let request = self
            .client
            .request(Method::ALLOCATE, world.transaction(), over_udp);
        let Reaction::Answer(answer) = world.send(self.tuple, &request) else {
            panic!("no challenge");
        };
        assert_eq!(code(&answer), 401);
        assert_eq!(self.client.hear(&answer), Verdict::Again);
    }

    /// Sends a signed request; the answer's bytes, whose signature was checked if it has one.
    pub fn ask(
        &mut self,
        world: &mut World,
        method: Method,
        attributes: impl Fn(&mut Writer<'_>),
    ) -> Vec<u8> {
        if self.client.nonce.is_empty() {
            self.knock(world);
        }
        let mut answer = Vec::new();
        for _ in 0..2 {
            let transaction = world.transaction();
            let request = self.request(method, transaction, &attributes);
            answer = match world.send(self.tuple, &request) {
                Reaction::Answer(answer) => answer,
                other => panic!("no answer but {other:?}"),
            };
            let message = Message::parse(&answer).expect("an answer");
            assert_eq!(message.transaction_id(), transaction);
            if self.client.hear(&answer) != Verdict::Again {
                break;
            }
        }
        answer
    }

    /// As [`Self::ask`]; 200 or the error code.
    pub fn code(
        &mut self,
        world: &mut World,
        method: Method,
        attributes: impl Fn(&mut Writer<'_>),
    ) -> u16 {
        code(&self.ask(world, method, attributes))
    }

    /// The mask address of a new allocation.
    pub fn allocate(&mut self, world: &mut World) -> SocketAddr {
        let answer = self.ask(world, Method::ALLOCATE, over_udp);
        assert_eq!(code(&answer), 200);
        let message = Message::parse(&answer).expect("an answer");
        message
            .xor_relayed_address()
            .expect("well-formed")
            .expect("a relayed address")
    }

    pub fn refresh(&mut self, world: &mut World, secs: u32) -> u16 {
        self.code(world, Method::REFRESH, lifetime(secs))
    }

    pub fn permit(&mut self, world: &mut World, mask: SocketAddr) -> u16 {
        self.code(world, Method::CREATE_PERMISSION, peer(mask))
    }

    pub fn bind(&mut self, world: &mut World, number: u16, mask: SocketAddr) -> u16 {
        self.code(world, Method::CHANNEL_BIND, channel(number, mask))
    }

    /// A Send indication.
    pub fn send(&self, world: &mut World, peer: SocketAddr, payload: &[u8]) -> Reaction {
        let bytes = TurnClient::send(world.transaction(), peer, payload);
        world.send(self.tuple, &bytes)
    }

    pub fn send_on(&self, world: &mut World, channel: u16, payload: &[u8]) -> Reaction {
        world.send(self.tuple, &channel_data(channel, payload))
    }
}

/// Two parties of call 1, both allocated.
pub fn pair(world: &mut World) -> [(Phone, SocketAddr); 2] {
    let mut a = Phone::new(udp("198.51.100.10:5000"), &ticket(1, 0));
    let mut b = Phone::new(udp("198.51.101.20:6000"), &ticket(1, 1));
    let (mask_a, mask_b) = (a.allocate(world), b.allocate(world));
    [(a, mask_a), (b, mask_b)]
}

/// Two parties of call 1 with channels bound to each other: 0x4001 from the first, 0x4002 from the
/// second.
pub fn circuit(world: &mut World) -> [(Phone, SocketAddr); 2] {
    let [(mut a, mask_a), (mut b, mask_b)] = pair(world);
    assert_eq!(a.bind(world, 0x4001, mask_b), 200);
    assert_eq!(b.bind(world, 0x4002, mask_a), 200);
    [(a, mask_a), (b, mask_b)]
}
