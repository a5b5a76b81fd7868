//! Schedule: when what is due, and whose turn it is.
//!
//! In:  a rate, how many actors take turns, and which thread asks.
//! Out: the thread's next actor and the moment at which it is to act.
//!
//! Event `n` of the whole run is due `n` gaps after the start, and falls to actor `n % actors`; actors are dealt to
//! threads in turn. So the threads keep one common rhythm without talking to each other, and a late thread does not
//! shift what comes after: an open loop. No clock.

use crate::units::{real, whole};

/// One thread's part of a schedule.
#[derive(Clone, Debug)]
pub struct Schedule {
    start_ns: u64,
    gap_ns: f64,
    actors: u64,
    thread: u64,
    threads: u64,
    /// How many of the actors are this thread's.
    mine: u64,
    /// How many events this thread has taken.
    taken: u64,
}

/// One event of a schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    /// Which of the thread's own actors, from 0.
    pub member: u32,
    /// When, on the run's clock.
    pub at_ns: u64,
}

impl Schedule {
    /// The part of `thread` (of `threads`) in a schedule of `per_s` events a second among `actors`.
    pub fn new(start_ns: u64, per_s: f64, actors: u32, thread: u32, threads: u32) -> Self {
        let mine = actors / threads + u32::from(thread < actors % threads);
        Self {
            start_ns,
            gap_ns: 1e9 / per_s,
            actors: u64::from(actors),
            thread: u64::from(thread),
            threads: u64::from(threads),
            mine: u64::from(mine),
            taken: 0,
        }
    }

    /// The next event; none for a thread without actors.
    pub fn peek(&self) -> Option<Due> {
        let round = self.taken.checked_div(self.mine)?;
        let member = self.taken % self.mine;
        let event = round * self.actors + member * self.threads + self.thread;
        let at_ns = self.start_ns + whole(real(event) * self.gap_ns);
        Some(Due { member: u32::try_from(member).expect("below `actors`, a u32"), at_ns })
    }

    /// Takes the event that [`Schedule::peek`] shows.
    pub fn take(&mut self) {
        self.taken += 1;
    }

    /// The next event if it is due by `now_ns` and before `end_ns`; takes it.
    pub fn take_due(&mut self, now_ns: u64, end_ns: u64) -> Option<Due> {
        let due = self.peek().filter(|due| due.at_ns <= now_ns && due.at_ns < end_ns)?;
        self.take();
        Some(due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(schedule: &mut Schedule, count: usize) -> Vec<(u32, u64)> {
        (0..count)
            .map(|_| {
                let due = schedule.take_due(u64::MAX, u64::MAX).expect("it has actors");
                (due.member, due.at_ns)
            })
            .collect()
    }

    #[test]
    fn threads_share_one_rhythm() {
        // Five actors, two threads: thread 0 has 0, 2, 4; thread 1 has 1, 3.
        let mut even = Schedule::new(100, 1e8, 5, 0, 2);
        let mut odd = Schedule::new(100, 1e8, 5, 1, 2);
        assert_eq!(first(&mut even, 4), [(0, 100), (1, 120), (2, 140), (0, 150)]);
        assert_eq!(first(&mut odd, 3), [(0, 110), (1, 130), (0, 160)]);
    }

    #[test]
    fn what_is_not_due_or_after_the_end_is_not_taken() {
        let mut schedule = Schedule::new(100, 1e8, 1, 0, 1);
        assert_eq!(schedule.take_due(99, 1000), None);
        assert_eq!(schedule.take_due(100, 1000), Some(Due { member: 0, at_ns: 100 }));
        assert_eq!(schedule.take_due(500, 105), None);
        assert_eq!(schedule.peek(), Some(Due { member: 0, at_ns: 110 }));
    }

    #[test]
    fn a_thread_without_actors_has_nothing_to_do() {
        assert_eq!(Schedule::new(0, 1.0, 1, 1, 2).peek(), None);
    }
}
