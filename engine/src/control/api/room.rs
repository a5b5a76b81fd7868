//! Room: the memory of all calls that are under way, in the budget `api`.
//!
//! In:  calls that take bytes: bodies, what is read from them, answers.
//! Out: a hold on so many bytes, given back when it is dropped; or none, where the budget is full.
//!
//! The budget has room within what it is assured of; above that while all budgets of all shards are below their limit.

use std::sync::{Arc, atomic::Ordering};

use super::answer::ApiError;
use crate::{
    config::HttpApiConfig,
    memory::{Budget, BudgetLimits},
    mesh::Shared,
};

/// A body is kept up to so many times at once: as it came, as its commands, as one command's fields, as what shards get.
const BODY_COPIES: u64 = 4;

/// What one body may have of the budget, and one answer: so that a few calls fit beside each other.
const BODY_PART: u64 = 2 * BODY_COPIES;
const ANSWER_PART: u64 = 4;

/// The memory of calls.
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

/// Some of it.
#[derive(Debug)]
pub(super) struct Hold {
    room: Arc<Room>,
    bytes: u64,
}

impl Room {
    pub(super) fn new(config: &HttpApiConfig, shared: Arc<Shared>) -> Self {
        let budgets = shared.budgets;
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

    /// A hold on nothing yet.
    pub(super) fn hold(self: &Arc<Self>) -> Hold {
        Hold { room: Arc::clone(self), bytes: 0 }
    }

    /// The error of a call for which there is no room.
    pub(super) fn full(&self) -> ApiError {
        self.shared.api_memory.refused.fetch_add(1, Ordering::Relaxed);
        ApiError::full("http_api.memory_budget is full")
    }

    /// The error of a call whose answer would be too long.
    pub(super) fn too_long(&self) -> ApiError {
        ApiError::limit(format_args!(
            "the answer is longer than http_api.response_body_limit, {} bytes here: ask for less",
            self.answer_bytes_max
        ))
    }

    #[cfg(test)]
    pub(super) fn used(&self) -> u64 {
        self.shared.api_memory.bytes.load(Ordering::Relaxed)
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
    /// Holds on to so many bytes more.
    ///
    /// # Errors
    /// Where there is no room for them: nothing is held beside what was.
    pub(super) fn grow(&mut self, bytes: usize) -> Result<(), ApiError> {
        let bytes = bytes as u64;
        let used = &self.room.shared.api_memory.bytes;
        let before = used.fetch_add(bytes, Ordering::Relaxed);
        if !self.room.has_room(before + bytes) {
            used.fetch_sub(bytes, Ordering::Relaxed);
            return Err(self.room.full());
        }
        self.bytes += bytes;
        Ok(())
    }

    /// The same for bytes of a body that has come.
    pub(super) fn grow_by_body(&mut self, bytes: usize) -> Result<(), ApiError> {
        self.grow(bytes.saturating_mul(usize::try_from(BODY_COPIES).expect("a small number")))
    }

    /// Gives up all but so many bytes.
    pub(super) fn shrink_to(&mut self, bytes: usize) {
        let given = self.bytes.saturating_sub(bytes as u64);
        self.bytes -= given;
        self.room.shared.api_memory.bytes.fetch_sub(given, Ordering::Relaxed);
    }

    pub(super) fn bytes(&self) -> usize {
        usize::try_from(self.bytes).expect("it was a sum of these")
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
