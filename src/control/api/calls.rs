//! Calls and decisions.

use std::str::FromStr;
use std::sync::Arc;

use axum::extract::{FromRequestParts, Query, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use utoipa::IntoParams;

use super::extract::{ForCalls, ForReading, Id, Json, once};
use super::opened::OpenedCall;
use super::request::{AnswerRequest, CallRequest, RenewRequest};
use super::view::{self, Apply, CallList, CallView, DecisionView};
use super::{Api, answers};
use crate::control::calls::{Call, Phase};
use crate::control::names;
use crate::control::problem::{Fault, Kind, Problem};
use crate::control::switchboard::{Cursor, Handed};

const DEFAULT_LIMIT: usize = 50;
const MAX_LIMIT: usize = 500;
/// A page gets no longer than that, unless it holds a single call.
const PAGE_BYTES: usize = 1 << 20;

/// May these parties call each other, and how?
///
/// The dry run of opening a call: same body, same decision, no effect. A refusal is an answer like
/// any other.
#[utoipa::path(
    post,
    operation_id = "decideCall",
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
    operation_id = "createCall",
    path = "/v1/calls",
    tag = "calls",
    params(("Idempotency-Key" = Option<String>, Header,
        description = "Sent twice within 24 hours with the same body, it opens one call; the \
            second answer is the call as it is by then.")),
    request_body = CallRequest,
    responses(
        (status = 201, description = "The call, with its tickets", body = OpenedCall,
            headers(("Location" = String, description = "Where the call can be read"))),
        (status = 200, description = "The call of this Idempotency-Key has ended in the meantime",
            body = CallView,
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
    let handed = api
        .change(move |switchboard| switchboard.open(wanted, once))
        .await?;
    let view = view::handed(&api.node, &handed, None);
    let location = [(header::LOCATION, format!("/v1/calls/{}", view.id))];
    let Handed { call, tickets } = handed;
    if tickets.is_none() {
        return Ok((StatusCode::OK, location, axum::Json(view)).into_response());
    }
    let living_device = |id: &str| {
        let index = call.party(id)?;
        let device = *call.living_devices(index).first()?;
        call.parties[index].devices.get(device).cloned()
    };
    // Whoever has tickets has one for every party.
    let opened = OpenedCall::of(view, living_device)
        .ok_or_else(|| Problem::new(Kind::Internal, "A party was left without a ticket."))?;
    Ok((StatusCode::CREATED, location, axum::Json(opened)).into_response())
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
    fn check(&self) -> Result<(Option<Phase>, Option<Cursor>, usize), Problem> {
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
        let phase = phase.and_then(Result::ok);
        let cursor = self.cursor.as_deref().map(|text| read_cursor(text, phase));
        if cursor == Some(None) {
            wrong(
                "cursor",
                "must be the next_cursor of another page of the same phase",
            );
        }
        let limit = self.limit.unwrap_or(DEFAULT_LIMIT);
        if !(1..=MAX_LIMIT).contains(&limit) {
            wrong("limit", "must be 1 to 500");
        }
        if errors.is_empty() {
            return Ok((phase, cursor.flatten(), limit));
        }
        Err(Problem {
            errors,
            ..Problem::new(Kind::InvalidRequest, "")
        })
    }
}

fn write_cursor(cursor: Cursor) -> String {
    match cursor {
        Cursor::Name(id) => names::written(id).to_string(),
        Cursor::End(at, id) => format!("{at}.{}", names::written(id)),
    }
}

fn read_cursor(text: &str, phase: Option<Phase>) -> Option<Cursor> {
    if phase != Some(Phase::Ended) {
        return names::read(text).map(Cursor::Name);
    }
    let (at, id) = text.split_once('.')?;
    Some(Cursor::End(at.parse().ok()?, names::read(id)?))
}

/// Lists calls, the oldest first; those of the phase `ended` in the order in which they ended.
/// Calls are forgotten ten minutes after their tickets expire.
#[utoipa::path(
    get,
    operation_id = "listCalls",
    path = "/v1/calls",
    tag = "calls",
    params(Filter),
    responses(
        (status = 200, description = "A page of calls, of at most 1 MiB", body = CallList),
        answers::BadRequest, answers::Denied, answers::Unavailable,
    ),
)]
pub(super) async fn list(
    _: ForReading,
    State(api): State<Api>,
    filter: Filter,
) -> Result<Response, Problem> {
    let (phase, after, limit) = filter.check()?;
    let node = Arc::clone(&api.node);
    let page = api
        .list(move |switchboard| {
            let mut page = Page::new(phase, limit);
            switchboard.list(phase, after, limit + 1, |call| page.take(&node, &call))?;
            Ok(page.finish())
        })
        .await?;
    let kind = [(header::CONTENT_TYPE, "application/json")];
    Ok((kind, page).into_response())
}

