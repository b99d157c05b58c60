//! Asks the server and the model the same questions and insists on the same answers.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use vizard_proto::address::{Client, FiveTuple};
use vizard_proto::auth::ticket::{CallId, Ticket};
use vizard_proto::channel_data::ChannelNumber;
use vizard_proto::config::Config;
use vizard_proto::contract::{Command, EndReason, Event, Output, Scope};
use vizard_proto::forward::{Change, Form, Forward, ForwardKey};
use vizard_proto::stun::{Class, Message, Method};
use vizard_proto::time::{Timestamp, WallClock};
use vizard_proto::usage::DropReason;

use super::agent::{Meaning, Packet};
use super::model::{Arrival, Ask, Model, Request};
use testkit::stage::record::Reached;
use testkit::stage::subject::{Path, WORKERS};
use testkit::stage::{Reaction, Server};

pub(crate) struct Checker {
    pub(crate) model: Model,
    pub(crate) reached: Reached,
    server: Server,
    /// The forwarding entries, as installed and removed.
    entries: BTreeMap<ForwardKey, Forward>,
    /// The clients that the workers know.
    clients: BTreeSet<FiveTuple>,
    /// The connections that are in use, with their tickets, as of the last check.
    streams: Vec<(FiveTuple, Ticket)>,
    /// Those that the relay has cut off since somebody asked.
    cut: Vec<FiveTuple>,
    now: Timestamp,
}

/// A packet that the server sends.
pub(crate) type Sent = (FiveTuple, Vec<u8>);

impl Checker {
    /// `end` is when the calls are over, in Unix seconds.
    pub(crate) fn new(config: Config, end: u64) -> Self {
        Self {
            model: Model::new(config.limits.allocations_per_ticket, end),
            reached: Reached::default(),
            server: Server::new(config, WORKERS),
            entries: BTreeMap::new(),
            clients: BTreeSet::new(),
            streams: Vec::new(),
            cut: Vec::new(),
            now: Timestamp::ZERO,
        }
    }

    /// Lets time pass; the relay is woken exactly when it wants to be.
    pub(crate) fn pass(&mut self, now: Timestamp) {
        while let Some(due) = self.server.relay.poll_timeout().filter(|due| *due <= now) {
            self.now = self.now.max(due);
            self.server.pass(self.now, self.now);
            self.check();
            let next = self.server.relay.poll_timeout();
            assert!(next.is_none_or(|next| next > self.now), "woken for nothing");
        }
        self.now = now;
    }

    pub(crate) fn command(&mut self, command: Command) {
        if let Command::Revoke { call, scope, .. } = &command {
            self.model.revoke(*call, *scope);
        }
        let done = self.server.command(self.now, command);
        assert_eq!(done, Ok(()));
        self.check();
    }

    /// What the clock ends it ends as soon as the relay is woken, which it wants to be at once.
    pub(crate) fn set_clock(&mut self, clock: WallClock) {
        self.model.set_clock(self.now, clock);
        let done = self.server.command(self.now, Command::SetClock(clock));
        assert_eq!(done, Ok(()));
        self.server.pass(self.now, self.now);
        self.check();
        self.reached.note("clock set", 0);
    }

    pub(crate) fn revoke(&mut self, call: CallId, scope: Scope, until: u64) {
        self.command(Command::Revoke { call, scope, until });
    }

    pub(crate) fn disconnect(&mut self, tuple: FiveTuple) {
        self.model.disconnect(tuple);
        self.server.relay.handle_disconnect(&tuple);
        self.server.drain();
        self.check();
    }

    /// Another process takes over in the middle of everything.
    pub(crate) fn restart(&mut self) {
        let before = self.server.relay.snapshot();
        let wakes = |server: &Server| server.relay.poll_timeout().unwrap_or(Timestamp::NEVER);
        let woken = wakes(&self.server);
        self.server.restart();
        let after = self.server.relay.snapshot();
        assert!(after == before, "what is read back is what was written");
        // The old one may have wanted to be woken for a call whose end has moved since.
        assert!(wakes(&self.server) >= woken);
        self.check();
    }

