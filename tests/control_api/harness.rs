//! A control side to talk to: real HTTP, a real store, a clock to turn, and a relay that remembers
//! what it was told.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use reqwest::{Method, RequestBuilder, StatusCode, header};
use serde_json::Value;
use testkit::Report;
use vizard::control::api::Address;
use vizard::control::calls::Call;
use vizard::control::clock::{Clock, Now};
use vizard::control::keys::ApiKeys;
use vizard::control::offers::{Offer, Reach};
use vizard::control::policy::Policy;
use vizard::control::reports::{self, News, Reporter};
use vizard::control::store::{Change, DoneRequest, Embedded, Kept, RequestKey, Store, StoreError};
use vizard::control::switchboard::{Live, Switchboard};
use vizard::control::{self, Control, ControlSettings, RelayControl};
use vizard::dataplane::Reporter as _;
use vizard::telemetry::Metrics;
use vizard_proto::auth::ticket::{CallId, Ticket, TicketKey, TicketKeys};
use vizard_proto::contract::{Command, CommandError, Scope};

pub(crate) const KEY: &str = "full-0123456789abcdef";
pub(crate) const CALLS_KEY: &str = "calls-0123456789abcdef";
pub(crate) const READ_KEY: &str = "read-0123456789abcdef";
pub(crate) const NOW: u64 = 1_790_000_000;

/// A relay that does nothing but remember.
#[derive(Default)]
pub(crate) struct FakeRelay {
    commands: Mutex<Vec<Told>>,
    full: AtomicBool,
    /// Whether its workers do not move.
    pub(crate) stuck: AtomicBool,
    /// Up to when calls have been forgotten.
    pub(crate) ended_before: AtomicU64,
}

/// A command, as tests compare it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    Open {
        call: CallId,
        until: u64,
        usernames: Vec<String>,
    },
    Revoke {
        call: CallId,
        scope: Scope,
        until: u64,
    },
}

impl FakeRelay {
    pub(crate) fn fill(&self, full: bool) {
        self.full.store(full, Ordering::Relaxed);
    }

    /// What it was told since it was asked last, which it goes on remembering.
    pub(crate) fn commands(&self) -> Vec<Told> {
        self.commands.lock().unwrap().clone()
    }

    /// What it was told since it was asked last.
    pub(crate) fn told(&self) -> Vec<Told> {
        std::mem::take(&mut *self.commands.lock().unwrap())
    }
}

impl RelayControl for FakeRelay {
    fn command(&self, command: Command) -> Result<(), CommandError> {
        let told = match command {
            Command::OpenCall { .. } if self.full.load(Ordering::Relaxed) => {
                return Err(CommandError::Capacity);
            }
            Command::OpenCall {
                call,
                until,
                usernames,
            } => Told::Open {
                call,
                until,
                usernames,
            },
            Command::Revoke { call, scope, until } => Told::Revoke { call, scope, until },
            Command::EndedBefore(unix) => {
                assert!(self.commands().is_empty(), "before the first call");
                self.ended_before.store(unix, Ordering::Relaxed);
                return Ok(());
            }
            _ => panic!("control has no business to say this"),
        };
        self.commands.lock().unwrap().push(told);
        Ok(())
    }

    fn open_calls(&self) -> usize {
        if self.full.load(Ordering::Relaxed) {
            usize::MAX
        } else {
            0
        }
    }

    fn is_alive(&self) -> bool {
        !self.stuck.load(Ordering::Relaxed)
    }
}

/// A store whose disk can be full.
pub(crate) struct Disk {
    store: Embedded,
    full: AtomicBool,
    broken: AtomicBool,
    foreign: bool,
    writes: AtomicU64,
    /// How often it was asked for ended calls.
    pub(crate) listings: AtomicU64,
    /// Reading a call waits for it.
    pub(crate) slow: Mutex<()>,
    /// Writing waits for it, when all is written.
    pub(crate) slow_writes: Mutex<()>,
}

