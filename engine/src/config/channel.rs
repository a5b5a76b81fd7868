//! Channel: the options of channel namespaces, and the conditions between them.
//!
//! In:  the raw section `channel`.
//! Out: `ChannelConfig`, from which `crate::channel` answers questions about channels and permissions.
//!
//! Names, defaults and conditions are those of Centrifugo v6, so that its files load. Options that are not in
//! Centrifugo say so.

use super::definition::{Field, Section, Spec, join, section};
use super::kinds::{
    boolean, choice, duration, integer, is_namespace_name, list_of, section, size, tables, text,
};
use super::problem::Problems;
use super::proxy::ChannelProxyConfig;
use regex::Regex;
use serde_json::Value;
use std::collections::BTreeSet;

section! {
    /// Channels: history, presence, recovery and permissions. A channel name with a `:` belongs to the namespace
    /// before it (`chat:index` to `chat`), which must be defined; `channel.without_namespace` applies to every other
    /// channel.
    pub(crate) struct ChannelConfig {
        /// Options of channels without a namespace.
        "without_namespace" => pub without_namespace: NamespaceOptions = section();
        /// Namespaces of channels. Each has a `name` and the options of its channels.
        "namespaces" => pub namespaces: Vec<Namespace> = tables();
        /// How long the daemon remembers a channel's position (offset and epoch) after its last publication. A
        /// namespace can override it. Clients that return later cannot recover.
        /// Worst case: 100 bytes for each channel with history that was used during this time.
        "history_meta_ttl" => pub history_meta_ttl_ms: u64 = duration("720h", "1s", "87600h");
        /// Memory for the histories of all channels, payloads included. When it is full, publications still reach
        /// subscribers, and the oldest publications leave the histories early. Clients that would need them are told
        /// that their position is lost. The daemon lowers this value to fit limited memory: see [memory](memory.md).
        /// Not in Centrifugo.
        /// Worst case: this.
        "history_budget" => pub history_budget_bytes: u64 = size("256MiB", "1MiB", "16TiB");
        /// Memory for channel records other than histories: positions, idempotency keys and presence. When it is
        /// full, the daemon drops the oldest idempotency keys, and the oldest positions of channels without
        /// subscribers, early. Clients that return to a dropped position are told that it is lost. The daemon lowers
        /// this value to fit limited memory: see [memory](memory.md). Not in Centrifugo.
        /// Worst case: this, plus the presence of current subscribers.
        "state_budget" => pub state_budget_bytes: u64 = size("256MiB", "1MiB", "16TiB");
        /// How long the daemon remembers an idempotency key. A publication with the same key in the same channel gets
        /// the answer of the first one, and is not published again. Not in Centrifugo.
        /// Worst case: 150 bytes for each publication with a key during this time.
        "idempotency_ttl" => pub idempotency_ttl_ms: u64 = duration("5m", "1s", "24h");
        /// Longest channel name, in bytes.
        "max_length" => pub name_bytes_max: u32 = integer(255, 1, 1_024);
        /// Channel events on which the application's backend decides.
        "proxy" => pub proxy: ChannelProxyConfig = section();
    }

    /// Options of a namespace. By default, only the server API may publish in a channel, and only clients with a
    /// subscription token may subscribe. Everything else must be allowed.
    pub(crate) struct NamespaceOptions {
        /// Keeps presence: the list of the channel's subscribers.
        /// Worst case: subscribers × 200 bytes, plus their connection info.
        "presence" => pub presence: bool = boolean(false);
        /// Publishes join and leave events. A client receives them if it asks for them and may read presence. Every
        /// event goes to all subscribers, so use it for channels with few.
        "join_leave" => pub join_leave: bool = boolean(false);
        /// Sends join and leave events to subscribers that did not ask for them.
        "force_push_join_leave" => pub force_push_join_leave: bool = boolean(false);
        /// Most publications in the channel's history. 0 keeps no history. Needs `history_ttl`.
        /// Worst case: channels × this × message size, bounded by `channel.history_budget`.
        "history_size" => pub history_publications_max: u32 = integer(0, 0, 1_000_000);
        /// How long a publication stays in the history. 0 keeps no history. Needs `history_size`.
        "history_ttl" => pub history_ttl_ms: u64 = duration("0s", "0s", "87600h");
        /// As `channel.history_meta_ttl`, for this namespace. 0 takes that value. Must not be shorter than
        /// `history_ttl`.
        "history_meta_ttl" => pub history_meta_ttl_ms: u64 = duration("0s", "0s", "87600h");
        /// Checks the position of every subscriber, and tells a subscriber that has lost publications.
        "force_positioning" => pub force_positioning: bool = boolean(false);
        /// Allows a client to ask for positioning. A client that may read history always may.
        "allow_positioning" => pub allow_positioning: bool = boolean(false);
        /// Gives every returning subscriber the publications that it missed. Needs history.
        "force_recovery" => pub force_recovery: bool = boolean(false);
        /// Allows a client to ask for recovery. A client that may read history always may.
        "allow_recovery" => pub allow_recovery: bool = boolean(false);
        /// What a recovery returns: `stream` returns all missed publications, `cache` only the newest one.
        "force_recovery_mode" => pub recovery_mode: RecoveryMode = choice("stream", RecoveryMode::NAMES);
        /// What happens to publications for a subscriber that reads too slowly. With `disconnect` they wait, up to
        /// `client.queue_max_size` and `client.queue_max_messages`; then the client is closed with 3008. With
        /// `drop_oldest` the newest `slow_reader_queue` publications of a channel wait, and with `keep_latest` only
        /// the newest one; the first one that arrives says in its tag `holdfast-left-out` how many were dropped
        /// before it. These two policies exclude history, positioning, recovery, deltas and `join_leave`, where
        /// nothing may be missing. Long-polling clients are always closed. Not in Centrifugo.
        "slow_readers" => pub slow_readers: SlowReaderPolicy = choice("disconnect", SlowReaderPolicy::NAMES);
        /// Most publications of a channel that wait for a slow subscriber under `drop_oldest`. Not in Centrifugo.
        /// Worst case: `client.queue_max_size` for each slow subscriber.
        "slow_reader_queue" => pub slow_reader_queue: u32 = integer(64, 1, 65_536);
        /// While Redis is away, delivers publications to the subscribers of this node, and only to them. Otherwise
        /// publishing fails with error 100 until Redis is back. Subscribers on other nodes never get these
        /// publications, so it suits what is soon outdated. Excludes history. Has an effect with `engine.type` `redis`
        /// only. Not in Centrifugo.
        "publish_locally_without_redis" => pub publishes_locally_without_redis: bool = boolean(false);
        /// Sends every publication as a delta to clients that negotiated deltas. Otherwise only publications with
        /// `delta` in the publish request are sent as deltas.
        "delta_publish" => pub delta_publish: bool = boolean(false);
        /// Delta types that a client may negotiate. If empty, none.
        "allowed_delta_types" => pub allowed_delta_types: Vec<DeltaType>
            = list_of(choice("fossil", DeltaType::NAMES));
        /// Allows a client to subscribe with a filter on the tags of publications.
        "allow_tags_filter" => pub allow_tags_filter: bool = boolean(false);
        /// Allows clients to subscribe without a subscription token. Private and user-limited channels still need
        /// one.
        "allow_subscribe_for_client" => pub allow_subscribe_for_client: bool = boolean(false);
        /// Extends `allow_subscribe_for_client` to anonymous clients.
        "allow_subscribe_for_anonymous" => pub allow_subscribe_for_anonymous: bool = boolean(false);
        /// Allows clients to publish, subscribed or not.
        "allow_publish_for_client" => pub allow_publish_for_client: bool = boolean(false);
        /// Allows subscribers to publish.
        "allow_publish_for_subscriber" => pub allow_publish_for_subscriber: bool = boolean(false);
        /// Extends the two options above to anonymous clients.
        "allow_publish_for_anonymous" => pub allow_publish_for_anonymous: bool = boolean(false);
        /// Allows clients to read history, subscribed or not.
        "allow_history_for_client" => pub allow_history_for_client: bool = boolean(false);
        /// Allows subscribers to read history.
        "allow_history_for_subscriber" => pub allow_history_for_subscriber: bool = boolean(false);
        /// Extends the two options above to anonymous clients.
        "allow_history_for_anonymous" => pub allow_history_for_anonymous: bool = boolean(false);
        /// Allows clients to read presence, subscribed or not.
        "allow_presence_for_client" => pub allow_presence_for_client: bool = boolean(false);
        /// Allows subscribers to read presence.
        "allow_presence_for_subscriber" => pub allow_presence_for_subscriber: bool = boolean(false);
        /// Extends the two options above to anonymous clients.
        "allow_presence_for_anonymous" => pub allow_presence_for_anonymous: bool = boolean(false);
        /// Lets a `#` in a channel name limit the channel to the users after it: `dialog#42,43` is for the users 42
        /// and 43, who need no subscription token. Anonymous clients may never subscribe to such a channel.
        "allow_user_limited_channels" => pub allow_user_limited_channels: bool = boolean(false);
        /// Asks the backend whether a client may subscribe, if it has no token and is not one of the users in the
        /// channel name. Needs `channel.proxy.subscribe`.
        "subscribe_proxy_enabled" => pub is_subscribe_proxied: bool = boolean(false);
        /// Asks the backend whether a client may publish, instead of the `allow_publish_…` options. Needs
        /// `channel.proxy.publish`.
        "publish_proxy_enabled" => pub is_publish_proxied: bool = boolean(false);
        /// Asks the backend whether an expired subscription may continue. Clients then send no sub_refresh command.
        /// Needs `channel.proxy.sub_refresh`.
        "sub_refresh_proxy_enabled" => pub is_sub_refresh_proxied: bool = boolean(false);
        /// Regular expression that a channel name, without its namespace, must match. It may match anywhere in the
        /// name, so anchor it with `^` and `$`. `\d`, `\w` and `\s` match characters of all scripts; write `[0-9]`
        /// for ASCII digits. If empty, names must be ASCII.
        "channel_regex" => pub channel_regex: String
            = text("").also("a regular expression", |pattern: &String| Regex::new(pattern).is_ok());
    }
}

