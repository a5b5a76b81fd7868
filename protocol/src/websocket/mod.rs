//! WebSocket (RFC 6455), both roles.
//!
//! In:  a request head, then frames in pieces of any size.
//! Out: the upgrade, then messages and control frames; and the bytes of what we say ourselves.
//!
//! The files follow the RFC: handshake (§4) in [`handshake_server`] and [`handshake_client`]; [`frame`] (§5.2);
//! [`mask`] (§5.3); fragments (§5.4) in `assembly`; control frames (§5.5) and the whole of reading in
//! [`decoder`]; writing in [`encoder`]; closing (§7) in [`close`]; UTF-8 (§8.1) in `utf8`; the header of extensions
//! (§9.1) in [`extension`]; the one extension that is spoken here, permessage-deflate (RFC 7692), in [`deflate`].

pub mod close;
pub mod decoder;
pub mod deflate;
pub mod encoder;
pub mod error;
pub mod extension;
pub mod frame;
pub mod handshake_client;
pub mod handshake_server;
pub mod mask;

mod assembly;
mod inflation;
mod key;
mod message;
mod utf8;

pub use close::{CloseCode, CloseFrame};
pub use decoder::{Decoder, DecoderConfig, Event};
pub use error::FrameError;
pub use frame::{Opcode, Role};
pub use message::{Message, MessageKind, Payload};