impl Disk {
    pub(crate) fn new(store: Embedded) -> Self {
        let (full, broken) = (AtomicBool::default(), AtomicBool::default());
        Self {
            store,
            full,
            broken,
            foreign: false,
            writes: AtomicU64::new(0),
            listings: AtomicU64::new(0),
            slow: Mutex::default(),
            slow_writes: Mutex::default(),
        }
    }

    /// A disk whose calls were written by another version.
    pub(crate) fn foreign(store: Embedded) -> Self {
        Self {
            foreign: true,
            ..Self::new(store)
        }
    }

    pub(crate) fn fill(&self, full: bool) {
        self.full.store(full, Ordering::Relaxed);
    }

    /// How often something was written.
    pub(crate) fn writes(&self) -> u64 {
        self.writes.load(Ordering::SeqCst)
    }

    /// From here on reading a call is a bug.
    pub(crate) fn break_down(&self) {
        self.broken.store(true, Ordering::Relaxed);
    }
}

impl Store for Disk {
    fn commit(&self, changes: &[Change<'_>]) -> Result<(), StoreError> {
        if self.full.load(Ordering::Relaxed) {
            return Err(StoreError::new("no space left on device"));
        }
        let done = self.store.commit(changes);
        self.writes.fetch_add(1, Ordering::SeqCst);
        drop(self.slow_writes.lock().unwrap());
        done
    }

    fn call(&self, id: CallId) -> Result<Option<Call>, StoreError> {
        drop(self.slow.lock().unwrap());
        assert!(!self.broken.load(Ordering::Relaxed), "a bug");
        self.store.call(id)
    }

    fn calls(&self, after: Option<CallId>, most: usize) -> Result<Vec<Kept>, StoreError> {
        let mut calls = self.store.calls(after, most)?;
        if self.foreign {
            for kept in &mut calls {
                kept.call = None;
            }
        }
        Ok(calls)
    }

    fn ended(&self, after: Option<(u64, CallId)>, most: usize) -> Result<Vec<Kept>, StoreError> {
        self.listings.fetch_add(1, Ordering::SeqCst);
        drop(self.slow.lock().unwrap());
        self.store.ended(after, most)
    }

    fn request(&self, key: &RequestKey, now: u64) -> Result<Option<DoneRequest>, StoreError> {
        self.store.request(key, now)
    }

    fn forget(&self, now: u64) -> Result<usize, StoreError> {
        self.store.forget(now)
    }

    fn ended_before(&self) -> Result<u64, StoreError> {
        self.store.ended_before()
    }
}

/// A running control side.
pub(crate) struct Node {
    pub(crate) relay: Arc<FakeRelay>,
    pub(crate) disk: Arc<Disk>,
    pub(crate) reporter: Reporter,
    pub(crate) tickets: Arc<TicketKeys>,
    wall: Arc<AtomicU64>,
    steady: Arc<AtomicU64>,
    control: Control,
    client: reqwest::Client,
    base: String,
}

pub(crate) fn ticket_keys() -> Arc<TicketKeys> {
    Arc::new(TicketKeys::new(
        &TicketKey {
            id: 1,
            secret: [7; 32],
        },
        &[],
    ))
}

fn offer(transport: &str) -> Offer {
    Offer {
        url: format!("turn:relay.example:3478?transport={transport}"),
        reach: Reach::Internet,
    }
}

pub(crate) fn live(policy: Policy) -> Live {
    let keys = format!("{KEY}\n{CALLS_KEY} calls\n{READ_KEY} read\n");
    Live {
        policy,
        api_keys: ApiKeys::parse("keys", &keys).unwrap(),
        tickets: ticket_keys(),
        offers: ["udp", "tcp"].map(offer).to_vec(),
        host_names: vec!["relay.example".into()],
        calls_limit: 1000,
        kbps_limit: 0,
    }
}

fn tell(reporter: &Reporter, report: Report) {
    match report {
        Report::Event(event) => reporter.event(event),
        Report::Usage(allocation, usage) => {
            assert!(
                reporter.usage(&mut || vec![(allocation, usage)]),
                "there is room"
            );
        }
    }
}

/// Reports as they come together.
pub(crate) fn news(reports: &[Report]) -> News {
    let mut news = News::default();
    for report in reports {
        match *report {
            Report::Event(event) => news.events.push(event),
            Report::Usage(allocation, usage) => news.usage.push((allocation, usage)),
        }
    }
    news
}

impl Node {
    pub(crate) async fn start() -> Self {
        Self::with(Policy::default()).await
    }

