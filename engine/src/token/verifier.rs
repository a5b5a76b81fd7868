//! Verifier: checks that a token is genuine, meant for us, and valid now.
//!
//! In:  a token; the time in Unix seconds.
//! Out: its claims, or the first fault found.
//!
//! The order of checks: length, form, algorithm, key, signature, audience and issuer, time, and then the other claims.
//! No I/O, no clock. A verifier is immutable: new keys need a new verifier.

use std::sync::Arc;

use data_encoding::BASE64URL_NOPAD;
use jsonwebtoken::{Algorithm, AlgorithmFamily};
use serde::{
    Deserialize,
    de::{DeserializeOwned, IgnoredAny},
};

use super::{
    TOKEN_BYTES_MAX,
    claims::{self, Common, ConnectClaims, SubscribeClaims},
    error::{Part, TokenError},
};
use crate::{
    config::{ClientConfig, Secret, TokenConfig},
    jose::{HmacKeys, KeySet, PublicKey},
    value::{HttpUrl, RegularExpression, object::Object},
};

/// The longest key name that is accepted.
const KEY_ID_BYTES_MAX: usize = 256;

/// Maximum length of an unknown algorithm's name in messages.
const ALGORITHM_NAME_CHARS_MAX: usize = 16;

/// Verifies tokens of one kind. Clones share their data.
#[derive(Debug, Clone)]
pub(crate) struct Verifier {
    rules: Arc<Rules>,
    /// The keys of the last JWKS response; initially empty.
    fetched: KeySet,
}

#[derive(Debug)]
struct Rules {
    keys: Keys,
    audience: Expected,
    issuer: Expected,
    user_claim: Option<String>,
}

/// The verifiers of client tokens.
#[derive(Debug, Clone)]
pub(crate) struct TokenPolicy {
    pub(crate) connect: Verifier,
    pub(crate) subscribe: Verifier,
}

impl From<&ClientConfig> for TokenPolicy {
    fn from(client: &ClientConfig) -> Self {
        Self { connect: Verifier::of_connections(client), subscribe: Verifier::of_subscriptions(client) }
    }
}

/// The source of keys. As in Centrifugo, an endpoint disables the configured keys.
#[derive(Debug)]
enum Keys {
    Configured(Box<Configured>),
    Fetched(HttpUrl),
    /// For development: signatures are not checked.
    Unchecked,
}

#[derive(Debug)]
struct Configured {
    hmac: Option<HmacKeys>,
    previous_hmac: Option<Previous>,
    public: Vec<PublicKey>,
}

#[derive(Debug)]
struct Previous {
    keys: HmacKeys,
    /// The last second in which the keys are valid; `None`: no end.
    valid_until_s: Option<u64>,
}

/// The required value of a claim.
#[derive(Debug)]
enum Expected {
    Anything,
    Exactly(String),
    Matching(RegularExpression),
}

/// RFC 7515 §4.1. Other header fields are ignored; in particular, no key is ever taken from a header.
#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    crit: Option<IgnoredAny>,
}

/// The signature and the signed content.
struct Signed<'a> {
    algorithm: Algorithm,
    message: &'a [u8],
    signature: Vec<u8>,
}

impl Verifier {
    /// Verifies the tokens of `connect` and `refresh`.
    pub(crate) fn of_connections(client: &ClientConfig) -> Self {
        Self::of(&client.token, client)
    }

    fn of(config: &TokenConfig, client: &ClientConfig) -> Self {
        let mut verifier = Self::new(config);
        if client.skips_token_signatures
            && let Some(rules) = Arc::get_mut(&mut verifier.rules)
        {
            rules.keys = Keys::Unchecked;
        }
        verifier
    }

    /// Verifies the tokens of `subscribe` and `sub_refresh`. It is the same verifier as for connections, unless the
    /// configuration has a section for them.
    pub(crate) fn of_subscriptions(client: &ClientConfig) -> Self {
        if client.subscription_token.enabled {
            Self::of(&client.subscription_token.token, client)
        } else {
            Self::of_connections(client)
        }
    }

