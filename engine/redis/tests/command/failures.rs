//! What goes wrong: each ask has one answer, in time, and nothing is done twice.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use holdfast_redis::{
    command::{Answer, CommandOptions, Down, Failure, Keep, Publication, Servers},
    layout::Mode,
    receive::connection::{Credentials, Tls},
};
use holdfast_testkit::redis::{Certificate, Server};
use rand::Rng as _;
use rustls::pki_types::ServerName;

use crate::house::{address, begin, connect, keep, kept, options, plain, publish, soon, until, up};

/// CLUSTER failures 19, 22: a Redis that stands still is given up after some late replies, and found again.
#[tokio::test]
async fn a_redis_that_stands_still_costs_a_second_and_then_nothing() {
    let Some(server) = Server::start(&[]) else { return };
    let commands = connect(&server).await;
    server.stand_still();
    let start = Instant::now();
    let results = join_all((0..1_000).map(|n| publish(&commands, kept(&format!("c{n}"), "x")))).await;
    let took = start.elapsed();
    println!("1,000 failures after {took:?}");
    assert!(took < Duration::from_secs(4));
    assert!(results.iter().all(Result::is_err));
    until(|| commands.down().is_some()).await;
    let start = Instant::now();
    let refused = publish(&commands, kept("c", "x")).await.unwrap_err();
    println!("refused after {:?}: {refused}", start.elapsed());
    assert!(start.elapsed() < Duration::from_millis(5));
    assert!(matches!(refused, Failure::Down(_)) && !refused.is_unknown());
    assert!(matches!(commands.top("c").await, Err(Failure::Down(_))));
    server.go_on();
    soon(commands.up()).await.unwrap();
    publish(&commands, kept("c", "x")).await.unwrap();
    assert!(commands.numbers().breaker_opened >= 1);
}

#[tokio::test]
async fn a_redis_that_is_gone_is_known_at_once_and_found_again() {
    let Some(mut server) = Server::start(&[]) else { return };
    let commands = connect(&server).await;
    publish(&commands, kept("c", "x")).await.unwrap();
    let start = Instant::now();
    server.end();
    until(|| commands.down().is_some()).await;
    println!("known after {:?}", start.elapsed());
    assert!(start.elapsed() < Duration::from_secs(1));
    assert_eq!(commands.down(), Some(Down::Lost));
    assert_eq!(publish(&commands, kept("c", "x")).await, Err(Failure::Down(Down::Lost)));
    tokio::time::sleep(Duration::from_secs(1)).await;
    server.restart();
    soon(commands.up()).await.unwrap();
    assert_eq!(publish(&commands, kept("c", "x")).await.unwrap().offset, 1, "it came back empty");
}

#[tokio::test]
async fn who_begins_before_redis_does_is_up_once_it_is_there() {
    let Some(mut server) = Server::start(&[]) else { return };
    server.end();
    let (commands, driver) = begin(options(&server), Mode::Plain);
    tokio::spawn(driver.run());
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(publish(&commands, plain("c", "x")).await, Err(Failure::Down(Down::Connecting)));
    server.restart();
    soon(commands.up()).await.unwrap();
    publish(&commands, plain("c", "x")).await.unwrap();
}

