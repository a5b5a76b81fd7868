//! DEFLATE both ways.
//!
//! In:  one byte for level, window and limit; then data.
//! Out: a panic where inflating passes its limit, or data does not survive a round trip.

use holdfast_protocol::websocket::deflate::{Deflater, Inflater, Window, WindowBits};

/// The payloads of RFC 7692 §7.2.3.
pub const WORDS: &[&[u8]] = &[
    b"\xf2\x48\xcd\xc9\xc9\x07\x00",
    b"\xf2\x00\x11\x00\x00",
    b"\x00\x05\x00\xfa\xffHello\x00",
    b"\xf3\x48\xcd\xc9\xc9\x07\x00\x00",
    b"\x00\x00\xff\xff",
    b"\x03\x00",
];

/// Takes the data once for compressed, once for plain.
pub fn run(data: &[u8]) {
    let (flags, data) = super::choice(data);
    let bytes_max = 1 << (flags % 16);
    let mut inflater = Inflater::default();
    let mut window = Window::new(WindowBits::MIN);
    for window in [None, Some(&mut window)] {
        if let Ok(inflated) = inflater.inflate(data, window, bytes_max) {
            assert!(inflated.len() <= bytes_max);
        }
    }
    assert!(window.buffered_bytes() <= WindowBits::MIN.bytes());

    let bits = WindowBits::new(8 + flags % 8).expect("between 8 and 15");
    let mut deflater = Deflater::new(flags % 10, bits);
    let (mut sent, mut received) = (Window::new(bits), Window::new(bits));
    for _ in 0..2 {
        let deflated = deflater.deflate(data, Some(&sent)).to_vec();
        sent.push(data);
        let inflated = inflater.inflate(&deflated, Some(&mut received), data.len());
        assert_eq!(inflated.as_deref(), Ok(data));
    }
}
