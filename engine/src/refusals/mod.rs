//! Refusals: what the operator is told of who was refused what.
//!
//! In:  requests, commands and connections that are refused or ended, with what is known of them.
//! Out: a line in the log for each, limited for each reason (`log`); what it says of the way to be let in is in `allow`.
//!
//! What a line takes is gathered only where it is going to be shown: a flood of refusals costs a look at a counter each.
//! Whose connection it is, the kernel is then asked, unless addresses are known anyhow; the line follows when it has told.
//!
//! Texts of peers are cut, and quoted by the log, so that none can look like a line of its own.

mod allow;

use std::{borrow::Cow, net::IpAddr};

use holdfast_protocol::{
    client::{Command, DisconnectCode, ErrorCode, Request, UnsubscribeCode},
    http::{Refusal, RequestHead},
};
use holdfast_ring::{Kernel, Socket};

use crate::{
    conn::Connections,
    conn::{Coming, Session},
    context::Context,
    ids::ClientKey,
    log,
    metrics::{CloseReason, DisconnectKind, ErrorKind, Metric, RefusalReason},
    session::client::{Link, Stage, id_text},
    session::{Io, SessionCx},
    token::{TokenError, TokenUse},
};

/// Lines that wait for the kernel to tell an address. It does so in the same turn; of more, none is told.
const UNTOLD_MAX: usize = 64;

/// How much of a peer's text is shown.
const TEXT_BYTES_MAX: usize = 256;

/// One refusal.
#[derive(Debug, Default)]
pub(crate) struct Line {
    message: &'static str,
    /// What was asked for.
    event: &'static str,
    /// A text of ours.
    reason: &'static str,
    /// What the peer is told.
    code: Option<u32>,
    path: Option<Box<str>>,
    origin: Option<Box<str>>,
    user: Option<Box<str>>,
    client: Option<Box<str>>,
    channel: Option<Box<str>>,
    /// What exactly is wrong.
    error: Option<Box<str>>,
    /// What would have let it in.
    allow: Cow<'static, str>,
}

/// Lines that wait for an address.
#[derive(Debug, Default)]
pub(crate) struct Untold(Vec<(Socket, Line)>);

/// Of what a request is about, what is worth a line.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Asking<'a> {
    path: Option<&'a str>,
    origin: Option<&'a [u8]>,
}

/// Why a command in hand is refused, or a connection ended, as far as the code on the wire does not tell.
#[derive(Debug, Default)]
pub(crate) struct Why {
    reason: Option<&'static str>,
    channel: Option<Box<str>>,
    error: Option<Box<str>>,
    allow: Cow<'static, str>,
}

impl<'a> Asking<'a> {
    pub(crate) fn of(head: &RequestHead<'a>) -> Self {
        Self { path: Some(head.path), origin: head.headers("Origin").next() }
    }

    /// Where the head is gone: what is kept of the request.
    pub(crate) fn or_of(self, coming: Option<&'a Coming>) -> Self {
        match coming {
            Some(Coming::Request(request)) if self.path.is_none() => {
                Self { path: Some(request.path()), origin: request.origin().map(str::as_bytes) }
            }
            _ => self,
        }
    }
}

impl Why {
    pub(crate) fn new(reason: &'static str, allow: &'static str) -> Self {
        Self { reason: Some(reason), allow: Cow::Borrowed(allow), ..Self::default() }
    }

    /// What exactly is wrong. It is for faults that are found once a connection, or as costly to find as a signature.
    pub(crate) fn of_error(error: &impl ToString) -> Self {
        Self { error: Some(excerpt(&error.to_string())), ..Self::default() }
    }

    /// A channel to which the server was to subscribe a client.
    pub(crate) fn of_channel(channel: &str, error: &impl ToString) -> Self {
        let allow =
            Cow::Borrowed("channels in the token or the backend's answer that this configuration has");
        Self {
            reason: Some("server_side_channel"),
            channel: Some(excerpt(channel)),
            allow,
            ..Self::of_error(error)
        }
    }

    pub(crate) fn of_token(error: &TokenError, carried_by: TokenUse) -> Self {
        let allow = Cow::Borrowed(allow::of_token(error, carried_by));
        Self { reason: Some(error.name()), allow, ..Self::of_error(error) }
    }
}

impl Line {
    fn tell(&self, address: Option<IpAddr>) {
        let Self { message, event, reason, code, .. } = self;
        let (path, origin, user) = (self.path.as_deref(), self.origin.as_deref(), self.user.as_deref());
        let (client, channel, error) =
            (self.client.as_deref(), self.channel.as_deref(), self.error.as_deref());
        let allow = Some(&*self.allow).filter(|allow| !allow.is_empty());
        let address = address.map(|address| address.to_canonical().to_string());
        let address = address.as_deref();
        log::refused!(
            event,
            reason,
            code,
            address,
            path,
            origin,
            user,
            client,
            channel,
            error,
            allow,
            "{message}"
        );
    }
}

