//! JWKS: fetches public keys from the endpoint of an identity provider (RFC 7517 §5).
//!
//! In:  the endpoint; an HTTP client.
//! Out: a [`KeySet`], or why there is none.
//!
//! It runs on the control thread, which passes the result to the shards. If a fetch fails, the caller keeps the known
//! keys valid. A token never decides which URL is fetched.

use std::time::Duration;

use hyper::{HeaderMap, Method, Request, StatusCode, header};

use crate::{
    http_client::{HttpClient, HttpError, Limits},
    jose::KeySet,
    value::{HttpUrl, masked},
};

/// The maximum document size. Worst case: twice this while the document is parsed.
pub(crate) const DOCUMENT_BYTES_MAX: usize = 1 << 20;

/// Timeout for a fetch, from the connection to the last byte.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The shortest refresh interval that an endpoint's freshness lifetime can set.
const REFRESH_MS_MIN: u64 = 60_000;

/// Minimum time between two fetches. Clients choose the `kid` of a token, and must not control how often the endpoint
/// is fetched.
const FETCH_PAUSE_MS: u64 = 10_000;

/// The response of an endpoint.
#[derive(Debug, Clone)]
pub(crate) struct FetchedKeys {
    /// Its keys.
    pub keys: KeySet,
    /// The freshness lifetime of the response (RFC 9111 §5.2.2), in milliseconds; `None` if it has none.
    pub fresh_ms: Option<u64>,
}

/// Why a fetch returned no keys.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    /// No response, or an incomplete one.
    #[error("{endpoint}: {error}")]
    Http {
        /// The fetched endpoint.
        endpoint: HttpUrl,
        /// The error.
        error: HttpError,
    },
    /// Only 200 is accepted. Redirects are not followed: if the URL moved, the configuration must be corrected.
    #[error("{endpoint} answers {status}{}", location.as_ref().map(|to| format!(", to {to}")).unwrap_or_default())]
    Status {
        /// The fetched endpoint.
        endpoint: HttpUrl,
        /// The status of the response.
        status: StatusCode,
        /// The target of a redirect.
        location: Option<String>,
    },
    /// The response is not a key set.
    #[error("{endpoint} does not answer with a JSON Web Key Set: {error}")]
    Document {
        /// The fetched endpoint.
        endpoint: HttpUrl,
        /// The error in the document.
        error: serde_json::Error,
    },
    /// The response contains no usable key.
    #[error("{endpoint} publishes no usable key")]
    NoKeys {
        /// The fetched endpoint.
        endpoint: HttpUrl,
    },
}

/// Fetches the endpoint once.
///
/// # Errors
/// There are no new keys. The known ones stay valid.
pub(crate) async fn fetch(client: &HttpClient, endpoint: &HttpUrl) -> Result<FetchedKeys, FetchError> {
    let request = Request::builder()
        .method(Method::GET)
        .uri(endpoint.uri())
        .header(header::ACCEPT, "application/jwk-set+json, application/json")
        .body(bytes::Bytes::new())
        .expect("invariant: the request has valid parts");
    let limits = Limits { timeout: TIMEOUT, body_bytes_max: DOCUMENT_BYTES_MAX };
    let answer = client
        .send(request, limits)
        .await
        .map_err(|error| FetchError::Http { endpoint: endpoint.clone(), error })?;
    if answer.status() != StatusCode::OK {
        let location = answer.headers().get(header::LOCATION);
        return Err(FetchError::Status {
            endpoint: endpoint.clone(),
            status: answer.status(),
            location: location.map(|to| masked::address(&String::from_utf8_lossy(to.as_bytes()))),
        });
    }
    let (keys, unusable) = KeySet::parse(answer.body())
        .map_err(|error| FetchError::Document { endpoint: endpoint.clone(), error })?;
    for key in unusable {
        tracing::debug!(%endpoint, kid = ?key.kid, "a key of the JWKS endpoint is ignored: {}", key.why);
    }
    if keys.is_empty() {
        return Err(FetchError::NoKeys { endpoint: endpoint.clone() });
    }
    Ok(FetchedKeys { keys, fresh_ms: fresh_ms(answer.headers()) })
}

