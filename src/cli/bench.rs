//! `vizard bench`: a load generator for any TURN server.

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::builder::FalseyValueParser;
use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};

use super::Failure;
use crate::bench::{
    self, Fault, Form, Load, Mode, Plan, Report, Settings, Sources, Target, Trains, What,
};
use crate::config::{Moment, Period};

mod target;

/// Packets under way at any time with --saturate, for each pair and at least.
const WINDOW_PER_PAIR: u64 = 4;
const LEAST_WINDOW: u64 = 256;

/// Measure a TURN server: loss, latency, misdelivery, CPU per packet, highest rate
///
/// Against a vizard, give --api and its key: calls are opened, and their parties talk to each
/// other. Against any TURN server, give --relay with --username and --password-file, or with
/// --rest-secret-file. Only measure servers that are yours.
#[derive(Debug, Args)]
pub(super) struct Bench {
    #[command(flatten)]
    target: target::First,
    #[command(flatten)]
    other: target::Other,
    #[command(flatten)]
    load: LoadArguments,
    #[command(flatten)]
    generator: GeneratorArguments,
    #[command(flatten)]
    output: OutputArguments,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Load")]
struct LoadArguments {
    /// Who sends to whom
    #[arg(long, env = "VIZARD_MODE", value_enum, default_value = "circuit")]
    mode: Mode,
    /// How media is wrapped between client and relay
    #[arg(long, env = "VIZARD_FORM", value_enum, default_value = "channel")]
    form: Form,
    /// Over which transport clients reach a vizard of --api
    #[arg(long, env = "VIZARD_TRANSPORT", value_enum, default_value = "udp")]
    transport: Carrier,
    /// How many pairs talk at the same time
    #[arg(long, env = "VIZARD_PAIRS", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pairs: u32,
    /// What they send: sets rate, size and burst where those are not given
    #[arg(long, env = "VIZARD_SHAPE", value_enum, default_value = "audio")]
    shape: Shape,
    /// Packets per second of all pairs together, in place of the shape's
    #[arg(long, env = "VIZARD_RATE", conflicts_with_all = ["saturate", "search", "allocations"])]
    rate: Option<f64>,
    /// Payload of a packet in bytes
    #[arg(long, env = "VIZARD_SIZE")]
    size: Option<usize>,
    /// Packets of one sender that leave back to back
    #[arg(long, env = "VIZARD_BURST", value_parser = clap::value_parser!(u16).range(1..=64))]
    burst: Option<u16>,
    /// As many packets as the server manages: a fixed number under way
    #[arg(long, env = "VIZARD_SATURATE", value_parser = FalseyValueParser::new(), conflicts_with_all = ["search", "allocations"])]
    saturate: bool,
    /// Packets under way with --saturate
    #[arg(long, env = "VIZARD_WINDOW", requires = "saturate")]
    window: Option<u64>,
    /// Search for the highest rate with less than 0.1 % loss
    #[arg(long, env = "VIZARD_SEARCH", value_parser = FalseyValueParser::new(), conflicts_with = "allocations")]
    search: bool,
    /// Measure allocations per second, and no media
    #[arg(long, env = "VIZARD_ALLOCATIONS", value_parser = FalseyValueParser::new())]
    allocations: bool,
    /// How long each round is, such as 10s; with --search, each try
    #[arg(long, env = "VIZARD_DURATION", default_value = "10s", value_parser = length)]
    duration: Duration,
    /// Load before the first round that is not counted
    #[arg(long, env = "VIZARD_WARM_UP", default_value = "1s", value_parser = length)]
    warm_up: Duration,
    /// Rounds; the report has their median, least and most
    #[arg(long, env = "VIZARD_ROUNDS", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1000))]
    rounds: u16,
    /// One long round instead, with allocations and permissions kept alive
    #[arg(long, env = "VIZARD_SOAK", value_parser = length, conflicts_with_all = ["duration", "rounds", "search", "allocations"])]
    soak: Option<Duration>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Generator")]
struct GeneratorArguments {
    /// Threads of the generator
    #[arg(long, env = "VIZARD_THREADS", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: u16,
    /// Cores that the threads stay on, such as 1,3; they spin there
    #[arg(long, env = "VIZARD_PIN", value_delimiter = ',')]
    pin: Vec<usize>,
    /// Network routed to this machine that clients take their addresses from: one socket for
    /// thousands of clients
    #[arg(long, env = "VIZARD_SOURCES")]
    sources: Option<ipnet::IpNet>,
    /// Whether bursts leave as one (UDP GSO)
    #[arg(long, env = "VIZARD_TRAINS", value_enum, default_value = "auto")]
    trains: Trains,
    /// Pairs that share a call and its tickets
    #[arg(long, env = "VIZARD_PAIRS_PER_CALL", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    pairs_per_call: u16,
    /// Address of the server's relayed addresses, if it is another than the server's own
    #[arg(long, env = "VIZARD_RELAYED_ADDRESS")]
    relayed_address: Option<std::net::IpAddr>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Output")]
struct OutputArguments {
    /// Print the report as JSON
    #[arg(long, env = "VIZARD_JSON", value_parser = FalseyValueParser::new())]
    json: bool,
    /// Write the report with plots to this file
    #[arg(long, env = "VIZARD_HTML")]
    html: Option<PathBuf>,
    /// What a core costs in an hour, for the cost of calls
    #[arg(long, env = "VIZARD_CORE_PRICE", default_value_t = 0.04)]
    core_price: f64,
}

/// What pairs send.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Shape {
    /// 172 bytes every 20 ms, both ways
    Audio,
    /// 30 frames a second, 10 packets of 1200 bytes each, both ways
    Video,
}

/// How clients reach the relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Carrier {
    Udp,
    Tcp,
}

impl Shape {
    /// Packets per second of each direction, bytes of payload, packets in a burst.
    fn figures(self) -> (f64, usize, u16) {
        match self {
            Self::Audio => (50.0, 172, 1),
            Self::Video => (300.0, 1200, 10),
        }
    }
}

impl Bench {
    pub(super) fn run(self) -> Result<(), Failure> {
        let stop = Arc::new(AtomicBool::new(false));
        stop_when_interrupted(Arc::clone(&stop));
        let settings = self.settings(stop);
        let bar = progress_bar();
        let opened = self.targets(&bar);
        let (targets, doors) = opened.map_err(refuse)?;
        let report = bench::run(targets, &settings, &mut |label, share| {
            bar.set_message(label.to_owned());
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "0 to 1000"
            )]
            bar.set_position((share.clamp(0.0, 1.0) * 1000.0) as u64);
        });
        bar.set_message("ending");
        doors.into_iter().for_each(target::Door::close);
        bar.finish_and_clear();
        self.output.show(&report)?;
        if let Some(fault) = report.fault.clone().or_else(|| report.wrong()) {
            return Err(fault.into());
        }
        Ok(())
    }

    fn settings(&self, stop: Arc<AtomicBool>) -> Settings {
        let load = &self.load;
        Settings {
            what: self.what(),
            length: load.soak.unwrap_or(load.duration),
            warm_up: load.warm_up,
            rounds: usize::from(if load.soak.is_some() { 1 } else { load.rounds }),
            core_price: self.output.core_price,
            stop,
        }
    }

    fn what(&self) -> What {
        let load = &self.load;
        if load.allocations {
            return What::Allocations;
        }
        if load.saturate {
            let least = LEAST_WINDOW.max(WINDOW_PER_PAIR * u64::from(load.pairs));
            let window = load.window.unwrap_or(least.min(4096));
            return What::Load(Load::Window(window.max(u64::from(self.burst()))));
        }
        if load.search {
            return What::Search(self.rate().max(1000.0));
        }
        What::Load(Load::Rate(self.rate()))
    }

    fn rate(&self) -> f64 {
        let directions = u32::try_from(self.load.mode.directions()).unwrap_or(1);
        let each = self.load.shape.figures().0;
        let whole = each * f64::from(self.load.pairs * directions);
        self.load.rate.filter(|rate| *rate > 0.0).unwrap_or(whole)
    }

    fn burst(&self) -> u16 {
        self.load.burst.unwrap_or(self.load.shape.figures().2)
    }

    fn targets(&self, bar: &ProgressBar) -> Result<(Vec<Target>, Vec<target::Door>), Fault> {
        let mut targets = Vec::new();
        let mut doors = Vec::new();
        let wanted = [Some(self.target.place()?), self.other.place()?];
        for place in wanted.into_iter().flatten() {
            bar.set_message(format!("{}: opening calls", place.name()));
            let pid = place.pid();
            let opening = place.open(&self.opening())?;
            let plan = Plan {
                label: opening.name,
                server: opening.server,
                transport: opening.transport,
                logins: opening.logins,
                mode: self.load.mode,
                form: self.load.form,
                pairs: usize::try_from(self.load.pairs).unwrap_or(usize::MAX),
                size: self.load.size.unwrap_or(self.load.shape.figures().1),
                burst: usize::from(self.burst()),
                trains: self.generator.trains,
                threads: usize::from(self.generator.threads),
                pins: self.generator.pin.clone(),
                sources: self.generator.sources.map(Sources),
                relayed: self.generator.relayed_address,
            };
            doors.extend(opening.door);
            plan.check().map_err(Fault::Usage)?;
            let process = pid.map(bench::Process::new).transpose()?;
            targets.push(Target { plan, process });
        }
        Ok((targets, doors))
    }

    /// What calls have to be opened.
    fn opening(&self) -> target::Wanted {
        let each = usize::from(self.generator.pairs_per_call);
        let pairs = usize::try_from(self.load.pairs).unwrap_or(usize::MAX);
        let rounds = u32::from(self.load.rounds) * 2;
        let length = self.load.soak.unwrap_or(self.load.duration);
        target::Wanted {
            calls: pairs.div_ceil(each),
            pairs_each: each,
            // Setting up and a second server take their time as well.
            ttl: length * rounds + Duration::from_secs(1800),
            tcp: self.load.transport == Carrier::Tcp,
        }
    }
}

