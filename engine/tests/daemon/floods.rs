//! Floods: what an address, a network, a connection, a user may do, and what becomes of those who misbehave.
//!
//! In:  more from one side than is allowed, from several loopback addresses, on all cores.
//! Out: 429, error 111, disconnect 3013; everybody else notices nothing.

use std::time::{Duration, Instant};

use holdfast_testkit::{
    Daemon,
    client::{SECRET, token},
    eventually,
    http::Http,
    peer::{CLOSE, Frame, Peer, TEXT, frame, request, text},
};
use serde_json::{Value, json};

use crate::addresses::ask;

fn from(last: u8) -> [u8; 4] {
    [127, 0, 0, last]
}

/// Comes from an address; the status of the answer, and the connection.
fn come(daemon: &Daemon, last: u8) -> (u16, Peer) {
    ask(Peer::connect_from(from(last), daemon), b"", "")
}

fn refusals(daemon: &Daemon, reason: &str) -> u64 {
    daemon.metric("holdfast_refusals_total", &[("reason", reason)])
}

/// A client of the Centrifuge protocol; what it sends and is told stays in sight.
fn client(daemon: &Daemon, user: &str) -> Peer {
    let mut peer = Peer::open(daemon, "/connection/websocket");
    let claims = if user.is_empty() { json!({}) } else { json!({ "token": token(&json!({ "sub": user })) }) };
    peer.send(&text(&json!({ "id": 1, "connect": claims }).to_string()));
    assert!(reply(&mut peer).get("connect").is_some());
    peer
}

fn reply(peer: &mut Peer) -> Value {
    loop {
        let Frame { opcode, payload } = peer.frame();
        assert_eq!(opcode, TEXT, "{}", payload.escape_ascii());
        match serde_json::from_slice(&payload).expect("a reply a frame") {
            Value::Object(empty) if empty.is_empty() => peer.send(&text("{}")),
            reply => return reply,
        }
    }
}

/// Asks for something small. True exactly when it was not refused because there was too much of it.
fn is_heard(peer: &mut Peer, id: u32) -> bool {
    peer.send(&text(&json!({ "id": id, "history": { "channel": "news" } }).to_string()));
    let reply = reply(peer);
    assert_eq!(reply["id"], id);
    reply["error"]["code"] != 111
}

fn with_tokens(limits: &str) -> String {
    format!(
        "[client]\nallow_anonymous_connect_without_token = true\n[client.token]\nhmac_secret_key = '{SECRET}'\n{limits}"
    )
}

fn api(daemon: &Daemon, method: &str, request: &Value) -> Value {
    let (_, body) =
        daemon.request("POST", &format!("/api/{method}"), "X-API-Key: k\r\n", &request.to_string());
    let mut answer: Value = serde_json::from_str(&body).expect("it is JSON");
    assert!(answer.get("error").is_none(), "{method}: {answer}");
    answer["result"].take()
}

#[test]
fn an_address_has_so_many_connections_on_all_cores_together() {
    const MAX: usize = 12;
    let daemon = Daemon::start(&format!("[limits.address]\nconnections = {MAX}"));
    let mut kept: Vec<Peer> =
        (0..MAX).map(|_| Peer::connect_from(from(1), &daemon).upgraded("/echo")).collect();
    for _ in 0..10 {
        let mut peer = Peer::connect_from(from(1), &daemon);
        peer.send_if_heard(request("/echo").as_bytes());
        let (head, _) = peer.response();
        assert!(head.starts_with("HTTP/1.1 429 ") && head.contains("\r\nRetry-After: 5\r\n"), "{head}");
    }
    assert_eq!(refusals(&daemon, "address_connections"), 10);
    assert_eq!(come(&daemon, 2).0, 101, "another address has its own");
    kept.iter_mut().for_each(|peer| peer.expect_echo("still here"));
    kept.truncate(MAX - 3);
    eventually("three have gone", || {
        let (status, peer) = come(&daemon, 1);
        if status == 101 {
            kept.push(peer);
        }
        kept.len() == MAX
    });
    assert_eq!(come(&daemon, 1).0, 429);
    drop(kept);
    daemon.await_empty();
    assert_eq!(come(&daemon, 1).0, 101);
    daemon.stop();
}

