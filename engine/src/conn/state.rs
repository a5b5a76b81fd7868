//! State: what a shard keeps of each connection.
//!
//! In:  connections that are accepted and closed.
//! Out: their states, by socket.

use bytes::{Bytes, BytesMut};
use holdfast_protocol::{
    http::Asked,
    tls::{ServerSide, TlsStream},
    websocket::Decoder,
};
use holdfast_ring::{Socket, prefetch};

use super::{
    deflate::Deflate,
    http::pending::Request,
    pace::{Beat, Told},
};
use crate::{ids::ClientKey, metrics::CloseReason, time::Tick};

/// The phase of a connection's life.
///
/// ```text
/// accepted ─> Head ── upgrade ──────> Open ── close frame came ──> Leaving ──┐
///              │                       │ we close                      ^     │
///              │ refused               v                               │     │ flushed
///              v                    Closing ── close frame came ───────┘     │ or deadline
///          Lingering <── protocol error                                      v
///              └── end of stream; at the deadline Leaving ────────────────> gone
///
///             Head ── POST ──> Body ── all of it ──> Answering ── answer ──> Head, or Leaving
///              └── GET ─────────┴──> Streaming ── its session ends ────────> Lingering
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Receiving a request head. Deadline: of the handshake, or of a connection that is idle between two requests.
    Head,
    /// Receiving a request body. Deadline: that of its head.
    Body,
    /// The request is complete and its answer is pending, even if the peer has ended its side.
    Answering,
    /// A streaming response: messages go one way; input is discarded. Deadline: as in `Open`.
    Streaming,
    /// Messages flow in both directions. Deadline: the next ping, or its pong.
    Open,
    /// We have sent a close frame and wait for the peer's. Deadline: that of the close handshake.
    Closing,
    /// Everything has been sent. Input is discarded until the peer ends the stream, so that no reset destroys our last
    /// bytes in flight (RFC 9112 §9.6). Deadline: short.
    Lingering,
    /// The socket closes when its queue is empty. Deadline: that of the close handshake.
    Leaving,
}

/// What a connection is used for once it is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Session {
    /// Not decided yet.
    None,
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

/// A request that is not yet answered.
#[derive(Debug)]
pub(crate) enum PartialRequest {
    /// The part of its head received so far.
    Head(BytesMut),
    /// Its head is complete.
    Request(Request),
}

#[derive(Debug)]
pub(crate) struct Conn {
    generation: u32,
    pub(crate) phase: Phase,
    pub(crate) session: Session,
    /// When to act if nothing happens: in uptime if a ping is due then, otherwise on the clock that pauses while the shard
    /// does not read.
    pub(crate) deadline: Tick,
    /// When the wheel checks this connection, in uptime.
    pub(crate) wheel_entry_at: Tick,
    pub(crate) beat: Beat,
    /// The ping interval announced to the client.
    pub(crate) told: Told,
    /// When the last ping was sent, in uptime; before the first one, 0, or when the answer to its connect became late.
    pub(crate) pinged: Tick,
    /// True exactly when bytes arrived since then.
    pub(crate) heard_since_ping: bool,
    /// True exactly when its receive is paused because its queue is long.
    pub(crate) is_paused: bool,
    /// While it is paused: its queued bytes at the last look at its heartbeat.
    pub(crate) queued_bytes_before: u32,
    /// Its partial input as counted, in KiB: a `u16` fits here.
    pub(crate) counted_partial_kib: u16,
    /// True exactly when it counts against the limit of connections.
    pub(crate) counts_toward_limit: bool,
    /// The reason for its close.
    pub(crate) close_reason: Option<CloseReason>,
    /// True exactly when it has carried a request before.
    pub(crate) is_reused: bool,
    /// True exactly when the peer has ended its side while an answer was awaited.
    pub(crate) has_ended: bool,
    /// What its last request asked for.
    pub(crate) asked: Asked,
    /// The request received so far.
    pub(crate) coming: Option<Box<PartialRequest>>,
    /// How messages to it are compressed.
    pub(crate) deflate: Deflate,
    pub(crate) decoder: Decoder,
    /// Its TLS state, if the listener speaks TLS.
    pub(crate) tls: Option<Box<TlsStream<ServerSide>>>,
}

