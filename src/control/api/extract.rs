//! What a request brings along: its key, its body, its names.

use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, RawPathParams, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use http_body_util::BodyExt;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};
use vizard_proto::auth::ticket::CallId;

use super::Api;
use crate::control::keys::{Holder, Scope};
use crate::control::names;
use crate::control::problem::{Kind, Problem};
use crate::control::store::RequestKey;
use crate::control::switchboard::Once;

/// Largest body, in bytes.
pub const BODY_LIMIT: usize = 64 << 10;
/// How long a body may take.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest `Idempotency-Key`, in characters.
const KEY_LIMIT: usize = 255;

/// The holder of a key that may change calls.
pub(super) struct ForCalls(pub(super) Holder);

/// The holder of a key that may read.
pub(super) struct ForReading;

impl FromRequestParts<Api> for ForCalls {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Problem> {
        authorize(&parts.headers, api, Scope::Calls).map(Self)
    }
}

impl FromRequestParts<Api> for ForReading {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Problem> {
        authorize(&parts.headers, api, Scope::Read).map(|_| Self)
    }
}

fn authorize(headers: &HeaderMap, api: &Api, scope: Scope) -> Result<Holder, Problem> {
    let holder = bearer(headers).and_then(|key| api.switchboard.live().api_keys.holder(key));
    let Some(holder) = holder else {
        let detail = "Send `Authorization: Bearer KEY` with a key from control.api_keys_file.";
        return Err(Problem::new(Kind::Unauthorized, detail));
    };
    if !holder.scopes.allow(scope) {
        let detail = format!("This needs a key with the scope `{}`.", scope.as_str());
        return Err(Problem::new(Kind::MissingScope, detail));
    }
    Ok(holder)
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, key) = headers
        .get(header::AUTHORIZATION)?
        .to_str()
        .ok()?
        .split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
}

/// The call named in the path.
pub(super) struct Id(pub(super) CallId);

impl FromRequestParts<Api> for Id {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Problem> {
        let path = RawPathParams::from_request_parts(parts, api).await;
        let id = path.ok().and_then(|path| {
            let id = path.iter().find(|(name, _)| *name == "id");
            id.and_then(|(_, id)| names::read(id))
        });
        id.map(Self)
            .ok_or_else(|| Problem::new(Kind::CallNotFound, "No call has an id like this."))
    }
}

/// A JSON body.
pub(super) struct Json<T> {
    /// What it says.
    pub(super) value: T,
    /// Hash of what it says: neither white space nor the order of fields changes it.
    pub(super) hash: [u8; 32],
}

impl<T: DeserializeOwned> FromRequest<Api> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &Api) -> Result<Self, Problem> {
        if !is_json(request.headers()) {
            let detail = "Send `Content-Type: application/json`.";
            return Err(Problem::new(Kind::UnsupportedMediaType, detail));
        }
        let bytes = read(request.into_body(), BODY_TIMEOUT).await?;
        Ok(Self {
            value: parse(&bytes)?,
            hash: hash(&bytes)?,
        })
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers
        .get(header::CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok());
    let kind = kind
        .and_then(|kind| kind.split(';').next())
        .unwrap_or_default()
        .trim();
    kind.eq_ignore_ascii_case("application/json")
}

async fn read(body: Body, limit: Duration) -> Result<Vec<u8>, Problem> {
    let late = |_| Problem::new(Kind::Timeout, "Send the body faster.");
    tokio::time::timeout(limit, read_all(body))
        .await
        .map_err(late)?
}

async fn read_all(mut body: Body) -> Result<Vec<u8>, Problem> {
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            return Err(Problem::new(Kind::InvalidJson, "The body was cut off."));
        };
        let Ok(data) = frame.into_data() else {
            continue;
        };
        if bytes.len() + data.len() > BODY_LIMIT {
            let detail = format!("At most {BODY_LIMIT} bytes are read.");
            return Err(Problem::new(Kind::BodyTooLarge, detail));
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes)
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().to_string();
        explain(&path, error.inner())
    })?;
    json.end().map_err(|error| explain("", &error))?;
    Ok(value)
}

fn hash(bytes: &[u8]) -> Result<[u8; 32], Problem> {
    let value: serde_json::Value =
        serde_json::from_slice(bytes).map_err(|error| explain("", &error))?;
    Ok(Sha256::digest(value.to_string()).into())
}

/// What is wrong with a body, without quoting from it: it may hold anything.
fn explain(path: &str, error: &serde_json::Error) -> Problem {
    let message = error.to_string();
    let message = message.split(" at line ").next().unwrap_or_default();
    if !error.is_data() {
        let (line, column) = (error.line(), error.column());
        let detail = format!("Line {line}, column {column}: {message}.");
        return Problem::new(Kind::InvalidJson, detail);
    }
    let field = message
        .strip_prefix("unknown field `")
        .and_then(|rest| rest.split('`').next());
    let path = match (path, field) {
        (".", Some(field)) => field.to_owned(),
        (path, Some(field)) if !path.ends_with(field) => format!("{path}.{field}"),
        (path, _) => path.to_owned(),
    };
    Problem::fault(path, unquoted(message))
}

