//! Health: whether the daemon is alive, and whether it accepts clients.
//!
//! In:  `GET /health`, `/health/live`, `/health/ready`.
//! Out: 200 and `{}`; 503 for readiness while a part of the daemon is stalled, and from the start of a drain.

use axum::{
    extract::State as Extract,
    http::{StatusCode, header},
    response::IntoResponse,
};

use serde_json::json;

use super::State;
use crate::supervise::Part;

/// The process is alive while the control plane runs.
pub(super) async fn live() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], "{}")
}

/// A load balancer may send clients.
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
