//! Reader: what a connection received becomes messages and replies.
//!
//! In:  bytes of a connection, in any pieces.
//! Out: runs of messages, which share the buffer that they were read into; replies; in the order in which they came.
//!
//! The buffer is frozen once a read, and nothing is copied but the beginning of a frame whose end has not come. It holds
//! what one read brought and one incomplete frame: [`ReadOptions::read_bytes`] and [`Limits::bulk_bytes_max`] at most.
//! No I/O, no clock.

use bytes::{Bytes, BytesMut};

use super::resp::{self, Aggregate, Limits, Parsed, Protocol, ProtocolError, Span, Value};

/// How a connection is read.
#[derive(Debug, Clone, Copy)]
pub struct ReadOptions {
    /// Room for one read, in bytes.
    pub read_bytes: usize,
    /// What a frame may cost.
    pub limits: Limits,
}

impl Default for ReadOptions {
    fn default() -> Self {
        Self { read_bytes: 64 << 10, limits: Limits::default() }
    }
}

/// One message, in the buffer that it was read into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message<'m> {
    /// Where it was published.
    pub channel: &'m [u8],
    /// What was published.
    pub payload: &'m [u8],
}

/// Messages of one read, in their order. Never empty.
///
/// They share one buffer: whoever keeps a message for longer than a moment copies it, or holds the whole read.
#[derive(Debug, Clone)]
pub struct Messages {
    bytes: Bytes,
    spans: Vec<(Span, Span)>,
}

impl Messages {
    /// How many.
    #[allow(clippy::len_without_is_empty, reason = "there is no empty one")]
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Bytes that they take in the buffer that they share, from the first to the last.
    pub fn bytes(&self) -> usize {
        let ends = self.spans.first().zip(self.spans.last());
        ends.map_or(0, |((first, _), (_, last))| last.range().end - first.range().start)
    }

    /// Each message.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Message<'_>> {
        self.spans.iter().map(|(channel, payload)| Message {
            channel: channel.of(&self.bytes),
            payload: payload.of(&self.bytes),
        })
    }

    /// What [`Self::iter`] lent, so that it can be kept. Nothing is copied.
    ///
    /// # Panics
    ///
    /// Where it does not lie within these messages.
    pub fn share(&self, part: &[u8]) -> Bytes {
        self.bytes.slice_ref(part)
    }

    /// Takes out what was published on one channel. None where nothing else is left.
    pub(super) fn without(self, channel: &[u8]) -> Option<Self> {
        self.keep(|other| other != channel)
    }

    /// Takes out what was published on channels of which that is not true. None where nothing is left.
    pub(super) fn keep(mut self, is_kept: impl Fn(&[u8]) -> bool) -> Option<Self> {
        let bytes = &self.bytes;
        self.spans.retain(|(span, _)| is_kept(span.of(bytes)));
        (!self.spans.is_empty()).then_some(self)
    }
}

/// Anything but a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// `subscribe`, `ssubscribe`: the connection hears this channel.
    Subscribed {
        /// Which.
        channel: Bytes,
        /// To how many channels of this kind the connection is subscribed now.
        count: i64,
    },
    /// `unsubscribe`, `sunsubscribe`: it does not. None: nothing was subscribed to.
    Unsubscribed {
        /// Which.
        channel: Option<Bytes>,
    },
    /// The answer to `PING`.
    Pong,
    /// A command was refused.
    Error(Bytes),
    /// A string that is none of the above.
    Text(Bytes),
    /// The first value of an array or a map, where it is a string.
    Array(Option<Bytes>),
    /// A push that has nothing to do with channels.
    Push,
    /// A number, or nothing.
    Other,
}

/// What came.
#[derive(Debug, Clone)]
pub enum Item {
    /// Messages with no reply between them.
    Messages(Messages),
    /// A reply.
    Reply(Reply),
}

/// What a message takes with an empty channel and an empty payload.
const MESSAGE_BYTES_MIN: usize = b"*3\r\n$7\r\nmessage\r\n$0\r\n\r\n$0\r\n\r\n".len();

/// What was received of a connection, and not yet taken.
#[derive(Debug)]
pub struct Reader {
    buffer: BytesMut,
    options: ReadOptions,
    protocol: Protocol,
    /// The incomplete frame at the front has this many bytes at least.
    bytes_min: usize,
    /// As many as the last run had, so that the next one's list seldom grows.
    run: usize,
}

impl Reader {
    /// Of a new connection, which speaks RESP2 until [`Self::speak`].
    pub fn new(options: ReadOptions) -> Self {
        Self { buffer: BytesMut::new(), options, protocol: Protocol::Resp2, bytes_min: 0, run: 0 }
    }

    /// Frames are of this protocol from now on.
    pub fn speak(&mut self, protocol: Protocol) {
        self.protocol = protocol;
    }

    /// Where the next bytes belong, with room for them.
    ///
    /// A long frame is given room for twice of what has come, not what it claims to need. Small reads share one buffer, so
    /// that each does not hold a whole one.
    pub fn buffer(&mut self) -> &mut BytesMut {
        let have = self.buffer.len();
        let missing = self.bytes_min.saturating_sub(have);
        let room = missing.min(have).max(self.options.read_bytes);
        if self.buffer.capacity() - have < room / 8 + 1 {
            self.buffer.reserve(room);
        }
        &mut self.buffer
    }

