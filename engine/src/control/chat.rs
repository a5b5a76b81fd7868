//! Chat: the page at `/` for trying out the daemon. It is served exactly when `admin.enabled` is true.
//!
//! In:  requests for the files of `engine/admin`, which are embedded in the binary.
//! Out: these files; `/chat.json` with the clients' address, and whether the requesting page may connect.
//!
//! The page is a client like any other: it has no key. This module only serves files.

use std::{net::SocketAddr, sync::Arc};

use axum::{
    Json, Router,
    extract::{Query, State},
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use serde::{Deserialize, Serialize};

use crate::{config::Config, value::origin::Origins};

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JAVASCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

/// Centrifuge's JavaScript client; empty if it was missing from the build (`build.rs`).
const CENTRIFUGE: &str = include_str!(concat!(env!("OUT_DIR"), "/centrifuge.js"));

const FILES: &[(&str, &str, &str)] = &[
    ("/", HTML, include_str!("../../admin/index.html")),
    ("/chat.css", CSS, include_str!("../../admin/chat.css")),
    ("/chat.js", JAVASCRIPT, include_str!("../../admin/chat.js")),
    ("/hints.js", JAVASCRIPT, include_str!("../../admin/hints.js")),
    ("/room.js", JAVASCRIPT, include_str!("../../admin/room.js")),
    ("/view.js", JAVASCRIPT, include_str!("../../admin/view.js")),
    ("/centrifuge.js", JAVASCRIPT, CENTRIFUGE),
    ("/icon.svg", SVG, include_str!("../../admin/icon.svg")),
];

/// Scripts and styles come only from this port, and no page may frame this one. Connections are allowed to any host,
/// because its user may enter any address: the client port may have another name.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
                      connect-src 'self' ws: wss: http: https:; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'";

/// What the page needs to know about the daemon.
#[derive(Debug)]
struct Facts {
    clients: SocketAddr,
    transports: Vec<&'static str>,
    origins: Origins,
    admits_anonymous: bool,
}

/// The page's routes. `clients` is the clients' address.
pub(super) fn router(config: &Config, clients: SocketAddr) -> Router {
    let served = [
        (!config.websocket.disabled, "websocket"),
        (config.http_stream.enabled, "http_stream"),
        (config.sse.enabled, "sse"),
    ];
    let facts = Facts {
        clients,
        transports: served.into_iter().filter(|(is_on, _)| *is_on).map(|(_, name)| name).collect(),
        origins: Origins::new(&config.client.allowed_origins),
        admits_anonymous: config.client.allow_anonymous_connect_without_token,
    };
    let files = FILES.iter().fold(Router::new(), |router, (path, kind, text)| {
        router.route(path, get(async move || file(kind, text)))
    });
    files.route("/chat.json", get(tell)).with_state(Arc::new(facts))
}

fn file(kind: &'static str, text: &'static str) -> Response {
    if text.is_empty() {
        return StatusCode::NOT_FOUND.into_response();
    }
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        // After an update of the daemon, the browser must load the new page.
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers.map(|(name, value)| (name, HeaderValue::from_static(value))), text).into_response()
}

#[derive(Debug, Deserialize)]
struct Asking {
    /// The origin of the requesting page: behind a proxy, only the browser knows it.
    #[serde(default)]
    origin: String,
}

#[derive(Debug, Serialize)]
struct Told<'f> {
    /// `None` if clients may use any address of the machine: then the page uses its own host.
    host: Option<String>,
    port: u16,
    transports: &'f [&'static str],
    admits_origin: bool,
    admits_anonymous: bool,
}

async fn tell(State(facts): State<Arc<Facts>>, Query(asking): Query<Asking>) -> Response {
    let ip = facts.clients.ip();
    let host = (!ip.is_unspecified()).then(|| match ip.is_ipv6() {
        true => format!("[{ip}]"),
        false => ip.to_string(),
    });
    Json(Told {
        host,
        port: facts.clients.port(),
        transports: &facts.transports,
        admits_origin: facts.origins.admit(Some(asking.origin.as_bytes())),
        admits_anonymous: facts.admits_anonymous,
    })
    .into_response()
}
