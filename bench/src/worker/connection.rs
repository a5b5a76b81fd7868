//! Connection: what a worker keeps for each of its connections.
//!
//! In:  sockets that come and go.
//! Out: their records, by place in the ring's tables; a socket of an earlier generation finds nothing.
//!
//! 32 bytes a connection, whatever it does: at 100,000 connections this tool must not be what fills the machine.

use holdfast_protocol::websocket::Decoder;
use holdfast_ring::{Socket, SocketMap};

/// How far a connection is.
///
/// ```text
/// begin ──> Connecting ── TCP is there ──> Handshaking ── 101 ──> Open
///               │ refused                     │ refused, ended      │ ├── ended ──> Gone
///               v                             v                     │ we send a close frame
/// forget <──── Gone <── the server ended TCP ── Leaving <─ answered ── Closing
/// ```
///
/// With a dialect that has channels, `Joining` lies between `Handshaking` and `Open`, and fails like the former.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
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
    pub(super) stage: Stage,
}

/// All connections of a worker, until their descriptors are free.
#[derive(Default)]
pub(super) struct Connections {
    table: SocketMap<Connection>,
    open: u64,
}

impl Connections {
    /// Begins a connection.
    pub(super) fn begin(&mut self, socket: Socket, member: u32, since_ns: u64) {
        let decoder = Decoder::default();
        self.table.insert(socket, Connection { decoder, since_ns, member, stage: Stage::Connecting });
    }

    /// The record of a connection that is still there.
    pub(super) fn get(&mut self, socket: Socket) -> Option<&mut Connection> {
        self.table.get_mut(socket)
    }

    /// How far a connection is.
    pub(super) fn stage(&self, socket: Socket) -> Option<Stage> {
        self.table.get(socket).map(|connection| connection.stage)
    }

    /// Moves a connection on; returns where it was. Counts the open ones on the way.
    pub(super) fn move_to(&mut self, socket: Socket, stage: Stage) -> Option<Stage> {
        let connection = self.table.get_mut(socket)?;
        let before = std::mem::replace(&mut connection.stage, stage);
        if stage == Stage::Gone {
            connection.decoder = Decoder::default();
        }
        self.open += u64::from(stage == Stage::Open);
        self.open -= u64::from(before == Stage::Open);
        Some(before)
    }

    /// Forgets a connection whose descriptor is free; returns whose it was.
    pub(super) fn forget(&mut self, socket: Socket) -> Option<u32> {
        let connection = self.table.remove(socket)?;
        self.open -= u64::from(connection.stage == Stage::Open);
        Some(connection.member)
    }

    /// The sockets of all open connections.
    pub(super) fn open_sockets(&self) -> Vec<Socket> {
        self.table.sockets().filter(|&socket| self.stage(socket) == Some(Stage::Open)).collect()
    }

    /// How many are open.
    pub(super) fn open(&self) -> u64 {
        self.open
    }
}

#[cfg(test)]
mod tests {
    use holdfast_ring::Descriptor;

    use super::*;

    #[test]
    fn a_connection_costs_at_most_32_bytes() {
        const BYTES: usize = SocketMap::<Connection>::SLOT_BYTES;
        const { assert!(BYTES <= 32) };
    }

    #[test]
    fn a_socket_of_an_earlier_generation_finds_nothing() {
        let mut connections = Connections::default();
        let at = Descriptor::new(0, 3);
        connections.begin(Socket::new(at, 7), 1, 0);
        assert_eq!(connections.move_to(Socket::new(at, 7), Stage::Open), Some(Stage::Connecting));
        assert!(connections.get(Socket::new(at, 6)).is_none());
        assert_eq!((connections.move_to(Socket::new(at, 6), Stage::Gone), connections.open()), (None, 1));
        assert_eq!((connections.forget(Socket::new(at, 6)), connections.open()), (None, 1));
        assert_eq!((connections.forget(Socket::new(at, 7)), connections.open()), (Some(1), 0));
    }
}
