//! Turns: one who sends as fast as it can keeps nobody else from anything.
//!
//! In:  one anonymous connection that never stops sending, and does not wait for replies.
//! Out: calls of the server API, commands of others and the stop, in their time; no memory.

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, TcpStream},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use holdfast_testkit::{
    Daemon,
    peer::{Peer, request, text},
};
use rustix::process::Signal;
use serde_json::json;

const CONFIG: &str = "[client]\nallow_anonymous_connect_without_token = true\n[http_api]\nkey = 'k'\n\
    [channel.without_namespace]\nallow_subscribe_for_client = true\nallow_subscribe_for_anonymous = true\n\
    allow_publish_for_client = true\nallow_publish_for_anonymous = true\n\
    [echo]\nenabled = true\n[broadcast]\nenabled = true\n[shutdown]\ntimeout = '5s'\n";

/// How long an API call may take. Without a part of the turn it takes as long as the flood.
const CALL_MAX: Duration = Duration::from_secs(1);

/// How often a slow call is made again: other tests have the machine too.
const TRIES: usize = 20;

/// A connection that sends the same bytes again and again, and throws away what it is told, until it is closed.
struct Flood {
    stream: TcpStream,
    threads: Vec<JoinHandle<u64>>,
}

impl Flood {
    fn begin(daemon: &Daemon, path: &str, first: &[u8], again: &[u8]) -> Self {
        let mut stream = TcpStream::connect(daemon.address()).expect("the daemon listens");
        stream.write_all(request(path).as_bytes()).expect("the request goes out");
        stream.write_all(first).expect("the first frame goes out");
        let (mut sender, mut reader) = (stream.try_clone().unwrap(), stream.try_clone().unwrap());
        let again = again.repeat(64 * 1024 / again.len() + 1);
        let sends = thread::spawn(move || {
            let mut rounds = 0;
            while sender.write_all(&again).is_ok() {
                rounds += 1;
            }
            rounds * again.len() as u64
        });
        let reads = thread::spawn(move || {
            let mut buffer = vec![0; 256 * 1024];
            let mut bytes = 0;
            while let Ok(count @ 1..) = reader.read(&mut buffer) {
                bytes += count as u64;
            }
            bytes
        });
        Self { stream, threads: vec![sends, reads] }
    }

    /// How much it has sent, and heard.
    fn end(self) -> Vec<u64> {
        // Perhaps the daemon has closed it.
        let _ = self.stream.shutdown(Shutdown::Both);
        self.threads.into_iter().map(|thread| thread.join().expect("it only sends and reads")).collect()
    }
}

fn call(daemon: &Daemon, method: &str, body: &str) -> Duration {
    let began = Instant::now();
    let (head, body) = daemon.request("POST", &format!("/api/{method}"), "X-API-Key: k\r\n", body);
    assert!(head.starts_with("HTTP/1.1 200") && !body.contains("error"), "{head}\n{body}");
    began.elapsed()
}

fn check_calls(daemon: &Daemon) {
    for (method, body) in [
        ("publish", r#"{"channel":"news","data":1}"#),
        ("info", "{}"),
        ("channels", "{}"),
        ("disconnect", r#"{"user":"nobody"}"#),
    ] {
        let times: Vec<_> = (0..TRIES).map(|_| call(daemon, method, body)).collect();
        let quick = times.iter().filter(|time| **time <= CALL_MAX).count();
        assert!(quick > TRIES / 2, "{method} takes {times:?}");
    }
}

/// A client that subscribes and publishes.
fn check_client(daemon: &Daemon) {
    let mut peer = Peer::open(daemon, "/connection/websocket");
    peer.send(&text(&json!({ "id": 1, "connect": {} }).to_string()));
    peer.frame();
    let mut times = Vec::new();
    for round in 0..TRIES {
        let began = Instant::now();
        let channel = format!("calm-{round}");
        peer.send(&text(&json!({ "id": 2, "subscribe": { "channel": channel } }).to_string()));
        peer.frame();
        peer.send(&text(&json!({ "id": 3, "publish": { "channel": channel, "data": round } }).to_string()));
        peer.frame();
        peer.frame();
        times.push(began.elapsed());
    }
    let quick = times.iter().filter(|time| **time <= CALL_MAX).count();
    assert!(quick > TRIES / 2, "to subscribe and publish takes {times:?}");
}

fn check_flood(path: &str, first: &[u8], again: &[u8]) {
    let daemon = Daemon::start_on_one_core(CONFIG);
    check_calls(&daemon);
    let before = daemon.user_memory_bytes();
    let floods: Vec<_> = (0..3).map(|_| Flood::begin(&daemon, path, first, again)).collect();
    check_calls(&daemon);
    check_client(&daemon);
    let grown = daemon.user_memory_bytes().saturating_sub(before);
    assert!(grown < 128 * 1024 * 1024, "{grown} bytes");
    assert!(daemon.metric("holdfast_deferrals_total", &[]) > 0, "the test wants a flood");

    let began = Instant::now();
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.wait().code(), Some(0));
    let took = began.elapsed();
    // The time that the stop may take, and one second more.
    assert!(took <= Duration::from_secs(6), "the stop takes {took:?}");
    for flood in floods {
        let bytes = flood.end();
        assert!(bytes[0] > 1024 * 1024, "it sent and heard {bytes:?} bytes");
    }
}

#[test]
fn a_flood_on_broadcast_holds_up_neither_the_api_nor_clients_nor_the_stop() {
    check_flood("/broadcast", b"", &text("x"));
}

#[test]
fn a_flood_of_publications_holds_up_nobody_and_takes_no_memory() {
    let connect = text(r#"{"id":1,"connect":{}}"#);
    check_flood(
        "/connection/websocket",
        &connect,
        &text(r#"{"id":2,"publish":{"channel":"flooded","data":"x"}}"#),
    );
}

#[test]
fn a_flood_of_echoes_holds_up_nobody() {
    check_flood("/echo", b"", &text("x"));
}
