//! What time it is, on two clocks: one that people set, and one that only runs.
//!
//! Tickets expire by the wall clock, because every node that verifies one has to agree. It can be
//! set, and by mistake: so what ends a call is whichever clock gets there first, and nothing is
//! forgotten before both have.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

/// How long the wall clock has to stay ahead before it is believed, in seconds.
const BELIEVED_AFTER: u64 = 3_600;

/// One moment on both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Unix seconds.
    pub wall: u64,
    /// Seconds since some moment; they run at the same pace whoever sets which clock.
    pub steady: u64,
}

/// Tells the time.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Now + Send + Sync>);

impl Clock {
    /// A clock that shows what `now` says.
    pub fn new(now: impl Fn() -> Now + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// The system's clock.
    pub fn system() -> Self {
        let start = Instant::now();
        Self::new(move || Now {
            wall: SystemTime::UNIX_EPOCH
                .elapsed()
                .map_or(0, |since| since.as_secs()),
            steady: start.elapsed().as_secs(),
        })
    }

    /// What time it is.
    pub fn now(&self) -> Now {
        (self.0)()
    }
}

/// A wall clock for forgetting: it goes back with the other at once, and jumps ahead with it only
/// after that has stayed there for a while.
#[derive(Default)]
pub struct Cautious {
    /// What the wall clock showed at second 0 of the steady one, as far as it is believed.
    zero: Option<i128>,
    /// Since when the wall clock has been ahead of that (steady seconds).
    ahead_since: Option<u64>,
}

impl Cautious {
    /// Unix seconds, as far as they are believed.
    pub fn at(&mut self, now: Now) -> u64 {
        let shown = i128::from(now.wall) - i128::from(now.steady);
        let zero = *self.zero.get_or_insert(shown);
        // A second is lost or won by rounding alone.
        if shown <= zero + 1 {
            self.ahead_since = None;
            self.zero = Some(zero.min(shown));
        } else {
            let since = *self.ahead_since.get_or_insert(now.steady);
            if now.steady.saturating_sub(since) >= BELIEVED_AFTER {
                (self.zero, self.ahead_since) = (Some(shown), None);
            }
        }
        let believed = self.zero.unwrap_or(shown) + i128::from(now.steady);
        u64::try_from(believed).unwrap_or(0).min(now.wall)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now(wall: u64, steady: u64) -> Now {
        Now { wall, steady }
    }

    #[test]
    fn a_jump_ahead_is_believed_when_it_lasts() {
        let mut clock = Cautious::default();
        assert_eq!(clock.at(now(1_000_000, 0)), 1_000_000);
        assert_eq!(clock.at(now(1_010_805, 5)), 1_000_005);
        assert_eq!(clock.at(now(1_000_008, 8)), 1_000_008);
        assert_eq!(clock.at(now(1_010_810, 10)), 1_000_010);
        assert_eq!(clock.at(now(1_014_409, 3_609)), 1_003_609);
        assert_eq!(clock.at(now(1_014_410, 3_610)), 1_014_410);
    }

    #[test]
    fn a_jump_back_is_believed_at_once() {
        let mut clock = Cautious::default();
        clock.at(now(1_000_000, 0));
        assert_eq!(clock.at(now(900_001, 1)), 900_001);
        assert_eq!(clock.at(now(1_000_002, 2)), 900_002);
        assert_eq!(clock.at(now(0, 3)), 0);
    }
}
