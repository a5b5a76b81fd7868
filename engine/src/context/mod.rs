//! Context: state that every part of a shard reads and updates in a turn.
//!
//! In:  the time, read at the start of a turn.
//! Out: the time, and how late it is (`lateness`); the cost of work (`cost`, `meter`); memory accounts; counters; limits;
//! the reason why the current command is refused.
//!
//! It knows no part of a shard: each part passes it to the parts that it calls.

pub(crate) mod cost;
pub(crate) mod lateness;
mod limiting;
pub(crate) mod meter;

use std::sync::Arc;

use holdfast_protocol::http::Refusal;
use rand::rngs::SmallRng;

use self::{lateness::Lateness, meter::Meter};
use crate::{
    ids::ShardId,
    limits::{Limits, Notice, Tables},
    memory::{Budget, Ledger},
    metrics::Counters,
    refusals::Why,
    time::Tick,
};

/// The delay that clients are asked for when there is no room.
pub(crate) const RETRY_AFTER_S: u32 = 5;

/// State shared by all parts of a shard.
pub(crate) struct Context {
    pub(crate) counters: Counters,
    pub(crate) random: SmallRng,
    /// The tick in which this turn began, on the clock that never pauses: for work and data kept for a time.
    pub(crate) uptime: Tick,
    /// The same on the clock that pauses while the shard does not read: for deadlines of clients.
    pub(crate) now: Tick,
    pub(crate) lateness: Lateness,
    /// The cost of this turn.
    pub(crate) meter: Meter,
    /// The memory of this shard, by kind.
    pub(crate) ledger: Ledger,
    /// The limits; `None` if nothing is limited.
    pub(crate) limits: Option<Box<Limits>>,
    /// Open connections and activity of addresses and users, as each shard knows them.
    pub(crate) limit_tables: Arc<Tables>,
    /// Notices about limited clients for other shards, and for this one.
    pub(crate) notices: Vec<(ShardId, Notice)>,
    /// The index of this shard, and the number of shards.
    pub(crate) shard: ShardId,
    pub(crate) shards: usize,
    /// True exactly when the daemon has begun to stop.
    pub(crate) is_stopping: bool,
    /// Why the current command is refused, or a connection ended.
    pub(crate) why: Option<Why>,
}

impl Context {
    pub(crate) fn new(
        ledger: Ledger,
        limits: Option<Box<Limits>>,
        limit_tables: Arc<Tables>,
        (shard, shards): (ShardId, usize),
        random: SmallRng,
    ) -> Self {
        Self {
            counters: Counters::new(),
            random,
            uptime: Tick(0),
            now: Tick(0),
            lateness: Lateness::default(),
            meter: Meter::new(),
            ledger,
            limits,
            limit_tables,
            notices: Vec::new(),
            shard,
            shards,
            is_stopping: false,
            why: None,
        }
    }

    /// True exactly when there is memory for one more session.
    pub(crate) fn check_room_for_session(&self) -> Result<(), Refusal> {
        if self.ledger.has_room(Budget::Sessions) {
            Ok(())
        } else {
            Err(Refusal::Unavailable { retry_after_s: RETRY_AFTER_S })
        }
    }

    /// The time of day, in seconds since 1970.
    pub(crate) fn wall_s(&self) -> u64 {
        self.lateness.wall_ms() / 1000
    }
}
