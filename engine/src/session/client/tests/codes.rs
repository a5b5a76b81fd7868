//! Every code of the protocol's lists: what leads to it, and what clients make of it; or that no session says it.

use holdfast_protocol::client::{DisconnectCode as Disconnect, ErrorCode as Error};
use serde_json::{Value, json};

use super::{error, publish, subscribe};
use crate::{
    backend::Event,
    channel::Overrides,
    config::Config,
    metrics::CloseReason as Reason,
    session::{
        calls::{ClientCommand, SubscribeCommand},
        script::{NOON_S, Peer, Script, token},
    },
    time::UnixSeconds,
};

/// Codes that no session of this daemon ends with, unless the application says so.
const DISCONNECTS_OF_NOBODY: [Disconnect; 5] = [
    Disconnect::CONNECTION_CLOSED,
    Disconnect::SERVER_ERROR,
    Disconnect::WRITE_ERROR,
    Disconnect::INAPPROPRIATE_PROTOCOL,
    Disconnect::TOO_MANY_ERRORS,
];

/// The server API alone says it.
const ERRORS_OF_NOBODY: [Error; 1] = [Error::UNAUTHORIZED];

/// Has something happen to a client that nothing has happened to.
type Act = fn(&mut Script, Peer);

/// What leads to the end of a session.
struct Cause {
    name: &'static str,
    code: Disconnect,
    /// True exactly when SDKs connect again.
    reconnects: bool,
    reason: Reason,
    configure: fn(&mut Config),
    act: Act,
}

impl Cause {
    const fn new(name: &'static str, code: Disconnect, reconnects: bool, reason: Reason, act: Act) -> Self {
        Self { name, code, reconnects, reason, configure: |_| {}, act }
    }

    /// The client breaks the protocol.
    const fn broken(name: &'static str, act: Act) -> Self {
        Self::new(name, Disconnect::BAD_REQUEST, false, Reason::ProtocolError, act)
    }

    const fn where_(self, configure: fn(&mut Config)) -> Self {
        Self { configure, ..self }
    }
}

/// What leads to an error in the reply to the command 9.
struct Refusal {
    name: &'static str,
    code: Error,
    configure: fn(&mut Config),
    act: Act,
}

impl Refusal {
    const fn new(name: &'static str, code: Error, act: Act) -> Self {
        Self { name, code, configure: |_| {}, act }
    }

    const fn where_(self, configure: fn(&mut Config)) -> Self {
        Self { configure, ..self }
    }
}

/// A client that is connected sends this.
fn says(script: &mut Script, client: Peer, command: Value) {
    script.connect(client, "");
    script.send(client, command);
}

fn connect_with(script: &mut Script, client: Peer, claims: &Value) {
    script.send(client, json!({"id": 9, "connect": {"token": token(claims)}}));
}

/// A client whose token expires refreshes it with such a one.
fn refresh_with(script: &mut Script, client: Peer, claims: &Value) {
    script.connect(client, &token(&json!({"sub": "ann", "exp": NOON_S + 10})));
    script.send(client, json!({"id": 9, "refresh": {"token": token(claims)}}));
}

fn flood(script: &mut Script, client: Peer, commands: usize) {
    for _ in 0..commands {
        script.send(client, json!({"id": 9, "unsubscribe": {"channel": "a"}}));
    }
}

/// Somebody above the session ends it.
fn ended(script: &mut Script, client: Peer, code: Disconnect) {
    script.act(|sessions| sessions.disconnect(client.key, code));
}

fn ended_by_application(script: &mut Script, client: Peer, code: Disconnect) {
    script.connect(client, "");
    let reason = code.reason.into();
    script.wish(client, ClientCommand::Disconnect { code: code.code, reason, except: Vec::new() });
}

