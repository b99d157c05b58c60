//! Where packets meet the core: by the worker's own entries and gate, and by the relay where those
//! do not decide.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use vizard_proto::address::{Client, FiveTuple};
use vizard_proto::time::Timestamp;
use vizard_proto::usage::DropReason;
use vizard_proto::{Step, Worker};

use super::counters::{Path, Purpose};
use super::egress::Egress;
use super::shared::Shared;

/// Accounts whose usage is reported in one round of the worker: some 20 us of work.
const USAGE_BATCH: usize = 512;
/// How long the last reports may wait to be taken.
const LAST_REPORTS: Duration = Duration::from_secs(5);
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
    /// Whether there is usage left to report.
    is_draining: bool,
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
            is_draining: false,
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

    /// Once a second: begins to report usage, and says how many entries there are.
    pub(super) fn tick(&mut self) {
        self.catch_up();
        self.is_draining = true;
        let count = self.worker.forward_count();
        let before = std::mem::replace(&mut self.forwards, count);
        self.shared.note_forwards(before, count);
    }

    /// Whether [`Self::report_usage`] has more to do.
    pub(super) fn is_draining(&self) -> bool {
        self.is_draining
    }

    /// Reports a part of the usage, so that no packet waits for all of it. What finds no room is
    /// left for the next second, and so is what was used meanwhile. Returns whether there was room.
    pub(super) fn report_usage(&mut self) -> bool {
        if !self.is_draining {
            return true;
        }
        let worker = &mut self.worker;
        let mut is_more = false;
        let had_room = self.shared.reporter.usage(&mut || {
            let mut batch = Vec::with_capacity(USAGE_BATCH);
            let mut report = |allocation, usage| batch.push((allocation, usage));
            is_more = worker.drain_usage(USAGE_BATCH, &mut report);
            batch
        });
        self.is_draining = is_more;
        had_room
    }

    /// Reports all usage there is, at the end. If nothing takes it for a while, it is lost, and
    /// the log says so.
    pub(super) fn report_all_usage(&mut self) {
        let until = self.shared.clock.now() + LAST_REPORTS;
        while self.worker.has_usage() {
            if self.shared.clock.now() >= until {
                tracing::warn!("the last usage of some calls was lost: nothing took it");
                return;
            }
            self.is_draining = true;
            if !self.report_usage() {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }
}
