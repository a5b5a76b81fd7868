//! DeliveryLatencies: how one broadcast message reached its receivers.
//!
//! In:  deliveries, each with its latency, from every worker.
//! Out: for each message the latency to its first, median, 99th-percentile and last receiver, in four histograms.
//!
//! A worker keeps one list of latencies for each message on its way (four bytes a receiver) and hands it over when
//! all of its connections have the message; the main thread joins the lists. Lists on their way are bounded to
//! `WINDOW_BYTES_MAX` a worker: past it the oldest is handed over as it is. What still comes for such a message, or
//! for one that is `WINDOW_MESSAGES_MAX` ahead of its publisher's oldest, counts in the overall latencies only. No I/O, no clock.

use std::collections::{HashMap, VecDeque};

use hdrhistogram::Histogram;

use crate::latency::histogram;

/// Latencies are kept in units of 64 ns: the histograms' resolution, and 274 s fit 32 bits.
const TICK_SHIFT: u32 = 6;
const WINDOW_BYTES_MAX: usize = 64 << 20;
const WINDOW_MESSAGES_MAX: usize = 1 << 20;

/// One worker's latencies of one message.
#[derive(Debug, Default)]
pub struct DeliveryLatencies {
    /// Publisher and sequence number.
    pub message: (u32, u32),
    ticks: Vec<u32>,
}

/// The messages on their way to one worker's connections.
pub struct Window {
    publishers: Vec<VecDeque<Slot>>,
    /// For each publisher, the sequence number of its first slot.
    first: Vec<u32>,
    /// For each publisher, how many connections of this worker get each message.
    receivers: Vec<usize>,
    bytes: usize,
}

/// A message; its list is empty once it was handed over.
#[derive(Default)]
struct Slot {
    ticks: Vec<u32>,
    is_done: bool,
}

impl Window {
    /// For messages of publishers, each to so many of this worker's connections.
    pub fn new(receivers: Vec<usize>) -> Self {
        let slots = receivers.iter().map(|_| VecDeque::new()).collect();
        Self { publishers: slots, first: vec![0; receivers.len()], receivers, bytes: 0 }
    }

    /// Notes one delivery. Returns what is to be handed over: a message that all have, or the oldest.
    pub fn deliver(&mut self, publisher: u32, sequence: u32, latency_ns: u64) -> Option<DeliveryLatencies> {
        let receivers = *self.receivers.get(publisher as usize)?;
        let (slots, first) = (&mut self.publishers[publisher as usize], self.first[publisher as usize]);
        let at = sequence.checked_sub(first)? as usize;
        if at >= WINDOW_MESSAGES_MAX {
            return None;
        }
        while slots.len() <= at {
            slots.push_back(Slot::default());
        }
        let slot = &mut slots[at];
        if slot.is_done {
            return None;
        }
        if slot.ticks.capacity() == 0 {
            slot.ticks.reserve_exact(receivers);
            self.bytes += receivers * size_of::<u32>();
        }
        slot.ticks.push(u32::try_from(latency_ns >> TICK_SHIFT).unwrap_or(u32::MAX));
        if slot.ticks.len() == receivers {
            return Some(self.hand_over(publisher, sequence));
        }
        if self.bytes > WINDOW_BYTES_MAX { self.oldest(publisher) } else { None }
    }

    /// Hands over whatever is left.
    pub fn drain(&mut self) -> impl Iterator<Item = DeliveryLatencies> {
        let first = std::mem::take(&mut self.first);
        std::mem::take(&mut self.publishers).into_iter().zip(0u32..).flat_map(move |(slots, publisher)| {
            let first = first[publisher as usize];
            slots.into_iter().zip(first..).filter(|(slot, _)| !slot.ticks.is_empty()).map(
                move |(slot, sequence)| DeliveryLatencies {
                    message: (publisher, sequence),
                    ticks: slot.ticks,
                },
            )
        })
    }

    fn oldest(&mut self, publisher: u32) -> Option<DeliveryLatencies> {
        let first = self.first[publisher as usize];
        let open = self.publishers[publisher as usize].iter().position(|slot| !slot.ticks.is_empty())?;
        Some(self.hand_over(publisher, first + u32::try_from(open).ok()?))
    }

    fn hand_over(&mut self, publisher: u32, sequence: u32) -> DeliveryLatencies {
        let (slots, first) = (&mut self.publishers[publisher as usize], &mut self.first[publisher as usize]);
        let slot = &mut slots[(sequence - *first) as usize];
        let ticks = std::mem::take(&mut slot.ticks);
        slot.is_done = true;
        self.bytes -= self.receivers[publisher as usize] * size_of::<u32>();
        while slots.front().is_some_and(|slot| slot.is_done) {
            slots.pop_front();
            *first += 1;
        }
        DeliveryLatencies { message: (publisher, sequence), ticks }
    }
}

