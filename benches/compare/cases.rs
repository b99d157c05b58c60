//! What is measured.

use std::io;

use serde_json::Value;

use super::Options;
use super::network::{CLIENTS, Network};
use super::servers::{Kind, Server};

/// A load that some servers are put under.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) runs: &'static [Run],
}

/// One server in a case.
pub(crate) struct Run {
    pub(crate) kind: Kind,
    /// How it is told apart where a server is in a case twice.
    pub(crate) label: &'static str,
    /// For its configuration, if it is a vizard.
    pub(crate) settings: &'static str,
    arguments: &'static str,
    pairs: u32,
}

const fn run(kind: Kind, pairs: u32, arguments: &'static str) -> Run {
    Run {
        kind,
        label: "",
        settings: "",
        arguments,
        pairs,
    }
}

const fn labelled(kind: Kind, label: &'static str, pairs: u32, arguments: &'static str) -> Run {
    Run {
        kind,
        label,
        settings: "",
        arguments,
        pairs,
    }
}

/// A vizard with 100 pairs and another `relay.coalesce`.
const fn coalescing(label: &'static str, settings: &'static str, arguments: &'static str) -> Run {
    Run {
        settings,
        ..labelled(Vizard, label, 100, arguments)
    }
}

use Kind::{Coturn, Forwarder, Vizard};

/// In the order of the table.
pub(crate) const CASES: &[Case] = &[
    Case {
        name: "saturation, 172 B",
        runs: &[
            run(Vizard, 100, "--saturate"),
            run(Coturn, 100, "--saturate"),
            run(Forwarder, 100, "--saturate"),
        ],
    },
    Case {
        name: "indications at saturation, 172 B",
        runs: &[
            run(Vizard, 100, "--saturate --form indication"),
            run(Coturn, 100, "--saturate --form indication"),
        ],
    },
    Case {
        name: "video: bursts of 10 x 1200 B in trains, 30,000/s",
        runs: &[
            run(Vizard, 50, "--shape video"),
            run(Coturn, 50, "--shape video"),
            run(Forwarder, 50, "--shape video"),
        ],
    },
    Case {
        name: "video: the same packet by packet",
        runs: &[
            run(Vizard, 50, "--shape video --trains off"),
            run(Coturn, 50, "--shape video --trains off"),
            run(Forwarder, 50, "--shape video --trains off"),
        ],
    },
    Case {
        name: "20,000/s, 172 B",
        runs: &[
            run(Vizard, 100, "--rate 20000"),
            coalescing("coalesce 0", "relay.coalesce = \"0\"", "--rate 20000"),
            coalescing(
                "coalesce 200us",
                "relay.coalesce = \"200us\"",
                "--rate 20000",
            ),
            run(Coturn, 100, "--rate 20000"),
            run(Forwarder, 100, "--rate 20000"),
        ],
    },
    Case {
        name: "60,000/s, 172 B",
        runs: &[
            run(Vizard, 100, "--rate 60000"),
            coalescing("coalesce 0", "relay.coalesce = \"0\"", "--rate 60000"),
            coalescing(
                "coalesce 200us",
                "relay.coalesce = \"200us\"",
                "--rate 60000",
            ),
            run(Coturn, 100, "--rate 60000"),
            run(Forwarder, 100, "--rate 60000"),
        ],
    },
    Case {
        name: "many pairs at saturation, 172 B",
        runs: &[
            labelled(Vizard, "100 pairs", 100, "--saturate --window 400"),
            labelled(Vizard, "10,000 pairs", 10_000, "--saturate --window 400"),
            labelled(Vizard, "100,000 pairs", 100_000, "--saturate --window 400"),
            labelled(Coturn, "1,000 pairs", 1_000, "--saturate --window 400"),
        ],
    },
    Case {
        name: "allocations",
        runs: &[
            run(Vizard, 500, "--allocations --pairs-per-call 10"),
            run(Coturn, 500, "--allocations"),
        ],
    },
];

