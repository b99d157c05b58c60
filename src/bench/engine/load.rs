//! The load: sending and receiving for as long as a step says.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::{Engine, NAP, nanos};
use crate::bench::client::Nanos;
use crate::bench::pace::Pace;
use crate::bench::plan::{Load, Step};
use crate::bench::sockets::Wire;
use crate::bench::stats::Tally;

/// How long a server may be silent under load before it counts as gone.
const SILENCE: Nanos = 2_000_000_000;
/// With nothing arriving for so long, what is under way is taken for lost.
const STALL: Nanos = 20_000_000;
/// How long is waited for the last packets of a step.
const DRAIN: Nanos = 300_000_000;
/// Below this, sleeping takes longer than it should.
const TOO_SHORT: Nanos = 20_000;

impl Engine {
    /// Sends and receives for as long as `step` says.
    pub(in crate::bench) fn measure(&mut self, step: Step) -> Tally {
        let start = self.clock.now();
        let end = start + nanos(step.length);
        self.media.begin_step(start, nanos(step.slice));
        self.wire.take_troubles();
        self.renewal.failed = 0;
        let load = share(step.load, self.pairs.len(), self.plan.pairs);
        let mut pace = Pace::new(load, self.plan.burst, start);
        let mut silence = Silence::begin(start);
        let (mut busy, mut now) = (0, start);
        while now < end && !silence.too_long(now) && !self.is_stopped() {
            let bursts = pace.due(now, self.media.under_way);
            for _ in 0..bursts {
                self.send_burst();
            }
            self.flush();
            let any = self.receive();
            self.renew(now);
            let then = self.clock.now();
            silence.note(then, any, bursts > 0);
            if any || bursts > 0 {
                busy += then - now;
                self.publish();
            } else {
                self.idle(then, &pace, &mut silence);
            }
            now = self.clock.now();
        }
        let cut_short = now < end;
        self.drain();
        self.conclude(&pace, now - start, busy, cut_short)
    }

    fn is_stopped(&self) -> bool {
        self.progress.stop.load(Ordering::Relaxed) || self.connections_gone()
    }

    /// Nothing to do: spins if the core is ours, else sleeps.
    fn idle(&mut self, now: Nanos, pace: &Pace, silence: &mut Silence) {
        if pace.waits_for_answers() && silence.stalls(now) {
            self.media.write_off();
        }
        let wait = pace.wait(now).min(NAP);
        if self.pinned || wait < TOO_SHORT {
            std::hint::spin_loop();
        } else {
            self.wait(wait);
        }
    }

    fn drain(&mut self) {
        let end = self.clock.now() + DRAIN;
        while self.media.under_way > 0 && self.clock.now() < end {
            if !self.receive() {
                self.wait(NAP);
            }
        }
        self.publish();
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "a share of the time, for reading"
    )]
    fn conclude(&mut self, pace: &Pace, elapsed: Nanos, busy: Nanos, cut_short: bool) -> Tally {
        let mut tally = std::mem::replace(&mut self.media.tally, Tally::new());
        tally.elapsed = Duration::from_nanos(elapsed);
        tally.skipped = pace.skipped();
        tally.busy = busy as f64 / elapsed.max(1) as f64;
        tally.troubles = self.wire.take_troubles();
        let mut drops = self.wire.drops();
        if let Some(peers) = &mut self.peers {
            tally.troubles.add(&peers.take_troubles());
            drops += peers.drops();
        }
        // What the kernel did not take was not sent.
        let not_sent = tally.troubles.blocked + tally.troubles.failed;
        tally.counts.sent = tally.counts.sent.saturating_sub(not_sent);
        tally.own_drops = drops.saturating_sub(self.drops);
        self.drops = drops;
        tally.renewals_failed = self.renewal.failed;
        tally.cut_short = cut_short || self.connections_gone();
        tally
    }

    fn connections_gone(&self) -> bool {
        matches!(&self.wire, Wire::Streams(streams) if streams.alive() == 0)
    }

    fn send_burst(&mut self) {
        let (track, len) = self.media.next_track();
        let now = self.clock.now();
        let burst = self.plan.burst;
        let (wire, index) = match &mut self.peers {
            None => (&mut self.wire, track),
            // An odd track begins at the pair's second end.
            Some(peers) if track % 2 == 1 => (peers, track / 2),
            Some(_) => (&mut self.wire, track / 2),
        };
        let media = &mut self.media;
        if burst > 1 && wire.takes_train(len * burst) {
            wire.send(index, len * burst, len, |room| {
                for one in room.chunks_exact_mut(len) {
                    media.write(track, now, one);
                }
            });
        } else {
            for _ in 0..burst {
                wire.send(index, len, 0, |room| media.write(track, now, room));
            }
        }
        self.media.sent(u64::try_from(burst).unwrap_or(0), now);
    }

    fn flush(&mut self) {
        self.wire.flush();
        if let Some(peers) = &mut self.peers {
            peers.flush();
        }
    }
}

/// Since when something was sent and nothing has arrived.
struct Silence {
    since: Option<Nanos>,
    written_off: Nanos,
}

impl Silence {
    fn begin(now: Nanos) -> Self {
        Self {
            since: None,
            written_off: now,
        }
    }

    fn note(&mut self, now: Nanos, arrived: bool, sent: bool) {
        if arrived {
            self.since = None;
        } else if sent {
            self.since.get_or_insert(now);
        }
    }

    fn too_long(&self, now: Nanos) -> bool {
        self.since.is_some_and(|since| now > since + SILENCE)
    }

    /// Whether what is under way is to be taken for lost; once every [`STALL`].
    fn stalls(&mut self, now: Nanos) -> bool {
        let since = self.since.map(|since| since.max(self.written_off));
        let stalls = since.is_some_and(|since| now > since + STALL);
        if stalls {
            self.written_off = now;
        }
        stalls
    }
}

/// This thread's part of a load.
#[expect(clippy::cast_precision_loss, reason = "numbers of pairs are small")]
fn share(load: Load, mine: usize, all: usize) -> Load {
    match load {
        Load::Rate(rate) => Load::Rate(rate * mine as f64 / all as f64),
        Load::Window(window) => {
            let (mine, all) = (mine as u64, all as u64);
            Load::Window((window * mine / all).max(1))
        }
    }
}
