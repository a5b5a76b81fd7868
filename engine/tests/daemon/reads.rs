//! Reads: what is longer than a queue, and questions with long answers, reach everybody who reads, at the pace of the reader.
//!
//! In:  long publications, recoveries, histories and presence, for readers that are fast, slow, or do not read.
//! Out: all of it, in order; a reader is closed for what others send while it does not read, and never for what it asked.

use std::{thread, time::Duration};

use holdfast_testkit::{
    Daemon,
    client::{Client, SECRET, token},
    eventually,
    peer::Peer,
};
use serde_json::{Value, json};

use crate::{
    polls::Poller,
    streams::{SSE, STREAM, Streamed},
};

fn start(more: &str) -> Daemon {
    start_with("", more)
}

fn start_with(client: &str, more: &str) -> Daemon {
    Daemon::start(&format!(
        "[client]\nqueue_max_size = '128KiB'\n{client}\n[client.token]\nhmac_secret_key = '{SECRET}'\n\
         [http_api]\ninsecure = true\n[sse]\nenabled = true\n[http_stream]\nenabled = true\n[poll]\nenabled = true\nsession_ttl = '10m'\n\
         [channel.without_namespace]\nallow_subscribe_for_client = true\nallow_publish_for_client = true\n\
         presence = true\nallow_presence_for_client = true\nhistory_size = 100\nhistory_ttl = '10m'\n\
         allow_history_for_client = true\nforce_recovery = true\n\
         [[channel.namespaces]]\nname = 'latest'\nallow_subscribe_for_client = true\n\
         slow_readers = 'keep_latest'\n{more}"
    ))
}

/// Publishes as the application does.
fn publish(daemon: &Daemon, channel: &str, data: &Value) {
    let body = json!({ "channel": channel, "data": data }).to_string();
    let (head, answer) = daemon.request("POST", "/api/publish", "", &body);
    assert!(head.starts_with("HTTP/1.1 200") && !answer.contains("error"), "{answer}");
}

/// A client for which the kernel keeps little.
fn narrow(daemon: &Daemon, user: &str) -> Client {
    let peer = Peer::connect_with_receive_buffer(16 * 1024, daemon).upgraded("/connection/websocket");
    Client::over(peer, user)
}

fn recover(channel: &str) -> Value {
    json!({ "channel": channel, "recover": true, "offset": 0, "epoch": "" })
}

fn slow_closes(daemon: &Daemon) -> u64 {
    daemon.metric("holdfast_slow_reader_disconnects_total", &[])
}

/// The lengths of the data of publications.
fn lengths(publications: &Value) -> Vec<usize> {
    let publications = publications.as_array().map_or(&[][..], Vec::as_slice);
    publications.iter().map(|publication| publication["data"].as_str().map_or(0, str::len)).collect()
}

#[test]
fn a_publication_longer_than_the_queue_reaches_every_reader_on_every_transport() {
    const LONG: usize = 1_000_000;
    let daemon = start("");
    let channels = ["room", "latest:room"];
    let mut clients = [Client::connect(&daemon, "ann"), narrow(&daemon, "bob")];
    for client in &mut clients {
        for channel in channels {
            client.subscribe(channel);
        }
    }
    let subscribe = json!({ "id": 2, "subscribe": { "channel": "room" } });
    let mut streamed = [SSE, STREAM].map(|path| Streamed::open(&daemon, path, "eve"));
    for streamed in &mut streamed {
        assert_eq!(streamed.command(&daemon, &subscribe.to_string()).status, 204);
        assert_eq!(streamed.message()["id"], 2);
    }
    let mut poller = Poller::open(&daemon, "joe");
    poller.poll_until(2, &[subscribe]);
    for n in 0..4 {
        let data = json!(format!("{n}{}", "x".repeat(LONG)));
        publish(&daemon, "room", &data);
        for client in &mut clients {
            assert_eq!(client.push()["pub"]["data"], data);
        }
        for streamed in &mut streamed {
            assert_eq!(streamed.message()["push"]["pub"]["data"], data);
        }
        assert_eq!(poller.poll(&[])[0]["push"]["pub"]["data"], data);
        publish(&daemon, "latest:room", &data);
        for client in &mut clients {
            assert_eq!(client.push()["pub"]["data"], data);
        }
    }
    assert_eq!(slow_closes(&daemon), 0);
    daemon.stop();
}

