//! A whole node in one process: the data plane, the control side, and what ties them together.

mod addresses;
mod error;
mod guide;
mod interfaces;
mod past;
mod settings;

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;
use tokio::runtime::Runtime;
use vizard_proto::contract::Command;

use crate::config::Config;
use crate::control::offers::Offer;
use crate::control::reports::{self, Reports};
use crate::control::store::Embedded;
use crate::control::switchboard::Live;
use crate::control::{self, Clock, Control, ControlSettings};
use crate::dataplane::{self, ConnectionLimits, Handle, Running};
use crate::state::{Secrets, StateDirectory};
use crate::telemetry::Metrics;

use guide::{Following, Guide};

pub use addresses::Listeners;
pub use error::StartError;
pub use settings::given_api_keys;

/// Threads of the control side. It waits more than it works, and packets are not its business.
const CONTROL_THREADS: usize = 2;

/// A running node. It stops when it is dropped.
pub struct Node {
    /// In force: what was started with, plus what a reload changed.
    config: Config,
    state: StateDirectory,
    metrics: Arc<Metrics>,
    listeners: Listeners,
    guide: Arc<Guide>,
    following: Option<Following>,
    api_key: ApiKey,
    notice: Option<String>,
    relay: Handle,
    workers: Option<Running>,
    control: Option<Control>,
    runtime: Option<Runtime>,
}

/// Where the API's keys are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ApiKey {
    /// Made at this start.
    Fresh {
        /// The key.
        key: String,
        /// Where it was left.
        file: PathBuf,
    },
    /// Made at an earlier start.
    Kept {
        /// Where it was left then.
        file: PathBuf,
    },
    /// In the file that `control.api_keys_file` names.
    Given {
        /// That file.
        file: PathBuf,
    },
}

/// What clients of a node with this configuration would be given on this machine, and what an
/// operator should know of it.
pub fn preview(config: &Config) -> Result<(Vec<Offer>, Vec<String>), StartError> {
    let listeners = Listeners::wanted(&config.relay);
    addresses::check(&config.relay, &listeners)?;
    let offers = Guide::new(&config.relay, listeners).offers();
    let warnings = addresses::warnings(&offers);
    Ok((offers, warnings))
}

/// Starts a node. When this returns, clients and requests are let in.
pub fn start(config: &Config, state: StateDirectory) -> Result<Node, StartError> {
    let (store, break_with_the_past) = past::take_up(&config.store, &state)?;
    let secrets = state.secrets()?;
    let (api_keys, api_key) = settings::api_keys(&config.control, &state)?;
    let metrics = Arc::new(Metrics::new());
    describe_process(&metrics);

    let (reporter, reports) = reports::queue();
    let relay = relay_settings(config, &secrets);
    let (relay, workers) = dataplane::start(relay, Arc::new(reporter), Arc::clone(&metrics))?;
    let listeners = Listeners {
        udp: workers.udp().to_vec(),
        tcp: workers.tcp().to_vec(),
    };

    addresses::check(&config.relay, &listeners)?;
    let guide = Arc::new(Guide::new(&config.relay, listeners.clone()));
    let live = settings::live(config, &guide.offers(), &secrets.ticket_keys, api_keys);
    guide.warn();
    warn_of_exposure(config);
    let mut node = Node {
        config: config.clone(),
        state,
        metrics,
        listeners,
        guide,
        following: None,
        api_key,
        notice: break_with_the_past,
        relay,
        workers: Some(workers),
        control: None,
        runtime: None,
    };
    // Control tells the relay of the calls from before, ended ones above all.
    node.start_control(live, settings::node_name(&secrets), store, reports)?;
    node.relay.start_serving();
    Ok(node)
}

