//! Health: whether the daemon answers, and whether it takes clients.
//!
//! In:  `GET /health`, `/health/live`, `/health/ready`.
//! Out: 200 and `{}`; 503 for readiness from the moment on in which the daemon is to leave.

use axum::{
    extract::State as Extract,
    http::{StatusCode, header},
    response::IntoResponse,
};

use super::State;

/// The process is alive while the control plane runs.
pub(super) async fn live() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], "{}")
}

/// A load balancer may send clients.
pub(super) async fn ready(Extract(state): Extract<State>) -> impl IntoResponse {
    let (status, body) = if state.drain.is_under_way() {
        (StatusCode::SERVICE_UNAVAILABLE, r#"{"draining":true}"#)
    } else {
        (StatusCode::OK, "{}")
    };
    (status, [(header::CONTENT_TYPE, "application/json")], body)
}
