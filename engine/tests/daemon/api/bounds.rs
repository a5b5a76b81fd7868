//! Bounds: what a call may have of the daemon's memory, and what it is told where that is not enough.

use std::{
    io::{Read, Write},
    net::TcpStream,
};

use holdfast_testkit::{Daemon, PATIENCE, eventually};
use serde_json::{Value, json};

use super::{KEY, call, daemon, daemon_with, done, post};

fn used(daemon: &Daemon) -> u64 {
    daemon.metric("holdfast_memory_bytes", &[("budget", "api")])
}

/// A call whose body lacks its last byte.
fn begin_call(daemon: &Daemon, body_bytes: usize) -> TcpStream {
    let mut stream = TcpStream::connect(daemon.control()).expect("the control plane listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
    let head = format!("POST /api/info HTTP/1.1\r\nHost: test\r\n{KEY}Content-Length: {body_bytes}\r\n");
    stream.write_all(format!("{head}Connection: close\r\n\r\n").as_bytes()).expect("it is read");
    stream.write_all(&vec![b' '; body_bytes - 1]).expect("it is read");
    stream
}

#[test]
fn a_broadcast_reaches_forty_thousand_channels_at_once() {
    const CHANNELS: usize = 40_000;
    let daemon = daemon();
    let channels: Vec<String> = (0..CHANNELS).map(|at| format!("a-channel-of-some-length-{at}")).collect();
    let result = done(&daemon, "broadcast", &json!({ "channels": channels, "data": { "n": 1 } }));
    let responses = result["responses"].as_array().expect("there are some");
    assert_eq!(responses.len(), CHANNELS);
    assert!(responses.iter().all(|response| response["result"]["offset"] == 1));
    eventually("the memory of the call is given back", || used(&daemon) == 0);
    daemon.stop();
}

#[test]
fn where_calls_have_all_their_memory_another_one_is_refused_for_now() {
    const BODY_BYTES: usize = 128 << 10;
    let daemon = daemon_with("key = 'k'\nmemory_budget = '1MiB'\nrequest_body_limit = '128KiB'");
    // Four copies of each have room.
    let mut first = begin_call(&daemon, BODY_BYTES);
    let mut second = begin_call(&daemon, BODY_BYTES - 100);
    eventually("both are there", || used(&daemon) > (1 << 20) - 1_000);
    let (head, body) = daemon.request("POST", "/api/info", KEY, &" ".repeat(1_000));
    assert!(
        head.starts_with("HTTP/1.1 503 ") && head.to_lowercase().contains("\r\nretry-after: 1"),
        "{head}"
    );
    let error: Value = serde_json::from_str(&body).expect("it is JSON");
    assert_eq!(error["error"]["code"], 111, "{error}");
    assert_eq!(daemon.metric("holdfast_api_refusals_total", &[]), 1);
    assert!(daemon.ask("/health").0.starts_with("HTTP/1.1 200 "));
    for stream in [&mut first, &mut second] {
        stream.write_all(b" ").expect("it is read");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it is answered");
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
    eventually("their memory is given back", || used(&daemon) == 0);
    assert_eq!(post(&daemon, "/api/info", KEY, &" ".repeat(1_000)).0, 200);
    daemon.stop();
}

#[test]
fn an_answer_that_would_be_too_long_is_an_error_and_of_a_batch_the_rest_is_not_done() {
    let daemon = daemon_with("key = 'k'\nresponse_body_limit = '64KiB'");
    for _ in 0..10 {
        done(&daemon, "publish", &json!({ "channel": "long", "data": "x".repeat(10_000) }));
    }
    let answer = call(&daemon, "history", &json!({ "channel": "long", "limit": -1 }));
    assert_eq!(answer["error"]["code"], 106, "{answer}");
    assert!(
        answer["error"]["message"].as_str().is_some_and(|words| words.contains("65536 bytes")),
        "{answer}"
    );
    assert_eq!(
        done(&daemon, "history", &json!({ "channel": "long", "limit": 5 }))["publications"]
            .as_array()
            .map(Vec::len),
        Some(5)
    );
    for parallel in [false, true] {
        let page = json!({ "history": { "channel": "long", "limit": 5 } });
        let mut commands = vec![page; 1_000];
        commands.push(json!({ "publish": { "channel": "after", "data": 1 } }));
        let answer = call(&daemon, "batch", &json!({ "parallel": parallel, "commands": commands }));
        let replies = answer["replies"].as_array().expect("there are some");
        assert_eq!(replies.len(), 1_001);
        let read = replies.iter().filter(|reply| reply.get("history").is_some()).count();
        assert!((1..=4).contains(&read), "{read}");
        assert!(replies[read..].iter().all(|reply| reply["error"]["code"] == 106), "each is told");
    }
    let history = done(&daemon, "history", &json!({ "channel": "after", "limit": 1 }));
    assert_eq!(history["offset"], 0, "what is told not to be done is not done");
    eventually("all memory is given back", || used(&daemon) == 0);
    daemon.stop();
}

#[test]
fn more_than_a_call_may_name_is_refused_before_it_is_kept() {
    let daemon = daemon();
    let channels = vec!["c"; 100_001];
    for (path, body, words) in [
        ("/api/broadcast", json!({ "channels": channels, "data": 1 }), "a list of at most 100000"),
        ("/api/batch", json!({ "commands": vec![json!({ "info": {} }); 10_001] }), "a list of at most 10000"),
    ] {
        let (status, answer) = post(&daemon, path, KEY, &body.to_string());
        assert_eq!(status, 400, "{answer}");
        assert!(
            answer["error"]["message"].as_str().is_some_and(|message| message.contains(words)),
            "{answer}"
        );
    }
    daemon.stop();
}
