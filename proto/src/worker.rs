//! What each of the caller's threads runs: its own gate, its own copy of the forwarding entries, and
//! a count of what it passed on.

use alloc::collections::BTreeMap;

use crate::address::{Client, FiveTuple};
use crate::config::{Config, Limits};
use crate::contract::Verdict;
use crate::forward::{Change, ForwardKey, ForwardTable};
use crate::gate::{Admission, Admitted, Gate, Media, Reply};
use crate::id::AllocationId;
use crate::rate::Bucket;
use crate::time::Timestamp;
use crate::transmit::Transmit;
use crate::usage::{DropReason, Usage};

/// What is to be done about a packet.
pub enum Step<'p> {
    /// Send a part of it to another client.
    Transmit(Transmit),
    /// Send the first so many bytes of the output buffer back to where the packet came from.
    Answer(usize),
    /// Nothing is to be sent. Count it.
    Drop(DropReason),
    /// Hand it to [`Relay::handle`](crate::Relay::handle), and what that says to
    /// [`Worker::settle`].
    Ask(Admitted<'p>),
}

/// See the module's description.
pub struct Worker {
    gate: Gate,
    table: ForwardTable,
    /// Traffic that went through the relay, or whose entries are gone, since the last report.
    usage: BTreeMap<AllocationId, Usage>,
    strays: Bucket,
    idle_talk: Bucket,
    workers: usize,
}

/// How many packets a second and worker the relay is asked about though their sender is not known
/// here. The system may have moved a client's packets to another worker, which is rare; strangers
/// could send such packets all day.
const STRAYS_PER_SECOND: u64 = 50;
/// The same for packets of clients that are known, but have no entry for them: all that the relay
/// can say is why it drops them.
const IDLE_TALK_PER_SECOND: u64 = 1000;
/// Both may come within one moment.
const SECOND: u64 = 1_000_000_000;

impl Worker {
    /// One of so many workers, whose clients each have an equal part of the limits on answers to
    /// strangers. `seed` must be unknown to attackers.
    pub fn new(config: &Config, workers: usize, seed: [u8; 32]) -> Self {
        Self {
            gate: Gate::new(&share(config, workers), seed),
            table: ForwardTable::new(seed),
            usage: BTreeMap::new(),
            strays: Bucket::FULL,
            idle_talk: Bucket::FULL,
            workers,
        }
    }

    /// Takes over new settings. Realm, nonces and pools stay as they were.
    pub fn set_config(&mut self, config: &Config) {
        self.gate.set_config(&share(config, self.workers));
    }

