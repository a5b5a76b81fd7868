//! State: what a shard keeps of each connection.
//!
//! In:  what happens to a connection.
//! Out: its next state, and what left with the one before.

use bytes::{Bytes, BytesMut};
use holdfast_protocol::{
    tls::{ServerSide, TlsStream},
    websocket::Decoder,
};

use super::{
    deflate::Deflate,
    http::pending::Request,
    pace::{Beat, PingStretch},
};
use crate::{
    ids::ClientKey,
    metrics::CloseReason,
    time::{Entry, Tick},
};

/// The state of a connection, with what only this state needs.
///
/// ```text
/// accepted ─> Head ── upgrade ──────> Open ── close frame came ──> Flushing ─┐
///              │                       │ we close                      ^     │
///              │ refused               v                               │     │ flushed
///              v                    Closing ── close frame came ───────┘     │ or deadline
///          Lingering <── protocol error                                      v
///              └── end of stream; at the deadline Flushing ───────────────> gone
///
///             Head ── POST ──> Body ── all of it ──> Answering ── answer ──> Head, or Flushing
///              └── GET ─────────┴──> Streaming ── its session ends ────────> Lingering
/// ```
///
/// In each of the last three states the session has left, and the reason for the close is known; the first one counts.
#[derive(Debug)]
pub(crate) enum State {
    /// Receiving a request head. Deadline: of the handshake, or of a connection that is idle between two requests.
    Head {
        /// The part received so far.
        partial: Option<Box<BytesMut>>,
        /// True exactly when the connection has carried a request before.
        is_reused: bool,
    },
    /// Receiving a request body. Deadline: that of its head.
    Body(Box<Request>),
    /// The request is complete and its answer is pending, even if the peer has ended its side.
    Answering(Box<Request>),
    /// Messages flow in both directions. Deadline: the next ping, or its pong.
    Open {
        /// What the connection is used for.
        session: Session,
        /// The message received so far.
        decoder: Decoder,
        /// Its pings.
        heartbeat: Heartbeat,
    },
    /// A streaming response: messages go one way; input is discarded. Deadline: as in `Open`.
    Streaming {
        /// What the connection is used for.
        session: Session,
        /// Its pings.
        heartbeat: Heartbeat,
    },
    /// We send a close frame and wait for the peer's. Deadline: that of the close handshake.
    Closing {
        /// The message received so far; the peer's close frame may follow it.
        decoder: Decoder,
        /// The reason for the close.
        reason: CloseReason,
    },
    /// Everything has been sent. Input is discarded until the peer ends the stream, so that no reset destroys our last
    /// bytes in flight (RFC 9112 §9.6). Deadline: short.
    Lingering {
        /// The reason for the close.
        reason: CloseReason,
    },
    /// The socket closes when its queue is empty. Deadline: that of the close handshake.
    Flushing {
        /// The reason for the close.
        reason: CloseReason,
    },
}

/// What an open connection is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Session {
    /// `/echo`.
    Echo,
    /// `/broadcast`, with the connection's position among its members.
    Broadcast {
        /// Index into the hub's members.
        place: u32,
    },
    /// The Centrifuge client protocol.
    Client {
        /// The client's key.
        key: ClientKey,
    },
}

/// The pings of a connection with a session.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Heartbeat {
    /// What the deadline is for.
    pub(crate) beat: Beat,
    /// The ping interval announced to the client.
    pub(crate) stretch: PingStretch,
    /// When the last ping was sent, in uptime; before the first one, 0, or when the answer to its connect became late.
    pub(crate) pinged: Tick,
    /// True exactly when bytes arrived since then.
    pub(crate) heard_since_ping: bool,
    /// While the connection is paused: its queued bytes at the last look at its heartbeat.
    pub(crate) queued_bytes_before: u32,
}

/// A connection.
#[derive(Debug)]
pub(crate) struct Conn {
    pub(crate) state: State,
    /// When to act if nothing happens: in uptime if a ping is due then, otherwise on the clock that pauses while the shard
    /// does not read.
    pub(crate) deadline: Tick,
    /// Its entry in the wheel, in uptime.
    pub(crate) wheel_entry: Entry,
    /// True exactly when its receive is paused because its queue is long.
    pub(crate) is_paused: bool,
    /// True exactly when the peer has ended its side, and an answer or input before the end was still pending then.
    pub(crate) has_ended: bool,
    /// True exactly when it counts against the limit of connections.
    pub(crate) counts_toward_limit: bool,
    /// Its partial input as counted, in KiB: a `u16` fits here.
    pub(crate) counted_partial_kib: u16,
    /// How messages to it are compressed.
    pub(crate) deflate: Deflate,
    /// Its TLS state, if the listener speaks TLS.
    pub(crate) tls: Option<Box<TlsStream<ServerSide>>>,
}

impl Heartbeat {
    /// Nothing is pinged yet.
    pub(crate) const OFF: Self = Self {
        beat: Beat::Off,
        stretch: PingStretch::NOTHING,
        pinged: Tick(0),
        heard_since_ping: false,
        queued_bytes_before: u32::MAX,
    };
}

