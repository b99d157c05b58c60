//! `vizard call`: the control API from a shell.

use clap::builder::FalseyValueParser;
use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Map, Value, json};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use super::Failure;
use super::client::{Api, ApiArguments};
use crate::config::Period;

mod show;

/// Open, look at, answer, renew and end calls
#[derive(Debug, Args)]
pub(super) struct Call {
    #[command(flatten)]
    api: ApiArguments,
    /// Print the API's JSON
    #[arg(long, global = true, env = "VIZARD_JSON", value_parser = FalseyValueParser::new())]
    json: bool,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Open a call and print what each party passes to `new RTCPeerConnection()`
    Create(Create),
    /// Show one call: phase, route, why, usage, what happened, who could have learned what
    Show {
        /// The call's id
        id: String,
    },
    /// List calls
    List {
        /// Only calls in this phase: ringing, answered, ended
        #[arg(long, env = "VIZARD_PHASE")]
        phase: Option<String>,
    },
    /// A party answers
    Answer {
        /// The call's id
        id: String,
        /// The party that answers
        #[arg(long, env = "VIZARD_PARTY")]
        party: String,
        /// Which of its devices
        #[arg(long, env = "VIZARD_DEVICE")]
        device: Option<String>,
    },
    /// Have a call go on for longer, and print fresh tickets
    Renew {
        /// The call's id
        id: String,
        /// How much longer from now on, such as 2h; default: policy.ticket_ttl
        #[arg(long, env = "VIZARD_TTL")]
        ttl: Option<Period>,
    },
    /// End a call: its media stops, its tickets are dead
    End {
        /// The call's id
        id: String,
    },
}

#[derive(Debug, Args)]
struct Create {
    /// A party's id; once per party, 2 to 16
    #[arg(long, env = "VIZARD_PARTY", value_delimiter = ',')]
    party: Vec<String>,
    /// Who calls: one of the parties
    #[arg(long, env = "VIZARD_CALLER")]
    caller: Option<String>,
    /// How long the tickets live, such as 2h
    #[arg(long, env = "VIZARD_TTL")]
    ttl: Option<Period>,
    /// Kilobits per second that each party may send
    #[arg(long, env = "VIZARD_KBPS")]
    kbps: Option<u32>,
    /// File with the whole request body as JSON, `-` for standard input; flags go over it
    #[arg(long, env = "VIZARD_FILE")]
    file: Option<PathBuf>,
    /// Only ask what would be decided
    #[arg(long, env = "VIZARD_DRY_RUN", value_parser = FalseyValueParser::new())]
    dry_run: bool,
    /// Name of this request: sent twice, it opens one call
    #[arg(long, env = "VIZARD_IDEMPOTENCY_KEY")]
    idempotency_key: Option<String>,
}

impl Call {
    pub(super) fn run(self) -> Result<(), Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let api = self.api.open()?;
        let answer = runtime.block_on(self.action.ask(&api))?;
        if self.json {
            super::say(&format!("{}\n", serde_json::to_string_pretty(&answer)?))
        } else {
            super::say(&self.action.describe(&answer))
        }
    }
}

impl Action {
    async fn ask(&self, api: &Api) -> Result<Value, Failure> {
        match self {
            Self::Create(create) => create.ask(api).await,
            Self::Show { id } => api.send(api.request(Method::GET, &call_path(id, ""))).await,
            Self::List { phase } => list(api, phase.as_deref()).await,
            Self::Answer { id, party, device } => {
                let mut body = json!({ "party": party });
                if let Some(device) = device {
                    body["device"] = json!(device);
                }
                let request = api.request(Method::POST, &call_path(id, "/answer"));
                api.send(request.json(&body)).await
            }
            Self::Renew { id, ttl } => {
                let body = match ttl {
                    Some(ttl) => json!({ "ttl": ttl.0.as_secs() }),
                    None => json!({}),
                };
                let request = api.request(Method::POST, &call_path(id, "/renew"));
                api.send(request.json(&body)).await
            }
            Self::End { id } => {
                api.send(api.request(Method::DELETE, &call_path(id, "")))
                    .await
            }
        }
    }

