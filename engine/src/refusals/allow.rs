//! Allow: which settings would have admitted a refused request.
//!
//! In:  a refusal, and the rules that led to it.
//! Out: names of options and claims, for the log. Never text of a peer.

use std::borrow::Cow;

use holdfast_protocol::{
    client::{DisconnectCode, ErrorCode, UnsubscribeCode},
    http::Refusal,
};

use crate::{
    channel::Resolved,
    metrics::{CloseReason, RefusalReason},
    token::{TokenError, TokenUse},
};

/// What would admit a request.
pub(crate) fn of_refusal(refusal: Refusal, reason: RefusalReason, path: Option<&str>) -> Cow<'static, str> {
    use RefusalReason as R;
    Cow::Borrowed(match reason {
        R::Denied => "limits.allow and limits.deny",
        R::Penalty => {
            "limits.penalty, or the address in limits.exempt, or `penalties_clear` of the server API"
        }
        R::AddressConnections => "limits.address.connections",
        R::AddressRate => "limits.address.connections_per_second",
        R::AddressHandshakes => "limits.address.handshakes",
        R::SubnetConnections => "limits.subnet.connections",
        R::SubnetRate => "limits.subnet.connections_per_second",
        R::SubnetHandshakes => "limits.subnet.handshakes",
        R::DaemonRate => "client.connection_rate_limit",
        R::ProxyHeader => "http_server.proxy_protocol.trusted without this address",
        R::Capacity => {
            "client.connection_limit, more descriptors, or more memory (engine.memory_limit, the budgets)"
        }
        _ => match refusal {
            Refusal::OriginForbidden => "client.allowed_origins with this origin",
            Refusal::NotFound => return of_path(path),
            Refusal::TlsOnPlainPort => "http_server.tls.enabled",
            Refusal::PlainOnTlsPort => "http_server.tls.enabled = false, or wss:// and https://",
            Refusal::HeadTooLong { .. } => "client.request_head_size_limit",
            Refusal::TooManyHeaders { .. } => "client.request_head_fields_limit",
            Refusal::BodyTooLong { .. } => "max_request_body_size of the transport's section",
            Refusal::HeadTimeout => "client.stale_close_delay",
            _ => "",
        },
    })
}

/// What would serve a path.
fn of_path(path: Option<&str>) -> Cow<'static, str> {
    Cow::Borrowed(match path.unwrap_or_default() {
        "/echo" => "echo.enabled",
        "/broadcast" => "broadcast.enabled",
        "/connection/websocket" => "websocket.disabled = false",
        "/connection/sse" => "sse.enabled",
        "/connection/http_stream" => "http_stream.enabled",
        "/emulation" => "sse.enabled or http_stream.enabled",
        "/connection/poll" => "poll.enabled",
        "/health" | "/metrics" | "/api" => "the control port (http_server.internal_port)",
        path if path.starts_with("/api/") || path.starts_with("/health/") => {
            "the control port (http_server.internal_port)"
        }
        _ => "",
    })
}

/// What would make a token valid.
pub(crate) fn of_token(error: &TokenError, carried_by: TokenUse) -> &'static str {
    use TokenError as E;
    match error {
        E::AlgorithmUnsupported { .. } | E::AlgorithmWithoutKey { .. } => {
            "a key for the token's algorithm in client.token: hmac_secret_key, rsa_public_key, ecdsa_public_key or \
             jwks_public_endpoint"
        }
        E::Signature => "the key in client.token with which the token was signed",
        E::KeyIdMissing | E::KeyUnknown { .. } => "a kid in the token's header that the JWKS endpoint has",
        E::Audience => "the claim aud; client.token.audience or audience_regex",
        E::Issuer => "the claim iss; client.token.issuer or issuer_regex",
        E::Expired { .. } => "the claim exp",
        E::NotYetValid { .. } => "the claim nbf",
        E::ChannelInConnectToken => "a token without the claim channel",
        E::ChannelMissing | E::OtherChannel => "the claim channel",
        E::OtherUser => "the claim sub; client.token.user_id_claim",
        E::OtherClient => "the claim client",
        E::ClaimUnreadable(_) => "claims of the types in docs/protocol.md",
        E::TooLong { .. } | E::NotThreeParts | E::NotBase64(_) | E::NotTheJson { .. } | E::CriticalHeader => {
            match carried_by {
                TokenUse::Connect | TokenUse::Refresh => "a connection token: `holdfast token gen` makes one",
                TokenUse::Subscribe | TokenUse::SubRefresh => {
                    "a subscription token: `holdfast token sub` makes one"
                }
            }
        }
    }
}

