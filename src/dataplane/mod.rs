//! The data plane: sockets, and worker threads that move packets between them.
//!
//! There is one [`Relay`] that knows everything, behind one short lock, and a worker thread per
//! core that moves packets by its own copy of the forwarding entries. A packet with an entry never
//! meets the lock; whoever holds the lock hands out what came of it before it lets go. The control
//! side reaches all of this through [`Handle`] alone and hears of it through [`Report`]s.
//!
//! Timers: the first worker tells the relay the time, a quarter of a second late at worst.

mod brain;
mod coalesce;
mod counters;
mod desk;
mod exits;
mod hash;
mod listen;
mod mailbox;
mod stream;
mod udp;
mod worker;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use mio::{Poll, Waker};
use vizard_proto::Relay;
use vizard_proto::address::Transport;
use vizard_proto::config::Config;
use vizard_proto::contract::{AllocationId, Command, CommandError, Event, Usage};
use vizard_proto::forward::ForwardTable;
use vizard_proto::gate::Gate;
use vizard_proto::time::WallClock;

use crate::telemetry::Metrics;
use brain::{Brain, Rules};
use desk::Desk;
use mailbox::Mailbox;
use stream::{Listener, Quota};
use worker::{Seat, WAKER, Worker};

pub use listen::ListenError;
pub use stream::ConnectionLimits;
pub use udp::FastPath;

/// How many forwarding entries may wait for a worker unless [`Settings::changes`] says otherwise.
pub const DEFAULT_CHANGES: usize = 16_384;
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
    /// How many changes of the forwarding table may wait for a worker before it must copy the
    /// whole table from the relay.
    pub changes: usize,
    /// How datagrams travel.
    pub fast_path: FastPath,
    /// How often a worker looks for datagrams while they keep coming; zero: whenever one comes.
    pub coalesce: Duration,
}

/// What the control side hears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Report {
    /// Something happened to an allocation.
    Event(Event),
    /// An allocation's client sent so much more to its peers. What it sent last may be reported up
    /// to a second after [`Event::AllocationEnded`].
    Usage(AllocationId, Usage),
}

/// Load at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Allocations.
    pub allocations: usize,
    /// Open calls.
    pub calls: usize,
    /// Forwarding entries, up to a second old.
    pub forwards: usize,
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
    brain: Arc<Brain>,
}

impl Handle {
    /// Tells the relay something. When this returns, it holds for every packet received from then
    /// on, on every worker. Never waits for a worker.
    pub fn command(&self, command: Command) -> Result<(), CommandError> {
        self.brain.command(command)
    }

    /// Lets the workers serve clients; until then what comes in waits in the kernel. To be called
    /// when the relay has been told all that must survive a restart.
    pub fn open_doors(&self) {
        self.brain.open_doors();
    }

    /// Chooses how datagrams travel. None is lost by it.
    pub fn set_fast_path(&self, fast_path: FastPath) {
        self.brain.set_fast_path(fast_path);
    }

    /// Chooses how often a worker looks for datagrams while they keep coming. Workers follow
    /// within a second.
    pub fn set_coalesce(&self, interval: Duration) {
        self.brain.set_coalesce(interval);
    }

    /// How much there is to do.
    pub fn load(&self) -> Load {
        self.brain.load()
    }

