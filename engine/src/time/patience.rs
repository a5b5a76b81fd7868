//! Patience: time limits of the control thread.
//!
//! In:  how long something may take.
//! Out: whether it has taken that long; or what it came to in time.
//!
//! Only time counts in which the thread could have noticed: where it was stopped, or late, what has come in the meantime is
//! looked at before anybody is blamed. After a stall a limit has a fresh look ahead of it, however little of it was left.

use std::{pin::pin, time::Duration};

use tokio::time::{Instant, sleep};

/// How often a limit looks at the time.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// More than this does not count for one look.
const COUNTED_MAX: Duration = Duration::from_millis(500);

/// So many looks in a row may be late. Then the limit holds all the same.
const LATE_LOOKS_MAX: u32 = 100;

/// It took too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooLong;

/// What is left of a limit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    left: Duration,
    looked: Instant,
    late_looks: u32,
}

impl Patience {
    pub(crate) fn of(limit: Duration) -> Self {
        Self { left: limit, looked: Instant::now(), late_looks: 0 }
    }

    /// To be asked at least as often as [`Patience::next_look`] says. True exactly when the limit is over, and the last look
    /// was not late.
    pub(crate) fn is_over(&mut self) -> bool {
        let now = Instant::now();
        let passed = now - std::mem::replace(&mut self.looked, now);
        self.late_looks = if passed > COUNTED_MAX { self.late_looks + 1 } else { 0 };
        self.left = self.left.saturating_sub(passed.min(COUNTED_MAX));
        self.left.is_zero() && (self.late_looks == 0 || self.late_looks > LATE_LOOKS_MAX)
    }

    /// How long it is to the next look.
    pub(crate) fn next_look(&self) -> Duration {
        // A moment where nothing is left: it was late, and there may be something to look at.
        self.left.clamp(Duration::from_millis(1), LOOK_EVERY)
    }
}

/// What `future` comes to within `limit`.
pub(crate) async fn timeout<F: Future>(limit: Duration, future: F) -> Result<F::Output, TooLong> {
    let mut future = pin!(future);
    let mut patience = Patience::of(limit);
    loop {
        tokio::select! {
            biased;
            output = &mut future => return Ok(output),
            () = sleep(patience.next_look()) => {
                if patience.is_over() {
                    return Err(TooLong);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::{TcpListener, TcpStream},
        sync::oneshot,
        time::advance,
    };

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_comes_in_time_is_had_and_what_does_not_takes_as_long_as_it_may() {
        let began = Instant::now();
        let soon = async {
            sleep(Duration::from_millis(9_900)).await;
            7
        };
        assert_eq!(timeout(Duration::from_secs(10), soon).await, Ok(7));
        assert_eq!(timeout(Duration::from_secs(10), std::future::pending::<()>()).await, Err(TooLong));
        let took = began.elapsed();
        assert!((19_900..20_200).contains(&took.as_millis()), "{took:?}");
    }

    #[tokio::test]
    async fn a_stall_longer_than_the_limit_ends_nothing_that_has_come_in_it() {
        const LIMIT: Duration = Duration::from_millis(300);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let mut far =
            TcpStream::connect(listener.local_addr().expect("it has one")).await.expect("it listens");
        let (near, _) = listener.accept().await.expect("somebody connects");
        // What comes has to pass another task, as with every HTTP client.
        let (came, comes) = oneshot::channel();
        let reading = tokio::spawn(async move {
            let mut near = near;
            drop(came.send(near.read_u8().await));
        });
        let stalled = tokio::spawn(async move {
            far.write_all(b"x").await.expect("it is open");
            thread::sleep(4 * LIMIT);
            far
        });
        assert!(matches!(timeout(LIMIT, comes).await, Ok(Ok(Ok(b'x')))));
        reading.await.expect("it does not panic");
        stalled.await.expect("it does not panic");
    }

    #[tokio::test(start_paused = true)]
    async fn of_a_stall_little_counts_and_a_limit_ends_however_late_all_looks_are() {
        let mut patience = Patience::of(Duration::from_secs(2));
        advance(Duration::from_secs(60)).await;
        assert!(!patience.is_over());
        for _ in 0..6 {
            assert!(!patience.is_over());
            advance(Duration::from_millis(250)).await;
        }
        assert!(patience.is_over());
        let mut patience = Patience::of(Duration::from_secs(2));
        let mut looks = 0;
        while !patience.is_over() {
            advance(Duration::from_secs(1)).await;
            looks += 1;
        }
        assert_eq!(looks, LATE_LOOKS_MAX + 1);
    }
}
