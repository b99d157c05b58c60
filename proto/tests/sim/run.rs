//! The agents with their NATs, the network, the server: plays a plan to its end.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use vizard_proto::address::{FiveTuple, Transport};
use vizard_proto::auth::ticket::CallId;
use vizard_proto::contract::Command;
use vizard_proto::time::{Timestamp, WallClock};

use super::agent::{Agent, Heard, State};
use super::checker::{Checker, Sent};
use super::network::{Event, Network};
use super::plan::{CALM, Happening, Plan};
use testkit::stage::places::tuple;
use testkit::stage::record::Reached;

/// Everything that the server sent, and when.
pub(crate) type Log = Vec<(Timestamp, FiveTuple, Vec<u8>)>;

pub(crate) struct Sim<'p> {
    plan: &'p Plan,
    checker: Checker,
    network: Network,
    agents: Vec<Agent>,
    /// Which mask addresses lead to each agent is known from the words that they bring:
    /// (hearer, speaker) to when last.
    heard: BTreeMap<(usize, usize), Timestamp>,
    /// 5-tuples that have belonged to two agents.
    inherited: Vec<FiveTuple>,
    former: Vec<FiveTuple>,
    /// How many addresses have been given out.
    addresses: u16,
    log: Log,
    /// What Unix time it was in the beginning, as the server is told.
    clock: u64,
    now: Timestamp,
    restarts: bool,
}

/// Plays the plan; with or without its restarts.
pub(crate) fn play(plan: &Plan, restarts: bool) -> (Log, Reached) {
    let mut sim = Sim::new(plan, restarts);
    sim.run();
    (sim.log, sim.checker.reached)
}

impl<'p> Sim<'p> {
    fn new(plan: &'p Plan, restarts: bool) -> Self {
        let mut config = testkit::config();
        config.limits.allocations_per_ticket = plan.quota;
        let mut sim = Self {
            plan,
            checker: Checker::new(config, plan.end()),
            network: Network::new(plan.seed),
            agents: Vec::new(),
            heard: BTreeMap::new(),
            inherited: Vec::new(),
            former: Vec::new(),
            addresses: 0,
            log: Log::new(),
            clock: testkit::START,
            now: Timestamp::ZERO,
            restarts,
        };
        sim.network.loss = plan.loss;
        sim.settle();
        sim
    }

    fn settle(&mut self) {
        for call in [1, 2] {
            self.checker.command(Command::OpenCall {
                call: CallId([call; 16]),
                until: self.plan.end(),
                usernames: Vec::new(),
            });
        }
        for (index, member) in self.plan.members.iter().enumerate() {
            let id = u8::try_from(index).expect("few");
            let tuple = self.new_tuple(index, true, None);
            self.former.push(tuple);
            let agent = Agent::new(id, tuple, member.ticket, member.habits);
            self.agents.push(agent);
            let start = Duration::from_millis(u64::from(id) * 300);
            self.network.at(self.now + start, Event::Tick(index));
        }
        for (index, (when, _)) in self.plan.happenings.iter().enumerate() {
            self.network.at(self.now + *when, Event::Happening(index));
        }
    }

    /// A 5-tuple that nobody has had: another address, or another port of the same.
    fn new_tuple(&mut self, index: usize, address: bool, old: Option<FiveTuple>) -> FiveTuple {
        let member = &self.plan.members[index];
        self.addresses += 1;
        let port = 10_000 + self.addresses;
        let [high, low] = self.addresses.to_be_bytes();
        let ip = match old.filter(|_| !address) {
            Some(old) => old.remote.ip(),
            None if member.at_v6 => [0x2001, 0xdb8, 0xbeef, self.addresses, 0, 0, 0, 1].into(),
            None => [100, high, low, 7].into(),
        };
        tuple(member.transport, SocketAddr::new(ip, port))
    }

