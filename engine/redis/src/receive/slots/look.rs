//! Look: asks servers of a cluster who owns which slot, and knows when to ask again.
//!
//! In:  servers that may know; signs; the time.
//! Out: a topology, or none where nobody answers; when to look next.

use std::{
    future::Future,
    time::{Duration, Instant},
};

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::time::{Instant as Deadline, timeout, timeout_at};
use tracing::debug;

use super::topology::Topology;
use crate::receive::{
    cause::{Cause, printable},
    connection::{Address, Connection, ConnectionOptions},
    reader::Reply,
};

/// Servers that are asked at a time: more of them would know nothing else.
pub(super) const ASKED_MAX: usize = 16;

/// Once one has answered, others have so long: one of them may be what has failed.
const OTHERS_WITHIN: Duration = Duration::from_millis(300);

/// After a sign it is looked at once, and then again after so long, twice that, …
const FIRST: Duration = Duration::from_millis(100);
/// … at most so long, …
const MOST: Duration = Duration::from_secs(1);
/// … until so long after the last sign: a failover takes its time, and so does the news of it.
const RESTLESS: Duration = Duration::from_secs(5);

/// What these servers say together. None where none of them does.
pub(super) fn look(
    options: &ConnectionOptions,
    servers: Vec<Address>,
) -> impl Future<Output = Option<Topology>> + Send + 'static {
    let within = options.step_within * 2;
    let ask = |server: Address| {
        let options = ConnectionOptions {
            address: server.clone(),
            // A replica knows as much.
            is_master_wanted: false,
            up_within: within,
            ..options.clone()
        };
        async move {
            let answer = timeout(within, ask(&options)).await;
            (server, answer.unwrap_or(Err(Cause::Deadline("CLUSTER NODES"))))
        }
    };
    let mut answers: FuturesUnordered<_> = servers.into_iter().map(ask).collect();
    async move {
        let mut topology = Topology::default();
        let mut until = None;
        loop {
            let next = match until {
                Some(until) => timeout_at(until, answers.next()).await.unwrap_or(None),
                None => answers.next().await,
            };
            match next {
                None => break,
                Some((server, Ok(answer))) => {
                    if topology.add(&answer, &server) {
                        until = until.or(Some(Deadline::now() + OTHERS_WITHIN));
                    }
                }
                Some((server, Err(cause))) => {
                    debug!(%server, "it was not asked which slots it has: {cause}");
                }
            }
        }
        until.is_some().then_some(topology)
    }
}

async fn ask(options: &ConnectionOptions) -> Result<String, Cause> {
    const QUESTION: &str = "CLUSTER NODES";
    let mut connection = Connection::open(options).await?;
    match connection.ask(QUESTION, &["CLUSTER", "NODES"], options.step_within).await? {
        Reply::Text(text) => Ok(String::from_utf8_lossy(&text).into_owned()),
        Reply::Error(error) => Err(Cause::Handshake { step: QUESTION, answer: printable(&error) }),
        other => Err(Cause::Handshake { step: QUESTION, answer: format!("{other:?}") }),
    }
}

/// When to look.
#[derive(Debug)]
pub(super) struct Schedule {
    /// While all is well.
    every: Duration,
    began: Instant,
    pause: Duration,
    restless_until: Instant,
    pub(super) next: Instant,
}

impl Schedule {
    /// At once, and every so often.
    pub(super) fn new(every: Duration, now: Instant) -> Self {
        Self { every, began: now, pause: FIRST, restless_until: now, next: now }
    }

    /// Something happened.
    pub(super) fn sign(&mut self, now: Instant) {
        if now >= self.restless_until {
            self.pause = FIRST;
        }
        self.restless_until = now + RESTLESS;
        self.next = self.next.min(self.began + self.pause);
    }

    /// A look begins.
    pub(super) fn begin(&mut self, now: Instant) {
        self.began = now;
    }

    /// It is over. `part` of the usual time, 0 to 1, spreads the nodes of a deployment.
    pub(super) fn done(&mut self, is_well: bool, part: f64, now: Instant) {
        if is_well && now >= self.restless_until {
            self.pause = FIRST;
            self.next = now + self.every.mul_f64(part.mul_add(0.4, 0.8));
        } else {
            self.next = now + self.pause;
            self.pause = (self.pause * 2).min(MOST);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_looked_at_once_after_a_sign_and_seldom_while_all_is_well() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut schedule = Schedule::new(Duration::from_secs(30), start);
        schedule.begin(start);
        schedule.done(true, 0.5, start);
        assert_eq!(schedule.next, at(30_000));
        schedule.sign(at(10_000));
        assert!(schedule.next <= at(10_000));
        let mut now = at(10_000);
        for ms in [10_100, 10_300, 10_700, 11_500, 12_500, 13_500, 14_500] {
            schedule.begin(now);
            schedule.done(true, 0.5, now);
            now = schedule.next;
            assert_eq!(now, at(ms));
            // More signs of the same make it no faster.
            schedule.sign(at(10_100));
            assert_eq!(schedule.next, now);
        }
        schedule.begin(at(16_000));
        schedule.done(true, 0.0, at(16_000));
        assert_eq!(schedule.next, at(40_000), "it is over");
    }

    #[test]
    fn a_cluster_that_is_not_well_is_looked_at_every_second() {
        let start = Instant::now();
        let mut schedule = Schedule::new(Duration::from_secs(30), start);
        let mut now = start;
        for _ in 0..20 {
            schedule.begin(now);
            schedule.done(false, 0.5, now);
            assert!(schedule.next > now && schedule.next <= now + MOST);
            now = schedule.next;
        }
        assert_eq!(schedule.next, now);
        schedule.begin(now);
        schedule.done(true, 1.0, now);
        assert_eq!(schedule.next, now + Duration::from_secs(36));
    }
}
