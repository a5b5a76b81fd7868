//! Log: lines that peers cause.
//!
//! In:  clients and a backend that have the daemon log as fast as they can.
//! Out: some lines of each kind, the number of the others; each line where `debug` asks for it.

use std::{collections::HashMap, time::Duration};

use holdfast_testkit::{
    Daemon,
    app::{App, Reply},
    client::{Client, SECRET},
    eventually,
    peer::{CLOSE, Peer, text},
};
use rustix::process::Signal;
use serde_json::json;

fn config(app: &App, more: &str) -> String {
    format!(
        "[client.token]\nhmac_secret_key = '{SECRET}'\n[rpc.without_namespace]\nproxy_enabled = true\n[rpc.proxy]\nendpoint = '{}'\n{more}",
        app.url("/rpc")
    )
}

/// How many lines of this kind there are, and how many are said to be left out.
fn lines(daemon: &Daemon, kind: &str) -> (u64, u64) {
    let log = daemon.log();
    let lines = log.lines().filter(|line| line.contains(kind));
    lines.fold((0, 0), |(shown, left_out), line| match line.split_once("left_out=") {
        None => (shown + 1, left_out),
        Some((_, count)) => {
            let count = count.split(' ').next().and_then(|count| count.parse::<u64>().ok());
            (shown, left_out + count.expect("a number"))
        }
    })
}

const FAILED: &str = "a call to the backend failed; check the backend";

#[test]
fn a_client_that_has_a_backend_fail_on_and_on_fills_no_log_and_every_failure_is_counted() {
    const CALLS: u64 = 600;
    let app = App::start();
    // An answer that is quoted by the error, of a length that a log line must not have.
    let nonsense = json!("no answer ".repeat(50_000)).to_string();
    app.answer_with("/rpc", Reply { status: 200, body: nonsense, after: Duration::ZERO });
    let daemon = Daemon::start(&config(&app, ""));
    let mut client = Client::connect(&daemon, "u");
    for call in 0..CALLS {
        client.error("rpc", &json!({ "method": "m", "data": call }));
    }
    assert_eq!(daemon.metric("holdfast_backend_failures_total", &[("event", "rpc")]), CALLS);
    eventually("it is said how many were left out", || {
        let (shown, left_out) = lines(&daemon, FAILED);
        shown + left_out == CALLS
    });
    let (shown, left_out) = lines(&daemon, FAILED);
    assert!(shown < CALLS / 2 && left_out > CALLS / 2, "{shown} shown, {left_out} left out");
    let log = daemon.log();
    let longest = log.lines().map(str::len).max().unwrap_or(0);
    assert!(longest < 20_000, "a line of {longest} bytes");
    let reasons: HashMap<&str, usize> = ["answer", "status"]
        .map(|reason| (reason, log.matches(&format!("reason=\"{reason}\"")).count()))
        .into();
    assert!(reasons["answer"] > 0 && reasons["status"] == 0, "{reasons:?}");

    // Another reason has lines of its own.
    app.answer_with("/rpc", Reply { status: 500, body: String::new(), after: Duration::ZERO });
    client.error("rpc", &json!({ "method": "m", "data": 0 }));
    eventually("it is shown at once", || daemon.log().contains("reason=\"status\""));
    drop(client);
    daemon.stop();
}

#[test]
fn what_was_left_out_is_told_at_the_end_too() {
    const CALLS: u64 = 40;
    let app = App::start();
    let mut daemon = Daemon::start(&config(&app, "[log]\nrepeat_interval = '1h'\nrepeat_limit = 3"));
    let mut client = Client::connect(&daemon, "u");
    (0..CALLS).for_each(|call| _ = client.error("rpc", &json!({ "method": "m", "data": call })));
    drop(client);
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.end().0, Some(0));
    assert_eq!(lines(&daemon, FAILED), (3, CALLS - 3));
}

#[test]
fn at_debug_each_mistake_of_a_peer_is_shown() {
    let app = App::start();
    let daemon = Daemon::start(&config(&app, "[log]\nlevel = 'debug'"));
    for _ in 0..50 {
        let mut peer = Peer::open(&daemon, "/connection/websocket");
        peer.send(&text(&json!({ "id": 1, "connect": { "token": "none" } }).to_string()));
        let last = std::iter::from_fn(|| peer.frame_or_end()).find(|frame| frame.opcode == CLOSE);
        assert_eq!(last.map(|frame| frame.close_code()), Some(3500));
    }
    eventually("each is shown", || lines(&daemon, "token_not_three_parts").0 >= 50);
    daemon.stop();
}
