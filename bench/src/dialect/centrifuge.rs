//! Centrifuge: what a client of that protocol says and hears.
//!
//! In:  a channel, a message to publish, a frame that came.
//! Out: commands; and for each reply and push of the frame what it means to a load tool ([`Heard`]).
//!
//! A message travels as a JSON string in both formats, so that a subscriber of either hears the same bytes. Most of
//! what comes is publications: in JSON those are recognized by their text, without parsing the line (`glance`);
//! whatever looks different is decoded in full. No I/O, no clock.

use std::borrow::Cow;

use bytes::{BufMut as _, BytesMut};
use holdfast_protocol::client::command::{ConnectRequest, PublishRequest, SubscribeRequest};
use holdfast_protocol::client::reply::SubscribeResult;
use holdfast_protocol::client::{
    Command, DecodeError, Format, FromServer, Messages, Payload, PayloadForm, PushBody, ReplyResult, Request,
    StreamPosition, append_command, decode_replies,
};

use crate::message::{MAGIC, MessageCodec, Stamp};

const CONNECT_ID: u32 = 1;
const SUBSCRIBE_ID: u32 = 2;
/// Publications count on from here; a number comes again after as many as 31 bits hold.
const PUBLISH_ID_MIN: u32 = 3;
const PUBLISH_ID_MASK: u32 = (1 << 31) - 1;
const DATA_KEY: &[u8] = b"\"data\":\"";

/// What one reply or push means.
#[derive(Debug, PartialEq)]
pub enum Heard<'f> {
    /// A publication, without the quotes around it.
    Delivery(&'f [u8]),
    /// To be answered if the server wants that.
    Ping,
    /// The session is open; whether pings are to be answered.
    Connected {
        /// True exactly when the server waits for answers to its pings.
        wants_pongs: bool,
    },
    /// The channel is heard; with what was missed, where that was asked for.
    Subscribed(Box<SubscribeResult<'f>>),
    /// A publication of ours was taken.
    Published,
    /// A command of ours was refused.
    Refused {
        /// True exactly when it was a publication: the connection is none the worse for it.
        is_publication: bool,
        /// In words.
        why: String,
    },
    /// The server ended the subscription or the connection; in words.
    Ended(String),
    /// Nothing that concerns us: who came and went, and the like.
    Other,
}

/// Appends the first frame of a session: `connect`, and `subscribe` where there is a channel. With a position, what
/// came after it is asked for.
pub fn greet(
    format: Format,
    token: &str,
    channel: Option<&str>,
    since: Option<&StreamPosition<'_>>,
    out: &mut BytesMut,
) {
    let connect = ConnectRequest {
        token: Cow::Borrowed(token),
        name: Cow::Borrowed("holdfast-bench"),
        ..ConnectRequest::default()
    };
    append_command(format, out, &Command { id: CONNECT_ID, request: Request::Connect(connect) });
    let Some(channel) = channel else { return };
    let subscribe = SubscribeRequest {
        channel: Cow::Borrowed(channel),
        recover: since.is_some(),
        epoch: since.map_or(Cow::Borrowed(""), |position| Cow::Borrowed(&*position.epoch)),
        offset: since.map_or(0, |position| position.offset),
        ..SubscribeRequest::default()
    };
    append_command(format, out, &Command { id: SUBSCRIBE_ID, request: Request::Subscribe(subscribe) });
}

/// Appends the frame that publishes one message of `mint`.
pub fn publish(format: Format, mint: &MessageCodec, stamp: Stamp, channel: &str, out: &mut BytesMut) {
    // The message is written behind where its frame will be, and cut off again.
    let mut data = out.split_off(out.len());
    data.reserve(mint.size() + 2);
    data.put_u8(b'"');
    mint.write(stamp, &mut data);
    data.put_u8(b'"');
    let publish = PublishRequest {
        channel: Cow::Borrowed(channel),
        data: Payload::with_form(&data, string_form()),
        ..PublishRequest::default()
    };
    let id = PUBLISH_ID_MIN + (stamp.sequence & PUBLISH_ID_MASK);
    append_command(format, out, &Command { id, request: Request::Publish(publish) });
}

/// What a frame means, message by message. Ends after the first that is none.
pub fn hear(format: Format, frame: &[u8]) -> Hearing<'_> {
    match format {
        Format::Json => Hearing::Lines(Some(frame)),
        Format::Protobuf => Hearing::Messages(decode_replies(format, frame)),
    }
}

