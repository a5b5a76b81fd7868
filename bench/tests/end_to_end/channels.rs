//! Every scenario in the Centrifuge protocol, in both formats, against a server that does right and one that does not.

use crate::centrifuge::{Wrong, centrifuge};
use crate::server::{Results, bench};

const PROTOCOLS: [&str; 2] = ["centrifuge-json", "centrifuge-protobuf"];

/// Runs the same words in both formats, each against a server of its own.
fn both(wrong: Wrong, words: &str) -> [Results; 2] {
    PROTOCOLS.map(|protocol| {
        let words = format!("{words} --protocol {protocol}");
        bench(centrifuge(wrong), "/connection/websocket", &words)
    })
}

#[test]
fn echo_goes_through_a_channel_of_each_connection() {
    for results in both(Wrong::Nothing, "echo -n 12 --rate 500/s --duration 400ms") {
        assert_eq!(results.exit_code, 0, "{} {}", results.json, results.stderr);
        assert_eq!(results.number("/messages/received"), 200);
    }
}

#[test]
fn broadcast_reaches_the_subscribers_of_each_channel_and_nobody_else() {
    for results in both(
        Wrong::Nothing,
        "broadcast -n 20 --channels 4 --publishers 2 --rate 200/s --burst 2 --duration 400ms",
    ) {
        assert_eq!(results.exit_code, 0, "{} {}", results.json, results.stderr);
        assert_eq!(results.number("/messages/sent"), 80);
        assert_eq!(results.number("/deliveries"), 400, "five connections a channel");
    }
}

#[test]
fn more_publishers_than_channels_are_told_apart() {
    for results in
        both(Wrong::Nothing, "broadcast -n 9 --channels 2 --publishers 7 --rate 210/s --duration 400ms")
    {
        assert_eq!(results.exit_code, 0, "{} {}", results.json, results.stderr);
        assert_eq!(results.number("/messages/sent"), 84);
        assert_eq!(results.number("/deliveries"), 48 * 5 + 36 * 4);
    }
}

#[test]
fn churn_joins_says_one_thing_and_leaves() {
    for results in both(Wrong::Nothing, "churn -n 10 --rate 500/s --total 60") {
        assert_eq!(results.exit_code, 0, "{} {}", results.json, results.stderr);
        assert_eq!(results.number("/messages/received"), 60);
    }
}

#[test]
fn pings_of_the_protocol_are_answered() {
    for results in both(Wrong::Nothing, "hold -n 10 --channels 3 --channel-prefix ping --duration 300ms") {
        assert_eq!(results.exit_code, 0, "{} {}", results.json, results.stderr);
        assert_eq!(results.number("/connect/pings_answered"), 10);
    }
}

#[test]
fn after_a_storm_each_client_has_every_message_that_it_had_missed() {
    for results in both(Wrong::Nothing, "storm -n 20 --channels 3 --recover 5 --duration 10s") {
        assert_eq!(results.exit_code, 0, "{} {}", results.json, results.stderr);
        assert_eq!(results.number("/messages/sent"), 15);
        assert_eq!(results.number("/deliveries"), 100);
        assert!(results.json.pointer("/back_us/p99").is_some_and(serde_json::Value::is_number));
    }
}

#[test]
fn a_storm_without_anything_to_recover_brings_everybody_back() {
    for results in both(Wrong::Nothing, "storm -n 20 --channels 3 --duration 10s") {
        assert_eq!(results.exit_code, 0, "{} {}", results.json, results.stderr);
        assert_eq!(results.number("/connect/established"), 40);
    }
}

#[test]
fn what_is_not_recovered_is_lost_and_what_comes_again_is_repeated() {
    for results in both(Wrong::LoseRecovered, "storm -n 6 --channels 2 --recover 4 --duration 10s") {
        assert_eq!((results.exit_code, results.number("/messages/lost")), (1, 6), "{}", results.json);
    }
    for results in both(Wrong::RepeatRecovered, "storm -n 6 --channels 2 --recover 4 --duration 10s") {
        assert_eq!(results.exit_code, 1, "{}", results.json);
        assert!(results.number("/messages/repeated") > 0, "{}", results.json);
    }
}

#[test]
fn a_message_in_another_channel_is_corrupt() {
    for results in both(Wrong::Misdirect, "broadcast -n 4 --channels 2 --rate 20/s --duration 300ms") {
        assert_eq!(results.exit_code, 1, "{}", results.json);
        assert!(results.number("/messages/corrupt") > 0, "{}", results.json);
    }
}

#[test]
fn refused_publications_are_counted_with_the_reason() {
    for results in
        both(Wrong::RefusePublications, "broadcast -n 4 --rate 20/s --duration 300ms --drain-timeout 300ms")
    {
        assert_eq!((results.exit_code, results.number("/messages/refused")), (1, 6), "{}", results.json);
        let reason = results.json.pointer("/reasons/0/reason").and_then(serde_json::Value::as_str);
        assert!(reason.is_some_and(|reason| reason.contains("publish was refused: 111")), "{reason:?}");
    }
}

#[test]
fn a_connection_whose_session_or_subscription_is_refused_has_failed() {
    for results in both(Wrong::RefuseSubscriptions, "hold -n 4 --duration 200ms") {
        assert_eq!((results.exit_code, results.number("/connect/failed")), (2, 4), "{}", results.json);
        let reason = results.json.pointer("/reasons/0/reason").and_then(serde_json::Value::as_str);
        assert!(reason.is_some_and(|reason| reason.contains("subscribe was refused: 103")), "{reason:?}");
    }
    for results in both(Wrong::Nothing, "hold -n 4 --duration 200ms --token wrong") {
        assert_eq!((results.exit_code, results.number("/connect/failed")), (2, 4), "{}", results.json);
        let reason = results.json.pointer("/reasons/0/reason").and_then(serde_json::Value::as_str);
        assert!(reason.is_some_and(|reason| reason.contains("connect was refused: 101")), "{reason:?}");
    }
}

#[test]
fn a_subscription_that_the_server_ends_is_a_lost_connection() {
    for results in
        both(Wrong::EndSubscriptions, "broadcast -n 4 --rate 20/s --duration 300ms --drain-timeout 300ms")
    {
        assert_eq!((results.exit_code, results.number("/connect/lost_later")), (1, 1), "{}", results.json);
    }
}
