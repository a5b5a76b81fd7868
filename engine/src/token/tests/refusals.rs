//! Refused tokens, with their reasons and codes.

use holdfast_protocol::client::{DisconnectCode, ErrorCode, UnsubscribeCode};
use rand::{Rng as _, SeedableRng as _, rngs::SmallRng};
use ring::signature::RSA_PKCS1_SHA256;

use super::*;

use crate::time::UnixSeconds;

fn refusal(verifier: &Verifier, token: &str) -> TokenError {
    verifier.verify_connect(token, NOW_S).expect_err("must be refused")
}

#[test]
fn an_unsigned_token_is_refused() {
    for alg in ["none", "None", "NONE", ""] {
        let unsigned = token(&json!({"alg": alg}), &json!({"sub": "42"}), |_| Vec::new());
        assert_eq!(
            refusal(&hmac_verifier(), &unsigned),
            TokenError::AlgorithmUnsupported { alg: alg.into() }
        );
    }
    let cut = signed(&json!({"sub": "42"}));
    let cut = &cut[..=cut.rfind('.').unwrap()];
    assert_eq!(refusal(&hmac_verifier(), cut), TokenError::Signature);
}

#[test]
fn a_public_key_is_never_taken_for_a_secret() {
    let verifier = verifier(|config| config.rsa_public_key = Some(RSA_PUBLIC.parse().unwrap()));
    for secret in [RSA_PUBLIC.as_bytes(), RSA_PUBLIC.trim().as_bytes(), &der(RSA_PUBLIC)] {
        let forged =
            token(&json!({"alg": "HS256"}), &json!({"sub": "admin"}), hmac_sign(hmac::HMAC_SHA256, secret));
        assert_eq!(refusal(&verifier, &forged).to_string(), "there is no key for algorithm HS256");
    }
    let rsa = Rsa::load();
    let modulus = BASE64URL_NOPAD.decode(rsa.jwk("r")["n"].as_str().unwrap().as_bytes()).unwrap();
    let forged = token(
        &json!({"alg": "HS256", "kid": "r"}),
        &json!({"sub": "admin"}),
        hmac_sign(hmac::HMAC_SHA256, &modulus),
    );
    let refused = refusal(&jwks_verifier(&json!({"keys": [rsa.jwk("r")]})), &forged);
    assert_eq!(refused.to_string(), "there is no key for algorithm HS256");
}

#[test]
fn without_keys_every_token_is_refused() {
    let nobody = verifier(|_| {});
    assert!(matches!(
        refusal(&nobody, &signed(&json!({"sub": "42"}))),
        TokenError::AlgorithmWithoutKey { .. }
    ));
    let empty = token(&json!({"alg": "HS256"}), &json!({"sub": "42"}), hmac_sign(hmac::HMAC_SHA256, b""));
    assert!(matches!(refusal(&nobody, &empty), TokenError::AlgorithmWithoutKey { .. }));
}

#[test]
fn where_keys_come_from_an_endpoint_the_configured_ones_do_not_count() {
    let verifier = verifier(|config| {
        config.hmac_secret_key = Some(SECRET.parse().unwrap());
        config.rsa_public_key = Some(RSA_PUBLIC.parse().unwrap());
        config.jwks_public_endpoint = Some("https://keys.test/jwks".parse().unwrap());
    });
    assert!(matches!(
        refusal(&verifier, &signed(&json!({"sub": "42"}))),
        TokenError::AlgorithmWithoutKey { .. }
    ));
    let rsa = token(&json!({"alg": "RS256"}), &json!({"sub": "42"}), Rsa::load().sign(&RSA_PKCS1_SHA256));
    assert_eq!(refusal(&verifier, &rsa), TokenError::KeyIdMissing);
    let name = "k".repeat(300);
    let long = token(&json!({"alg": "RS256", "kid": name}), &json!({}), Rsa::load().sign(&RSA_PKCS1_SHA256));
    assert_eq!(refusal(&verifier, &long), TokenError::KeyIdMissing);
}

#[test]
fn keys_in_the_header_are_not_looked_at() {
    let (ours, theirs) = (Rsa::load(), Ecdsa::p256());
    let header =
        json!({"alg": "ES256", "kid": "x", "jwk": theirs.jwk("P-256", "x"), "jku": "http://evil.test/"});
    let forged = token(&header, &json!({"sub": "admin"}), theirs.sign());
    let verifier = jwks_verifier(&json!({"keys": [ours.jwk("r")]}));
    assert_eq!(refusal(&verifier, &forged), TokenError::KeyUnknown { kid: "x".into() });
}

