//! Channel: the options of namespaces, and the conditions between them.
//!
//! In:  the section `channel` as it was written.
//! Out: `ChannelConfig`, which `crate::channel` turns into answers about channels and permissions.
//!
//! Names, defaults and conditions are those of Centrifugo v6, so that its files load; what only Holdfast has says so.

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
    /// What channels do, and who may do what in them. A channel whose name has a `:` belongs to the namespace before
    /// it (`chat:index` to `chat`), which must be defined; every other channel follows `channel.without_namespace`.
    pub struct ChannelConfig {
        /// Options of channels without a namespace.
        "without_namespace" => pub without_namespace: NamespaceOptions = section();
        /// The namespaces: each a `name`, and options that hold for its channels.
        "namespaces" => pub namespaces: Vec<Namespace> = tables();
        /// How long a channel's position (offset and epoch) is remembered after its last publication, where its
        /// namespace does not say otherwise. Clients that come back later cannot recover.
        /// Worst case: 100 bytes for each channel with history that was used during this time.
        "history_meta_ttl" => pub history_meta_ttl_ms: u64 = duration("720h", "1s", "87600h");
        /// Memory for the histories of all channels, payloads included. When it is full, publications go out as
        /// always, and the oldest ones leave history before their time. Clients that would need them are told that
        /// their position is lost. Less where memory is limited: see [memory](memory.md). Holdfast's own.
        /// Worst case: this.
        "history_budget" => pub history_budget_bytes: u64 = size("256MiB", "1MiB", "16TiB");
        /// Memory for the records of channels beside their histories: positions, idempotency keys, presence. When it is
        /// full, the positions of channels that nobody is subscribed to and the keys go before their time, the oldest
        /// first. Clients that come back to such a position are told that it is lost. Less where memory is limited: see
        /// [memory](memory.md). Holdfast's own.
        /// Worst case: this, and the presence of those who are subscribed.
        "state_budget" => pub state_budget_bytes: u64 = size("256MiB", "1MiB", "16TiB");
        /// How long an idempotency key is remembered: a publication with the same key in the same channel is answered
        /// as the first one was, and not published again. Holdfast's own.
        /// Worst case: 150 bytes for each publication with a key during this time.
        "idempotency_ttl" => pub idempotency_ttl_ms: u64 = duration("5m", "1s", "24h");
        /// The longest name of a channel, in bytes.
        "max_length" => pub name_bytes_max: u32 = integer(255, 1, 1_024);
        /// Events of channels that are put to the application's backend.
        "proxy" => pub proxy: ChannelProxyConfig = section();
    }

    /// Options of a namespace. By default a channel only carries messages from the server API to those who hold a
    /// token for it: everything else must be allowed.
    pub struct NamespaceOptions {
        /// True exactly when the channel knows who is subscribed (presence).
        /// Worst case: subscribers × 200 bytes and their connection info.
        "presence" => pub presence: bool = boolean(false);
        /// True exactly when the channel tells who comes and goes. A client gets to know it if it asks and may see
        /// presence. Every event goes to all, so keep it to channels of few subscribers.
        "join_leave" => pub join_leave: bool = boolean(false);
        /// True exactly when subscribers are told who comes and goes without asking.
        "force_push_join_leave" => pub force_push_join_leave: bool = boolean(false);
        /// How many publications the channel remembers; 0 keeps no history. Needs `history_ttl`.
        /// Worst case: channels × this × message size, held by `channel.history_budget`.
        "history_size" => pub history_publications_max: u32 = integer(0, 0, 1_000_000);
        /// How long the channel remembers a publication; 0 keeps no history. Needs `history_size`.
        "history_ttl" => pub history_ttl_ms: u64 = duration("0s", "0s", "87600h");
        /// As `channel.history_meta_ttl`, for this namespace; 0 takes that one. Must not be shorter than `history_ttl`.
        "history_meta_ttl" => pub history_meta_ttl_ms: u64 = duration("0s", "0s", "87600h");
        /// True exactly when the position of every subscriber is watched, and one that lost it is told.
        "force_positioning" => pub force_positioning: bool = boolean(false);
        /// True exactly when a client may ask for that itself. Who may read history always may.
        "allow_positioning" => pub allow_positioning: bool = boolean(false);
        /// True exactly when every subscriber that comes back gets what it missed. Needs history.
        "force_recovery" => pub force_recovery: bool = boolean(false);
        /// True exactly when a client may ask for that itself. Who may read history always may.
        "allow_recovery" => pub allow_recovery: bool = boolean(false);
        /// What recovery gives: with `stream` all that was missed, with `cache` the newest publication alone.
        "force_recovery_mode" => pub recovery_mode: RecoveryMode = choice("stream", RecoveryMode::NAMES);
        /// What becomes of publications for a subscriber that does not keep up. With `disconnect` they wait for it, up to
        /// `client.queue_max_size` and `client.queue_max_messages`; then it is closed with 3008. With `drop_oldest` the
        /// newest `slow_reader_queue` of a channel wait, with `keep_latest` the newest one; the first that comes through
        /// says in its tag `holdfast-left-out` how many are missing before it. Those two exclude history, positions,
        /// recovery, deltas and `join_leave`, where nothing may be missing. Clients that poll are always closed.
        /// Holdfast's own.
        "slow_readers" => pub slow_readers: SlowReaderPolicy = choice("disconnect", SlowReaderPolicy::NAMES);
        /// How many publications of a channel wait for a subscriber under `drop_oldest`. Holdfast's own.
        /// Worst case: `client.queue_max_size` for each subscriber that does not keep up.
        "slow_reader_queue" => pub slow_reader_queue: u32 = integer(64, 1, 65_536);
        /// True exactly when every publication may go out as a difference to the one before, to the clients that have
        /// agreed; otherwise only those that are published with `delta`.
        "delta_publish" => pub delta_publish: bool = boolean(false);
        /// The kinds of differences that a client may ask for; none by default.
        "allowed_delta_types" => pub allowed_delta_types: Vec<DeltaType>
            = list_of(choice("fossil", DeltaType::NAMES));
        /// True exactly when a client may ask for only the publications whose tags pass a filter.
        "allow_tags_filter" => pub allow_tags_filter: bool = boolean(false);
        /// True exactly when a client may subscribe without a subscription token. Private and user-limited channels
        /// stay closed.
        "allow_subscribe_for_client" => pub allow_subscribe_for_client: bool = boolean(false);
        /// True exactly when `allow_subscribe_for_client` includes anonymous clients.
        "allow_subscribe_for_anonymous" => pub allow_subscribe_for_anonymous: bool = boolean(false);
        /// True exactly when a client may publish, subscribed or not.
        "allow_publish_for_client" => pub allow_publish_for_client: bool = boolean(false);
        /// True exactly when a subscriber may publish.
        "allow_publish_for_subscriber" => pub allow_publish_for_subscriber: bool = boolean(false);
        /// True exactly when the two options above include anonymous clients.
        "allow_publish_for_anonymous" => pub allow_publish_for_anonymous: bool = boolean(false);
        /// True exactly when a client may read history, subscribed or not.
        "allow_history_for_client" => pub allow_history_for_client: bool = boolean(false);
        /// True exactly when a subscriber may read history.
        "allow_history_for_subscriber" => pub allow_history_for_subscriber: bool = boolean(false);
        /// True exactly when the two options above include anonymous clients.
        "allow_history_for_anonymous" => pub allow_history_for_anonymous: bool = boolean(false);
        /// True exactly when a client may see presence, subscribed or not.
        "allow_presence_for_client" => pub allow_presence_for_client: bool = boolean(false);
        /// True exactly when a subscriber may see presence.
        "allow_presence_for_subscriber" => pub allow_presence_for_subscriber: bool = boolean(false);
        /// True exactly when the two options above include anonymous clients.
        "allow_presence_for_anonymous" => pub allow_presence_for_anonymous: bool = boolean(false);
        /// True exactly when a `#` in a name limits the channel to the users after it: `dialog#42,43` is for the users
        /// 42 and 43, who need no subscription token. An anonymous client is never one of them.
        "allow_user_limited_channels" => pub allow_user_limited_channels: bool = boolean(false);
        /// True exactly when the backend is asked whether a client may subscribe that has no token, and is not one of the
        /// users to whom the name limits the channel. Needs `channel.proxy.subscribe`.
        "subscribe_proxy_enabled" => pub is_subscribe_proxied: bool = boolean(false);
        /// True exactly when the backend is asked whether a client may publish; the options above are then not looked
        /// at. Needs `channel.proxy.publish`.
        "publish_proxy_enabled" => pub is_publish_proxied: bool = boolean(false);
        /// True exactly when the backend is asked whether an expired subscription goes on; clients then send no
        /// sub_refresh command. Needs `channel.proxy.sub_refresh`.
        "sub_refresh_proxy_enabled" => pub is_sub_refresh_proxied: bool = boolean(false);
        /// What a name (without its namespace) must match anywhere: anchor it with `^` and `$`. Empty: names are ASCII.
        /// `\d`, `\w` and `\s` match those of all scripts: write `[0-9]` for ASCII digits alone.
        "channel_regex" => pub channel_regex: String
            = text("").also("a regular expression", |pattern: &String| Regex::new(pattern).is_ok());
    }
}

