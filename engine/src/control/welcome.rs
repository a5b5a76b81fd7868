//! Welcome: a start page of the control port, for people.
//!
//! In:  `GET /`.
//! Out: links, as HTML for browsers, otherwise as text.

use axum::{
    http::{HeaderMap, header},
    response::{Html, IntoResponse, Response},
};

/// The paths, most useful first.
const PATHS: [(&str, &str); 5] = [
    ("/health", "whether the daemon is alive; /health/ready: whether it accepts clients"),
    ("/metrics", "metrics, for Prometheus"),
    ("/api/openapi.json", "the description of the server API, OpenAPI 3.1"),
    ("/api/{method}", "the server API: POST with JSON, and a key in the field X-API-Key"),
    ("/", "this page; with admin.enabled, the try-out page"),
];

/// `has_api` is true exactly when the server API is on.
pub(super) fn welcome(headers: &HeaderMap, has_api: bool) -> Response {
    let paths = || PATHS.into_iter().filter(|(path, _)| has_api || !path.starts_with("/api"));
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    if accept.contains("text/html") {
        let rows = paths().map(|(path, words)| match path.contains('{') {
            true => format!("<li><code>{path}</code>: {words}</li>"),
            false => format!("<li><a href=\"{path}\">{path}</a>: {words}</li>"),
        });
        let head = "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Holdfast</title>";
        let lead = "<h1>Holdfast: the control port</h1><p>Clients connect to another port.</p>";
        return Html(format!("{head}{lead}<ul>{}</ul></html>\n", rows.collect::<String>())).into_response();
    }
    let rows = paths().map(|(path, words)| format!("{path:20}{words}\n"));
    format!("Holdfast: the control port. Clients connect to another port.\n\n{}", rows.collect::<String>())
        .into_response()
}
