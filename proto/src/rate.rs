//! Token buckets: how fast an allocation may send, and how many unauthenticated answers a source
//! prefix gets.

use core::num::NonZeroU32;
use serde::{Deserialize, Serialize};

use crate::contract::AllocationId;
use crate::hash::{self, Map};
use crate::time::Timestamp;

const NANOS_PER_SEC: u64 = 1_000_000_000;

/// A bucket that fills at a steady rate. It counts in nanoseconds' worth of its rate.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
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
        let start = self.full_at.max(now);
        let full_at = start.as_nanos().saturating_add(cost);
        if full_at - now.as_nanos() > depth {
            return false;
        }
        self.full_at = Timestamp::from_nanos(full_at);
        true
    }
}

/// Rate limits of allocations, shared by all channels of one.
pub(crate) struct Meters {
    meters: Map<AllocationId, Meter>,
}

struct Meter {
    bucket: Bucket,
    kbps: NonZeroU32,
    entries: u32,
}

/// How much may come in one burst: half a second's worth, which lets a video key frame through.
const BURST_NANOS: u64 = NANOS_PER_SEC / 2;
/// What a client may send in one packet, in bytes.
const LARGEST_PACKET: usize = 2048;

impl Meters {
    pub(crate) fn new(seed: [u8; 32]) -> Self {
        Self {
            meters: Map::with_hasher(hash::state(seed, "meters")),
        }
    }

    pub(crate) fn attach(&mut self, allocation: AllocationId, kbps: NonZeroU32) {
        let fresh = Meter {
            bucket: Bucket::FULL,
            kbps,
            entries: 0,
        };
        self.meters.entry(allocation).or_insert(fresh).entries += 1;
    }

    pub(crate) fn detach(&mut self, allocation: AllocationId) {
        if let Some(meter) = self.meters.get_mut(&allocation) {
            meter.entries -= 1;
            if meter.entries == 0 {
                self.meters.remove(&allocation);
            }
        }
    }

    pub(crate) fn clear(&mut self) {
        self.meters.clear();
    }

    /// Whether `payload` more bytes are within the allocation's rate.
    pub(crate) fn admit(
        &mut self,
        now: Timestamp,
        allocation: AllocationId,
        payload: usize,
    ) -> bool {
        self.meters
            .get_mut(&allocation)
            .is_none_or(|meter| take_payload(&mut meter.bucket, now, meter.kbps, payload))
    }
}

/// Takes `payload` bytes out of a bucket that fills at `kbps` kilobits per second. A burst is half a
/// second's worth, but however low the rate, one packet fits.
pub(crate) fn take_payload(
    bucket: &mut Bucket,
    now: Timestamp,
    kbps: NonZeroU32,
    payload: usize,
) -> bool {
    let cost = |bytes: usize| bytes as u64 * 8 * (NANOS_PER_SEC / 1000) / u64::from(kbps.get());
    bucket.take(now, cost(payload), BURST_NANOS.max(cost(LARGEST_PACKET)))
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

    #[test]
    fn a_meter_lets_its_rate_through() {
        let id = AllocationId(1);
        let mut meters = Meters::new([1; 32]);
        meters.attach(id, NonZeroU32::new(1000).expect("not zero"));
        let mut passed = 0;
        for ms in 0..10_000 {
            let now = Timestamp::from_nanos(ms * 1_000_000);
            passed += usize::from(meters.admit(now, id, 500)) * 500 * 8;
        }
        // Ten seconds at 1000 kbit/s, and the burst.
        assert!((10_000_000..=10_600_000).contains(&passed), "{passed} bits");
        meters.detach(id);
        assert!(meters.admit(Timestamp::ZERO, id, 1_000_000));
    }
}
