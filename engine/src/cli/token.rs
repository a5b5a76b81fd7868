//! Token: `holdfast token gen`, `sub` and `check`.
//!
//! In:  the flags, the configuration, the time in Unix seconds.
//! Out: a token, or a token's content, as text for standard output; or a sentence with the reason why not.
//!
//! A new token is also checked: no token is issued that the daemon would refuse. No secret is printed.

use std::fmt::Write as _;

use anyhow::{Context as _, anyhow, bail};
use serde_json::{Map, Value, json};

use super::{TokenCheck, TokenClaims, TokenGen, TokenSub};
use crate::{
    config::{ClientConfig, TokenConfig},
    http_client::HttpClient,
    token::{TokenError, Verifier, issue, jwks, unverified},
};

const INFALLIBLE: &str = "writing to a String cannot fail";

/// A connection token.
///
/// # Errors
/// The configuration has no HMAC secret, or would refuse the token.
pub(crate) fn generate(args: &TokenGen, client: &ClientConfig, now_s: u64) -> anyhow::Result<String> {
    let mut own = Map::new();
    if !args.channels.is_empty() {
        own.insert("channels".into(), json!(args.channels));
    }
    if let Some(meta) = &args.meta {
        own.insert("meta".into(), meta.clone());
    }
    let token = make(&args.claims, own, ("client.token", &client.token), now_s)?;
    Verifier::of_connections(client).verify_connect(&token, now_s).map_err(unfit)?;
    Ok(token + "\n")
}

/// A subscription token.
///
/// # Errors
/// As for [`generate`].
pub(crate) fn generate_subscription(
    args: &TokenSub,
    client: &ClientConfig,
    now_s: u64,
) -> anyhow::Result<String> {
    let mut own = Map::new();
    own.insert("channel".into(), json!(args.channel));
    if let Some(only) = &args.client {
        own.insert("client".into(), json!(only));
    }
    let section = if client.subscription_token.enabled {
        ("client.subscription_token", &client.subscription_token.token)
    } else {
        ("client.token", &client.token)
    };
    let token = make(&args.claims, own, section, now_s)?;
    Verifier::of_subscriptions(client).verify_subscribe(&token, now_s).map_err(unfit)?;
    Ok(token + "\n")
}

/// The content of a token, if it is accepted. Keys of a JWKS endpoint are fetched.
///
/// # Errors
/// Why the token is refused, or why there are no keys.
pub(crate) fn check(args: &TokenCheck, client: &ClientConfig, now_s: u64) -> anyhow::Result<String> {
    let token = args.token.trim();
    let claims = unverified(token).map_err(refused)?;
    // The rules must be chosen before the token is verified; a false claim here only makes verification fail.
    let is_subscription = claims.get("channel").and_then(Value::as_str).is_some_and(|name| !name.is_empty());
    let verifier = with_fetched_keys(if is_subscription {
        Verifier::of_subscriptions(client)
    } else {
        Verifier::of_connections(client)
    })?;
    let (kind, user, expires_at) = if is_subscription {
        let read = verifier.verify_subscribe(token, now_s).map_err(refused)?;
        ("subscription", read.user, read.expires_at)
    } else {
        let read = verifier.verify_connect(token, now_s).map_err(refused)?;
        ("connection", read.user, read.expires_at)
    };
    let mut out = format!("ok: a {kind} token");
    match user.as_str() {
        "" => out.push_str(" of an anonymous user"),
        user => write!(out, " of the user {user:?}").expect(INFALLIBLE),
    }
    match expires_at.map(|at| at.get().checked_sub(now_s)) {
        None => out.push_str(", which never has to be refreshed"),
        Some(Some(left_s)) => write!(out, ", to be refreshed within {left_s} s").expect(INFALLIBLE),
        Some(None) => out.push_str(", to be refreshed at once: expire_at has passed"),
    }
    writeln!(out, "\n{:#}", Value::Object(claims)).expect(INFALLIBLE);
    Ok(out)
}

/// Creates a token with the claims of the flags, and those that the section at `path` requires.
fn make(
    args: &TokenClaims,
    own: Map<String, Value>,
    (path, config): (&str, &TokenConfig),
    now_s: u64,
) -> anyhow::Result<String> {
    if config.jwks_public_endpoint.is_some() {
        bail!("{path}.jwks_public_endpoint verifies the tokens, so only its owner can make one");
    }
    let Some(secret) = &config.hmac_secret_key else {
        bail!("{path}.hmac_secret_key is not set, and this command makes tokens only with that secret");
    };
    let mut claims = Map::new();
    claims.insert("sub".into(), json!(args.user));
    claims.insert("iat".into(), json!(now_s));
    if args.ttl_ms > 0 {
        claims.insert("exp".into(), json!(now_s.saturating_add(args.ttl_ms.div_ceil(1000))));
    }
    for (name, given, configured) in
        [("aud", &args.audience, &config.audience), ("iss", &args.issuer, &config.issuer)]
    {
        if let Some(value) = given.as_ref().or(Some(configured).filter(|value| !value.is_empty())) {
            claims.insert(name.into(), json!(value));
        }
    }
    if let Some(info) = &args.info {
        claims.insert("info".into(), info.clone());
    }
    claims.extend(own);
    if !config.user_id_claim.is_empty() {
        claims.insert(config.user_id_claim.clone(), json!(args.user));
    }
    Ok(issue::issue(&Value::Object(claims), secret.expose().as_bytes()))
}

fn with_fetched_keys(verifier: Verifier) -> anyhow::Result<Verifier> {
    let Some(endpoint) = verifier.jwks_endpoint() else { return Ok(verifier) };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the HTTP client that fetches the keys")?;
    let fetched = runtime.block_on(jwks::fetch(&HttpClient::new(), endpoint))?;
    Ok(verifier.with_keys(fetched.keys))
}

fn refused(error: TokenError) -> anyhow::Error {
    anyhow!(error).context("the token is refused")
}

fn unfit(error: TokenError) -> anyhow::Error {
    match error {
        TokenError::Audience => anyhow!("the configuration requires an audience; give one with --audience"),
        TokenError::Issuer => anyhow!("the configuration requires an issuer; give one with --issuer"),
        error => anyhow!(error).context("the configuration would refuse the token"),
    }
}