    /// Tells all workers to stop; [`Running::join`] waits for them.
    pub fn shutdown(&self) {
        self.brain.stop();
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

    /// Waits until all workers have stopped.
    pub fn join(self) {
        for thread in self.threads {
            // A worker that panicked has said so, and there is nothing left to wait for.
            let _ = thread.join();
        }
    }
}

/// Opens the listeners and starts the workers, which wait for [`Handle::open_doors`]. `report` is called by workers, at times under the
/// relay's lock: it must neither block nor use the [`Handle`].
pub fn start(
    mut settings: Settings,
    report: Box<dyn Fn(Report) + Send + Sync>,
    metrics: Arc<Metrics>,
) -> Result<(Handle, Running), StartError> {
    let workers = worker_count(settings.workers);
    let (origin, clock) = clock();
    settings.relay.clock = clock;
    settings.workers = workers;
    let Listeners {
        udp, tcp, seats, ..
    } = open_listeners(&settings, workers)?;
    let mut mailboxes = Vec::with_capacity(workers);
    let mut registries = Vec::with_capacity(workers);
    for seat in &seats {
        let waker = Waker::new(seat.poll.registry(), WAKER)?;
        let handover = workers > 1 && !tcp.is_empty();
        mailboxes.push(Mailbox::new(waker, settings.changes, handover));
        registries.push(seat.poll.registry().try_clone()?);
    }
    let brain = Arc::new(Brain::new(
        Relay::new(settings.relay.clone(), settings.seed),
        Rules {
            limits: settings.relay.limits.clone(),
            clock,
        },
        origin,
        mailboxes.into_boxed_slice(),
        Quota::new(settings.connections),
        report,
        metrics,
    ));
    brain.set_fast_path(settings.fast_path);
    brain.set_coalesce(settings.coalesce);
    let handle = Handle { brain };
    let mut running = Running {
        udp,
        tcp,
        threads: Vec::with_capacity(workers),
    };
    for (seat, registry) in seats.into_iter().zip(registries) {
        let spawned = spawn(seat, registry, &handle.brain, &settings);
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

/// The relay's clock: where it starts, on a whole second, and what time it was then.
fn clock() -> (Instant, WallClock) {
    let (now, unix) = (Instant::now(), SystemTime::now());
    let unix = unix
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let fraction = Duration::from_nanos(u64::from(unix.subsec_nanos()));
    (
        now.checked_sub(fraction).unwrap_or(now),
        WallClock::new(unix.as_secs()),
    )
}

struct Listeners {
    udp: Vec<SocketAddr>,
    tcp: Vec<SocketAddr>,
    seats: Vec<Seat>,
    /// What to say of too small socket buffers.
    shortage: Option<String>,
}

fn open_listeners(settings: &Settings, workers: usize) -> Result<Listeners, StartError> {
    let udp = usable(Transport::Udp, &settings.udp)?;
    let tcp = usable(Transport::Tcp, &settings.tcp)?;
    if udp.is_empty() && tcp.is_empty() {
        return Err(StartError::NoListener);
    }
    let mut seats = Vec::with_capacity(workers);
    for hand in (0..).take(workers) {
        let (sockets, listeners) = (Vec::new(), Vec::new());
        seats.push(Seat {
            hand,
            poll: Poll::new()?,
            sockets,
            listeners,
        });
    }
    let mut listeners = Listeners {
        udp: Vec::new(),
        tcp: Vec::new(),
        seats,
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
    for seat in &mut listeners.seats {
        seat.register()?;
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
        let sockets = listen::udp(address, self.seats.len())?;
        if let Some(socket) = sockets.first() {
            self.shortage = self.shortage.take().or_else(|| listen::shortage(socket));
        }
        self.udp
            .extend(sockets.first().and_then(|socket| socket.local_addr().ok()));
        for (seat, socket) in self.seats.iter_mut().zip(sockets) {
            seat.sockets.push(udp::Socket::new(socket)?);
        }
        Ok(())
    }

    fn open_tcp(&mut self, address: SocketAddr) -> Result<(), StartError> {
        let sockets = listen::tcp(address, self.seats.len())?;
        self.tcp
            .extend(sockets.first().and_then(|socket| socket.local_addr().ok()));
        for (seat, socket) in self.seats.iter_mut().zip(sockets) {
            seat.listeners.push(Listener::new(socket));
        }
        Ok(())
    }
}

fn spawn(
    seat: Seat,
    registry: mio::Registry,
    brain: &Arc<Brain>,
    settings: &Settings,
) -> io::Result<JoinHandle<()>> {
    let hand = seat.hand;
    let brain = Arc::clone(brain);
    let limits = brain::share(&settings.relay.limits, settings.workers);
    let gate = Gate::new(
        &Config {
            limits,
            ..settings.relay.clone()
        },
        settings.seed,
    );
    let table = ForwardTable::new(settings.seed);
    std::thread::Builder::new()
        .name(format!("worker-{hand}"))
        .spawn(move || {
            let desk = Desk::new(hand, Arc::clone(&brain), gate, table);
            Worker::new(seat, registry, brain, desk).run();
        })
}