    /// A packet came in. `out` receives the answer, if there is one, and should hold 1024 bytes.
    pub fn handle<'p>(
        &mut self,
        now: Timestamp,
        from: Client,
        packet: &'p [u8],
        out: &mut [u8],
    ) -> Step<'p> {
        match self.gate.admit(now, &from, packet, out) {
            Admission::Media(media) => self.pass_on(now, &from, media, packet),
            Admission::Binding(message) => {
                let is_masked = self.table.is_masked(&from.tuple);
                let gate = &mut self.gate;
                Step::from(gate.answer_binding(now, &from, &message, is_masked, out))
            }
            Admission::Ask(admitted) => Step::Ask(admitted),
            Admission::Expired(admitted, _) if self.table.knows(&from.tuple) => Step::Ask(admitted),
            Admission::Expired(_, request) => {
                Step::from(self.gate.challenge(now, &from, request, out))
            }
            Admission::Done(reply) => Step::from(reply),
        }
    }

    /// Something for another client goes by its entry. Without one the relay is asked, but not for
    /// strangers.
    fn pass_on<'p>(
        &mut self,
        now: Timestamp,
        from: &Client,
        media: Media,
        packet: &'p [u8],
    ) -> Step<'p> {
        let key = ForwardKey {
            tuple: from.tuple,
            way: media.way,
        };
        let (cap, body) = (self.gate.payload_cap(), media.body.clone());
        match self.table.forward(now, cap, &key, packet, body) {
            Some(Ok(transmit)) => Step::Transmit(transmit),
            Some(Err(reason)) => Step::Drop(reason),
            None => match self.may_ask(now, from) {
                Ok(()) => Step::Ask(Admitted::media(from, media, packet)),
                Err(reason) => Step::Drop(reason),
            },
        }
    }

    /// Whether the relay is to be asked about a packet for which there is no entry.
    fn may_ask(&mut self, now: Timestamp, from: &Client) -> Result<(), DropReason> {
        let (bucket, per_second, reason) = if self.table.knows(&from.tuple) {
            let reason = DropReason::NoForward;
            (&mut self.idle_talk, IDLE_TALK_PER_SECOND, reason)
        } else {
            (
                &mut self.strays,
                STRAYS_PER_SECOND,
                DropReason::NoAllocation,
            )
        };
        let may = bucket.take(now, SECOND / per_second, SECOND);
        may.then_some(()).ok_or(reason)
    }

    /// What is to be done now that the relay was asked about a packet from that client. It is never
    /// to be asked again.
    pub fn settle(
        &mut self,
        now: Timestamp,
        from: &Client,
        verdict: Verdict,
        out: &mut [u8],
    ) -> Step<'static> {
        match verdict {
            Verdict::Answer(len) => Step::Answer(len),
            Verdict::Drop(reason) => Step::Drop(reason),
            Verdict::Refused(request) => Step::from(self.gate.challenge(now, from, request, out)),
            Verdict::Transmit(allocation, transmit) => {
                let bytes = transmit.body.len() as u64;
                *self.usage.entry(allocation).or_default() += Usage { packets: 1, bytes };
                Step::Transmit(transmit)
            }
        }
    }

    /// The relay has changed something. Changes must come in the relay's order.
    pub fn apply(&mut self, change: Change) {
        let usage = &mut self.usage;
        self.table.apply(change, |allocation, carried| {
            *usage.entry(allocation).or_default() += carried;
        });
    }

    /// Forgets all clients and entries, to have them applied anew from
    /// [`Relay::changes`](crate::Relay::changes).
    pub fn clear(&mut self) {
        let usage = &mut self.usage;
        self.table.clear(|allocation, carried| {
            *usage.entry(allocation).or_default() += carried;
        });
    }

    /// Prepares for a batch of packets; see [`ForwardTable::look_ahead`].
    pub fn look_ahead<'a>(&self, packets: impl Iterator<Item = (&'a FiveTuple, &'a [u8])>) {
        self.table.look_ahead(packets);
    }

    /// Whether the client of this 5-tuple, whose packets arrive here, has an allocation.
    pub fn knows(&self, tuple: &FiveTuple) -> bool {
        self.table.knows(tuple)
    }

    /// How many forwarding entries there are.
    pub fn forward_count(&self) -> usize {
        self.table.len()
    }

    /// Whether there is something to report.
    pub fn has_usage(&self) -> bool {
        !self.usage.is_empty() || self.table.has_usage()
    }

    /// Reports what was passed on, by the sender's allocation: `most` reports at most, of which
    /// two may be of one allocation. Returns whether there is more from before this drain began.
    pub fn drain_usage(
        &mut self,
        most: usize,
        mut report: impl FnMut(AllocationId, Usage),
    ) -> bool {
        let mut left = most;
        while left > 0
            && let Some((allocation, usage)) = self.usage.pop_first()
        {
            report(allocation, usage);
            left -= 1;
        }
        left == 0 || self.table.drain_usage(left, report)
    }
}

impl From<Reply> for Step<'_> {
    fn from(reply: Reply) -> Self {
        match reply {
            Reply::Answer(len) => Self::Answer(len),
            Reply::Drop(reason) => Self::Drop(reason),
        }
    }
}

/// The answers to strangers that the limits allow, divided by `workers`; the rest as it is. Clients
/// of one prefix come in at all workers alike.
fn share(config: &Config, workers: usize) -> Config {
    let workers = u32::try_from(workers).unwrap_or(u32::MAX).max(1);
    let limits = Limits {
        answers_per_second: config.limits.answers_per_second.div_ceil(workers),
        answers_burst: config.limits.answers_burst.div_ceil(workers),
        ..config.limits.clone()
    };
    Config {
        limits,
        ..config.clone()
    }
}
