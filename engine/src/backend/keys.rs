//! Keys: the public keys of JWKS endpoints, for all shards.
//!
//! In:  the endpoints of the configuration; the time; shards that met an unknown key.
//! Out: key sets for all shards, and the word that there is no newer one.
//!
//! An endpoint is asked at the start, every hour, and for unknown keys at most every 10 seconds, for all shards
//! together. Keys that are known stay in force while the endpoint fails.

use std::time::Duration;

use tokio::{
    sync::mpsc,
    time::{Instant, MissedTickBehavior, interval},
};

use super::{Answer, desk::Mailboxes};
use crate::{
    http_client::HttpClient,
    token::{
        Endpoint, KeySet,
        jwks::{Schedule, fetch},
    },
};

/// How exactly due times are kept.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A shard wants to know whether the endpoint has newer keys.
#[derive(Debug)]
pub(crate) struct KeysAsk {
    pub(crate) endpoint: Endpoint,
}

/// The endpoint was asked, or was not because that was done a moment ago.
#[derive(Clone, Debug)]
pub(crate) struct Fetched {
    pub(crate) endpoint: Endpoint,
    /// `None`: those that are known stay in force.
    pub(crate) keys: Option<KeySet>,
}

/// Keeps the keys of one endpoint up to date, as long as anyone may ask.
pub(super) async fn keep(
    endpoint: Endpoint,
    mut asks: mpsc::Receiver<KeysAsk>,
    http: HttpClient,
    mailboxes: Mailboxes,
) {
    let began = Instant::now();
    let now_ms = || u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    let mut schedule = Schedule::default();
    let mut looks = interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let (is_asked, fetches) = tokio::select! {
            ask = asks.recv() => match ask {
                Some(_) => (true, schedule.may_fetch(now_ms())),
                None => return,
            },
            _ = looks.tick() => (false, schedule.is_due(now_ms())),
        };
        let mut keys = None;
        if fetches {
            schedule.began(now_ms());
            let fetched = fetch(&http, &endpoint).await;
            schedule.ended(fetched.is_ok());
            match fetched {
                Ok(fetched) => {
                    tracing::info!(%endpoint, keys = fetched.len(), "keys for tokens are fetched");
                    keys = Some(fetched);
                }
                Err(error) => tracing::warn!(%error, "no keys for tokens could be fetched"),
            }
        }
        if is_asked || keys.is_some() {
            let fetched = Fetched { endpoint: endpoint.clone(), keys };
            mailboxes.post_all(|| Answer::Keys(fetched.clone())).await;
        }
    }
}
