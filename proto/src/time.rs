//! Time as the caller gives it: the core never reads a clock.

use core::ops::{Add, Sub};
use core::time::Duration;
use serde::{Deserialize, Serialize};

/// A point in time in nanoseconds since an origin of the caller's choosing, which must not run backwards.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The origin.
    pub const ZERO: Self = Self(0);
    /// Later than everything.
    pub const NEVER: Self = Self(u64::MAX);

    /// A point `nanos` nanoseconds after the origin.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// A point `secs` seconds after the origin.
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs.saturating_mul(1_000_000_000))
    }

    /// Nanoseconds since the origin.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Whole seconds since the origin.
    pub const fn as_secs(self) -> u64 {
        self.0 / 1_000_000_000
    }

    /// Time passed since `earlier`, zero if that lies ahead.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;
    fn add(self, by: Duration) -> Self {
        let nanos = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(nanos))
    }
}

impl Sub for Timestamp {
    type Output = Duration;
    fn sub(self, earlier: Self) -> Duration {
        self.since(earlier)
    }
}

/// The caller's wall clock: what Unix time it was at [`Timestamp::ZERO`].
/// Tickets carry absolute expiry times, everything else runs on [`Timestamp`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WallClock {
    unix_secs_at_zero: u64,
}

impl WallClock {
    /// A clock that stood at `unix_secs` seconds after 1970-01-01T00:00:00Z at [`Timestamp::ZERO`].
    pub const fn new(unix_secs: u64) -> Self {
        Self {
            unix_secs_at_zero: unix_secs,
        }
    }

    /// Unix seconds at `now`.
    pub const fn unix_secs(self, now: Timestamp) -> u64 {
        self.unix_secs_at_zero.saturating_add(now.as_secs())
    }

    /// The point at which the clock shows `unix_secs`; the origin if that has passed before it.
    pub const fn timestamp(self, unix_secs: u64) -> Timestamp {
        Timestamp::from_secs(unix_secs.saturating_sub(self.unix_secs_at_zero))
    }
}
