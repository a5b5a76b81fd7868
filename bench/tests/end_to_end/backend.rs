//! Broadcasts that are published through the server API instead of by clients.

use std::sync::{Arc, Mutex};

use crate::api::{KEY, Log, api};
use crate::centrifuge::{Wrong, centrifuge_with_hub};
use crate::server::{Results, bench};

const PROTOCOLS: [&str; 2] = ["centrifuge-json", "centrifuge-protobuf"];

/// Runs the same words in both formats, each against a server of its own.
fn both(wrong: Wrong, key: &str, words: &str) -> [(Results, Arc<Mutex<Log>>); 2] {
    PROTOCOLS.map(|protocol| {
        let (address, hub) = centrifuge_with_hub(wrong);
        let (api, log) = api(wrong, hub);
        let words =
            format!("broadcast {words} --protocol {protocol} --publish-api http://{api}/api --api-key {key}");
        (bench(address, "/connection/websocket", &words), log)
    })
}

#[test]
fn what_is_published_through_the_api_reaches_the_subscribers_of_each_channel() {
    for (results, log) in both(Wrong::Nothing, KEY, "-n 20 --channels 4 --rate 100/s --duration 400ms") {
        assert_eq!(results.exit_code, 0, "{} {}", results.json, results.stderr);
        assert_eq!(results.number("/messages/sent"), 40);
        assert_eq!(results.number("/deliveries"), 200, "five connections a channel");
        assert!(results.json.pointer("/last_receiver_us/p50").is_some_and(serde_json::Value::is_number));
        assert!(log.lock().expect("nobody panics").connections == 1, "the connection is kept");
    }
}

#[test]
fn what_is_due_at_once_is_one_batch() {
    for (results, log) in
        both(Wrong::Nothing, KEY, "-n 6 --channels 2 --rate 100/s --burst 10 --duration 400ms")
    {
        assert_eq!(results.exit_code, 0, "{} {}", results.json, results.stderr);
        assert_eq!((results.number("/messages/sent"), results.number("/deliveries")), (40, 120));
        let log = log.lock().expect("nobody panics");
        assert!(log.calls.len() <= 4 && log.calls.iter().all(|call| call == "batch"), "{:?}", log.calls);
    }
}

#[test]
fn a_message_to_every_channel_is_one_broadcast() {
    for (results, log) in
        both(Wrong::Nothing, KEY, "-n 20 --channels 5 --every-channel --rate 50/s --duration 400ms")
    {
        assert_eq!(results.exit_code, 0, "{} {}", results.json, results.stderr);
        assert_eq!((results.number("/messages/sent"), results.number("/deliveries")), (20, 400));
        let log = log.lock().expect("nobody panics");
        assert!(log.calls.iter().any(|call| call == "broadcast"), "{:?}", log.calls);
    }
}

#[test]
fn a_refusal_is_counted_with_the_servers_words() {
    for (results, _) in
        both(Wrong::RefusePublications, KEY, "-n 4 --rate 20/s --duration 300ms --drain-timeout 300ms")
    {
        assert_eq!((results.exit_code, results.number("/messages/refused")), (1, 6), "{}", results.json);
        assert_eq!(results.number("/messages/lost"), 24, "nobody had them");
        let reason = results.json.pointer("/reasons/0/reason").and_then(serde_json::Value::as_str);
        assert_eq!(reason, Some("publish was refused: 111 too many requests"));
    }
}

#[test]
fn a_wrong_key_is_told_and_no_key_is_shown_in_the_report() {
    for (results, _) in
        both(Wrong::Nothing, "wrong", "-n 4 --rate 20/s --duration 300ms --drain-timeout 300ms")
    {
        assert_eq!((results.exit_code, results.number("/messages/refused")), (1, 6), "{}", results.json);
        let reason = results.json.pointer("/reasons/0/reason").and_then(serde_json::Value::as_str);
        assert!(reason.is_some_and(|reason| reason.contains("401")), "{reason:?}");
        let command = results.json.pointer("/command").and_then(serde_json::Value::as_str);
        assert!(command.is_some_and(|command| command.contains("--api-key …")), "{command:?}");
    }
}

#[test]
fn a_channel_that_hears_what_is_not_for_it_is_found() {
    for (results, _) in both(Wrong::Misdirect, KEY, "-n 4 --channels 2 --rate 20/s --duration 300ms") {
        assert_eq!(results.exit_code, 1, "{}", results.json);
        assert!(results.number("/messages/corrupt") > 0, "{}", results.json);
    }
}
