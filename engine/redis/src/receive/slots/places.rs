//! Places: where the slots of a cluster are heard, for those who look at it from outside.
//!
//! In:  the links that there are, and whose slots they have.
//! Out: the health of all of them together; whether one channel can be heard.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::receive::{
    cause::CAUSES,
    connection::Address,
    health::{Counts, Health},
};

/// What is shared between the links of a cluster and their handle.
#[derive(Debug)]
pub(in crate::receive) struct Places(Mutex<State>);

#[derive(Debug)]
pub(super) struct State {
    /// One for each server that owns slots.
    pub(super) links: HashMap<Address, Arc<Counts>>,
    /// The slots that matter, and their owners.
    pub(super) slots: BTreeMap<u16, Option<Address>>,
    /// Since when a slot has no owner.
    unowned_since: Option<Instant>,
    /// Channels of slots without an owner.
    pub(super) unplaced: usize,
    /// What links did that have ended.
    past: Health,
}

impl State {
    /// The owners have changed.
    pub(super) fn settle(&mut self, now: Instant) {
        let is_unowned = self.slots.values().any(Option::is_none);
        self.unowned_since = is_unowned.then(|| self.unowned_since.unwrap_or(now));
    }

    /// A link ends; what it did still counts.
    pub(super) fn end(&mut self, server: &Address) {
        let Some(counts) = self.links.remove(server) else { return };
        let nothing = nothing();
        let ended = Health {
            is_up: true,
            is_settled: true,
            since: nothing.since,
            last_cause: None,
            wanted: 0,
            confirmed: 0,
            ..counts.health()
        };
        self.past = std::mem::replace(&mut self.past, nothing).and(ended);
    }
}

impl Places {
    /// None of these slots has an owner yet.
    pub(super) fn new(slots: impl Iterator<Item = u16>, now: Instant) -> Self {
        let slots = slots.map(|slot| (slot, None)).collect();
        let (links, unplaced, past) = (HashMap::new(), 0, nothing());
        Self(Mutex::new(State { links, slots, unowned_since: Some(now), unplaced, past }))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All links together: up and settled where each of them is, and each slot has one.
    pub(in crate::receive) fn health(&self) -> Health {
        let state = self.lock();
        let all = state.links.values().map(|counts| counts.health());
        let mut health = all.fold(state.past.clone(), Health::and);
        health.wanted += state.unplaced;
        if let Some(since) = state.unowned_since {
            (health.is_up, health.is_settled, health.since) = (false, false, since.elapsed());
            let words = || "no server of the cluster is known to own some of the slots".to_owned();
            health.last_cause = Some(health.last_cause.unwrap_or_else(words));
        }
        health
    }

    /// How long there has been no connection for a slot; none while there is one.
    pub(in crate::receive) fn away(&self, slot: u16) -> Option<Duration> {
        let state = self.lock();
        match state.slots.get(&slot) {
            Some(Some(owner)) => state.links.get(owner).and_then(|counts| counts.away()),
            Some(None) => state.unowned_since.map(|since| since.elapsed()),
            // No partition has it: no channel that is asked for.
            None => None,
        }
    }
}

/// Of no link at all.
fn nothing() -> Health {
    Health {
        is_up: true,
        is_settled: true,
        since: Duration::MAX,
        last_cause: None,
        wanted: 0,
        confirmed: 0,
        messages: 0,
        bytes: 0,
        dropped: 0,
        probes: 0,
        causes: [0; CAUSES],
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;
    use crate::receive::cause::Cause;

    #[test]
    fn a_slot_without_an_owner_is_away_and_so_is_one_whose_owner_is() {
        let now = Instant::now();
        let places = Places::new([3, 5].into_iter(), now);
        assert!(!places.health().is_up && places.away(3).is_some() && places.away(4).is_none());
        let server = |port| Address { host: "a".into(), port };
        let counts = [Arc::new(Counts::new(now)), Arc::new(Counts::new(now))];
        for (counts, (port, slot)) in counts.iter().zip([(1, 3), (2, 5)]) {
            counts.up(now);
            counts.is_settled.store(true, Ordering::Relaxed);
            counts.messages.store(10, Ordering::Relaxed);
            let mut state = places.lock();
            state.links.insert(server(port), Arc::clone(counts));
            state.slots.insert(slot, Some(server(port)));
            state.settle(now);
        }
        let health = places.health();
        assert!(health.is_up && health.is_settled && health.since < Duration::from_secs(60));
        counts[1].down(Arc::new(Cause::Closed), now);
        assert!(!places.health().is_up && places.away(3).is_none() && places.away(5).is_some());
        {
            let mut state = places.lock();
            state.slots.insert(5, Some(server(1)));
            state.end(&server(2));
            state.settle(now);
        }
        let health = places.health();
        assert!(health.is_up && places.away(5).is_none());
        assert_eq!((health.messages, health.causes[Cause::Closed.index()]), (20, 1), "what it did counts");
    }
}
