//! Deflate: a shard's compressors, and the state of connections that agreed to permessage-deflate (RFC 7692).
//!
//! In:  an offer; messages to compress; a connection whose messages are to be inflated.
//! Out: an agreement; frames, compressed if that makes them shorter; the inflater.
//!
//! One inflater, and one deflater for each window size, serve all connections of the shard; each is created on first use.
//! Memory: 50 KB and at most eight times 360 KB. A connection without context takeover owns nothing; one with it owns its
//! windows, each up to 2^bits bytes, in a table here.
//!
//! A message to many connections is compressed once per window size. A connection with context takeover gets it compressed
//! separately.

use std::collections::HashMap;

use bytes::{Bytes, BytesMut};
use holdfast_protocol::websocket::{
    MessageKind, Opcode, Role,
    deflate::{Agreement, Deflater, Inflater, Inflation, Preferences, WindowBits, Windows},
    encoder,
    frame::FrameHeader,
};
use holdfast_ring::{Socket, SocketMap};

use crate::config::WebsocketConfig;

/// How much longer than its plain form a message may become because later messages will refer to it.
const OWN_GROWTH_BYTES_MAX: usize = 16;

/// How the messages to a connection are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Deflate {
    /// Not at all: no agreement.
    #[default]
    Off,
    /// Each message by itself: the same bytes for all connections with this window.
    Shared(WindowBits),
    /// With reference to earlier messages: bytes for this connection only.
    Own(WindowBits),
}

/// Compression totals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct DeflateStatistics {
    /// Payload bytes before and after compression.
    pub(crate) plain_bytes: u64,
    pub(crate) deflated_bytes: u64,
}

/// The windows of one connection, and their maximum size.
#[derive(Debug)]
struct OwnWindows {
    windows: Box<Windows>,
    bytes_max: usize,
}

/// The policy for compression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DeflatePolicy {
    pub(crate) preferences: Preferences,
    pub(crate) level: u8,
    /// Shorter messages are sent uncompressed.
    pub(crate) payload_bytes_min: usize,
    /// The limit of a client's message, inflated.
    pub(crate) inflated_bytes_max: u64,
}

impl DeflatePolicy {
    /// `None` if compression is off.
    pub(crate) fn new(config: &WebsocketConfig) -> Option<Self> {
        let bits = |bits| WindowBits::new(bits).expect("invariant: the configuration is checked");
        let inflated_bytes_max = match config.decompressed_message_size_limit_bytes {
            0 => config.message_size_limit_bytes,
            limit => limit,
        };
        config.compression.then(|| Self {
            preferences: Preferences {
                server_context_takeover: config.compression_server_context_takeover,
                client_context_takeover: config.compression_client_context_takeover,
                server_max_window_bits: bits(config.compression_server_max_window_bits),
                client_max_window_bits: bits(config.compression_client_max_window_bits),
            },
            level: config.compression_level,
            payload_bytes_min: config.compression_min_size_bytes as usize,
            inflated_bytes_max: u64::from(inflated_bytes_max),
        })
    }
}

/// The compressors of a shard.
#[derive(Debug)]
pub(crate) struct Deflating {
    policy: Option<DeflatePolicy>,
    inflater: Inflater,
    /// By window bits.
    deflaters: [Option<Box<Deflater>>; 16],
    /// Windows of connections with context takeover.
    windows: SocketMap<OwnWindows>,
    /// Frames compressed in this turn, by the address of the plain ones and the window. The caller that fills it keeps the
    /// plain ones alive until it is cleared.
    turn: HashMap<(usize, WindowBits), Bytes>,
    statistics: DeflateStatistics,
}

impl Deflating {
    pub(crate) fn new(policy: Option<DeflatePolicy>) -> Self {
        Self {
            policy,
            inflater: Inflater::default(),
            deflaters: Default::default(),
            windows: SocketMap::default(),
            turn: HashMap::new(),
            statistics: DeflateStatistics::default(),
        }
    }

    /// The parameters to agree to; `None` if compression is off.
    pub(crate) fn preferences(&self) -> Option<&Preferences> {
        self.policy.as_ref().map(|policy| &policy.preferences)
    }

    pub(crate) fn statistics(&self) -> DeflateStatistics {
        self.statistics
    }

    /// The same without context takeover.
    pub(crate) fn lean_preferences(&self) -> Option<Preferences> {
        let lean = |&preferences| Preferences {
            server_context_takeover: false,
            client_context_takeover: false,
            ..preferences
        };
        self.preferences().map(lean)
    }

    /// The maximum size of the windows of one connection; 0 without context takeover.
    pub(crate) fn windows_bytes_max(&self) -> usize {
        self.preferences().map_or(0, |preferences| {
            let of = |is_kept: bool, bits: WindowBits| if is_kept { bits.bytes() } else { 0 };
            of(preferences.server_context_takeover, preferences.server_max_window_bits)
                + of(preferences.client_context_takeover, preferences.client_max_window_bits)
        })
    }