impl Phase {
    /// True exactly when a session uses the connection.
    pub(crate) fn is_open(self) -> bool {
        matches!(self, Self::Open | Self::Streaming)
    }
}

/// All connections of a shard, by socket.
#[derive(Debug)]
pub(crate) struct Conns {
    lanes: Vec<Vec<Option<Conn>>>,
}

impl Conns {
    /// One place per descriptor. Pages that no connection has touched are not resident.
    pub(crate) fn new(lanes: usize, lane_slots: usize) -> Self {
        Self { lanes: (0..lanes).map(|_| Vec::with_capacity(lane_slots)).collect() }
    }

    pub(crate) fn insert(&mut self, socket: Socket, deadline: Tick) -> &mut Conn {
        let lane = &mut self.lanes[socket.lane()];
        if lane.len() <= socket.slot() {
            lane.resize_with(socket.slot() + 1, || None);
        }
        lane[socket.slot()].insert(Conn {
            generation: socket.generation(),
            phase: Phase::Head,
            session: Session::None,
            deadline,
            wheel_entry_at: Tick(0),
            beat: Beat::Off,
            told: Told::NOTHING,
            pinged: Tick(0),
            heard_since_ping: false,
            is_paused: false,
            queued_bytes_before: u32::MAX,
            counted_partial_kib: 0,
            counts_toward_limit: true,
            close_reason: None,
            is_reused: false,
            has_ended: false,
            asked: Asked::Whole,
            coming: None,
            deflate: Deflate::Off,
            decoder: Decoder::default(),
            tls: None,
        })
    }

    /// Prefetches the connection of a socket that will be needed soon.
    pub(crate) fn prefetch(&self, socket: Socket) {
        if let Some(conn) = self.lanes[socket.lane()].get(socket.slot()) {
            prefetch(conn);
        }
    }

    /// The connection of a socket, unless it is gone.
    pub(crate) fn get(&mut self, socket: Socket) -> Option<&mut Conn> {
        let conn = self.lanes.get_mut(socket.lane())?.get_mut(socket.slot())?.as_mut()?;
        (conn.generation == socket.generation()).then_some(conn)
    }

    pub(crate) fn remove(&mut self, socket: Socket) -> Option<Conn> {
        self.get(socket)?;
        self.lanes[socket.lane()][socket.slot()].take()
    }

    /// The first connection at or after `(lane, slot)`, with its socket; and where to continue.
    pub(crate) fn next_from(&self, (mut lane, mut slot): (usize, usize)) -> Option<(Socket, (usize, usize))> {
        while let Some(conns) = self.lanes.get(lane) {
            if let Some(found) = conns.get(slot..).and_then(|rest| rest.iter().position(Option::is_some)) {
                slot += found;
                let generation = conns[slot].as_ref().expect("it was found").generation;
                let at = u32::try_from(slot).expect("a slot has 24 bits");
                let socket = Socket::new(holdfast_ring::Descriptor::new(lane, at), generation);
                return Some((socket, (lane, slot + 1)));
            }
            (lane, slot) = (lane + 1, 0);
        }
        None
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
    use holdfast_ring::Descriptor;

    use super::*;

    #[test]
    fn a_connection_is_small() {
        assert!(size_of::<Option<Conn>>() <= 72, "{} bytes", size_of::<Option<Conn>>());
    }

    #[test]
    fn all_connections_are_walked_once_over_gaps_and_lanes() {
        let mut conns = Conns::new(3, 16);
        let sockets =
            [(0, 3), (0, 4), (2, 0), (2, 9)].map(|(lane, slot)| Socket::new(Descriptor::new(lane, slot), 5));
        for socket in sockets {
            conns.insert(socket, Tick(0));
        }
        let mut walked = Vec::new();
        let mut from = (0, 0);
        while let Some((socket, next)) = conns.next_from(from) {
            walked.push(socket);
            from = next;
        }
        assert_eq!(walked, sockets);
        assert!(conns.remove(sockets[1]).is_some());
        assert!(conns.get(sockets[1]).is_none());
    }
}
