//! Streams: clients of SSE and HTTP streaming, who speak through `/emulation`.
//!
//! In:  requests as the SDKs make them, and as nobody should.
//! Out: replies and pushes in the answer that goes on; commands done on whatever core they arrive.

use holdfast_testkit::{
    Daemon,
    client::{Client, SECRET, token},
    eventually,
    http::{Answer, Http},
};
use serde_json::{Value, json};

pub(super) const SSE: &str = "/connection/sse";
pub(super) const STREAM: &str = "/connection/http_stream";

fn start(more: &str) -> Daemon {
    Daemon::start(&format!(
        "[client]\nallowed_origins = ['https://app.test']\ntoken.hmac_secret_key = '{SECRET}'\n\
         [channel.without_namespace]\nallow_subscribe_for_client = true\nallow_publish_for_subscriber = true\n\
         [sse]\nenabled = true\n[http_stream]\nenabled = true\n{more}"
    ))
}

/// A client whose replies come in a stream of events or of lines.
pub(super) struct Streamed {
    http: Http,
    is_sse: bool,
    session: String,
    node: String,
}

impl Streamed {
    pub(super) fn open(daemon: &Daemon, path: &str, user: &str) -> Self {
        let mut http = Http::connect(daemon);
        http.post(path, "", &connect(user));
        let head = http.answer();
        assert_eq!(head.status, 200);
        let is_sse = path == SSE;
        let media_type = if is_sse { "text/event-stream" } else { "application/json" };
        assert_eq!(head.field("Content-Type"), Some(media_type));
        let mut streamed = Self { http, is_sse, session: String::new(), node: String::new() };
        if is_sse {
            assert_eq!(streamed.http.line(), "\n");
        }
        let connected = streamed.message()["connect"].take();
        assert_eq!(connected["pong"], true);
        let text = |name: &str| connected[name].as_str().expect("it is there").to_owned();
        (streamed.session, streamed.node) = (text("session"), text("node"));
        assert_ne!(streamed.session, text("client"), "what others know is no key");
        streamed
    }

    pub(super) fn message(&mut self) -> Value {
        let line = self.http.line();
        let text = if self.is_sse {
            assert_eq!(self.http.line(), "\n", "an event ends with an empty line");
            line.strip_prefix("data: ").expect("an event holds data")
        } else {
            &line
        };
        serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {line:?}"))
    }

    /// Sends commands over some other connection.
    pub(super) fn command(&self, daemon: &Daemon, commands: &str) -> Answer {
        emulate(daemon, &self.node, &self.session, commands)
    }
}

fn connect(user: &str) -> String {
    json!({ "id": 1, "connect": { "token": token(&json!({ "sub": user })) } }).to_string()
}

fn emulate(daemon: &Daemon, node: &str, session: &str, commands: &str) -> Answer {
    let mut http = Http::connect(daemon);
    let body = json!({ "node": node, "session": session, "data": commands });
    http.post("/emulation", "Content-Type: application/json\r\n", &body.to_string());
    http.answer()
}

#[test]
fn who_streams_and_who_has_a_websocket_hear_each_other() {
    let daemon = start("");
    for path in [SSE, STREAM] {
        let mut streamed = Streamed::open(&daemon, path, "ann");
        let mut other = Client::connect(&daemon, "bob");
        other.subscribe("room");
        let batch = "{\"id\":2,\"subscribe\":{\"channel\":\"room\"}}\n\
                     {\"id\":3,\"publish\":{\"channel\":\"room\",\"data\":{\"from\":\"ann\"}}}";
        assert_eq!(streamed.command(&daemon, batch).status, 204);
        // The publication may overtake the reply to it, but nothing overtakes the subscription.
        assert_eq!(streamed.message()["id"], 2);
        let (first, second) = (streamed.message(), streamed.message());
        assert!([&first, &second].iter().any(|message| message["id"] == 3), "{first} {second}");
        assert_eq!(other.push()["pub"]["data"]["from"], "ann");
        for text in ["one", "two"] {
            other.command("publish", &json!({ "channel": "room", "data": text }));
            assert_eq!(streamed.message()["push"]["pub"]["data"], text);
        }
    }
    daemon.stop();
}

