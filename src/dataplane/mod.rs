//! The data plane: sockets, and worker threads that move packets between them.
//!
//! There is one [`Relay`] that knows everything, behind one short lock, and a worker thread per
//! core that moves packets by its own copy of the forwarding entries. A packet with an entry never
//! meets the lock; whoever holds the lock hands out what came of it before it lets go. The control
//! side reaches all of this through [`Handle`] alone and hears of it through a [`Reporter`].
//!
//! Timers: the first worker tells the relay the time, a quarter of a second late at worst; if it is stuck, the
//! next does.

mod batch;
mod beats;
mod carrier;
mod clock;
mod coalesce;
mod counters;
mod egress;
mod hash;
mod lifecycle;
mod listen;
mod mailbox;
mod quota;
mod report;
mod rules;
mod shared;
mod stream;
mod udp;
mod worker;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use mio::{Poll, Waker};
use vizard_proto::Relay;
use vizard_proto::address::Transport;
use vizard_proto::config::Config;
use vizard_proto::contract::{Command, CommandError};

use crate::telemetry::Metrics;
use clock::Clock;
use mailbox::Mailbox;
use quota::Quota;
use rules::Rules;
use shared::Shared;
use stream::Listener;
use worker::{WAKER, Worker, WorkerSockets};

pub use listen::ListenError;
pub use quota::ConnectionLimits;
pub use report::{Load, Reporter, UsageBatch};
pub use udp::FastPath;

/// How many changes of what a worker knows may wait for it unless [`Settings::changes`] says otherwise.
pub const DEFAULT_CHANGES: usize = 16_384;
/// How long the workers have to stop, their last reports included.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);
/// More workers than this are not started.
const MOST_WORKERS: usize = 256;

/// What the data plane is started with.
pub struct Settings {
    /// UDP listeners. Port 0 takes a free one.
    pub udp: Vec<SocketAddr>,
    /// TCP listeners. Port 0 takes a free one.
    pub tcp: Vec<SocketAddr>,
    /// Worker threads, 0 for one per core.
    pub workers: usize,
    /// Settings of the relay. Its clock is set by [`start`].
    pub relay: Config,
    /// 32 bytes that nobody can guess.
    pub seed: [u8; 32],
    /// Bounds on TCP connections.
    pub connections: ConnectionLimits,
    /// How many changes of what a worker knows may wait for it before it must start over with all
    /// that the relay knows.
    pub changes: usize,
    /// How datagrams travel.
    pub fast_path: FastPath,
    /// How often a worker looks for datagrams while they keep coming; zero: whenever one comes.
    pub coalesce: Duration,
}

/// Why the data plane did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address could not be listened on.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// There is nothing to listen on.
    #[error("no listener: give at least one address under relay.udp or relay.tcp")]
    NoListener,
    /// The operating system has no thread or event queue for us.
    #[error("cannot start a worker: {0}; raise the limits on threads and open files")]
    Worker(#[from] io::Error),
}

/// The only door from the control side to the relay. Clones are the same door.
#[derive(Clone)]
pub struct Handle {
    shared: Arc<Shared>,
}

impl Handle {
    /// Tells the relay something. When this returns, it holds for every packet received from then
    /// on, on every worker. Never waits for a worker.
    pub fn command(&self, command: Command) -> Result<(), CommandError> {
        self.shared.command(command)
    }

    /// Lets the workers serve clients; until then what comes in waits in the kernel. To be called
    /// when the relay has been told all that must survive a restart.
    pub fn start_serving(&self) {
        self.shared.beats.begin(self.shared.clock.now());
        self.shared.lifecycle.start_serving();
    }

    /// Chooses how datagrams travel. None is lost by it.
    pub fn set_fast_path(&self, fast_path: FastPath) {
        self.shared.rules.set_fast_path(fast_path);
    }

    /// Chooses how often a worker looks for datagrams while they keep coming. Workers follow
    /// within a second.
    pub fn set_coalesce(&self, interval: Duration) {
        self.shared.rules.set_coalesce(interval);
    }

    /// How much there is to do.
    pub fn load(&self) -> Load {
        self.shared.load()
    }

    /// How many calls take a place in the relay. Waits for no lock.
    pub fn open_calls(&self) -> usize {
        self.shared.open_calls()
    }

    /// Whether all workers move; each does at least once a second.
    pub fn is_alive(&self) -> bool {
        !self.shared.beats.is_any_stuck(self.shared.clock.now())
    }

    /// Tells all workers to stop; [`Running::join`] waits for them.
    pub fn shutdown(&self) {
        self.shared.stop();
    }
}

/// A started data plane.
pub struct Running {
    udp: Vec<SocketAddr>,
    tcp: Vec<SocketAddr>,
    threads: Vec<JoinHandle<()>>,
}

impl Running {
    /// The UDP addresses listened on, with their actual ports.
    pub fn udp(&self) -> &[SocketAddr] {
        &self.udp
    }

    /// The TCP addresses listened on, with their actual ports.
    pub fn tcp(&self) -> &[SocketAddr] {
        &self.tcp
    }

    /// Waits until all workers have stopped. One that is stuck is left behind after a while:
    /// there may be calls to be stored.
    pub fn join(self) {
        let until = Instant::now() + STOP_TIMEOUT;
        for thread in self.threads {
            while !thread.is_finished() && Instant::now() < until {
                std::thread::sleep(Duration::from_millis(1));
            }
            if thread.is_finished() {
                // A worker that panicked has said so, and there is nothing left to wait for.
                let _ = thread.join();
            } else {
                tracing::error!("a worker is stuck and does not stop");
            }
        }
    }
}

