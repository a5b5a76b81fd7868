//! Push: one message to many, encoded once.
//!
//! In:  a push of the client protocol.
//! Out: its bytes in each format, in a WebSocket frame (RFC 6455 §5.2) or alone; shared by all receivers on all shards.

use std::borrow::Cow;

use bytes::{Bytes, BytesMut};
use holdfast_protocol::{
    client::{ClientInfo, Format, Publication, Push, PushBody, append_push, push::Presence},
    websocket::{MessageKind, encoder},
};

/// The longest header of an unmasked frame.
const FRAME_HEAD_MAX: usize = 10;

/// A push in each format of the protocol.
#[derive(Clone, Debug)]
pub(crate) struct EncodedPush {
    json: Framed,
    protobuf: Framed,
}

/// A message behind the header of its WebSocket frame.
#[derive(Clone, Debug)]
struct Framed(Bytes);

impl EncodedPush {
    pub(crate) fn of_push(push: &Push<'_>) -> Self {
        Self { json: Framed::new(Format::Json, push), protobuf: Framed::new(Format::Protobuf, push) }
    }

    pub(crate) fn of_publication(channel: &str, publication: Publication<'_>) -> Self {
        Self::of_push(&Push {
            id: 0,
            channel: Cow::Borrowed(channel),
            body: PushBody::Publication(publication),
        })
    }

    pub(crate) fn of_join(channel: &str, info: ClientInfo<'_>) -> Self {
        let presence = Presence { info: Some(info) };
        Self::of_push(&Push { id: 0, channel: Cow::Borrowed(channel), body: PushBody::Join(presence) })
    }

    pub(crate) fn of_leave(channel: &str, info: ClientInfo<'_>) -> Self {
        let presence = Presence { info: Some(info) };
        Self::of_push(&Push { id: 0, channel: Cow::Borrowed(channel), body: PushBody::Leave(presence) })
    }

    /// The length of the longer one.
    pub(crate) fn len(&self) -> usize {
        self.json.0.len().max(self.protobuf.0.len())
    }

    /// These frames, with the JSON frame of `others`.
    pub(crate) fn with_json_of(self, others: &Self) -> Self {
        Self { json: others.json.clone(), ..self }
    }

    /// The message alone.
    pub(crate) fn payload(&self, format: Format) -> Bytes {
        self.framed(format).payload()
    }

    /// The message in a WebSocket frame.
    pub(crate) fn websocket(&self, format: Format) -> &Bytes {
        &self.framed(format).0
    }

    fn framed(&self, format: Format) -> &Framed {
        match format {
            Format::Json => &self.json,
            Format::Protobuf => &self.protobuf,
        }
    }
}

impl Framed {
    fn new(format: Format, push: &Push<'_>) -> Self {
        let mut message = BytesMut::new();
        append_push(format, &mut message, push);
        let mut frame = BytesMut::with_capacity(message.len() + FRAME_HEAD_MAX);
        encoder::encode_message(&mut frame, kind(format), None, &message);
        Self(frame.freeze())
    }

    fn payload(&self) -> Bytes {
        // The length in a header takes as little room as it can, so the frame's own length tells how much that is.
        let head_len = match self.0.len() {
            0..=127 => 2,
            128..=65_539 => 4,
            _ => FRAME_HEAD_MAX,
        };
        self.0.slice(head_len..)
    }
}

/// JSON goes in text messages, Protobuf in binary ones.
pub(crate) fn kind(format: Format) -> MessageKind {
    match format {
        Format::Json => MessageKind::Text,
        Format::Protobuf => MessageKind::Binary,
    }
}

#[cfg(test)]
mod tests {
    use holdfast_protocol::client::Payload;

    use super::*;

    fn push_of(data_len: usize) -> EncodedPush {
        let data = format!("\"{}\"", "x".repeat(data_len));
        let publication = Publication { data: Payload::new(data.as_bytes()), ..Publication::default() };
        EncodedPush::of_publication("news", publication)
    }

    #[test]
    fn a_push_is_as_long_as_its_longer_frame() {
        let push = push_of(3);
        let lengths = Format::ALL.map(|format| push.websocket(format).len());
        assert_eq!(Some(push.len()), lengths.into_iter().max());
    }

    #[test]
    fn the_payload_is_what_follows_the_header_of_the_frame_whatever_its_length() {
        // RFC 6455 §5.2: a length of up to 125 bytes takes one byte, up to 65,535 two more, others eight more.
        for data_len in (0..140).chain(65_400..65_560) {
            let push = push_of(data_len);
            for format in Format::ALL {
                let mut frame = BytesMut::new();
                encoder::encode_message(&mut frame, kind(format), None, &push.payload(format));
                assert_eq!(&frame[..], &push.websocket(format)[..]);
            }
            assert!(push.payload(Format::Json).starts_with(b"{"), "JSON begins with its object");
        }
    }
}
