//! Guard: handles stalled parts, and a stop that misses its deadline.
//!
//! In:  the findings of the watch; the deadline of a stop.
//! Out: log lines; keep-alives for the service manager; the end of the process within a second after a stop's deadline.
//!
//! It runs on the pulse's thread, which never blocks.

use std::{sync::Arc, time::Duration};

use super::{
    beats::{Beats, Part, State},
    failure::{end_as_asked, fail_for},
    manager::Manager,
    watch::{Change, LOOK_EVERY, Watch},
};

/// The interval of checks while the daemon stops.
const LOOK_EVERY_AT_STOP: Duration = Duration::from_millis(100);

/// How long a stop may exceed its deadline. With a late check and the last log lines it is less than a second, unless a
/// part has failed and the log is not read.
const GRACE: Duration = Duration::from_millis(500);

/// Guards all parts.
#[derive(Debug)]
pub(crate) struct Guard {
    beats: Arc<Beats>,
    watch: Watch,
    manager: Manager,
    deadline: Deadline,
}

impl Guard {
    /// A part that has not beaten for `stall` is stalled.
    pub(crate) fn new(beats: Arc<Beats>, stall: Duration) -> Self {
        let watch = Watch::new(Arc::clone(&beats), beats.watched_by_pulse(), stall);
        Self { beats, watch, manager: Manager::find(), deadline: Deadline::default() }
    }

    /// Checks once. Returns the time until the next check.
    pub(crate) fn look(&mut self, clients: impl Fn() -> u64) -> Duration {
        self.beats.beat(Part::PULSE);
        let now = self.beats.elapsed();
        let (changes, lost) = self.watch.look(now);
        tell(&changes);
        let stalled = self.beats.stalled();
        if stalled.is_empty() {
            self.manager.all_is_well(now);
        }
        let state = self.beats.state();
        self.manager.status(|| status(state, &stalled, clients));
        if self.deadline.is_over(self.beats.ends(), now, lost) {
            self.end();
        }
        if self.beats.ends().is_some() { LOOK_EVERY_AT_STOP } else { LOOK_EVERY }
    }

    /// The stop's deadline has passed, and some parts are still running.
    fn end(&self) -> ! {
        let stuck = |part: &Part| !self.beats.has_ended(*part) && self.beats.still(*part) >= GRACE;
        if let Some(part) = self.beats.watched_by_pulse().into_iter().find(stuck) {
            fail_for(part, "it has not beaten since the stop's deadline");
        }
        tracing::warn!(
            "the deadline of the stop has passed: the process ends and cuts the remaining clients; a longer shutdown.timeout gives them more time"
        );
        end_as_asked()
    }
}

/// Logs changes.
pub(crate) fn tell(changes: &[Change]) {
    for change in changes {
        match change {
            Change::Stalled(part, still) => {
                tracing::error!(%part, stalled_ms = still.as_millis(), "a part of the daemon is stalled, so /health/ready fails; the part is overloaded or the machine is (CPU, memory, swap)");
            }
            Change::GoesOn(part, still) => {
                tracing::warn!(%part, stalled_ms = still.as_millis(), "a stalled part of the daemon runs again");
            }
        }
    }
}

fn status(state: State, stalled: &[Part], clients: impl Fn() -> u64) -> String {
    match (stalled, state) {
        ([], State::Starting | State::Serving) => state.name().to_owned(),
        ([], state) => format!("{}: {} clients remain", state.name(), clients()),
        (stalled, _) => {
            let names: Vec<_> = stalled.iter().map(Part::to_string).collect();
            format!("stalled: {}", names.join(", "))
        }
    }
}

/// The deadline of a stop. Time in which this thread did not run extends it, as in the watch.
#[derive(Debug, Default)]
struct Deadline {
    ends: Option<Duration>,
    granted: Duration,
}

impl Deadline {
    /// `lost` is the part of the time since the last check that does not count.
    fn is_over(&mut self, ends: Option<Duration>, now: Duration, lost: Duration) -> bool {
        if self.ends != ends {
            *self = Self { ends, granted: Duration::ZERO };
            // If it has already passed, it passed while this thread did not run.
            if ends.is_some_and(|ends| now >= ends) {
                self.granted = lost;
            }
        } else {
            self.granted += lost;
        }
        ends.is_some_and(|ends| now >= ends + self.granted + GRACE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    #[test]
    fn a_stop_is_over_a_moment_after_its_deadline_and_what_nobody_saw_is_granted() {
        let mut deadline = Deadline::default();
        let mut is_over =
            |ends: Option<u32>, now, lost| deadline.is_over(ends.map(|ends| ends * S), now, lost * S);
        assert!(!is_over(None, 1000 * S, 0));
        assert!(!is_over(Some(1010), 1001 * S, 0));
        // Stopped for an hour.
        assert!(!is_over(Some(1010), 4602 * S, 3600));
        assert!(!is_over(Some(1010), 4610 * S, 0));
        assert!(is_over(Some(1010), 4610 * S + GRACE, 0));
        // A signal that hurries.
        assert!(!is_over(Some(1003), 1003 * S, 0));
        assert!(is_over(Some(1003), 1004 * S, 0));
        // Stopped for an hour right after the order.
        assert!(!is_over(Some(2000), 5600 * S, 3600));
        assert!(is_over(Some(2000), 5600 * S + GRACE, 0));
    }

    #[test]
    fn the_status_names_who_stands_still() {
        let clients = || 12;
        assert_eq!(status(State::Serving, &[], clients), "serving");
        assert_eq!(status(State::HandedOver, &[], clients), "handed over: 12 clients remain");
        assert_eq!(
            status(State::Draining, &[Part::Shard(1), Part::CONTROL], clients),
            "stalled: shard-1, control"
        );
    }
}
