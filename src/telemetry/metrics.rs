//! Every metric, declared once: the doc comment of a field is the metric's help text.
//!
//! Label values come from closed sets: [`Labelled::of`] takes only strings that are part of the
//! program, so that no user, call or address can become one. Whoever owns a set asks for all of
//! its counters when it starts and keeps them: counting is then one atomic addition, and every
//! counter is there with 0 before anything happens.

use prometheus::core::{Collector, Desc};
use prometheus::{IntCounterVec, IntGaugeVec, Opts, Registry, TextEncoder, proto};

/// A number that only grows.
pub type Counter = prometheus::IntCounter;
/// A number that goes up and down.
pub type Gauge = prometheus::IntGauge;

/// A metric with `N` labels and values of type [`Counter`] or [`Gauge`].
#[derive(Clone, Debug)]
pub struct Labelled<V, const N: usize>(V);

/// Counters told apart by `N` labels.
pub type Counters<const N: usize> = Labelled<IntCounterVec, N>;
/// Gauges told apart by `N` labels.
pub type Gauges<const N: usize> = Labelled<IntGaugeVec, N>;

impl<const N: usize> Counters<N> {
    /// The counter for these label values, in the order of the declaration.
    /// Takes a lock: ask once and keep what you get.
    pub fn of(&self, values: [&'static str; N]) -> Counter {
        self.0.with_label_values(&values)
    }
}

impl<const N: usize> Gauges<N> {
    /// The gauge for these label values, in the order of the declaration.
    /// Takes a lock: ask once and keep what you get.
    pub fn of(&self, values: [&'static str; N]) -> Gauge {
        self.0.with_label_values(&values)
    }
}

impl<V: Collector, const N: usize> Collector for Labelled<V, N> {
    fn desc(&self) -> Vec<&Desc> {
        self.0.desc()
    }
    fn collect(&self) -> Vec<proto::MetricFamily> {
        self.0.collect()
    }
}

/// What a field of [`Metrics`] is made of its name, help text and label names.
trait Declared: Sized {
    fn declare(opts: Opts, labels: &[&str]) -> prometheus::Result<Self>;
}

impl Declared for Counter {
    fn declare(opts: Opts, _: &[&str]) -> prometheus::Result<Self> {
        Self::with_opts(opts)
    }
}

impl Declared for Gauge {
    fn declare(opts: Opts, _: &[&str]) -> prometheus::Result<Self> {
        Self::with_opts(opts)
    }
}

impl<const N: usize> Declared for Counters<N> {
    fn declare(opts: Opts, labels: &[&str]) -> prometheus::Result<Self> {
        IntCounterVec::new(opts, labels).map(Self)
    }
}

impl<const N: usize> Declared for Gauges<N> {
    fn declare(opts: Opts, labels: &[&str]) -> prometheus::Result<Self> {
        IntGaugeVec::new(opts, labels).map(Self)
    }
}

macro_rules! metrics {
    ($($(#[doc = $help:literal])+ $field:ident: $kind:ty = $name:literal [$($label:literal),*];)+) => {
        /// All metrics of one node.
        #[derive(Clone, Debug)]
        pub struct Metrics {
            registry: Registry,
            $($(#[doc = $help])+ pub $field: $kind,)+
        }

        impl Metrics {
            /// All metrics, at zero, in a registry of their own.
            pub fn new() -> Self {
                let registry = Registry::new();
                $(let $field = <$kind>::declare(
                    Opts::new(concat!("vizard_", $name), concat!($($help),+).trim()),
                    &[$($label),*],
                ).expect("names and labels are checked by a test");
                registry.register(Box::new($field.clone())).expect("no name is declared twice");)+
                Self { registry, $($field),+ }
            }
        }
    };
}

metrics! {
    /// Packets (UDP) and messages (TCP) received from clients.
    packets_received: Counters<1> = "packets_received_total" ["transport"];
    /// Payload bytes received from clients, without IP, UDP and TCP headers.
    received_bytes: Counters<1> = "received_bytes_total" ["transport"];
    /// Packets passed on to another party, by the path they took: a worker's table or the relay.
    packets_forwarded: Counters<1> = "packets_forwarded_total" ["path"];
    /// Application bytes passed on to another party.
    forwarded_bytes: Counters<1> = "forwarded_bytes_total" ["path"];
    /// Packets that went nowhere, by reason.
    packets_dropped: Counters<1> = "packets_dropped_total" ["reason"];
    /// STUN answers sent, by method and by error code ("success" if there was none).
    answers: Counters<2> = "answers_total" ["method", "code"];
    /// Allocations alive, by address family.
    allocations: Gauges<1> = "allocations" ["family"];
    /// Allocations that ended, by reason.
    allocations_ended: Counters<1> = "allocations_ended_total" ["reason"];
    /// Forwarding entries alive; two parties with channels bound to each other have four.
    forwards: Gauge = "forwards" [];
    /// TCP connections of clients.
    tcp_connections: Gauge = "tcp_connections" [];
    /// Write calls that took media to TCP connections; messages that came in together share one.
    tcp_writes: Counter = "tcp_writes_total" [];
    /// TCP connections closed by us, by reason.
    tcp_closed: Counters<1> = "tcp_connections_closed_total" ["reason"];
    /// System calls on sockets that failed for another reason than having nothing to do.
    socket_errors: Counters<1> = "socket_errors_total" ["operation"];
    /// Rounds of the workers by how they began: an event, a sleep (relay.coalesce), or at once because there was more to do.
    worker_rounds: Counters<1> = "worker_rounds_total" ["began"];
    /// Times a worker copied its whole forwarding table from the relay because too many changes waited.
    table_rebuilds: Counter = "table_rebuilds_total" [];
    /// Panics of a worker: each is a bug, please report it.
    worker_panics: Counter = "worker_panics_total" [];
    /// Times the relay's lock was taken, by purpose.
    relay_locks: Counters<1> = "relay_locks_total" ["purpose"];
    /// Log lines that were dropped because their reader was too slow.
    log_lines_dropped: Counter = "log_lines_dropped_total" [];
    /// Calls known to this node, by phase.
    calls: Gauges<1> = "calls" ["phase"];
    /// Decisions of the policy, by route.
    decisions: Counters<1> = "decisions_total" ["route"];
    /// Answered requests to the control API, by route and status.
    http_requests: Counters<2> = "http_requests_total" ["route", "code"];
    /// Connections to the control API that were closed because they had been silent longest when a new one came (full) or did not read (unread).
    api_closed: Counters<1> = "api_connections_closed_total" ["reason"];
    /// Configuration reloads, by outcome.
    config_reloads: Counters<1> = "config_reloads_total" ["outcome"];
    /// Unix time at which the node started.
    start_time_seconds: Gauge = "start_time_seconds" [];
    /// Always 1; the label says which version runs.
    build_info: Gauges<1> = "build_info" ["version"];
}

impl Metrics {
    /// The text that `/metrics` answers (Prometheus exposition format 0.0.4).
    pub fn render(&self) -> String {
        let mut text = String::new();
        match TextEncoder::new().encode_utf8(&self.registry.gather(), &mut text) {
            Ok(()) => text,
            Err(_) => String::new(),
        }
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// The label for a status code of STUN or HTTP; 0 stands for a STUN success.
pub fn code_label(code: u16) -> &'static str {
    macro_rules! labels {
        ($($code:literal)*) => {
            match code {
                0 => "success",
                $($code => stringify!($code),)*
                _ => "other",
            }
        };
    }
    labels!(200 201 204 300 400 401 403 404 405 408 409 410 413 415 420 422 429 437 438 440 441 442 443
        446 447 486 500 503 508)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_counter_that_was_asked_for_is_rendered_with_its_help() {
        let metrics = Metrics::new();
        metrics.packets_received.of(["udp"]).inc();
        metrics.answers.of(["allocate", code_label(401)]);
        let text = metrics.render();
        assert!(text.contains("# HELP vizard_packets_received_total Packets (UDP) and messages"));
        assert!(text.contains("vizard_packets_received_total{transport=\"udp\"} 1"));
        assert!(text.contains("vizard_answers_total{code=\"401\",method=\"allocate\"} 0"));
        assert!(text.contains("vizard_tcp_connections 0"));
    }

    #[test]
    fn codes_out_of_the_set_share_one_label() {
        assert_eq!(code_label(0), "success");
        assert_eq!(code_label(508), "508");
        assert_eq!(code_label(777), "other");
    }
}