    /// A client's packet arrives; what the server sends for it.
    pub(crate) fn packet(&mut self, from: FiveTuple, packet: &Packet) -> Option<Sent> {
        let client = Client {
            tuple: from,
            worker: worker_of(&from),
        };
        let reaction = self.server.packet(self.now, client, &packet.bytes);
        match &packet.meaning {
            Meaning::Request(request) => Some(self.judge_answer(from, request, reaction)),
            Meaning::Send(peer, words) => {
                let due = self.model.send(self.now, from, *peer);
                if let Ok(due) = &due {
                    self.try_the_long_way(client, packet, due, words);
                }
                self.judge_arrival(due, words, reaction)
            }
            Meaning::OnChannel(number, words) => {
                let due = self.model.send_on(self.now, from, *number);
                if let Ok(due) = &due {
                    self.try_the_long_way(client, packet, due, words);
                }
                self.judge_arrival(due, words, reaction)
            }
        }
    }

    fn judge_answer(&mut self, from: FiveTuple, request: &Request, reaction: Reaction) -> Sent {
        let Reaction::Answer(answer) = reaction else {
            panic!("{request:?} was not answered: {reaction:?}");
        };
        let code = self.model.answer(self.now, from, request);
        assert_eq!(testkit::code(&answer), code, "{request:?}");
        let message = Message::parse(&answer).expect("an answer");
        assert_eq!(message.transaction_id(), request.transaction);
        if code == 200 && matches!(request.ask, Ask::Allocate(_)) {
            let mask = message.xor_relayed_address().expect("well-formed");
            let mask = mask.expect("a mask address");
            self.model.note_mask(self.now, from, mask);
            let mapped = message.xor_mapped_address().expect("well-formed");
            assert_eq!(mapped, Some(documentation(mask)));
        }
        self.reached.note(name(&request.ask), code);
        self.check();
        (from, answer)
    }

    fn judge_arrival(
        &mut self,
        due: Result<Arrival, DropReason>,
        words: &[u8],
        reaction: Reaction,
    ) -> Option<Sent> {
        match (due, reaction) {
            (Ok(due), Reaction::Arrives(to, wire, path)) => {
                assert_eq!(to.tuple, due.to, "the right receiver");
                check_wire(&due, words, &wire);
                assert_eq!(path, Path::Table, "the fast path is complete");
                self.reached
                    .note("arrived", u16::from(due.channel.is_some()));
                Some((to.tuple, wire))
            }
            (Err(due), Reaction::Dropped(reason)) => {
                assert_eq!(reason, due);
                self.reached.note(reason.as_str(), 0);
                None
            }
            (due, reaction) => panic!("should be {due:?}, is {reaction:?}"),
        }
    }

    /// Whatever arrives does so by an entry, and arrives all the same without one.
    fn try_the_long_way(&mut self, client: Client, packet: &Packet, due: &Arrival, words: &[u8]) {
        let slow = self.server.by_relay(self.now, client, &packet.bytes);
        let Reaction::Arrives(to, wire, Path::Relay) = slow else {
            panic!("by the table, but not by the relay");
        };
        assert_eq!(to.tuple, due.to);
        check_wire(due, words, &wire);
    }

    /// Whose connections the relay wants closed.
    pub(crate) fn take_cut(&mut self) -> Vec<FiveTuple> {
        std::mem::take(&mut self.cut)
    }

    /// The whole state against the model.
    fn check(&mut self) {
        let mut cut = Vec::new();
        for output in std::mem::take(&mut self.server.outputs) {
            match output {
                Output::Change(worker, change) => self.note(worker, change),
                Output::Disconnect(client) => cut.push(client.tuple),
                Output::Event(Event::AllocationEnded {
                    reason: EndReason::Evicted,
                    ..
                }) => self.reached.note("evicted", 0),
                Output::Event(_) => {}
            }
        }
        self.check_streams(cut);
        self.check_entries();
        assert_eq!(
            self.server.relay.allocation_count(),
            self.model.count(self.now)
        );
    }

    /// A connection is cut off when its ticket is dead, and then always.
    fn check_streams(&mut self, mut cut: Vec<FiveTuple>) {
        let dead = |(_, ticket): &&(FiveTuple, Ticket)| !self.model.is_valid(self.now, ticket);
        let mut due: Vec<_> = self
            .streams
            .iter()
            .filter(dead)
            .map(|(tuple, _)| *tuple)
            .collect();
        due.sort_unstable();
        cut.sort_unstable();
        assert_eq!(cut, due, "connections cut off");
        if !cut.is_empty() {
            self.reached.note("cut off", 0);
        }
        self.cut.extend(cut);
        self.streams = self.model.streams(self.now);
    }

