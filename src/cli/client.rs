//! A client of the control API.

use clap::Args;
use reqwest::{Client, Method, RequestBuilder, Url};
use serde_json::Value;
use std::path::PathBuf;
use std::time::Duration;

use super::Failure;
use crate::state;

/// Longer than any answer takes; a node that is silent for so long is not well.
const PATIENCE: Duration = Duration::from_secs(30);

/// Which control API, and with which key.
#[derive(Debug, Args)]
pub(super) struct ApiArguments {
    /// The control API: http://HOST:PORT, HOST:PORT or unix:/path
    #[arg(
        long,
        global = true,
        env = "VIZARD_API",
        default_value = "http://127.0.0.1:8080"
    )]
    api: String,
    /// File that holds the API key; default: $VIZARD_API_KEY, else the state directory's `api.key`
    #[arg(long, global = true, env = "VIZARD_API_KEY_FILE")]
    api_key_file: Option<PathBuf>,
    /// Variable that holds the key where no file does.
    #[arg(skip = "VIZARD_API_KEY")]
    variable: &'static str,
}

/// An open door to a control API.
pub(super) struct Api {
    client: Client,
    /// As it was named.
    place: String,
    base: String,
    key: String,
}

impl ApiArguments {
    /// This API, with the key of this file.
    pub(super) fn new(api: &str, api_key_file: Option<PathBuf>) -> Self {
        Self {
            api: api.to_owned(),
            api_key_file,
            variable: "VIZARD_API_KEY",
        }
    }

    /// The same, with a key from another variable.
    pub(super) fn with_variable(self, variable: &'static str) -> Self {
        Self { variable, ..self }
    }

    pub(super) fn open(&self) -> Result<Api, Failure> {
        // A proxy from the environment must not see the key.
        let builder = Client::builder().no_proxy().timeout(PATIENCE);
        let (builder, base) = match self.api.strip_prefix("unix:") {
            Some(path) => (builder.unix_socket(path), "http://localhost".to_owned()),
            None if self.api.starts_with("http://") => {
                (builder, self.api.trim_end_matches('/').to_owned())
            }
            None if is_place(&self.api) => (builder, format!("http://{}", self.api)),
            None => {
                let takes = "--api takes http://HOST:PORT, HOST:PORT or unix:/path";
                return Err(Failure::from(takes));
            }
        };
        Ok(Api {
            client: builder.build()?,
            place: self.api.clone(),
            base,
            key: self.key()?,
        })
    }

    fn key(&self) -> Result<String, Failure> {
        if let Some(file) = &self.api_key_file {
            let text = std::fs::read_to_string(file).map_err(|error| {
                format!("can't read the API key from {}: {error}", file.display())
            })?;
            return Ok(first_word(&text));
        }
        match std::env::var(self.variable) {
            Ok(key) if !key.trim().is_empty() => Ok(first_word(&key)),
            _ => Ok(state::read_api_key(&state::locate()?)?),
        }
    }
}

/// Whether this is HOST:PORT.
fn is_place(text: &str) -> bool {
    let port = |port: &str| port.parse::<u16>().is_ok();
    text.rsplit_once(':')
        .is_some_and(|(host, number)| !host.is_empty() && !host.contains('/') && port(number))
}

/// The cause that an error goes back to, in the system's words.
fn root(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

/// The key of a line that may have scopes after it.
fn first_word(text: &str) -> String {
    text.split_whitespace()
        .next()
        .unwrap_or_default()
        .to_owned()
}

impl Api {
    pub(super) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client
            .request(method, format!("{}{path}", self.base))
            .bearer_auth(&self.key)
    }

    /// A GET with query parameters.
    pub(super) fn query(
        &self,
        path: &str,
        parameters: &[(&str, &str)],
    ) -> Result<RequestBuilder, Failure> {
        let url = Url::parse_with_params(&format!("{}{path}", self.base), parameters)?;
        Ok(self.client.get(url).bearer_auth(&self.key))
    }

    /// Sends the request; the answer's JSON, `null` if it has none.
    pub(super) async fn send(&self, request: RequestBuilder) -> Result<Value, Failure> {
        let response = request
            .send()
            .await
            .map_err(|error| self.unreachable(&error))?;
        let status = response.status();
        let body = response
            .bytes()
            .await
            .map_err(|error| self.unreachable(&error))?;
        if status.is_success() {
            return Ok(serde_json::from_slice(&body).unwrap_or_default());
        }
        let problem: Value = serde_json::from_slice(&body).unwrap_or_default();
        Err(describe(status.as_u16(), &problem).into())
    }

    fn unreachable(&self, error: &reqwest::Error) -> Failure {
        let what = if error.is_timeout() {
            "no answer in time"
        } else {
            "no vizard answers"
        };
        let place = &self.place;
        let cause = root(error);
        Failure::unreachable(format!(
            "{what} at {place}: {cause}\n  help: start one with `vizard serve`, or name another with \
             --api or VIZARD_API"
        ))
    }
}

/// A problem (RFC 9457) in words.
fn describe(status: u16, problem: &Value) -> String {
    let text = |name: &str| problem.get(name).and_then(Value::as_str);
    let mut shown = text("title").map_or_else(|| format!("HTTP status {status}"), str::to_owned);
    if let Some(detail) = text("detail") {
        shown = format!("{shown}: {detail}");
    }
    for reason in problem
        .get("why")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        let part = |name: &str| {
            reason
                .get(name)
                .and_then(Value::as_str)
                .unwrap_or("everybody")
        };
        shown = format!("{shown}\n  because of {}: {}", part("party"), part("rule"));
    }
    for fault in problem
        .get("errors")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        let part = |name: &str| fault.get(name).and_then(Value::as_str).unwrap_or_default();
        shown = format!("{shown}\n  {}: {}", part("path"), part("detail"));
    }
    if status == 401 {
        shown.push_str("\n  help: set VIZARD_API_KEY or --api-key-file to a key of this node");
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn problems_are_told_with_their_reasons() {
        let problem =
            json!({"title": "Call refused", "why": [{"party": "bob", "rule": "blocked"}]});
        assert_eq!(
            describe(403, &problem),
            "Call refused\n  because of bob: blocked"
        );
        assert_eq!(describe(502, &Value::Null), "HTTP status 502");
        assert!(describe(401, &json!({"title": "Unauthorized"})).contains("VIZARD_API_KEY"));
    }

    #[test]
    fn a_place_is_a_host_and_a_port() {
        for text in ["127.0.0.1:8080", "[::1]:8080", "relay.example:1"] {
            assert!(is_place(text), "{text}");
        }
        for text in ["https://relay.example:1", "relay.example", ":80", "a:99999"] {
            assert!(!is_place(text), "{text}");
        }
    }

    #[test]
    fn scopes_after_a_key_are_not_part_of_it() {
        assert_eq!(first_word("key calls read\n"), "key");
        assert_eq!(first_word("\n"), "");
    }
}