#[test]
fn who_does_not_read_is_closed_although_a_single_long_publication_passes() {
    let daemon = start("");
    let mut idle = narrow(&daemon, "ann");
    idle.subscribe("room");
    let before = daemon.user_memory_bytes();
    let data = json!("x".repeat(900_000));
    eventually("it is closed", || {
        publish(&daemon, "room", &data);
        slow_closes(&daemon) > 0
    });
    // What it may have waiting: the long one, twice the queue, and what the kernel took; the history keeps its own.
    let kept = daemon.metric("holdfast_memory_bytes", &[("budget", "history")]);
    let grown = daemon.user_memory_bytes().saturating_sub(before).saturating_sub(kept);
    assert!(grown < 32 << 20, "{grown} bytes");
    daemon.stop();
}

/// Channels with histories that are longer than the queue.
fn fill(daemon: &Daemon, channels: &[String]) {
    for channel in channels {
        for n in 1..=4 {
            publish(daemon, channel, &json!("x".repeat(60_000 + n)));
        }
    }
}

fn names(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|n| format!("{prefix}{n}")).collect()
}

const FILLED: [usize; 4] = [60_001, 60_002, 60_003, 60_004];

#[test]
fn many_long_recoveries_that_are_asked_for_at_once_all_arrive_among_live_messages() {
    const CHANNELS: usize = 20;
    let daemon = start("");
    for (prefix, mut client) in [("a", Client::connect(&daemon, "ann")), ("b", narrow(&daemon, "bob"))] {
        let channels = names(prefix, CHANNELS);
        fill(&daemon, &channels);
        let commands: Vec<_> = channels.iter().map(|channel| ("subscribe", recover(channel))).collect();
        client.subscribe(&format!("live {prefix}"));
        let first = u64::from(client.send(&commands));
        let mut answered = [false; CHANNELS];
        let (mut published, mut live) = (0, 0);
        while answered.contains(&false) || live < published {
            if published < 40 {
                publish(&daemon, &format!("live {prefix}"), &json!(published));
                published += 1;
            }
            let message = client.message();
            if let Some(push) = message.get("push") {
                assert_eq!(push["pub"]["data"], live, "live messages come in their order");
                live += 1;
                continue;
            }
            let at = usize::try_from(message["id"].as_u64().expect("a reply") - first).expect("it is small");
            assert!(!std::mem::replace(&mut answered[at], true), "answered once");
            assert_eq!(message["subscribe"]["recovered"], true, "{}", channels[at]);
            assert_eq!(lengths(&message["subscribe"]["publications"]), FILLED);
        }
        // It is subscribed to all of them, from just behind what was recovered.
        for channel in &channels {
            publish(&daemon, channel, &json!("new"));
            let push = client.push();
            assert_eq!((&push["channel"], &push["pub"]["data"]), (&json!(channel), &json!("new")));
        }
    }
    assert_eq!(slow_closes(&daemon), 0);
    daemon.stop();
}

