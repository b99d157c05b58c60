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

    /// Whether packets are being dealt with.
    fn is_alive(&self) -> bool;
}

impl RelayControl for Handle {
    fn command(&self, command: Command) -> Result<(), CommandError> {
        self.command(command)
    }

    fn open_calls(&self) -> usize {
        self.open_calls()
    }

    fn is_alive(&self) -> bool {
        self.is_alive()
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

/// How far a control side is with stopping.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Running,
    /// No requests are taken.
    Closed,
    /// No reports will come.
    Heard,
    /// Everything is known that will be.
    Done,
}

/// A running control side.
pub struct Control {
    switchboard: Arc<Switchboard>,
    address: Address,
    stage: watch::Sender<Stage>,
    listening: JoinHandle<()>,
    hearing: JoinHandle<()>,
    ticking: JoinHandle<()>,
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
    let (stage, stages) = watch::channel(Stage::Running);
    let (stop, stopped) = watch::channel(false);
    let closed = metrics.api_closed.clone();
    let router = api::router(Arc::clone(&switchboard), &node, &address, metrics);
    let mut closing = stages.clone();
    let listening = async move {
        let serving = listener.serve(router, closed, stopped);
        let closed = async {
            reached(&mut closing, Stage::Closed).await;
            stop.send_replace(true);
        };
        tokio::join!(serving, closed);
    };
    Ok(Control {
        listening: tokio::spawn(listening),
        hearing: tokio::spawn(hear(Arc::clone(&switchboard), reports, stages.clone())),
        ticking: tokio::spawn(tick(Arc::clone(&switchboard), stages)),
        switchboard,
        address,
        stage,
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

    /// Lets the requests that are being worked on finish, has `stop_relay` end the media, takes in
    /// what the relay has reported to the last, and stores it.
    pub async fn stop(self, stop_relay: impl FnOnce()) {
        self.switchboard.drain();
        self.stage.send_replace(Stage::Closed);
        // A task that panicked has said so, and there is nothing left to wait for.
        let _ = self.listening.await;
        stop_relay();
        self.stage.send_replace(Stage::Heard);
        let _ = self.hearing.await;
        self.stage.send_replace(Stage::Done);
        let _ = self.ticking.await;
    }
}

async fn reached(stages: &mut watch::Receiver<Stage>, stage: Stage) {
    // An error means that the sender is gone, and with it the control side.
    let _ = stages.wait_for(|now| *now >= stage).await;
}

/// Tells the switchboard the time, once a second and once more at the end.
async fn tick(switchboard: Arc<Switchboard>, mut stages: watch::Receiver<Stage>) {
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let stopping = tokio::select! {
            _ = ticks.tick() => false,
            () = reached(&mut stages, Stage::Done) => true,
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

/// Passes the relay's reports on, those that wait at the end included.
async fn hear(
    switchboard: Arc<Switchboard>,
    mut reports: Reports,
    mut stages: watch::Receiver<Stage>,
) {
    loop {
        let news = tokio::select! {
            news = reports.next() => news,
            () = reached(&mut stages, Stage::Heard) => break,
        };
        match news {
            Some(news) => switchboard.report(news),
            None => break,
        }
    }
    switchboard.report(reports.rest());
}
