//! A link against real Redis servers.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use crate::support::{Certificate, Owner, Server, names};
use holdfast_redis::receive::{
    cause::Cause,
    connection::{Address, Credentials, Tls},
    event::Event,
    link::Command,
    options::Kind,
    refusal::Refusal,
    resp::Protocol,
};

const SOON: Duration = Duration::from_secs(10);

#[tokio::test]
async fn what_is_published_arrives_in_its_order_and_byte_for_byte() {
    let Some(server) = Server::start(&[]) else { return };
    let mut owner = Owner::of(&server, |_| {});
    let Event::Up { protocol, .. } = owner.next().await else { panic!("it comes up first") };
    assert_eq!(protocol, Protocol::Resp3);
    owner.want(["a", "b"]).await;
    owner.confirmed(2).await;
    let mut client = server.client();
    let payloads: Vec<Vec<u8>> =
        (0..500).map(|n: usize| b"\r\n\0\xff*3".iter().copied().cycle().take(n * n / 16).collect()).collect();
    for (n, payload) in payloads.iter().enumerate() {
        client.ask(&[b"PUBLISH", if n % 2 == 0 { b"a" } else { b"b" }, payload]);
    }
    for (n, payload) in payloads.iter().enumerate() {
        let (channel, came) = owner.message().await;
        assert_eq!((channel.as_str(), came.len()), (if n % 2 == 0 { "a" } else { "b" }, payload.len()));
        assert_eq!(&came[..], &payload[..]);
    }
    let health = owner.handle.health();
    assert!(health.is_up && health.is_settled);
    assert_eq!((health.wanted, health.confirmed, health.messages, health.dropped), (2, 2, 500, 0));
}

#[tokio::test]
async fn a_server_that_knows_no_hello_is_spoken_to_in_resp2() {
    let Some(server) = Server::start(&["--rename-command", "HELLO", "", "--requirepass", "secret"]) else {
        return;
    };
    let mut owner = Owner::of(&server, |options| {
        options.connection.credentials = Some(Credentials { user: None, password: "secret".into() });
        options.connection.client_name = Some("holdfast".into());
        options.probe.idle_after = Duration::from_millis(100);
    });
    let Event::Up { protocol, .. } = owner.next().await else { panic!("it comes up first") };
    assert_eq!(protocol, Protocol::Resp2);
    owner.want(["a"]).await;
    owner.confirmed(1).await;
    // Several PINGs are answered by arrays meanwhile.
    tokio::time::sleep(Duration::from_millis(700)).await;
    let mut client = server.client();
    client.ask(&[b"AUTH", b"secret"]);
    assert!(client.ask(&[b"CLIENT", b"LIST", b"TYPE", b"pubsub"]).contains("name=holdfast"));
    client.ask(&[b"PUBLISH", b"a", b"x"]);
    assert_eq!(owner.message().await, ("a".to_owned(), b"x".to_vec()));
    assert!(owner.handle.health().probes >= 2);
}