#[test]
fn a_network_has_so_many_connections() {
    let daemon = Daemon::start("[limits.subnet]\nconnections = 4\nipv4_prefix = 24");
    let kept: Vec<_> = (1..=4).map(|last| come(&daemon, last)).collect();
    assert!(kept.iter().all(|(status, _)| *status == 101));
    assert_eq!(come(&daemon, 5).0, 429);
    assert_eq!(refusals(&daemon, "subnet_connections"), 1);
    assert_eq!(ask(Peer::connect_from([127, 0, 1, 1], &daemon), b"", "").0, 101, "another network");
    daemon.stop();
}

#[test]
fn new_connections_of_an_address_come_at_its_rate() {
    const RATE: u64 = 20;
    let daemon = Daemon::start(&format!("[limits.address]\nconnections_per_second = {RATE}"));
    let began = Instant::now();
    let mut came = 0;
    while began.elapsed() < Duration::from_secs(2) {
        came += u64::from(come(&daemon, 1).0 == 101);
    }
    let seconds = began.elapsed().as_secs_f64();
    let most = RATE as f64 * (1.0 + seconds) * 1.1 + 2.0;
    assert!(came >= 2 * RATE && came as f64 <= most, "{came} came in {seconds} s");
    assert!(refusals(&daemon, "address_rate") > 0);
    assert_eq!(come(&daemon, 2).0, 101);
    daemon.stop();
}

#[test]
fn the_daemon_takes_connections_at_its_rate() {
    let daemon = Daemon::start("[client]\nconnection_rate_limit = 10");
    let statuses: Vec<u16> = (0..40).map(|n| come(&daemon, 1 + n % 9).0).collect();
    let came = statuses.iter().filter(|status| **status == 101).count();
    assert!((10..30).contains(&came), "{came}");
    assert_eq!(refusals(&daemon, "daemon_rate"), 40 - came as u64);
    daemon.stop();
}

#[test]
fn handshakes_that_hang_are_limited_and_those_that_are_done_count_no_more() {
    let daemon = Daemon::start("[limits.address]\nhandshakes = 3");
    let done: Vec<_> = (0..10).map(|_| Peer::connect_from(from(1), &daemon).upgraded("/echo")).collect();
    let mut hanging = [(); 3].map(|()| Peer::connect_from(from(1), &daemon));
    eventually("they are accepted", || daemon.metric("holdfast_places_taken", &[]) == 13);
    assert_eq!(come(&daemon, 1).0, 429);
    assert_eq!(refusals(&daemon, "address_handshakes"), 1);
    hanging[0].send(request("/echo").as_bytes());
    hanging[0].expect_upgrade();
    assert_eq!(come(&daemon, 1).0, 101);
    drop(done);
    daemon.stop();
}

#[test]
fn exempt_networks_have_no_limits() {
    let daemon = Daemon::start("[limits]\nexempt = ['127.0.0.9']\n[limits.address]\nconnections = 1");
    let kept: Vec<_> = (0..5).map(|_| come(&daemon, 9)).collect();
    assert!(kept.iter().all(|(status, _)| *status == 101));
    daemon.stop();
}

#[test]
fn too_many_commands_are_answered_111_and_who_goes_on_is_sent_away() {
    let daemon = Daemon::start(&with_tokens("[limits.connection]\ncommands_per_second = 5"));
    let (mut calm, mut hasty) = (client(&daemon, ""), client(&daemon, ""));
    let heard: Vec<bool> = (2..12).map(|id| is_heard(&mut hasty, id)).collect();
    assert!(heard[..3].iter().all(|heard| *heard), "some may come at once: {heard:?}");
    assert_eq!(heard.last(), Some(&false), "{heard:?}");
    assert!(is_heard(&mut calm, 2), "another one's are not counted");
    // Whoever waits is heard again.
    eventually("it is heard again", || {
        std::thread::sleep(Duration::from_millis(400));
        is_heard(&mut hasty, 99)
    });
    let batch: String =
        (100..160).map(|id| format!("{{\"id\":{id},\"history\":{{\"channel\":\"a\"}}}}\n")).collect();
    hasty.send(&text(batch.trim_end()));
    let mut last = hasty.frame();
    while last.opcode == TEXT {
        last = hasty.frame();
    }
    assert_eq!(last.close_code(), 3013);
    daemon.await_closes("flood", 1);
    assert!(daemon.metric("holdfast_throttled_commands_total", &[("limit", "connection_commands")]) > 10);
    daemon.stop();
}

