//! Whom to measure: a vizard through its control API, or any TURN server with a credential.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use clap::Args;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use vizard_proto::address::Transport;

use super::super::client::{Api, ApiArguments};
use super::super::{Failure, call::call_path};
use crate::bench::{Fault, Login, Logins, read_url, rest_login};

/// The control API that is asked when nothing else is named.
const DEFAULT_API: &str = "http://127.0.0.1:8080";
/// Requests to the control API at the same time.
const REQUESTS: usize = 8;
/// How long a REST credential of ours is good.
const REST_LIFETIME: Duration = Duration::from_secs(86_400);

/// The server to measure.
#[derive(Debug, Args)]
#[command(next_help_heading = "Server")]
pub(super) struct First {
    /// A vizard's control API: http://HOST:PORT or unix:/path [default: http://127.0.0.1:8080]
    #[arg(long, env = "VIZARD_API")]
    api: Option<String>,
    /// File that holds the API key; default: $VIZARD_API_KEY, else the state directory's `api.key`
    #[arg(long, env = "VIZARD_API_KEY_FILE")]
    api_key_file: Option<PathBuf>,
    /// A TURN server: turn:HOST:PORT?transport=udp; with --api, where its relay is
    #[arg(long, env = "VIZARD_RELAY")]
    relay: Option<String>,
    /// Username of --relay
    #[arg(long, env = "VIZARD_USERNAME")]
    username: Option<String>,
    /// File that holds the password; default: $VIZARD_PASSWORD
    #[arg(long, env = "VIZARD_PASSWORD_FILE")]
    password_file: Option<PathBuf>,
    /// File that holds the secret of REST credentials; default: $VIZARD_REST_SECRET
    #[arg(long, env = "VIZARD_REST_SECRET_FILE")]
    rest_secret_file: Option<PathBuf>,
    /// Process id of the server on this machine, for its CPU time and memory
    #[arg(long, env = "VIZARD_PID")]
    pid: Option<u32>,
    /// What to call it in the report
    #[arg(long, env = "VIZARD_NAME")]
    name: Option<String>,
}

/// A second server, measured in turn with the first.
#[derive(Debug, Args)]
#[command(next_help_heading = "Second server")]
pub(super) struct Other {
    /// Another server to measure in turn: a control API's URL or a TURN URL
    #[arg(long, env = "VIZARD_VS")]
    vs: Option<String>,
    /// File that holds the other's API key; default: $VIZARD_VS_API_KEY
    #[arg(long, env = "VIZARD_VS_API_KEY_FILE", requires = "vs")]
    vs_api_key_file: Option<PathBuf>,
    /// Username at the other
    #[arg(long, env = "VIZARD_VS_USERNAME", requires = "vs")]
    vs_username: Option<String>,
    /// File that holds the password there; default: $VIZARD_VS_PASSWORD
    #[arg(long, env = "VIZARD_VS_PASSWORD_FILE", requires = "vs")]
    vs_password_file: Option<PathBuf>,
    /// File that holds the secret of REST credentials there; default: $VIZARD_VS_REST_SECRET
    #[arg(long, env = "VIZARD_VS_REST_SECRET_FILE", requires = "vs")]
    vs_rest_secret_file: Option<PathBuf>,
    /// Process id of the other server
    #[arg(long, env = "VIZARD_VS_PID", requires = "vs")]
    vs_pid: Option<u32>,
    /// What to call it in the report
    #[arg(long, env = "VIZARD_VS_NAME", requires = "vs")]
    vs_name: Option<String>,
}

/// A server, and how to be let in.
pub(super) struct Place {
    name: String,
    pid: Option<u32>,
    relay: Option<(SocketAddr, Transport)>,
    entry: Entry,
}

enum Entry {
    Calls(ApiArguments),
    Credential(Login),
}

/// What to open.
pub(super) struct Wanted {
    pub(super) calls: usize,
    pub(super) pairs_each: usize,
    pub(super) ttl: Duration,
    pub(super) tcp: bool,
}

/// A server that is open to us.
pub(super) struct Opening {
    pub(super) name: String,
    pub(super) server: SocketAddr,
    pub(super) transport: Transport,
    pub(super) logins: Logins,
    pub(super) door: Option<Door>,
}

/// Calls that are to be ended.
pub(super) struct Door {
    runtime: Runtime,
    api: Arc<Api>,
    calls: Vec<String>,
}

