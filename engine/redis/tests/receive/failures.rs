//! A link against real Redis servers that are killed, stand still, forget or are overrun.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use crate::support::{Owner, Server, names};
use holdfast_redis::receive::{
    cause::Cause,
    event::Event,
    link::{Command, ProbeRequest},
    queue::QueueLimits,
};

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
