//! Settings: the part of the configuration that a shard needs.
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

/// The settings of a shard.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) handshake_ms: u64,
    pub(crate) ping_interval_ms: u64,
    pub(crate) pong_ms: u64,
    pub(crate) close_ms: u64,
    /// Connections of the whole daemon.
    pub(crate) connections_max: u64,
    /// Above this the receive of a connection that only gets answers is paused.
    pub(crate) paused_queue_bytes: usize,
    /// Above this a connection that gets pushes is closed.
    pub(crate) queue_bytes_max: usize,
    /// The same as a number of pieces.
    pub(crate) queue_pieces_max: usize,
    /// The longest reply to a command that reads: history, recovery, presence.
    pub(crate) reply_bytes_max: usize,
    /// The most bytes of one client's waiting commands.
    pub(crate) parked_bytes_max: usize,
    /// Receive buffers of each lane.
    pub(crate) lane_buffers: usize,
    /// The quantum of a connection in a turn.
    pub(crate) quantum_ns: u64,
    /// The memory budgets of the whole daemon, by kind.
    pub(crate) budgets: BudgetLimits,
    /// How long an idempotency key is remembered.
    pub(crate) idempotency_ms: u64,
    pub(crate) head: HeadLimits,
    pub(crate) decoder: DecoderConfig,
    /// `None` if messages are never compressed.
    pub(crate) deflate: Option<DeflateRules>,
}

/// The compression settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DeflateRules {
    pub(crate) preferences: Preferences,
    pub(crate) level: u8,
    /// Shorter messages are sent uncompressed.
    pub(crate) payload_bytes_min: usize,
    /// The limit of a client's message, inflated.
    pub(crate) inflated_bytes_max: u64,
}

impl DeflateRules {
    /// `None` if compression is off.
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
