//! JOSE: the keys of JSON Web Tokens (RFC 7517, RFC 7518).
//!
//! In:  secrets, PEM, JSON Web Keys and sets of them.
//! Out: keys that verify signatures.

mod key;
mod key_set;

pub(crate) use self::key::{HmacKeys, PublicKey};
pub(crate) use self::{
    key::{EcdsaKey, RsaKey},
    key_set::KeySet,
};