/// What would admit a command, as far as its code alone tells.
pub(crate) fn of_code(code: ErrorCode) -> Cow<'static, str> {
    Cow::Borrowed(match code {
        ErrorCode::TOO_MANY_REQUESTS => {
            "limits.connection, limits.user, or more memory (client.command_budget, client.session_budget)"
        }
        ErrorCode::LIMIT_EXCEEDED => {
            "client.channel_limit, or the limit of the answer (client.reply_max_size)"
        }
        ErrorCode::TOKEN_EXPIRED => "the claim exp",
        ErrorCode::EXPIRED => "an expire_at in the future",
        ErrorCode::UNRECOVERABLE_POSITION => "a longer history: history_size and history_ttl",
        _ => "",
    })
}

/// What would have kept a session.
pub(crate) fn of_disconnect(code: DisconnectCode) -> Cow<'static, str> {
    Cow::Borrowed(match code {
        DisconnectCode::EXPIRED => "a refresh before the claim exp, or a longer client.expired_close_delay",
        DisconnectCode::SUBSCRIPTION_EXPIRED => {
            "a refresh before the subscription expired, or a longer client.expired_sub_close_delay"
        }
        DisconnectCode::SLOW => {
            "client.queue_max_size and client.queue_max_messages, or slow_readers of its channels"
        }
        DisconnectCode::NO_PONG => "client.pong_timeout",
        DisconnectCode::STALE => "client.stale_close_delay",
        DisconnectCode::TOO_MANY_REQUESTS => "limits.connection, limits.user, client.command_budget",
        DisconnectCode::CONNECTION_LIMIT => "client.user_connection_limit",
        DisconnectCode::CHANNEL_LIMIT => "client.channel_limit",
        DisconnectCode::INSUFFICIENT_STATE => "channel.state_budget, client.session_budget",
        _ => "",
    })
}

pub(crate) fn of_unsubscribe(code: UnsubscribeCode) -> &'static str {
    match code {
        UnsubscribeCode::EXPIRED => {
            "a refresh before the subscription expired, or a longer client.expired_sub_close_delay"
        }
        _ => "",
    }
}

/// What would have kept a connection open.
pub(crate) const fn of_close(reason: CloseReason) -> &'static str {
    match reason {
        CloseReason::NoPong => "client.pong_timeout",
        CloseReason::MessageTooBig => "websocket.message_size_limit",
        CloseReason::Slow => "client.queue_max_size, client.queue_budget",
        CloseReason::Flood => "limits.connection.bytes_per_second",
        CloseReason::ReceiveBudget => "client.receive_budget",
        _ => "",
    }
}

pub(crate) fn to_subscribe(
    resolved: &Resolved<'_>,
    is_anonymous: bool,
    has_filter: bool,
) -> Cow<'static, str> {
    const TOKEN: &str = "a subscription token (`holdfast token sub`)";
    let options = resolved.options;
    if resolved.channel.is_private {
        return Cow::Borrowed(TOKEN);
    }
    if options.allow_user_limited_channels && resolved.channel.is_user_limited() {
        return Cow::Borrowed("the user's id after the # of the channel name, or a subscription token");
    }
    if !options.allow_subscribe_for_client {
        return format!("{TOKEN}, or allow_subscribe_for_client in {}", section(resolved)).into();
    }
    if is_anonymous && !options.allow_subscribe_for_anonymous {
        return format!("{TOKEN}, or allow_subscribe_for_anonymous in {}", section(resolved)).into();
    }
    if has_filter && !options.allow_tags_filter {
        return format!("allow_tags_filter in {}", section(resolved)).into();
    }
    Cow::Borrowed(TOKEN)
}

/// The options that grant what three switches grant.
pub(crate) fn switches(resolved: &Resolved<'_>, what: &str, is_anonymous: bool) -> Cow<'static, str> {
    let options = resolved.options;
    let (for_client, for_subscriber) = match what {
        "publish" => (options.allow_publish_for_client, options.allow_publish_for_subscriber),
        "history" => (options.allow_history_for_client, options.allow_history_for_subscriber),
        _ => (options.allow_presence_for_client, options.allow_presence_for_subscriber),
    };
    let section = section(resolved);
    match (for_client || for_subscriber, is_anonymous) {
        (true, true) => format!("allow_{what}_for_anonymous in {section}"),
        (true, false) => format!("a subscription to the channel, or allow_{what}_for_client in {section}"),
        (false, true) => {
            format!("allow_{what}_for_client and allow_{what}_for_anonymous in {section}")
        }
        (false, false) => format!("allow_{what}_for_client or allow_{what}_for_subscriber in {section}"),
    }
    .into()
}

/// Where the options of a channel are set. The name is one of the configuration.
pub(crate) fn section(resolved: &Resolved<'_>) -> String {
    match resolved.channel.namespace {
        None | Some("") => "channel.without_namespace".to_owned(),
        Some(namespace) => format!("channel.namespaces[{namespace}]"),
    }
}
