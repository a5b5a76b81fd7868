//! Link: how a client's commands reach the daemon, and what the daemon says reaches the client.
//!
//! In:  frames of commands; chances to misbehave.
//! Out: frames of replies and pushes, in order; how the link began and ended.

use std::ops::RangeInclusive;

use bytes::BytesMut;
use holdfast_protocol::{
    client::{Format, FromClient, decode_commands},
    websocket::MessageKind,
};
use holdfast_ring::simulated::Peer;
use rand::{Rng, rngs::SmallRng};

use super::{poll::Poll, stream::Stream};
use crate::simulation::{
    actor::StepContext,
    wire::{Heard, WebSocketPeer},
};

/// What comes of a link.
#[derive(Debug)]
pub(super) enum Inbound {
    Heard(Heard),
    /// Nobody knows whether these commands have arrived, and they are not sent again.
    Lost(Option<RangeInclusive<u32>>),
}

/// A way to connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::simulation) enum Transport {
    WebSocket(Format),
    Sse,
    Stream(Format),
    Poll,
}

/// One session's way to the daemon.
pub(super) enum Link {
    WebSocket { wire: Box<WebSocketPeer>, format: Format },
    Stream(Box<Stream>),
    Poll(Box<Poll>),
}

impl Transport {
    pub(super) fn any(random: &mut SmallRng) -> Self {
        match random.random_range(0..100) {
            0..35 => Self::WebSocket(Format::Json),
            35..55 => Self::WebSocket(Format::Protobuf),
            55..65 => Self::Sse,
            65..75 => Self::Stream(Format::Json),
            75..83 => Self::Stream(Format::Protobuf),
            _ => Self::Poll,
        }
    }

    pub(super) fn format(self) -> Format {
        match self {
            Self::WebSocket(format) | Self::Stream(format) => format,
            Self::Sse | Self::Poll => Format::Json,
        }
    }
}

impl Link {
    /// A link whose first words are `frame`, if a shard takes it now.
    pub(super) fn open(transport: Transport, frame: &[u8], scene: &mut StepContext<'_>) -> Option<Self> {
        Some(match transport {
            Transport::WebSocket(format) => {
                let path = match format {
                    Format::Json => "/connection/websocket",
                    Format::Protobuf => "/connection/websocket?cf_protocol=protobuf",
                };
                let wire = Box::new(scene.connect(path)?);
                let mut link = Self::WebSocket { wire, format };
                link.send(frame, scene);
                link
            }
            Transport::Sse => Self::Stream(Box::new(Stream::open_events(frame, scene)?)),
            Transport::Stream(format) => Self::Stream(Box::new(Stream::open(format, frame, scene)?)),
            Transport::Poll => Self::Poll(Box::new(Poll::open(frame, scene)?)),
        })
    }

    pub(super) fn format(&self) -> Format {
        match self {
            Self::WebSocket { format, .. } => *format,
            Self::Stream(stream) => stream.format(),
            Self::Poll(_) => Format::Json,
        }
    }

    /// Keeps the network from doing it any harm.
    pub(super) fn keep_safe(&self) {
        if let Some(peer) = self.peer() {
            peer.keep_safe();
        }
    }

    /// The connection with whose end the session ends, if it ends with one.
    pub(super) fn peer(&self) -> Option<&Peer> {
        match self {
            Self::WebSocket { wire, .. } => Some(&wire.line.peer),
            Self::Stream(stream) => Some(stream.peer()),
            Self::Poll(_) => None,
        }
    }

    /// Sends a frame of commands, some time.
    pub(super) fn send(&mut self, frame: &[u8], scene: &mut StepContext<'_>) {
        match self {
            Self::WebSocket { wire, format } => {
                let kind = match format {
                    Format::Json => MessageKind::Text,
                    Format::Protobuf => MessageKind::Binary,
                };
                wire.send(kind, frame, scene.random);
            }
            Self::Stream(stream) => stream.send(frame),
            Self::Poll(poll) => poll.send(frame),
        }
    }

    /// The daemon has said what it calls the session.
    pub(super) fn named(&mut self, session: &str, node: &str) {
        if let Self::Stream(stream) = self {
            stream.named(session, node);
        }
    }

    /// Writes and reads some.
    pub(super) fn step(&mut self, scene: &mut StepContext<'_>, news: &mut Vec<Inbound>) {
        match self {
            Self::WebSocket { wire, .. } => {
                let mut heard = Vec::new();
                wire.line.reads |= scene.is_ending;
                wire.step(scene.random, &mut heard);
                news.extend(heard.into_iter().map(Inbound::Heard));
            }
            Self::Stream(stream) => stream.step(scene, news),
            Self::Poll(poll) => poll.step(scene, news),
        }
    }

    /// True exactly when more may be said.
    pub(super) fn can_send(&self) -> bool {
        match self {
            Self::WebSocket { wire, .. } => !wire.has_sent_close(),
            Self::Stream(stream) => stream.has_name(),
            Self::Poll(_) => true,
        }
    }

    /// True exactly when the daemon has no reason to end it.
    pub(super) fn lives(&self) -> bool {
        let has_sent_close = matches!(self, Self::WebSocket { wire, .. } if wire.has_sent_close());
        !has_sent_close && self.peer().is_none_or(|peer| !peer.is_broken())
    }

    /// Everything has come to rest, and the session is sound.
    pub(super) fn check_complete(&self) {
        match self {
            Self::WebSocket { wire, .. } => assert!(wire.is_flushed(), "all that was sent is read"),
            Self::Stream(stream) => stream.check_complete(),
            Self::Poll(poll) => poll.check_complete(),
        }
    }

    /// Stops to listen, or listens again.
    pub(super) fn stall(&mut self) {
        match self {
            Self::WebSocket { wire, .. } => wire.line.reads = !wire.line.reads,
            Self::Stream(stream) => stream.stall(),
            Self::Poll(poll) => poll.stall(),
        }
    }

    /// Breaks off something. True exactly when the session ends with it.
    pub(super) fn break_off(&mut self, scene: &mut StepContext<'_>) -> bool {
        match self {
            Self::Poll(poll) => {
                poll.lose_answer();
                return false;
            }
            Self::Stream(stream) => {
                if stream.lose_post() {
                    return false;
                }
            }
            Self::WebSocket { wire, .. } => {
                if scene.chance(0.4) {
                    wire.close(scene.random);
                    return true;
                }
            }
        }
        if let Some(peer) = self.peer() {
            if scene.chance(0.6) { peer.reset() } else { peer.close() }
        }
        true
    }
}

/// Adds a frame of commands to another one.
pub(super) fn join(format: Format, frame: &[u8], to: &mut BytesMut) {
    if format == Format::Json && !to.is_empty() && !frame.is_empty() {
        to.extend_from_slice(b"\n");
    }
    to.extend_from_slice(frame);
}

/// The numbers of a frame's commands, which follow each other. `None` where there is no more in it than a pong.
pub(super) fn numbers(format: Format, frame: &[u8]) -> Option<RangeInclusive<u32>> {
    let numbers = decode_commands(format, frame).filter_map(|message| match message {
        Ok(FromClient::Command(command)) => Some(command.id),
        _ => None,
    });
    let numbers: Vec<u32> = numbers.collect();
    Some(*numbers.first()?..=*numbers.last()?)
}