/// CLUSTER 3.2: what fred confirms though the server refused it.
#[tokio::test]
async fn a_channel_that_the_acl_lacks_is_refused_and_its_neighbors_are_heard() {
    let Some(server) = Server::start(&[]) else { return };
    let mut client = server.client();
    client.ask(&[b"ACL", b"SETUSER", b"node", b"on", b">pw", b"+@all", b"~*", b"resetchannels", b"&c*"]);
    let mut owner = Owner::of(&server, |options| {
        options.connection.credentials =
            Some(Credentials { user: Some("node".into()), password: "pw".into() });
        options.wanted.refused_again = Duration::from_millis(500)..Duration::from_millis(600);
    });
    let mut channels = names(600);
    channels[7] = "forbidden".into();
    channels[599] = "also forbidden".into();
    owner.send(Command::Want(channels)).await;
    let (mut confirmed, mut refused) = (0, Vec::new());
    while confirmed + refused.len() < 600 {
        match owner.next().await {
            Event::Confirmed(channels) => {
                assert!(channels.iter().all(|channel| channel.starts_with('c')));
                confirmed += channels.len();
            }
            Event::Refused(channels) => refused.extend(channels),
            Event::Up { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    refused.sort_by(|(a, _), (b, _)| a.cmp(b));
    let names: Vec<_> = refused.iter().map(|(channel, _)| &**channel).collect();
    assert_eq!(names, ["also forbidden", "forbidden"]);
    assert!(refused.iter().all(|(_, why)| matches!(why, Refusal::NotPermitted(_))), "{refused:?}");
    // Once it is allowed, it is heard without anybody asking.
    client.ask(&[b"ACL", b"SETUSER", b"node", b"&forbidden"]);
    let until = Instant::now() + SOON;
    loop {
        assert!(Instant::now() < until);
        if let Event::Confirmed(channels) = owner.next().await {
            assert_eq!(channels, ["forbidden".into()]);
            break;
        }
    }
}

#[tokio::test]
async fn a_wrong_password_is_named_and_the_link_comes_up_once_it_is_right() {
    let Some(server) = Server::start(&["--requirepass", "right"]) else { return };
    let mut owner = Owner::of(&server, |options| {
        options.connection.credentials = Some(Credentials { user: None, password: "wrong".into() });
        options.backoff.max = Duration::from_millis(100);
    });
    owner.want(["a"]).await;
    let causes = owner.until_cause("authentication").await;
    assert!(!owner.handle.health().is_up);
    assert!(causes.contains("WRONGPASS"), "{causes}");
    let mut client = server.client();
    client.ask(&[b"AUTH", b"right"]);
    client.ask(&[b"CONFIG", b"SET", b"requirepass", b"wrong"]);
    owner.confirmed(1).await;
}

#[tokio::test]
async fn tls_is_spoken_and_a_certificate_for_another_name_is_refused() {
    let certificate = Certificate::of("redis.test");
    let Some(server) = Server::start_tls(&certificate) else { return };
    let tls = |name: &'static str| Tls { config: certificate.client(), name: name.try_into().unwrap() };
    let mut owner = Owner::of(&server, |options| options.connection.tls = Some(tls("redis.test")));
    owner.want(["a"]).await;
    owner.confirmed(1).await;
    let mut other = Owner::of(&server, |options| {
        options.connection.tls = Some(tls("other.test"));
    });
    let words = other.until_cause("tls").await;
    assert!(words.contains("certificate"), "{words}");
    // Plain text where TLS is spoken.
    let mut plain = Owner::of(&server, |_| {});
    plain.until_cause("closed").await;
    // A publisher by TLS as well: megabytes, so that reads and records do not end together.
    let mut client = server.tls_client(&certificate);
    for n in 0..50_u8 {
        client.ask(&[b"PUBLISH", b"a", &vec![n; 200_000]]);
        let (_, payload) = owner.message().await;
        assert!(payload.len() == 200_000 && payload.iter().all(|&byte| byte == n));
    }
}

/// CLUSTER failure 6.
#[tokio::test]
async fn a_replica_is_no_place_to_listen_unless_that_is_wanted() {
    let Some(server) = Server::start(&[]) else { return };
    let mut client = server.client();
    client.ask(&[b"REPLICAOF", b"127.0.0.1", b"1"]);
    let mut anywhere = Owner::of(&server, |options| options.connection.is_master_wanted = false);
    anywhere.want(["a"]).await;
    anywhere.confirmed(1).await;
    let mut owner = Owner::of(&server, |options| options.backoff.max = Duration::from_millis(100));
    owner.want(["a"]).await;
    let words = owner.until_cause("not_master").await;
    assert!(words.contains("slave"), "{words}");
    client.ask(&[b"REPLICAOF", b"NO", b"ONE"]);
    owner.confirmed(1).await;
}

#[tokio::test]
async fn a_channel_is_left_a_while_after_it_is_not_wanted_unless_it_is_again() {
    let Some(server) = Server::start(&[]) else { return };
    let mut owner = Owner::of(&server, |_| {});
    let mut client = server.client();
    let mut subscribers = move |channel: &[u8]| {
        client.ask(&[b"PUBSUB", b"NUMSUB", channel]).split(' ').nth(1).unwrap().to_owned()
    };
    owner.want(["a", "b"]).await;
    owner.confirmed(2).await;
    owner.send(Command::Unwant(vec!["a".into(), "b".into(), "c".into()])).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!((subscribers(b"a"), subscribers(b"b")), ("1".into(), "1".into()));
    owner.want(["b"]).await;
    owner.confirmed(1).await;
    tokio::time::sleep(Duration::from_millis(2000)).await;
    assert_eq!((subscribers(b"a"), subscribers(b"b")), ("0".into(), "1".into()));
    assert_eq!(owner.handle.health().wanted, 1);
    owner.want(["a"]).await;
    owner.confirmed(1).await;
    assert_eq!(subscribers(b"a"), "1");
}

#[tokio::test]
async fn the_owner_moves_a_link_to_another_server_and_ends_it() {
    let (Some(old), Some(new)) = (Server::start(&[]), Server::start(&[])) else { return };
    let mut owner = Owner::of(&old, |_| {});
    owner.want(["a"]).await;
    owner.confirmed(1).await;
    let address = Address { host: "localhost".into(), port: new.port };
    owner.send(Command::Rebuild(Some(address))).await;
    assert!(matches!(*owner.down().await, Cause::Asked));
    owner.confirmed(1).await;
    assert_eq!(new.client().ask(&[b"PUBLISH", b"a", b"x"]), "1");
    assert_eq!(owner.message().await.0, "a");
    owner.send(Command::Stop).await;
    assert!(matches!(*owner.down().await, Cause::Stopped));
    assert!(owner.ended().await);
}

/// CLUSTER failures 8, 9: fred heard nothing of it, for good.
#[tokio::test]
async fn a_slot_that_moves_is_told_of_with_its_new_place() {
    let Some(nodes) = Server::cluster() else { return };
    let mut owner = Owner::of(&nodes[0], |options| options.wanted.kind = Kind::Sharded);
    // 12182: foo. 5061: bar. 866: hello. All at the first node; 16383 is at the other one.
    owner.want(["{foo}1", "{foo}2", "bar", "hello", "{c}elsewhere"]).await;
    let slot = |channel: &str| redis_protocol::redis_keyslot(channel.as_bytes());
    let is_here = |channel: &str| slot(channel) < 12_288;
    assert!(is_here("foo") && is_here("bar") && is_here("hello"));
    let (mut confirmed, mut moved) = (0, HashMap::new());
    while confirmed + moved.len() < 5 {
        match owner.next().await {
            Event::Confirmed(channels) => confirmed += channels.len(),
            Event::Refused(channels) => moved.extend(channels),
            Event::Up { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    let expected = if is_here("c") { 0 } else { 1 };
    assert_eq!(moved.len(), expected);
    let there = format!("127.0.0.1:{}", nodes[1].port);
    for (channel, why) in &moved {
        assert_eq!(*why, Refusal::Moved { slot: slot(channel), address: there.clone() });
    }
    assert_eq!(nodes[0].client().ask(&[b"SPUBLISH", b"{foo}1", b"x"]), "1");
    assert_eq!(owner.message().await.0, "{foo}1");

    let id = nodes[1].client().ask(&[b"CLUSTER", b"MYID"]);
    for node in &nodes {
        node.client().ask(&[b"CLUSTER", b"SETSLOT", b"12182", b"NODE", id.as_bytes()]);
    }
    let (mut lost, mut moved) = (Vec::new(), HashMap::new());
    while moved.len() < 2 {
        match owner.next().await {
            Event::Lost(channels) => lost.extend(channels),
            Event::Refused(channels) => {
                assert!(channels.iter().all(|(channel, _)| lost.contains(channel)));
                moved.extend(channels);
            }
            other => panic!("{other:?}"),
        }
    }
    lost.sort();
    assert_eq!(lost, ["{foo}1".into(), "{foo}2".into()]);
    assert!(moved.values().all(|why| *why == Refusal::Moved { slot: 12_182, address: there.clone() }));
    assert_eq!(nodes[0].client().ask(&[b"SPUBLISH", b"bar", b"x"]), "1", "others are still heard");
    assert_eq!(owner.message().await.0, "bar");
}
