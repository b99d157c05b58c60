//! Calls and decisions.

use std::str::FromStr;

use axum::extract::{FromRequestParts, Query, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use utoipa::IntoParams;
use vizard_proto::auth::ticket::CallId;

use super::extract::{ForCalls, ForReading, Id, Json, once};
use super::request::{AnswerRequest, CallRequest};
use super::view::{self, CallList, CallView, DecisionView};
use super::{Api, answers};
use crate::control::calls::{Call, Phase};
use crate::control::names;
use crate::control::problem::{Fault, Kind, Problem};

const DEFAULT_LIMIT: usize = 50;
const MAX_LIMIT: usize = 500;

/// May these parties call each other, and how?
///
/// The dry run of opening a call: same body, same decision, no effect. A refusal is an answer like
/// any other.
#[utoipa::path(
    post,
    path = "/v1/decisions",
    tag = "calls",
    request_body = CallRequest,
    responses(
        (status = 200, description = "What would be decided", body = DecisionView),
        answers::BadRequest, answers::Denied, answers::Unavailable,
    ),
)]
pub(super) async fn decide(
    _: ForReading,
    State(api): State<Api>,
    body: Json<CallRequest>,
) -> Result<axum::Json<DecisionView>, Problem> {
    let wanted = body.value.wanted()?;
    let decided = api.switchboard.decide(&wanted)?;
    Ok(axum::Json(view::decision(&wanted, &decided)))
}

/// Opens a call and returns what each party needs for `new RTCPeerConnection()`.
#[utoipa::path(
    post,
    path = "/v1/calls",
    tag = "calls",
    params(("Idempotency-Key" = Option<String>, Header,
        description = "Sent twice within 24 hours with the same body, it opens one call.")),
    request_body = CallRequest,
    responses(
        (status = 201, description = "The call, with its tickets", body = CallView,
            headers(("Location" = String, description = "Where the call can be read"))),
        (status = 410, description = "The call of this Idempotency-Key is over and forgotten",
            body = Problem, content_type = "application/problem+json"),
        answers::BadRequest, answers::Denied, answers::Unavailable,
    ),
)]
pub(super) async fn open(
    ForCalls(holder): ForCalls,
    State(api): State<Api>,
    headers: HeaderMap,
    body: Json<CallRequest>,
) -> Result<Response, Problem> {
    let wanted = body.value.wanted()?;
    let once = once(&headers, &holder, "/v1/calls", body.hash)?;
    let call = api
        .work(move |switchboard| switchboard.open(wanted, once))
        .await?;
    let view = api.hand_out(|renderer| renderer.opened(&call))?;
    let location = [(header::LOCATION, format!("/v1/calls/{}", view.id))];
    Ok((StatusCode::CREATED, location, axum::Json(view)).into_response())
}

/// Which calls a list shows.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Filter {
    /// Only calls in this phase: `ringing`, `answered` or `ended`.
    #[param(example = "ringing")]
    phase: Option<String>,
    /// The page to show: `next_cursor` of the one before.
    cursor: Option<String>,
    /// Most calls on the page: 1 to 500, 50 if absent.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<usize>,
}

impl FromRequestParts<Api> for Filter {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Api) -> Result<Self, Problem> {
        let query = Query::try_from_uri(&parts.uri);
        query.map(|Query(filter)| filter).map_err(|_| {
            Problem::fault(
                "query",
                "takes `phase`, `cursor` and `limit` (a number), each once",
            )
        })
    }
}

impl Filter {
    fn check(&self) -> Result<(Option<Phase>, Option<CallId>, usize), Problem> {
        let mut errors = Vec::new();
        let mut wrong = |path: &str, detail: &str| {
            errors.push(Fault {
                path: path.into(),
                detail: detail.into(),
            });
        };
        let phase = self.phase.as_deref().map(Phase::from_str);
        if phase.is_some_and(|phase| phase.is_err()) {
            wrong("phase", "must be ringing, answered or ended");
        }
        let cursor = self.cursor.as_deref().map(names::read);
        if cursor == Some(None) {
            wrong("cursor", "must be the next_cursor of another page");
        }
        let limit = self.limit.unwrap_or(DEFAULT_LIMIT);
        if !(1..=MAX_LIMIT).contains(&limit) {
            wrong("limit", "must be 1 to 500");
        }
        if errors.is_empty() {
            return Ok((phase.and_then(Result::ok), cursor.flatten(), limit));
        }
        Err(Problem {
            errors,
            ..Problem::new(Kind::InvalidRequest, "")
        })
    }
}