/// A page of a list while it is written.
struct Page {
    phase: Option<Phase>,
    limit: usize,
    count: usize,
    json: String,
    last: Option<Cursor>,
    more: bool,
}

impl Page {
    fn new(phase: Option<Phase>, limit: usize) -> Self {
        Self {
            phase,
            limit,
            count: 0,
            json: String::from("{\"calls\":["),
            last: None,
            more: false,
        }
    }

    /// Writes `call`; whether another may follow.
    fn take(&mut self, node: &str, call: &Call) -> bool {
        // The cursor names the phase that was asked for: a call that ended while the page was
        // made belongs on another.
        if self.phase.is_some_and(|phase| phase != call.phase()) {
            return true;
        }
        let view = serde_json::to_string(&view::shown(node, call)).unwrap_or_default();
        let full = self.json.len() + view.len() > PAGE_BYTES && self.count > 0;
        if self.count == self.limit || full {
            self.more = true;
            return false;
        }
        if self.count > 0 {
            self.json.push(',');
        }
        self.json += &view;
        self.count += 1;
        self.last = Some(Cursor::after(call, self.phase));
        true
    }

    fn finish(mut self) -> String {
        self.json.push(']');
        if let Some(last) = self.last.filter(|_| self.more) {
            let cursor = write_cursor(last);
            self.json.extend([",\"next_cursor\":\"", &cursor, "\""]);
        }
        self.json.push('}');
        self.json
    }
}

/// Shows a call: phase, route, why, what happened, what was sent, who could have learned what.
#[utoipa::path(
    get,
    operation_id = "getCall",
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
    let call = api.read(move |switchboard| switchboard.find(id)).await?;
    Ok(axum::Json(view::shown(&api.node, &call)))
}

/// A party answers: the tickets of its other devices die. If the call becomes direct by it, the
/// answer holds new configurations for everybody.
#[utoipa::path(
    post,
    operation_id = "answerCall",
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
        api.change(move |switchboard| switchboard.answer(id, &party, device.as_deref(), once));
    let handed = answering.await?;
    Ok(axum::Json(view::handed(
        &api.node,
        &handed,
        Some(Apply::IceRestart),
    )))
}

/// Has a call go on for longer, up to `policy.max_call` since it was opened. What is connected is
/// not touched; the answer holds fresh tickets for whoever has to restart ICE or joins late.
#[utoipa::path(
    post,
    operation_id = "renewCall",
    path = "/v1/calls/{id}/renew",
    tag = "calls",
    params(
        ("id" = String, Path, description = "The call's id"),
        ("Idempotency-Key" = Option<String>, Header,
            description = "Sent twice within 24 hours with the same body, it renews once."),
    ),
    request_body = RenewRequest,
    responses(
        (status = 200, description = "The call, with its new expiry and tickets", body = CallView),
        (status = 409, description = "The call has ended",
            body = Problem, content_type = "application/problem+json"),
        answers::BadRequest, answers::Denied, answers::NoSuchCall, answers::Unavailable,
    ),
)]
pub(super) async fn renew(
    ForCalls(holder): ForCalls,
    State(api): State<Api>,
    Id(id): Id,
    headers: HeaderMap,
    body: Json<RenewRequest>,
) -> Result<axum::Json<CallView>, Problem> {
    let path = format!("/v1/calls/{}/renew", names::written(id));
    let once = once(&headers, &holder, &path, body.hash)?;
    let ttl = body.value.ttl;
    let renewing = api.change(move |switchboard| switchboard.renew(id, ttl, once));
    let handed = renewing.await?;
    Ok(axum::Json(view::handed(
        &api.node,
        &handed,
        Some(Apply::SetConfiguration),
    )))
}

/// Ends a call: its media stops within a second and its tickets are dead for good. Ending it again
/// changes nothing.
#[utoipa::path(
    delete,
    operation_id = "endCall",
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
    let call = api.end(id).await?;
    Ok(axum::Json(view::shown(&api.node, &call)))
}
