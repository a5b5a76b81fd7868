//! Issue: signs tokens, for `holdfast token gen` and `holdfast sub`, and for tests.
//!
//! In:  claims; the configured HMAC secret.
//! Out: the token (HS256).
//!
//! The daemon itself never issues a token: the application's backend does.

use data_encoding::BASE64URL_NOPAD;
use ring::hmac;
use serde_json::{Value, json};

/// RFC 7515 §3.1, with HMAC-SHA-256.
pub(crate) fn issue(claims: &Value, secret: &[u8]) -> String {
    let encode = |value: &Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
    let message = format!("{}.{}", encode(&json!({"alg": "HS256", "typ": "JWT"})), encode(claims));
    let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), message.as_bytes());
    format!("{message}.{}", BASE64URL_NOPAD.encode(signature.as_ref()))
}
