//! Flows: the connections and clients that wait for a part of a turn, and whose turn it is.
//!
//! In:  work that could not be handled at once, by connection or client, in its order; the cost of handling it.
//! Out: the next flow, and what it may use.
//!
//! Deficit round robin, as in FQ-CoDel (RFC 8290 §4.1.3): a flow that has just begun to wait precedes continuing ones for
//! one quantum, so that a client that sends little waits for one turn and not for all floods. A flow that leaves the queue
//! keeps its place for one more round, so that nobody becomes new again by pausing. A piece that costs more than the
//! quantum leaves a debt, paid in the next rounds.
//!
//! There are two classes with a round each, and the schedule (`schedule`) has a part for each: connections with a session
//! never wait for handshakes. No I/O, no clock. Empty while nobody waits.

use std::collections::{HashMap, VecDeque, vec_deque};

use crate::session::{Class, FlowKey};

/// The quantum of a flow, in nanoseconds.
pub(crate) const QUANTUM_NS: u64 = 200_000;

/// The largest debt, in quanta.
const DEBT_QUANTA_MAX: i64 = 16;

/// A flow. `I` is the type of its items.
#[derive(Debug)]
pub(super) struct Flows<I> {
    quantum_ns: i64,
    flows: HashMap<FlowKey, Flow<I>>,
    rounds: [Round; 2],
}

#[derive(Debug)]
struct Flow<I> {
    items: VecDeque<I>,
    credit_ns: i64,
    /// True exactly when its connection is paused because of this.
    is_paused: bool,
    /// True exactly when it is in no round, until it is woken.
    is_asleep: bool,
}

/// Each awake flow of the class is in one of the two, once, except the one being served: new flows have not had their first
/// quantum.
#[derive(Debug, Default)]
struct Round {
    fresh: VecDeque<FlowKey>,
    old: VecDeque<FlowKey>,
}

impl<I> Flows<I> {
    /// With this quantum, usually [`QUANTUM_NS`].
    pub(super) fn new(quantum_ns: u64) -> Self {
        let rounds = [Round::default(), Round::default()];
        Self { quantum_ns: quantum_ns.cast_signed(), flows: HashMap::new(), rounds }
    }

    /// True exactly when no flow waits for a part of a turn.
    pub(super) fn are_all_asleep(&self) -> bool {
        self.rounds.iter().all(Round::is_empty)
    }

    /// The number of flows.
    pub(super) fn len(&self) -> usize {
        self.flows.len()
    }

    /// True exactly when some flow of a class may have work.
    pub(super) fn is_any_of(&self, class: Class) -> bool {
        !self.rounds[class as usize].is_empty()
    }

    /// True exactly when this flow has items.
    pub(super) fn waits(&self, key: FlowKey) -> bool {
        !self.flows.is_empty() && self.flows.get(&key).is_some_and(|flow| !flow.items.is_empty())
    }

    /// True exactly when this flow waits for a part of a turn.
    pub(super) fn is_awake(&self, key: FlowKey) -> bool {
        !self.flows.is_empty()
            && self.flows.get(&key).is_some_and(|flow| !flow.items.is_empty() && !flow.is_asleep)
    }

