//! Driver: sends batches, sees to the connection, and never ends unless it is told to.
//!
//! In:  publications that wait; what the connection does.
//! Out: answers.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use fred::{
    interfaces::{ClientLike as _, PubsubInterface as _},
    types::{ClusterHash, CustomCommand, Value},
};
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::{
    select,
    time::{MissedTickBehavior, interval, sleep_until, timeout},
};

use super::{
    answer::Published,
    breaker::Down,
    commands::Shared,
    failure::Failure,
    lanes::{Ask, Batch, Kind, Returned, refuse},
    publish::{call, fresh_epoch, results},
    supervisor::supervise,
    value::number,
};
use crate::scripts::PUBLISH;

/// How often what waited too long is looked for.
const SWEEP: Duration = Duration::from_millis(100);
/// Beyond the client library's own deadline.
const GRACE: Duration = Duration::from_millis(200);

/// What runs behind [`Commands`](super::Commands).
#[derive(Debug)]
pub struct Driver(Arc<Shared>);

/// Answers all that waits, however the driver ends.
struct End(Arc<Shared>);

impl Drop for End {
    fn drop(&mut self) {
        self.0.breaker.open(Down::Stopped);
        let asks = self.0.lanes().drain(None);
        refuse(asks, &Failure::Down(Down::Stopped));
    }
}

impl Driver {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self(shared)
    }

    /// Runs until the last handle is gone or says so, or the future is dropped.
    pub async fn run(self) {
        let shared = self.0;
        let _end = End(shared.clone());
        select! {
            () = shared.stop.notified() => {}
            () = supervise(&shared) => {}
            () = send(&shared) => {}
        }
        // What the library still has to say goes out; then its connection ends.
        let _ = timeout(GRACE, shared.client().quit()).await;
    }
}

/// Sends batches as they become due.
async fn send(shared: &Shared) {
    let mut under_way = FuturesUnordered::new();
    let mut sweep = interval(SWEEP);
    sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        if let Some(down) = shared.breaker.down() {
            let asks = shared.lanes().drain(None);
            fail(shared, asks, &Failure::Down(down));
        }
        loop {
            let batch = shared.lanes().take(Instant::now());
            let Some(batch) = batch else { break };
            under_way.push(fly(shared, batch));
        }
        let due = shared.lanes().due();
        select! {
            // What a turn of the asker still has to say goes along.
            () = shared.wake.notified() => tokio::task::yield_now().await,
            Some(returned) = under_way.next() => shared.lanes().give_back(&returned),
            () = sleep_until(due.unwrap_or_else(Instant::now).into()), if due.is_some() => {}
            () = shared.breaker.until(|down| down.is_some()), if shared.breaker.down().is_none() => {}
            _ = sweep.tick() => {
                let before = Instant::now().checked_sub(shared.options.send_within);
                let asks = before.map(|before| shared.lanes().drain(Some(before)));
                fail(shared, asks.unwrap_or_default(), &Failure::Expired);
            }
        }
    }
}

fn fail(shared: &Shared, asks: Vec<Ask>, why: &Failure) {
    for _ in &asks {
        shared.counters.failed(why);
    }
    refuse(asks, why);
}

/// Sends one batch and answers its publications.
async fn fly(shared: &Shared, batch: Batch) -> Returned {
    let kind = batch.kind;
    let (returned, asks) = batch.split();
    shared.counters.batch(asks.len());
    let start = Instant::now();
    let within = shared.options.answer_within + GRACE;
    match kind {
        Kind::Plain => pipeline(shared, within, asks).await,
        Kind::Script => script(shared, within, asks).await,
    }
    shared.counters.round_trip(start.elapsed());
    returned
}

