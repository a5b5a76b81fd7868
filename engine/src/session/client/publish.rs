//! Publish: what a client says in a channel.
//!
//! In:  publish commands.
//! Out: publications for the channel's home, whose answer is the reply.

use std::sync::Arc;

use bytes::Bytes;
use holdfast_protocol::client::{ErrorCode, command::PublishRequest};
use holdfast_ring::Kernel;

use super::command::{Handled, Refused};
use crate::{
    hub::{
        message::{AnswerTo, ClientKey, Publish, ToHome},
        publication::Data,
    },
    shard::Shard,
};

impl<K: Kernel> Shard<K> {
    pub(super) fn publish(
        &mut self,
        key: ClientKey,
        command: u32,
        request: &PublishRequest<'_>,
    ) -> Handled<'static> {
        let channel = &*request.channel;
        if request.data.is_empty() {
            return Err(ErrorCode::BAD_REQUEST.into());
        }
        let Some(client) = self.clients.get(key) else { return Ok(None) };
        let resolved = self.rules.channels.resolve(channel).map_err(|error| Refused::Error(error.code()))?;
        let local = self.locals.find(channel);
        let sub_info = local.and_then(|local| client.sub(local)).map(|sub| sub.info.clone());
        resolved.may_publish(&client.user, sub_info.is_some())?;
        let info = sub_info.flatten().unwrap_or_else(|| Arc::new(client.info(None)));
        let name = local.map_or_else(|| Arc::from(channel), |local| self.locals.name(local));
        let publish = Publish {
            channel: Arc::clone(&name),
            data: Data::checked(Bytes::copy_from_slice(request.data.bytes())),
            info: Some(info),
            tags: Box::default(),
            skip_history: false,
            delta: false,
            idempotency_key: Box::default(),
            answer_to: Some(AnswerTo::Client { core: self.index, client: key, command }),
        };
        self.post_home(&name, ToHome::Publish(Box::new(publish)));
        Ok(None)
    }
}
