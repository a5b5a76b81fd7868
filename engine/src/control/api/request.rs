//! Request: parses the body of a request.
//!
//! In:  JSON.
//! Out: the fields of a method; error 107 with the position of the error.
//!
//! As in Centrifugo, unknown fields are ignored, and `null` counts as absent.

use std::{collections::BTreeMap, fmt, marker::PhantomData};

use bytes::Bytes;
use data_encoding::BASE64;
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, Error as _, MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use super::error::ApiError;
use crate::{
    channel::Overrides,
    hub::owner::IDEMPOTENCY_KEY_BYTES_MAX,
    value::{object, object::Object},
};

/// Maximum number of commands in a batch.
pub(super) const COMMANDS_MAX: usize = 10_000;
/// Maximum number of channels in a broadcast.
const CHANNELS_MAX: usize = 100_000;
/// Maximum number of tags of a publication.
const TAGS_MAX: usize = 256;
/// Maximum number of clients excluded from a disconnect.
const CLIENTS_MAX: usize = 10_000;
/// Maximum number of fields in a request that is parsed field by field.
const FIELDS_MAX: usize = 64;

/// The parameters of `publish`, and of `broadcast`, which has `channels` instead of `channel`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Publish {
    pub(super) channel: String,
    #[serde(deserialize_with = "list::<_, _, CHANNELS_MAX>")]
    pub(super) channels: Vec<String>,
    pub(super) data: Option<Box<RawValue>>,
    pub(super) b64data: String,
    pub(super) skip_history: bool,
    #[serde(deserialize_with = "pairs::<_, _, TAGS_MAX>")]
    pub(super) tags: Vec<(String, String)>,
    pub(super) idempotency_key: String,
    pub(super) version: u64,
    pub(super) version_epoch: String,
    pub(super) delta: bool,
}

impl Publish {
    /// Checks the fields that are kept with the publication: all except its data must be short.
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
    pub(super) user: Option<String>,
    pub(super) client: String,
    pub(super) session: String,
    pub(super) expire_at: i64,
    pub(super) info: Option<Box<RawValue>>,
    pub(super) b64info: String,
    pub(super) data: Option<Box<RawValue>>,
    pub(super) b64data: String,
    #[serde(deserialize_with = "object::read_optional")]
    pub(super) recover_since: Option<Since>,
    #[serde(rename = "override", deserialize_with = "object::read")]
    pub(super) overrides: Overrides,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Unsubscribe {
    pub(super) channel: String,
    pub(super) user: Option<String>,
    pub(super) client: String,
    pub(super) session: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Disconnect {
    pub(super) user: Option<String>,
    pub(super) client: String,
    pub(super) session: String,
    #[serde(deserialize_with = "list::<_, _, CLIENTS_MAX>")]
    pub(super) whitelist: Vec<String>,
    #[serde(deserialize_with = "object::read_optional")]
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
    pub(super) user: Option<String>,
    pub(super) client: String,
    pub(super) session: String,
    pub(super) expired: bool,
    pub(super) expire_at: i64,
    pub(super) info: Option<Box<RawValue>>,
}

/// The parameters of `presence`, `presence_stats` and `history_remove`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct OfChannel {
    pub(super) channel: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct History {
    pub(super) channel: String,
    /// Negative: all publications; 0: only the position.
    pub(super) limit: i64,
    #[serde(deserialize_with = "object::read_optional")]
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

/// The parameters of `info`: none.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Info {}

/// The parameters of `drain`: none.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Drain {}

/// Parses the fields of a body. An empty body means no fields.
pub(super) fn read<T: DeserializeOwned + Default>(body: &[u8]) -> Result<T, ApiError> {
    if body.trim_ascii().is_empty() {
        return Ok(T::default());
    }
    // Only a few clients send `null` fields. Only for them is a body parsed a second time, field by field.
    serde_json::from_slice(body).map(|Object(read)| read).or_else(|error| {
        without_nulls(body).ok_or(()).map_err(|()| ApiError::unreadable(&error)).and_then(|body| {
            let read = serde_json::from_str(&body).map_err(|_| ApiError::unreadable(&error));
            read.map(|Object(read)| read)
        })
    })
}

/// Removes the `null` fields of an object.
fn without_nulls(body: &[u8]) -> Option<String> {
    let mut body = serde_json::Deserializer::from_slice(body);
    let fields: Vec<(String, &RawValue)> = pairs::<_, _, FIELDS_MAX>(&mut body).ok()?;
    let fields: BTreeMap<_, _> = fields.into_iter().filter(|(_, value)| value.get() != "null").collect();
    serde_json::to_string(&fields).ok()
}

/// One command of a batch: `{"publish": {…}}`.
#[derive(Debug)]
pub(super) struct Command {
    pub(super) method: CommandMethod,
}

/// The method of a command. `null` fields are ignored.
#[derive(Debug)]
pub(super) enum CommandMethod {
    /// The command is `null`.
    Null,
    /// The command has no fields.
    Missing,
    One(String, Box<RawValue>),
    Several,
}

impl<'de> Deserialize<'de> for Command {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct First;
        impl<'de> Visitor<'de> for First {
            type Value = Command;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object with a field that is named after a method")
            }

            fn visit_unit<E>(self) -> Result<Command, E> {
                Ok(Command { method: CommandMethod::Null })
            }

            fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Command, A::Error> {
                let mut method = CommandMethod::Missing;
                while let Some((name, value)) = fields.next_entry::<String, Box<RawValue>>()? {
                    method = match method {
                        unchanged if value.get() == "null" => unchanged,
                        CommandMethod::Missing => CommandMethod::One(name, value),
                        _ => CommandMethod::Several,
                    };
                }
                Ok(Command { method })
            }
        }
        deserializer.deserialize_any(First)
    }
}

/// A list of at most `MAX` items. Parsed items take several times the memory of their text.
pub(super) fn list<'de, D, T, const MAX: usize>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    struct List<T, const MAX: usize>(PhantomData<T>);
    impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for List<T, MAX> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "a list of at most {MAX}")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Vec<T>, A::Error> {
            let mut list = Vec::new();
            while let Some(item) = items.next_element()? {
                if list.len() == MAX {
                    return Err(A::Error::invalid_length(MAX + 1, &self));
                }
                list.push(item);
            }
            Ok(list)
        }
    }
    deserializer.deserialize_seq(List::<T, MAX>(PhantomData))
}

