//! Channels: the survey about channels with subscribers, in the Protobuf of Centrifugo's server API.
//!
//! In:  a pattern; names and numbers of subscribers.
//! Out: the request and its answer, which is read channel by channel.
//!
//! ChannelsRequest: pattern=1. ChannelsResult: channels=1, a map whose entries are key=1 and value=2. ChannelInfo:
//! num_clients=1. No I/O, no clock.

use bytes::BytesMut;
use holdfast_protocol::client::WireError;

use crate::wire::{Reader, put_bytes, put_message, put_number, put_present};

/// What the survey is called.
pub const OP: &str = "channels";

/// The request.
pub fn encode_request(pattern: &str) -> BytesMut {
    let mut out = BytesMut::new();
    put_bytes(&mut out, 1, pattern.as_bytes());
    out
}

/// Its pattern; empty for all channels.
///
/// # Errors
///
/// It is no Protobuf message, or one of another shape.
pub fn decode_request(bytes: &[u8]) -> Result<&str, WireError> {
    let (mut fields, mut pattern) = (Reader::new(bytes), "");
    while let Some((number, value)) = fields.next()? {
        if number == 1 {
            pattern = value.text()?;
        }
    }
    Ok(pattern)
}

/// Appends a channel to an answer. One that is there twice counts by its last number.
pub fn put_channel(out: &mut BytesMut, name: &str, clients: u32) {
    put_message(out, 1, |out| {
        put_bytes(out, 1, name.as_bytes());
        let mut info = BytesMut::new();
        put_number(&mut info, 1, clients.into());
        put_present(out, 2, &info);
    });
}

/// Calls `each` with every channel of an answer and its number of subscribers.
///
/// # Errors
///
/// It is no Protobuf message, or one of another shape: what came before has been passed on.
pub fn read_result<'a>(bytes: &'a [u8], mut each: impl FnMut(&'a str, u32)) -> Result<(), WireError> {
    let mut fields = Reader::new(bytes);
    while let Some((number, value)) = fields.next()? {
        if number != 1 {
            continue;
        }
        let (mut name, mut clients) = ("", 0);
        let mut entry = Reader::new(value.bytes()?);
        while let Some((number, value)) = entry.next()? {
            match number {
                1 => name = value.text()?,
                2 => {
                    let mut info = Reader::new(value.bytes()?);
                    while let Some((number, value)) = info.next()? {
                        if number == 1 {
                            clients = value.int32()?;
                        }
                    }
                }
                _ => {}
            }
        }
        each(name, clients);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_survive_the_way_there_and_back() {
        assert_eq!(decode_request(&encode_request("news:*")), Ok("news:*"));
        assert_eq!(decode_request(&encode_request("")), Ok(""));
        let mut answer = BytesMut::new();
        put_channel(&mut answer, "a", 3);
        put_channel(&mut answer, "b", 1_000_000);
        assert_eq!(answer[..9], [0x0a, 7, 0x0a, 1, b'a', 0x12, 2, 8, 3], "as Centrifugo writes a map");
        let mut read = Vec::new();
        read_result(&answer, |name, clients| read.push((name, clients))).unwrap();
        assert_eq!(read, [("a", 3), ("b", 1_000_000)]);
        assert!(read_result(b"\x0a\x09x", |_, _| {}).is_err());
    }
}