    /// A connection has agreed to parameters. Also returns the maximum size of its windows.
    pub(crate) fn opened(&mut self, socket: Socket, agreement: Option<Agreement>) -> (Deflate, usize) {
        let Some(agreement) = agreement else { return (Deflate::Off, 0) };
        let mut bytes_max = 0;
        if let Some(windows) = Windows::of(&agreement, Role::Server) {
            bytes_max = self.windows_bytes_max();
            self.windows.insert(socket, OwnWindows { windows: Box::new(windows), bytes_max });
        }
        let deflate = match agreement.server_context_takeover {
            true => Deflate::Own(agreement.server_window()),
            false => Deflate::Shared(agreement.server_window()),
        };
        (deflate, bytes_max)
    }

    /// A connection is gone. Returns the maximum size of its windows.
    pub(crate) fn closed(&mut self, socket: Socket) -> usize {
        let bytes_max = self.windows.remove(socket).map_or(0, |own| own.bytes_max);
        if self.windows.is_empty() {
            self.windows = SocketMap::default();
        }
        bytes_max
    }

    /// Bytes of inflated messages since the last call, after and before inflating.
    pub(crate) fn take_inflated(&mut self) -> (usize, usize) {
        self.inflater.take_inflated()
    }

    /// The inflater for its messages.
    pub(crate) fn inflation(&mut self, socket: Socket, deflate: Deflate) -> Option<Inflation<'_>> {
        let policy = self.policy.as_ref().filter(|_| deflate != Deflate::Off)?;
        let windows = self.windows.get_mut(socket);
        Some(Inflation {
            inflater: &mut self.inflater,
            window: windows.and_then(|own| own.windows.received.as_mut()),
            message_bytes_max: policy.inflated_bytes_max,
        })
    }

    /// Appends a message for one connection, compressed if agreed and worth it.
    pub(crate) fn append(
        &mut self,
        socket: Socket,
        deflate: Deflate,
        kind: MessageKind,
        payload: &[u8],
        out: &mut BytesMut,
    ) {
        let bits = match (&self.policy, deflate) {
            (Some(policy), Deflate::Shared(bits) | Deflate::Own(bits))
                if payload.len() >= policy.payload_bytes_min =>
            {
                bits
            }
            _ => return encoder::encode_message(out, kind, None, payload),
        };
        let own = match deflate {
            Deflate::Own(_) => self.windows.get_mut(socket).and_then(|own| own.windows.sent.as_mut()),
            Deflate::Off | Deflate::Shared(_) => None,
        };
        let level = self.policy.map_or(1, |policy| policy.level);
        let deflater = self.deflaters[usize::from(bits.bits())]
            .get_or_insert_with(|| Box::new(Deflater::new(level, bits)));
        let deflated = deflater.deflate(payload, own.as_deref());
        // Data in a context makes later messages shorter, even if it gains nothing itself.
        let growth = if own.is_some() { OWN_GROWTH_BYTES_MAX } else { 0 };
        if deflated.len() >= payload.len() + growth {
            return encoder::encode_message(out, kind, None, payload);
        }
        self.statistics.plain_bytes += payload.len() as u64;
        self.statistics.deflated_bytes += deflated.len() as u64;
        encoder::encode_deflated(out, kind, None, deflated);
        if let Some(window) = own {
            window.push(payload);
        }
    }

    /// Complete plain frames of messages, converted for one connection.
    pub(crate) fn frames(&mut self, socket: Socket, deflate: Deflate, frames: &Bytes) -> Bytes {
        if deflate == Deflate::Off {
            return frames.clone();
        }
        let mut out = BytesMut::with_capacity(frames.len());
        let mut rest = &frames[..];
        while let Ok(Some((header, head_bytes))) = FrameHeader::parse(rest, Role::Client, false) {
            let payload_bytes = usize::try_from(header.payload_bytes).expect("our own frames fit memory");
            let (frame, behind) = rest.split_at(head_bytes + payload_bytes);
            let kind = if header.opcode == Opcode::Text { MessageKind::Text } else { MessageKind::Binary };
            self.append(socket, deflate, kind, &frame[head_bytes..], &mut out);
            rest = behind;
        }
        out.freeze()
    }

    /// The same for frames to many connections in this turn: compressed once per window. The caller keeps `frames` alive
    /// until [`Deflating::end_turn`].
    pub(crate) fn shared_frames(&mut self, socket: Socket, deflate: Deflate, frames: &Bytes) -> Bytes {
        let Deflate::Shared(bits) = deflate else { return self.frames(socket, deflate, frames) };
        let key = (frames.as_ptr() as usize, bits);
        if let Some(known) = self.turn.get(&key) {
            return known.clone();
        }
        let deflated = self.frames(socket, deflate, frames);
        self.turn.insert(key, deflated.clone());
        deflated
    }

    /// Drops the frames compressed in this turn.
    pub(crate) fn end_turn(&mut self) {
        self.turn.clear();
    }
}

