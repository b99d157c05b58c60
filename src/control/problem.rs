//! What went wrong, as `application/problem+json` (RFC 9457) with types that stay the same.

use serde::Serialize;
use utoipa::ToSchema;
use utoipa::openapi::schema::{Object, ObjectBuilder, Type};

/// A problem's path into the request and what is wrong there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Fault {
    /// Where in the request, such as `parties[1].id`, or the name of a query parameter or header.
    #[schema(example = "parties[1].id")]
    pub path: String,
    /// What is wrong, and what would be right.
    pub detail: String,
}

/// A rule of the policy, and the party that it concerns.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Because {
    /// The party's id; absent where the rule is about the call.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "bob")]
    pub party: Option<String>,
    /// The rule's name.
    #[schema(example = "default-reveal-nobody")]
    pub rule: super::policy::Rule,
}

/// A problem (RFC 9457). Nothing in it is an address or a credential.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Problem {
    /// Which problem: a path that stays the same.
    #[serde(rename = "type", serialize_with = "path")]
    #[schema(schema_with = types)]
    pub kind: Kind,
    /// The problem in a few words.
    #[schema(value_type = String)]
    pub title: &'static str,
    /// The HTTP status.
    pub status: u16,
    /// What happened here, and what can be done.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// Which parts of the request are wrong.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<Fault>,
    /// Why a call was refused: for the platform.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub why: Vec<Because>,
    /// All that the caller may be told of a refusal.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, value_type = Option<String>)]
    pub public_reason: Option<&'static str>,
}

impl Problem {
    /// A problem, with what happened.
    pub fn new(kind: Kind, detail: impl Into<String>) -> Self {
        let (status, title) = (kind.status(), kind.title());
        let detail = detail.into();
        Self {
            kind,
            title,
            status,
            detail,
            errors: Vec::new(),
            why: Vec::new(),
            public_reason: None,
        }
    }

    /// A request with several things wrong.
    pub fn faults(errors: Vec<Fault>) -> Self {
        Self {
            errors,
            ..Self::new(Kind::InvalidRequest, "")
        }
    }

    /// A request with something wrong at `path`.
    pub fn fault(path: impl Into<String>, detail: impl Into<String>) -> Self {
        let (path, detail) = (path.into(), detail.into());
        Self::faults(vec![Fault { path, detail }])
    }
}

fn types() -> Object {
    let types = Kind::ALL
        .iter()
        .map(|kind| format!("/problems/{}", kind.as_str()));
    ObjectBuilder::new()
        .schema_type(Type::String)
        .enum_values(Some(types))
        .build()
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn path<S: serde::Serializer>(kind: &Kind, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(&format_args!("/problems/{}", kind.as_str()))
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident = $status:literal $slug:literal $title:literal,)*) => {
        /// All problems.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Kind { $($(#[$doc])* $kind,)* }

        impl Kind {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$kind,)*];

            /// The last part of its type.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$kind => $slug,)* }
            }

            /// Its HTTP status.
            pub const fn status(self) -> u16 {
                match self { $(Self::$kind => $status,)* }
            }

            /// It in a few words.
            pub const fn title(self) -> &'static str {
                match self { $(Self::$kind => $title,)* }
            }
        }
    };
}

kinds! {
    /// Not JSON, or cut off.
    InvalidJson = 400 "invalid-json" "The body is not JSON",
    /// What came is not HTTP.
    BadRequest = 400 "bad-request" "This is no HTTP request",
    /// The `Host` header is missing, there twice, or names no host.
    InvalidHost = 400 "invalid-host" "The Host header can't be used",
    /// The `Idempotency-Key` is empty, too long, or no text.
    InvalidIdempotencyKey = 400 "invalid-idempotency-key" "The Idempotency-Key can't be used",
    /// No key, or one that is not known.
    Unauthorized = 401 "unauthorized" "A valid API key is needed",
    /// The key's scopes do not include what this needs.
    MissingScope = 403 "missing-scope" "The API key is not good for this",
    /// The policy refuses the call.
    CallRefused = 403 "call-refused" "The policy refuses this call",
    /// There is nothing at this path.
    NotFound = 404 "not-found" "There is nothing here",
    /// No call has this id.
    CallNotFound = 404 "call-not-found" "There is no such call",
    /// The path has other methods.
    MethodNotAllowed = 405 "method-not-allowed" "This path does not have this method",
    /// The body came too slowly.
    Timeout = 408 "timeout" "The request took too long to arrive",
    /// Another device of the party was faster.
    AnsweredElsewhere = 409 "answered-elsewhere" "Another device has answered",
    /// The call is over.
    CallEnded = 409 "call-ended" "The call has ended",
    /// The call of a repeated request has been forgotten.
    CallForgotten = 410 "call-forgotten" "The call of this request is over and forgotten",
    /// The body is too large.
    BodyTooLarge = 413 "body-too-large" "The body is too large",
    /// The request's target is too long.
    UriTooLong = 414 "uri-too-long" "The URL is too long",
    /// The body is not declared to be JSON.
    UnsupportedMediaType = 415 "unsupported-media-type" "The body must be application/json",
    /// The `Host` header names another machine.
    Misdirected = 421 "misdirected-request" "This node does not go by that name",
    /// The JSON is not what this takes.
    InvalidRequest = 422 "invalid-request" "The request can't be understood",
    /// The request names a static party.
    StaticPartyUnavailable = 422 "static-party-unavailable" "Static parties are not available",
    /// The key was used for another request.
    IdempotencyKeyReused = 422 "idempotency-key-reused" "The Idempotency-Key was used before",
    /// The headers are too many or too long.
    HeadTooLarge = 431 "header-fields-too-large" "The headers are too large",
    /// Our mistake.
    Internal = 500 "internal" "Something went wrong inside",
    /// The relay can't take the call, and it is never made without.
    CannotMask = 503 "cannot-mask" "The relay can't take this call",
    /// The store can't be written, so nothing is promised.
    StoreUnavailable = 503 "store-unavailable" "The store is unavailable",
    /// More requests than can be worked on.
    Overloaded = 503 "overloaded" "Too many requests at once",
    /// The node should get no new calls.
    NotReady = 503 "not-ready" "The node takes no calls",
}
