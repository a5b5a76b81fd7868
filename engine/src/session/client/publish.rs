//! Publish: publications of clients.
//!
//! In:  publish commands; the backend's answers, if it decides.
//! Out: publications for the channel's owner, whose answer becomes the reply.

use std::sync::Arc;

use bytes::Bytes;
use holdfast_protocol::client::{ErrorCode, command::PublishRequest};

use super::{command::Handled, event::ProxyParams};
use crate::{
    backend::Published,
    hub::{
        message::{AnswerTo, ClientKey, Publish, ToOwner, Version},
        publication::{Data, tags},
    },
    ids::CommandId,
    session::{
        Io, SessionCx,
        client::{command::Outcome, deferred::Question},
    },
};

impl<I: Io> SessionCx<'_, I> {
    pub(super) fn publish(
        &mut self,
        key: ClientKey,
        command: CommandId,
        request: &PublishRequest<'_>,
    ) -> Handled<'static> {
        let channel = &*request.channel;
        let resolved = self.sessions.policy.channels.resolve(channel)?;
        // Map entries; no channel here is a map.
        if request.kind != 0 || !request.key.is_empty() || request.removed {
            return Err(ErrorCode::PERMISSION_DENIED.into());
        }
        if request.data.is_empty() {
            return Err(ErrorCode::BAD_REQUEST.into());
        }
        let Some(client) = self.sessions.clients.get(key) else { return Ok(Outcome::NoReply) };
        if resolved.options.is_publish_proxied {
            let data = Bytes::copy_from_slice(request.data.bytes());
            let about = ProxyParams { channel, data: data.clone(), ..ProxyParams::default() };
            return self.ask_backend(
                key,
                Question::Publish { id: command, channel: channel.into(), data },
                about,
            );
        }
        let local = self.hub.subscriptions.find(channel);
        let is_subscribed = local.is_some_and(|local| client.sub(local).is_some());
        resolved.may_publish(&client.user, is_subscribed)?;
        let data = Bytes::copy_from_slice(request.data.bytes());
        self.publish_as(key, command, channel, data, Published::default())
    }

    /// A client may publish, as the backend answered.
    pub(super) fn publish_as(
        &mut self,
        key: ClientKey,
        command: CommandId,
        channel: &str,
        data: Bytes,
        said: Published,
    ) -> Handled<'static> {
        let Some(client) = self.sessions.clients.get(key) else { return Ok(Outcome::NoReply) };
        let local = self.hub.subscriptions.find(channel);
        let sub_info = local.and_then(|local| client.sub(local)).and_then(|sub| sub.info.clone());
        let info = sub_info.unwrap_or_else(|| Arc::new(client.info(None)));
        let name = local.map_or_else(|| Arc::from(channel), |local| self.hub.subscriptions.name(local));
        let tags = tags(said.tags.into_iter().map(|(tag, value)| (tag.into(), value.into())));
        let publish = Publish {
            channel: Arc::clone(&name),
            data: Data::checked(said.data.unwrap_or(data)),
            info: Some(info),
            tags,
            skip_history: said.skip_history,
            delta: said.delta,
            idempotency_key: said.idempotency_key.into(),
            version: Version { number: said.version, epoch: said.version_epoch.into() },
            answer_to: Some(AnswerTo::Client {
                shard: self.mesh.shard,
                client: key,
                command,
                is_read: false,
            }),
        };
        self.mesh.send_to_owner(&name, ToOwner::Publish(Box::new(publish)));
        Ok(Outcome::Deferred)
    }
}
