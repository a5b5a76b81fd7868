//! Sequence: finds loss, repeats and reordering in many streams with four bytes for each.
//!
//! In:  the sequence numbers that arrive on a stream (one connection, one publisher).
//! Out: what each says (in order, a gap, late, repeated), and in the end how many never came.
//!
//! A stream in order costs its next expected number and nothing else. Only a gap costs memory: the missing numbers
//! are remembered, since one that still comes is late (reordered) and one that does not is lost. At most
//! `HOLES_MAX` gaps are remembered for all streams together (~4 MiB); the numbers of any further gap count as lost
//! at once, and as repeated should they still come. No I/O, no clock.

use std::collections::HashMap;
use std::ops::Range;

const HOLES_MAX: usize = 65_536;

/// What one arrival says about its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// The expected one.
    InOrder,
    /// Later ones were expected to come after it: those between are missing until they come or the run ends.
    AfterGap,
    /// One of the missing: it came, and too late.
    Late,
    /// It had come before.
    Repeated,
}

/// The streams of one worker, by index.
pub struct Sequences {
    next: Vec<u32>,
    holes: HashMap<usize, Vec<Range<u32>>>,
    holes_count: usize,
    lost_at_once: u64,
}

impl Sequences {
    /// As many streams, each expecting number zero.
    pub fn new(streams: usize) -> Self {
        Self { next: vec![0; streams], holes: HashMap::new(), holes_count: 0, lost_at_once: 0 }
    }

    /// Notes that `sequence` arrived on `stream`.
    pub fn arrive(&mut self, stream: usize, sequence: u32) -> Arrival {
        let next = &mut self.next[stream];
        let expected = *next;
        if sequence == expected {
            *next = expected.wrapping_add(1);
            return Arrival::InOrder;
        }
        if sequence < expected {
            return if self.fill(stream, sequence) { Arrival::Late } else { Arrival::Repeated };
        }
        *next = sequence.wrapping_add(1);
        self.open_hole(stream, expected..sequence);
        Arrival::AfterGap
    }

    /// How many numbers a stream still expects, when its publisher sent `sent`: the missing and those to come.
    pub fn outstanding(&self, stream: usize, sent: u32) -> u64 {
        let missing: u64 = self.holes.get(&stream).into_iter().flatten().map(length).sum();
        missing + u64::from(sent.saturating_sub(self.next[stream]))
    }

    /// Ends a stream, which may then be used anew from number zero. Returns how many of its numbers were missing
    /// before the last that came; what had not been delivered at its tail is the caller's to judge.
    pub fn end(&mut self, stream: usize) -> u64 {
        self.next[stream] = 0;
        let Some(holes) = self.holes.remove(&stream) else { return 0 };
        self.holes_count -= holes.len();
        holes.iter().map(length).sum()
    }

    /// Numbers lost in gaps that there was no room to remember.
    pub fn lost_at_once(&self) -> u64 {
        self.lost_at_once
    }

    fn open_hole(&mut self, stream: usize, hole: Range<u32>) {
        if self.holes_count == HOLES_MAX {
            self.lost_at_once += length(&hole);
            return;
        }
        self.holes.entry(stream).or_default().push(hole);
        self.holes_count += 1;
    }

    /// Takes `sequence` out of the hole it lies in. False when it lies in none.
    fn fill(&mut self, stream: usize, sequence: u32) -> bool {
        let Some(holes) = self.holes.get_mut(&stream) else { return false };
        let Some(at) = holes.iter().position(|hole| hole.contains(&sequence)) else { return false };
        let hole = holes.swap_remove(at);
        let parts = [hole.start..sequence, sequence + 1..hole.end];
        holes.extend(parts.into_iter().filter(|part| !part.is_empty()));
        self.holes_count =
            self.holes_count - 1 + usize::from(hole.start < sequence) + usize::from(sequence + 1 < hole.end);
        if holes.is_empty() {
            self.holes.remove(&stream);
        }
        true
    }
}

fn length(hole: &Range<u32>) -> u64 {
    u64::from(hole.end - hole.start)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrivals(sequences: &mut Sequences, numbers: &[u32]) -> Vec<Arrival> {
        numbers.iter().map(|number| sequences.arrive(1, *number)).collect()
    }

    #[test]
    fn a_stream_in_order_has_nothing_to_report() {
        let mut sequences = Sequences::new(2);
        assert_eq!(arrivals(&mut sequences, &[0, 1, 2]), [Arrival::InOrder; 3]);
        assert_eq!(sequences.outstanding(1, 3), 0);
        assert_eq!(sequences.outstanding(0, 3), 3, "the neighbor got none");
    }

    #[test]
    fn what_never_comes_is_missing_and_what_comes_late_is_not() {
        let mut sequences = Sequences::new(2);
        let seen = arrivals(&mut sequences, &[0, 5, 2, 1]);
        assert_eq!(seen, [Arrival::InOrder, Arrival::AfterGap, Arrival::Late, Arrival::Late]);
        assert_eq!(sequences.outstanding(1, 6), 2, "3 and 4 never came");
        assert_eq!(sequences.outstanding(1, 8), 4, "nor did 6 and 7");
        assert_eq!(sequences.end(1), 2);
        assert_eq!(sequences.holes_count, 0);
    }

    #[test]
    fn a_number_that_comes_twice_is_a_repeat_even_when_it_was_late() {
        let mut sequences = Sequences::new(2);
        let seen = arrivals(&mut sequences, &[0, 0, 3, 1, 1]);
        assert_eq!(
            seen,
            [Arrival::InOrder, Arrival::Repeated, Arrival::AfterGap, Arrival::Late, Arrival::Repeated]
        );
    }

    #[test]
    fn gaps_beyond_the_maximum_are_lost_at_once() {
        let mut sequences = Sequences::new(2);
        for gap in 0..u32::try_from(HOLES_MAX).expect("fits") + 3 {
            sequences.arrive(0, gap * 2 + 1);
        }
        assert_eq!(sequences.lost_at_once(), 3);
        assert_eq!(sequences.holes_count, HOLES_MAX);
    }
}
