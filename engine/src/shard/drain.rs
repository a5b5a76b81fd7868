//! Drain: how far a stop has come, and its pace.
//!
//! In:  the time; how many clients are left.
//! Out: how many of them are to be notified now; the phase of the handover of the port.

use holdfast_ring::Cursor;
use rand::Rng;

use crate::time::Tick;

/// A stop in progress.
#[derive(Debug)]
pub(crate) struct Drain {
    /// The deadline for telling all clients.
    pub(super) notify_by: Tick,
    /// Connections still open then are cut.
    pub(super) deadline: Tick,
    pub(super) handover: Handover,
    /// The deadline for requests that have not arrived.
    pub(super) requests_until: Tick,
    /// Where the walk over these continues, if there is one.
    pub(super) requests_from: Option<Cursor>,
    /// The tick up to which the pace has been computed.
    pub(super) paced: Tick,
    /// How many are due to be told now.
    pub(super) due: usize,
    /// Sessions of polls at indexes below this have not been told; they come first, because they need new connections,
    /// which are no longer accepted.
    pub(super) polls_below: usize,
    /// Their approximate number.
    pub(super) polls_left: usize,
    /// Where the walk over the connections continues.
    pub(super) from: Cursor,
    /// True exactly when the deadline has passed and the walk that cuts the rest is not complete.
    pub(super) is_aborting: bool,
    pub(super) has_aborted: bool,
    /// True exactly when this shard is empty.
    pub(super) is_empty: bool,
}

impl Drain {
    /// Computes how many of `left` are to be told now.
    pub(super) fn pace(&mut self, now: Tick, left: usize, random: &mut impl Rng) {
        if now >= self.notify_by {
            self.due = left;
        } else if now > self.paced {
            let (passed, ahead) = (now.0 - self.paced.0, self.notify_by.0 - self.paced.0);
            let even = left.saturating_sub(self.due) as f64 * f64::from(passed) / f64::from(ahead);
            let share = even * random.random_range(0.5..1.5) + random.random_range(0.0..1.0);
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "at most twice `left`"
            )]
            let share = share as usize;
            self.due = (self.due + share).min(left);
        }
        self.paced = now;
    }
}

/// The phase of the handover.
///
/// ```text
/// Draining ── time, and every shard after this one has closed ──> Closing ── closed ──> Over
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Handover {
    /// New connections go to others; handshakes in progress complete.
    Draining {
        until: Tick,
        /// Listening sockets of others.
        successors: u32,
    },
    /// The socket closes.
    Closing,
    Over,
}

impl Handover {
    /// True exactly while connections may still be accepted.
    pub(super) fn is_draining(self) -> bool {
        matches!(self, Self::Draining { .. })
    }

    pub(super) fn hurry(&mut self) {
        if let Self::Draining { until, .. } = self {
            *until = Tick(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::{SeedableRng, rngs::SmallRng};

    use super::*;

    fn drain(notify_by: u32) -> Drain {
        Drain {
            notify_by: Tick(notify_by),
            deadline: Tick(2 * notify_by),
            handover: Handover::Over,
            requests_until: Tick(0),
            requests_from: None,
            paced: Tick(0),
            due: 0,
            polls_below: 0,
            polls_left: 0,
            from: Cursor::default(),
            is_aborting: false,
            has_aborted: false,
            is_empty: false,
        }
    }

    /// How many leave in each tick, if `clients` are to leave in `ticks`.
    fn leaves(clients: usize, ticks: u32, seed: u64) -> Vec<usize> {
        let mut random = SmallRng::seed_from_u64(seed);
        let mut drain = drain(ticks);
        let mut left = clients;
        (1..=ticks)
            .map(|now| {
                drain.pace(Tick(now), left, &mut random);
                left -= drain.due;
                std::mem::take(&mut drain.due)
            })
            .collect()
    }

    #[test]
    fn clients_leave_evenly_but_not_in_step_and_all_of_them() {
        for seed in 0..20 {
            let leaves = leaves(10_000, 100, seed);
            assert_eq!(leaves.iter().sum::<usize>(), 10_000, "seed {seed}");
            assert!(leaves.iter().all(|&tick| tick < 400), "seed {seed}: {leaves:?}");
            assert!(leaves[..50].iter().sum::<usize>() > 3_000, "seed {seed}: {leaves:?}");
            assert!(leaves.windows(2).any(|pair| pair[0] != pair[1]), "seed {seed}");
        }
    }

    #[test]
    fn few_clients_leave_one_by_one_over_the_whole_time() {
        for seed in 0..20 {
            let leaves = leaves(5, 1_000, seed);
            assert_eq!(leaves.iter().sum::<usize>(), 5, "seed {seed}");
        }
    }

    #[test]
    fn without_time_all_are_due_at_once() {
        let mut drain = drain(0);
        drain.pace(Tick(0), 70, &mut SmallRng::seed_from_u64(1));
        assert_eq!(drain.due, 70);
    }
}
