//! Token: a client's identity and rights, from a JSON Web Token (RFC 7519).
//!
//! In:  a token from the client, the time, and the keys: of the configuration, or of a JWKS endpoint.
//! Out: the claims of a connection or a subscription, or an error, whose `verdict` chooses the answer.
//!
//! The flow: `verifier` splits and checks, with configured keys or with those that `jwks` has fetched, then `claims` parses
//! the signed content. `issue` signs.
//!
//! A shard only verifies: it never fetches a key, and never blocks. No secret and no token is ever printed or logged,
//! except the token that `holdfast token gen` creates. Claims are not parsed before the signature is verified.

mod claims;
mod error;
pub(crate) mod issue;
pub mod jwks;
#[cfg(test)]
mod tests;
mod verifier;

pub use claims::{ConnectClaims, Overrides, SubscribeClaims, SubscribeOptions};
pub(crate) use claims::{RawOptions, either};
pub use error::{Part, TokenError, TokenUse, Verdict};
pub use verifier::Verifier;
pub(crate) use verifier::{TokenPolicy, unverified};

/// The longest token accepted.
///
/// Worst case: while it is verified, about this much again, for its decoded parts.
pub const TOKEN_BYTES_MAX: usize = 64 * 1024;
