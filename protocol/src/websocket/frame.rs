//! The frame header (RFC 6455 §5.2).
//!
//! In:  the first bytes of a frame, and the role of who reads them.
//! Out: the header and its length; "need more"; or the fault, as soon as the byte that has it is there.
//!
//! What depends on earlier frames (§5.4) or on our limits is the decoder's to check.

use tungstenite::protocol::frame::FrameHeader as WireHeader;
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

use super::FrameError;
use super::mask::MaskKey;

/// The longest header: two bytes, a 64-bit length, a mask key.
pub const HEADER_BYTES_MAX: usize = 14;

/// The longest payload of a control frame (RFC 6455 §5.5).
pub const CONTROL_BYTES_MAX: usize = 125;

/// Which side of a connection we are (RFC 6455 §5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Reads masked frames, writes unmasked ones.
    Server,
    /// Reads unmasked frames, writes masked ones.
    Client,
}

/// What a frame is. The reserved opcodes are no values of this type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opcode {
    /// 0: another piece of the message begun before.
    Continuation,
    /// 1: text, or its first piece.
    Text,
    /// 2: binary, or its first piece.
    Binary,
    /// 8: the peer will send no more.
    Close,
    /// 9: asks for a pong with the same payload.
    Ping,
    /// 10: answers a ping.
    Pong,
}

impl Opcode {
    /// True exactly when frames of this kind may stand between the fragments of a message.
    pub const fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

impl From<Opcode> for OpCode {
    fn from(opcode: Opcode) -> Self {
        match opcode {
            Opcode::Continuation => Self::Data(Data::Continue),
            Opcode::Text => Self::Data(Data::Text),
            Opcode::Binary => Self::Data(Data::Binary),
            Opcode::Close => Self::Control(Control::Close),
            Opcode::Ping => Self::Control(Control::Ping),
            Opcode::Pong => Self::Control(Control::Pong),
        }
    }
}

/// A header without the reserved bits that have no meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHeader {
    /// True exactly when no continuation follows.
    pub fin: bool,
    /// RSV1, true exactly when the message that begins here is compressed (RFC 7692 §6).
    pub compressed: bool,
    /// What the frame is.
    pub opcode: Opcode,
    /// The key that masks the payload.
    pub mask: Option<MaskKey>,
    /// The length of the payload.
    pub payload_bytes: u64,
}

impl FrameHeader {
    /// Reads the header at the front of `bytes`; the number is its length. `None` asks for more bytes.
    /// `may_compress` is true exactly when permessage-deflate was agreed to.
    pub fn parse(
        bytes: &[u8],
        reader: Role,
        may_compress: bool,
    ) -> Result<Option<(Self, usize)>, FrameError> {
        let Some((&first, bytes)) = bytes.split_first() else { return Ok(None) };
        let (fin, compressed, opcode) = parse_first(first, may_compress)?;
        let Some((&second, bytes)) = bytes.split_first() else { return Ok(None) };
        let masked = parse_mask_bit(second, reader)?;
        let Some((payload_bytes, length_bytes)) = parse_length(second & 0x7f, opcode, bytes)? else {
            return Ok(None);
        };
        let (mask, mask_bytes) = if masked {
            let Some(key) = bytes[length_bytes..].first_chunk() else { return Ok(None) };
            (Some(*key), key.len())
        } else {
            (None, 0)
        };
        Ok(Some((Self { fin, compressed, opcode, mask, payload_bytes }, 2 + length_bytes + mask_bytes)))
    }

    /// The header as it goes on the wire.
    pub fn to_bytes(&self) -> HeaderBytes {
        let wire = WireHeader {
            is_final: self.fin,
            rsv1: self.compressed,
            opcode: self.opcode.into(),
            mask: self.mask,
            ..WireHeader::default()
        };
        let mut bytes = [0; HEADER_BYTES_MAX];
        wire.format(self.payload_bytes, &mut &mut bytes[..]).expect("fourteen bytes hold every header");
        HeaderBytes { bytes, len: wire.len(self.payload_bytes) }
    }
}

/// A header on its way to the wire; a slice of two to fourteen bytes.
#[derive(Debug, Clone, Copy)]
pub struct HeaderBytes {
    bytes: [u8; HEADER_BYTES_MAX],
    len: usize,
}

impl std::ops::Deref for HeaderBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// FIN, RSV1–3 and the opcode.
fn parse_first(byte: u8, may_compress: bool) -> Result<(bool, bool, Opcode), FrameError> {
    let fin = byte & 0x80 != 0;
    let compressed = byte & 0x40 != 0;
    if byte & 0x30 != 0 || (compressed && !may_compress) {
        return Err(FrameError::ReservedBit);
    }
    let opcode = match byte & 0x0f {
        0 => Opcode::Continuation,
        1 => Opcode::Text,
        2 => Opcode::Binary,
        8 => Opcode::Close,
        9 => Opcode::Ping,
        10 => Opcode::Pong,
        opcode => return Err(FrameError::ReservedOpcode { opcode }),
    };
    // RFC 7692 §6: it is the message that is compressed, which its first frame says.
    if compressed && !matches!(opcode, Opcode::Text | Opcode::Binary) {
        return Err(FrameError::ReservedBit);
    }
    if opcode.is_control() && !fin {
        return Err(FrameError::ControlFragmented);
    }
    Ok((fin, compressed, opcode))
}

