//! A deployment of one Redis, with its commands.

use std::time::Duration;

use bytes::Bytes;
use holdfast_redis::{
    command::{CommandOptions, Commands, Driver, Failure, Keep, Publication, Published, Servers, commands},
    layout::{Layout, Mode},
    receive::connection::Address,
};

use holdfast_testkit::redis::Server;

/// A Protobuf publication whose data is this.
pub(crate) fn payload(data: &str) -> Bytes {
    let len = u8::try_from(data.len()).unwrap();
    [b"\x22", &[len][..], data.as_bytes()].concat().into()
}

/// Not kept.
pub(crate) fn plain(channel: &str, data: &str) -> Publication {
    Publication {
        channel: channel.to_owned(),
        payload: payload(data),
        keep: None,
        idempotency_key: None,
        is_sent: true,
    }
}

/// The newest ten are kept for a minute.
pub(crate) fn kept(channel: &str, data: &str) -> Publication {
    Publication { keep: Some(keep()), ..plain(channel, data) }
}

pub(crate) fn keep() -> Keep {
    Keep {
        size: 10,
        ttl: Duration::from_secs(60),
        meta_ttl: Duration::from_secs(3_600),
        is_delta: false,
        version: None,
    }
}

pub(crate) fn address(server: &Server) -> Address {
    Address { host: "127.0.0.1".into(), port: server.port }
}

pub(crate) fn options(server: &Server) -> CommandOptions {
    CommandOptions::new(Servers::One(address(server)))
}

/// Commands for this server, once it can be asked.
pub(crate) async fn connect(server: &Server) -> Commands {
    up(options(server), Mode::Plain).await
}

pub(crate) async fn up(options: CommandOptions, mode: Mode) -> Commands {
    let (commands, driver) = begin(options, mode);
    tokio::spawn(driver.run());
    soon(commands.up()).await.unwrap();
    commands
}

pub(crate) fn begin(options: CommandOptions, mode: Mode) -> (Commands, Driver) {
    commands(options, Layout::new("p", mode).unwrap())
}

/// What does not happen within half a minute does not happen.
pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), future).await.expect("it happens soon")
}

/// Waits until that is so.
pub(crate) async fn until(mut is_so: impl FnMut() -> bool) {
    soon(async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

pub(crate) async fn publish(commands: &Commands, publication: Publication) -> Result<Published, Failure> {
    soon(commands.published(publication)).await
}