#[test]
fn a_user_has_one_limit_for_all_its_connections_on_all_cores() {
    let daemon = Daemon::start(&with_tokens("[limits.user]\ncommands_per_second = 30"));
    let mut clients: Vec<Peer> = (0..8).map(|_| client(&daemon, "ann")).collect();
    let mut done = 0;
    let began = Instant::now();
    for id in 2..12 {
        for client in &mut clients {
            done += u32::from(is_heard(client, id));
        }
    }
    let most = 30.0 * (1.0 + began.elapsed().as_secs_f64()) * 1.1 + 2.0;
    assert!(done >= 20 && f64::from(done) <= most, "{done} of 80 were done");
    let mut other = client(&daemon, "bob");
    assert!(is_heard(&mut other, 2));
    daemon.stop();
}

#[test]
fn too_many_bytes_are_answered_111_and_a_flood_of_pings_ends_the_session() {
    let daemon = Daemon::start(&with_tokens(
        "[websocket]\nmessage_size_limit = '4KiB'\n[limits.connection]\nbytes_per_second = 8000",
    ));
    let mut sender = client(&daemon, "");
    let long = "n".repeat(3_000);
    let errors: Vec<_> = (2..8)
        .map(|id| {
            sender
                .send(&text(&json!({ "id": id, "send": null, "history": { "channel": long } }).to_string()));
            reply(&mut sender)["error"]["code"].as_u64()
        })
        .collect();
    assert!(errors[0] != Some(111) && errors[5] == Some(111), "{errors:?}");
    for path in ["/connection/websocket", "/echo"] {
        let mut pinging = Peer::open(&daemon, path);
        for _ in 0..400 {
            pinging.send_if_heard(&frame(0x89, &[0; 120]));
        }
        let mut last = pinging.frame_or_end();
        while last.as_ref().is_some_and(|frame| frame.opcode == 0xa) {
            last = pinging.frame_or_end();
        }
        let code = last.expect("it is told why").close_code();
        assert_eq!(code, if path == "/echo" { 1008 } else { 3013 }, "{path}");
    }
    daemon.stop();
}

