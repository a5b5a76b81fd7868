//! Work: how long messages of shards take to handle, about.
//!
//! In:  messages.
//! Out: nanoseconds, as `context/cost` has them of all other work.

use crate::{
    context::cost::{RECORD_NS, RECORDS_UNKNOWN, REQUEST_NS, page},
    hub::message::{Answer, FromHome, Question, ToHome},
    mesh::Message,
};

/// What a home says.
pub(crate) fn of_answer(message: &FromHome) -> u64 {
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

/// A message, but for the commands in it.
pub(crate) fn of_message(message: &Message) -> u64 {
    match message {
        Message::Broadcast(frames) => 500 + frames.bytes.len() as u64 / 8,
        Message::ToHome(ToHome::Publish(publish)) => 2_500 + publish.data.bytes.len() as u64,
        Message::ToHome(ToHome::Subscribe(subscribe)) => {
            let recovery = if subscribe.recover.is_some() { RECORDS_UNKNOWN * RECORD_NS } else { 0 };
            3_000 + recovery
        }
        Message::ToHome(ToHome::Ask { question, .. }) => match question {
            Question::Presence(_) => 1_000 + RECORDS_UNKNOWN * RECORD_NS,
            Question::History(asked) => 1_000 + page(Some(asked.limit as u64)),
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
