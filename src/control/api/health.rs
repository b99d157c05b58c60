//! Health, metrics, and the API's description. They need no key and say nothing about anybody.

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::Api;
use crate::control::problem::Problem;

/// How the node is.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Health {
    /// `ok`.
    #[schema(value_type = String, example = "ok")]
    status: &'static str,
}

/// The process runs, and packets are being dealt with.
#[utoipa::path(
    get,
    operation_id = "getLivez",
    path = "/livez",
    tag = "node",
    security(()),
    responses(
        (status = 200, description = "It runs", body = Health),
        (status = 503, description = "A worker has not moved for 10 seconds: restart it",
            body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn livez(State(api): State<Api>) -> Result<axum::Json<Health>, Problem> {
    api.switchboard.alive()?;
    Ok(axum::Json(Health { status: "ok" }))
}

/// The node takes calls.
#[utoipa::path(
    get,
    operation_id = "getReadyz",
    path = "/readyz",
    tag = "node",
    security(()),
    responses(
        (status = 200, description = "It takes calls", body = Health),
        (status = 503, description = "It is being drained, full, without an address for clients, \
            unable to write its store, or stuck",
            body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn readyz(State(api): State<Api>) -> Result<axum::Json<Health>, Problem> {
    api.switchboard.ready()?;
    Ok(axum::Json(Health { status: "ok" }))
}

/// Metrics for Prometheus.
#[utoipa::path(
    get,
    operation_id = "getMetrics",
    path = "/metrics",
    tag = "node",
    security(()),
    responses((status = 200, description = "Text exposition format 0.0.4", body = String,
        content_type = "text/plain")),
)]
pub(super) async fn metrics(State(api): State<Api>) -> Response {
    api.switchboard.measure();
    let kind = [(
        header::CONTENT_TYPE,
        "text/plain; version=0.0.4; charset=utf-8",
    )];
    (kind, api.metrics.render()).into_response()
}

/// This document.
#[utoipa::path(
    get,
    operation_id = "getOpenApi",
    path = "/openapi.json",
    tag = "node",
    security(()),
    responses((status = 200, description = "OpenAPI 3.1", body = serde_json::Value)),
)]
pub(super) async fn openapi(State(api): State<Api>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], api.document).into_response()
}