impl State {
    /// The first state.
    const ACCEPTED: Self = Self::Head { partial: None, is_reused: false };

    /// Waits for the next request.
    const BETWEEN_REQUESTS: Self = Self::Head { partial: None, is_reused: true };

    /// An open WebSocket.
    pub(crate) fn open(session: Session) -> Self {
        Self::Open { session, decoder: Decoder::default(), heartbeat: Heartbeat::OFF }
    }

    /// An open stream.
    pub(crate) fn streaming(session: Session) -> Self {
        Self::Streaming { session, heartbeat: Heartbeat::OFF }
    }

    /// The session that uses the connection.
    pub(crate) fn session(&self) -> Option<Session> {
        match *self {
            Self::Open { session, .. } | Self::Streaming { session, .. } => Some(session),
            _ => None,
        }
    }

    /// Another member left `/broadcast`, and this one took its place.
    pub(crate) fn move_member(&mut self, to: u32) {
        if let Self::Open { session: Session::Broadcast { place }, .. } = self {
            *place = to;
        }
    }

    /// The heartbeat of a connection with a session.
    pub(crate) fn heartbeat(&mut self) -> Option<&mut Heartbeat> {
        match self {
            Self::Open { heartbeat, .. } | Self::Streaming { heartbeat, .. } => Some(heartbeat),
            _ => None,
        }
    }

    /// What the deadline is for.
    pub(crate) fn beat(&self) -> Beat {
        match self {
            Self::Open { heartbeat, .. } | Self::Streaming { heartbeat, .. } => heartbeat.beat,
            _ => Beat::Off,
        }
    }

    /// The request whose head is complete, until it is answered.
    pub(crate) fn request(&self) -> Option<&Request> {
        match self {
            Self::Body(request) | Self::Answering(request) => Some(request),
            _ => None,
        }
    }

    /// The reason for the close, once it is certain.
    pub(crate) fn close_reason(&self) -> Option<CloseReason> {
        match *self {
            Self::Closing { reason, .. } | Self::Lingering { reason } | Self::Flushing { reason } => {
                Some(reason)
            }
            _ => None,
        }
    }

    /// True exactly when a head or a body is incomplete, or none has begun.
    pub(crate) fn awaits_request(&self) -> bool {
        matches!(self, Self::Head { .. } | Self::Body(_))
    }

    /// True exactly when the connection has carried a request before the present one.
    pub(crate) fn is_reused(&self) -> bool {
        match self {
            Self::Head { is_reused, .. } => *is_reused,
            _ => self.request().is_some_and(|request| request.is_reused),
        }
    }

    /// Memory of partial input, except the fields of a head that are kept.
    pub(crate) fn partial_bytes(&self) -> usize {
        match self {
            Self::Head { partial, .. } => partial.as_ref().map_or(0, |head| head.capacity()),
            Self::Body(request) | Self::Answering(request) => request.buffered_bytes(),
            Self::Open { decoder, .. } | Self::Closing { decoder, .. } => decoder.buffered_bytes(),
            Self::Streaming { .. } | Self::Lingering { .. } | Self::Flushing { .. } => 0,
        }
    }

    /// The session leaves, and everything in part is dropped that is not needed to find the peer's close frame.
    fn parted(self, reason: CloseReason) -> (Self, Option<Session>) {
        match self {
            Self::Open { session, decoder, .. } => (Self::Closing { decoder, reason }, Some(session)),
            Self::Streaming { session, .. } => (Self::Lingering { reason }, Some(session)),
            Self::Head { .. } | Self::Body(_) | Self::Answering(_) => (Self::Lingering { reason }, None),
            Self::Closing { .. } | Self::Lingering { .. } | Self::Flushing { .. } => (self, None),
        }
    }
}

impl Conn {
    /// A connection that was just accepted.
    pub(crate) fn accepted(deadline: Tick, tls: Option<Box<TlsStream<ServerSide>>>) -> Self {
        Self {
            state: State::ACCEPTED,
            deadline,
            wheel_entry: Entry::default(),
            is_paused: false,
            has_ended: false,
            counts_toward_limit: true,
            counted_partial_kib: 0,
            deflate: Deflate::Off,
            tls,
        }
    }

    /// Takes the request whose body is complete, if it is.
    pub(crate) fn take_complete(&mut self) -> Option<Box<Request>> {
        self.change(|state| match state {
            State::Body(request) if request.is_complete() => (State::BETWEEN_REQUESTS, Some(request)),
            other => (other, None),
        })
    }

    /// Takes the request that is being answered. The connection may read its next one.
    pub(crate) fn take_answered(&mut self) -> Option<Box<Request>> {
        self.change(|state| match state {
            State::Answering(request) => (State::BETWEEN_REQUESTS, Some(request)),
            other => (other, None),
        })
    }

