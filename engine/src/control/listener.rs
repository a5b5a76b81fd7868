//! Listener: accepts connections to the control port.
//!
//! In:  connections.
//! Out: each connection served concurrently, if it gets a place; otherwise 503.
//!
//! Worst case: the configured number of places, at most a quarter of RLIMIT_NOFILE, plus [`REFUSALS_MAX`] descriptors.

use std::{future::poll_fn, io, pin::Pin, sync::Arc, time::Duration};

use tokio::{
    io::AsyncWrite as _,
    net::{TcpListener, TcpStream},
    sync::watch,
    task::{JoinSet, yield_now},
    time::{sleep, timeout},
};

use super::{
    connection::{Serving, attend},
    counts::{Closed, Counts},
    places::Places,
};
use crate::log::refusal;

/// The pause after a failed accept. The usual cause is a lack of descriptors.
const ACCEPT_AGAIN_AFTER: Duration = Duration::from_millis(100);

/// Concurrent refusals. Further connections are closed without an answer.
const REFUSALS_MAX: usize = 16;

/// Timeout for a refusal.
const REFUSAL_MAX: Duration = Duration::from_secs(1);

const REFUSAL: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

/// Serves the control port until it `leaves`, and then until all requests in progress are answered.
pub(super) async fn serve(
    listener: TcpListener,
    mut places: Places,
    counts: Arc<Counts>,
    serving: Serving,
    mut leaves: watch::Receiver<bool>,
) {
    let (mut connections, mut refusals) = (JoinSet::new(), JoinSet::new());
    let mut is_failing = false;
    loop {
        let (stream, from) = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    if !is_failing {
                        tracing::warn!(%error, "cannot accept connections on the control port: open ones stay, and the daemon keeps trying; `holdfast doctor` checks the limits of this machine");
                    }
                    is_failing = true;
                    sleep(ACCEPT_AGAIN_AFTER).await;
                    continue;
                }
            },
            Some(_) = connections.join_next() => continue,
            Some(_) = refusals.join_next() => continue,
            _ = leaves.wait_for(|leaves| *leaves) => break,
        };
        is_failing = false;
        counts.accepted();
        match places.take() {
            Some(place) => {
                connections.spawn(attend(serving.clone(), stream, from, place));
            }
            None => {
                counts.closed(Closed::Full);
                let allow = "http_server.internal_connection_limit";
                refusal!("full", address = %from.ip(), allow, "a connection to the control port was refused: it has too many");
                if refusals.len() < REFUSALS_MAX && serving.secure.is_none() {
                    refusals.spawn(timeout(REFUSAL_MAX, refuse(stream)));
                }
            }
        }
        // Lets an evicted connection close its descriptor before the next accept.
        yield_now().await;
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// Answers, and then reads the remaining input: unread input would make the kernel discard the answer (RFC 9112 §9.6).
async fn refuse(mut stream: TcpStream) -> io::Result<()> {
    stream.writable().await?;
    stream.try_write(REFUSAL)?;
    poll_fn(|cx| Pin::new(&mut stream).poll_shutdown(cx)).await?;
    let mut unread = [0; 1024];
    loop {
        stream.readable().await?;
        match stream.try_read(&mut unread) {
            Ok(0) => return Ok(()),
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
            _ => {}
        }
    }
}
