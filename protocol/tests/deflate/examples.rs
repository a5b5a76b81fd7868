//! The examples of RFC 7692 §7.2.3, byte for byte.

use holdfast_protocol::websocket::{
    Decoder, DecoderConfig, FrameError, MessageKind, Role,
    deflate::{Deflater, Inflater, Window, WindowBits},
    encoder,
};

use crate::support::{messages, read, text};

const HELLO: [u8; 7] = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];

fn deflater() -> Deflater {
    Deflater::new(6, WindowBits::MAX)
}

#[test]
fn section_7_2_3_1_one_block_in_one_frame() {
    assert_eq!(deflater().deflate(b"Hello", None), HELLO);
    let mut frame = bytes::BytesMut::new();
    encoder::encode_deflated(&mut frame, MessageKind::Text, None, &HELLO);
    assert_eq!(frame[..], [0xc1, 0x07, 0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00]);
    assert_eq!(messages(&frame), [text("Hello")]);
}

#[test]
fn section_7_2_3_1_one_block_in_two_fragments() {
    let fragments = [0x41, 0x03, 0xf2, 0x48, 0xcd, 0x80, 0x04, 0xc9, 0xc9, 0x07, 0x00];
    assert_eq!(messages(&fragments), [text("Hello")]);
}

#[test]
fn section_7_2_3_2_the_second_message_refers_to_the_first() {
    let frames =
        [0xc1, 0x07, 0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0xc1, 0x05, 0xf2, 0x00, 0x11, 0x00, 0x00];
    let mut window = Window::new(WindowBits::MAX);
    let with_window = read(frames.chunks(1), Some(&mut window));
    assert_eq!((with_window.messages, with_window.end), (vec![text("Hello"), text("Hello")], Ok(())));
    let without = read([&frames[..]], None);
    assert_eq!(without.messages, [text("Hello")], "what the second one refers to is not there");
    assert!(without.end.is_err());
}

#[test]
fn section_7_2_3_2_a_deflater_with_a_window_refers_to_the_first_message_too() {
    let mut window = Window::new(WindowBits::MAX);
    let mut deflater = deflater();
    assert_eq!(deflater.deflate(b"Hello", Some(&window)), HELLO);
    window.push(b"Hello");
    let second = deflater.deflate(b"Hello", Some(&window));
    assert_eq!(second, [0xf2, 0x00, 0x11, 0x00, 0x00]);
}

#[test]
fn section_7_2_3_3_a_block_without_compression() {
    let stored = [0xc1, 0x0b, 0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00];
    assert_eq!(messages(&stored), [text("Hello")]);
}

#[test]
fn section_7_2_3_4_a_final_block() {
    assert_eq!(messages(&[0xc1, 0x08, 0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00]), [text("Hello")]);
}

#[test]
fn section_7_2_3_5_two_blocks_in_one_message() {
    let blocks = [0xc1, 0x0d, 0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00];
    assert_eq!(messages(&blocks), [text("Hello")]);
}

#[test]
fn section_7_2_3_6_an_empty_message_is_one_byte() {
    assert_eq!(deflater().deflate(b"", None), [0x00]);
    let mut window = Window::new(WindowBits::MAX);
    window.push(b"Hello");
    assert_eq!(deflater().deflate(b"", Some(&window)), [0x00]);
    assert_eq!(messages(&[0xc1, 0x01, 0x00]), [text("")]);
}

#[test]
fn section_6_an_uncompressed_message_may_stand_between_compressed_ones() {
    let mut stream = bytes::BytesMut::new();
    encoder::encode_deflated(&mut stream, MessageKind::Text, None, &HELLO);
    encoder::encode_message(&mut stream, MessageKind::Binary, None, b"plain");
    encoder::encode_deflated(&mut stream, MessageKind::Text, None, &HELLO);
    let between = (MessageKind::Binary, b"plain".to_vec());
    assert_eq!(messages(&stream), [text("Hello"), between, text("Hello")]);
}

#[test]
fn a_final_block_at_the_very_end_and_an_empty_payload_are_taken_too() {
    let mut inflater = Inflater::default();
    assert_eq!(
        &inflater.inflate(&[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00], None, 99).unwrap()[..],
        b"Hello"
    );
    assert_eq!(inflater.inflate(&[], None, 99).unwrap().len(), 0);
}

#[test]
fn without_an_agreement_a_compressed_message_is_refused_at_its_first_byte() {
    let config = DecoderConfig { role: Role::Client, message_bytes_max: 100, frame_bytes_max: 100 };
    let mut first = [0xc1];
    assert_eq!(Decoder::default().next(&config, &mut &mut first[..]), Err(FrameError::ReservedBit));
}
