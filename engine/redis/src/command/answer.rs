//! Answer: what becomes of a publication, told exactly once.
//!
//! In:  whoever is to be told.
//! Out: one call, whatever happens: also where the ask is dropped.

use std::fmt;

use super::{breaker::Down, failure::Failure};

/// A publication is with Redis.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Published {
    /// Its place in the history; 0 where the channel keeps none.
    pub offset: u64,
    /// The epoch of `offset`; empty where the channel keeps no history.
    pub epoch: String,
    /// True exactly when its idempotency key was known: this is what was answered then, and nothing was published.
    pub is_cached: bool,
    /// True exactly when its version is not newer than the channel's: nothing was published.
    pub is_suppressed: bool,
}

type Tell = Box<dyn FnOnce(Result<Published, Failure>) + Send>;

/// Tells what became of a publication. Dropped without a word, it says that the driver is gone.
pub struct Answer(Option<Tell>);

impl Answer {
    /// Calls `tell` once, on the driver's thread or the asker's. It must neither wait nor panic.
    pub fn new(tell: impl FnOnce(Result<Published, Failure>) + Send + 'static) -> Self {
        Self(Some(Box::new(tell)))
    }

    pub(super) fn give(mut self, result: Result<Published, Failure>) {
        self.tell(result);
    }

    fn tell(&mut self, result: Result<Published, Failure>) {
        if let Some(tell) = self.0.take() {
            tell(result);
        }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.tell(Err(Failure::Down(Down::Stopped)));
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[test]
    fn it_is_given_once_and_also_where_it_is_dropped() {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let answer = || {
            let heard = heard.clone();
            Answer::new(move |result| heard.lock().unwrap().push(result))
        };
        answer().give(Ok(Published::default()));
        drop(answer());
        assert_eq!(*heard.lock().unwrap(), [Ok(Published::default()), Err(Failure::Down(Down::Stopped))]);
    }
}
