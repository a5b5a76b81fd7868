//! Writing frames (RFC 6455 §5.2, §6.1).
//!
//! In:  a payload, and the mask key where we are the client.
//! Out: bytes at the end of the caller's buffer.
//!
//! Whether the order of frames makes sense (§5.4) is the caller's matter. Mask keys are the caller's too: a
//! client draws a fresh, unpredictable one for every frame (§5.3); a server passes `None`.

use bytes::{BufMut as _, BytesMut};

use super::close::{self, CloseCode};
use super::frame::{CONTROL_BYTES_MAX, FrameHeader, HEADER_BYTES_MAX, HeaderBytes, Opcode};
use super::mask::{self, MaskKey};
use super::message::MessageKind;

/// The header of an unfragmented message, for callers who join buffers of their own.
///
/// Where there is a mask key, the payload is to be masked with [`mask::apply`].
pub fn message_header(kind: MessageKind, mask: Option<MaskKey>, payload_bytes: u64) -> HeaderBytes {
    FrameHeader { fin: true, compressed: false, opcode: kind.into(), mask, payload_bytes }.to_bytes()
}

/// Appends an unfragmented message.
pub fn encode_message(out: &mut BytesMut, kind: MessageKind, mask: Option<MaskKey>, payload: &[u8]) {
    encode_frame(out, kind.into(), true, mask, payload);
}

/// Appends an unfragmented message that was compressed (RFC 7692 §6.1): `deflated` is what
/// [`Deflater`](super::deflate::Deflater) made of it.
pub fn encode_deflated(out: &mut BytesMut, kind: MessageKind, mask: Option<MaskKey>, deflated: &[u8]) {
    let payload_bytes = deflated.len() as u64;
    append(
        out,
        FrameHeader { fin: true, compressed: true, opcode: kind.into(), mask, payload_bytes },
        deflated,
    );
}

/// Appends a ping.
///
/// # Panics
/// If the payload is longer than 125 bytes.
pub fn encode_ping(out: &mut BytesMut, mask: Option<MaskKey>, payload: &[u8]) {
    encode_frame(out, Opcode::Ping, true, mask, payload);
}

/// Appends a pong.
///
/// # Panics
/// If the payload is longer than 125 bytes; that of a ping never is.
pub fn encode_pong(out: &mut BytesMut, mask: Option<MaskKey>, payload: &[u8]) {
    encode_frame(out, Opcode::Pong, true, mask, payload);
}

/// Appends a close frame: a code and a reason, which is cut to fit; or neither.
///
/// # Panics
/// If the code may not go on the wire ([`close::is_legal`]).
pub fn encode_close(out: &mut BytesMut, mask: Option<MaskKey>, close: Option<(CloseCode, &str)>) {
    let Some((code, reason)) = close else {
        return encode_frame(out, Opcode::Close, true, mask, b"");
    };
    let code = u16::from(code);
    assert!(close::is_legal(code), "close code {code} may not go on the wire");
    let reason = close::cut_reason(reason).as_bytes();
    let mut body = [0; CONTROL_BYTES_MAX];
    body[..2].copy_from_slice(&code.to_be_bytes());
    body[2..2 + reason.len()].copy_from_slice(reason);
    encode_frame(out, Opcode::Close, true, mask, &body[..2 + reason.len()]);
}

/// Appends one frame. A message in fragments is a frame of its kind without `fin`, then continuations, the last
/// one with `fin`.
///
/// # Panics
/// If a control frame is longer than 125 bytes or not final.
pub fn encode_frame(out: &mut BytesMut, opcode: Opcode, fin: bool, mask: Option<MaskKey>, payload: &[u8]) {
    assert!(
        !opcode.is_control() || (fin && payload.len() <= CONTROL_BYTES_MAX),
        "a control frame is final and carries at most 125 bytes"
    );
    let payload_bytes = payload.len() as u64;
    append(out, FrameHeader { fin, compressed: false, opcode, mask, payload_bytes }, payload);
}

fn append(out: &mut BytesMut, header: FrameHeader, payload: &[u8]) {
    out.reserve(HEADER_BYTES_MAX + payload.len());
    out.put_slice(&header.to_bytes());
    let payload_at = out.len();
    out.put_slice(payload);
    if let Some(key) = header.mask {
        mask::apply(&mut out[payload_at..], key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(encode: impl FnOnce(&mut BytesMut)) -> Vec<u8> {
        let mut out = BytesMut::from(&b"before"[..]);
        encode(&mut out);
        out[6..].to_vec()
    }

    #[test]
    fn the_examples_of_the_rfc_are_written_byte_for_byte() {
        let hello = encoded(|out| encode_message(out, MessageKind::Text, None, b"Hello"));
        assert_eq!(hello, [0x81, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f]);
        let key = Some([0x37, 0xfa, 0x21, 0x3d]);
        let masked = encoded(|out| encode_message(out, MessageKind::Text, key, b"Hello"));
        assert_eq!(masked, [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58]);
        let fragments = encoded(|out| {
            encode_frame(out, Opcode::Text, false, None, b"Hel");
            encode_frame(out, Opcode::Continuation, true, None, b"lo");
        });
        assert_eq!(fragments, [0x01, 0x03, 0x48, 0x65, 0x6c, 0x80, 0x02, 0x6c, 0x6f]);
        assert_eq!(encoded(|out| encode_ping(out, None, b"Hello")), b"\x89\x05Hello");
        assert_eq!(
            encoded(|out| encode_pong(out, key, b"Hello")),
            b"\x8a\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"
        );
        let long = encoded(|out| encode_message(out, MessageKind::Binary, None, &[7; 256]));
        assert_eq!(long[..5], [0x82, 0x7e, 0x01, 0x00, 7]);
        let longer = encoded(|out| encode_message(out, MessageKind::Binary, None, &[7; 65_536]));
        assert_eq!(longer[..11], [0x82, 0x7f, 0, 0, 0, 0, 0, 1, 0, 0, 7]);
    }

    #[test]
    fn a_header_alone_is_what_the_whole_message_begins_with() {
        let whole = encoded(|out| encode_message(out, MessageKind::Text, None, &[b'a'; 300]));
        assert!(whole.starts_with(&message_header(MessageKind::Text, None, 300)));
    }

    #[test]
    fn a_close_frame_carries_code_and_reason_or_nothing() {
        assert_eq!(encoded(|out| encode_close(out, None, None)), [0x88, 0]);
        let bye = encoded(|out| encode_close(out, None, Some((CloseCode::Away, "bye"))));
        assert_eq!(bye, b"\x88\x05\x03\xe9bye");
    }

    #[test]
    fn a_long_close_reason_is_cut_to_fit() {
        let cut = encoded(|out| encode_close(out, None, Some((CloseCode::Normal, &"é".repeat(99)))));
        assert_eq!(cut[1], 124);
        assert!(str::from_utf8(&cut[4..]).is_ok());
    }

    #[test]
    #[should_panic(expected = "close code 1006 may not go on the wire")]
    fn a_close_code_that_is_not_for_the_wire_is_our_bug() {
        encode_close(&mut BytesMut::new(), None, Some((CloseCode::Abnormal, "")));
    }

    #[test]
    #[should_panic(expected = "at most 125 bytes")]
    fn a_long_ping_is_our_bug() {
        encode_ping(&mut BytesMut::new(), None, &[0; 126]);
    }
}