/// `invalid type: string "...", expected u32` without what is quoted.
fn unquoted(message: &str) -> String {
    let Some((what, rest)) = message.split_once(": ") else {
        return message.to_owned();
    };
    let expected = rest
        .rsplit_once(", expected ")
        .map_or("something else", |(_, expected)| expected);
    match what {
        "invalid type" | "invalid value" | "invalid length" => {
            let kind = rest.split([' ', ',']).next().unwrap_or_default();
            format!("{what}: {kind}, expected {expected}")
        }
        _ => message.to_owned(),
    }
}

/// The request's `Idempotency-Key` together with who sent it, where and with which body.
pub(super) fn once(
    headers: &HeaderMap,
    holder: &Holder,
    path: &str,
    body: [u8; 32],
) -> Result<Option<Once>, Problem> {
    let Some(key) = headers.get("idempotency-key") else {
        return Ok(None);
    };
    let usable = (1..=KEY_LIMIT).contains(&key.len())
        && key
            .as_bytes()
            .iter()
            .all(|byte| byte.is_ascii_graphic() || *byte == b' ');
    if !usable {
        let detail = format!("It must be 1 to {KEY_LIMIT} visible ASCII characters.");
        return Err(Problem::new(Kind::InvalidIdempotencyKey, detail));
    }
    let mut hash = Sha256::new();
    for part in [&holder.id[..], path.as_bytes(), key.as_bytes()] {
        hash.update(part.len().to_be_bytes());
        hash.update(part);
    }
    Ok(Some(Once {
        key: RequestKey(hash.finalize().into()),
        body,
    }))
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use super::*;
    use crate::control::api::request::CallRequest;

    fn faults(body: &str) -> (String, Vec<(String, String)>) {
        let problem = parse::<CallRequest>(body.as_bytes()).unwrap_err();
        let faults = problem.errors.into_iter();
        (
            problem.detail,
            faults.map(|fault| (fault.path, fault.detail)).collect(),
        )
    }

    fn fault(body: &str) -> (String, String) {
        faults(body).1.remove(0)
    }

    #[test]
    fn an_unknown_field_is_named_with_its_path() {
        let (path, detail) = fault(r#"{"parties":[{"id":"a"},{"id":"b","reveal":1}]}"#);
        assert_eq!(path, "parties[1].reveal");
        assert!(
            detail.starts_with("unknown field `reveal`, expected one of"),
            "{detail}"
        );
        assert_eq!(fault(r#"{"partys":[]}"#).0, "partys");
        assert_eq!(
            fault(r#"{"parties":[],"limits":{"mbps":1}}"#).0,
            "limits.mbps"
        );
    }

    #[test]
    fn a_wrong_type_is_named_and_not_quoted() {
        let wrong = r#"{"parties":[{"id":"a","callable_by":["everyone",{"x":1}]}]}"#;
        assert_eq!(
            fault(wrong),
            (
                "parties[0].callable_by[1]".into(),
                "invalid type: map, expected a string".into()
            )
        );
        let (path, detail) = fault(r#"{"parties":[],"ttl":"203.0.113.9, expected 10.0.0.1"}"#);
        assert_eq!(
            (path.as_str(), detail.as_str()),
            ("ttl", "invalid type: string, expected u32")
        );
        let (_, detail) = fault(r#"{"parties":[],"ttl":-1}"#);
        assert_eq!(detail, "invalid value: integer, expected u32");
    }

    #[test]
    fn a_field_may_not_be_given_twice() {
        let twice = r#"{"parties":[{"id":"a","reveal_address_to":"nobody","reveal_address_to":"everybody"}]}"#;
        assert_eq!(fault(twice).1, "duplicate field `reveal_address_to`");
    }

    #[test]
    fn what_is_not_json_is_pointed_at() {
        let (detail, faults) = faults("{\n\"parties\": ]");
        assert_eq!(
            (detail.as_str(), faults.len()),
            ("Line 2, column 12: expected value.", 0)
        );
        assert!(parse::<CallRequest>(br#"{"parties":[]} x"#).is_err());
        assert!(parse::<CallRequest>(b"").is_err());
    }

    /// A body of which nothing ever comes.
    struct Never;

    impl hyper::body::Body for Never {
        type Data = hyper::body::Bytes;
        type Error = std::convert::Infallible;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<hyper::body::Frame<Self::Data>, Self::Error>>> {
            Poll::Pending
        }
    }

    #[tokio::test]
    async fn a_body_is_not_waited_for_for_ever() {
        let problem = read(Body::new(Never), Duration::ZERO).await.unwrap_err();
        assert_eq!(problem.kind, Kind::Timeout);
    }

    #[test]
    fn the_hash_is_of_what_is_said() {
        let hash = |text: &str| super::hash(text.as_bytes()).unwrap();
        assert_eq!(
            hash(r#"{"a":1,"b":[2]}"#),
            hash(r#" { "b" : [ 2 ], "a" : 1 }"#)
        );
        assert_ne!(hash(r#"{"a":1,"b":[2]}"#), hash(r#"{"a":1,"b":[3]}"#));
    }
}
