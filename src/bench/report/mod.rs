//! What was found, for reading ([`Report::text`]), for programs ([`Report::json`]) and for showing
//! around ([`Report::html`]).

mod chart;
mod figures;
mod html;
mod text;

use std::time::Duration;

use serde::Serialize;

use super::Fault;
use super::engine::Round;
use super::ledger::Counts;
use super::plan::Plan;
pub(crate) use figures::{Figures, MemoryAt, Moment, Spread, own_limit};

/// Packets of one call in a second: 20 ms audio, both ways.
const CALL_PACKETS: f64 = 100.0;
/// More lost than this is too much.
pub(crate) const MOST_LOSS: f64 = 0.001;

/// See the module's description.
#[derive(Serialize)]
pub(crate) struct Report {
    /// Our version.
    pub(crate) vizard: &'static str,
    pub(crate) machine: Machine,
    pub(crate) load: Described,
    pub(crate) servers: Vec<Server>,
    /// The first server's figures over the second's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) comparison: Option<Comparison>,
    /// Why there is not more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) fault: Option<String>,
}

/// Where it was measured.
#[derive(Serialize)]
pub(crate) struct Machine {
    pub(crate) cores: usize,
    pub(crate) kernel: String,
}

/// What was measured, in words.
#[derive(Serialize)]
pub(crate) struct Described {
    pub(crate) what: String,
    pub(crate) mode: &'static str,
    pub(crate) form: &'static str,
    pub(crate) transport: &'static str,
    pub(crate) pairs: usize,
    pub(crate) payload_bytes: usize,
    pub(crate) burst: usize,
    pub(crate) seconds: f64,
    pub(crate) rounds: usize,
    /// What a core costs in an hour, as the user says.
    pub(crate) core_price: f64,
}

/// One server's figures.
#[derive(Serialize)]
pub(crate) struct Server {
    pub(crate) name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) setup: Option<Setup>,
    pub(crate) rounds: Vec<Figures>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) summary: Option<Summary>,
    /// The rates that were tried, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) search: Vec<Try>,
    /// The highest rate that was found, in packets per second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) highest_rate: Option<f64>,
    /// Rounds of allocating and giving back.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) allocating: Vec<Allocating>,
    /// Where the generator itself was the limit, or may have been.
    pub(crate) own_limits: Vec<String>,
}

/// How the allocations were made.
#[derive(Clone, Copy, Serialize)]
pub(crate) struct Setup {
    pub(crate) allocations: u64,
    pub(crate) seconds: f64,
    pub(crate) allocations_per_second: f64,
    /// Of the server's memory, permission and channel included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) bytes_per_allocation: Option<f64>,
}

/// A round of authenticated allocations, challenge included.
#[derive(Clone, Copy, Serialize)]
pub(crate) struct Allocating {
    pub(crate) allocations: u64,
    pub(crate) per_second: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cpu_us_each: Option<f64>,
}

/// A rate that was tried.
#[derive(Clone, Copy, Serialize)]
pub(crate) struct Try {
    pub(crate) rate: f64,
    pub(crate) loss: f64,
    pub(crate) p99_us: f64,
    pub(crate) good: bool,
    /// Whether the generator, and not the server, was the limit.
    pub(crate) own_limit: bool,
}

/// All rounds together.
#[derive(Serialize)]
pub(crate) struct Summary {
    pub(crate) counts: Counts,
    pub(crate) received_per_second: Spread,
    pub(crate) loss: Spread,
    pub(crate) p50_us: Spread,
    pub(crate) p99_us: Spread,
    pub(crate) p999_us: Spread,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cpu_us_per_packet: Option<Spread>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) calls: Option<Calls>,
    /// The server's memory at the end less that at the beginning of the first round.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) memory_growth_bytes: Option<i64>,
}

/// What the median CPU time of a packet makes of audio calls.
#[derive(Clone, Copy, Serialize)]
pub(crate) struct Calls {
    pub(crate) per_core: f64,
    pub(crate) core_hours_per_1000_call_hours: f64,
    pub(crate) cost_per_1000_call_hours: f64,
}

/// Round by round, the first server over the second.
#[derive(Serialize)]
pub(crate) struct Comparison {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cpu_per_packet: Option<Spread>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) received_per_second: Option<Spread>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) p50: Option<Spread>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) p99: Option<Spread>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cpu_per_allocation: Option<Spread>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) allocations_per_second: Option<Spread>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) bytes_per_allocation: Option<f64>,
}

impl Report {
    /// A report with nothing in it yet.
    pub(crate) fn new(load: Described) -> Self {
        let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        Self {
            vizard: env!("CARGO_PKG_VERSION"),
            machine: Machine {
                cores: std::thread::available_parallelism().map_or(1, usize::from),
                kernel: kernel.trim().to_owned(),
            },
            load,
            servers: Vec::new(),
            comparison: None,
            fault: None,
        }
    }

    /// Puts the rounds together, once there will be no more of them.
    pub(crate) fn conclude(&mut self, fault: Option<Fault>) {
        self.fault = fault.map(|fault| fault.to_string());
        let price = self.load.core_price;
        for server in &mut self.servers {
            server.summary = Summary::of(&server.rounds, price);
        }
        if let [one, other] = &self.servers[..] {
            self.comparison = Some(Comparison::of(one, other));
        }
    }

