//! Event: questions to the application's backend, and the handling of its answers.
//!
//! In:  commands and expiries that the backend decides; its answers.
//! Out: calls for the control thread; replies, in the order of the answers.
//!
//! An answer for a client that is gone, or for something it no longer waits for, is dropped.

use std::{borrow::Cow, sync::Arc};

use bytes::Bytes;
use holdfast_protocol::client::{
    ClientError, ErrorCode, Payload, Reply, ReplyResult, append_reply, command::RpcRequest, reply::RpcResult,
};

use super::{
    Transport,
    command::{Handled, Refused},
    id_text,
};
use crate::{
    backend::{Header, ProxyRequest, ProxyResult, Refusal, ReplyTo},
    encoding::Encoding,
    ids::{ClientKey, CommandId},
    refusals::{CommandHead, Method},
    session::{
        Io, SessionCx,
        client::{
            command::Outcome,
            deferred::{Awaited, Pending, Question},
        },
    },
};

/// The parameters specific to one call.
#[derive(Debug, Default)]
pub(super) struct ProxyParams<'a> {
    pub(super) channel: &'a str,
    pub(super) method: &'a str,
    pub(super) token: &'a str,
    pub(super) name: &'a str,
    pub(super) version: &'a str,
    pub(super) channels: Vec<Box<str>>,
    pub(super) data: Bytes,
}

impl ProxyParams<'_> {
    /// Memory of a call with them.
    fn bytes(&self) -> usize {
        let texts = [self.channel, self.method, self.token, self.name, self.version];
        let channels: usize = self.channels.iter().map(|channel| size_of::<Box<str>>() + channel.len()).sum();
        size_of::<ProxyRequest>()
            + texts.into_iter().map(str::len).sum::<usize>()
            + channels
            + self.data.len()
    }
}

impl Transport {
    /// The transport's name for backends.
    const fn transport(self) -> &'static str {
        match self {
            Self::WebSocket { .. } => "websocket",
            Self::Stream { wire: Encoding::Sse, .. } => "sse",
            Self::Stream { .. } => "http_stream",
            Self::Poll(_) => "poll",
        }
    }
}

impl<I: Io> SessionCx<'_, I> {
    /// Keeps the handshake's header fields for backends.
    pub(crate) fn store_headers(&mut self, key: ClientKey, headers: Arc<[Header]>) {
        if !headers.is_empty()
            && let Some(client) = self.sessions.clients.get(key)
        {
            client.extra().headers = headers;
            self.account(key);
        }
    }

    pub(super) fn rpc(
        &mut self,
        key: ClientKey,
        command: CommandId,
        request: &RpcRequest<'_>,
    ) -> Handled<'static> {
        self.sessions.policy.rpc.may_call(&request.method)?;
        let data = Bytes::copy_from_slice(request.data.bytes());
        let about = ProxyParams { method: &request.method, data, ..ProxyParams::default() };
        self.ask_backend(key, Question::Rpc { id: command }, about)
    }

    /// Asks the backend. The client waits for its answer.
    pub(super) fn ask_backend(
        &mut self,
        key: ClientKey,
        question: Question,
        about: ProxyParams<'_>,
    ) -> Handled<'static> {
        let ticket = self.mesh.next_ticket();
        let shard = self.mesh.shard;
        let event = question.event();
        let pending = Pending { ticket, awaited: Awaited::Backend(question), told_bytes: about.bytes() };
        self.wait_with(key, pending)?;
        let Some(client) = self.sessions.clients.get(key) else { return Ok(Outcome::NoReply) };
        let extra = client.extra.as_deref();
        let call = ProxyRequest {
            event,
            client: id_text(client.id),
            transport: client.link.transport(),
            format: client.format,
            user: Arc::clone(&client.user),
            channel: about.channel.into(),
            method: about.method.into(),
            token: about.token.into(),
            name: about.name.into(),
            version: about.version.into(),
            channels: about.channels,
            data: about.data,
            meta: extra.and_then(|extra| extra.meta.clone()),
            headers: extra.map(|extra| Arc::clone(&extra.headers)).unwrap_or_default(),
            emulated_headers: extra.map(|extra| Arc::clone(&extra.emulated_headers)).unwrap_or_default(),
        };
        if self.sessions.backend.call(ReplyTo { shard, client: key, ticket }, Box::new(call)) {
            return Ok(Outcome::Deferred);
        }
        self.take_pending(key, ticket);
        Err(ErrorCode::INTERNAL.into())
    }

    /// The backend has answered.
    pub(crate) fn on_proxy_result(&mut self, back: ReplyTo, said: ProxyResult) {
        let key = back.client;
        let Some(pending) = self.take_pending(key, back.ticket) else { return };
        let Awaited::Backend(question) = pending.awaited else { return };
        let handled = match (&question, said) {
            (Question::ConnectionExpiry, ProxyResult::Refresh(said)) => {
                return self.on_refresh_result(key, said);
            }
            (Question::SubscriptionExpiry { channel }, ProxyResult::SubRefresh(said)) => {
                return self.on_sub_refresh_result(key, channel, said);
            }
            (Question::Connect { id, earlier }, ProxyResult::Connect(said)) => {
                said.map(|said| self.on_connect_result(key, *id, earlier, said))
            }
            (Question::Subscribe { id, terms }, ProxyResult::Subscribe(said)) => {
                said.map(|said| self.on_subscribe_result(key, *id, terms, said))
            }
            (Question::Publish { id, channel, data }, ProxyResult::Publish(said)) => {
                said.map(|said| self.publish_as(key, *id, channel, data.clone(), said))
            }
            (Question::Rpc { id }, ProxyResult::Rpc(Ok(data))) => {
                let result = RpcResult { data: Payload::new(&data) };
                return self.reply(key, *id, Ok(ReplyResult::Rpc(result)));
            }
            (Question::Rpc { .. }, ProxyResult::Rpc(Err(refusal))) => Err(refusal),
            _ => unreachable!("an answer is to the event that asked"),
        };
        let Some(command) = question.command() else { return };
        match handled {
            Ok(handled) => self.finish_deferred(key, &command, handled),
            Err(refusal) => self.refuse_as_said(key, &command, refusal),
        }
    }

    /// Completes a command that had to wait.
    pub(super) fn finish_deferred(
        &mut self,
        key: ClientKey,
        command: &CommandHead<'_>,
        handled: Handled<'_>,
    ) {
        match self.write_reply(key, command, handled) {
            Ok(()) => {
                self.flush_replies(key);
                self.go_on(key);
            }
            Err(code) => self.disconnect(key, code),
        }
    }

    /// Replies with the application's own error.
    fn refuse_as_said(&mut self, key: ClientKey, command: &CommandHead<'_>, refusal: Refusal) {
        match refusal {
            Refusal::Failed => {
                self.finish_deferred(key, command, Err(Refused::Error(ErrorCode::INTERNAL)));
            }
            Refusal::Disconnect { code, reason } => self.disconnect_with(key, code, &reason),
            Refusal::Error { code, message, temporary } => {
                self.tell_backends_error(key, command, code, &message);
                if command.method == Method::Connect {
                    self.connect_refused(key);
                }
                let Some(client) = self.sessions.clients.get(key) else { return };
                let format = client.format;
                let error = ClientError { code, message: Cow::Owned(message.into()), temporary };
                append_reply(
                    format,
                    &mut self.sessions.replies,
                    &Reply { id: command.id, result: Err(error) },
                );
                self.flush_replies(key);
                self.go_on(key);
            }
        }
    }
}
