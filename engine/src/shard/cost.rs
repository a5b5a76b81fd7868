//! Cost: how long single pieces of work take, about.
//!
//! In:  commands, messages.
//! Out: nanoseconds, as measured on the machine of docs/benchmarks.md, rounded up.
//!
//! The meter replaces them by measured time wherever they have added up to something. What is here decides how soon it looks,
//! and where a frame of many commands is cut.

use holdfast_protocol::client::{Request, command::HistoryRequest};

use crate::{
    hub::message::{Answer, FromHome, Question, ToHome},
    peers::Message,
};

/// A connection that comes: its record, and what of it is limited.
pub(super) const ACCEPT_NS: u64 = 2_000;

/// A connection that goes, or its other end.
pub(super) const END_NS: u64 = 1_000;

/// A piece of received bytes, whatever is in it.
pub(super) const RECEIVE_NS: u64 = 200;

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
pub(super) const WISH_NS: u64 = 5_000;

/// A page of a table that is searched.
pub(super) const PAGE_NS: u64 = 200_000;

/// A token's signature: most take less, some of RSA and of the larger curves take more.
const SIGNATURE_NS: u64 = 60_000;

/// A publication or a member's record in an answer.
const RECORD_NS: u64 = 400;

/// What there may be of them where nobody knows yet.
const RECORDS_UNKNOWN: u64 = 64;

/// A thousand bytes of two publications that are compared for a patch, in both formats.
pub(super) const PATCH_KILOBYTE_NS: u64 = 20_000;

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

/// What a home says.
pub(super) fn of_answer(message: &FromHome) -> u64 {
    match message {
        FromHome::Deliver(_) => 500,
        FromHome::Subscribed(subscribed) => {
            3_000 + subscribed.recovered.as_ref().map_or(0, |missed| missed.len() as u64 * RECORD_NS)
        }
        FromHome::Answered { outcome, .. } => match outcome {
            Ok(Answer::Presence(infos)) => 1_500 + infos.len() as u64 * RECORD_NS,
            Ok(Answer::History { publications, .. }) => 1_500 + publications.len() as u64 * RECORD_NS,
            _ => 1_500,
        },
        FromHome::TooLongNow { .. } => 1_500,
    }
}

fn page(limit: Option<u64>) -> u64 {
    limit.unwrap_or(RECORDS_UNKNOWN).min(RECORDS_UNKNOWN) * RECORD_NS
}

/// A message, but for the commands in it.
pub(super) fn of_message(message: &Message) -> u64 {
    match message {
        Message::Broadcast(frames) => 500 + frames.bytes.len() as u64 / 8,
        Message::ToHome(ToHome::Publish(publish)) => 2_500 + publish.data.bytes.len() as u64,
        Message::ToHome(ToHome::Subscribe(subscribe)) => {
            let recovery = if subscribe.recover.is_some() { RECORDS_UNKNOWN * RECORD_NS } else { 0 };
            3_000 + recovery
        }
        Message::ToHome(ToHome::Ask { question, .. }) => match question {
            Question::Presence(_) => 1_000 + RECORDS_UNKNOWN * RECORD_NS,
            Question::History(page) => 1_000 + self::page(Some(page.limit as u64)),
            Question::PresenceStats | Question::RemoveHistory => 2_000,
        },
        Message::ToHome(ToHome::Unsubscribe { .. } | ToHome::Renew { .. }) => 1_500,
        Message::FromHome(message) => of_answer(message),
        Message::ToSession(_) | Message::Answer { .. } => REQUEST_NS,
        Message::Backend(_) => 5_000,
        Message::Api(_) | Message::Certificates(_) => 5_000,
        Message::Limits(_) | Message::ToSeats(_) | Message::FromSeats(_) => 1_000,
    }
}
