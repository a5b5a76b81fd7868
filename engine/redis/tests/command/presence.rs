//! Presence: who is there, and for how long.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use holdfast_protocol::client::ClientInfo;
use holdfast_redis::{
    command::{CommandOptions, Commands, Joined, PresenceCounts, PresenceExpiry, Present, Who},
    layout::Mode,
    publication::encode_client_info,
};
use holdfast_testkit::redis::Server;

use crate::house::{connect, options, up};

fn who(client: &str, user: &str) -> Who {
    Who { client: client.into(), user: user.into() }
}

fn joined(client: &str, user: &str) -> Joined {
    let mut info = BytesMut::new();
    let who_it_is = ClientInfo { user: user.into(), client: client.into(), ..ClientInfo::default() };
    encode_client_info(&who_it_is, &mut info);
    Joined { who: who(client, user), info: info.freeze() }
}

/// By sorted sets, as Centrifugo's default is, whatever the server can.
fn by_set(server: &Server) -> CommandOptions {
    let mut options = options(server);
    options.presence.expiry = PresenceExpiry::SortedSet;
    options
}

async fn clients(commands: &Commands, channel: &str) -> Vec<String> {
    let mut present: Vec<String> =
        commands.presence(channel).await.unwrap().into_iter().map(|present| present.client).collect();
    present.sort_unstable();
    present
}

#[tokio::test]
async fn presence_is_kept_as_centrifugo_keeps_it() {
    let Some(server) = Server::start(&[]) else { return };
    let commands = up(by_set(&server), Mode::Plain).await;
    let mut client = server.client();
    commands.add_presence("c", &[joined("k1", "u")]).await.unwrap();
    assert_eq!(client.ask(&[b"HGETALL", b"p.presence.data.c"]), "k1 \u{a}\u{1}u\u{12}\u{2}k1");
    let now: u64 = client.ask(&[b"TIME"]).split(' ').next().unwrap().parse().unwrap();
    let ends: u64 = client.ask(&[b"ZSCORE", b"p.presence.expire.c", b"k1"]).parse().unwrap();
    assert!((59..=60).contains(&(ends - now)), "by Redis' clock: {ends} at {now}");
    assert_eq!(client.ask(&[b"TTL", b"p.presence.data.c"]), "60");
    assert_eq!(client.ask(&[b"TTL", b"p.presence.expire.c"]), "60");
    assert_eq!(client.ask(&[b"DBSIZE"]), "2");
    let present = Present { client: "k1".into(), info: Bytes::from_static(b"\x0a\x01u\x12\x02k1") };
    assert_eq!(commands.presence("c").await, Ok(vec![present]));
    assert_eq!(commands.presence_counts("c").await, Ok(PresenceCounts { clients: 1, users: None }));
    let skew = commands.numbers().clock_skew_ms;
    assert!(skew.is_some_and(|skew| skew.abs() < 2_000), "{skew:?}");

    assert_eq!(commands.remove_presence("c", &[who("k1", "u"), who("k2", "u")]).await, Ok(1));
    assert_eq!(client.ask(&[b"DBSIZE"]), "0");
    assert_eq!(commands.presence("c").await, Ok(vec![]));
}

#[tokio::test]
async fn whose_time_is_over_is_not_there_and_who_is_refreshed_stays() {
    let Some(server) = Server::start(&[]) else { return };
    let mut options = by_set(&server);
    options.presence.ttl = Duration::from_secs(2);
    let commands = up(options, Mode::Plain).await;
    commands.add_presence("c", &[joined("stays", "u"), joined("goes", "u")]).await.unwrap();
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(commands.refresh_presence("c", &[who("stays", "u")]).await, Ok(vec![]));
    }
    assert_eq!(clients(&commands, "c").await, ["stays"]);
    assert_eq!(server.client().ask(&[b"ZRANGE", b"p.presence.expire.c", b"0", b"-1"]), "stays");
}

#[tokio::test]
async fn a_refresh_says_who_is_not_known_any_more() {
    let Some(server) = Server::start(&[]) else { return };
    let commands = connect(&server).await;
    let many: Vec<Joined> = (0..250).map(|n| joined(&format!("k{n}"), "u")).collect();
    commands.add_presence("c", &many).await.unwrap();
    assert_eq!(clients(&commands, "c").await.len(), 250);
    let all: Vec<Who> = many.iter().map(|joined| joined.who.clone()).collect();
    assert_eq!(commands.refresh_presence("c", &all).await, Ok(vec![]));
    commands.remove_presence("c", &all[120..122]).await.unwrap();
    assert_eq!(commands.refresh_presence("c", &all).await, Ok(vec!["k120".into(), "k121".into()]));
    assert_eq!(clients(&commands, "c").await.len(), 248, "a refresh adds nobody");
    server.client().ask(&[b"FLUSHALL"]);
    assert_eq!(commands.refresh_presence("c", &all).await.unwrap().len(), 250);
    assert_eq!(server.client().ask(&[b"DBSIZE"]), "0");
    // Half of the two keys were evicted.
    commands.add_presence("c", &many[..3]).await.unwrap();
    server.client().ask(&[b"DEL", b"p.presence.data.c"]);
    assert_eq!(commands.refresh_presence("c", &all[..3]).await.unwrap().len(), 3);
}

