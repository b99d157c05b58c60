//! Plays a script before a server.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use vizard_proto::address::{Client, FiveTuple, Transport};
use vizard_proto::contract::{Event, Output};
use vizard_proto::stun::{AttributeType, Message, Method};
use vizard_proto::time::Timestamp;

use super::clients::{ENDPOINTS, Who};
use super::endpoint::Endpoint;
use super::gist::{ended, gist, method_name, payload, without_padding};
use super::places::{Places, tuple};
use super::record::{Entry, Record, Seen};
use super::requests::{CHANNELS, put};
use super::script::{Manner, Peer, Request, Script, Spot, Step};
use super::subject::{Path, Reaction, Subject};
use super::{Contrast, Twist};

/// Plays `script` with B at `places`; `guesses` are what A takes B's addresses for. Besides what
/// came of it, whom everybody but B has named.
pub fn play(
    script: &Script,
    places: &Places,
    guesses: [&Places; 2],
    twist: Twist,
    subject: impl Subject,
) -> (Record, VecDeque<SocketAddr>) {
    let mut player = Player {
        subject,
        places,
        guesses,
        twist,
        named: VecDeque::new(),
        now: Timestamp::from_secs(10),
        endpoints: (0..ENDPOINTS).map(Endpoint::new).collect(),
        record: Record::default(),
        step: 0,
        keys: 1,
        clock: crate::START,
    };
    if !places.are_of_families_of(guesses[0]) || !places.are_of_families_of(guesses[1]) {
        player.record.reached.note("other families", 0);
    }
    player.open(script.opening);
    for step in &script.steps {
        player.step += 1;
        player.take(step);
    }
    (player.record, player.named)
}

pub(super) struct Player<'p, S> {
    pub(super) subject: S,
    places: &'p Places,
    guesses: [&'p Places; 2],
    twist: Twist,
    named: VecDeque<SocketAddr>,
    pub(super) now: Timestamp,
    pub(super) endpoints: Vec<Endpoint>,
    pub(super) record: Record,
    step: usize,
    /// Which ticket key is in force.
    pub(super) keys: u8,
    /// What Unix time it was in the beginning, as the server is told.
    pub(super) clock: u64,
}

/// Peers that nobody may reach.
const FOREIGN: [&str; 8] = [
    "127.0.0.1:80",
    "169.254.169.254:80",
    "203.0.113.1:3478",
    "198.51.103.30:7000",
    "[::1]:80",
    "[::ffff:10.0.0.1]:80",
    "224.0.0.1:9",
    "0.0.0.0:0",
];

