//! Key: authorizes calls.
//!
//! In:  the keys of the configuration; a request's head.
//! Out: permission, or the reason to refuse.
//!
//! Keys are compared by their HMAC under a random secret, so that timing reveals neither the content nor the length of
//! a key.

use axum::{
    extract::Query,
    http::{HeaderMap, Uri, header},
};
use ring::{
    hmac::{self, HMAC_SHA256},
    rand::SystemRandom,
};
use serde::Deserialize;

use super::counts::Denial;
use crate::config::HttpApiConfig;

/// All valid keys.
#[derive(Debug)]
pub(super) struct Keys {
    /// True exactly when calls need no key.
    is_open: bool,
    secret: hmac::Key,
    codes: Vec<hmac::Tag>,
}

#[derive(Debug, Deserialize)]
struct InQuery {
    api_key: String,
}

impl Keys {
    /// # Panics
    /// If the kernel provides no random bytes.
    pub(super) fn new(config: &HttpApiConfig) -> Self {
        let secret =
            hmac::Key::generate(HMAC_SHA256, &SystemRandom::new()).expect("the kernel has random bytes");
        let codes = config.keys().map(|key| hmac::sign(&secret, key.as_bytes())).collect();
        Self { is_open: config.insecure, secret, codes }
    }

    /// True exactly when calls need no key.
    pub(super) fn are_not_asked_for(&self) -> bool {
        self.is_open
    }

    /// Checks that the request carries a valid key, in one of the three possible places.
    ///
    /// # Errors
    /// The request carries no key, or an invalid one.
    pub(super) fn check(&self, headers: &HeaderMap, uri: &Uri) -> Result<(), Denial> {
        if self.is_open {
            return Ok(());
        }
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let authorization = text(header::AUTHORIZATION.as_str()).and_then(|value| {
            let (scheme, key) = value.trim().split_once(' ')?;
            scheme.eq_ignore_ascii_case("apikey").then(|| key.trim())
        });
        let query = Query::<InQuery>::try_from_uri(uri).ok();
        let in_query = query.as_ref().map(|Query(query)| query.api_key.as_str());
        let mut denial = Denial::NoKey;
        for key in [text("x-api-key"), authorization, in_query].into_iter().flatten() {
            if self.is_good(key) {
                return Ok(());
            }
            denial = Denial::WrongKey;
        }
        Err(denial)
    }

    fn is_good(&self, key: &str) -> bool {
        // Compares all tags, so that timing does not reveal which one matched.
        let matches = |tag: &hmac::Tag| hmac::verify(&self.secret, key.as_bytes(), tag.as_ref()).is_ok();
        self.codes.iter().fold(false, |found, tag| matches(tag) | found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn keys(set: impl FnOnce(&mut HttpApiConfig)) -> Keys {
        let mut config = Config::default().options.http_api;
        set(&mut config);
        Keys::new(&config)
    }

    fn admits(keys: &Keys, name: &'static str, value: &str, uri: &str) -> bool {
        let headers = HeaderMap::from_iter([(name.parse().unwrap(), value.parse().unwrap())]);
        keys.check(&headers, &uri.parse().unwrap()).is_ok()
    }

    #[test]
    fn a_key_is_taken_from_each_of_the_three_places() {
        let keys = keys(|config| {
            config.key = "one".parse().unwrap();
            config.more_keys = vec!["t wo".parse().unwrap()];
        });
        for (name, value, uri) in [
            ("x-api-key", "one", "/api"),
            ("x-api-key", "t wo", "/api"),
            ("authorization", "apikey one", "/api"),
            ("authorization", "APIKEY t wo", "/api"),
            ("accept", "any", "/api?api_key=one"),
            ("accept", "any", "/api?api_key=t%20wo&x=1"),
        ] {
            assert!(admits(&keys, name, value, uri), "{name} {value} {uri}");
        }
        for (name, value, uri) in [
            ("x-api-key", "on", "/api"),
            ("x-api-key", "", "/api?api_key="),
            ("authorization", "Bearer one", "/api"),
            ("authorization", "one", "/api"),
            ("accept", "any", "/api?apikey=one"),
        ] {
            assert!(!admits(&keys, name, value, uri), "{name} {value} {uri}");
        }
    }

    #[test]
    fn without_a_key_nobody_is_admitted_unless_all_are() {
        assert!(!admits(&keys(|_| ()), "x-api-key", "", "/api"));
        assert!(admits(&keys(|config| config.insecure = true), "accept", "any", "/api"));
    }
}
