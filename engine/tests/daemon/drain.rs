//! Drain: clients are sent away at a pace, and another daemon on the same port takes those that come.
//!
//! In:  `POST /api/drain`, signals, a second daemon.
//! Out: codes 3001 and 1001, spread over the configured time; not one connection refused or reset before its answer.

use std::{
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use holdfast_testkit::{
    Daemon, Launch, PATIENCE,
    client::{Client, SECRET, token},
    eventually,
    http::Http,
    peer::{CLOSE, Peer, close, request},
};
use rustix::process::Signal;
use serde_json::{Value, json};
use socket2::SockRef;

fn start(shutdown: &str) -> Daemon {
    Daemon::start(&format!(
        "[client.token]\nhmac_secret_key = '{SECRET}'\n[http_api]\ninsecure = true\n\
         [poll]\nenabled = true\n[sse]\nenabled = true\n[shutdown]\n{shutdown}"
    ))
}

fn status(daemon: &Daemon, path: &str) -> String {
    daemon.ask(path).0.lines().next().unwrap_or_default().to_owned()
}

fn drain(daemon: &Daemon) -> Value {
    let (_, body) = daemon.request("POST", "/api/drain", "", "{}");
    serde_json::from_str(&body).expect("it is JSON")
}

#[test]
fn a_drained_daemon_is_alive_but_not_ready_and_sends_its_clients_away_one_after_the_other() {
    let daemon = start("drain_time = '2s'\ntimeout = '2m'");
    let address = daemon.address();
    let mut clients: Vec<Client> = (0..20).map(|_| Client::connect(&daemon, "u")).collect();
    let members: Vec<Peer> = (0..20).map(|_| Peer::open(&daemon, "/broadcast")).collect();
    for path in ["/health", "/health/live", "/health/ready"] {
        assert_eq!(status(&daemon, path), "HTTP/1.1 200 OK", "{path}");
    }
    assert_eq!(daemon.metric("holdfast_draining", &[]), 0);

    let began = Instant::now();
    let answer = drain(&daemon);
    assert_eq!(answer["result"]["clients"], 40, "{answer}");
    assert!(answer["result"]["successors"] == 0 && answer["result"].get("note").is_none(), "{answer}");
    assert!(answer["result"]["told_within_ms"].as_u64().is_some_and(|ms| (1_000..=2_000).contains(&ms)));
    assert_eq!(status(&daemon, "/health/ready"), "HTTP/1.1 503 Service Unavailable");
    for path in ["/health", "/health/live"] {
        assert_eq!(status(&daemon, path), "HTTP/1.1 200 OK", "{path}");
    }
    eventually("every core drains and listens no more", || {
        daemon.metrics().select("holdfast_draining", &[]).all(|core| core.value > 0.0)
            && TcpStream::connect(address).is_err()
    });
    assert!(daemon.metric("holdfast_clients_left", &[]) > 0, "nobody is in a hurry");
    // Who has not been told is served as ever.
    let last = clients.len() - 1;
    clients[last].command("unsubscribe", &json!({ "channel": "none" }));
    let again = drain(&daemon);
    assert!(again["result"]["told_within_ms"].as_u64() < answer["result"]["told_within_ms"].as_u64());

    for client in clients {
        assert_eq!(client.expect_close(), (3001, "shutdown".to_owned()));
    }
    for mut member in members {
        let frame = std::iter::from_fn(|| member.frame_or_end()).find(|frame| frame.opcode == CLOSE);
        assert_eq!(frame.expect("a close frame comes").close_code(), 1001);
        member.send_if_heard(&close(1001));
    }
    assert!(began.elapsed() > Duration::from_secs(1), "they left within {:?}", began.elapsed());
    assert_eq!(daemon.wait().code(), Some(0));
}

#[test]
fn clients_of_streams_and_polls_are_told_too() {
    let daemon = start("drain_time = '500ms'\ntimeout = '2m'");
    let connect = format!(r#"{{"id":1,"connect":{{"token":"{}"}}}}"#, token(&json!({})));
    let mut stream = Http::connect(&daemon);
    stream.post("/connection/sse", "", &connect);
    assert_eq!(stream.answer().status, 200);
    let mut poll = Http::connect(&daemon);
    let fields = "Content-Type: application/json\r\n";
    poll.post("/connection/poll", fields, &format!(r#"{{"commands":[{connect}]}}"#));
    let first = poll.answer().json();
    let (session, received) = (&first["session"], &first["sequence"]);
    poll.post("/connection/poll", fields, &json!({ "session": session, "received": received }).to_string());
    daemon.signal(Signal::TERM);
    let answer = poll.answer();
    assert!(answer.body.contains(r#""code":3001"#), "{answer:?}");
    let told = std::iter::from_fn(|| Some(stream.line())).take(10).find(|line| line.contains("disconnect"));
    assert!(told.is_some_and(|line| line.contains(r#""code":3001"#)));
    assert_eq!(daemon.wait().code(), Some(0));
}

#[test]
fn a_second_signal_hurries_and_a_third_one_cuts() {
    let daemon = start("drain_time = '10m'\ntimeout = '1h'");
    let mut patient = Peer::open(&daemon, "/echo");
    // It never answers the close frame.
    let _deaf = Peer::open(&daemon, "/echo");
    daemon.signal(Signal::TERM);
    eventually("it drains", || daemon.metric("holdfast_draining", &[]) > 0);
    patient.expect_echo("there is time");
    daemon.signal(Signal::TERM);
    assert_eq!(patient.frame().close_code(), 1001);
    daemon.signal(Signal::INT);
    assert_eq!(daemon.wait().code(), Some(0));
}

#[test]
fn in_the_delay_a_daemon_is_not_ready_but_serves_and_a_signal_ends_the_delay() {
    let daemon = start("delay = '10m'\ndrain_time = '10m'\ntimeout = '1h'");
    let mut before = Peer::open(&daemon, "/echo");
    daemon.signal(Signal::TERM);
    eventually("it is not ready", || status(&daemon, "/health/ready") == "HTTP/1.1 503 Service Unavailable");
    assert_eq!(status(&daemon, "/health/live"), "HTTP/1.1 200 OK");
    let mut after = Peer::open(&daemon, "/echo");
    before.expect_echo("who was there is served");
    after.expect_echo("who came later too");
    assert_eq!(daemon.metric("holdfast_draining", &[]), 0);
    let progress = drain(&daemon);
    let told_within_ms = progress["result"]["told_within_ms"].as_u64().expect("a number");
    assert!((600_001..=1_200_000).contains(&told_within_ms), "the delay is told of: {progress}");

    // The delay is over, but nobody is hurried.
    daemon.signal(Signal::TERM);
    let address = daemon.address();
    eventually("nobody is accepted", || TcpStream::connect(address).is_err());
    assert!(daemon.metric("holdfast_draining", &[]) > 0);
    before.expect_echo("there is time");
    daemon.signal(Signal::TERM);
    assert_eq!(before.frame().close_code(), 1001);
    daemon.signal(Signal::INT);
    assert_eq!(daemon.wait().code(), Some(0));
}

#[test]
fn the_delay_ends_by_itself_and_is_no_part_of_the_timeout() {
    let daemon = start("delay = '2s'\ntimeout = '1s'");
    let mut peer = Peer::open(&daemon, "/echo");
    let began = Instant::now();
    assert!(drain(&daemon)["result"]["gone_within_ms"].as_u64() > Some(2_000));
    peer.expect_echo("there is time");
    assert_eq!(peer.frame().close_code(), 1001);
    assert!(began.elapsed() > Duration::from_millis(1_900), "after {:?}", began.elapsed());
    peer.send_if_heard(&close(1001));
    assert_eq!(daemon.wait().code(), Some(0));
}

/// What came of connecting again and again.
#[derive(Debug, Default)]
struct Tally {
    answered: AtomicU64,
    failed: AtomicU64,
}

/// Connects without pause: a handshake, its answer, the next one.
fn connect_on(address: SocketAddr, is_over: &AtomicBool, tally: &Tally) {
    while !is_over.load(Ordering::Relaxed) {
        match connect_once(address) {
            Ok(()) => tally.answered.fetch_add(1, Ordering::Relaxed),
            Err(error) => {
                eprintln!("{error}");
                tally.failed.fetch_add(1, Ordering::Relaxed)
            }
        };
    }
}

fn connect_once(address: SocketAddr) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(request("/echo").as_bytes())?;
    let mut answer = [0; 512];
    let mut read = 0;
    while !answer[..read].ends_with(b"\r\n\r\n") {
        match stream.read(&mut answer[read..])? {
            0 => return Err(ErrorKind::UnexpectedEof.into()),
            count => read += count,
        }
        // The close frame of a daemon that leaves may follow the answer at once.
        if answer[..read].windows(4).any(|window| window == b"\r\n\r\n") {
            break;
        }
    }
    if !answer.starts_with(b"HTTP/1.1 101 ") {
        return Err(std::io::Error::other(answer[..read].escape_ascii().to_string()));
    }
    // With a reset, so that no port waits for a minute.
    SockRef::from(&stream).set_linger(Some(Duration::ZERO))
}

/// Says so when it goes.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn two_daemons_on_one_port_hand_over_without_a_refused_connection() {
    let first = Daemon::start("");
    let address = first.address();
    let (is_over, tally) = (AtomicBool::new(false), Tally::default());
    let last = thread::scope(|scope| {
        // Whatever comes of this: who connects on and on ends.
        let _over = Over(&is_over);
        for _ in 0..4 {
            scope.spawn(|| connect_on(address, &is_over, &tally));
        }
        // Again and again: the kernel's list of sockets is another one each time.
        let mut daemon = first;
        for round in 0..3 {
            let next = Daemon::launch(
                "[shutdown]\ntimeout = '1m'",
                Launch { listen: Some(address), ..Launch::default() },
            );
            let before = tally.answered.load(Ordering::Relaxed);
            daemon.signal(Signal::TERM);
            assert_eq!(daemon.wait().code(), Some(0), "round {round}");
            let during = tally.answered.load(Ordering::Relaxed) - before;
            assert!(during > 100, "round {round}: only {during} connections while it left");
            let alone = next.metric("holdfast_accepts_total", &[]);
            eventually("every core of the next one takes connections", || {
                let metrics = next.metrics();
                let mut cores = metrics.select("holdfast_accepts_total", &[]);
                cores.all(|core| core.value > alone as f64 / 16.0 + 50.0)
            });
            daemon = next;
        }
        daemon
    });
    let (answered, failed) = (tally.answered.into_inner(), tally.failed.into_inner());
    println!("{answered} connections, {failed} failed");
    assert_eq!(failed, 0, "of {answered}");
    last.stop();
}

#[test]
fn two_daemons_on_one_port_say_that_they_do_not_know_each_other() {
    let first = start("drain_time = '1m'\ntimeout = '2m'");
    assert!(!first.log().contains("another daemon"), "it is alone");
    let _client = Client::connect(&first, "u");
    let next = Daemon::launch("", Launch { listen: Some(first.address()), shards: 1, ..Launch::default() });
    let says = |daemon: &Daemon, what: &str| {
        daemon.log().lines().any(|line| line.contains(what) && line.contains("publish to both control ports"))
    };
    eventually("the second one says so", || says(&next, "another daemon listens on the same client port"));
    let answer = drain(&first);
    assert_eq!(answer["result"]["successors"], 1, "{answer}");
    assert!(answer["result"]["note"].as_str().is_some_and(|note| note.contains("do not reach")), "{answer}");
    assert_eq!(drain(&first)["result"]["successors"], 1);
    eventually("the first one says so", || says(&first, "another daemon takes over the port"));
    next.stop();
    for signal in [Signal::TERM, Signal::TERM] {
        first.signal(signal);
    }
    assert_eq!(first.wait().code(), Some(0));
}
