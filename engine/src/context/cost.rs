//! Cost: how long single pieces of work take, about.
//!
//! In:  commands.
//! Out: nanoseconds, as measured on the machine of docs/benchmarks.md, rounded up.
//!
//! The meter replaces them by measured time wherever they have added up to something. What is here decides how soon it looks,
//! and where a frame of many commands is cut.

use holdfast_protocol::client::{Request, command::HistoryRequest};

/// A connection that comes: its record, and what of it is limited.
pub(crate) const ACCEPT_NS: u64 = 2_000;

/// A connection that goes, or its other end.
pub(crate) const END_NS: u64 = 1_000;

/// A piece of received bytes, whatever is in it.
pub(crate) const RECEIVE_NS: u64 = 200;

/// A message or control frame of a WebSocket.
pub(crate) const FRAME_NS: u64 = 60;

/// A thousand bytes that are unmasked, looked at and copied.
pub(crate) const FRAME_KILOBYTE_NS: u64 = 300;

/// A thousand bytes that came out of a compressed message.
pub(crate) const INFLATE_KILOBYTE_NS: u64 = 3_000;

/// A thousand bytes that are compressed.
pub(crate) const DEFLATE_KILOBYTE_NS: u64 = 15_000;

/// A thousand bytes that are decrypted or encrypted.
pub(crate) const CIPHER_KILOBYTE_NS: u64 = 1_000;

/// One step of a TLS handshake: half of a signature.
pub(crate) const TLS_STEP_NS: u64 = 300_000;

/// The head of a request, and its answer.
pub(crate) const REQUEST_NS: u64 = 3_000;

/// A thousand bytes of JSON or Protobuf that are read.
pub(crate) const PARSE_KILOBYTE_NS: u64 = 3_000;

/// A thousand bytes of a reply that are written: of a history, a recovery, presence.
pub(crate) const REPLY_KILOBYTE_NS: u64 = 1_000;

/// An entry of a wheel that is only put in again.
pub(crate) const DUE_NS: u64 = 100;

/// A ping.
pub(crate) const PING_NS: u64 = 500;

/// A connection that is overdue: a look, behind which may be its end with all that follows from it.
pub(crate) const OVERDUE_NS: u64 = 5_000;

/// What the server API has happen to one client, or one of its subscriptions.
pub(crate) const WISH_NS: u64 = 5_000;

/// A page of a table that is searched.
pub(crate) const PAGE_NS: u64 = 200_000;

/// A token's signature: most take less, some of RSA and of the larger curves take more.
const SIGNATURE_NS: u64 = 60_000;

/// A publication or a member's record in an answer.
pub(crate) const RECORD_NS: u64 = 400;

/// What there may be of them where nobody knows yet.
pub(crate) const RECORDS_UNKNOWN: u64 = 64;

/// A thousand bytes of two publications that are compared for a patch, in both formats.
pub(crate) const PATCH_KILOBYTE_NS: u64 = 20_000;

/// A command of a client that takes so many bytes of its frame.
pub(crate) fn of_command(request: &Request<'_>, bytes: usize) -> u64 {
    let signature = |token: &str| if token.is_empty() { 0 } else { SIGNATURE_NS };
    let own = match request {
        Request::Connect(connect) => {
            5_000 + signature(&connect.token) + connect.subs.0.len() as u64 * RECORD_NS
        }
        Request::Subscribe(subscribe) => {
            let recovery = if subscribe.recover { RECORDS_UNKNOWN * RECORD_NS } else { 0 };
            5_000 + signature(&subscribe.token) + recovery
        }
        Request::Publish(_) => 4_000,
        Request::Presence(_) => 2_000 + RECORDS_UNKNOWN * RECORD_NS,
        Request::History(HistoryRequest { limit, .. }) => 2_000 + page(u64::try_from(*limit).ok()),
        Request::Refresh(refresh) => 1_000 + signature(&refresh.token),
        Request::SubRefresh(refresh) => 1_000 + signature(&refresh.token),
        Request::Rpc(_) => 3_000,
        Request::Unsubscribe(_) | Request::PresenceStats(_) => 2_000,
        Request::Send(_) | Request::Ping(_) => 300,
    };
    own + bytes as u64 * PARSE_KILOBYTE_NS / 1000
}

pub(crate) fn page(limit: Option<u64>) -> u64 {
    limit.unwrap_or(RECORDS_UNKNOWN).min(RECORDS_UNKNOWN) * RECORD_NS
}
