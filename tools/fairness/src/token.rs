//! Token: what clients connect with.

use data_encoding::BASE64URL_NOPAD;
use ring::hmac;
use serde_json::{Value, json};

/// The daemon's `client.token.hmac_secret_key`.
pub const SECRET: &str = "a secret of the fairness table";

/// A good token of a user.
#[must_use]
pub fn good(user: &str) -> String {
    of(&json!({ "sub": user }))
}

/// A token with these claims.
#[must_use]
pub fn of(claims: &Value) -> String {
    signed(claims, SECRET)
}

/// A token that is well-formed, and signed with another key.
pub(crate) fn forged(user: &str) -> String {
    signed(&json!({ "sub": user }), "another secret")
}

fn signed(claims: &Value, secret: &str) -> String {
    let part = |json: &str| BASE64URL_NOPAD.encode(json.as_bytes());
    let text = format!("{}.{}", part(r#"{"alg":"HS256","typ":"JWT"}"#), part(&claims.to_string()));
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()), text.as_bytes());
    format!("{text}.{}", BASE64URL_NOPAD.encode(tag.as_ref()))
}
