//! Tells clients where the node is, in step with the addresses that the machine has.

use std::io;
use std::net::{IpAddr, ToSocketAddrs as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};

use super::addresses::{self, Listeners, Names};
use super::interfaces::{self, Machine};
use crate::config::Relay;
use crate::control::offers::Offer;
use crate::control::switchboard::Switchboard;

/// How long changes may follow each other before they are looked at: an interface that comes up
/// makes several.
const SETTLING: Duration = Duration::from_millis(200);
/// How often addresses are looked at though nothing changed: lifetimes run out in silence, and a
/// name's records change elsewhere.
const REGULARLY: Duration = Duration::from_secs(60);
/// How long a look-up of a name may take.
const PATIENCE: Duration = Duration::from_secs(2);

const CHANGE: Token = Token(0);
const STOP: Token = Token(1);

/// What clients are told.
pub(super) struct Guide {
    listeners: Listeners,
    told: Mutex<Told>,
}

struct Told {
    relay: Relay,
    offers: Vec<Offer>,
    /// Whether the log says already that the kernel does not answer.
    blind: bool,
}

impl Guide {
    /// A guide of clients to these listeners, by the settings `relay`.
    pub(super) fn new(relay: &Relay, listeners: Listeners) -> Self {
        let mut told = Told {
            relay: relay.clone(),
            offers: Vec::new(),
            blind: false,
        };
        told.look(&listeners);
        Self {
            listeners,
            told: Mutex::new(told),
        }
    }

    /// What clients are told.
    pub(super) fn offers(&self) -> Vec<Offer> {
        self.told().offers.clone()
    }

    /// Goes by other settings from here on. `put` is to put what clients are told into force;
    /// nothing else does meanwhile.
    pub(super) fn adopt(&self, relay: &Relay, put: impl FnOnce(&[Offer])) {
        let mut told = self.told();
        told.relay.clone_from(relay);
        told.look(&self.listeners);
        told.warn();
        put(&told.offers);
    }

    /// Logs what an operator should know of what clients are told.
    pub(super) fn warn(&self) {
        self.told().warn();
    }

    /// Starts a thread that follows the machine's addresses until what is returned is dropped.
    pub(super) fn follow(self: Arc<Self>, switchboard: Arc<Switchboard>) -> io::Result<Following> {
        let mut poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), STOP)?;
        // Where the kernel tells of no changes, looking regularly has to do.
        let changes = interfaces::changes().and_then(|socket| {
            let mut source = SourceFd(&socket.as_raw_fd());
            poll.registry()
                .register(&mut source, CHANGE, Interest::READABLE)?;
            Ok(socket)
        });
        let changes = changes.ok();
        let thread = std::thread::Builder::new().name("addresses".into());
        let thread = thread.spawn(move || {
            while wait(&mut poll, changes.as_ref()) {
                self.refresh(&switchboard);
            }
        })?;
        Ok(Following {
            waker,
            thread: Some(thread),
        })
    }

    fn refresh(&self, switchboard: &Switchboard) {
        let mut told = self.told();
        let before = told.offers.clone();
        told.look(&self.listeners);
        if told.offers != before {
            switchboard.offer(&told.offers);
            tracing::info!("this machine's addresses changed: clients are given other URLs");
            told.warn();
        }
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Told {
    fn look(&mut self, listeners: &Listeners) {
        let machine = interfaces::look();
        if let (Err(error), false) = (&machine, self.blind) {
            tracing::warn!(
                "the kernel does not tell this machine's addresses ({error}): set \
                 relay.public_addresses, relay.host_name or relay.advertise"
            );
        }
        self.blind = machine.is_err();
        let machine = machine.unwrap_or(Machine {
            candidates: Vec::new(),
            loopback: true,
        });
        self.offers = addresses::offers(&self.relay, listeners, &machine, &System);
    }

    fn warn(&self) {
        for warning in addresses::warnings(&self.offers) {
            tracing::warn!("{warning}");
        }
    }
}

/// A thread that follows the machine's addresses. It stops when this is dropped.
pub(super) struct Following {
    waker: Waker,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Following {
    fn drop(&mut self) {
        if self.waker.wake().is_ok()
            && let Some(thread) = self.thread.take()
        {
            // A panic in it has been reported.
            let _ = thread.join();
        }
    }
}

/// Waits until it is time to look; false when it is time to stop.
fn wait(poll: &mut Poll, changes: Option<&OwnedFd>) -> bool {
    let mut events = Events::with_capacity(2);
    match poll.poll(&mut events, Some(REGULARLY)) {
        Err(error) if error.kind() == io::ErrorKind::Interrupted => return true,
        Err(_) => return false,
        Ok(()) => {}
    }
    if events.iter().any(|event| event.token() == STOP) {
        return false;
    }
    if let (false, Some(socket)) = (events.is_empty(), changes) {
        std::thread::sleep(SETTLING);
        // Whatever it was, the next thing is to look.
        let _ = interfaces::drain(socket);
    }
    true
}

/// The system's resolver.
pub(super) struct System;

impl Names for System {
    fn addresses(&self, name: &str) -> Vec<IpAddr> {
        let (answer, answered) = sync_channel(1);
        let name = name.to_owned();
        let asking = std::thread::Builder::new().name("resolver".into());
        // The resolver has its own idea of patience, and nothing waits for it longer than this.
        let asked = asking.spawn(move || {
            let found = (name.as_str(), 0).to_socket_addrs();
            let ips = found.map(|found| found.map(|at| at.ip()).collect::<Vec<_>>());
            // Nobody waits for an answer that came too late.
            let _ = answer.send(ips.unwrap_or_default());
        });
        if asked.is_err() {
            return Vec::new();
        }
        answered.recv_timeout(PATIENCE).unwrap_or_default()
    }
}
