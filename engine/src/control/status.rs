//! Status: whether the daemon is alive, and whether it accepts clients; and the state of the request handlers.
//!
//! In:  `GET /health`, `/health/live`, `/health/ready`.
//! Out: 200 and `{}`; 503 for readiness while a part of the daemon is stalled, and from the start of a drain on.

use std::sync::Arc;

use axum::{
    extract::State as Extract,
    http::{StatusCode, header},
    response::IntoResponse,
};

use serde_json::json;

use super::{api::ApiCounts, counts::Counts, drain::Drain};
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