/// CLUSTER failures 19, 20: whatever the kills hit, an ask is answered once, and a publication is there once at most.
#[tokio::test]
async fn connections_that_are_killed_repeat_nothing_and_leave_no_ask_without_its_answer() {
    const ASKS: usize = 20_000;
    let Some(server) = Server::start(&[]) else { return };
    let commands = connect(&server).await;
    let answers: Arc<Vec<AtomicUsize>> = Arc::new((0..ASKS).map(|_| AtomicUsize::new(0)).collect());
    let (good, unknown) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let is_over = Arc::new(AtomicBool::new(false));
    let (mut killer, is_killing_over) = (server.client(), is_over.clone());
    let killing = std::thread::spawn(move || {
        while !is_killing_over.load(Relaxed) {
            std::thread::sleep(Duration::from_millis(rand::rng().random_range(50..200)));
            killer.ask(&[b"CLIENT", b"KILL", b"TYPE", b"normal", b"SKIPME", b"yes"]);
        }
    });
    for n in 0..ASKS {
        let large = Keep { size: 100_000, ..keep() };
        let publication = Publication { keep: Some(large), ..kept(&format!("c{}", n % 7), &n.to_string()) };
        let (answers, good, unknown) = (answers.clone(), good.clone(), unknown.clone());
        commands.publish(
            publication,
            Answer::new(move |result| {
                answers[n].fetch_add(1, Relaxed);
                match result {
                    Ok(_) => good.fetch_add(1, Relaxed),
                    Err(failure) if failure.is_unknown() => unknown.fetch_add(1, Relaxed),
                    Err(_) => 0,
                };
            }),
        );
        if n % 20 == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        if n % 500 == 0 {
            soon(commands.up()).await.unwrap();
        }
    }
    is_over.store(true, Relaxed);
    killing.join().unwrap();
    until(|| answers.iter().all(|count| count.load(Relaxed) > 0)).await;
    assert!(answers.iter().all(|count| count.load(Relaxed) == 1));
    let mut there = HashSet::new();
    let mut total = 0;
    for channel in 0..7 {
        let entries =
            server.client().ask(&[b"XRANGE", format!("p.stream.c{channel}").as_bytes(), b"-", b"+"]);
        for data in entries.split(' ').filter(|word| word.starts_with('"')) {
            total += 1;
            there.insert(data.to_owned());
        }
    }
    let (good, unknown) = (good.load(Relaxed), unknown.load(Relaxed));
    println!("{good} acknowledged, {unknown} unknown, {total} there");
    assert_eq!(there.len(), total, "none is there twice");
    assert!(
        good <= total && total <= good + unknown,
        "what is acknowledged is there, and nothing that was refused"
    );
    assert!(good > ASKS / 8 && commands.numbers().breaker_opened >= 3);
}

/// CLUSTER failure 6.
#[tokio::test]
async fn a_primary_that_became_a_replica_is_a_lost_connection() {
    let (Some(server), Some(other)) = (Server::start(&[]), Server::start(&[])) else { return };
    let commands = connect(&server).await;
    publish(&commands, kept("c", "x")).await.unwrap();
    let mut client = server.client();
    client.ask(&[b"REPLICAOF", b"127.0.0.1", other.port.to_string().as_bytes()]);
    let failure = publish(&commands, kept("c", "x")).await.unwrap_err();
    println!("{failure}");
    until(|| commands.down().is_some()).await;
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert!(commands.down().is_some(), "it is still a replica");
    client.ask(&[b"REPLICAOF", b"NO", b"ONE"]);
    soon(commands.up()).await.unwrap();
    publish(&commands, kept("c", "x")).await.unwrap();
}

/// The same where nobody writes: its role is looked at.
#[tokio::test]
async fn a_quiet_primary_is_asked_for_its_role() {
    let (Some(server), Some(other)) = (Server::start(&[]), Server::start(&[])) else { return };
    let mut options = options(&server);
    options.check_every = Duration::from_millis(100);
    let commands = up(options, Mode::Plain).await;
    server.client().ask(&[b"REPLICAOF", b"127.0.0.1", other.port.to_string().as_bytes()]);
    until(|| commands.down() == Some(Down::WrongPrimary)).await;
}

#[tokio::test]
async fn what_an_acl_forbids_is_denied_and_everything_else_goes_on() {
    let Some(server) = Server::start(&[]) else { return };
    server.client().ask(&[
        b"ACL",
        b"SETUSER",
        b"node",
        b"on",
        b">secret",
        b"+@all",
        b"~p.*",
        b"resetchannels",
        b"&p.*",
        b"-del",
    ]);
    let mut options = options(&server);
    options.credentials = Some(Credentials { user: Some("node".into()), password: "secret".into() });
    let commands = up(options, Mode::Plain).await;
    publish(&commands, kept("c", "x")).await.unwrap_err();
    assert!(matches!(commands.remove_history("c").await, Err(Failure::Denied(_))));
    publish(&commands, plain("c", "x")).await.unwrap();
    assert!(matches!(commands.send("q.other".into(), "x".into()).await, Err(Failure::Denied(_))));
    assert_eq!(commands.send("p.control".into(), "x".into()).await, Ok(0));
    assert_eq!(commands.down(), None);
}

