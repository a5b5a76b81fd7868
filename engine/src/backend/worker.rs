//! Worker: serves the shards' requests on the control thread.
//!
//! In:  requests, in queue order.
//! Out: a bounded number of concurrent calls; answers in the shards' mailboxes.
//!
//! A full mailbox is retried, because its shard takes messages every turn. A stopped shard takes none; its answers are
//! dropped after a timeout.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::sync::{Semaphore, mpsc};

use super::{
    Event, ProxyRequest,
    jwks::Keeper,
    proxy::Proxy,
    queue::{Answer, Counts, KeysRequest, Queue, ReplyTo, Shards},
};
use crate::{
    config::Config,
    http_client::HttpClient,
    mesh::{Message, ShardHandle},
    supervise::{endless, task},
    token::jwks::Schedule,
    value::HttpUrl,
};

/// The state shared by all calls.
#[derive(Debug)]
struct ProxyWorker<M> {
    proxies: [Option<Proxy>; Event::ALL.len()],
    http: HttpClient,
    shards: Shards<M>,
    counts: Arc<Counts>,
}

/// Serves the queue until no shard can send requests any more.
pub(crate) async fn serve<M>(config: Config, shards: Vec<ShardHandle<M>>, mut queue: Queue)
where
    M: Message + From<Answer> + Send + 'static,
{
    let shards = Shards(shards);
    let http = HttpClient::with_idle_timeout(Duration::from_millis(config.backend.idle_ms));
    let keepers: Vec<_> = key_endpoints(&config)
        .into_iter()
        .map(|(endpoint, schedule)| {
            // Room for one request per shard: a shard asks an endpoint again only after the answer.
            let (sender, receiver) = mpsc::channel(shards.count());
            let keeper = Keeper::new(endpoint.clone(), schedule, http.clone(), shards.clone());
            endless("keys", keeper.run(receiver));
            (endpoint, sender)
        })
        .collect();
    let proxies = Event::ALL.map(|(event, _)| Proxy::of(&config, event));
    let calls_max = config.backend.calls_max as usize;
    let calls = Arc::new(Semaphore::new(calls_max));
    let desk = Arc::new(ProxyWorker { proxies, http, shards, counts: queue.counts });
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

impl<M: Message + From<Answer>> ProxyWorker<M> {
    async fn answer(&self, back: ReplyTo, call: &ProxyRequest) {
        let place = call.event as usize;
        Counts::add(&self.counts.calls[place]);
        Counts::add(&self.counts.calls_under_way);
        let (said, has_failed) = match &self.proxies[place] {
            Some(proxy) => proxy.call(&self.http, call).await,
            None => unreachable!("invariant: only events with an endpoint are queued"),
        };
        self.counts.calls_under_way.fetch_sub(1, Ordering::Relaxed);
        if has_failed {
            Counts::add(&self.counts.failures[place]);
        }
        self.shards.answer(back.shard, Answer::ProxyResult(back, Box::new(said))).await;
    }
}

async fn hand_over(keepers: &[(HttpUrl, mpsc::Sender<KeysRequest>)], ask: KeysRequest) {
    if let Some((_, keeper)) = keepers.iter().find(|(endpoint, _)| *endpoint == ask.endpoint) {
        // The queue has room for one request of every shard.
        let _ = keeper.send(ask).await;
    }
}

/// The JWKS endpoints of all kinds of tokens, without duplicates. If two sections name the same endpoint, the stricter
/// schedule applies.
fn key_endpoints(config: &Config) -> Vec<(HttpUrl, Schedule)> {
    let mut endpoints: Vec<(HttpUrl, Schedule)> = Vec::new();
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
