//! Where packets meet the core: by the worker's own entries and gate, and by the relay where those
//! do not decide.

use std::ops::Range;
use std::sync::Arc;

use vizard_proto::address::{Client, FiveTuple};
use vizard_proto::time::Timestamp;
use vizard_proto::usage::DropReason;
use vizard_proto::{Step, Worker};

use super::counters::{Path, Purpose};
use super::egress::Egress;
use super::report::Report;
use super::shared::Shared;

/// Room for an answer of the gate or the relay.
const ANSWER: usize = 1024;

/// One thread's part of the core. See the module's description.
pub(super) struct Carrier {
    index: u16,
    shared: Arc<Shared>,
    worker: Worker,
    /// Which version of the rules `worker` follows.
    rules: u64,
    /// How many entries of it the metrics know.
    forwards: usize,
    answer: Box<[u8; ANSWER]>,
}

impl Carrier {
    pub(super) fn new(index: u16, shared: Arc<Shared>, worker: Worker) -> Self {
        Self {
            index,
            shared,
            worker,
            rules: 0,
            forwards: 0,
            answer: Box::new([0; ANSWER]),
        }
    }

    /// Brings rules and entries up to date. To be called between receiving packets and looking the
    /// first one up; [`Mailbox`](super::mailbox::Mailbox) says why.
    pub(super) fn catch_up(&mut self) {
        if let Some(config) = self.shared.rules.news(&mut self.rules) {
            self.worker.set_config(&config);
        }
        let Some(mailbox) = self.shared.mailbox(self.index) else {
            return;
        };
        if mailbox.wants_rebuild() {
            return self.shared.rebuild(self.index, &mut self.worker);
        }
        while let Some(change) = mailbox.next_change() {
            self.worker.apply(change);
        }
    }

    /// Prepares for a batch of packets; see [`Worker::look_ahead`].
    pub(super) fn look_ahead<'a>(&self, packets: impl Iterator<Item = (&'a FiveTuple, &'a [u8])>) {
        self.worker.look_ahead(packets);
    }

    /// Whether the client of this 5-tuple, whose packets arrive here, has an allocation.
    pub(super) fn knows(&self, tuple: &FiveTuple) -> bool {
        self.worker.knows(tuple)
    }

    /// Decides about the packet that lies at `packet` in the arena, and carries it out.
    pub(super) fn handle(
        &mut self,
        now: Timestamp,
        from: &Client,
        arena: &[u8],
        packet: Range<usize>,
        egress: &mut Egress,
    ) {
        let bytes = &arena[packet.clone()];
        egress.received(from.tuple.transport, bytes.len());
        let mut path = Path::Table;
        let mut step = self.worker.handle(now, *from, bytes, &mut *self.answer);
        if let Step::Ask(admitted) = step {
            path = Path::Relay;
            let answer = &mut *self.answer;
            let verdict = self.shared.with_relay(Purpose::Packet, now, |relay, now| {
                relay.handle(now, admitted, answer)
            });
            step = self.worker.settle(now, from, verdict, &mut *self.answer);
            // The next packet of the batch may be by an entry that this one has made.
            self.catch_up();
        }
        match step {
            Step::Transmit(transmit) => egress.transmit(&transmit, path, arena, packet.start),
            Step::Answer(len) => egress.answer(&from.tuple, &self.answer[..len], arena),
            Step::Drop(reason) => egress.dropped(reason),
            // It was asked.
            Step::Ask(_) => egress.dropped(DropReason::Unexpected),
        }
    }

    /// Once a second: reports usage, and how many entries there are.
    pub(super) fn tick(&mut self) {
        self.catch_up();
        self.report_usage();
        let count = self.worker.forward_count();
        let before = std::mem::replace(&mut self.forwards, count);
        self.shared.note_forwards(before, count);
    }

    /// Reports all usage since the last report.
    pub(super) fn report_usage(&mut self) {
        let shared = &self.shared;
        self.worker
            .drain_usage(|allocation, usage| shared.report(Report::Usage(allocation, usage)));
    }
}
