//! Room: the memory of all calls in progress, within the budget `api`.
//!
//! In:  calls that need memory: bodies, their parsed form, answers.
//! Out: a reservation, released on drop; or an error if the budget is full.
//!
//! The budget always has room up to its assured amount. Above that, it has room while the sum of all budgets of all
//! shards is below their limit.

use std::sync::{Arc, atomic::Ordering};

use super::error::ApiError;
use crate::{
    config::HttpApiConfig,
    memory::{Budget, BudgetLimits},
    session::message::Shared,
};

/// The maximum number of copies of a body at a time: as received, as its commands, as the fields of one command, and as
/// sent to shards.
const BODY_COPIES: u64 = 4;

/// The fraction of the budget that one body, or one answer, may use at most, so that a few concurrent calls fit.
const BODY_PART: u64 = 2 * BODY_COPIES;
const ANSWER_PART: u64 = 4;

/// The memory of all calls.
#[derive(Debug)]
pub(super) struct Room {
    shared: Arc<Shared>,
    most: u64,
    assured: u64,
    total: u64,
    /// The longest body, in bytes.
    pub(super) body_bytes_max: usize,
    /// The longest answer, in bytes.
    pub(super) answer_bytes_max: usize,
}

/// A reservation of memory.
#[derive(Debug)]
pub(super) struct Hold {
    room: Arc<Room>,
    bytes: u64,
}

impl Room {
    pub(super) fn new(config: &HttpApiConfig, shared: Arc<Shared>) -> Self {
        let budgets = *shared.budgets();
        let most = budgets.most(Budget::Api);
        let within = |bytes: u64, part: u64| usize::try_from(bytes.min(most / part)).unwrap_or(usize::MAX);
        Self {
            most,
            assured: budgets.assured(Budget::Api),
            total: budgets.total(),
            body_bytes_max: within(config.request_body_bytes_max, BODY_PART),
            answer_bytes_max: within(config.response_body_bytes_max, ANSWER_PART),
            shared,
        }
    }

    /// Creates a reservation of zero bytes.
    pub(super) fn hold(self: &Arc<Self>) -> Hold {
        Hold { room: Arc::clone(self), bytes: 0 }
    }

    /// The error for a call without room.
    pub(super) fn full(&self) -> ApiError {
        self.shared.api_memory().refused.fetch_add(1, Ordering::Relaxed);
        ApiError::full("the memory for calls is full (http_api.memory_budget); try again later")
    }

    /// The error for a call whose answer is too long.
    pub(super) fn too_long(&self) -> ApiError {
        ApiError::limit(format_args!(
            "the answer is longer than {} bytes (http_api.response_body_limit); ask for less",
            self.answer_bytes_max
        ))
    }

    #[cfg(test)]
    pub(super) fn used(&self) -> u64 {
        self.shared.api_memory().bytes.load(Ordering::Relaxed)
    }

    fn has_room(&self, used: u64) -> bool {
        if used > self.most {
            return false;
        }
        used <= self.assured
            || self.total == BudgetLimits::NONE
            || used + self.shared.memory_of_shards() <= self.total
    }
}

impl Hold {
    /// Reserves this many more bytes.
    ///
    /// # Errors
    /// There is no room for them. The reservation is unchanged.
    pub(super) fn grow(&mut self, bytes: usize) -> Result<(), ApiError> {
        let bytes = bytes as u64;
        let used = &self.room.shared.api_memory().bytes;
        let before = used.fetch_add(bytes, Ordering::Relaxed);
        if !self.room.has_room(before + bytes) {
            used.fetch_sub(bytes, Ordering::Relaxed);
            return Err(self.room.full());
        }
        self.bytes += bytes;
        Ok(())
    }

    /// Reserves memory for received bytes of a body and their copies.
    pub(super) fn grow_by_body(&mut self, bytes: usize) -> Result<(), ApiError> {
        self.grow(bytes.saturating_mul(usize::try_from(BODY_COPIES).expect("a small number")))
    }

    /// Releases all but this many bytes.
    pub(super) fn shrink_to(&mut self, bytes: usize) {
        let given = self.bytes.saturating_sub(bytes as u64);
        self.bytes -= given;
        self.room.shared.api_memory().bytes.fetch_sub(given, Ordering::Relaxed);
    }

    pub(super) fn bytes(&self) -> usize {
        usize::try_from(self.bytes).expect("a sum of usize values")
    }

    pub(super) fn room(&self) -> &Arc<Room> {
        &self.room
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.shrink_to(0);
    }
}
