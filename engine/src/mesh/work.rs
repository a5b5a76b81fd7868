//! Work: approximate handling time of messages.
//!
//! In:  messages.
//! Out: nanoseconds, like `context/cost` for all other work.

use crate::{
    context::cost::{RECORD_NS, RECORDS_UNKNOWN, REQUEST_NS, page},
    hub::message::{Answer, ChannelQuery, FromOwner, ToOwner},
    mesh::Message,
};

/// A message of an owner.
pub(crate) fn of_answer(message: &FromOwner) -> u64 {
    match message {
        FromOwner::Deliver(_) => 500,
        FromOwner::Subscribed(subscribed) => {
            3_000 + subscribed.recovered.as_ref().map_or(0, |missed| missed.len() as u64 * RECORD_NS)
        }
        FromOwner::Answered { outcome, .. } => match outcome {
            Ok(Answer::Presence(infos)) => 1_500 + infos.len() as u64 * RECORD_NS,
            Ok(Answer::History { publications, .. }) => 1_500 + publications.len() as u64 * RECORD_NS,
            _ => 1_500,
        },
        FromOwner::TooLongNow { .. } => 1_500,
    }
}

/// A message, without the commands in it.
pub(crate) fn of_message(message: &Message) -> u64 {
    match message {
        Message::Broadcast(frames) => 500 + frames.bytes.len() as u64 / 8,
        Message::ToOwner(ToOwner::Publish(publish)) => 2_500 + publish.data.bytes.len() as u64,
        Message::ToOwner(ToOwner::Subscribe(subscribe)) => {
            let recovery = if subscribe.recover.is_some() { RECORDS_UNKNOWN * RECORD_NS } else { 0 };
            3_000 + recovery
        }
        Message::ToOwner(ToOwner::Ask { question, .. }) => match question {
            ChannelQuery::Presence(_) => 1_000 + RECORDS_UNKNOWN * RECORD_NS,
            ChannelQuery::History(asked) => 1_000 + page(Some(asked.limit as u64)),
            ChannelQuery::PresenceStats | ChannelQuery::RemoveHistory => 2_000,
        },
        Message::ToOwner(ToOwner::Unsubscribe { .. } | ToOwner::Renew { .. }) => 1_500,
        Message::FromOwner(message) => of_answer(message),
        Message::ToSession(_) | Message::Answer { .. } => REQUEST_NS,
        Message::Backend(_) => 5_000,
        Message::Api(_) | Message::Certificates(_) => 5_000,
        Message::Limits(_) | Message::ToQuota(_) | Message::FromQuota(_) => 1_000,
    }
}
