//! The real binary as a process that can be started again with the same state, and everything
//! that it writes.
#![allow(dead_code, unreachable_pub, unused_imports)] // Every test file uses a part of it.

pub mod http;
pub mod world;

use std::fs::File;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;
use tempfile::TempDir;
use vizard_proto::auth::ticket::Credential;

pub use http::{Http, Response};

/// How long anything may take before a test gives up.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A configuration on loopback that disturbs nobody and does not mind many strangers.
pub const LOOPBACK: &str = "[relay]\nudp = [\"127.0.0.1:0\", \"[::1]:0\"]\n\
    tcp = [\"127.0.0.1:0\", \"[::1]:0\"]\nworkers = 2\n\
    [control]\nlisten = \"127.0.0.1:0\"\n\
    [limits]\nanswers_per_second = 100000\nanswers_burst = 1000000\n";

/// How a node is started.
pub struct Setup {
    /// What `vizard.toml` says.
    pub config: String,
    /// A program, with arguments, that starts the node in its place.
    pub wrapper: Vec<String>,
    /// Where the state directory is, if not beside the configuration.
    pub state: Option<PathBuf>,
    /// Which address requests to the control API come from.
    pub platform: Option<IpAddr>,
}

impl Setup {
    /// The usual way, with the configuration `config`.
    pub fn new(config: &str) -> Self {
        Self {
            config: config.to_owned(),
            wrapper: Vec::new(),
            state: None,
            platform: None,
        }
    }
}

/// A node and its folder.
pub struct Daemon {
    folder: TempDir,
    setup: Setup,
    process: Option<Child>,
    starts: usize,
    api: Option<SocketAddr>,
    udp: Vec<SocketAddr>,
    tcp: Vec<SocketAddr>,
}

impl Daemon {
    /// A node on loopback, running.
    pub fn start(config: &str) -> Self {
        let mut daemon = Self::prepare(Setup::new(config));
        daemon.launch();
        daemon
    }

    /// A node that is yet to be launched.
    pub fn prepare(setup: Setup) -> Self {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let daemon = Self {
            folder,
            setup,
            process: None,
            starts: 0,
            api: None,
            udp: Vec::new(),
            tcp: Vec::new(),
        };
        daemon.configure(&daemon.setup.config);
        daemon
    }

    /// Has its next start go through another program.
    pub fn wrap(&mut self, wrapper: &[String]) {
        self.setup.wrapper = wrapper.to_vec();
    }

    /// Writes `vizard.toml`.
    pub fn configure(&self, config: &str) {
        std::fs::write(self.config(), config).expect("written");
    }

