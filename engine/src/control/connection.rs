//! Connection: serves one connection to the control port.
//!
//! In:  a socket with a place; TLS, if configured; the routes.
//! Out: answers; an orderly close, or a close after a timeout.
//!
//! A handler that panics turns its own answer into a 500. It affects no other request.

use std::{
    any::Any,
    convert::Infallible,
    net::{IpAddr, SocketAddr},
    panic::AssertUnwindSafe,
    pin::pin,
    sync::Arc,
    time::Duration,
};

use axum::{
    Router,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use futures_util::FutureExt as _;
use hyper::{
    Request,
    body::Incoming,
    server::conn::http1,
    service::{Service as _, service_fn},
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use rustls::ServerConfig;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::watch,
    time::{Instant, sleep},
};
use tokio_rustls::TlsAcceptor;

use super::{counts::Closed, pace::Paced, places::Place};
use crate::{log::refusal, supervise};

/// How often a connection's timeouts are checked.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// If a check is later than this, the thread was delayed.
const LATE_MAX: Duration = Duration::from_millis(500);

/// The longest head of a request. Worst case: this much for each connection.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// What it takes to serve a connection.
#[derive(Clone)]
pub(super) struct Serving {
    pub(super) router: Router,
    /// `None` if TLS is off.
    pub(super) secure: Option<watch::Receiver<Arc<ServerConfig>>>,
    /// True once the daemon stops.
    pub(super) leaves: watch::Receiver<bool>,
}

/// The caller's address, in a request's extensions.
#[derive(Clone, Copy, Debug)]
pub(super) struct Caller(IpAddr);

/// Why a request was refused; in its answer's extensions.
#[derive(Clone, Copy, Debug)]
pub(super) struct Denied {
    pub(super) reason: &'static str,
    /// What would have allowed it.
    pub(super) allow: &'static str,
}

/// Serves one connection until it ends.
pub(super) async fn attend(serving: Serving, stream: TcpStream, from: SocketAddr, place: Arc<Place>) {
    // Without this, the end of an answer may wait for an acknowledgment.
    let _ = stream.set_nodelay(true);
    let Some(secure) = &serving.secure else {
        return speak(serving, stream, Caller(from.ip()), place).await;
    };
    let acceptor = TlsAcceptor::from(Arc::clone(&secure.borrow()));
    let agreed = tokio::select! {
        agreed = acceptor.accept(stream) => agreed,
        why = overdue(&place) => return place.counts.closed(why),
        () = place.evicted() => return,
    };
    match agreed {
        Ok(stream) => speak(serving, stream, Caller(from.ip()), place).await,
        Err(error) => {
            place.counts.closed(Closed::Tls);
            refusal!("tls", %error, address = %from.ip(), "a connection to the control port was refused: its TLS handshake failed");
        }
    }
}

async fn speak<S>(serving: Serving, stream: S, caller: Caller, place: Arc<Place>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let Serving { router, mut leaves, .. } = serving;
    let service = service_fn(|request: Request<Incoming>| {
        place.asked();
        let (router, place) = (router.clone(), Arc::clone(&place));
        async move {
            let answer = answer(router, caller, request).await;
            place.answered();
            Ok::<_, Infallible>(answer)
        }
    });
    let mut builder = http1::Builder::new();
    // Timeouts are enforced here, because hyper does not distinguish a head from the idle time before it.
    builder.timer(TokioTimer::new()).header_read_timeout(None).max_buf_size(HEAD_BYTES_MAX);
    let io = TokioIo::new(Paced::new(stream, Arc::clone(&place)));
    let mut connection = pin!(builder.serve_connection(io, service));
    let mut is_leaving = false;
    loop {
        tokio::select! {
            served = &mut connection => {
                if let Err(error) = served {
                    tracing::debug!(%error, "a connection to the control port failed");
                }
                return;
            }
            why = overdue(&place) => return place.counts.closed(why),
            () = place.evicted() => return,
            Ok(_) = leaves.wait_for(|leaves| *leaves), if !is_leaving => {
                is_leaving = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}

/// Waits until the connection exceeds a timeout. Time in which this thread was delayed does not count: after a delay,
/// the connection is read before a timeout can fire.
async fn overdue(place: &Place) -> Closed {
    let (mut granted, mut granted_to) = (Duration::ZERO, None);
    loop {
        let now = Instant::now();
        let due = place.due();
        if granted_to != due.map(|(due, _)| due) {
            (granted, granted_to) = (Duration::ZERO, due.map(|(due, _)| due));
        }
        let wait = match due {
            Some((due, why)) if due + granted <= now => return why,
            // The connection may become active earlier.
            Some((due, _)) => (due + granted - now).min(LOOK_EVERY),
            None => LOOK_EVERY,
        };
        sleep(wait).await;
        let late = now.elapsed().saturating_sub(wait);
        if late > LATE_MAX {
            granted += late + LOOK_EVERY;
        }
    }
}

async fn answer(router: Router, caller: Caller, request: Request<Incoming>) -> Response {
    // The query is left out: it may contain a key.
    let path = request.uri().path().to_owned();
    let answering = supervise::request(TowerToHyperService::new(router).call(request));
    match AssertUnwindSafe(answering).catch_unwind().await {
        Ok(Ok(answer)) => {
            tell_refusal(caller, &path, &answer);
            answer
        }
        Err(panic) => {
            tracing::error!(
                path,
                panic = words(&*panic),
                "a request to the control port panicked and got status 500: this is a bug, please report it with this line"
            );
            let body = r#"{"error":{"code":100,"message":"internal server error"}}"#;
            (StatusCode::INTERNAL_SERVER_ERROR, [(header::CONTENT_TYPE, "application/json")], body)
                .into_response()
        }
    }
}

/// Logs a refused request. A daemon that is not ready logs that elsewhere.
fn tell_refusal(Caller(address): Caller, path: &str, answer: &Response) {
    let status = answer.status();
    if status.as_u16() < 400 || path.starts_with("/health") {
        return;
    }
    let denied = answer.extensions().get::<Denied>();
    let reason = denied.map(|denied| denied.reason).or(status.canonical_reason()).unwrap_or("refused");
    let allow = denied.map(|denied| denied.allow).filter(|allow| !allow.is_empty());
    let message = if path.starts_with("/api") {
        "a call of the server API was refused"
    } else {
        "a request to the control port was refused"
    };
    // The path is safe to log: hyper accepts no control characters in a target.
    refusal!(reason, code = status.as_u16(), %address, path, allow, "{message}");
}

/// The message of a panic.
pub(super) fn words(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no words")
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex},
        task::JoinHandle,
    };

    use super::*;
    use crate::control::{
        counts::Counts,
        places::{HEAD_MAX, IDLE_MAX, Places},
    };

    /// A connection over an in-memory pipe, with its counters and its stop signal.
    fn connect() -> (DuplexStream, Arc<Counts>, JoinHandle<()>, watch::Sender<bool>) {
        let router = Router::new()
            .route("/", get(|| async { "here" }))
            .route("/long", get(|| async { "x".repeat(1 << 20) }))
            .route("/panic", get(|| async { panic!("as a test wants it") as &str }));
        let counts = Arc::<Counts>::default();
        let place = Places::new(1, Arc::clone(&counts)).take().expect("a free place");
        let (ours, theirs) = duplex(1024);
        let (leave, leaves) = watch::channel(false);
        let (serving, caller) = (Serving { router, secure: None, leaves }, Caller([127, 0, 0, 1].into()));
        (ours, counts, tokio::spawn(speak(serving, theirs, caller, place)), leave)
    }

    fn closes(counts: &Counts, why: &str) -> u64 {
        counts.closes().find(|(name, _)| *name == why).expect("a known reason").1
    }

    async fn ask(stream: &mut DuplexStream, path: &str) -> String {
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: t\r\n\r\n").as_bytes()).await.unwrap();
        let mut answer = vec![0; 1024];
        let length = stream.read(&mut answer).await.unwrap();
        String::from_utf8(answer[..length].to_vec()).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn half_a_head_and_silence_end_in_time() {
        let began = Instant::now();
        let (mut stream, counts, serving, _leave) = connect();
        stream.write_all(b"GET / HTTP/1.1\r\nHost:").await.unwrap();
        serving.await.unwrap();
        assert!((HEAD_MAX..HEAD_MAX + 2 * LOOK_EVERY).contains(&began.elapsed()));
        assert_eq!((closes(&counts, "head"), counts.connections()), (1, 0));

        let (mut stream, counts, serving, _leave) = connect();
        assert!(ask(&mut stream, "/").await.ends_with("here"));
        let began = Instant::now();
        serving.await.unwrap();
        assert!((IDLE_MAX..IDLE_MAX + 2 * LOOK_EVERY).contains(&began.elapsed()));
        assert_eq!(closes(&counts, "idle"), 1);

        // A slow trickle of bytes is not a request.
        let (mut stream, counts, serving, _leave) = connect();
        assert!(ask(&mut stream, "/").await.ends_with("here"));
        let began = Instant::now();
        for byte in b"GET /slowly HTTP/1.1" {
            if stream.write_all(&[*byte]).await.is_err() {
                break;
            }
            sleep(Duration::from_secs(1)).await;
        }
        serving.await.unwrap();
        assert!(began.elapsed() < HEAD_MAX + 3 * LOOK_EVERY);
        assert_eq!(closes(&counts, "head"), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn what_came_while_nobody_looked_is_answered_and_silence_still_ends() {
        let (mut stream, counts, serving, _leave) = connect();
        for _ in 0..3 {
            stream.write_all(b"GET / HTTP/1.1\r\nHost:").await.unwrap();
            sleep(Duration::from_millis(1)).await;
            stream.write_all(b" t\r\n\r\n").await.unwrap();
            // The thread is blocked: everything has arrived, and no timeout was checked.
            tokio::time::advance(3 * IDLE_MAX).await;
            let mut answer = vec![0; 1024];
            let length = stream.read(&mut answer).await.unwrap();
            assert!(answer[..length].ends_with(b"here"));
        }
        let began = Instant::now();
        serving.await.unwrap();
        assert!(began.elapsed() < IDLE_MAX + 3 * LOOK_EVERY);
        assert_eq!((closes(&counts, "head"), closes(&counts, "idle")), (0, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_is_not_read_ends_and_one_that_is_read_steadily_does_not() {
        let (mut stream, counts, serving, _leave) = connect();
        ask(&mut stream, "/long").await;
        let began = Instant::now();
        serving.await.unwrap();
        assert!(began.elapsed() < Duration::from_secs(33));
        assert_eq!(closes(&counts, "answer"), 1);

        let (mut stream, counts, serving, _leave) = connect();
        ask(&mut stream, "/long").await;
        let mut piece = [0; 1024];
        for _ in 0..1000 {
            stream.read_exact(&mut piece).await.unwrap();
            sleep(Duration::from_millis(40)).await;
        }
        drop(stream);
        serving.await.unwrap();
        assert_eq!(closes(&counts, "answer"), 0, "40 s for a megabyte");
    }

    #[tokio::test(start_paused = true)]
    async fn a_panic_costs_its_own_request_an_answer_and_nothing_else() {
        let (mut stream, _, _serving, _leave) = connect();
        let answer = ask(&mut stream, "/panic").await;
        assert!(answer.starts_with("HTTP/1.1 500 ") && answer.contains(r#""code":100"#), "{answer}");
        assert!(ask(&mut stream, "/").await.ends_with("here"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_quiet_connection_leaves_when_it_is_told_to() {
        let (mut stream, _, serving, leave) = connect();
        assert!(ask(&mut stream, "/").await.ends_with("here"));
        leave.send(true).unwrap();
        serving.await.unwrap();
    }
}
