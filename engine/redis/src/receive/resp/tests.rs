//! Frames against the decoder of `redis-protocol`, and limits.

use proptest::prelude::*;
use redis_protocol::{resp2, resp3};

use super::*;

const LIMITS: Limits = Limits { bulk_bytes_max: 10_000, line_bytes_max: 1000, values_max: 1000 };

/// Frames of the types that a server sends, as bytes. Without `is_new` those of RESP2.
fn frame(is_new: bool) -> impl Strategy<Value = Vec<u8>> {
    let bulk = |kind: char| {
        prop::collection::vec(any::<u8>(), 0..60).prop_map(move |bytes| {
            let mut frame = format!("{kind}{}\r\n", bytes.len()).into_bytes();
            frame.extend([&bytes[..], b"\r\n"].concat());
            frame
        })
    };
    let line = |kind: char| "[ -~]{0,20}".prop_map(move |text| format!("{kind}{text}\r\n").into_bytes());
    let old = prop_oneof![
        4 => bulk('$'),
        1 => line('+'),
        1 => line('-'),
        2 => any::<i64>().prop_map(|number| format!(":{number}\r\n").into_bytes()),
    ];
    let leaf = if is_new {
        let new = prop_oneof![
            bulk('!'),
            "[ -~]{0,20}".prop_map(|text| format!("={}\r\ntxt:{text}\r\n", text.len() + 4).into_bytes()),
            Just(b"_\r\n".to_vec()),
            any::<bool>().prop_map(|is| if is { b"#t\r\n".to_vec() } else { b"#f\r\n".to_vec() }),
            (-1000_i32..1000).prop_map(|number| format!(",{number}.5\r\n").into_bytes()),
            "[0-9]{1,40}".prop_map(|number| format!("({number}\r\n").into_bytes()),
        ];
        prop_oneof![3 => old, 1 => new].boxed()
    } else {
        prop_oneof![8 => old, 1 => Just(b"$-1\r\n".to_vec()), 1 => Just(b"*-1\r\n".to_vec())].boxed()
    };
    let leaf = leaf.boxed();
    leaf.clone().prop_recursive(4, 40, 6, move |inner| {
        let array = aggregate(if is_new { "*>" } else { "*" }, 1, inner, 0..6);
        if is_new {
            // Only some types can be keys in that decoder.
            let pair = ("[a-z]{1,9}", leaf.clone()).prop_map(|(key, value)| {
                [format!("${}\r\n{key}\r\n", key.len()).as_bytes(), &value].concat()
            });
            prop_oneof![3 => array, 1 => aggregate("%", 1, pair, 0..4)].boxed()
        } else {
            array.boxed()
        }
    })
}

fn aggregate(
    kinds: &'static str,
    each: usize,
    inner: impl Strategy<Value = Vec<u8>>,
    count: std::ops::Range<usize>,
) -> impl Strategy<Value = Vec<u8>> {
    (prop::sample::select(kinds.chars().collect::<Vec<_>>()), prop::collection::vec(inner, count)).prop_map(
        move |(kind, values)| {
            let mut frame = format!("{kind}{}\r\n", values.len() / each).into_bytes();
            frame.extend(values.concat());
            frame
        },
    )
}

/// A value in the words of both decoders.
#[derive(Debug, PartialEq)]
enum Seen {
    Bytes(Vec<u8>),
    Error(Vec<u8>),
    Integer(i64),
    Null,
    Aggregate(Vec<Self>),
    Map(usize),
}

fn ours(bytes: &[u8], value: Value, values: &[Value]) -> Seen {
    match value {
        Value::Line(span) | Value::Bulk(span) => Seen::Bytes(span.of(bytes).to_vec()),
        Value::Error(span) => Seen::Error(span.of(bytes).to_vec()),
        Value::Integer(number) => Seen::Integer(number),
        Value::Null => Seen::Null,
        Value::Aggregate(Aggregate::Map, length) => Seen::Map(length),
        Value::Aggregate(_, length) => {
            // Those inside of values that are kept are not.
            let kept = values.iter().take(length).map(|&value| match value {
                Value::Aggregate(Aggregate::Map, length) => Seen::Map(length),
                Value::Aggregate(..) => Seen::Aggregate(Vec::new()),
                value => ours(bytes, value, &[]),
            });
            Seen::Aggregate(kept.collect())
        }
    }
}

