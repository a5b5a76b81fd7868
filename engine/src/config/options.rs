//! Options: the definition of everything that can be configured.
//!
//! Out: the checked sections that the engine reads, and by `section!` their parsing, environment
//!      names, `config default` and `config doc`.
//!
//! A new option is one entry here: a doc comment, `"key" => pub field: Type = kind(default, range);`.
//! The doc comment says what it is for, its unit, and for every limit its worst case. Conditions
//! between options are in `check.rs`. Names follow Centrifugo v6 where the concept is the same.

use super::channel::ChannelConfig;
use super::control::{AdminConfig, HttpApiConfig, NodeConfig};
use super::cores::CpuList;
use super::definition::section;
use super::http_server::HttpServerConfig;
use super::kinds::{boolean, choice, duration, integer, list_of, parsed, section, size, text};
use super::limits::LimitsConfig;
use super::proxy::{BackendConfig, ClientProxyConfig, RpcConfig};
use super::token::{SubscriptionTokenConfig, TokenConfig};
use super::transports::{EmulationConfig, HttpStreamConfig, OpenPathConfig, PollConfig, SseConfig};
use crate::value::origin::OriginPattern;

section! {
    /// Options of `holdfast serve`. A file, the environment and flags set them, in rising order.
    pub struct Options {
        /// Where the daemon listens.
        "http_server" => pub http_server: HttpServerConfig = section();
        /// What a client's connection may cost, and how long it may stay silent.
        "client" => pub client: ClientConfig = section();
        /// What one address, network, connection or user may do.
        "limits" => pub limits: LimitsConfig = section();
        /// The WebSocket transport.
        "websocket" => pub websocket: WebsocketConfig = section();
        /// `/echo`, where every message comes back.
        "echo" => pub echo: OpenPathConfig = section();
        /// `/broadcast`, where every message goes to all.
        "broadcast" => pub broadcast: OpenPathConfig = section();
        /// Server-sent events, for clients without WebSocket.
        "sse" => pub sse: SseConfig = section();
        /// HTTP streaming, for clients without WebSocket.
        "http_stream" => pub http_stream: HttpStreamConfig = section();
        /// Commands of clients whose stream only brings messages to them.
        "emulation" => pub emulation: EmulationConfig = section();
        /// HTTP long-polling, for clients without WebSocket and without streams.
        "poll" => pub poll: PollConfig = section();
        /// What channels do, and who may do what in them.
        "channel" => pub channel: ChannelConfig = section();
        /// RPC: calls of clients that the application's backend answers.
        "rpc" => pub rpc: RpcConfig = section();
        /// Calls to the application's backend, of all kinds together.
        "backend" => pub backend: BackendConfig = section();
        /// The server API.
        "http_api" => pub http_api: HttpApiConfig = section();
        /// The try-out page.
        "admin" => pub admin: AdminConfig = section();
        /// What this node calls itself.
        "node" => pub node: NodeConfig = section();
        /// Cores, rings and buffers.
        "engine" => pub engine: EngineConfig = section();
        /// The graceful stop.
        "shutdown" => pub shutdown: ShutdownConfig = section();
        /// What the daemon says about itself.
        "log" => pub log: LogConfig = section();
    }

    /// What a client's connection may cost, and how long it may stay silent.
    pub struct ClientConfig {
        /// Time between two pings to a client. Pings of different connections are spread over this time.
        "ping_interval" => pub ping_interval_ms: u64 = duration("25s", "1s", "1h");
        /// How long to wait for the pong before the connection is closed. Must be shorter than the ping interval.
        "pong_timeout" => pub pong_timeout_ms: u64 = duration("8s", "100ms", "10m");
        /// How long a handshake may take, from accept to the end of the upgrade.
        /// Worst case: a client that sends nothing holds one connection for this long.
        "stale_close_delay" => pub stale_close_delay_ms: u64 = duration("10s", "100ms", "10m");
        /// Which web pages may connect: the `Origin` header of a request must match one of these. `*` in a pattern
        /// stands for any characters, as in `https://*.example.com`, `?` for one, `[ab]` and `[a-z]` for one of these,
        /// `[!ab]` for any other one, `{a,b}` for one of these texts, and `\\` before one of these signs for the sign itself;
        /// `*` alone allows all. An origin is a scheme, a host and perhaps a port, without a path; what no origin can match
        /// is refused. A pattern that also matches hosts which anybody can register, such as `https://app.*`, is warned of
        /// at the start. Apps have origins of their own: mini-games of WeChat on iOS send `weapp://wechat-game-runtime`,
        /// which `weapp://*` allows, others `capacitor://localhost`, `file://` or `null`. Requests without `Origin` do not
        /// come from a web page and are not checked. Empty: no web page may connect.
        "allowed_origins" => pub allowed_origins: Vec<OriginPattern> = list_of(parsed(
            "origin",
            "an origin like \"https://example.com\", with * ? [ab] {a,b} for parts of it",
            "",
        ));
        /// True exactly when a client may connect without a token. It is then anonymous: its user is empty.
        "allow_anonymous_connect_without_token" => pub allow_anonymous_connect_without_token: bool = boolean(false);
        /// True exactly when a token whose `sub` is empty is refused.
        "disallow_anonymous_connection_tokens" => pub disallow_anonymous_connection_tokens: bool = boolean(false);
        /// For development: true exactly when everybody may connect without a token, and every client may subscribe to,
        /// publish in, and read history and presence of every channel of a configured namespace, private ones too. Where
        /// a namespace keeps no history or no presence, there is none to read. Said loudly at every start.
        "insecure" => pub is_insecure: bool = boolean(false);
        /// For development: true exactly when nobody looks at the signatures of tokens. Everything else of a token is
        /// checked. Said loudly at every start.
        "insecure_skip_token_signature_verify" => pub skips_token_signatures: bool = boolean(false);
        /// A channel of each user's own, to which the server subscribes its connections.
        "subscribe_to_user_personal_channel" => pub personal_channel: PersonalChannelConfig = section();
        /// How long a client whose token has expired may take to refresh it, before it is closed with 3005.
        "expired_close_delay" => pub expired_close_delay_ms: u64 = duration("25s", "0s", "1h");
        /// How long a client whose subscription token has expired may take to refresh it, before it is unsubscribed.
        "expired_sub_close_delay" => pub expired_sub_close_delay_ms: u64 = duration("25s", "0s", "1h");
        /// Channels that one client may be subscribed to; the next subscription is answered with error 106.
        /// Worst case: connections × this × 200 bytes, and 16 KiB for each filter; held by `client.session_budget`.
        "channel_limit" => pub channel_limit: u32 = integer(128, 1, 65_536);
        /// Connections that one user may have, over all cores; where there is one more, `user_connection_policy` says
        /// which one is closed with 3504. Anonymous clients are not counted together. 0 sets no limit.
        /// Worst case: 64 bytes a connection, and 60 bytes and its name a user.
        "user_connection_limit" => pub user_connection_limit: u32 = integer(0, 0, 1_000_000);
        /// Which connection goes when a user has one too many: the one that has just come (`reject_newest`), or the one
        /// that has been there for the longest time (`disconnect_oldest`). Neither comes back by itself: SDKs take 3504
        /// as final.
        "user_connection_policy" => pub user_connection_policy: UserConnectionPolicy
            = choice("reject_newest", UserConnectionPolicy::NAMES);
        /// The longest reply to one command: a page of history ends there, a recovery that would be longer is answered as
        /// one whose position is lost, presence with error 106. All that is recovered with a connect has this limit
        /// together. A single publication always passes. Long replies are sent one at a time, each when the client has read
        /// what it had been sent before. Holdfast's own.
        /// Worst case: twice this for each client that has asked for one and does not read it, held by
        /// `client.queue_budget`; and twice this once a shard while it is written.
        "reply_max_size" => pub reply_max_size_bytes: u32 = size("8MiB", "4KiB", "256MiB");
        /// Publications that one history request returns at most; a request for more is cut down to it.
        /// Worst case: see `client.reply_max_size`.
        "history_max_publication_limit" => pub history_publications_max: u32 = integer(300, 1, 65_536);
        /// Publications that a client may get back when it comes back; if it missed more it is told that its
        /// position is lost.
        /// Worst case: see `client.reply_max_size`.
        "recovery_max_publication_limit" => pub recovery_publications_max: u32 = integer(300, 1, 65_536);
        /// How long to wait for the peer's close frame after ours, before the socket is closed all the same.
        "close_timeout" => pub close_timeout_ms: u64 = duration("5s", "100ms", "10m");
        /// How many connections the daemon holds, sessions of polls among them; the next ones are answered 503. 0 sets no limit of its own: tables
        /// are made for at least 100,000 connections, and as many are held as descriptors allow.
        /// Worst case: 4.7 KB of memory a connection (4.4 KB of it the kernel's) when idle: 470 MB at 100,000.
        "connection_limit" => pub connection_limit: u32 = integer(0, 0, 16_000_000);
        /// Connections that the daemon takes in a second; the next ones are answered 429. As many may come at once, after
        /// a quiet time. 0 sets no limit. Limits for each address are in the section `limits`.
        "connection_rate_limit" => pub connections_per_s: u32 = integer(0, 0, 10_000_000);
        /// How many bytes may wait before a message that others send to a client; a reader so slow that more wait is closed,
        /// and no one else waits for it. It says how far behind a client may be, not how long a message may be: of what
        /// waits, neither the longest message counts nor the replies that the client asked for. Must hold at least one
        /// message of the greatest size.
        /// Worst case: connections × this, twice the longest message and `client.reply_max_size`, when all clients stop
        /// reading at once; messages of more than 4 KiB that several clients wait for are shared and count once in memory.
        /// See also `client.queue_budget`.
        "queue_max_size" => pub queue_max_size_bytes: u32 = size("1MiB", "4KiB", "1GiB");
        /// How many messages may wait to be sent to one client, whatever their size; what is sent to it at once counts as
        /// one. A reader for which more wait is closed.
        /// Worst case: nothing beside `client.queue_max_size`: short messages that wait share their memory.
        "queue_max_messages" => pub queue_max_messages: u32 = integer(16_384, 16, 1_048_576);
        /// How many bytes may wait for all clients together that do not keep up, over all cores; where it is more, those
        /// for whom most wait are cut, without a close frame. 0 sets no limit. Payloads that several clients wait for
        /// count for each. Less where memory is limited: see [memory](memory.md).
        /// Worst case: this, and what one turn brings for them.
        "queue_budget" => pub queue_budget_bytes: u64 = size("512MiB", "0B", "16TiB");
        /// Memory for what has come in part of messages, requests and TLS records, rounded up to KiB for each connection,
        /// over all cores, each of which has its part; where it is more, those who have sent most are sent away, with close code 1013 or 503. 0 sets no limit.
        /// Less where memory is limited: see [memory](memory.md).
        /// Worst case: this, and what one turn brings: `engine.receive_buffers` on each core.
        "receive_budget" => pub receive_budget_bytes: u64 = size("512MiB", "0B", "16TiB");
        /// Memory for commands that wait, over all cores: frames that came before their client may be served, commands that
        /// wait for keys or the backend, messages from core to core. Where it is more, those who have most waiting go first.
        /// Less where memory is limited: see [memory](memory.md).
        /// Worst case: this, and what one turn brings.
        "command_budget" => pub command_budget_bytes: u64 = size("256MiB", "1MiB", "16TiB");
        /// Memory for the records of clients over all cores: subscriptions, sessions of polls, users and quotas. Where it
        /// is full, a new session is answered 503, a new subscription and a connect with server-side subscriptions with
        /// error 111. Less where memory is limited: see [memory](memory.md).
        /// Worst case: this: a million clients with one subscription each, or 740 bytes a client.
        "session_budget" => pub session_budget_bytes: u64 = size("768MiB", "1MiB", "16TiB");
        /// The longest request line and headers of a handshake; longer ones are answered 431.
        /// Worst case: this for each handshake that is under way.
        "request_head_size_limit" => pub request_head_bytes_max: u32 = size("8KiB", "1KiB", "64KiB");
        /// How many header fields a request may have; 431 where it has more. Proxies and cookies of a page add some.
        "request_head_fields_limit" => pub request_head_fields_max: u32 = integer(64, 16, 128);
        /// Tokens with which clients connect and subscribe.
        "token" => pub token: TokenConfig = section();
        /// Tokens with which clients subscribe, where they are not to be accepted like the others.
        "subscription_token" => pub subscription_token: SubscriptionTokenConfig = section();
        /// Events of connections that are put to the application's backend.
        "proxy" => pub proxy: ClientProxyConfig = section();
    }

    /// The WebSocket transport.
    pub struct WebsocketConfig {
        /// True exactly when `/connection/websocket` is answered 404.
        "disabled" => pub disabled: bool = boolean(false);
        /// The largest message of a client, over all its fragments; a larger one closes the connection with 1009.
        /// Worst case: this for each connection that is in the middle of a message.
        "message_size_limit" => pub message_size_limit_bytes: u32 = size("64KiB", "125B", "64MiB");
        /// True exactly when messages are compressed for clients that offer it (permessage-deflate, RFC 7692).
        /// Worst case: 3 MB for each shard, and nothing for a connection, unless one of the context takeovers is on.
        "compression" => pub compression: bool = boolean(false);
        /// Shorter messages go out as they are. So do those that compression would not make shorter.
        "compression_min_size" => pub compression_min_size_bytes: u32 = size("0B", "0B", "64MiB");
        /// How hard to try, from 1 (fast) to 9 (small).
        "compression_level" => pub compression_level: u8 = integer(1, 1, 9);
        /// The largest message of a client after inflating; a larger one closes the connection with 1009. 0 means the
        /// same as `websocket.message_size_limit`.
        /// Worst case: twice this for one message at a time on each shard: it is handled before the next one is inflated.
        "decompressed_message_size_limit" => pub decompressed_message_size_limit_bytes: u32
            = size("0B", "0B", "64MiB");
        /// True exactly when a message may refer to those that the same client was sent before. They become smaller by
        /// that, but a message for many is compressed for each of them.
        /// Worst case: connections × 2 to the power of `websocket.compression_server_max_window_bits`: 32 KiB each.
        "compression_server_context_takeover" => pub compression_server_context_takeover: bool = boolean(false);
        /// True exactly when a client's message may refer to those that it sent before.
        /// Worst case: connections × 2 to the power of `websocket.compression_client_max_window_bits`: 32 KiB each.
        "compression_client_context_takeover" => pub compression_client_context_takeover: bool = boolean(false);
        /// The base-2 logarithm of how far back messages to clients refer, in bytes. A client may ask for less.
        "compression_server_max_window_bits" => pub compression_server_max_window_bits: u8 = integer(15, 8, 15);
        /// The same of clients' messages. A client that does not offer to be limited does not get to refer to
        /// earlier messages, if this is less than 15.
        "compression_client_max_window_bits" => pub compression_client_max_window_bits: u8 = integer(15, 8, 15);
    }

    /// Cores, rings and buffers. The defaults fit 100,000 connections; change them with a measurement.
    pub struct EngineConfig {
        /// The CPUs to run on, one shard each. Excludes `engine.shards`. Unset: see there.
        "cores" => pub(super) cpu_list: Option<CpuList>
            = parsed("CPU list", "CPU numbers and ranges, like \"0-3,6\"", "").optional().flag("--cores");
        /// How many shards to run, each pinned to a core of its own; 0 means one on every core that this process may
        /// run on. Excludes `engine.cores`.
        "shards" => pub(super) shards: u32 = integer(0, 0, 1024).flag("--shards");
        /// Rings for each shard. The descriptor table of a ring holds at most RLIMIT_NOFILE entries, so a small limit
        /// needs several. 0 means as many as `client.connection_limit` and RLIMIT_NOFILE call for.
        /// Worst case: for each ring its queues (`engine.submission_entries`) and 8 bytes for each entry of its table.
        "lanes" => pub lanes: u32 = integer(0, 0, 256);
        /// Receive buffers of each ring, at most. Only connections that have bytes to read use one, for one turn. A
        /// shard begins with this many, shared out among its rings; a ring has one more each time that one is missing.
        /// Worst case: this × `engine.receive_buffer_size` for each ring: 2 MiB.
        "receive_buffers" => pub receive_buffers: u32
            = integer(1024, 16, 32_768).also("a power of two", |n: &u32| n.is_power_of_two());
        /// Size of one receive buffer. A longer message is put together from several.
        /// Worst case: see `engine.receive_buffers`.
        "receive_buffer_size" => pub receive_buffer_bytes: u32 = size("2KiB", "512B", "64KiB");
        /// Entries in a ring's submission queue: how many operations go to the kernel at once.
        /// Worst case: 196 bytes an entry, 128 of them for the eight completions that may answer it: 0.2 MB a ring.
        "submission_entries" => pub submission_entries: u32
            = integer(1024, 64, 32_768).also("a power of two", |n: &u32| n.is_power_of_two());
        /// Messages that may wait for one core: shared out among the other cores, so that none fills another one's part;
        /// as many of its own clients; and as many of the server API. When it is full, who causes them waits; nothing is
        /// lost.
        /// Worst case: see `engine.mailbox_bytes_max`; and two times this × shards entries of 96 bytes, allocated at once
        /// (1.5 MiB on two cores).
        "mailbox_messages_max" => pub mailbox_messages_max: u32 = integer(4096, 64, 1_048_576);
        /// The same in bytes, payloads that several messages share counted with each.
        /// Worst case: this × shards, three times: of other cores, of its own clients, of the server API. What waits counts
        /// against `client.command_budget`.
        "mailbox_bytes_max" => pub mailbox_bytes_max: u64 = size("8MiB", "64KiB", "1GiB");
        /// Connections that the kernel may hold ready for accept, and handshakes that may be half open, for each shard.
        /// 0 takes `net.core.somaxconn`, which caps any other value too; above 4096 both are cut to a quarter of a ring's
        /// table.
        /// Worst case: this × shards connections of 4.4 KB kernel memory: 36 MB on two cores with the kernel's
        /// default of 4096.
        "listen_backlog" => pub listen_backlog: u32 = integer(0, 0, 1_048_576);
        /// Resident memory of the daemon. All [budgets](memory.md) together are made to fit into it at the start; where
        /// it is used all the same, new connections are answered 503 and half of every budget
        /// holds. 0 sets no limit. In a control group with a memory limit the same holds for nine tenths of that limit, the
        /// memory of files not counted.
        "memory_limit" => pub memory_limit_bytes: u64 = size("0B", "0B", "16TiB");
        /// How long a shard or the control thread may take over one turn before it counts as stalled: `/health/ready` is
        /// then 503, and the service manager's watchdog is not fed. Shards turn four times a second at least. Time in
        /// which the whole process did not run does not count.
        "stall_timeout" => pub stall_timeout_ms: u64 = duration("5s", "1s", "10m");
    }

    /// A channel of each user's own: `#` and the user. With `allow_user_limited_channels` nobody else may subscribe to it.
    /// Anonymous clients have none.
    pub struct PersonalChannelConfig {
        /// True exactly when the server subscribes every connection of a user to the user's channel.
        "enabled" => pub enabled: bool = boolean(false);
        /// The namespace of these channels, which must be configured. Empty: `channel.without_namespace`.
        "personal_channel_namespace" => pub namespace: String = text("");
        /// True exactly when a user has one connection at a time: a new one closes the one before with 3504, as with
        /// `client.user_connection_limit` 1 and `client.user_connection_policy` `disconnect_oldest`.
        "single_connection" => pub is_single_connection: bool = boolean(false);
    }

    /// The graceful stop, at SIGTERM, SIGINT or `POST /api/drain`. A second signal hurries it.
    pub struct ShutdownConfig {
        /// How long clients are served and accepted as ever while `/health/ready` fails already, so that a load balancer
        /// sees that and sends no more of them. It ends with a second signal. What follows begins after it.
        "delay" => pub delay_ms: u64 = duration("0s", "0s", "10m");
        /// How long the whole stop may take, from the first client that is sent away (codes 3001 and 1001) to the last
        /// one that has gone; what is left then is cut.
        /// The service manager must wait longer than `delay` and this together before it kills (TimeoutStopSec).
        "timeout" => pub timeout_ms: u64 = duration("10s", "0s", "24h");
        /// How many clients a second are sent away, over all cores, so that those who take them are not overrun.
        /// 0 sets no pace. Clients leave faster where they could not all be told in time otherwise: before `timeout`
        /// less `client.close_timeout`, or less a quarter of itself where that is shorter.
        "clients_per_second" => pub clients_per_second: u32 = integer(10_000, 0, 10_000_000);
        /// The least time over which clients are spread, however few there are. Must not be longer than `timeout`.
        "drain_time" => pub drain_ms: u64 = duration("0s", "0s", "24h");
    }

    /// What the daemon says about itself, on standard error.
    pub struct LogConfig {
        /// The least important event that is logged. Most mistakes of peers are `debug`; what peers
        /// cause at the other levels is limited (`log.repeat_limit`), so that none can fill a disk.
        "level" => pub level: LogLevel = choice("info", LogLevel::NAMES);
        /// `text` for people, `json` for machines: one object a line.
        "format" => pub format: LogFormat = choice("text", LogFormat::NAMES);
        /// How many lines of one kind (the same event for the same reason) are logged in `log.repeat_interval`; of more it
        /// is said how many they were, once. So no peer can fill a disk, whatever it causes. 0 sets no limit. At `debug`
        /// and `trace` each line of these levels is logged, by design: as many as peers cause.
        /// Worst case: about a hundred kinds × this × 16 KiB in each interval.
        "repeat_limit" => pub repeat_limit: u32 = integer(10, 0, 1_000_000);
        /// See `log.repeat_limit`.
        "repeat_interval" => pub repeat_interval_ms: u64 = duration("10s", "1s", "1h");
    }
}

/// Which connection goes when a user has one too many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UserConnectionPolicy {
    /// The one that wants to come.
    RejectNewest,
    /// The one that came first.
    DisconnectOldest,
}

impl UserConnectionPolicy {
    const NAMES: &[(&str, Self)] =
        &[("reject_newest", Self::RejectNewest), ("disconnect_oldest", Self::DisconnectOldest)];
}

/// How important an event must be to be logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogLevel {
    /// Everything, every message included.
    Trace,
    /// Also what happens to single connections.
    Debug,
    /// What an operator wants to see in a quiet week.
    Info,
    /// What will become a problem.
    Warn,
    /// What went wrong.
    Error,
    /// Nothing at all.
    None,
}

impl LogLevel {
    const NAMES: &[(&str, Self)] = &[
        ("trace", Self::Trace),
        ("debug", Self::Debug),
        ("info", Self::Info),
        ("warn", Self::Warn),
        ("error", Self::Error),
        ("none", Self::None),
    ];
}

/// How an event is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// A line for people.
    Text,
    /// A JSON object a line.
    Json,
}

impl LogFormat {
    const NAMES: &[(&str, Self)] = &[("text", Self::Text), ("json", Self::Json)];
}
