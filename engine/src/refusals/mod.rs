//! Refusals: what the operator is told of who was refused what.
//!
//! In:  requests, commands and connections that are refused or ended, with what is known of them.
//! Out: a line in the log for each, limited for each reason (`log`); what it says of the way to be let in is in `allow`.
//!
//! What a line takes is gathered only where it is going to be shown: a flood of refusals costs a look at a counter each.
//! Whose connection it is, the kernel is then asked, unless addresses are known anyhow; the line follows when it has told.
//!
//! Texts of peers are cut, and quoted by the log, so that none can look like a line of its own.

pub(crate) mod allow;

use std::{borrow::Cow, net::IpAddr};

use holdfast_protocol::{client::Request, http::RequestHead};
use holdfast_ring::Socket;

use crate::{
    log,
    metrics::CloseReason,
    token::{TokenError, TokenUse},
};

/// Lines that wait for the kernel to tell an address. It does so in the same turn; of more, none is told.
pub(crate) const UNTOLD_MAX: usize = 64;

/// How much of a peer's text is shown.
const TEXT_BYTES_MAX: usize = 256;

/// One refusal.
#[derive(Debug, Default)]
pub(crate) struct Line {
    pub(crate) message: &'static str,
    /// What was asked for.
    pub(crate) event: &'static str,
    /// A text of ours.
    pub(crate) reason: &'static str,
    /// What the peer is told.
    pub(crate) code: Option<u32>,
    pub(crate) path: Option<Box<str>>,
    pub(crate) origin: Option<Box<str>>,
    pub(crate) user: Option<Box<str>>,
    pub(crate) client: Option<Box<str>>,
    pub(crate) channel: Option<Box<str>>,
    /// What exactly is wrong.
    pub(crate) error: Option<Box<str>>,
    /// What would have let it in.
    pub(crate) allow: Cow<'static, str>,
}

/// Lines that wait for an address.
#[derive(Debug, Default)]
pub(crate) struct Untold(pub(crate) Vec<(Socket, Line)>);

/// Of what a request is about, what is worth a line.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Asking<'a> {
    pub(crate) path: Option<&'a str>,
    pub(crate) origin: Option<&'a [u8]>,
}

/// Why a command in hand is refused, or a connection ended, as far as the code on the wire does not tell.
#[derive(Debug, Default)]
pub(crate) struct Why {
    pub(crate) reason: Option<&'static str>,
    pub(crate) channel: Option<Box<str>>,
    pub(crate) error: Option<Box<str>>,
    pub(crate) allow: Cow<'static, str>,
}

impl<'a> Asking<'a> {
    pub(crate) fn of(head: &RequestHead<'a>) -> Self {
        Self { path: Some(head.path), origin: head.headers("Origin").next() }
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

/// What is told of a connection that we end, where that is told.
pub(crate) fn line_of_end(why: Option<Why>, reason: CloseReason) -> Option<Line> {
    let why = why.unwrap_or_default();
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

/// The beginning of a peer's text.
pub(crate) fn excerpt(text: &str) -> Box<str> {
    if text.len() <= TEXT_BYTES_MAX {
        return text.into();
    }
    let end = (0..=TEXT_BYTES_MAX).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
    format!("{}…", &text[..end]).into()
}