    /// Uses the keys and conditions of one section.
    pub(crate) fn new(config: &TokenConfig) -> Self {
        let keys = match &config.jwks_public_endpoint {
            Some(endpoint) => Keys::Fetched(endpoint.clone()),
            None => Keys::Configured(Box::new(Configured::new(config))),
        };
        let rules = Rules {
            keys,
            audience: Expected::new(&config.audience, config.audience_regex.as_ref()),
            issuer: Expected::new(&config.issuer, config.issuer_regex.as_ref()),
            user_claim: Some(config.user_id_claim.clone()).filter(|claim| !claim.is_empty()),
        };
        Self { rules: Arc::new(rules), fetched: KeySet::default() }
    }

    /// The same conditions with newly fetched keys.
    #[must_use]
    pub(crate) fn with_keys(&self, keys: KeySet) -> Self {
        Self { rules: Arc::clone(&self.rules), fetched: keys }
    }

    /// The JWKS endpoint, if there is one. Until its keys are fetched, every token is [`TokenError::KeyUnknown`].
    pub(crate) fn jwks_endpoint(&self) -> Option<&HttpUrl> {
        match &self.rules.keys {
            Keys::Fetched(endpoint) => Some(endpoint),
            Keys::Configured(_) | Keys::Unchecked => None,
        }
    }

    /// False exactly when keys come from an endpoint and none have been fetched: a refusal then says nothing about the
    /// token.
    pub(crate) fn has_keys(&self) -> bool {
        !matches!(self.rules.keys, Keys::Fetched(_)) || !self.fetched.is_empty()
    }

    /// Verifies a connection token and returns its claims.
    ///
    /// # Errors
    /// The first error found.
    pub(crate) fn verify_connect(&self, token: &str, now_s: u64) -> Result<ConnectClaims, TokenError> {
        ConnectClaims::read(&self.signed(token, now_s)?, self.rules.user_claim.as_deref())
    }

    /// Verifies a subscription token and returns its claims.
    ///
    /// # Errors
    /// The first error found.
    pub(crate) fn verify_subscribe(&self, token: &str, now_s: u64) -> Result<SubscribeClaims, TokenError> {
        SubscribeClaims::read(&self.signed(token, now_s)?, self.rules.user_claim.as_deref())
    }

    /// Returns the signed claims of a token that is genuine, meant for us, and valid now.
    fn signed(&self, token: &str, now_s: u64) -> Result<Vec<u8>, TokenError> {
        let [header, claims, signature] = split(token)?;
        // RFC 7515 §5.1: the signature covers both parts in their encoded form.
        let message = &token.as_bytes()[..header.len() + 1 + claims.len()];
        let header: Header = json(Part::Header, &decode(Part::Header, header)?)?;
        if header.crit.is_some() {
            return Err(TokenError::CriticalHeader);
        }
        let algorithm = header.alg.parse::<Algorithm>().map_err(|_| {
            let alg = header.alg.chars().take(ALGORITHM_NAME_CHARS_MAX).collect();
            TokenError::AlgorithmUnsupported { alg }
        })?;
        let signed = Signed { algorithm, message, signature: decode(Part::Signature, signature)? };
        match &self.rules.keys {
            Keys::Configured(keys) => keys.verify(&signed, now_s)?,
            Keys::Fetched(_) => verify_fetched(&self.fetched, header.kid, &signed)?,
            Keys::Unchecked => {}
        }
        let claims = decode(Part::Claims, claims)?;
        self.rules.check(&json(Part::Claims, &claims)?, now_s)?;
        Ok(claims)
    }
}

impl Configured {
    fn new(config: &TokenConfig) -> Self {
        let hmac = |secret: &Secret| HmacKeys::new(secret.expose().as_bytes());
        let valid_until_s = Some(config.hmac_previous_secret_key_valid_until_s).filter(|&s| s != 0);
        let rsa = config.rsa_public_key.iter().map(|key| key.key.clone());
        let ecdsa = config.ecdsa_public_key.iter().map(|key| key.key.clone());
        Self {
            hmac: config.hmac_secret_key.as_ref().map(hmac),
            previous_hmac: config
                .hmac_previous_secret_key
                .as_ref()
                .map(|secret| Previous { keys: hmac(secret), valid_until_s }),
            public: rsa.chain(ecdsa).collect(),
        }
    }

    fn verify(&self, signed: &Signed<'_>, now_s: u64) -> Result<(), TokenError> {
        if signed.algorithm.family() == AlgorithmFamily::Hmac {
            let previous = self.previous_hmac.iter().filter(|previous| previous.holds(now_s));
            let secrets = self.hmac.iter().chain(previous.map(|previous| &previous.keys));
            signed.check(secrets, HmacKeys::verify)
        } else {
            signed.check(self.public.iter().filter(|key| key.serves(signed.algorithm)), PublicKey::verify)
        }
    }
}

