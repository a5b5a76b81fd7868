//! A link against real Redis servers.

use std::{
    collections::{HashMap, HashSet},
    time::{Duration, Instant},
};

use crate::support::{Certificate, Owner, Server, names};
use holdfast_redis::receive::{
    cause::Cause,
    connection::{Address, Credentials, Tls},
    event::Event,
    link::{Command, ProbeRequest},
    options::Kind,
    queue::QueueLimits,
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

/// CLUSTER failures 1, 2: a connection that is cut under load comes back with all its channels, and says that it was away.
#[tokio::test]
async fn nothing_is_lost_in_silence_when_the_connection_is_killed_in_a_flood() {
    const MESSAGES: usize = 100_000;
    let Some(server) = Server::start(&[]) else { return };
    let mut owner = Owner::of(&server, |options| options.backoff.max = Duration::from_millis(50));
    owner.want(["flood"]).await;
    owner.confirmed(1).await;
    let (mut publisher, mut killer) = (server.client(), server.client());
    let handle = owner.handle.clone();
    let flood = std::thread::spawn(move || {
        for batch in 0..MESSAGES / 100 {
            let payloads: Vec<String> = (0..100).map(|n| (batch * 100 + n).to_string()).collect();
            publisher
                .pipeline(payloads.iter().map(|payload| vec![&b"PUBLISH"[..], b"flood", payload.as_bytes()]));
            if batch % 100 == 50 {
                killer.ask(&[b"CLIENT", b"KILL", b"TYPE", b"pubsub"]);
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        // The last one tells where the end is, however the last kill went.
        std::thread::sleep(Duration::from_millis(500));
        while !(handle.health().is_up && handle.health().is_settled) {
            std::thread::sleep(Duration::from_millis(10));
        }
        publisher.ask(&[b"PUBLISH", b"flood", MESSAGES.to_string().as_bytes()]);
    });
    let (mut next, mut received, mut gaps, mut downs, mut was_down) = (0, 0, 0, 0, false);
    while next <= MESSAGES {
        match owner.next().await {
            Event::Messages(messages) => {
                for message in messages.iter() {
                    let number: usize = std::str::from_utf8(message.payload).unwrap().parse().unwrap();
                    assert!(number >= next, "{number} came after {next}");
                    assert!(number == next || was_down, "{next} to {number} were lost in silence");
                    gaps += usize::from(number > next);
                    (next, was_down, received) = (number + 1, false, received + 1);
                }
            }
            Event::Down(cause) => {
                assert!(matches!(*cause, Cause::Closed), "{cause}");
                (was_down, downs) = (true, downs + 1);
            }
            Event::Lagging { messages, .. } => panic!("{messages} messages found no room"),
            _ => {}
        }
    }
    flood.join().unwrap();
    println!("{received} of {MESSAGES} came, {downs} connections ended, {gaps} gaps were told of");
    assert!(downs >= 3 && received > MESSAGES / 10);
}

/// CLUSTER failure 2.
#[tokio::test]
async fn a_hundred_thousand_channels_are_subscribed_to_again_within_a_second_or_so() {
    const CHANNELS: usize = 100_000;
    let Some(server) = Server::start(&[]) else { return };
    let mut owner = Owner::of(&server, |_| {});
    owner.send(Command::Want(names(CHANNELS))).await;
    owner.confirmed(CHANNELS).await;
    let mut client = server.client();
    for _ in 0..3 {
        client.ask(&[b"CLIENT", b"KILL", b"TYPE", b"pubsub"]);
        owner.down().await;
        assert!(matches!(owner.next().await, Event::Up { .. }));
        let start = Instant::now();
        owner.confirmed(CHANNELS).await;
        println!("{CHANNELS} channels after {:?}", start.elapsed());
    }
    let health = owner.handle.health();
    assert_eq!((health.confirmed, health.wanted), (CHANNELS, CHANNELS));
    for channel in ["c0", "c511", "c512", "c99999"] {
        assert_eq!(client.ask(&[b"PUBLISH", channel.as_bytes(), b"x"]), "1");
        assert_eq!(owner.message().await.0, channel);
    }
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

/// CLUSTER failure 22: TCP lives, nothing answers.
#[tokio::test]
async fn a_server_that_stands_still_is_found_by_the_probe() {
    let Some(server) = Server::start(&[]) else { return };
    let mut owner = Owner::of(&server, |options| {
        options.probe.idle_after = Duration::from_millis(300);
        options.probe.answer_within = Duration::from_millis(700);
        options.connection.step_within = Duration::from_millis(300);
        options.backoff.max = Duration::from_millis(100);
    });
    owner.want(["a"]).await;
    owner.confirmed(1).await;
    server.stand_still();
    let cause = owner.down().await;
    assert!(matches!(*cause, Cause::Silent), "{cause}");
    // It takes connections, says the kernel, but says nothing itself.
    owner.until_cause("deadline").await;
    server.go_on();
    owner.confirmed(1).await;
}

/// CLUSTER failure 1: everything is green, and nothing is delivered.
#[tokio::test]
async fn a_connection_that_answers_but_hears_nothing_is_given_up() {
    let Some(server) = Server::start(&[]) else { return };
    let (probes, mut asked) = tokio::sync::mpsc::unbounded_channel::<ProbeRequest>();
    let publisher = Box::new(move |probe| probes.send(probe).unwrap());
    let mut owner = Owner::with(&server, QueueLimits::default(), Some(publisher), |options| {
        options.service_channel = Some("service".into());
        options.probe.idle_after = Duration::from_millis(200);
        options.probe.answer_within = Duration::from_millis(400);
    });
    owner.confirmed(1).await;
    let mut client = server.client();
    // Published, and heard: it is not even told of.
    for _ in 0..3 {
        let probe = asked.recv().await.unwrap();
        assert_eq!(client.ask(&[b"PUBLISH", probe.channel.as_bytes(), b"probe"]), "1");
        probe.published.send(true).unwrap();
    }
    // Could not be published.
    for _ in 0..2 {
        asked.recv().await.unwrap().published.send(false).unwrap();
    }
    assert!(owner.handle.health().is_up);
    assert!(owner.try_next().is_none());
    // Published somewhere else, as a demoted master's clients see it.
    asked.recv().await.unwrap().published.send(true).unwrap();
    let cause = owner.down().await;
    assert!(matches!(*cause, Cause::Deaf), "{cause}");
    owner.confirmed(1).await;
}

/// CLUSTER failure 4. The reader cannot be made to wait, so the whole runtime is.
#[tokio::test]
async fn what_the_output_buffer_limit_dropped_is_told_of() {
    let Some(server) = Server::start(&["--client-output-buffer-limit", "pubsub", "1mb", "1mb", "1"]) else {
        return;
    };
    let mut owner = Owner::of(&server, |_| {});
    owner.want(["a"]).await;
    owner.confirmed(1).await;
    let mut client = server.client();
    let payload = vec![b'x'; 1000];
    // Nothing of ours runs meanwhile: there is one thread.
    for _ in 0..50 {
        client.pipeline((0..1000).map(|_| vec![&b"PUBLISH"[..], b"a", &payload]));
    }
    let (mut came, mut is_down) = (0, false);
    loop {
        match owner.next().await {
            Event::Messages(messages) => {
                assert!(!is_down);
                came += messages.len();
            }
            Event::Down(cause) => {
                assert!(matches!(*cause, Cause::Closed), "{cause}");
                is_down = true;
            }
            Event::Confirmed(_) => break,
            Event::Up { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    assert!(is_down && came < 50_000);
    client.ask(&[b"PUBLISH", b"a", b"after"]);
    assert_eq!(owner.message().await.1, b"after");
}

#[tokio::test]
async fn a_server_that_restarts_finds_all_channels_subscribed_again() {
    let Some(mut server) = Server::start(&[]) else { return };
    let mut owner = Owner::of(&server, |options| options.backoff.max = Duration::from_millis(100));
    owner.send(Command::Want(names(2000))).await;
    owner.confirmed(2000).await;
    for _ in 0..2 {
        server.end();
        owner.down().await;
        owner.until_cause("connect").await;
        server.restart();
        owner.confirmed(2000).await;
        assert_eq!(server.client().ask(&[b"PUBLISH", b"c1999", b"x"]), "1");
        assert_eq!(owner.message().await.0, "c1999");
    }
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

/// CLUSTER failure 5.
#[tokio::test]
async fn an_owner_who_takes_nothing_is_told_what_he_missed() {
    let Some(server) = Server::start(&[]) else { return };
    let limits = QueueLimits { events_max: 4, bytes_max: 1 << 20 };
    let mut owner = Owner::with(&server, limits, None, |_| {});
    owner.want(["a", "b"]).await;
    owner.confirmed(2).await;
    let mut client = server.client();
    for _ in 0..200 {
        client.pipeline((0..10).map(|_| vec![&b"PUBLISH"[..], b"a", b"x"]));
        client.ask(&[b"PUBLISH", b"b", b"x"]);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    while owner.handle.health().messages < 2200 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let (mut came, mut lagging, mut behind) = (0, 0, HashSet::new());
    while came + lagging < 2200 {
        match owner.next().await {
            Event::Messages(messages) => came += messages.len() as u64,
            Event::Lagging { channels, messages } => {
                behind.extend(channels);
                lagging += messages;
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(came > 0 && lagging > 0);
    assert_eq!(behind, HashSet::from(["a".into(), "b".into()]));
    assert_eq!((came + lagging, owner.handle.health().dropped), (2200, lagging));
    client.ask(&[b"PUBLISH", b"b", b"after"]);
    assert_eq!(owner.message().await.1, b"after");
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

/// CLUSTER failures 2, 3, 9: each cut falls into another batch.
#[tokio::test]
async fn a_connection_that_is_killed_again_and_again_while_it_subscribes_gets_there() {
    const CHANNELS: usize = 20_000;
    let Some(server) = Server::start(&[]) else { return };
    let mut owner = Owner::of(&server, |options| {
        options.wanted.asked_max = 1024;
        options.backoff.max = Duration::from_millis(5);
    });
    owner.send(Command::Want(names(CHANNELS))).await;
    let mut killer = server.client();
    let (mut heard, mut kills) = (HashSet::new(), 0);
    // All may be confirmed on a connection whose end is still to be told of.
    while heard.len() < CHANNELS || killer.ask(&[b"PUBSUB", b"CHANNELS"]).split(' ').count() < CHANNELS {
        match owner.next().await {
            Event::Down(_) => heard.clear(),
            Event::Confirmed(channels) => {
                heard.extend(channels);
                if kills < 30 && heard.len() > kills * CHANNELS / 30 {
                    killer.ask(&[b"CLIENT", b"KILL", b"TYPE", b"pubsub"]);
                    kills += 1;
                }
            }
            Event::Up { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    assert!(kills >= 10, "{kills}");
}

#[tokio::test]
async fn the_number_of_subscriptions_is_held_against_the_servers() {
    let Some(server) = Server::start(&[]) else { return };
    let mut owner = Owner::of(&server, |options| options.count_every = Duration::from_millis(200));
    owner.send(Command::Want(names(1000))).await;
    owner.confirmed(1000).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(owner.try_next().is_none(), "a right number ends nothing");
    assert!(owner.handle.health().is_up);
}
