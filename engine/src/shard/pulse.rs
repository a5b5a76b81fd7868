//! Pulse: a knock on every executor's door, once a second, from outside.
//!
//! In:  the wakers of the executors' housekeeping tasks.
//! Out: wakes.
//!
//! glommio 0.9 goes to sleep with tasks that could run when its time slice is over at the very moment at which it looks
//! for them; what would wake it again is a timer, unless that is what it has just taken up. Then the shard sleeps for
//! good. A wake from another thread ends any sleep, so the worst that is left of it is a second.

use std::{
    sync::{Arc, OnceLock, mpsc},
    task::{Context, Poll, Waker},
    thread,
    time::Duration,
};

/// How often executors are woken.
const EVERY: Duration = Duration::from_secs(1);

/// The way to one executor's housekeeping task.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pulse(Arc<OnceLock<Waker>>);

impl Pulse {
    /// A future that never ends, and does `work` with every beat.
    pub(super) async fn with_every_beat(&self, mut work: impl FnMut()) {
        std::future::poll_fn(|context: &mut Context<'_>| {
            // One clone for all time: glommio counts them in 15 bits.
            self.0.get_or_init(|| context.waker().clone());
            work();
            Poll::<()>::Pending
        })
        .await;
    }
}

/// Beats until it is dropped.
#[derive(Debug)]
pub(crate) struct Heart {
    _end: mpsc::Sender<()>,
}

impl Heart {
    /// Begins to wake executors.
    ///
    /// # Errors
    /// No thread can be started.
    pub(crate) fn start(pulses: Vec<Pulse>) -> std::io::Result<Self> {
        let (end, ends) = mpsc::channel();
        thread::Builder::new().name("pulse".to_owned()).spawn(move || {
            while ends.recv_timeout(EVERY) == Err(mpsc::RecvTimeoutError::Timeout) {
                pulses.iter().filter_map(|pulse| pulse.0.get()).for_each(Waker::wake_by_ref);
            }
        })?;
        Ok(Self { _end: end })
    }
}
