//! Command: dispatches commands and writes their replies.
//!
//! In:  frames of commands; answers.
//! Out: calls of the other files; replies, with all replies to one frame in one frame.
//!
//! A protocol violation ends the session with a disconnect code; a refusal answers the command and has no other effect.
//! The commands of a frame run in order; if one has to wait, the ones after it wait too (`waiting`).

use bytes::{Bytes, BytesMut};
use holdfast_protocol::client::{
    ClientError, Command, DisconnectCode, ErrorCode, Format, FromClient, Push, Reply, ReplyResult, Request,
    UnsubscribeCode, append_push, append_reply, decode_commands, reply::Done,
};
use holdfast_ring::Socket;

use super::{Stage, Transport, parked::Parked, reads::is_read};
use crate::{
    channel::ChannelError,
    conn::{
        Session,
        deflate::Deflate,
        lag::{Cause, TooSlow},
    },
    context::cost,
    encoding::{EncodedPush, kind},
    hub::message::ClientKey,
    ids::CommandId,
    limits::{Charge, Offense},
    metrics::Metric,
    refusals::{CommandHead, Method, Why},
    session::{Io, SessionCx},
    token::{TokenError, TokenUse, Verdict},
};

/// Why a command is not executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The client gets an error reply; the session continues.
    Error(ErrorCode),
    /// The subscription of the command ends.
    Unsubscribe(UnsubscribeCode),
    /// The session ends.
    Disconnect(DisconnectCode),
}

impl From<ErrorCode> for Refused {
    fn from(code: ErrorCode) -> Self {
        Self::Error(code)
    }
}

impl From<ChannelError> for Refused {
    fn from(error: ChannelError) -> Self {
        match error.disconnect() {
            Some(code) => Self::Disconnect(code),
            None => Self::Error(error.code()),
        }
    }
}

impl From<DisconnectCode> for Refused {
    fn from(code: DisconnectCode) -> Self {
        Self::Disconnect(code)
    }
}

impl From<Verdict> for Refused {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Error(code) => Self::Error(code),
            Verdict::Disconnect(code) => Self::Disconnect(code),
            Verdict::Unsubscribe(code) => Self::Unsubscribe(code),
        }
    }
}

/// The unhandled rest of a frame, as a number of bytes at its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Left {
    Nothing,
    /// The client has used up its share of the turn.
    Interrupted(usize),
    /// The client has to wait before it can be handled.
    Waits(usize),
}

/// The outcome of a command that is not refused.
#[derive(Debug)]
pub(super) enum Outcome<'a> {
    /// The reply.
    Reply(ReplyResult<'a>),
    /// The reply comes later: from a channel's owner, from the backend, or with the session's admission.
    Deferred,
    /// The command's token names a key that we have not fetched yet.
    NeedsKeys(TokenUse),
    /// The command gets no reply: it is a `send`, or its client is gone.
    NoReply,
}

/// The outcome of a command's handler.
pub(super) type Handled<'a> = Result<Outcome<'a>, Refused>;

