//! Frames of compressed messages (RFC 7692 §6), right and wrong, whole and byte by byte.

use holdfast_protocol::websocket::{
    CloseCode, FrameError,
    deflate::{Deflater, WindowBits},
};

use crate::support::{fault, messages, read, text};

fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let len = u8::try_from(payload.len()).ok().filter(|&len| len < 126).expect("a short payload");
    [&[first, len], payload].concat()
}

fn deflated(payload: &[u8]) -> Vec<u8> {
    Deflater::new(6, WindowBits::MAX).deflate(payload, None).to_vec()
}

#[test]
fn control_frames_come_between_compressed_fragments() {
    let hello = deflated(b"Hello, hello, hello");
    let (first, second) = hello.split_at(3);
    let stream = [frame(0x41, first), frame(0x89, b"ping"), frame(0x00, b""), frame(0x80, second)].concat();
    assert_eq!(messages(&stream), [text("Hello, hello, hello")]);
}

#[test]
fn the_bit_is_refused_on_continuations_and_control_frames() {
    for first in [0x40, 0xc0, 0xc8, 0xc9, 0xca] {
        assert_eq!(fault(&frame(first, b"")), FrameError::ReservedBit, "{first:#x}");
        let inside = [frame(0x41, b"\xf2"), frame(first, b"")].concat();
        assert_eq!(fault(&inside), FrameError::ReservedBit, "{first:#x} inside a message");
    }
}

#[test]
fn the_other_reserved_bits_stay_refused() {
    for first in [0xe1, 0xd1, 0xa1, 0x91, 0xf1] {
        assert_eq!(fault(&frame(first, b"")), FrameError::ReservedBit, "{first:#x}");
    }
}

#[test]
fn text_is_checked_after_inflating() {
    for wrong in [&b"\xff"[..], b"a\xe6\xbc", b"\xed\xa0\x80"] {
        assert_eq!(fault(&frame(0xc1, &deflated(wrong))), FrameError::TextNotUtf8);
        assert_eq!(messages(&frame(0xc2, &deflated(wrong)))[0].1, wrong, "binary may hold anything");
    }
    // Compressed bytes are no text, whatever they look like.
    assert_eq!(messages(&frame(0xc1, &deflated("κόσμε".as_bytes()))), [text("κόσμε")]);
}

#[test]
fn what_is_wrong_is_found_at_the_end_of_a_frame_that_doubles_the_message() {
    let (good, bad) = (deflated(b"ab"), deflated(b"much longer, and then \xff"));
    // The sync flush that a sender leaves out at the end of a message, and only there.
    let go_on = [&good[..], &[0x00, 0x00, 0xff, 0xff]].concat();
    for (stream, expected) in [
        (frame(0x41, &bad), FrameError::TextNotUtf8),
        ([frame(0x41, &go_on), frame(0x00, &bad)].concat(), FrameError::TextNotUtf8),
        ([frame(0x41, &[]), frame(0x00, &bad)].concat(), FrameError::TextNotUtf8),
        (frame(0x42, &[0x07]), FrameError::DeflateInvalid),
    ] {
        assert_eq!(fault(&stream), expected, "{stream:x?}");
    }
    // What is only begun may yet become something.
    for begun in [&deflated(b"a\xe6\xbc")[..], &[0xf2, 0x48, 0xcd], &[0xf2]] {
        assert_eq!(messages(&frame(0x41, begun)), []);
    }
}

#[test]
fn what_is_not_deflate_is_refused_with_1007() {
    let wrong: [&[u8]; 8] = [
        // A block type that is reserved.
        &[0x07],
        &[0xff, 0xff, 0xff],
        // A stored block whose length and its complement disagree; one that ends early.
        &[0x00, 0x05, 0x00, 0xfa, 0xfe, 1, 2, 3, 4, 5, 0x00],
        &[0x00, 0x05, 0x00, 0xfa, 0xff, 1, 2],
        // Compressed data that ends early.
        &[0xf2, 0x48, 0xcd],
        &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07],
        // It refers to what did not come.
        &[0xf2, 0x00, 0x11, 0x00, 0x00],
        // A final block, and then neither the end nor another block.
        &[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0xff],
    ];
    for payload in wrong {
        assert_eq!(fault(&frame(0xc2, payload)), FrameError::DeflateInvalid, "{payload:x?}");
    }
    assert_eq!(FrameError::DeflateInvalid.close_code(), CloseCode::Invalid);
}

#[test]
fn messages_before_a_fault_are_delivered() {
    let stream = [frame(0xc1, &deflated(b"good")), frame(0xc1, &[0x07])].concat();
    let reading = read([&stream[..]], None);
    assert_eq!((reading.messages, reading.end), (vec![text("good")], Err(FrameError::DeflateInvalid)));
}
