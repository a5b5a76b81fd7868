//! Frame: WebSocket frames as a client writes and reads them (RFC 6455 §5.2).
//!
//! In:  payloads; bytes that came.
//! Out: masked frames; where a frame begins and ends.
//!
//! The mask is zero: it is a valid one, and a payload then needs no work.

pub(crate) const TEXT: u8 = 0x1;
pub(crate) const BINARY: u8 = 0x2;
pub(crate) const CLOSE: u8 = 0x8;
const FIN: u8 = 0x80;
const MASKED: u8 = 0x80;

/// Appends a frame.
pub(crate) fn append(opcode: u8, payload: &[u8], out: &mut Vec<u8>) {
    out.push(FIN | opcode);
    match payload.len() {
        short @ 0..126 => out.push(MASKED | u8::try_from(short).expect("it is below 126")),
        medium @ 126..65_536 => {
            out.push(MASKED | 126);
            out.extend(u16::try_from(medium).expect("it is below 65,536").to_be_bytes());
        }
        long => {
            out.push(MASKED | 127);
            out.extend((long as u64).to_be_bytes());
        }
    }
    out.extend([0; 4]);
    out.extend(payload);
}

/// A frame at the beginning of what came: its opcode, where its payload begins, where it ends.
pub(crate) fn first(bytes: &[u8]) -> Option<(u8, usize, usize)> {
    let (&[first, second], rest) = bytes.split_first_chunk()?;
    let (length, begin): (_, usize) = match second & 0x7f {
        126 => (usize::from(u16::from_be_bytes(*rest.first_chunk()?)), 4),
        127 => (usize::try_from(u64::from_be_bytes(*rest.first_chunk()?)).ok()?, 10),
        short => (usize::from(short), 2),
    };
    let end = begin.checked_add(length)?;
    (bytes.len() >= end).then_some((first & 0x0f, begin, end))
}

/// A handshake for a path.
pub(crate) fn handshake(path: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: fairness\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
}