/// Opens the listeners and starts the workers, which wait for [`Handle::start_serving`].
pub fn start(
    mut settings: Settings,
    reporter: Arc<dyn Reporter>,
    metrics: Arc<Metrics>,
) -> Result<(Handle, Running), StartError> {
    let workers = worker_count(settings.workers);
    let (clock, wall_clock) = Clock::start();
    settings.relay.clock = wall_clock;
    settings.workers = workers;
    let Listeners {
        udp, tcp, sockets, ..
    } = open_listeners(&settings, workers)?;
    let mut mailboxes = Vec::with_capacity(workers);
    let mut registries = Vec::with_capacity(workers);
    for sockets in &sockets {
        let registry = sockets.poll.registry();
        let waker = Waker::new(registry, WAKER)?;
        let handover = workers > 1 && !tcp.is_empty();
        mailboxes.push(Mailbox::new(waker, settings.changes, handover));
        registries.push(registry.try_clone()?);
    }
    let config = settings.relay.clone();
    let shared = Arc::new(Shared::new(
        Relay::new(config.clone(), settings.seed),
        clock,
        Rules::new(config, settings.fast_path, settings.coalesce),
        mailboxes.into_boxed_slice(),
        Quota::new(settings.connections),
        reporter,
        metrics,
    ));
    let handle = Handle { shared };
    let mut running = Running {
        udp,
        tcp,
        threads: Vec::with_capacity(workers),
    };
    for (sockets, registry) in sockets.into_iter().zip(registries) {
        let spawned = spawn(sockets, registry, &handle.shared, &settings);
        match spawned {
            Ok(thread) => running.threads.push(thread),
            Err(error) => {
                handle.shutdown();
                running.join();
                return Err(error.into());
            }
        }
    }
    Ok((handle, running))
}

fn worker_count(wanted: usize) -> usize {
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    let wanted = if wanted == 0 { cores() } else { wanted };
    wanted.min(MOST_WORKERS)
}

struct Listeners {
    udp: Vec<SocketAddr>,
    tcp: Vec<SocketAddr>,
    sockets: Vec<WorkerSockets>,
    /// What to say of too small socket buffers.
    shortage: Option<String>,
}

fn open_listeners(settings: &Settings, workers: usize) -> Result<Listeners, StartError> {
    let udp = usable(Transport::Udp, &settings.udp)?;
    let tcp = usable(Transport::Tcp, &settings.tcp)?;
    if udp.is_empty() && tcp.is_empty() {
        return Err(StartError::NoListener);
    }
    let mut sockets = Vec::with_capacity(workers);
    for worker in (0..).take(workers) {
        sockets.push(WorkerSockets {
            worker,
            poll: Poll::new()?,
            sockets: Vec::new(),
            listeners: Vec::new(),
        });
    }
    let mut listeners = Listeners {
        udp: Vec::new(),
        tcp: Vec::new(),
        sockets,
        shortage: None,
    };
    for address in udp {
        listeners.open_udp(address)?;
    }
    for address in tcp {
        listeners.open_tcp(address)?;
    }
    if let Some(shortage) = &listeners.shortage {
        tracing::warn!("{shortage}");
    }
    for sockets in &mut listeners.sockets {
        sockets.register()?;
    }
    Ok(listeners)
}

/// The addresses that this machine has and nobody else uses. All are looked at before the first is
/// taken, because one may be part of another (a wildcard).
fn usable(transport: Transport, wanted: &[SocketAddr]) -> Result<Vec<SocketAddr>, ListenError> {
    let mut usable = Vec::new();
    for address in wanted {
        match listen::probe(transport, *address) {
            Ok(()) if usable.contains(address) && address.port() != 0 => {}
            Ok(()) => usable.push(*address),
            Err(error) if listen::is_vacuous(&error) => {
                tracing::warn!("this machine has no IPv6: not listening on it");
            }
            Err(error) => return Err(error),
        }
    }
    Ok(usable)
}

impl Listeners {
    fn open_udp(&mut self, address: SocketAddr) -> Result<(), StartError> {
        let sockets = listen::udp(address, self.sockets.len())?;
        if let Some(socket) = sockets.first() {
            self.shortage = self.shortage.take().or_else(|| listen::shortage(socket));
        }
        self.udp
            .extend(sockets.first().and_then(|socket| socket.local_addr().ok()));
        for (worker, socket) in self.sockets.iter_mut().zip(sockets) {
            worker.sockets.push(udp::Socket::new(socket)?);
        }
        Ok(())
    }

    fn open_tcp(&mut self, address: SocketAddr) -> Result<(), StartError> {
        let sockets = listen::tcp(address, self.sockets.len())?;
        self.tcp
            .extend(sockets.first().and_then(|socket| socket.local_addr().ok()));
        for (worker, socket) in self.sockets.iter_mut().zip(sockets) {
            worker.listeners.push(Listener::new(socket));
        }
        Ok(())
    }
}

fn spawn(
    sockets: WorkerSockets,
    registry: mio::Registry,
    shared: &Arc<Shared>,
    settings: &Settings,
) -> io::Result<JoinHandle<()>> {
    let shared = Arc::clone(shared);
    let core = vizard_proto::Worker::new(&settings.relay, settings.workers, settings.seed);
    std::thread::Builder::new()
        .name(format!("worker-{}", sockets.worker))
        .spawn(move || Worker::new(sockets, registry, shared, core).run())
}