/// Lists calls, the oldest first. Calls are forgotten ten minutes after their tickets expire.
#[utoipa::path(
    get,
    path = "/v1/calls",
    tag = "calls",
    params(Filter),
    responses(
        (status = 200, description = "A page of calls", body = CallList),
        answers::BadRequest, answers::Denied, answers::Unavailable,
    ),
)]
pub(super) async fn list(
    _: ForReading,
    State(api): State<Api>,
    filter: Filter,
) -> Result<axum::Json<CallList>, Problem> {
    let (phase, after, limit) = filter.check()?;
    let page = api
        .work(move |switchboard| switchboard.list(phase, after, limit))
        .await?;
    let last = page.calls.last().filter(|_| page.more);
    let next_cursor = last.map(|call| names::written(call.id).to_string());
    let shown = |call: &Call| api.render(|renderer| renderer.shown(call));
    Ok(axum::Json(CallList {
        calls: page.calls.iter().map(shown).collect(),
        next_cursor,
    }))
}

/// Shows a call: phase, route, why, what happened, what was sent, who could have learned what.
#[utoipa::path(
    get,
    path = "/v1/calls/{id}",
    tag = "calls",
    params(("id" = String, Path, description = "The call's id")),
    responses(
        (status = 200, description = "The call", body = CallView),
        answers::Denied, answers::NoSuchCall, answers::Unavailable,
    ),
)]
pub(super) async fn show(
    _: ForReading,
    State(api): State<Api>,
    Id(id): Id,
) -> Result<axum::Json<CallView>, Problem> {
    let call = api.work(move |switchboard| switchboard.find(id)).await?;
    Ok(axum::Json(api.render(|renderer| renderer.shown(&call))))
}

/// A party answers: the tickets of its other devices die. If the call becomes direct by it, the
/// answer holds new configurations for everybody.
#[utoipa::path(
    post,
    path = "/v1/calls/{id}/answer",
    tag = "calls",
    params(
        ("id" = String, Path, description = "The call's id"),
        ("Idempotency-Key" = Option<String>, Header,
            description = "The same device may answer twice even without."),
    ),
    request_body = AnswerRequest,
    responses(
        (status = 200, description = "The answered call", body = CallView),
        (status = 409, description = "Another device has answered, or the call has ended",
            body = Problem, content_type = "application/problem+json"),
        answers::BadRequest, answers::Denied, answers::NoSuchCall, answers::Unavailable,
    ),
)]
pub(super) async fn answer(
    ForCalls(holder): ForCalls,
    State(api): State<Api>,
    Id(id): Id,
    headers: HeaderMap,
    body: Json<AnswerRequest>,
) -> Result<axum::Json<CallView>, Problem> {
    let path = format!("/v1/calls/{}/answer", names::written(id));
    let once = once(&headers, &holder, &path, body.hash)?;
    let (party, device) = body.value.names();
    let answering =
        api.work(move |switchboard| switchboard.answer(id, &party, device.as_deref(), once));
    let call = answering.await?;
    Ok(axum::Json(api.render(|renderer| renderer.answered(&call))))
}

/// Ends a call: its media stops within a second and its tickets are dead for good. Ending it again
/// changes nothing.
#[utoipa::path(
    delete,
    path = "/v1/calls/{id}",
    tag = "calls",
    params(("id" = String, Path, description = "The call's id")),
    responses(
        (status = 200, description = "The call as it ended", body = CallView),
        answers::Denied, answers::NoSuchCall, answers::Unavailable,
    ),
)]
pub(super) async fn end(
    _: ForCalls,
    State(api): State<Api>,
    Id(id): Id,
) -> Result<axum::Json<CallView>, Problem> {
    let call = api.work(move |switchboard| switchboard.end(id)).await?;
    Ok(axum::Json(api.render(|renderer| renderer.shown(&call))))
}