impl Previous {
    fn holds(&self, now_s: u64) -> bool {
        self.valid_until_s.is_none_or(|until_s| now_s <= until_s)
    }
}

fn verify_fetched(keys: &KeySet, kid: Option<String>, signed: &Signed<'_>) -> Result<(), TokenError> {
    // Fetched keys are never HMAC secrets: another fetch would not help.
    if signed.algorithm.family() == AlgorithmFamily::Hmac {
        return Err(TokenError::AlgorithmWithoutKey { alg: signed.algorithm });
    }
    let kid =
        kid.filter(|kid| (1..=KEY_ID_BYTES_MAX).contains(&kid.len())).ok_or(TokenError::KeyIdMissing)?;
    let Some(keys) = keys.get(&kid) else { return Err(TokenError::KeyUnknown { kid }) };
    signed.check(keys.iter().filter(|key| key.serves(signed.algorithm)), PublicKey::verify)
}

impl Signed<'_> {
    /// One matching key is enough. Having no candidate at all is a separate error: the algorithm is wrong.
    fn check<'k, K: 'k>(
        &self,
        keys: impl Iterator<Item = &'k K>,
        verify: impl Fn(&K, Algorithm, &[u8], &[u8]) -> bool,
    ) -> Result<(), TokenError> {
        let mut keys = keys.peekable();
        if keys.peek().is_none() {
            return Err(TokenError::AlgorithmWithoutKey { alg: self.algorithm });
        }
        if keys.any(|key| verify(key, self.algorithm, self.message, &self.signature)) {
            Ok(())
        } else {
            Err(TokenError::Signature)
        }
    }
}

impl Rules {
    fn check(&self, claims: &Common, now_s: u64) -> Result<(), TokenError> {
        if !self.audience.holds(claims.audience()) {
            return Err(TokenError::Audience);
        }
        if !self.issuer.holds(claims.issuer()) {
            return Err(TokenError::Issuer);
        }
        claims.check_time(now_s)
    }
}

impl Expected {
    fn new(exactly: &str, matching: Option<&RegularExpression>) -> Self {
        match matching {
            Some(pattern) => Self::Matching(pattern.clone()),
            None if exactly.is_empty() => Self::Anything,
            None => Self::Exactly(exactly.to_owned()),
        }
    }

    /// RFC 7519 §4.1.3: one of several audiences is enough.
    fn holds(&self, mut claims: impl Iterator<Item = impl AsRef<str>>) -> bool {
        match self {
            Self::Anything => true,
            Self::Exactly(text) => claims.any(|claim| claim.as_ref() == text),
            Self::Matching(pattern) => claims.any(|claim| pattern.is_match(claim.as_ref())),
        }
    }
}

/// Splits a token into header, claims and signature, still encoded.
pub(super) fn split(token: &str) -> Result<[&str; 3], TokenError> {
    if token.len() > TOKEN_BYTES_MAX {
        return Err(TokenError::TooLong { bytes: token.len() });
    }
    let mut parts = token.split('.');
    match [parts.next(), parts.next(), parts.next(), parts.next()] {
        [Some(header), Some(claims), Some(signature), None] => Ok([header, claims, signature]),
        _ => Err(TokenError::NotThreeParts),
    }
}

pub(super) fn decode(part: Part, text: &str) -> Result<Vec<u8>, TokenError> {
    BASE64URL_NOPAD.decode(text.as_bytes()).map_err(|_| TokenError::NotBase64(part))
}

fn json<T: DeserializeOwned>(part: Part, text: &[u8]) -> Result<T, TokenError> {
    let read = serde_json::from_slice(text).map_err(|error| claims::unreadable(part, &error));
    read.map(|Object(read)| read)
}

/// Returns the content of a token without checking its signature.
///
/// # Errors
/// The text is not a JSON Web Token.
pub(crate) fn unverified(token: &str) -> Result<serde_json::Map<String, serde_json::Value>, TokenError> {
    let [_, claims, _] = split(token)?;
    let content = decode(Part::Claims, claims)?;
    serde_json::from_slice(&content).map_err(|error| claims::unreadable(Part::Claims, &error))
}