    /// A request without a body is answered. The connection may read its next one.
    pub(crate) fn answered(&mut self) {
        self.state = State::BETWEEN_REQUESTS;
    }

    /// The connection will be closed for this reason, unless there is one already. Returns the session that leaves.
    pub(crate) fn part(&mut self, reason: CloseReason) -> Option<Session> {
        self.change(|state| state.parted(reason))
    }

    /// Waits for the peer's end of the stream. The session has left.
    pub(crate) fn linger(&mut self, reason: CloseReason) {
        self.state = State::Lingering { reason: self.state.close_reason().unwrap_or(reason) };
    }

    /// Waits for an empty queue. The session has left.
    pub(crate) fn flush(&mut self, reason: CloseReason) {
        self.state = State::Flushing { reason: self.state.close_reason().unwrap_or(reason) };
    }

    /// Consumes the state for the next one.
    fn change<R>(&mut self, next: impl FnOnce(State) -> (State, R)) -> R {
        let (state, result) = next(std::mem::replace(&mut self.state, State::ACCEPTED));
        self.state = state;
        result
    }
}

/// The rest of a message of commands whose client has used up its part of the turn.
#[derive(Debug)]
pub(crate) struct Commands {
    pub(crate) frame: Bytes,
    /// True exactly when some commands of the frame are done.
    pub(crate) is_begun: bool,
    /// Memory that the frame keeps alive.
    pub(crate) memory_bytes: usize,
}

impl Commands {
    /// Copies the rest of a frame that is stored elsewhere.
    pub(crate) fn rest(frame: &[u8], is_begun: bool) -> Self {
        Self { frame: Bytes::copy_from_slice(frame), is_begun, memory_bytes: frame.len() }
    }

    /// A frame of which no command is done.
    pub(crate) fn whole(frame: Bytes) -> Self {
        Self { memory_bytes: frame.len(), is_begun: false, frame }
    }

    /// The rest after `at`.
    pub(crate) fn from(mut self, at: usize) -> Self {
        self.frame = self.frame.slice(at..);
        self.is_begun = true;
        self
    }
}

#[cfg(test)]
mod tests {
    use holdfast_ring::SocketMap;

    use super::*;

    const CLIENT: Session = Session::Client { key: ClientKey { place: 1, generation: 2 } };

    fn conn(state: State) -> Conn {
        Conn { state, ..Conn::accepted(Tick(0), None) }
    }

    #[test]
    fn a_session_leaves_once_and_the_first_reason_stays() {
        for (state, parts_from) in [(State::open(CLIENT), "Closing"), (State::streaming(CLIENT), "Lingering")]
        {
            let mut conn = conn(state);
            assert_eq!((conn.state.session(), conn.state.close_reason()), (Some(CLIENT), None));
            assert_eq!(conn.part(CloseReason::Slow), Some(CLIENT));
            assert!(format!("{:?}", conn.state).starts_with(parts_from), "{:?}", conn.state);
            assert_eq!(conn.part(CloseReason::Broken), None);
            assert!(conn.state.session().is_none() && conn.state.heartbeat().is_none());
            conn.linger(CloseReason::Broken);
            conn.flush(CloseReason::Broken);
            assert!(matches!(conn.state, State::Flushing { reason: CloseReason::Slow }), "{:?}", conn.state);
        }
    }

    #[test]
    fn what_came_in_part_is_dropped_with_the_request() {
        let partial = Some(Box::new(BytesMut::with_capacity(100)));
        let mut conn = conn(State::Head { partial, is_reused: true });
        assert!(conn.state.partial_bytes() >= 100 && conn.state.awaits_request() && conn.state.is_reused());
        assert_eq!(conn.part(CloseReason::Refused), None);
        assert!(conn.state.partial_bytes() == 0 && !conn.state.awaits_request() && !conn.state.is_reused());
        assert_eq!(conn.state.close_reason(), Some(CloseReason::Refused));
    }

    #[test]
    fn only_a_request_that_is_answered_is_taken() {
        let mut conn = conn(State::ACCEPTED);
        assert!(conn.take_complete().is_none() && conn.take_answered().is_none());
        assert!(!conn.state.is_reused(), "the state stays");
        conn.answered();
        assert!(conn.state.is_reused() && conn.state.awaits_request());
        conn.flush(CloseReason::ByPeer);
        assert!(conn.take_complete().is_none() && conn.take_answered().is_none());
        assert!(matches!(conn.state, State::Flushing { reason: CloseReason::ByPeer }));
    }

    #[test]
    fn a_member_that_moves_keeps_its_connection() {
        let mut conn = conn(State::open(Session::Broadcast { place: 7 }));
        conn.state.move_member(3);
        assert_eq!(conn.state.session(), Some(Session::Broadcast { place: 3 }));
    }

    #[test]
    fn a_connection_is_small() {
        let bytes = SocketMap::<Conn>::SLOT_BYTES;
        assert!(bytes <= 72, "{bytes} bytes");
    }
}
