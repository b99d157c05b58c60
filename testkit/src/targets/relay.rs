//! Arbitrary packets into the workers and the relay from several clients, some of them with valid
//! credentials, between requests that lead somewhere.

use std::net::SocketAddr;
use std::time::Duration;

use vizard_proto::address::{Client, FiveTuple};
use vizard_proto::auth::ticket::{CallId, Ticket};
use vizard_proto::contract::{Command, Output, Scope};
use vizard_proto::forward::Change;
use vizard_proto::stun::{AttributeType, Class, Header, Integrity, Message, Method, Writer};
use vizard_proto::time::Timestamp;

use crate::stage::clients::ENDPOINTS;
use crate::stage::endpoint::Endpoint;
use crate::stage::places::tuple;
use crate::stage::script::Manner;
use crate::stage::subject::WORKERS;
use crate::stage::{Places, Reaction, Server};

/// What an unauthenticated answer may have.
const SMALL: usize = 88;

pub fn run(bytes: &[u8]) {
    let mut input = Input(bytes);
    let mut storm = Storm::new(input.byte());
    while !input.0.is_empty() {
        storm.blow(&mut input);
        storm.check();
    }
    storm.pass(Duration::from_secs(8000));
    assert_eq!(storm.server.relay.allocation_count(), 0);
    assert_eq!(storm.server.relay.poll_timeout(), None);
}

struct Storm {
    server: Server,
    endpoints: Vec<Endpoint>,
    places: Places,
    now: Timestamp,
}

impl Storm {
    fn new(kind: u8) -> Self {
        let mut config = crate::config();
        if kind & 1 == 1 {
            config.limits.answers_burst = 4;
            config.limits.answers_per_second = 1;
        }
        if kind & 2 == 2 {
            config.limits.permissions = 2;
            config.limits.channels = 2;
            config.limits.allocations = 3;
        }
        Self {
            server: Server::new(config, WORKERS),
            endpoints: (0..ENDPOINTS).map(Endpoint::new).collect(),
            places: Places::draw(u64::from(kind), 0),
            now: Timestamp::from_secs(10),
        }
    }

    fn blow(&mut self, input: &mut Input<'_>) {
        let (what, endpoint) = (input.byte(), usize::from(input.byte()) % ENDPOINTS);
        match what % 16 {
            0..=3 => {
                let len = usize::from(input.byte()) * 2;
                let packet = input.bytes(len).to_vec();
                self.send(endpoint, &packet);
            }
            4..=7 => self.send_signed(endpoint, input),
            8 => self.allocate(endpoint),
            9 => self.permit(endpoint, input.byte()),
            10 => self.bind(endpoint, input.byte()),
            11 => {
                let channel = 0x4000 | u16::from(input.byte() & 3);
                let packet = crate::channel_data(channel, input.bytes(9));
                self.send(endpoint, &packet);
            }
            12 => {
                let peer = self.mask(input.byte());
                let packet = self.endpoints[endpoint].send(peer, input.bytes(9));
                self.send(endpoint, &packet);
            }
            13 => self.pass(Duration::from_secs(u64::from(input.byte()) * 5)),
            14 => self.control(endpoint, input.byte()),
            _ => self.server.restart(),
        }
    }

    fn client(&self, endpoint: usize) -> Client {
        let endpoint = &self.endpoints[endpoint];
        if endpoint.is_b() {
            return self
                .places
                .client(endpoint.spot, endpoint.profile.transport);
        }
        Client {
            tuple: tuple(endpoint.profile.transport, endpoint.fixed_address()),
            worker: 1,
        }
    }

    fn send(&mut self, endpoint: usize, packet: &[u8]) {
        let from = self.client(endpoint);
        match self.server.packet(self.now, from, packet) {
            Reaction::Answer(answer) => {
                check_answer(packet, &answer);
                let message = Message::parse(&answer).expect("it was checked");
                self.endpoints[endpoint].learn(&message);
            }
            Reaction::Arrives(to, ..) => self.check_pair(&from.tuple, &to.tuple),
            Reaction::Dropped(_) => {}
        }
    }

    /// A request that is signed as it should be, whatever it says.
    fn send_signed(&mut self, endpoint: usize, input: &mut Input<'_>) {
        let manner = [
            Manner::Plain,
            Manner::Sha256,
            Manner::Hidden,
            Manner::BidDown,
        ][usize::from(input.byte() & 3)];
        let methods = [
            Method::ALLOCATE,
            Method::REFRESH,
            Method::CREATE_PERMISSION,
            Method::CHANNEL_BIND,
        ];
        let method = methods[usize::from(input.byte() & 3)];
        let count = input.byte() % 6;
        let attributes: Vec<_> = (0..count).map(|_| self.attribute(input)).collect();
        let profile = self.endpoints[endpoint].profile;
        let packet = self.endpoints[endpoint].request(method, manner, profile, |writer| {
            for attribute in &attributes {
                attribute.put(writer);
            }
        });
        self.send(endpoint, &packet);
    }

    fn attribute(&self, input: &mut Input<'_>) -> Attribute {
        let kinds = [
            AttributeType::XOR_PEER_ADDRESS,
            AttributeType::CHANNEL_NUMBER,
            AttributeType::LIFETIME,
            AttributeType::REQUESTED_TRANSPORT,
            AttributeType::REQUESTED_ADDRESS_FAMILY,
            AttributeType::ADDITIONAL_ADDRESS_FAMILY,
            AttributeType::EVEN_PORT,
            AttributeType::RESERVATION_TOKEN,
        ];
        let kind = input.byte();
        match kinds.get(usize::from(kind)) {
            Some(&AttributeType::XOR_PEER_ADDRESS) => Attribute::Peer(self.mask(input.byte())),
            Some(known) => Attribute::Value(*known, input.value()),
            None => {
                let low = u16::from(input.byte());
                let kind = AttributeType(u16::from(kind & 0x80) << 8 | low);
                Attribute::Value(kind, input.value())
            }
        }
    }

