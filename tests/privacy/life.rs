//! A node's whole life, from its first start to its last stop, with everything that can happen to
//! it, and everything that came out of it.

use std::net::IpAddr;

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use vizard_proto::auth::ticket::Credential;

use super::canaries::{Names, of_api_key, of_ticket};
use super::evidence::{Evidence, Finding, Outlet};
use super::notation::Canary;
use crate::daemon::{Daemon, Http, Response, Setup, Tickets, wait_until};

/// Where a life takes place. Every address but the servers' is a canary.
pub struct Place {
    /// How the node is started.
    pub wrapper: Vec<String>,
    /// Where it listens: at most one address of each family.
    pub servers: Vec<IpAddr>,
    /// Where clients are, two of each family that there are any of.
    pub clients: Vec<IpAddr>,
    /// Where the platform is.
    pub platform: IpAddr,
    /// Addresses that are only spoken of.
    pub foreign: Vec<IpAddr>,
}

/// A life.
pub struct Life<'p> {
    pub place: &'p Place,
    pub daemon: Daemon,
    pub names: Names,
    pub canaries: Vec<Canary>,
    pub evidence: Evidence,
    config: String,
}

impl<'p> Life<'p> {
    /// Lives it all, and says which canaries came out.
    pub fn run(place: &'p Place, format: &str, level: &str) -> Vec<Finding> {
        let mut life = Self::begin(place, format, level);
        life.start_in_vain();
        life.daemon.launch();
        life.canaries.push(of_api_key(&life.daemon.api_key()));
        life.platform();
        life.hold_calls();
        life.strangers();
        life.command_line();
        life.reload();
        life.second_start();
        life.end();
        life.check_that_it_lived(level);
        life.evidence.findings(&life.canaries)
    }

    fn begin(place: &'p Place, format: &str, level: &str) -> Self {
        let config = configuration(place, format, level);
        let names = Names::new();
        let mut canaries = names.canaries();
        let everywhere = [&place.clients, &place.foreign].into_iter().flatten();
        canaries.extend(everywhere.map(|ip| Canary::address("address", *ip)));
        canaries.push(Canary::address("address of the platform", place.platform));
        let daemon = Daemon::prepare(Setup {
            wrapper: place.wrapper.clone(),
            platform: Some(place.platform),
            ..Setup::new(&config)
        });
        Self {
            place,
            daemon,
            names,
            canaries,
            evidence: Evidence::default(),
            config,
        }
    }

    fn start_in_vain(&mut self) {
        self.daemon
            .configure(&self.config.replace("workers = 2", "workers = -2"));
        let said = self.daemon.launch_in_vain();
        assert!(said.contains("relay.workers"), "{said}");
        self.run_command(&["check-config"]);
        self.daemon.configure(&self.config);
    }

    /// A request that is kept with its answer.
    pub fn ask(&mut self, method: &str, path: &str, body: &Value) -> Response {
        let text = match body {
            Value::Null => Vec::new(),
            body => body.to_string().into_bytes(),
        };
        let http = self.daemon.http();
        self.send(&http, method, path, &text)
    }

    fn send(&mut self, http: &Http, method: &str, path: &str, body: &[u8]) -> Response {
        let hop = self.place.foreign[0].to_string();
        let forwarded = format!("for=\"{hop}\"");
        let headers = [
            ("User-Agent", self.names.agent.as_str()),
            ("X-Forwarded-For", &hop),
            ("X-Real-IP", &hop),
            ("Forwarded", &forwarded),
        ];
        let response = http.send(method, path, &headers, body);
        let name = format!("{method} {path}");
        self.evidence
            .add(Outlet::Answer, name, response.raw.clone());
        response
    }

    /// Two parties, bob with two devices.
    fn wish(&self) -> Value {
        let Names {
            alice,
            bob,
            phone,
            laptop,
            ..
        } = &self.names;
        json!({"parties": [{"id": alice}, {"id": bob, "devices": [phone, laptop]}],
            "caller": alice})
    }

    /// Opens a call and remembers its tickets as canaries.
    pub fn open(&mut self, wish: &Value) -> Tickets {
        let response = self.ask("POST", "/v1/calls", wish);
        assert_eq!(response.status, 201, "{}", response.text());
        let tickets = Tickets(response.parsed());
        let Names {
            alice,
            bob,
            phone,
            laptop,
            ..
        } = &self.names;
        let given = [
            tickets.of(alice),
            tickets.of_device(bob, phone),
            tickets.of_device(bob, laptop),
        ];
        self.canaries.extend(given.iter().flat_map(of_ticket));
        tickets
    }

