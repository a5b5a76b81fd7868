//! Cost: approximate duration of single pieces of work.
//!
//! In:  commands.
//! Out: nanoseconds, measured on the machine of docs/benchmarks.md, rounded up.
//!
//! The meter replaces these estimates by measured time once they have added up. They decide how soon it reads the clock,
//! and where a frame of many commands is cut.

use holdfast_protocol::client::{Request, command::HistoryRequest};

/// Accepting a connection: its record and its limits.
pub(crate) const ACCEPT_NS: u64 = 2_000;

/// The end of a connection, or of its peer's side.
pub(crate) const END_NS: u64 = 1_000;

/// A piece of received bytes, whatever its content.
pub(crate) const RECEIVE_NS: u64 = 200;

/// A message or control frame of a WebSocket.
pub(crate) const FRAME_NS: u64 = 60;

/// Unmasking, parsing and copying a thousand bytes.
pub(crate) const FRAME_KILOBYTE_NS: u64 = 300;

/// A thousand bytes inflated from a compressed message.
pub(crate) const INFLATE_KILOBYTE_NS: u64 = 3_000;

/// Compressing a thousand bytes.
pub(crate) const DEFLATE_KILOBYTE_NS: u64 = 15_000;

/// Decrypting or encrypting a thousand bytes.
pub(crate) const CIPHER_KILOBYTE_NS: u64 = 1_000;

/// One step of a TLS handshake: half of a signature.
pub(crate) const TLS_STEP_NS: u64 = 300_000;

/// The head of a request, and its answer.
pub(crate) const REQUEST_NS: u64 = 3_000;

/// Parsing a thousand bytes of JSON or Protobuf.
pub(crate) const PARSE_KILOBYTE_NS: u64 = 3_000;

/// Writing a thousand bytes of a reply: history, recovery, presence.
pub(crate) const REPLY_KILOBYTE_NS: u64 = 1_000;

/// A wheel entry that is only scheduled again.
pub(crate) const DUE_NS: u64 = 100;

/// A ping.
pub(crate) const PING_NS: u64 = 500;

/// An overdue connection: a check, which may lead to its end with all consequences.
pub(crate) const OVERDUE_NS: u64 = 5_000;

/// An action of the server API on one client or one of its subscriptions.
pub(crate) const WISH_NS: u64 = 5_000;

/// Searching a page of a table.
pub(crate) const PAGE_NS: u64 = 200_000;

/// Verifying a token's signature: most cost less, some with RSA or larger curves cost more.
const SIGNATURE_NS: u64 = 60_000;

/// A publication or a presence record in an answer.
pub(crate) const RECORD_NS: u64 = 400;

/// The assumed number of these before it is known.
pub(crate) const RECORDS_UNKNOWN: u64 = 64;

/// Comparing a thousand bytes of two publications for a delta, in both formats.
pub(crate) const PATCH_KILOBYTE_NS: u64 = 20_000;

/// A command of a client, by its length in its frame.
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