/// CLUSTER failure 18: a Redis without memory says no, and is asked again.
#[tokio::test]
async fn a_redis_that_is_full_denies_what_it_would_keep_and_no_more() {
    let Some(server) = Server::start(&[]) else { return };
    let commands = connect(&server).await;
    let mut client = server.client();
    publish(&commands, kept("c", "x")).await.unwrap();
    client.ask(&[b"CONFIG", b"SET", b"maxmemory", b"1"]);
    let failure = publish(&commands, kept("c", "x")).await.unwrap_err();
    assert!(matches!(&failure, Failure::Denied(answer) if answer.contains("OOM")), "{failure}");
    publish(&commands, plain("c", "x")).await.unwrap();
    assert_eq!(commands.down(), None);
    client.ask(&[b"CONFIG", b"SET", b"maxmemory", b"0"]);
    assert_eq!(publish(&commands, kept("c", "x")).await.unwrap().offset, 2, "no offset was lost");
}

#[tokio::test]
async fn a_wrong_password_lets_nobody_in_and_ends_nothing() {
    let Some(server) = Server::start(&["--requirepass", "right"]) else { return };
    let mut options = options(&server);
    options.credentials = Some(Credentials { user: None, password: "wrong".into() });
    let (commands, driver) = begin(options, Mode::Plain);
    let task = tokio::spawn(driver.run());
    tokio::time::sleep(Duration::from_millis(800)).await;
    assert!(commands.down().is_some() && !task.is_finished());
    let mut client = server.client();
    client.ask(&[b"AUTH", b"right"]);
    client.ask(&[b"CONFIG", b"SET", b"requirepass", b"wrong"]);
    soon(commands.up()).await.unwrap();
    publish(&commands, plain("c", "x")).await.unwrap();
}

#[tokio::test]
async fn tls_is_spoken_and_a_certificate_for_somebody_else_is_refused() {
    let certificate = Certificate::of("redis.test");
    let Some(server) = Server::start_tls(&certificate) else { return };
    let tls = |name| {
        let mut options = options(&server);
        options.tls = Some(Tls { config: certificate.client(), name: ServerName::try_from(name).unwrap() });
        options
    };
    let commands = up(tls("redis.test"), Mode::Plain).await;
    publish(&commands, kept("c", "x")).await.unwrap();
    let (other, driver) = begin(tls("other.test"), Mode::Plain);
    tokio::spawn(driver.run());
    tokio::time::sleep(Duration::from_millis(800)).await;
    assert!(other.down().is_some());
}

#[tokio::test]
async fn a_driver_that_ends_answers_all_that_waits() {
    let Some(server) = Server::start(&[]) else { return };
    let (commands, driver) = begin(options(&server), Mode::Plain);
    let task = tokio::spawn(driver.run());
    soon(commands.up()).await.unwrap();
    server.stand_still();
    let handle = commands.clone();
    let asks = tokio::spawn(async move {
        join_all((0..100).map(|n| handle.published(kept(&format!("c{n}"), "x")))).await
    });
    tokio::time::sleep(Duration::from_millis(50)).await;
    task.abort();
    let results = soon(asks).await.unwrap();
    assert!(results.iter().all(|result| *result == Err(Failure::Down(Down::Stopped))));
    assert_eq!(publish(&commands, plain("c", "x")).await, Err(Failure::Down(Down::Stopped)));
    assert_eq!(commands.up().await, Err(Failure::Down(Down::Stopped)));
    server.go_on();
}

#[tokio::test]
async fn the_last_handle_ends_the_driver() {
    let Some(server) = Server::start(&[]) else { return };
    let (commands, driver) = begin(options(&server), Mode::Plain);
    let task = tokio::spawn(driver.run());
    soon(commands.up()).await.unwrap();
    drop(commands.clone());
    publish(&commands, plain("c", "x")).await.unwrap();
    drop(commands);
    soon(task).await.unwrap();
}

