//! Options: which Redis, and how much may be asked of it.
//!
//! In:  what an operator configures.
//! Out: limits and times, with defaults.

use std::time::Duration;

use crate::receive::connection::{Address, Credentials, Tls};

/// Where Redis is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Servers {
    /// One server.
    One(Address),
    /// A primary that these sentinels know.
    Sentinel {
        /// At least one; three where a failover is to work.
        sentinels: Vec<Address>,
        /// How they call the primary.
        primary: String,
    },
    /// A Redis Cluster, found by any of these.
    Cluster(Vec<Address>),
}

/// By what presence ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PresenceExpiry {
    /// A sorted set beside the hash: every Redis, and Centrifugo's default.
    SortedSet,
    /// Fields that expire by themselves (HEXPIRE: Redis 7.4, Valkey 9): a fifth of the cost of a refresh.
    Field,
    /// `Field` where the server knows HEXPIRE, which is asked at each connect.
    Auto,
}

/// How presence is kept.
#[derive(Debug, Clone, Copy)]
pub struct PresenceOptions {
    /// It ends so long after it was last refreshed, in whole seconds. 60 s.
    pub ttl: Duration,
    /// By what. `Auto`.
    pub expiry: PresenceExpiry,
    /// True exactly when users are counted beside clients, as Centrifugo's option for fast statistics does. False.
    pub are_users_counted: bool,
}

/// How one deployment of Redis is used.
#[derive(Debug, Clone)]
pub struct CommandOptions {
    /// Where it is.
    pub servers: Servers,
    /// None: no TLS. Its name is the one that all certificates of the deployment are for.
    pub tls: Option<Tls>,
    /// None: the server lets in everybody.
    pub credentials: Option<Credentials>,
    /// The same for sentinels.
    pub sentinel_credentials: Option<Credentials>,
    /// The number of the database; pub/sub is the same in all of them. None: 0, and the only one of a cluster.
    pub database: Option<u8>,
    /// For connecting, and for each command of connecting. 1 s.
    pub connect_within: Duration,
    /// A command is answered within this time, or [`Late`](super::Failure::Late). 1 s.
    pub answer_within: Duration,
    /// A publication is sent within this time, or [`Expired`](super::Failure::Expired). 1 s.
    pub send_within: Duration,
    /// Late replies in a row after which the breaker opens. 3.
    pub timeouts_max: u32,
    /// How often a primary is asked whether it is one, and to answer at all. 5 s.
    pub check_every: Duration,
    /// Waits between connections: from the first to the second, doubling, with jitter. 50 ms to 5 s.
    pub backoff: (Duration, Duration),
    /// Commands that wait for the connection. 16,384.
    pub commands_max: usize,
    /// Publications that wait. 16,384.
    pub asks_max: usize,
    /// Bytes of publications that wait or are under way, with what is around them. 64 MiB.
    pub asks_bytes_max: usize,
    /// Publications that are under way. 1,024.
    pub under_way_max: usize,
    /// The longest publication, in bytes. 16 MiB.
    pub payload_bytes_max: usize,
    /// Publications of one script call: what holds Redis up for less than a millisecond. 64.
    pub batch_max: usize,
    /// Bytes of one call, unless a single publication has more. 1 MiB.
    pub batch_bytes_max: usize,
    /// While others are under way, publications gather for so long. 1 ms.
    pub gather: Duration,
    /// How long an idempotency key is remembered, in whole seconds. 5 min.
    pub idempotency: Duration,
    /// Replicas that have to have a publication that is kept before it is answered. 0.
    pub wait_replicas: u32,
    /// They have to have it within this time, or it is [`Unreplicated`](super::Failure::Unreplicated). 100 ms.
    pub wait_replicas_within: Duration,
    /// How presence is kept.
    pub presence: PresenceOptions,
}

impl CommandOptions {
    /// To that Redis; everything else as it is documented.
    pub fn new(servers: Servers) -> Self {
        Self {
            servers,
            tls: None,
            credentials: None,
            sentinel_credentials: None,
            database: None,
            connect_within: Duration::from_secs(1),
            answer_within: Duration::from_secs(1),
            send_within: Duration::from_secs(1),
            timeouts_max: 3,
            check_every: Duration::from_secs(5),
            backoff: (Duration::from_millis(50), Duration::from_secs(5)),
            commands_max: 16_384,
            asks_max: 16_384,
            asks_bytes_max: 64 << 20,
            under_way_max: 1_024,
            payload_bytes_max: 16 << 20,
            batch_max: 64,
            batch_bytes_max: 1 << 20,
            gather: Duration::from_millis(1),
            idempotency: Duration::from_secs(300),
            wait_replicas: 0,
            wait_replicas_within: Duration::from_millis(100),
            presence: PresenceOptions {
                ttl: Duration::from_secs(60),
                expiry: PresenceExpiry::Auto,
                are_users_counted: false,
            },
        }
    }
}
