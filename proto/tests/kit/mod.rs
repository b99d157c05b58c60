//! A small test language: "from this client, this, at this time -> that".
#![allow(
    dead_code,
    missing_docs,
    unreachable_pub,
    reason = "each test uses a part of it"
)]

pub mod server;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use vizard_proto::address::{Client, FiveTuple, Transport};
use vizard_proto::auth::LongTermKey;
use vizard_proto::auth::login::PASSWORD_ALGORITHMS;
use vizard_proto::auth::ticket::{CallId, Credential, Ticket, TicketKey, TicketKeys};
use vizard_proto::config::{Config, Limits, Masking};
use vizard_proto::contract::{Event, Output};
use vizard_proto::stun::{
    AttributeType, Class, Integrity, Message, Method, PasswordAlgorithm, TransactionId, Writer,
};
use vizard_proto::time::{Timestamp, WallClock};
use vizard_proto::usage::DropReason;

pub use server::{Outcome, Server};

/// Unix time at the start of every test.
pub const START: u64 = 1_790_000_000;
pub const REALM: &str = "vizard";
pub const SEED: [u8; 32] = [42; 32];

pub fn ticket_key() -> TicketKey {
    TicketKey {
        id: 1,
        secret: [7; 32],
    }
}

pub fn ticket_keys() -> Arc<TicketKeys> {
    Arc::new(TicketKeys::new(&ticket_key(), &[]))
}

pub fn config() -> Config {
    Config {
        realm: REALM.into(),
        clock: WallClock::new(START),
        tickets: ticket_keys(),
        nonce_secret: [1; 32],
        masking: Masking::default(),
        limits: Limits::default(),
    }
}

/// A ticket of party `party` in call number `call`, good for two hours.
pub fn ticket(call: u8, party: u8) -> Ticket {
    Ticket {
        call: CallId([call; 16]),
        party,
        device: 0,
        expires_at: START + 7200,
        kbps: 0,
        masked: true,
    }
}

pub fn credential(ticket: &Ticket) -> Credential {
    ticket_keys().mint(ticket)
}

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
    pub credential: Credential,
    pub algorithm: Option<PasswordAlgorithm>,
    pub integrity: Integrity,
    pub nonce: Vec<u8>,
}

pub fn udp(remote: &str) -> FiveTuple {
    let remote: SocketAddr = remote.parse().expect("an address");
    let local = if remote.is_ipv4() {
        "203.0.113.1:3478"
    } else {
        "[2001:db8:1::1]:3478"
    };
    FiveTuple {
        transport: Transport::Udp,
        local: local.parse().expect("an address"),
        remote,
    }
}

pub fn tcp(remote: &str) -> FiveTuple {
    FiveTuple {
        transport: Transport::Tcp,
        ..udp(remote)
    }
}

impl Phone {
    pub fn new(tuple: FiveTuple, ticket: &Ticket) -> Self {
        Self {
            tuple,
            credential: credential(ticket),
            algorithm: None,
            integrity: Integrity::Sha1,
            nonce: Vec::new(),
        }
    }