impl OutputArguments {
    fn show(&self, report: &Report) -> Result<(), Failure> {
        if let Some(file) = &self.html {
            std::fs::write(file, report.html())
                .map_err(|error| format!("can't write {}: {error}", file.display()))?;
        }
        if self.json {
            super::say(&report.json())
        } else if report.is_empty() {
            Ok(())
        } else {
            super::say(&report.text())
        }
    }
}

/// A length of time: 1h30m, 10s, 200ms.
fn length(text: &str) -> Result<Duration, &'static str> {
    let short = text.parse().map(|Moment(length)| length);
    short.or_else(|_| text.parse().map(|Period(length)| length))
}

/// Wrong usage ends here, with the exit code for it.
fn refuse(fault: Fault) -> Failure {
    match fault {
        Fault::Usage(text) => {
            clap::Error::raw(clap::error::ErrorKind::ValueValidation, text + "\n").exit()
        }
        Fault::Failed(text) => text.into(),
    }
}

/// Shown on a terminal only.
fn progress_bar() -> ProgressBar {
    let bar = ProgressBar::new(1000);
    // The template is ours and right.
    if let Ok(style) = ProgressStyle::with_template("{msg} [{bar:30}] {percent} %") {
        bar.set_style(style.progress_chars("=> "));
    }
    bar
}

/// The first interrupt ends the run, and what was measured is shown; the second ends all.
fn stop_when_interrupted(stop: Arc<AtomicBool>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let Ok(runtime) = runtime else { return };
    std::thread::spawn(move || {
        runtime.block_on(async {
            while tokio::signal::ctrl_c().await.is_ok() {
                if stop.swap(true, Ordering::Relaxed) {
                    std::process::exit(130);
                }
                let _ = writeln!(
                    std::io::stderr(),
                    "interrupted: ending; once more ends at once"
                );
            }
        });
    });
}