    /// Appends what is complete to `items`.
    ///
    /// # Errors
    ///
    /// The peer does not speak RESP, or a frame is beyond the limits. What came before that was appended; the connection
    /// cannot be read any further.
    pub fn take(&mut self, items: &mut Vec<Item>) -> Result<(), ProtocolError> {
        let mut parsed = Vec::new();
        // No more than so many fit, and a list that is too long is held as long as its messages are.
        let mut run = Vec::with_capacity(self.run.min(self.buffer.len() / MESSAGE_BYTES_MIN));
        let mut at = 0;
        let end = loop {
            if at == self.buffer.len() {
                self.bytes_min = 0;
                break Ok(());
            }
            match resp::parse(&self.buffer, at, self.protocol, &self.options.limits) {
                Err(error) => break Err(error),
                Ok(Parsed::Incomplete { bytes_min }) => {
                    self.bytes_min = bytes_min;
                    break Ok(());
                }
                Ok(Parsed::Complete(frame)) => {
                    at = frame.end;
                    match classify(&self.buffer, &frame, self.protocol) {
                        Class::Message(channel, payload) => run.push((channel, payload)),
                        Class::Reply(reply) => {
                            if !run.is_empty() {
                                parsed.push(Run::Messages(std::mem::take(&mut run)));
                            }
                            parsed.push(Run::Reply(reply));
                        }
                    }
                }
            }
        };
        if at == 0 {
            return end;
        }
        if !run.is_empty() {
            self.run = run.len();
            parsed.push(Run::Messages(run));
        }
        let bytes = self.buffer.split_to(at).freeze();
        items.extend(parsed.into_iter().map(|run| match run {
            Run::Messages(spans) => Item::Messages(Messages { bytes: bytes.clone(), spans }),
            Run::Reply(reply) => Item::Reply(reply.share(&bytes)),
        }));
        end
    }
}

enum Run {
    Messages(Vec<(Span, Span)>),
    Reply(Spans),
}

enum Class {
    Message(Span, Span),
    Reply(Spans),
}

/// A [`Reply`] whose buffer is not frozen yet.
enum Spans {
    Subscribed(Span, i64),
    Unsubscribed(Option<Span>),
    Pong,
    Error(Span),
    Text(Span),
    Array(Option<Span>),
    Push,
    Other,
}

impl Spans {
    fn share(self, bytes: &Bytes) -> Reply {
        let share = |span: Span| bytes.slice(span.range());
        match self {
            Self::Subscribed(channel, count) => Reply::Subscribed { channel: share(channel), count },
            Self::Unsubscribed(channel) => Reply::Unsubscribed { channel: channel.map(share) },
            Self::Pong => Reply::Pong,
            Self::Error(text) => Reply::Error(share(text)),
            Self::Text(text) => Reply::Text(share(text)),
            Self::Array(first) => Reply::Array(first.map(share)),
            Self::Push => Reply::Push,
            Self::Other => Reply::Other,
        }
    }
}

fn classify(bytes: &[u8], frame: &resp::Frame, protocol: Protocol) -> Class {
    let reply = match frame.value {
        Value::Aggregate(Aggregate::Push, length) => return classify_push(bytes, frame, length),
        Value::Aggregate(Aggregate::Array, length) if protocol == Protocol::Resp2 => {
            return classify_push(bytes, frame, length);
        }
        Value::Aggregate(..) => Spans::Array(string(frame.values[0])),
        Value::Line(span) | Value::Bulk(span) if span.of(bytes) == b"PONG" => Spans::Pong,
        Value::Line(span) | Value::Bulk(span) => Spans::Text(span),
        Value::Error(span) => Spans::Error(span),
        Value::Integer(_) | Value::Null => Spans::Other,
    };
    Class::Reply(reply)
}

/// A push of RESP3 or an array of RESP2, which looks alike.
///
/// <https://redis.io/docs/latest/develop/pubsub/#format-of-pushed-messages>
fn classify_push(bytes: &[u8], frame: &resp::Frame, length: usize) -> Class {
    let [kind, channel, last, _] = frame.values;
    let Value::Bulk(kind) = kind else { return Class::Reply(unknown(frame, None)) };
    let reply = match (length, kind.of(bytes), channel, last) {
        (3, b"message" | b"smessage", Value::Bulk(channel), Value::Bulk(payload)) => {
            return Class::Message(channel, payload);
        }
        (3, b"subscribe" | b"ssubscribe", Value::Bulk(channel), Value::Integer(count)) => {
            Spans::Subscribed(channel, count)
        }
        (
            3,
            b"unsubscribe" | b"sunsubscribe",
            channel @ (Value::Bulk(_) | Value::Null),
            Value::Integer(_),
        ) => Spans::Unsubscribed(string(channel)),
        // The answer of a connection of RESP2 that is subscribed.
        (2, b"pong", Value::Bulk(_), _) => Spans::Pong,
        _ => unknown(frame, Some(kind)),
    };
    Class::Reply(reply)
}

fn unknown(frame: &resp::Frame, first: Option<Span>) -> Spans {
    match frame.value {
        Value::Aggregate(Aggregate::Push, _) => Spans::Push,
        _ => Spans::Array(first),
    }
}

fn string(value: Value) -> Option<Span> {
    match value {
        Value::Bulk(span) | Value::Line(span) => Some(span),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
