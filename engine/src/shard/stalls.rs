//! Stalls: shards that get no turns for a while, and a time of day that is set, on simulated kernels.
//!
//! In:  clients that answer all the time, and silent clients.
//! Out: the end of only those clients that had their chance.

use std::{sync::Arc, time::Duration};

use holdfast_ring::{
    Kernel as _, Sockets, SocketsConfig,
    simulated::{Faults, Network, Simulated, SimulatedConfig, listener},
};
use serde_json::json;

use super::{Shard, ShardPolicy, back_pressure::tests::Client};
use crate::{
    backend::queue,
    config::Config,
    ids::ShardId,
    memory::BudgetLimits,
    mesh::MailboxLimits,
    metrics::{CloseReason, Metric},
    session::message::{Peers, Shared},
    token::issue::issue,
};

const BUFFERS: u32 = 64;
const SLOTS: u32 = 64;
const MAILBOX: MailboxLimits = MailboxLimits { messages_max: 512, bytes_max: 256 * 1024 };

/// Time between two turns of a shard that is not late.
const BETWEEN_TURNS: Duration = Duration::from_millis(50);

const PING: Duration = Duration::from_secs(25);
const PONG: Duration = Duration::from_secs(8);

/// How far a deadline may be exceeded: some ticks, and checks.
const SLACK: Duration = Duration::from_secs(2);

const SECRET: &str = "a secret of some length, for tests";

/// The time of day at the start, in seconds since 1970.
const NOON_S: u64 = 1_700_000_000;

struct Cluster {
    network: Network,
    shards: Vec<Shard<Simulated>>,
    wall_ahead: i64,
    clients: Vec<Client>,
}

impl Cluster {
    fn new(shards: usize, faults: Faults, change: impl FnOnce(&mut Config)) -> Self {
        let network = Network::new(1, faults, 64 * 1024);
        let sizes = SimulatedConfig { lanes: 1, slots_per_lane: SLOTS, buffers: BUFFERS, buffer_bytes: 4096 };
        let kernels: Vec<_> = (0..shards).map(|_| Simulated::new(&network, &sizes)).collect();
        let bells = kernels.iter().map(Simulated::doorbell).collect();
        let tables = crate::limits::Tables::new(shards, 64);
        let shared = Arc::new(Shared::new(bells, MAILBOX, 7, tables, BudgetLimits::all(1 << 30)));
        let mut config = Config::default();
        config.client.allow_anonymous_connect_without_token = true;
        config.echo.enabled = Some(true);
        config.broadcast.enabled = Some(true);
        config.poll.enabled = true;
        config.sse.enabled = true;
        change(&mut config);
        let shards = kernels.into_iter().enumerate().map(|(index, kernel)| {
            let sizes = SocketsConfig { accept_reserve: 16, ..SocketsConfig::default() };
            let mut sockets = Sockets::new(kernel, sizes);
            sockets.listen(listener());
            let peers = Peers::new(Arc::clone(&shared), ShardId::new(index));
            let policy = ShardPolicy::new(&config, BudgetLimits::of(&config), BUFFERS);
            Shard::new("node".into(), policy, sockets, peers, queue(1).0, None, [7; 32])
        });
        let shards = shards.collect();
        Self { network, shards, wall_ahead: i64::try_from(NOON_S * 1000).unwrap(), clients: Vec::new() }
    }

    fn turn(&mut self, shard: usize) {
        let trace = self.network.trace();
        let uptime_ms = i64::try_from(trace.now().as_millis()).unwrap();
        let wall_ms = u64::try_from(uptime_ms + self.wall_ahead).unwrap_or(0);
        let shard = &mut self.shards[shard];
        shard
            .turn(|| trace.now(), || Duration::from_millis(wall_ms))
            .expect("a simulated ring does not break");
        shard.audit();
    }

    /// Clients read and answer pings.
    fn step(&mut self) {
        for client in &mut self.clients {
            answer_pings(client);
        }
    }

