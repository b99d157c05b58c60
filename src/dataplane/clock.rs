//! The clock that the relay is told, and what the machine's wall clock makes of it.

use std::time::{Duration, Instant, SystemTime};

use vizard_proto::time::{Timestamp, WallClock};

/// By how much the wall clock may differ from what it was taken for.
const TOLERANCE_SECS: u64 = 2;

/// A clock that no one sets. It began on a whole second of the wall clock.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    origin: Instant,
}

impl Clock {
    /// A clock that has just begun, and what the wall clock showed then.
    pub(super) fn start() -> (Self, WallClock) {
        let (now, unix) = (Instant::now(), SystemTime::now());
        let unix = unix
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let fraction = Duration::from_nanos(u64::from(unix.subsec_nanos()));
        let origin = now.checked_sub(fraction).unwrap_or(now);
        (Self { origin }, WallClock::new(unix.as_secs()))
    }

    /// The time that has passed since it began.
    pub(super) fn now(&self) -> Timestamp {
        let nanos = self.origin.elapsed().as_nanos();
        Timestamp::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// The wall clock, if it no longer shows what follows from `taken_for`: it was set, or it went
    /// on while the machine slept and this clock stood still.
    pub(super) fn was_set(&self, taken_for: WallClock) -> Option<WallClock> {
        let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let (unix, now) = (unix.ok()?.as_secs(), self.now());
        let is_right = taken_for.unix_secs(now).abs_diff(unix) < TOLERANCE_SECS;
        (!is_right).then(|| WallClock::new(unix.saturating_sub(now.as_secs())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_wall_clock_is_noticed_once() {
        let (clock, shown) = Clock::start();
        assert_eq!(clock.was_set(shown), None);
        let set = clock.was_set(WallClock::new(1_790_000_000));
        let set = set.expect("it is not 2026-09-21");
        assert_eq!(clock.was_set(set), None);
    }
}
