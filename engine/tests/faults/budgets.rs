//! Budgets: clients and callers of the server API that have the daemon keep all that they can, in a control group.
//!
//! In:  an attack: a test each, with a configuration and what it does.
//! Out: the kernel kills nobody, every budget holds, and meanwhile a neighbor hears all that it is sent.
//!
//! An attack more is one more test that calls [`survive`], or [`survive_with`]; those over connections are in `attacks`.

use std::{
    io::{ErrorKind, Read, Write},
    net::TcpStream,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use holdfast_testkit::{
    Daemon, Launch, PATIENCE,
    client::{Client, SECRET},
    comes_to_pass, skip,
};
use serde_json::{Value, json};

use crate::{api::Publisher, group::Group};

const GROUP_BYTES: u64 = 600_000_000;

/// Commands that a client sends in one frame.
pub(crate) const FRAME_COMMANDS: usize = 400;

/// How often the neighbor is sent something.
const NEIGHBOR_EVERY: Duration = Duration::from_millis(5);

/// What a budget may have more than its limit when it is looked at: one turn's worth, and what rounding adds.
const OVER_PERCENT: u64 = 10;

/// Has an attack done to a daemon in a group. Channels of `hi` keep history, all may do everything there.
pub(crate) fn survive(what: &str, config: &str, attack: impl FnOnce(&Daemon) + Send) {
    survive_with(what, "", config, attack);
}

/// The same with more in the section `client`.
pub(crate) fn survive_with(what: &str, client: &str, config: &str, attack: impl FnOnce(&Daemon) + Send) {
    survive_beside(be_served, what, client, config, attack);
}

/// The same beside a neighbor that speaks to the server API alone: the tests' client does not speak TLS.
pub(crate) fn survive_with_tls(what: &str, client: &str, config: &str, attack: impl FnOnce(&Daemon) + Send) {
    survive_beside(be_called, what, client, config, attack);
}

fn survive_beside(
    be_neighbor: fn(&Daemon, &AtomicBool) -> u64,
    what: &str,
    client: &str,
    config: &str,
    attack: impl FnOnce(&Daemon) + Send,
) {
    let group = match Group::make(GROUP_BYTES) {
        Ok(group) => group,
        Err(why) => return skip(what, &why),
    };
    let config = format!(
        "[client]\nping_interval = '1h'\ntoken.hmac_secret_key = '{SECRET}'\nchannel_limit = 1000\n{client}\n\
         [http_api]\ninsecure = true\n{config}\n\
         [[channel.namespaces]]\nname = 'hi'\nallow_subscribe_for_client = true\nallow_publish_for_client = true\n\
         allow_history_for_client = true\nhistory_size = 100\nhistory_ttl = '1h'\nallow_recovery = true\n\
         [channel.without_namespace]\nallow_subscribe_for_client = true"
    );
    let launch = Launch { group: Some(group.processes()), ..Launch::default() };
    let daemon = Daemon::launch(&config, launch);
    let has_ended = AtomicBool::new(false);
    thread::scope(|scope| {
        let neighbor = scope.spawn(|| be_neighbor(&daemon, &has_ended));
        let attacker = scope.spawn(|| attack(&daemon));
        let outcome = attacker.join();
        has_ended.store(true, Ordering::Relaxed);
        let heard = neighbor.join().expect("the neighbor is served");
        println!("{what}: the neighbor heard {heard} publications");
        outcome.expect("the attack takes place");
    });
    assert!(daemon.ask("/health").0.starts_with("HTTP/1.1 200 "));
    let is_held = comes_to_pass(|| over_budget(&daemon).is_none());
    assert!(is_held, "{:?}", over_budget(&daemon));
    daemon.stop();
    println!("{what}: the group used {} bytes of {GROUP_BYTES} at most", group.peak_bytes());
    assert_eq!(group.killed(), 0, "{what}");
}

/// Publishes over the server API and hears it as a client, one after the other, until the attack has ended.
fn be_served(daemon: &Daemon, has_ended: &AtomicBool) -> u64 {
    let mut client = Client::connect(daemon, "neighbor");
    client.subscribe("news");
    let mut publisher = Publisher::connect(daemon.control());
    let mut heard = 0;
    while !has_ended.load(Ordering::Relaxed) {
        // Calls may be refused for now, never lost.
        if publisher.try_publish("news", &json!(heard + 1)) {
            heard += 1;
            assert_eq!(client.push()["pub"]["data"], heard);
        }
        thread::sleep(NEIGHBOR_EVERY);
    }
    heard
}

/// Publishes over the server API and reads it there.
fn be_called(daemon: &Daemon, has_ended: &AtomicBool) -> u64 {
    let mut publisher = Publisher::connect(daemon.control());
    let mut heard = 0;
    while !has_ended.load(Ordering::Relaxed) {
        heard += u64::from(publisher.try_publish("hi:news", &json!(heard + 1)));
        let newest = json!({ "channel": "hi:news", "limit": 1, "reverse": true });
        let history = publisher.call("history", &newest).expect("the daemon lives");
        assert_eq!(history["result"]["publications"][0]["data"], heard);
        thread::sleep(NEIGHBOR_EVERY);
    }
    heard
}

/// A budget that has more than it may, with its bytes.
fn over_budget(daemon: &Daemon) -> Option<(String, u64)> {
    let metrics = daemon.metrics();
    let budgets = ["receive", "queues", "history", "channels", "commands", "sessions", "api"];
    budgets.into_iter().find_map(|budget| {
        let bytes = metrics.sum("holdfast_memory_bytes", &[("budget", budget)]);
        let limit = metrics.sum("holdfast_memory_limit_bytes", &[("budget", budget)]);
        (bytes > limit + limit * OVER_PERCENT / 100).then(|| (budget.to_owned(), bytes))
    })
}

pub(crate) fn channels_bytes(daemon: &Daemon) -> u64 {
    daemon.metric("holdfast_memory_bytes", &[("budget", "channels")])
}

/// Sends commands, many in each frame, and reads all replies.
pub(crate) fn command_all(client: &mut Client, commands: impl IntoIterator<Item = (&'static str, Value)>) {
    let commands: Vec<_> = commands.into_iter().collect();
    for commands in commands.chunks(FRAME_COMMANDS) {
        client.send(commands);
        for _ in commands {
            client.message();
        }
    }
}

#[test]
fn reading_many_channels_that_nobody_publishes_to_keeps_nothing() {
    survive("reads of unknown channels", "", |daemon| {
        let mut client = Client::connect(daemon, "reader");
        for round in 0..100 {
            let read = |at| ("history", json!({ "channel": format!("hi:{round}-{at}"), "limit": 1 }));
            command_all(&mut client, (0..1_000).map(read));
        }
        let (channels, bytes) = (daemon.metric("holdfast_channels", &[]), channels_bytes(daemon));
        println!("{channels} channels, {bytes} bytes");
        assert!(channels <= 2 && bytes < 100_000);
    });
}

#[test]
fn subscribing_to_many_channels_one_after_the_other_keeps_nothing() {
    survive("subscriptions that end", "", |daemon| {
        let mut client = Client::connect(daemon, "visitor");
        for round in 0..40 {
            let channel = |at: usize| json!({ "channel": format!("hi:{round}-{at}"), "recoverable": true });
            let visits = (0..500).flat_map(|at| [("subscribe", channel(at)), ("unsubscribe", channel(at))]);
            command_all(&mut client, visits);
        }
        assert!(comes_to_pass(|| channels_bytes(daemon) < 100_000), "{} bytes", channels_bytes(daemon));
    });
}

#[test]
fn publishing_in_many_channels_keeps_as_many_positions_as_have_room() {
    survive("positions", "[channel]\nstate_budget = '8MiB'\nhistory_budget = '16MiB'", |daemon| {
        let mut client = Client::connect(daemon, "publisher");
        for round in 0..100 {
            let publish = |at| ("publish", json!({ "channel": format!("hi:{round}-{at}"), "data": 1 }));
            command_all(&mut client, (0..1_000).map(publish));
        }
        let first = client.command("history", &json!({ "channel": "hi:0-0", "limit": 1 }));
        let last = client.command("history", &json!({ "channel": "hi:99-999", "limit": 1 }));
        assert_eq!((first["offset"].as_u64(), last["offset"].as_u64()), (Some(0), Some(1)));
        let channels = daemon.metric("holdfast_channels", &[]);
        println!("{channels} channels are kept in {} bytes", channels_bytes(daemon));
        assert!((5_000..100_000).contains(&channels));
    });
}

#[test]
fn many_idempotency_keys_are_kept_as_far_as_they_have_room() {
    survive("idempotency keys", "[channel]\nstate_budget = '8MiB'", |daemon| {
        let mut caller = Publisher::connect(daemon.control());
        let publish = |key: usize| {
            let key = format!("{key:0>250}");
            json!({ "publish": { "channel": "plain", "data": 1, "idempotency_key": key } })
        };
        for round in 0..100 {
            let commands: Vec<Value> = (0..500).map(|at| publish(round * 500 + at)).collect();
            let answer = caller.call("batch", &json!({ "commands": commands })).expect("it is answered");
            assert_eq!(answer["replies"].as_array().map(Vec::len), Some(500), "{answer}");
        }
        println!("{} bytes", channels_bytes(daemon));
        assert!(channels_bytes(daemon) > 4 << 20, "there were enough of them");
    });
}

#[test]
fn answers_of_many_times_the_memory_are_cut_and_said_to_be() {
    survive("answers", "", |daemon| {
        let mut caller = Publisher::connect(daemon.control());
        for _ in 0..100 {
            caller.publish("hi:long", &json!("x".repeat(60_000)));
        }
        thread::scope(|scope| {
            for parallel in [false, true, true, true] {
                scope.spawn(move || {
                    let mut caller = Publisher::connect(daemon.control());
                    let read = json!({ "history": { "channel": "hi:long", "limit": -1 } });
                    let batch = json!({ "commands": vec![read; 300], "parallel": parallel });
                    for _ in 0..2 {
                        let answer = caller.call("batch", &batch).expect("it is answered");
                        let refused = answer["error"]["code"].as_u64();
                        let replies = answer["replies"].as_array().map_or(&[][..], Vec::as_slice);
                        let errors = replies.iter().filter_map(|reply| reply["error"]["code"].as_u64());
                        assert!(
                            refused == Some(111) || errors.clone().all(|code| [106, 111].contains(&code))
                        );
                        assert!(refused.is_some() || errors.count() > 250);
                    }
                });
            }
        });
    });
}

#[test]
fn bodies_that_never_end_hold_no_more_than_their_budget() {
    const BODY_BYTES: usize = 16_000_000;
    survive("bodies", "", |daemon| {
        let head = format!(
            "POST /api/info HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {BODY_BYTES}\r\n\r\n"
        );
        let mut held = Vec::new();
        let mut refused = 0;
        for _ in 0..40 {
            let mut stream = TcpStream::connect(daemon.control()).expect("the control plane listens");
            stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
            stream.set_write_timeout(Some(PATIENCE)).expect("a timeout can be set");
            let is_taken = stream
                .write_all(head.as_bytes())
                .and_then(|()| stream.write_all(&vec![b' '; BODY_BYTES - 1]))
                .is_ok();
            if is_taken {
                held.push(stream);
                continue;
            }
            let mut answer = [0; 12];
            let read = stream.read_exact(&mut answer);
            assert!(read.is_err() || [b"HTTP/1.1 503", b"HTTP/1.1 413"].contains(&&answer), "{answer:?}");
            refused += 1;
        }
        let mut still_held = 0;
        for stream in &mut held {
            stream.set_nonblocking(true).expect("it can be");
            let is_waiting =
                stream.read(&mut [0; 16]).is_err_and(|error| error.kind() == ErrorKind::WouldBlock);
            still_held += u32::from(is_waiting);
        }
        println!("{still_held} bodies are held, {refused} were refused at once");
        assert!(still_held < 40);
    });
}
