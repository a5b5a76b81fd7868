//! Cases of RFC 6455 §5, §7 and §8 on the decoder, each whole and byte by byte.

use holdfast_protocol::websocket::frame::Role;
use holdfast_protocol::websocket::{
    CloseCode, Decoder, DecoderConfig, Event, FrameError, MessageKind, Payload,
};

use crate::support::{
    KEY, LengthForm, Seen, config, frame, frame_in_form, read, read_byte_by_byte, read_whole,
};

/// The events of a server's stream, which must not depend on how it is cut.
fn events(frames: &[Vec<u8>]) -> Vec<Seen> {
    let stream = frames.concat();
    let whole = read_whole(Role::Client, &stream);
    assert_eq!(whole, read_byte_by_byte(Role::Client, &stream));
    assert_eq!(whole.end, Ok(true));
    whole.events
}

/// The error that ends a server's stream, which must not depend on how it is cut.
fn error(frames: &[Vec<u8>]) -> FrameError {
    let stream = frames.concat();
    let whole = read_whole(Role::Client, &stream);
    let cut = read_byte_by_byte(Role::Client, &stream);
    assert_eq!((&whole.events, &whole.end), (&cut.events, &cut.end));
    whole.end.expect_err("the stream is refused")
}

fn plain(first: u8, payload: &[u8]) -> Vec<u8> {
    frame(first, None, payload)
}

fn text(text: &str) -> Seen {
    Seen::Text(text.into())
}

#[test]
fn a_decoder_is_small_and_starts_idle() {
    assert!(size_of::<Decoder>() <= 16);
    let decoder = Decoder::default();
    assert!(decoder.is_idle());
    assert_eq!(decoder.buffered_bytes(), 0);
}

#[test]
fn messages_of_every_length_form_arrive() {
    for len in [0, 1, 125, 126, 127, 65_535, 65_536] {
        let payload = vec![b'x'; len];
        assert_eq!(read_whole(Role::Client, &plain(0x82, &payload)).events, [Seen::Binary(payload.clone())]);
        assert_eq!(read_whole(Role::Server, &frame(0x81, Some(KEY), &payload)).events, [Seen::Text(payload)]);
    }
}