#[test]
fn a_changed_token_is_refused() {
    let good = signed(&json!({"sub": "42"}));
    let [header, claims, signature] = verifier::split(&good).unwrap();
    let admin = BASE64URL_NOPAD.encode(br#"{"sub":"admin"}"#);
    assert_eq!(refusal(&hmac_verifier(), &format!("{header}.{admin}.{signature}")), TokenError::Signature);
    let hs384 = BASE64URL_NOPAD.encode(br#"{"alg":"HS384"}"#);
    assert_eq!(refusal(&hmac_verifier(), &format!("{hs384}.{claims}.{signature}")), TokenError::Signature);
    let other =
        token(&json!({"alg": "HS256"}), &json!({"sub": "42"}), hmac_sign(hmac::HMAC_SHA256, b"guess"));
    assert_eq!(refusal(&hmac_verifier(), &other), TokenError::Signature);
}

#[test]
fn a_truncated_token_is_refused_wherever_it_ends() {
    let good = signed(&json!({"sub": "42"}));
    for length in 0..good.len() {
        refusal(&hmac_verifier(), &good[..length]);
    }
}

#[test]
fn garbage_is_refused_with_the_part_that_is_wrong() {
    let verifier = hmac_verifier();
    assert_eq!(refusal(&verifier, ""), TokenError::NotThreeParts);
    assert_eq!(refusal(&verifier, "a.b"), TokenError::NotThreeParts);
    assert_eq!(refusal(&verifier, "a.b.c.d"), TokenError::NotThreeParts);
    assert_eq!(refusal(&verifier, "é.é.é"), TokenError::NotBase64(Part::Header));
    let header = BASE64URL_NOPAD.encode(br#"{"alg":"HS256"}"#);
    assert_eq!(refusal(&verifier, &format!("{header}.e30.é")), TokenError::NotBase64(Part::Signature));
    let padded = signed(&json!({"sub": "42"})) + "=";
    assert_eq!(refusal(&verifier, &padded), TokenError::NotBase64(Part::Signature));
    for header in ["[]", "{}", "42", "\"HS256\"", r#"{"alg":1}"#, "{\"alg\":\"HS256\"", "\u{0}"] {
        let bad = format!("{}.e30.e30", BASE64URL_NOPAD.encode(header.as_bytes()));
        assert!(
            matches!(refusal(&verifier, &bad), TokenError::NotTheJson { part: Part::Header, .. }),
            "{header}"
        );
    }
    for claims in
        [json!([]), json!("x"), json!({"exp": "soon"}), json!({"sub": 42}), json!({"aud": {"a": 1}})]
    {
        let refused = refusal(&verifier, &signed(&claims));
        assert!(matches!(refused, TokenError::NotTheJson { part: Part::Claims, .. }), "{claims}");
    }
}

#[test]
fn random_bytes_never_panic() {
    use rand::{Rng as _, SeedableRng as _, rngs::SmallRng};
    let seed = rand::random();
    println!("seed {seed}");
    let mut random = SmallRng::seed_from_u64(seed);
    let good = signed(&json!({"sub": "42", "exp": NOW_S + 60, "info": {"a": [1]}}));
    for _ in 0..2_000 {
        let mut bytes = good.clone().into_bytes();
        for _ in 0..random.random_range(1..4) {
            let at = random.random_range(0..bytes.len());
            bytes[at] = random.random_range(0..128);
        }
        let changed = String::from_utf8(bytes).unwrap();
        assert!(changed == good || hmac_verifier().verify_connect(&changed, NOW_S).is_err(), "{changed}");
    }
}

#[test]
fn a_token_of_more_than_64_kib_is_not_looked_at() {
    let huge = signed(&json!({"sub": "42", "info": "x".repeat(TOKEN_BYTES_MAX)}));
    assert_eq!(refusal(&hmac_verifier(), &huge), TokenError::TooLong { bytes: huge.len() });
    // 53,000 bytes in base64.
    let large = signed(&json!({"sub": "42", "info": "x".repeat(40_000)}));
    assert!(hmac_verifier().verify_connect(&large, NOW_S).is_ok());
}

#[test]
fn an_extension_that_must_be_understood_is_refused() {
    let header = json!({"alg": "HS256", "crit": ["b64"], "b64": false});
    let token = token(&header, &json!({"sub": "42"}), hmac_sign(hmac::HMAC_SHA256, SECRET.as_bytes()));
    assert_eq!(refusal(&hmac_verifier(), &token), TokenError::CriticalHeader);
}

#[test]
fn the_audience_must_be_the_configured_one() {
    let exactly = verifier(|config| {
        config.hmac_secret_key = Some(SECRET.parse().unwrap());
        config.audience = "chat".into();
    });
    for good in [json!("chat"), json!(["mail", "chat"])] {
        assert!(exactly.verify_connect(&signed(&json!({"aud": good})), NOW_S).is_ok());
    }
    for bad in [json!("chat2"), json!(""), json!(["mail"]), json!([]), json!(null)] {
        assert_eq!(refusal(&exactly, &signed(&json!({"aud": bad}))), TokenError::Audience);
    }
    let matching = verifier(|config| {
        config.hmac_secret_key = Some(SECRET.parse().unwrap());
        config.audience_regex = Some("^chat-[0-9]+$".parse().unwrap());
    });
    assert!(matching.verify_connect(&signed(&json!({"aud": ["x", "chat-7"]})), NOW_S).is_ok());
    assert_eq!(refusal(&matching, &signed(&json!({"aud": "my-chat-7"}))), TokenError::Audience);
    assert_eq!(refusal(&matching, &signed(&json!({}))), TokenError::Audience);
}

#[test]
fn the_issuer_must_be_the_configured_one() {
    let exactly = verifier(|config| {
        config.hmac_secret_key = Some(SECRET.parse().unwrap());
        config.issuer = "https://id.test/".into();
    });
    assert!(exactly.verify_connect(&signed(&json!({"iss": "https://id.test/"})), NOW_S).is_ok());
    for bad in [json!("https://id.test"), json!(""), json!(null)] {
        assert_eq!(refusal(&exactly, &signed(&json!({"iss": bad}))), TokenError::Issuer);
    }
    let matching = verifier(|config| {
        config.hmac_secret_key = Some(SECRET.parse().unwrap());
        config.issuer_regex = Some("^https://(id|login)[.]test/$".parse().unwrap());
    });
    assert!(matching.verify_connect(&signed(&json!({"iss": "https://login.test/"})), NOW_S).is_ok());
    assert_eq!(refusal(&matching, &signed(&json!({"iss": "https://evil.test/"}))), TokenError::Issuer);
}

#[test]
fn a_token_is_valid_from_nbf_until_exp() {
    let verifier = hmac_verifier();
    let at = |claims: Value| verifier.verify_connect(&signed(&claims), NOW_S);
    assert!(at(json!({"exp": NOW_S + 1, "nbf": NOW_S})).is_ok());
    assert_eq!(at(json!({"exp": NOW_S})), Err(TokenError::Expired { exp_s: NOW_S, now_s: NOW_S }));
    assert_eq!(
        at(json!({"nbf": NOW_S + 1})),
        Err(TokenError::NotYetValid { nbf_s: NOW_S + 1, now_s: NOW_S })
    );
    // Only `exp` decides whether a token is accepted, regardless of `expire_at`.
    assert!(at(json!({"exp": 1, "expire_at": 0})).is_err());
    for exp in [json!(0), json!(-5), json!(-1.5e300), json!(1.5)] {
        assert!(matches!(at(json!({"exp": exp})), Err(TokenError::Expired { .. })), "{exp}");
    }
    for exp in [json!(1.0e300), json!(u64::MAX), json!(NOW_S as f64 + 1.5)] {
        assert!(at(json!({"exp": exp})).is_ok(), "{exp}");
    }
}

/// A number as a token may contain it, with its meaning: seconds, truncated and clamped to 64 bits.
fn any_time(random: &mut SmallRng) -> (String, u64) {
    let near = |random: &mut SmallRng, at: u64| {
        let by = random.random_range(0..100);
        if random.random() { at.saturating_add(by) } else { at.saturating_sub(by) }
    };
    match random.random_range(0..6) {
        0 => {
            let at = near(random, u64::MAX);
            (at.to_string(), at)
        }
        1 => {
            let at = near(random, NOW_S);
            (at.to_string(), at)
        }
        2 => (format!("-{}", random.random::<u64>()), 0),
        3 => (format!("{}e{}", random.random_range(1..10), random.random_range(20..300)), u64::MAX),
        4 => (format!("{}{}", u64::MAX, random.random_range(0..1000)), u64::MAX),
        _ => {
            let at = near(random, NOW_S);
            (format!("{at}.{}", random.random_range(1..100)), at)
        }
    }
}

#[test]
fn no_time_of_a_token_wraps_whatever_number_it_is() {
    let seed = rand::random();
    println!("seed {seed}");
    let mut random = SmallRng::seed_from_u64(seed);
    let verifier = hmac_verifier();
    for _ in 0..3_000 {
        let [(exp, exp_s), (nbf, nbf_s), (expire_at, expire_at_s), (iat, _)] =
            std::array::from_fn(|_| any_time(&mut random));
        let text = format!(r#"{{"exp":{exp},"nbf":{nbf},"expire_at":{expire_at},"iat":{iat}}}"#);
        let expected = if exp_s <= NOW_S {
            Err(TokenError::Expired { exp_s, now_s: NOW_S })
        } else if nbf_s > NOW_S {
            Err(TokenError::NotYetValid { nbf_s, now_s: NOW_S })
        } else {
            Ok(Some(expire_at_s).filter(|&at_s| at_s > 0))
        };
        let token = signed_text(&text);
        let read =
            verifier.verify_connect(&token, NOW_S).map(|claims| claims.expires_at.map(UnixSeconds::get));
        assert_eq!(read, expected, "{text}");
    }
    for claim in ["exp", "nbf", "expire_at"] {
        for value in ["\"1\"", "true", "[1]", "{}", "\"9999999999\""] {
            let token = signed_text(&format!(r#"{{"{claim}":{value}}}"#));
            let error = verifier.verify_connect(&token, NOW_S).expect_err("must be refused");
            assert!(matches!(error, TokenError::NotTheJson { .. }), "{claim} {value}: {error}");
            assert_eq!(error.verdict(TokenUse::Connect), Verdict::Disconnect(DisconnectCode::INVALID_TOKEN));
        }
    }
}

#[test]
fn a_forged_token_is_a_forgery_even_if_it_has_expired() {
    let forged = token(&json!({"alg": "HS256"}), &json!({"exp": 1}), hmac_sign(hmac::HMAC_SHA256, b"guess"));
    assert_eq!(refusal(&hmac_verifier(), &forged), TokenError::Signature);
}

#[test]
fn codes_are_those_that_sdks_understand() {
    use TokenUse::{Connect, Refresh, SubRefresh, Subscribe};
    let expired = TokenError::Expired { exp_s: 1, now_s: 2 };
    assert_eq!(expired.verdict(Connect), Verdict::Error(ErrorCode::TOKEN_EXPIRED));
    assert_eq!(expired.verdict(Subscribe), Verdict::Error(ErrorCode::TOKEN_EXPIRED));
    assert_eq!(expired.verdict(Refresh), Verdict::Disconnect(DisconnectCode::EXPIRED));
    assert_eq!(expired.verdict(SubRefresh), Verdict::Unsubscribe(UnsubscribeCode::EXPIRED));
    for carried_by in [Connect, Refresh, SubRefresh] {
        let verdict = TokenError::Signature.verdict(carried_by);
        assert_eq!(verdict, Verdict::Disconnect(DisconnectCode::INVALID_TOKEN));
    }
    assert_eq!(TokenError::Signature.verdict(Subscribe), Verdict::Error(ErrorCode::PERMISSION_DENIED));
    assert_eq!(TokenError::OtherUser.verdict(Subscribe), Verdict::Disconnect(DisconnectCode::INVALID_TOKEN));
}

#[test]
fn a_reason_never_repeats_the_token_or_what_it_says() {
    let claims = json!({"sub": "hunter2", "exp": "hunter2", "info": "hunter2"});
    for token in [signed(&claims), signed(&claims) + "x", signed(&json!({"aud": 7, "sub": "hunter2"}))] {
        let reason = refusal(&hmac_verifier(), &token);
        let reason = format!("{reason} {reason:?}");
        let part = verifier::split(&token).unwrap()[1];
        assert!(!reason.contains("hunter2") && !reason.contains(part), "{reason}");
    }
    let all = format!(
        "{:?} {:?}",
        hmac_verifier(),
        config(|config| config.hmac_secret_key = Some(SECRET.parse().unwrap()))
    );
    assert!(!all.contains(SECRET), "{all}");
}