    /// Advances time while some shards get turns and clients send only answers.
    fn serve_some(&mut self, time: Duration, shards: &[usize]) {
        let until = self.network.trace().now() + time;
        while self.network.trace().now() < until {
            self.step();
            shards.iter().for_each(|&shard| self.turn(shard));
            self.network.trace().pass(BETWEEN_TURNS);
        }
    }

    fn serve(&mut self, time: Duration) {
        let all: Vec<_> = (0..self.shards.len()).collect();
        self.serve_some(time, &all);
    }

    /// Advances time while no shard gets a turn.
    fn stall(&mut self, time: Duration) {
        self.network.trace().pass(time);
        self.step();
    }

    /// Sets the time of day to so many seconds after the first noon.
    fn set_clock(&mut self, after_noon_s: i64) {
        let uptime_ms = i64::try_from(self.network.trace().now().as_millis()).unwrap();
        self.wall_ahead = (i64::try_from(NOON_S).unwrap() + after_noon_s) * 1000 - uptime_ms;
    }

    fn count(&self, metric: Metric) -> u64 {
        self.shards.iter().map(|shard| shard.mesh.peers.published(shard.mesh.shard).get(metric)).sum()
    }

    fn closes(&self, reason: CloseReason) -> u64 {
        self.count(Metric::Closed(reason))
    }

    fn serve_until_heard(&mut self, client: &mut Client, text: &str) {
        for _ in 0..400 {
            answer_pings(client);
            if client.count(text) > 0 {
                return;
            }
            self.serve(BETWEEN_TURNS);
        }
        panic!("{text} does not come: {}", String::from_utf8_lossy(&client.heard));
    }

    fn open(&mut self, shard: usize) -> Client {
        Client::new(self.network.connect(shard).expect("it listens"))
    }

