//! Connects that wait: for keys, for the backend, for a lease.

use data_encoding::BASE64URL_NOPAD;
use holdfast_protocol::client::{DisconnectCode, ErrorCode};
use ring::{
    rand::SystemRandom,
    signature::{Ed25519KeyPair, KeyPair as _},
};
use serde_json::{Value, json};

use super::{error, subscribe};
use crate::{
    backend::{Event, KeysAre},
    jose::KeySet,
    metrics::CloseReason,
    session::script::{KEYS_ENDPOINT, Peer, Script, token},
};

/// A key of the endpoint, and its name.
struct Signer(Ed25519KeyPair, &'static str);

impl Signer {
    fn new(name: &'static str) -> Self {
        let pair = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        Self(Ed25519KeyPair::from_pkcs8(pair.as_ref()).unwrap(), name)
    }

    fn token(&self, user: &str) -> String {
        let encode = |value: &Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
        let header = encode(&json!({"alg": "EdDSA", "kid": self.1}));
        let message = format!("{header}.{}", encode(&json!({"sub": user})));
        let signature = self.0.sign(message.as_bytes());
        format!("{message}.{}", BASE64URL_NOPAD.encode(signature.as_ref()))
    }

    fn keys(&self) -> KeySet {
        let x = BASE64URL_NOPAD.encode(self.0.public_key().as_ref());
        let key = json!({"kty": "OKP", "crv": "Ed25519", "kid": self.1, "alg": "EdDSA", "x": x});
        KeySet::parse(json!({"keys": [key]}).to_string().as_bytes()).unwrap().0
    }
}

fn script() -> Script {
    Script::new(|config| {
        config.client.token.jwks_public_endpoint = Some(KEYS_ENDPOINT.parse().unwrap());
        config.client.proxy.connect.enabled = true;
    })
}

fn connect(token: &str) -> Value {
    json!({"id": 1, "connect": {"token": token}})
}

#[track_caller]
fn expect_connected(script: &mut Script, peer: Peer) {
    let heard = script.hear(peer);
    assert_eq!((&heard["id"], &heard["connect"]["client"]), (&json!(1), &json!("*")), "{heard}");
    assert!(script.io.is_pinged(peer.socket), "who is connected is pinged");
}

#[test]
fn commands_that_follow_a_connect_wait_until_the_keys_are_there_and_keep_their_order() {
    let (mut script, signer) = (script(), Signer::new("new"));
    let client = script.open();
    script.send_frame(client, [connect(&signer.token("ann")), subscribe(2, "a"), subscribe(3, "b")]);
    script.send(client, subscribe(4, "c"));
    script.send_frame(client, [subscribe(5, "d"), json!({"id": 6, "unsubscribe": {"channel": "d"}})]);
    script.deliver();
    script.expect_silence(client);
    assert!(script.io.is_paused(client.socket) && !script.io.is_pinged(client.socket));
    assert_eq!(script.asked_for_keys(), Some(1));
    script.on_keys(KeysAre::Fetched { keys: signer.keys(), asked: 1 });
    expect_connected(&mut script, client);
    script.expect_silence(client);
    script.deliver();
    for id in 2..=5 {
        script.expect(client, json!({"id": id, "subscribe": {}}));
    }
    script.expect(client, json!({"id": 6, "unsubscribe": {}}));
    script.expect_silence(client);
    assert!(!script.io.is_paused(client.socket));
    assert_eq!(script.holdings().users, 1);
    script.expect_nothing_kept();
}

#[test]
fn a_token_is_refused_only_when_the_endpoint_was_asked_after_it_had_come() {
    let (mut script, signer, other) = (script(), Signer::new("unknown"), Signer::new("known"));
    let client = script.open();
    script.send_frame(client, [connect(&signer.token("ann")), subscribe(2, "a")]);
    assert_eq!(script.asked_for_keys(), Some(1));
    script.on_keys(KeysAre::Fetched { keys: other.keys(), asked: 0 });
    script.on_keys(KeysAre::Fetched { keys: other.keys(), asked: 1 });
    script.expect_silence(client);
    let number = script.asked_for_keys().expect("it is asked anew for the token that still waits");
    script.on_keys(KeysAre::Fetched { keys: other.keys(), asked: number });
    script.deliver();
    script.expect_end(client, DisconnectCode::INVALID_TOKEN, CloseReason::InvalidToken);
    script.expect_nothing_kept();
}

#[test]
fn keys_that_cannot_be_fetched_are_no_fault_of_the_client() {
    let signer = Signer::new("new");
    for news in [KeysAre::Failed { asked: 1 }, KeysAre::FetchedIn { ms: 60_000 }] {
        let mut script = script();
        let client = script.open();
        script.send(client, connect(&signer.token("ann")));
        script.on_keys(news);
        script.expect(client, error(1, ErrorCode::INTERNAL));
        script.expect_silence(client);
        // It tries again.
        script.send(client, connect(&signer.token("ann")));
        script.on_keys(KeysAre::Fetched { keys: signer.keys(), asked: 2 });
        expect_connected(&mut script, client);
        script.expect_nothing_kept();
    }
}

#[test]
fn a_client_waits_for_a_fetch_that_is_soon_and_not_for_an_endpoint_without_keys() {
    let (mut script, signer) = (script(), Signer::new("new"));
    let client = script.open();
    script.send(client, connect(&signer.token("ann")));
    script.on_keys(KeysAre::FetchedIn { ms: 2_000 });
    script.expect_silence(client);
    script.on_keys(KeysAre::Fetched { keys: KeySet::default(), asked: 1 });
    script.expect(client, error(1, ErrorCode::INTERNAL));
    script.expect_silence(client);
    script.expect_nothing_kept();
}

#[test]
fn who_leaves_while_its_keys_are_fetched_leaves_nothing_and_its_place_is_another_ones() {
    let (mut script, signer) = (script(), Signer::new("new"));
    let gone = script.open();
    script.send_frame(gone, [connect(&signer.token("ann")), subscribe(2, "a")]);
    script.leave(gone);
    let next = script.open();
    assert_eq!(next.key.place, gone.key.place);
    script.send(next, connect(&signer.token("bob")));
    script.on_keys(KeysAre::Failed { asked: 1 });
    script.deliver();
    script.expect_silence(next);
    script.on_keys(KeysAre::Fetched { keys: signer.keys(), asked: 2 });
    expect_connected(&mut script, next);
    script.expect_silence(next);
    script.expect_nothing_kept();
}

#[test]
fn the_backend_may_take_its_time_to_say_who_a_client_is() {
    let mut script = script();
    let client = script.open();
    script.send_frame(client, [connect(""), subscribe(2, "a")]);
    let asked = script.asked(Event::Connect);
    script.pass_s(60);
    script.send(client, subscribe(3, "b"));
    script.deliver();
    script.expect_silence(client);
    script.backend_said(asked, &json!({"result": {"user": "ann", "channels": ["news"]}}));
    script.expect_silence(client);
    script.deliver();
    let heard = script.hear(client);
    assert_eq!(heard["connect"]["subs"], json!({"news": {}}), "{heard}");
    script.expect(client, json!({"id": 2, "subscribe": {}}));
    script.expect(client, json!({"id": 3, "subscribe": {}}));
    script.expect_silence(client);
    assert_eq!((script.holdings().subscribers, script.holdings().users), (3, 1));
    script.expect_nothing_kept();
}

#[test]
fn a_connect_that_the_backend_refuses_may_be_made_again_and_what_followed_it_is_out_of_place() {
    let refusal = json!({"error": {"code": 1000, "message": "not now", "temporary": true}});
    let told = json!({"id": 1, "error": {"code": 1000, "message": "not now", "temporary": true}});
    let mut script = script();
    let client = script.open();
    script.send(client, connect(""));
    let asked = script.asked(Event::Connect);
    script.backend_said(asked, &refusal);
    script.expect(client, told.clone());
    script.send(client, connect(""));
    let asked = script.asked(Event::Connect);
    script.backend_said(asked, &json!({"result": {"user": "ann"}}));
    expect_connected(&mut script, client);
    script.expect_silence(client);

    let hasty = script.open();
    script.send_frame(hasty, [connect(""), subscribe(2, "a")]);
    let asked = script.asked(Event::Connect);
    script.backend_said(asked, &refusal);
    script.expect(hasty, told);
    script.expect_end(hasty, DisconnectCode::BAD_REQUEST, CloseReason::ProtocolError);
    script.expect_nothing_kept();
}

#[test]
fn an_answer_counts_once() {
    let mut script = script();
    let client = script.open();
    script.send(client, connect(""));
    let asked = script.asked(Event::Connect);
    script.backend_said(asked, &json!({"result": {"user": "ann"}}));
    expect_connected(&mut script, client);
    script.backend_said(asked, &json!({"disconnect": {"code": 4500, "reason": "go"}}));
    script.deliver();
    script.expect_silence(client);
    script.expect_nothing_kept();
}

#[test]
fn a_user_at_its_limit_may_reconnect_at_once_though_its_first_lease_was_never_told() {
    let mut script = Script::new(|config| config.client.user_connection_limit = 1);
    let ann = token(&json!({"sub": "ann"}));
    let gone = script.open();
    script.send(gone, connect(&ann));
    script.leave(gone);
    let next = script.open();
    script.send(next, connect(&ann));
    script.deliver();
    expect_connected(&mut script, next);
    script.expect_silence(next);
    assert_eq!(script.holdings().quota, 1);
    script.expect_nothing_kept();
}

#[test]
fn who_waits_for_a_lease_and_leaves_gives_it_back() {
    let mut script = Script::new(|config| config.client.user_connection_limit = 1);
    let ann = token(&json!({"sub": "ann"}));
    let gone = script.open();
    script.send_frame(gone, [connect(&ann), subscribe(2, "a")]);
    script.expect_silence(gone);
    script.leave(gone);
    script.deliver();
    assert_eq!(script.holdings().quota, 0);
    let next = script.open();
    script.connect(next, &ann);
    assert_eq!(script.holdings().quota, 1);
    let third = script.open();
    script.send_frame(third, [connect(&ann), subscribe(2, "a")]);
    script.deliver();
    script.expect_end(third, DisconnectCode::CONNECTION_LIMIT, CloseReason::Disconnected);
    script.expect_silence(next);
    script.expect_nothing_kept();
}
