//! Ask: presence and history.
//!
//! In:  presence, presence_stats and history commands; the owners' answers.
//! Out: queries to owners; replies.

use std::{borrow::Cow, sync::Arc};

use holdfast_protocol::client::{
    Map, ReplyResult,
    command::HistoryRequest,
    reply::{Done, HistoryResult, PresenceResult, PresenceStatsResult},
};

use super::command::Handled;
use crate::{
    hub::{
        history::Page,
        message::{Answer, AnswerTo, ChannelQuery, ClientKey, QueryResult, ToOwner},
    },
    ids::CommandId,
    session::{Io, SessionCx, client::command::Outcome},
};

impl<I: Io> SessionCx<'_, I> {
    pub(super) fn ask_presence(
        &mut self,
        key: ClientKey,
        command: CommandId,
        channel: &str,
        stats: bool,
    ) -> Handled<'static> {
        let Some(client) = self.sessions.clients.get(key) else { return Ok(Outcome::NoReply) };
        let resolved = self.sessions.policy.channels.resolve(channel)?;
        let is_subscribed =
            self.hub.subscriptions.find(channel).is_some_and(|local| client.sub(local).is_some());
        resolved.may_presence(&client.user, is_subscribed)?;
        let question =
            if stats { ChannelQuery::PresenceStats } else { ChannelQuery::Presence(self.answer_bytes()) };
        self.ask(key, command, channel, question);
        Ok(Outcome::Deferred)
    }

    pub(super) fn ask_history(
        &mut self,
        key: ClientKey,
        command: CommandId,
        request: &HistoryRequest<'_>,
    ) -> Handled<'static> {
        let channel = &*request.channel;
        let Some(client) = self.sessions.clients.get(key) else { return Ok(Outcome::NoReply) };
        let resolved = self.sessions.policy.channels.resolve(channel)?;
        let is_subscribed =
            self.hub.subscriptions.find(channel).is_some_and(|local| client.sub(local).is_some());
        resolved.may_history(&client.user, is_subscribed)?;
        let most = self.sessions.policy.history_publications_max;
        let page = Page {
            // A negative limit asks for the allowed maximum.
            limit: usize::try_from(request.limit).map_or(most, |limit| limit.min(most)),
            since: request.since.as_ref().map(|since| (since.offset, since.epoch.as_ref().into())),
            reverse: request.reverse,
            bytes: self.answer_bytes(),
        };
        self.ask(key, command, channel, ChannelQuery::History(page));
        Ok(Outcome::Deferred)
    }

    fn ask(&mut self, key: ClientKey, command: CommandId, channel: &str, question: ChannelQuery) {
        let channel: Arc<str> = channel.into();
        let is_read = !matches!(question, ChannelQuery::PresenceStats);
        if is_read {
            self.begin_read(key);
        }
        let answer_to = AnswerTo::Client { shard: self.mesh.shard, client: key, command, is_read };
        self.mesh.send_to_owner(&Arc::clone(&channel), ToOwner::Ask { channel, question, answer_to });
    }

    /// An owner has answered a client's command.
    pub(crate) fn answered(
        &mut self,
        key: ClientKey,
        command: CommandId,
        is_read: bool,
        outcome: &QueryResult,
    ) {
        let result = match outcome {
            Err(code) => Err(*code),
            Ok(Answer::Published(_)) => Ok(ReplyResult::Publish(Done::default())),
            Ok(Answer::Presence(infos)) => {
                let presence = infos
                    .iter()
                    .map(|info| (Cow::Borrowed(&*info.client), info.client_info()))
                    .collect::<Vec<_>>();
                Ok(ReplyResult::Presence(PresenceResult { presence: Map(presence) }))
            }
            Ok(Answer::PresenceStats { clients, users }) => {
                let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
                let result = PresenceStatsResult { num_clients: count(*clients), num_users: count(*users) };
                Ok(ReplyResult::PresenceStats(result))
            }
            Ok(Answer::History { publications, position }) => Ok(ReplyResult::History(HistoryResult {
                publications: publications.iter().map(|stored| stored.publication()).collect(),
                epoch: Cow::Borrowed(&position.epoch),
                offset: position.offset,
            })),
            Ok(Answer::Done) => return,
        };
        if is_read {
            self.reply_to_read(key, command, result);
            self.end_read(key);
            self.go_on(key);
        } else {
            self.reply(key, command, result);
        }
    }
}