fn causes() -> Vec<Cause> {
    use Disconnect as D;
    vec![
        Cause::new("the daemon leaves", D::SHUTDOWN, true, Reason::Shutdown, |script, client| {
            script.connect(client, "");
            ended(script, client, D::SHUTDOWN);
        }),
        Cause::new("nobody refreshes", D::EXPIRED, true, Reason::Disconnected, |script, client| {
            script.connect(client, &token(&json!({"sub": "ann", "exp": NOON_S + 10})));
            script.pass_s(60);
            assert!(!script.ping(client));
        }),
        Cause::new("an expired refresh", D::EXPIRED, true, Reason::Disconnected, |script, client| {
            refresh_with(script, client, &json!({"sub": "ann", "exp": NOON_S - 1}));
        }),
        Cause::new("the application's end", D::EXPIRED, true, Reason::Disconnected, |script, client| {
            script.connect(client, "");
            script.wish(client, ClientCommand::Expire);
        }),
        Cause::new(
            "a subscription of the server's expires",
            D::SUBSCRIPTION_EXPIRED,
            true,
            Reason::Disconnected,
            |script, client| {
                script.connect(client, "");
                let wish = SubscribeCommand {
                    channel: "a".into(),
                    chan_info: None,
                    data: None,
                    expires_at: UnixSeconds::new(NOON_S + 10),
                    since: None,
                    overrides: Overrides::default(),
                };
                script.wish(client, ClientCommand::Subscribe(wish));
                script.deliver();
                script.pass_s(60);
                assert!(!script.ping(client));
            },
        ),
        Cause::new("it does not read", D::SLOW, true, Reason::Slow, |script, client| {
            script.connect(client, "");
            script.subscribe(client, "a");
            script.io.stop_reading(client.socket);
            let publisher = script.open_connected();
            for _ in 0..10 {
                script.send(publisher, publish(2, "a", &"x".repeat(1_000)));
                script.deliver();
            }
        })
        .where_(|config| config.client.queue_max_size_bytes = 4_096),
        Cause::new(
            "a refresh has other channels than the session",
            D::INSUFFICIENT_STATE,
            true,
            Reason::Disconnected,
            |script, client| {
                let claims = json!({"sub": "ann", "exp": NOON_S + 99, "channels": ["b"]});
                refresh_with(script, client, &claims);
            },
        ),
        Cause::new("it is to return", D::FORCE_RECONNECT, true, Reason::Disconnected, |script, client| {
            ended_by_application(script, client, D::FORCE_RECONNECT);
        }),
        Cause::new("no pong comes", D::NO_PONG, true, Reason::NoPong, |script, client| {
            script.connect(client, "");
            ended(script, client, D::NO_PONG);
        }),
        Cause::new("it goes on", D::TOO_MANY_REQUESTS, true, Reason::Flood, |script, client| {
            script.connect(client, "");
            flood(script, client, 100);
        })
        .where_(|config| config.limits.connection.commands_per_s = 1),
        Cause::new("too much waits", D::TOO_MANY_REQUESTS, true, Reason::Flood, |script, client| {
            script.sessions.policy.parked_bytes_max = 200;
            script.send(client, json!({"id": 1, "connect": {}}));
            flood(script, client, 2);
            script.expect_silence(client);
            flood(script, client, 10);
        })
        .where_(|config| config.client.proxy.connect.enabled = true),
        Cause::new("a forged token", D::INVALID_TOKEN, false, Reason::InvalidToken, |script, client| {
            script.send(client, json!({"id": 1, "connect": {"token": "a.b.c"}}));
        }),
        Cause::new("another user", D::INVALID_TOKEN, false, Reason::InvalidToken, |script, client| {
            refresh_with(script, client, &json!({"sub": "bob", "exp": NOON_S + 99}));
        }),
        Cause::new("another channel", D::INVALID_TOKEN, false, Reason::InvalidToken, |script, client| {
            let token = token(&json!({"channel": "b"}));
            says(script, client, json!({"id": 9, "subscribe": {"channel": "a", "token": token}}));
        }),
        Cause::broken("no JSON", |script, client| script.send_text(client, "{")),
        Cause::broken("no token where one is needed", |script, client| {
            script.sessions.policy.allows_anonymous = false;
            script.send(client, json!({"id": 1, "connect": {}}));
        }),
        Cause::broken("no connect first", |script, client| script.send(client, subscribe(1, "a"))),
        Cause::broken("a second connect", |script, client| {
            says(script, client, json!({"id": 2, "connect": {}}));
        }),
        Cause::broken("no number", |script, client| {
            says(script, client, json!({"subscribe": {"channel": "a"}}));
        }),
        Cause::broken("a subscribe to nothing", |script, client| says(script, client, subscribe(9, ""))),
        Cause::broken("an unsubscribe from nothing", |script, client| {
            says(script, client, json!({"id": 9, "unsubscribe": {}}));
        }),
        Cause::broken("a refresh without a token", |script, client| {
            says(script, client, json!({"id": 9, "refresh": {}}));
        }),
        Cause::broken("a pong that nobody asked for", |script, client| says(script, client, json!({}))),
        Cause::broken("a second pong", |script, client| {
            script.connect(client, "");
            assert!(script.ping(client));
            script.send(client, json!({}));
            script.expect_silence(client);
            script.send(client, json!({}));
        }),
        Cause::new("no connect comes", D::STALE, false, Reason::HandshakeTimeout, |script, client| {
            ended(script, client, D::STALE);
        }),
        Cause::new("it is sent away", D::FORCE_DISCONNECT, false, Reason::Disconnected, |script, client| {
            ended_by_application(script, client, D::FORCE_DISCONNECT);
        }),
        Cause::new("no lease is left", D::CONNECTION_LIMIT, false, Reason::Disconnected, |script, client| {
            let first = script.open();
            script.connect(first, &token(&json!({"sub": "ann"})));
            connect_with(script, client, &json!({"sub": "ann"}));
            script.deliver();
            script.expect_silence(first);
        })
        .where_(|config| config.client.user_connection_limit = 1),
        Cause::new("too many channels", D::CHANNEL_LIMIT, false, Reason::Disconnected, |script, client| {
            connect_with(script, client, &json!({"sub": "ann", "channels": ["a", "b"]}));
        })
        .where_(|config| config.client.channel_limit = 1),
        Cause::new("no user", D::PERMISSION_DENIED, false, Reason::Disconnected, |script, client| {
            connect_with(script, client, &json!({}));
        })
        .where_(|config| config.client.disallow_anonymous_connection_tokens = true),
        Cause::new("nobody listens", D::NOT_AVAILABLE, false, Reason::Disconnected, |script, client| {
            says(script, client, json!({"send": {"data": 1}}));
        }),
    ]
}

