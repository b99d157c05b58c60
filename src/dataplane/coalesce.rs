//! When a worker looks for packets: at once while they are few, once per interval while they keep
//! coming. A wake-up costs more than a packet does, so that a node that is far from its limits
//! spends most of its time on waking up; network cards moderate their interrupts for the same
//! reason. Pure: it is told the time, and says how long to sleep.

use std::time::Duration;

use vizard_proto::time::Timestamp;

/// A gap between packets counts for at most so many intervals, so that a pause is soon forgotten.
const LONGEST_GAP: u64 = 16;
/// The newest gap's weight in the average is one in so many.
const WEIGHT: u64 = 8;

/// See the module's description.
#[derive(Clone, Debug)]
pub(super) struct Coalescer {
    /// In nanoseconds; 0: never wait.
    interval: u64,
    /// The average time between two packets, in nanoseconds.
    gap: u64,
    /// The same between two looks that found some: longer, where they come in bursts.
    pause: u64,
    /// When packets were last looked for, and when some were last found.
    looked: Timestamp,
    found: Timestamp,
}

impl Coalescer {
    /// Looks at most once per `interval` while packets keep coming.
    pub(super) fn new(interval: Duration) -> Self {
        let mut coalescer = Self {
            interval: 0,
            gap: 0,
            pause: 0,
            looked: Timestamp::ZERO,
            found: Timestamp::ZERO,
        };
        coalescer.set_interval(interval);
        coalescer
    }

    /// The same with another interval from here on.
    pub(super) fn set_interval(&mut self, interval: Duration) {
        let interval = u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX / LONGEST_GAP);
        if std::mem::replace(&mut self.interval, interval) != interval {
            self.gap = LONGEST_GAP.saturating_mul(interval);
            self.pause = self.gap;
        }
    }

    /// `packets` packets were found when they were looked for at `at`.
    pub(super) fn note(&mut self, at: Timestamp, packets: usize) {
        self.looked = at;
        let Ok(packets @ 1..) = u64::try_from(packets) else {
            return;
        };
        let since = at.as_nanos().saturating_sub(self.found.as_nanos());
        self.found = at;
        let since = since.min(LONGEST_GAP.saturating_mul(self.interval));
        average(&mut self.gap, since / packets);
        average(&mut self.pause, since);
    }

    /// How long to sleep at `now` before packets are looked for again; zero: wait for the next one.
    /// A sleep pays if a packet comes meanwhile that would have woken the worker: they must follow
    /// each other closely, and go on doing so, unlike bursts that come whole.
    pub(super) fn nap(&self, now: Timestamp) -> Duration {
        let keeps_coming = self.gap < self.interval / 4 * 3 && self.pause < self.interval / 2 * 3;
        let pays = self.interval > 0 && keeps_coming && self.found == self.looked;
        if !pays {
            return Duration::ZERO;
        }
        (self.looked + Duration::from_nanos(self.interval)).since(now)
    }
}

fn average(average: &mut u64, newest: u64) {
    *average = *average - *average / WEIGHT + newest / WEIGHT;
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_micros(100);

    fn at(micros: u64) -> Timestamp {
        Timestamp::from_nanos(1_000_000_000 + micros * 1000)
    }

    /// A worker that gets a packet every `gap` microseconds for `span`: how often it slept, how
    /// often it was woken by a packet, and how long the last packet had waited.
    fn work(coalescer: &mut Coalescer, gap: u64, span: u64) -> (u64, u64, u64) {
        let (mut now, mut taken, mut naps, mut wakes, mut waited) = (0, 0, 0, 0, 0);
        while now < span {
            let nap = coalescer.nap(at(now));
            if !nap.is_zero() {
                naps += 1;
                now += u64::try_from(nap.as_micros()).expect("short");
            }
            let next = (taken + 1) * gap;
            if next > now {
                wakes += 1;
                now = next;
            }
            let there = now / gap - taken;
            waited = now - (taken + 1) * gap;
            taken += there;
            coalescer.note(at(now), usize::try_from(there).expect("few"));
            now += 5;
        }
        (naps, wakes, waited)
    }

    #[test]
    fn few_packets_are_dealt_with_at_once() {
        for gap in [100, 150, 1000, 20_000] {
            let mut coalescer = Coalescer::new(INTERVAL);
            let packets = 1_000_000_u64.div_ceil(gap);
            assert_eq!(work(&mut coalescer, gap, 1_000_000), (0, packets, 0));
        }
    }

    #[test]
    fn while_they_keep_coming_there_is_one_look_per_interval() {
        for gap in [1, 10, 20, 50] {
            let mut coalescer = Coalescer::new(INTERVAL);
            work(&mut coalescer, gap, 10_000);
            let (naps, wakes, waited) = work(&mut coalescer, gap, 1_000_000);
            assert!(
                (9_000..=10_000).contains(&naps),
                "{naps} sleeps in a second"
            );
            assert!(wakes <= 100, "{wakes} wake-ups beside");
            assert!(waited <= 100, "nobody waits longer than the interval");
        }
    }

    #[test]
    fn after_a_pause_the_first_packet_is_dealt_with_at_once() {
        let mut coalescer = Coalescer::new(INTERVAL);
        work(&mut coalescer, 10, 10_000);
        assert_ne!(coalescer.nap(at(10_010)), Duration::ZERO);
        coalescer.note(at(10_100), 0);
        assert_eq!(coalescer.nap(at(10_100)), Duration::ZERO, "nothing came");
        coalescer.note(at(30_000), 1);
        assert_eq!(coalescer.nap(at(30_005)), Duration::ZERO, "one alone");
    }

    #[test]
    fn bursts_that_come_whole_are_not_waited_for() {
        let mut coalescer = Coalescer::new(INTERVAL);
        for burst in 0..1000 {
            coalescer.note(at(burst * 333), 20);
            assert_eq!(coalescer.nap(at(burst * 333 + 5)), Duration::ZERO);
        }
    }

    #[test]
    fn a_round_that_took_an_interval_is_followed_by_the_next() {
        let mut coalescer = Coalescer::new(INTERVAL);
        work(&mut coalescer, 1, 10_000);
        coalescer.note(at(10_100), 1000);
        coalescer.note(at(10_200), 1000);
        assert_eq!(coalescer.nap(at(10_230)), Duration::from_micros(70));
        assert_eq!(coalescer.nap(at(10_300)), Duration::ZERO);
        assert_eq!(coalescer.nap(at(10_400)), Duration::ZERO);
    }

    #[test]
    fn it_can_be_switched_off_and_on() {
        let mut coalescer = Coalescer::new(INTERVAL);
        work(&mut coalescer, 10, 10_000);
        coalescer.set_interval(Duration::ZERO);
        assert_eq!(work(&mut coalescer, 10, 10_000).0, 0);
        coalescer.set_interval(INTERVAL);
        assert!(work(&mut coalescer, 10, 100_000).0 > 800);
        coalescer.set_interval(Duration::MAX);
        coalescer.note(at(5), 7);
        coalescer.nap(at(6));
    }
}