fn theirs_of_resp2(frame: &resp2::types::OwnedFrame, is_outermost: bool) -> Seen {
    use resp2::types::OwnedFrame as Frame;
    match frame {
        Frame::SimpleString(bytes) | Frame::BulkString(bytes) => Seen::Bytes(bytes.clone()),
        Frame::Error(text) => Seen::Error(text.as_bytes().to_vec()),
        Frame::Integer(number) => Seen::Integer(*number),
        Frame::Null => Seen::Null,
        Frame::Array(frames) => {
            let kept = frames.iter().take(if is_outermost { VALUES_KEPT } else { 0 });
            Seen::Aggregate(kept.map(|frame| theirs_of_resp2(frame, false)).collect())
        }
    }
}

fn theirs_of_resp3(frame: &resp3::types::OwnedFrame, is_outermost: bool) -> Seen {
    use resp3::types::OwnedFrame as Frame;
    match frame {
        Frame::SimpleString { data, .. }
        | Frame::BlobString { data, .. }
        | Frame::BigNumber { data, .. }
        | Frame::VerbatimString { data, .. } => Seen::Bytes(data.clone()),
        Frame::Boolean { data, .. } => Seen::Bytes(if *data { b"t".to_vec() } else { b"f".to_vec() }),
        Frame::Double { data, .. } => Seen::Bytes(format!("{data:?}").into_bytes()),
        Frame::SimpleError { data, .. } => Seen::Error(data.as_bytes().to_vec()),
        Frame::BlobError { data, .. } => Seen::Error(data.clone()),
        Frame::Number { data, .. } => Seen::Integer(*data),
        Frame::Null => Seen::Null,
        Frame::Map { data, .. } => Seen::Map(data.len()),
        Frame::Array { data, .. } | Frame::Push { data, .. } => {
            let kept = data.iter().take(if is_outermost { VALUES_KEPT } else { 0 });
            Seen::Aggregate(kept.map(|frame| theirs_of_resp3(frame, false)).collect())
        }
        other => panic!("{other:?}"),
    }
}

fn complete(bytes: &[u8], protocol: Protocol) -> Frame {
    match parse(bytes, 0, protocol, &LIMITS) {
        Ok(Parsed::Complete(frame)) => frame,
        other => panic!("{other:?} of {:?}", String::from_utf8_lossy(bytes)),
    }
}

/// Each beginning of a frame is incomplete, and says truly how much it needs at least.
fn assert_incomplete(frame: &[u8], protocol: Protocol) {
    for end in 0..frame.len() {
        match parse(&frame[..end], 0, protocol, &LIMITS) {
            Ok(Parsed::Incomplete { bytes_min }) => assert!(bytes_min > end && bytes_min <= frame.len()),
            other => panic!("{other:?} of {end} bytes of {frame:?}"),
        }
    }
}

proptest! {
    #[test]
    fn frames_of_resp2_are_those_that_the_library_sees(frame in frame(false)) {
        assert_incomplete(&frame, Protocol::Resp2);
        for protocol in [Protocol::Resp2, Protocol::Resp3] {
            let found = complete(&frame, protocol);
            let (expected, used) = resp2::decode::decode(&frame).unwrap().unwrap();
            prop_assert_eq!(found.end, used);
            prop_assert_eq!(ours(&frame, found.value, &found.values), theirs_of_resp2(&expected, true));
        }
    }

    #[test]
    fn frames_of_resp3_are_those_that_the_library_sees(frame in frame(true)) {
        assert_incomplete(&frame, Protocol::Resp3);
        let found = complete(&frame, Protocol::Resp3);
        let (expected, used) = resp3::decode::complete::decode(&frame).unwrap().unwrap();
        prop_assert_eq!(found.end, used);
        let seen = ours(&frame, found.value, &found.values);
        // Equal keys are one there.
        match (seen, theirs_of_resp3(&expected, true)) {
            (Seen::Map(ours), Seen::Map(theirs)) => prop_assert!(theirs <= ours),
            (Seen::Aggregate(ours), Seen::Aggregate(theirs)) => {
                prop_assert_eq!(ours.len(), theirs.len());
                for pair in ours.into_iter().zip(theirs) {
                    match pair {
                        (Seen::Map(ours), Seen::Map(theirs)) => prop_assert!(theirs <= ours),
                        (ours, theirs) => prop_assert_eq!(ours, theirs),
                    }
                }
            }
            (ours, theirs) => prop_assert_eq!(ours, theirs),
        }
    }

    #[test]
    fn garbage_is_judged_once_and_for_all(bytes in prop::collection::vec(
        prop_oneof![prop::sample::select(b"*>$%+-:!=_#~\r\n0123456789".to_vec()), any::<u8>()], 0..200,
    )) {
        for protocol in [Protocol::Resp2, Protocol::Resp3] {
            let whole = parse(&bytes, 0, protocol, &LIMITS);
            for end in 0..bytes.len() {
                match (parse(&bytes[..end], 0, protocol, &LIMITS), &whole) {
                    (Ok(Parsed::Incomplete { bytes_min }), whole) => {
                        prop_assert!(bytes_min > end);
                        if let Ok(Parsed::Complete(frame)) = whole {
                            prop_assert!(bytes_min <= frame.end);
                        }
                    }
                    (Ok(part), whole) => prop_assert_eq!(Ok(&part), whole.as_ref()),
                    (Err(_), whole) => prop_assert!(whole.is_err()),
                }
            }
        }
    }

    #[test]
    fn commands_are_read_by_the_library_as_they_were_meant(
        words in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..2000), 0..20),
    ) {
        let mut out = BytesMut::new();
        append_command(&mut out, words.iter().map(Vec::as_slice));
        let (frame, used) = resp2::decode::decode(&out).unwrap().unwrap();
        let expected = words.into_iter().map(resp2::types::OwnedFrame::BulkString).collect();
        prop_assert_eq!((frame, used), (resp2::types::OwnedFrame::Array(expected), out.len()));
    }
}

