//! Which signatures are accepted.

use jsonwebtoken::jwk::Jwk;
use ring::signature::{
    RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256, RSA_PSS_SHA384, RSA_PSS_SHA512,
};
use serde::Deserialize as _;

use super::*;
use crate::{
    jose::{EcdsaKey, HmacKeys, KeySet, PublicKey, RsaKey},
    value::RegularExpression,
};

/// The claims that RFC 7515 A.1 to A.3 sign, shown in RFC 7519 §3.1.
const RFC_CLAIMS: &str =
    "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";

fn verifies(jwk: &Value, algorithm: &str, header: &str, claims: &str, signature: &str) -> bool {
    let key = PublicKey::from_jwk(&Jwk::deserialize(jwk).unwrap()).unwrap();
    let signature = BASE64URL_NOPAD.decode(signature.as_bytes()).unwrap();
    let message = format!("{header}.{claims}");
    let mut damaged = signature.clone();
    damaged[20] ^= 1;
    let algorithm = algorithm.parse().unwrap();
    assert!(!key.verify(algorithm, message.as_bytes(), &damaged));
    key.verify(algorithm, message.as_bytes(), &signature)
}

#[test]
fn rfc_7515_a_1_hs256_verifies() {
    let secret = BASE64URL_NOPAD
        .decode(b"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow")
        .unwrap();
    let signature = BASE64URL_NOPAD.decode(b"dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk").unwrap();
    let message = format!("eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.{RFC_CLAIMS}");
    let keys = HmacKeys::new(&secret);
    assert!(keys.verify("HS256".parse().unwrap(), message.as_bytes(), &signature));
    assert!(!keys.verify("HS512".parse().unwrap(), message.as_bytes(), &signature));
    assert!(!HmacKeys::new(b"").verify("HS256".parse().unwrap(), message.as_bytes(), &signature));
}

#[test]
fn rfc_7515_a_2_rs256_verifies() {
    let key = json!({"kty": "RSA", "e": "AQAB", "n": concat!(
        "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2l",
        "ZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEM",
        "a2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2P",
        "AcDTW9gb54h4FRWyuXpoQ"
    )});
    let signature = concat!(
        "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9C",
        "UAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6",
        "_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp",
        "0igcN_IoypGlUPQGe77Rw"
    );
    assert!(verifies(&key, "RS256", "eyJhbGciOiJSUzI1NiJ9", RFC_CLAIMS, signature));
}

#[test]
fn rfc_7515_a_3_es256_verifies() {
    let key = json!({
        "kty": "EC",
        "crv": "P-256",
        "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
    });
    let signature = "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
    assert!(verifies(&key, "ES256", "eyJhbGciOiJFUzI1NiJ9", RFC_CLAIMS, signature));
}

#[test]
fn rfc_8037_a_4_eddsa_verifies() {
    let key = json!({"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"});
    let signature = "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
    let claims = "RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc";
    assert!(verifies(&key, "EdDSA", "eyJhbGciOiJFZERTQSJ9", claims, signature));
}

#[test]
fn every_hmac_algorithm_is_accepted_with_the_secret() {
    for (name, algorithm) in
        [("HS256", hmac::HMAC_SHA256), ("HS384", hmac::HMAC_SHA384), ("HS512", hmac::HMAC_SHA512)]
    {
        let header = json!({"alg": name, "typ": "JWT"});
        let token = token(&header, &json!({"sub": "42"}), hmac_sign(algorithm, SECRET.as_bytes()));
        assert_eq!(hmac_verifier().verify_connect(&token, NOW_S).unwrap().user, "42", "{name}");
    }
}

