//! Request: what a body says.
//!
//! In:  JSON.
//! Out: the fields of a method; error 107 with the place of the fault.
//!
//! As with Centrifugo, what is not known is ignored, and `null` is as good as nothing.

use std::collections::BTreeMap;

use bytes::Bytes;
use data_encoding::BASE64;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::value::RawValue;

use super::answer::ApiError;
use crate::{hub::home::IDEMPOTENCY_KEY_BYTES_MAX, token::Overrides};

/// `publish`, and `broadcast` with `channels` in place of `channel`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Publish {
    pub(super) channel: String,
    pub(super) channels: Vec<String>,
    pub(super) data: Option<Box<RawValue>>,
    pub(super) b64data: String,
    pub(super) skip_history: bool,
    pub(super) tags: BTreeMap<String, String>,
    pub(super) idempotency_key: String,
    pub(super) version: u64,
    pub(super) version_epoch: String,
    pub(super) delta: bool,
}

impl Publish {
    /// What is kept of it beside its data is short.
    pub(super) fn check(&self) -> Result<(), ApiError> {
        let max = IDEMPOTENCY_KEY_BYTES_MAX;
        for (name, text) in
            [("idempotency_key", &self.idempotency_key), ("version_epoch", &self.version_epoch)]
        {
            if text.len() > max {
                return Err(ApiError::bad_request(format_args!("{name} has more than {max} bytes")));
            }
        }
        Ok(())
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Subscribe {
    pub(super) channel: String,
    pub(super) user: String,
    pub(super) client: String,
    pub(super) session: String,
    pub(super) expire_at: i64,
    pub(super) info: Option<Box<RawValue>>,
    pub(super) b64info: String,
    pub(super) data: Option<Box<RawValue>>,
    pub(super) b64data: String,
    pub(super) recover_since: Option<Since>,
    #[serde(rename = "override")]
    pub(super) overrides: Overrides,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Unsubscribe {
    pub(super) channel: String,
    pub(super) user: String,
    pub(super) client: String,
    pub(super) session: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Disconnect {
    pub(super) user: String,
    pub(super) client: String,
    pub(super) session: String,
    pub(super) whitelist: Vec<String>,
    pub(super) disconnect: Option<DisconnectWith>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct DisconnectWith {
    pub(super) code: u16,
    pub(super) reason: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Refresh {
    pub(super) user: String,
    pub(super) client: String,
    pub(super) session: String,
    pub(super) expired: bool,
    pub(super) expire_at: i64,
}

/// `presence`, `presence_stats` and `history_remove`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct OfChannel {
    pub(super) channel: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct History {
    pub(super) channel: String,
    /// Below 0 for all, 0 for the position alone.
    pub(super) limit: i64,
    pub(super) since: Option<Since>,
    pub(super) reverse: bool,
}

/// A position in a channel's history.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Since {
    pub(super) offset: u64,
    pub(super) epoch: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Channels {
    pub(super) pattern: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Penalties {}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct PenaltiesClear {
    pub(super) address: String,
    pub(super) all: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Rpc {
    pub(super) method: String,
}

/// Nothing is asked but the question itself.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Info {}

/// Nothing more is to be said.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Drain {}

/// The fields of a body; one without any may be empty.
pub(super) fn read<T: DeserializeOwned + Default>(body: &[u8]) -> Result<T, ApiError> {
    if body.trim_ascii().is_empty() {
        return Ok(T::default());
    }
    // What comes from clients that write all fields is rare: only then the fields are looked at one by one.
    serde_json::from_slice(body).or_else(|error| {
        without_nulls(body)
            .ok_or(())
            .map_err(|()| ApiError::unreadable(&error))
            .and_then(|body| serde_json::from_str(&body).map_err(|_| ApiError::unreadable(&error)))
    })
}

/// The same object without the fields that are `null`.
fn without_nulls(body: &[u8]) -> Option<String> {
    let mut fields: BTreeMap<String, &RawValue> = serde_json::from_slice(body).ok()?;
    fields.retain(|_, value| value.get() != "null");
    serde_json::to_string(&fields).ok()
}

/// Bytes from base64 where there is some, else JSON as it was written.
pub(super) fn bytes(name: &str, base64: &str, json: Option<&RawValue>) -> Result<Option<Bytes>, ApiError> {
    if base64.is_empty() {
        return Ok(json.map(|json| Bytes::copy_from_slice(json.get().as_bytes())));
    }
    let bytes = BASE64.decode(base64.as_bytes());
    let bytes =
        bytes.map_err(|error| ApiError::bad_request(format_args!("{name} is not base64: {error}")))?;
    Ok(Some(bytes.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn null_is_as_good_as_nothing_and_the_unknown_is_ignored() {
        let publish: Publish =
            read(br#"{"channel":"news","data":{"a":null},"tags":null,"delta":null,"new":1}"#).unwrap();
        assert_eq!(publish.channel, "news");
        assert_eq!(publish.data.unwrap().get(), r#"{"a":null}"#);
        assert!(read::<Info>(b" ").is_ok() && read::<Info>(b"{}").is_ok());
    }

    #[test]
    fn a_body_that_is_not_the_json_is_refused_with_the_place_of_the_fault() {
        for body in [&b"{"[..], b"[]1", b"7", br#"{"channel":7}"#, br#"{"channel":null,"data"}"#] {
            let error = read::<Publish>(body).unwrap_err();
            assert_eq!(error.code, 107);
            assert!(format!("{error:?}").contains(" at line 1 column "), "{error:?}");
        }
    }

    #[test]
    fn what_is_kept_of_a_publication_beside_its_data_is_short() {
        for field in ["idempotency_key", "version_epoch"] {
            let publish = |len| {
                let body = format!(r#"{{"{field}":"{}"}}"#, "k".repeat(len));
                read::<Publish>(body.as_bytes()).unwrap().check()
            };
            assert_eq!(publish(255), Ok(()));
            let error = publish(256).unwrap_err();
            assert_eq!(error.code, 107);
            assert!(format!("{error:?}").contains(&format!("{field} has more than 255 bytes")), "{error:?}");
        }
    }

    #[test]
    fn bytes_come_from_base64_or_are_the_json_as_it_was_written() {
        let json = RawValue::from_string(r#"{ "a" : 1 }"#.to_owned()).unwrap();
        assert_eq!(bytes("b64data", "", Some(&json)).unwrap().unwrap(), r#"{ "a" : 1 }"#);
        assert_eq!(bytes("b64data", "AP8=", Some(&json)).unwrap().unwrap(), [0u8, 255][..]);
        assert!(bytes("b64data", "", None).unwrap().is_none());
        assert!(format!("{:?}", bytes("b64data", "?", None)).contains("b64data is not base64"));
    }
}
