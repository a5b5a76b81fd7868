//! JWKS: fetches the public keys of JWKS endpoints for all shards.
//!
//! In:  the configured endpoints; the time; requests of shards that met an unknown key.
//! Out: key sets for all shards; or a notice that a fetch failed, or when the next one will start.
//!
//! An endpoint is fetched at startup, at the refresh interval, and for unknown keys at most every 10 seconds for all
//! shards together. While fetches fail, known keys stay valid until they are too old.

use std::time::Duration;

use tokio::{
    sync::mpsc,
    time::{MissedTickBehavior, interval},
};

use super::queue::{Answer, KeyNews, KeysAre, KeysRequest, Shards};
use crate::{
    http_client::HttpClient,
    ids::ShardId,
    mesh::Message,
    time::Clock,
    token::jwks::{Schedule, fetch},
    value::HttpUrl,
};

/// How often due times are checked.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Keeps the keys of one endpoint up to date.
pub(super) struct Keeper<M> {
    endpoint: HttpUrl,
    schedule: Schedule,
    http: HttpClient,
    shards: Shards<M>,
    /// A clock that also runs while the machine is suspended: keys age in that time too.
    clock: Clock,
    /// For each shard, the number of the last token that waits for a fetch.
    asked: Vec<u64>,
    /// True exactly when a token waits for the next fetch.
    is_wanted: bool,
}

impl<M: Message + From<Answer>> Keeper<M> {
    pub(super) fn new(endpoint: HttpUrl, schedule: Schedule, http: HttpClient, shards: Shards<M>) -> Self {
        let asked = vec![0; shards.count()];
        Self { endpoint, schedule, http, shards, clock: Clock::start(), asked, is_wanted: false }
    }

    /// Runs until no shard can send requests any more.
    pub(super) async fn run(mut self, mut asks: mpsc::Receiver<KeysRequest>) {
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                ask = asks.recv() => match ask {
                    Some(ask) => self.asked(&ask).await,
                    None => return,
                },
                _ = looks.tick() => self.look().await,
            }
        }
    }

    async fn asked(&mut self, ask: &KeysRequest) {
        self.asked[ask.shard.index()] = ask.number;
        self.is_wanted = true;
        match self.schedule.may_fetch_in(self.now_ms()) {
            0 => self.fetch().await,
            ms => {
                let look_ms = u64::try_from(LOOK_EVERY.as_millis()).unwrap_or(u64::MAX);
                let news = self.news(KeysAre::FetchedIn { ms: ms.saturating_add(look_ms) });
                self.shards.answer(ask.shard, Answer::Keys(news)).await;
            }
        }
    }

    async fn look(&mut self) {
        let now_ms = self.now_ms();
        if self.schedule.is_due(now_ms) || (self.is_wanted && self.schedule.may_fetch_in(now_ms) == 0) {
            self.fetch().await;
        } else if self.schedule.keys_end(now_ms) {
            tracing::error!(endpoint = %self.endpoint, "the token keys are older than jwks_age_limit: clients with tokens are told to try again until the endpoint answers; check the endpoint");
            let news = self.news(KeysAre::TooOld);
            self.shards.answer_all(|_| Answer::Keys(news.clone())).await;
        }
    }

    async fn fetch(&mut self) {
        // A request that arrives during the fetch needs another one: its key may be missing from this response.
        let asked = self.asked.clone();
        self.is_wanted = false;
        self.schedule.began(self.now_ms());
        let fetched = fetch(&self.http, &self.endpoint).await;
        let fresh_ms = fetched.as_ref().map(|fetched| fetched.fresh_ms).map_err(drop);
        self.schedule.ended(fresh_ms);
        let keys = match fetched {
            Ok(fetched) => {
                tracing::info!(endpoint = %self.endpoint, keys = fetched.keys.len(), "fetched the token keys");
                Some(fetched.keys)
            }
            Err(error) => {
                tracing::warn!(endpoint = %self.endpoint, %error, "cannot fetch the token keys: known keys stay valid until jwks_age_limit; check the endpoint");
                None
            }
        };
        let news = |shard: ShardId| {
            let asked = asked[shard.index()];
            self.news(match &keys {
                Some(keys) => KeysAre::Fetched { keys: keys.clone(), asked },
                None => KeysAre::Failed { asked },
            })
        };
        self.shards.answer_all(|shard| Answer::Keys(news(shard))).await;
    }

    fn news(&self, what: KeysAre) -> KeyNews {
        KeyNews { endpoint: self.endpoint.clone(), what }
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.clock.uptime().as_millis()).unwrap_or(u64::MAX)
    }
}
