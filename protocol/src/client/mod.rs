//! The Centrifuge client protocol, in JSON and in Protobuf, both roles.
//!
//! In:  frames, as a transport carries them: see [`decode_commands`] and, for a client, [`decode_replies`].
//! Out: commands, replies and pushes that borrow from the frame; and the bytes of what we say ourselves.
//!
//! The road of a command: [`frame`](self) → [`command`] → (the session) → [`reply`] and [`push`] → bytes. Each
//! message is defined once, with a number for Protobuf and a name for JSON, by the macros of `message`; the
//! numbers are also in `proto/client.proto`. What applications put into messages is a [`Payload`], which is
//! carried and not read. Around it: [`codes`], [`channel`] names, [`filter`]s on tags, patches in [`delta`],
//! and [`emulation`] and [`poll`] for transports that cannot carry commands.
//!
//! Which commands are allowed when, and what they do, is not decided here.

pub mod channel;
pub mod codes;
pub mod command;
pub mod delta;
pub mod emulation;
pub mod filter;
pub mod poll;
pub mod publication;
pub mod push;
pub mod reply;

mod decimal;
mod delta_index;
mod error;
mod field;
mod frame;
mod json;
mod message;
mod payload;
mod protobuf;

pub use codes::{DisconnectCode, ErrorCode, UnsubscribeCode};
pub use command::{Command, FromClient, Request};
pub use error::{DecodeError, WireError};
pub use field::Map;
pub use frame::{
    Format, Messages, append_command, append_encoded, append_push, append_reply, decode_commands,
    decode_replies, encode_push,
};
pub use payload::{Payload, PayloadForm};
pub use protobuf::DEPTH_MAX;
pub use publication::{ClientInfo, Publication, StreamPosition};
pub use push::{Push, PushBody};
pub use reply::{ClientError, FromServer, Reply, ReplyResult};
