//! Channel: finds the options of a channel name in the configuration.
//!
//! In:  the checked section `channel`; names from clients and the server API.
//! Out: the options of a name, or why the name is invalid. `permission` then says what a client may do in the channel.
//!
//! The protocol crate parses the name; this module looks up its namespace and applies its pattern. It keeps no state
//! between calls and creates no channel. No I/O, no clock.

mod flags;
mod permission;

use std::collections::HashMap;

use holdfast_protocol::client::{
    DisconnectCode, ErrorCode,
    channel::{Channel, ChannelError as NameError},
};
use regex::Regex;

use crate::config::{ChannelConfig, NamespaceOptions};

pub(crate) use flags::{Overrides, PresenceFlags, SubscriptionFlags};

/// All namespaces, compiled. Each shard has its own copy: the patterns contain caches that must not be shared.
#[derive(Debug)]
pub(crate) struct Channels {
    without_namespace: Rules,
    namespaces: HashMap<String, Rules>,
    name_bytes_max: usize,
    /// True exactly when no channel is private.
    is_insecure: bool,
}

#[derive(Debug)]
struct Rules {
    options: NamespaceOptions,
    name_pattern: Option<Regex>,
}

/// A channel name with its options.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Resolved<'a> {
    /// The parsed name.
    pub channel: Channel<'a>,
    /// The options of its namespace. A missing `history_meta_ttl` is replaced by the global one.
    pub options: &'a NamespaceOptions,
}

/// Why a name is not a valid channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ChannelError {
    /// The name is invalid under any configuration.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The configuration does not define the namespace, the part before `:`.
    #[error("the channel's namespace is not configured")]
    NamespaceUnknown,
    /// Without a `channel_regex`, names must be ASCII.
    #[error("the channel's name is not ASCII")]
    NotAscii,
    /// The name does not match the `channel_regex` of its namespace.
    #[error("the channel's name does not match channel_regex of its namespace")]
    PatternMismatch,
}

impl ChannelError {
    /// The error code for the reply to a command or an API call.
    pub(crate) const fn code(self) -> ErrorCode {
        match self {
            Self::NamespaceUnknown => ErrorCode::UNKNOWN_CHANNEL,
            Self::Name(_) | Self::NotAscii | Self::PatternMismatch => ErrorCode::BAD_REQUEST,
        }
    }

    /// The disconnect code, if the connection ends instead. SDKs never send a command without a channel.
    pub(crate) const fn disconnect(self) -> Option<DisconnectCode> {
        match self {
            Self::Name(NameError::Empty) => Some(DisconnectCode::BAD_REQUEST),
            _ => None,
        }
    }
}

impl Channels {
    /// The channels under `client.insecure`: every client may use every channel.
    #[must_use]
    pub(crate) fn insecure(config: &ChannelConfig) -> Self {
        let mut channels = Self::new(config);
        let namespaces = channels.namespaces.values_mut();
        for rules in namespaces.chain([&mut channels.without_namespace]) {
            open_to_all(&mut rules.options);
        }
        channels.is_insecure = true;
        channels
    }

    /// Compiles the patterns.
    ///
    /// # Panics
    /// Never for a parsed `ChannelConfig`: its patterns have been checked.
    pub(crate) fn new(config: &ChannelConfig) -> Self {
        let rules = |options: &NamespaceOptions| Rules::new(options, config.history_meta_ttl_ms);
        let namespaces = config.namespaces.iter();
        Self {
            without_namespace: rules(&config.without_namespace),
            namespaces: namespaces
                .map(|namespace| (namespace.name.clone(), rules(&namespace.options)))
                .collect(),
            name_bytes_max: config.name_bytes_max as usize,
            is_insecure: false,
        }
    }

    /// Resolves a name from a client.
    ///
    /// # Errors
    /// Why the name is invalid.
    pub(crate) fn resolve<'a>(&'a self, name: &'a str) -> Result<Resolved<'a>, ChannelError> {
        let (rules, resolved) = self.look_up(name)?;
        let rest = match resolved.channel.namespace {
            Some(_) => name.split_once(':').map_or(name, |(_, rest)| rest),
            None => name,
        };
        match &rules.name_pattern {
            None if !name.is_ascii() => Err(ChannelError::NotAscii),
            Some(pattern) if !pattern.is_match(rest) => Err(ChannelError::PatternMismatch),
            _ => Ok(resolved),
        }
    }

    /// Resolves a name from the server API or a verified token. Patterns do not apply: they restrict clients only.
    ///
    /// # Errors
    /// Why the name is invalid.
    pub(crate) fn resolve_trusted<'a>(&'a self, name: &'a str) -> Result<Resolved<'a>, ChannelError> {
        self.look_up(name).map(|(_, resolved)| resolved)
    }

    fn look_up<'a>(&'a self, name: &'a str) -> Result<(&'a Rules, Resolved<'a>), ChannelError> {
        let mut channel = Channel::parse(name, self.name_bytes_max)?;
        channel.is_private &= !self.is_insecure;
        let rules = match channel.namespace {
            None | Some("") => &self.without_namespace,
            Some(namespace) => self.namespaces.get(namespace).ok_or(ChannelError::NamespaceUnknown)?,
        };
        Ok((rules, Resolved { channel, options: &rules.options }))
    }
}

