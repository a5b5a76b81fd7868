//! Token: a client's identity and rights, from a JSON Web Token (RFC 7519).
//!
//! In:  a client's token; the time; the keys, from the configuration or a JWKS endpoint.
//! Out: the claims of a connection or a subscription; or an error, whose `verdict` chooses the answer.
//!
//! The flow: `verifier` splits and checks the token, with configured keys or with keys that `jwks` fetched. Then
//! `claims` parses the signed content. `issue` signs.
//!
//! A shard only verifies: it never fetches a key, and never blocks. No secret and no token is ever printed or logged,
//! except the token that `holdfast token gen` creates. Claims are parsed only after the signature is verified.

mod claims;
mod error;
#[cfg(test)]
mod fetching;
pub(crate) mod issue;
pub(crate) mod jwks;
#[cfg(test)]
mod tests;
mod verifier;

pub(crate) use claims::SubscribeOptions;
pub(crate) use claims::{RawOptions, either};
pub(crate) use error::{Part, TokenError, TokenUse, Verdict};
pub(crate) use verifier::Verifier;
pub(crate) use verifier::{TokenPolicy, unverified};

/// The maximum token size.
///
/// Worst case: about as much again for the decoded parts, during verification.
pub(crate) const TOKEN_BYTES_MAX: usize = 64 * 1024;