/// What one round of one server gave.
pub(crate) struct Sample {
    pub(crate) case: &'static str,
    pub(crate) kind: Kind,
    pub(crate) label: &'static str,
    pub(crate) cpu_us: Option<f64>,
    pub(crate) per_second: f64,
    pub(crate) p50_us: Option<f64>,
    pub(crate) p99_us: Option<f64>,
    pub(crate) loss: f64,
    /// Of the server's memory, for each allocation.
    pub(crate) bytes: Option<f64>,
    pub(crate) wrong: u64,
    pub(crate) own_limits: bool,
}

impl Sample {
    pub(crate) fn take(
        case: &'static Case,
        run: &'static Run,
        server: &Server,
        network: &Network,
        options: &Options,
    ) -> io::Result<Self> {
        let pairs = if options.quick {
            run.pairs.min(20)
        } else {
            run.pairs
        };
        let mut command = server.bench(network);
        command.args(run.arguments.split(' '));
        command.args(["--pairs", &pairs.to_string(), "--duration", &options.length]);
        let warm_up = if options.quick { "0s" } else { "500ms" };
        command.args(["--sources", CLIENTS, "--warm-up", warm_up]);
        if run.kind == Kind::Vizard && !run.arguments.contains("pairs-per-call") {
            // A call for each pair would measure the opening of calls.
            command.args(["--pairs-per-call", if pairs > 1000 { "32" } else { "1" }]);
        }
        let output = command.output()?;
        let told = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        let report: Value = serde_json::from_slice(&output.stdout)
            .map_err(|_| io::Error::other(format!("{}: {told}", run.kind.name())))?;
        if !output.status.success() && !told.contains("misdelivered") {
            return Err(io::Error::other(format!("{}: {told}", run.kind.name())));
        }
        let sample = Self::read(case, run, &report["servers"][0]);
        sample.ok_or_else(|| io::Error::other(format!("{}: an empty report", run.kind.name())))
    }

    fn read(case: &'static Case, run: &'static Run, server: &Value) -> Option<Self> {
        let mut sample = Self {
            case: case.name,
            kind: run.kind,
            label: run.label,
            cpu_us: None,
            per_second: 0.0,
            p50_us: None,
            p99_us: None,
            loss: 0.0,
            bytes: server["setup"]["bytes_per_allocation"].as_f64(),
            wrong: 0,
            own_limits: server["own_limits"]
                .as_array()
                .is_some_and(|all| !all.is_empty()),
        };
        if let Some(round) = server["allocating"].get(0) {
            sample.cpu_us = round["cpu_us_each"].as_f64();
            sample.per_second = round["per_second"].as_f64()?;
            return Some(sample);
        }
        let round = server["rounds"].get(0)?;
        sample.cpu_us = round["cpu_us_per_packet"].as_f64();
        sample.per_second = round["received_per_second"].as_f64()?;
        sample.p50_us = round["latency"]["p50_us"].as_f64();
        sample.p99_us = round["latency"]["p99_us"].as_f64();
        sample.loss = round["loss"].as_f64()?;
        let wrong = ["misdelivered", "wrong_source", "damaged"];
        sample.wrong = wrong
            .iter()
            .filter_map(|name| round["counts"][name].as_u64())
            .sum();
        Some(sample)
    }

    /// In a line.
    pub(crate) fn line(&self) -> String {
        let cpu = self.cpu_us.unwrap_or(f64::NAN);
        let p50 = self.p50_us.map(|p50| format!(", p50 {p50:.0} us"));
        let limit = if self.own_limits {
            ", the generator was a limit"
        } else {
            ""
        };
        format!(
            "{} {} {cpu:.2} us CPU, {:.0}/s{}{limit}",
            self.kind.name(),
            self.label,
            self.per_second,
            p50.unwrap_or_default()
        )
    }
}
