//! Look: what a server says of itself, for whoever looks at a deployment before nodes use it.
//!
//! In:  how nodes connect; questions, one at a time.
//! Out: answers in words and numbers; why there is none, in words for an operator.
//!
//! It connects as nodes do, by the code of [`receive`](crate::receive): the same TLS, the same login. Nothing is changed on
//! the server, and nothing is tried again.

mod answer;
mod rights;
mod server;

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

pub use self::{
    answer::Answer,
    rights::{Lack, Use},
    server::{ClusterState, Info, OutputLimit, Role},
};
use crate::{
    command::difference_ms,
    receive::{
        cause::Cause,
        connection::{Address, Connection, ConnectionOptions},
    },
};

/// A connection that asks one question at a time.
#[derive(Debug)]
pub struct Look {
    connection: Connection,
    within: Duration,
}

impl Look {
    /// Connects and logs in; the server may be of whatever role.
    ///
    /// # Errors
    ///
    /// The step that failed.
    pub async fn at(options: &ConnectionOptions) -> Result<Self, Cause> {
        let options = ConnectionOptions { is_master_wanted: false, ..options.clone() };
        let connection = Connection::open(&options).await?;
        Ok(Self { connection, within: options.step_within })
    }

    /// Asks.
    ///
    /// # Errors
    ///
    /// What Redis said instead of an answer, or why it said nothing.
    pub async fn ask(&mut self, words: &[&str]) -> Result<Answer, String> {
        let protocol = self.connection.protocol();
        let answer =
            self.connection.exchange(words, self.within, |bytes| answer::read(protocol, bytes)).await;
        match answer {
            Ok(Answer::Error(words)) => Err(words),
            Ok(answer) => Ok(answer),
            Err(cause) => Err(cause.to_string()),
        }
    }

    /// `INFO`.
    ///
    /// # Errors
    ///
    /// See [`Self::ask`].
    pub async fn info(&mut self) -> Result<Info, String> {
        Ok(Info::of(&self.ask(&["INFO"]).await?.text()?))
    }

    /// `ROLE`.
    ///
    /// # Errors
    ///
    /// See [`Self::ask`].
    pub async fn role(&mut self) -> Result<Role, String> {
        Role::of(self.ask(&["ROLE"]).await?)
    }

    /// `CONFIG GET`: a setting, or none where the server does not know it.
    ///
    /// # Errors
    ///
    /// See [`Self::ask`]. Managed servers often refuse it.
    pub async fn setting(&mut self, name: &str) -> Result<Option<String>, String> {
        let mut pair = self.ask(&["CONFIG", "GET", name]).await?.list()?.into_iter();
        match (pair.next(), pair.next()) {
            (Some(_), Some(value)) => value.text().map(Some),
            _ => Ok(None),
        }
    }

    /// `TIME`: its clock less ours, in milliseconds, where half of the round trip is taken for the way back.
    ///
    /// # Errors
    ///
    /// See [`Self::ask`].
    pub async fn clock_skew_ms(&mut self) -> Result<i64, String> {
        let asked = Instant::now();
        let [seconds, micros] = self.ask(&["TIME"]).await?.array()?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = now.saturating_sub(asked.elapsed() / 2);
        Ok(difference_ms(
            Duration::from_secs(seconds.number()?) + Duration::from_micros(micros.number()?),
            now,
        ))
    }

    /// `PUBSUB NUMSUB`: how many connections listen to a channel, at this server.
    ///
    /// # Errors
    ///
    /// See [`Self::ask`].
    pub async fn listeners(&mut self, channel: &str) -> Result<u64, String> {
        let [_, count] = self.ask(&["PUBSUB", "NUMSUB", channel]).await?.array()?;
        count.number()
    }

    /// True exactly when the server knows a command; it is asked about a key that is not there.
    ///
    /// # Errors
    ///
    /// See [`Self::ask`].
    pub async fn knows_field_expiry(&mut self, key: &str) -> Result<bool, String> {
        match self.ask(&["HEXPIRE", key, "1", "FIELDS", "1", "?"]).await {
            Ok(_) => Ok(true),
            Err(words) if rights::is_unknown(&words) => Ok(false),
            // Another node of the cluster has the key: it is known all the same.
            Err(words) if words.starts_with("MOVED") => Ok(true),
            Err(words) => Err(words),
        }
    }

    /// `CLUSTER INFO`.
    ///
    /// # Errors
    ///
    /// See [`Self::ask`].
    pub async fn cluster_state(&mut self) -> Result<ClusterState, String> {
        Ok(ClusterState::of(&self.ask(&["CLUSTER", "INFO"]).await?.text()?))
    }

    /// `CLUSTER SLOTS`: the primaries, each once. A server without a name of its own is where this one is, at `host`.
    ///
    /// # Errors
    ///
    /// See [`Self::ask`].
    pub async fn primaries(&mut self, host: &str) -> Result<Vec<Address>, String> {
        server::primaries(self.ask(&["CLUSTER", "SLOTS"]).await?, host)
    }

    /// What a sentinel calls the primary of that name.
    ///
    /// # Errors
    ///
    /// See [`Self::ask`]; it knows no such name.
    pub async fn primary(&mut self, name: &str) -> Result<Address, String> {
        match self.ask(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", name]).await? {
            Answer::Nothing => Err(format!("it watches no primary named {name}")),
            answer => {
                let [host, port] = answer.array()?;
                let port = u16::try_from(port.number()?).map_err(|_| answer::garbled())?;
                Ok(Address { host: host.text()?, port })
            }
        }
    }
}