    pub(crate) async fn with(policy: Policy) -> Self {
        Self::on(Embedded::in_memory().unwrap(), NOW, policy).await
    }

    pub(crate) async fn on(store: Embedded, now: u64, policy: Policy) -> Self {
        let listen = Address::Tcp("127.0.0.1:0".parse().unwrap());
        Self::at(listen, Disk::new(store), now, policy).await
    }

    pub(crate) async fn at(listen: Address, disk: Disk, now: u64, policy: Policy) -> Self {
        let relay = Arc::new(FakeRelay::default());
        let disk = Arc::new(disk);
        let metrics = Arc::new(Metrics::new());
        let (reporter, reports) = reports::queue();
        let (wall, steady) = (Arc::new(AtomicU64::new(now)), Arc::new(AtomicU64::new(0)));
        let shown = (Arc::clone(&wall), Arc::clone(&steady));
        let settings = ControlSettings {
            listen,
            node: "node-1".into(),
            live: live(policy),
            clock: Clock::new(move || Now {
                wall: shown.0.load(Ordering::Relaxed),
                steady: shown.1.load(Ordering::Relaxed),
            }),
        };
        let control = control::serve(
            settings,
            Arc::clone(&relay) as Arc<dyn RelayControl>,
            Arc::clone(&disk) as Arc<dyn Store>,
            reports,
            metrics,
        );
        let control = control.await.unwrap();
        let mut client = reqwest::Client::builder();
        let base = match control.address() {
            Address::Tcp(address) => format!("http://{address}"),
            Address::Unix(path) => {
                client = client.unix_socket(path.as_path());
                "http://localhost".into()
            }
        };
        let client = client.build().unwrap();
        Self {
            relay,
            disk,
            reporter,
            tickets: ticket_keys(),
            wall,
            steady,
            control,
            client,
            base,
        }
    }

    pub(crate) async fn stop(self) {
        self.control.stop(|| {}).await;
    }

    /// Stops, with a relay that reports this with its last breath.
    pub(crate) async fn stop_with(self, last: Report) {
        let Self {
            control, reporter, ..
        } = self;
        control.stop(|| tell(&reporter, last)).await;
    }

    /// The relay reports something.
    pub(crate) fn tell(&self, report: Report) {
        tell(&self.reporter, report);
    }

    pub(crate) fn switchboard(&self) -> &Switchboard {
        self.control.switchboard()
    }

    /// A call as the store knows it.
    pub(crate) fn kept(&self, id: CallId) -> Call {
        self.disk.store.call(id).unwrap().expect("a call")
    }

    /// Lets time pass, and the switchboard know.
    pub(crate) fn pass(&self, seconds: u64) {
        self.wall.fetch_add(seconds, Ordering::Relaxed);
        self.steady.fetch_add(seconds, Ordering::Relaxed);
        self.switchboard().tick();
    }