/// An object of at most `MAX` fields, each at most once.
fn pairs<'de, D, T, const MAX: usize>(deserializer: D) -> Result<Vec<(String, T)>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    struct Pairs<T, const MAX: usize>(PhantomData<T>);
    impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for Pairs<T, MAX> {
        type Value = Vec<(String, T)>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "an object of at most {MAX} fields")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Vec<(String, T)>, A::Error> {
            let mut pairs: Vec<(String, T)> = Vec::new();
            while let Some((name, value)) = fields.next_entry::<String, T>()? {
                let at = pairs.iter().position(|(known, _)| *known == name);
                match at {
                    Some(at) => pairs[at].1 = value,
                    None if pairs.len() == MAX => return Err(A::Error::invalid_length(MAX + 1, &self)),
                    None => pairs.push((name, value)),
                }
            }
            Ok(pairs)
        }
    }
    deserializer.deserialize_map(Pairs::<T, MAX>(PhantomData))
}

/// Decodes base64 if present; otherwise returns the JSON as written.
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
    fn lists_and_tags_have_a_length_that_is_told() {
        let publish = |body: String| read::<Publish>(body.as_bytes());
        let channels =
            |count: usize| publish(format!(r#"{{"channels":[{}]}}"#, vec![r#""c""#; count].join(",")));
        assert_eq!(channels(100_000).unwrap().channels.len(), 100_000);
        assert!(format!("{:?}", channels(100_001)).contains("a list of at most 100000"));
        let tags = |count: usize| {
            let tags: Vec<String> = (0..count).map(|at| format!(r#""t{at}":"v""#)).collect();
            publish(format!(r#"{{"tags":{{{}}}}}"#, tags.join(",")))
        };
        assert_eq!(tags(256).unwrap().tags.len(), 256);
        assert!(format!("{:?}", tags(257)).contains("an object of at most 256 fields"));
        let twice = publish(r#"{"tags":{"a":"1","b":"2","a":"3"}}"#.to_owned()).unwrap().tags;
        assert_eq!(twice, [("a".to_owned(), "3".to_owned()), ("b".to_owned(), "2".to_owned())]);
    }

    #[test]
    fn a_command_has_one_field() {
        let command = |text: &str| serde_json::from_str::<Command>(text).map(|command| command.method);
        for text in [r#"{"info":{}}"#, r#"{"publish":null,"info":{},"a":null}"#] {
            assert!(matches!(command(text), Ok(CommandMethod::One(name, _)) if name == "info"), "{text}");
        }
        assert!(matches!(command("{}"), Ok(CommandMethod::Missing)));
        assert!(matches!(command(r#"{"info":null}"#), Ok(CommandMethod::Missing)));
        assert!(matches!(command(r#"{"a":1,"b":[2],"c":{}}"#), Ok(CommandMethod::Several)));
        assert!(matches!(command("null"), Ok(CommandMethod::Null)));
        for text in ["[]", "1", "\"info\"", "true"] {
            assert!(command(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_array_is_nowhere_taken_for_an_object() {
        for body in ["[]", r#"["news"]"#, r#" ["news",[],{}]"#] {
            let error = format!("{:?}", read::<Publish>(body.as_bytes()).unwrap_err());
            assert!(error.contains("expected an object"), "{body}: {error}");
            assert!(read::<Info>(body.as_bytes()).is_err() && read::<Drain>(body.as_bytes()).is_err());
        }
        for (field, value) in
            [("recover_since", "[1,\"e\"]"), ("override", "[]"), ("override", "{\"presence\":[true]}")]
        {
            let body = format!(r#"{{"channel":"news","{field}":{value}}}"#);
            let error = format!("{:?}", read::<Subscribe>(body.as_bytes()).unwrap_err());
            assert!(error.contains("expected an object"), "{body}: {error}");
        }
        assert!(read::<Disconnect>(br#"{"disconnect":[4000,"go"]}"#).is_err());
        assert!(read::<History>(br#"{"since":[1,"e"]}"#).is_err());
        let nulls = br#"{"channel":"news","recover_since":null,"override":null}"#;
        assert!(read::<Subscribe>(nulls).unwrap().recover_since.is_none());
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
