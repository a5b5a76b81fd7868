//! Frames: batches, what may be left out, and every kind of bad input.

use bytes::BytesMut;
use holdfast_protocol::client::command::{ConnectRequest, PublishRequest, RefreshRequest};
use holdfast_protocol::client::filter::FilterNode;
use holdfast_protocol::client::push::MessagePush;
use holdfast_protocol::client::{
    DEPTH_MAX, DecodeError, DisconnectCode, Format, FromClient, Payload, Push, PushBody, Request, WireError,
    append_encoded, append_push, decode_commands, encode_push,
};

use crate::support::{
    command, every_command, every_reply, read_commands, read_replies, write_commands, write_replies,
};

fn json(frame: &str) -> Result<Vec<FromClient<'_>>, DecodeError> {
    read_commands(Format::Json, frame.as_bytes())
}

fn protobuf(frame: &[u8]) -> Result<Vec<FromClient<'_>>, DecodeError> {
    read_commands(Format::Protobuf, frame)
}

/// A length-delimited Protobuf field or frame.
fn delimited(tag: &[u8], body: &[u8]) -> Vec<u8> {
    let mut len = Vec::new();
    let mut rest = body.len();
    while rest >= 0x80 {
        len.push(u8::try_from(rest & 0x7f).unwrap() | 0x80);
        rest >>= 7;
    }
    len.push(u8::try_from(rest).unwrap());
    [tag, &len, body].concat()
}

fn refresh(id: u32, token: &str) -> FromClient<'_> {
    command(id, Request::Refresh(RefreshRequest { token: token.into() }))
}

#[test]
fn every_message_survives_the_way_there_and_back_alone_and_in_a_batch() {
    for format in Format::ALL {
        for message in every_command() {
            let frame = write_commands(format, std::slice::from_ref(&message));
            assert_eq!(read_commands(format, &frame), Ok(vec![message]));
        }
        for message in every_reply() {
            let frame = write_replies(format, std::slice::from_ref(&message));
            assert_eq!(read_replies(format, &frame), Ok(vec![message]));
        }
        let commands = write_commands(format, &every_command());
        assert_eq!(read_commands(format, &commands), Ok(every_command()));
        let replies = write_replies(format, &every_reply());
        assert_eq!(read_replies(format, &replies), Ok(every_reply()));
    }
}

#[test]
fn json_messages_are_joined_by_line_breaks_and_protobuf_ones_by_nothing() {
    let twice = [refresh(1, "a"), FromClient::Pong];
    let frame = write_commands(Format::Json, &twice);
    assert_eq!(frame, "{\"id\":1,\"refresh\":{\"token\":\"a\"}}\n{}");
    assert_eq!(write_commands(Format::Protobuf, &twice), &b"\x07\x08\x01\x72\x03\x0a\x01a\x00"[..]);
}

