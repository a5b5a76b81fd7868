//! Receivers: how the hub's receivers are reached.
//!
//! In:  clients' transports.
//! Out: the types by which a shard's hub knows subscribers, members of `/broadcast`, and slow readers.

use holdfast_protocol::websocket::deflate::WindowBits;
use holdfast_ring::Socket;

use crate::{
    conn::deflate::Deflate,
    encoding::Encoding,
    hub::{self, receivers::Receivers, subscriptions::Subscriber},
};

/// The hub of a shard.
pub(crate) type Hub = hub::Hub<Sockets>;

/// Receivers are connections of this shard.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sockets;

impl Receivers for Sockets {
    type Connection = Socket;
    type Path = DeliveryPath;
    type Member = (Socket, Deflate);
}

/// Memory of a subscriber in its channel's list.
pub(crate) const SUBSCRIBER_BYTES: usize = size_of::<Subscriber<DeliveryPath>>();

/// A channel may have a million subscribers.
const _: () = assert!(SUBSCRIBER_BYTES <= 24);

/// How a subscriber gets a channel's publications.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DeliveryPath {
    /// The same bytes as all others of its transport, through this socket.
    Shared(Encoding, Socket),
    /// The same, compressed with a window of this size.
    Deflated(Encoding, WindowBits, Socket),
    /// It has individual options (patches, a filter, no joins, its own compression context), or no connection of its
    /// own.
    Special,
}

impl DeliveryPath {
    /// The path of a client without delivery options of its own.
    pub(crate) fn of(connection: Option<(Encoding, Socket)>, deflate: Deflate) -> Self {
        match (connection, deflate) {
            (Some((encoding, socket)), Deflate::Off) => Self::Shared(encoding, socket),
            (Some((encoding, socket)), Deflate::Shared(bits)) => Self::Deflated(encoding, bits, socket),
            _ => Self::Special,
        }
    }
}

#[cfg(test)]
mod tests {
    use holdfast_protocol::client::Format;
    use holdfast_ring::Descriptor;

    use super::*;

    #[test]
    fn a_client_that_compresses_with_a_context_of_its_own_has_a_path_of_its_own() {
        let connection = (Encoding::WebSocket(Format::Json), Socket::new(Descriptor::new(0, 0), 0));
        let bits = WindowBits::MAX;
        let paths = [Deflate::Off, Deflate::Shared(bits), Deflate::Own(bits)]
            .map(|deflate| DeliveryPath::of(Some(connection), deflate));
        let (encoding, socket) = connection;
        assert_eq!(
            paths,
            [
                DeliveryPath::Shared(encoding, socket),
                DeliveryPath::Deflated(encoding, bits, socket),
                DeliveryPath::Special
            ]
        );
        assert_eq!(DeliveryPath::of(None, Deflate::Off), DeliveryPath::Special, "a poll has no connection");
    }
}