    /// A endpoint's mask address, or one like it.
    fn mask(&self, which: u8) -> SocketAddr {
        let [v4, v6] = self.endpoints[usize::from(which) % ENDPOINTS].masks;
        let mask = if which & 0x80 == 0 {
            v4.or(v6)
        } else {
            v6.or(v4)
        };
        let mut mask = mask.unwrap_or(SocketAddr::from(([198, 18, 7, which], 2000)));
        mask.set_port(mask.port() ^ u16::from(which & 0x40 != 0));
        mask
    }

    fn ask(&mut self, endpoint: usize, method: Method, put: impl Fn(&mut Writer<'_>)) {
        let profile = self.endpoints[endpoint].profile;
        let manner = if self.endpoints[endpoint].nonce.is_empty() {
            Manner::Unsigned
        } else {
            Manner::Plain
        };
        let packet = self.endpoints[endpoint].request(method, manner, profile, &put);
        self.send(endpoint, &packet);
        if manner == Manner::Unsigned && !self.endpoints[endpoint].nonce.is_empty() {
            self.ask(endpoint, method, put);
        }
    }

    fn allocate(&mut self, endpoint: usize) {
        self.ask(endpoint, Method::ALLOCATE, |writer| {
            writer.u8(AttributeType::REQUESTED_TRANSPORT, 17);
        });
    }

    fn permit(&mut self, endpoint: usize, peer: u8) {
        let peer = self.mask(peer);
        self.ask(endpoint, Method::CREATE_PERMISSION, |writer| {
            writer.xor_address(AttributeType::XOR_PEER_ADDRESS, peer);
        });
    }

    fn bind(&mut self, endpoint: usize, peer: u8) {
        let channel = 0x4000 | u16::from(peer & 3);
        let peer = self.mask(peer);
        self.ask(endpoint, Method::CHANNEL_BIND, |writer| {
            writer.u16(AttributeType::CHANNEL_NUMBER, channel);
            writer.xor_address(AttributeType::XOR_PEER_ADDRESS, peer);
        });
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        self.server.pass(self.now, end);
        self.now = end;
        let due = self.server.relay.poll_timeout();
        assert!(due.is_none_or(|due| due > end));
    }

    fn control(&mut self, endpoint: usize, what: u8) {
        let call = CallId([what & 1; 16]);
        let until = crate::START + 7200;
        let scope = match what >> 1 & 3 {
            0 => Scope::Party(what >> 3 & 3),
            1 => Scope::Device(what >> 3 & 3, what >> 5 & 1),
            2 if what > 200 => Scope::Call,
            _ => {
                let tuple = self.client(endpoint).tuple;
                self.server.relay.handle_disconnect(&tuple);
                return self.server.drain();
            }
        };
        let command = Command::Revoke { call, scope, until };
        assert_eq!(self.server.command(self.now, command), Ok(()));
    }

    /// Nothing leads from one party to anybody but another party of the same call.
    fn check(&mut self) {
        self.server.drain();
        for output in std::mem::take(&mut self.server.outputs) {
            if let Output::Change(_, Change::Install(key, forward)) = output {
                self.check_pair(&key.tuple, &forward.to.tuple);
            }
        }
        assert!(self.server.relay.allocation_count() <= ENDPOINTS);
    }

    fn check_pair(&self, from: &FiveTuple, to: &FiveTuple) {
        let tickets = |tuple: &FiveTuple| -> Vec<Ticket> {
            (0..ENDPOINTS)
                .filter(|endpoint| self.client(*endpoint).tuple == *tuple)
                .map(|endpoint| self.endpoints[endpoint].profile.ticket)
                .collect()
        };
        let meets =
            |one: &Ticket, other: &Ticket| one.call == other.call && one.party != other.party;
        let to = tickets(to);
        let allowed = tickets(from)
            .iter()
            .any(|from| to.iter().any(|to| meets(from, to)));
        assert!(allowed, "a packet went astray");
    }
}

/// An answer is well-formed, belongs to its request, and is small or signed.
fn check_answer(request: &[u8], answer: &[u8]) {
    let request = Header::parse(request).expect("only requests are answered");
    let message = Message::parse(answer).expect("answers are well-formed");
    assert_eq!(request.class, Class::Request);
    assert_eq!(message.transaction_id(), request.transaction_id);
    assert_eq!(message.method(), request.method);
    assert!(matches!(message.class(), Class::Success | Class::Error));
    if message.integrity() == Integrity::None {
        assert!(answer.len() <= SMALL);
        assert!(message.class() == Class::Error || message.method() == Method::BINDING);
    }
}

enum Attribute {
    Peer(SocketAddr),
    Value(AttributeType, Vec<u8>),
}

impl Attribute {
    fn put(&self, writer: &mut Writer<'_>) {
        match self {
            Self::Peer(peer) => writer.xor_address(AttributeType::XOR_PEER_ADDRESS, *peer),
            Self::Value(kind, value) => writer.bytes(*kind, value),
        }
    }
}

/// Bytes, and zeros behind their end.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn byte(&mut self) -> u8 {
        self.bytes(1).first().copied().unwrap_or_default()
    }

    fn bytes(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        taken
    }

    fn value(&mut self) -> Vec<u8> {
        let len = [4, 4, 4, 4, 1, 0, 8, 20][usize::from(self.byte() & 7)];
        self.bytes(len).to_vec()
    }
}
