//! Polls: clients who have nothing but one short request after the other.
//!
//! In:  polls; some answers that are lost.
//! Out: every reply once; a session's end when nobody asks any more.

use holdfast_testkit::{
    Daemon,
    client::{Client, SECRET, token},
    eventually,
    http::{Answer, Http},
};
use serde_json::{Value, json};

fn start(more: &str) -> Daemon {
    Daemon::start(&format!(
        "[client]\ntoken.hmac_secret_key = '{SECRET}'\n\
         [channel.without_namespace]\nallow_subscribe_for_client = true\nallow_publish_for_subscriber = true\n\
         [poll]\nenabled = true\n{more}"
    ))
}

/// A client that polls.
pub(super) struct Poller {
    http: Http,
    session: String,
    received: u64,
}

impl Poller {
    pub(super) fn open(daemon: &Daemon, user: &str) -> Self {
        let mut poller = Self { http: Http::connect(daemon), session: String::new(), received: 0 };
        let connect = json!({ "id": 1, "connect": { "token": token(&json!({ "sub": user })) } });
        let replies = poller.poll(&[connect]);
        assert!(replies[0]["connect"].get("ping").is_none(), "a poll is a sign of life in itself");
        poller
    }

    /// Sends a poll.
    fn ask(&mut self, commands: &[Value]) {
        let body = json!({ "session": self.session, "received": self.received, "commands": commands });
        self.http.post("/connection/poll", "Content-Type: application/json\r\n", &body.to_string());
    }

    /// Reads its answer.
    fn replies(&mut self) -> Vec<Value> {
        let answer = self.http.answer();
        assert_eq!(answer.status, 200, "{answer:?}");
        let mut answer = answer.json();
        self.session = answer["session"].as_str().expect("it has a name").to_owned();
        self.received = answer["sequence"].as_u64().expect("it has a number");
        answer["replies"].take().as_array().expect("an array").clone()
    }

    pub(super) fn poll(&mut self, commands: &[Value]) -> Vec<Value> {
        self.ask(commands);
        self.replies()
    }

    /// Polls until a reply with this number has come; answers with all that came.
    pub(super) fn poll_until(&mut self, id: u32, commands: &[Value]) -> Vec<Value> {
        let mut replies = self.poll(commands);
        while !replies.iter().any(|reply| reply["id"] == id) {
            replies.extend(self.poll(&[]));
        }
        replies
    }
}

fn subscribe(id: u32, channel: &str) -> Value {
    json!({ "id": id, "subscribe": { "channel": channel } })
}

fn publish(id: u32, channel: &str, data: u32) -> Value {
    json!({ "id": id, "publish": { "channel": channel, "data": data } })
}

/// The data of the publications among replies.
fn heard(replies: &[Value]) -> Vec<u64> {
    replies.iter().filter_map(|reply| reply["push"]["pub"]["data"].as_u64()).collect()
}

#[test]
fn a_poller_hears_what_is_published_and_is_heard() {
    let daemon = start("");
    let mut poller = Poller::open(&daemon, "ann");
    let mut other = Client::connect(&daemon, "bob");
    other.subscribe("room");
    poller.poll_until(2, &[subscribe(2, "room")]);
    poller.ask(&[]);
    other.command("publish", &json!({ "channel": "room", "data": 7 }));
    assert_eq!(heard(&poller.replies()), [7], "a poll that waits is answered as soon as something comes");
    other.push();
    poller.poll_until(3, &[publish(3, "room", 8)]);
    assert_eq!(other.push()["pub"]["data"], 8);
    daemon.stop();
}

#[test]
fn an_answer_that_is_lost_comes_again_and_its_commands_are_not_done_twice() {
    let daemon = start("");
    let mut other = Client::connect(&daemon, "bob");
    other.subscribe("room");
    let mut poller = Poller::open(&daemon, "ann");
    poller.poll_until(2, &[subscribe(2, "room")]);
    let (session, received) = (poller.session.clone(), poller.received);
    let mut heard_in_all = Vec::new();
    for id in 3..23 {
        // The answer is on its way when the connection breaks.
        poller.ask(&[publish(id, "room", id)]);
        assert_eq!(other.push()["pub"]["data"], id);
        poller.http = Http::connect(&daemon);
        heard_in_all.extend(heard(&poller.poll_until(id, &[publish(id, "room", id)])));
    }
    assert_eq!(session, poller.session);
    assert!(poller.received > received);
    while heard_in_all.len() < 20 {
        heard_in_all.extend(heard(&poller.poll(&[])));
    }
    assert_eq!(heard_in_all, (3..23).collect::<Vec<u64>>(), "each once, in order");
    other.command("publish", &json!({ "channel": "room", "data": 0 }));
    assert_eq!(other.push()["pub"]["data"], 0, "nothing was published twice");
    daemon.stop();
}