impl<K: Kernel> Connections<K> {
    /// A request is refused, or a connection that has not made one.
    pub(crate) fn tell_refusal(
        &mut self,
        cx: &mut Context,
        socket: Socket,
        refusal: Refusal,
        reason: RefusalReason,
        asking: Asking<'_>,
    ) {
        let name = if reason.is_in_words() { refusal.name() } else { reason.name() };
        if !log::shows_refusal("request", name) {
            return;
        }
        let allow = allow::of_refusal(refusal, reason, asking.path);
        let line = Line {
            message: "a request is refused",
            event: "request",
            reason: name,
            code: Some(u32::from(refusal.status().code())),
            path: asking.path.map(excerpt),
            origin: asking.origin.map(|origin| excerpt(&String::from_utf8_lossy(origin))),
            error: Some(refusal.to_string().into()),
            allow,
            ..Line::default()
        };
        self.tell_of_socket(cx, socket, line);
    }

    pub(crate) fn tell_of_socket(&mut self, cx: &mut Context, socket: Socket, line: Line) {
        if let Some(address) = cx.limits.as_mut().and_then(|limits| limits.address_of(socket)) {
            return line.tell(Some(address));
        }
        if self.untold.0.len() < UNTOLD_MAX && self.sockets.ask_peer_address(socket) {
            self.untold.0.push((socket, line));
        } else {
            line.tell(None);
        }
    }

    /// The kernel has told an address.
    pub(crate) fn address_came(&mut self, socket: Socket, address: Option<IpAddr>) {
        if let Some(at) = self.untold.0.iter().position(|(waiting, _)| *waiting == socket) {
            let (_, line) = self.untold.0.remove(at);
            line.tell(address);
        }
    }

    /// A connection without a client is ended, for what its peer did or did not do.
    pub(crate) fn tell_end(&mut self, cx: &mut Context, socket: Socket, reason: CloseReason) {
        let Some(conn) = self.table.get(socket).filter(|conn| conn.close_reason.is_none()) else { return };
        let path = match conn.session {
            Session::Echo => Some("/echo".into()),
            Session::Broadcast { .. } => Some("/broadcast".into()),
            Session::None | Session::Client { .. } => None,
        };
        if let Some(line) = line_of_end(cx, reason) {
            self.tell_of_socket(cx, socket, Line { path, ..line });
        }
    }
}

