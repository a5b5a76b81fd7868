//! Context: what every part of a shard reads and notes in a turn.
//!
//! In:  the configuration; the time, which is read where a turn begins.
//! Out: the time, and how late it is (`lateness`); what work costs (`cost`, `meter`); what memory it takes; counters; limits;
//! why a command in hand is refused.
//!
//! It knows no part of a shard: they pass it down to those whom they call.

pub(crate) mod cost;
pub(crate) mod lateness;
mod limits;
pub(crate) mod meter;
mod settings;

use std::sync::Arc;

use holdfast_protocol::http::Refusal;
use rand::rngs::SmallRng;

pub(crate) use self::settings::{DeflateRules, Settings};
use self::{lateness::Lateness, meter::Meter};
use crate::{
    limits::{Limits, Notice, Tables},
    memory::{Budget, Ledger},
    metrics::Counters,
    refusals::Why,
    time::Tick,
};

/// What we ask of clients that come while there is no room.
pub(crate) const RETRY_AFTER_S: u32 = 5;

/// What all parts of a shard have in common.
pub(crate) struct Context {
    pub(crate) settings: Settings,
    pub(crate) counters: Counters,
    pub(crate) random: SmallRng,
    /// The tick in which this turn began, on the clock that never stands still: for what is kept or done for a time.
    pub(crate) uptime: Tick,
    /// The same on the clock that stands still while nobody reads: for what is awaited of clients.
    pub(crate) now: Tick,
    pub(crate) lateness: Lateness,
    /// What this turn has cost.
    pub(crate) meter: Meter,
    /// What this shard keeps, by kind.
    pub(crate) ledger: Ledger,
    /// Who is limited; `None` where nobody is.
    pub(crate) limits: Option<Box<Limits>>,
    /// What addresses and users have open and do, as each shard knows it.
    pub(crate) limit_tables: Arc<Tables>,
    /// What other shards, and this one, are to be told of those who are limited.
    pub(crate) notices: Vec<(usize, Notice)>,
    /// This shard, of so many.
    pub(crate) shard: usize,
    pub(crate) shards: usize,
    /// True exactly when the daemon has begun to leave.
    pub(crate) is_stopping: bool,
    /// Why a command in hand is refused, or a connection ended.
    pub(crate) why: Option<Why>,
}

impl Context {
    pub(crate) fn new(
        settings: Settings,
        ledger: Ledger,
        limits: Option<Box<Limits>>,
        limit_tables: Arc<Tables>,
        (shard, shards): (usize, usize),
        random: SmallRng,
    ) -> Self {
        Self {
            settings,
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

    /// Whether there is memory for one more session.
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
