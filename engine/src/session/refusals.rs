//! Refusals: log lines for refused commands and disconnected clients.
//!
//! In:  a refusal or a disconnect, with the client.
//! Out: a line with the client's name, and what would have been allowed.

use std::borrow::Cow;

use holdfast_protocol::client::{DisconnectCode, ErrorCode, UnsubscribeCode};

use super::{
    Io, SessionCx,
    client::{Stage, Transport, id_text},
};
use crate::{
    ids::ClientKey,
    log,
    metrics::{CloseReason, DisconnectKind, ErrorKind, Metric},
    refusals::{CommandHead, Line, Method, allow, excerpt, line_of_end},
};

impl<I: Io> SessionCx<'_, I> {
    /// A command is answered with one of our errors.
    pub(crate) fn tell_error(&mut self, key: ClientKey, command: Option<&CommandHead<'_>>, code: ErrorCode) {
        let kind = ErrorKind::of(code.code);
        self.cx.counters.add(Metric::CommandErrors(kind), 1);
        let why = self.cx.why.take().unwrap_or_default();
        let event = command.map_or("command", |command| command.method.name());
        let reason = why.reason.unwrap_or(kind.name());
        if !log::shows_refusal(event, reason) {
            return;
        }
        let channel = command.and_then(|command| command.channel);
        let allow = match command {
            _ if !why.allow.is_empty() => why.allow,
            Some(command) => self.allowed_by(key, command, code),
            None => allow::of_code(code),
        };
        let line = Line {
            message: "a command was refused",
            event,
            reason,
            code: Some(code.code),
            channel: why.channel.or_else(|| channel.map(excerpt)),
            error: why.error.or_else(|| self.fault_of_channel(channel, code)),
            allow,
            ..Line::default()
        };
        self.tell_of_client(key, line);
    }

    /// A command is answered with an error of the application.
    pub(crate) fn tell_backends_error(
        &mut self,
        key: ClientKey,
        command: &CommandHead<'_>,
        code: u32,
        words: &str,
    ) {
        self.cx.counters.add(Metric::CommandErrors(ErrorKind::of(code)), 1);
        let event = command.method.name();
        if log::shows_refusal(event, "backend") {
            let line = Line {
                message: "the backend refused a command",
                event,
                reason: "backend",
                code: Some(code),
                channel: command.channel.map(excerpt),
                error: Some(excerpt(words)),
                ..Line::default()
            };
            self.tell_of_client(key, line);
        }
    }

    /// A session ends with a code of the protocol.
    pub(crate) fn tell_disconnect(&mut self, key: ClientKey, code: DisconnectCode) {
        let kind = DisconnectKind::of(code.code);
        self.cx.counters.add(Metric::Disconnects(kind), 1);
        let why = self.cx.why.take().unwrap_or_default();
        let reason = why.reason.unwrap_or(kind.name());
        // The drain logs its own summary.
        let is_foreseen = code == DisconnectCode::SHUTDOWN && !log::shows_each_refusal();
        if is_foreseen || !log::shows_refusal("disconnect", reason) {
            return;
        }
        let allow = if why.allow.is_empty() { allow::of_disconnect(code) } else { why.allow };
        let line = Line {
            message: "a client was disconnected",
            event: "disconnect",
            reason,
            code: Some(u32::from(code.code)),
            channel: why.channel,
            error: why.error,
            allow,
            ..Line::default()
        };
        self.tell_of_client(key, line);
    }

    /// The same, with a code of the application.
    pub(crate) fn tell_applications_disconnect(&mut self, key: ClientKey, code: u16, words: &str) {
        self.cx.counters.add(Metric::Disconnects(DisconnectKind::APPLICATION), 1);
        if log::shows_refusal("disconnect", "application") {
            let line = Line {
                message: "the application disconnected a client",
                event: "disconnect",
                reason: "application",
                code: Some(u32::from(code)),
                error: Some(excerpt(words)),
                ..Line::default()
            };
            self.tell_of_client(key, line);
        }
    }

    /// A subscription ends that the client did not end.
    pub(crate) fn tell_unsubscribe(&mut self, key: ClientKey, channel: &str, code: UnsubscribeCode) {
        let reason = match code {
            UnsubscribeCode::SERVER => "application",
            UnsubscribeCode::EXPIRED => "subscription_expired",
            _ => "insufficient_state",
        };
        if log::shows_refusal("unsubscribe", reason) {
            let line = Line {
                message: "a subscription was ended by the server",
                event: "unsubscribe",
                reason,
                code: Some(code.code),
                channel: Some(excerpt(channel)),
                allow: Cow::Borrowed(allow::of_unsubscribe(code)),
                ..Line::default()
            };
            self.tell_of_client(key, line);
        }
    }

    fn tell_of_client(&mut self, key: ClientKey, line: Line) {
        let Some(client) = self.sessions.clients.get(key) else { return line.tell(None) };
        // Before connect, the user is unknown.
        let user = (client.stage != Stage::Fresh).then(|| excerpt(&client.user));
        let line = Line { user, client: Some(id_text(client.id)), ..line };
        let socket = match client.link {
            Transport::WebSocket { socket, .. } | Transport::Stream { socket, .. } => Some(socket),
            Transport::Poll(session) => {
                let poll = self.sessions.registry.poll(session);
                if let Some(address) = poll.as_ref().and_then(|poll| poll.address()) {
                    return line.tell(Some(address));
                }
                // The waiting request may be on another shard.
                let waiting = poll.and_then(|poll| poll.waiting);
                waiting.and_then(|origin| origin.socket_on(self.mesh.shard))
            }
        };
        match socket {
            Some(socket) => self.io.tell(self.cx, socket, line),
            None => line.tell(None),
        }
    }

    /// The exact fault in a channel's name.
    fn fault_of_channel(&self, channel: Option<&str>, code: ErrorCode) -> Option<Box<str>> {
        let is_about_names = matches!(code, ErrorCode::UNKNOWN_CHANNEL | ErrorCode::BAD_REQUEST);
        let fault = self.sessions.policy.channels.resolve(channel.filter(|_| is_about_names)?).err()?;
        Some(fault.to_string().into())
    }

    /// A client's connection ends for something its peer did or did not do, without a code of the client protocol.
    pub(crate) fn tell_client_end(&mut self, key: ClientKey, reason: CloseReason) {
        if let Some(line) = line_of_end(self.cx.why.take(), reason) {
            self.tell_of_client(key, line);
        }
    }

    /// What a client's command would need.
    fn allowed_by(
        &mut self,
        key: ClientKey,
        command: &CommandHead<'_>,
        code: ErrorCode,
    ) -> Cow<'static, str> {
        let Some(client) = self.sessions.clients.get(key) else { return allow::of_code(code) };
        let is_anonymous = client.user.is_empty();
        let channel = command.channel;
        let resolved = channel.and_then(|channel| self.sessions.policy.channels.resolve(channel).ok());
        match (code, command.method, resolved) {
            (ErrorCode::UNKNOWN_CHANNEL, ..) => {
                Cow::Borrowed("a namespace of that name in channel.namespaces")
            }
            (ErrorCode::PERMISSION_DENIED, Method::Subscribe, Some(resolved)) => {
                allow::to_subscribe(&resolved, is_anonymous, command.has_filter)
            }
            (ErrorCode::PERMISSION_DENIED, Method::Publish, Some(resolved)) => {
                allow::switches(&resolved, "publish", is_anonymous)
            }
            (ErrorCode::PERMISSION_DENIED, Method::History, Some(resolved)) => {
                allow::switches(&resolved, "history", is_anonymous)
            }
            (ErrorCode::PERMISSION_DENIED, Method::Presence | Method::PresenceStats, Some(resolved)) => {
                allow::switches(&resolved, "presence", is_anonymous)
            }
            (ErrorCode::PERMISSION_DENIED, Method::SubRefresh, _) => {
                Cow::Borrowed("a subscription to the channel")
            }
            (ErrorCode::NOT_AVAILABLE, Method::History, Some(resolved)) => {
                format!("history_size and history_ttl in {}", allow::section(&resolved)).into()
            }
            (ErrorCode::NOT_AVAILABLE, Method::Presence | Method::PresenceStats, Some(resolved)) => {
                format!("presence in {}", allow::section(&resolved)).into()
            }
            (ErrorCode::NOT_AVAILABLE, Method::Rpc, _) => {
                Cow::Borrowed("proxy_enabled of the method's namespace, in rpc")
            }
            (ErrorCode::METHOD_NOT_FOUND, ..) => Cow::Borrowed("a namespace of that name in rpc.namespaces"),
            (ErrorCode::LIMIT_EXCEEDED, Method::Subscribe, _) => Cow::Borrowed("client.channel_limit"),
            (ErrorCode::LIMIT_EXCEEDED, Method::Connect, _) => {
                Cow::Borrowed("client.request_head_size_limit")
            }
            _ => allow::of_code(code),
        }
    }
}
