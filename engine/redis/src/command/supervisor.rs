//! Supervisor: whether there is a connection, and to the right Redis.
//!
//! In:  what the client library says of its connection; what Redis says of itself.
//! Out: the breaker, open or closed.
//!
//! The library says "connected" once TCP and HELLO are through. Here a connection counts once Redis says that it is a master
//! and answers PING, as with the receiving side.

use std::{
    ops::Range,
    sync::atomic::Ordering::Relaxed,
    time::{Duration, Instant},
};

use fred::{
    clients::Client,
    error::{Error, ErrorKind},
    interfaces::{ClientLike as _, EventInterface as _, LuaInterface as _},
    types::{ClusterHash, ConnectHandle, CustomCommand, Value},
};
use tokio::{
    select,
    sync::broadcast::{Receiver, error::RecvError},
    time::{sleep, timeout},
};
use tracing::{info, warn};

use super::{
    breaker::Down,
    commands::Shared,
    failure::Failure,
    options::{PresenceExpiry, Servers},
    sentinels::Sentinels,
    value::{array, list, number, text},
};
use crate::scripts::ALL;

/// How often a Redis that is down is tried, beside whenever the library connects: at first, and after many times.
const TRY_EVERY: Range<Duration> = Duration::from_millis(100)..Duration::from_secs(2);
/// So many late answers of a cluster in a row mean that the library is stuck.
const LATE_MAX: u32 = 2;
/// How often sentinels are asked.
const SENTINELS_EVERY: Duration = Duration::from_secs(1);

/// The library's task behind a client. Without its owner it would go on for ever.
pub(super) struct Connection(ConnectHandle);

