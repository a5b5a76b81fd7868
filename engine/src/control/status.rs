//! Status: whether the daemon is alive, and whether it accepts clients; and the state of the request handlers.
//!
//! In:  `GET /health`, `/health/live`, `/health/ready`, `/health/broker`.
//! Out: 200 and `{}`; 503 for readiness while a part of the daemon is stalled, and from the start of a drain on; 503 for the
//!      broker while some Redis cannot be heard or asked, which makes no node less ready.

use std::sync::Arc;

use axum::{
    extract::State as Extract,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};

use serde_json::json;

use super::{
    api::ApiCounts,
    counts::Counts,
    drain::Drain,
    nodes::{Nodes, RedisState},
};
use crate::{backend, session::message::Shared, supervise::Part, tls::Ends};

/// The state of the request handlers.
#[derive(Clone, Debug)]
pub(super) struct State {
    pub(super) shared: Arc<Shared>,
    /// `None` if the server API is off.
    pub(super) api_counts: Option<Arc<ApiCounts>>,
    pub(super) drain: Arc<Drain>,
    pub(super) counts: Arc<Counts>,
    /// Counters of calls to the application's backend.
    pub(super) backend_counts: Arc<backend::Counts>,
    pub(super) expiries: Arc<Ends>,
    /// The other nodes; `None` on a node alone.
    pub(super) nodes: Option<Nodes>,
}

/// Answers 200: the process is alive while the control plane runs.
pub(super) async fn live() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], "{}")
}

/// Answers 200 exactly when a load balancer may send clients.
pub(super) async fn ready(Extract(state): Extract<State>) -> impl IntoResponse {
    let stalled = state.shared.beats().stalled();
    let (status, body) = if state.drain.is_under_way() {
        (StatusCode::SERVICE_UNAVAILABLE, r#"{"draining":true}"#.to_owned())
    } else if stalled.is_empty() {
        (StatusCode::OK, "{}".to_owned())
    } else {
        let names: Vec<_> = stalled.iter().map(Part::to_string).collect();
        (StatusCode::SERVICE_UNAVAILABLE, json!({ "stalled": names }).to_string())
    };
    (status, [(header::CONTENT_TYPE, "application/json")], body)
}

/// Answers 200 exactly when all that is published is heard, and every Redis can be asked. 404 on a node alone.
pub(super) async fn broker(Extract(state): Extract<State>) -> Response {
    let Some(nodes) = &state.nodes else { return StatusCode::NOT_FOUND.into_response() };
    let redis = nodes.redis();
    let status =
        if redis.iter().all(RedisState::is_well) { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let each = |RedisState { name, link, commands }: &RedisState| {
        json!({
            "address": name,
            "up": link.is_up,
            "settled": link.is_settled,
            "since_s": link.since.as_secs(),
            "last_cause": link.last_cause,
            "wanted": link.wanted,
            "confirmed": link.confirmed,
            "breaker": commands.down.map_or("closed", |down| down.name()),
        })
    };
    let body = json!({ "nodes": nodes.count(), "redis": redis.iter().map(each).collect::<Vec<_>>() });
    (status, [(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}