#[cfg(test)]
mod tests {
    use holdfast_ring::Descriptor;

    use super::*;
    use crate::config::Config;

    fn socket(slot: u32) -> Socket {
        Socket::new(Descriptor::new(0, slot), 0)
    }

    fn deflating(change: impl FnOnce(&mut WebsocketConfig)) -> Deflating {
        let mut config = Config::default().options.websocket;
        config.compression = true;
        change(&mut config);
        Deflating::new(DeflatePolicy::new(&config))
    }

    /// Connections with windows, and the memory of these.
    fn windows(deflating: &Deflating) -> (usize, usize) {
        let windows = &deflating.windows;
        (windows.len(), windows.values().map(|own| own.windows.buffered_bytes()).sum())
    }

    fn plain(payloads: &[&[u8]]) -> Bytes {
        let mut frames = BytesMut::new();
        payloads.iter().for_each(|payload| {
            encoder::encode_message(&mut frames, MessageKind::Text, None, payload);
        });
        frames.freeze()
    }

    #[test]
    fn a_message_for_many_is_compressed_once_for_each_size_of_window() {
        let mut deflating = deflating(|_| {});
        let frames = plain(&[&[b'a'; 100], b"short", &[b'b'; 100]]);
        let bits = [15, 15, 9, 15].map(|bits| Deflate::Shared(WindowBits::new(bits).unwrap()));
        let sent = bits.map(|bits| deflating.shared_frames(socket(1), bits, &frames));
        assert_eq!(sent[0].as_ptr(), sent[1].as_ptr());
        assert_eq!(sent[0].as_ptr(), sent[3].as_ptr());
        assert_ne!(sent[0].as_ptr(), sent[2].as_ptr());
        assert_eq!(deflating.statistics().plain_bytes, 2 * 200);
        assert!(sent[0].len() < 60 && sent[0][0] == 0xc1);
        assert!(
            sent[0].windows(7).any(|frame| frame == b"\x81\x05short"),
            "what does not shrink stays plain"
        );
        deflating.end_turn();
        deflating.shared_frames(socket(1), bits[0], &frames);
        assert_eq!(deflating.statistics().plain_bytes, 3 * 200);
    }

    #[test]
    fn who_agreed_to_nothing_gets_the_plain_bytes_themselves() {
        let mut deflating = deflating(|_| {});
        let frames = plain(&[&[b'a'; 100]]);
        assert_eq!(deflating.shared_frames(socket(1), Deflate::Off, &frames).as_ptr(), frames.as_ptr());
    }

    #[test]
    fn messages_below_the_minimum_stay_plain() {
        let mut deflating = deflating(|config| config.compression_min_size_bytes = 101);
        let shared = Deflate::Shared(WindowBits::MAX);
        let frames = plain(&[&[b'a'; 100]]);
        assert_eq!(deflating.frames(socket(1), shared, &frames), frames);
        assert_ne!(deflating.frames(socket(1), shared, &plain(&[&[b'a'; 101]])), plain(&[&[b'a'; 101]]));
    }

    #[test]
    fn a_connection_owns_windows_only_under_context_takeover_and_only_while_it_lives() {
        let mut deflating = deflating(|config| config.compression_server_context_takeover = true);
        let mut agreement = Agreement {
            server_context_takeover: false,
            client_context_takeover: false,
            server_max_window_bits: None,
            client_max_window_bits: None,
        };
        assert_eq!(deflating.opened(socket(1), None), (Deflate::Off, 0));
        assert_eq!(deflating.opened(socket(1), Some(agreement)), (Deflate::Shared(WindowBits::MAX), 0));
        assert_eq!(windows(&deflating), (0, 0));
        agreement.server_context_takeover = true;
        let (own, bytes_max) = deflating.opened(socket(1), Some(agreement));
        assert_eq!(own, Deflate::Own(WindowBits::MAX));
        assert!(bytes_max >= 32_768, "as much as they may take is told at once");
        let frames = plain(&[&[b'a'; 100]]);
        let first = deflating.shared_frames(socket(1), own, &frames);
        let second = deflating.shared_frames(socket(1), own, &frames);
        assert!(second.len() < first.len(), "the second one refers to the first");
        assert!(matches!(windows(&deflating), (1, 100..)));
        assert_eq!(deflating.closed(socket(1)), bytes_max);
        assert_eq!(windows(&deflating), (0, 0));
    }
}