    /// The number of pieces of this flow.
    pub(super) fn items_of(&self, key: FlowKey) -> vec_deque::Iter<'_, I> {
        self.flows.get(&key).map(|flow| flow.items.iter()).unwrap_or_default()
    }

    /// Appends an item to this flow.
    pub(super) fn push_back(&mut self, key: FlowKey, class: Class, item: I) {
        self.flow(key, class, 0).items.push_back(item);
    }

    /// Puts an interrupted item first in this flow, which has used `used_ns` of its part.
    pub(super) fn push_front(&mut self, key: FlowKey, class: Class, used_ns: u64, item: I) {
        self.flow(key, class, used_ns).items.push_front(item);
    }

    /// Takes the next item of this flow.
    pub(super) fn pop(&mut self, key: FlowKey) -> Option<I> {
        self.flows.get_mut(&key)?.items.pop_front()
    }

    /// The next flow of a class that has work, and what it may use. Must be followed by [`Flows::served`].
    pub(super) fn next(&mut self, class: Class) -> Option<(FlowKey, u64)> {
        loop {
            let round = &mut self.rounds[class as usize];
            let key = round.fresh.pop_front().or_else(|| round.old.pop_front())?;
            let Some(flow) = self.flows.get_mut(&key) else { continue };
            if flow.credit_ns <= 0 {
                flow.credit_ns += self.quantum_ns;
            }
            if flow.credit_ns <= 0 {
                round.old.push_back(key);
            } else if flow.items.is_empty() {
                // It has had its one more round.
                self.flows.remove(&key);
            } else {
                return Some((key, flow.credit_ns.cast_unsigned()));
            }
        }
    }

    /// The current flow waits for something other than its part, until it is woken.
    pub(super) fn sleep(&mut self, key: FlowKey, used_ns: u64) {
        if let Some(flow) = self.flows.get_mut(&key) {
            flow.is_asleep = true;
            flow.credit_ns = less(flow.credit_ns, used_ns, self.quantum_ns);
        }
    }

    /// Wakes a flow: what it waited for has happened.
    pub(super) fn wake(&mut self, key: FlowKey, class: Class) {
        if !self.flows.is_empty()
            && let Some(flow) = self.flows.get_mut(&key)
            && std::mem::take(&mut flow.is_asleep)
        {
            self.rounds[class as usize].old.push_back(key);
        }
    }

    /// Charges the current flow, which is of this class now.
    pub(super) fn served(&mut self, key: FlowKey, class: Class, used_ns: u64) {
        let Some(flow) = self.flows.get_mut(&key) else { return };
        flow.credit_ns = less(flow.credit_ns, used_ns, self.quantum_ns);
        self.rounds[class as usize].old.push_back(key);
    }

    /// Sets whether this flow's connection is paused. Returns the previous value.
    pub(super) fn set_paused(&mut self, key: FlowKey, is_paused: bool) -> bool {
        self.flows.get_mut(&key).is_some_and(|flow| std::mem::replace(&mut flow.is_paused, is_paused))
    }

    /// True exactly when this flow's connection is paused because of its items.
    pub(super) fn is_paused(&self, key: FlowKey) -> bool {
        !self.flows.is_empty() && self.flows.get(&key).is_some_and(|flow| flow.is_paused)
    }

    /// Removes a flow. The caller drops its items.
    pub(super) fn remove(&mut self, key: FlowKey) -> impl Iterator<Item = I> + use<I> {
        let flow = if self.flows.is_empty() { None } else { self.flows.remove(&key) };
        flow.into_iter().flat_map(|flow| flow.items)
    }

    fn flow(&mut self, key: FlowKey, class: Class, used_ns: u64) -> &mut Flow<I> {
        let quantum_ns = self.quantum_ns;
        self.flows.entry(key).or_insert_with(|| {
            self.rounds[class as usize].fresh.push_back(key);
            let credit_ns = less(quantum_ns, used_ns, quantum_ns);
            Flow { items: VecDeque::new(), credit_ns, is_paused: false, is_asleep: false }
        })
    }
}

impl Round {
    fn is_empty(&self) -> bool {
        self.fresh.is_empty() && self.old.is_empty()
    }
}

fn less(credit_ns: i64, used_ns: u64, quantum_ns: i64) -> i64 {
    let used_ns = i64::try_from(used_ns).unwrap_or(i64::MAX);
    credit_ns.saturating_sub(used_ns).max(-DEBT_QUANTA_MAX * quantum_ns)
}

#[cfg(test)]
mod tests {
    use holdfast_ring::{Descriptor, Socket};

    use super::*;

    fn key(slot: u32) -> FlowKey {
        FlowKey::Socket(Socket::new(Descriptor::new(0, slot), 0))
    }

    /// Serves the next one, whose pieces cost what they say, as the shard does.
    fn serve(flows: &mut Flows<u64>) -> Option<(FlowKey, u64)> {
        let (key, part_ns) = flows.next(Class::Sessions)?;
        let mut used_ns = 0;
        while used_ns < part_ns
            && let Some(cost_ns) = flows.pop(key)
        {
            used_ns += cost_ns;
        }
        flows.served(key, Class::Sessions, used_ns);
        Some((key, used_ns))
    }