    /// Whether nothing was found at all.
    pub(crate) fn is_empty(&self) -> bool {
        let nothing = |server: &Server| {
            server.setup.is_none() && server.rounds.is_empty() && server.allocating.is_empty()
        };
        self.servers.iter().all(nothing)
    }

    /// What must never happen, and did.
    pub(crate) fn wrong(&self) -> Option<String> {
        let rounds = self.servers.iter().flat_map(|server| &server.rounds);
        let mut counts = Counts::default();
        rounds.for_each(|round| counts.add(&round.counts));
        (counts.wrong() > 0).then(|| {
            format!(
                "{} packets were misdelivered, {} came from a wrong source, {} were damaged",
                counts.misdelivered, counts.wrong_source, counts.damaged
            )
        })
    }

    /// The report as JSON.
    pub(crate) fn json(&self) -> String {
        // Numbers, strings and lists: nothing that could fail.
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }
}

impl Described {
    pub(crate) fn new(plan: &Plan, what: String, length: Duration, rounds: usize) -> Self {
        Self {
            what,
            mode: plan.mode.name(),
            form: plan.form.name(),
            transport: plan.transport_name(),
            pairs: plan.pairs,
            payload_bytes: plan.size,
            burst: plan.burst,
            seconds: length.as_secs_f64(),
            rounds,
            core_price: 0.0,
        }
    }
}

impl Server {
    pub(crate) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            setup: None,
            rounds: Vec::new(),
            summary: None,
            search: Vec::new(),
            highest_rate: None,
            allocating: Vec::new(),
            own_limits: Vec::new(),
        }
    }

    /// Notes that the generator was the limit; each reason once.
    pub(crate) fn limited(&mut self, why: Option<String>) {
        if let Some(why) = why.filter(|why| !self.own_limits.contains(why)) {
            self.own_limits.push(why);
        }
    }
}

impl Setup {
    #[expect(clippy::cast_precision_loss, reason = "counts and bytes, for reading")]
    pub(in crate::bench) fn new(round: &Round, memory: Option<(u64, u64)>) -> Self {
        let seconds = round.elapsed.as_secs_f64().max(1e-9);
        let each = |bytes: u64| bytes as f64 / round.succeeded.max(1) as f64;
        Self {
            allocations: round.succeeded,
            seconds,
            allocations_per_second: round.succeeded as f64 / seconds,
            bytes_per_allocation: memory.map(|(before, after)| each(after.saturating_sub(before))),
        }
    }
}

impl Summary {
    fn of(rounds: &[Figures], price: f64) -> Option<Self> {
        let spread = |value: fn(&Figures) -> f64| Spread::of(rounds.iter().map(value));
        let mut counts = Counts::default();
        for round in rounds {
            counts.add(&round.counts);
        }
        let cpu = Spread::of(rounds.iter().filter_map(|round| round.cpu_us_per_packet));
        let mut memory = rounds.iter().flat_map(|round| &round.memory);
        let first = memory.next().map(|first| first.bytes.cast_signed());
        let last = memory.last().map(|last| last.bytes.cast_signed());
        Some(Self {
            counts,
            received_per_second: spread(|round| round.received_per_second)?,
            loss: spread(|round| round.loss)?,
            p50_us: spread(|round| round.latency.p50_us)?,
            p99_us: spread(|round| round.latency.p99_us)?,
            p999_us: spread(|round| round.latency.p999_us)?,
            cpu_us_per_packet: cpu,
            calls: cpu.map(|cpu| Calls::at(cpu.median, price)),
            memory_growth_bytes: first.zip(last).map(|(first, last)| last - first),
        })
    }
}

impl Calls {
    /// With so many microseconds of CPU for each packet.
    fn at(cpu_us: f64, price: f64) -> Self {
        let share = cpu_us * 1e-6 * CALL_PACKETS;
        Self {
            per_core: 1.0 / share,
            core_hours_per_1000_call_hours: 1000.0 * share,
            cost_per_1000_call_hours: 1000.0 * share * price,
        }
    }
}

impl Comparison {
    fn of(one: &Server, other: &Server) -> Self {
        let ratio = |value: fn(&Figures) -> Option<f64>| {
            let pairs = one.rounds.iter().zip(&other.rounds);
            Spread::of(pairs.filter_map(|(one, other)| Some(value(one)? / value(other)?)))
        };
        let allocating = |value: fn(&Allocating) -> Option<f64>| {
            let pairs = one.allocating.iter().zip(&other.allocating);
            Spread::of(pairs.filter_map(|(one, other)| Some(value(one)? / value(other)?)))
        };
        let bytes = |server: &Server| server.setup?.bytes_per_allocation;
        Self {
            cpu_per_packet: ratio(|round| round.cpu_us_per_packet),
            received_per_second: ratio(|round| Some(round.received_per_second)),
            p50: ratio(|round| Some(round.latency.p50_us)),
            p99: ratio(|round| Some(round.latency.p99_us)),
            cpu_per_allocation: allocating(|round| round.cpu_us_each),
            allocations_per_second: allocating(|round| Some(round.per_second)),
            bytes_per_allocation: bytes(one).zip(bytes(other)).map(|(one, other)| one / other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_microseconds_a_packet_are_a_thousand_calls() {
        let calls = Calls::at(10.0, 0.04);
        assert!((calls.per_core - 1000.0).abs() < 1e-6);
        assert!((calls.core_hours_per_1000_call_hours - 1.0).abs() < 1e-9);
        assert!((calls.cost_per_1000_call_hours - 0.04).abs() < 1e-9);
    }
}
