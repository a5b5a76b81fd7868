//! Token options: with which keys, and under which conditions, a token is accepted.
//!
//! Out: `client.token`, and `client.subscription_token`, which has the same options and a switch.
//!
//! Names and meanings are those of Centrifugo v6.

use serde_json::Value;

use super::{
    Secret,
    definition::{Field, Section, section},
    kinds::{address, boolean, duration, integer, parsed, text},
    problem::Problems,
};
use crate::{
    jose::{EcdsaKey, RsaKey},
    value::{HttpUrl, RegularExpression},
};

section! {
    /// Tokens (JSON Web Tokens) with which clients connect, and subscribe unless `client.subscription_token` is enabled.
    /// A token is accepted when one of the keys matches its signature, and the conditions on audience and issuer hold.
    pub struct TokenConfig {
        /// Secret for HS256, HS384 and HS512. Whoever knows it can make tokens: 32 random bytes or more. Empty: no such
        /// token is accepted.
        "hmac_secret_key" => pub hmac_secret_key: Option<Secret>
            = parsed("text", "text", "").optional().secret();
        /// The secret before the present one, which is accepted beside it, so that a change of the secret ends no one's
        /// session. Empty: there is none.
        "hmac_previous_secret_key" => pub hmac_previous_secret_key: Option<Secret>
            = parsed("text", "text", "").optional().secret();
        /// The last second, since 1970, in which the previous secret is accepted; 0 means that it always is.
        "hmac_previous_secret_key_valid_until" => pub hmac_previous_secret_key_valid_until_s: u64
            = integer(0, 0, 253_402_300_799);
        /// Public key for RS256, RS384, RS512, PS256, PS384 and PS512, as PEM, of 2,048 bits or more. Empty: no such token
        /// is accepted.
        "rsa_public_key" => pub rsa_public_key: Option<RsaKey>
            = parsed("PEM", "an RSA public key, from -----BEGIN PUBLIC KEY----- on", "").optional();
        /// Public key for ES256 (curve P-256) or ES384 (curve P-384), as PEM. Empty: no such token is accepted.
        "ecdsa_public_key" => pub ecdsa_public_key: Option<EcdsaKey>
            = parsed("PEM", "an ECDSA public key, from -----BEGIN PUBLIC KEY----- on", "").optional();
        /// Address of a JSON Web Key Set (RFC 7517) with RSA, EC and Ed25519 keys, which are fetched at the start, after
        /// `jwks_refresh_interval`, and when a token names a key that is not known, but at most every 10 seconds: until
        /// then such a token waits, or its client is told to try again. Where it is set, the four keys above are not used.
        /// Redirects are not followed. Without `https` whoever can change the answer on its way can make tokens. Empty:
        /// there is none.
        /// Worst case: 1 MiB, the longest key set that is read.
        "jwks_public_endpoint" => pub jwks_public_endpoint: Option<HttpUrl>
            = address("an address that begins with https:// or http://").optional();
        /// After how long keys are fetched again. Sooner where the endpoint says so (`Cache-Control: max-age`), but then not
        /// within a minute. A key that was withdrawn is refused after at most this time while the endpoint answers.
        "jwks_refresh_interval" => pub jwks_refresh_interval_ms: u64 = duration("1h", "10s", "24h");
        /// How long keys are believed while the endpoint does not answer; from then on clients with tokens are told to try
        /// again. At least `jwks_refresh_interval`. A key that was withdrawn is refused after at most this time.
        "jwks_age_limit" => pub jwks_age_limit_ms: u64 = duration("24h", "10s", "8760h");
        /// What the claim `aud` must be, or contain. Empty: anything is accepted.
        "audience" => pub audience: String = text("");
        /// A regular expression that some `aud` must match. Excludes `audience`. Empty: anything is accepted.
        "audience_regex" => pub audience_regex: Option<RegularExpression>
            = parsed("regular expression", "a regular expression; ^ and $ bind it to the ends", "").optional();
        /// What the claim `iss` must be. Empty: anything is accepted.
        "issuer" => pub issuer: String = text("");
        /// A regular expression that `iss` must match. Excludes `issuer`. Empty: anything is accepted.
        "issuer_regex" => pub issuer_regex: Option<RegularExpression>
            = parsed("regular expression", "a regular expression; ^ and $ bind it to the ends", "").optional();
        /// The claim that holds the user's id, a text or a number. Empty: `sub`.
        "user_id_claim" => pub user_id_claim: String
            = text("").also("of the letters a to z, A to Z and _", |name: &String| {
                name.bytes().all(|b| b.is_ascii_alphabetic() || b == b'_')
            });
    }

    /// The switch of `client.subscription_token`.
    struct Switch {
        /// True exactly when subscription tokens have keys and conditions of their own, these; else those of
        /// `client.token` hold for them too.
        "enabled" => enabled: bool = boolean(false);
    }
}

/// Keys and conditions of subscription tokens.
#[derive(Debug, Clone, PartialEq)]
pub struct SubscriptionTokenConfig {
    /// Whether they differ from those of connection tokens.
    pub enabled: bool,
    /// The keys and conditions.
    pub token: TokenConfig,
}

impl Section for SubscriptionTokenConfig {
    const ABOUT: &'static str = "Tokens with which clients subscribe, where they are not to be accepted like those with \
                                 which clients connect. All keys and conditions are then set here.";

    fn fields() -> Vec<Field> {
        Switch::fields().into_iter().chain(TokenConfig::fields()).collect()
    }

    fn read(table: &Value, path: &str, problems: &mut Problems) -> Option<Self> {
        let switch = Switch::read(table, path, problems);
        let token = TokenConfig::read(table, path, problems);
        Some(Self { enabled: switch?.enabled, token: token? })
    }
}

impl TokenConfig {
    /// True exactly when there is something to check signatures with.
    pub(super) fn has_key(&self) -> bool {
        self.hmac_secret_key.is_some()
            || self.hmac_previous_secret_key.is_some()
            || self.rsa_public_key.is_some()
            || self.ecdsa_public_key.is_some()
            || self.jwks_public_endpoint.is_some()
    }
}

/// Conditions between the options of the section at `path`.
pub(super) fn check(token: &TokenConfig, path: &str, problems: &mut Problems) {
    let pairs = [
        ("audience", !token.audience.is_empty() && token.audience_regex.is_some()),
        ("issuer", !token.issuer.is_empty() && token.issuer_regex.is_some()),
    ];
    for (name, _) in pairs.into_iter().filter(|(_, both)| *both) {
        problems.refuse(
            &format!("{path}.{name}_regex"),
            format!("found together with {path}.{name}"),
            "one of the two",
        );
    }
    if token.jwks_age_limit_ms < token.jwks_refresh_interval_ms {
        problems.refuse(
            &format!("{path}.jwks_age_limit"),
            format!("found {} ms", token.jwks_age_limit_ms),
            format!("at least {path}.jwks_refresh_interval, which is {} ms", token.jwks_refresh_interval_ms),
        );
    }
}
