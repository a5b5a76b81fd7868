//! Claims: the content of a token whose signature was verified.
//!
//! In:  the signed JSON.
//! Out: the client's identity, its expiry, and its subscriptions with their options.
//!
//! Names and meanings are Centrifugo's. Claims not named here are ignored. All results are copies of exact size: no
//! connection keeps a token's memory alive.

use std::{borrow::Cow, collections::HashMap, iter};

use bytes::Bytes;
use data_encoding::BASE64;
use serde::{Deserialize, Deserializer};
use serde_json::{Value, value::RawValue};

use super::{Part, TokenError};
use crate::{
    channel::Overrides,
    time::UnixSeconds,
    value::{object, object::Object},
};

/// The claims of a connection token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ConnectClaims {
    /// The user; empty if anonymous.
    pub user: String,
    /// When the connection must be refreshed, `None`: never. This is `expire_at` if the token has it
    /// (0 for never), otherwise `exp`. It may be in the past: only `exp` decides whether the token is accepted.
    pub expires_at: Option<UnixSeconds>,
    /// Connection info for other clients.
    pub info: Option<Bytes>,
    /// Connection metadata for backends only.
    pub meta: Option<Bytes>,
    /// The server-side subscriptions: `subs`, or `channels` if there are none.
    pub subs: Vec<(String, SubscribeOptions)>,
}

/// The claims of a subscription token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SubscribeClaims {
    /// The user; empty if anonymous.
    pub user: String,
    /// The channel; never empty.
    pub channel: String,
    /// The only connection the token is valid for; `None`: all connections of the user.
    pub client: Option<String>,
    /// When the subscription must be refreshed; like [`ConnectClaims::expires_at`].
    pub expires_at: Option<UnixSeconds>,
    /// Overrides of the channel's options.
    pub options: SubscribeOptions,
}

/// The options of one subscription.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct SubscribeOptions {
    /// The subscriber's info for others in the channel.
    pub info: Option<Bytes>,
    /// Data for the client along with the subscription.
    pub data: Option<Bytes>,
    /// Overrides of the channel's options for this subscription.
    pub overrides: Overrides,
}

impl ConnectClaims {
    pub(super) fn read(json: &[u8], user_claim: Option<&str>) -> Result<Self, TokenError> {
        let Object(claims): Object<RawConnect<'_>> = parse(json)?;
        if claims.channel.is_some_and(|channel| !channel.is_empty()) {
            return Err(TokenError::ChannelInConnectToken);
        }
        let subs = if claims.subs.is_empty() {
            claims.channels.into_iter().map(|channel| (channel, SubscribeOptions::default())).collect()
        } else {
            let read =
                claims.subs.into_iter().map(|(channel, Object(options))| Ok((channel, options.read()?)));
            read.collect::<Result<_, TokenError>>()?
        };
        Ok(Self {
            user: user(json, claims.sub, user_claim)?,
            expires_at: refresh_at(claims.expire_at, claims.exp),
            info: either("b64info", claims.b64info.as_deref(), claims.info)?,
            meta: claims.meta.map(copy),
            subs,
        })
    }

    /// Checks, in a refresh, that the token belongs to this connection.
    ///
    /// # Errors
    /// The token belongs to another user.
    pub(crate) fn check(&self, user: &str) -> Result<(), TokenError> {
        if self.user == user { Ok(()) } else { Err(TokenError::OtherUser) }
    }
}

impl SubscribeClaims {
    pub(super) fn read(json: &[u8], user_claim: Option<&str>) -> Result<Self, TokenError> {
        let Object(claims): Object<RawSubscribe<'_>> = parse(json)?;
        let channel =
            claims.channel.filter(|channel| !channel.is_empty()).ok_or(TokenError::ChannelMissing)?;
        let options = RawOptions {
            info: claims.info,
            b64info: claims.b64info,
            data: claims.data,
            b64data: claims.b64data,
            overrides: claims.overrides,
        };
        Ok(Self {
            user: user(json, claims.sub, user_claim)?,
            channel,
            client: claims.client.filter(|client| !client.is_empty()),
            expires_at: refresh_at(claims.expire_at, claims.exp),
            options: options.read()?,
        })
    }

    /// Checks that the token is for this subscription.
    ///
    /// # Errors
    /// The token is for another channel, another user, or another connection of that user.
    pub(crate) fn check(&self, channel: &str, user: &str, client: &str) -> Result<(), TokenError> {
        if self.channel != channel {
            Err(TokenError::OtherChannel)
        } else if self.user != user {
            Err(TokenError::OtherUser)
        } else if self.client.as_ref().is_some_and(|only| only != client) {
            Err(TokenError::OtherClient)
        } else {
            Ok(())
        }
    }
}

/// The claims that decide whether a token is accepted.
#[derive(Debug, Deserialize)]
pub(super) struct Common {
    exp: Option<Time>,
    nbf: Option<Time>,
    iss: Option<String>,
    aud: Option<Audience>,
}

impl Common {
    pub(super) fn audience(&self) -> impl Iterator<Item = &str> {
        match &self.aud {
            None => [].iter(),
            Some(Audience::One(one)) => std::slice::from_ref(one).iter(),
            Some(Audience::Several(several)) => several.iter(),
        }
        .map(String::as_str)
    }

