//! When the next burst is due.

use super::client::Nanos;
use super::plan::Load;

/// Most bursts between two looks at what has arrived.
const AT_ONCE: u64 = 64;
/// How far behind its schedule the generator may be and still catch up.
const PATIENCE: f64 = 10_000_000.0;

/// The schedule of one thread, evenly spread: each direction of each pair has its own phase, as
/// calls that began at different times have.
pub(crate) struct Pace {
    load: Load,
    burst: u64,
    start: Nanos,
    done: u64,
    skipped: u64,
}

impl Pace {
    /// `load` counts packets of this thread.
    pub(crate) fn new(load: Load, burst: usize, start: Nanos) -> Self {
        Self {
            load,
            burst: u64::try_from(burst).unwrap_or(1).max(1),
            start,
            done: 0,
            skipped: 0,
        }
    }

    /// How many bursts are to be sent now; `under_way` is in packets.
    pub(crate) fn due(&mut self, now: Nanos, under_way: u64) -> u64 {
        let bursts = match self.load {
            Load::Rate(_) => self.late(now),
            Load::Window(window) => window.saturating_sub(under_way) / self.burst,
        };
        let bursts = bursts.min(AT_ONCE);
        self.done += bursts;
        bursts
    }

    /// Until the next burst is due, as far as that depends on the time.
    pub(crate) fn wait(&self, now: Nanos) -> Nanos {
        let next = self.time_of(self.done + 1);
        next.saturating_sub(now)
    }

    /// Whether the next burst depends on what arrives.
    pub(crate) fn waits_for_answers(&self) -> bool {
        matches!(self.load, Load::Window(_))
    }

    /// How many packets were given up because the generator was too far behind.
    pub(crate) fn skipped(&self) -> u64 {
        self.skipped * self.burst
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a year of nanoseconds is precise to the microsecond, and time is not negative"
    )]
    fn late(&mut self, now: Nanos) -> u64 {
        let Some(interval) = self.interval() else {
            return 0;
        };
        let elapsed = now.saturating_sub(self.start) as f64;
        let due = ((elapsed / interval) as u64).saturating_sub(self.done);
        let bearable = AT_ONCE + (PATIENCE / interval) as u64;
        let hopeless = due.saturating_sub(bearable);
        self.skipped += hopeless;
        self.done += hopeless;
        due - hopeless
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "as above"
    )]
    fn time_of(&self, burst: u64) -> Nanos {
        self.interval().map_or(Nanos::MAX, |interval| {
            self.start + (burst as f64 * interval) as u64
        })
    }

    /// Nanoseconds between two bursts.
    #[expect(clippy::cast_precision_loss, reason = "a burst is at most 64 packets")]
    fn interval(&self) -> Option<f64> {
        match self.load {
            Load::Rate(rate) => Some(self.burst as f64 * 1e9 / rate),
            Load::Window(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_kept_over_any_steps() {
        let mut pace = Pace::new(Load::Rate(1000.0), 1, 500);
        assert_eq!(pace.due(500, 0), 0);
        assert_eq!(pace.wait(500), 1_000_000);
        let sum: u64 = (1..=1000)
            .map(|tick| pace.due(500 + tick * 1_000_000, 0))
            .sum();
        assert_eq!((sum, pace.skipped()), (1000, 0));
        assert_eq!(pace.due(500 + 1_003_000_000, 0), 3);
    }

    #[test]
    fn bursts_count_whole() {
        let mut pace = Pace::new(Load::Rate(600.0), 6, 0);
        let sum: u64 = (1..=100).map(|tick| pace.due(tick * 10_000_000, 0)).sum();
        assert_eq!(sum, 100);
    }

    #[test]
    fn who_is_far_behind_gives_up_and_says_so() {
        let mut pace = Pace::new(Load::Rate(100_000.0), 1, 0);
        let first = pace.due(1_000_000_000, 0);
        assert_eq!(first, AT_ONCE);
        assert_eq!(pace.skipped(), 100_000 - 1000 - AT_ONCE);
    }

    #[test]
    fn a_window_is_filled_and_no_more() {
        let mut pace = Pace::new(Load::Window(10), 4, 0);
        assert_eq!(pace.due(0, 0), 2);
        assert_eq!(pace.due(0, 8), 0);
        assert_eq!(pace.due(0, 6), 1);
        assert_eq!(pace.wait(0), Nanos::MAX);
    }
}
