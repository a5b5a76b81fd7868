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
    client::Request,
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

/// Adds the channel of a command to what is known.
pub(crate) fn with_channel(why: Option<Why>, request: &Request<'_>) -> Why {
    let why = why.unwrap_or_default();
    let channel = why.channel.or_else(|| channel_of(request).map(excerpt));
    Why { channel, ..why }
}

pub(crate) fn channel_of<'a>(request: &'a Request<'_>) -> Option<&'a str> {
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

pub(crate) const fn name_of(request: &Request<'_>) -> &'static str {
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

/// The start of a peer's text.
pub(crate) fn excerpt(text: &str) -> Box<str> {
    if text.len() <= TEXT_BYTES_MAX {
        return text.into();
    }
    let end = (0..=TEXT_BYTES_MAX).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
    format!("{}…", &text[..end]).into()
}
