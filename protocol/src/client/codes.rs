//! Codes: errors, disconnects, unsubscribes.
//!
//! In:  a name.
//! Out: the number, the words for people, and what the number makes SDKs do.
//!
//! The numbers are the protocol's; applications have ranges of their own, which are not listed.

use crate::websocket::CloseCode;

/// Why a command failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ErrorCode {
    /// 100 to 399 are the protocol's, 400 to 1999 the application's.
    pub code: u32,
    /// For people.
    pub message: &'static str,
    /// True exactly when SDKs try again by themselves.
    pub temporary: bool,
}

/// Why the server ended a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnsubscribeCode {
    /// 2000 to 2999.
    pub code: u32,
    /// For people.
    pub reason: &'static str,
}

/// Why the server ended a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DisconnectCode {
    /// 3000 to 3999; 4000 to 4999 are the application's. Also the WebSocket close code.
    pub code: u16,
    /// For people; fits a close frame.
    pub reason: &'static str,
}

/// Defines the constants of one kind of code, and the table of them all.
macro_rules! table {
    ($kind:ident { $($(#[$meta:meta])* $name:ident = { $($field:ident: $value:expr),* },)* }) => {
        impl $kind {
            $($(#[$meta])* pub const $name: Self = Self { $($field: $value),* };)*

            /// All of them, in order.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];
        }
    };
}

table! {
    ErrorCode {
        /// Our fault.
        INTERNAL = { code: 100, message: "internal server error", temporary: true },
        /// The request needs a user or a right that is not there.
        UNAUTHORIZED = { code: 101, message: "unauthorized", temporary: false },
        /// No such channel, or no such namespace.
        UNKNOWN_CHANNEL = { code: 102, message: "unknown channel", temporary: false },
        /// Not allowed to this client.
        PERMISSION_DENIED = { code: 103, message: "permission denied", temporary: false },
        /// No such method.
        METHOD_NOT_FOUND = { code: 104, message: "method not found", temporary: false },
        /// The channel is heard already.
        ALREADY_SUBSCRIBED = { code: 105, message: "already subscribed", temporary: false },
        /// A limit other than a rate.
        LIMIT_EXCEEDED = { code: 106, message: "limit exceeded", temporary: false },
        /// Well-formed, and senseless.
        BAD_REQUEST = { code: 107, message: "bad request", temporary: false },
        /// Not switched on.
        NOT_AVAILABLE = { code: 108, message: "not available", temporary: false },
        /// SDKs ask the application for a new token.
        TOKEN_EXPIRED = { code: 109, message: "token expired", temporary: false },
        /// What was to be refreshed is over.
        EXPIRED = { code: 110, message: "expired", temporary: false },
        /// A rate.
        TOO_MANY_REQUESTS = { code: 111, message: "too many requests", temporary: true },
        /// The history does not reach back to there.
        UNRECOVERABLE_POSITION = { code: 112, message: "unrecoverable position", temporary: false },
    }
}

table! {
    UnsubscribeCode {
        /// The application asked for it.
        SERVER = { code: 2000, reason: "server unsubscribe" },
        /// A publication may have been missed: the client is to subscribe again, and recover.
        INSUFFICIENT_STATE = { code: 2500, reason: "insufficient state" },
        /// The subscription token has expired.
        EXPIRED = { code: 2501, reason: "subscription expired" },
    }
}

table! {
    DisconnectCode {
        /// The connection is gone; no code is said to anyone.
        CONNECTION_CLOSED = { code: 3000, reason: "connection closed" },
        /// This server leaves.
        SHUTDOWN = { code: 3001, reason: "shutdown" },
        /// Our fault.
        SERVER_ERROR = { code: 3004, reason: "internal server error" },
        /// The connection's token has expired.
        EXPIRED = { code: 3005, reason: "connection expired" },
        /// A subscription's token has expired.
        SUBSCRIPTION_EXPIRED = { code: 3006, reason: "subscription expired" },
        /// More is queued for the client than is allowed.
        SLOW = { code: 3008, reason: "slow" },
        /// What was to be sent could not be.
        WRITE_ERROR = { code: 3009, reason: "write error" },
        /// A publication may have been missed.
        INSUFFICIENT_STATE = { code: 3010, reason: "insufficient state" },
        /// The application asked for it; the client comes back.
        FORCE_RECONNECT = { code: 3011, reason: "force reconnect" },
        /// A ping was not answered in time.
        NO_PONG = { code: 3012, reason: "no pong" },
        /// A rate.
        TOO_MANY_REQUESTS = { code: 3013, reason: "too many requests" },
        /// Forged, or not for us.
        INVALID_TOKEN = { code: 3500, reason: "invalid token" },
        /// Not the protocol.
        BAD_REQUEST = { code: 3501, reason: "bad request" },
        /// No connect command came in time.
        STALE = { code: 3502, reason: "stale" },
        /// The application asked for it; the client stays away.
        FORCE_DISCONNECT = { code: 3503, reason: "force disconnect" },
        /// Too many connections.
        CONNECTION_LIMIT = { code: 3504, reason: "connection limit" },
        /// Too many channels.
        CHANNEL_LIMIT = { code: 3505, reason: "channel limit" },
        /// Text where binary was agreed upon, or the other way round.
        INAPPROPRIATE_PROTOCOL = { code: 3506, reason: "inappropriate protocol" },
        /// Not allowed to this client.
        PERMISSION_DENIED = { code: 3507, reason: "permission denied" },
        /// Not switched on.
        NOT_AVAILABLE = { code: 3508, reason: "not available" },
        /// Too many failed commands.
        TOO_MANY_ERRORS = { code: 3509, reason: "too many errors" },
    }
}

impl UnsubscribeCode {
    /// True exactly when SDKs subscribe again by themselves after `code`.
    pub const fn resubscribes(code: u32) -> bool {
        code >= 2500
    }
}

impl DisconnectCode {
    /// True exactly when SDKs connect again by themselves after `code`.
    pub const fn reconnects(code: u16) -> bool {
        !matches!(code, 0..=2999 | 3500..=3999 | 4500..=4999)
    }

    /// What a WebSocket close frame says: for [`encode_close`](crate::websocket::encoder::encode_close).
    pub fn close_frame(self) -> (CloseCode, &'static str) {
        (CloseCode::from(self.code), self.reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::websocket::close;

    #[test]
    fn every_code_is_there_once_and_in_order() {
        assert!(ErrorCode::ALL.is_sorted_by(|a, b| a.code < b.code));
        assert!(UnsubscribeCode::ALL.is_sorted_by(|a, b| a.code < b.code));
        assert!(DisconnectCode::ALL.is_sorted_by(|a, b| a.code < b.code));
        assert_eq!(
            ErrorCode::ALL.iter().map(|error| error.code).collect::<Vec<_>>(),
            Vec::from_iter(100..=112)
        );
        let temporary = ErrorCode::ALL.iter().filter(|error| error.temporary).map(|error| error.code);
        assert_eq!(temporary.collect::<Vec<_>>(), [100, 111]);
    }

    #[test]
    fn clients_come_back_after_the_codes_below_3500_and_after_no_other() {
        for disconnect in DisconnectCode::ALL {
            assert_eq!(DisconnectCode::reconnects(disconnect.code), disconnect.code < 3500, "{disconnect:?}");
        }
        assert!(DisconnectCode::reconnects(4000) && DisconnectCode::reconnects(4499));
        assert!(!DisconnectCode::reconnects(4500) && !DisconnectCode::reconnects(4999));
    }

    #[test]
    fn clients_subscribe_again_after_the_codes_from_2500() {
        let again = UnsubscribeCode::ALL.iter().filter(|code| UnsubscribeCode::resubscribes(code.code));
        assert_eq!(again.map(|code| code.code).collect::<Vec<_>>(), [2500, 2501]);
    }

    #[test]
    fn every_disconnect_fits_a_close_frame() {
        for disconnect in DisconnectCode::ALL {
            let (code, reason) = disconnect.close_frame();
            assert!(close::is_legal(u16::from(code)));
            assert_eq!(close::cut_reason(reason), reason);
        }
    }
}
