//! Bodies of POST requests to `/emulation`.
//!
//! In:  one byte for the format; a body.
//! Out: a panic where what was read and written again reads otherwise.

use bytes::BytesMut;
use holdfast_protocol::client::{Format, decode_commands, emulation::EmulationRequest};

/// Reads one body.
pub fn run(data: &[u8]) {
    let (flags, body) = super::choice(data);
    let format = Format::ALL[usize::from(flags % 2)];
    let Ok(request) = EmulationRequest::decode(format, body) else { return };
    decode_commands(format, &request.data).for_each(drop);
    let mut written = BytesMut::new();
    request.encode(format, &mut written);
    assert_eq!(EmulationRequest::decode(format, &written).as_ref(), Ok(&request));
}
