//! A fault of the server must be found, counted under its name, and change the exit code.

use std::net::{SocketAddr, TcpListener};

use crate::server::{Fault, Results, bench, server};

const KINDS: [&str; 4] = ["lost", "repeated", "reordered", "corrupt"];

/// Only the faults in `expected` were counted, and as often.
fn assert_found(results: &Results, expected: &[(&str, u64)]) {
    assert_eq!(results.exit_code, 1, "{} {}", results.json, results.stderr);
    assert_eq!(results.json["ok"], false);
    for kind in KINDS {
        let count = expected.iter().find(|(name, _)| *name == kind).map_or(0, |(_, count)| *count);
        assert_eq!(results.number(&format!("/messages/{kind}")), count, "{kind}: {}", results.json);
    }
}

#[test]
fn an_echo_server_that_treats_one_message_of_each_connection_wrongly_is_found_out() {
    let flags = "echo -n 4 --rate 200/s --duration 500ms --drain-timeout 300ms";
    for (fault, expected) in [
        (Fault::Lose, &[("lost", 4)][..]),
        (Fault::Repeat, &[("repeated", 4)]),
        (Fault::Reorder, &[("reordered", 4)]),
        (Fault::Corrupt, &[("corrupt", 4), ("lost", 4)]),
    ] {
        assert_found(&bench(server(fault), "/echo", flags), expected);
    }
}

#[test]
fn a_broadcast_server_that_treats_one_of_many_deliveries_wrongly_is_found_out() {
    let flags = "broadcast -n 10 --size 64 --rate 50/s --duration 500ms --drain-timeout 300ms";
    for (fault, expected) in [
        (Fault::Lose, &[("lost", 1)][..]),
        (Fault::Repeat, &[("repeated", 1)]),
        (Fault::Reorder, &[("reordered", 1)]),
        (Fault::Corrupt, &[("corrupt", 1), ("lost", 1)]),
    ] {
        assert_found(&bench(server(fault), "/broadcast", flags), expected);
    }
}

#[test]
fn a_lost_connection_fails_the_run_and_its_unanswered_message_counts_as_lost() {
    let results = bench(server(Fault::Disconnect), "/echo", "echo -n 4 --rate 100/s --duration 500ms");
    assert_eq!(results.exit_code, 1, "{}", results.json);
    assert_eq!(results.number("/connect/lost_later"), 4);
    assert_eq!(results.number("/messages/lost"), 4);
}

#[test]
fn a_broadcast_receiver_that_is_dropped_counts_as_a_lost_connection() {
    let flags = "broadcast -n 10 --size 64 --rate 50/s --duration 500ms";
    let results = bench(server(Fault::Disconnect), "/broadcast", flags);
    assert_eq!(results.exit_code, 1, "{}", results.json);
    assert_eq!(results.number("/connect/lost_later"), 1);
}

#[test]
fn a_server_that_does_not_answer_close_frames_fails_churn() {
    let results = bench(server(Fault::IgnoreClose), "/echo", "churn -n 5 --total 10 --connect-timeout 1s");
    assert_eq!(results.exit_code, 1, "{}", results.json);
    assert_eq!(results.number("/connect/unclean"), 10);
}

#[test]
fn a_server_that_is_not_there_or_refuses_is_no_measurement() {
    let nobody =
        TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port");
    let results = bench(nobody, "/echo", "hold -n 5 --duration 100ms");
    assert_eq!(results.exit_code, 2, "{}", results.json);
    assert_eq!(results.number("/connect/failed"), 5);
    let refused = bench(server(Fault::None), "/nowhere", "echo -n 5 --duration 100ms");
    assert_eq!(refused.exit_code, 2);
    assert!(
        refused.json["reasons"][0]["reason"].as_str().is_some_and(|why| why.contains("404")),
        "{}",
        refused.json
    );
}

#[test]
fn a_server_that_accepts_and_stays_silent_is_given_up_after_the_timeout() {
    let silent = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address: SocketAddr = silent.local_addr().expect("it is bound");
    let results = bench(address, "/", "hold -n 3 --duration 100ms --connect-timeout 300ms");
    assert_eq!(results.exit_code, 2, "{}", results.json);
    assert!(results.json["reasons"][0]["reason"].as_str().is_some_and(|why| why.contains("in time")));
}

#[test]
fn wrong_usage_is_told_apart_from_a_failing_server() {
    let address = "127.0.0.1:9".parse().expect("an address");
    for (flags, words) in [
        ("echo -n 5 --size 5", "at least 28"),
        ("echo -n 5 --protocol centrifuge-json --channels 3", "a channel of its own"),
        ("echo -n 5 --server-pid 4294967295", "no such process"),
        ("echo -n 5 --bogus", "--bogus"),
    ] {
        let results = bench(address, "/", flags);
        assert_eq!(results.exit_code, 2, "{flags}");
        assert!(results.stderr.contains(words), "{flags}: {}", results.stderr);
    }
}
