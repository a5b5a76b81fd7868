//! Several Redis, over which clients divide channels; and messages between nodes.

use std::time::Instant;

use bytes::Bytes;
use holdfast_redis::{
    command::{Failure, Shards},
    control::{
        Action, Control, To,
        message::{Body, Message},
        registry::RegistryOptions,
        survey::SurveyOptions,
    },
};
use holdfast_testkit::redis::Server;

use crate::house::{connect, kept, publish, soon, until};

#[tokio::test]
async fn three_redis_have_a_third_of_the_channels_each_and_one_takes_only_its_own_along() {
    let mut servers = Vec::new();
    for _ in 0..3 {
        let Some(server) = Server::start(&[]) else { return };
        servers.push(server);
    }
    let mut all = Vec::new();
    for server in &servers {
        all.push(connect(server).await);
    }
    let shards = Shards::new(all).unwrap();
    // The buckets of three, from another implementation of the hash.
    let known = [("chat", 0), ("a", 2), ("news", 2), ("chat:1", 0), ("персональный", 2)];
    for (channel, server) in known {
        publish(shards.of(channel), kept(channel, "x")).await.unwrap();
        let name = format!("p.stream.{channel}");
        assert_eq!(servers[server].client().ask(&[b"XLEN", name.as_bytes()]), "1", "{channel}");
    }
    for n in 0..300 {
        let channel = format!("channel:{n}");
        publish(shards.of(&channel), kept(&channel, "x")).await.unwrap();
    }
    for server in &servers {
        let keys: u32 = server.client().ask(&[b"DBSIZE"]).parse().unwrap();
        assert!((120..=280).contains(&keys), "{keys} keys");
    }
    servers[0].end();
    until(|| shards.all()[0].down().is_some()).await;
    assert!(matches!(publish(shards.of("chat"), kept("chat", "x")).await, Err(Failure::Down(_))));
    publish(shards.of("news"), kept("news", "x")).await.unwrap();
    for node in ["chat", "news", "another"] {
        assert_eq!(shards.open_of(node).down(), None, "control messages go round the one that is down");
        assert!(std::ptr::eq(shards.open_of(node), shards.open_of(node)), "and all of a node take one way");
    }
    servers[0].restart();
    soon(shards.all()[0].up()).await.unwrap();
    publish(shards.of("chat"), kept("chat", "x")).await.unwrap();
    assert!(std::ptr::eq(shards.open_of("chat"), shards.of("chat")), "it is taken again when it is back");
    assert!(Shards::new(Vec::new()).is_none());
}

#[tokio::test]
async fn a_message_to_all_nodes_says_how_many_heard_it() {
    let Some(server) = Server::start(&[]) else { return };
    let commands = connect(&server).await;
    let mut control =
        Control::new("n1".into(), RegistryOptions::default(), SurveyOptions::default(), Instant::now());
    let Action::Send { to, bytes } = control.goodbye() else { panic!("a message") };
    assert_eq!(bytes, Bytes::from_static(b"\x0a\x02n1\x3a\x00"));
    assert_eq!(Message::decode(&bytes).unwrap().body, Some(Body::Shutdown));
    assert_eq!(To::Node("n2".into()).channel(commands.layout()), "p.node.n2");
    let name = to.channel(commands.layout());
    assert_eq!(commands.send(name.clone(), bytes.clone()).await, Ok(0));
    let mut nodes = [server.client(), server.client()];
    for node in &mut nodes {
        node.ask(&[b"SUBSCRIBE", name.as_bytes()]);
    }
    assert_eq!(commands.send(name, bytes).await, Ok(2));
    for node in &mut nodes {
        assert_eq!(node.answer(), "message p.control \u{a}\u{2}n1:\0");
    }
}
