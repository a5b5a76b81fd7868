//! Keys: the public keys of JWKS endpoints, for all shards.
//!
//! In:  the endpoints of the configuration; the time; shards that met an unknown key.
//! Out: key sets for all shards; or a notice that an endpoint failed, or when it will be asked.
//!
//! An endpoint is asked at startup, at the refresh interval, and for unknown keys at most every 10 seconds for all
//! shards together. While it fails, known keys stay valid until they are too old.

use std::time::Duration;

use tokio::{
    sync::mpsc,
    time::{MissedTickBehavior, interval},
};

use super::{Answer, worker::Mailboxes};
use crate::{
    http_client::HttpClient,
    time::Clock,
    token::{
        Endpoint, KeySet,
        jwks::{Schedule, fetch},
    },
};

/// Resolution of due times.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A shard asks whether the endpoint has newer keys. It asks again only after an answer to this.
#[derive(Debug)]
pub(crate) struct KeysRequest {
    pub(crate) endpoint: Endpoint,
    pub(crate) core: usize,
    /// The last token of this shard that waits for the answer; tokens are numbered from 1.
    pub(crate) number: u64,
}

/// News of an endpoint.
#[derive(Clone, Debug)]
pub(crate) struct KeyNews {
    pub(crate) endpoint: Endpoint,
    pub(crate) what: KeysAre,
}

/// The state of its keys.
#[derive(Clone, Debug)]
pub(crate) enum KeysAre {
    /// Fetched after this shard's tokens up to that number arrived.
    Fetched { keys: KeySet, asked: u64 },
    /// The fetch failed; known keys stay valid. `asked` as above.
    Failed { asked: u64 },
    /// Fetched a moment ago; the next fetch is in this many milliseconds.
    FetchedIn { ms: u64 },
    /// The known keys are too old to be used.
    TooOld,
}

/// Keeps the keys of one endpoint up to date.
pub(super) struct Keeper {
    endpoint: Endpoint,
    schedule: Schedule,
    http: HttpClient,
    mailboxes: Mailboxes,
    /// A clock that runs while the machine is suspended: keys age in that time too.
    clock: Clock,
    /// By shard, the last token known to wait.
    asked: Vec<u64>,
    /// True exactly when a token waits for the next fetch.
    is_wanted: bool,
}

impl Keeper {
    pub(super) fn new(
        endpoint: Endpoint,
        schedule: Schedule,
        http: HttpClient,
        mailboxes: Mailboxes,
    ) -> Self {
        let asked = vec![0; mailboxes.count()];
        Self { endpoint, schedule, http, mailboxes, clock: Clock::start(), asked, is_wanted: false }
    }

    /// Runs until no shard can ask any more.
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
        self.asked[ask.core] = ask.number;
        self.is_wanted = true;
        match self.schedule.may_fetch_in(self.now_ms()) {
            0 => self.fetch().await,
            ms => {
                let look_ms = u64::try_from(LOOK_EVERY.as_millis()).unwrap_or(u64::MAX);
                let news = self.news(KeysAre::FetchedIn { ms: ms.saturating_add(look_ms) });
                self.mailboxes.post(ask.core, Answer::Keys(news)).await;
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
            self.mailboxes.send_to_others(|_| Answer::Keys(news.clone())).await;
        }
    }

    async fn fetch(&mut self) {
        // Later requests cannot know whether their key was in this fetch.
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
        let news = |core: usize| {
            let asked = asked[core];
            self.news(match &keys {
                Some(keys) => KeysAre::Fetched { keys: keys.clone(), asked },
                None => KeysAre::Failed { asked },
            })
        };
        self.mailboxes.send_to_others(|core| Answer::Keys(news(core))).await;
    }

    fn news(&self, what: KeysAre) -> KeyNews {
        KeyNews { endpoint: self.endpoint.clone(), what }
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.clock.uptime().as_millis()).unwrap_or(u64::MAX)
    }
}
