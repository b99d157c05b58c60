//! The server as it runs: the relay and its workers.

use vizard_proto::address::Client;
use vizard_proto::config::Config;
use vizard_proto::contract::{Command, CommandError, Output};
use vizard_proto::forward::Change;
use vizard_proto::time::Timestamp;
use vizard_proto::transmit::Transmit;
use vizard_proto::usage::DropReason;
use vizard_proto::{Relay, Step, Worker};

use crate::defaults::SEED;

/// Which way a packet went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Path {
    Table,
    Relay,
}

/// What became of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Answer(Vec<u8>),
    Arrives(Client, Vec<u8>, Path),
    Dropped(DropReason),
}

pub struct Server {
    pub relay: Relay,
    pub workers: Vec<Worker>,
    /// Knows every client and no entry, so that it must ask the relay.
    blind: Worker,
    pub config: Config,
    /// Everything that came out, until it is taken.
    pub outputs: Vec<Output>,
}

impl Server {
    pub fn new(config: Config, workers: usize) -> Self {
        let worker = |_| Worker::new(&config, workers, SEED);
        Self {
            relay: Relay::new(config.clone(), SEED),
            workers: (0..workers).map(worker).collect(),
            blind: Worker::new(&config, workers, SEED),
            config,
            outputs: Vec::new(),
        }
    }

    pub fn command(&mut self, now: Timestamp, command: Command) -> Result<(), CommandError> {
        match &command {
            Command::SetPolicy { masking, limits } => {
                self.config.masking = masking.clone();
                self.config.limits = limits.clone();
            }
            Command::SetTicketKeys(keys) => self.config.tickets = keys.clone(),
            Command::SetClock(clock) => self.config.clock = *clock,
            _ => {}
        }
        for worker in self.workers.iter_mut().chain([&mut self.blind]) {
            worker.set_config(&self.config);
        }
        let done = self.relay.handle_command(now, command);
        self.drain();
        done
    }

    /// Timers fire when they are due, up to `end`; the last time that one did.
    pub fn pass(&mut self, mut now: Timestamp, end: Timestamp) -> Timestamp {
        while let Some(due) = self.relay.poll_timeout().filter(|due| *due <= end) {
            now = now.max(due);
            self.relay.handle_timeout(now);
            self.drain();
        }
        now
    }

    /// A new process takes over.
    pub fn restart(&mut self) {
        let snapshot = self.relay.snapshot();
        self.relay = Relay::restore(self.config.clone(), SEED, &snapshot).expect("our own");
        self.rebuild();
    }

    /// Every worker starts over with what the relay knows.
    pub fn rebuild(&mut self) {
        self.blind.clear();
        for (index, worker) in (0..).zip(&mut self.workers) {
            worker.clear();
            self.relay.changes(index, |change| {
                blinded(&mut self.blind, &change);
                worker.apply(change);
            });
        }
    }

    pub fn drain(&mut self) {
        while let Some(output) = self.relay.poll_output() {
            if let Output::Change(index, change) = &output {
                blinded(&mut self.blind, change);
                self.workers[usize::from(*index)].apply(change.clone());
            }
            self.outputs.push(output);
        }
    }

    /// A packet comes in at its worker.
    pub fn packet(&mut self, now: Timestamp, from: Client, packet: &[u8]) -> Outcome {
        let worker = &mut self.workers[usize::from(from.worker)];
        let outcome = carry(&mut self.relay, worker, now, from, packet);
        self.drain();
        outcome
    }

    /// The same as if its worker had no entry for it.
    pub fn by_relay(&mut self, now: Timestamp, from: Client, packet: &[u8]) -> Outcome {
        let outcome = carry(&mut self.relay, &mut self.blind, now, from, packet);
        self.drain();
        outcome
    }

    /// How many forwarding entries there are.
    pub fn forward_count(&self) -> usize {
        self.workers.iter().map(Worker::forward_count).sum()
    }
}

fn blinded(worker: &mut Worker, change: &Change) {
    if matches!(change, Change::Join { .. } | Change::Leave(_)) {
        worker.apply(change.clone());
    }
}

/// What a thread does for one packet.
fn carry(
    relay: &mut Relay,
    worker: &mut Worker,
    now: Timestamp,
    from: Client,
    packet: &[u8],
) -> Outcome {
    let mut out = [0; 1024];
    let mut path = Path::Table;
    let mut step = worker.handle(now, from, packet, &mut out);
    if let Step::Ask(admitted) = step {
        path = Path::Relay;
        let verdict = relay.handle(now, admitted, &mut out);
        step = worker.settle(now, &from, verdict, &mut out);
    }
    match step {
        Step::Answer(len) => Outcome::Answer(out[..len].to_vec()),
        Step::Drop(reason) => Outcome::Dropped(reason),
        Step::Transmit(transmit) => Outcome::Arrives(transmit.to, wire(&transmit, packet), path),
        Step::Ask(_) => panic!("asked twice"),
    }
}

/// The bytes that go out.
pub fn wire(transmit: &Transmit, packet: &[u8]) -> Vec<u8> {
    let mut wire = transmit.prefix.as_bytes().to_vec();
    wire.extend_from_slice(&packet[transmit.body.clone()]);
    wire.resize(wire.len() + transmit.padding, 0);
    wire
}
