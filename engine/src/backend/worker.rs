//! Worker: the control thread's service for the shards' requests.
//!
//! In:  requests, in the order of their queue.
//! Out: calls, a bounded number at a time; answers in the shards' mailboxes.
//!
//! A full mailbox is retried: its owner takes messages every turn. A stopped shard takes none any more; its answers are
//! dropped after a timeout.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::{
    sync::{Semaphore, mpsc},
    time::sleep,
};

use super::{Answer, Counts, Event, KeysRequest, ProxyRequest, Queue, ReplyTo, keys::Keeper, proxy::Proxy};
use crate::{
    config::Config,
    descriptors,
    http_client::HttpClient,
    mesh::{Message, Shared},
    patience::Patience,
    supervise::{endless, task},
    token::{Endpoint, jwks::Schedule},
};

/// How long a mailbox may stay full.
const FULL_MAX: Duration = Duration::from_secs(10);

/// How long to wait before a full mailbox is tried again.
const RETRY_AFTER: Duration = Duration::from_millis(1);

/// The mailboxes of the shards.
#[derive(Clone, Debug)]
pub(super) struct Mailboxes(Arc<Shared>);

impl Mailboxes {
    pub(super) fn count(&self) -> usize {
        self.0.mailboxes.len()
    }

    pub(super) async fn send_to_others(&self, answer: impl Fn(usize) -> Answer) {
        for core in 0..self.count() {
            self.post(core, answer(core)).await;
        }
    }

    pub(super) async fn post(&self, core: usize, answer: Answer) {
        let mailbox = &self.0.mailboxes[core];
        let mut message = Message::Backend(answer);
        let mut patience = Patience::of(FULL_MAX);
        while let Err(back) = mailbox.push_control(message) {
            message = back;
            if patience.is_over() {
                tracing::warn!(
                    shard = core,
                    "an answer of the backend was dropped, because the mailbox of its shard stayed full: the shard is overloaded; see docs/operations/limits.md"
                );
                return;
            }
            sleep(RETRY_AFTER).await;
        }
    }
}

/// Everything needed to make calls.
#[derive(Debug)]
struct ProxyWorker {
    proxies: [Option<Proxy>; Event::ALL.len()],
    http: HttpClient,
    mailboxes: Mailboxes,
    counts: Arc<Counts>,
}

/// Serves the queue until no shard can send any more.
pub(crate) async fn serve(config: Config, shared: Arc<Shared>, mut queue: Queue) {
    let mailboxes = Mailboxes(shared);
    let http = HttpClient::with_idle_timeout(Duration::from_millis(config.backend.idle_ms));
    let keepers: Vec<_> = key_endpoints(&config)
        .into_iter()
        .map(|(endpoint, schedule)| {
            // A shard asks an endpoint again only after an answer.
            let (sender, receiver) = mpsc::channel(mailboxes.count());
            let keeper = Keeper::new(endpoint.clone(), schedule, http.clone(), mailboxes.clone());
            endless("keys", keeper.run(receiver));
            (endpoint, sender)
        })
        .collect();
    let proxies = Event::ALL.map(|(event, _)| Proxy::of(&config, event));
    let calls_max = descriptors::within_limit("backend.concurrency", config.backend.calls_max);
    let calls = Arc::new(Semaphore::new(calls_max));
    let desk = Arc::new(ProxyWorker { proxies, http, mailboxes, counts: queue.counts });
    let mut keys = queue.keys;
    endless("keys", async move {
        while let Some(ask) = keys.recv().await {
            hand_over(&keepers, ask).await;
        }
    });
    while let Some((back, call)) = queue.calls.recv().await {
        let Ok(place) = Arc::clone(&calls).acquire_owned().await else { return };
        let desk = Arc::clone(&desk);
        task("backend", async move {
            desk.answer(back, &call).await;
            drop(place);
        });
    }
}

impl ProxyWorker {
    async fn answer(&self, back: ReplyTo, call: &ProxyRequest) {
        let place = call.event as usize;
        Counts::add(&self.counts.calls[place]);
        Counts::add(&self.counts.calls_under_way);
        let (said, has_failed) = match &self.proxies[place] {
            Some(proxy) => proxy.call(&self.http, call).await,
            None => unreachable!("invariant: an event that is asked about has an endpoint"),
        };
        self.counts.calls_under_way.fetch_sub(1, Ordering::Relaxed);
        if has_failed {
            Counts::add(&self.counts.failures[place]);
        }
        self.mailboxes.post(back.core, Answer::ProxyResult(back, Box::new(said))).await;
    }
}

async fn hand_over(keepers: &[(Endpoint, mpsc::Sender<KeysRequest>)], ask: KeysRequest) {
    if let Some((_, keeper)) = keepers.iter().find(|(endpoint, _)| *endpoint == ask.endpoint) {
        // The queue has room for one request of every shard.
        let _ = keeper.send(ask).await;
    }
}

/// The JWKS endpoints of all kinds of tokens, deduplicated. If two sections name the same one, the stricter schedule
/// applies.
fn key_endpoints(config: &Config) -> Vec<(Endpoint, Schedule)> {
    let mut endpoints: Vec<(Endpoint, Schedule)> = Vec::new();
    let own = Some(&config.client.subscription_token).filter(|own| own.enabled).map(|own| &own.token);
    for token in [Some(&config.client.token), own].into_iter().flatten() {
        let Some(endpoint) = &token.jwks_public_endpoint else { continue };
        let schedule = Schedule::new(token.jwks_refresh_interval_ms, token.jwks_age_limit_ms);
        match endpoints.iter_mut().find(|(other, _)| other == endpoint) {
            Some((_, other)) => *other = other.stricter(schedule),
            None => endpoints.push((endpoint.clone(), schedule)),
        }
    }
    endpoints
}
