//! Publication: what a channel carries, and who is present in it, as bytes between nodes.
//!
//! In:  holdfast-protocol's own types, which the engine has anyway; bytes from Redis.
//! Out: the Protobuf messages `Publication` and `ClientInfo` of Centrifugo's client protocol, without a frame around them.
//!
//! Fields of newer nodes are walked over. No I/O, no clock.

use bytes::BytesMut;
use holdfast_protocol::client::{ClientInfo, Map, Payload, Publication, WireError};

use crate::wire::{Reader, put_bool, put_bytes, put_message, put_number};

/// Tags that a publication may have; further ones are an error. Bounds what a peer can make us allocate.
pub const TAGS_MAX: usize = 1_024;

/// Appends a publication.
pub fn encode_publication(publication: &Publication<'_>, out: &mut BytesMut) {
    put_bytes(out, 4, publication.data.bytes());
    if let Some(info) = &publication.info {
        put_message(out, 5, |out| encode_client_info(info, out));
    }
    put_number(out, 6, publication.offset);
    for (key, value) in &publication.tags {
        put_message(out, 7, |out| {
            put_bytes(out, 1, key.as_bytes());
            put_bytes(out, 2, value.as_bytes());
        });
    }
    put_bool(out, 8, publication.delta);
    put_number(out, 9, publication.time.cast_unsigned());
    put_bytes(out, 10, publication.channel.as_bytes());
}

/// Appends the time of a publication to one that was encoded without it, in milliseconds since 1970.
pub fn append_time(time: i64, out: &mut BytesMut) {
    put_number(out, 9, time.cast_unsigned());
}

/// Reads a publication, which borrows from `bytes`.
///
/// # Errors
///
/// It is no Protobuf message, one of another shape, or has more than [`TAGS_MAX`] tags.
pub fn decode_publication(bytes: &[u8]) -> Result<Publication<'_>, WireError> {
    let mut publication = Publication::default();
    let mut fields = Reader::new(bytes);
    while let Some((number, value)) = fields.next()? {
        match number {
            4 => publication.data = Payload::new(value.bytes()?),
            5 => publication.info = Some(decode_client_info(value.bytes()?)?),
            6 => publication.offset = value.varint()?,
            7 if publication.tags.len() >= TAGS_MAX => return Err(WireError::TooDeep),
            7 => publication.tags.0.push(decode_tag(value.bytes()?)?),
            8 => publication.delta = value.is_true()?,
            9 => publication.time = value.int64()?,
            10 => publication.channel = value.cow()?,
            _ => {}
        }
    }
    Ok(publication)
}

type Tag<'a> = (std::borrow::Cow<'a, str>, std::borrow::Cow<'a, str>);

fn decode_tag(bytes: &[u8]) -> Result<Tag<'_>, WireError> {
    let mut tag = Tag::default();
    let mut fields = Reader::new(bytes);
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => tag.0 = value.cow()?,
            2 => tag.1 = value.cow()?,
            _ => {}
        }
    }
    Ok(tag)
}

/// Appends who somebody is: in joins, leaves, and presence.
pub fn encode_client_info(info: &ClientInfo<'_>, out: &mut BytesMut) {
    put_bytes(out, 1, info.user.as_bytes());
    put_bytes(out, 2, info.client.as_bytes());
    put_bytes(out, 3, info.conn_info.bytes());
    put_bytes(out, 4, info.chan_info.bytes());
}

/// Reads who somebody is.
///
/// # Errors
///
/// It is no Protobuf message, or one of another shape.
pub fn decode_client_info(bytes: &[u8]) -> Result<ClientInfo<'_>, WireError> {
    let mut info = ClientInfo::default();
    let mut fields = Reader::new(bytes);
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => info.user = value.cow()?,
            2 => info.client = value.cow()?,
            3 => info.conn_info = Payload::new(value.bytes()?),
            4 => info.chan_info = Payload::new(value.bytes()?),
            _ => {}
        }
    }
    Ok(info)
}

/// Tags of a publication, for whoever makes one.
pub fn tags<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Map<'a, std::borrow::Cow<'a, str>> {
    pairs.into_iter().map(|(key, value)| (key, value.into())).collect()
}

#[cfg(test)]
mod tests {
    use holdfast_protocol::client::{Format, Push, PushBody, encode_push};

    use super::*;

    fn example() -> Publication<'static> {
        Publication {
            data: Payload::new(b"{}"),
            info: Some(ClientInfo {
                user: "42".into(),
                client: "c1".into(),
                conn_info: Payload::new(b"1"),
                chan_info: Payload::new(b"2"),
            }),
            offset: 300,
            tags: tags([("a", "b")]),
            delta: true,
            time: 1_700_000_000_000,
            channel: "ch".into(),
        }
    }

    #[test]
    fn a_publication_has_centrifugos_bytes() {
        let mut out = BytesMut::new();
        encode_publication(&example(), &mut out);
        let expected: &[u8] = b"\x22\x02{}\x2a\x0e\x0a\x0242\x12\x02c1\x1a\x011\x22\x012\x30\xac\x02\
            \x3a\x06\x0a\x01a\x12\x01b\x40\x01\x48\x80\xd0\x95\xff\xbc\x31\x52\x02ch";
        assert_eq!(out, expected);
        assert_eq!(decode_publication(&out).unwrap(), example());
    }

    /// The other codec of this workspace writes the same bytes, inside a push.
    #[test]
    fn it_is_the_publication_of_the_client_protocol() {
        let mut out = BytesMut::new();
        encode_publication(&example(), &mut out);
        let push = Push { id: 0, channel: "x".into(), body: PushBody::Publication(example()) };
        let frame = encode_push(Format::Protobuf, &push);
        assert!(frame.windows(out.len()).any(|part| part == &out[..]));
    }

    #[test]
    fn presence_has_centrifugos_bytes() {
        let mut out = BytesMut::new();
        let info = ClientInfo { user: "u".into(), client: "c".into(), ..ClientInfo::default() };
        encode_client_info(&info, &mut out);
        assert_eq!(out, &b"\x0a\x01u\x12\x01c"[..]);
        assert_eq!(decode_client_info(&out).unwrap(), info);
    }

    #[test]
    fn fields_of_newer_nodes_are_walked_over_and_broken_ones_are_errors() {
        assert_eq!(decode_publication(b"\x22\x01x\x5a\x03key\x60\x01").unwrap().data.bytes(), b"x");
        assert_eq!(decode_publication(b"\x20\x01"), Err(WireError::WireTypeWrong));
        assert_eq!(decode_publication(b"\x22\x09x"), Err(WireError::Truncated));
        let many = b"\x3a\x00".repeat(TAGS_MAX + 1);
        assert_eq!(decode_publication(&many), Err(WireError::TooDeep));
        assert!(decode_publication(&many[2..]).is_ok());
    }
}
