//! Reading frames: bytes of one peer in, messages and control frames out.
//!
//! In:  pieces of the stream, cut anywhere. They are unmasked in place.
//! Out: events, in order; or the fault, as soon as the byte that shows it is there.
//!
//! An idle decoder owns no memory. A message that comes in one piece is neither copied nor allocated for, unless it is
//! compressed.
//! Nothing is sent from here: pongs and close frames are the caller's answers.

use std::mem;

use super::assembly::{Assembly, OpenMessage};
use super::close::{self, CloseFrame};
use super::deflate::Inflation;
use super::frame::{FrameHeader, Opcode, Role};
use super::message::{Message, MessageKind, Payload};
use super::{FrameError, inflation, mask, utf8};

/// What all decoders of a listener share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecoderConfig {
    /// Which side we are.
    pub role: Role,
    /// The longest message, all fragments together; longer ones are refused from the header alone.
    pub message_bytes_max: u64,
    /// The longest payload of a data frame; longer ones are refused from the header alone.
    pub frame_bytes_max: u64,
}

/// Something complete that came.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'i> {
    /// A text or binary message.
    Message(Message<'i>),
    /// To be answered by a pong with the same payload (RFC 6455 §5.5.2).
    Ping(Payload<'i>),
    /// An answer to a ping, or unasked for (RFC 6455 §5.5.3).
    Pong(Payload<'i>),
    /// The peer will send no more: what follows it is not for the decoder (RFC 6455 §5.5.1).
    Close(Option<CloseFrame>),
}

/// The place of one peer in its stream; a pointer wide.
///
/// ```text
///   whole frame, event         more pieces; events of control frames between fragments
///       ┌──────┐                  ┌──────┐
///       │      ▼  a piece         │      ▼
///       └──── idle ───────────▶ holding an assembly
///              ▲                  │
///              └── the last piece ┘
/// ```
///
/// After an error the stream has no meaning: feed no more of it.
#[derive(Debug, Default)]
pub struct Decoder {
    assembly: Option<Box<Assembly>>,
}

impl Decoder {
    /// Takes from the front of `input` up to the end of the next event. `None` means that `input` is used up.
    ///
    /// No extension was agreed to: every reserved bit is refused.
    pub fn next<'i>(
        &mut self,
        config: &DecoderConfig,
        input: &mut &'i mut [u8],
    ) -> Result<Option<Event<'i>>, FrameError> {
        self.next_with(config, None, input)
    }

    /// The same, where permessage-deflate was agreed to if there is an `inflation`. That must not change from call to
    /// call, but for the inflater in it.
    pub fn next_with<'i>(
        &mut self,
        config: &DecoderConfig,
        inflation: Option<Inflation<'_>>,
        input: &mut &'i mut [u8],
    ) -> Result<Option<Event<'i>>, FrameError> {
        let step = self.advance(config, inflation, input);
        if step.is_err() || self.assembly.as_ref().is_some_and(|assembly| assembly.is_empty()) {
            self.assembly = None;
        }
        step
    }

    /// True exactly when no piece of a frame or message is held.
    pub fn is_idle(&self) -> bool {
        self.assembly.is_none()
    }

    /// Bytes of memory held beside the decoder itself: at most twice what has come of the open message, plus
    /// about 400.
    pub fn buffered_bytes(&self) -> usize {
        self.assembly.as_ref().map_or(0, |assembly| assembly.buffered_bytes())
    }

    fn advance<'i>(
        &mut self,
        config: &DecoderConfig,
        mut inflation: Option<Inflation<'_>>,
        input: &mut &'i mut [u8],
    ) -> Result<Option<Event<'i>>, FrameError> {
        while !input.is_empty() {
            let frame = match self.assembly.as_mut().and_then(|assembly| assembly.frame.take()) {
                Some(frame) => frame,
                None => match self.parse_header(config.role, inflation.is_some(), input)? {
                    Some(frame) => self.check(config, frame)?,
                    None => return Ok(None),
                },
            };
            if let Some(event) = self.take_payload(frame, inflation.as_mut(), input)? {
                return Ok(Some(event));
            }
        }
        Ok(None)
    }

    fn parse_header(
        &mut self,
        reader: Role,
        may_compress: bool,
        input: &mut &mut [u8],
    ) -> Result<Option<FrameHeader>, FrameError> {
        let in_part = self.assembly.as_ref().is_some_and(|assembly| !assembly.header.is_empty());
        if !in_part && let Some((header, header_bytes)) = FrameHeader::parse(input, reader, may_compress)? {
            take_front(input, header_bytes);
            return Ok(Some(header));
        }
        let (header, used_bytes) = self.hold().header.join(input, reader, may_compress)?;
        take_front(input, used_bytes);
        Ok(header)
    }

    /// What a header alone cannot know: the order of frames (RFC 6455 §5.4) and our limits.
    fn check(&self, config: &DecoderConfig, frame: FrameHeader) -> Result<FrameHeader, FrameError> {
        let FrameHeader { opcode, payload_bytes, .. } = frame;
        let open = self.open_message();
        let open_bytes = open.map(|message| message.len() as u64);
        match (opcode, open_bytes) {
            (Opcode::Close, _) if payload_bytes == 1 => return Err(FrameError::CloseTruncated),
            (Opcode::Close | Opcode::Ping | Opcode::Pong, _) => return Ok(frame),
            (Opcode::Continuation, None) => return Err(FrameError::ContinuationOutsideMessage),
            (Opcode::Text | Opcode::Binary, Some(_)) => return Err(FrameError::MessageInsideMessage),
            (Opcode::Continuation, Some(_)) | (Opcode::Text | Opcode::Binary, None) => {}
        }
        let (mut frame_bytes_max, mut message_bytes_max) = (config.frame_bytes_max, config.message_bytes_max);
        if open.map_or(frame.compressed, OpenMessage::is_compressed) {
            frame_bytes_max = inflation::deflated_bytes_max(frame_bytes_max);
            message_bytes_max = inflation::deflated_bytes_max(message_bytes_max);
        }
        if payload_bytes > frame_bytes_max {
            return Err(FrameError::FrameTooLong { payload_bytes, bytes_max: frame_bytes_max });
        }
        let message_bytes = open_bytes.unwrap_or(0).saturating_add(payload_bytes);
        if message_bytes > message_bytes_max {
            return Err(FrameError::MessageTooLong { message_bytes, bytes_max: message_bytes_max });
        }
        Ok(frame)
    }

    /// Takes what there is of the payload of `frame`, and keeps the frame while there is more to come.
    fn take_payload<'i>(
        &mut self,
        mut frame: FrameHeader,
        inflation: Option<&mut Inflation<'_>>,
        input: &mut &'i mut [u8],
    ) -> Result<Option<Event<'i>>, FrameError> {
        let piece_bytes = usize::try_from(frame.payload_bytes).unwrap_or(usize::MAX).min(input.len());
        let piece = take_front(input, piece_bytes);
        if let Some(key) = frame.mask {
            mask::apply(piece, key);
            frame.mask = Some(mask::advance(key, piece_bytes));
        }
        frame.payload_bytes -= piece_bytes as u64;
        if frame.payload_bytes > 0 {
            self.hold().frame = Some(frame);
            // A header alone opens no message: its payload may yet come in one piece.
            if piece.is_empty() {
                return Ok(None);
            }
        }
        if frame.opcode.is_control() {
            self.take_control(frame, piece)
        } else {
            self.take_data(frame, inflation, piece)
        }
    }

    fn take_control<'i>(
        &mut self,
        frame: FrameHeader,
        piece: &'i mut [u8],
    ) -> Result<Option<Event<'i>>, FrameError> {
        let is_last = frame.payload_bytes == 0;
        let held = self.assembly.as_mut().map(|assembly| &mut assembly.control);
        let payload = match held {
            Some(held) if !held.is_empty() || !is_last => {
                held.extend_from_slice(piece);
                if !is_last {
                    return Ok(None);
                }
                Payload::Assembled(mem::take(held))
            }
            _ => Payload::Borrowed(piece),
        };
        Ok(Some(match frame.opcode {
            Opcode::Ping => Event::Ping(payload),
            Opcode::Pong => Event::Pong(payload),
            _ => Event::Close(close::parse(&payload)?),
        }))
    }

    fn take_data<'i>(
        &mut self,
        frame: FrameHeader,
        inflation: Option<&mut Inflation<'_>>,
        piece: &'i mut [u8],
    ) -> Result<Option<Event<'i>>, FrameError> {
        let is_last = frame.payload_bytes == 0 && frame.fin;
        if is_last && self.open_message().is_none() {
            return whole_message(&frame, inflation, piece).map(|message| Some(Event::Message(message)));
        }
        let open = &mut self.hold().message;
        let message = open.get_or_insert_with(|| OpenMessage::new(&frame));
        message.push(piece)?;
        if !is_last && frame.payload_bytes == 0 {
            message.end_frame(inflation)?;
            return Ok(None);
        }
        match open.take_if(|_| is_last) {
            Some(message) => Ok(Some(Event::Message(message.finish(inflation)?))),
            None => Ok(None),
        }
    }

    fn open_message(&self) -> Option<&OpenMessage> {
        self.assembly.as_ref().and_then(|assembly| assembly.message.as_ref())
    }

    fn hold(&mut self) -> &mut Assembly {
        self.assembly.get_or_insert_default()
    }
}

/// A message that came in one frame and one piece.
fn whole_message<'i>(
    frame: &FrameHeader,
    inflation: Option<&mut Inflation<'_>>,
    piece: &'i mut [u8],
) -> Result<Message<'i>, FrameError> {
    let kind = if frame.opcode == Opcode::Text { MessageKind::Text } else { MessageKind::Binary };
    if frame.compressed {
        return inflation::message(kind, piece, inflation);
    }
    if kind == MessageKind::Text && !utf8::is_whole(piece) {
        return Err(FrameError::TextNotUtf8);
    }
    Ok(Message { kind, payload: Payload::Borrowed(piece) })
}

fn take_front<'i>(input: &mut &'i mut [u8], bytes: usize) -> &'i mut [u8] {
    let (front, rest) = mem::take(input).split_at_mut(bytes);
    *input = rest;
    front
}
