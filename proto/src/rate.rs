//! Token buckets: how fast a ticket's allocations may send, and how many unauthenticated answers a
//! source prefix gets.

use alloc::sync::Arc;
use core::num::NonZeroU32;
use core::sync::atomic::{AtomicU64, Ordering};
use serde::{Deserialize, Serialize};

use crate::config::LARGEST_PAYLOAD;
use crate::time::Timestamp;

const NANOS_PER_SEC: u64 = 1_000_000_000;

/// A bucket that fills at a steady rate. It counts in nanoseconds' worth of its rate.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bucket {
    /// The bucket is full again at this time; how far that lies ahead is what was taken.
    full_at: Timestamp,
}

impl Bucket {
    pub(crate) const FULL: Self = Self {
        full_at: Timestamp::ZERO,
    };

    /// Takes what takes `cost` nanoseconds to fill, if the bucket of `depth` nanoseconds has it.
    pub(crate) fn take(&mut self, now: Timestamp, cost: u64, depth: u64) -> bool {
        match after(self.full_at, now, cost, depth) {
            Some(full_at) => {
                self.full_at = full_at;
                true
            }
            None => false,
        }
    }
}

/// When a bucket will be full again after so much more is taken out; `None` if it has not got it.
fn after(full_at: Timestamp, now: Timestamp, cost: u64, depth: u64) -> Option<Timestamp> {
    let full_at = full_at.max(now).as_nanos().saturating_add(cost);
    (full_at - now.as_nanos() <= depth).then_some(Timestamp::from_nanos(full_at))
}

/// How much may come in one burst: half a second's worth, which lets a video key frame through.
const BURST_NANOS: u64 = NANOS_PER_SEC / 2;
/// What a packet costs its way beside its payload: the headers of IP, UDP and TURN. Otherwise
/// empty packets would be free.
const OVERHEAD: usize = 60;

/// How much the allocations of one ticket have sent lately. Clones are the same meter, whoever
/// charges it: the relay or a worker.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(from = "u64", into = "u64")]
pub struct Meter(Arc<AtomicU64>);

impl Meter {
    /// Whether a packet with so much payload is within `kbps` kilobits per second. A burst is half
    /// a second's worth, but however low the rate, one packet fits.
    pub(crate) fn take(&self, now: Timestamp, kbps: NonZeroU32, payload: usize) -> bool {
        let cost = |payload: usize| {
            (payload + OVERHEAD) as u64 * 8 * (NANOS_PER_SEC / 1000) / u64::from(kbps.get())
        };
        let depth = BURST_NANOS.max(cost(LARGEST_PAYLOAD));
        let take = |full_at| {
            let full_at = after(Timestamp::from_nanos(full_at), now, cost(payload), depth)?;
            Some(full_at.as_nanos())
        };
        let order = Ordering::Relaxed;
        self.0.fetch_update(order, order, take).is_ok()
    }
}

impl From<u64> for Meter {
    fn from(full_at: u64) -> Self {
        Self(Arc::new(AtomicU64::new(full_at)))
    }
}

impl From<Meter> for u64 {
    fn from(meter: Meter) -> Self {
        meter.0.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::time::Duration;

    #[test]
    fn a_bucket_gives_its_depth_then_its_rate() {
        let mut bucket = Bucket::FULL;
        let mut now = Timestamp::from_secs(10);
        let granted = (0..1000).filter(|_| bucket.take(now, 100, 1000)).count();
        assert_eq!(granted, 10);
        now = now + Duration::from_nanos(250);
        let granted = (0..1000).filter(|_| bucket.take(now, 100, 1000)).count();
        assert_eq!(granted, 2);
    }

    const KBPS: NonZeroU32 = NonZeroU32::new(1000).expect("not zero");

    #[test]
    fn a_meter_lets_its_rate_through() {
        let meter = Meter::default();
        let mut passed = 0;
        for ms in 0..10_000 {
            let now = Timestamp::from_nanos(ms * 1_000_000);
            passed += usize::from(meter.take(now, KBPS, 440)) * 500 * 8;
        }
        // Ten seconds at 1000 kbit/s, and the burst.
        assert!((10_000_000..=10_600_000).contains(&passed), "{passed} bits");
    }

    #[test]
    fn empty_packets_are_not_free() {
        let meter = Meter::default();
        let now = Timestamp::from_secs(1);
        let kbps = NonZeroU32::new(8).expect("not zero");
        let passed = (0..100_000).filter(|_| meter.take(now, kbps, 0)).count();
        assert!(passed < 100, "{passed} empty packets at once");
    }

    #[test]
    fn however_low_the_rate_the_largest_packet_fits() {
        let kbps = NonZeroU32::MIN;
        assert!(Meter::default().take(Timestamp::from_secs(9), kbps, LARGEST_PAYLOAD));
    }

    #[test]
    fn clones_are_one_meter() {
        let one = Meter::default();
        let other = one.clone();
        let now = Timestamp::from_secs(1);
        let take = |meter: &Meter| (0..10_000).filter(|_| meter.take(now, KBPS, 440)).count();
        assert_eq!((take(&one), take(&other)), (125, 0));
    }
}