    fn run(&mut self) {
        let calm = Timestamp::ZERO + self.plan.length;
        let end = calm + CALM;
        let mut is_calm = false;
        while let Some((time, event)) = self.network.next() {
            if time >= calm && !is_calm {
                is_calm = true;
                self.network.loss = 0;
            }
            if time >= end {
                break;
            }
            self.now = time;
            self.checker.pass(time);
            self.take(event);
            for tuple in self.checker.take_cut() {
                self.cut_off(tuple);
            }
        }
        self.check_reachability(calm, end);
        let ends = self.plan.members.iter();
        let last = ends.map(|member| self.checker.model.ticket_end(&member.ticket));
        let over = last.max().expect("somebody") + Duration::from_secs(3600);
        self.checker.pass(over);
        self.checker.check_empty();
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Tick(index) => self.tick(index),
            Event::ToServer(from, packet) => {
                if let Some(sent) = self.checker.packet(from, &packet) {
                    self.send(sent);
                }
            }
            Event::ToClient(to, sent, bytes) => self.deliver(to, sent, &bytes),
            Event::Closed(tuple) => self.checker.disconnect(tuple),
            Event::Meet(hearer, other) => {
                let id = u8::try_from(other).expect("few");
                if let Some(mask) = self.agents[other].mask {
                    self.agents[hearer].meet(id, mask);
                }
            }
            Event::Clock(secs) => self.set_clock(secs),
            Event::Redial(index, times) => self.redial_often(index, times),
            Event::Happening(index) => self.happen(self.plan.happenings[index].1),
        }
    }

    fn send(&mut self, (to, bytes): Sent) {
        let unix = self.checker.model.time(self.now);
        self.network.carry_out(self.now, unix, to, &bytes);
        self.log.push((self.now, to, bytes));
    }

    fn tick(&mut self, index: usize) {
        let says = self.network.dice.below(3) != 0;
        let words = says.then(|| {
            let mut words = vec![u8::try_from(index).expect("few")];
            words.resize(1 + self.network.dice.below(40), 0x5a);
            words
        });
        let agent = &mut self.agents[index];
        let packets = agent.tick(self.now, words);
        let (from, busy) = (agent.phone.tuple, agent.is_busy());
        for packet in packets {
            self.network.carry_in(self.now, from, &packet);
        }
        let pause = if busy {
            250
        } else {
            5_000 + self.network.dice.below(30_000)
        };
        let pause = Duration::from_millis(u64::try_from(pause).expect("small"));
        self.network.at(self.now + pause, Event::Tick(index));
    }

    /// A packet reaches a NAT, which passes it on if it still maps that address to somebody.
    fn deliver(&mut self, to: FiveTuple, sent: u64, bytes: &[u8]) {
        let Some(index) = self.agents.iter().position(|agent| agent.phone.tuple == to) else {
            return;
        };
        match self.agents[index].hear(self.now, sent, bytes) {
            Heard::Nothing => {}
            Heard::Mask(_) => self.introduce(index),
            Heard::NeedsSocket => self.redial(index),
            Heard::Words(id) => self.hear_words(index, usize::from(id), to),
        }
    }

    /// Who hears whom must be of the same call and another party, whatever went wrong.
    fn hear_words(&mut self, hearer: usize, speaker: usize, to: FiveTuple) {
        if self.inherited.contains(&to) {
            return;
        }
        assert!(self.may_meet(hearer, speaker), "{hearer} heard {speaker}");
        self.heard.insert((hearer, speaker), self.now);
    }

    fn may_meet(&self, one: usize, other: usize) -> bool {
        let [one, other] = [one, other].map(|index| self.plan.members[index].ticket);
        one.call == other.call && one.party != other.party
    }

    /// Signalling introduces an agent with a new mask address to the others of its call, and them
    /// to it.
    fn introduce(&mut self, index: usize) {
        for other in 0..self.agents.len() {
            if self.may_meet(index, other) {
                let soon = self.now + Duration::from_millis(100);
                self.network.at(soon, Event::Meet(other, index));
                self.network.at(soon, Event::Meet(index, other));
            }
        }
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Rebind(index, address) => self.rebind(index, address),
            Happening::Inherit(index, other) => self.inherit(index, other),
            Happening::Redial(index, times) => self.redial_often(index, times),
            Happening::Sleep(index, secs) => {
                if self.agents[index].state == State::Awake {
                    let until = self.now + Duration::from_secs(secs);
                    self.agents[index].state = State::AsleepUntil(until);
                }
            }
            Happening::Leave(index) => self.leave(index),
            Happening::Crash(index) => self.agents[index].state = State::Gone,
            Happening::Intrude(index, other) => {
                if let Some(mask) = self.agents[other].mask {
                    let id = u8::try_from(other).expect("few");
                    self.agents[index].meet(id, mask);
                }
            }
            Happening::Revoke(call, scope) => {
                let until = self.plan.end();
                self.checker.revoke(CallId([call; 16]), scope, until);
            }
            Happening::Weather(loss) => self.network.loss = loss,
            Happening::Clock(secs) => self.set_clock(secs),
            Happening::Leap(secs) => {
                self.set_clock(secs);
                let soon = self.now + Duration::from_secs(3);
                self.network.at(soon, Event::Clock(-secs));
                self.checker.reached.note("leap", 0);
            }
            Happening::Restart if self.restarts => self.checker.restart(),
            Happening::Restart => {}
        }
    }

    fn set_clock(&mut self, secs: i64) {
        self.clock = self.clock.saturating_add_signed(secs);
        self.checker.set_clock(WallClock::new(self.clock));
    }

    fn rebind(&mut self, index: usize, address: bool) {
        let old = self.agents[index].phone.tuple;
        let new = self.new_tuple(index, address, Some(old));
        self.switch(index, new);
    }

    /// Over UDP a client does not notice that its NAT has changed its mind. A TCP connection
    /// breaks, which the server learns later, if ever.
    fn switch(&mut self, index: usize, new: FiveTuple) {
        let agent = &mut self.agents[index];
        let old = agent.phone.tuple;
        self.former.push(new);
        if old.transport == Transport::Udp {
            agent.is_moved(new);
            return;
        }
        agent.start_over(new);
        if self.network.dice.below(3) != 0 {
            let later = Duration::from_secs([1, 20, 130][self.network.dice.below(3)]);
            self.network.at(self.now + later, Event::Closed(old));
        }
    }

    fn inherit(&mut self, index: usize, other: usize) {
        let used = |tuple: &FiveTuple| self.agents.iter().any(|agent| agent.phone.tuple == *tuple);
        let transport = self.plan.members[index].transport;
        let free = self
            .former
            .iter()
            .filter(|tuple| tuple.transport == transport && transport == Transport::Udp)
            .filter(|tuple| !used(tuple))
            .nth(other)
            .copied();
        if let Some(tuple) = free {
            self.inherited.push(tuple);
            self.switch(index, tuple);
            if self.network.dice.below(2) == 0 {
                self.agents[index].start_over(tuple);
            }
        }
    }

    /// One restart after the other, as ICE does in bad weather.
    fn redial_often(&mut self, index: usize, times: u8) {
        self.redial(index);
        if times > 1 {
            let later = self.now + Duration::from_secs(10);
            self.network.at(later, Event::Redial(index, times - 1));
        }
    }

    fn redial(&mut self, index: usize) {
        let old = self.agents[index].phone.tuple;
        let new = self.new_tuple(index, false, Some(old));
        if old.transport == Transport::Tcp {
            self.switch(index, new);
        } else {
            self.former.push(new);
            self.agents[index].start_over(new);
        }
    }

    /// The server has closed a connection; whoever had it tries another.
    fn cut_off(&mut self, tuple: FiveTuple) {
        self.log.push((self.now, tuple, b"closed".to_vec()));
        let whose = |agent: &Agent| agent.phone.tuple == tuple;
        if let Some(index) = self.agents.iter().position(whose) {
            let new = self.new_tuple(index, false, Some(tuple));
            self.agents[index].start_over(new);
        }
    }

    fn leave(&mut self, index: usize) {
        if self.agents[index].state != State::Awake {
            return;
        }
        let packet = self.agents[index].farewell();
        let from = self.agents[index].phone.tuple;
        self.network.carry_in(self.now, from, &packet);
    }

    /// After the calm everybody who may reach somebody does.
    fn check_reachability(&self, calm: Timestamp, end: Timestamp) {
        // On somebody's old address it may find an old allocation, and keep up the wrong one.
        let well = |index: &usize| {
            let agent = &self.agents[*index];
            agent.state == State::Awake
                && self.checker.model.is_valid(end, &agent.ticket)
                && !self.inherited.contains(&agent.phone.tuple)
        };
        let all = 0..self.agents.len();
        for hearer in all.clone().filter(well) {
            for speaker in all.clone().filter(well) {
                if self.may_meet(hearer, speaker) {
                    let last = self.heard.get(&(hearer, speaker));
                    assert!(
                        last.is_some_and(|last| *last > calm + CALM * 3 / 4),
                        "{hearer} has not heard {speaker} since {last:?}"
                    );
                }
            }
        }
    }
}