impl Connection {
    /// Connects, again and again.
    pub(super) fn begin(client: &Client) -> Self {
        Self(client.connect())
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Opens and closes the breaker; does not come back.
pub(super) async fn supervise(shared: &Shared) {
    let mut client = shared.client();
    let sentinels = Sentinels::of(&shared.options);
    let mut check_every = shared.options.check_every;
    if sentinels.is_some() {
        check_every = check_every.min(SENTINELS_EVERY);
    }
    let (mut errors, mut reconnects) = (client.error_rx(), client.reconnect_rx());
    let mut unresponsive = client.unresponsive_rx();
    let mut connection = Connection::begin(&client);
    let is_cluster = matches!(shared.options.servers, Servers::Cluster(_));
    // Late answers in a row; whether the client is a new one since the breaker opened.
    let (mut pause, mut late, mut is_new) = (TRY_EVERY.start, 0, false);
    loop {
        let down = shared.breaker.down();
        // Some server of a cluster stands still. The others would say who has its slots by now, but the library goes on asking
        // it, or waits for it within its own task.
        let is_stuck = is_cluster && (late >= LATE_MAX || down == Some(Down::Silent) && !is_new);
        if connection.0.is_finished() || is_stuck {
            warn!("the connection to Redis was given up; a new one begins");
            client = shared.current.renew(&shared.options);
            connection = Connection::begin(&client);
            (late, is_new) = (0, true);
            (errors, reconnects, unresponsive) =
                (client.error_rx(), client.reconnect_rx(), client.unresponsive_rx());
        }
        if let Some(down) = down {
            drain(&mut errors);
            if client.is_connected() {
                match check(shared, sentinels.as_ref()).await {
                    // What ended meanwhile ended after the check began.
                    Ok(()) if errors.is_empty() => {
                        load(shared).await;
                        info!("Redis can be asked");
                        shared.breaker.close();
                        (pause, late, is_new) = (TRY_EVERY.start, 0, false);
                        continue;
                    }
                    Ok(()) => {}
                    Err(failure) => {
                        info!("Redis cannot be asked yet: {failure}");
                        late = if failure == Failure::Late { late + 1 } else { 0 };
                        if down == Down::WrongPrimary || failure.is_of_wrong_primary() {
                            // The name or the sentinels may have another answer by now.
                            let _ = timeout(shared.options.connect_within, client.force_reconnection()).await;
                        }
                    }
                }
            }
            select! {
                connected = reconnects.recv() => match connected {
                    Ok(_) => {
                        shared.counters.connections.fetch_add(1, Relaxed);
                    }
                    // The library's task is about to end; without a pause it might never get to it.
                    Err(_) => sleep(TRY_EVERY.start).await,
                },
                () = sleep(pause.mul_f64(rand::random_range(0.5..1.0))) => {
                    pause = (pause * 2).min(TRY_EVERY.end);
                }
            }
            continue;
        }
        select! {
            error = next(&mut errors) => {
                warn!("the connection to Redis ended: {error}");
                shared.breaker.open(down_of(&error));
            }
            _ = next(&mut unresponsive) => shared.breaker.open(Down::Silent),
            () = shared.breaker.until(|down| down.is_some()) => {}
            () = sleep(check_every) => {
                if let Err(failure) = check(shared, sentinels.as_ref()).await {
                    warn!("Redis is no primary that answers: {failure}");
                    shared.breaker.open(if failure == Failure::Late { Down::Silent } else { Down::WrongPrimary });
                }
            }
        }
    }
}

fn down_of(error: &Error) -> Down {
    if Failure::from(error.clone()).is_of_wrong_primary() { Down::WrongPrimary } else { Down::Lost }
}

fn drain<T: Clone>(receiver: &mut Receiver<T>) {
    while !receiver.is_empty() {
        let _ = receiver.try_recv();
    }
}

/// The next event; a closed or overrun channel is one as well.
async fn next<T: Event>(receiver: &mut Receiver<T>) -> Error {
    match receiver.recv().await {
        Ok(event) => event.into_error(),
        Err(RecvError::Lagged(_)) => Error::new(ErrorKind::Unknown, "many errors"),
        Err(RecvError::Closed) => Error::new(ErrorKind::Canceled, "the client ended"),
    }
}

/// What the library tells of.
trait Event: Clone {
    fn into_error(self) -> Error;
}

impl Event for (Error, Option<fred::types::config::Server>) {
    fn into_error(self) -> Error {
        self.0
    }
}

impl Event for fred::types::config::Server {
    fn into_error(self) -> Error {
        Error::new(ErrorKind::Timeout, "unresponsive")
    }
}

/// Is this the master, and does it answer? In a cluster each node may be asked, and the library finds the masters.
async fn check(shared: &Shared, sentinels: Option<&Sentinels>) -> Result<(), Failure> {
    let client = shared.client();
    if let Some(sentinels) = sentinels
        && let Some((host, port)) = sentinels.majority().await
        && !client.active_connections().iter().any(|ours| *ours.host == *host && ours.port == port)
    {
        return Err(Failure::Denied(format!("READONLY sentinels call {host}:{port} the primary")));
    }
    if !matches!(shared.options.servers, Servers::Cluster(_)) {
        let role = CustomCommand::new_static("ROLE", None, false);
        let reply = shared.ask_anyway(client.custom::<Value, Value>(role, Vec::new())).await?;
        let role = text(list(reply)?.into_iter().next().unwrap_or(Value::Null))?;
        if role != "master" {
            return Err(Failure::Denied(format!("READONLY its role is {role}")));
        }
    }
    match shared.ask_anyway(client.ping::<Value>(None)).await {
        // It cannot save, and says so to whoever pings it. It serves all the same, or says no to each write.
        Err(Failure::Denied(answer)) if answer.starts_with("MISCONF") => {}
        answer => drop(answer?),
    }
    // Who may not ask for the time, may ask for all else.
    let _ = note_clock(shared).await;
    Ok(())
}

/// How far Redis' clock is from ours: it decides who is present.
async fn note_clock(shared: &Shared) -> Result<(), Failure> {
    let client = shared.client();
    let asked = Instant::now();
    let time = CustomCommand::new_static("TIME", None, false);
    let reply = shared.ask_anyway(client.custom::<Value, Value>(time, Vec::new())).await?;
    let [seconds, micros] = array(reply)?;
    shared.counters.clock((number(seconds)?, number(micros)?), asked.elapsed());
    Ok(())
}

/// Scripts before they are needed, and what the server can do. A failure costs nothing: scripts go by their text then.
async fn load(shared: &Shared) {
    let client = shared.client();
    for script in ALL {
        let _ = shared.ask_anyway(client.script_load_cluster::<Value, _>(script.text)).await;
    }
    let is_by_field = match shared.options.presence.expiry {
        PresenceExpiry::SortedSet => false,
        PresenceExpiry::Field => true,
        PresenceExpiry::Auto => {
            // Of a key that is not there: -2, or that the command is not known. COMMAND INFO would be the question, but its
            // answer in RESP3 is beyond the library.
            let question = CustomCommand::new_static("HEXPIRE", ClusterHash::FirstKey, false);
            let key = shared.layout.presence("?").into();
            let words = ["1", "FIELDS", "1", "?"].map(Value::from_static_str);
            let words = [key].into_iter().chain(words).collect();
            shared.ask_anyway(client.custom::<Value, Value>(question, words)).await.is_ok()
        }
    };
    shared.is_by_field.store(is_by_field, Relaxed);
}