#[test]
fn a_later_poll_releases_the_one_that_waits() {
    let daemon = start("");
    let mut waiting = Poller::open(&daemon, "ann");
    waiting.ask(&[]);
    eventually("it waits", || daemon.metric("holdfast_requests_total", &[]) == 2);
    let mut speaking =
        Poller { http: Http::connect(&daemon), session: waiting.session.clone(), received: waiting.received };
    let replies = speaking.poll_until(2, &[subscribe(2, "room")]);
    assert_eq!(replies.len(), 1);
    assert_eq!(waiting.replies(), [] as [Value; 0]);
    assert_eq!(waiting.received + 1, speaking.received, "what it was not told it has not received");
    daemon.stop();
}

#[test]
fn a_poll_without_news_is_answered_after_the_wait_and_a_session_nobody_polls_ends() {
    let daemon = start("wait = '1s'\nsession_ttl = '1s'");
    let mut poller = Poller::open(&daemon, "ann");
    assert_eq!(poller.poll(&[]), [] as [Value; 0]);
    assert_eq!(daemon.metric("holdfast_poll_sessions", &[]), 1);
    eventually("the session has ended", || {
        daemon.metric("holdfast_poll_sessions", &[]) == 0 && daemon.metric("holdfast_clients", &[]) == 0
    });
    poller.ask(&[]);
    let answer = poller.http.answer();
    assert_eq!((answer.status, &*answer.body), (404, "no such session; connect anew\n"));
    daemon.stop();
}

#[test]
fn who_is_sent_away_is_told_why_even_if_that_answer_is_lost() {
    let daemon = start("");
    let mut poller = Poller::open(&daemon, "ann");
    poller.ask(&[json!({ "id": 2, "connect": {} })]);
    eventually("it is sent away", || daemon.metric("holdfast_clients", &[]) == 0);
    poller.http = Http::connect(&daemon);
    let told = poller.poll(&[]);
    assert_eq!(told[0]["push"]["disconnect"]["code"], 3501);
    poller.ask(&[]);
    assert_eq!(poller.http.answer().status, 404);
    daemon.stop();
}

#[test]
fn a_stop_answers_polls_that_wait() {
    let daemon = start("");
    let mut poller = Poller::open(&daemon, "ann");
    poller.ask(&[]);
    eventually("it waits", || daemon.metric("holdfast_requests_total", &[]) == 2);
    daemon.signal(rustix::process::Signal::TERM);
    assert_eq!(poller.replies()[0]["push"]["disconnect"]["code"], 3001);
    poller.http.expect_end();
    assert_eq!(daemon.wait().code(), Some(0));
}

#[test]
fn bad_polls_get_a_clear_answer_and_cost_the_session_nothing() {
    let daemon = start("max_request_body_size = '1KiB'");
    let mut poller = Poller::open(&daemon, "ann");
    let session = &poller.session;
    let secret = session.rsplit('.').next().expect("an id has parts");
    let cases = [
        ("{}".to_owned(), 400),
        ("[]".to_owned(), 400),
        ("nonsense".to_owned(), 400),
        (json!({ "session": session, "received": 99 }).to_string(), 400),
        (json!({ "session": session.replace(secret, &"0".repeat(32)) }).to_string(), 404),
        (json!({ "session": "x" }).to_string(), 404),
        (json!({ "session": session, "commands": ["x".repeat(1025)] }).to_string(), 413),
    ];
    for (body, status) in cases {
        let mut http = Http::connect(&daemon);
        http.post("/connection/poll", "", &body);
        let Answer { status: answered, body: why, .. } = http.answer();
        assert_eq!(answered, status, "{body}");
        assert!(why.len() > 10, "it says why: {why}");
    }
    assert_eq!(poller.poll_until(2, &[subscribe(2, "room")]).len(), 1);
    daemon.stop();
}

#[test]
fn requests_that_come_before_their_turn_wait_for_it() {
    let daemon = start("");
    let mut poller = Poller::open(&daemon, "ann");
    for id in 2..5 {
        poller.ask(&[subscribe(id, &format!("room {id}"))]);
    }
    let mut replies = Vec::new();
    for _ in 2..5 {
        replies.extend(poller.replies());
    }
    // Each answer holds what was there by then; what came later is still to be had.
    while !(2..5).all(|id| replies.iter().any(|reply| reply["id"] == id)) {
        replies.extend(poller.poll(&[]));
    }
    daemon.stop();
}

