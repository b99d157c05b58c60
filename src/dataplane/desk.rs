//! Where a worker decides what becomes of a packet: by its own table, at its own gate, or by the
//! relay.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use vizard_proto::address::{Client, FiveTuple};
use vizard_proto::channel_data::{self, Kind};
use vizard_proto::contract::{AllocationId, DropReason, Usage, Verdict};
use vizard_proto::forward::ForwardTable;
use vizard_proto::gate::{Admission, Gate};
use vizard_proto::time::Timestamp;

use super::brain::Brain;
use super::counters::Purpose;
use super::exits::Exits;
use super::mailbox::Change;

/// Room for an answer of the gate or the relay.
const ANSWER: usize = 1024;

pub(super) struct Desk {
    hand: u16,
    brain: Arc<Brain>,
    gate: Gate,
    rules_version: u64,
    table: ForwardTable,
    /// Traffic that went through the relay or by entries that are gone, since the last report.
    usage: HashMap<AllocationId, Usage>,
    answer: Box<[u8; ANSWER]>,
}

impl Desk {
    pub(super) fn new(hand: u16, brain: Arc<Brain>, gate: Gate, table: ForwardTable) -> Self {
        Self {
            hand,
            brain,
            gate,
            rules_version: 0,
            table,
            usage: HashMap::new(),
            answer: Box::new([0; ANSWER]),
        }
    }

    /// Brings the table up to date. To be called between receiving packets and looking the first
    /// one up; [`Mailbox`](super::mailbox::Mailbox) says why.
    pub(super) fn catch_up(&mut self) {
        let brain = Arc::clone(&self.brain);
        let Some(mailbox) = brain.mailbox(self.hand) else {
            return;
        };
        if mailbox.wants_rebuild() {
            self.collect_usage();
            self.table.clear();
            return brain.rebuild(self.hand, &mut self.table);
        }
        while let Some(change) = mailbox.next_change() {
            match change {
                Change::Install(key, forward) => self.table.insert(key, forward),
                Change::Remove(key) => {
                    if let Some((allocation, usage)) = self.table.remove(&key)
                        && usage.packets > 0
                    {
                        *self.usage.entry(allocation).or_default() += usage;
                    }
                }
            }
        }
    }

    /// Prepares for a batch of packets; see [`ForwardTable::look_ahead`].
    pub(super) fn look_ahead<'a>(&self, packets: impl Iterator<Item = (&'a FiveTuple, &'a [u8])>) {
        self.table.look_ahead(packets);
    }

    /// Decides about the packet that lies at `packet` in the arena, and carries it out.
    pub(super) fn handle(
        &mut self,
        now: Timestamp,
        from: &Client,
        arena: &mut [u8],
        packet: Range<usize>,
        exits: &mut Exits,
    ) {
        let bytes = &mut arena[packet.clone()];
        exits.counters.received(from.tuple.transport, bytes.len());
        if bytes.first().map(|first| channel_data::kind(*first)) == Some(Kind::ChannelData) {
            return match self.table.forward(now, &from.tuple, bytes) {
                Ok(hop) => exits.pass_on(&hop, arena, packet.start),
                Err(DropReason::NoForward) => self.ask_relay(now, from, arena, packet, exits),
                Err(reason) => exits.counters.dropped(reason),
            };
        }
        match self.gate.admit(now, from, bytes, &mut *self.answer) {
            Admission::Answer(len) => exits.answer(&from.tuple, &self.answer[..len], arena),
            Admission::Drop(reason) => exits.counters.dropped(reason),
            Admission::Relay => self.ask_relay(now, from, arena, packet, exits),
        }
    }

    fn ask_relay(
        &mut self,
        now: Timestamp,
        from: &Client,
        arena: &[u8],
        packet: Range<usize>,
        exits: &mut Exits,
    ) {
        let bytes = &arena[packet.clone()];
        let verdict = self.brain.with_relay(Purpose::Packet, now, |relay, now| {
            relay.handle_packet(now, *from, bytes, &mut *self.answer)
        });
        match verdict {
            Verdict::Answer(len) => exits.answer(&from.tuple, &self.answer[..len], arena),
            Verdict::Drop(reason) => exits.counters.dropped(reason),
            Verdict::Forward(delivery) => {
                let bytes = delivery.payload.len() as u64;
                *self.usage.entry(delivery.allocation).or_default() += Usage { packets: 1, bytes };
                exits.deliver(&delivery, arena, packet);
            }
        }
    }

    /// Once a second: reports usage and takes over new limits.
    pub(super) fn tick(&mut self) {
        self.catch_up();
        self.report_usage();
        if let Some(rules) = self.brain.new_rules(&mut self.rules_version) {
            self.gate.set_limits(&self.brain.share(&rules.limits));
            self.gate.set_clock(rules.clock);
        }
        if self.hand == 0 {
            self.brain.check_clock();
            self.brain.note_forwards(self.table.len());
        }
    }

    /// Reports all usage since the last report.
    pub(super) fn report_usage(&mut self) {
        self.collect_usage();
        for (allocation, usage) in self.usage.drain() {
            self.brain.report_usage(allocation, usage);
        }
    }

    fn collect_usage(&mut self) {
        let usage = &mut self.usage;
        self.table.drain_usage(|allocation, carried| {
            *usage.entry(allocation).or_default() += carried;
        });
    }
}
