//! Options: the definitions of all configuration options.
//!
//! Out: the checked sections that the engine reads. `section!` adds their parsing, environment names, `config default`
//! and `config doc`.
//!
//! A new option is one entry here: a doc comment, `"key" => pub field: Type = kind(default, range);`.
//! The doc comment gives its purpose, its unit and, for a limit, the worst case. Conditions between options are in
//! `check.rs`. Names follow Centrifugo v6 where the concept is the same.

use super::channel::ChannelConfig;
use super::control::{AdminConfig, HttpApiConfig, NodeConfig};
use super::cores::CpuList;
use super::definition::section;
use super::http_server::HttpServerConfig;
use super::kinds::{boolean, choice, duration, integer, list_of, parsed, section, size, text};
use super::limits::LimitsConfig;
use super::proxy::{BackendConfig, ClientProxyConfig, RpcConfig};
use super::redis::{EngineType, RedisConfig};
use super::token::{SubscriptionTokenConfig, TokenConfig};
use super::transports::{EmulationConfig, HttpStreamConfig, OpenPathConfig, PollConfig, SseConfig};
use crate::value::origin::OriginPattern;

section! {
    /// Options of `holdfast serve`. A configuration file sets them, the environment overrides the file, and a flag
    /// overrides both.
    pub(crate) struct Options {
        /// The addresses and ports of the listeners, TLS, and proxies in front of the daemon.
        "http_server" => pub http_server: HttpServerConfig = section();
        /// What a client connection may cost, how clients authenticate, and how long they may stay silent.
        "client" => pub client: ClientConfig = section();
        /// Limits for each address, network, connection and user.
        "limits" => pub limits: LimitsConfig = section();
        /// The WebSocket transport.
        "websocket" => pub websocket: WebsocketConfig = section();
        /// `/echo`, a test path that returns every message to its sender.
        "echo" => pub echo: OpenPathConfig = section();
        /// `/broadcast`, a test path that sends every message to all its connections.
        "broadcast" => pub broadcast: OpenPathConfig = section();
        /// Server-sent events, for clients that cannot use WebSocket.
        "sse" => pub sse: SseConfig = section();
        /// HTTP streaming, for clients that cannot use WebSocket.
        "http_stream" => pub http_stream: HttpStreamConfig = section();
        /// `/emulation`, which takes the commands of clients that use SSE or HTTP streaming.
        "emulation" => pub emulation: EmulationConfig = section();
        /// HTTP long polling, for clients that can use neither WebSocket nor streams.
        "poll" => pub poll: PollConfig = section();
        /// Channels: history, presence, recovery and permissions.
        "channel" => pub channel: ChannelConfig = section();
        /// RPC calls of clients, which the application's backend answers.
        "rpc" => pub rpc: RpcConfig = section();
        /// Limits for all calls to the application's backend.
        "backend" => pub backend: BackendConfig = section();
        /// The server API, with which the backend publishes, disconnects and asks about channels.
        "http_api" => pub http_api: HttpApiConfig = section();
        /// The try-out page on the control port.
        "admin" => pub admin: AdminConfig = section();
        /// The name of this node.
        "node" => pub node: NodeConfig = section();
        /// CPU cores, rings, buffers and memory; Redis, through which several nodes act as one.
        "engine" => pub engine: EngineConfig = section();
        /// The graceful stop.
        "shutdown" => pub shutdown: ShutdownConfig = section();
        /// The log on standard error.
        "log" => pub log: LogConfig = section();
    }

    /// What a client connection may cost, how clients authenticate, and how long they may stay silent.
    pub(crate) struct ClientConfig {
        /// Time between two pings to a client. The daemon spreads the pings of all connections over this time.
        "ping_interval" => pub ping_interval_ms: u64 = duration("25s", "1s", "1h");
        /// How long the daemon waits for a pong before it closes the connection. Must be shorter than
        /// `client.ping_interval`.
        "pong_timeout" => pub pong_timeout_ms: u64 = duration("8s", "100ms", "10m");
        /// How long a handshake may take, from accept to the end of the upgrade.
        /// Worst case: a client that sends nothing occupies one connection for this long.
        "stale_close_delay" => pub stale_close_delay_ms: u64 = duration("10s", "100ms", "10m");
        /// Web pages that may connect. The `Origin` header of a request must match one of these patterns; requests
        /// without `Origin` do not come from a web page and are not checked. In a pattern, `*` stands for any
        /// characters, `?` for one, `[ab]` and `[a-z]` for one of a set, `[!ab]` for one outside a set, `{a,b}` for
        /// one of several texts, and `\` takes the next character literally; `*` alone allows every page. Example:
        /// `https://*.example.com`. An origin is a scheme, a host and an optional port, without a path; the start
        /// fails for a pattern that no origin can match. A pattern that also matches hosts that anybody can register,
        /// such as `https://app.*`, causes a warning at the start. Apps send origins of their own: WeChat mini-games
        /// on iOS send `weapp://wechat-game-runtime`, which `weapp://*` allows; others send `capacitor://localhost`,
        /// `file://` or `null`. If empty, no web page may connect.
        "allowed_origins" => pub allowed_origins: Vec<OriginPattern> = list_of(parsed(
            "origin",
            "an origin like \"https://example.com\", with * ? [ab] {a,b} for parts of it",
            "",
        ));
        /// Allows clients to connect without a token. Such a client is anonymous: its user is empty.
        "allow_anonymous_connect_without_token" => pub allow_anonymous_connect_without_token: bool = boolean(false);
        /// Refuses connection tokens whose `sub` is empty.
        "disallow_anonymous_connection_tokens" => pub disallow_anonymous_connection_tokens: bool = boolean(false);
        /// For development only. Everybody may connect without a token. Every client may subscribe to every channel
        /// of a configured namespace, private channels included, publish in it, and read its history and presence.
        /// History and presence exist only where the namespace enables them. The daemon warns about this option at
        /// every start.
        "insecure" => pub is_insecure: bool = boolean(false);
        /// For development only. Skips the check of token signatures; all other checks of tokens remain. The daemon
        /// warns about this option at every start.
        "insecure_skip_token_signature_verify" => pub skips_token_signatures: bool = boolean(false);
        /// The personal channel of each user.
        "subscribe_to_user_personal_channel" => pub personal_channel: PersonalChannelConfig = section();
        /// How long a client may take to refresh an expired token. Then the daemon closes the connection with 3005.
        "expired_close_delay" => pub expired_close_delay_ms: u64 = duration("25s", "0s", "1h");
        /// How long a client may take to refresh an expired subscription token. Then the daemon unsubscribes it.
        "expired_sub_close_delay" => pub expired_sub_close_delay_ms: u64 = duration("25s", "0s", "1h");
        /// Most channels that one client may subscribe to. A further subscription gets error 106.
        /// Worst case: connections × this × 200 bytes, plus 16 KiB for each tags filter; bounded by
        /// `client.session_budget`.
        "channel_limit" => pub channel_limit: u32 = integer(128, 1, 65_536);
        /// Most connections that one user may have, over all cores and all nodes. `client.user_connection_policy`
        /// decides which connection is closed with 3504 when there is one more. Anonymous clients are not counted.
        /// 0 means no limit. While Redis is away, each node counts its own.
        /// Worst case: 64 bytes a connection, plus 60 bytes and the name for each user.
        "user_connection_limit" => pub user_connection_limit: u32 = integer(0, 0, 1_000_000);
        /// Which connection is closed when a user exceeds `client.user_connection_limit`: the new one
        /// (`reject_newest`) or the oldest (`disconnect_oldest`). SDKs do not reconnect after 3504.
        "user_connection_policy" => pub user_connection_policy: UserConnectionPolicy
            = choice("reject_newest", UserConnectionPolicy::NAMES);
        /// Longest reply to one command. A history page ends at this size; a recovery that would be longer reports a
        /// lost position; a longer presence reply becomes error 106. The recoveries of one connect command share the
        /// limit. A single publication always passes. The daemon sends long replies one at a time, each when the
        /// client has read the one before. Not in Centrifugo.
        /// Worst case: twice this for each client that asks for a long reply and does not read it, bounded by
        /// `client.queue_budget`; plus twice this for each shard while it encodes a reply.
        "reply_max_size" => pub reply_max_size_bytes: u32 = size("8MiB", "4KiB", "256MiB");
        /// Most publications that one history request returns. A higher limit in the request is lowered to this.
        /// Worst case: see `client.reply_max_size`.
        "history_max_publication_limit" => pub history_publications_max: u32 = integer(300, 1, 65_536);
        /// Most publications that a returning client recovers. A client that missed more is told that its position is
        /// lost.
        /// Worst case: see `client.reply_max_size`.
        "recovery_max_publication_limit" => pub recovery_publications_max: u32 = integer(300, 1, 65_536);
        /// How long the daemon waits for the peer's close frame before it closes the socket anyway.
        "close_timeout" => pub close_timeout_ms: u64 = duration("5s", "100ms", "10m");
        /// Most connections of clients, long-polling sessions included. A further connection gets 503. With 0 the
        /// number of file descriptors is the only limit, and the daemon sizes its tables for at least 100,000
        /// connections.
        /// Worst case: 4.7 KB an idle connection, 4.4 KB of it kernel memory: 470 MB at 100,000.
        "connection_limit" => pub connection_limit: u32 = integer(0, 0, 16_000_000);
        /// Most new connections a second, over all cores. A further connection gets 429. After a quiet second, a
        /// burst of this size may come at once. 0 means no limit. The section `limits` has limits for each address.
        "connection_rate_limit" => pub connections_per_s: u32 = integer(0, 0, 10_000_000);
        /// Most bytes that may wait for a client that reads too slowly. A client with more waiting is closed with
        /// 3008; it delays nobody else. The limit says how far behind a client may be, not how long a message may be:
        /// the longest waiting message and the replies that the client asked for do not count. Must be at least the
        /// greatest message size.
        /// Worst case: connections × this, plus twice the longest message and `client.reply_max_size`, when all
        /// clients stop reading at once. Messages over 4 KiB that wait for several clients are shared and use memory
        /// once. `client.queue_budget` bounds the total.
        "queue_max_size" => pub queue_max_size_bytes: u32 = size("1MiB", "4KiB", "1GiB");
        /// Most messages that may wait for a client, whatever their size. Messages sent together count as one. A
        /// client with more waiting is closed with 3008.
        /// Worst case: no memory beyond `client.queue_max_size`, because short waiting messages share their memory.
        "queue_max_messages" => pub queue_max_messages: u32 = integer(16_384, 16, 1_048_576);
        /// Most bytes that may wait for all slow clients together, over all cores. When it is exceeded, the daemon
        /// cuts the clients with the longest queues, without a close frame. A payload that waits for several clients
        /// counts for each. 0 means no limit. The daemon lowers this value to fit limited memory: see
        /// [memory](memory.md).
        /// Worst case: this, plus what one turn of each shard adds.
        "queue_budget" => pub queue_budget_bytes: u64 = size("512MiB", "0B", "16TiB");
        /// Memory for incomplete messages, requests and TLS records, over all cores; each core has an equal part.
        /// Each connection is charged in whole KiB. When a part is exceeded, the daemon closes the clients that have
        /// sent most, with close code 1013 or status 503. 0 means no limit. The daemon lowers this value to fit
        /// limited memory: see [memory](memory.md).
        /// Worst case: this, plus what one turn receives: `engine.receive_buffers` on each core.
        "receive_budget" => pub receive_budget_bytes: u64 = size("512MiB", "0B", "16TiB");
        /// Memory for waiting commands, over all cores: frames of clients that are not yet admitted, commands that
        /// wait for keys or the backend, and messages between cores. When it is exceeded, the daemon closes the
        /// clients with most waiting. The daemon lowers this value to fit limited memory: see [memory](memory.md).
        /// Worst case: this, plus what one turn of each shard adds.
        "command_budget" => pub command_budget_bytes: u64 = size("256MiB", "1MiB", "16TiB");
        /// Memory for client records, over all cores: subscriptions, long-polling sessions, users and quotas. When it
        /// is full, a new session gets 503; a new subscription, and a connect with server-side subscriptions, get
        /// error 111. The daemon lowers this value to fit limited memory: see [memory](memory.md).
        /// Worst case: this. It is enough for a million clients with one subscription each, at 740 bytes a client.
        "session_budget" => pub session_budget_bytes: u64 = size("768MiB", "1MiB", "16TiB");
        /// Longest request line and header fields of a handshake. A longer head gets 431.
        /// Worst case: this for each handshake under way.
        "request_head_size_limit" => pub request_head_bytes_max: u32 = size("8KiB", "1KiB", "64KiB");
        /// Most header fields of a request. A request with more gets 431. Proxies and the cookies of a page add
        /// fields.
        "request_head_fields_limit" => pub request_head_fields_max: u32 = integer(64, 16, 128);
        /// Keys and conditions for tokens.
        "token" => pub token: TokenConfig = section();
        /// Separate keys and conditions for subscription tokens.
        "subscription_token" => pub subscription_token: SubscriptionTokenConfig = section();
        /// Connection events on which the application's backend decides.
        "proxy" => pub proxy: ClientProxyConfig = section();
    }

    /// The WebSocket transport.
    pub(crate) struct WebsocketConfig {
        /// Turns the transport off: `/connection/websocket` answers 404.
        "disabled" => pub disabled: bool = boolean(false);
        /// Largest message of a client, all its fragments together. A larger message closes the connection with 1009.
        /// Worst case: this for each connection that is in the middle of a message.
        "message_size_limit" => pub message_size_limit_bytes: u32 = size("64KiB", "125B", "64MiB");
        /// Compresses messages for clients that offer it (permessage-deflate, RFC 7692).
        /// Worst case: 3 MB for each shard. A connection costs nothing extra, unless a context takeover is on.
        "compression" => pub compression: bool = boolean(false);
        /// Shortest message that is compressed. Messages that compression would not shorten also go out uncompressed.
        "compression_min_size" => pub compression_min_size_bytes: u32 = size("0B", "0B", "64MiB");
        /// Effort of compression, from 1 (fast) to 9 (small).
        "compression_level" => pub compression_level: u8 = integer(1, 1, 9);
        /// Largest message of a client after decompression. A larger message closes the connection with 1009. 0 takes
        /// the value of `websocket.message_size_limit`.
        /// Worst case: twice this for each shard, because a shard decompresses one message at a time.
        "decompressed_message_size_limit" => pub decompressed_message_size_limit_bytes: u32
            = size("0B", "0B", "64MiB");
        /// Lets a compressed message refer to earlier messages to the same client. Messages become smaller, but the
        /// daemon must compress a broadcast once for each client.
        /// Worst case: connections × 2 to the power of `websocket.compression_server_max_window_bits`: 32 KiB each.
        "compression_server_context_takeover" => pub compression_server_context_takeover: bool = boolean(false);
        /// Lets a client's compressed message refer to its earlier messages.
        /// Worst case: connections × 2 to the power of `websocket.compression_client_max_window_bits`: 32 KiB each.
        "compression_client_context_takeover" => pub compression_client_context_takeover: bool = boolean(false);
        /// Window size of compressed messages to clients, as a power of two in bytes: 15 means 32 KiB. A client may
        /// ask for less.
        "compression_server_max_window_bits" => pub compression_server_max_window_bits: u8 = integer(15, 8, 15);
        /// Window size of clients' compressed messages, as a power of two in bytes: 15 means 32 KiB. If this is less
        /// than 15, a client that does not offer `client_max_window_bits` gets no context takeover.
        "compression_client_max_window_bits" => pub compression_client_max_window_bits: u8 = integer(15, 8, 15);
    }

    /// What nodes share; CPU cores, rings, buffers and memory. The defaults fit 100,000 connections; measure before you
    /// change them.
    pub(crate) struct EngineConfig {
        /// What nodes share. With `memory`, this node is alone: it keeps histories, positions and presence in its own
        /// memory. With `redis`, it acts as one with all nodes that use the same Redis: see `engine.redis.address`.
        "type" => pub engine_type: EngineType = choice("memory", EngineType::NAMES);
        /// CPUs to run on, with one shard each. Excludes `engine.shards`. If unset, `engine.shards` decides.
        "cores" => pub(super) cpu_list: Option<CpuList>
            = parsed("CPU list", "CPU numbers and ranges, like \"0-3,6\"", "").optional().flag("--cores");
        /// Number of shards, each pinned to its own core. 0 runs one shard on every core that this process may use.
        /// Excludes `engine.cores`.
        "shards" => pub(super) shards: u32 = integer(0, 0, 1024).flag("--shards");
        /// Number of io_uring rings for each shard. The descriptor table of a ring holds at most RLIMIT_NOFILE
        /// entries, so a low limit needs several rings. 0 takes as many as `client.connection_limit` and
        /// RLIMIT_NOFILE require.
        /// Worst case: for each ring its queues (`engine.submission_entries`) and 8 bytes for each entry of its
        /// table.
        "lanes" => pub lanes: u32 = integer(0, 0, 256);
        /// Most receive buffers of each ring. A connection uses one only while it has bytes to read, for one turn.
        /// The rings of a shard begin with this many together, and a ring adds one whenever it runs out.
        /// Worst case: this × `engine.receive_buffer_size` for each ring: 2 MiB.
        "receive_buffers" => pub receive_buffers: u32
            = integer(1024, 16, 32_768).also("a power of two", |n: &u32| n.is_power_of_two());
        /// Size of one receive buffer. A longer message arrives in several buffers.
        /// Worst case: see `engine.receive_buffers`.
        "receive_buffer_size" => pub receive_buffer_bytes: u32 = size("2KiB", "512B", "64KiB");
        /// Entries in a ring's submission queue: how many operations go to the kernel at once.
        /// Worst case: 196 bytes an entry, of which 128 are for the eight completions that may answer it: 0.2 MB a
        /// ring.
        "submission_entries" => pub submission_entries: u32
            = integer(1024, 64, 32_768).also("a power of two", |n: &u32| n.is_power_of_two());
        /// Most messages that may wait for one core: this many from the other cores, which share it equally; this
        /// many from the core's own clients; and this many from the server API. When a mailbox is full, its senders
        /// wait; no message is lost.
        /// Worst case: see `engine.mailbox_bytes_max`; plus twice this × shards entries of 96 bytes, allocated at the
        /// start (1.5 MiB on two cores).
        "mailbox_messages_max" => pub mailbox_messages_max: u32 = integer(4096, 64, 1_048_576);
        /// As `engine.mailbox_messages_max`, in bytes. A payload that several messages share counts for each.
        /// Worst case: three times this × shards, for other cores, own clients and the server API. Waiting messages
        /// count against `client.command_budget`.
        "mailbox_bytes_max" => pub mailbox_bytes_max: u64 = size("8MiB", "64KiB", "1GiB");
        /// Most connections that the kernel keeps ready for accept, and most half-open handshakes, for each shard. 0
        /// takes `net.core.somaxconn`, which also caps any other value. Values above 4096 are lowered to a quarter of
        /// a ring's table.
        /// Worst case: this × shards connections of 4.4 KB kernel memory: 36 MB on two cores with the kernel's
        /// default of 4096.
        "listen_backlog" => pub listen_backlog: u32 = integer(0, 0, 1_048_576);
        /// Most resident memory of the daemon. At the start all [budgets](memory.md) together are lowered to fit. If
        /// the daemon still reaches the limit, new connections get 503 and every budget is halved. 0 means no limit.
        /// In a control group with a memory limit, nine tenths of that limit hold in the same way; page cache does
        /// not count.
        "memory_limit" => pub memory_limit_bytes: u64 = size("0B", "0B", "16TiB");
        /// How long one turn of a shard or of the control thread may take before it counts as stalled. Then
        /// `/health/ready` answers 503, and the service manager's watchdog gets no signal. A shard turns at least
        /// four times a second. Time in which the whole process did not run does not count.
        "stall_timeout" => pub stall_timeout_ms: u64 = duration("5s", "1s", "10m");
        /// The Redis or Valkey through which nodes act as one.
        "redis" => pub redis: RedisConfig = section();
    }

    /// The personal channel of each user: `#` and the user's id. With `allow_user_limited_channels`, no other user
    /// may subscribe to it. Anonymous clients have none.
    pub(crate) struct PersonalChannelConfig {
        /// Subscribes every connection of a user to the user's personal channel, on the server's side.
        "enabled" => pub enabled: bool = boolean(false);
        /// Namespace of personal channels, which must be configured. If empty, `channel.without_namespace` applies.
        "personal_channel_namespace" => pub namespace: String = text("");
        /// Allows a user one connection at a time: a new one closes the previous one with 3504. Same as
        /// `client.user_connection_limit` 1 with `client.user_connection_policy` `disconnect_oldest`.
        "single_connection" => pub is_single_connection: bool = boolean(false);
    }

    /// The graceful stop, which SIGTERM, SIGINT or `POST /api/drain` begins. A second signal shortens it.
    pub(crate) struct ShutdownConfig {
        /// How long the daemon still accepts and serves clients while `/health/ready` already fails, so that a load
        /// balancer stops sending new clients. A second signal ends the delay.
        "delay" => pub delay_ms: u64 = duration("0s", "0s", "10m");
        /// How long the rest of the stop may take, from the first client that is told to leave (codes 3001 and 1001)
        /// to the last one that has left. The daemon then cuts the remaining clients. The service manager must allow
        /// more than `shutdown.delay` and this together before it kills the process (`TimeoutStopSec`).
        "timeout" => pub timeout_ms: u64 = duration("10s", "0s", "24h");
        /// How many clients a second are told to leave, over all cores, so that the servers that take them are not
        /// overloaded. 0 means no limit. The rate rises if clients could not all be told in time: within
        /// `shutdown.timeout` minus `client.close_timeout`, or minus a quarter of `shutdown.timeout` if that is
        /// shorter.
        "clients_per_second" => pub clients_per_second: u32 = integer(10_000, 0, 10_000_000);
        /// Shortest time over which the daemon spreads the departure of clients, however few there are. Must not be
        /// longer than `shutdown.timeout`.
        "drain_time" => pub drain_ms: u64 = duration("0s", "0s", "24h");
    }

    /// The log that the daemon writes to standard error.
    pub(crate) struct LogConfig {
        /// The least important level that is logged. Most mistakes of peers are logged at `debug`. At the other
        /// levels `log.repeat_limit` limits the lines that peers can cause, so that no peer can fill a disk.
        "level" => pub level: LogLevel = choice("info", LogLevel::NAMES);
        /// `text` for people, or `json` for machines: one object a line.
        "format" => pub format: LogFormat = choice("text", LogFormat::NAMES);
        /// Most lines of one kind (the same event for the same reason) in `log.repeat_interval`. One further line
        /// then says how many were left out. So no peer can fill a disk. 0 means no limit. Lines of level `debug` and
        /// `trace` are not limited, so peers can cause any number of them.
        /// Worst case: about a hundred kinds × this × 16 KiB in each interval.
        "repeat_limit" => pub repeat_limit: u32 = integer(10, 0, 1_000_000);
        /// The interval in which `log.repeat_limit` counts lines.
        "repeat_interval" => pub repeat_interval_ms: u64 = duration("10s", "1s", "1h");
    }
}

/// The connection that is closed when a user exceeds the connection limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum UserConnectionPolicy {
    /// The new connection.
    RejectNewest,
    /// The oldest connection.
    DisconnectOldest,
}

impl UserConnectionPolicy {
    const NAMES: &[(&str, Self)] =
        &[("reject_newest", Self::RejectNewest), ("disconnect_oldest", Self::DisconnectOldest)];
}

/// The least important level that is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LogLevel {
    /// Everything, including each message.
    Trace,
    /// Also events of single connections.
    Debug,
    /// Events that an operator wants to see in normal operation.
    Info,
    /// Conditions that may become a problem.
    Warn,
    /// Failures.
    Error,
    /// Nothing.
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

/// The format of a logged event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LogFormat {
    /// Text for people.
    Text,
    /// A JSON object a line.
    Json,
}

impl LogFormat {
    const NAMES: &[(&str, Self)] = &[("text", Self::Text), ("json", Self::Json)];
}
