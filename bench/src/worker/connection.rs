//! Connection: what a worker keeps for each of its connections.
//!
//! In:  sockets that come and go.
//! Out: their records, by place in the ring's tables; a socket of an earlier generation finds nothing.
//!
//! 32 bytes a connection, whatever it does: at 100,000 connections this tool must not be what fills the machine.

use holdfast_protocol::websocket::Decoder;
use holdfast_ring::{Descriptor, Socket};

/// How far a connection is.
///
/// ```text
/// Vacant ── connect ──> Connecting ── TCP is there ──> Handshaking ── 101 ──> Open
///    ^                      │ refused                     │ refused, ended      │ ├── ended ──> Gone
///    │                      v                             v                     │ we send a close frame
///    └─ descriptor free ── Gone <── the server ended TCP ── Leaving <─ answered ── Closing
/// ```
///
/// With a dialect that has channels, `Joining` lies between `Handshaking` and `Open`, and fails like the former.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// There is no connection in this place.
    Vacant,
    /// TCP's handshake is under way.
    Connecting,
    /// The request is out, the answer is not (all) in.
    Handshaking,
    /// The session is asked for and not all of it is answered.
    Joining,
    /// Messages may go both ways.
    Open,
    /// Our close frame is out; the server's answer is not in.
    Closing,
    /// Both close frames are through; the server is to end TCP (RFC 6455 §7.1.1).
    Leaving,
    /// Over; the descriptor is being closed.
    Gone,
}

/// One connection.
#[derive(Debug)]
pub(super) struct Connection {
    /// Its place in the stream of frames.
    pub(super) decoder: Decoder,
    /// When it was begun, or was due, on the run's clock.
    pub(super) since_ns: u64,
    /// Whose connection it is: the worker's members are numbered from 0.
    pub(super) member: u32,
    generation: u32,
    pub(super) stage: Stage,
}

/// All connections of a worker.
pub(super) struct Connections {
    lanes: Vec<Vec<Connection>>,
    open: u64,
}

impl Connections {
    pub(super) fn new(lanes: usize) -> Self {
        Self { lanes: (0..lanes).map(|_| Vec::new()).collect(), open: 0 }
    }

    /// Begins a connection.
    pub(super) fn begin(&mut self, socket: Socket, member: u32, since_ns: u64) {
        let lane = &mut self.lanes[socket.lane()];
        while lane.len() <= socket.slot() {
            lane.push(Connection {
                decoder: Decoder::default(),
                since_ns: 0,
                member: 0,
                generation: 0,
                stage: Stage::Vacant,
            });
        }
        lane[socket.slot()] = Connection {
            decoder: Decoder::default(),
            since_ns,
            member,
            generation: socket.generation(),
            stage: Stage::Connecting,
        };
    }

    /// The record of a connection that is still there.
    pub(super) fn get(&mut self, socket: Socket) -> Option<&mut Connection> {
        let connection = self.lanes.get_mut(socket.lane())?.get_mut(socket.slot())?;
        (connection.stage != Stage::Vacant && connection.generation == socket.generation())
            .then_some(connection)
    }

    /// Moves a connection on; returns where it was. Counts the open ones on the way.
    pub(super) fn move_to(&mut self, socket: Socket, stage: Stage) -> Stage {
        let Some(connection) = self.get(socket) else { return Stage::Vacant };
        let before = std::mem::replace(&mut connection.stage, stage);
        if matches!(stage, Stage::Vacant | Stage::Gone) {
            connection.decoder = Decoder::default();
        }
        self.open += u64::from(stage == Stage::Open);
        self.open -= u64::from(before == Stage::Open);
        before
    }

    /// The sockets of all open connections.
    pub(super) fn open_sockets(&self) -> Vec<Socket> {
        let lanes = self.lanes.iter().enumerate();
        lanes
            .flat_map(|(lane, connections)| {
                connections.iter().zip(0u32..).map(move |(c, slot)| (lane, slot, c))
            })
            .filter(|(.., connection)| connection.stage == Stage::Open)
            .map(|(lane, slot, connection)| Socket::new(Descriptor::new(lane, slot), connection.generation))
            .collect()
    }

    /// How many are open.
    pub(super) fn open(&self) -> u64 {
        self.open
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_costs_at_most_32_bytes() {
        assert!(size_of::<Connection>() <= 32, "{}", size_of::<Connection>());
    }

    #[test]
    fn a_socket_of_an_earlier_generation_finds_nothing() {
        let mut connections = Connections::new(1);
        let at = Descriptor::new(0, 3);
        connections.begin(Socket::new(at, 7), 1, 0);
        assert_eq!(connections.move_to(Socket::new(at, 7), Stage::Open), Stage::Connecting);
        assert!(connections.get(Socket::new(at, 6)).is_none());
        assert_eq!(
            (connections.move_to(Socket::new(at, 6), Stage::Gone), connections.open()),
            (Stage::Vacant, 1)
        );
    }
}
