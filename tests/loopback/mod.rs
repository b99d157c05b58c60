//! A small language for tests over loopback: a node, calls on it, and callers with real sockets.
#![allow(dead_code, unreachable_pub, unused_imports)] // Every test file speaks a part of it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant, SystemTime};

use vizard::dataplane::{
    self, ConnectionLimits, DEFAULT_CHANGES, FastPath, Handle, Reporter, Running, UsageBatch,
};
use vizard::telemetry::Metrics;
use vizard_proto::auth::ticket::{CallId, Credential, Ticket, TicketKey, TicketKeys};
use vizard_proto::config::{Config, Limits, Masking};
use vizard_proto::contract::{Command, Event, Scope};
use vizard_proto::time::WallClock;

use testkit::Report;
pub use testkit::{Caller, Heard, PATIENCE};

/// What a node is started with.
pub struct Setup {
    pub workers: usize,
    pub udp: Vec<&'static str>,
    pub tcp: Vec<&'static str>,
    pub changes: usize,
    pub connections: ConnectionLimits,
    pub fast_path: FastPath,
    pub coalesce: Duration,
}

/// Names the [`FastPath`] that nodes are started with, so that the same tests try each.
pub const FAST_PATH: &str = "VIZARD_TEST_FAST_PATH";

fn fast_path() -> FastPath {
    let Ok(name) = std::env::var(FAST_PATH) else {
        return FastPath::Auto;
    };
    let named = |it: &FastPath| format!("{it:?}") == name;
    FastPath::ALL.into_iter().find(named).expect("one of them")
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            workers: 2,
            udp: vec!["127.0.0.1:0", "[::1]:0"],
            tcp: vec!["127.0.0.1:0", "[::1]:0"],
            changes: DEFAULT_CHANGES,
            connections: ConnectionLimits::default(),
            fast_path: fast_path(),
            coalesce: Duration::from_micros(100),
        }
    }
}

/// What a node has reported.
#[derive(Default)]
pub struct Reports(Mutex<Vec<Report>>);

impl Reports {
    fn lock(&self) -> MutexGuard<'_, Vec<Report>> {
        self.0.lock().expect("no test panicked")
    }
}

impl Reporter for Reports {
    fn event(&self, event: Event) {
        self.lock().push(Report::Event(event));
    }

    fn usage(&self, batch: &mut dyn FnMut() -> UsageBatch) -> bool {
        let reports = batch()
            .into_iter()
            .map(|(id, usage)| Report::Usage(id, usage));
        self.lock().extend(reports);
        true
    }
}

/// A started data plane.
pub struct Node {
    pub handle: Handle,
    pub metrics: Arc<Metrics>,
    running: Option<Running>,
    keys: Arc<TicketKeys>,
    reports: Arc<Reports>,
    calls: Mutex<u8>,
}

impl Node {
    pub fn start(setup: &Setup) -> Self {
        let key = TicketKey {
            id: 1,
            secret: [7; 32],
        };
        let keys = Arc::new(TicketKeys::new(&key, &[]));
        let addresses = |texts: &[&str]| -> Vec<SocketAddr> {
            texts
                .iter()
                .map(|text| text.parse().expect("an address"))
                .collect()
        };
        let settings = dataplane::Settings {
            udp: addresses(&setup.udp),
            tcp: addresses(&setup.tcp),
            workers: setup.workers,
            relay: Config {
                realm: "vizard".into(),
                clock: WallClock::new(0),
                tickets: Arc::clone(&keys),
                nonce_secret: [3; 32],
                masking: Masking::default(),
                limits: Limits {
                    answers_burst: 100_000,
                    ..Limits::default()
                },
            },
            seed: [5; 32],
            connections: setup.connections,
            changes: setup.changes,
            fast_path: setup.fast_path,
            coalesce: setup.coalesce,
        };
        let reports = Arc::new(Reports::default());
        let metrics = Arc::new(Metrics::new());
        let reporter = Arc::clone(&reports) as Arc<dyn Reporter>;
        let (handle, running) =
            dataplane::start(settings, reporter, Arc::clone(&metrics)).expect("starts");
        handle.start_serving();
        let (running, calls) = (Some(running), Mutex::new(0));
        Self {
            handle,
            metrics,
            running,
            keys,
            reports,
            calls,
        }
    }

    pub fn udp(&self, index: usize) -> SocketAddr {
        self.running.as_ref().expect("runs").udp()[index]
    }

    pub fn tcp(&self, index: usize) -> SocketAddr {
        self.running.as_ref().expect("runs").tcp()[index]
    }

    /// Opens a call.
    pub fn call(&self) -> Call<'_> {
        self.call_for(3600)
    }

    /// Opens a call whose tickets are good for so many seconds.
    pub fn call_for(&self, secs: u64) -> Call<'_> {
        let mut calls = self.calls.lock().expect("no test panicked");
        *calls += 1;
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .expect("after 1970");
        let call = Call {
            node: self,
            id: CallId([*calls; 16]),
            until: now.as_secs() + secs,
        };
        let open = Command::OpenCall {
            call: call.id,
            until: call.until,
            usernames: Vec::new(),
        };
        self.handle.command(open).expect("there is room");
        call
    }

    pub fn reports(&self) -> MutexGuard<'_, Vec<Report>> {
        self.reports.lock()
    }

    /// The value of one counter, by its name and labels as `/metrics` writes them.
    pub fn metric(&self, name: &str) -> u64 {
        let line_of = |line: &str| line.strip_prefix(name)?.trim().parse().ok();
        self.metrics.render().lines().find_map(line_of).unwrap_or(0)
    }

    /// Packets dropped for `reason`.
    pub fn dropped(&self, reason: &str) -> u64 {
        self.metric(&format!(
            "vizard_packets_dropped_total{{reason=\"{reason}\"}}"
        ))
    }

    /// Packets forwarded along `path`.
    pub fn forwarded(&self, path: &str) -> u64 {
        self.metric(&format!(
            "vizard_packets_forwarded_total{{path=\"{path}\"}}"
        ))
    }

    /// Waits until so many packets have been forwarded along `path`.
    pub fn has_forwarded(&self, path: &str, count: u64) {
        wait_until("all is forwarded and counted", || {
            self.forwarded(path) >= count
        });
        assert_eq!(self.forwarded(path), count);
    }

    pub fn stop(&mut self) {
        self.handle.shutdown();
        if let Some(running) = self.running.take() {
            running.join();
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.stop();
    }
}

/// An open call.
pub struct Call<'n> {
    node: &'n Node,
    pub id: CallId,
    until: u64,
}

impl Call<'_> {
    pub fn credential(&self, party: u8) -> Credential {
        self.node.keys.mint(&Ticket {
            call: self.id,
            party,
            device: 0,
            expires_at: self.until,
            kbps: 0,
            masked: true,
        })
    }

    pub fn revoke(&self, scope: Scope) {
        let revoke = Command::Revoke {
            call: self.id,
            scope,
            until: self.until,
        };
        self.node
            .handle
            .command(revoke)
            .expect("revoking never fails");
    }

    pub fn over_udp(&self, party: u8, server: SocketAddr) -> Caller {
        Caller::udp(server, self.credential(party))
    }

    pub fn over_tcp(&self, party: u8, server: SocketAddr) -> Caller {
        Caller::tcp(server, self.credential(party))
    }
}

/// Waits until `done` says so.
pub fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < PATIENCE, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