impl Default for NamespaceOptions {
    /// The options of a namespace that configures none.
    fn default() -> Self {
        Self::read(&serde_json::json!({}), "", &mut Problems::default())
            .expect("invariant: every default is within its own range")
    }
}

/// A namespace: its name and its options, in one table.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Namespace {
    /// The part of a channel name before the `:`.
    pub name: String,
    /// The options of its channels.
    pub options: NamespaceOptions,
}

impl Namespace {
    const NAME: &'static str = "name";

    fn name_spec() -> Spec<String> {
        let allowed = "at least two of A-Z, a-z, 0-9, `-`, `_`, `.`";
        text("").also(allowed, |name: &String| is_namespace_name(name)).required()
    }
}

impl Section for Namespace {
    const ABOUT: &'static str = "A namespace.";

    fn fields() -> Vec<Field> {
        let name = Field {
            key: Self::NAME,
            doc: "The part of a channel name before the `:`. Must be unique.",
            about: Self::name_spec().about,
            described_at: None,
        };
        let options = NamespaceOptions::fields().into_iter();
        let options = options.map(|field| Field { described_at: Some("channel.without_namespace"), ..field });
        std::iter::once(name).chain(options).collect()
    }

    fn read(table: &Value, path: &str, problems: &mut Problems) -> Option<Self> {
        let name = Self::name_spec().read_key(table, path, Self::NAME, problems);
        let options = NamespaceOptions::read(table, path, problems);
        Some(Self { name: name?, options: options? })
    }
}