impl Node {
    fn start_control(
        &mut self,
        live: Live,
        name: String,
        store: Embedded,
        reports: Reports,
    ) -> Result<(), StartError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(CONTROL_THREADS)
            .thread_name("control")
            .enable_all()
            .build()
            .map_err(|error| StartError::threads(&error))?;
        let settings = ControlSettings {
            listen: settings::listen(&self.config.control),
            node: name,
            live,
            clock: Clock::system(),
        };
        let (relay, metrics) = (Arc::new(self.relay.clone()), Arc::clone(&self.metrics));
        let control = control::serve(settings, relay, Arc::new(store), reports, metrics);
        let started = block_on(&runtime, control);
        self.runtime = Some(runtime);
        let control = self.control.insert(started?);
        let guide = Arc::clone(&self.guide);
        let following = guide.follow(Arc::clone(control.switchboard()));
        self.following = Some(following.map_err(|error| StartError::threads(&error))?);
        Ok(())
    }

    /// The listeners of the relay, with their actual ports.
    pub fn listeners(&self) -> &Listeners {
        &self.listeners
    }

    /// The URLs that clients are given.
    pub fn offers(&self) -> Vec<Offer> {
        self.guide.offers()
    }

    /// Where the control API is: a URL, or `unix:/path`.
    pub fn api(&self) -> String {
        match self.control.as_ref().map(Control::address) {
            Some(control::api::Address::Tcp(address)) => format!("http://{address}"),
            Some(unix) => unix.to_string(),
            None => String::new(),
        }
    }

    /// Where the API's keys are.
    pub fn api_key(&self) -> &ApiKey {
        &self.api_key
    }

    /// What whoever starts the node has to know before anything else.
    pub fn notice(&self) -> Option<&str> {
        self.notice.as_deref()
    }

    /// The metrics of this node.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Puts `config` in force without touching a call; all of it or, on an error, nothing.
    /// Returns the keys that hold from the next start on only.
    pub fn reload(&mut self, config: &Config) -> Result<Vec<&'static str>, StartError> {
        let ticket_keys = self.state.ticket_keys()?;
        let (api_keys, api_key) = settings::api_keys(&config.control, &self.state)?;
        let waiting = settings::waiting_for_restart(&self.config, config);
        let mut next = self.config.clone();
        settings::take_over(&mut next, config);
        addresses::check(&next.relay, &self.listeners)?;
        let live = settings::live(&next, &[], &ticket_keys, api_keys);
        let tickets = Arc::clone(&live.tickets);
        // The relay verifies with the new keys before anybody can be given a ticket under them.
        self.relay.command(Command::SetTicketKeys(tickets))?;
        self.relay.command(Command::SetPolicy {
            masking: settings::masking(&next.masking),
            limits: settings::limits(&next.limits),
        })?;
        self.relay
            .set_fast_path(settings::fast_path(next.relay.fast_path));
        self.relay.set_coalesce(next.relay.coalesce.0);
        self.guide.adopt(&next.relay, |offers| {
            if let Some(control) = &self.control {
                let offers = offers.to_vec();
                control.switchboard().reload(Live { offers, ..live });
            }
        });
        self.config = next;
        self.api_key = api_key;
        Ok(waiting)
    }

    /// Counts a reload.
    pub fn count_reload(&self, taken: bool) {
        self.metrics
            .config_reloads
            .of([if taken { "taken" } else { "refused" }])
            .inc();
    }

    /// Counts log lines that were dropped, `total` up to now.
    pub fn count_dropped_log_lines(&self, total: u64) {
        let counter = &self.metrics.log_lines_dropped;
        counter.inc_by(total.saturating_sub(counter.get()));
    }

    /// From here on no call is opened.
    pub fn drain(&self) {
        if let Some(control) = &self.control {
            control.switchboard().drain();
        }
    }

    /// Lets requests finish, ends every session and closes the sockets.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.following = None;
        let (relay, workers) = (&self.relay, &mut self.workers);
        let mut stop_relay = || {
            relay.shutdown();
            if let Some(workers) = workers.take() {
                workers.join();
            }
        };
        match (&self.runtime, self.control.take()) {
            (Some(runtime), Some(control)) => block_on(runtime, control.stop(stop_relay)),
            _ => stop_relay(),
        }
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Waits for `future` on a thread of its own, because the caller's may be one of another runtime,
/// which must not block.
fn block_on<T: Send>(runtime: &Runtime, future: impl Future<Output = T> + Send) -> T {
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| runtime.block_on(future));
        waiting
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn relay_settings(config: &Config, secrets: &Secrets) -> dataplane::Settings {
    dataplane::Settings {
        udp: config.relay.udp.clone(),
        tcp: config.relay.tcp.clone(),
        workers: config.relay.workers,
        relay: settings::relay(config, secrets),
        seed: *secrets.seed,
        connections: ConnectionLimits {
            total: config.limits.tcp_connections,
            per_prefix: config.limits.tcp_connections_per_prefix,
            without_allocation: config.limits.tcp_idle_time.0,
        },
        changes: dataplane::DEFAULT_CHANGES,
        fast_path: settings::fast_path(config.relay.fast_path),
        coalesce: config.relay.coalesce.0,
    }
}

fn describe_process(metrics: &Metrics) {
    let since = SystemTime::UNIX_EPOCH
        .elapsed()
        .map_or(0, |since| since.as_secs());
    metrics
        .start_time_seconds
        .set(since.try_into().unwrap_or(i64::MAX));
    metrics.build_info.of([env!("CARGO_PKG_VERSION")]).set(1);
    metrics.config_reloads.of(["taken"]);
    metrics.config_reloads.of(["refused"]);
}

fn warn_of_exposure(config: &Config) {
    if settings::api_is_open(&config.control) {
        tracing::warn!(
            "the control API listens beyond this machine without TLS: API keys cross the network \
             in clear. Put a proxy with TLS before it, or listen on loopback or a unix socket"
        );
    }
}
