//! JWKS: keys that come from an identity provider, under a running daemon.
//!
//! In:  a key set that changes; tokens signed with its keys.
//! Out: sessions for those who hold a token of a published key.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use data_encoding::BASE64URL_NOPAD;
use holdfast_testkit::{
    Daemon,
    app::{App, Reply},
    client::Client,
    eventually,
};
use ring::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use serde_json::{Value, json};

/// A key of the identity provider.
struct Key {
    kid: &'static str,
    pair: EcdsaKeyPair,
}

impl Key {
    fn new(kid: &'static str) -> Self {
        let random = SystemRandom::new();
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random);
        let document = document.expect("a key can be made");
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref(), &random);
        Self { kid, pair: pair.expect("it is one") }
    }

    /// As the endpoint publishes it.
    fn jwk(&self) -> Value {
        // SEC 1 §2.3.3: 0x04, x, y.
        let point = &self.pair.public_key().as_ref()[1..];
        let [x, y] = [&point[..32], &point[32..]].map(|part| BASE64URL_NOPAD.encode(part));
        json!({ "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": self.kid, "x": x, "y": y })
    }

    fn token(&self, claims: &Value) -> String {
        let part = |json: &Value| BASE64URL_NOPAD.encode(json.to_string().as_bytes());
        let header = json!({ "alg": "ES256", "typ": "JWT", "kid": self.kid });
        let signed = format!("{}.{}", part(&header), part(claims));
        let signature = self.pair.sign(&SystemRandom::new(), signed.as_bytes()).expect("it can sign");
        format!("{signed}.{}", BASE64URL_NOPAD.encode(signature.as_ref()))
    }

    fn connect(&self, user: &str) -> Value {
        json!({ "token": self.token(&json!({ "sub": user })) })
    }
}

fn publish(app: &App, keys: &[&Key]) {
    app.answer("/jwks", &json!({ "keys": keys.iter().map(|key| key.jwk()).collect::<Vec<_>>() }));
}

fn daemon(app: &App) -> Daemon {
    Daemon::start(&format!("[client.token]\njwks_public_endpoint = '{}'\n", app.url("/jwks")))
}

#[test]
fn a_new_key_is_fetched_when_a_token_names_it_and_the_endpoint_is_asked_once_for_all() {
    let (old, new, forged) = (Key::new("old"), Key::new("new"), Key::new("forged"));
    let app = App::start();
    publish(&app, &[&old]);
    let daemon = daemon(&app);
    let (mut client, _) = Client::connect_with(&daemon, &old.connect("ann"));
    assert_eq!(app.asked("/jwks").len(), 1, "at the start");

    // Rotation, ten seconds later: until then nobody can make the daemon ask again, and nobody is turned away for it.
    publish(&app, &[&old, &new]);
    eventually("the new key is fetched", || {
        let mut client = Client::open(&daemon, "");
        let reply = client.ask("connect", &new.connect("bob"));
        let error = &reply["error"];
        assert!(error.is_null() || error["code"] == 100, "{reply}");
        error.is_null()
    });
    assert_eq!(app.asked("/jwks").len(), 2);
    // Every core has the new key, for every kind of command.
    for _ in 0..8 {
        Client::connect_with(&daemon, &new.connect("bob"));
    }
    client.command("refresh", &new.connect("ann"));
    let claims = json!({ "sub": "ann", "channel": "$a" });
    client.command("subscribe", &json!({ "channel": "$a", "token": new.token(&claims) }));
    // What names a key that is not there is refused, once the endpoint was asked for it.
    let claims = json!({ "sub": "ann", "channel": "$b" });
    let request = json!({ "channel": "$b", "token": forged.token(&claims) });
    let mut code = 100;
    eventually("the endpoint is asked for it", || {
        code = client.error("subscribe", &request);
        code != 100
    });
    assert_eq!(code, 103);
    assert_eq!(app.asked("/jwks").len(), 3);
    assert_eq!(client.error("subscribe", &request), 100, "it may be there by now");
    daemon.stop();
}

