//! The claims of a token.

use super::*;
use crate::{
    channel::Overrides,
    time::UnixSeconds,
    token::claims::{ConnectClaims, SubscribeClaims},
};

fn connect(claims: &Value) -> Result<ConnectClaims, TokenError> {
    hmac_verifier().verify_connect(&signed(claims), NOW_S)
}

fn subscribe(claims: &Value) -> Result<SubscribeClaims, TokenError> {
    hmac_verifier().verify_subscribe(&signed(claims), NOW_S)
}

#[test]
fn a_connection_token_says_who_the_client_is() {
    let read = connect(&json!({
        "sub": "42", "iat": NOW_S, "jti": "1", "exp": NOW_S + 60,
        "info": {"name": "Ann"}, "meta": {"role": "admin"}, "channels": ["news", "user:42"],
    }))
    .unwrap();
    assert_eq!((read.user.as_str(), read.expires_at), ("42", UnixSeconds::new(NOW_S + 60)));
    assert_eq!(read.info.unwrap(), &br#"{"name":"Ann"}"#[..]);
    assert_eq!(read.meta.unwrap(), &br#"{"role":"admin"}"#[..]);
    let channels = read.subs.iter().map(|(channel, _)| channel.as_str()).collect::<Vec<_>>();
    assert_eq!(channels, ["news", "user:42"]);
}

#[test]
fn an_empty_token_is_an_anonymous_client_that_never_expires() {
    let nothing =
        ConnectClaims { user: String::new(), expires_at: None, info: None, meta: None, subs: Vec::new() };
    assert_eq!(connect(&json!({})), Ok(nothing.clone()));
    assert_eq!(connect(&json!({"sub": null, "subs": null, "channels": null, "info": null})), Ok(nothing));
}

#[test]
fn info_is_kept_as_it_was_written() {
    let claims = br#"{"sub":"1","info":{ "b":1,  "a":1e2 }}"#;
    let message =
        format!("{}.{}", BASE64URL_NOPAD.encode(br#"{"alg":"HS256"}"#), BASE64URL_NOPAD.encode(claims));
    let signature = hmac_sign(hmac::HMAC_SHA256, SECRET.as_bytes())(message.as_bytes());
    let token = format!("{message}.{}", BASE64URL_NOPAD.encode(&signature));
    let read = hmac_verifier().verify_connect(&token, NOW_S).unwrap();
    assert_eq!(read.info.unwrap(), &br#"{ "b":1,  "a":1e2 }"#[..]);
}

#[test]
fn base64_goes_before_json_and_must_be_base64() {
    let read = connect(&json!({"info": 1, "b64info": "AP8="})).unwrap();
    assert_eq!(read.info.unwrap(), &b"\x00\xff"[..]);
    let bad = connect(&json!({"b64info": "AP8"}));
    assert_eq!(bad, Err(TokenError::ClaimUnreadable("b64info".into())));
    let bad = connect(&json!({"subs": {"a": {"b64data": "?"}}}));
    assert_eq!(bad, Err(TokenError::ClaimUnreadable("b64data".into())));
}

#[test]
fn subs_go_before_channels_and_carry_options() {
    let read = connect(&json!({
        "channels": ["other"],
        "subs": {"news": {
            "info": {"a": 1}, "b64data": "AP8=",
            "override": {
                "presence": {"value": true}, "join_leave": {"value": false}, "force_push_join_leave": {},
                "force_recovery": null, "unknown": {"value": true},
            },
        }},
    }))
    .unwrap();
    let [(channel, options)] = &read.subs[..] else { panic!("{:?}", read.subs) };
    assert_eq!(channel, "news");
    assert_eq!(options.info.as_deref(), Some(&br#"{"a":1}"#[..]));
    assert_eq!(options.data.as_deref(), Some(&b"\x00\xff"[..]));
    let expected = Overrides {
        presence: Some(true),
        join_leave: Some(false),
        force_push_join_leave: Some(false),
        force_positioning: None,
        force_recovery: None,
    };
    assert_eq!(options.overrides, expected);
}

#[test]
fn expire_at_says_when_to_refresh_and_exp_where_there_is_none() {
    let at = |claims: Value| connect(&claims).unwrap().expires_at.map(UnixSeconds::get);
    assert_eq!(at(json!({"exp": NOW_S + 60, "expire_at": NOW_S + 10})), Some(NOW_S + 10));
    assert_eq!(at(json!({"exp": NOW_S + 60, "expire_at": 0})), None);
    assert_eq!(at(json!({"exp": NOW_S + 60, "expire_at": -1})), None);
    assert_eq!(at(json!({"expire_at": NOW_S - 10})), Some(NOW_S - 10));
    assert_eq!(at(json!({"exp": NOW_S as f64 + 60.9})), Some(NOW_S + 60));
}

#[test]
fn a_subscription_token_says_who_may_subscribe_to_what() {
    let read = subscribe(&json!({
        "sub": "42", "channel": "$news", "client": "c1", "exp": NOW_S + 60, "expire_at": 0,
        "info": [1], "data": {"welcome": true}, "override": {"force_recovery": {"value": true}},
    }))
    .unwrap();
    assert_eq!((read.user.as_str(), read.channel.as_str(), read.expires_at), ("42", "$news", None));
    assert_eq!(read.options.info.as_deref(), Some(&b"[1]"[..]));
    assert_eq!(read.options.data.as_deref(), Some(&br#"{"welcome":true}"#[..]));
    assert_eq!(read.options.overrides.force_recovery, Some(true));
    assert_eq!(read.check("$news", "42", "c1"), Ok(()));
    assert_eq!(read.check("$other", "42", "c1"), Err(TokenError::OtherChannel));
    assert_eq!(read.check("$news", "43", "c1"), Err(TokenError::OtherUser));
    assert_eq!(read.check("$news", "42", "c2"), Err(TokenError::OtherClient));
    let for_all = subscribe(&json!({"sub": "42", "channel": "$news"})).unwrap();
    assert_eq!(for_all.check("$news", "42", "c2"), Ok(()));
}

#[test]
fn neither_kind_of_token_does_the_others_work() {
    assert_eq!(connect(&json!({"sub": "42", "channel": "news"})), Err(TokenError::ChannelInConnectToken));
    assert_eq!(subscribe(&json!({"sub": "42"})), Err(TokenError::ChannelMissing));
    assert_eq!(subscribe(&json!({"sub": "42", "channel": ""})), Err(TokenError::ChannelMissing));
    assert!(connect(&json!({"sub": "42", "channel": ""})).is_ok());
}

#[test]
fn a_refresh_is_for_the_same_user() {
    let read = connect(&json!({"sub": "42"})).unwrap();
    assert_eq!((read.check("42"), read.check("43")), (Ok(()), Err(TokenError::OtherUser)));
}

#[test]
fn the_user_is_in_the_claim_that_the_configuration_names() {
    let verifier = verifier(|config| {
        config.hmac_secret_key = Some(SECRET.parse().unwrap());
        config.user_id_claim = "user_id".into();
    });
    let user = |claims: Value| verifier.verify_connect(&signed(&claims), NOW_S).map(|read| read.user);
    assert_eq!(user(json!({"sub": "1", "user_id": "42"})).as_deref(), Ok("42"));
    assert_eq!(user(json!({"user_id": 42})).as_deref(), Ok("42"));
    assert_eq!(user(json!({"sub": "1"})).as_deref(), Ok(""));
    assert_eq!(user(json!({"user_id": {}})), Err(TokenError::ClaimUnreadable("user_id".into())));
}

#[test]
fn a_claim_that_is_there_twice_is_refused() {
    let claims = br#"{"sub":"1","sub":"2"}"#;
    assert!(matches!(
        ConnectClaims::read(claims, None),
        Err(TokenError::NotTheJson { part: Part::Claims, .. })
    ));
}

#[test]
fn subscription_tokens_have_rules_of_their_own_only_where_that_is_switched_on() {
    let mut client = Config::default().options.client;
    client.token.hmac_secret_key = Some("for connections".parse().unwrap());
    client.subscription_token.token.hmac_secret_key = Some(SECRET.parse().unwrap());
    let token = signed(&json!({"sub": "42", "channel": "news"}));
    assert!(Verifier::of_subscriptions(&client).verify_subscribe(&token, NOW_S).is_err());
    client.subscription_token.enabled = true;
    assert!(Verifier::of_subscriptions(&client).verify_subscribe(&token, NOW_S).is_ok());
    assert!(Verifier::of_connections(&client).verify_subscribe(&token, NOW_S).is_err());
}
