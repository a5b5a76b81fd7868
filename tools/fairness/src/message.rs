//! Message: commands of the client protocol, as attackers and well-behaved clients send them.

use serde_json::{Value, json};

use crate::token;

/// The first command of a client.
pub(crate) fn connect(user: &str) -> Value {
    json!({ "id": 1, "connect": { "token": token::good(user) } })
}

pub(crate) fn subscribe(id: u64, channel: &str) -> Value {
    json!({ "id": id, "subscribe": { "channel": channel } })
}

pub(crate) fn publish(id: u64, channel: &str, data: &Value) -> Value {
    json!({ "id": id, "publish": { "channel": channel, "data": data } })
}

/// Commands in one message, one a line.
pub(crate) fn lines<'c>(commands: impl IntoIterator<Item = &'c Value>) -> String {
    commands.into_iter().map(Value::to_string).collect::<Vec<_>>().join("\n")
}
