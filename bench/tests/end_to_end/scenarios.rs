//! Every scenario against a server that does everything right: all must pass, with exact counts.

use crate::server::{Fault, bench, server};

#[test]
fn echo_in_an_open_loop_sends_what_was_due_and_finds_nothing_wrong() {
    let results = bench(server(Fault::None), "/echo", "echo -n 20 --busy 8 --rate 1k/s --duration 500ms");
    assert_eq!(results.exit_code, 0, "{}", results.json);
    assert_eq!(results.number("/messages/sent"), 500);
    assert_eq!(results.number("/messages/received"), 500);
    assert_eq!(results.number("/connect/established"), 20);
    assert!(results.json.pointer("/latency_us/p99").and_then(serde_json::Value::as_f64) > Some(0.0));
}

#[test]
fn echo_in_a_closed_loop_has_one_message_a_connection_under_way() {
    let results = bench(server(Fault::None), "/echo", "echo -n 8 --closed-loop --duration 300ms");
    assert_eq!(results.exit_code, 0, "{}", results.json);
    assert!(results.number("/messages/sent") >= 8);
    assert_eq!(results.number("/messages/sent"), results.number("/messages/received"));
}

#[test]
fn large_messages_and_text_frames_come_back_whole() {
    let address = server(Fault::None);
    for flags in
        ["--size 1MiB --rate 20/s", "--size 70000 --text", "--size 28 --text", "--size 126 --rate 500/s"]
    {
        let results = bench(address, "/echo", &format!("echo -n 4 --duration 300ms {flags}"));
        assert_eq!(results.exit_code, 0, "{flags}: {} {}", results.json, results.stderr);
        assert!(results.number("/messages/received") > 0, "{flags}");
    }
}

#[test]
fn broadcast_reaches_every_connection_and_tells_of_first_and_last() {
    let flags = "broadcast -n 20 --size 64 --publishers 3 --rate 200/s --burst 2 --duration 500ms";
    let results = bench(server(Fault::None), "/broadcast", flags);
    assert_eq!(results.exit_code, 0, "{}", results.json);
    assert_eq!(results.number("/messages/sent"), 100);
    assert_eq!(results.number("/deliveries"), 2000);
    let at = |pointer| results.json.pointer(pointer).and_then(serde_json::Value::as_f64).expect("measured");
    assert!(at("/first_receiver_us/p50") <= at("/median_receiver_us/p50"));
    assert!(at("/median_receiver_us/p50") <= at("/last_receiver_us/p50"));
}

#[test]
fn churn_makes_as_many_connections_as_were_asked_for_and_closes_each_properly() {
    let address = server(Fault::None);
    for flags in ["--total 200", "--total 200 --no-echo"] {
        let results = bench(address, "/echo", &format!("churn -n 10 --rate 1k/s {flags}"));
        assert_eq!(results.exit_code, 0, "{}", results.json);
        assert_eq!(results.number("/connect/established"), 200);
        assert_eq!(results.number("/connect/unclean"), 0);
    }
}

#[test]
fn a_storm_brings_everybody_back() {
    let results = bench(server(Fault::None), "/echo", "storm -n 50 --duration 10s");
    assert_eq!(results.exit_code, 0, "{}", results.json);
    assert_eq!(results.number("/connect/established"), 100);
}

#[test]
fn held_connections_answer_pings() {
    let results = bench(server(Fault::None), "/ping", "hold -n 20 --duration 300ms");
    assert_eq!(results.exit_code, 0, "{}", results.json);
    assert_eq!(results.number("/connect/pings_answered"), 20);
    assert_eq!(results.number("/connect/lost_later"), 0);
}

#[test]
fn the_reports_are_written_as_files() {
    let folder = std::env::temp_dir().join(format!("holdfast-bench-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a temporary folder");
    let file = |name: &str| folder.join(name).to_str().expect("a plain path").to_owned();
    let flags = format!(
        "echo -n 4 --rate 200/s --duration 700ms --server-pid {} --html {} --hgrm {}",
        std::process::id(),
        file("report.html"),
        file("report.hgrm")
    );
    let results = bench(server(Fault::None), "/echo", &flags);
    assert_eq!(results.exit_code, 0, "{}", results.json);
    let page = std::fs::read_to_string(file("report.html")).expect("a page");
    assert!(page.contains("Passed: 140 messages checked") && page.contains("Server memory"));
    assert!(std::fs::read_to_string(file("report.hgrm")).expect("percentiles").contains("#[Max"));
    assert!(results.number("/server/rss_anon_bytes_before") > 0);
    std::fs::remove_dir_all(&folder).expect("it is ours");
}
