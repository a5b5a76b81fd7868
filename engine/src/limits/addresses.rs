//! Addresses: the address of each connection's peer.
//!
//! In:  sockets that open and close.
//! Out: the address of each, and whether and how it is counted.
//!
//! Used only if something is limited. Memory: 64 bytes for each place of the table of connections that was ever used.

use std::net::IpAddr;

use bytes::BytesMut;
use holdfast_ring::SocketMap;

use super::decaying::DecayingCounter;

/// How much is known about a connection's address, and how it is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Not counted: addresses are not used, or this one is exempt.
    Free,
    /// Waiting for the PROXY header.
    AwaitingProxyHeader,
    /// From a trusted proxy; the next request names the client.
    AwaitsRequest,
    /// Counted among the handshakes of its address.
    Handshake,
    /// Its request is complete; counted among the connections of its address.
    Open,
}

/// The peer of a connection.
#[derive(Debug)]
pub(crate) struct PeerAddress {
    pub(crate) stage: Stage,
    /// The client's address, if it is known and counted.
    pub(crate) address: Option<IpAddr>,
    /// The client's address, if it is known, whether or not it is counted.
    pub(crate) seen: Option<IpAddr>,
    /// The trusted proxy. It names the client in its PROXY header or in every request.
    pub(crate) proxy: Option<Box<TrustedProxy>>,
    /// Bytes received over a WebSocket.
    pub(crate) received: DecayingCounter,
    /// True exactly when the connection was rejected, and its remaining input is read and discarded.
    pub(crate) is_lingering: bool,
}

/// A trusted proxy that opened a connection for a client.
#[derive(Debug)]
pub(crate) struct TrustedProxy {
    pub(crate) address: IpAddr,
    /// The part of the PROXY header received so far.
    pub(crate) header: Option<Box<BytesMut>>,
}

/// The peers of all connections of a shard.
pub(crate) type PeerAddresses = SocketMap<PeerAddress>;

impl PeerAddress {
    /// The peer of a connection that was just accepted; its address is not known yet.
    pub(crate) fn unknown() -> Self {
        Self {
            stage: Stage::Free,
            address: None,
            seen: None,
            proxy: None,
            received: DecayingCounter::default(),
            is_lingering: false,
        }
    }
}

impl TrustedProxy {
    /// A peer that has not sent anything yet.
    pub(crate) fn new(address: IpAddr) -> Box<Self> {
        Box::new(Self { address, header: None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_is_small() {
        let bytes = PeerAddresses::SLOT_BYTES;
        assert!(bytes <= 64, "{bytes} bytes");
    }
}
