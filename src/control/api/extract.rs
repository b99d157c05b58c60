//! What a request brings along: its key, its body, its names.

use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, RawPathParams, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use http_body_util::BodyExt;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};
use utoipa::ToSchema;
use vizard_proto::auth::ticket::CallId;

use super::Api;
use super::shape::Shapes;
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

/// The holder of a key that may administer the node.
pub(super) struct ForAdministration;

impl FromRequestParts<Api> for ForAdministration {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Problem> {
        authorize(&parts.headers, api, Scope::Admin).map(|_| Self)
    }
}

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

impl<T: DeserializeOwned + ToSchema> FromRequest<Api> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, api: &Api) -> Result<Self, Problem> {
        if !is_json(request.headers()) {
            let detail = "Send `Content-Type: application/json`.";
            return Err(Problem::new(Kind::UnsupportedMediaType, detail));
        }
        let bytes = read(request.into_body(), BODY_TIMEOUT).await?;
        Self::parse(&bytes, &api.shapes)
    }
}

impl<T: DeserializeOwned + ToSchema> Json<T> {
    fn parse(bytes: &[u8], shapes: &Shapes) -> Result<Self, Problem> {
        let said: serde_json::Value =
            serde_json::from_slice(bytes).map_err(|error| not_json(&error))?;
        let faults = shapes.faults(&T::name(), &said);
        if !faults.is_empty() {
            return Err(Problem::faults(faults));
        }
        // A field that is there twice has one place in `said`: this looks at the text itself.
        let mut json = serde_json::Deserializer::from_slice(bytes);
        let value = serde_path_to_error::deserialize(&mut json)
            .map_err(|error| not_taken(&error.path().to_string(), error.inner()))?;
        Ok(Self {
            value,
            hash: Sha256::digest(said.to_string()).into(),
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

fn not_json(error: &serde_json::Error) -> Problem {
    let message = error.to_string();
    let message = match message.split(" at line ").next().unwrap_or_default() {
        "recursion limit exceeded" => "nested too deeply",
        "expected ident" => "expected true, false or null",
        said if error.is_eof() => said.strip_prefix("EOF while parsing ").unwrap_or(said),
        said => said,
    };
    let (line, column) = (error.line(), error.column());
    let detail = if error.is_eof() {
        format!("Line {line}, column {column}: the body ends within {message}.")
    } else {
        format!("Line {line}, column {column}: {message}.")
    };
    Problem::new(Kind::InvalidJson, detail)
}

/// What is wrong with a body that has the right shape. Nothing is quoted from it but the name of a
/// field that the API knows.
fn not_taken(path: &str, error: &serde_json::Error) -> Problem {
    let message = error.to_string();
    let twice = message
        .strip_prefix("duplicate field `")
        .and_then(|rest| rest.split('`').next());
    match (path, twice) {
        (".", Some(field)) => Problem::fault(field, "is there twice"),
        (path, Some(field)) => Problem::fault(format!("{path}.{field}"), "is there twice"),
        (path, None) => Problem::fault(path, "can't be used"),
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
    use crate::control::api::request::{AnswerRequest, CallRequest};

    fn problem(body: &str) -> Problem {
        let shapes = Shapes::of(&crate::control::api::described().into_openapi());
        let parsed = Json::<CallRequest>::parse(body.as_bytes(), &shapes);
        parsed.map(|_| ()).expect_err(body)
    }

    fn faults(body: &str) -> Vec<(String, String)> {
        let faults = problem(body).errors.into_iter();
        faults.map(|fault| (fault.path, fault.detail)).collect()
    }

    #[test]
    fn an_unknown_field_is_named_with_its_path() {
        let party = r#"{"id":"a"}"#;
        let cases = [
            (
                format!(r#"{{"parties":[{party},{{"id":"b","devise":1}}]}}"#),
                "parties[1].devise",
            ),
            (
                format!(r#"{{"parties":[{party},{party}],"partys":[]}}"#),
                "partys",
            ),
            (
                format!(r#"{{"parties":[{party},{party}],"limits":{{"mbps":1}}}}"#),
                "limits.mbps",
            ),
        ];
        for (body, path) in cases {
            let faults = faults(&body);
            assert_eq!((faults.len(), faults[0].0.as_str()), (1, path));
            assert!(
                faults[0].1.starts_with("is not known here; there are `"),
                "{faults:?}"
            );
        }
    }

    #[test]
    fn a_wrong_type_is_named_in_the_words_of_json_and_not_quoted() {
        let wrong = r#"{"parties":[{"id":"a","callable_by":["everyone",{"x":1}]},[]],
            "ttl":"203.0.113.9, expected 10.0.0.1","limits":4.5}"#;
        let fault = |path: &str, detail: &str| (path.to_owned(), detail.to_owned());
        assert_eq!(
            faults(wrong),
            [
                fault("limits", "must be an object, not a number with a fraction"),
                fault(
                    "parties[0].callable_by[1]",
                    "must be a string, not an object"
                ),
                fault("parties[1]", "must be an object, not an array"),
                fault("ttl", "must be a whole number, not a string"),
            ]
        );
        assert_eq!(
            faults(r#"{"parties":{},"ttl":-1}"#),
            [
                fault("parties", "must be an array, not an object"),
                fault("ttl", "must be 30 to 86400")
            ]
        );
        assert_eq!(faults("{}"), [fault("parties", "is missing")]);
        assert_eq!(
            faults("[]"),
            [fault(".", "must be an object, not an array")]
        );
    }

    #[test]
    fn a_field_may_not_be_given_twice() {
        let twice = r#"{"parties":[{"id":"a","reveal_address_to":"nobody","reveal_address_to":"everybody"},{"id":"b"}]}"#;
        let fault = (
            "parties[0].reveal_address_to".into(),
            "is there twice".into(),
        );
        assert_eq!(faults(twice), [fault]);
        let twice = r#"{"parties":[{"id":"a"},{"id":"b"}],"ttl":30,"ttl":40}"#;
        assert_eq!(faults(twice), [("ttl".into(), "is there twice".into())]);
    }

    #[test]
    fn what_is_not_json_is_pointed_at() {
        for (body, detail) in [
            ("{\n\"parties\": ]", "Line 2, column 12: expected value."),
            (
                "{\"parties\":[]} x",
                "Line 1, column 16: trailing characters.",
            ),
            ("", "Line 1, column 0: the body ends within a value."),
            (
                "{\"parties\":[",
                "Line 1, column 12: the body ends within a list.",
            ),
            ("nul", "Line 1, column 3: the body ends within a value."),
            ("nulx", "Line 1, column 4: expected true, false or null."),
            (
                &"[".repeat(60_000),
                "Line 1, column 128: nested too deeply.",
            ),
        ] {
            assert_eq!(problem(body).detail, detail);
        }
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
        let shapes = Shapes::of(&crate::control::api::described().into_openapi());
        let hash = |text: &str| {
            let parsed = Json::<AnswerRequest>::parse(text.as_bytes(), &shapes);
            parsed.map(|body| body.hash).expect(text)
        };
        assert_eq!(
            hash(r#"{"party":"a","device":"b"}"#),
            hash(r#" { "device" : "b", "party" : "a" }"#)
        );
        assert_ne!(hash(r#"{"party":"a"}"#), hash(r#"{"party":"b"}"#));
    }
}