fn parse_mask_bit(byte: u8, reader: Role) -> Result<bool, FrameError> {
    match (reader, byte & 0x80 != 0) {
        (Role::Server, false) => Err(FrameError::MaskMissing),
        (Role::Client, true) => Err(FrameError::MaskForbidden),
        (_, masked) => Ok(masked),
    }
}

/// The payload's length, and how many of `extended` bytes it took.
fn parse_length(short: u8, opcode: Opcode, extended: &[u8]) -> Result<Option<(u64, usize)>, FrameError> {
    if opcode.is_control() && usize::from(short) > CONTROL_BYTES_MAX {
        return Err(FrameError::ControlTooLong);
    }
    let (payload_bytes, length_bytes, least) = match short {
        126 => match extended.first_chunk() {
            Some(bytes) => (u64::from(u16::from_be_bytes(*bytes)), 2, 126),
            None => return Ok(None),
        },
        127 => match extended.first_chunk() {
            Some(bytes) => (u64::from_be_bytes(*bytes), 8, 1 << 16),
            None => return Ok(None),
        },
        short => (u64::from(short), 0, 0),
    };
    if payload_bytes >> 63 != 0 {
        return Err(FrameError::LengthTopBit);
    }
    if payload_bytes < least {
        return Err(FrameError::LengthNotMinimal { payload_bytes });
    }
    Ok(Some((payload_bytes, length_bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(bytes: &[u8]) -> Result<Option<(FrameHeader, usize)>, FrameError> {
        FrameHeader::parse(bytes, Role::Server, false)
    }

    fn client(bytes: &[u8]) -> Result<Option<(FrameHeader, usize)>, FrameError> {
        FrameHeader::parse(bytes, Role::Client, false)
    }

    #[test]
    fn a_header_of_every_length_survives_a_round_trip_and_needs_every_byte() {
        let opcodes =
            [Opcode::Continuation, Opcode::Text, Opcode::Binary, Opcode::Close, Opcode::Ping, Opcode::Pong];
        for opcode in opcodes {
            for (fin, mask) in
                [(true, None), (false, None), (true, Some([1, 2, 3, 4])), (false, Some([0; 4]))]
            {
                for payload_bytes in [0, 1, 125, 126, 127, 65_535, 65_536, u64::MAX >> 1] {
                    if opcode.is_control() && (payload_bytes > 125 || !fin) {
                        continue;
                    }
                    let compressed = matches!(opcode, Opcode::Text) && payload_bytes % 2 == 1;
                    let header = FrameHeader { fin, compressed, opcode, mask, payload_bytes };
                    let reader = if mask.is_some() { Role::Server } else { Role::Client };
                    let bytes = header.to_bytes();
                    assert_eq!(FrameHeader::parse(&bytes, reader, true), Ok(Some((header, bytes.len()))));
                    for len in 0..bytes.len() {
                        assert_eq!(FrameHeader::parse(&bytes[..len], reader, true), Ok(None));
                    }
                }
            }
        }
    }

    #[test]
    fn each_reserved_bit_is_refused_at_the_first_byte() {
        for bit in [0x40, 0x20, 0x10] {
            assert_eq!(server(&[0x81 | bit]), Err(FrameError::ReservedBit));
        }
    }

    #[test]
    fn the_first_reserved_bit_begins_compressed_messages_and_nothing_else() {
        for first in 0..=u8::MAX {
            let may_begin = matches!(first & 0x7f, 0x41 | 0x42);
            let parsed = FrameHeader::parse(&[first, 0], Role::Client, true);
            if first & 0x70 == 0x40 && matches!(first & 0x0f, 0..=2 | 8..=10) {
                assert_eq!(parsed == Err(FrameError::ReservedBit), !may_begin, "{first:#x}");
            }
            if first & 0x30 != 0 {
                assert_eq!(parsed, Err(FrameError::ReservedBit), "{first:#x}");
            }
        }
    }

    #[test]
    fn each_reserved_opcode_is_refused_at_the_first_byte() {
        for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
            assert_eq!(server(&[0x80 | opcode]), Err(FrameError::ReservedOpcode { opcode }));
        }
    }

    #[test]
    fn a_client_must_mask_and_a_server_must_not() {
        assert_eq!(server(&[0x81, 0x05]), Err(FrameError::MaskMissing));
        assert_eq!(client(&[0x81, 0x85]), Err(FrameError::MaskForbidden));
    }

    #[test]
    fn control_frames_are_short_and_whole() {
        for opcode in [8, 9, 10] {
            assert_eq!(client(&[opcode]), Err(FrameError::ControlFragmented));
            assert_eq!(client(&[0x80 | opcode, 126]), Err(FrameError::ControlTooLong));
            assert_eq!(client(&[0x80 | opcode, 127]), Err(FrameError::ControlTooLong));
        }
    }

    #[test]
    fn a_length_in_more_bytes_than_needed_is_refused() {
        assert_eq!(client(&[0x82, 126, 0, 125]), Err(FrameError::LengthNotMinimal { payload_bytes: 125 }));
        let long = [0x82, 127, 0, 0, 0, 0, 0, 0, 0xff, 0xff];
        assert_eq!(client(&long), Err(FrameError::LengthNotMinimal { payload_bytes: 65_535 }));
    }

    #[test]
    fn a_length_with_its_top_bit_set_is_refused() {
        assert_eq!(client(&[0x82, 127, 0x80, 0, 0, 0, 0, 0, 0, 0]), Err(FrameError::LengthTopBit));
    }
}
