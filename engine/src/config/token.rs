//! Token options: the keys and conditions under which a token is accepted.
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
    /// Tokens (JSON Web Tokens) with which clients connect, and subscribe unless `client.subscription_token` is
    /// enabled. The daemon accepts a token if one of the keys verifies its signature and its audience and issuer
    /// match.
    pub(crate) struct TokenConfig {
        /// Secret for HS256, HS384 and HS512. Anyone who knows it can make tokens, so use 32 random bytes or more. If
        /// empty, such tokens are refused.
        "hmac_secret_key" => pub hmac_secret_key: Option<Secret>
            = parsed("text", "text", "").optional().secret();
        /// The previous secret, which is still accepted beside the current one, so that you can replace the secret
        /// without ending sessions. If empty, there is none.
        "hmac_previous_secret_key" => pub hmac_previous_secret_key: Option<Secret>
            = parsed("text", "text", "").optional().secret();
        /// Last second at which the previous secret is accepted, as Unix time. 0 means always.
        "hmac_previous_secret_key_valid_until" => pub hmac_previous_secret_key_valid_until_s: u64
            = integer(0, 0, 253_402_300_799);
        /// Public key for RS256, RS384, RS512, PS256, PS384 and PS512, as PEM, of at least 2,048 bits. If empty, such
        /// tokens are refused.
        "rsa_public_key" => pub rsa_public_key: Option<RsaKey>
            = parsed("PEM", "an RSA public key in PEM, which begins with -----BEGIN PUBLIC KEY-----", "").optional();
        /// Public key for ES256 (curve P-256) or ES384 (curve P-384), as PEM. If empty, such tokens are refused.
        "ecdsa_public_key" => pub ecdsa_public_key: Option<EcdsaKey>
            = parsed("PEM", "an ECDSA public key in PEM, which begins with -----BEGIN PUBLIC KEY-----", "").optional();
        /// URL of a JSON Web Key Set (RFC 7517) with RSA, EC and Ed25519 keys. If set, it replaces the four keys
        /// above. The daemon fetches the keys at the start, every `jwks_refresh_interval`, and when a token names an
        /// unknown key, but at most every 10 seconds. Until the key is known, the client waits or is told to try
        /// again. The daemon follows no redirects. Use `https`: otherwise anyone who can change the answer on its way
        /// can make tokens. If empty, there is none.
        /// Worst case: 1 MiB, the longest key set that is read.
        "jwks_public_endpoint" => pub jwks_public_endpoint: Option<HttpUrl>
            = address("an address that begins with https:// or http://").optional();
        /// How often the daemon fetches the keys. A shorter `Cache-Control: max-age` of the endpoint is obeyed, down
        /// to one minute. While the endpoint answers, a withdrawn key stays valid for at most this time.
        "jwks_refresh_interval" => pub jwks_refresh_interval_ms: u64 = duration("1h", "10s", "24h");
        /// How long keys stay valid while the endpoint does not answer. After that, clients with tokens are told to
        /// try again. Must be at least `jwks_refresh_interval`. A withdrawn key stays valid for at most this time.
        "jwks_age_limit" => pub jwks_age_limit_ms: u64 = duration("24h", "10s", "8760h");
        /// Value that the claim `aud` must be or contain. If empty, any audience is accepted.
        "audience" => pub audience: String = text("");
        /// Regular expression that one value of `aud` must match. Excludes `audience`. If empty, any audience is
        /// accepted.
        "audience_regex" => pub audience_regex: Option<RegularExpression>
            = parsed("regular expression", "a regular expression; ^ and $ anchor it", "").optional();
        /// Value that the claim `iss` must have. If empty, any issuer is accepted.
        "issuer" => pub issuer: String = text("");
        /// Regular expression that `iss` must match. Excludes `issuer`. If empty, any issuer is accepted.
        "issuer_regex" => pub issuer_regex: Option<RegularExpression>
            = parsed("regular expression", "a regular expression; ^ and $ anchor it", "").optional();
        /// Name of the claim that holds the user id, a text or a number. If empty, `sub`.
        "user_id_claim" => pub user_id_claim: String
            = text("").also("only the letters a to z, A to Z and _", |name: &String| {
                name.bytes().all(|b| b.is_ascii_alphabetic() || b == b'_')
            });
    }

    /// The switch of `client.subscription_token`.
    struct Switch {
        /// Uses the keys and conditions of this section for subscription tokens. Otherwise those of `client.token`
        /// apply to them too.
        "enabled" => enabled: bool = boolean(false);
    }
}

/// Keys and conditions of subscription tokens.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SubscriptionTokenConfig {
    /// True exactly when they replace those of connection tokens.
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
    /// True exactly when there is a key, or a source of keys, to verify signatures with.
    pub(super) fn has_key(&self) -> bool {
        self.hmac_secret_key.is_some()
            || self.hmac_previous_secret_key.is_some()
            || self.rsa_public_key.is_some()
            || self.ecdsa_public_key.is_some()
            || self.jwks_public_endpoint.is_some()
    }
}

/// Checks the conditions between the options of the section at `path`.
pub(super) fn check(token: &TokenConfig, path: &str, problems: &mut Problems) {
    let pairs = [
        ("audience", !token.audience.is_empty() && token.audience_regex.is_some()),
        ("issuer", !token.issuer.is_empty() && token.issuer_regex.is_some()),
    ];
    for (name, _) in pairs.into_iter().filter(|(_, both)| *both) {
        problems.refuse(
            &format!("{path}.{name}_regex"),
            format!("it is set together with {path}.{name}"),
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
