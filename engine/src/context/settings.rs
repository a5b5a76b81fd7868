//! Settings: what a shard needs of the configuration.
//!
//! In:  the checked configuration (`daemon`).
//! Out: limits, in the units of what they limit.

use holdfast_protocol::{
    http::HeadLimits,
    websocket::{
        DecoderConfig,
        deflate::{Preferences, WindowBits},
    },
};

use crate::{config::WebsocketConfig, memory::BudgetLimits};

/// What a shard needs of the configuration.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) handshake_ms: u64,
    pub(crate) ping_interval_ms: u64,
    pub(crate) pong_ms: u64,
    pub(crate) close_ms: u64,
    /// Connections of the whole daemon.
    pub(crate) connections_max: u64,
    /// Above this the receive of a connection that is only answered is paused.
    pub(crate) paused_queue_bytes: usize,
    /// Above this a connection that others send to is closed.
    pub(crate) queue_bytes_max: usize,
    /// The same for the number of pieces.
    pub(crate) queue_pieces_max: usize,
    /// The longest reply to one command that reads: history, recovery, presence.
    pub(crate) reply_bytes_max: usize,
    /// Of commands of one client that has to wait with them.
    pub(crate) parked_bytes_max: usize,
    /// Receive buffers of each lane.
    pub(crate) lane_buffers: usize,
    /// What one connection may use of a turn at a time.
    pub(crate) quantum_ns: u64,
    /// How much memory the whole daemon may keep, by kind.
    pub(crate) budgets: BudgetLimits,
    /// How long an idempotency key is remembered.
    pub(crate) idempotency_ms: u64,
    pub(crate) head: HeadLimits,
    pub(crate) decoder: DecoderConfig,
    /// `None` where messages are never compressed.
    pub(crate) deflate: Option<DeflateRules>,
}

/// What the configuration says of compression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DeflateRules {
    pub(crate) preferences: Preferences,
    pub(crate) level: u8,
    /// Shorter messages go out as they are.
    pub(crate) payload_bytes_min: usize,
    /// The longest message of a client, inflated.
    pub(crate) inflated_bytes_max: u64,
}

impl DeflateRules {
    /// `None` where compression is off.
    pub(crate) fn new(config: &WebsocketConfig) -> Option<Self> {
        let bits = |bits| WindowBits::new(bits).expect("invariant: the configuration is checked");
        let inflated_bytes_max = match config.decompressed_message_size_limit_bytes {
            0 => config.message_size_limit_bytes,
            limit => limit,
        };
        config.compression.then(|| Self {
            preferences: Preferences {
                server_context_takeover: config.compression_server_context_takeover,
                client_context_takeover: config.compression_client_context_takeover,
                server_max_window_bits: bits(config.compression_server_max_window_bits),
                client_max_window_bits: bits(config.compression_client_max_window_bits),
            },
            level: config.compression_level,
            payload_bytes_min: config.compression_min_size_bytes as usize,
            inflated_bytes_max: u64::from(inflated_bytes_max),
        })
    }
}
