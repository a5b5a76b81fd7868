//! Refusals: log lines about refusals for the operator.
//!
//! In:  requests, commands and connections that are refused or ended, with the known facts.
//! Out: one log line each, rate-limited by reason (`log`); `allow` names the settings that would admit the request.
//!
//! The content of a line is gathered only if it will be shown: in a flood, each refusal costs a look at a counter. Then the
//! kernel is asked for the peer's address, unless it is known already; the line follows with the answer.
//!
//! Texts of peers are truncated, and quoted by the log, so that none can look like a line of its own.

pub(crate) mod allow;

use std::{borrow::Cow, net::IpAddr};

use holdfast_protocol::{
    client::{Command, Request},
    http::{Asked, RequestHead},
};
use holdfast_ring::Socket;

use crate::{
    log,
    metrics::CloseReason,
    token::{TokenError, TokenUse},
};

/// Lines that wait for the kernel to report an address. It does so in the same turn; further lines are dropped.
pub(crate) const UNTOLD_MAX: usize = 64;

/// How many bytes of a peer's text are shown.
const TEXT_BYTES_MAX: usize = 256;

/// One refusal.
#[derive(Debug, Default)]
pub(crate) struct Line {
    pub(crate) message: &'static str,
    /// The kind of request.
    pub(crate) event: &'static str,
    /// A text of ours.
    pub(crate) reason: &'static str,
    /// The code sent to the peer.
    pub(crate) code: Option<u32>,
    pub(crate) path: Option<Box<str>>,
    pub(crate) origin: Option<Box<str>>,
    pub(crate) user: Option<Box<str>>,
    pub(crate) client: Option<Box<str>>,
    pub(crate) channel: Option<Box<str>>,
    /// The exact error.
    pub(crate) error: Option<Box<str>>,
    /// What would have admitted it.
    pub(crate) allow: Cow<'static, str>,
}

/// Lines that wait for an address.
#[derive(Debug, Default)]
pub(crate) struct Untold(pub(crate) Vec<(Socket, Line)>);

/// The parts of a request that matter where it is refused.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asking<'a> {
    pub(crate) path: Option<&'a str>,
    pub(crate) origin: Option<&'a [u8]>,
    /// What of an answer it asks for.
    pub(crate) asked: Asked,
}

impl Default for Asking<'_> {
    fn default() -> Self {
        Self { path: None, origin: None, asked: Asked::Whole }
    }
}

/// Why the current command is refused, or a connection ended, beyond the code on the wire.
#[derive(Debug, Default)]
pub(crate) struct Why {
    pub(crate) reason: Option<&'static str>,
    pub(crate) channel: Option<Box<str>>,
    pub(crate) error: Option<Box<str>>,
    pub(crate) allow: Cow<'static, str>,
}

impl<'a> Asking<'a> {
    pub(crate) fn of(head: &RequestHead<'a>) -> Self {
        Self { path: Some(head.path), origin: head.headers("Origin").next(), asked: Asked::by(head.method) }
    }
}

impl Why {
    pub(crate) fn new(reason: &'static str, allow: &'static str) -> Self {
        Self { reason: Some(reason), allow: Cow::Borrowed(allow), ..Self::default() }
    }

    /// Sets the exact error. For errors found once per connection, or as costly to find as a signature.
    pub(crate) fn of_error(error: &impl ToString) -> Self {
        Self { error: Some(excerpt(&error.to_string())), ..Self::default() }
    }

    /// The channel that the server was to subscribe a client to.
    pub(crate) fn of_channel(channel: &str, error: &impl ToString) -> Self {
        let allow =
            Cow::Borrowed("channels in the token or in the backend's answer that the configuration defines");
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
    pub(crate) fn tell(&self, address: Option<IpAddr>) {
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

/// The log line for a connection that we end, if it is logged.
pub(crate) fn line_of_end(why: Option<Why>, reason: CloseReason) -> Option<Line> {
    let why = why.unwrap_or_default();
    let is_told = reason.is_our_decision() && log::shows_refusal("close", reason.name());
    is_told.then(|| Line {
        message: "a connection was closed",
        event: "close",
        reason: reason.name(),
        error: why.error,
        allow: Cow::Borrowed(allow::of_close(reason)),
        ..Line::default()
    })
}

/// What a reply, and a line about it, need of their command.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CommandHead<'c> {
    /// The number that the reply carries; 0 if none is due.
    pub(crate) id: u32,
    pub(crate) method: Method,
    pub(crate) channel: Option<&'c str>,
    /// True exactly when a subscribe has a filter of tags.
    pub(crate) has_filter: bool,
}

/// The kind of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    Connect,
    Subscribe,
    Unsubscribe,
    Publish,
    Presence,
    PresenceStats,
    History,
    Ping,
    Send,
    Rpc,
    Refresh,
    SubRefresh,
}

impl<'c> CommandHead<'c> {
    pub(crate) fn of(command: &'c Command<'_>) -> Self {
        let (method, channel) = match &command.request {
            Request::Connect(_) => (Method::Connect, None),
            Request::Subscribe(subscribe) => (Method::Subscribe, Some(&*subscribe.channel)),
            Request::Unsubscribe(unsubscribe) => (Method::Unsubscribe, Some(&*unsubscribe.channel)),
            Request::Publish(publish) => (Method::Publish, Some(&*publish.channel)),
            Request::Presence(presence) => (Method::Presence, Some(&*presence.channel)),
            Request::PresenceStats(stats) => (Method::PresenceStats, Some(&*stats.channel)),
            Request::History(history) => (Method::History, Some(&*history.channel)),
            Request::Ping(_) => (Method::Ping, None),
            Request::Send(_) => (Method::Send, None),
            Request::Rpc(_) => (Method::Rpc, None),
            Request::Refresh(_) => (Method::Refresh, None),
            Request::SubRefresh(refresh) => (Method::SubRefresh, Some(&*refresh.channel)),
        };
        let has_filter = matches!(&command.request, Request::Subscribe(subscribe) if subscribe.tf.is_some());
        Self { id: command.id, method, channel, has_filter }
    }

    /// A command that is about no channel.
    pub(crate) const fn without_channel(id: u32, method: Method) -> Self {
        Self { id, method, channel: None, has_filter: false }
    }

    /// A command about a channel.
    pub(crate) const fn about(id: u32, method: Method, channel: &'c str) -> Self {
        Self { id, method, channel: Some(channel), has_filter: false }
    }

    /// Adds the channel to what is known of a refusal.
    pub(crate) fn with_channel(&self, why: Option<Why>) -> Why {
        let why = why.unwrap_or_default();
        let channel = why.channel.or_else(|| self.channel.map(excerpt));
        Why { channel, ..why }
    }
}

impl Method {
    /// Its name in log lines, as the protocol spells it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Subscribe => "subscribe",
            Self::Unsubscribe => "unsubscribe",
            Self::Publish => "publish",
            Self::Presence => "presence",
            Self::PresenceStats => "presence_stats",
            Self::History => "history",
            Self::Ping => "ping",
            Self::Send => "send",
            Self::Rpc => "rpc",
            Self::Refresh => "refresh",
            Self::SubRefresh => "sub_refresh",
        }
    }
}

/// The start of a peer's text.
pub(crate) fn excerpt(text: &str) -> Box<str> {
    if text.len() <= TEXT_BYTES_MAX {
        return text.into();
    }
    let end = (0..=TEXT_BYTES_MAX).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
    format!("{}…", &text[..end]).into()
}
