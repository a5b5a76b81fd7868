//! HTTP client: the daemon's calls to other servers: key sets, backends.
//!
//! In:  a request, and what its answer may cost.
//! Out: the answer as a whole, or why there is none.
//!
//! It runs on the control thread. Every call has a deadline and a longest answer. No redirect is followed, no proxy is
//! looked for, no cookie is kept. Connections are kept open for the next call; a call on one that the other side had
//! closed is made once more, on a new connection (`used`).

mod used;

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::{Request, Response};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{
        Client,
        connect::{HttpConnector, capture_connection},
    },
    rt::{TokioExecutor, TokioTimer},
};
use rustls::{ClientConfig, RootCertStore, crypto::ring};

use self::used::{Counting, Use};
use crate::time::patience;

/// How long a connection that is not in use is kept open, where nothing else is configured.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// Worst case: this many connections a host that are kept open without use.
const IDLE_CONNECTIONS_MAX: usize = 32;

/// What a call may cost.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// From the first step of the connection to the last byte of the answer.
    pub timeout: Duration,
    /// The longest body of an answer.
    pub body_bytes_max: usize,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HttpError {
    /// Not in time.
    #[error("no complete answer within {} ms", .0.as_millis())]
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

type Pool = Client<Counting<HttpsConnector<HttpConnector>>, Full<Bytes>>;

/// The certificate authorities that are trusted, and what keeps others from that.
pub(crate) fn authorities() -> (RootCertStore, Vec<String>) {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(found.certs);
    (roots, found.errors.iter().map(ToString::to_string).collect())
}

/// Makes calls. A clone shares the connections.
#[derive(Debug, Clone)]
pub(crate) struct HttpClient {
    pool: Pool,
    /// Keeps nothing open: every call has a connection of its own.
    fresh: Pool,
}

impl HttpClient {
    /// Trusts the certificate authorities of the system (`SSL_CERT_FILE` and `SSL_CERT_DIR` name others). Where there
    /// are none, calls by `https` fail; `preflight` has warned of it.
    pub(crate) fn new() -> Self {
        Self::with_idle_timeout(IDLE_TIMEOUT)
    }

    /// The same, with another time for which connections that are not in use are kept open; zero keeps none.
    pub(crate) fn with_idle_timeout(idle_timeout: Duration) -> Self {
        let (roots, _) = authorities();
        let tls = ClientConfig::builder_with_provider(ring::default_provider().into())
            .with_safe_default_protocol_versions()
            .expect("invariant: the provider has what TLS 1.2 and 1.3 call for")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let connector = Counting(
            HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().build(),
        );
        let pool = |idle_connections_max| {
            Client::builder(TokioExecutor::new())
                .pool_timer(TokioTimer::new())
                .pool_idle_timeout(idle_timeout)
                .pool_max_idle_per_host(idle_connections_max)
                .build(connector.clone())
        };
        Self { pool: pool(if idle_timeout.is_zero() { 0 } else { IDLE_CONNECTIONS_MAX }), fresh: pool(0) }
    }

    /// Makes one call. Any status is an answer.
    ///
    /// # Errors
    /// There is no whole answer within the limits.
    pub(crate) async fn send(
        &self,
        request: Request<Bytes>,
        limits: Limits,
    ) -> Result<Response<Bytes>, HttpError> {
        patience::timeout(limits.timeout, self.exchange(request, limits.body_bytes_max))
            .await
            .unwrap_or(Err(HttpError::Timeout(limits.timeout)))
    }

    /// A server that closes an idle connection just when a call goes out on it has not read the call: RFC 9112 §9.3.1
    /// lets a client make it again. Where one byte of an answer has come, it has.
    async fn exchange(
        &self,
        request: Request<Bytes>,
        body_bytes_max: usize,
    ) -> Result<Response<Bytes>, HttpError> {
        let again = request.clone();
        match Self::exchange_once(&self.pool, request, body_bytes_max).await {
            Err((_, Some(connection))) if connection.is_reused_and_silent() => {
                Self::exchange_once(&self.fresh, again, body_bytes_max).await
            }
            exchanged => exchanged,
        }
        .map_err(|(error, _)| error)
    }

    /// One call. An error comes with the connection that the call went out on, where there was one.
    async fn exchange_once(
        pool: &Pool,
        request: Request<Bytes>,
        body_bytes_max: usize,
    ) -> Result<Response<Bytes>, (HttpError, Option<Use>)> {
        let mut request = request.map(Full::new);
        let call = capture_connection(&mut request);
        let answer = pool
            .request(request)
            .await
            .map_err(|error| (HttpError::Failed(causes(&error)), Use::of(&call)))?;
        let (head, body) = answer.into_parts();
        let body = Limited::new(body, body_bytes_max).collect().await.map_err(|error| {
            let error = if error.is::<LengthLimitError>() {
                HttpError::TooLong(body_bytes_max)
            } else {
                HttpError::Failed(causes(error.as_ref()))
            };
            (error, Use::of(&call))
        })?;
        if let Some(connection) = Use::of(&call) {
            connection.answered();
        }
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

#[cfg(test)]
mod tests {
    use std::{
        io::{BufRead as _, BufReader, Read as _, Write as _},
        net::{SocketAddr, TcpListener, TcpStream},
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
        thread,
    };

    use super::*;

    const LIMITS: Limits = Limits { timeout: Duration::from_secs(30), body_bytes_max: 100 };

    /// What a server does with the second request of a connection.
    #[derive(Clone, Copy)]
    enum Second {
        Close,
        AnswerHalf,
    }

    /// A server that answers the first request of each connection. Returns its address and how many requests it read.
    fn server(second: Second) -> (SocketAddr, Arc<AtomicUsize>) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let requests = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&requests);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let mut reader = BufReader::new(stream);
                if read_request(&mut reader, &counted) {
                    let _ = reader.get_ref().write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
                }
                if read_request(&mut reader, &counted)
                    && let Second::AnswerHalf = second
                {
                    let _ = reader.get_ref().write_all(b"HTTP/1.1 200 OK\r\nContent-Le");
                }
            }
        });
        (address, requests)
    }

    fn read_request(reader: &mut BufReader<TcpStream>, counted: &AtomicUsize) -> bool {
        let mut line = String::new();
        let mut has_head = false;
        while reader.read_line(&mut line).is_ok_and(|bytes| bytes > 0) {
            if line == "\r\n" {
                has_head = true;
                break;
            }
            line.clear();
        }
        if has_head {
            let mut body = [0; 4];
            let _ = reader.read_exact(&mut body);
            counted.fetch_add(1, Ordering::SeqCst);
        }
        has_head
    }

    fn post(address: SocketAddr) -> Request<Bytes> {
        Request::post(format!("http://{address}/")).body(Bytes::from_static(b"body")).expect("a request")
    }

    fn run<T>(work: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime can be made").block_on(work)
    }

    #[test]
    fn a_call_on_a_connection_that_was_closed_without_a_byte_is_made_again_once() {
        let (address, requests) = server(Second::Close);
        run(async {
            let client = HttpClient::new();
            for _ in 0..4 {
                let answer = client.send(post(address), LIMITS).await.expect("it is answered");
                assert_eq!(&answer.body()[..], b"ok");
            }
        });
        // The second call of the pool's connection is read and closed upon, and made again on a new connection.
        assert_eq!(requests.load(Ordering::SeqCst), 6);
    }

    #[test]
    fn a_call_that_was_answered_in_part_is_not_made_again() {
        let (address, requests) = server(Second::AnswerHalf);
        run(async {
            let client = HttpClient::new();
            client.send(post(address), LIMITS).await.expect("the first is answered");
            client.send(post(address), LIMITS).await.expect_err("half an answer is none");
        });
        assert_eq!(requests.load(Ordering::SeqCst), 2);
    }

    #[test]
    fn without_an_idle_time_every_call_has_a_connection_of_its_own() {
        let (address, requests) = server(Second::AnswerHalf);
        run(async {
            let client = HttpClient::with_idle_timeout(Duration::ZERO);
            for _ in 0..3 {
                client.send(post(address), LIMITS).await.expect("it is answered");
            }
        });
        assert_eq!(requests.load(Ordering::SeqCst), 3);
    }
}