    #[test]
    fn those_who_flood_share_alike_whatever_their_pieces_cost() {
        let mut flows = Flows::new(QUANTUM_NS);
        let costs = [1_000, QUANTUM_NS, 5 * QUANTUM_NS, 50_000];
        let mut used = [0; 4];
        for _ in 0..4_000 {
            for (slot, cost_ns) in (0..).zip(costs) {
                while flows.items_of(key(slot)).len() < 300 {
                    flows.push_back(key(slot), Class::Sessions, cost_ns);
                }
            }
            let (served, used_ns) = serve(&mut flows).expect("all have something to do");
            let slot = (0..4).find(|&slot| key(slot) == served).expect("it is one of them");
            used[slot as usize] += used_ns;
        }
        let (least, most) = (used.iter().min().unwrap(), used.iter().max().unwrap());
        assert!(most - least <= 12 * QUANTUM_NS, "{used:?}");
    }

    #[test]
    fn who_sends_little_waits_for_nobody_who_goes_on_and_on() {
        let mut flows = Flows::new(QUANTUM_NS);
        for slot in 0..1_000 {
            (0..10).for_each(|_| flows.push_back(key(slot), Class::Sessions, QUANTUM_NS));
        }
        // All of them have had their first quantum.
        assert!((0..1_000).all(|_| serve(&mut flows).is_some()));
        flows.push_back(key(5_000), Class::Sessions, 1_000);
        assert_eq!(serve(&mut flows), Some((key(5_000), 1_000)));
    }

    #[test]
    fn nobody_comes_first_again_by_pausing() {
        let mut flows = Flows::new(QUANTUM_NS);
        (0..2).for_each(|_| flows.push_back(key(1), Class::Sessions, 1_000));
        (0..20).for_each(|_| flows.push_back(key(2), Class::Sessions, QUANTUM_NS));
        assert_eq!(serve(&mut flows), Some((key(1), 2_000)));
        assert_eq!(serve(&mut flows), Some((key(2), QUANTUM_NS)));
        // The first one has nothing left; it comes again at once, and waits for its round.
        flows.push_back(key(1), Class::Sessions, 1_000);
        flows.push_back(key(3), Class::Sessions, 1_000);
        assert_eq!(serve(&mut flows), Some((key(3), 1_000)));
    }

    #[test]
    fn what_was_begun_comes_before_what_came_later_and_a_debt_waits_its_rounds() {
        let mut flows = Flows::new(QUANTUM_NS);
        flows.push_front(key(1), Class::Sessions, 3 * QUANTUM_NS, 7);
        flows.push_back(key(1), Class::Sessions, 8);
        flows.push_back(key(2), Class::Sessions, 1_000);
        assert_eq!(serve(&mut flows), Some((key(2), 1_000)));
        assert_eq!(flows.pop(key(1)), Some(7));
        assert_eq!(flows.pop(key(1)), Some(8));
    }

    #[test]
    fn who_sleeps_is_passed_over_until_it_is_woken() {
        let mut flows = Flows::new(QUANTUM_NS);
        flows.push_back(key(1), Class::Sessions, 1_000);
        assert_eq!(flows.next(Class::Sessions), Some((key(1), QUANTUM_NS)));
        flows.sleep(key(1), 0);
        flows.push_back(key(1), Class::Sessions, 2_000);
        assert!(flows.waits(key(1)) && !flows.is_awake(key(1)) && flows.are_all_asleep());
        assert_eq!(serve(&mut flows), None);
        (0..2).for_each(|_| flows.wake(key(1), Class::Sessions));
        assert_eq!(serve(&mut flows), Some((key(1), 3_000)));
        assert_eq!(serve(&mut flows), None, "it is in the round once");
    }

    #[test]
    fn who_is_served_is_forgotten_and_who_is_gone_is_found_nowhere() {
        let mut flows = Flows::new(QUANTUM_NS);
        flows.push_back(key(1), Class::Sessions, 1);
        flows.push_back(key(2), Class::Arrivals, 2);
        assert!(!flows.set_paused(key(1), true) && flows.is_paused(key(1)));
        assert_eq!(flows.remove(key(1)).collect::<Vec<_>>(), [1]);
        assert!(!flows.waits(key(1)) && !flows.is_paused(key(1)));
        assert_eq!(serve(&mut flows), None, "the other one is of another class");
        assert_eq!(flows.next(Class::Arrivals), Some((key(2), QUANTUM_NS)));
        assert_eq!(flows.pop(key(2)), Some(2));
        flows.served(key(2), Class::Sessions, 1);
        assert_eq!(serve(&mut flows), None);
        assert_eq!(flows.len(), 0);
    }
}
