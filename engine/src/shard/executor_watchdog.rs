//! Executor watchdog: wakes every executor once a second from another thread, and checks all parts (`supervise`).
//!
//! In:  the wakers of the executors' housekeeping tasks; the check.
//! Out: wakes.
//!
//! glommio 0.9 goes to sleep with runnable tasks if its time slice ends at the very moment it looks for them; only a timer
//! would wake it, unless that timer is what it has just handled. Then the shard sleeps forever. A wake from another thread
//! ends any sleep, so such a sleep lasts at most a second.

use std::{
    sync::{Arc, OnceLock, mpsc},
    task::{Context, Poll, Waker},
    thread,
    time::{Duration, Instant},
};

use crate::supervise::{Part, Sentinel, strike};

/// How often executors are woken.
const EVERY: Duration = Duration::from_secs(1);

/// The waker of one executor's housekeeping task.
#[derive(Clone, Debug, Default)]
pub(crate) struct WakeHandle(Arc<OnceLock<Waker>>);

impl WakeHandle {
    /// A future that never ends and does `work` on every beat.
    pub(super) async fn with_every_beat(&self, mut work: impl FnMut()) {
        std::future::poll_fn(|context: &mut Context<'_>| {
            // One clone only: glommio counts them in 15 bits.
            self.0.get_or_init(|| context.waker().clone());
            work();
            Poll::<()>::Pending
        })
        .await;
    }
}

/// Beats until it is dropped.
#[derive(Debug)]
pub(crate) struct Watchdog {
    _end: mpsc::Sender<()>,
}

impl Watchdog {
    /// Starts to wake executors, and to call `look`, which returns the time until its next call.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub(crate) fn start(
        pulses: Vec<WakeHandle>,
        look: impl FnMut() -> Duration + Send + 'static,
    ) -> std::io::Result<Self> {
        Self::beating(pulses, EVERY, look)
    }

    fn beating(
        pulses: Vec<WakeHandle>,
        every: Duration,
        mut look: impl FnMut() -> Duration + Send + 'static,
    ) -> std::io::Result<Self> {
        let (end, ends) = mpsc::channel();
        thread::Builder::new().name(Part::PULSE.to_string()).spawn(move || {
            let sentinel = Sentinel::on_duty();
            let mut woken = Instant::now();
            while ends.recv_timeout(look()) == Err(mpsc::RecvTimeoutError::Timeout) {
                if strike(Part::PULSE).is_err() {
                    return;
                }
                if woken.elapsed() >= every {
                    woken = Instant::now();
                    pulses.iter().filter_map(|pulse| pulse.0.get()).for_each(Waker::wake_by_ref);
                }
            }
            sentinel.stand_down();
        })?;
        Ok(Self { _end: end })
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicU64, Ordering},
        task::Wake,
        time::Instant,
    };

    use glommio::{Latency, LocalExecutorBuilder, Placement, Shares};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    const BEAT: Duration = Duration::from_millis(1);

    /// So short that it sometimes ends before the first task has run; long enough that this is rare.
    const SLICE: Duration = Duration::from_micros(60);

    /// How long an always runnable task stands still only if its executor sleeps.
    const STILL: Duration = Duration::from_millis(300);

    #[derive(Default)]
    struct Count(AtomicU64);

    impl Count {
        fn get(&self) -> u64 {
            self.0.load(Ordering::Relaxed)
        }

        fn add_one(&self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }

        fn wait_for(&self, count: u64) {
            let deadline = Instant::now() + PATIENCE;
            while self.get() < count {
                assert!(Instant::now() < deadline, "no beat wakes it");
                thread::sleep(BEAT);
            }
        }
    }

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.add_one();
        }
    }

    #[test]
    fn every_beat_wakes_all_who_are_known_and_none_comes_after_the_end() {
        let pulses = [WakeHandle::default(), WakeHandle::default(), WakeHandle::default()];
        let counts = [(); 2].map(|()| Arc::new(Count::default()));
        for (pulse, count) in pulses.iter().zip(&counts) {
            let waker = Waker::from(Arc::clone(count));
            let mut work = Box::pin(pulse.with_every_beat(|| {}));
            assert!(work.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        }
        let heart = Watchdog::beating(pulses.to_vec(), BEAT, || BEAT).expect("a thread can be started");
        counts.iter().for_each(|count| count.wait_for(3));
        drop(heart);
        // A beat may be in progress.
        thread::sleep(10 * BEAT);
        let before = counts[0].get();
        thread::sleep(20 * BEAT);
        assert_eq!(counts[0].get(), before);
    }

    #[test]
    fn an_executor_that_has_gone_to_sleep_with_a_task_that_could_run_is_woken_by_the_next_beat() {
        let (pulse, turns) = (WakeHandle::default(), Arc::new(Count::default()));
        let (beats, counted) = (pulse.clone(), Arc::clone(&turns));
        let (end, ends) = mpsc::channel::<()>();
        let executor = LocalExecutorBuilder::new(Placement::Unbound)
            .io_memory(64 * 1024)
            .spawn(move || async move {
                let keeper = glommio::spawn_local(async move { beats.with_every_beat(|| {}).await });
                // The handle is set after its first turn.
                glommio::executor().yield_now().await;
                let latency = Latency::Matters(SLICE);
                let queue = glommio::executor().create_task_queue(Shares::Static(1), latency, "turns");
                let turning = async move {
                    while ends.try_recv() == Err(mpsc::TryRecvError::Empty) {
                        counted.add_one();
                        glommio::executor().yield_now().await;
                    }
                };
                glommio::spawn_local_into(turning, queue).expect("the queue is there").await;
                keeper.cancel().await;
            })
            .expect("a thread can be started");

        // Usually within a second. If glommio does not have the bug, there is nothing to wake.
        let deadline = Instant::now() + PATIENCE;
        let stands_still = || {
            let before = turns.get();
            thread::sleep(STILL);
            turns.get() == before
        };
        while !stands_still() && Instant::now() < deadline {}
        println!("still after {} turns", turns.get());
        let _heart = Watchdog::beating(vec![pulse], BEAT, || BEAT).expect("a thread can be started");
        turns.wait_for(turns.get() + 100);
        drop(end);
        executor.join().expect("it ends");
    }
}