/// The publications that a returning client recovers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RecoveryMode {
    /// All missed publications.
    Stream,
    /// Only the newest publication.
    Cache,
}

impl RecoveryMode {
    const NAMES: &[(&str, Self)] = &[("stream", Self::Stream), ("cache", Self::Cache)];
}

/// The handling of publications for a slow subscriber.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SlowReaderPolicy {
    /// They wait, up to the limits of the connection; then the connection is closed.
    Disconnect,
    /// The newest `slow_reader_queue` publications of each channel wait.
    DropOldest,
    /// The newest publication of each channel waits.
    KeepLatest,
}

impl SlowReaderPolicy {
    const NAMES: &[(&str, Self)] = &[
        ("disconnect", Self::Disconnect),
        ("drop_oldest", Self::DropOldest),
        ("keep_latest", Self::KeepLatest),
    ];
}

/// The encoding of a publication as a delta to an earlier one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DeltaType {
    /// The delta format of the Fossil version control system.
    Fossil,
}

impl DeltaType {
    const NAMES: &[(&str, Self)] = &[("fossil", Self::Fossil)];
}

/// Checks the conditions between the options of channels.
pub(super) fn check(channel: &ChannelConfig, problems: &mut Problems) {
    check_options(&channel.without_namespace, channel, "channel.without_namespace", problems);
    let mut names = BTreeSet::new();
    for (i, namespace) in channel.namespaces.iter().enumerate() {
        let path = format!("channel.namespaces[{i}]");
        if !names.insert(namespace.name.as_str()) {
            let found = format!("found {:?} a second time", namespace.name);
            problems.refuse(&join(&path, Namespace::NAME), found, "a name that no other namespace has");
        }
        check_options(&namespace.options, channel, &path, problems);
    }
}