impl Default for NamespaceOptions {
    /// What holds where nothing is configured.
    fn default() -> Self {
        Self::read(&serde_json::json!({}), "", &mut Problems::default())
            .expect("invariant: every default is within its own range")
    }
}

/// A namespace: its name, and its options beside it in the same table.
#[derive(Debug, Clone, PartialEq)]
pub struct Namespace {
    /// What its channels' names begin with, up to the boundary.
    pub name: String,
    /// What holds for its channels.
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
            doc: "What the names of its channels begin with, before the `:`. Each namespace needs its own.",
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

/// What a client gets that comes back to a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecoveryMode {
    /// All that it missed.
    Stream,
    /// The newest publication.
    Cache,
}

impl RecoveryMode {
    const NAMES: &[(&str, Self)] = &[("stream", Self::Stream), ("cache", Self::Cache)];
}

/// What becomes of publications for a subscriber that does not keep up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SlowReaderPolicy {
    /// They wait, up to the limits of the connection; then it is closed.
    Disconnect,
    /// The newest few of each channel wait.
    DropOldest,
    /// The newest one of each channel waits.
    KeepLatest,
}

impl SlowReaderPolicy {
    const NAMES: &[(&str, Self)] = &[
        ("disconnect", Self::Disconnect),
        ("drop_oldest", Self::DropOldest),
        ("keep_latest", Self::KeepLatest),
    ];
}

