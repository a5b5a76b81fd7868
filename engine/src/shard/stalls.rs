//! Stalls: shards that get no turns for a while, and a time of day that is set, on simulated kernels.
//!
//! In:  clients that answer all the time, and silent clients.
//! Out: the end of only those clients that had their chance.

use std::time::Duration;

use holdfast_ring::simulated::Faults;
use serde_json::json;

use crate::{
    config::Config,
    metrics::{CloseReason, Metric},
    simulation::{cluster::Cluster, scripted::ScriptedClient},
    token::issue::issue,
};

/// Time between two turns of a shard that is not late.
const BETWEEN_TURNS: Duration = Duration::from_millis(50);

const PING: Duration = Duration::from_secs(25);
const PONG: Duration = Duration::from_secs(8);

/// How far a deadline may be exceeded: some ticks, and checks.
const SLACK: Duration = Duration::from_secs(2);

const SECRET: &str = "a secret of some length, for tests";

/// The time of day at the start, in seconds since 1970.
const NOON_S: i64 = 1_700_000_000;

fn cluster_of(shards: usize, change: impl FnOnce(&mut Config)) -> Cluster {
    let builder = Cluster::of(shards).config(|config| {
        config.poll.enabled = true;
        config.sse.enabled = true;
        change(config);
    });
    let mut cluster = builder.start();
    cluster.pause = BETWEEN_TURNS;
    cluster
}

fn has_secret(config: &mut Config) {
    config.client.token.hmac_secret_key = SECRET.parse().ok();
}

/// Sets the time of day to so many seconds after the first noon.
fn set_clock(cluster: &mut Cluster, after_noon_s: i64) {
    cluster.set_wall_ms((NOON_S + after_noon_s) * 1000);
}

fn closes(cluster: &Cluster, reason: CloseReason) -> u64 {
    cluster.count(Metric::Closed(reason))
}

