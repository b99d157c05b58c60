//! `vizard serve`: run a node until it is told to stop.

use clap::Args;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::Signal::SIGXFSZ;
use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

use super::Failure;
use crate::config::Config;
use crate::control::offers::Offer;
use crate::node::{self, Node};
use crate::state::{self, StateDirectory};
use crate::telemetry::log::Log;

/// Run the relay and its control API
#[derive(Debug, Args)]
pub(super) struct Serve {
    /// The configuration; without one, every key has its default
    #[arg(long, env = "VIZARD_CONFIG")]
    config: Option<PathBuf>,
}

impl Serve {
    pub(super) fn run(self) -> Result<(), Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        // Before all else: a signal that comes early must not kill a node half started.
        let mut signals = runtime.block_on(async { Signals::new() })?;
        let config = self.read()?;
        let log = Log::start(config.log.format, config.log.level)?;
        raise_file_limit();
        let state = StateDirectory::open(&state::locate()?)?;
        let mut node = node::start(&config, state)?;
        if let Err(Failure { message: why, .. }) = super::say(&format!("{}\n", welcome(&node))) {
            tracing::warn!("{why}");
        }
        tracing::info!(version = env!("CARGO_PKG_VERSION"), "serving");
        runtime.block_on(async {
            loop {
                match signals.next().await {
                    Signal::Stop => break,
                    Signal::Reload => self.reload(&mut node, &log),
                    Signal::Drain => {
                        node.drain();
                        tracing::info!("draining: no call is opened from here on");
                    }
                    Signal::None => {}
                }
                node.count_dropped_log_lines(log.dropped_lines());
            }
        });
        tracing::info!("stopping");
        node.stop();
        Ok(())
    }

    fn read(&self) -> Result<Config, Failure> {
        match &self.config {
            Some(file) => Ok(Config::load(file)?),
            None => Ok(Config::default()),
        }
    }

    /// Takes over what the file says by now; all of it or, with a mistake in it, nothing.
    fn reload(&self, node: &mut Node, log: &Log) {
        let outcome = self.read().and_then(|config| {
            let restart = node.reload(&config)?;
            log.set_level(config.log.level);
            Ok(restart)
        });
        node.count_reload(outcome.is_ok());
        match outcome {
            Ok(restart) if restart.is_empty() => tracing::info!("configuration reloaded"),
            Ok(restart) => tracing::warn!(
                "configuration reloaded, but these keys hold from the next start on: {}",
                restart.join(", ")
            ),
            Err(Failure { message: why, .. }) => {
                tracing::error!("configuration not reloaded, the old one stays in force: {why}");
            }
        }
    }
}

enum Signal {
    Stop,
    Reload,
    Drain,
    /// None for a while.
    None,
}

/// How often the loop looks around though no signal came.
const LOOK: Duration = Duration::from_secs(1);

struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
    hang_up: tokio::signal::unix::Signal,
    /// Drains.
    user_1: tokio::signal::unix::Signal,
    /// Reloads, as HUP does.
    user_2: tokio::signal::unix::Signal,
    /// Caught and not looked at: a file that may not grow (`ulimit -f`) fails a write, which has
    /// its own error, and does not end the process.
    _file_size: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
            user_1: signal(SignalKind::user_defined1())?,
            user_2: signal(SignalKind::user_defined2())?,
            _file_size: signal(SignalKind::from_raw(SIGXFSZ as i32))?,
        })
    }

    async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.terminate.recv() => Signal::Stop,
            _ = self.interrupt.recv() => Signal::Stop,
            _ = self.hang_up.recv() => Signal::Reload,
            _ = self.user_1.recv() => Signal::Drain,
            _ = self.user_2.recv() => Signal::Reload,
            () = tokio::time::sleep(LOOK) => Signal::None,
        }
    }
}

/// Every TCP connection is a file descriptor, and the usual soft limit is 1024.
fn raise_file_limit() {
    if let Ok((_, most)) = getrlimit(Resource::RLIMIT_NOFILE) {
        // Where it fails, the limit stays what it was, and accepting connections will say so.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, most, most);
    }
}

/// What a newcomer needs next, and what has to be known besides.
fn welcome(node: &Node) -> String {
    let program = std::env::args().next().unwrap_or_else(|| "vizard".into());
    let listeners = node.listeners();
    let udp = listeners.udp.iter().map(|address| format!("UDP {address}"));
    let tcp = listeners.tcp.iter().map(|address| format!("TCP {address}"));
    let places: Vec<String> = udp.chain(tcp).collect();
    let api = node.api();
    let flag = if api == "http://127.0.0.1:8080" {
        String::new()
    } else {
        format!(" --api {api}")
    };
    let key = match node.api_key() {
        node::ApiKey::Fresh { key, file } if std::io::stdout().is_terminal() => {
            format!("{key}  (shown once; it is in {})", file.display())
        }
        node::ApiKey::Fresh { file, .. } | node::ApiKey::Kept { file } => {
            file.display().to_string()
        }
        node::ApiKey::Given { file } => format!("one of {}", file.display()),
    };
    let notice = node
        .notice()
        .map(|notice| format!("\nATTENTION:    {notice}"));
    format!(
        "listening:    {}; API {api}\n\
         open a call:  {program} call create --party alice --party bob --caller alice{flag}\n\
         API key:      {key}\n\
         clients get:  {}{}",
        places.join(", "),
        urls(&node.offers()),
        notice.unwrap_or_default()
    )
}

/// The URLs that clients are given, one a line, and who can reach them.
pub(super) fn urls(offers: &[Offer]) -> String {
    if offers.is_empty() {
        return "no URL: this machine has no address that lasts".into();
    }
    let width = offers.iter().map(|offer| offer.url.len()).max();
    let width = width.unwrap_or_default();
    let lines = offers
        .iter()
        .map(|Offer { url, reach }| format!("{url:width$}  {reach}"));
    lines.collect::<Vec<_>>().join("\n              ")
}
