//! Publishing: what Redis has afterwards, and what subscribers hear.

use futures_util::future::join_all;
use holdfast_redis::{
    command::{Failure, Keep, Publication, Published, Version},
    layout::Mode,
};
use holdfast_testkit::redis::Server;

use crate::house::{connect, keep, kept, options, plain, publish, up};

#[tokio::test]
async fn what_is_kept_is_kept_and_sent_as_centrifugo_does() {
    let Some(server) = Server::start(&[]) else { return };
    let commands = connect(&server).await;
    let (mut subscriber, mut client) = (server.client(), server.client());
    subscriber.ask(&[b"SUBSCRIBE", b"p.client.news"]);
    let first = publish(&commands, kept("news", "{}")).await.unwrap();
    assert_eq!((first.offset, first.epoch.len(), first.is_cached, first.is_suppressed), (1, 8, false, false));
    let epoch = first.epoch;
    let second = publish(&commands, kept("news", "[]")).await.unwrap();
    assert_eq!(second, Published { offset: 2, epoch: epoch.clone(), ..Published::default() });
    assert_eq!(subscriber.answer(), format!("message p.client.news __p1:1:{epoch}__\"\u{2}{{}}"));
    assert_eq!(subscriber.answer(), format!("message p.client.news __p1:2:{epoch}__\"\u{2}[]"));
    assert_eq!(client.ask(&[b"XRANGE", b"p.stream.news", b"-", b"+"]), "1-0 d \"\u{2}{} 2-0 d \"\u{2}[]");
    assert_eq!(client.ask(&[b"HGETALL", b"p.stream.meta.news"]), format!("e {epoch} s 2"));
    assert_eq!(client.ask(&[b"TTL", b"p.stream.news"]), "60");
    assert_eq!(client.ask(&[b"TTL", b"p.stream.meta.news"]), "3600");
    assert_eq!(client.ask(&[b"DBSIZE"]), "2");
}

#[tokio::test]
async fn a_channel_without_history_leaves_nothing_in_redis() {
    let Some(server) = Server::start(&[]) else { return };
    let commands = connect(&server).await;
    let (mut subscriber, mut client) = (server.client(), server.client());
    subscriber.ask(&[b"SUBSCRIBE", b"p.client.a"]);
    assert_eq!(publish(&commands, plain("a", "{}")).await, Ok(Published::default()));
    assert_eq!(subscriber.answer(), "message p.client.a \"\u{2}{}");
    let unsent = Publication { is_sent: false, ..plain("a", "x") };
    assert_eq!(publish(&commands, unsent).await, Ok(Published::default()));
    publish(&commands, plain("a", "[]")).await.unwrap();
    assert_eq!(subscriber.answer(), "message p.client.a \"\u{2}[]");
    assert_eq!(client.ask(&[b"DBSIZE"]), "0");
}

#[tokio::test]
async fn an_idempotency_key_is_remembered_with_its_result() {
    let Some(server) = Server::start(&[]) else { return };
    let commands = connect(&server).await;
    let mut client = server.client();
    let again = || Publication { idempotency_key: Some("k.1".into()), ..kept("c", "x") };
    let first = publish(&commands, again()).await.unwrap();
    let second = publish(&commands, again()).await.unwrap();
    assert_eq!(second, Published { is_cached: true, ..first.clone() });
    assert_eq!(client.ask(&[b"XLEN", b"p.stream.c"]), "1");
    assert_eq!(client.ask(&[b"HGETALL", b"p.result.c.k.1"]), format!("e {} s 1", first.epoch));
    assert_eq!(client.ask(&[b"TTL", b"p.result.c.k.1"]), "300");

    let mut subscriber = server.client();
    subscriber.ask(&[b"SUBSCRIBE", b"p.client.d"]);
    let once = |data| Publication { idempotency_key: Some("k".into()), ..plain("d", data) };
    assert_eq!(publish(&commands, once("1")).await, Ok(Published::default()));
    let cached = Published { is_cached: true, ..Published::default() };
    assert_eq!(publish(&commands, once("2")).await, Ok(cached));
    publish(&commands, plain("d", "3")).await.unwrap();
    assert_eq!(subscriber.answer(), "message p.client.d \"\u{1}1");
    assert_eq!(subscriber.answer(), "message p.client.d \"\u{1}3");
    assert_eq!(client.ask(&[b"HGETALL", b"p.result.d.k"]), "e ");
}