/// The message that a publication carries: a JSON string, without its quotes. Anything else is given as it is.
pub fn message_in<'f>(data: Payload<'f>) -> &'f [u8] {
    let bytes = data.bytes();
    bytes.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")).unwrap_or(bytes)
}

/// See [`hear`].
#[derive(Debug)]
pub enum Hearing<'f> {
    /// JSON that is still to be heard; none at the end.
    Lines(Option<&'f [u8]>),
    /// Protobuf. Decoding borrows from the frame and does not allocate: there is nothing to save.
    Messages(Messages<'f, FromServer<'f>>),
}

impl<'f> Iterator for Hearing<'f> {
    type Item = Result<Heard<'f>, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::Messages(messages) => messages.next().map(|message| message.map(heard)),
            Self::Lines(rest) => {
                let text = (*rest)?;
                let end = memchr::memchr(b'\n', text);
                let line = &text[..end.unwrap_or(text.len())];
                // A line break after the last line is allowed.
                *rest = end.map(|end| &text[end + 1..]).filter(|after| !after.is_empty());
                if let Some(message) = glance(line) {
                    return Some(Ok(Heard::Delivery(message)));
                }
                let decoded = decode_replies(Format::Json, line).next()?;
                Some(decoded.map(heard).inspect_err(|_| *rest = None))
            }
        }
    }
}

/// The message in a line that is a publication of ours; none when the line is to be decoded to know.
///
/// Quotes inside of JSON strings are escaped, so these bytes are a key wherever they are, and the text up to the next
/// quote is its whole value. What is damaged in that text, its checksum tells.
fn glance(line: &[u8]) -> Option<&[u8]> {
    if !line.starts_with(b"{\"push\":{") {
        return None;
    }
    let value = &line[memchr::memmem::find(line, DATA_KEY)? + DATA_KEY.len()..];
    if !value.starts_with(MAGIC) {
        return None;
    }
    memchr::memchr(b'"', value).map(|end| &value[..end])
}