#[test]
fn who_ends_its_side_after_a_request_has_its_answer_from_whichever_core_the_session_is_on() {
    let daemon = start("");
    let streamed = Streamed::open(&daemon, STREAM, "ann");
    // The kernel spreads these over the cores.
    for id in 2..42 {
        let mut http = Http::connect(&daemon);
        let data = json!({ "id": id, "rpc": {} }).to_string();
        let body = json!({ "node": streamed.node, "session": streamed.session, "data": data });
        http.post("/emulation", "", &body.to_string());
        http.finish();
        assert_eq!(http.answer().status, 204);
        http.expect_end();
    }
    daemon.stop();
}

#[test]
fn first_commands_may_stand_in_the_query_of_an_event_source() {
    let daemon = start("");
    let mut http = Http::connect(&daemon);
    let query: String = form_urlencoded::Serializer::new(String::new())
        .append_pair(
            "cf_connect",
            &format!("{}\n{{\"id\":2,\"subscribe\":{{\"channel\":\"a b\"}}}}", connect("ann")),
        )
        .finish();
    http.ask("GET", &format!("{SSE}?{query}"), "Accept: text/event-stream\r\n");
    assert_eq!(http.answer().status, 200);
    assert_eq!(http.line(), "\n");
    assert!(http.line().starts_with("data: {\"id\":1,\"connect\":"));
    assert_eq!(http.line(), "\n");
    assert!(http.line().starts_with("data: {\"id\":2,\"subscribe\":"));
    daemon.stop();
}

#[test]
fn an_event_source_without_first_commands_is_refused_with_words() {
    let daemon = start("");
    for query in ["", "?", "?cf_connect=", "?other=1"] {
        let mut http = Http::connect(&daemon);
        http.ask("GET", &format!("{SSE}{query}"), "Accept: text/event-stream\r\n");
        let answer = http.answer();
        assert_eq!(answer.status, 400, "{query}");
        assert!(answer.body.contains("cf_connect"), "{}", answer.body);
    }
    daemon.stop();
}