#[test]
fn every_rsa_algorithm_is_accepted_with_the_configured_key() {
    let verifier = verifier(|config| config.rsa_public_key = Some(RSA_PUBLIC.parse().unwrap()));
    let pair = Rsa::load();
    let all: [(&str, &'static dyn RsaEncoding); 6] = [
        ("RS256", &RSA_PKCS1_SHA256),
        ("RS384", &RSA_PKCS1_SHA384),
        ("RS512", &RSA_PKCS1_SHA512),
        ("PS256", &RSA_PSS_SHA256),
        ("PS384", &RSA_PSS_SHA384),
        ("PS512", &RSA_PSS_SHA512),
    ];
    for (name, padding) in all {
        let token = token(&json!({"alg": name}), &json!({"sub": "42"}), pair.sign(padding));
        assert_eq!(verifier.verify_connect(&token, NOW_S).unwrap().user, "42", "{name}");
    }
    let mixed = token(&json!({"alg": "RS512"}), &json!({"sub": "42"}), pair.sign(&RSA_PKCS1_SHA256));
    assert_eq!(verifier.verify_connect(&mixed, NOW_S), Err(TokenError::Signature));
}

#[test]
fn an_ecdsa_signature_is_accepted_with_the_configured_key_and_the_algorithm_of_its_curve() {
    let verifier = verifier(|config| config.ecdsa_public_key = Some(P384_PUBLIC.parse().unwrap()));
    let pair = Ecdsa::load_p384();
    let good = token(&json!({"alg": "ES384"}), &json!({"sub": "42"}), pair.sign());
    assert_eq!(verifier.verify_connect(&good, NOW_S).unwrap().user, "42");
    let mixed = token(&json!({"alg": "ES256"}), &json!({"sub": "42"}), pair.sign());
    assert_eq!(verifier.verify_connect(&mixed, NOW_S), Err(TokenError::Signature));
}

#[test]
fn the_previous_secret_is_accepted_until_its_last_second() {
    let rotating = |until_s| {
        verifier(|config| {
            config.hmac_secret_key = Some("the new secret".parse().unwrap());
            config.hmac_previous_secret_key = Some(SECRET.parse().unwrap());
            config.hmac_previous_secret_key_valid_until_s = until_s;
        })
    };
    let old = signed(&json!({"sub": "42"}));
    assert!(rotating(0).verify_connect(&old, NOW_S).is_ok());
    assert!(rotating(NOW_S).verify_connect(&old, NOW_S).is_ok());
    assert_eq!(rotating(NOW_S - 1).verify_connect(&old, NOW_S), Err(TokenError::Signature));
    let new = hmac_sign(hmac::HMAC_SHA256, b"the new secret");
    let new = token(&json!({"alg": "HS256"}), &json!({"sub": "42"}), new);
    assert!(rotating(NOW_S - 1).verify_connect(&new, NOW_S).is_ok());
}

#[test]
fn a_key_of_the_endpoint_is_chosen_by_its_name() {
    let (rsa, p256, ed25519) = (Rsa::load(), Ecdsa::p256(), Ed25519::generate());
    let verifier = jwks_verifier(
        &json!({"keys": [rsa.jwk("r"), p256.jwk("P-256", "e"), ed25519.jwk("d"), rsa.jwk("e")]}),
    );
    let claims = json!({"sub": "42"});
    let accepted = [
        token(&json!({"alg": "RS256", "kid": "r"}), &claims, rsa.sign(&RSA_PKCS1_SHA256)),
        token(&json!({"alg": "ES256", "kid": "e"}), &claims, p256.sign()),
        token(&json!({"alg": "EdDSA", "kid": "d"}), &claims, ed25519.sign()),
        // RFC 7517 §4.5: keys of different types may share a name.
        token(&json!({"alg": "RS256", "kid": "e"}), &claims, rsa.sign(&RSA_PKCS1_SHA256)),
    ];
    for token in accepted {
        assert_eq!(verifier.verify_connect(&token, NOW_S).unwrap().user, "42");
    }
    let wrong = token(&json!({"alg": "ES256", "kid": "e"}), &claims, Ecdsa::p256().sign());
    assert_eq!(verifier.verify_connect(&wrong, NOW_S), Err(TokenError::Signature));
    let other_family = token(&json!({"alg": "ES256", "kid": "r"}), &claims, p256.sign());
    let refusal = verifier.verify_connect(&other_family, NOW_S).unwrap_err();
    assert!(matches!(refusal, TokenError::AlgorithmWithoutKey { .. }), "{refusal}");
}

#[test]
fn an_unknown_key_is_named_until_it_was_fetched() {
    let rsa = Rsa::load();
    let before = jwks_verifier(&json!({"keys": []}));
    let token =
        token(&json!({"alg": "RS256", "kid": "new"}), &json!({"sub": "42"}), rsa.sign(&RSA_PKCS1_SHA256));
    assert_eq!(before.verify_connect(&token, NOW_S), Err(TokenError::KeyUnknown { kid: "new".into() }));
    let document = json!({"keys": [rsa.jwk("new")]}).to_string();
    let after = before.with_keys(KeySet::parse(document.as_bytes()).unwrap().0);
    assert!(after.verify_connect(&token, NOW_S).is_ok());
    assert!(before.verify_connect(&token, NOW_S).is_err(), "a verifier never changes");
}

#[test]
fn the_algorithm_that_a_key_names_is_its_only_one() {
    let rsa = Rsa::load();
    let mut jwk = rsa.jwk("r");
    jwk["alg"] = json!("RS256");
    let verifier = jwks_verifier(&json!({"keys": [jwk]}));
    let good =
        token(&json!({"alg": "RS256", "kid": "r"}), &json!({"sub": "42"}), rsa.sign(&RSA_PKCS1_SHA256));
    assert!(verifier.verify_connect(&good, NOW_S).is_ok());
    let other = token(&json!({"alg": "PS256", "kid": "r"}), &json!({"sub": "42"}), rsa.sign(&RSA_PSS_SHA256));
    assert!(matches!(verifier.verify_connect(&other, NOW_S), Err(TokenError::AlgorithmWithoutKey { .. })));
}

#[test]
fn keys_that_cannot_verify_are_left_out_and_the_others_stay() {
    let rsa = Rsa::load();
    let mut encryption = rsa.jwk("encryption");
    encryption["use"] = json!("enc");
    let mut nameless = rsa.jwk("x");
    nameless.as_object_mut().unwrap().remove("kid");
    let mut mismatched = rsa.jwk("mismatched");
    mismatched["alg"] = json!("ES256");
    let document = json!({"keys": [
        encryption, nameless, mismatched, 42, {"kty": "oct", "kid": "secret", "k": "AAAA"},
        {"kty": "EC", "crv": "P-521", "kid": "p521", "x": "AAAA", "y": "AAAA"},
        {"kty": "RSA", "kid": "short", "n": "AQAB", "e": "AQAB"},
        {"kty": "EC", "crv": "P-256", "kid": "broken", "x": "!", "y": "AAAA"},
        rsa.jwk("good"),
    ]});
    let (keys, unusable) = KeySet::parse(document.to_string().as_bytes()).unwrap();
    assert_eq!((keys.len(), unusable.len()), (1, 8), "{unusable:?}");
    assert!(KeySet::parse(b"[]").is_err() && KeySet::parse(b"<html>").is_err());
}

#[test]
fn keys_that_no_signature_can_match_are_refused_in_the_configuration() {
    for (what, pem, part) in [
        ("a private key", include_str!("../../../tests/keys/rsa.pem"), "private key"),
        ("a short key", include_str!("../../../tests/keys/rsa1024.pub.pem"), "2048 to 8192 bits"),
        ("another kind of key", P384_PUBLIC, "not an RSA public key"),
        ("no key", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "not an RSA public key"),
        ("no PEM", "key", "not an RSA public key"),
    ] {
        assert!(pem.parse::<RsaKey>().unwrap_err().contains(part), "{what}");
    }
    let p521 = include_str!("../../../tests/keys/p521.pub.pem").parse::<EcdsaKey>();
    assert!(p521.unwrap_err().contains("P-384"));
    assert!(RSA_PUBLIC.parse::<EcdsaKey>().is_err());
}

#[test]
fn why_a_key_is_left_out_is_told() {
    let rsa = Rsa::load();
    let rsa_with = |name: &str, value: Value| {
        let mut jwk = rsa.jwk("k");
        jwk[name] = value;
        jwk
    };
    for (jwk, why) in [
        (json!(42), "it is not a JSON Web Key"),
        (rsa_with("use", json!("enc")), "it is not for signatures (use)"),
        (rsa_with("key_ops", json!(["sign"])), "it is not for verifying (key_ops)"),
        (rsa_with("alg", json!("RSA-OAEP")), "its algorithm (alg) is not supported"),
        (rsa_with("alg", json!("ES256")), "its algorithm (alg) does not match its type"),
        (rsa_with("kid", json!("")), "it has no name (kid)"),
        (rsa_with("n", json!("!")), "its parameters are not base64url"),
        (rsa_with("n", json!("AQAB")), "an RSA key has 2048 to 8192 bits"),
        (rsa_with("n", json!("A".repeat(20) + &"x".repeat(1_400))), "an RSA key has 2048 to 8192 bits"),
        (json!({"kty": "oct", "k": "AAAA"}), "its type (kty) is not RSA, EC or OKP"),
        (json!({"kty": "AKP", "pub": "AAAA"}), "its type (kty) is not RSA, EC or OKP"),
        (
            json!({"kty": "EC", "crv": "P-521", "x": "AAAA", "y": "AAAA"}),
            "its curve is neither P-256 nor P-384",
        ),
        (
            json!({"kty": "EC", "crv": "P-256", "x": "AAAA", "y": "AAAA"}),
            "its curve is neither P-256 nor P-384",
        ),
        (
            json!({"kty": "EC", "crv": "Ed25519", "x": "A".repeat(43), "y": "A".repeat(43)}),
            "its curve is neither P-256 nor P-384",
        ),
        (json!({"kty": "OKP", "crv": "P-256", "x": "AAAA"}), "its curve is not Ed25519"),
        (json!({"kty": "OKP", "crv": "Ed25519", "x": "AAAA"}), "an Ed25519 key has 32 bytes"),
    ] {
        let (keys, unusable) = KeySet::parse(json!({"keys": [jwk]}).to_string().as_bytes()).unwrap();
        assert_eq!(unusable.iter().map(|key| key.why).collect::<Vec<_>>(), [why], "{jwk}");
        assert!(keys.is_empty());
    }
    let verifying = rsa_with("key_ops", json!(["verify"]));
    assert_eq!(KeySet::parse(json!({"keys": [verifying]}).to_string().as_bytes()).unwrap().0.len(), 1);
}

#[test]
fn configured_keys_and_patterns_are_equal_exactly_where_their_texts_are() {
    let (rsa, ecdsa) =
        (|text: &str| text.parse::<RsaKey>().unwrap(), |text: &str| text.parse::<EcdsaKey>().unwrap());
    let pattern = |text: &str| text.parse::<RegularExpression>().unwrap();
    assert!(rsa(RSA_PUBLIC) == rsa(RSA_PUBLIC) && rsa(RSA_PUBLIC) != rsa(&format!("{RSA_PUBLIC}\n")));
    assert!(
        ecdsa(P384_PUBLIC) == ecdsa(P384_PUBLIC) && ecdsa(P384_PUBLIC) != ecdsa(&format!("{P384_PUBLIC}\n"))
    );
    assert!(pattern("^a$") == pattern("^a$") && pattern("^a$") != pattern("^b$"));
}
