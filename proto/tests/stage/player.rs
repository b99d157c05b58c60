//! Plays a script before a server.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use vizard_proto::address::{Client, FiveTuple, Transport};
use vizard_proto::contract::{Event, Output};
use vizard_proto::stun::{AttributeType, Message, Method};
use vizard_proto::time::Timestamp;

use super::cast::{LINES, Who};
use super::gist::{ended, gist, method_name, payload, without_padding};
use super::house::{Path, Reaction, Server};
use super::line::Line;
use super::places::{Places, tuple};
use super::record::{Entry, Record, Seen};
use super::requests::{CHANNELS, put};
use super::script::{Manner, Peer, Request, Script, Spot, Step};
use super::{Contrast, Twist};
use crate::kit;

/// Plays `script` with B at `places`; `guesses` are what A takes B's addresses for. Besides what
/// came of it, whom everybody but B has named.
pub fn play(
    script: &Script,
    places: &Places,
    guesses: [&Places; 2],
    twist: Twist,
    server: impl Server,
) -> (Record, VecDeque<SocketAddr>) {
    let mut player = Player {
        server,
        places,
        guesses,
        twist,
        named: VecDeque::new(),
        now: Timestamp::from_secs(10),
        lines: (0..LINES).map(Line::new).collect(),
        record: Record::default(),
        step: 0,
        keys: 1,
        clock: kit::START,
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
    pub(super) server: S,
    places: &'p Places,
    guesses: [&'p Places; 2],
    twist: Twist,
    named: VecDeque<SocketAddr>,
    pub(super) now: Timestamp,
    pub(super) lines: Vec<Line>,
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

impl<S: Server> Player<'_, S> {
    fn open(&mut self, level: u8) {
        if level > 0 {
            self.dial(0, 1, level);
            self.dial(3, 2, level);
        }
        self.finish_step();
    }

    fn take(&mut self, step: &Step) {
        for (to, bytes) in self.server.late() {
            self.see_packet(&to, bytes);
        }
        match step {
            Step::Pass(time) => self.pass(*time),
            Step::Drift(time) => self.now = self.now + *time,
            Step::Ask(line, manner, request) => {
                self.ask(*line, *manner, request);
            }
            Step::Again(line, allocate) => self.again(*line, *allocate),
            Step::Send(line, peer, len) => self.send(*line, *peer, *len),
            Step::Channel(line, which, len) => {
                let line = self.from(*line, |line| !line.channels.is_empty());
                self.channel(line, *which, *len);
            }
            Step::Talk(line) => {
                let line = self.from(*line, |line| !line.permitted.is_empty());
                self.talk(line);
            }
            Step::Garbage(line, kind, dirt) => {
                let bytes = self.lines[*line].garbage(*kind, *dirt);
                self.exchange(*line, &bytes);
            }
            Step::Binding(line) => {
                let bytes = self.lines[*line].binding();
                self.exchange(*line, &bytes);
            }
            Step::Move(line, spot) => self.move_to(*line, *spot),
            Step::Roam(line, spot) => self.roam(*line, *spot),
            Step::Sweep(line, start) => self.sweep(*line, *start),
            Step::Spread(line) => self.spread(*line),
            Step::Disconnect(line) => self.disconnect(*line),
            Step::Dial(one, other, level) => self.dial(*one, *other, *level),
            Step::Control(control) => self.control(*control),
            Step::Restart => {
                self.server.house().restart();
                self.record.reached.note("restart", 0);
            }
        }
        self.finish_step();
    }

    fn finish_step(&mut self) {
        let house = self.server.house();
        let wakes = house.relay.poll_timeout();
        let outputs = std::mem::take(&mut house.outputs);
        self.server.after_step(&outputs);
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
        self.server.house().pass(self.now, end);
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

    /// Whether the line is B's, who is not there in this run.
    fn is_absent(&self, line: usize) -> bool {
        self.twist.is_without_b() && self.lines[line].is_b()
    }

    /// Now and then the system moves everybody's packets to the other worker.
    fn client(&self, line: usize) -> Client {
        let line = &self.lines[line];
        let transport = line.part.transport;
        let mut client = if line.is_b() {
            let transport = self.twist.transport(transport);
            self.places.client(line.spot, transport)
        } else {
            Client {
                tuple: tuple(transport, line.fixed_address()),
                worker: u16::from(line.part.who == Who::C),
            }
        };
        client.worker ^= u16::from(self.step / 7 % 2 == 1);
        client
    }

    /// Sends a packet and writes down what came of it; the answer, if it was answered.
    fn exchange(&mut self, line: usize, bytes: &[u8]) -> Option<Vec<u8>> {
        if self.is_absent(line) {
            return None;
        }
        self.lines[line].last = bytes.to_vec();
        let client = self.client(line);
        match self.server.packet(self.now, client, bytes) {
            Reaction::Answer(answer) => {
                self.note_answer(line, &answer);
                let seen = match self.name(&client.tuple) {
                    Some(name) => Seen::ToB(name, gist(&answer, client.tuple.remote)),
                    None => Seen::Packet(client.tuple, answer.clone()),
                };
                self.see(seen);
                return Some(answer);
            }
            Reaction::Arrives(to, wire, path) => {
                self.note_arrival(line, &to, &wire, path);
                self.see_packet(&to, wire);
            }
            Reaction::Dropped(reason) => {
                self.record.reached.note(reason.as_str(), 0);
                self.see(Seen::Dropped(line, reason));
            }
        }
        None
    }

    fn note_answer(&mut self, line: usize, answer: &[u8]) {
        let message = Message::parse(answer).expect("a well-formed answer");
        let (method, code) = (method_name(message.method()), kit::code(answer));
        self.record.reached.note(method, code);
        if !self.lines[line].is_b() {
            self.record.codes.push((self.step, line, method, code));
        }
        if message.has(AttributeType::ADDRESS_ERROR_CODE) {
            self.record.reached.note("address error", 0);
        }
    }

    fn note_arrival(&mut self, line: usize, to: &Client, wire: &[u8], path: Path) {
        let from_b = self.lines[line].is_b();
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

    fn ask(&mut self, line: usize, manner: Manner, request: &Request) -> Option<u16> {
        if self.is_absent(line) {
            return None;
        }
        if manner == Manner::Plain
            && matches!(request, Request::Permit(_) | Request::Bind(..))
            && !self.lines[line].has_allocation()
        {
            self.ask(line, manner, &Request::Allocate(0));
        }
        if self.lines[line].nonce.is_empty() && manner != Manner::Unsigned {
            let allocate = Request::Allocate(0);
            self.ask_once(line, Manner::Unsigned, &allocate);
        }
        let code = self.ask_once(line, manner, request)?;
        if code == 438 && manner != Manner::OldNonce {
            return self.ask_once(line, manner, request);
        }
        Some(code)
    }

    fn ask_once(&mut self, line: usize, manner: Manner, request: &Request) -> Option<u16> {
        let bytes = self.compose(line, manner, request);
        if matches!(request, Request::Allocate(_)) {
            self.lines[line].last_allocate.clone_from(&bytes);
        }
        let answer = self.exchange(line, &bytes)?;
        let message = Message::parse(&answer).expect("a well-formed answer");
        self.lines[line].learn(&message);
        let code = kit::code(&answer);
        if code == 200 {
            self.keep_books(line, request);
        }
        Some(code)
    }

    fn keep_books(&mut self, line: usize, request: &Request) {
        let peers = self.named(line, request);
        let line = &mut self.lines[line];
        for peer in peers {
            if !line.permitted.contains(&peer) {
                line.permitted.push(peer);
            }
        }
        match request {
            Request::Refresh(Some(0), None) => line.forget_allocation(),
            Request::Bind(which, _) => {
                let number = CHANNELS[usize::from(*which)];
                if !line.channels.contains(&number) {
                    line.channels.push(number);
                }
            }
            _ => {}
        }
    }

    fn compose(&mut self, line: usize, manner: Manner, request: &Request) -> Vec<u8> {
        let other = match manner {
            // Whoever has B's ticket is B.
            Manner::Borrowed(other) if self.may_borrow(other) => self.lines[other].part,
            _ => self.lines[line].part,
        };
        let peers = self.named(line, request);
        let method = match request {
            Request::Allocate(_) => Method::ALLOCATE,
            Request::Refresh(..) | Request::Roam => Method::REFRESH,
            Request::Permit(_) => Method::CREATE_PERMISSION,
            Request::Bind(..) => Method::CHANNEL_BIND,
        };
        let ticket = self.lines[line].mobility.clone();
        self.lines[line].request(method, manner, other, |writer| {
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
        self.twist.contrast != Contrast::Presence || !self.lines[other].is_b()
    }

    fn named(&mut self, line: usize, request: &Request) -> Vec<SocketAddr> {
        match request {
            Request::Permit(peers) => peers.iter().map(|peer| self.peer(line, *peer)).collect(),
            Request::Bind(_, peer) => vec![self.peer(line, *peer)],
            _ => Vec::new(),
        }
    }

    /// The address behind a name, as it was in the first run.
    fn peer(&mut self, line: usize, peer: Peer) -> SocketAddr {
        let address = self.look_up(peer);
        if self.twist.contrast != Contrast::Presence || self.lines[line].is_b() {
            return address;
        }
        let address = self.twist.named.pop_front().unwrap_or(address);
        self.named.push_back(address);
        address
    }

    /// The same in every run, unless the server tells masks differently.
    fn look_up(&mut self, peer: Peer) -> SocketAddr {
        match peer {
            Peer::Mask(line, second, other_port) => {
                let [v4, v6] = self.lines[line].masks;
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

    /// The next line from `start` on that is fit, or else that one.
    fn from(&self, start: usize, fit: impl Fn(&Line) -> bool) -> usize {
        let chosen =
            |line: &Line| fit(line) && (self.twist.contrast != Contrast::Presence || !line.is_b());
        (start..start + LINES)
            .map(|line| line % LINES)
            .find(|line| chosen(&self.lines[*line]))
            .unwrap_or(start)
    }

    fn again(&mut self, line: usize, allocate: bool) {
        let line_state = &self.lines[line];
        let bytes = if allocate {
            line_state.last_allocate.clone()
        } else {
            line_state.last.clone()
        };
        self.exchange(line, &bytes);
    }

    fn send(&mut self, line: usize, peer: Peer, len: usize) {
        if self.is_absent(line) {
            return;
        }
        let peer = self.peer(line, peer);
        self.send_to(line, peer, len);
    }

    fn send_to(&mut self, line: usize, peer: SocketAddr, len: usize) {
        let payload = payload(line, len);
        let bytes = self.lines[line].send(peer, &payload);
        self.exchange(line, &bytes);
    }

    fn channel(&mut self, line: usize, which: u8, len: usize) {
        let bound = &self.lines[line].channels;
        let which = usize::from(which);
        let number = if bound.is_empty() {
            CHANNELS[which % CHANNELS.len()]
        } else {
            bound[which % bound.len()]
        };
        let mut bytes = kit::channel_data(number, &payload(line, len));
        if self.client(line).tuple.transport.is_stream() {
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
        self.exchange(line, &bytes);
    }

    fn talk(&mut self, line: usize) {
        for which in 0..self.lines[line].channels.len() {
            self.channel(line, u8::try_from(which).expect("few"), 160);
        }
        for peer in self.lines[line].permitted.clone() {
            self.send_to(line, peer, 33);
        }
    }

    fn move_to(&mut self, line: usize, spot: Spot) {
        let moving = &mut self.lines[line];
        moving.spot = spot;
        // What was allocated stays behind on the old 5-tuple.
        moving.forget_allocation();
        self.record.reached.note("move", u16::from(moving.is_b()));
    }

    fn roam(&mut self, line: usize, spot: Spot) {
        self.lines[line].spot = spot;
        if self.ask(line, Manner::Plain, &Request::Roam) == Some(200) {
            let is_b = self.lines[line].is_b();
            self.record.reached.note("roam", u16::from(is_b));
        } else {
            self.lines[line].forget_allocation();
        }
    }

    fn spread(&mut self, line: usize) {
        let start = self.lines[line].spot;
        for port in 0..Spot::PORTS {
            self.lines[line].spot = Spot { port, ..start };
            self.ask(line, Manner::Plain, &Request::Allocate(0));
        }
    }

    fn sweep(&mut self, line: usize, start: u16) {
        let pool = (start..start.saturating_add(8)).map(Peer::Pool);
        let parties = (0..LINES).map(|other| Peer::Mask(other, false, !start.is_multiple_of(512)));
        for (peer, number) in parties.zip((0..4).cycle()) {
            self.ask(line, Manner::Plain, &Request::Permit(vec![peer]));
            self.ask(line, Manner::Plain, &Request::Bind(number, peer));
        }
        self.ask(line, Manner::Plain, &Request::Permit(pool.collect()));
    }

    fn disconnect(&mut self, line: usize) {
        if !self.lines[line].part.transport.is_stream() {
            return;
        }
        let tuple = self.client(line).tuple;
        let house = self.server.house();
        house.relay.handle_disconnect(&tuple);
        house.drain();
        self.lines[line].forget_allocation();
    }

    fn dial(&mut self, one: usize, other: usize, level: u8) {
        for line in [one, other] {
            if !self.lines[line].has_allocation() {
                self.ask(line, Manner::Plain, &Request::Allocate(0));
            }
        }
        for (line, peer) in [(one, other), (other, one)] {
            let mask = Peer::Mask(peer, false, false);
            if level >= 2 {
                self.ask(line, Manner::Plain, &Request::Permit(vec![mask]));
            }
            if level >= 3 {
                let number = u8::try_from(peer % 4).expect("small");
                self.ask(line, Manner::Plain, &Request::Bind(number, mask));
            }
        }
    }
}
