//! Reason: why connections are closed and requests refused, as operators are told.
//!
//! In:  nothing.
//! Out: the values of the labels `reason`.

/// Why a connection was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum CloseReason {
    /// It asked for it, by a close frame.
    ByPeer,
    /// Its end of stream came without a close frame.
    PeerGone,
    /// The network broke it: reset, unreachable, timed out.
    Broken,
    /// No pong came in time.
    NoPong,
    /// Its request did not come in time.
    HandshakeTimeout,
    /// Its request was refused.
    Refused,
    /// It broke the protocol.
    ProtocolError,
    /// It sent a message or frame over the limit.
    MessageTooBig,
    /// It did not read what it was sent.
    Slow,
    /// The daemon stops.
    Shutdown,
    /// The session ended with a code of the client protocol that has no reason of its own here.
    Disconnected,
    /// TLS could not be agreed upon, or was broken.
    TlsFailed,
    /// Its token was refused.
    InvalidToken,
    /// It went on sending more than its limit.
    Flood,
    /// Of all who had sent something in part, it had sent most, and it was too much.
    ReceiveBudget,
}

impl CloseReason {
    pub(super) const ALL: [(Self, &'static str); 15] = [
        (Self::ByPeer, "by_peer"),
        (Self::PeerGone, "peer_gone"),
        (Self::Broken, "broken"),
        (Self::NoPong, "no_pong"),
        (Self::HandshakeTimeout, "handshake_timeout"),
        (Self::Refused, "refused"),
        (Self::ProtocolError, "protocol_error"),
        (Self::MessageTooBig, "message_too_big"),
        (Self::Slow, "slow"),
        (Self::Shutdown, "shutdown"),
        (Self::Disconnected, "disconnected"),
        (Self::TlsFailed, "tls_failed"),
        (Self::InvalidToken, "invalid_token"),
        (Self::Flood, "flood"),
        (Self::ReceiveBudget, "receive_budget"),
    ];
}

/// Why a request was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum RefusalReason {
    /// The request itself was wrong, or late; a 4xx answer, or 505.
    Request,
    /// Too many connections, or too little memory; 503.
    Capacity,
    /// The lists of addresses exclude it; 403.
    Denied,
    /// Its address is refused because it misbehaves; 429, as are those below.
    Penalty,
    /// Its address has as many connections as it may.
    AddressConnections,
    /// Its address opens connections too fast.
    AddressRate,
    /// Its address has as many handshakes under way as it may.
    AddressHandshakes,
    /// Its network has as many connections as it may.
    SubnetConnections,
    /// Its network opens connections too fast.
    SubnetRate,
    /// Its network has as many handshakes under way as it may.
    SubnetHandshakes,
    /// All clients together open connections too fast.
    DaemonRate,
    /// It did not begin with the PROXY header that it had to begin with; closed without an answer.
    ProxyHeader,
}

impl RefusalReason {
    pub(super) const ALL: [(Self, &'static str); 12] = [
        (Self::Request, "request"),
        (Self::Capacity, "capacity"),
        (Self::Denied, "denied"),
        (Self::Penalty, "penalty"),
        (Self::AddressConnections, "address_connections"),
        (Self::AddressRate, "address_rate"),
        (Self::AddressHandshakes, "address_handshakes"),
        (Self::SubnetConnections, "subnet_connections"),
        (Self::SubnetRate, "subnet_rate"),
        (Self::SubnetHandshakes, "subnet_handshakes"),
        (Self::DaemonRate, "daemon_rate"),
        (Self::ProxyHeader, "proxy_header"),
    ];
}
