//! Ask: questions about history and presence that Redis answers.
//!
//! In:  a question of a client or the server API.
//! Out: its answer.

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use bytes::Bytes;
use holdfast_protocol::client::ErrorCode;
use holdfast_redis::{
    command::{Commands, Direction, Failure, History, HistoryRead, Range},
    publication::{decode_client_info, decode_publication},
};

use crate::hub::{
    history::{AnswerBytes, Page, Part, Position},
    message::{Answer, ChannelQuery, QueryResult},
    presence::{Members, answer_bytes},
    publication::{Info, StoredPublication},
    wire,
};

/// The outcome of a question.
pub(super) enum Given {
    Now(QueryResult),
    /// The answer is too long to be given beside others.
    TooLongNow,
}

/// Asks Redis.
pub(super) async fn ask(
    commands: &Commands,
    channel: &str,
    question: &ChannelQuery,
    meta_ttl: Duration,
) -> Given {
    let asked = match question {
        ChannelQuery::Presence(bytes) => presence(commands, channel, *bytes).await,
        ChannelQuery::PresenceStats => presence_stats(commands, channel).await.map(Given::Now),
        ChannelQuery::History(page) => history(commands, channel, page, meta_ttl).await,
        ChannelQuery::RemoveHistory => {
            commands.remove_history(channel).await.map(|()| Given::Now(Ok(Answer::Done)))
        }
    };
    asked.unwrap_or_else(|failure| Given::Now(Err(code_of(&failure))))
}

/// What a client is told. The log and the metrics of the connection say more.
pub(super) fn code_of(failure: &Failure) -> ErrorCode {
    match failure {
        Failure::TooLarge => ErrorCode::LIMIT_EXCEEDED,
        Failure::Scattered(_) => ErrorCode::BAD_REQUEST,
        _ => ErrorCode::INTERNAL,
    }
}

async fn presence(commands: &Commands, channel: &str, bytes: AnswerBytes) -> Result<Given, Failure> {
    let members = members(commands, channel).await?;
    let length: usize = members.iter().map(|info| answer_bytes(info)).sum();
    Ok(match length {
        length if length > bytes.max => Given::Now(Err(ErrorCode::LIMIT_EXCEEDED)),
        length if length > bytes.now_max => Given::TooLongNow,
        _ => Given::Now(Ok(Answer::Presence(members))),
    })
}

async fn members(commands: &Commands, channel: &str) -> Result<Members, Failure> {
    let present = commands.presence(channel).await?;
    let info = |info: &Bytes| decode_client_info(info).ok().map(|info| Arc::new(wire::client(&info)));
    Ok(present.iter().filter_map(|present| info(&present.info)).collect())
}

async fn presence_stats(commands: &Commands, channel: &str) -> Result<QueryResult, Failure> {
    let counts = commands.presence_counts(channel).await?;
    let clients = usize::try_from(counts.clients).unwrap_or(usize::MAX);
    let users = match counts.users {
        Some(users) => usize::try_from(users).unwrap_or(usize::MAX),
        None => {
            let members = members(commands, channel).await?;
            members.iter().map(|info: &Arc<Info>| &info.user).collect::<std::collections::HashSet<_>>().len()
        }
    };
    Ok(Ok(Answer::PresenceStats { clients, users }))
}

/// A page of the history: always from Redis, so that it is right on whatever node it is asked for.
async fn history(
    commands: &Commands,
    channel: &str,
    page: &Page,
    meta_ttl: Duration,
) -> Result<Given, Failure> {
    let since = page.since.as_ref().map(|&(offset, _)| offset);
    let limit = u32::try_from(page.limit).ok().and_then(NonZeroU32::new);
    let (direction, from) = if page.reverse {
        (Direction::Backward, since.map(|since| since.saturating_sub(1)))
    } else {
        (Direction::Forward, since.map(|since| since.saturating_add(1)))
    };
    // Nothing is before the first one.
    let is_empty = page.reverse && since.is_some_and(|since| since <= 1);
    let range = limit.filter(|_| !is_empty).map(|limit| Range { from, limit: Some(limit.get()), direction });
    let History { top, entries } =
        commands.history(HistoryRead { channel: channel.to_owned(), range, meta_ttl }).await?;
    if page.since.as_ref().is_some_and(|(_, epoch)| !epoch.is_empty() && **epoch != *top.epoch) {
        return Ok(Given::Now(Err(ErrorCode::UNRECOVERABLE_POSITION)));
    }
    let stored = entries.iter().filter_map(|entry| {
        let publication = decode_publication(&entry.payload).ok()?;
        Some(Arc::new(wire::stored(&publication, entry.offset, 0)))
    });
    let stored: Vec<Arc<StoredPublication>> = stored.collect();
    let part = Part::of(stored.iter(), page.bytes.max);
    if part.bytes > page.bytes.now_max {
        return Ok(Given::TooLongNow);
    }
    let position = Position { offset: top.offset, epoch: top.epoch.into() };
    Ok(Given::Now(Ok(Answer::History { publications: part.publications, position })))
}
