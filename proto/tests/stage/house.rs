//! The server as a worker sees it: the relay, one forwarding table per hand, perhaps a gate each.

use ipnet::Ipv4Net;
use vizard_proto::Relay;
use vizard_proto::address::Client;
use vizard_proto::config::{AnswerBinding, Config};
use vizard_proto::contract::{Command, CommandError, DropReason, Output, Verdict};
use vizard_proto::forward::ForwardTable;
use vizard_proto::gate::{Admission, Gate};
use vizard_proto::time::Timestamp;

use super::script::{Pools, Rules};
use crate::kit;

pub const HANDS: usize = 2;

/// What is put to the test: the house, or something around it.
pub trait Server {
    fn packet(&mut self, now: Timestamp, from: Client, bytes: &[u8]) -> Reaction;
    fn house(&mut self) -> &mut House;

    /// Packets that go out without one coming in.
    fn late(&mut self) -> Vec<(Client, Vec<u8>)> {
        Vec::new()
    }

    /// A step is over; these are the relay's outputs in it.
    fn after_step(&mut self, _outputs: &[Output]) {}
}

/// What became of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reaction {
    Answer(Vec<u8>),
    Arrives(Client, Vec<u8>, Path),
    Dropped(DropReason),
}

/// Which way a packet went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Path {
    Table,
    Relay,
}

pub struct House {
    pub relay: Relay,
    pub tables: [ForwardTable; HANDS],
    pub gates: Option<[Gate; HANDS]>,
    pub config: Config,
    /// Everything that came out, until somebody takes it.
    pub outputs: Vec<Output>,
}

impl House {
    pub fn new(config: Config, gates: bool) -> Self {
        Self {
            relay: Relay::new(config.clone(), kit::SEED),
            tables: [0; HANDS].map(|_| ForwardTable::new(kit::SEED)),
            gates: gates.then(|| [0; HANDS].map(|_| Gate::new(&config, kit::SEED))),
            config,
            outputs: Vec::new(),
        }
    }

    pub fn command(&mut self, now: Timestamp, command: Command) -> Result<(), CommandError> {
        if let Command::SetPolicy { masking, limits } = &command {
            for gate in self.gates.iter_mut().flatten() {
                gate.set_limits(limits);
            }
            self.config.limits = limits.clone();
            self.config.masking = masking.clone();
        }
        if let Command::SetTicketKeys(keys) = &command {
            self.config.tickets = keys.clone();
        }
        if let Command::SetClock(clock) = &command {
            for gate in self.gates.iter_mut().flatten() {
                gate.set_clock(*clock);
            }
            self.config.clock = *clock;
        }
        let done = self.relay.handle_command(now, command);
        self.drain();
        done
    }

    /// Timers fire when they are due, up to `end`.
    pub fn pass(&mut self, mut now: Timestamp, end: Timestamp) {
        while let Some(due) = self.relay.poll_timeout().filter(|due| *due <= end) {
            now = now.max(due);
            self.relay.handle_timeout(now);
            self.drain();
        }
    }

    /// A new process takes over.
    pub fn restart(&mut self) {
        let snapshot = self.relay.snapshot();
        self.relay =
            Relay::restore(self.config.clone(), kit::SEED, &snapshot).expect("our own snapshot");
        for table in &mut self.tables {
            table.clear();
            self.relay
                .forwards(|key, forward| table.insert(key, forward));
        }
    }

    pub fn drain(&mut self) {
        while let Some(output) = self.relay.poll_output() {
            for table in &mut self.tables {
                match output {
                    Output::InstallForward(key, forward) => table.insert(key, forward),
                    Output::RemoveForward(key) => {
                        table.remove(&key);
                    }
                    Output::Disconnect(_) | Output::Event(_) => {}
                }
            }
            self.outputs.push(output);
        }
    }

    /// The forwarding table's word, if it has one.
    fn by_table(&mut self, now: Timestamp, from: &Client, bytes: &[u8]) -> Option<Reaction> {
        if !matches!(bytes.first(), Some(0x40..0x80)) {
            return None;
        }
        let mut packet = bytes.to_vec();
        let table = &mut self.tables[usize::from(from.hand)];
        match table.forward(now, &from.tuple, &mut packet) {
            Ok(hop) => {
                packet.truncate(hop.len);
                packet.resize(hop.len + hop.padding, 0);
                Some(Reaction::Arrives(hop.to, packet, Path::Table))
            }
            Err(DropReason::NoForward) => None,
            Err(reason) => Some(Reaction::Dropped(reason)),
        }
    }

    fn by_gate(&mut self, now: Timestamp, from: &Client, bytes: &[u8]) -> Option<Reaction> {
        let gate = &mut self.gates.as_mut()?[usize::from(from.hand)];
        let mut out = [0; 1024];
        match gate.admit(now, from, bytes, &mut out) {
            Admission::Answer(len) => Some(Reaction::Answer(out[..len].to_vec())),
            Admission::Drop(reason) => Some(Reaction::Dropped(reason)),
            Admission::Relay => None,
        }
    }

    /// Past the hand's table and gate.
    pub fn by_relay(&mut self, now: Timestamp, from: Client, bytes: &[u8]) -> Reaction {
        let mut out = [0; 1024];
        let verdict = self.relay.handle_packet(now, from, bytes, &mut out);
        self.drain();
        match verdict {
            Verdict::Answer(len) => Reaction::Answer(out[..len].to_vec()),
            Verdict::Drop(reason) => Reaction::Dropped(reason),
            Verdict::Forward(delivery) => {
                let mut wire = delivery.prefix.as_bytes().to_vec();
                wire.extend_from_slice(&bytes[delivery.payload.clone()]);
                wire.resize(wire.len() + delivery.padding, 0);
                Reaction::Arrives(delivery.to, wire, Path::Relay)
            }
        }
    }
}

impl Server for House {
    fn packet(&mut self, now: Timestamp, from: Client, bytes: &[u8]) -> Reaction {
        self.by_table(now, &from, bytes)
            .or_else(|| self.by_gate(now, &from, bytes))
            .unwrap_or_else(|| self.by_relay(now, from, bytes))
    }

    fn house(&mut self) -> &mut House {
        self
    }
}

/// The configuration that the script's rules make.
pub fn config(rules: Rules) -> Config {
    let mut config = kit::config();
    let limits = &mut config.limits;
    if rules.tight_budget {
        limits.answers_burst = 2;
        limits.answers_per_second = 1;
    }
    if rules.few_allocations {
        limits.allocations_per_ticket = 2;
        limits.allocations = 6;
    }
    if rules.few_permissions {
        limits.permissions = 1;
        limits.channels = 1;
    }
    if rules.few_places {
        limits.calls = 1;
    }
    if rules.short_nonces {
        limits.nonce_lifetime = std::time::Duration::from_secs(32);
    }
    let masking = &mut config.masking;
    match rules.pools {
        Pools::Both => {}
        Pools::OnlyV4 => masking.pool_v6 = None,
        Pools::OnlyV6 => masking.pool_v4 = None,
        Pools::Tiny => {
            masking.pool_v4 = Some(Ipv4Net::new_assert([198, 18, 0, 0].into(), 30));
        }
    }
    masking.answer_binding = binding(rules.binding);
    config
}

pub fn binding(number: u8) -> AnswerBinding {
    match number % 3 {
        1 => AnswerBinding::Never,
        2 => AnswerBinding::Always,
        _ => AnswerBinding::UnlessMasked,
    }
}