    /// Starts it, and waits until it lets clients in.
    pub fn launch(&mut self) {
        self.starts += 1;
        let mut command = self.command(&["serve", "--config"]);
        command.arg(self.config());
        command.stdout(self.fresh("out")).stderr(self.fresh("err"));
        self.process = Some(command.spawn().expect("started"));
        let start = Instant::now();
        while !self.take_welcome() {
            let ended = self.child().try_wait().expect("ours");
            assert!(
                ended.is_none() && start.elapsed() < PATIENCE,
                "it did not start ({ended:?}): {}",
                String::from_utf8_lossy(&self.written("err", self.starts))
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Starts it although it can't, and returns what it says.
    pub fn launch_in_vain(&mut self) -> String {
        self.starts += 1;
        let mut command = self.command(&["serve", "--config"]);
        command.arg(self.config());
        command.stdout(self.fresh("out")).stderr(self.fresh("err"));
        let status = command.status().expect("started");
        assert_eq!(status.code(), Some(1), "it ends with an error");
        String::from_utf8_lossy(&self.written("err", self.starts)).into_owned()
    }

    /// Tells it to stop, and waits until it has.
    pub fn stop(&mut self) {
        self.signal(Signal::SIGTERM);
        let status = self.child().wait().expect("ours");
        assert_eq!(status.code(), Some(0), "it stops in peace");
        self.process = None;
    }

    /// Ends it as a power cut does.
    pub fn kill(&mut self) {
        self.signal(Signal::SIGKILL);
        let _ = self.child().wait().expect("ours");
        self.process = None;
    }

    /// Stops it and starts it again with the same state.
    pub fn restart(&mut self) {
        self.stop();
        self.launch();
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        nix::sys::signal::kill(self.pid(), signal).expect("sent");
    }

    /// Its process id. A wrapper has to become it (`exec`).
    pub fn pid(&self) -> nix::unistd::Pid {
        let process = self.process.as_ref().expect("it runs");
        nix::unistd::Pid::from_raw(process.id().cast_signed())
    }

    /// A command of the same binary beside it, with its state directory.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let binary = env!("CARGO_BIN_EXE_vizard");
        let mut words = self.setup.wrapper.iter().map(String::as_str);
        let program = words.next().unwrap_or(binary);
        let mut command = Command::new(program);
        command.args(words);
        if program != binary {
            command.arg(binary);
        }
        command
            .args(arguments)
            .env_clear()
            .env("VIZARD_STATE_DIR", self.state())
            .stdin(Stdio::null());
        command
    }

    /// `vizard ARGUMENTS` against its API.
    pub fn run(&self, arguments: &[&str]) -> Output {
        let mut command = self.command(arguments);
        if let Some(api) = self.api {
            command.env("VIZARD_API", format!("http://{api}"));
        }
        command.output().expect("run")
    }

    /// The file with its configuration.
    pub fn config(&self) -> PathBuf {
        self.folder.path().join("vizard.toml")
    }

    /// Its state directory.
    pub fn state(&self) -> PathBuf {
        let beside = || self.folder.path().join("state");
        self.setup.state.clone().unwrap_or_else(beside)
    }

    /// Where it listens for UDP.
    pub fn udp(&self, index: usize) -> SocketAddr {
        self.udp[index]
    }

    /// Where it listens for TCP.
    pub fn tcp(&self, index: usize) -> SocketAddr {
        self.tcp[index]
    }

    /// Its control API, with its first key.
    pub fn http(&self) -> Http {
        Http {
            api: self.api.expect("it runs"),
            source: self.setup.platform,
            key: self.api_key(),
        }
    }

    /// The API key that it made.
    pub fn api_key(&self) -> String {
        let key = std::fs::read_to_string(self.state().join("api.key")).expect("made");
        key.trim().to_owned()
    }

    /// A request to the API; the answer's JSON, after a look at its status.
    pub fn ask(&self, method: &str, path: &str, body: &Value, status: u16) -> Value {
        let response = self.http().json(method, path, body);
        let json = response.parsed();
        assert_eq!(response.status, status, "{method} {path}: {json}");
        json
    }

    /// Opens a call of alice with bob.
    pub fn open(&self) -> Tickets {
        let body = serde_json::json!({"parties": [{"id": "alice"}, {"id": "bob"}],
            "caller": "alice"});
        Tickets(self.ask("POST", "/v1/calls", &body, 201))
    }

    /// The call as the API shows it.
    pub fn show(&self, id: &str) -> Value {
        self.ask("GET", &format!("/v1/calls/{id}"), &Value::Null, 200)
    }

    /// Ends a call.
    pub fn end(&self, id: &str) {
        self.ask("DELETE", &format!("/v1/calls/{id}"), &Value::Null, 200);
    }

    /// The sum of all counters whose line in `/metrics` begins with `name`.
    pub fn metric(&self, name: &str) -> u64 {
        let text = self.http().get("/metrics").text();
        let values = text.lines().filter(|line| line.starts_with(name));
        let numbers = values.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
        numbers.sum()
    }

    /// What it wrote to `out` or `err` from its first start on.
    pub fn said(&self, stream: &str) -> Vec<u8> {
        (1..=self.starts)
            .flat_map(|start| self.written(stream, start))
            .collect()
    }

    fn written(&self, stream: &str, start: usize) -> Vec<u8> {
        std::fs::read(self.stream(stream, start)).expect("a readable file")
    }

    fn fresh(&self, stream: &str) -> File {
        File::create(self.stream(stream, self.starts)).expect("a writable file")
    }

    fn stream(&self, stream: &str, start: usize) -> PathBuf {
        self.folder.path().join(format!("{stream}.{start}"))
    }

    fn child(&mut self) -> &mut Child {
        self.process.as_mut().expect("it runs")
    }

    /// Learns from its three lines where it listens; whether they are there.
    fn take_welcome(&mut self) -> bool {
        let text = String::from_utf8(self.written("out", self.starts)).expect("UTF-8");
        if text.lines().count() < 3 || !text.ends_with('\n') {
            return false;
        }
        let line = text.lines().next().unwrap_or_default();
        let words: Vec<&str> = line.split([' ', ',', ';']).collect();
        let after = |word: &str| {
            let pairs = words.windows(2).filter(|pair| pair[0] == word);
            let addresses = pairs.map(|pair| pair[1].trim_start_matches("http://"));
            addresses.filter_map(|text| text.parse().ok()).collect()
        };
        (self.udp, self.tcp) = (after("UDP"), after("TCP"));
        self.api = after("API").first().copied();
        true
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // A test that failed leaves it running.
        if let Some(process) = &mut self.process {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// What the API answered to opening or answering a call.
pub struct Tickets(pub Value);

impl Tickets {
    /// The call's id.
    pub fn id(&self) -> &str {
        self.0["id"].as_str().expect("an id")
    }

    /// The credential of a party's only device.
    pub fn of(&self, party: &str) -> Credential {
        credential(&self.0["parties"][party]["rtc_configuration"])
    }

    /// The credential of one of a party's devices.
    pub fn of_device(&self, party: &str, device: &str) -> Credential {
        credential(&self.0["parties"][party]["devices"][device]["rtc_configuration"])
    }
}

/// The TURN credential in an `RTCConfiguration`.
fn credential(configuration: &Value) -> Credential {
    let servers = configuration["iceServers"].as_array().expect("servers");
    let server = servers.iter().find(|server| !server["username"].is_null());
    let text = |name: &str| {
        let value = server.and_then(|server| server[name].as_str());
        value.expect("a credential").to_owned()
    };
    Credential {
        username: text("username"),
        password: text("credential"),
    }
}

/// Every file under `folder`, with its bytes.
pub fn files(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            let bytes = std::fs::read(&path).expect("a readable file");
            found.push((path, bytes));
        }
    }
    found
}

/// Waits until `done` says so.
pub fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < PATIENCE, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
