//! This node: what clients are told of it, what it has to do, and its leave.

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::extract::{ForAdministration, ForReading};
use super::{Api, answers};
use crate::control::offers::Offer;
use crate::control::problem::Problem;

/// A node.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct NodeView {
    /// Its name.
    #[schema(example = "node-1f2e3d4c")]
    node: String,
    /// Its version.
    #[schema(value_type = String, example = "0.1.0")]
    version: &'static str,
    /// Whether calls can be opened on it.
    ready: bool,
    /// Why none can.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    reason: Option<String>,
    /// Whether it was told to take no new calls. When `calls.open` is 0, it can be stopped.
    draining: bool,
    /// The URLs that clients are given, best first.
    urls: Vec<Offer>,
    /// Its calls.
    calls: CallsView,
}

/// How many calls there are and may be.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct CallsView {
    /// Calls that have not ended.
    open: usize,
    /// Most calls that it takes.
    limit: usize,
}

/// Shows this node: the URLs that clients are given and who can reach them, whether it is ready,
/// how many calls there are.
#[utoipa::path(
    get,
    operation_id = "getNode",
    path = "/v1/node",
    tag = "node",
    responses((status = 200, description = "The node", body = NodeView), answers::Denied),
)]
pub(super) async fn show(_: ForReading, State(api): State<Api>) -> axum::Json<NodeView> {
    axum::Json(api.node_view())
}

/// Has this node take no new calls; those it has go on. It stays so until it is started anew.
#[utoipa::path(
    post,
    operation_id = "drainNode",
    path = "/v1/node/drain",
    tag = "node",
    responses((status = 200, description = "The node, draining", body = NodeView), answers::Denied),
)]
pub(super) async fn drain(_: ForAdministration, State(api): State<Api>) -> axum::Json<NodeView> {
    api.switchboard.drain();
    axum::Json(api.node_view())
}

impl Api {
    fn node_view(&self) -> NodeView {
        let switchboard = &self.switchboard;
        let live = switchboard.live();
        let ready = switchboard.ready();
        NodeView {
            node: self.node.to_string(),
            version: env!("CARGO_PKG_VERSION"),
            ready: ready.is_ok(),
            reason: ready.err().map(|Problem { detail, .. }| detail),
            draining: switchboard.is_draining(),
            urls: live.offers.clone(),
            calls: CallsView {
                open: switchboard.open_calls(),
                limit: live.calls_limit,
            },
        }
    }
}
