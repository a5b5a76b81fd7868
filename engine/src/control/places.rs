//! Places: limits the number of connections to the control port, and their idle time.
//!
//! In:  new connections; the activity of each.
//! Out: a place for each new connection, perhaps taken from an idle one, or none; the deadline of each connection.
//!
//! ```text
//! came ─> Head ── head whole ──> Request ── answered ──> Quiet ── a byte ──> Head
//! ```
//!
//! If all places are taken, the next connection gets the place of a connection without a request in progress: first of
//! one that never sent a request, then of the one that has been idle longest. So idle connections lock nobody out.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};

use super::counts::{Closed, Counts};

/// Timeout for a request's head, counted from the accept or from the head's first byte.
pub(super) const HEAD_MAX: Duration = Duration::from_secs(10);

/// Idle timeout. It is longer than the idle timeout of most clients, so that they close first and no request arrives on
/// a closing connection.
pub(super) const IDLE_MAX: Duration = Duration::from_secs(120);

/// All places.
#[derive(Debug)]
pub(super) struct Places {
    max: usize,
    taken: Vec<Weak<Place>>,
    counts: Arc<Counts>,
}

/// The place of one connection; released on drop.
#[derive(Debug)]
pub(super) struct Place {
    doing: Mutex<Doing>,
    leave: Notify,
    pub(super) counts: Arc<Counts>,
}

#[derive(Clone, Copy, Debug)]
struct Doing {
    step: Step,
    since: Instant,
    has_asked: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Head,
    Request,
    Quiet,
}

impl Places {
    pub(super) fn new(max: usize, counts: Arc<Counts>) -> Self {
        Self { max, taken: Vec::new(), counts }
    }

    /// Takes a free place, or frees one. `None` if all connections have a request in progress.
    pub(super) fn take(&mut self) -> Option<Arc<Place>> {
        if self.taken.len() >= self.max {
            self.taken.retain(|place| place.strong_count() > 0);
        }
        if self.taken.len() >= self.max {
            self.evict()?;
        }
        let place = Arc::new(Place::new(Arc::clone(&self.counts)));
        self.taken.push(Arc::downgrade(&place));
        Some(place)
    }

    /// Evicts a connection without a request in progress: first one that never sent a request, then the longest idle.
    fn evict(&mut self) -> Option<()> {
        let waiting = self.taken.iter().enumerate().filter_map(|(at, place)| {
            let doing = *place.upgrade()?.doing();
            (doing.step != Step::Request).then_some(((doing.has_asked, doing.since), at))
        });
        let (_, at) = waiting.min()?;
        if let Some(place) = self.taken.swap_remove(at).upgrade() {
            place.leave.notify_one();
            self.counts.closed(Closed::Evicted);
        }
        Some(())
    }
}

impl Place {
    fn new(counts: Arc<Counts>) -> Self {
        counts.opened();
        let doing = Doing { step: Step::Head, since: Instant::now(), has_asked: false };
        Self { doing: Mutex::new(doing), leave: Notify::new(), counts }
    }

    /// Records that bytes have arrived.
    pub(super) fn heard(&self) {
        if self.doing().step == Step::Quiet {
            self.begin(Step::Head);
        }
    }

    /// Records that a head is complete.
    pub(super) fn asked(&self) {
        self.begin(Step::Request);
        self.doing().has_asked = true;
    }

    /// Records that an answer is ready to be sent.
    pub(super) fn answered(&self) {
        self.begin(Step::Quiet);
    }

    /// The deadline of an inactive connection, and the reason for closing it then.
    pub(super) fn due(&self) -> Option<(Instant, Closed)> {
        let Doing { step, since, .. } = *self.doing();
        match step {
            Step::Head => Some((since + HEAD_MAX, Closed::Head)),
            Step::Quiet => Some((since + IDLE_MAX, Closed::Idle)),
            Step::Request => None,
        }
    }

    /// Waits until another connection needs the place.
    pub(super) async fn evicted(&self) {
        self.leave.notified().await;
    }

    fn begin(&self, step: Step) {
        let mut doing = self.doing();
        doing.step = step;
        doing.since = Instant::now();
    }

    fn doing(&self) -> MutexGuard<'_, Doing> {
        self.doing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.counts.ended();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(max: usize) -> Places {
        Places::new(max, Arc::default())
    }

    async fn is_evicted(place: &Place) -> bool {
        tokio::time::timeout(Duration::from_millis(1), place.evicted()).await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_connection_gets_the_place_of_one_that_never_asked_and_then_of_the_longest_quiet() {
        let mut places = places(3);
        let quiet = places.take().unwrap();
        quiet.asked();
        quiet.answered();
        tokio::time::advance(Duration::from_secs(1)).await;
        let (busy, silent) = (places.take().unwrap(), places.take().unwrap());
        busy.asked();
        let fourth = places.take().unwrap();
        assert!(is_evicted(&silent).await && !is_evicted(&quiet).await && !is_evicted(&busy).await);
        fourth.asked();
        let fifth = places.take().unwrap();
        assert!(is_evicted(&quiet).await && !is_evicted(&fourth).await);
        fifth.asked();
        assert!(places.take().is_none(), "all are in a request");
        drop(busy);
        assert!(places.take().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_has_little_time_and_a_quiet_connection_much() {
        let mut places = places(1);
        let place = places.take().unwrap();
        let began = Instant::now();
        assert_eq!(place.due(), Some((began + HEAD_MAX, Closed::Head)));
        place.heard();
        assert_eq!(place.due(), Some((began + HEAD_MAX, Closed::Head)), "from the accept on");
        place.asked();
        assert_eq!(place.due(), None, "what is asked for has limits of its own");
        place.answered();
        assert_eq!(place.due(), Some((began + IDLE_MAX, Closed::Idle)));
        place.heard();
        place.heard();
        assert_eq!(place.due(), Some((began + HEAD_MAX, Closed::Head)));
    }
}