#[test]
fn a_message_in_one_piece_lies_in_the_input() {
    let mut bytes = frame(0x81, Some(KEY), b"Hello");
    let payload_at = bytes.len() - 5;
    let place = bytes[payload_at..].as_ptr();
    let mut input = &mut bytes[..];
    match Decoder::default().next(&config(Role::Server), &mut input) {
        Ok(Some(Event::Message(message))) => {
            assert_eq!(message.kind, MessageKind::Text);
            assert_eq!(&*message.payload, b"Hello");
            assert!(matches!(&message.payload, Payload::Borrowed(bytes) if bytes.as_ptr() == place));
            assert_eq!(&message.payload.into_bytes()[..], b"Hello");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_payload_in_one_piece_after_its_header_lies_in_the_input_too() {
    let mut decoder = Decoder::default();
    let mut bytes = frame(0x82, Some(KEY), b"Hello");
    let (mut header, mut payload) = bytes.split_at_mut(6);
    assert_eq!(decoder.next(&config(Role::Server), &mut header), Ok(None));
    assert!(!decoder.is_idle());
    match decoder.next(&config(Role::Server), &mut payload) {
        Ok(Some(Event::Message(message))) => {
            assert!(matches!(message.payload, Payload::Borrowed(bytes) if bytes == b"Hello"));
        }
        other => panic!("{other:?}"),
    }
    assert!(decoder.is_idle());
}

#[test]
fn control_frames_come_between_fragments() {
    let frames =
        [plain(0x01, b"a"), plain(0x89, b"ping"), plain(0x00, b"b"), plain(0x8a, b""), plain(0x80, b"c")];
    assert_eq!(events(&frames), [Seen::Ping(b"ping".into()), Seen::Pong(Vec::new()), text("abc")]);
}

#[test]
fn empty_fragments_make_an_empty_message() {
    assert_eq!(events(&[plain(0x02, b""), plain(0x00, b""), plain(0x80, b"")]), [Seen::Binary(Vec::new())]);
}

#[test]
fn a_continuation_outside_a_message_is_refused() {
    assert_eq!(error(&[plain(0x80, b"")]), FrameError::ContinuationOutsideMessage);
    assert_eq!(error(&[plain(0x00, b"a")]), FrameError::ContinuationOutsideMessage);
    let after = [plain(0x01, b"a"), plain(0x80, b"b"), plain(0x80, b"c")];
    assert_eq!(error(&after), FrameError::ContinuationOutsideMessage);
}

#[test]
fn a_new_message_inside_a_fragmented_one_is_refused() {
    assert_eq!(error(&[plain(0x01, b"a"), plain(0x81, b"b")]), FrameError::MessageInsideMessage);
    assert_eq!(error(&[plain(0x02, b"a"), plain(0x02, b"b")]), FrameError::MessageInsideMessage);
}

#[test]
fn faults_of_the_header_are_refused_with_1002() {
    let faults = [
        (plain(0xc1, b""), FrameError::ReservedBit),
        (plain(0x83, b""), FrameError::ReservedOpcode { opcode: 3 }),
        (plain(0x8f, b""), FrameError::ReservedOpcode { opcode: 15 }),
        (plain(0x09, b""), FrameError::ControlFragmented),
        (plain(0x89, &[0; 126]), FrameError::ControlTooLong),
        (frame(0x81, Some(KEY), b""), FrameError::MaskForbidden),
        (
            frame_in_form(0x81, None, LengthForm::Sixteen, b"abc"),
            FrameError::LengthNotMinimal { payload_bytes: 3 },
        ),
        (
            frame_in_form(0x81, None, LengthForm::SixtyFour, &[b'a'; 200]),
            FrameError::LengthNotMinimal { payload_bytes: 200 },
        ),
    ];
    for (bytes, expected) in faults {
        assert_eq!(error(&[bytes]), expected);
        assert_eq!(expected.close_code(), CloseCode::Protocol);
    }
    assert_eq!(read_whole(Role::Server, &plain(0x81, b"")).end, Err(FrameError::MaskMissing));
}

#[test]
fn messages_before_a_fault_are_delivered() {
    let stream = [plain(0x81, b"good"), plain(0xc1, b"bad")].concat();
    let reading = read_whole(Role::Client, &stream);
    assert_eq!((reading.events, reading.end), (vec![text("good")], Err(FrameError::ReservedBit)));
}

#[test]
fn a_close_frame_brings_its_code_and_reason() {
    match &events(&[plain(0x88, b"\x0f\xa1later")])[..] {
        [Seen::Close(Some(close))] => {
            assert_eq!(u16::from(close.code), 4001);
            assert_eq!(close.reason.as_str(), "later");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(events(&[plain(0x88, b"")]), [Seen::Close(None)]);
}

#[test]
fn faults_of_the_close_body_are_refused() {
    assert_eq!(error(&[plain(0x88, b"\x03")]), FrameError::CloseTruncated);
    assert_eq!(error(&[plain(0x88, b"\x03\xed")]), FrameError::CloseCodeIllegal { code: 1005 });
    assert_eq!(error(&[plain(0x88, b"\x03\xe8\xff")]), FrameError::CloseReasonNotUtf8);
    assert_eq!(FrameError::CloseReasonNotUtf8.close_code(), CloseCode::Invalid);
}

#[test]
fn a_character_may_be_cut_by_fragments() {
    let whole = "κόσμε".as_bytes();
    for cut in 0..=whole.len() {
        assert_eq!(events(&[plain(0x01, &whole[..cut]), plain(0x80, &whole[cut..])]), [text("κόσμε")]);
    }
}

#[test]
fn an_unfinished_character_at_the_end_of_a_message_is_refused() {
    assert_eq!(error(&[plain(0x81, b"a\xe6\xbc")]), FrameError::TextNotUtf8);
    assert_eq!(error(&[plain(0x01, b"a\xe6"), plain(0x80, b"\xbc")]), FrameError::TextNotUtf8);
    assert_eq!(error(&[plain(0x01, b"a\xe6"), plain(0x80, b"")]), FrameError::TextNotUtf8);
    assert_eq!(FrameError::TextNotUtf8.close_code(), CloseCode::Invalid);
}

/// As the Autobahn suite's cases 6.4: the fault is found before the fragment, the frame or the message ends.
#[test]
fn bad_utf8_is_refused_at_its_first_byte_in_the_middle_of_a_frame() {
    let payload = b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xf4\x90\x80\x80\x65\x64\x69\x74\x65\x64";
    for stream in [plain(0x81, payload), frame(0x81, Some(KEY), payload), plain(0x01, payload)] {
        let role = if stream[1] & 0x80 == 0 { Role::Client } else { Role::Server };
        let header_bytes = stream.len() - payload.len();
        let reading = read_byte_by_byte(role, &stream);
        assert_eq!(reading.end, Err(FrameError::TextNotUtf8));
        // F4 alone may become a character; 90 after it may not.
        assert_eq!(reading.bytes, header_bytes + 13);
    }
}

#[test]
fn binary_may_hold_anything() {
    assert_eq!(events(&[plain(0x82, b"\xff\xfe")]), [Seen::Binary(b"\xff\xfe".into())]);
    assert_eq!(events(&[plain(0x02, b"\xff"), plain(0x80, b"\xfe")]), [Seen::Binary(b"\xff\xfe".into())]);
}

#[test]
fn a_frame_over_the_limit_is_refused_from_its_header_alone() {
    let config = DecoderConfig { role: Role::Client, message_bytes_max: 100, frame_bytes_max: 50 };
    assert_eq!(read(&config, [&plain(0x82, &[0; 50])[..]]).end, Ok(true));
    let refused = FrameError::FrameTooLong { payload_bytes: 51, bytes_max: 50 };
    assert_eq!(read(&config, [&[0x82, 51][..]]).end, Err(refused));
    assert_eq!(refused.close_code(), CloseCode::Size);
}

#[test]
fn a_message_over_the_limit_is_refused_from_the_header_that_passes_it() {
    let config = DecoderConfig { role: Role::Client, message_bytes_max: 100, frame_bytes_max: 60 };
    let first = plain(0x02, &[0; 60]);
    assert_eq!(read(&config, [&first[..], &plain(0x80, &[0; 40])]).end, Ok(true));
    let refused = FrameError::MessageTooLong { message_bytes: 101, bytes_max: 100 };
    assert_eq!(read(&config, [&first[..], &[0x80, 41]]).end, Err(refused));
    assert_eq!(refused.close_code(), CloseCode::Size);
}

#[test]
fn a_limit_never_applies_to_control_frames() {
    let config = DecoderConfig { role: Role::Client, message_bytes_max: 1, frame_bytes_max: 1 };
    let stream = [plain(0x02, b"a"), plain(0x89, b"longer than one")].concat();
    assert_eq!(read(&config, [&stream[..]]).events, [Seen::Ping(b"longer than one".into())]);
}

#[test]
fn an_announced_gigabyte_costs_no_memory_before_it_comes() {
    let config = DecoderConfig { role: Role::Server, message_bytes_max: 1 << 31, frame_bytes_max: 1 << 31 };
    let mut header = vec![0x82, 0xff];
    header.extend((1_u64 << 30).to_be_bytes());
    header.extend(KEY);
    let mut decoder = Decoder::default();
    assert_eq!(decoder.next(&config, &mut &mut header[..]), Ok(None));
    assert!(decoder.buffered_bytes() <= 400, "{}", decoder.buffered_bytes());
    assert_eq!(decoder.next(&config, &mut &mut [0; 1000][..]), Ok(None));
    assert!(decoder.buffered_bytes() <= 2400, "{}", decoder.buffered_bytes());
}

#[test]
fn an_error_frees_what_was_held() {
    let mut decoder = Decoder::default();
    let mut bytes = [plain(0x01, b"abc"), plain(0x81, b"d")].concat();
    let mut input = &mut bytes[..];
    assert_eq!(decoder.next(&config(Role::Client), &mut input), Err(FrameError::MessageInsideMessage));
    assert!(decoder.is_idle());
}
