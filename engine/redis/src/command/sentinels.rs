//! Sentinels: which primary most of them believe in.
//!
//! In:  their addresses.
//! Out: the primary, where more than half agree.
//!
//! The client library asks a sentinel only when it connects. A primary that was demoted while it was cut off goes on taking
//! writes, which are lost later: with prototypes, 22 acknowledged ones. So they are asked all the time.

use std::{collections::HashMap, time::Duration};

use fred::{
    clients::Client,
    interfaces::ClientLike as _,
    types::{CustomCommand, Value},
};
use futures_util::future::join_all;
use tokio::time::timeout;

use super::{
    client::sentinel,
    options::{CommandOptions, Servers},
    supervisor::Connection,
    value::{array, number, text},
};

/// All sentinels of a deployment.
pub(super) struct Sentinels {
    all: Vec<(Client, Connection)>,
    primary: String,
    within: Duration,
}

impl Sentinels {
    /// None where there are no sentinels.
    pub(super) fn of(options: &CommandOptions) -> Option<Self> {
        let Servers::Sentinel { sentinels, primary } = &options.servers else { return None };
        let connect = |address| {
            let client = sentinel(options, address);
            let connection = Connection::begin(&client);
            (client, connection)
        };
        let all = sentinels.iter().map(connect).collect();
        Some(Self { all, primary: primary.clone(), within: options.connect_within })
    }

    /// The host and port that more than half of the sentinels name. None where they cannot be asked, or do not agree.
    pub(super) async fn majority(&self) -> Option<(String, u16)> {
        let answers = join_all(self.all.iter().map(|(client, _)| self.ask(client))).await;
        let mut votes: HashMap<(String, u16), usize> = HashMap::new();
        for answer in answers.into_iter().flatten() {
            *votes.entry(answer).or_default() += 1;
        }
        votes.into_iter().find(|(_, votes)| 2 * votes > self.all.len()).map(|(primary, _)| primary)
    }

    async fn ask(&self, client: &Client) -> Option<(String, u16)> {
        if !client.is_connected() {
            return None;
        }
        let command = CustomCommand::new_static("SENTINEL", None, false);
        let words = vec![Value::from_static_str("GET-MASTER-ADDR-BY-NAME"), self.primary.as_str().into()];
        let answer = timeout(self.within, client.custom::<Value, Value>(command, words)).await.ok()?.ok()?;
        let [host, port] = array(answer).ok()?;
        Some((text(host).ok()?, u16::try_from(number(port).ok()?).ok()?))
    }
}
