//! Health: whether the daemon answers at all.
//!
//! In:  `GET /health`.
//! Out: 200 and `{}` while the control plane runs.

use axum::{http::header, response::IntoResponse};

pub(super) async fn health() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], "{}")
}
