//! One frame header.
//!
//! In:  one byte for the role and the extension; a header.
//! Out: a panic where a header that was read is not the one that we would write.

use holdfast_protocol::websocket::{
    Role,
    frame::{FrameHeader, HEADER_BYTES_MAX},
};

/// Beginnings of frames.
pub const WORDS: &[&[u8]] = &[
    b"\x81\x85\0\0\0\0hello",
    b"\x01\x81\0\0\0\0h",
    b"\x80\x81\0\0\0\0o",
    b"\xc1\x87\0\0\0\0\xf2\x48\xcd\xc9\xc9\x07\x00",
    b"\x41\x83\0\0\0\0\xf2\x48\xcd",
    b"\x89\x80\0\0\0\0",
    b"\x88\x82\0\0\0\0\x03\xe8",
    b"\x82\xfe\x00\x7e",
    b"\x82\xff\0\0\0\0\0\x01\0\0",
    b"\xe6\xbc\xa2",
];

/// Reads one header.
pub fn run(data: &[u8]) {
    let (flags, bytes) = super::choice(data);
    let role = if flags & 1 == 0 { Role::Server } else { Role::Client };
    let may_compress = flags & 2 != 0;
    let whole = FrameHeader::parse(bytes, role, may_compress);
    if let Ok(Some((header, used))) = whole {
        assert!(used <= HEADER_BYTES_MAX);
        assert_eq!(header.to_bytes()[..], bytes[..used]);
        for len in 0..used {
            assert_eq!(FrameHeader::parse(&bytes[..len], role, may_compress), Ok(None));
        }
    }
}