fn refusals() -> Vec<Refusal> {
    vec![
        Refusal::new("the backend does not answer", Error::INTERNAL, |script, client| {
            says(script, client, json!({"id": 9, "rpc": {"method": "m"}}));
            let asked = script.asked(Event::Rpc);
            script.backend_failed(asked);
        })
        .where_(|config| config.rpc.without_namespace.is_proxied = true),
        Refusal::new("no such namespace", Error::UNKNOWN_CHANNEL, |script, client| {
            says(script, client, subscribe(9, "nowhere:a"));
        }),
        Refusal::new("it may not subscribe", Error::PERMISSION_DENIED, |script, client| {
            says(script, client, subscribe(9, "a"));
        })
        .where_(|config| config.channel.without_namespace.allow_subscribe_for_anonymous = false),
        Refusal::new("a forged subscription token", Error::PERMISSION_DENIED, |script, client| {
            says(script, client, json!({"id": 9, "subscribe": {"channel": "a", "token": "a.b.c"}}));
        }),
        Refusal::new("a refresh of no subscription", Error::PERMISSION_DENIED, |script, client| {
            says(script, client, json!({"id": 9, "sub_refresh": {"channel": "a", "token": "a.b.c"}}));
        }),
        Refusal::new("no such namespace of methods", Error::METHOD_NOT_FOUND, |script, client| {
            says(script, client, json!({"id": 9, "rpc": {"method": "nowhere:m"}}));
        })
        .where_(|config| config.rpc.without_namespace.is_proxied = true),
        Refusal::new("it is subscribed", Error::ALREADY_SUBSCRIBED, |script, client| {
            script.connect(client, "");
            script.subscribe(client, "a");
            script.send(client, subscribe(9, "a"));
        }),
        Refusal::new("it is being subscribed", Error::ALREADY_SUBSCRIBED, |script, client| {
            script.connect(client, "");
            script.send_frame(client, [subscribe(2, "a"), subscribe(9, "a")]);
        }),
        Refusal::new("it has all channels that it may", Error::LIMIT_EXCEEDED, |script, client| {
            script.connect(client, "");
            script.subscribe(client, "a");
            script.send(client, subscribe(9, "b"));
        })
        .where_(|config| config.client.channel_limit = 1),
        Refusal::new("it publishes nothing", Error::BAD_REQUEST, |script, client| {
            says(script, client, json!({"id": 9, "publish": {"channel": "a"}}));
        }),
        Refusal::new("there is no history", Error::NOT_AVAILABLE, |script, client| {
            says(script, client, json!({"id": 9, "history": {"channel": "a"}}));
        }),
        Refusal::new("it pings", Error::NOT_AVAILABLE, |script, client| {
            says(script, client, json!({"id": 9, "ping": {}}));
        }),
        Refusal::new("its token has expired", Error::TOKEN_EXPIRED, |script, client| {
            connect_with(script, client, &json!({"sub": "ann", "exp": NOON_S - 1}));
        }),
        Refusal::new("its token had to be refreshed", Error::EXPIRED, |script, client| {
            connect_with(script, client, &json!({"sub": "ann", "expire_at": NOON_S - 1}));
        }),
        Refusal::new("commands over the limit", Error::TOO_MANY_REQUESTS, |script, client| {
            script.connect(client, "");
            flood(script, client, 3);
        })
        .where_(|config| config.limits.connection.commands_per_s = 1),
        Refusal::new("it wants all or nothing", Error::UNRECOVERABLE_POSITION, |script, client| {
            let since = json!({"channel": "a", "recoverable": true, "recover": true, "epoch": "x",
                "offset": 7, "flag": 2});
            says(script, client, json!({"id": 9, "subscribe": since}));
            script.deliver();
        })
        .where_(|config| {
            let channels = &mut config.channel.without_namespace;
            (channels.history_publications_max, channels.history_ttl_ms) = (10, 60_000);
            channels.allow_recovery = true;
        }),
    ]
}

