//! Key set: the public keys of a JWKS document (RFC 7517), by name.
//!
//! In:  the document.
//! Out: the keys that can verify signatures, and why each of the others cannot.
//!
//! It is immutable: new keys make a new set for the shards. No I/O.

use std::{collections::HashMap, sync::Arc};

use jsonwebtoken::jwk::Jwk;
use serde::Deserialize;
use serde_json::Value;

use super::key::PublicKey;
use crate::value::object::Object;

/// Keys that may share a name: a token is tried with each of them.
const KEYS_OF_A_NAME_MAX: usize = 4;

/// Public keys by their names (`kid`). A clone shares them.
///
/// Worst case: a document of [`DOCUMENT_BYTES_MAX`](crate::token::jwks::DOCUMENT_BYTES_MAX), about half of it as keys.
#[derive(Debug, Clone, Default)]
pub(crate) struct KeySet {
    /// RFC 7517 §4.5: keys of different types may share a name.
    keys: Arc<HashMap<String, Vec<PublicKey>>>,
}

/// The document. Its keys are parsed one by one: a faulty one does not affect the others.
#[derive(Deserialize)]
struct Document {
    keys: Vec<Value>,
}

/// A key that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UnusableKey {
    /// Its name, if it has one.
    pub kid: Option<String>,
    /// Why it is left out.
    pub why: &'static str,
}

impl KeySet {
    /// Parses a document.
    ///
    /// # Errors
    /// Not JSON, or without the list `keys`.
    pub(crate) fn parse(document: &[u8]) -> Result<(Self, Vec<UnusableKey>), serde_json::Error> {
        let Object(Document { keys: listed }) = serde_json::from_slice(document)?;
        let mut keys: HashMap<String, Vec<PublicKey>> = HashMap::new();
        let mut unusable = Vec::new();
        for value in listed {
            match read(&value) {
                Ok((kid, key)) => {
                    let same = keys.entry(kid.clone()).or_default();
                    if same.len() < KEYS_OF_A_NAME_MAX {
                        same.push(key);
                    } else {
                        let why = "four other keys have its name (kid)";
                        unusable.push(UnusableKey { kid: Some(kid), why });
                    }
                }
                Err(why) => {
                    let kid = value.get("kid").and_then(Value::as_str).map(str::to_owned);
                    unusable.push(UnusableKey { kid, why });
                }
            }
        }
        Ok((Self { keys: Arc::new(keys) }, unusable))
    }

    /// The number of key names.
    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }

    /// True exactly when no token can be verified with it.
    pub(crate) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// All keys with that name; `None` if there is none.
    pub(crate) fn get(&self, kid: &str) -> Option<&[PublicKey]> {
        self.keys.get(kid).map(Vec::as_slice)
    }
}

fn read(value: &Value) -> Result<(String, PublicKey), &'static str> {
    let jwk = Jwk::deserialize(value).map_err(|_| "it is not a JSON Web Key")?;
    let key = PublicKey::from_jwk(&jwk)?;
    let kid = jwk.common.key_id.filter(|kid| !kid.is_empty()).ok_or("it has no name (kid)")?;
    Ok((kid, key))
}