async fn script(shared: &Shared, within: Duration, asks: Vec<Ask>) {
    let call = call(&shared.layout, fresh_epoch(), shared.options.idempotency, &asks);
    let kept = asks.iter().map(|ask| &ask.publication).find(|publication| publication.keep.is_some());
    let slot = kept.map(|publication| shared.layout.slot(&publication.channel));
    let reply = match timeout(within, shared.run(&PUBLISH, call.keys, call.arguments)).await {
        Ok(Ok(reply)) => results(reply, asks.len()),
        Ok(Err(error)) => Err(error.into()),
        Err(_) => Err(Failure::Late),
    };
    let reply = match reply {
        Ok(results) => replicated(shared, within, slot).await.map(|()| results),
        Err(failure) => Err(failure),
    };
    match reply {
        Ok(results) => {
            shared.breaker.answered();
            for (ask, result) in asks.into_iter().zip(results) {
                answer(shared, ask, result);
            }
        }
        Err(failure) => {
            // One call, one verdict; but each publication counts.
            shared.judge(&failure);
            for _ in 1..asks.len() {
                shared.counters.failed(&failure);
            }
            refuse(asks, &failure);
        }
    }
}

/// Waits until as many replicas as have to have what a script has written to `slot`; nothing, if it has written nothing.
/// Each server has one connection, so that what was written before WAIT was written on the same one.
async fn replicated(shared: &Shared, within: Duration, slot: Option<u16>) -> Result<(), Failure> {
    let (replicas, wait) = (shared.options.wait_replicas, shared.options.wait_replicas_within);
    let Some(slot) = slot.filter(|_| replicas > 0) else { return Ok(()) };
    let command = CustomCommand::new_static("WAIT", ClusterHash::Custom(slot), false);
    let arguments = vec![replicas.to_string(), wait.as_millis().to_string()];
    let reply: Value = timeout(within + wait, shared.client().custom(command, arguments))
        .await
        .map_err(|_| Failure::Late)??;
    if number(reply)? >= replicas.into() { Ok(()) } else { Err(Failure::Unreplicated) }
}

async fn pipeline(shared: &Shared, within: Duration, asks: Vec<Ask>) {
    let pipeline = shared.client().pipeline();
    let mut is_queued = Ok(());
    let sent = asks.iter().map(|ask| &ask.publication).filter(|publication| publication.is_sent);
    let sent: Vec<_> = sent
        .map(|publication| (shared.layout.channel(&publication.channel), publication.payload.clone()))
        .collect();
    for (channel, payload) in sent {
        // Queued in memory only; the answer is that it is.
        let queued: Result<(), _> = if shared.layout.is_sharded() {
            pipeline.spublish(channel, payload).await
        } else {
            pipeline.publish(channel, payload).await
        };
        is_queued = is_queued.and(queued);
    }
    let mut replies = match is_queued {
        Err(error) => Err(error.into()),
        Ok(()) => timeout(within, pipeline.try_all::<Value>()).await.map_err(|_| Failure::Late),
    }
    .map(Vec::into_iter);
    if let Err(failure) = &replies {
        shared.judge(failure);
    }
    for ask in asks {
        let result = match &mut replies {
            _ if !ask.publication.is_sent => Ok(Published::default()),
            Err(failure) => {
                shared.counters.failed(failure);
                ask.answer.give(Err(failure.clone()));
                continue;
            }
            Ok(replies) => match replies.next() {
                Some(Ok(_)) => Ok(Published::default()),
                Some(Err(error)) => Err(error.into()),
                None => Err(Failure::Garbled),
            },
        };
        if result.is_ok() {
            shared.breaker.answered();
        }
        answer(shared, ask, result);
    }
}

fn answer(shared: &Shared, ask: Ask, result: Result<Published, Failure>) {
    match &result {
        Ok(_) => {
            shared.counters.publications.fetch_add(1, Relaxed);
            shared.counters.publication_bytes.fetch_add(ask.publication.payload.len() as u64, Relaxed);
        }
        Err(failure) => shared.judge(failure),
    }
    ask.answer.give(result);
}
