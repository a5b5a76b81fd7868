//! Presence: who is in a channel, as long as the node that said so lives.
//!
//! In:  clients of a channel, in batches.
//! Out: those that are there; those that have to be added again; counts.
//!
//! Redis' own clock decides who is present: nodes whose clocks differ agree all the same.

use std::{sync::atomic::Ordering::Relaxed, time::Instant};

use bytes::Bytes;
use fred::types::{Key, Value};

use super::{
    commands::Commands,
    failure::Failure,
    publish::{decimal, seconds},
    value::{array, bytes, list, number, text},
};
use crate::scripts::{PRESENCE_ADD, PRESENCE_READ, PRESENCE_REFRESH, PRESENCE_REMOVE};

/// Clients of one call; more of them are several calls.
const BATCH_MAX: usize = 100;

/// A client that joined, or that is to be known again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joined {
    /// Who.
    pub who: Who,
    /// The Protobuf message `ClientInfo`.
    pub info: Bytes,
}

/// A client and its user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Who {
    /// The connection.
    pub client: String,
    /// Its user; empty for an anonymous one.
    pub user: String,
}

/// A client that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Present {
    /// The connection.
    pub client: String,
    /// The Protobuf message `ClientInfo`.
    pub info: Bytes,
}

/// How many are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PresenceCounts {
    /// Connections.
    pub clients: u64,
    /// Users; none where they are not counted, and have to be from [`Commands::presence`].
    pub users: Option<u64>,
}

impl Commands {
    /// Adds clients to a channel's presence.
    ///
    /// # Errors
    ///
    /// See [`Failure`]. Of more than 100 clients, the first hundreds may be there all the same.
    pub async fn add_presence(&self, channel: &str, joined: &[Joined]) -> Result<(), Failure> {
        for joined in joined.chunks(BATCH_MAX) {
            let mut arguments = self.presence_head();
            for Joined { who: Who { client, user }, info } in joined {
                arguments.extend([client.clone().into(), user.clone().into(), info.clone()]);
            }
            let keys = self.presence_keys(channel)?;
            let asked = Instant::now();
            let reply = self.shared.ask(self.shared.run(&PRESENCE_ADD, keys, arguments)).await?;
            let [seconds, micros] = array(reply)?;
            self.shared.counters.clock((number(seconds)?, number(micros)?), asked.elapsed());
        }
        Ok(())
    }

    /// Says that clients are still there. Returns those that Redis does not know (any more): a restart, or a pause of
    /// this node beyond their time. They are to be added again.
    ///
    /// # Errors
    ///
    /// See [`Failure`].
    pub async fn refresh_presence(&self, channel: &str, who: &[Who]) -> Result<Vec<String>, Failure> {
        let mut missing = Vec::new();
        for who in who.chunks(BATCH_MAX) {
            let mut arguments = self.presence_head();
            arguments.push(decimal(who.len() as u64));
            arguments.extend(who.iter().map(|who| Bytes::from(who.client.clone())));
            if self.shared.options.presence.are_users_counted {
                let mut users: Vec<&str> = who.iter().map(|who| who.user.as_str()).collect();
                users.sort_unstable();
                users.dedup();
                arguments.extend(users.into_iter().map(|user| Bytes::from(user.to_owned())));
            }
            let keys = self.presence_keys(channel)?;
            let reply = self.shared.ask(self.shared.run(&PRESENCE_REFRESH, keys, arguments)).await?;
            for client in list(reply)? {
                missing.push(text(client)?);
            }
        }
        Ok(missing)
    }

    /// Removes clients from a channel's presence. Returns how many were there.
    ///
    /// # Errors
    ///
    /// See [`Failure`].
    pub async fn remove_presence(&self, channel: &str, who: &[Who]) -> Result<u64, Failure> {
        let mut removed = 0;
        for who in who.chunks(BATCH_MAX) {
            let names =
                who.iter().flat_map(|Who { client, user }| [client.clone().into(), user.clone().into()]);
            let keys = self.presence_keys(channel)?;
            let run = self.shared.run(&PRESENCE_REMOVE, keys, names.collect());
            removed += number(self.shared.ask(run).await?)?;
        }
        Ok(removed)
    }

    /// Who is in a channel, in no order.
    ///
    /// # Errors
    ///
    /// See [`Failure`].
    pub async fn presence(&self, channel: &str) -> Result<Vec<Present>, Failure> {
        let reply = self.read_presence(channel, "clients").await?;
        let mut fields = list(reply)?.into_iter();
        let mut present = Vec::with_capacity(fields.len() / 2);
        while let (Some(client), Some(info)) = (fields.next(), fields.next()) {
            present.push(Present { client: text(client)?, info: bytes(info)? });
        }
        Ok(present)
    }

    /// How many are in a channel.
    ///
    /// # Errors
    ///
    /// See [`Failure`].
    pub async fn presence_counts(&self, channel: &str) -> Result<PresenceCounts, Failure> {
        let [clients, users] = array(self.read_presence(channel, "counts").await?)?;
        let users = number(users)?;
        let are_users_counted = self.shared.options.presence.are_users_counted;
        Ok(PresenceCounts { clients: number(clients)?, users: are_users_counted.then_some(users) })
    }

    async fn read_presence(&self, channel: &str, what: &'static str) -> Result<Value, Failure> {
        let keys = self.presence_keys(channel)?;
        let arguments = vec![Bytes::from_static(what.as_bytes())];
        self.shared.ask(self.shared.run(&PRESENCE_READ, keys, arguments)).await
    }

    fn presence_keys(&self, channel: &str) -> Result<Vec<Key>, Failure> {
        let layout = &self.shared.layout;
        layout.check(channel)?;
        let mut keys = vec![layout.presence(channel).into(), layout.presence_expire(channel).into()];
        if self.shared.options.presence.are_users_counted {
            keys.extend([layout.users(channel).into(), layout.users_expire(channel).into()]);
        }
        Ok(keys)
    }

    /// How long it lasts, and by what it ends.
    fn presence_head(&self) -> Vec<Bytes> {
        let is_by_field = self.shared.is_by_field.load(Relaxed);
        let ttl = seconds(self.shared.options.presence.ttl).max(1);
        vec![decimal(ttl), Bytes::from_static(if is_by_field { b"1" } else { b"0" })]
    }
}
