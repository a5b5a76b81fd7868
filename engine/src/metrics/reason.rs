//! Reason: why connections are closed and requests refused, as operators are told.
//!
//! In:  nothing.
//! Out: the values of the labels `reason`.

use holdfast_protocol::client::{DisconnectCode, ErrorCode};

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
    /// As it is called in metrics and the log.
    pub(crate) const fn name(self) -> &'static str {
        Self::ALL[self as usize].1
    }

    /// True exactly when we end the connection for what its peer did or did not do.
    pub(crate) const fn is_our_decision(self) -> bool {
        !matches!(
            self,
            Self::ByPeer
                | Self::PeerGone
                | Self::Broken
                | Self::Refused
                | Self::Shutdown
                | Self::Disconnected
        )
    }

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
    /// The request itself was wrong; a 4xx answer, or 505.
    Request,
    /// No pattern allows the page's origin; 403.
    Origin,
    /// Nothing is served at its path; 404.
    Path,
    /// It names a session that is not there; 404.
    Session,
    /// It did not come in time; 408.
    Timeout,
    /// TLS came to a port without it, or the other way round; 400.
    Tls,
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
    /// As it is called in metrics and the log.
    pub(crate) const fn name(self) -> &'static str {
        Self::ALL[self as usize].1
    }

    /// True exactly when the words of the answer tell more than this.
    pub(crate) const fn is_in_words(self) -> bool {
        matches!(self, Self::Request)
    }

    /// True exactly when the request is wrong, whatever else there is.
    pub(crate) const fn is_clients_fault(self) -> bool {
        matches!(self, Self::Request | Self::Origin | Self::Path | Self::Session | Self::Timeout | Self::Tls)
    }

    pub(super) const ALL: [(Self, &'static str); 17] = [
        (Self::Request, "request"),
        (Self::Origin, "origin"),
        (Self::Path, "path"),
        (Self::Session, "session"),
        (Self::Timeout, "timeout"),
        (Self::Tls, "tls"),
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

/// An error that answers a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ErrorKind(u8);

impl ErrorKind {
    /// Those of the protocol by their codes, from 100 on; last the application's.
    pub(super) const ALL: [(Self, &'static str); 14] = [
        (Self(0), "internal"),
        (Self(1), "unauthorized"),
        (Self(2), "unknown_channel"),
        (Self(3), "permission_denied"),
        (Self(4), "method_not_found"),
        (Self(5), "already_subscribed"),
        (Self(6), "limit_exceeded"),
        (Self(7), "bad_request"),
        (Self(8), "not_available"),
        (Self(9), "token_expired"),
        (Self(10), "expired"),
        (Self(11), "too_many_requests"),
        (Self(12), "unrecoverable_position"),
        (Self(13), "application"),
    ];

    pub(crate) fn of(code: u32) -> Self {
        let kind = code.checked_sub(ErrorCode::INTERNAL.code).and_then(|kind| u8::try_from(kind).ok());
        Self(kind.unwrap_or(u8::MAX).min(Self::ALL[Self::ALL.len() - 1].0.0))
    }

    pub(super) const fn place(self) -> usize {
        self.0 as usize
    }

    /// As it is called in metrics and the log.
    pub(crate) const fn name(self) -> &'static str {
        Self::ALL[self.0 as usize].1
    }
}

/// Why a session was ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DisconnectKind(u8);

impl DisconnectKind {
    /// A code of the application's.
    pub(crate) const APPLICATION: Self = Self(0);

    pub(super) const ALL: [(Self, &'static str); 22] = [
        (Self::APPLICATION, "application"),
        (Self(1), "connection_closed"),
        (Self(2), "shutdown"),
        (Self(3), "server_error"),
        (Self(4), "expired"),
        (Self(5), "subscription_expired"),
        (Self(6), "slow"),
        (Self(7), "write_error"),
        (Self(8), "insufficient_state"),
        (Self(9), "force_reconnect"),
        (Self(10), "no_pong"),
        (Self(11), "too_many_requests"),
        (Self(12), "invalid_token"),
        (Self(13), "bad_request"),
        (Self(14), "stale"),
        (Self(15), "force_disconnect"),
        (Self(16), "connection_limit"),
        (Self(17), "channel_limit"),
        (Self(18), "inappropriate_protocol"),
        (Self(19), "permission_denied"),
        (Self(20), "not_available"),
        (Self(21), "too_many_errors"),
    ];

    /// The others are in the order of their codes.
    pub(crate) fn of(code: u16) -> Self {
        let known = DisconnectCode::ALL.iter().zip(1..).find(|(known, _)| known.code == code);
        known.map_or(Self::APPLICATION, |(_, kind)| Self(kind))
    }

    pub(super) const fn place(self) -> usize {
        self.0 as usize
    }

    /// As it is called in metrics and the log.
    pub(crate) const fn name(self) -> &'static str {
        Self::ALL[self.0 as usize].1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_of_the_protocol_has_its_name() {
        for error in ErrorCode::ALL {
            let words = ErrorKind::of(error.code).name().replace('_', " ");
            assert!(error.message.starts_with(&words), "{error:?}: {words}");
        }
        assert_eq!(ErrorKind::of(99).name(), "application");
        assert_eq!((ErrorKind::of(400).name(), ErrorKind::of(5000).name()), ("application", "application"));
        let mut kinds: Vec<_> =
            DisconnectCode::ALL.iter().map(|code| DisconnectKind::of(code.code).0).collect();
        kinds.dedup();
        assert_eq!(kinds.len(), DisconnectKind::ALL.len() - 1, "each has one");
        for code in [DisconnectCode::SLOW, DisconnectCode::STALE, DisconnectCode::NO_PONG] {
            assert_eq!(DisconnectKind::of(code.code).name().replace('_', " "), code.reason);
        }
        assert_eq!(DisconnectKind::of(4501), DisconnectKind::APPLICATION);
    }

    #[test]
    fn every_reason_is_at_its_own_place() {
        for (place, (reason, name)) in RefusalReason::ALL.into_iter().enumerate() {
            assert_eq!((reason as usize, reason.name()), (place, name));
        }
        for (place, (reason, name)) in CloseReason::ALL.into_iter().enumerate() {
            assert_eq!((reason as usize, reason.name()), (place, name));
        }
        for (place, (kind, _)) in ErrorKind::ALL.into_iter().enumerate() {
            assert_eq!(kind.place(), place);
        }
        for (place, (kind, _)) in DisconnectKind::ALL.into_iter().enumerate() {
            assert_eq!(kind.place(), place);
        }
    }
}