    fn note(&mut self, worker: u16, change: Change) {
        match change {
            Change::Install(key, forward) => {
                assert_eq!(worker, worker_of(&key.tuple), "the sender's worker");
                self.entries.insert(key, forward);
            }
            Change::Remove(key) => {
                let known = self.entries.remove(&key);
                assert!(known.is_some(), "only what was installed is removed");
            }
            Change::Join { tuple, .. } => assert!(self.clients.insert(tuple)),
            Change::Leave(tuple) => {
                assert!(self.clients.remove(&tuple));
                let left = self.entries.keys().filter(|key| key.tuple == tuple);
                assert_eq!(left.count(), 0, "its entries were removed before");
            }
        }
    }

    fn check_entries(&self) {
        let mut listed = BTreeMap::new();
        for worker in [0, 1] {
            self.server.relay.changes(worker, |change| {
                if let Change::Install(key, forward) = change {
                    listed.insert(key, forward);
                }
            });
        }
        assert_eq!(listed, self.entries);
        assert_eq!(self.server.forward_count(), self.entries.len());
        let links: BTreeMap<_, _> = self
            .entries
            .iter()
            .map(|(key, forward)| (*key, arrival(forward)))
            .collect();
        let due = self.model.links(self.now).into_iter();
        let due: BTreeMap<_, _> = due.map(|(key, due)| (key, seen(&due))).collect();
        assert_eq!(links, due);
    }

    /// When every ticket has run out nothing is left.
    pub(crate) fn check_empty(&self) {
        let relay = &self.server.relay;
        assert_eq!(relay.allocation_count(), 0);
        assert_eq!(relay.call_count(), 0);
        assert_eq!(relay.poll_timeout(), None);
        assert!(self.entries.is_empty());
        assert_eq!(self.server.forward_count(), 0);
        assert!(self.clients.is_empty());
    }
}

fn worker_of(tuple: &FiveTuple) -> u16 {
    tuple.remote.port() % 2
}

/// Where a packet comes out: whom it reaches, on which channel or in whose name.
type Exit = (FiveTuple, Option<u16>, Option<SocketAddr>);

fn arrival(forward: &Forward) -> Exit {
    let to = forward.to.tuple;
    match &forward.form {
        Form::ChannelData(channel) => (to, Some(channel.get()), None),
        Form::DataIndication(from, _) => (to, None, Some(*from)),
    }
}

fn seen(due: &Arrival) -> Exit {
    let from = due.channel.is_none().then_some(due.from);
    (due.to, due.channel, from)
}

/// The words must be there, under the right name, and not a byte more.
fn check_wire(due: &Arrival, words: &[u8], wire: &[u8]) {
    let padding = words.len().next_multiple_of(4) - words.len();
    if let Some(number) = due.channel {
        let mut expected = testkit::channel_data(number, words);
        if due.to.transport.is_stream() {
            expected.resize(expected.len() + padding, 0);
        }
        assert_eq!(wire, expected);
        assert!(ChannelNumber::new(number).is_some());
        return;
    }
    let message = Message::parse(wire).expect("a Data indication");
    let kind = (message.class(), message.method());
    assert_eq!(kind, (Class::Indication, Method::DATA));
    assert_eq!(message.xor_peer_address(), Ok(Some(due.from)));
    assert_eq!(message.data().map(|range| &wire[range]), Some(words));
    assert_eq!(message.attributes().count(), 2);
}

/// Of the mask address's family, so that it does not tell the client's.
fn documentation(mask: SocketAddr) -> SocketAddr {
    let ip: IpAddr = match mask {
        SocketAddr::V4(_) => [192, 0, 2, 1].into(),
        SocketAddr::V6(_) => [0x2001, 0xdb8, 0, 0, 0, 0, 0, 1].into(),
    };
    SocketAddr::new(ip, 9)
}

fn name(ask: &Ask) -> &'static str {
    match ask {
        Ask::Allocate(_) => "allocate",
        Ask::Refresh(0) => "delete",
        Ask::Refresh(_) => "refresh",
        Ask::Permit(_) => "permission",
        Ask::Bind(..) => "channel",
    }
}
