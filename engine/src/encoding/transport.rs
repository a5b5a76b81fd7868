//! Transport: how each transport encodes messages of the client protocol.
//!
//! In:  a message: one or more replies or pushes of one format, as `protocol::client` writes them.
//! Out: its bytes for a connection of that transport.

use bytes::{BufMut as _, Bytes, BytesMut};
use holdfast_protocol::{client::Format, websocket::encoder};

use super::push::{EncodedPush, kind};

/// The encoding of a transport. All connections with the same encoding get the same bytes for a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// Frames (RFC 6455 §5): text for JSON, binary for Protobuf.
    WebSocket(Format),
    /// Events (HTML standard, §9.2), one per reply or push. JSON.
    Sse,
    /// A stream: JSON with a line break after each reply or push, or Protobuf with a length prefix.
    Stream(Format),
}

impl Encoding {
    pub(crate) const ALL: [Self; 5] = [
        Self::WebSocket(Format::Json),
        Self::WebSocket(Format::Protobuf),
        Self::Sse,
        Self::Stream(Format::Json),
        Self::Stream(Format::Protobuf),
    ];

    /// Its index in [`Encoding::ALL`].
    pub(crate) const fn index(self) -> usize {
        match self {
            Self::WebSocket(Format::Json) => 0,
            Self::WebSocket(Format::Protobuf) => 1,
            Self::Sse => 2,
            Self::Stream(Format::Json) => 3,
            Self::Stream(Format::Protobuf) => 4,
        }
    }

    pub(crate) const fn format(self) -> Format {
        match self {
            Self::WebSocket(format) | Self::Stream(format) => format,
            Self::Sse => Format::Json,
        }
    }

    /// Appends a message.
    pub(crate) fn encode(self, message: &[u8], out: &mut BytesMut) {
        match self {
            Self::WebSocket(format) => encoder::encode_message(out, kind(format), None, message),
            // An event holds one line: a second one would need its own `data:`.
            Self::Sse => {
                for line in message.split(|&byte| byte == b'\n') {
                    out.put_slice(b"data: ");
                    out.put_slice(line);
                    out.put_slice(b"\n\n");
                }
            }
            Self::Stream(Format::Json) => {
                out.put_slice(message);
                out.put_u8(b'\n');
            }
            Self::Stream(Format::Protobuf) => out.put_slice(message),
        }
    }

    /// The bytes of one message.
    pub(crate) fn encoded(self, message: &[u8]) -> Bytes {
        let mut out = BytesMut::with_capacity(message.len() + 10);
        self.encode(message, &mut out);
        out.freeze()
    }

    /// A message that others get too. Its WebSocket frames exist already; their content is encoded again for the other
    /// transports.
    pub(crate) fn frame(self, frames: &EncodedPush) -> Bytes {
        match self {
            Self::WebSocket(format) => frames.websocket(format).clone(),
            Self::Stream(Format::Protobuf) => frames.payload(Format::Protobuf),
            Self::Sse | Self::Stream(Format::Json) => self.encoded(&frames.payload(Format::Json)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_encoding_knows_its_index() {
        for (index, encoding) in Encoding::ALL.into_iter().enumerate() {
            assert_eq!(encoding.index(), index);
        }
    }

    #[test]
    fn an_event_holds_one_reply() {
        assert_eq!(&Encoding::Sse.encoded(b"{\"id\":1}\n{}")[..], b"data: {\"id\":1}\n\ndata: {}\n\n");
    }

    #[test]
    fn a_stream_of_lines_ends_each() {
        assert_eq!(&Encoding::Stream(Format::Json).encoded(b"{}\n{}")[..], b"{}\n{}\n");
        assert_eq!(&Encoding::Stream(Format::Protobuf).encoded(b"\x01a")[..], b"\x01a");
    }
}