#[test]
fn long_histories_and_recoveries_arrive_over_streams_and_polls_too() {
    const CHANNELS: usize = 8;
    let daemon = start("");
    let channels = names("c", CHANNELS);
    fill(&daemon, &channels);
    let commands: Vec<Value> = (channels.iter().enumerate())
        .flat_map(|(n, channel)| {
            [
                json!({ "id": 2 + 2 * n, "subscribe": recover(channel) }),
                json!({ "id": 3 + 2 * n, "history": { "channel": channel, "limit": 10 } }),
            ]
        })
        .collect();
    let check = |reply: &Value| {
        let result = if reply["id"].as_u64().is_some_and(|id| id % 2 == 0) { "subscribe" } else { "history" };
        assert_eq!(lengths(&reply[result]["publications"]), FILLED, "{}", reply["id"]);
    };
    let batch = commands.iter().map(Value::to_string).collect::<Vec<_>>().join("\n");
    for path in [SSE, STREAM] {
        let mut streamed = Streamed::open(&daemon, path, "ann");
        assert_eq!(streamed.command(&daemon, &batch).status, 204);
        for _ in &commands {
            check(&streamed.message());
        }
    }
    let mut poller = Poller::open(&daemon, "ann");
    let mut replies = poller.poll(&commands);
    while replies.len() < commands.len() {
        replies.extend(poller.poll(&[]));
    }
    replies.iter().for_each(check);
    assert_eq!(slow_closes(&daemon), 0);
    daemon.stop();
}

#[test]
fn what_is_recovered_with_a_connect_has_one_limit_and_the_rest_is_said_to_be_lost() {
    let daemon = start_with("reply_max_size = '600KiB'", "");
    let channels = names("c", 4);
    fill(&daemon, &channels);
    let claims = json!({ "sub": "ann", "channels": channels });
    let subs: serde_json::Map<_, _> =
        channels.iter().map(|channel| (channel.clone(), recover(channel))).collect();
    let connect = json!({ "token": token(&claims), "subs": subs });
    let (mut client, connected) = Client::connect_with(&daemon, &connect);
    let mut recovered = 0;
    for channel in &channels {
        let sub = &connected["subs"][channel];
        assert_eq!(sub["was_recovering"], true);
        if sub["recovered"] == true {
            assert!(sub["offset"].as_u64().is_none_or(|offset| offset == 0), "where it was: {sub}");
            assert_eq!(lengths(&sub["publications"]), FILLED);
            recovered += 1;
        } else {
            assert!(sub["publications"].as_array().is_none_or(|none| none.is_empty()), "{sub}");
            assert_eq!(sub["offset"], 4);
        }
    }
    assert_eq!(recovered, 2, "each is 240 KB");
    publish(&daemon, "c3", &json!("new"));
    assert_eq!(client.push()["pub"]["data"], "new");
    daemon.stop();
}

#[test]
fn a_reply_has_a_maximum_pages_end_there_recoveries_are_lost_and_presence_is_refused() {
    let daemon = start_with("reply_max_size = '64KiB'", "");
    for n in 1..=10 {
        publish(&daemon, "room", &json!("x".repeat(20_000 + n)));
    }
    let mut client = Client::connect(&daemon, "ann");
    let mut since = json!({ "offset": 0, "epoch": "" });
    let mut heard = Vec::new();
    while heard.len() < 10 {
        let page = client.command("history", &json!({ "channel": "room", "limit": -1, "since": since }));
        assert_eq!(page["offset"], 10);
        let lengths = lengths(&page["publications"]);
        assert!((1..=3).contains(&lengths.len()), "{lengths:?}");
        heard.extend(lengths);
        since = json!({ "offset": heard.len(), "epoch": page["epoch"] });
    }
    assert_eq!(heard, (20_001..=20_010).collect::<Vec<_>>());
    let newest = client.command("history", &json!({ "channel": "room", "limit": 100, "reverse": true }));
    assert_eq!(lengths(&newest["publications"]), [20_010, 20_009, 20_008]);

    let lost = client.command("subscribe", &recover("room"));
    assert!(lost["was_recovering"] == true && lost.get("recovered").is_none(), "{lost}");
    assert_eq!(lost["offset"], 10);
    client.command("unsubscribe", &json!({ "channel": "room" }));
    let near = json!({ "channel": "room", "recover": true, "offset": 8, "epoch": lost["epoch"] });
    assert_eq!(lengths(&client.command("subscribe", &near)["publications"]), [20_009, 20_010]);
    client.command("unsubscribe", &json!({ "channel": "room" }));

    // One publication passes, whatever its length.
    publish(&daemon, "long", &json!("x".repeat(500_000)));
    let long = client.command("subscribe", &recover("long"));
    assert_eq!((&long["recovered"], lengths(&long["publications"])), (&json!(true), vec![500_000]));

    let claims = |n: usize| json!({ "sub": format!("u{n}"), "info": { "pad": "x".repeat(5_000) } });
    let others: Vec<Client> = (0..20)
        .map(|n| {
            let (mut other, _) = Client::connect_with(&daemon, &json!({ "token": token(&claims(n)) }));
            other.subscribe("crowd");
            other
        })
        .collect();
    let crowd = json!({ "channel": "crowd" });
    assert_eq!(client.error("presence", &crowd), 106);
    let stats = client.command("presence_stats", &crowd);
    assert_eq!((&stats["num_clients"], &stats["num_users"]), (&json!(20), &json!(20)));
    drop(others);
    daemon.stop();
}

