//! Soak: a daemon that is used in all ways for a long time, by clients and in channels that come and go.
//!
//! In:  rounds of a second or so: histories of several lifetimes in names that are never used again, idempotency keys,
//!      presence, slow readers, sessions of polls that nobody ends, clients that come back and recover; for `SOAK_SECONDS`,
//!      half a minute where nothing else is said.
//! Out: memory that stays flat after a time to warm up, and budgets that are empty when all have gone.
//!
//! Memory is what the process has touched itself (`RssAnon`), at the end of each round. The allocator gives free pages back
//! a second late and keeps some of each size, so single numbers go up and down by some megabytes: what counts is the least
//! of the second third of the time and the least of the last. What may lie between them does not grow with the time, so
//! that the longer it takes, the smaller a leak may be that is found.

use std::{
    env, thread,
    time::{Duration, Instant},
};

use holdfast_testkit::{
    Daemon,
    client::{Client, SECRET, token},
    comes_to_pass,
    http::Http,
    peer::Peer,
};
use serde_json::{Value, json};

use crate::api::Publisher;

const SECONDS: u64 = 30;

/// What the least memory of a third may be more than that of the one before.
const GROWTH_MAX_BYTES: u64 = 4 << 20;

/// What each budget may have when all have gone: tables keep some places.
const LEFT_MAX_BYTES: [(&str, u64); 7] = [
    ("receive", 0),
    ("queues", 0),
    ("history", 0),
    ("channels", 50_000),
    ("commands", 0),
    ("sessions", 50_000),
    ("api", 0),
];

fn start() -> Daemon {
    let lifetimes = [("now", "1s"), ("soon", "2s"), ("late", "5s")].map(|(name, ttl)| {
        format!(
            "[[channel.namespaces]]\nname = '{name}'\nallow_subscribe_for_client = true\npresence = true\n\
             join_leave = true\nallow_publish_for_client = true\nallow_history_for_client = true\n\
             history_size = 20\nhistory_ttl = '{ttl}'\nhistory_meta_ttl = '6s'\nallow_recovery = true\n"
        )
    });
    Daemon::start(&format!(
        "[client]\nping_interval = '1h'\ntoken.hmac_secret_key = '{SECRET}'\nqueue_max_size = '256KiB'\n\
         channel_limit = 1000\n[http_api]\ninsecure = true\n[poll]\nenabled = true\nsession_ttl = '2s'\n\
         [channel]\nidempotency_ttl = '3s'\n{}",
        lifetimes.concat()
    ))
}

/// Names of a round, which no other round has.
fn names(round: u64, count: usize) -> impl Iterator<Item = String> {
    (0..count).map(move |at| format!("{}:{round}-{at}", ["now", "soon", "late"][at % 3]))
}

/// Everything once. `stays` is there all the time.
fn round(daemon: &Daemon, round: u64, caller: &mut Publisher, stays: &mut Client) {
    // Names that come and go, with histories, positions and presence.
    let mut clients: Vec<Client> =
        (0..8).map(|at| Client::connect(daemon, &format!("user-{round}-{at}"))).collect();
    for client in &mut clients {
        let subscribe = |channel| ("subscribe", json!({ "channel": channel, "recoverable": true }));
        command_all_quietly(client, names(round, 60).map(subscribe));
        let publish = |channel| ("publish", json!({ "channel": channel, "data": "x".repeat(100) }));
        command_all_quietly(client, names(round, 60).map(publish));
    }
    // Who comes back recovers.
    let lost = clients.pop().expect("there are some");
    lost.reset();
    let mut back = Client::connect(daemon, "back");
    let recover =
        |channel| ("subscribe", json!({ "channel": channel, "recover": true, "epoch": "", "offset": 0 }));
    command_all_quietly(&mut back, names(round, 30).map(recover));
    // Keys that are not used again.
    let keyed = |at| json!({ "publish": { "channel": format!("late:{round}-keys"), "data": at, "idempotency_key": format!("{round}-{at}") } });
    let batch = json!({ "commands": (0..200).map(keyed).collect::<Vec<Value>>() });
    caller.call("batch", &batch).expect("it is answered");
    // Slow readers.
    let slow: Vec<Client> = (0..3)
        .map(|_| {
            let peer = Peer::connect_with_receive_buffer(4_096, daemon).upgraded("/connection/websocket");
            let mut client = Client::over(peer, "slow");
            client.subscribe("now:slow");
            client
        })
        .collect();
    caller.publish_all("now:slow", (0..32).map(|at| json!(format!("{at}{}", "x".repeat(30_000)))));
    // Sessions of polls that are left alone.
    let mut http = Http::connect(daemon);
    for at in 0..5 {
        let connect = json!({ "id": 1, "connect": { "token": token(&json!({ "sub": format!("poll-{round}-{at}") })) } });
        let subscribe = json!({ "id": 2, "subscribe": { "channel": "soon:polled" } });
        http.post("/connection/poll", "", &json!({ "commands": [connect, subscribe] }).to_string());
        assert_eq!(http.answer().status, 200);
    }
    caller.publish_all("soon:polled", (0..8).map(|at| json!(at)));
    // Who stays hears all of it.
    caller.publish("now:steady", &json!(round));
    assert_eq!(stays.push()["pub"]["data"], round);
    drop((slow, clients, back));
}

/// Sends commands and reads all replies, whatever else comes.
fn command_all_quietly(client: &mut Client, commands: impl Iterator<Item = (&'static str, Value)>) {
    let commands: Vec<_> = commands.collect();
    let first = client.send(&commands);
    let mut left = commands.len();
    while left > 0 {
        let message = client.message();
        left -= usize::from(message["id"].as_u64().is_some_and(|id| id >= u64::from(first)));
    }
}

#[test]
fn whatever_comes_and_goes_memory_stays_flat_and_nothing_is_left_when_all_have_gone() {
    let seconds = env::var("SOAK_SECONDS").map_or(SECONDS, |seconds| seconds.parse().expect("a number"));
    let daemon = start();
    let mut caller = Publisher::connect(daemon.control());
    let mut stays = Client::connect(&daemon, "stays");
    stays.subscribe("now:steady");
    let began = Instant::now();
    let mut memory = Vec::new();
    while began.elapsed() < Duration::from_secs(seconds) {
        round(&daemon, memory.len() as u64, &mut caller, &mut stays);
        // What has been freed goes back to the kernel a second later.
        thread::sleep(Duration::from_millis(300));
        memory.push(daemon.user_memory_bytes());
    }
    println!("{} rounds; memory: {memory:?}", memory.len());
    let third = memory.len() / 3;
    assert!(third > 2, "{memory:?}");
    let least = |part: &[u64]| part.iter().copied().min().expect("there are some");
    let (middle, last) = (least(&memory[third..2 * third]), least(&memory[2 * third..]));
    assert!(last <= middle + GROWTH_MAX_BYTES, "from {middle} to {last} bytes: {memory:?}");

    drop((caller, stays));
    daemon.await_empty();
    let left = || {
        let metrics = daemon.metrics();
        let bytes = |budget| metrics.sum("holdfast_memory_bytes", &[("budget", budget)]);
        LEFT_MAX_BYTES.map(|(budget, most)| (budget, bytes(budget), most))
    };
    let is_empty = comes_to_pass(|| left().iter().all(|&(_, bytes, most)| bytes <= most));
    println!("{:?} are left", left());
    assert!(is_empty, "{:?}", left());
    daemon.stop();
}