/// RFC 9111 §4.2.1 and §5.1: the remaining freshness lifetime of the response.
fn fresh_ms(headers: &HeaderMap) -> Option<u64> {
    let lines = headers.get_all(header::CACHE_CONTROL).iter().filter_map(|line| line.to_str().ok());
    let directives =
        lines.flat_map(|line| line.split(',')).map(|directive| directive.trim().to_ascii_lowercase());
    let allowed_s = directives.filter_map(|directive| match directive.split_once('=') {
        Some(("max-age", seconds)) => seconds.trim_matches('"').parse().ok(),
        None if directive == "no-store" || directive == "no-cache" => Some(0),
        _ => None,
    });
    let age = headers.get(header::AGE).and_then(|age| age.to_str().ok());
    let age_s = age.and_then(|age| age.trim().parse::<u64>().ok()).unwrap_or(0);
    allowed_s.min().map(|seconds: u64| seconds.saturating_sub(age_s).saturating_mul(1000))
}

/// When to fetch the endpoint. Times are milliseconds on any monotonic clock.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Schedule {
    refresh_ms: u64,
    age_ms_max: u64,
    /// The last fetch, whether or not it succeeded.
    last: Option<Fetch>,
    /// When the fetch of the current keys started.
    keys_of_ms: Option<u64>,
}

#[derive(Debug, Clone, Copy)]
struct Fetch {
    began_ms: u64,
    /// The time from its start to the next fetch.
    next_after_ms: u64,
}

impl Schedule {
    /// Refreshes keys after `refresh_ms`. While the endpoint fails, they stay valid for `age_ms_max`.
    pub(crate) const fn new(refresh_ms: u64, age_ms_max: u64) -> Self {
        Self { refresh_ms, age_ms_max, last: None, keys_of_ms: None }
    }

    /// The shorter of both intervals, and of both age limits.
    #[must_use]
    pub(crate) fn stricter(self, other: Self) -> Self {
        Self::new(self.refresh_ms.min(other.refresh_ms), self.age_ms_max.min(other.age_ms_max))
    }

    /// True exactly when a fetch must start without a request: there was none yet, the keys are due for a refresh, or
    /// the last fetch failed a while ago.
    pub(crate) fn is_due(&self, now_ms: u64) -> bool {
        self.last.is_none_or(|last| now_ms.saturating_sub(last.began_ms) >= last.next_after_ms)
    }

    /// Milliseconds until a token with an unknown key may cause a fetch; 0: now.
    pub(crate) fn may_fetch_in(&self, now_ms: u64) -> u64 {
        let passed_ms = |last: Fetch| now_ms.saturating_sub(last.began_ms);
        self.last.map_or(0, |last| FETCH_PAUSE_MS.saturating_sub(passed_ms(last)))
    }

    /// Call when a fetch starts.
    pub(crate) fn began(&mut self, now_ms: u64) {
        self.last = Some(Fetch { began_ms: now_ms, next_after_ms: FETCH_PAUSE_MS });
    }

    /// Call when a fetch ends. `Ok`: it returned keys, with their freshness lifetime in milliseconds if the response
    /// has one. `Err`: it failed.
    pub(crate) fn ended(&mut self, fresh_ms: Result<Option<u64>, ()>) {
        if let (Some(last), Ok(fresh_ms)) = (&mut self.last, fresh_ms) {
            let least_ms = REFRESH_MS_MIN.min(self.refresh_ms);
            last.next_after_ms = fresh_ms.unwrap_or(u64::MAX).clamp(least_ms, self.refresh_ms);
            self.keys_of_ms = Some(last.began_ms);
        }
    }

    /// True exactly once, when the keys have become too old to be used.
    pub(crate) fn keys_end(&mut self, now_ms: u64) -> bool {
        let are_too_old = |of_ms: &mut u64| now_ms.saturating_sub(*of_ms) >= self.age_ms_max;
        self.keys_of_ms.take_if(are_too_old).is_some()
    }
}