    /// Sets the wall clock, and lets the switchboard know.
    pub(crate) fn set_clock(&self, unix: u64) {
        self.wall.store(unix, Ordering::Relaxed);
        self.switchboard().tick();
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.base))
    }

    /// Where it listens, as `ADDRESS:PORT`.
    pub(crate) fn place(&self) -> &str {
        self.base.trim_start_matches("http://")
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        Answer::of(self.request(Method::GET, path).bearer_auth(KEY)).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        Answer::of(self.request(Method::POST, path).bearer_auth(KEY).json(body)).await
    }

    pub(crate) async fn post_once(&self, path: &str, key: &str, body: &Value) -> Answer {
        let request = self.request(Method::POST, path).bearer_auth(KEY);
        Answer::of(request.header("Idempotency-Key", key).json(body)).await
    }

    pub(crate) async fn post_text(&self, path: &str, body: &str) -> Answer {
        let request = self.request(Method::POST, path).bearer_auth(KEY);
        let request = request.header(header::CONTENT_TYPE, "application/json");
        Answer::of(request.body(body.to_owned())).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        Answer::of(self.request(Method::DELETE, path).bearer_auth(KEY)).await
    }

    /// Opens a call.
    pub(crate) async fn open(&self, body: &Value) -> Value {
        self.post("/v1/calls", body).await.expect(201)
    }

    /// The ids of all calls that a list shows.
    pub(crate) async fn listed(&self, query: &str) -> Vec<String> {
        let list = self.get(&format!("/v1/calls{query}")).await.expect(200);
        let calls = list["calls"].as_array().unwrap().iter();
        calls
            .map(|call| call["id"].as_str().unwrap().to_owned())
            .collect()
    }

    /// The ticket behind a configuration's user name.
    pub(crate) fn ticket(&self, configuration: &Value) -> Ticket {
        let username = username(configuration);
        let (ticket, password) = self.tickets.open(username.as_bytes()).expect("a ticket");
        assert_eq!(
            relay_server(configuration)["credential"]
                .as_str()
                .unwrap()
                .as_bytes(),
            password
        );
        ticket
    }
}

/// The server with the ticket.
pub(crate) fn relay_server(configuration: &Value) -> &Value {
    let servers = configuration["iceServers"].as_array().unwrap();
    servers
        .iter()
        .find(|server| server["username"].is_string())
        .expect("a ticket")
}

pub(crate) fn username(configuration: &Value) -> &str {
    relay_server(configuration)["username"].as_str().unwrap()
}

pub(crate) fn call_id(call: &Value) -> CallId {
    vizard::control::names::read(call["id"].as_str().unwrap()).unwrap()
}

pub(crate) fn path(call: &Value) -> String {
    format!("/v1/calls/{}", call["id"].as_str().unwrap())
}

/// An answer of the API.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: header::HeaderMap,
    pub(crate) body: Value,
}

impl Answer {
    pub(crate) async fn of(request: RequestBuilder) -> Self {
        let answer = request.send().await.unwrap();
        let (status, headers) = (answer.status(), answer.headers().clone());
        let text = answer.text().await.unwrap();
        let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
        let answer = Self {
            status,
            headers,
            body,
        };
        if !status.is_success() {
            answer.check_problem();
        }
        answer
    }

    fn header(&self, name: header::HeaderName) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    /// Every error is a problem that says the same as its status.
    fn check_problem(&self) {
        assert_eq!(
            self.header(header::CONTENT_TYPE),
            "application/problem+json",
            "{self:?}"
        );
        assert_eq!(self.body["status"], self.status.as_u16());
        assert!(
            self.body["type"]
                .as_str()
                .unwrap()
                .starts_with("/problems/")
        );
        assert!(!self.body["title"].as_str().unwrap().is_empty());
    }

    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{:#}", self.body);
        self.body
    }

    /// The problem of that type.
    #[track_caller]
    pub(crate) fn problem(self, status: u16, slug: &str) -> Value {
        let problem = self.expect(status);
        assert_eq!(problem["type"], format!("/problems/{slug}"), "{problem:#}");
        problem
    }

    /// The paths of what is wrong with the request.
    #[track_caller]
    pub(crate) fn faults(self) -> Vec<String> {
        let problem = self.problem(422, "invalid-request");
        let errors = problem["errors"].as_array().unwrap().iter();
        errors
            .map(|error| error["path"].as_str().unwrap().to_owned())
            .collect()
    }
}
