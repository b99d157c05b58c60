//! Figures of one measurement, and what the generator itself had to do with them.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use super::MOST_LOSS;
use crate::bench::ledger::Counts;
use crate::bench::plan::Load;
use crate::bench::stats::Tally;

/// One measurement.
#[derive(Clone, Serialize)]
pub(crate) struct Figures {
    pub(crate) seconds: f64,
    pub(crate) counts: Counts,
    pub(crate) sent_per_second: f64,
    pub(crate) received_per_second: f64,
    /// Sent and not received, over sent.
    pub(crate) loss: f64,
    pub(crate) latency: Latency,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cpu_us_per_packet: Option<f64>,
    /// The server's memory, again and again.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) memory: Vec<MemoryAt>,
    pub(crate) renewals_failed: u64,
    /// Of the busiest thread of the generator: time in which it had something to do.
    pub(crate) generator_busy: f64,
    pub(crate) cut_short: bool,
    pub(crate) series: Vec<Moment>,
}

/// What the server held at some time of a round.
#[derive(Clone, Copy, Serialize)]
pub(crate) struct MemoryAt {
    pub(crate) at: f64,
    pub(crate) bytes: u64,
}

/// One way, in microseconds.
#[derive(Clone, Copy, Default, Serialize)]
pub(crate) struct Latency {
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) p999_us: f64,
    pub(crate) max_us: f64,
}

/// An entry of a measurement's series.
#[derive(Clone, Copy, Serialize)]
pub(crate) struct Moment {
    pub(crate) at: f64,
    pub(crate) sent_per_second: f64,
    pub(crate) received_per_second: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
}

/// The least, the middle and the most of some rounds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Spread {
    pub(crate) min: f64,
    pub(crate) median: f64,
    pub(crate) max: f64,
}

#[expect(clippy::cast_precision_loss, reason = "counts and bytes, for reading")]
impl Figures {
    /// What a step found; `cpu`: what the server used in it.
    pub(crate) fn new(tally: &Tally, cpu: Option<Duration>) -> Self {
        let seconds = tally.elapsed.as_secs_f64().max(1e-9);
        let counts = tally.counts;
        let received = counts.received.max(1) as f64;
        Self {
            seconds,
            counts,
            sent_per_second: counts.sent as f64 / seconds,
            received_per_second: counts.received as f64 / seconds,
            loss: counts.lost() as f64 / counts.sent.max(1) as f64,
            latency: Latency::of(&tally.latency),
            cpu_us_per_packet: cpu.map(|cpu| cpu.as_secs_f64() * 1e6 / received),
            memory: Vec::new(),
            renewals_failed: tally.renewals_failed,
            generator_busy: tally.busy,
            cut_short: tally.cut_short,
            series: Vec::new(),
        }
    }

    /// The same, with a series whose entries are `slice` long.
    pub(crate) fn with_series(mut self, tally: &Tally, slice: Duration) -> Self {
        let slice = slice.as_secs_f64();
        let entries = tally.slices.iter().enumerate();
        self.series = entries
            .map(|(index, entry)| {
                // The last one may be shorter.
                let length = (self.seconds - index as f64 * slice).clamp(slice / 10.0, slice);
                let latency = Latency::of(&entry.latency);
                Moment {
                    at: index as f64 * slice,
                    sent_per_second: entry.sent as f64 / length,
                    received_per_second: entry.received as f64 / length,
                    p50_us: latency.p50_us,
                    p99_us: latency.p99_us,
                }
            })
            .collect();
        self
    }
}

#[expect(clippy::cast_precision_loss, reason = "nanoseconds below an hour")]
impl Latency {
    fn of(histogram: &Histogram<u64>) -> Self {
        if histogram.is_empty() {
            return Self::default();
        }
        let at = |quantile| histogram.value_at_quantile(quantile) as f64 / 1e3;
        Self {
            p50_us: at(0.5),
            p99_us: at(0.99),
            p999_us: at(0.999),
            max_us: histogram.max() as f64 / 1e3,
        }
    }
}

impl Spread {
    /// Of at least one value.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values
            .into_iter()
            .filter(|value| value.is_finite())
            .collect();
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let middle = (values.len() - 1) / 2;
        let median = f64::midpoint(values[middle], values[values.len() / 2]);
        Some(Self { min, median, max })
    }
}

/// Why the generator may have been the limit in a step.
#[expect(clippy::cast_precision_loss, reason = "counts, for comparing")]
pub(crate) fn own_limit(tally: &Tally, load: Load) -> Option<String> {
    let sent = tally.counts.sent.max(1) as f64;
    let many = |count: u64| count as f64 > sent * MOST_LOSS / 2.0;
    if many(tally.own_drops) {
        return Some(format!(
            "{} packets found no room in the generator's own sockets and count as lost\n  help: \
             `sysctl -w net.core.rmem_max=16777216`, more --threads, or cores of its own with --pin",
            tally.own_drops
        ));
    }
    if many(tally.skipped) {
        return Some(format!(
            "the generator could not keep the rate: {} packets were never sent\n  help: more \
             --threads, cores of its own with --pin, fewer sockets with --sources",
            tally.skipped
        ));
    }
    if tally.troubles.untrained > 0 {
        return Some(
            "the way to the relay takes no trains (UDP GSO): bursts left packet by packet".into(),
        );
    }
    if many(tally.troubles.blocked + tally.troubles.failed) {
        return Some(format!(
            "the kernel did not take {} of the generator's packets\n  help: `sysctl -w \
             net.core.wmem_max=16777216`",
            tally.troubles.blocked + tally.troubles.failed
        ));
    }
    let full = matches!(load, Load::Window(_)) && tally.busy > 0.98;
    full.then(|| {
        format!(
            "the generator was busy {:.0} % of the time: the server may be able to do more",
            tally.busy * 100.0
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_of_some_values() {
        let spread = Spread::of([3.0, 1.0, 2.0, f64::NAN]).expect("values");
        assert_eq!((spread.min, spread.median, spread.max), (1.0, 2.0, 3.0));
        assert_eq!(
            Spread::of([1.0, 2.0]).map(|spread| spread.median),
            Some(1.5)
        );
        assert_eq!(Spread::of([]), None);
    }

    #[test]
    fn the_generator_admits_its_limits() {
        let mut tally = Tally::new();
        tally.counts.sent = 10_000;
        assert_eq!(own_limit(&tally, Load::Rate(1.0)), None);
        tally.busy = 1.0;
        assert!(own_limit(&tally, Load::Window(1)).is_some());
        tally.skipped = 100;
        let told = own_limit(&tally, Load::Rate(1.0)).expect("a limit");
        assert!(told.contains("100 packets were never sent"), "{told}");
        tally.own_drops = 100;
        let told = own_limit(&tally, Load::Rate(1.0)).expect("a limit");
        assert!(told.contains("own sockets"), "{told}");
    }
}