impl<I: Io> SessionCx<'_, I> {
    /// Handles the commands of a frame, up to the first one that has to wait.
    pub(super) fn handle_frame(&mut self, key: ClientKey, frame: Parked<'_>) -> Left {
        let Some(format) = self.sessions.clients.get(key).map(|client| client.format) else {
            return Left::Nothing;
        };
        if !frame.is_rest {
            self.charge_frame(key, frame.bytes.len());
        }
        let mut messages = decode_commands(format, frame.bytes);
        let left = loop {
            let unread = messages.rest();
            let command = match messages.next() {
                None => break Left::Nothing,
                Some(Ok(FromClient::Command(command))) => command,
                Some(Ok(FromClient::Pong)) if self.client_pong(key) => continue,
                Some(Ok(FromClient::Pong)) => {
                    self.cx.why = Some(Why::new("unasked_pong", ""));
                    self.disconnect(key, DisconnectCode::BAD_REQUEST);
                    return Left::Nothing;
                }
                Some(Err(fault)) => {
                    self.cx.why = Some(Why::of_error(&fault));
                    self.disconnect(key, fault.disconnect());
                    return Left::Nothing;
                }
            };
            if self.has_to_wait(key, &command.request) {
                break Left::Waits(unread.len());
            }
            let left_bytes = messages.rest().len();
            self.cx.counters.add(Metric::Commands, 1);
            let bytes = &unread[..unread.len() - left_bytes];
            self.cx.meter.add(cost::of_command(&command.request, bytes.len()));
            let handled = match self.handle(key, &command) {
                Ok(Outcome::NeedsKeys(carried_by)) => self.wait_for_keys(key, carried_by, &command, bytes),
                handled => handled,
            };
            if let Err(code) = self.write_reply(key, &CommandHead::of(&command), handled) {
                self.disconnect(key, code);
                return Left::Nothing;
            }
            let Some(client) = self.sessions.clients.get(key) else { return Left::Nothing };
            if left_bytes == 0 {
                break Left::Nothing;
            }
            // If a connect has to wait, the commands after it wait too.
            if client.stage == Stage::Connecting {
                break Left::Waits(left_bytes);
            }
            if self.cx.meter.is_over() {
                break Left::Interrupted(left_bytes);
            }
        };
        self.flush_replies(key);
        left
    }

    /// True exactly when a command has to wait: a read while too many reads are under way, or an unsubscribe while its
    /// subscription is pending. Centrifugo also answers the subscribe first.
    fn has_to_wait(&mut self, key: ClientKey, request: &Request<'_>) -> bool {
        match request {
            Request::Unsubscribe(unsubscribe) => self.is_being_subscribed(key, &unsubscribe.channel),
            request => is_read(request) && !self.may_read(key),
        }
    }

    pub(super) fn handle(&mut self, key: ClientKey, command: &Command<'_>) -> Handled<'static> {
        let Command { id, request } = command;
        let id = CommandId::new(*id);
        let Some(client) = self.sessions.clients.get(key) else { return Ok(Outcome::NoReply) };
        let is_connect = matches!(request, Request::Connect(_));
        if (client.stage == Stage::Fresh) != is_connect
            || (id.is_none() && !matches!(request, Request::Send(_)))
        {
            self.cx.why = Some(match is_connect {
                _ if id.is_none() => Why::new("command_without_id", "an id in each command"),
                true => Why::new("second_connect", "one connect command for each connection"),
                false => Why::new("command_before_connect", "a connect command first"),
            });
            return Err(DisconnectCode::BAD_REQUEST.into());
        }
        if self.charge_command(key)? == Charge::TooMany {
            return if id.is_none() {
                Ok(Outcome::NoReply)
            } else {
                Err(ErrorCode::TOO_MANY_REQUESTS.into())
            };
        }
        match id {
            Some(id) => self.perform(key, id, request),
            // A `send` has no reply, and no receiver here; Centrifugo does the same.
            None => Err(DisconnectCode::NOT_AVAILABLE.into()),
        }
    }

    /// Executes a command that may run now and has been charged.
    pub(super) fn perform(
        &mut self,
        key: ClientKey,
        id: CommandId,
        request: &Request<'_>,
    ) -> Handled<'static> {
        match request {
            Request::Connect(connect) => self.connect(key, id, connect),
            Request::Subscribe(subscribe) => self.subscribe(key, id, subscribe),
            Request::Unsubscribe(unsubscribe) => self.unsubscribe(key, &unsubscribe.channel),
            Request::Publish(publish) => self.publish(key, id, publish),
            Request::Presence(presence) => self.ask_presence(key, id, &presence.channel, false),
            Request::PresenceStats(stats) => self.ask_presence(key, id, &stats.channel, true),
            Request::History(history) => self.ask_history(key, id, history),
            Request::Refresh(refresh) => self.refresh(key, &refresh.token),
            Request::SubRefresh(refresh) => self.sub_refresh(key, refresh),
            Request::Send(_) => Err(DisconnectCode::NOT_AVAILABLE.into()),
            Request::Rpc(rpc) => self.rpc(key, id, rpc),
            Request::Ping(_) => Err(ErrorCode::NOT_AVAILABLE.into()),
        }
    }

    /// A command's token was not accepted.
    pub(super) fn token_refused(
        &mut self,
        key: ClientKey,
        error: &TokenError,
        carried_by: TokenUse,
    ) -> Handled<'static> {
        match error {
            TokenError::KeyUnknown { .. } => Ok(Outcome::NeedsKeys(carried_by)),
            error => {
                self.cx.why = Some(Why::of_token(error, carried_by));
                Err(self.judged(key, error.verdict(carried_by)))
            }
        }
    }

    /// A token is invalid, not meant for this use, or expired. If that closes the connection, the close counts as the
    /// offense; here the cases that leave it open are counted.
    pub(super) fn judged(&mut self, key: ClientKey, verdict: Verdict) -> Refused {
        if verdict == Verdict::Error(ErrorCode::PERMISSION_DENIED) {
            self.client_offended(key, Offense::Token);
        }
        verdict.into()
    }

    /// Writes the reply. A token whose key is unknown by now is refused.
    pub(super) fn write_reply(
        &mut self,
        key: ClientKey,
        command: &CommandHead<'_>,
        handled: Handled<'_>,
    ) -> Result<(), DisconnectCode> {
        let Some(format) = self.sessions.clients.get(key).map(|client| client.format) else { return Ok(()) };
        let refused = match handled {
            Ok(Outcome::Reply(result)) => {
                let reply = Reply { id: command.id, result: Ok(result) };
                append_reply(format, &mut self.sessions.replies, &reply);
                return Ok(());
            }
            Ok(Outcome::Deferred | Outcome::NoReply) => return Ok(()),
            Ok(Outcome::NeedsKeys(carried_by)) => self.key_stays_unknown(key, carried_by),
            Err(refused) => refused,
        };
        let code = match refused {
            Refused::Error(code) => {
                self.tell_error(key, Some(command), code);
                if command.method == Method::Connect {
                    self.connect_refused(key);
                }
                code
            }
            Refused::Unsubscribe(code) => {
                self.tell_error(key, Some(command), ErrorCode::EXPIRED);
                self.flush_replies(key);
                if let Some(channel) = command.channel {
                    self.end_subscription_with(key, channel, code);
                }
                ErrorCode::EXPIRED
            }
            Refused::Disconnect(code) => {
                self.cx.why = Some(command.with_channel(self.cx.why.take()));
                return Err(code);
            }
        };
        let reply = Reply { id: command.id, result: Err(ClientError::from(code)) };
        append_reply(format, &mut self.sessions.replies, &reply);
        Ok(())
    }

    /// Sends the replies since the last call, in one frame.
    pub(super) fn flush_replies(&mut self, key: ClientKey) {
        if self.sessions.replies.is_empty() {
            return;
        }
        let replies = self.sessions.replies.split();
        if let Some(client) = self.sessions.clients.get(key) {
            let (link, format) = (client.link, client.format);
            self.send_message(link, format, &replies, Cause::Reply);
        }
    }

    /// Sends a single reply that may be long; it is charged to the turn and to the client.
    pub(super) fn reply_to_read(
        &mut self,
        key: ClientKey,
        id: CommandId,
        result: Result<ReplyResult<'_>, ErrorCode>,
    ) {
        self.flush_replies(key);
        if let Err(code) = result {
            self.tell_error(key, None, code);
        }
        let Some(client) = self.sessions.clients.get(key) else { return };
        let format = client.format;
        let result = result.map_err(ClientError::from);
        append_reply(format, &mut self.sessions.replies, &Reply { id: id.get(), result });
        let len = self.sessions.replies.len();
        self.cx.meter.add_bytes(len, cost::REPLY_KILOBYTE_NS);
        self.charge_reply(key, len);
        self.flush_replies(key);
    }

    /// Sends a client an unsolicited push.
    pub(super) fn send_push(&mut self, link: Transport, format: Format, push: &Push<'_>) {
        let mut message = BytesMut::new();
        append_push(format, &mut message, push);
        self.send_message(link, format, &message, Cause::Push);
    }

    /// Sends a single reply.
    pub(super) fn reply(
        &mut self,
        key: ClientKey,
        id: CommandId,
        result: Result<ReplyResult<'_>, ErrorCode>,
    ) {
        self.flush_replies(key);
        if let Err(code) = result {
            self.tell_error(key, None, code);
        }
        let Some(client) = self.sessions.clients.get(key) else { return };
        let format = client.format;
        let result = result.map_err(ClientError::from);
        append_reply(format, &mut self.sessions.replies, &Reply { id: id.get(), result });
        self.flush_replies(key);
    }

    /// Sends protocol messages as one message of the client's transport.
    pub(super) fn send_message(&mut self, link: Transport, format: Format, message: &[u8], cause: Cause) {
        match (link.connection(format), link) {
            (Some((wire, socket)), _) => {
                self.cx.counters.add(Metric::MessagesOut, 1);
                let bytes = match link.deflate() {
                    Deflate::Off => wire.encoded(message),
                    deflate => {
                        self.cx.meter.add_bytes(message.len(), cost::DEFLATE_KILOBYTE_NS);
                        self.io.deflate(socket, deflate, kind(format), message)
                    }
                };
                self.send(socket, bytes, cause);
            }
            (None, Transport::Poll(session)) => self.push_to_poll(session, message, cause),
            (None, _) => unreachable!("only polls have no connection"),
        }
    }

    /// Sends a message with several receivers. `frames` live until the end of the channel's turn.
    pub(crate) fn send_frames(&mut self, link: Transport, format: Format, frames: &EncodedPush) {
        self.send_frames_by(link, format, frames, true);
    }

    /// The same for a single receiver: `frames` may be dropped immediately.
    pub(crate) fn send_frames_alone(&mut self, link: Transport, format: Format, frames: &EncodedPush) {
        self.send_frames_by(link, format, frames, false);
    }

    fn send_frames_by(&mut self, link: Transport, format: Format, frames: &EncodedPush, is_shared: bool) {
        match (link.connection(format), link) {
            (Some((wire, socket)), _) => {
                let bytes = match link.deflate() {
                    Deflate::Off => wire.frame(frames),
                    deflate => self.io.deflate_frames(socket, deflate, frames.websocket(format), is_shared),
                };
                self.send(socket, bytes, Cause::Push);
            }
            (None, Transport::Poll(session)) => {
                self.push_to_poll(session, &frames.payload(format), Cause::Push);
            }
            (None, _) => unreachable!("only polls have no connection"),
        }
    }

    /// Queues bytes for a connection; ends the session if its queue exceeds the limit.
    pub(crate) fn send(&mut self, socket: Socket, bytes: Bytes, cause: Cause) {
        if let Some(TooSlow(Session::Client { key })) = self.io.send(self.cx, socket, bytes, cause) {
            self.disconnect(key, DisconnectCode::SLOW);
        }
    }
}

/// The reply to a command with an empty result.
pub(super) fn done(result: fn(Done) -> ReplyResult<'static>) -> Handled<'static> {
    Ok(Outcome::Reply(result(Done::default())))
}