#[test]
fn a_stream_in_protobuf_carries_messages_with_their_length() {
    use holdfast_protocol::client::{
        Command, Format, FromServer, ReplyResult, Request, append_command, command::ConnectRequest,
        decode_replies,
    };
    let daemon = start("");
    let mut body = bytes::BytesMut::new();
    let text = token(&json!({ "sub": "ann" }));
    let request = Request::Connect(ConnectRequest { token: text.into(), ..ConnectRequest::default() });
    append_command(Format::Protobuf, &mut body, &Command { id: 1, request });
    let mut http = Http::connect(&daemon);
    let head = format!(
        "POST {STREAM} HTTP/1.1\r\nHost: test\r\nContent-Type: application/octet-stream\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    http.send(&[head.as_bytes(), &body].concat());
    assert_eq!(http.answer().field("Content-Type"), Some("application/octet-stream"));
    let mut frame = http.bytes(2);
    assert_eq!(frame[0] & 0x80, 0x80, "the reply has a length of two bytes");
    let length = usize::from(frame[0] & 0x7f) | usize::from(frame[1]) << 7;
    frame.extend(http.bytes(length));
    let replies: Vec<_> = decode_replies(Format::Protobuf, &frame).map(Result::unwrap).collect();
    assert!(
        matches!(&replies[..], [FromServer::Reply(reply)] if matches!(&reply.result, Ok(ReplyResult::Connect(result)) if !result.session.is_empty()))
    );
    daemon.stop();
}

#[test]
fn a_session_is_nobodys_but_its_own() {
    let daemon = start("");
    let mut ann = Streamed::open(&daemon, STREAM, "ann");
    let eve = Streamed::open(&daemon, STREAM, "eve");
    let command = "{\"id\":2,\"subscribe\":{\"channel\":\"room\"}}";
    let secret = ann.session.rsplit('.').next().expect("an id has parts");
    let guesses = [
        ann.session.replace(secret, &"0".repeat(32)),
        // Eve's secret for Ann's place.
        ann.session.replace(secret, eve.session.rsplit('.').next().expect("an id has parts")),
        format!("ff.0.{secret}"),
        format!("0.ffffff.{secret}"),
        String::new(),
        "x".into(),
    ];
    for guess in guesses {
        let answer = emulate(&daemon, &ann.node, &guess, command);
        assert_eq!((answer.status, &*answer.body), (404, "no such session; connect anew\n"), "{guess}");
    }
    assert_eq!(emulate(&daemon, "another node", &ann.session, command).status, 404);
    assert_eq!(ann.command(&daemon, command).status, 204);
    assert_eq!(ann.message()["id"], 2, "Ann has heard of none of this");
    let session = (ann.node.clone(), ann.session.clone());
    drop(ann);
    eventually("the session has ended", || emulate(&daemon, &session.0, &session.1, "{}").status == 404);
    daemon.stop();
}

#[test]
fn a_session_that_ends_says_why_and_closes_the_stream() {
    let daemon = start("");
    for path in [SSE, STREAM] {
        let mut streamed = Streamed::open(&daemon, path, "ann");
        assert_eq!(streamed.command(&daemon, "{\"id\":2,\"connect\":{}}").status, 204);
        let disconnect = &streamed.message()["push"]["disconnect"];
        assert_eq!((&disconnect["code"], &disconnect["reason"]), (&json!(3501), &json!("bad request")));
        streamed.http.expect_end();
    }
    let mut http = Http::connect(&daemon);
    http.post(STREAM, "", "{\"id\":1,\"subscribe\":{\"channel\":\"a\"}}");
    assert_eq!(http.answer().status, 200);
    assert!(http.line().contains("\"code\":3501"));
    http.expect_end();
    let mut streamed = Streamed::open(&daemon, STREAM, "ann");
    daemon.signal(rustix::process::Signal::TERM);
    let disconnect = &streamed.message()["push"]["disconnect"];
    assert_eq!((&disconnect["code"], &disconnect["reconnect"]), (&json!(3001), &json!(true)));
    streamed.http.expect_end();
    assert_eq!(daemon.wait().code(), Some(0));
}

#[test]
fn pings_go_down_the_stream_and_pongs_come_by_requests() {
    let daemon = Daemon::start(&format!(
        "[client]\ntoken.hmac_secret_key = '{SECRET}'\nping_interval = '1s'\npong_timeout = '500ms'\n\
         [http_stream]\nenabled = true"
    ));
    let mut streamed = Streamed::open(&daemon, STREAM, "ann");
    for _ in 0..2 {
        assert_eq!(streamed.message(), json!({}));
        assert_eq!(streamed.command(&daemon, "{}").status, 204);
    }
    assert_eq!(streamed.message(), json!({}));
    // No pong this time.
    assert_eq!(streamed.message()["push"]["disconnect"]["code"], 3012);
    streamed.http.expect_end();
    daemon.stop();
}

#[test]
fn pages_of_allowed_origins_may_ask_and_others_may_not() {
    let daemon = start("");
    let origin = "Origin: https://app.test\r\n";
    let mut http = Http::connect(&daemon);
    http.ask("OPTIONS", "/emulation", &format!("{origin}Access-Control-Request-Headers: content-type\r\n"));
    let preflight = http.answer();
    assert_eq!(preflight.status, 204);
    assert_eq!(preflight.field("Access-Control-Allow-Headers"), Some("content-type"));
    // The same connection goes on.
    for (path, body, status) in [("/emulation", "{}", 404), ("/emulation", "not JSON", 400)] {
        let mut http = Http::connect(&daemon);
        http.post(path, origin, body);
        let answer = http.answer();
        assert_eq!(answer.status, status);
        assert_eq!(
            answer.field("Access-Control-Allow-Origin"),
            Some("https://app.test"),
            "the page may see it"
        );
    }
    http.post(SSE, "Origin: https://evil.test\r\n", &connect("ann"));
    let refused = http.answer();
    assert_eq!((refused.status, refused.field("Access-Control-Allow-Origin")), (403, None));
    daemon.stop();
}

#[test]
fn what_is_no_request_gets_a_clear_answer() {
    let daemon = start("[emulation]\nmax_request_body_size = '1KiB'");
    let long = "x".repeat(1025);
    let cases = [
        ("GET", "/emulation", "", "", 405),
        ("PUT", SSE, "", "", 405),
        ("POST", "/connection/poll", "", "{}", 404),
        ("POST", "/emulation", "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n", "", 400),
        ("POST", "/emulation", "Transfer-Encoding: gzip\r\n", "", 400),
        ("POST", "/emulation", "Transfer-Encoding: gzip, chunked\r\n", "", 501),
        ("POST", "/emulation", "Transfer-Encoding: chunked\r\n", "zz\r\n", 400),
        ("POST", "/emulation", "Content-Length: 2\r\n", "[]", 400),
        ("POST", "/emulation", "Content-Length: 1025\r\n", &long, 413),
    ];
    for (method, path, fields, body, status) in cases {
        let mut http = Http::connect(&daemon);
        http.ask(method, path, fields);
        http.send(body.as_bytes());
        let answer = http.answer();
        assert_eq!(answer.status, status, "{method} {path} {fields}: {answer:?}");
        assert!(answer.body.len() > 10, "it says why: {answer:?}");
    }
    daemon.stop();
}

#[test]
fn a_body_may_come_in_chunks_and_in_its_own_time() {
    let daemon = start("");
    let mut http = Http::connect(&daemon);
    http.ask("POST", STREAM, "Transfer-Encoding: chunked\r\nExpect: 100-continue\r\n");
    assert_eq!(http.answer().status, 100);
    for piece in connect("ann").as_bytes().chunks(7) {
        http.send(format!("{:x}\r\n{}\r\n", piece.len(), str::from_utf8(piece).expect("ASCII")).as_bytes());
    }
    http.send(b"0\r\n\r\n");
    assert_eq!(http.answer().status, 200);
    assert!(http.line().starts_with("{\"id\":1,\"connect\":"));
    daemon.stop();
}

#[test]
fn who_does_not_read_a_stream_is_told_3008() {
    let daemon = Daemon::start_on_one_core(&format!(
        "[client]\ntoken.hmac_secret_key = '{SECRET}'\nqueue_max_size = '256KiB'\n\
         [channel.without_namespace]\nallow_subscribe_for_client = true\nallow_publish_for_subscriber = true\n\
         [http_stream]\nenabled = true"
    ));
    let mut streamed = Streamed::open(&daemon, STREAM, "ann");
    assert_eq!(streamed.command(&daemon, "{\"id\":2,\"subscribe\":{\"channel\":\"room\"}}").status, 204);
    let mut other = Client::connect(&daemon, "bob");
    other.subscribe("room");
    let text = "x".repeat(60_000);
    while daemon.closes("slow") == 0 && daemon.metric("holdfast_disconnects_total", &[]) == 0 {
        other.command("publish", &json!({ "channel": "room", "data": text }));
        other.push();
    }
    // Everything up to the end of the queue arrives, and the reason after it.
    let mut last = streamed.message();
    while last["push"].get("disconnect").is_none() {
        last = streamed.message();
    }
    assert_eq!(last["push"]["disconnect"]["code"], 3008);
    streamed.http.expect_end();
    daemon.stop();
}