#[tokio::test]
async fn users_are_counted_where_that_is_asked_for() {
    let Some(server) = Server::start(&[]) else { return };
    let mut options = by_set(&server);
    options.presence.are_users_counted = true;
    let commands = up(options, Mode::Plain).await;
    let mut client = server.client();
    let all = [joined("k1", "u"), joined("k2", "u"), joined("k3", "v")];
    commands.add_presence("c", &all).await.unwrap();
    commands.add_presence("c", &all[..1]).await.unwrap();
    assert_eq!(client.ask(&[b"HGETALL", b"p.presence.user.clients.c"]), "u 2 v 1");
    assert_eq!(client.ask(&[b"ZRANGE", b"p.presence.user.expire.c", b"0", b"-1"]), "u v");
    assert_eq!(commands.presence_counts("c").await, Ok(PresenceCounts { clients: 3, users: Some(2) }));
    let everybody = all.clone().map(|joined| joined.who);
    assert_eq!(commands.refresh_presence("c", &everybody).await, Ok(vec![]));
    commands.remove_presence("c", &[who("k1", "u"), who("k3", "v"), who("k9", "u")]).await.unwrap();
    assert_eq!(client.ask(&[b"HGETALL", b"p.presence.user.clients.c"]), "u 1");
    assert_eq!(commands.presence_counts("c").await, Ok(PresenceCounts { clients: 1, users: Some(1) }));
}

/// The same with whatever the server can: both ways count alike.
#[tokio::test]
async fn users_are_counted_alike_in_both_ways() {
    let Some(server) = Server::start(&[]) else { return };
    let mut options = options(&server);
    options.presence.are_users_counted = true;
    options.presence.ttl = Duration::from_secs(1);
    let commands = up(options, Mode::Plain).await;
    let all = [joined("k1", "u"), joined("k2", "u"), joined("k3", "v")];
    commands.add_presence("c", &all).await.unwrap();
    let everybody = all.map(|joined| joined.who);
    assert_eq!(commands.refresh_presence("c", &everybody).await, Ok(vec![]));
    assert_eq!(commands.presence_counts("c").await, Ok(PresenceCounts { clients: 3, users: Some(2) }));
    assert_eq!(commands.remove_presence("c", &everybody[2..]).await, Ok(1));
    assert_eq!(commands.presence_counts("c").await, Ok(PresenceCounts { clients: 2, users: Some(1) }));
    tokio::time::sleep(Duration::from_millis(2_100)).await;
    assert_eq!(commands.presence_counts("c").await, Ok(PresenceCounts { clients: 0, users: Some(0) }));
}

/// Redis 7.4 and Valkey 9 have HEXPIRE; by sorted sets where it is not known.
#[tokio::test]
async fn fields_expire_by_themselves_where_the_server_can() {
    let Some(server) = Server::start(&[]) else { return };
    let mut client = server.client();
    client.ask(&[b"HSET", b"probe", b"f", b"v"]);
    let can = client.ask(&[b"HEXPIRE", b"probe", b"10", b"FIELDS", b"1", b"f"]) == "1";
    client.ask(&[b"DEL", b"probe"]);
    let mut options = options(&server);
    options.presence.ttl = Duration::from_secs(1);
    options.presence.expiry = PresenceExpiry::Auto;
    let commands = up(options, Mode::Plain).await;
    commands.add_presence("c", &[joined("k1", "u"), joined("k2", "u")]).await.unwrap();
    let has_set = client.ask(&[b"EXISTS", b"p.presence.expire.c"]) == "1";
    assert_eq!(has_set, !can, "by fields exactly where they expire");
    assert_eq!(
        commands.refresh_presence("c", &[who("k1", "u"), who("k9", "u")]).await,
        Ok(vec!["k9".into()])
    );
    tokio::time::sleep(Duration::from_millis(2_100)).await;
    assert_eq!(commands.presence("c").await, Ok(vec![]));
}
