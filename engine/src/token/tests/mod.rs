//! Tokens as clients may send them: valid ones of every algorithm, and every kind of refused ones.

mod claims;
mod refusals;
mod signatures;

use std::sync::OnceLock;

use data_encoding::{BASE64, BASE64URL_NOPAD};
use ring::{
    hmac,
    rand::SystemRandom,
    rsa::PublicKeyComponents,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
        KeyPair as _, RsaEncoding, RsaKeyPair,
    },
};
use serde_json::{Value, json};

use super::*;
use crate::{
    config::{Config, TokenConfig},
    jose::KeySet,
};

/// The time at which all tokens are verified.
pub(super) const NOW_S: u64 = 1_800_000_000;
pub(super) const SECRET: &str = "a secret of more than thirty-two bytes";
pub(super) const RSA_PUBLIC: &str = include_str!("../../../tests/keys/rsa.pub.pem");
pub(super) const P384_PUBLIC: &str = include_str!("../../../tests/keys/p384.pub.pem");

/// The default configuration, with a change.
pub(super) fn config(change: impl FnOnce(&mut TokenConfig)) -> TokenConfig {
    static DEFAULT: OnceLock<TokenConfig> = OnceLock::new();
    let mut config = DEFAULT.get_or_init(|| Config::default().options.client.token).clone();
    change(&mut config);
    config
}

/// A verifier with a changed configuration.
pub(super) fn verifier(change: impl FnOnce(&mut TokenConfig)) -> Verifier {
    Verifier::new(&config(change))
}

/// A verifier with the HMAC secret.
pub(super) fn hmac_verifier() -> Verifier {
    verifier(|config| config.hmac_secret_key = Some(SECRET.parse().unwrap()))
}

/// A verifier that has fetched this key set.
pub(super) fn jwks_verifier(document: &Value) -> Verifier {
    let verifier =
        verifier(|config| config.jwks_public_endpoint = Some("http://keys.test/jwks".parse().unwrap()));
    verifier.with_keys(KeySet::parse(document.to_string().as_bytes()).unwrap().0)
}

/// A token with any header, claims and signature.
pub(super) fn token(header: &Value, claims: &Value, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> String {
    let encode = |value: &Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
    let message = format!("{}.{}", encode(header), encode(claims));
    let signature = sign(message.as_bytes());
    format!("{message}.{}", BASE64URL_NOPAD.encode(&signature))
}

pub(super) fn hmac_sign(algorithm: hmac::Algorithm, secret: &[u8]) -> impl FnOnce(&[u8]) -> Vec<u8> {
    move |message| hmac::sign(&hmac::Key::new(algorithm, secret), message).as_ref().to_vec()
}

/// A token with these claims, as literal text.
pub(super) fn signed_text(claims: &str) -> String {
    let message = format!(
        "{}.{}",
        BASE64URL_NOPAD.encode(br#"{"alg":"HS256"}"#),
        BASE64URL_NOPAD.encode(claims.as_bytes())
    );
    let signature = hmac_sign(hmac::HMAC_SHA256, SECRET.as_bytes())(message.as_bytes());
    format!("{message}.{}", BASE64URL_NOPAD.encode(&signature))
}

/// A token with these claims, signed with the HMAC secret.
pub(super) fn signed(claims: &Value) -> String {
    token(&json!({"alg": "HS256"}), claims, hmac_sign(hmac::HMAC_SHA256, SECRET.as_bytes()))
}

pub(super) struct Rsa(RsaKeyPair);

impl Rsa {
    pub(super) fn load() -> Self {
        Self(RsaKeyPair::from_pkcs8(&der(include_str!("../../../tests/keys/rsa.pem"))).unwrap())
    }

    pub(super) fn sign(&self, padding: &'static dyn RsaEncoding) -> impl FnOnce(&[u8]) -> Vec<u8> {
        move |message| {
            let mut signature = vec![0; self.0.public().modulus_len()];
            self.0.sign(padding, &SystemRandom::new(), message, &mut signature).unwrap();
            signature
        }
    }

    pub(super) fn jwk(&self, kid: &str) -> Value {
        let PublicKeyComponents { n, e } = PublicKeyComponents::<Vec<u8>>::from(self.0.public());
        json!({"kty": "RSA", "kid": kid, "use": "sig", "n": BASE64URL_NOPAD.encode(&n), "e": BASE64URL_NOPAD.encode(&e)})
    }
}

pub(super) struct Ecdsa(EcdsaKeyPair);

impl Ecdsa {
    pub(super) fn p256() -> Self {
        let random = SystemRandom::new();
        let pair = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        Self(EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pair.as_ref(), &random).unwrap())
    }

    pub(super) fn load_p384() -> Self {
        let pair = der(include_str!("../../../tests/keys/p384.pem"));
        let random = SystemRandom::new();
        Self(EcdsaKeyPair::from_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, &pair, &random).unwrap())
    }

    pub(super) fn sign(&self) -> impl FnOnce(&[u8]) -> Vec<u8> {
        |message| self.0.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec()
    }

    pub(super) fn jwk(&self, curve: &str, kid: &str) -> Value {
        let (x, y) = self.0.public_key().as_ref()[1..].split_at(self.0.public_key().as_ref().len() / 2);
        json!({"kty": "EC", "crv": curve, "kid": kid, "x": BASE64URL_NOPAD.encode(x), "y": BASE64URL_NOPAD.encode(y)})
    }
}

pub(super) struct Ed25519(Ed25519KeyPair);

impl Ed25519 {
    pub(super) fn generate() -> Self {
        let pair = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        Self(Ed25519KeyPair::from_pkcs8(pair.as_ref()).unwrap())
    }

    pub(super) fn sign(&self) -> impl FnOnce(&[u8]) -> Vec<u8> {
        |message| self.0.sign(message).as_ref().to_vec()
    }

    pub(super) fn jwk(&self, kid: &str) -> Value {
        let x = BASE64URL_NOPAD.encode(self.0.public_key().as_ref());
        json!({"kty": "OKP", "crv": "Ed25519", "kid": kid, "alg": "EdDSA", "x": x})
    }
}

fn der(pem: &str) -> Vec<u8> {
    let body = pem.lines().filter(|line| !line.starts_with('-')).collect::<String>();
    BASE64.decode(body.as_bytes()).unwrap()
}