    fn upgraded(&mut self, path: &str) -> Client {
        let mut client = self.open(0);
        client.outgoing.extend_from_slice(
            format!(
                "GET {path} HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                 Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            )
            .as_bytes(),
        );
        self.serve_until_heard(&mut client, "HTTP/1.1 101");
        client
    }

    /// Connects a client of the Centrifuge protocol; returns its answer.
    fn connect(&mut self, token: &str) -> Client {
        let mut client = self.upgraded("/connection/websocket");
        client.say(&json!({"id": 1, "connect": {"token": token}}).to_string());
        self.serve_until_heard(&mut client, r#"{"id":1,"#);
        client
    }

    /// The answer to a token that begins and expires so many seconds after the first noon.
    fn judge(&mut self, from_s: i64, expires_s: i64) -> &'static str {
        let at = |after_noon_s: i64| i64::try_from(NOON_S).unwrap() + after_noon_s;
        let claims = json!({"sub": "ann", "nbf": at(from_s), "exp": at(expires_s)});
        let mut client = self.upgraded("/connection/websocket");
        client.say(&json!({"id": 1, "connect": {"token": issue(&claims, SECRET.as_bytes())}}).to_string());
        for _ in 0..100 {
            client.step();
            // A token that is not valid yet is answered like an expired one: the client needs another.
            for (text, is) in [(r#""connect":{"#, "good"), (r#""code":109"#, "another")] {
                if client.count(text) > 0 {
                    return is;
                }
            }
            self.serve(BETWEEN_TURNS);
        }
        panic!("no answer: {}", String::from_utf8_lossy(&client.heard));
    }

    fn post(&mut self, client: &mut Client, body: &str) {
        let head = format!(
            "POST /connection/poll HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        client.outgoing.extend_from_slice(head.as_bytes());
        client.outgoing.extend_from_slice(body.as_bytes());
    }
}

/// Reads, and answers pings of both kinds.
fn answer_pings(client: &mut Client) {
    client.step();
    // RFC 6455 §5.5.2: FIN and opcode 9, no payload; and the client protocol's empty reply.
    let native = take(client, &[0x89, 0]);
    (0..native).for_each(|_| client.outgoing.extend_from_slice(&[0x8a, 0x80, 1, 2, 3, 4]));
    let own = take(client, b"\x81\x02{}");
    (0..own).for_each(|_| client.say("{}"));
    client.step();
}

/// How often a client has received these bytes; removes them.
fn take(client: &mut Client, bytes: &[u8]) -> usize {
    let mut found = 0;
    while let Some(at) = client.heard.windows(bytes.len()).position(|window| window == bytes) {
        client.heard.drain(..at + bytes.len());
        found += 1;
    }
    found
}

#[test]
fn who_answers_during_a_stall_stays_and_who_is_silent_goes_soon_after_it() {
    // The kernel reports most of the input much later.
    for late in [0, 900] {
        let mut house = Cluster::new(1, Faults::default(), |_| {});
        let answering: Vec<_> = (0..4)
            .map(|number| if number % 2 == 0 { house.upgraded("/echo") } else { house.connect("") })
            .collect();
        let silent: Vec<_> = (0..3).map(|_| house.upgraded("/echo")).collect();
        house.clients = answering;
        // Some have been pinged, one of the silent clients among them, and the answers are late by the stall.
        while house.count(Metric::Pings) < 5 {
            house.turn(0);
            house.network.trace().pass(BETWEEN_TURNS);
        }
        assert_eq!(house.closes(CloseReason::NoPong), 0);
        house.network.set_faults(Faults { late, ..Faults::default() });
        house.stall(3 * PONG);
        let stalled = house.network.trace().now();
        // A client not pinged before the stall is pinged after it, up to twice as late.
        for (closes, end) in [(1, PONG + SLACK), (3, 2 * PING + PONG + SLACK)] {
            while house.closes(CloseReason::NoPong) < closes {
                house.serve(BETWEEN_TURNS);
                let after = house.network.trace().now() - stalled;
                assert!(after < end, "the silent ones are still there {after:?} after the stall");
            }
        }
        house.clients.extend(silent);
        house.serve(Duration::from_secs(90));
        assert_eq!(house.closes(CloseReason::NoPong), 3, "and nobody else has gone, late {late}");
        assert_eq!(house.shards[0].conns.open, 4);
        assert!(house.shards[0].cx.lateness.granted_ms() >= 23_000);
    }
}

#[test]
fn stalls_of_any_length_at_any_time_end_nobody_who_answers() {
    for stall_s in [1, 7, 30, 100, 86_400] {
        let mut house = Cluster::new(1, Faults::default(), |_| {});
        house.clients = (0..6)
            .map(|number| if number % 2 == 0 { house.upgraded("/broadcast") } else { house.connect("") })
            .collect();
        for round in 0..20 {
            house.serve(Duration::from_millis(1_700 + 90 * round));
            house.stall(Duration::from_secs(stall_s));
        }
        house.serve(Duration::from_secs(60));
        assert_eq!(house.shards[0].conns.open, 6, "stalls of {stall_s} s");
    }
}

#[test]
fn half_a_request_may_go_on_after_a_stall_and_ends_if_it_does_not() {
    let mut house = Cluster::new(1, Faults::default(), |_| {});
    let mut clients: Vec<_> = (0..2).map(|_| house.open(0)).collect();
    let (head, rest) = ("GET /nowhere HTTP/1.1\r\nHo", "st: h\r\n\r\n");
    clients.iter_mut().for_each(|client| client.outgoing.extend_from_slice(head.as_bytes()));
    clients.iter_mut().for_each(Client::step);
    house.serve(Duration::from_secs(5));
    house.stall(Duration::from_secs(600));
    clients[0].outgoing.extend_from_slice(rest.as_bytes());
    clients[0].step();
    house.serve(Duration::from_secs(4));
    clients.iter_mut().for_each(Client::step);
    assert_eq!((clients[0].count(" 404 "), clients[1].count(" 408 ")), (1, 0));
    house.serve(Duration::from_secs(2));
    clients.iter_mut().for_each(Client::step);
    assert_eq!((clients[0].count(" 408 "), clients[1].count(" 408 ")), (0, 1));
}

#[test]
fn a_session_of_polls_outlives_the_stall_of_the_shard_that_its_polls_come_to() {
    let mut house = Cluster::new(2, Faults::default(), |config| config.poll.session_ttl_ms = 5_000);
    let mut near = house.open(0);
    house.post(&mut near, r#"{"commands":[{"id":1,"connect":{}}]}"#);
    near.step();
    let asked = house.network.trace().now();
    while near.count("200 OK") == 0 {
        house.serve(BETWEEN_TURNS);
        near.step();
        assert!(house.network.trace().now() - asked < SLACK, "{}", String::from_utf8_lossy(&near.heard));
    }
    let heard = String::from_utf8_lossy(&near.heard).into_owned();
    let session = heard.split(r#""session":""#).nth(1).and_then(|rest| rest.split('"').next());
    let session = session.expect("the answer names it").to_owned();
    // The next poll reaches the other shard, which gets no turn; the session's own shard runs on.
    let mut far = house.open(1);
    house.post(&mut far, &format!(r#"{{"session":"{session}","received":1}}"#));
    far.step();
    house.serve_some(Duration::from_secs(30), &[0]);
    house.serve(Duration::from_secs(30));
    far.step();
    assert_eq!((far.count("200 OK"), far.count("404")), (1, 0), "{}", String::from_utf8_lossy(&far.heard));
    assert_eq!(house.shards[0].sessions.named.polls(), 1);
    house.serve(Duration::from_secs(7));
    assert_eq!(house.shards[0].sessions.named.polls(), 0, "nobody polls any more");
}

#[test]
fn tokens_are_judged_by_the_time_of_day_as_it_is() {
    const HOUR: i64 = 3_600;
    const DAY: i64 = 24 * HOUR;
    let mut house = Cluster::new(1, Faults::default(), |config| {
        config.client.token.hmac_secret_key = SECRET.parse().ok();
    });
    assert_eq!(house.judge(-HOUR, HOUR), "good");
    for step in [2 * HOUR, 30 * DAY, -2 * HOUR, -30 * DAY, 0, 20_000 * DAY] {
        house.set_clock(step);
        assert_eq!(house.judge(step - HOUR, step + HOUR), "good", "after a step to {step}");
        assert_eq!(house.judge(step - HOUR, step - 1), "another", "expired after a step to {step}");
        assert_eq!(house.judge(step + HOUR, step + 2 * HOUR), "another", "too new after a step to {step}");
    }
    // A machine that was suspended: both clocks have advanced.
    house.set_clock(0);
    house.stall(Duration::from_secs(86_400));
    assert_eq!(house.judge(0, HOUR), "another");
    assert_eq!(house.judge(DAY - HOUR, DAY + HOUR), "good");
    // Before 1970 it is 1970.
    house.wall_ahead = -i64::try_from(NOON_S).unwrap();
    assert_eq!(house.judge(0, HOUR), "another");
    assert_eq!(house.shards[0].cx.wall_s(), 0);
}

/// A client whose token expires so many seconds after the first noon, and that does not refresh it.
fn with_expiring_token(expires_s: u64) -> (Cluster, u64) {
    let mut house = Cluster::new(1, Faults::default(), |config| {
        config.client.token.hmac_secret_key = SECRET.parse().ok();
    });
    let token = issue(&json!({"sub": "ann", "exp": NOON_S + expires_s}), SECRET.as_bytes());
    let client = house.connect(&token);
    house.clients.push(client);
    (house, expires_s)
}

/// How long the session lasts, up to `max`.
fn goes_on_for(house: &mut Cluster, max: Duration) -> Option<Duration> {
    let began = house.network.trace().now();
    while house.shards[0].conns.open > 0 {
        house.serve(BETWEEN_TURNS);
        if house.network.trace().now() - began > max {
            return None;
        }
    }
    Some(house.network.trace().now() - began)
}

#[test]
fn a_session_that_expires_in_a_step_or_a_suspended_machine_has_its_grace_after_that_and_no_more() {
    const GRACE: Duration = Duration::from_secs(25);
    let is_grace = |passed: Option<Duration>| {
        let passed = passed.expect("it ends");
        assert!((GRACE - SLACK..GRACE + PING + SLACK).contains(&passed), "{passed:?}");
    };
    let (mut house, _) = with_expiring_token(3_600);
    house.serve(Duration::from_secs(5));
    house.set_clock(40 * 86_400);
    is_grace(goes_on_for(&mut house, Duration::from_secs(120)));

    let (mut house, _) = with_expiring_token(3_600);
    house.serve(Duration::from_secs(5));
    house.stall(Duration::from_secs(40 * 86_400));
    is_grace(goes_on_for(&mut house, Duration::from_secs(120)));

    // Back again: it is not expired for that long.
    let (mut house, expires_s) = with_expiring_token(60);
    house.serve(Duration::from_secs(5));
    house.set_clock(-3_600);
    assert_eq!(goes_on_for(&mut house, Duration::from_secs(3_600 + expires_s)), None);
    is_grace(goes_on_for(&mut house, Duration::from_secs(120)));
}

#[test]
fn clients_that_come_to_a_late_shard_are_told_of_longer_pauses_between_pings_and_get_them() {
    let mut house = Cluster::new(1, Faults::default(), |_| {});
    let told = |client: &Client| {
        let heard = String::from_utf8_lossy(&client.heard).into_owned();
        let ping = heard.split(r#""ping":"#).nth(1).and_then(|rest| rest.split([',', '}']).next());
        ping.and_then(|ping| ping.parse::<u64>().ok()).expect("the reply names it")
    };
    let first = house.connect("");
    assert_eq!(told(&first), 25);
    house.clients = (0..20).map(|_| house.connect("")).collect();
    house.clients.push(first);
    for _ in 0..10 {
        house.stall(Duration::from_secs(60));
        house.serve(Duration::from_secs(2));
    }
    let late = house.connect("");
    let told_s = told(&late);
    assert!((30..=50).contains(&told_s), "{told_s}");
    // A client that was told less gets its pings at most five seconds later than that.
    let before = house.count(Metric::Pings);
    house.serve(Duration::from_secs(30 + 1));
    let pings = house.count(Metric::Pings) - before;
    assert!(pings >= 21, "{pings} pings");
    // Calm again: the next one is told the configured interval.
    house.serve(Duration::from_secs(120));
    assert_eq!(told(&house.connect("")), 25);
}

#[test]
fn what_was_said_during_a_stall_is_not_too_much_at_once_and_a_step_back_stops_no_limit_from_fading() {
    let mut house = Cluster::new(1, Faults::default(), |config| {
        config.limits.connection.commands_per_s = 5;
    });
    let mut client = house.connect("");
    let mut asked = 0;
    let mut ask = |client: &mut Client, times: u32| {
        for _ in 0..times {
            asked += 1;
            client.say(&format!(r#"{{"id":{},"presence_stats":{{"channel":"a"}}}}"#, asked + 1));
        }
        client.step();
    };
    let refused = |client: &Client| client.count(r#""code":111"#);
    for _ in 0..20 {
        house.stall(Duration::from_secs(1));
        ask(&mut client, 4);
    }
    house.serve(Duration::from_secs(3));
    client.step();
    assert_eq!(refused(&client), 0, "four a second, all at once");
    // The limit holds.
    ask(&mut client, 14);
    house.serve(Duration::from_secs(3));
    client.step();
    assert!(refused(&client) >= 5, "{}", refused(&client));
    let before = refused(&client);
    house.set_clock(-86_400);
    for _ in 0..10 {
        house.serve(Duration::from_secs(1));
        ask(&mut client, 3);
    }
    house.serve(Duration::from_secs(3));
    client.step();
    assert_eq!(refused(&client), before, "three a second, after the clock was set back");
}