    /// A missing issuer counts as an empty name, which a pattern may allow.
    pub(super) fn issuer(&self) -> impl Iterator<Item = &str> {
        iter::once(self.iss.as_deref().unwrap_or_default())
    }

    pub(super) fn check_time(&self, now_s: u64) -> Result<(), TokenError> {
        match (&self.exp, &self.nbf) {
            (Some(Time(exp_s)), _) if now_s >= *exp_s => Err(TokenError::Expired { exp_s: *exp_s, now_s }),
            (_, Some(Time(nbf_s))) if now_s < *nbf_s => Err(TokenError::NotYetValid { nbf_s: *nbf_s, now_s }),
            _ => Ok(()),
        }
    }
}

/// RFC 7519 §4.1.3.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Several(Vec<String>),
}

/// RFC 7519 §2, NumericDate: Unix seconds, with any fraction cut off. Times before 1970 count as 1970. Times beyond 64
/// bits count as the last second that fits.
#[derive(Debug, Clone, Copy)]
struct Time(u64);

impl<'de> Deserialize<'de> for Time {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a fraction is cut off, and the cast keeps what is out of range at its ends"
    )]
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Number {
            Whole(u64),
            Other(f64),
        }
        Ok(match Number::deserialize(deserializer)? {
            Number::Whole(seconds) => Self(seconds),
            Number::Other(seconds) => Self(seconds as u64),
        })
    }
}

#[derive(Deserialize)]
struct RawConnect<'a> {
    sub: Option<String>,
    exp: Option<Time>,
    expire_at: Option<Time>,
    #[serde(borrow)]
    info: Option<&'a RawValue>,
    b64info: Option<String>,
    #[serde(borrow)]
    meta: Option<&'a RawValue>,
    #[serde(default, deserialize_with = "or_default")]
    channels: Vec<String>,
    #[serde(borrow, default, deserialize_with = "or_default")]
    subs: HashMap<String, Object<RawOptions<'a>>>,
    channel: Option<String>,
}

#[derive(Deserialize)]
struct RawSubscribe<'a> {
    sub: Option<String>,
    channel: Option<String>,
    client: Option<String>,
    exp: Option<Time>,
    expire_at: Option<Time>,
    #[serde(borrow)]
    info: Option<&'a RawValue>,
    b64info: Option<String>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    b64data: Option<String>,
    #[serde(rename = "override", default, deserialize_with = "object::read_optional")]
    overrides: Option<Overrides>,
}

/// [`SubscribeOptions`] as tokens and backends write them.
#[derive(Deserialize)]
pub(crate) struct RawOptions<'a> {
    #[serde(borrow)]
    info: Option<&'a RawValue>,
    b64info: Option<String>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    b64data: Option<String>,
    #[serde(rename = "override", default, deserialize_with = "object::read_optional")]
    overrides: Option<Overrides>,
}

impl RawOptions<'_> {
    pub(crate) fn read(self) -> Result<SubscribeOptions, TokenError> {
        Ok(SubscribeOptions {
            info: either("b64info", self.b64info.as_deref(), self.info)?,
            data: either("b64data", self.b64data.as_deref(), self.data)?,
            overrides: self.overrides.unwrap_or_default(),
        })
    }
}

/// The error without the offending value, because a claim may be private.
pub(super) fn unreadable(part: Part, error: &serde_json::Error) -> TokenError {
    TokenError::NotTheJson { part, line: error.line(), column: error.column() }
}

fn parse<'a, T: Deserialize<'a>>(json: &'a [u8]) -> Result<T, TokenError> {
    serde_json::from_slice(json).map_err(|error| unreadable(Part::Claims, &error))
}

/// The user, from `sub` or from the configured claim. A number counts as its text form.
fn user(json: &[u8], sub: Option<String>, claim: Option<&str>) -> Result<String, TokenError> {
    let Some(claim) = claim else { return Ok(sub.unwrap_or_default()) };
    let mut all: HashMap<Cow<'_, str>, &RawValue> = parse(json)?;
    match all.remove(claim).map(|value| parse(value.get().as_bytes())).transpose()? {
        None | Some(Value::Null) => Ok(String::new()),
        Some(Value::String(user)) => Ok(user),
        Some(Value::Number(user)) => Ok(user.to_string()),
        Some(_) => Err(TokenError::ClaimUnreadable(claim.to_owned())),
    }
}

/// `expire_at` says when to refresh, regardless of `exp`; 0 or less means never.
fn refresh_at(expire_at: Option<Time>, exp: Option<Time>) -> Option<UnixSeconds> {
    let Time(at) = expire_at.or(exp)?;
    UnixSeconds::new(at)
}

/// Decodes base64 if present; otherwise returns the JSON as written.
pub(crate) fn either(
    claim: &str,
    base64: Option<&str>,
    json: Option<&RawValue>,
) -> Result<Option<Bytes>, TokenError> {
    match base64.filter(|text| !text.is_empty()) {
        Some(text) => match BASE64.decode(text.as_bytes()) {
            Ok(bytes) => Ok(Some(bytes.into())),
            Err(_) => Err(TokenError::ClaimUnreadable(claim.to_owned())),
        },
        None => Ok(json.map(copy)),
    }
}

fn copy(json: &RawValue) -> Bytes {
    Bytes::copy_from_slice(json.get().as_bytes())
}

/// `null` counts as absent.
fn or_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}
