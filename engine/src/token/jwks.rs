//! JWKS: public keys from the endpoint of an identity provider (RFC 7517 §5).
//!
//! In:  the endpoint, and a client for HTTP.
//! Out: a [`KeySet`], or why there is none.
//!
//! It runs on the control thread; shards are handed the result. A document that cannot be had leaves the keys in force
//! that are known: that is the caller's part. No token decides which address is asked.

use std::{fmt, str::FromStr, time::Duration};

use hyper::{Method, Request, StatusCode, Uri, header};

use super::KeySet;
use crate::http_client::{HttpClient, HttpError, Limits};

/// The longest document that is read. Worst case: twice this while it is parsed.
pub const DOCUMENT_BYTES_MAX: usize = 1 << 20;

/// How long the endpoint may take, from the connection to the last byte.
const TIMEOUT: Duration = Duration::from_secs(5);

/// How old keys may become. A key that was withdrawn is refused after at most this time.
const KEYS_AGE_MS_MAX: u64 = 60 * 60 * 1000;

/// How long after a fetch the next one may begin: clients choose the `kid` of a token, and must not choose how often
/// the endpoint is asked.
const FETCH_PAUSE_MS: u64 = 10_000;

/// Where keys are published: `http` or `https`, without credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint(Uri);

impl Endpoint {
    /// True exactly when it is asked by `https`.
    pub fn is_encrypted(&self) -> bool {
        self.0.scheme_str() == Some("https")
    }
}

impl FromStr for Endpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.contains("{{") {
            return Err(
                "an address that depends on the token ({{…}}) is not supported: name one endpoint".into()
            );
        }
        let uri: Uri = text.parse().map_err(|error| format!("not an address: {error}"))?;
        match (uri.scheme_str(), uri.authority()) {
            (Some("http" | "https"), Some(authority)) if authority.as_str().contains('@') => {
                Err("credentials in the address are not supported".into())
            }
            (Some("http" | "https"), Some(_)) => Ok(Self(uri)),
            _ => Err("it begins with neither http:// nor https://".into()),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Why there are no new keys.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// No answer, or not a whole one.
    #[error("{endpoint}: {error}")]
    Http {
        /// What was asked.
        endpoint: Endpoint,
        /// What came instead of an answer.
        error: HttpError,
    },
    /// Only 200 is an answer. Redirects are not followed: an address that moved is to be mended in the configuration.
    #[error("{endpoint} answers {status}{}", location.as_ref().map(|to| format!(", to {to}")).unwrap_or_default())]
    Status {
        /// What was asked.
        endpoint: Endpoint,
        /// Its answer.
        status: StatusCode,
        /// Where a redirect leads.
        location: Option<String>,
    },
    /// The answer is no key set.
    #[error("{endpoint} does not answer with a JSON Web Key Set: {error}")]
    Document {
        /// What was asked.
        endpoint: Endpoint,
        /// What is wrong with the document.
        error: serde_json::Error,
    },
    /// Nothing could be verified with it.
    #[error("{endpoint} publishes no key that could be used")]
    NoKeys {
        /// What was asked.
        endpoint: Endpoint,
    },
}

/// Asks the endpoint once.
///
/// # Errors
/// There are no new keys; those that are known stay in force.
pub async fn fetch(client: &HttpClient, endpoint: &Endpoint) -> Result<KeySet, FetchError> {
    let request = Request::builder()
        .method(Method::GET)
        .uri(endpoint.0.clone())
        .header(header::ACCEPT, "application/jwk-set+json, application/json")
        .body(bytes::Bytes::new())
        .expect("invariant: the parts of the request were checked");
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
            location: location.map(|to| String::from_utf8_lossy(to.as_bytes()).into_owned()),
        });
    }
    let (keys, unusable) = KeySet::parse(answer.body())
        .map_err(|error| FetchError::Document { endpoint: endpoint.clone(), error })?;
    for key in unusable {
        tracing::debug!(%endpoint, kid = ?key.kid, "a key of the JWKS endpoint is left out: {}", key.why);
    }
    if keys.is_empty() { Err(FetchError::NoKeys { endpoint: endpoint.clone() }) } else { Ok(keys) }
}

/// When the endpoint is to be asked. Times are milliseconds on any clock that does not go back.
#[derive(Debug, Clone, Copy, Default)]
pub struct Schedule {
    /// When the last fetch began, whether it brought keys or not, and whether it did.
    last: Option<Fetch>,
}

#[derive(Debug, Clone, Copy)]
struct Fetch {
    began_ms: u64,
    has_failed: bool,
}

impl Schedule {
    /// True exactly when a fetch is to begin without anybody asking: there were none, the keys are an hour old, or the
    /// last fetch failed a while ago.
    pub fn is_due(&self, now_ms: u64) -> bool {
        self.last.is_none_or(|last| {
            let pause_ms = if last.has_failed { FETCH_PAUSE_MS } else { KEYS_AGE_MS_MAX };
            now_ms.saturating_sub(last.began_ms) >= pause_ms
        })
    }

    /// True exactly when a fetch may begin because a token names an unknown key. Where it may not, the token is refused:
    /// the endpoint was asked a moment ago.
    pub fn may_fetch(&self, now_ms: u64) -> bool {
        self.last.is_none_or(|last| now_ms.saturating_sub(last.began_ms) >= FETCH_PAUSE_MS)
    }

    /// A fetch begins. Until [`ended`](Self::ended) says how it went, it counts as a success.
    pub fn began(&mut self, now_ms: u64) {
        self.last = Some(Fetch { began_ms: now_ms, has_failed: false });
    }

    /// The fetch that began last has ended.
    pub fn ended(&mut self, with_keys: bool) {
        if let Some(last) = &mut self.last {
            last.has_failed = !with_keys;
        }
    }
}
