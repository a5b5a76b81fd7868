//! `proto/client.proto` and another implementation of Protobuf: the definitions in the code are those in the file.

use data_encoding::BASE64;
use holdfast_protocol::client::{Format, FromClient, FromServer};
use proptest::prelude::*;
use prost_reflect::prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor, SerializeOptions, Value as Field};
use serde_json::{Value, json};
use std::sync::LazyLock;

use crate::strategies::{from_client, from_server};
use crate::support::{
    every_command, every_reply, read_commands, read_replies, write_commands, write_replies,
};

static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/proto");
    let file = protox::compile(["client.proto"], [folder]).expect("client.proto compiles");
    DescriptorPool::from_file_descriptor_set(file).expect("client.proto describes itself")
});

fn descriptor(name: &str) -> MessageDescriptor {
    POOL.get_message_by_name(&format!("holdfast.client.{name}")).expect("client.proto has the message")
}

/// Reads one delimited message as the file describes it.
fn read(name: &str, frame: &[u8]) -> DynamicMessage {
    let mut input = frame;
    let len = prost_reflect::prost::decode_length_delimiter(&mut input).unwrap();
    assert_eq!(len, input.len());
    DynamicMessage::decode(descriptor(name), input).unwrap()
}

fn has_unknown_fields(message: &DynamicMessage) -> bool {
    fn in_value(value: &Field) -> bool {
        match value {
            Field::Message(message) => has_unknown_fields(message),
            Field::List(items) => items.iter().any(in_value),
            Field::Map(pairs) => pairs.values().any(in_value),
            _ => false,
        }
    }
    message.unknown_fields().next().is_some() || message.fields().any(|(_, value)| in_value(value))
}

/// The message in JSON by the names of the file; payloads are in base64.
fn to_json(message: &DynamicMessage) -> Value {
    let options = SerializeOptions::new().use_proto_field_name(true).stringify_64_bit_integers(false);
    message.serialize_with_options(serde_json::value::Serializer, &options).unwrap()
}

/// Fields that our JSON has also with their default values, where theirs leaves them out.
const ALWAYS: [&str; 8] =
    ["user", "client", "presence", "num_clients", "num_users", "publications", "epoch", "offset"];

fn is_default(value: &Value) -> bool {
    [json!(""), json!(0), json!([]), json!({})].contains(value)
}

/// True exactly when both say the same, base64 on the right being a payload on the left.
fn same(ours: &Value, theirs: &Value) -> bool {
    match (ours, theirs) {
        (Value::Object(ours), Value::Object(theirs)) => {
            theirs.keys().all(|key| ours.contains_key(key))
                && ours.iter().all(|(key, value)| match theirs.get(key) {
                    Some(other) => same(value, other),
                    None => ALWAYS.contains(&key.as_str()) && is_default(value),
                })
        }
        (Value::Array(ours), Value::Array(theirs)) => {
            ours.len() == theirs.len() && ours.iter().zip(theirs).all(|(ours, theirs)| same(ours, theirs))
        }
        (ours, Value::String(theirs)) => {
            ours == theirs
                || BASE64.decode(theirs.as_bytes()).is_ok_and(|bytes| {
                    serde_json::from_slice::<Value>(&bytes).is_ok_and(|json| json == *ours)
                })
        }
        (ours, theirs) => ours == theirs,
    }
}

/// Holds our two encodings of a message against the file; what the other implementation writes of it.
fn check(name: &str, protobuf: &[u8], json: &[u8]) -> Vec<u8> {
    let message = read(name, protobuf);
    assert!(!has_unknown_fields(&message), "{message:?}");
    let (ours, theirs) = (serde_json::from_slice(json).unwrap(), to_json(&message));
    assert!(same(&ours, &theirs), "{ours}\n{theirs}");
    message.encode_length_delimited_to_vec()
}

fn check_command(message: FromClient<'_>) {
    let [json, protobuf] = Format::ALL.map(|format| write_commands(format, std::slice::from_ref(&message)));
    let written = check("Command", &protobuf, &json);
    assert_eq!(read_commands(Format::Protobuf, &written), Ok(vec![message]));
}

fn check_reply(message: FromServer<'_>) {
    let [json, protobuf] = Format::ALL.map(|format| write_replies(format, std::slice::from_ref(&message)));
    let written = check("Reply", &protobuf, &json);
    assert_eq!(read_replies(Format::Protobuf, &written), Ok(vec![message]));
}

#[test]
fn a_message_of_each_kind_has_the_names_and_numbers_of_the_file() {
    every_command().into_iter().for_each(check_command);
    every_reply().into_iter().for_each(check_reply);
}

proptest! {
    #[test]
    fn another_implementation_reads_and_writes_the_same_commands(message in from_client()) {
        check_command(message);
    }

    #[test]
    fn another_implementation_reads_and_writes_the_same_replies(message in from_server()) {
        check_reply(message);
    }
}