/// Centrifugo wrote that one: the same key, the same answer.
#[tokio::test]
async fn results_and_epochs_of_centrifugo_are_understood() {
    let Some(server) = Server::start(&[]) else { return };
    let commands = connect(&server).await;
    let mut client = server.client();
    client.ask(&[b"HSET", b"p.result.c.k", b"e", b"abcdefgh", b"s", b"41"]);
    let again = Publication { idempotency_key: Some("k".into()), ..kept("c", "x") };
    let known = Published { offset: 41, epoch: "abcdefgh".into(), is_cached: true, is_suppressed: false };
    assert_eq!(publish(&commands, again).await, Ok(known));
    client.ask(&[b"HSET", b"p.stream.meta.c", b"e", b"abcdefgh", b"s", b"41"]);
    let next = Published { offset: 42, epoch: "abcdefgh".into(), ..Published::default() };
    assert_eq!(publish(&commands, kept("c", "x")).await, Ok(next));
}

#[tokio::test]
async fn a_delta_takes_the_publication_before_it_along() {
    let Some(server) = Server::start(&[]) else { return };
    let commands = connect(&server).await;
    let mut subscriber = server.client();
    subscriber.ask(&[b"SUBSCRIBE", b"p.client.c"]);
    let delta = |data| Publication { keep: Some(Keep { is_delta: true, ..keep() }), ..kept("c", data) };
    let Published { epoch, .. } = publish(&commands, delta("one")).await.unwrap();
    publish(&commands, delta("three")).await.unwrap();
    assert_eq!(subscriber.answer(), format!("message p.client.c __d1:1:{epoch}:0::5:\"\u{3}one"));
    assert_eq!(subscriber.answer(), format!("message p.client.c __d1:2:{epoch}:5:\"\u{3}one:7:\"\u{5}three"));
    assert_eq!(
        server.client().ask(&[b"XREVRANGE", b"p.stream.c", b"+", b"-", b"COUNT", b"1"]),
        "2-0 d \"\u{5}three",
        "the stream has the publication alone"
    );
}

#[tokio::test]
async fn a_version_that_is_not_newer_is_held_back() {
    let Some(server) = Server::start(&[]) else { return };
    let commands = connect(&server).await;
    let versioned = |number, epoch: &str| Publication {
        keep: Some(Keep { version: Some(Version { number, epoch: epoch.into() }), ..keep() }),
        ..kept("c", "x")
    };
    let outcome = async |number, epoch: &str| {
        let published = publish(&commands, versioned(number, epoch)).await.unwrap();
        (published.offset, published.is_suppressed)
    };
    assert_eq!(outcome(10, "").await, (1, false));
    assert_eq!(outcome(9, "").await, (1, true));
    assert_eq!(outcome(10, "").await, (1, true));
    // Larger as a number, though not as text, and the other way round.
    assert_eq!(outcome(100, "").await, (2, false));
    assert_eq!(outcome(99, "").await, (2, true));
    // Doubles cannot tell these apart.
    assert_eq!(outcome((1 << 53) + 2, "").await, (3, false));
    assert_eq!(outcome((1 << 53) + 1, "").await, (3, true));
    assert_eq!(outcome((1 << 53) + 3, "").await, (4, false));
    assert_eq!(outcome(1, "other").await, (5, false));
    assert_eq!(outcome(1, "other").await, (5, true));
    assert_eq!(outcome(0, "").await, (6, false), "0 is no version");
    let meta = server.client().ask(&[b"HMGET", b"p.stream.meta.c", b"s", b"v", b"ve"]);
    assert_eq!(meta, "6 1 other");
}

