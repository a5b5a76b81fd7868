//! Event: questions to the application's backend, and the handling of its answers.
//!
//! In:  commands and expiries that the backend decides; its answers.
//! Out: calls for the control thread; replies, in the order of the answers.
//!
//! An answer for a client that is gone, or for something it no longer waits for, is dropped.

use std::{borrow::Cow, sync::Arc};

use bytes::{Bytes, BytesMut};
use holdfast_protocol::client::{
    ClientError, Command, ErrorCode, Format, FromClient, Payload, Reply, ReplyResult, Request,
    append_command, append_reply, command::RpcRequest, decode_commands, reply::RpcResult,
};

use super::{
    Transport,
    command::{Handled, Refused},
    id_text,
};
use crate::{
    backend::{Event, Header, ProxyRequest, ProxyResult, Refusal, ReplyTo},
    encoding::Encoding,
    ids::ClientKey,
    session::{
        Io, SessionCx,
        client::deferred::{Awaits, Pending},
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
    pub(super) data: &'a [u8],
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

/// A command in the form kept until the answer arrives.
pub(super) fn encoded(format: Format, id: u32, request: Request<'_>) -> Box<[u8]> {
    let mut bytes = BytesMut::new();
    append_command(format, &mut bytes, &Command { id, request });
    Vec::from(bytes).into_boxed_slice()
}

/// A kept command.
pub(super) fn decoded(format: Format, command: &[u8]) -> Command<'_> {
    match decode_commands(format, command).next() {
        Some(Ok(FromClient::Command(command))) => command,
        _ => unreachable!("what was encoded here can be decoded"),
    }
}

impl<I: Io> SessionCx<'_, I> {
    /// Keeps the handshake's header fields for backends.
    pub(crate) fn store_headers(&mut self, key: ClientKey, told: Arc<[Header]>) {
        if !told.is_empty()
            && let Some(client) = self.sessions.clients.get(key)
        {
            client.kept().headers = told;
            self.account(key);
        }
    }

    pub(super) fn rpc(&mut self, key: ClientKey, command: u32, request: &RpcRequest<'_>) -> Handled<'static> {
        self.sessions.policy.rpc.may_call(&request.method)?;
        let about =
            ProxyParams { method: &request.method, data: request.data.bytes(), ..ProxyParams::default() };
        // The reply needs only its number.
        let kept = Request::Rpc(RpcRequest { data: Payload::default(), method: Cow::Borrowed("") });
        self.ask_backend(key, Event::Rpc, Some((command, kept)), about)
    }

    /// Sends an event to the backend. `command` waits for the answer.
    pub(super) fn ask_backend(
        &mut self,
        key: ClientKey,
        event: Event,
        command: Option<(u32, Request<'_>)>,
        about: ProxyParams<'_>,
    ) -> Handled<'static> {
        let ticket = self.mesh.next_ticket();
        let core = self.mesh.index;
        let Some(format) = self.sessions.clients.get(key).map(|client| client.format) else {
            return Ok(None);
        };
        let pending = Pending {
            ticket,
            awaits: Awaits::Backend,
            command: command.map_or_else(Box::default, |(id, request)| encoded(format, id, request)),
            channel: match event {
                Event::Subscribe | Event::SubRefresh => about.channel.into(),
                _ => Box::default(),
            },
            told_bytes: about.bytes(),
        };
        self.wait_with(key, pending)?;
        let Some(client) = self.sessions.clients.get(key) else { return Ok(None) };
        let kept = client.kept.as_deref();
        let call = ProxyRequest {
            event,
            client: id_text(client.id),
            transport: client.link.transport(),
            format,
            user: Arc::clone(&client.user),
            channel: about.channel.into(),
            method: about.method.into(),
            token: about.token.into(),
            name: about.name.into(),
            version: about.version.into(),
            channels: about.channels,
            data: Bytes::copy_from_slice(about.data),
            meta: kept.and_then(|kept| kept.meta.clone()),
            headers: kept.map(|kept| Arc::clone(&kept.headers)).unwrap_or_default(),
            emulated_headers: kept.map(|kept| Arc::clone(&kept.emulated_headers)).unwrap_or_default(),
        };
        if self.sessions.backend.call(ReplyTo { core, client: key, ticket }, Box::new(call)) {
            return Ok(None);
        }
        self.take_pending(key, ticket);
        Err(ErrorCode::INTERNAL.into())
    }

    /// The backend has answered.
    pub(crate) fn on_proxy_result(&mut self, back: ReplyTo, said: ProxyResult) {
        let key = back.client;
        let Some(client) = self.sessions.clients.get(key) else { return };
        let format = client.format;
        let Some(pending) = self.take_pending(key, back.ticket) else { return };
        match said {
            ProxyResult::Refresh(said) => return self.on_refresh_result(key, said),
            ProxyResult::SubRefresh(said) => return self.on_sub_refresh_result(key, &pending.channel, said),
            _ => {}
        }
        let command = decoded(format, &pending.command);
        let handled = match (&command.request, said) {
            (Request::Connect(request), ProxyResult::Connect(said)) => {
                said.map(|said| self.on_connect_result(key, command.id, request, said))
            }
            (Request::Subscribe(request), ProxyResult::Subscribe(said)) => {
                said.map(|said| self.subscribe_said(key, command.id, request, said))
            }
            (Request::Publish(request), ProxyResult::Publish(said)) => {
                said.map(|said| self.publish_said(key, command.id, request, said))
            }
            (Request::Rpc(_), ProxyResult::Rpc(Ok(data))) => {
                let result = RpcResult { data: Payload::new(&data) };
                self.reply(key, command.id, Ok(ReplyResult::Rpc(result)));
                return;
            }
            (Request::Rpc(_), ProxyResult::Rpc(Err(refusal))) => Err(refusal),
            _ => unreachable!("an answer is to the event that asked"),
        };
        match handled {
            Ok(handled) => self.finish_deferred(key, &command, handled),
            Err(refusal) => self.refuse_as_said(key, &command, refusal),
        }
    }

    /// Completes a command that had to wait.
    pub(super) fn finish_deferred(&mut self, key: ClientKey, command: &Command<'_>, handled: Handled<'_>) {
        match self.write_reply(key, command, handled, true) {
            Ok(()) => {
                self.flush_replies(key);
                self.go_on(key);
            }
            Err(code) => self.disconnect(key, code),
        }
    }

    /// Replies with the application's own error.
    fn refuse_as_said(&mut self, key: ClientKey, command: &Command<'_>, refusal: Refusal) {
        match refusal {
            Refusal::Failed => {
                self.finish_deferred(key, command, Err(Refused::Error(ErrorCode::INTERNAL)));
            }
            Refusal::Disconnect { code, reason } => self.disconnect_with(key, code, &reason),
            Refusal::Error { code, message, temporary } => {
                self.tell_backends_error(key, command, code, &message);
                if matches!(command.request, Request::Connect(_)) {
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
