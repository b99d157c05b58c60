//! Signs of life: each worker leaves one every round, at least once a second.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use vizard_proto::time::Timestamp;

/// How long a worker may be silent before another does for it what is to be done in time.
const DEPUTY_AFTER: Duration = Duration::from_secs(3);
/// How long it may be before it counts as stuck.
const STUCK_AFTER: Duration = Duration::from_secs(10);

/// A line of the cache for each, so that workers don't fight over them.
#[derive(Default)]
#[repr(align(64))]
struct Beat(AtomicU64);

/// When each worker left its last sign, in nanoseconds; 0 before the first.
pub(super) struct Beats(Box<[Beat]>);

impl Beats {
    pub(super) fn new(workers: usize) -> Self {
        Self((0..workers).map(|_| Beat::default()).collect())
    }

    /// From here on all of them are expected to move.
    pub(super) fn begin(&self, now: Timestamp) {
        (0..)
            .take(self.0.len())
            .for_each(|worker| self.beat(worker, now));
    }

    pub(super) fn beat(&self, worker: u16, now: Timestamp) {
        if let Some(Beat(last)) = self.0.get(usize::from(worker)) {
            last.store(now.as_nanos(), Ordering::Relaxed);
        }
    }

    /// Whether this worker is the one to tell the relay the time: the first that is not silent.
    pub(super) fn leads(&self, worker: u16, now: Timestamp) -> bool {
        let mut before = self.0.iter().take(usize::from(worker));
        before.all(|beat| beat.is_silent(now, DEPUTY_AFTER))
    }

    /// Whether a worker is stuck.
    pub(super) fn is_any_stuck(&self, now: Timestamp) -> bool {
        self.0.iter().any(|beat| beat.is_silent(now, STUCK_AFTER))
    }
}

impl Beat {
    fn is_silent(&self, now: Timestamp, patience: Duration) -> bool {
        let last = self.0.load(Ordering::Relaxed);
        last > 0 && now.since(Timestamp::from_nanos(last)) > patience
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_that_moves_leads_and_a_stuck_one_is_seen() {
        let beats = Beats::new(3);
        let at = Timestamp::from_secs;
        let leaders = |now| [0, 1, 2].map(|worker| beats.leads(worker, at(now)));
        assert_eq!(leaders(100), [true, false, false], "none has begun");
        assert!(!beats.is_any_stuck(at(100)));
        beats.begin(at(100));
        assert_eq!(leaders(102), [true, false, false]);
        beats.beat(1, at(105));
        beats.beat(2, at(105));
        assert_eq!(leaders(105), [true, true, false]);
        assert!(!beats.is_any_stuck(at(110)));
        assert!(beats.is_any_stuck(at(111)));
    }
}