#[test]
fn who_ends_its_side_after_a_poll_still_hears_what_comes_and_then_the_end() {
    let daemon = start("");
    let mut poller = Poller::open(&daemon, "ann");
    let mut other = Client::connect(&daemon, "bob");
    other.subscribe("room");
    poller.poll_until(2, &[subscribe(2, "room")]);
    let requests = daemon.metric("holdfast_requests_total", &[]);
    poller.ask(&[]);
    poller.http.finish();
    eventually("it waits", || daemon.metric("holdfast_requests_total", &[]) > requests);
    other.command("publish", &json!({ "channel": "room", "data": 7 }));
    let answer = poller.http.answer();
    assert_eq!(answer.field("Connection"), Some("close"));
    assert_eq!(answer.json()["replies"][0]["push"]["pub"]["data"], 7);
    poller.http.expect_end();
    daemon.stop();
}

#[test]
fn who_ends_its_side_after_several_requests_has_an_answer_to_each() {
    let daemon = start("wait = '1s'");
    let mut poller = Poller::open(&daemon, "ann");
    for _ in 0..3 {
        poller.ask(&[]);
    }
    poller.http.finish();
    for is_last in [false, false, true] {
        let answer = poller.http.answer();
        assert_eq!((answer.status, answer.field("Connection")), (200, is_last.then_some("close")));
    }
    poller.http.expect_end();
    poller.http = Http::connect(&daemon);
    poller.ask(&[]);
    // A part of another request has no answer.
    poller.http.send(b"POST /connection/poll HTTP/1.1\r\n");
    poller.http.finish();
    assert_eq!(poller.http.answer().status, 200);
    poller.http.expect_end();
    daemon.stop();
}

/// Opens a session over a connection that stays; the status of the answer.
fn open_over(http: &mut Http) -> u16 {
    let connect = json!({ "id": 1, "connect": { "token": token(&json!({ "sub": "ann" })) } });
    http.post("/connection/poll", "", &json!({ "commands": [connect] }).to_string());
    http.answer().status
}

fn start_limited(before: &str, more: &str) -> Daemon {
    Daemon::start_on_one_core(&format!(
        "[client]\n{before}\n[client.token]\nhmac_secret_key = '{SECRET}'\n[http_api]\ninsecure = true\n\
         [channel.without_namespace]\nallow_subscribe_for_client = true\n[poll]\nenabled = true\n{more}"
    ))
}

#[test]
fn a_session_counts_as_a_connection_of_the_daemon_for_its_life() {
    let daemon = start_limited("connection_limit = 5", "session_ttl = '1s'");
    // The connection that they come by is the fifth.
    let mut http = Http::connect(&daemon);
    for _ in 0..4 {
        assert_eq!(open_over(&mut http), 200);
    }
    assert_eq!(open_over(&mut http), 503);
    assert_eq!(daemon.metric("holdfast_places_taken", &[]), 4, "who is refused has no place");
    eventually("they end, and leave their places", || {
        daemon.metric("holdfast_places_taken", &[]) == 0 && daemon.metric("holdfast_poll_sessions", &[]) == 0
    });
    assert_eq!(open_over(&mut Http::connect(&daemon)), 200);
    daemon.stop();
}

#[test]
fn a_session_counts_as_a_connection_of_its_address_and_network() {
    for (limit, reason) in
        [("address", "address_connections"), ("subnet", "subnet_connections"), ("address", "address_rate")]
    {
        let option = if reason.ends_with("rate") { "connections_per_second" } else { "connections" };
        let mask = if limit == "subnet" { "ipv4_prefix = 24" } else { "" };
        let limits = format!("session_ttl = '1s'\n[limits.{limit}]\n{option} = 4\n{mask}");
        let daemon = start_limited("", &limits);
        let mut http = Http::connect(&daemon);
        let mut opened = 0;
        while open_over(&mut http) == 200 {
            opened += 1;
            assert!(opened < 20, "{reason}: there is no limit");
        }
        assert!(opened >= 3, "{reason}: {opened}");
        assert_eq!(daemon.metric("holdfast_refusals_total", &[("reason", reason)]), 1);
        eventually("the others end, and another one may come", || {
            let mut http = Http::connect(&daemon);
            let connect = json!({ "id": 1, "connect": { "token": token(&json!({ "sub": "ann" })) } });
            let body = json!({ "commands": [connect] }).to_string();
            http.post("/connection/poll", "", &body);
            http.answer().status == 200
        });
        daemon.stop();
    }
}

#[test]
fn a_session_counts_as_a_connection_of_its_user() {
    let daemon = start_limited("user_connection_limit = 2", "");
    let mut http = Http::connect(&daemon);
    let told = |http: &mut Http| {
        let connect = json!({ "id": 1, "connect": { "token": token(&json!({ "sub": "ann" })) } });
        http.post("/connection/poll", "", &json!({ "commands": [connect] }).to_string());
        http.answer().json()["replies"][0].take()
    };
    assert!(told(&mut http).get("connect").is_some() && told(&mut http).get("connect").is_some());
    assert_eq!(told(&mut http)["push"]["disconnect"]["code"], 3504);
    daemon.stop();
}