fn check_options(options: &NamespaceOptions, channel: &ChannelConfig, path: &str, problems: &mut Problems) {
    let (has_size, has_ttl) = (options.history_publications_max != 0, options.history_ttl_ms != 0);
    if has_size && !has_ttl {
        problems.refuse(&join(path, "history_ttl"), "is missing", "a duration, because history_size is set");
    }
    if has_ttl && !has_size {
        problems.refuse(&join(path, "history_size"), "is missing", "a number, because history_ttl is set");
    }
    if options.force_recovery && !(has_size && has_ttl) {
        problems.refuse(
            &join(path, "force_recovery"),
            "found true",
            "true only with history_size and history_ttl",
        );
    }
    if options.publishes_locally_without_redis && (has_size || has_ttl) {
        problems.refuse(
            &join(path, "publish_locally_without_redis"),
            "found true",
            "false, because history is for the subscribers of all nodes",
        );
    }
    if options.slow_readers != SlowReaderPolicy::Disconnect {
        for (is_set, key) in [
            (has_size, "history_size"),
            (options.force_positioning, "force_positioning"),
            (options.allow_positioning, "allow_positioning"),
            (options.force_recovery, "force_recovery"),
            (options.allow_recovery, "allow_recovery"),
            (!options.allowed_delta_types.is_empty(), "allowed_delta_types"),
            (options.join_leave, "join_leave"),
        ] {
            if is_set {
                let allowed = "disconnect, because nothing may be missing with ".to_owned() + key;
                problems.refuse(
                    &join(path, "slow_readers"),
                    "found one that leaves publications out",
                    allowed,
                );
            }
        }
    }
    let (meta_ttl_key, meta_ttl_ms) = match options.history_meta_ttl_ms {
        0 => ("channel.history_meta_ttl".to_owned(), channel.history_meta_ttl_ms),
        own => (join(path, "history_meta_ttl"), own),
    };
    if meta_ttl_ms < options.history_ttl_ms {
        problems.refuse(
            &meta_ttl_key,
            format!("found {meta_ttl_ms} ms"),
            format!("at least {path}.history_ttl, which is {} ms", options.history_ttl_ms),
        );
    }
}

#[cfg(test)]
mod tests {
    use crate::config::tests::{from_file, refusal};

    fn with_namespace(options: &str) -> String {
        format!("[[channel.namespaces]]\nname = \"chat\"\n{options}")
    }

    #[test]
    fn conditions_between_options_of_a_namespace_are_checked() {
        for (options, key, allowed) in [
            ("history_size = 1", "channel.namespaces[0].history_ttl", "because history_size is set"),
            ("history_ttl = \"1m\"", "channel.namespaces[0].history_size", "because history_ttl is set"),
            ("force_recovery = true", "channel.namespaces[0].force_recovery", "history_size and history_ttl"),
            (
                "history_size = 1\nhistory_ttl = \"2m\"\nhistory_meta_ttl = \"1m\"",
                "channel.namespaces[0].history_meta_ttl",
                "at least channel.namespaces[0].history_ttl, which is 120000 ms",
            ),
            ("history_size = 1\nhistory_ttl = \"721h\"", "channel.history_meta_ttl", "at least"),
            (
                "slow_readers = \"keep_latest\"\nallow_recovery = true",
                "channel.namespaces[0].slow_readers",
                "disconnect, because nothing may be missing with allow_recovery",
            ),
            (
                "slow_readers = \"drop_oldest\"\nhistory_size = 1\nhistory_ttl = \"1m\"",
                "channel.namespaces[0].slow_readers",
                "history_size",
            ),
            (
                "publish_locally_without_redis = true\nhistory_size = 1\nhistory_ttl = \"1m\"",
                "channel.namespaces[0].publish_locally_without_redis",
                "because history is for the subscribers of all nodes",
            ),
            ("channel_regex = \"[\"", "channel.namespaces[0].channel_regex", "a regular expression"),
            ("allowed_delta_types = [\"vcdiff\"]", "channel.namespaces[0].allowed_delta_types[0]", "fossil"),
            ("histroy_size = 1", "channel.namespaces[0].histroy_size", "channel.namespaces[0].history_size?"),
        ] {
            let text = refusal("toml", &with_namespace(options));
            assert!(text.contains(&format!("  {key} (file ")) && text.contains(allowed), "{options}: {text}");
        }
    }

    #[test]
    fn a_namespace_has_a_name_of_its_own() {
        let text = refusal("toml", "[[channel.namespaces]]\npresence = true");
        assert!(text.contains("channel.namespaces[0].name (file ") && text.contains("is missing"), "{text}");
        let text = refusal("toml", "[[channel.namespaces]]\nname = \"a:b\"");
        assert!(text.contains("at least two of"), "{text}");
        let text = refusal("toml", &[with_namespace(""), with_namespace("")].concat());
        assert!(text.contains("channel.namespaces[1].name") && text.contains("a second time"), "{text}");
    }

    #[test]
    fn options_beside_a_name_are_read_into_its_namespace() {
        let config = from_file("toml", &with_namespace("history_size = 5\nhistory_ttl = \"1m\"")).unwrap();
        let namespace = &config.channel.namespaces[0];
        assert_eq!((namespace.name.as_str(), namespace.options.history_publications_max), ("chat", 5));
        assert!(!namespace.options.allow_subscribe_for_client);
    }
}
