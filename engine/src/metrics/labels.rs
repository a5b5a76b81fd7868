//! Labels: the values by which the numbers of one family are told apart, with what each means.
//!
//! They stand here, and not beside the code that decides for one of them, so that counting needs nothing of the parts
//! that count.

use holdfast_protocol::client::{DisconnectCode, ErrorCode};

use super::definition::labels;

/// Upper bounds of the buckets for a turn's working time, in microseconds; one more bucket holds what is longer.
const TURN_BUCKETS_US: [u64; 12] =
    [50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000];

labels! {
    /// Why a connection was closed.
    pub(crate) enum CloseReason {
        /// The client sent a close frame.
        ByPeer = "by_peer",
        /// The client's stream ended without a close frame.
        PeerGone = "peer_gone",
        /// The network failed: reset, unreachable or timed out. This includes a close handshake that did not end in time.
        Broken = "broken",
        /// No pong arrived in time.
        NoPong = "no_pong",
        /// Its request did not arrive in time.
        HandshakeTimeout = "handshake_timeout",
        /// Its request was refused.
        Refused = "refused",
        /// It broke the protocol (RFC 6455).
        ProtocolError = "protocol_error",
        /// It sent a message or frame over the limit.
        MessageTooBig = "message_too_big",
        /// It read too slowly.
        Slow = "slow",
        /// The daemon stops.
        Shutdown = "shutdown",
        /// The session ended with a disconnect code that is not in this table.
        Disconnected = "disconnected",
        /// The TLS handshake failed, or the TLS connection broke.
        TlsFailed = "tls_failed",
        /// Its token was refused (3500).
        InvalidToken = "invalid_token",
        /// It kept exceeding its limits (3013, or 1008 on `/echo` and `/broadcast`).
        Flood = "flood",
        /// The receive budget was full, and this client used most of it (1013).
        ReceiveBudget = "receive_budget",
    }

    /// Why a request was refused.
    pub(crate) enum RefusalReason {
        /// The request is malformed; status 4xx or 505. The log names the fault.
        Request = "request",
        /// `client.allowed_origins` has no pattern for the page's origin; 403.
        Origin = "origin",
        /// Its path is not served; 404.
        Path = "path",
        /// It names an unknown session, such as one from before a restart; 404.
        Session = "session",
        /// It did not arrive in time; 408.
        Timeout = "timeout",
        /// It used TLS on a port without TLS, or no TLS on a port with TLS; 400.
        Tls = "tls",
        /// Too many connections, or too little memory; 503.
        Capacity = "capacity",
        /// `limits.deny` names its address, or `limits.allow` does not; 403.
        Denied = "denied",
        /// Its address is refused for its offenses; 429, as for all reasons below except `proxy_header`.
        Penalty = "penalty",
        /// Its address has too many connections (`limits.address`).
        AddressConnections = "address_connections",
        /// Its address opens connections too fast (`limits.address`).
        AddressRate = "address_rate",
        /// Its address has too many handshakes under way (`limits.address`).
        AddressHandshakes = "address_handshakes",
        /// Its network has too many connections (`limits.subnet`).
        SubnetConnections = "subnet_connections",
        /// Its network opens connections too fast (`limits.subnet`).
        SubnetRate = "subnet_rate",
        /// Its network has too many handshakes under way (`limits.subnet`).
        SubnetHandshakes = "subnet_handshakes",
        /// All clients together open connections too fast (`client.connection_rate_limit`).
        DaemonRate = "daemon_rate",
        /// It comes from a trusted proxy, but does not begin with a PROXY header; closed without an answer.
        ProxyHeader = "proxy_header",
    }

    /// What a client did that it should not.
    pub(crate) enum Offense {
        /// It broke the protocol after the handshake, or sent a message that is too large.
        Protocol = "protocol",
        /// Its request was malformed, or asked for something that does not exist.
        Request = "request",
        /// Its request, or its connect command, did not arrive in time.
        Timeout = "timeout",
        /// Its token was refused.
        Token = "token",
        /// It kept exceeding its limits and was closed.
        Flood = "flood",
    }

    /// Which limit on what a client sends was passed.
    pub(crate) enum LimitExceeded {
        /// Commands of one connection.
        ConnectionCommands = "connection_commands",
        /// Bytes of one connection.
        ConnectionBytes = "connection_bytes",
        /// Commands of all connections of a user.
        UserCommands = "user_commands",
        /// Bytes of all connections of a user.
        UserBytes = "user_bytes",
    }

    /// What a room does.
    pub(crate) enum RoomState {
        /// It waits for Redis to confirm its channel, and for the channel's position. Its subscribers wait.
        Joining = "joining",
        /// It hears what is published. So it does as far as it knows while the connection is interrupted.
        Live = "live",
        /// It reads what it missed, or looks whether it missed something. What it hears meanwhile waits where it must.
        Reading = "reading",
    }

    /// Why publications cannot be had that a room has not heard.
    pub(crate) enum Lost {
        /// The channel has a new epoch: Redis lost its history, or offsets had gone back.
        Epoch = "epoch",
        /// The history does not reach that far back any more, or was removed.
        History = "history",
    }

    /// A kind of memory.
    pub(crate) enum Budget {
        /// Request heads and bodies, incomplete messages, TLS buffers.
        Receive = "receive",
        /// Output that waits: send queues, publications for slow readers, replies to polls.
        Queues = "queues",
        /// Publications in histories, with their index.
        History = "history",
        /// Channel records: positions, idempotency keys, presence, expiry entries.
        Channels = "channels",
        /// Waiting frames and commands, messages between shards, deferred events.
        Commands = "commands",
        /// Client records: subscriptions, long-polling sessions, users and quotas.
        Sessions = "sessions",
        /// Bodies and answers of the control port.
        Api = "api",
    }
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
}

