//! Requests: a session is on one node, and its client's requests come to another.
//!
//! In:  `/emulation` and polls, at whatever node.
//! Out: the answers of the session's own node; a refusal where there is no such node or session.

use holdfast_testkit::{Daemon, http::Http};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::nodes::{Nodes, api, api_until, uids, until_acquainted};

const JSON: &str = "Content-Type: application/json\r\n";

/// The status of an answer to commands for the session of a stream.
fn emulate(at: &Daemon, node: &str, session: &str, commands: &str) -> u16 {
    let mut http = Http::connect(at);
    let body = json!({"node": node, "session": session, "data": commands});
    http.post("/emulation", JSON, &body.to_string());
    http.answer().status
}

/// Polls at a node: the status, and the answer.
fn poll(at: &Daemon, body: &Value) -> (u16, Value) {
    let mut http = Http::connect(at);
    http.post("/connection/poll", JSON, &body.to_string());
    let answer = http.answer();
    (answer.status, serde_json::from_str(&answer.body).unwrap_or_default())
}

#[test]
fn commands_for_a_stream_may_come_to_any_node() {
    let Some(nodes) = Nodes::new() else { return };
    let (a, b) = (nodes.node(), nodes.node());
    until_acquainted(&[&a, &b]);
    let mut stream = Http::connect(&a);
    stream.post("/connection/http_stream", "", "{\"id\":1,\"connect\":{}}");
    assert_eq!(stream.answer().status, 200);
    let connected: Value = serde_json::from_str(&stream.line()).unwrap();
    let text = |name: &str| connected["connect"][name].as_str().expect("it is there").to_owned();
    let (node, session) = (text("node"), text("session"));
    let subscribe = "{\"id\":2,\"subscribe\":{\"channel\":\"news\"}}";
    assert_eq!(emulate(&b, &node, &session, subscribe), 204);
    assert!(stream.line().starts_with("{\"id\":2,\"subscribe\":"));
    api(&b, "publish", &json!({"channel": "news", "data": "hello"}));
    assert!(stream.line().contains("\"hello\""));
    let publish = "{\"id\":3,\"publish\":{\"channel\":\"news\",\"data\":1}}\n{\"id\":4,\"ping\":{}}";
    assert_eq!(emulate(&a, &node, &session, publish), 204, "at its own node as ever");
    let guess = session.replace(|of: char| of.is_ascii_digit(), "0");
    assert_eq!(emulate(&b, &node, &guess, subscribe), 404);
    assert_eq!(emulate(&b, &node, "no session", subscribe), 404);
    assert_eq!(emulate(&b, "no-such-node", &session, subscribe), 404);
}

#[test]
fn commands_of_a_binary_stream_may_come_to_any_node() {
    let Some(nodes) = Nodes::new() else { return };
    let (a, b) = (nodes.node(), nodes.node());
    until_acquainted(&[&a, &b]);
    let binary = "Content-Type: application/octet-stream\r\n";
    let mut stream = Http::connect(&a);
    // Command { id: 1, connect: {} }, with its length before it.
    stream.post("/connection/http_stream", binary, "\u{4}\u{8}\u{1}\u{22}\u{0}");
    assert_eq!(stream.answer().field("Content-Type"), Some("application/octet-stream"));
    let mut reply = stream.bytes(2);
    let length = usize::from(reply[0] & 0x7f) | usize::from(reply[1]) << 7;
    reply = stream.bytes(length);
    // Both are in it as texts; the node has 36 bytes, and the session ends with 32 hexadecimal digits.
    let text = String::from_utf8_lossy(&reply).into_owned();
    let node = uids(&api(&a, "info", &json!({})))[0].clone();
    assert!(text.contains(&node));
    let secret_end = text.rfind(|of: char| of.is_ascii_hexdigit()).map(|at| at + 1);
    let until = &text[..secret_end.expect("there is a session")];
    let from = until.rfind(|of: char| !of.is_ascii_hexdigit() && of != '.').map_or(0, |at| at + 1);
    let candidates = [&until[from..], ""];
    let session = candidates.iter().find(|text| text.matches('.').count() == 2);
    let Some(session) = session else { return };
    let mut body = vec![10, 36];
    body.extend(node.as_bytes());
    body.extend([18, u8::try_from(session.len()).unwrap()]);
    body.extend(session.as_bytes());
    // Command { id: 2, ping: {} }.
    body.extend([26, 5, 4, 8, 2, 90, 0]);
    let mut http = Http::connect(&b);
    http.post("/emulation", binary, &String::from_utf8(body).expect("all below 128"));
    assert_eq!(http.answer().status, 204);
}

#[test]
fn polls_may_come_to_any_node() {
    let Some(nodes) = Nodes::new() else { return };
    let (a, b) = (nodes.node(), nodes.node());
    until_acquainted(&[&a, &b]);
    let (status, opened) = poll(&a, &json!({"commands": [{"id": 1, "connect": {}}]}));
    assert_eq!((status, &opened["sequence"]), (200, &json!(1)), "{opened}");
    let session = opened["session"].as_str().expect("it has a name").to_owned();
    let (status, answer) = poll(
        &b,
        &json!({"session": session, "received": 1, "commands": [{"id": 2, "subscribe": {"channel": "news"}}]}),
    );
    assert_eq!((status, &answer["sequence"]), (200, &json!(2)), "{answer}");
    assert_eq!(answer["session"], json!(session));
    assert_eq!(answer["replies"][0]["id"], 2);
    // A poll that waits is answered with what comes.
    let mut waiting = Http::connect(&b);
    waiting.post("/connection/poll", JSON, &json!({"session": session, "received": 2}).to_string());
    std::thread::sleep(std::time::Duration::from_millis(1_500));
    api(&b, "publish", &json!({"channel": "news", "data": "hello"}));
    let answer = waiting.answer().json();
    assert_eq!(answer["replies"][0]["push"]["pub"]["data"], "hello", "{answer}");
    let (status, _) = poll(&b, &json!({"session": session, "received": 9}));
    assert_eq!(status, 400, "what was never sent");
    let guess = session.replace(|of: char| of.is_ascii_digit(), "0");
    for unknown in [guess, format!("x.{}", &session[37..]), "x".to_owned()] {
        assert_eq!(poll(&b, &json!({"session": unknown, "received": 0})).0, 404, "{unknown}");
    }
    // Its node is killed: whoever polls is told to connect anew, once the node is forgotten.
    waiting.post("/connection/poll", JSON, &json!({"session": session, "received": 3}).to_string());
    std::thread::sleep(std::time::Duration::from_millis(300));
    a.signal(Signal::KILL);
    drop(a);
    assert_eq!(waiting.answer().status, 404);
    api_until(&b, "info", &json!({}), |answer| uids(answer).len() == 1);
    assert_eq!(poll(&b, &json!({"session": session, "received": 3})).0, 404);
}