impl<S: Subject> Player<'_, S> {
    fn open(&mut self, level: u8) {
        if level > 0 {
            self.dial(0, 1, level);
            self.dial(3, 2, level);
        }
        self.finish_step();
    }

    fn take(&mut self, step: &Step) {
        for (to, bytes) in self.subject.late() {
            self.see_packet(&to, bytes);
        }
        match step {
            Step::Pass(time) => self.pass(*time),
            Step::Drift(time) => self.now = self.now + *time,
            Step::Ask(endpoint, manner, request) => {
                self.ask(*endpoint, *manner, request);
            }
            Step::Again(endpoint, allocate) => self.again(*endpoint, *allocate),
            Step::Send(endpoint, peer, len) => self.send(*endpoint, *peer, *len),
            Step::Channel(endpoint, which, len) => {
                let endpoint = self.from(*endpoint, |endpoint| !endpoint.channels.is_empty());
                self.channel(endpoint, *which, *len);
            }
            Step::Talk(endpoint) => {
                let endpoint = self.from(*endpoint, |endpoint| !endpoint.permitted.is_empty());
                self.talk(endpoint);
            }
            Step::Garbage(endpoint, kind, dirt) => {
                let bytes = self.endpoints[*endpoint].garbage(*kind, *dirt);
                self.exchange(*endpoint, &bytes);
            }
            Step::Binding(endpoint) => {
                let bytes = self.endpoints[*endpoint].binding();
                self.exchange(*endpoint, &bytes);
            }
            Step::Move(endpoint, spot) => self.move_to(*endpoint, *spot),
            Step::Roam(endpoint, spot) => self.roam(*endpoint, *spot),
            Step::Sweep(endpoint, start) => self.sweep(*endpoint, *start),
            Step::Spread(endpoint) => self.spread(*endpoint),
            Step::Disconnect(endpoint) => self.disconnect(*endpoint),
            Step::Dial(one, other, level) => self.dial(*one, *other, *level),
            Step::Control(control) => self.control(*control),
            Step::Restart => {
                self.subject.server().restart();
                self.record.reached.note("restart", 0);
            }
        }
        self.finish_step();
    }

    fn finish_step(&mut self) {
        let server = self.subject.server();
        let wakes = server.relay.poll_timeout();
        let outputs = std::mem::take(&mut server.outputs);
        self.subject.after_step(&outputs);
        for output in outputs {
            if let Output::Disconnect(client) = output {
                self.record.reached.note("cut off", 0);
                // Only a connection of B's can be closed.
                if self.twist.contrast != Contrast::Transports {
                    self.see_packet(&client, b"closed".to_vec());
                }
            }
            let Output::Event(event) = output else {
                continue;
            };
            if let Event::AllocationEnded { reason, .. } = event {
                self.record.reached.note(ended(reason), 0);
            }
            self.see(Seen::Told(event));
        }
        self.see(Seen::Wakes(wakes));
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        self.subject.server().pass(self.now, end);
        self.now = end;
    }

    pub(super) fn see(&mut self, seen: Seen) {
        let step = self.step;
        self.record.entries.push(Entry { step, seen });
    }

    fn see_packet(&mut self, to: &Client, bytes: Vec<u8>) {
        self.see(match self.name(&to.tuple) {
            Some(name) => Seen::ToB(name, without_padding(bytes)),
            None => Seen::Packet(to.tuple, bytes),
        });
    }

    /// Which of B's sockets this is, by the transport of the first run.
    fn name(&self, tuple: &FiveTuple) -> Option<(Spot, Transport)> {
        let (spot, transport) = self.places.name(tuple)?;
        Some((spot, self.twist.transport(transport)))
    }

    /// Whether the endpoint is B's, who is not there in this run.
    fn is_absent(&self, endpoint: usize) -> bool {
        self.twist.is_without_b() && self.endpoints[endpoint].is_b()
    }

    /// Now and then the system moves everybody's packets to the other worker.
    fn client(&self, endpoint: usize) -> Client {
        let endpoint = &self.endpoints[endpoint];
        let transport = endpoint.profile.transport;
        let mut client = if endpoint.is_b() {
            let transport = self.twist.transport(transport);
            self.places.client(endpoint.spot, transport)
        } else {
            Client {
                tuple: tuple(transport, endpoint.fixed_address()),
                worker: u16::from(endpoint.profile.who == Who::C),
            }
        };
        client.worker ^= u16::from(self.step / 7 % 2 == 1);
        client
    }

    /// Sends a packet and writes down what came of it; the answer, if it was answered.
    fn exchange(&mut self, endpoint: usize, bytes: &[u8]) -> Option<Vec<u8>> {
        if self.is_absent(endpoint) {
            return None;
        }
        self.endpoints[endpoint].last = bytes.to_vec();
        let client = self.client(endpoint);
        match self.subject.packet(self.now, client, bytes) {
            Reaction::Answer(answer) => {
                self.note_answer(endpoint, &answer);
                let seen = match self.name(&client.tuple) {
                    Some(name) => Seen::ToB(name, gist(&answer, client.tuple.remote)),
                    None => Seen::Packet(client.tuple, answer.clone()),
                };
                self.see(seen);
                return Some(answer);
            }
            Reaction::Arrives(to, wire, path) => {
                self.note_arrival(endpoint, &to, &wire, path);
                self.see_packet(&to, wire);
            }
            Reaction::Dropped(reason) => {
                self.record.reached.note(reason.as_str(), 0);
                self.see(Seen::Dropped(endpoint, reason));
            }
        }
        None
    }

    fn note_answer(&mut self, endpoint: usize, answer: &[u8]) {
        let message = Message::parse(answer).expect("a well-formed answer");
        let (method, code) = (method_name(message.method()), crate::code(answer));
        self.record.reached.note(method, code);
        if !self.endpoints[endpoint].is_b() {
            self.record.codes.push((self.step, endpoint, method, code));
        }
        if message.has(AttributeType::ADDRESS_ERROR_CODE) {
            self.record.reached.note("address error", 0);
        }
    }

    fn note_arrival(&mut self, endpoint: usize, to: &Client, wire: &[u8], path: Path) {
        let from_b = self.endpoints[endpoint].is_b();
        let to_b = self.places.name(&to.tuple).is_some();
        let indication = !matches!(wire.first(), Some(0x40..0x80));
        let what = match (path, from_b, to_b) {
            (Path::Table, true, false) => "by table from b",
            (Path::Table, false, true) => "by table to b",
            (Path::Relay, true, false) => "by relay from b",
            (Path::Relay, false, true) => "by relay to b",
            _ => "without b",
        };
        self.record.reached.note(what, u16::from(indication));
    }

    fn ask(&mut self, endpoint: usize, manner: Manner, request: &Request) -> Option<u16> {
        if self.is_absent(endpoint) {
            return None;
        }
        if manner == Manner::Plain
            && matches!(request, Request::Permit(_) | Request::Bind(..))
            && !self.endpoints[endpoint].has_allocation()
        {
            self.ask(endpoint, manner, &Request::Allocate(0));
        }
        if self.endpoints[endpoint].nonce.is_empty() && manner != Manner::Unsigned {
            let allocate = Request::Allocate(0);
            self.ask_once(endpoint, Manner::Unsigned, &allocate);
        }
        let code = self.ask_once(endpoint, manner, request)?;
        if code == 438 && manner != Manner::OldNonce {
            return self.ask_once(endpoint, manner, request);
        }
        Some(code)
    }

    fn ask_once(&mut self, endpoint: usize, manner: Manner, request: &Request) -> Option<u16> {
        let bytes = self.compose(endpoint, manner, request);
        if matches!(request, Request::Allocate(_)) {
            self.endpoints[endpoint].last_allocate.clone_from(&bytes);
        }
        let answer = self.exchange(endpoint, &bytes)?;
        let message = Message::parse(&answer).expect("a well-formed answer");
        self.endpoints[endpoint].learn(&message);
        let code = crate::code(&answer);
        if code == 200 {
            self.keep_books(endpoint, request);
        }
        Some(code)
    }

    fn keep_books(&mut self, endpoint: usize, request: &Request) {
        let peers = self.named(endpoint, request);
        let endpoint = &mut self.endpoints[endpoint];
        for peer in peers {
            if !endpoint.permitted.contains(&peer) {
                endpoint.permitted.push(peer);
            }
        }
        match request {
            Request::Refresh(Some(0), None) => endpoint.forget_allocation(),
            Request::Bind(which, _) => {
                let number = CHANNELS[usize::from(*which)];
                if !endpoint.channels.contains(&number) {
                    endpoint.channels.push(number);
                }
            }
            _ => {}
        }
    }

    fn compose(&mut self, endpoint: usize, manner: Manner, request: &Request) -> Vec<u8> {
        let other = match manner {
            // Whoever has B's ticket is B.
            Manner::Borrowed(other) if self.may_borrow(other) => self.endpoints[other].profile,
            _ => self.endpoints[endpoint].profile,
        };
        let peers = self.named(endpoint, request);
        let method = match request {
            Request::Allocate(_) => Method::ALLOCATE,
            Request::Refresh(..) | Request::Roam => Method::REFRESH,
            Request::Permit(_) => Method::CREATE_PERMISSION,
            Request::Bind(..) => Method::CHANNEL_BIND,
        };
        let ticket = self.endpoints[endpoint].mobility.clone();
        self.endpoints[endpoint].request(method, manner, other, |writer| {
            if matches!(request, Request::Roam) {
                writer.bytes(AttributeType::MOBILITY_TICKET, &ticket);
            }
            for peer in peers {
                writer.xor_address(AttributeType::XOR_PEER_ADDRESS, peer);
            }
            put(writer, request);
        })
    }

    fn may_borrow(&self, other: usize) -> bool {
        self.twist.contrast != Contrast::Presence || !self.endpoints[other].is_b()
    }

    fn named(&mut self, endpoint: usize, request: &Request) -> Vec<SocketAddr> {
        match request {
            Request::Permit(peers) => peers
                .iter()
                .map(|peer| self.peer(endpoint, *peer))
                .collect(),
            Request::Bind(_, peer) => vec![self.peer(endpoint, *peer)],
            _ => Vec::new(),
        }
    }

    /// The address behind a name, as it was in the first run.
    fn peer(&mut self, endpoint: usize, peer: Peer) -> SocketAddr {
        let address = self.look_up(peer);
        if self.twist.contrast != Contrast::Presence || self.endpoints[endpoint].is_b() {
            return address;
        }
        let address = self.twist.named.pop_front().unwrap_or(address);
        self.named.push_back(address);
        address
    }

    /// The same in every run, unless the server tells masks differently.
    fn look_up(&mut self, peer: Peer) -> SocketAddr {
        match peer {
            Peer::Mask(endpoint, second, other_port) => {
                let [v4, v6] = self.endpoints[endpoint].masks;
                let mask = if second { v6.or(v4) } else { v4.or(v6) };
                let mut mask = mask.unwrap_or(SocketAddr::from(([198, 18, 0, 1], 4000)));
                mask.set_port(mask.port() ^ u16::from(other_port));
                mask
            }
            Peer::Guess(run, spot) => {
                self.record.reached.note("guess", 0);
                self.guesses[usize::from(run)].address(spot)
            }
            Peer::Foreign(which) => FOREIGN[usize::from(which) % FOREIGN.len()]
                .parse()
                .expect("an address"),
            Peer::Pool(number) => {
                let [high, low] = number.to_be_bytes();
                SocketAddr::from(([198, 18, high, low], number | 1024))
            }
        }
    }

    /// The next endpoint from `start` on that is fit, or else that one.
    fn from(&self, start: usize, fit: impl Fn(&Endpoint) -> bool) -> usize {
        let chosen = |endpoint: &Endpoint| {
            fit(endpoint) && (self.twist.contrast != Contrast::Presence || !endpoint.is_b())
        };
        (start..start + ENDPOINTS)
            .map(|endpoint| endpoint % ENDPOINTS)
            .find(|endpoint| chosen(&self.endpoints[*endpoint]))
            .unwrap_or(start)
    }

    fn again(&mut self, endpoint: usize, allocate: bool) {
        let state = &self.endpoints[endpoint];
        let bytes = if allocate {
            state.last_allocate.clone()
        } else {
            state.last.clone()
        };
        self.exchange(endpoint, &bytes);
    }

    fn send(&mut self, endpoint: usize, peer: Peer, len: usize) {
        if self.is_absent(endpoint) {
            return;
        }
        let peer = self.peer(endpoint, peer);
        self.send_to(endpoint, peer, len);
    }

    fn send_to(&mut self, endpoint: usize, peer: SocketAddr, len: usize) {
        let payload = payload(endpoint, len);
        let bytes = self.endpoints[endpoint].send(peer, &payload);
        self.exchange(endpoint, &bytes);
    }

    fn channel(&mut self, endpoint: usize, which: u8, len: usize) {
        let bound = &self.endpoints[endpoint].channels;
        let which = usize::from(which);
        let number = if bound.is_empty() {
            CHANNELS[which % CHANNELS.len()]
        } else {
            bound[which % bound.len()]
        };
        let mut bytes = crate::channel_data(number, &payload(endpoint, len));
        if self.client(endpoint).tuple.transport.is_stream() {
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
        self.exchange(endpoint, &bytes);
    }

    fn talk(&mut self, endpoint: usize) {
        for which in 0..self.endpoints[endpoint].channels.len() {
            self.channel(endpoint, u8::try_from(which).expect("few"), 160);
        }
        for peer in self.endpoints[endpoint].permitted.clone() {
            self.send_to(endpoint, peer, 33);
        }
    }

    fn move_to(&mut self, endpoint: usize, spot: Spot) {
        let moving = &mut self.endpoints[endpoint];
        moving.spot = spot;
        // What was allocated stays behind on the old 5-tuple.
        moving.forget_allocation();
        self.record.reached.note("move", u16::from(moving.is_b()));
    }

    fn roam(&mut self, endpoint: usize, spot: Spot) {
        self.endpoints[endpoint].spot = spot;
        if self.ask(endpoint, Manner::Plain, &Request::Roam) == Some(200) {
            let is_b = self.endpoints[endpoint].is_b();
            self.record.reached.note("roam", u16::from(is_b));
        } else {
            self.endpoints[endpoint].forget_allocation();
        }
    }

    fn spread(&mut self, endpoint: usize) {
        let start = self.endpoints[endpoint].spot;
        for port in 0..Spot::PORTS {
            self.endpoints[endpoint].spot = Spot { port, ..start };
            self.ask(endpoint, Manner::Plain, &Request::Allocate(0));
        }
    }

    fn sweep(&mut self, endpoint: usize, start: u16) {
        let pool = (start..start.saturating_add(8)).map(Peer::Pool);
        let parties =
            (0..ENDPOINTS).map(|other| Peer::Mask(other, false, !start.is_multiple_of(512)));
        for (peer, number) in parties.zip((0..4).cycle()) {
            self.ask(endpoint, Manner::Plain, &Request::Permit(vec![peer]));
            self.ask(endpoint, Manner::Plain, &Request::Bind(number, peer));
        }
        self.ask(endpoint, Manner::Plain, &Request::Permit(pool.collect()));
    }

    fn disconnect(&mut self, endpoint: usize) {
        if !self.endpoints[endpoint].profile.transport.is_stream() {
            return;
        }
        let tuple = self.client(endpoint).tuple;
        let server = self.subject.server();
        server.relay.handle_disconnect(&tuple);
        server.drain();
        self.endpoints[endpoint].forget_allocation();
    }

    fn dial(&mut self, one: usize, other: usize, level: u8) {
        for endpoint in [one, other] {
            if !self.endpoints[endpoint].has_allocation() {
                self.ask(endpoint, Manner::Plain, &Request::Allocate(0));
            }
        }
        for (endpoint, peer) in [(one, other), (other, one)] {
            let mask = Peer::Mask(peer, false, false);
            if level >= 2 {
                self.ask(endpoint, Manner::Plain, &Request::Permit(vec![mask]));
            }
            if level >= 3 {
                let number = u8::try_from(peer % 4).expect("small");
                self.ask(endpoint, Manner::Plain, &Request::Bind(number, mask));
            }
        }
    }
}