/// What a client heard last.
fn last_heard(script: &mut Script, client: Peer) -> Value {
    std::iter::from_fn(|| script.io.hear(client.socket)).last().unwrap_or_default()
}

#[test]
fn every_end_of_a_session_has_its_code_and_its_reason_and_says_whether_to_come_back() {
    for Cause { name, code, reconnects, reason, configure, act } in causes() {
        for is_stream in [false, true] {
            println!("{name}; a stream: {is_stream}");
            let mut script = Script::new(configure);
            let client = if is_stream { script.open_stream() } else { script.open() };
            act(&mut script, client);
            let last = last_heard(&mut script, client);
            if is_stream {
                let mut said = json!({"code": code.code, "reason": code.reason});
                if reconnects {
                    said["reconnect"] = true.into();
                }
                assert_eq!(last, json!({"push": {"disconnect": said}}));
            }
            assert_eq!(Disconnect::reconnects(code.code), reconnects);
            script.expect_end(client, code, reason);
            script.expect_nothing_kept();
        }
    }
}

#[test]
fn every_error_answers_its_command_and_the_session_goes_on() {
    for Refusal { name, code, configure, act } in refusals() {
        println!("{name}");
        let mut script = Script::new(configure);
        let client = script.open();
        act(&mut script, client);
        assert_eq!(last_heard(&mut script, client), error(9, code));
        script.expect_silence(client);
        script.expect_nothing_kept();
    }
}

#[test]
fn no_code_of_the_lists_is_left_out() {
    let (causes, refusals) = (causes(), refusals());
    let is_caused = |code: &&Disconnect| causes.iter().any(|cause| cause.code == **code);
    let others: Vec<_> = Disconnect::ALL.iter().filter(|code| !is_caused(code)).copied().collect();
    assert_eq!(others, DISCONNECTS_OF_NOBODY);
    let is_caused = |code: &&Error| refusals.iter().any(|refusal| refusal.code == **code);
    let others: Vec<_> = Error::ALL.iter().filter(|code| !is_caused(code)).copied().collect();
    assert_eq!(others, ERRORS_OF_NOBODY);
}