#[test]
fn who_names_keys_at_random_does_not_choose_how_often_is_asked_nor_keep_anybody_out() {
    let [old, first, second, forged] = ["old", "first", "second", "forged"].map(Key::new);
    let app = App::start();
    publish(&app, &[&old]);
    let daemon = daemon(&app);
    Client::connect_with(&daemon, &old.connect("ann"));
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let attackers = [0, 1].map(|_| {
            scope.spawn(|| {
                let mut refused = 0;
                while !is_over.load(Ordering::Relaxed) {
                    let mut client = Client::open(&daemon, "");
                    client.send(&[("connect", forged.connect("eve"))]);
                    refused += u32::from(client.next_or_close().err() == Some(3500));
                    thread::sleep(Duration::from_millis(5));
                }
                refused
            })
        });
        // Two rotations under attack.
        for (keys, new) in [([&old, &first], &first), ([&first, &second], &second)] {
            publish(&app, &keys);
            eventually("the new key is known", || {
                let mut client = Client::open(&daemon, "");
                let reply = client.ask("connect", &new.connect("bob"));
                assert!(reply["error"].is_null() || reply["error"]["code"] == 100, "{reply}");
                reply["error"].is_null()
            });
        }
        is_over.store(true, Ordering::Relaxed);
        let refused: u32 = attackers.map(|attacker| attacker.join().expect("it ends")).iter().sum();
        assert!(refused > 0, "who waited for the answer is refused");
    });
    let times = app.asked("/jwks");
    let pauses: Vec<_> = times.windows(2).map(|pair| pair[1].at.duration_since(pair[0].at)).collect();
    // The endpoint's own clock is not ours.
    assert!(pauses.iter().all(|pause| *pause > Duration::from_millis(9_500)), "{pauses:?}");
    daemon.stop();
}

#[test]
fn keys_that_cannot_be_renewed_end_and_so_does_a_key_that_was_withdrawn() {
    let (kept, withdrawn) = (Key::new("kept"), Key::new("withdrawn"));
    let app = App::start();
    publish(&app, &[&kept, &withdrawn]);
    let options = "jwks_refresh_interval = '10s'\njwks_age_limit = '15s'";
    let daemon =
        Daemon::start(&format!("[client.token]\njwks_public_endpoint = '{}'\n{options}\n", app.url("/jwks")));
    Client::connect_with(&daemon, &withdrawn.connect("ann"));
    publish(&app, &[&kept]);
    let answer = |key: &Key| {
        let mut client = Client::open(&daemon, "");
        client.send(&[("connect", key.connect("ann"))]);
        client.next_or_end().map(|reply| reply["error"]["code"].as_u64())
    };
    eventually("the withdrawn key is refused, though no token named an unknown one", || {
        answer(&withdrawn) != Ok(None)
    });
    assert_eq!(answer(&kept), Ok(None));
    app.answer("/jwks", &json!("down"));
    eventually("no token is believed", || answer(&kept) == Ok(Some(100)));
    publish(&app, &[&kept]);
    eventually("keys have come back", || answer(&kept) == Ok(None));
    daemon.stop();
}

#[test]
fn a_command_that_waits_for_keys_counts_once_against_the_limits() {
    let key = Key::new("a");
    let app = App::start();
    let body = json!({ "keys": [key.jwk()] }).to_string();
    app.answer_with("/jwks", Reply { status: 200, body, after: Duration::from_millis(300) });
    let daemon = Daemon::start(&format!(
        "[client.token]\njwks_public_endpoint = '{}'\n[limits.connection]\ncommands_per_second = 1\n\
         [limits.user]\ncommands_per_second = 1",
        app.url("/jwks")
    ));
    // It comes while the keys are fetched for the first time.
    let reply = Client::open(&daemon, "").ask("connect", &key.connect("ann"));
    assert!(reply.get("connect").is_some(), "{reply}");
    let throttled = ["connection_commands", "user_commands"]
        .map(|limit| daemon.metric("holdfast_throttled_commands_total", &[("limit", limit)]));
    assert_eq!(throttled, [0, 0]);
    daemon.stop();
}

#[test]
fn until_keys_have_come_clients_are_told_to_try_again() {
    let key = Key::new("a");
    let app = App::start();
    let daemon = daemon(&app);
    let mut client = Client::open(&daemon, "");
    let refused = client.ask("connect", &key.connect("ann"))["error"].take();
    assert_eq!((&refused["code"], &refused["temporary"]), (&json!(100), &json!(true)));
    publish(&app, &[&key]);
    eventually("keys have come", || {
        let mut client = Client::open(&daemon, "");
        client.ask("connect", &key.connect("ann")).get("connect").is_some()
    });
    daemon.stop();
}