fn heard(message: FromServer<'_>) -> Heard<'_> {
    match message {
        FromServer::Ping => Heard::Ping,
        FromServer::Push(push) => match push.body {
            PushBody::Publication(publication) => Heard::Delivery(message_in(publication.data)),
            PushBody::Unsubscribe(end) => {
                Heard::Ended(format!("the server ended the subscription: {} {}", end.code, end.reason))
            }
            PushBody::Disconnect(end) => {
                Heard::Ended(format!("the server disconnected: {} {}", end.code, end.reason))
            }
            _ => Heard::Other,
        },
        FromServer::Reply(reply) => match reply.result {
            Ok(ReplyResult::Connect(result)) => Heard::Connected { wants_pongs: result.pong },
            Ok(ReplyResult::Subscribe(result)) => Heard::Subscribed(Box::new(result)),
            Ok(ReplyResult::Publish(_)) => Heard::Published,
            Ok(_) => Heard::Other,
            Err(error) => {
                let what = match reply.id {
                    CONNECT_ID => "connect",
                    SUBSCRIBE_ID => "subscribe",
                    _ => "publish",
                };
                Heard::Refused {
                    is_publication: reply.id >= PUBLISH_ID_MIN,
                    why: format!("{what} was refused: {} {}", error.code, error.message),
                }
            }
        },
    }
}

/// What every message is found to be, so that none is looked through for it.
fn string_form() -> PayloadForm {
    static FORM: std::sync::OnceLock<PayloadForm> = std::sync::OnceLock::new();
    *FORM.get_or_init(|| Payload::new(b"\"\"").checked().form())
}

#[cfg(test)]
mod tests {
    use holdfast_protocol::client::push::Push;
    use holdfast_protocol::client::reply::{ClientError, ConnectResult, Reply};
    use holdfast_protocol::client::{
        ClientInfo, ErrorCode, FromClient, Publication, append_push, append_reply, decode_commands,
    };

    use super::*;

    const STAMP: Stamp = Stamp { publisher: 7, sequence: 9, intended_ns: 11 };

    fn text(mint: &MessageCodec) -> BytesMut {
        let mut out = BytesMut::new();
        mint.write(STAMP, &mut out);
        out
    }

    fn publication<'a>(data: &'a [u8], info: Option<ClientInfo<'a>>) -> Push<'a> {
        let publication = Publication { data: Payload::new(data), info, offset: 3, ..Publication::default() };
        Push { id: 0, channel: Cow::Borrowed("bench:1"), body: PushBody::Publication(publication) }
    }

    fn all(format: Format, frame: &[u8]) -> Vec<Heard<'_>> {
        hear(format, frame).map(|heard| heard.expect("well-formed")).collect()
    }

    #[test]
    fn what_is_published_is_a_json_string_of_the_message_in_either_format() {
        let mint = MessageCodec::new(1, 40, 1);
        for format in Format::ALL {
            let mut frame = BytesMut::new();
            publish(format, &mint, STAMP, "bench:1", &mut frame);
            let Some(Ok(FromClient::Command(command))) = decode_commands(format, &frame).next() else {
                panic!("{format:?}: no command")
            };
            let Request::Publish(request) = command.request else { panic!("{format:?}: no publication") };
            assert_eq!((&*request.channel, message_in(request.data)), ("bench:1", &text(&mint)[..]));
        }
    }

    #[test]
    fn the_first_frame_asks_for_what_was_missed_where_a_position_is_given() {
        let since = StreamPosition { offset: 5, epoch: Cow::Borrowed("e") };
        for format in Format::ALL {
            let mut frame = BytesMut::new();
            greet(format, "T", Some("bench:1"), Some(&since), &mut frame);
            let commands: Vec<_> =
                decode_commands(format, &frame).map(|command| command.expect("well-formed")).collect();
            let [FromClient::Command(connect), FromClient::Command(subscribe)] = &commands[..] else {
                panic!("{format:?}: two commands")
            };
            let Request::Connect(connect) = &connect.request else { panic!("{format:?}: connect is first") };
            assert_eq!(connect.token, "T");
            let Request::Subscribe(request) = &subscribe.request else { panic!("{format:?}: no subscribe") };
            assert_eq!((request.recover, request.offset, &*request.epoch), (true, 5, "e"));
        }
    }

    #[test]
    fn several_messages_of_a_frame_are_heard_in_order() {
        let mint = MessageCodec::new(1, 40, 1);
        let message = text(&mint);
        let data = [b"\"", &message[..], b"\""].concat();
        for format in Format::ALL {
            let mut frame = BytesMut::new();
            let connected = ConnectResult { pong: true, ..ConnectResult::default() };
            append_reply(format, &mut frame, &Reply { id: 1, result: Ok(ReplyResult::Connect(connected)) });
            append_push(format, &mut frame, &publication(&data, None));
            let error = ClientError::from(ErrorCode::PERMISSION_DENIED);
            append_reply(format, &mut frame, &Reply { id: 12, result: Err(error) });
            append_push(format, &mut frame, &publication(&data, None));
            let heard = all(format, &frame);
            assert_eq!(heard[0], Heard::Connected { wants_pongs: true });
            assert_eq!(heard[1], Heard::Delivery(&message));
            assert!(matches!(&heard[2], Heard::Refused { is_publication: true, .. }));
            assert_eq!(heard[3..], [Heard::Delivery(&message[..])]);
        }
        assert_eq!(all(Format::Json, b"{}\n{}\n"), [Heard::Ping, Heard::Ping]);
        assert_eq!(all(Format::Protobuf, b"\0"), [Heard::Ping]);
    }

    #[test]
    fn a_glance_is_not_misled_by_what_stands_before_the_message() {
        let mint = MessageCodec::new(1, 40, 1);
        let message = text(&mint);
        let data = [b"\"", &message[..], b"\""].concat();
        let info = ClientInfo {
            user: Cow::Borrowed(r#"","data":"HF"#),
            conn_info: Payload::new(br#"{"data":"other"}"#),
            ..ClientInfo::default()
        };
        let mut frame = BytesMut::new();
        append_push(Format::Json, &mut frame, &publication(&data, Some(info)));
        assert_eq!(all(Format::Json, &frame), [Heard::Delivery(&message[..])]);
        let spaced = format!(
            r#"{{ "push": {{"channel": "c", "pub": {{"data": "{}"}}}}}}"#,
            std::str::from_utf8(&message).expect("ASCII")
        );
        assert_eq!(all(Format::Json, spaced.as_bytes()), [Heard::Delivery(&message[..])]);
    }

    #[test]
    fn what_is_no_frame_of_the_protocol_is_an_error_and_the_last() {
        let mut hearing = hear(Format::Json, b"{}\nnonsense\n{}");
        assert!(matches!(hearing.next(), Some(Ok(Heard::Ping))));
        assert!(matches!(hearing.next(), Some(Err(_))));
        assert!(hearing.next().is_none());
    }
}
