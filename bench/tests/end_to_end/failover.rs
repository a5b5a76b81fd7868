//! Failover, against servers that cut their clients off, and that answer publications wrongly.

use serde_json::Value;

use crate::api::{KEY, api};
use crate::centrifuge::{Wrong, centrifuge_with_hub};
use crate::server::{Results, bench};

const PROTOCOLS: [&str; 2] = ["centrifuge-json", "centrifuge-protobuf"];

/// Runs it in both formats, each against a server of its own; the first API that is named is none.
fn both(wrong: Wrong, words: &str) -> [Results; 2] {
    PROTOCOLS.map(|protocol| {
        let (address, hub) = centrifuge_with_hub(wrong);
        let (api, _) = api(wrong, hub);
        let words = format!(
            "failover -n 20 --channels 4 {words} --protocol {protocol} \
             --publish-api http://127.0.0.1:1/api,http://{api}/api --api-key {KEY}"
        );
        bench(address, "/connection/websocket", &words)
    })
}

fn told(results: &Results) -> u64 {
    results.number("/recovery/told")
}

#[test]
fn who_is_cut_off_comes_back_and_recovers_and_that_is_no_fault() {
    for results in both(Wrong::Cut, "--rate 200/s --duration 1s") {
        assert_eq!(results.exit_code, 0, "{} {}", results.json, results.stderr);
        assert_eq!((results.number("/messages/sent"), results.number("/deliveries")), (200, 1_000));
        assert!(results.number("/recovery/recovered") >= 20, "{}", results.json);
        assert!(results.number("/recovery/recovered_messages") > 0 && told(&results) == 0);
        assert!(results.number("/recovery/requests_repeated") >= 1, "the first server does not answer");
        assert!(results.json.pointer("/back_us/p50").is_some_and(Value::is_number));
    }
}

#[test]
fn what_is_left_out_of_a_recovery_is_lost_in_silence() {
    for results in both(Wrong::CutAndLose, "--rate 400/s --duration 1s --drain-timeout 1s") {
        assert_eq!(results.exit_code, 1, "{}", results.json);
        assert!(results.number("/messages/lost") > 0, "{}", results.json);
    }
}

#[test]
fn who_is_told_that_nothing_can_be_recovered_goes_on_from_there() {
    for results in both(Wrong::CutAndForget, "--rate 200/s --duration 1s") {
        assert_eq!(results.exit_code, 0, "{} {}", results.json, results.stderr);
        assert!(told(&results) >= 20 && results.number("/recovery/recovered") == 0, "{}", results.json);
        assert!(results.number("/deliveries") < 1_000, "{}", results.json);
    }
}

#[test]
fn a_publication_whose_fate_is_unknown_is_published_again_and_is_there_once() {
    for results in both(Wrong::DenyTaken, "--rate 50/s --duration 500ms") {
        assert_eq!(results.exit_code, 0, "{} {}", results.json, results.stderr);
        assert_eq!((results.number("/messages/sent"), results.number("/deliveries")), (25, 125));
        assert!(results.number("/recovery/requests_repeated") > 1, "{}", results.json);
    }
}