#[test]
fn what_is_beyond_the_limits_is_refused_before_it_is_there() {
    let refused = |bytes: &[u8]| match parse(bytes, 0, Protocol::Resp3, &LIMITS) {
        Err(error) => error,
        other => panic!("{other:?} of {:?}", String::from_utf8_lossy(bytes)),
    };
    let too_long = ProtocolError::FrameTooLong { max: 10_000 };
    assert_eq!(refused(b"$10001\r\n"), too_long);
    assert_eq!(refused(b">3\r\n$7\r\nmessage\r\n$1\r\na\r\n$10001\r\n"), too_long);
    assert_eq!(refused(&b"*1\r\n".repeat(9)), ProtocolError::TooDeep);
    assert_eq!(refused(b"*1001\r\n"), ProtocolError::TooManyValues { max: 1000 });
    assert_eq!(refused(b"%501\r\n"), ProtocolError::TooManyValues { max: 1000 });
    assert_eq!(refused(b"%9223372036854775807\r\n"), ProtocolError::TooManyValues { max: 1000 });
    assert_eq!(refused(&[b"+", &[b'a'; 1002][..]].concat()), ProtocolError::LineTooLong { max: 1000 });
    let bulk = [b"$10000\r\n", &[b'a'; 10_000][..], b"\r\n"].concat();
    let many = [b"*900\r\n", &bulk.repeat(8)[..]].concat();
    assert_eq!(refused(&many), too_long, "many long values are one long frame");
    assert!(matches!(parse(&bulk, 0, Protocol::Resp2, &LIMITS), Ok(Parsed::Complete(_))));
}

#[test]
fn other_protocols_are_none() {
    let refused = |bytes: &[u8]| parse(bytes, 0, Protocol::Resp2, &LIMITS).unwrap_err();
    assert_eq!(refused(b"HTTP/1.1"), ProtocolError::Kind { byte: b'H', protocol: Protocol::Resp2 });
    assert_eq!(refused(b">3\r\n"), ProtocolError::Kind { byte: b'>', protocol: Protocol::Resp2 });
    assert_eq!(refused(b"\x15\x03\x01"), ProtocolError::Kind { byte: 0x15, protocol: Protocol::Resp2 });
    assert_eq!(refused(b"$3\r\nabcd\r\n"), ProtocolError::Unterminated);
    assert_eq!(refused(b":12\rx"), ProtocolError::Unterminated);
    for number in
        ["", "-", "+1", "1a", "9223372036854775808", "-9223372036854775809", "000000000000000000001"]
    {
        assert_eq!(refused(format!(":{number}\r\n").as_bytes()), ProtocolError::Number, "{number}");
    }
    assert_eq!(refused(b"$-2\r\n"), ProtocolError::Number);
    assert_eq!(refused(b"*-2\r\n"), ProtocolError::Number);
}