impl Rules {
    fn new(options: &NamespaceOptions, history_meta_ttl_ms: u64) -> Self {
        let mut options = options.clone();
        if options.history_meta_ttl_ms == 0 {
            options.history_meta_ttl_ms = history_meta_ttl_ms;
        }
        let pattern = Some(&options.channel_regex).filter(|pattern| !pattern.is_empty());
        let name_pattern = pattern.map(|pattern| {
            Regex::new(pattern).expect("invariant: a configuration holds only patterns that compile")
        });
        Self { options, name_pattern }
    }
}

/// Allows every client to use everything that the channel offers.
fn open_to_all(options: &mut NamespaceOptions) {
    options.allow_subscribe_for_client = true;
    options.allow_subscribe_for_anonymous = true;
    options.allow_publish_for_client = true;
    options.allow_publish_for_anonymous = true;
    options.allow_history_for_client = true;
    options.allow_history_for_anonymous = true;
    options.allow_presence_for_client = true;
    options.allow_presence_for_anonymous = true;
    options.allow_user_limited_channels = false;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, channel::Namespace};

    fn channels() -> Channels {
        let mut config = Config::default().options.channel;
        let plain = config.without_namespace.clone();
        config.without_namespace.presence = true;
        config.namespaces = vec![
            Namespace {
                name: "chat".into(),
                options: NamespaceOptions { join_leave: true, ..plain.clone() },
            },
            Namespace {
                name: "room".into(),
                options: NamespaceOptions {
                    channel_regex: "^[a-zß]+$".into(),
                    history_meta_ttl_ms: 60_000,
                    ..plain
                },
            },
        ];
        Channels::new(&config)
    }

    #[test]
    fn options_follow_the_namespace_before_the_first_colon() {
        let channels = channels();
        for (name, joins, presence) in [
            ("news", false, true),
            ("$news", false, true),
            (":news", false, true),
            ("chat:index", true, false),
            ("$chat:index", true, false),
            ("chat:room:1", true, false),
            ("chat:", true, false),
            ("chat", false, true),
        ] {
            let options = channels.resolve(name).unwrap().options;
            assert_eq!((options.join_leave, options.presence), (joins, presence), "{name}");
        }
    }

    #[test]
    fn names_that_mean_nothing_are_answered_with_the_code_of_the_protocol() {
        let channels = channels();
        let long = "x".repeat(256);
        for (name, code) in [
            ("nope:x", 102),
            ("$nope:x", 102),
            ("", 107),
            (long.as_str(), 107),
            ("grüße", 107),
            ("room:R2", 107),
        ] {
            assert_eq!(channels.resolve(name).unwrap_err().code().code, code, "{name}");
        }
        assert_eq!(channels.resolve("").unwrap_err().disconnect(), Some(DisconnectCode::BAD_REQUEST));
        assert_eq!(channels.resolve("nope:x").unwrap_err().disconnect(), None);
        assert!(channels.resolve(&long[1..]).is_ok());
    }

    #[test]
    fn a_pattern_sees_the_name_without_its_namespace_and_takes_the_place_of_ascii() {
        let channels = channels();
        assert!(channels.resolve("room:spaß").is_ok());
        assert!(channels.resolve("$room:spaß").is_ok());
        assert_eq!(channels.resolve("room:a:b").unwrap_err(), ChannelError::PatternMismatch);
    }

    #[test]
    fn the_server_is_bound_by_namespaces_and_length_but_not_by_patterns() {
        let channels = channels();
        assert!(channels.resolve_trusted("grüße").is_ok() && channels.resolve_trusted("room:R2").is_ok());
        assert_eq!(channels.resolve_trusted("nope:x").unwrap_err(), ChannelError::NamespaceUnknown);
        assert!(channels.resolve_trusted("").is_err() && channels.resolve_trusted(&"x".repeat(256)).is_err());
    }

    #[test]
    fn insecure_channels_are_open_to_everybody_with_what_they_keep() {
        let channels = Channels::insecure(&Config::default().options.channel);
        for name in ["news", "$news", "#42", "room#42"] {
            let resolved = channels.resolve(name).unwrap();
            assert_eq!(resolved.may_subscribe("", false), Ok(()), "{name}");
            assert_eq!(resolved.may_publish("", false), Ok(()), "{name}");
            assert_eq!(resolved.may_history("", false), Err(ErrorCode::NOT_AVAILABLE), "{name}");
            assert_eq!(resolved.may_presence("", false), Err(ErrorCode::NOT_AVAILABLE), "{name}");
        }
        assert_eq!(channels.resolve("nope:x").unwrap_err(), ChannelError::NamespaceUnknown);
    }

    #[test]
    fn the_global_meta_ttl_holds_where_a_namespace_has_none() {
        let channels = channels();
        assert_eq!(channels.resolve("chat:x").unwrap().options.history_meta_ttl_ms, 720 * 3_600_000);
        assert_eq!(channels.resolve("room:x").unwrap().options.history_meta_ttl_ms, 60_000);
    }
}