    fn describe(&self, answer: &Value) -> String {
        match self {
            Self::Create(create) if create.dry_run => show::decision(answer),
            Self::Create(_) | Self::Show { .. } | Self::Answer { .. } | Self::Renew { .. } => {
                show::call(answer)
            }
            Self::List { .. } => show::list(answer),
            Self::End { id } => format!("call {id} has ended\n"),
        }
    }
}

impl Create {
    async fn ask(&self, api: &Api) -> Result<Value, Failure> {
        let path = if self.dry_run {
            "/v1/decisions"
        } else {
            "/v1/calls"
        };
        let mut request = api.request(Method::POST, path).json(&self.body()?);
        if let Some(key) = &self.idempotency_key {
            request = request.header("Idempotency-Key", key);
        }
        api.send(request).await
    }

    fn body(&self) -> Result<Value, Failure> {
        let mut body = match &self.file {
            Some(file) => read_body(file)?,
            None if self.party.is_empty() => {
                return Err(Failure::from(
                    "name the parties with --party, or a body with --file",
                ));
            }
            None => Map::new(),
        };
        if !self.party.is_empty() {
            let parties: Vec<Value> = self.party.iter().map(|id| json!({ "id": id })).collect();
            body.insert("parties".into(), json!(parties));
        }
        if let Some(caller) = &self.caller {
            body.insert("caller".into(), json!(caller));
        }
        if let Some(ttl) = self.ttl {
            body.insert("ttl".into(), json!(ttl.0.as_secs()));
        }
        if let Some(kbps) = self.kbps {
            body.insert("limits".into(), json!({ "kbps": kbps }));
        }
        Ok(Value::Object(body))
    }
}

fn read_body(file: &Path) -> Result<Map<String, Value>, Failure> {
    let text = if file == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map(|_| text)
    } else {
        std::fs::read_to_string(file)
    };
    let text = text.map_err(|error| format!("can't read {}: {error}", file.display()))?;
    let body = serde_json::from_str(&text)
        .map_err(|error| format!("{} is not a JSON object: {error}", file.display()))?;
    Ok(body)
}

/// All pages as one.
async fn list(api: &Api, phase: Option<&str>) -> Result<Value, Failure> {
    let mut calls = Vec::new();
    let mut cursor: Option<String> = None;
    loop {
        let phase = phase.map(|phase| ("phase", phase));
        let page = cursor.as_deref().map(|cursor| ("cursor", cursor));
        let parameters: Vec<_> = [phase, page].into_iter().flatten().collect();
        let request = api.query("/v1/calls", &parameters)?;
        let mut answer = api.send(request).await?;
        if let Some(Value::Array(page)) = answer.get_mut("calls").map(Value::take) {
            calls.extend(page);
        }
        match answer.get("next_cursor").and_then(Value::as_str) {
            Some(next) => cursor = Some(next.to_owned()),
            None => return Ok(json!({ "calls": calls })),
        }
    }
}

/// The path of a call. An id is made of letters, digits and dashes; anything else is left out, so
/// that no argument can become another path.
pub(super) fn call_path(id: &str, rest: &str) -> String {
    let id: String = id
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || *c == '-')
        .collect();
    format!("/v1/calls/{id}{rest}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_go_over_the_file() {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let file = folder.path().join("body.json");
        std::fs::write(&file, r#"{"parties":[{"id":"x"},{"id":"y"}],"ttl":60}"#).expect("written");
        let create = Create {
            party: Vec::new(),
            caller: Some("x".into()),
            ttl: Some(Period::from_secs(120)),
            kbps: None,
            file: Some(file),
            dry_run: false,
            idempotency_key: None,
        };
        let body = create.body().expect("a body");
        let expected = json!({"parties":[{"id":"x"},{"id":"y"}],"ttl":120,"caller":"x"});
        assert_eq!(body, expected);
    }

    #[test]
    fn an_id_is_no_path() {
        assert_eq!(
            call_path("0192-ab/../../metrics?x", "/answer"),
            "/v1/calls/0192-abmetricsx/answer"
        );
    }
}