#[test]
fn a_push_encoded_once_stands_alone_and_among_others() {
    let push = Push {
        id: 0,
        channel: "a".into(),
        body: PushBody::Message(MessagePush { data: Payload::new(b"[1,\n2]") }),
    };
    for format in Format::ALL {
        let shared = encode_push(format, &push);
        let mut alone = BytesMut::new();
        append_push(format, &mut alone, &push);
        assert_eq!(alone, shared);
        let mut frame = BytesMut::new();
        append_encoded(format, &mut frame, format.empty_message());
        append_encoded(format, &mut frame, &shared);
        append_encoded(format, &mut frame, &shared);
        assert_eq!(read_replies(format, &frame).unwrap().len(), 3);
    }
    assert_eq!(encode_push(Format::Json, &push), r#"{"push":{"channel":"a","message":{"data":[1, 2]}}}"#);
}

#[test]
fn strings_and_payloads_borrow_from_the_frame() {
    let frame = r#"{"id":1,"publish":{"channel":"news","data": {"a": [1]} }}"#;
    let messages = json(frame).unwrap();
    let [FromClient::Command(publish)] = &messages[..] else { panic!("{messages:?}") };
    let Request::Publish(PublishRequest { channel, data, .. }) = &publish.request else {
        panic!("{publish:?}")
    };
    assert!(matches!(channel, std::borrow::Cow::Borrowed("news")));
    assert_eq!(data.bytes(), br#"{"a": [1]}"#);
    assert!(frame.as_bytes().as_ptr_range().contains(&data.bytes().as_ptr()));
}

#[test]
fn names_and_values_may_be_written_with_escapes() {
    let frame = r#"{"\u0069d":1,"refr\u0065sh":{"token":"a\n\ud83d\ude00"}}"#;
    assert_eq!(json(frame), Ok(vec![refresh(1, "a\n😀")]));
}

#[test]
fn what_is_not_known_is_left_out() {
    let frame = r#"{"new":[{}],"id":1,"refresh":{"token":"a","more":{"x":null}},"future":null}"#;
    assert_eq!(json(frame), Ok(vec![refresh(1, "a")]));
    // Fields 100 (varint), 101 (bytes), 102 and 103 (fixed), outside and inside.
    let more = b"\xa0\x06\x01\xaa\x06\x02xx\xb5\x06\x01\x02\x03\x04\xb9\x06\x01\x02\x03\x04\x05\x06\x07\x08";
    let token = delimited(b"\x72", &[b"\x0a\x01a", &more[..]].concat());
    assert_eq!(
        protobuf(&delimited(b"", &[b"\x08\x01", &more[..], &token].concat())),
        Ok(vec![refresh(1, "a")])
    );
}

#[test]
fn null_stands_for_what_is_not_set_and_for_itself_as_a_payload() {
    let frame =
        r#"{"id":1,"connect":{"token":null,"data":null,"subs":null,"headers":null,"flag":null},"send":null}"#;
    let connect = ConnectRequest { data: Payload::new(b"null"), ..ConnectRequest::default() };
    assert_eq!(json(frame), Ok(vec![command(1, Request::Connect(connect))]));
}

#[test]
fn white_space_and_a_last_line_break_are_allowed() {
    assert_eq!(json(" { } \r\n{}\n"), Ok(vec![FromClient::Pong; 2]));
    assert_eq!(json("{}\n\n").map_err(|error| error.disconnect()), Err(DisconnectCode::BAD_REQUEST));
}

#[test]
fn a_command_asks_for_exactly_one_thing() {
    assert_eq!(json(r#"{"id":1}"#), Err(DecodeError::BodyMissing));
    assert_eq!(json(r#"{"id":1,"future":{}}"#), Err(DecodeError::BodyMissing));
    assert_eq!(json(r#"{"id":1,"ping":{},"refresh":{}}"#), Err(DecodeError::BodyRepeated));
    assert_eq!(json(r#"{"id":1,"ping":{},"ping":{}}"#), Err(DecodeError::BodyRepeated));
    assert_eq!(protobuf(b"\x02\x08\x01"), Err(DecodeError::BodyMissing));
    assert_eq!(protobuf(b"\x04\x5a\x00\x72\x00"), Err(DecodeError::BodyRepeated));
}

#[test]
fn a_reply_says_exactly_one_thing() {
    for frame in
        [r#"{"error":{},"rpc":{}}"#, r#"{"push":{"join":{}},"rpc":{}}"#, r#"{"push":{"join":{},"leave":{}}}"#]
    {
        assert_eq!(read_replies(Format::Json, frame.as_bytes()), Err(DecodeError::BodyRepeated), "{frame}");
    }
    for frame in [r#"{"id":1}"#, r#"{"push":{"channel":"a"}}"#] {
        assert_eq!(read_replies(Format::Json, frame.as_bytes()), Err(DecodeError::BodyMissing), "{frame}");
    }
}

#[test]
fn bad_json_is_refused_and_the_place_is_named() {
    for frame in [
        "[]",
        "1",
        "null",
        "{",
        "{}x",
        "{}{}",
        "{\"id\":-1}",
        "{\"id\":1.5}",
        "{\"id\":4294967296}",
        "{\"id\":\"1\"}",
        "{\"rpc\":[]}",
        "{\"publish\":{\"channel\":1}}",
        "{\"publish\":{\"data\":}}",
        "{\"publish\":{\"data\":{]}}",
        "{\"refresh\":{\"token\":\"\\ud800\"}}",
        "{'id':1}",
        "{\"id\":1,}",
        "{\"connect\":{\"subs\":[]}}",
    ] {
        let error = json(frame).unwrap_err();
        assert!(matches!(error, DecodeError::Json { line: 1, .. }), "{frame}: {error:?}");
        assert_eq!(error.disconnect(), DisconnectCode::BAD_REQUEST);
    }
    assert_eq!(json("{}\n{}\n{\"id\":}"), Err(DecodeError::Json { line: 3, column: 7 }));
    assert_eq!(read_commands(Format::Json, b"{\"\xff\":1}"), Err(DecodeError::JsonNotUtf8));
}

#[test]
fn bad_protobuf_is_refused_and_the_fault_is_named() {
    for (frame, error) in [
        (&b"\x05\x08\x01"[..], DecodeError::FrameTruncated { announced_bytes: 5, left_bytes: 2 }),
        (
            b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
            DecodeError::FrameTruncated { announced_bytes: u64::MAX, left_bytes: 0 },
        ),
        (b"\x80", DecodeError::Protobuf(WireError::Truncated)),
        (b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", DecodeError::Protobuf(WireError::VarintTooLong)),
        (b"\x02\x72\x05", DecodeError::Protobuf(WireError::Truncated)),
        (b"\x02\x0b\x0c", DecodeError::Protobuf(WireError::WireTypeUnknown(3))),
        (b"\x02\x00\x00", DecodeError::Protobuf(WireError::FieldNumber)),
        (b"\x02\x70\x01", DecodeError::Protobuf(WireError::WireTypeWrong)),
        (b"\x02\x0a\x00", DecodeError::Protobuf(WireError::WireTypeWrong)),
        (b"\x05\x72\x03\x0a\x01\xff", DecodeError::Protobuf(WireError::NotUtf8)),
    ] {
        assert_eq!(protobuf(frame), Err(error));
        assert_eq!(error.disconnect(), DisconnectCode::BAD_REQUEST);
    }
}

#[test]
fn an_empty_frame_is_refused() {
    for format in Format::ALL {
        assert_eq!(read_commands(format, b""), Err(DecodeError::FrameEmpty));
    }
}

#[test]
fn nothing_is_read_after_a_fault() {
    let mut messages = decode_commands(Format::Json, b"{}\nx\n{}");
    assert_eq!(messages.next(), Some(Ok(FromClient::Pong)));
    assert!(matches!(messages.next(), Some(Err(DecodeError::Json { line: 2, .. }))));
    assert_eq!(messages.next(), None);
}

#[test]
fn nested_filters_cost_no_more_stack_than_the_limit() {
    let nested = |depth: usize| (0..depth).fold(Vec::new(), |node, _| delimited(b"\x32", &node));
    let subscribe = |depth| delimited(b"", &delimited(b"\x2a", &delimited(b"\x6a", &nested(depth))));
    let above = 2;
    assert!(protobuf(&subscribe(usize::from(DEPTH_MAX) - above)).is_ok());
    assert_eq!(
        protobuf(&subscribe(usize::from(DEPTH_MAX) - above + 1)),
        Err(DecodeError::Protobuf(WireError::TooDeep))
    );
    assert_eq!(protobuf(&subscribe(10_000)), Err(DecodeError::Protobuf(WireError::TooDeep)));
    let tf = format!("{}{}", "{\"nodes\":[".repeat(100_000), "]}".repeat(100_000));
    let frame = format!("{{\"id\":1,\"subscribe\":{{\"tf\":{tf}}}}}");
    assert!(matches!(json(&frame), Err(DecodeError::Json { .. })));
}

#[test]
fn a_filter_comes_as_the_tree_that_was_sent() {
    let frame = r#"{"id":1,"subscribe":{"tf":{"op":"or","nodes":[{"key":"k","cmp":"eq","val":"v"}]}}}"#;
    let messages = json(frame).unwrap();
    let [FromClient::Command(subscribe)] = &messages[..] else { panic!("{messages:?}") };
    let Request::Subscribe(subscribe) = &subscribe.request else { panic!("{subscribe:?}") };
    let leaf = FilterNode { key: "k".into(), cmp: "eq".into(), val: "v".into(), ..FilterNode::default() };
    let tree = FilterNode { op: "or".into(), nodes: vec![leaf], ..FilterNode::default() };
    assert_eq!(subscribe.tf, Some(Box::new(tree)));
}