    /// A call of alice with bob's phone.
    pub fn open_call(&mut self) -> (Tickets, Credential, Credential) {
        let tickets = self.open(&self.wish());
        let alice = tickets.of(&self.names.alice);
        let bob = tickets.of_device(&self.names.bob, &self.names.phone);
        (tickets, alice, bob)
    }

    /// Everything that the platform can do right or wrong.
    fn platform(&mut self) {
        let wish = self.wish();
        let (alice, bob) = (self.names.alice.clone(), self.names.bob.clone());
        assert_eq!(self.ask("POST", "/v1/decisions", &wish).status, 200);
        let mut refused = wish.clone();
        refused["facts"] = json!([{"from": bob, "to": alice, "is": ["blocked"]}]);
        assert_eq!(self.ask("POST", "/v1/calls", &refused).status, 403);
        assert_eq!(self.ask("POST", "/v1/decisions", &refused).status, 200);

        let mut frank = wish;
        frank["parties"][0]["reveal_address_to"] = json!("everybody");
        frank["parties"][1]["reveal_address_to"] = json!("everybody");
        let direct = self.open(&frank);
        let path = format!("/v1/calls/{}/answer", direct.id());
        let answer = json!({"party": bob, "device": self.names.laptop});
        let response = self.ask("POST", &path, &answer);
        let text = response.text();
        assert!(text.contains("ice-restart"), "it became direct: {text}");
        let restarted = Tickets(response.parsed()).of(&alice);
        self.canaries.extend(of_ticket(&restarted));
        let late = json!({"party": bob, "device": self.names.phone});
        assert_eq!(self.ask("POST", &path, &late).status, 409);
        self.repeat_a_request();
        self.misuse();
    }

    fn repeat_a_request(&mut self) {
        let key = self.names.request.clone();
        let (http, body) = (self.daemon.http(), self.wish().to_string());
        for _ in 0..2 {
            let headers = [("Idempotency-Key", key.as_str())];
            let response = http.send("POST", "/v1/calls", &headers, body.as_bytes());
            assert_eq!(response.status, 201);
            self.evidence
                .add(Outlet::Answer, "POST /v1/calls again", response.raw);
        }
        let headers = [("Idempotency-Key", key.as_str())];
        let other = http.send(
            "POST",
            "/v1/calls",
            &headers,
            &body.replace('2', "3").into_bytes(),
        );
        self.evidence
            .add(Outlet::Answer, "POST /v1/calls otherwise", other.raw);
    }

    fn misuse(&mut self) {
        let word = self.place.foreign[1].to_string();
        let static_party = json!({"id": "sfu", "addresses": [format!("{word}:10000-20000")]});
        let mut with_server = self.wish();
        with_server["parties"][1] = static_party;
        let bodies = [
            (with_server, 422),
            (json!({"parties": word}), 422),
            // Who sends an unknown field is told its name; values are not repeated.
            (json!({ self.names.alice.as_str(): word }), 422),
            (
                json!({"parties": [{"id": "x"}, {"id": "y"}], "ttl": word}),
                422,
            ),
            (
                json!({"parties": [{"id": "x"}, {"id": "y"}], "caller": word}),
                422,
            ),
        ];
        for (body, status) in bodies {
            let response = self.ask("POST", "/v1/calls", &body);
            assert_eq!(response.status, status, "{}", response.text());
        }
        let http = self.daemon.http();
        assert_eq!(
            self.send(&http, "POST", "/v1/calls", word.as_bytes())
                .status,
            400
        );
        assert_eq!(
            self.send(&http, "POST", "/v1/calls", &vec![b' '; 70_000])
                .status,
            413
        );
        for path in [format!("/v1/calls/{word}"), format!("/{word}")] {
            assert_eq!(self.send(&http, "GET", &path, b"").status, 404);
        }
        assert_eq!(self.send(&http, "PATCH", "/v1/calls", b"").status, 405);
        let query = format!("/v1/calls?phase={word}&cursor={word}&limit=0");
        assert_eq!(self.send(&http, "GET", &query, b"").status, 422);
        let key = self.names.wrong_key.clone();
        assert_eq!(
            self.send(
                &Http {
                    key,
                    ..http.clone()
                },
                "GET",
                "/v1/calls",
                b""
            )
            .status,
            401
        );
        for bytes in [format!("{word}\r\n\r\n"), "\x16\x03\x01\x02".repeat(100)] {
            let response = http.exchange(bytes.as_bytes());
            self.evidence.add(Outlet::Answer, "not HTTP", response.raw);
        }
        drop(http.connect());
        self.look();
    }