/// Connections to a server, without the one that asks.
fn connections(server: &Server) -> usize {
    server.client().ask(&[b"CLIENT", b"LIST"]).trim().lines().count() - 1
}

#[tokio::test]
async fn a_driver_that_ended_leaves_no_connection_behind() {
    let Some(server) = Server::start(&[]) else { return };
    for is_aborted in [false, true] {
        let (commands, driver) = begin(options(&server), Mode::Plain);
        let task = tokio::spawn(driver.run());
        soon(commands.up()).await.unwrap();
        assert!(connections(&server) >= 1);
        if is_aborted {
            task.abort();
        } else {
            commands.stop();
        }
        drop(commands);
        until(|| connections(&server) == 0).await;
    }
}

/// Debian's redis-server is its own sentinel.
#[tokio::test]
async fn sentinel_says_where_the_primary_is_also_after_a_failover() {
    let Some(server) = Server::start(&[]) else { return };
    let Some(replica) = Server::start(&["--replicaof", "127.0.0.1", &server.port.to_string()]) else {
        return;
    };
    let Some(sentinel) = Server::start_sentinel("main", &server) else { return };
    let mut options = options(&server);
    options.servers = Servers::Sentinel { sentinels: vec![address(&sentinel)], primary: "main".into() };
    let commands = up(options, Mode::Plain).await;
    publish(&commands, kept("c", "x")).await.unwrap();
    assert_eq!(server.client().ask(&[b"XLEN", b"p.stream.c"]), "1");

    until(|| replica.client().ask(&[b"XLEN", b"p.stream.c"]) == "1").await;
    // The old primary lives on and takes writes for ten seconds, until sentinel makes it a replica.
    soon(async {
        while sentinel.client().ask(&[b"SENTINEL", b"FAILOVER", b"main"]) != "OK" {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    })
    .await;
    let new = replica.port.to_string();
    let mut asker = sentinel.client();
    until(|| asker.ask(&[b"SENTINEL", b"GET-MASTER-ADDR-BY-NAME", b"main"]).ends_with(&new)).await;
    let promoted = Instant::now();
    until(|| commands.down() == Some(Down::WrongPrimary)).await;
    soon(commands.up()).await.unwrap();
    println!("followed {:?} after the promotion", promoted.elapsed());
    assert!(promoted.elapsed() < Duration::from_secs(6), "before the old one would have told");
    assert_eq!(publish(&commands, kept("c", "x")).await.unwrap().offset, 2);
    assert_eq!(replica.client().ask(&[b"XLEN", b"p.stream.c"]), "2");
}

#[tokio::test]
async fn what_too_few_replicas_have_is_an_error_that_says_nothing_of_its_fate() {
    let Some(primary) = Server::start(&[]) else { return };
    let port = primary.port.to_string();
    let Some(replica) = Server::start(&["--replicaof", "127.0.0.1", &port]) else { return };
    let options = CommandOptions { wait_replicas: 1, ..options(&primary) };
    let commands = up(options, Mode::Plain).await;
    let mut client = primary.client();
    until(|| client.ask(&[b"INFO", b"replication"]).contains("state=online")).await;
    assert_eq!(publish(&commands, kept("c", "x")).await.map(|published| published.offset), Ok(1));
    replica.stand_still();
    let failure = publish(&commands, kept("c", "x")).await.unwrap_err();
    assert!(failure == Failure::Unreplicated && failure.is_unknown());
    assert_eq!(commands.top("c").await.unwrap().map(|top| top.offset), Some(2), "it is there all the same");
    // What is not kept waits for nobody.
    publish(&commands, plain("c", "x")).await.unwrap();
    replica.go_on();
    assert_eq!(publish(&commands, kept("c", "x")).await.map(|published| published.offset), Ok(3));
    assert_eq!(commands.down(), None, "a slow replica is no reason to leave the primary");
}
