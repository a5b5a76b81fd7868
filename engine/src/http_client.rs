//! HTTP client: the daemon's calls to other servers: key sets, backends.
//!
//! In:  a request, and what its answer may cost.
//! Out: the answer as a whole, or why there is none.
//!
//! It runs on the control thread. Every call has a deadline and a longest answer. No redirect is followed, no proxy is
//! looked for, no cookie is kept. Connections are kept open for the next call.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::{Request, Response};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use rustls::{ClientConfig, RootCertStore, crypto::ring};

/// How long a connection that is not in use is kept open.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// Worst case: this many connections a host that are kept open without use.
const IDLE_CONNECTIONS_MAX: usize = 32;

/// What a call may cost.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// From the first step of the connection to the last byte of the answer.
    pub timeout: Duration,
    /// The longest body of an answer.
    pub body_bytes_max: usize,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// Not in time.
    #[error("no whole answer within {} ms", .0.as_millis())]
    Timeout(Duration),
    /// Our limit, [`Limits::body_bytes_max`].
    #[error("the answer has more than {0} bytes")]
    TooLong(usize),
    /// No connection, or one that broke, or no HTTP; with all its causes.
    #[error("{0}")]
    Failed(String),
}

impl HttpError {
    /// What kind of failure it is.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::Timeout(_) => "timeout",
            Self::TooLong(_) => "too long",
            Self::Failed(_) => "failed",
        }
    }
}

/// Makes calls. A clone shares the connections.
#[derive(Debug, Clone)]
pub struct HttpClient {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

impl HttpClient {
    /// Trusts the certificate authorities of the system (`SSL_CERT_FILE` and `SSL_CERT_DIR` name others). Where there
    /// are none, calls by `https` fail, and a warning says so.
    pub fn new() -> Self {
        let mut roots = RootCertStore::empty();
        let found = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(found.certs);
        if roots.is_empty() {
            tracing::warn!(errors = ?found.errors, "no certificate authority is known: calls by https will fail");
        }
        let tls = ClientConfig::builder_with_provider(ring::default_provider().into())
            .with_safe_default_protocol_versions()
            .expect("invariant: the provider has what TLS 1.2 and 1.3 call for")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let connector =
            HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().build();
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
            .build(connector);
        Self { client }
    }

    /// Makes one call. Any status is an answer.
    ///
    /// # Errors
    /// There is no whole answer within the limits.
    pub async fn send(&self, request: Request<Bytes>, limits: Limits) -> Result<Response<Bytes>, HttpError> {
        tokio::time::timeout(limits.timeout, self.exchange(request, limits.body_bytes_max))
            .await
            .unwrap_or(Err(HttpError::Timeout(limits.timeout)))
    }

    async fn exchange(
        &self,
        request: Request<Bytes>,
        body_bytes_max: usize,
    ) -> Result<Response<Bytes>, HttpError> {
        let answer = self
            .client
            .request(request.map(Full::new))
            .await
            .map_err(|error| HttpError::Failed(causes(&error)))?;
        let (head, body) = answer.into_parts();
        let body = Limited::new(body, body_bytes_max).collect().await.map_err(|error| {
            if error.is::<LengthLimitError>() {
                HttpError::TooLong(body_bytes_max)
            } else {
                HttpError::Failed(causes(error.as_ref()))
            }
        })?;
        Ok(Response::from_parts(head, body.to_bytes()))
    }
}

impl Default for HttpClient {
    fn default() -> Self {
        Self::new()
    }
}

/// The error with all its causes: the outermost one alone rarely says what happened.
fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}
