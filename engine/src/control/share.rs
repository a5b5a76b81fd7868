//! Share: limits how long a call occupies the control thread at a time.
//!
//! In:  work whose duration depends on the request.
//! Out: the same work in slices, with other work in between; or on another thread, if it cannot be sliced.

use std::time::{Duration, Instant};

use holdfast_protocol::client::ErrorCode;
use tokio::{
    sync::Semaphore,
    task::{spawn_blocking, yield_now},
};

use crate::supervise;

/// The longest slice, not counting its last step.
const SLICE_MAX: Duration = Duration::from_millis(1);

/// Work of up to this many items or kilobytes runs on this thread: it takes less than a millisecond.
pub(super) const SMALL: usize = 256;

/// Calls that run on a thread of their own at a time. More would take too much CPU from the shards.
const APART_MAX: usize = 2;

/// The work of one call, in slices.
#[derive(Debug)]
pub(super) struct Slices(Instant);

impl Slices {
    pub(super) fn new() -> Self {
        Self(Instant::now())
    }

    /// Yields if this call has used up its slice.
    pub(super) async fn step(&mut self) {
        if self.0.elapsed() >= SLICE_MAX {
            yield_now().await;
            self.0 = Instant::now();
        }
    }
}

/// The threads for work that cannot be sliced.
#[derive(Debug)]
pub(super) struct Apart(Semaphore);

impl Apart {
    pub(super) fn new() -> Self {
        Self(Semaphore::new(APART_MAX))
    }

    /// Runs small work on this thread, and other work on another thread.
    ///
    /// # Errors
    /// Error 100 if the work panics.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        size: usize,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ErrorCode> {
        if size <= SMALL {
            return Ok(work());
        }
        let _place = self.0.acquire().await.map_err(|_| ErrorCode::INTERNAL)?;
        spawn_blocking(|| supervise::request_work(work)).await.map_err(|error| {
            tracing::error!(%error, "a call of the server API panicked and got error 100: this is a bug, please report it with this line");
            ErrorCode::INTERNAL
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_large_runs_on_another_thread_and_its_panic_is_an_error() {
        let apart = Apart::new();
        let own = std::thread::current().id();
        let there = |size| apart.run(size, || std::thread::current().id());
        assert_eq!(there(SMALL).await, Ok(own));
        assert_ne!(there(SMALL + 1).await.unwrap(), own);
        let failed = apart.run(SMALL + 1, || panic!("as a test wants it")).await;
        assert_eq!(failed, Err::<(), _>(ErrorCode::INTERNAL));
    }

    #[tokio::test]
    async fn long_work_lets_others_go_on() {
        let other = tokio::spawn(async {});
        let mut slices = Slices::new();
        while !other.is_finished() {
            slices.step().await;
        }
    }
}