#[test]
fn what_compressed_messages_are_inflated_to_counts_as_received() {
    let daemon = Daemon::start(&with_tokens(
        "[websocket]\ncompression = true\n[limits.connection]\nbytes_per_second = 200000",
    ));
    let zeros = "0".repeat(60_000);
    let sent = format!(r#"{{"id":2,"rpc":{{"data":"{zeros}"}}}}"#);
    for (path, message, code) in
        [("/echo", &*zeros, 1008), ("/broadcast", &*zeros, 1008), ("/connection/websocket", &*sent, 3013)]
    {
        let mut peer = Peer::connect(&daemon);
        let request = request(path);
        let head = request.strip_suffix("\r\n").expect("a request ends with an empty line");
        peer.send(format!("{head}Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n").as_bytes());
        assert!(peer.response().0.starts_with("HTTP/1.1 101 "));
        peer.allow_compression();
        if code == 3013 {
            peer.send(&text(r#"{"id":1,"connect":{}}"#));
        }
        let deflated = crate::compression::deflate(message.as_bytes());
        assert!(deflated.len() < 200, "{}", deflated.len());
        for _ in 0..100 {
            peer.send_if_heard(&frame(0xc1, &deflated));
        }
        let close = std::iter::repeat_with(|| peer.any_frame().0).find(|frame| frame.opcode == CLOSE);
        assert_eq!(close.expect("it is told why").close_code(), code, "{path}");
    }
    daemon.stop();
}

#[test]
fn who_misbehaves_is_refused_for_a_time_that_doubles_until_the_operator_forgives() {
    let daemon = Daemon::start(&with_tokens(
        "[http_api]\nkey = 'k'\n[limits.penalty]\nthreshold = 50\nrefuse_for = '2s'\nrefuse_for_max = '1m'",
    ));
    let misbehave = || {
        for _ in 0..6 {
            let mut peer = Peer::connect_from(from(1), &daemon);
            peer.send_if_heard(request("/connection/websocket").as_bytes());
            let (head, _) = peer.response();
            if head.starts_with("HTTP/1.1 429 ") {
                return;
            }
            peer.send_if_heard(&text(r#"{"id":1,"connect":{"token":"forged"}}"#));
            assert_eq!(peer.frame().close_code(), 3500);
        }
    };
    let is_refused = || come(&daemon, 1).0 == 429;
    misbehave();
    eventually("it is refused", is_refused);
    assert_eq!(come(&daemon, 2).0, 101, "its neighbor is not");
    let listed = api(&daemon, "penalties", &json!({}));
    let [penalty] = listed["penalties"].as_array().expect("a list").as_slice() else { panic!("{listed}") };
    assert_eq!((&penalty["address"], &penalty["refusals"]), (&json!("127.0.0.1"), &json!(1)));
    assert!(penalty["points"].as_u64() >= Some(50) && penalty["refused_for"].as_u64() <= Some(2), "{listed}");
    // All cores know it: whichever core a connection comes to, it is refused.
    assert!((0..16).all(|_| is_refused()));
    eventually("it is over", || !is_refused());
    misbehave();
    eventually("it is refused again", is_refused);
    let listed = api(&daemon, "penalties", &json!({}));
    assert!(listed["penalties"][0]["refused_for"].as_u64() > Some(2), "twice as long: {listed}");

    assert_eq!(api(&daemon, "penalties_clear", &json!({ "address": "127.0.0.1" })), json!({}));
    assert!((0..16).all(|_| !is_refused()));
    assert_eq!(api(&daemon, "penalties", &json!({})), json!({ "penalties": [] }));
    assert!(daemon.metric("holdfast_offenses_total", &[("offense", "token")]) >= 6);
    assert_eq!(daemon.metric("holdfast_penalties_total", &[]), 2);
    daemon.stop();
}

#[test]
fn each_kind_of_offense_is_counted() {
    let daemon =
        Daemon::start(&with_tokens("[limits.penalty]\nthreshold = 1000\n[poll]\nenabled = true").replacen(
            "[client]\n",
            "[client]\nstale_close_delay = '200ms'\n",
            1,
        ));
    let offenses = |kind: &str| daemon.metric("holdfast_offenses_total", &[("offense", kind)]);
    let mut silent = Peer::connect(&daemon);
    assert!(silent.response().0.starts_with("HTTP/1.1 408 "));
    drop(silent);
    eventually("timeout", || offenses("timeout") == 1);
    assert_eq!(offenses("request"), 0, "who is late is counted once");
    let mut lost = Peer::connect(&daemon);
    lost.send(request("/nowhere").as_bytes());
    assert!(lost.response().0.starts_with("HTTP/1.1 404 "));
    let mut broken = Peer::open(&daemon, "/echo");
    broken.send(&[0xff; 8]);
    assert_eq!(broken.frame().close_code(), 1002);
    drop(broken);
    let mut http = Http::connect(&daemon);
    http.post("/connection/poll", "", r#"{"commands":[{"id":1,"connect":{"token":"forged"}}]}"#);
    assert_eq!(http.answer().status, 200);
    for (body, status) in [(r#"{"session":"x"}"#, 404), ("x", 400)] {
        let mut http = Http::connect(&daemon);
        http.post("/connection/poll", "", body);
        assert_eq!(http.answer().status, status, "{body}");
    }
    for (kind, count) in [("protocol", 1), ("token", 1), ("request", 2), ("timeout", 1)] {
        eventually(kind, || offenses(kind) == count);
    }
    daemon.stop();
}

/// Each of them refuses a subscription token; whether the connection goes on.
#[test]
fn forged_subscription_tokens_cost_what_forged_connection_tokens_do() {
    let daemon = Daemon::start(&with_tokens(
        "[limits.penalty]\nthreshold = 1000000\n[poll]\nenabled = true\n[sse]\nenabled = true\n\
         [channel.without_namespace]\nallow_subscribe_for_client = true",
    ));
    let offenses = || daemon.metric("holdfast_offenses_total", &[("offense", "token")]);
    let mut known = 0;
    let mut costs = |what: &str, points: u64| {
        known += points;
        eventually(what, || offenses() == known);
    };
    let claims = json!({ "sub": "ann", "channel": "news" });
    let good = token(&claims);
    let forged = format!("{}AAAA", &good[..good.len() - 4]);
    let of_another_channel = token(&json!({ "sub": "ann", "channel": "other" }));
    let expired = token(&json!({ "sub": "ann", "channel": "news", "exp": 1 }));
    let subscribe =
        |id: u32, token: &str| json!({ "id": id, "subscribe": { "channel": "news", "token": token } });

    let mut peer = client(&daemon, "ann");
    for id in 2..5 {
        peer.send(&text(&subscribe(id, &forged).to_string()));
        assert_eq!(reply(&mut peer)["error"]["code"], 103);
        costs("a forged token over WebSocket", 1);
    }
    peer.send(&text(&subscribe(5, "no token").to_string()));
    assert_eq!(reply(&mut peer)["error"]["code"], 103);
    costs("what is no token", 1);
    peer.send(&text(&subscribe(6, &expired).to_string()));
    assert_eq!(reply(&mut peer)["error"]["code"], 109);
    peer.send(&text(&subscribe(7, &good).to_string()));
    assert!(reply(&mut peer).get("subscribe").is_some());
    costs("an honest client whose token is late", 0);
    let sub_refresh = json!({ "id": 8, "sub_refresh": { "channel": "news", "token": forged } });
    peer.send(&text(&sub_refresh.to_string()));
    assert_eq!(peer.frame().close_code(), 3500);
    drop(peer);
    costs("a forged sub_refresh", 1);

    let mut peer = client(&daemon, "ann");
    peer.send(&text(&json!({ "id": 2, "refresh": { "token": forged } }).to_string()));
    assert_eq!(peer.frame().close_code(), 3500);
    drop(peer);
    costs("a forged refresh", 1);
    let mut peer = client(&daemon, "ann");
    peer.send(&text(&subscribe(2, &of_another_channel).to_string()));
    assert_eq!(peer.frame().close_code(), 3500);
    drop(peer);
    costs("a token for another channel", 1);

    // Over polls: each from another connection, some of which are other cores'.
    let connect = json!({ "id": 1, "connect": { "token": token(&json!({ "sub": "ann" })) } });
    let poll = |body: &Value| {
        let mut http = Http::connect(&daemon);
        http.post("/connection/poll", "", &body.to_string());
        let answer = http.answer();
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    };
    let mut session = poll(&json!({ "commands": [connect] }));
    for id in 2..12 {
        let received = session["sequence"].as_u64().expect("it has a number");
        let body = json!({ "session": session["session"], "received": received, "commands": [subscribe(id, &forged)] });
        session = poll(&body);
        assert_eq!(session["replies"][0]["error"]["code"], 103, "{session}");
        costs("a forged token in a poll", 1);
    }

    // Over a stream: what it hears comes by one connection, what it says by others.
    let mut stream = Http::connect(&daemon);
    stream.post("/connection/sse", "", &connect.to_string());
    assert_eq!(stream.answer().status, 200);
    let mut heard = || loop {
        if let Some(data) = stream.line().strip_prefix("data: ") {
            return serde_json::from_str::<Value>(data).expect("it is JSON");
        }
    };
    let connected = heard();
    for id in 2..6 {
        let (session, node) = (&connected["connect"]["session"], &connected["connect"]["node"]);
        let body = json!({ "session": session, "node": node, "data": subscribe(id, &forged).to_string() });
        let mut http = Http::connect(&daemon);
        http.post("/emulation", "", &body.to_string());
        assert_eq!(http.answer().status, 204);
        assert_eq!(heard()["error"]["code"], 103);
        costs("a forged token beside a stream", 1);
    }
    daemon.stop();
}

#[test]
fn who_forges_subscription_tokens_is_refused() {
    let daemon = Daemon::start(&with_tokens("[limits.penalty]\nthreshold = 35"));
    let mut peer = client(&daemon, "ann");
    let mut id = 1;
    eventually("its address is refused", || {
        id += 1;
        peer.send(&text(
            &json!({ "id": id, "subscribe": { "channel": "a", "token": "forged" } }).to_string(),
        ));
        assert_eq!(reply(&mut peer)["error"]["code"], 103);
        come(&daemon, 1).0 == 429
    });
    daemon.stop();
}

#[test]
fn a_flood_of_refused_connections_does_not_fill_the_table() {
    let daemon = Daemon::start("[limits.address]\nconnections = 1");
    let mut kept = Peer::connect_from(from(1), &daemon).upgraded("/echo");
    // They do not read their refusal, and do not close.
    let flood: Vec<Peer> = (0..4_000).map(|_| Peer::connect_from(from(1), &daemon)).collect();
    eventually("all are refused", || refusals(&daemon, "address_connections") == 4_000);
    assert_eq!(daemon.metric("holdfast_places_taken", &[]), 1);
    kept.expect_echo("undisturbed");
    assert_eq!(come(&daemon, 2).0, 101);
    drop(flood);
    drop(kept);
    daemon.await_empty();
    daemon.stop();
}