/// A part of the turns: those that took as long as one of [`TURN_BUCKETS_US`], and not as long as the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bucket(u8);

impl Bucket {
    /// All of them; the last holds what is longer than every bound.
    pub(crate) const ALL: [Self; TURN_BUCKETS_US.len() + 1] = {
        let mut all = [Self(0); TURN_BUCKETS_US.len() + 1];
        let mut at = 1;
        while at < all.len() {
            all[at] = Self(all[at - 1].0 + 1);
            at += 1;
        }
        all
    };

    /// The one of a turn that took so long.
    pub(super) fn of(busy_us: u64) -> Self {
        let place = TURN_BUCKETS_US.iter().position(|&most| busy_us <= most);
        Self::ALL[place.unwrap_or(TURN_BUCKETS_US.len())]
    }

    /// What its turns took at most, in microseconds.
    pub(crate) fn most_us(self) -> Option<u64> {
        TURN_BUCKETS_US.get(self.place()).copied()
    }

    pub(super) const fn place(self) -> usize {
        self.0 as usize
    }
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

    /// What each means, for the page.
    pub(super) fn meanings() -> Vec<String> {
        let codes = ErrorCode::ALL.iter().map(|of| format!("Error {}: {}.", of.code, of.message));
        codes.chain(["The backend's own errors.".to_owned()]).collect()
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

    /// What each means, for the page.
    pub(super) fn meanings() -> Vec<String> {
        let codes = DisconnectCode::ALL.iter().map(|of| format!("Code {}: {}.", of.code, of.reason));
        ["The application's own codes.".to_owned()].into_iter().chain(codes).collect()
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
    fn every_value_is_at_its_own_place_and_has_a_meaning() {
        assert_eq!(Bucket::ALL.map(Bucket::place).as_slice(), (0..Bucket::ALL.len()).collect::<Vec<_>>());
        for (place, (kind, _)) in ErrorKind::ALL.into_iter().enumerate() {
            assert_eq!(kind.place(), place);
        }
        for (place, (kind, _)) in DisconnectKind::ALL.into_iter().enumerate() {
            assert_eq!(kind.place(), place);
        }
        assert_eq!(ErrorKind::meanings().len(), ErrorKind::ALL.len());
        assert_eq!(DisconnectKind::meanings().len(), DisconnectKind::ALL.len());
    }
}