#[test]
fn a_frame_of_a_thousand_long_questions_is_answered_as_it_is_read_and_keeps_nobody_waiting() {
    const COUNT: usize = 1_000;
    const MEMBERS: usize = 20;
    let daemon = start("");
    let claims = |n: usize| json!({ "sub": format!("u{}", n / 2), "info": { "pad": "x".repeat(2_000) } });
    let members: Vec<Client> = (0..MEMBERS)
        .map(|n| {
            let (mut member, _) = Client::connect_with(&daemon, &json!({ "token": token(&claims(n)) }));
            member.subscribe("crowd");
            member
        })
        .collect();
    let mut client = narrow(&daemon, "ann");
    let mut neighbor = Client::connect(&daemon, "bob");
    let before = daemon.user_memory_bytes();
    let questions: Vec<(&str, Value)> = (0..COUNT)
        .map(|n| match n % 50 {
            49 => ("presence_stats", json!({ "channel": "crowd" })),
            _ => ("presence", json!({ "channel": "crowd" })),
        })
        .collect();
    let first = client.send(&questions) as usize;
    // It does not read for a while: what waits for it stays within its bounds, and nobody else notices.
    for n in 0..20 {
        neighbor.command("presence_stats", &json!({ "channel": "crowd" }));
        neighbor.subscribe(&format!("n{n}"));
    }
    thread::sleep(Duration::from_millis(300));
    let grown = daemon.user_memory_bytes().saturating_sub(before);
    assert!(grown < 24 << 20, "{grown} bytes for questions of {COUNT} × {} bytes", MEMBERS * 2_000);
    let mut answered = vec![false; COUNT];
    while answered.contains(&false) {
        let reply = client.message();
        let id = reply["id"].as_u64().expect("a reply has a number");
        let n = usize::try_from(id).expect("it is small") - first;
        assert!(!std::mem::replace(&mut answered[n], true), "answered once");
        match n % 50 {
            49 => {
                let stats = &reply["presence_stats"];
                let counts = (&stats["num_clients"], &stats["num_users"]);
                assert_eq!(counts, (&json!(MEMBERS), &json!(MEMBERS / 2)));
            }
            _ => assert_eq!(reply["presence"]["presence"].as_object().map(|all| all.len()), Some(MEMBERS)),
        }
    }
    assert_eq!(slow_closes(&daemon), 0);
    drop(members);
    daemon.stop();
}

#[test]
fn long_answers_count_as_many_commands_of_who_asks_for_them() {
    let daemon = start_with("", "[limits.connection]\ncommands_per_second = 20");
    for n in 1..=16 {
        publish(&daemon, "room", &json!("x".repeat(60_000 + n)));
    }
    let mut client = Client::connect(&daemon, "ann");
    let history = |limit: i32| json!({ "channel": "room", "limit": limit });
    assert!(client.ask("history", &history(-1)).get("error").is_none());
    assert_eq!(client.error("history", &history(0)), 111, "a megabyte is the work of sixty commands");
    eventually("that fades", || {
        // Asking again and again would end the session.
        thread::sleep(Duration::from_secs(2));
        client.ask("history", &history(0)).get("error").is_none()
    });
    daemon.stop();
}
