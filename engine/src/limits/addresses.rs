//! Addresses: the address of each connection's peer.
//!
//! In:  sockets that open and close.
//! Out: their addresses, and what they count under.
//!
//! Used only if something is limited. Memory: 64 bytes for each place of the table of connections that was ever used.

use std::net::IpAddr;

use bytes::BytesMut;
use holdfast_ring::Socket;

use super::decaying::DecayingCounter;

/// How far the address of a connection is known and counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Not counted: addresses are not used, or this one is exempt.
    Free,
    /// A PROXY header must come first.
    AwaitingProxyHeader,
    /// A trusted proxy's; the next request names the client.
    AwaitsRequest,
    /// Counted among the handshakes of its address.
    Handshake,
    /// Its request is complete; counted among the connections of its address.
    Open,
}

/// The peer of a connection.
#[derive(Debug)]
pub(crate) struct PeerAddress {
    generation: u32,
    pub(crate) stage: Stage,
    /// The client's address, as far as it is known.
    pub(crate) address: Option<IpAddr>,
    /// The same, whether or not it is counted.
    pub(crate) seen: Option<IpAddr>,
    /// The address of the trusted proxy that names the client in every request.
    pub(crate) proxy: Option<Box<IpAddr>>,
    /// The part of a PROXY header received so far.
    pub(crate) header: Option<Box<BytesMut>>,
    /// Bytes received over a WebSocket.
    pub(crate) received: DecayingCounter,
    /// True exactly when it has been rejected, and is only read to its end.
    pub(crate) is_lingering: bool,
}

/// The peers of all connections of a shard.
#[derive(Debug, Default)]
pub(crate) struct PeerAddresses {
    lanes: Vec<Vec<Option<PeerAddress>>>,
}

impl PeerAddresses {
    pub(crate) fn table_bytes(&self) -> usize {
        self.lanes.iter().map(|lane| lane.capacity() * size_of::<Option<PeerAddress>>()).sum()
    }

    pub(crate) fn insert(&mut self, socket: Socket) -> &mut PeerAddress {
        if self.lanes.len() <= socket.lane() {
            self.lanes.resize_with(socket.lane() + 1, Vec::new);
        }
        let lane = &mut self.lanes[socket.lane()];
        if lane.len() <= socket.slot() {
            lane.resize_with(socket.slot() + 1, || None);
        }
        lane[socket.slot()].insert(PeerAddress {
            generation: socket.generation(),
            stage: Stage::Free,
            address: None,
            seen: None,
            proxy: None,
            header: None,
            received: DecayingCounter::default(),
            is_lingering: false,
        })
    }

    pub(crate) fn get(&mut self, socket: Socket) -> Option<&mut PeerAddress> {
        let guest = self.lanes.get_mut(socket.lane())?.get_mut(socket.slot())?.as_mut()?;
        (guest.generation == socket.generation()).then_some(guest)
    }

    pub(crate) fn remove(&mut self, socket: Socket) -> Option<PeerAddress> {
        self.get(socket)?;
        self.lanes[socket.lane()][socket.slot()].take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_is_small() {
        assert!(size_of::<Option<PeerAddress>>() <= 64, "{} bytes", size_of::<Option<PeerAddress>>());
    }
}