impl First {
    pub(super) fn place(&self) -> Result<Place, Fault> {
        let relay = self.relay.as_deref().map(read_url).transpose()?;
        let secrets = Secrets {
            username: self.username.as_deref(),
            password_file: self.password_file.as_deref(),
            rest_secret_file: self.rest_secret_file.as_deref(),
            prefix: "",
        };
        let has_credential = self.username.is_some() || self.rest_secret_file.is_some();
        let entry = if relay.is_some() && (has_credential || self.api.is_none()) {
            Entry::Credential(secrets.login()?)
        } else {
            let api = self.api.as_deref().unwrap_or(DEFAULT_API);
            Entry::Calls(ApiArguments::new(api, self.api_key_file.clone()))
        };
        let name = self.name.clone().unwrap_or_else(|| entry.name().into());
        Ok(Place {
            name,
            pid: self.pid,
            relay,
            entry,
        })
    }
}

impl Other {
    pub(super) fn place(&self) -> Result<Option<Place>, Fault> {
        let Some(vs) = &self.vs else { return Ok(None) };
        let is_relay = vs.starts_with("turn");
        let relay = is_relay.then(|| read_url(vs)).transpose()?;
        let entry = if is_relay {
            let secrets = Secrets {
                username: self.vs_username.as_deref(),
                password_file: self.vs_password_file.as_deref(),
                rest_secret_file: self.vs_rest_secret_file.as_deref(),
                prefix: "VS_",
            };
            Entry::Credential(secrets.login()?)
        } else {
            let key = self.vs_api_key_file.clone();
            Entry::Calls(ApiArguments::new(vs, key).with_variable("VIZARD_VS_API_KEY"))
        };
        Ok(Some(Place {
            name: self.vs_name.clone().unwrap_or_else(|| "other".into()),
            pid: self.vs_pid,
            relay,
            entry,
        }))
    }
}

impl Entry {
    fn name(&self) -> &'static str {
        match self {
            Self::Calls(_) => "vizard",
            Self::Credential(_) => "relay",
        }
    }
}

impl Place {
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn pid(&self) -> Option<u32> {
        self.pid
    }

    /// Opens the calls, or has the credential at hand.
    pub(super) fn open(self, wanted: &Wanted) -> Result<Opening, Fault> {
        match self.entry {
            Entry::Credential(login) => {
                let (server, transport) =
                    self.relay.unwrap_or_else(|| unreachable!("it has a URL"));
                Ok(Opening {
                    name: self.name,
                    server,
                    transport,
                    logins: Logins::One(Arc::new(login)),
                    door: None,
                })
            }
            Entry::Calls(arguments) => {
                let (door, calls) = open_calls(&arguments, wanted)?;
                let named = self.relay.map_or_else(|| relay_of(&calls, wanted.tcp), Ok);
                let logins = calls.iter().map(logins_of).collect::<Option<Vec<_>>>();
                let (Ok((server, transport)), Some(logins)) = (&named, logins) else {
                    door.close();
                    return Err(named.err().unwrap_or_else(|| {
                        Fault::Failed("the control API's answer has no credentials in it".into())
                    }));
                };
                Ok(Opening {
                    name: self.name,
                    server: *server,
                    transport: *transport,
                    logins: Logins::Calls(logins.into(), wanted.pairs_each),
                    door: Some(door),
                })
            }
        }
    }
}

/// Where the secrets of a credential are.
struct Secrets<'a> {
    username: Option<&'a str>,
    password_file: Option<&'a Path>,
    rest_secret_file: Option<&'a Path>,
    /// Before the names of the environment's variables.
    prefix: &'static str,
}

impl Secrets<'_> {
    fn login(&self) -> Result<Login, Fault> {
        if let Some(username) = self.username {
            let password = self.read(self.password_file, "PASSWORD")?.ok_or_else(|| {
                Fault::Usage(
                    "a username needs its password: --password-file or VIZARD_PASSWORD".into(),
                )
            })?;
            return Ok(Login {
                username: username.to_owned(),
                password,
            });
        }
        let secret = self
            .read(self.rest_secret_file, "REST_SECRET")?
            .ok_or_else(|| {
                Fault::Usage(
                    "a TURN server needs a credential: --username with --password-file, or \
                 --rest-secret-file"
                        .into(),
                )
            })?;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let expiry = now.unwrap_or_default() + REST_LIFETIME;
        Ok(rest_login(&secret, expiry.as_secs()))
    }

    fn read(&self, file: Option<&Path>, variable: &str) -> Result<Option<String>, Fault> {
        let Some(file) = file else {
            let value = std::env::var(format!("VIZARD_{}{variable}", self.prefix));
            return Ok(value.ok().filter(|value| !value.is_empty()));
        };
        let text = std::fs::read_to_string(file)
            .map_err(|error| Fault::Failed(format!("can't read {}: {error}", file.display())))?;
        Ok(Some(text.trim_end_matches(['\r', '\n']).to_owned()))
    }
}