#[tokio::test]
async fn the_history_has_its_length_exactly_and_begins_anew_where_its_top_was_evicted() {
    let Some(server) = Server::start(&[]) else { return };
    let commands = connect(&server).await;
    let mut client = server.client();
    for n in 0..25 {
        publish(&commands, kept("c", &n.to_string())).await.unwrap();
    }
    assert_eq!(client.ask(&[b"XLEN", b"p.stream.c"]), "10");
    client.ask(&[b"DEL", b"p.stream.meta.c"]);
    assert_eq!(publish(&commands, kept("c", "new")).await.unwrap().offset, 1);
    assert_eq!(client.ask(&[b"XRANGE", b"p.stream.c", b"-", b"+"]), "1-0 d \"\u{3}new");
}

#[tokio::test]
async fn publications_of_a_turn_go_together_and_keep_their_order() {
    let Some(server) = Server::start(&[]) else { return };
    let commands = connect(&server).await;
    let all =
        join_all((0..2_000).map(|n| publish(&commands, kept(&format!("c{}", n % 10), &n.to_string())))).await;
    for (n, published) in all.into_iter().enumerate() {
        assert_eq!(published.unwrap().offset, n as u64 / 10 + 1, "the order of the channel");
    }
    let numbers = commands.numbers();
    let calls: u64 = numbers.batches.iter().sum();
    println!("{calls} calls: {:?}", numbers.batches);
    assert_eq!((numbers.publications, numbers.asks_waiting), (2_000, 0));
    assert!(calls < 400, "{:?}", numbers.batches);
    let mut client = server.client();
    let stats = client.ask(&[b"INFO", b"commandstats"]);
    println!("{}", stats.lines().find(|line| line.starts_with("cmdstat_evalsha")).unwrap());
    assert_eq!(
        client.ask(&[b"XREVRANGE", b"p.stream.c7", b"+", b"-", b"COUNT", b"2"]),
        "200-0 d \"\u{4}1997 199-0 d \"\u{4}1987"
    );
}

#[tokio::test]
async fn one_that_cannot_be_kept_leaves_the_others_of_its_batch_alone() {
    let Some(server) = Server::start(&[]) else { return };
    let commands = connect(&server).await;
    server.client().ask(&[b"SET", b"p.stream.bad", b"x"]);
    server.client().ask(&[b"HSET", b"p.stream.meta.bad", b"e", b"e", b"s", b"5"]);
    let channels = ["a", "bad", "b", "bad", "c"];
    let results = join_all(channels.map(|channel| publish(&commands, kept(channel, "x")))).await;
    for (channel, result) in channels.iter().zip(results) {
        match result {
            Ok(published) => assert!(*channel != "bad" && published.offset == 1),
            Err(Failure::Denied(answer)) => {
                assert!(*channel == "bad" && answer.contains("WRONGTYPE"), "{answer}");
            }
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!(commands.numbers().failed("denied"), 2);
    assert_eq!(commands.down(), None, "a refusal is an answer");
}

#[tokio::test]
async fn a_script_that_redis_forgot_is_sent_again_and_changes_no_order() {
    let Some(server) = Server::start(&[]) else { return };
    let commands = connect(&server).await;
    let mut client = server.client();
    for round in 0..20 {
        client.ask(&[b"SCRIPT", b"FLUSH"]);
        let all = join_all((0..300).map(|n| publish(&commands, kept("c", &n.to_string())))).await;
        for (n, published) in all.into_iter().enumerate() {
            assert_eq!(published.unwrap().offset, round * 300 + n as u64 + 1);
        }
    }
    assert!(commands.numbers().scripts_loaded_again >= 20);
}

#[tokio::test]
async fn what_is_too_large_or_too_much_is_refused_at_once() {
    let Some(server) = Server::start(&[]) else { return };
    let mut options = options(&server);
    (options.payload_bytes_max, options.asks_max) = (100, 50);
    let commands = up(options, Mode::Plain).await;
    let large = Publication { payload: vec![0; 101].into(), ..plain("c", "") };
    assert_eq!(publish(&commands, large).await, Err(Failure::TooLarge));
    let results = join_all((0..500).map(|_| publish(&commands, kept("c", "x")))).await;
    let refused = results.iter().filter(|result| **result == Err(Failure::Full)).count();
    let done = results.iter().filter(|result| result.is_ok()).count();
    assert_eq!((refused, done), (450, 50), "a turn of 500 finds room for 50");
    assert_eq!(commands.numbers().failed("full"), 450);
}