/// Joins what the workers hand over.
pub struct Spreads {
    workers: u32,
    open: HashMap<(u32, u32), (u32, Vec<u32>)>,
    /// Latency to the first receiver of each message.
    pub first: Histogram<u64>,
    /// To the median receiver.
    pub median: Histogram<u64>,
    /// To the 99th percentile of receivers.
    pub p99: Histogram<u64>,
    /// To the last.
    pub last: Histogram<u64>,
}

impl Spreads {
    /// Of so many workers, each of which hands over each message once.
    pub fn new(workers: u32) -> Self {
        Self {
            workers,
            open: HashMap::new(),
            first: histogram(),
            median: histogram(),
            p99: histogram(),
            last: histogram(),
        }
    }

    /// Takes one worker's list.
    pub fn join(&mut self, spread: DeliveryLatencies) {
        let (parts, ticks) = self.open.entry(spread.message).or_default();
        *parts += 1;
        if ticks.is_empty() {
            *ticks = spread.ticks;
        } else {
            ticks.extend_from_slice(&spread.ticks);
        }
        if *parts == self.workers {
            let (_, ticks) = self.open.remove(&spread.message).expect("it was just there");
            self.record(ticks);
        }
    }

    /// Sums up the messages that some worker never handed over.
    pub fn finish(&mut self) {
        for (_, (_, ticks)) in std::mem::take(&mut self.open) {
            self.record(ticks);
        }
    }

    fn record(&mut self, mut ticks: Vec<u32>) {
        let Some(last) = ticks.len().checked_sub(1) else { return };
        // The nearest rank: the smallest value that so many percent do not exceed.
        let mut rank = |percent: usize| {
            *ticks.select_nth_unstable((last + 1).saturating_mul(percent).div_ceil(100).max(1) - 1).1
        };
        let (median, p99, longest) = (rank(50), rank(99), rank(100));
        let shortest = ticks.iter().copied().min().unwrap_or(0);
        for (histogram, ticks) in [
            (&mut self.first, shortest),
            (&mut self.median, median),
            (&mut self.p99, p99),
            (&mut self.last, longest),
        ] {
            histogram.saturating_record(u64::from(ticks) << TICK_SHIFT);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_handed_over_when_all_have_it() {
        let mut window = Window::new(vec![2]);
        assert!(window.deliver(0, 1, 640).is_none());
        assert!(window.deliver(0, 0, 640).is_none());
        assert_eq!(window.deliver(0, 1, 640).expect("both have 1").message, (0, 1));
        assert_eq!(window.deliver(0, 0, 640).expect("both have 0").message, (0, 0));
        assert_eq!((window.first[0], window.bytes, window.publishers[0].len()), (2, 0, 0));
    }

    #[test]
    fn what_some_never_got_is_handed_over_at_the_end() {
        let mut window = Window::new(vec![2, 2]);
        window.deliver(1, 0, 640);
        let left: Vec<_> = window.drain().map(|spread| (spread.message, spread.ticks)).collect();
        assert_eq!(left, [((1, 0), vec![10])]);
    }

    #[test]
    fn a_full_window_hands_over_the_oldest_and_forgets_its_stragglers() {
        let receivers = WINDOW_BYTES_MAX / size_of::<u32>();
        let mut window = Window::new(vec![receivers]);
        assert!(window.deliver(0, 0, 640).is_none());
        assert_eq!(window.deliver(0, 1, 640).expect("two do not fit").message, (0, 0));
        assert!(window.deliver(0, 0, 640).is_none());
        assert_eq!(window.bytes, WINDOW_BYTES_MAX);
    }

    #[test]
    fn first_median_and_last_are_of_all_workers_together() {
        let mut spreads = Spreads::new(2);
        spreads.join(DeliveryLatencies { message: (0, 0), ticks: vec![100, 300] });
        assert_eq!(spreads.last.len(), 0, "the other worker has not told yet");
        spreads.join(DeliveryLatencies { message: (0, 0), ticks: vec![200, 400, 500] });
        let us = |histogram: &Histogram<u64>| (histogram.max() >> TICK_SHIFT) / 10 * 10;
        assert_eq!([us(&spreads.first), us(&spreads.median), us(&spreads.last)], [100, 300, 500]);
    }
}