/// Opens `wanted.calls` calls of two parties.
fn open_calls(arguments: &ApiArguments, wanted: &Wanted) -> Result<(Door, Vec<Value>), Fault> {
    let fault = |Failure { message, .. }| Fault::Failed(message);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Fault::Failed(format!("can't start a runtime: {error}")))?;
    let api = Arc::new(arguments.open().map_err(fault)?);
    let body = json!({"parties": [{"id": "a"}, {"id": "b"}], "caller": "a",
        "ttl": wanted.ttl.as_secs()});
    let opened = runtime.block_on(many(wanted.calls, |_| {
        let (api, body) = (Arc::clone(&api), body.clone());
        async move {
            api.send(api.request(Method::POST, "/v1/calls").json(&body))
                .await
        }
    }));
    let (calls, failure) = opened;
    let ids = calls.iter().filter_map(|call| call["id"].as_str());
    let door = Door {
        calls: ids.map(str::to_owned).collect(),
        runtime,
        api,
    };
    match failure {
        None => Ok((door, calls)),
        Some(failure) => {
            door.close();
            Err(fault(failure))
        }
    }
}

impl Door {
    /// Ends the calls, as far as the control API still answers.
    pub(super) fn close(self) {
        let Self {
            runtime,
            api,
            calls,
        } = self;
        let ended = many(calls.len(), |index| {
            let (api, path) = (Arc::clone(&api), call_path(&calls[index], ""));
            async move { api.send(api.request(Method::DELETE, &path)).await }
        });
        // What is left runs out by itself.
        drop(runtime.block_on(ended));
    }
}

/// So many requests, a few at a time, until one fails; what succeeded, and that failure.
async fn many<F>(count: usize, ask: impl Fn(usize) -> F) -> (Vec<Value>, Option<Failure>)
where
    F: Future<Output = Result<Value, Failure>> + Send + 'static,
{
    let mut answers = Vec::new();
    let mut failure = None;
    let mut asked = JoinSet::new();
    let mut next = 0;
    loop {
        while next < count && asked.len() < REQUESTS && failure.is_none() {
            asked.spawn(ask(next));
            next += 1;
        }
        match asked.join_next().await {
            None => return (answers, failure),
            Some(Ok(Ok(answer))) => answers.push(answer),
            Some(Ok(Err(fault))) => failure = Some(fault),
            Some(Err(fault)) => failure = Some(Failure::from(fault)),
        }
    }
}

/// The first URL of the calls for the wanted transport.
fn relay_of(calls: &[Value], tcp: bool) -> Result<(SocketAddr, Transport), Fault> {
    let ending = if tcp {
        "?transport=tcp"
    } else {
        "?transport=udp"
    };
    let servers = calls
        .iter()
        .flat_map(|call| ice_servers(&call["parties"]["a"]));
    let urls = servers.flat_map(|server| server["urls"].as_array().into_iter().flatten());
    let mut wanted = urls
        .filter_map(Value::as_str)
        .filter(|url| url.starts_with("turn:") && url.ends_with(ending));
    let url = wanted.next().ok_or_else(|| {
        Fault::Failed(format!(
            "the relay hands out no turn: URL with {ending}\n  help: name it with --relay beside \
             --api"
        ))
    })?;
    read_url(url)
}

fn ice_servers(party: &Value) -> impl Iterator<Item = &Value> {
    party["rtc_configuration"]["iceServers"]
        .as_array()
        .into_iter()
        .flatten()
}

/// The tickets of a call's two parties.
fn logins_of(call: &Value) -> Option<[Arc<Login>; 2]> {
    let login = |party: &str| {
        let mut servers = ice_servers(&call["parties"][party]);
        let server = servers.find(|server| server["username"].is_string())?;
        Some(Arc::new(Login {
            username: server["username"].as_str()?.to_owned(),
            password: server["credential"].as_str()?.to_owned(),
        }))
    };
    Some([login("a")?, login("b")?])
}