    pub fn key(&self) -> LongTermKey {
        let algorithm = self.algorithm.unwrap_or(PasswordAlgorithm::Md5);
        let (user, password) = (&self.credential.username, &self.credential.password);
        LongTermKey::derive(
            algorithm,
            user.as_bytes(),
            REALM.as_bytes(),
            password.as_bytes(),
        )
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

    /// A signed message.
    pub fn message(
        &self,
        class: Class,
        method: Method,
        transaction: TransactionId,
        attributes: impl FnOnce(&mut Writer<'_>),
        fingerprint: bool,
    ) -> Vec<u8> {
        let mut bytes = vec![0; 8192];
        let mut writer = Writer::new(&mut bytes, class, method, transaction);
        attributes(&mut writer);
        writer.bytes(AttributeType::USERNAME, self.credential.username.as_bytes());
        writer.bytes(AttributeType::REALM, REALM.as_bytes());
        writer.bytes(AttributeType::NONCE, &self.nonce);
        if let Some(algorithm) = self.algorithm {
            writer.bytes(AttributeType::PASSWORD_ALGORITHMS, &PASSWORD_ALGORITHMS);
            writer.bytes(AttributeType::PASSWORD_ALGORITHM, &algorithm.to_bytes());
        }
        writer.integrity(self.integrity, self.key().as_bytes());
        if fingerprint {
            writer.fingerprint();
        }
        let len = writer.finish().expect("it fits");
        bytes.truncate(len);
        bytes
    }

    /// Asks once without a signature, to be told a nonce.
    pub fn knock(&mut self, world: &mut World) {
        let mut bytes = vec![0; 64];
        let transaction = world.transaction();
        let mut writer = Writer::new(&mut bytes, Class::Request, Method::ALLOCATE, transaction);
        writer.bytes(AttributeType::REQUESTED_TRANSPORT, &[17, 0, 0, 0]);
        let len = writer.finish().expect("it fits");
        let Reaction::Answer(answer) = world.send(self.tuple, &bytes[..len]) else {
            panic!("no challenge");
        };
        let answer = Message::parse(&answer).expect("an answer");
        assert_eq!(answer.error_code(), Ok(Some(401)));
        self.nonce = answer
            .nonce()
            .expect("well-formed")
            .expect("a nonce")
            .to_vec();
    }

    /// Sends a signed request; the answer's bytes, whose signature was checked if it has one.
    pub fn ask(
        &mut self,
        world: &mut World,
        method: Method,
        attributes: impl Fn(&mut Writer<'_>),
    ) -> Vec<u8> {
        if self.nonce.is_empty() {
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
            if message.error_code() != Ok(Some(438)) {
                break;
            }
            self.nonce = message
                .nonce()
                .expect("well-formed")
                .expect("a nonce")
                .to_vec();
        }
        let message = Message::parse(&answer).expect("an answer");
        if message.integrity() != Integrity::None {
            assert!(
                message.verify_integrity(self.key().as_bytes()),
                "the answer's signature"
            );
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
        let answer = self.ask(world, Method::ALLOCATE, |writer| {
            writer.bytes(AttributeType::REQUESTED_TRANSPORT, &[17, 0, 0, 0]);
        });
        assert_eq!(code(&answer), 200);
        let message = Message::parse(&answer).expect("an answer");
        message
            .xor_relayed_address()
            .expect("well-formed")
            .expect("a relayed address")
    }

    pub fn refresh(&mut self, world: &mut World, lifetime: u32) -> u16 {
        self.code(world, Method::REFRESH, |writer| {
            writer.u32(AttributeType::LIFETIME, lifetime);
        })
    }

    pub fn permit(&mut self, world: &mut World, peer: SocketAddr) -> u16 {
        self.code(world, Method::CREATE_PERMISSION, |writer| {
            writer.xor_address(AttributeType::XOR_PEER_ADDRESS, peer);
        })
    }

    pub fn bind(&mut self, world: &mut World, channel: u16, peer: SocketAddr) -> u16 {
        self.code(world, Method::CHANNEL_BIND, |writer| {
            writer.u32(AttributeType::CHANNEL_NUMBER, u32::from(channel) << 16);
            writer.xor_address(AttributeType::XOR_PEER_ADDRESS, peer);
        })
    }

    /// A Send indication.
    pub fn send(&self, world: &mut World, peer: SocketAddr, payload: &[u8]) -> Reaction {
        let mut bytes = vec![0; 64 + payload.len()];
        let transaction = world.transaction();
        let mut writer = Writer::new(&mut bytes, Class::Indication, Method::SEND, transaction);
        writer.xor_address(AttributeType::XOR_PEER_ADDRESS, peer);
        writer.bytes(AttributeType::DATA, payload);
        let len = writer.finish().expect("it fits");
        world.send(self.tuple, &bytes[..len])
    }

    pub fn send_on(&self, world: &mut World, channel: u16, payload: &[u8]) -> Reaction {
        world.send(self.tuple, &channel_data(channel, payload))
    }
}

pub fn channel_data(channel: u16, payload: &[u8]) -> Vec<u8> {
    let len = u16::try_from(payload.len()).expect("short");
    let mut bytes = channel.to_be_bytes().to_vec();
    bytes.extend_from_slice(&len.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// 200 for a success answer, else its error code.
pub fn code(answer: &[u8]) -> u16 {
    let message = Message::parse(answer).expect("an answer");
    match message.class() {
        Class::Success => 200,
        Class::Error => message.error_code().expect("well-formed").expect("a code"),
        class => panic!("an answer of class {class:?}"),
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
