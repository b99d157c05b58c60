//! What a step yields: counts, latencies, and how they went over time.

use std::time::Duration;

use hdrhistogram::Histogram;

use super::client::Nanos;
use super::ledger::Counts;
use super::sockets::Troubles;

/// Longest latency that is told apart, in nanoseconds.
const LONGEST: u64 = 60_000_000_000;

/// Latencies, to three digits.
pub(crate) fn latencies() -> Histogram<u64> {
    // The bounds are right, so this can't fail.
    Histogram::new_with_bounds(1, LONGEST, 3).unwrap_or_else(|_| unreachable!("fixed bounds"))
}

/// One entry of the series.
#[derive(Clone)]
pub(crate) struct Slice {
    pub(crate) sent: u64,
    pub(crate) received: u64,
    pub(crate) latency: Histogram<u64>,
}

impl Slice {
    fn new() -> Self {
        Self {
            sent: 0,
            received: 0,
            latency: latencies(),
        }
    }
}

/// What one thread, or all of them, found in one step.
pub(crate) struct Tally {
    pub(crate) counts: Counts,
    pub(crate) latency: Histogram<u64>,
    pub(crate) slices: Vec<Slice>,
    /// How long was sent.
    pub(crate) elapsed: Duration,
    /// Packets that should have been sent and were not, for the generator was behind.
    pub(crate) skipped: u64,
    /// Time in which there was something to do, over all of the time: of the busiest thread.
    pub(crate) busy: f64,
    pub(crate) troubles: Troubles,
    /// Datagrams that found no room in our own sockets.
    pub(crate) own_drops: u64,
    /// Renewals of allocations and permissions that failed.
    pub(crate) renewals_failed: u64,
    /// The server fell silent, or ended its connections, before the step was over.
    pub(crate) cut_short: bool,
}

impl Tally {
    pub(crate) fn new() -> Self {
        Self {
            counts: Counts::default(),
            latency: latencies(),
            slices: Vec::new(),
            elapsed: Duration::ZERO,
            skipped: 0,
            busy: 0.0,
            troubles: Troubles::default(),
            own_drops: 0,
            renewals_failed: 0,
            cut_short: false,
        }
    }

    /// Takes in what another thread found at the same time.
    pub(crate) fn join(&mut self, other: &Self) {
        self.add(other);
        for (index, slice) in other.slices.iter().enumerate() {
            let mine = self.slice(index);
            mine.sent += slice.sent;
            mine.received += slice.received;
            // Same bounds everywhere: nothing can be out of range.
            let _ = mine.latency.add(&slice.latency);
        }
        self.elapsed = self.elapsed.max(other.elapsed);
        self.busy = self.busy.max(other.busy);
    }

    fn add(&mut self, other: &Self) {
        self.counts.add(&other.counts);
        let _ = self.latency.add(&other.latency);
        self.skipped += other.skipped;
        self.troubles.add(&other.troubles);
        self.own_drops += other.own_drops;
        self.renewals_failed += other.renewals_failed;
        self.cut_short |= other.cut_short;
    }

    /// The entry of the series with that index.
    pub(crate) fn slice(&mut self, index: usize) -> &mut Slice {
        while self.slices.len() <= index {
            self.slices.push(Slice::new());
        }
        &mut self.slices[index]
    }

    /// Notes an arrival that took `latency`.
    pub(crate) fn arrived(&mut self, slice: usize, latency: Nanos) {
        self.latency.saturating_record(latency);
        let slice = self.slice(slice);
        slice.received += 1;
        slice.latency.saturating_record(latency);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_are_put_together() {
        let (mut one, mut other) = (Tally::new(), Tally::new());
        one.arrived(0, 1_000);
        other.arrived(1, 9_000);
        other.busy = 0.5;
        (one.counts.sent, other.counts.sent) = (1, 2);
        one.join(&other);
        assert_eq!(one.counts.sent, 3);
        assert_eq!(one.slices.len(), 2);
        assert_eq!(one.slices[1].received, 1);
        assert_eq!(one.latency.len(), 2);
        assert!((one.busy - 0.5).abs() < f64::EPSILON);
        assert!(one.latency.max() >= 9_000);
    }
}
