//! JWKS: keys that come from an identity provider, under a running daemon.
//!
//! In:  a key set that changes; tokens signed with its keys.
//! Out: sessions for those who hold a token of a published key.

use data_encoding::BASE64URL_NOPAD;
use ring::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use serde_json::{Value, json};

use crate::{
    app::App,
    client::Client,
    support::{Daemon, eventually},
};

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

    // Rotation, ten seconds later: until then nobody can make the daemon ask again.
    publish(&app, &[&old, &new]);
    eventually("the new key is fetched", || {
        let mut client = Client::open(&daemon, "");
        client.send(&[("connect", new.connect("bob")), ("subscribe", json!({ "channel": "a" }))]);
        client.next_or_close().is_ok()
    });
    assert_eq!(app.asked("/jwks").len(), 2);
    let mut waiting: Vec<_> = (0..16).map(|_| Client::open(&daemon, "")).collect();
    for client in &mut waiting {
        client.send(&[("connect", forged.connect("eve"))]);
    }
    for client in waiting {
        assert_eq!(client.expect_close().0, 3500);
    }
    assert_eq!(app.asked("/jwks").len(), 2, "forgers do not choose how often it is asked");
    // Every core has the new key, for every kind of command.
    for _ in 0..8 {
        Client::connect_with(&daemon, &new.connect("bob"));
    }
    client.command("refresh", &new.connect("ann"));
    let claims = json!({ "sub": "ann", "channel": "$a" });
    client.command("subscribe", &json!({ "channel": "$a", "token": new.token(&claims) }));
    let claims = json!({ "sub": "ann", "channel": "$b" });
    assert_eq!(client.error("subscribe", &json!({ "channel": "$b", "token": forged.token(&claims) })), 103);
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
