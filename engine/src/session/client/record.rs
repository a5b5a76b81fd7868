//! Record: what a shard keeps of each client.
//!
//! In:  clients that connect, subscribe, read.
//! Out: plain data, of which every part is owned by the record.

use std::sync::Arc;

use bytes::Bytes;
use holdfast_protocol::client::Format;
use holdfast_ring::Socket;

use super::{connecting::Connecting, deferred::ConnectionMeta, subscription::Subscription};
use crate::{
    conn::deflate::Deflate,
    encoding::Encoding,
    hub::{
        publication::{Data, Info},
        subscriptions::LocalChannelKey,
    },
    session::{quota::LeaseNumber, request::SessionIndex},
    time::UnixSeconds,
};

/// Reads of one client under way at a time.
pub(crate) const READS_MAX: u8 = 16;

/// The reads of a client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reads {
    pub(super) under_way: u8,
    /// True exactly when the read under way may have a long answer.
    pub(super) is_alone: bool,
}

impl Reads {
    pub(super) fn may_begin(self) -> bool {
        self.under_way < READS_MAX && !self.is_alone
    }

    pub(super) fn begin(&mut self) {
        self.under_way += 1;
    }

    pub(super) fn end(&mut self) {
        self.under_way = self.under_way.saturating_sub(1);
        self.is_alone = false;
    }
}

/// What the ledger has charged for a client.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counted {
    pub(super) session: u32,
    /// Memory of its subscriptions beside their records.
    pub(super) subs: u32,
}

/// How bytes reach a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    /// A WebSocket: frames of the client's format.
    WebSocket {
        socket: Socket,
        /// True exactly when control frames ping it, not the protocol's own pings.
        has_native_pings: bool,
        /// How its messages are compressed.
        deflate: Deflate,
    },
    /// A stream; its commands arrive in requests that name the session.
    Stream { wire: Encoding, socket: Socket, session: SessionIndex },
    /// Answers to polls, which name the session.
    Poll(SessionIndex),
}

impl Transport {
    /// The client's long-lived connection, if it has one, and its encoding.
    pub(crate) fn connection(self, format: Format) -> Option<(Encoding, Socket)> {
        match self {
            Self::WebSocket { socket, .. } => Some((Encoding::WebSocket(format), socket)),
            Self::Stream { wire, socket, .. } => Some((wire, socket)),
            Self::Poll(_) => None,
        }
    }

    /// How its messages are compressed.
    pub(crate) fn deflate(self) -> Deflate {
        match self {
            Self::WebSocket { deflate, .. } => deflate,
            Self::Stream { .. } | Self::Poll(_) => Deflate::Off,
        }
    }

    /// The session that the client's requests name.
    pub(crate) fn session(self) -> Option<SessionIndex> {
        match self {
            Self::WebSocket { .. } => None,
            Self::Stream { session, .. } | Self::Poll(session) => Some(session),
        }
    }

    /// True exactly when the client must answer the protocol's own pings. For a polling client, each poll is a sign of
    /// life.
    pub(crate) fn is_pinged(self) -> bool {
        match self {
            Self::WebSocket { has_native_pings, .. } => !has_native_pings,
            Self::Stream { .. } => true,
            Self::Poll(_) => false,
        }
    }
}

/// The stage of a client's life.
///
/// ```text
/// Fresh ── connect ──> Connecting ── its server-side subscriptions are made ──> Connected
///                          └─── later commands wait, in order (`waiting`) ─────────┘
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Its first command must be `connect`.
    Fresh,
    /// It has no reply to its connect yet.
    Connecting,
    Connected,
}

/// One client.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) stage: Stage,
    pub(crate) format: Format,
    pub(crate) link: Transport,
    /// Unpredictable; its text form is the client's id. [`Clients::find`](super::table::Clients::find) finds the client by it.
    pub(crate) id: uuid::Uuid,
    pub(crate) user: Arc<str>,
    /// The connection info from its token.
    pub(crate) conn_info: Option<Box<Data>>,
    pub(crate) subs: Vec<Subscription>,
    /// When the connection's token expires; `None` for never.
    pub(crate) expires_at: Option<UnixSeconds>,
    /// The connect that is not answered yet.
    pub(crate) connecting: Option<Box<Connecting>>,
    pub(super) reads: Reads,
    /// The bytes charged to the ledger for its record.
    pub(super) counted: Counted,
    /// State that few clients have.
    pub(crate) extra: Option<Box<ConnectionMeta>>,
    /// Its lease under the user's connection limit.
    pub(crate) lease: Option<LeaseNumber>,
}

impl Client {
    pub(crate) fn sub(&mut self, channel: LocalChannelKey) -> Option<&mut Subscription> {
        self.subs.iter_mut().find(|sub| sub.channel == channel)
    }
}

impl Client {
    /// The client's info as others see it.
    pub(super) fn info(&self, chan_info: Option<Bytes>) -> Info {
        Info {
            user: Arc::clone(&self.user),
            client: id_text(self.id),
            conn_info: self.conn_info.as_deref().cloned().unwrap_or_default(),
            chan_info: chan_info.map(Data::checked).unwrap_or_default(),
        }
    }
}

/// The text of a client's id.
pub(crate) fn id_text(id: uuid::Uuid) -> Box<str> {
    id.hyphenated().encode_lower(&mut uuid::Uuid::encode_buffer()).to_owned().into_boxed_str()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_reads_are_under_way_at_a_time_and_a_long_one_alone() {
        let mut reads = Reads::default();
        let begun = (0..1_000).take_while(|_| {
            let may = reads.may_begin();
            if may {
                reads.begin();
            }
            may
        });
        assert_eq!(begun.count(), usize::from(READS_MAX));
        reads.end();
        assert!(reads.may_begin());
        reads = Reads { under_way: 1, is_alone: true };
        assert!(!reads.may_begin());
        reads.end();
        assert!(reads.may_begin());
    }
}