impl<I: Io> SessionCx<'_, I> {
    /// A command is answered with an error of ours.
    pub(crate) fn tell_error(&mut self, key: ClientKey, command: Option<&Command<'_>>, code: ErrorCode) {
        let kind = ErrorKind::of(code.code);
        self.cx.counters.add(Metric::CommandErrors(kind), 1);
        let why = self.cx.why.take().unwrap_or_default();
        let event = command.map_or("command", |command| name_of(&command.request));
        let reason = why.reason.unwrap_or(kind.name());
        if !log::shows_refusal(event, reason) {
            return;
        }
        let channel = command.and_then(|command| channel_of(&command.request));
        let allow = match command {
            _ if !why.allow.is_empty() => why.allow,
            Some(command) => self.allowed_by(key, &command.request, code),
            None => allow::of_code(code),
        };
        let line = Line {
            message: "a command is refused",
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

    /// A command is answered with an error in the application's words.
    pub(crate) fn tell_backends_error(
        &mut self,
        key: ClientKey,
        command: &Command<'_>,
        code: u32,
        words: &str,
    ) {
        self.cx.counters.add(Metric::CommandErrors(ErrorKind::of(code)), 1);
        let event = name_of(&command.request);
        if log::shows_refusal(event, "backend") {
            let line = Line {
                message: "a command is refused by the backend",
                event,
                reason: "backend",
                code: Some(code),
                channel: channel_of(&command.request).map(excerpt),
                error: Some(excerpt(words)),
                ..Line::default()
            };
            self.tell_of_client(key, line);
        }
    }

    /// A session is ended with a code of the protocol.
    pub(crate) fn tell_disconnect(&mut self, key: ClientKey, code: DisconnectCode) {
        let kind = DisconnectKind::of(code.code);
        self.cx.counters.add(Metric::Disconnects(kind), 1);
        let why = self.cx.why.take().unwrap_or_default();
        let reason = why.reason.unwrap_or(kind.name());
        // The drain has lines of its own, about all of them.
        let is_foreseen = code == DisconnectCode::SHUTDOWN && !log::shows_each_refusal();
        if is_foreseen || !log::shows_refusal("disconnect", reason) {
            return;
        }
        let allow = if why.allow.is_empty() { allow::of_disconnect(code) } else { why.allow };
        let line = Line {
            message: "a client is disconnected",
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

    /// The same, with a code of the application's.
    pub(crate) fn tell_applications_disconnect(&mut self, key: ClientKey, code: u16, words: &str) {
        self.cx.counters.add(Metric::Disconnects(DisconnectKind::APPLICATION), 1);
        if log::shows_refusal("disconnect", "application") {
            let line = Line {
                message: "a client is disconnected by the application",
                event: "disconnect",
                reason: "application",
                code: Some(u32::from(code)),
                error: Some(excerpt(words)),
                ..Line::default()
            };
            self.tell_of_client(key, line);
        }
    }

    /// A subscription is ended that the client did not end.
    pub(crate) fn tell_unsubscribe(&mut self, key: ClientKey, channel: &str, code: UnsubscribeCode) {
        let reason = match code {
            UnsubscribeCode::SERVER => "application",
            UnsubscribeCode::EXPIRED => "subscription_expired",
            _ => "insufficient_state",
        };
        if log::shows_refusal("unsubscribe", reason) {
            let line = Line {
                message: "a subscription is ended",
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
        // Who is not connected is not known yet.
        let user = (client.stage != Stage::Fresh).then(|| excerpt(&client.user));
        let line = Line { user, client: Some(id_text(client.id)), ..line };
        let socket = match client.link {
            Link::WebSocket { socket, .. } | Link::Stream { socket, .. } => Some(socket),
            Link::Poll(session) => {
                let poll = self.sessions.named.poll(session);
                if let Some(address) = poll.as_ref().and_then(|poll| poll.address()) {
                    return line.tell(Some(address));
                }
                // The request that waits may be another core's.
                let waiting = poll.and_then(|poll| poll.waiting);
                waiting.filter(|asker| asker.core == self.mesh.index).map(|asker| asker.socket)
            }
        };
        match socket {
            Some(socket) => self.io.tell(self.cx, socket, line),
            None => line.tell(None),
        }
    }

    /// What exactly is wrong with the name of a channel.
    fn fault_of_channel(&self, channel: Option<&str>, code: ErrorCode) -> Option<Box<str>> {
        let is_about_names = matches!(code, ErrorCode::UNKNOWN_CHANNEL | ErrorCode::BAD_REQUEST);
        let fault = self.sessions.rules.channels.resolve(channel.filter(|_| is_about_names)?).err()?;
        Some(fault.to_string().into())
    }

    /// A client's connection is ended for what its peer did or did not do; not by a code of the client protocol.
    pub(crate) fn tell_client_end(&mut self, key: ClientKey, reason: CloseReason) {
        if let Some(line) = line_of_end(self.cx, reason) {
            self.tell_of_client(key, line);
        }
    }
}

/// What is told of a connection that we end, where that is told.
fn line_of_end(cx: &mut Context, reason: CloseReason) -> Option<Line> {
    let why = cx.why.take().unwrap_or_default();
    let is_told = reason.is_our_decision() && log::shows_refusal("close", reason.name());
    is_told.then(|| Line {
        message: "a connection is closed",
        event: "close",
        reason: reason.name(),
        error: why.error,
        allow: Cow::Borrowed(allow::of_close(reason)),
        ..Line::default()
    })
}

/// The channel that a command is about, beside what is known already.
pub(crate) fn with_channel(why: Option<Why>, request: &Request<'_>) -> Why {
    let why = why.unwrap_or_default();
    let channel = why.channel.or_else(|| channel_of(request).map(excerpt));
    Why { channel, ..why }
}

fn channel_of<'a>(request: &'a Request<'_>) -> Option<&'a str> {
    Some(match request {
        Request::Subscribe(subscribe) => &subscribe.channel,
        Request::Unsubscribe(unsubscribe) => &unsubscribe.channel,
        Request::Publish(publish) => &publish.channel,
        Request::Presence(presence) => &presence.channel,
        Request::PresenceStats(stats) => &stats.channel,
        Request::History(history) => &history.channel,
        Request::SubRefresh(refresh) => &refresh.channel,
        _ => return None,
    })
}

const fn name_of(request: &Request<'_>) -> &'static str {
    match request {
        Request::Connect(_) => "connect",
        Request::Subscribe(_) => "subscribe",
        Request::Unsubscribe(_) => "unsubscribe",
        Request::Publish(_) => "publish",
        Request::Presence(_) => "presence",
        Request::PresenceStats(_) => "presence_stats",
        Request::History(_) => "history",
        Request::Ping(_) => "ping",
        Request::Send(_) => "send",
        Request::Rpc(_) => "rpc",
        Request::Refresh(_) => "refresh",
        Request::SubRefresh(_) => "sub_refresh",
    }
}

/// The beginning of a peer's text.
fn excerpt(text: &str) -> Box<str> {
    if text.len() <= TEXT_BYTES_MAX {
        return text.into();
    }
    let end = (0..=TEXT_BYTES_MAX).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
    format!("{}…", &text[..end]).into()
}