/// The answer to a token that begins and expires so many seconds after the first noon.
fn judge(cluster: &mut Cluster, from_s: i64, expires_s: i64) -> &'static str {
    let claims = json!({"sub": "ann", "nbf": NOON_S + from_s, "exp": NOON_S + expires_s});
    let mut client = cluster.open(0);
    client.connect(&issue(&claims, SECRET.as_bytes()));
    let mut is = None;
    cluster.run_until(&mut client, |_, client| {
        // A token that is not valid yet is answered like an expired one: the client needs another.
        let answers = [(r#""connect":{"#, "good"), (r#""code":109"#, "another")];
        is = answers.into_iter().find(|(text, _)| client.count(text) > 0);
        is.is_some()
    });
    is.expect("it was answered").1
}

/// So many clients: the first one of WebSocket alone, at this path, the next one of the client protocol, and so on.
fn of_both_kinds(cluster: &mut Cluster, count: usize, path: &str) -> Vec<ScriptedClient> {
    let mut client = |number: usize| match number % 2 {
        0 => cluster.upgraded(0, path, ""),
        _ => cluster.connected(0, ""),
    };
    (0..count).map(&mut client).collect()
}

#[test]
fn who_answers_during_a_stall_stays_and_who_is_silent_goes_soon_after_it() {
    // The kernel reports most of the input much later.
    for late in [0, 900] {
        let mut cluster = cluster_of(1, |_| {});
        let answering = of_both_kinds(&mut cluster, 4, "/echo");
        let silent: Vec<_> = (0..3).map(|_| cluster.upgraded(0, "/echo", "")).collect();
        cluster.crowd = answering;
        // Some have been pinged, one of the silent clients among them, and the answers are late by the stall.
        while cluster.count(Metric::Pings) < 5 {
            cluster.turn(0);
            cluster.network.trace().pass(BETWEEN_TURNS);
        }
        assert_eq!(closes(&cluster, CloseReason::NoPong), 0);
        cluster.network.set_faults(Faults { late, ..Faults::default() });
        cluster.stall(3 * PONG);
        let stalled = cluster.network.trace().now();
        // A client not pinged before the stall is pinged after it, up to twice as late.
        for (count, end) in [(1, PONG + SLACK), (3, 2 * PING + PONG + SLACK)] {
            while closes(&cluster, CloseReason::NoPong) < count {
                cluster.serve(BETWEEN_TURNS);
                let after = cluster.network.trace().now() - stalled;
                assert!(after < end, "the silent ones are still there {after:?} after the stall");
            }
        }
        cluster.crowd.extend(silent);
        cluster.serve(Duration::from_secs(90));
        assert_eq!(closes(&cluster, CloseReason::NoPong), 3, "and nobody else has gone, late {late}");
        assert_eq!(cluster.shard(0).conns.open, 4);
        assert!(cluster.shard(0).cx.lateness.granted_ms() >= 23_000);
    }
}

#[test]
fn stalls_of_any_length_at_any_time_end_nobody_who_answers() {
    for stall_s in [1, 7, 30, 100, 86_400] {
        let mut cluster = cluster_of(1, |_| {});
        cluster.crowd = of_both_kinds(&mut cluster, 6, "/broadcast");
        for round in 0..20 {
            cluster.serve(Duration::from_millis(1_700 + 90 * round));
            cluster.stall(Duration::from_secs(stall_s));
        }
        cluster.serve(Duration::from_secs(60));
        assert_eq!(cluster.shard(0).conns.open, 6, "stalls of {stall_s} s");
    }
}

#[test]
fn half_a_request_may_go_on_after_a_stall_and_ends_if_it_does_not() {
    let mut cluster = cluster_of(1, |_| {});
    let mut clients: Vec<_> = (0..2).map(|_| cluster.open(0)).collect();
    let (head, rest) = ("GET /nowhere HTTP/1.1\r\nHo", "st: h\r\n\r\n");
    clients.iter_mut().for_each(|client| client.send(head.as_bytes()));
    clients.iter_mut().for_each(ScriptedClient::step);
    cluster.serve(Duration::from_secs(5));
    cluster.stall(Duration::from_secs(600));
    clients[0].send(rest.as_bytes());
    clients[0].step();
    cluster.serve(Duration::from_secs(4));
    clients.iter_mut().for_each(ScriptedClient::step);
    assert_eq!((clients[0].count(" 404 "), clients[1].count(" 408 ")), (1, 0));
    cluster.serve(Duration::from_secs(2));
    clients.iter_mut().for_each(ScriptedClient::step);
    assert_eq!((clients[0].count(" 408 "), clients[1].count(" 408 ")), (0, 1));
}

#[test]
fn a_session_of_polls_outlives_the_stall_of_the_shard_that_its_polls_come_to() {
    let mut cluster = cluster_of(2, |config| config.poll.session_ttl_ms = 5_000);
    let mut near = cluster.open(0);
    near.post("/connection/poll", r#"{"commands":[{"id":1,"connect":{}}]}"#);
    near.step();
    let asked = cluster.network.trace().now();
    cluster.run_until_heard(&mut near, "200 OK");
    assert!(cluster.network.trace().now() - asked < SLACK, "{}", near.heard());
    let heard = near.heard().into_owned();
    let session = heard.split(r#""session":""#).nth(1).and_then(|rest| rest.split('"').next());
    let session = session.expect("the answer names it").to_owned();
    // The next poll reaches the other shard, which gets no turn; the session's own shard runs on.
    let mut far = cluster.open(1);
    far.post("/connection/poll", &format!(r#"{{"session":"{session}","received":1}}"#));
    far.step();
    cluster.serve_some(Duration::from_secs(30), &[0]);
    cluster.serve(Duration::from_secs(30));
    far.step();
    assert_eq!((far.count("200 OK"), far.count("404")), (1, 0), "{}", far.heard());
    assert_eq!(cluster.shard(0).sessions.registry.polls(), 1);
    cluster.serve(Duration::from_secs(7));
    assert_eq!(cluster.shard(0).sessions.registry.polls(), 0, "nobody polls any more");
}

#[test]
fn tokens_are_judged_by_the_time_of_day_as_it_is() {
    const HOUR: i64 = 3_600;
    const DAY: i64 = 24 * HOUR;
    let mut cluster = cluster_of(1, has_secret);
    assert_eq!(judge(&mut cluster, -HOUR, HOUR), "good");
    for step in [2 * HOUR, 30 * DAY, -2 * HOUR, -30 * DAY, 0, 20_000 * DAY] {
        set_clock(&mut cluster, step);
        assert_eq!(judge(&mut cluster, step - HOUR, step + HOUR), "good", "after a step to {step}");
        assert_eq!(judge(&mut cluster, step - HOUR, step - 1), "another", "expired after a step to {step}");
        assert_eq!(
            judge(&mut cluster, step + HOUR, step + 2 * HOUR),
            "another",
            "too new after a step to {step}"
        );
    }
    // A machine that was suspended: both clocks have advanced.
    set_clock(&mut cluster, 0);
    cluster.stall(Duration::from_secs(86_400));
    assert_eq!(judge(&mut cluster, 0, HOUR), "another");
    assert_eq!(judge(&mut cluster, DAY - HOUR, DAY + HOUR), "good");
    // Before 1970 it is 1970.
    set_clock(&mut cluster, -NOON_S - HOUR);
    assert_eq!(judge(&mut cluster, 0, HOUR), "another");
    assert_eq!(cluster.shard(0).cx.wall_s(), 0);
}

/// A client whose token expires so many seconds after the first noon, and that does not refresh it.
fn with_expiring_token(expires_s: i64) -> (Cluster, i64) {
    let mut cluster = cluster_of(1, has_secret);
    let token = issue(&json!({"sub": "ann", "exp": NOON_S + expires_s}), SECRET.as_bytes());
    let client = cluster.connected(0, &token);
    cluster.crowd.push(client);
    (cluster, expires_s)
}

/// How long the session lasts, up to `max`.
fn goes_on_for(cluster: &mut Cluster, max: Duration) -> Option<Duration> {
    let began = cluster.network.trace().now();
    while cluster.shard(0).conns.open > 0 {
        cluster.serve(BETWEEN_TURNS);
        if cluster.network.trace().now() - began > max {
            return None;
        }
    }
    Some(cluster.network.trace().now() - began)
}

#[test]
fn a_session_that_expires_in_a_step_or_a_suspended_machine_has_its_grace_after_that_and_no_more() {
    const GRACE: Duration = Duration::from_secs(25);
    let is_grace = |passed: Option<Duration>| {
        let passed = passed.expect("it ends");
        assert!((GRACE - SLACK..GRACE + PING + SLACK).contains(&passed), "{passed:?}");
    };
    let (mut cluster, _) = with_expiring_token(3_600);
    cluster.serve(Duration::from_secs(5));
    set_clock(&mut cluster, 40 * 86_400);
    is_grace(goes_on_for(&mut cluster, Duration::from_secs(120)));

    let (mut cluster, _) = with_expiring_token(3_600);
    cluster.serve(Duration::from_secs(5));
    cluster.stall(Duration::from_secs(40 * 86_400));
    is_grace(goes_on_for(&mut cluster, Duration::from_secs(120)));

    // Back again: it is not expired for that long.
    let (mut cluster, expires_s) = with_expiring_token(60);
    cluster.serve(Duration::from_secs(5));
    set_clock(&mut cluster, -3_600);
    assert_eq!(goes_on_for(&mut cluster, Duration::from_secs(3_600 + expires_s.unsigned_abs())), None);
    is_grace(goes_on_for(&mut cluster, Duration::from_secs(120)));
}

#[test]
fn clients_that_come_to_a_late_shard_are_told_of_longer_pauses_between_pings_and_get_them() {
    let mut cluster = cluster_of(1, |_| {});
    let told = |client: &ScriptedClient| {
        let heard = client.heard().into_owned();
        let ping = heard.split(r#""ping":"#).nth(1).and_then(|rest| rest.split([',', '}']).next());
        ping.and_then(|ping| ping.parse::<u64>().ok()).expect("the reply names it")
    };
    let first = cluster.connected(0, "");
    assert_eq!(told(&first), 25);
    cluster.crowd = (0..20).map(|_| cluster.connected(0, "")).collect();
    cluster.crowd.push(first);
    for _ in 0..10 {
        cluster.stall(Duration::from_secs(60));
        cluster.serve(Duration::from_secs(2));
    }
    let late = cluster.connected(0, "");
    let told_s = told(&late);
    assert!((30..=50).contains(&told_s), "{told_s}");
    // A client that was told less gets its pings at most five seconds later than that.
    let before = cluster.count(Metric::Pings);
    cluster.serve(Duration::from_secs(30 + 1));
    let pings = cluster.count(Metric::Pings) - before;
    assert!(pings >= 21, "{pings} pings");
    // Calm again: the next one is told the configured interval.
    cluster.serve(Duration::from_secs(120));
    assert_eq!(told(&cluster.connected(0, "")), 25);
}

#[test]
fn what_was_said_during_a_stall_is_not_too_much_at_once_and_a_step_back_stops_no_limit_from_fading() {
    let mut cluster = cluster_of(1, |config| {
        config.limits.connection.commands_per_s = 5;
    });
    let mut client = cluster.connected(0, "");
    let mut asked = 0;
    let mut ask = |client: &mut ScriptedClient, times: u32| {
        for _ in 0..times {
            asked += 1;
            client.say(&format!(r#"{{"id":{},"presence_stats":{{"channel":"a"}}}}"#, asked + 1));
        }
        client.step();
    };
    let refused = |client: &ScriptedClient| client.count(r#""code":111"#);
    for _ in 0..20 {
        cluster.stall(Duration::from_secs(1));
        ask(&mut client, 4);
    }
    cluster.serve(Duration::from_secs(3));
    client.step();
    assert_eq!(refused(&client), 0, "four a second, all at once");
    // The limit holds.
    ask(&mut client, 14);
    cluster.serve(Duration::from_secs(3));
    client.step();
    assert!(refused(&client) >= 5, "{}", refused(&client));
    let before = refused(&client);
    set_clock(&mut cluster, -86_400);
    for _ in 0..10 {
        cluster.serve(Duration::from_secs(1));
        ask(&mut client, 3);
    }
    cluster.serve(Duration::from_secs(3));
    client.step();
    assert_eq!(refused(&client), before, "three a second, after the clock was set back");
}