/// How one publication is written as a difference to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeltaType {
    /// The delta format of the Fossil version control system.
    Fossil,
}

impl DeltaType {
    const NAMES: &[(&str, Self)] = &[("fossil", Self::Fossil)];
}

/// Conditions between the options of channels.
pub(super) fn check(channel: &ChannelConfig, problems: &mut Problems) {
    check_options(&channel.without_namespace, channel, "channel.without_namespace", problems);
    let mut names = BTreeSet::new();
    for (i, namespace) in channel.namespaces.iter().enumerate() {
        let path = format!("channel.namespaces[{i}]");
        if !names.insert(namespace.name.as_str()) {
            let found = format!("found {:?} a second time", namespace.name);
            problems.refuse(&join(&path, Namespace::NAME), found, "a name for one namespace");
        }
        check_options(&namespace.options, channel, &path, problems);
    }
}

fn check_options(options: &NamespaceOptions, channel: &ChannelConfig, path: &str, problems: &mut Problems) {
    let (has_size, has_ttl) = (options.history_publications_max != 0, options.history_ttl_ms != 0);
    if has_size && !has_ttl {
        problems.refuse(&join(path, "history_ttl"), "is missing", "a duration, since history_size is set");
    }
    if has_ttl && !has_size {
        problems.refuse(&join(path, "history_size"), "is missing", "a number, since history_ttl is set");
    }
    if options.force_recovery && !(has_size && has_ttl) {
        problems.refuse(
            &join(path, "force_recovery"),
            "found true",
            "true only with history_size and history_ttl",
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
                let allowed = "disconnect, since nothing may be missing with ".to_owned() + key;
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
            ("history_size = 1", "channel.namespaces[0].history_ttl", "since history_size is set"),
            ("history_ttl = \"1m\"", "channel.namespaces[0].history_size", "since history_ttl is set"),
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
                "disconnect, since nothing may be missing with allow_recovery",
            ),
            (
                "slow_readers = \"drop_oldest\"\nhistory_size = 1\nhistory_ttl = \"1m\"",
                "channel.namespaces[0].slow_readers",
                "history_size",
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
