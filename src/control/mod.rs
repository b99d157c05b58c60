//! The control side: decides calls, keeps them, and answers the API.
//!
//! `policy`, `calls` and `registry` are pure: they take the time as an argument and touch nothing.
//! `switchboard` ties them to the relay and the store, `api` to HTTP. [`serve`] starts it all.

pub mod api;
pub mod calls;
pub mod clock;
pub mod keys;
pub mod names;
pub mod offers;
pub mod policy;
pub mod problem;
pub mod registry;
pub mod reports;
pub mod store;
pub mod switchboard;
mod turns;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;
use vizard_proto::contract::{Command, CommandError};

use crate::dataplane::Handle;
use crate::telemetry::Metrics;
use api::{Address, ListenError, Listener};
pub use clock::Clock;
use reports::Reports;
use store::{Store, StoreError};
use switchboard::{Live, Switchboard};

/// How often the switchboard is told the time.
const TICK: Duration = Duration::from_secs(1);

/// What control needs of the relay.
pub trait RelayControl: Send + Sync {
    /// Has the relay do something, at once.
    fn command(&self, command: Command) -> Result<(), CommandError>;

    /// How many calls take a place in it.
    fn open_calls(&self) -> usize;
}

impl RelayControl for Handle {
    fn command(&self, command: Command) -> Result<(), CommandError> {
        self.command(command)
    }

    fn open_calls(&self) -> usize {
        self.load().calls
    }
}

/// What the control side is started with.
pub struct ControlSettings {
    /// Where the API listens.
    pub listen: Address,
    /// This node's name in answers.
    pub node: String,
    /// What may change later, by [`Switchboard::reload`].
    pub live: Live,
    /// What time it is.
    pub clock: Clock,
}

/// Why the control side did not start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The store can't be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The address can't be listened on.
    #[error(transparent)]
    Listen(#[from] ListenError),
}

/// A running control side.
pub struct Control {
    switchboard: Arc<Switchboard>,
    address: Address,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

/// Takes up the calls that `store` remembers, then lets requests in.
///
/// `reports` come from the relay, by the [`Reporter`](reports::Reporter) at its other end.
pub async fn serve(
    settings: ControlSettings,
    relay: Arc<dyn RelayControl>,
    store: Arc<dyn Store>,
    reports: Reports,
    metrics: Arc<Metrics>,
) -> Result<Control, ServeError> {
    let ControlSettings {
        listen,
        node,
        live,
        clock,
    } = settings;
    let switchboard = Switchboard::start(live, relay, store, clock, Arc::clone(&metrics))?;
    let switchboard = Arc::new(switchboard);
    let listener = Listener::bind(&listen).await?;
    let address = listener.address().unwrap_or(listen);
    let (stop, stopped) = watch::channel(false);
    let router = api::router(Arc::clone(&switchboard), &node, &address, metrics);
    let tasks = vec![
        tokio::spawn(listener.serve(router, stopped.clone())),
        tokio::spawn(tick(Arc::clone(&switchboard), stopped.clone())),
        tokio::spawn(hear(Arc::clone(&switchboard), reports, stopped)),
    ];
    Ok(Control {
        switchboard,
        address,
        stop,
        tasks,
    })
}

impl Control {
    /// Where the API listens, with the port that was taken.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// What the API does its work with.
    pub fn switchboard(&self) -> &Arc<Switchboard> {
        &self.switchboard
    }

    /// Lets the requests that are being worked on finish, and stops.
    pub async fn stop(self) {
        self.switchboard.drain();
        self.stop.send_replace(true);
        for task in self.tasks {
            // A task that panicked has said so, and there is nothing left to wait for.
            let _ = task.await;
        }
    }
}

/// Tells the switchboard the time, once a second and once more at the end.
async fn tick(switchboard: Arc<Switchboard>, mut stop: watch::Receiver<bool>) {
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let stopping = tokio::select! {
            _ = ticks.tick() => false,
            _ = stop.wait_for(|stop| *stop) => true,
        };
        let switchboard = Arc::clone(&switchboard);
        let work = move || {
            if stopping {
                switchboard.close();
            } else {
                switchboard.tick();
            }
        };
        // A panic in there has been reported; the next second is another try.
        let _ = tokio::task::spawn_blocking(work).await;
        if stopping {
            return;
        }
    }
}

/// Passes the relay's reports on.
async fn hear(
    switchboard: Arc<Switchboard>,
    mut reports: Reports,
    mut stop: watch::Receiver<bool>,
) {
    loop {
        let batch = tokio::select! {
            batch = reports.next() => batch,
            _ = stop.wait_for(|stop| *stop) => return,
        };
        match batch {
            Some(batch) => switchboard.report(batch),
            None => return,
        }
    }
}