fn publish_from_server(daemon: &Daemon, channel: &str, data: &Value) {
    let body = json!({ "channel": channel, "data": data }).to_string();
    let (head, answer) = daemon.request("POST", "/api/publish", "", &body);
    assert!(head.starts_with("HTTP/1.1 200") && !answer.contains("error"), "{answer}");
}

fn queued_bytes(daemon: &Daemon) -> u64 {
    daemon.metric("holdfast_memory_bytes", &[("budget", "queues")])
}

#[test]
fn what_a_client_never_acknowledges_is_bounded_in_bytes_and_in_number_even_while_it_polls() {
    for (limits, pad) in [("queue_max_size = '128KiB'", 10_000), ("queue_max_messages = 64", 10)] {
        let daemon = start_limited(limits, "");
        let mut poller = Poller::open(&daemon, "ann");
        poller.poll_until(2, &[subscribe(2, "room")]);
        let received = poller.received;
        let mut ended = None;
        for n in 0..500 {
            publish_from_server(&daemon, "room", &json!(format!("{n}{}", "x".repeat(pad))));
            // It has its answers, but says that it has not.
            poller.received = received;
            poller.ask(&[]);
            let answer = poller.http.answer();
            assert_eq!(answer.status, 200);
            let replies = answer.json()["replies"].take();
            let last = replies.as_array().and_then(|replies| replies.last()).cloned().unwrap_or_default();
            if last["push"].get("disconnect").is_some() {
                ended = last["push"]["disconnect"]["code"].as_u64();
                break;
            }
        }
        assert_eq!(ended, Some(3008), "{limits}");
        assert!(queued_bytes(&daemon) < 400_000, "{} bytes", queued_bytes(&daemon));
        assert_eq!(daemon.metric("holdfast_clients", &[]), 0);
        daemon.stop();
    }
}

#[test]
fn where_the_budget_of_queues_is_full_the_session_goes_for_which_most_waits() {
    let daemon = start_limited("queue_budget = '1MiB'", "");
    let mut large = Poller::open(&daemon, "ann");
    large.poll_until(2, &[subscribe(2, "large")]);
    let mut small = Poller::open(&daemon, "bob");
    small.poll_until(2, &[subscribe(2, "small")]);
    publish_from_server(&daemon, "small", &json!("x".repeat(100_000)));
    eventually("it is counted", || queued_bytes(&daemon) > 100_000);
    for _ in 0..3 {
        publish_from_server(&daemon, "large", &json!("x".repeat(400_000)));
    }
    eventually("the larger one is cut", || {
        daemon.metric("holdfast_slow_reader_disconnects_total", &[("limit", "budget")]) == 1
    });
    large.ask(&[]);
    assert_eq!(large.http.answer().status, 404);
    assert_eq!(small.poll(&[]).len(), 1, "the other one has lost nothing");
    let bytes = queued_bytes(&daemon);
    assert!(bytes < 200_000, "{bytes} bytes");
    daemon.stop();
}

#[test]
fn who_does_not_read_its_answers_has_no_more_of_them_made() {
    let daemon = start_limited("queue_max_size = '128KiB'", "");
    let mut poller = Poller::open(&daemon, "ann");
    poller.poll_until(2, &[subscribe(2, "room")]);
    publish_from_server(&daemon, "room", &json!("x".repeat(900_000)));
    eventually("it waits", || queued_bytes(&daemon) > 900_000);
    let before = daemon.user_memory_bytes();
    let body = json!({ "session": poller.session, "received": poller.received }).to_string();
    let request = format!(
        "POST /connection/poll HTTP/1.1\r\nHost: test\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    // Each of these has the same 900 KB for its answer, and nobody reads one.
    let mut peers: Vec<Http> = (0..8).map(|_| Http::connect(&daemon)).collect();
    for http in &mut peers {
        http.send(request.repeat(40).as_bytes());
    }
    let options = "OPTIONS /connection/poll HTTP/1.1\r\nHost: test\r\n\r\n";
    let mut preflights = Http::connect(&daemon);
    preflights.send_while_taken(options.repeat(100).as_bytes(), 64 << 20);
    let requests = daemon.metric("holdfast_requests_total", &[]);
    assert!(poller.poll(&[]).len() == 1, "the session is served");
    let grown = daemon.user_memory_bytes().saturating_sub(before);
    assert!(grown < 48 << 20, "{grown} bytes after {requests} requests");
    drop(peers);
    daemon.stop();
}