    /// Reads everything that can be read.
    pub fn look(&mut self) {
        let http = self.daemon.http();
        for path in [
            "/v1/calls",
            "/v1/calls?limit=1",
            "/livez",
            "/readyz",
            "/openapi.json",
        ] {
            assert_eq!(self.send(&http, "GET", path, b"").status, 200, "{path}");
        }
        let metrics = http.get("/metrics");
        self.evidence.add(Outlet::Metrics, "/metrics", metrics.raw);
    }

    fn run_command(&mut self, arguments: &[&str]) -> String {
        let output = self.daemon.run(arguments);
        let name = arguments.join(" ");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        self.evidence
            .add(Outlet::CommandLine, name.clone(), output.stdout);
        self.evidence.add(Outlet::CommandLine, name, output.stderr);
        text
    }

    fn command_line(&mut self) {
        let Names { alice, bob, .. } = &self.names;
        let parties = format!("{alice},{bob}");
        let caller = alice.clone();
        let create = ["call", "create", "--party", &parties, "--caller", &caller];
        self.run_command(&create);
        let call = self.run_command(&[&create[..], &["--json"]].concat());
        let call: Value = serde_json::from_str(&call).expect("JSON");
        let id = call["id"].as_str().expect("an id");
        let bob = self.names.bob.clone();
        self.run_command(&["call", "answer", id, "--party", &bob]);
        self.run_command(&["call", "show", id]);
        self.run_command(&["call", "list"]);
        self.run_command(&["call", "show", id, "--json"]);
        self.run_command(&["call", "end", id]);
        let word = self.place.foreign[1].to_string();
        self.run_command(&["call", "show", &word]);
        self.run_command(&["call", "create", "--party", "one"]);
        let second = self.run_command(&["serve"]);
        assert_eq!(second, "", "the state directory has one node");
    }

    fn reload(&mut self) {
        let policy = "[policy]\nticket_ttl = \"1h\"\n";
        self.daemon.configure(&format!("{}{policy}", self.config));
        self.hang_up("taken");
        self.daemon
            .configure(&format!("{}[relay]\nport = 1\n", self.config));
        self.hang_up("refused");
        self.daemon.configure(&self.config);
        self.look();
    }

    fn hang_up(&self, outcome: &str) {
        let name = format!("vizard_config_reloads_total{{outcome=\"{outcome}\"}}");
        let before = self.daemon.metric(&name);
        self.daemon.signal(Signal::SIGHUP);
        wait_until("it has reloaded", || self.daemon.metric(&name) > before);
    }

    /// Again from the state that is left, which is looked at while it is in use as well.
    fn second_start(&mut self) {
        let state = self.daemon.state();
        self.evidence.add_state(&state);
        self.daemon.restart();
        self.hold_calls();
        self.look();
        self.evidence.add_state(&state);
    }

    /// By a power cut, and after a last look at what that left, in peace.
    fn end(&mut self) {
        let state = self.daemon.state();
        self.open_call();
        self.daemon.kill();
        self.evidence.add_state(&state);
        self.daemon.launch();
        self.look();
        self.daemon.stop();
        self.evidence.add_state(&state);
        self.evidence
            .add(Outlet::Stdout, "stdout", self.daemon.said("out"));
        self.evidence
            .add(Outlet::Log, "stderr", self.daemon.said("err"));
    }

    /// That nothing was found must not be because nothing was kept.
    fn check_that_it_lived(&self, level: &str) {
        let text = |outlet| String::from_utf8_lossy(&self.evidence.of(outlet)).into_owned();
        assert!(text(Outlet::Stdout).contains("listening:"));
        assert!(text(Outlet::State).contains(&self.names.alice));
        assert!(text(Outlet::Answer).contains(&self.names.bob));
        assert!(text(Outlet::CommandLine).contains(&self.names.bob));
        assert!(text(Outlet::Metrics).contains("vizard_packets_dropped_total"));
        let log = text(Outlet::Log);
        assert!(
            log.contains("not reloaded") && !log.contains("panic"),
            "{log}"
        );
        let speaks = matches!(level, "debug" | "trace");
        assert_eq!(log.contains("call opened"), speaks, "{log}");
    }
}

fn configuration(place: &Place, format: &str, level: &str) -> String {
    let listen = |ip: &IpAddr| format!("\"{}\"", std::net::SocketAddr::new(*ip, 0));
    let servers: Vec<String> = place.servers.iter().map(listen).collect();
    let all = servers.join(", ");
    format!(
        "[log]\nformat = \"{format}\"\nlevel = \"{level}\"\n\
         [control]\nlisten = {}\n\
         [limits]\nanswers_burst = 100000\n\
         [relay]\nworkers = 2\nudp = [{all}]\ntcp = [{all}]\n",
        servers[0]
    )
}
