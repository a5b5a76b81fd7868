//! Sends: the bytes that a lane's sends point to, until the kernel is done with them.
//!
//! In:  sends, each with its place among all that was queued; how much of that the kernel has taken.
//! Out: the send that a completion speaks of; sends that were held over to another turn, and later taken.
//!
//! What never happens here: bytes that are let go while an entry that points to them is still queued. Worst case: the
//! sends of one turn, since a socket whose send is held makes no other one.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::kernel::{LANE_SLOTS_MAX, Socket};

/// What became of a send that was not taken in its own turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SendOutcome {
    /// It is still queued, and stays so beyond this turn.
    Held,
    /// It was held, and now has been taken.
    Taken,
}

#[derive(Debug)]
struct Send {
    socket: Socket,
    bytes: Bytes,
    /// How many entries were queued before it, since the lane was made.
    place: u64,
    /// True exactly when its owner has been told that it is held.
    is_told: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Sends {
    list: VecDeque<Send>,
    /// The number of the first in the list. Numbers have as many bits as a slot.
    first: u32,
}

impl Sends {
    /// Keeps a send. Returns its number, for its token.
    pub(crate) fn push(&mut self, socket: Socket, bytes: Bytes, place: u64) -> u32 {
        let index = u32::try_from(self.list.len()).expect("far fewer sends in a turn than 2^24");
        self.list.push_back(Send { socket, bytes, place, is_told: false });
        self.first.wrapping_add(index) % LANE_SLOTS_MAX
    }

    /// The send of this number: to whom, and the bytes that it was to write.
    pub(crate) fn get(&self, number: u32) -> (Socket, Bytes) {
        let index = number.wrapping_sub(self.first) % LANE_SLOTS_MAX;
        let send = &self.list[index as usize];
        (send.socket, send.bytes.clone())
    }

    /// Ends a turn in which the kernel had taken all but what was queued after the first `taken` entries. To be called
    /// when the completions of those are all taken.
    pub(crate) fn end_turn(&mut self, taken: u64, mut tell: impl FnMut(Socket, usize, SendOutcome)) {
        let mut done = 0;
        while let Some(send) = self.list.front()
            && send.place < taken
        {
            if send.is_told {
                tell(send.socket, send.bytes.len(), SendOutcome::Taken);
            }
            self.list.pop_front();
            done += 1;
        }
        self.first = self.first.wrapping_add(done) % LANE_SLOTS_MAX;
        for send in self.list.iter_mut().filter(|send| !send.is_told) {
            send.is_told = true;
            tell(send.socket, send.bytes.len(), SendOutcome::Held);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::Descriptor;

    fn socket(slot: u32) -> Socket {
        Socket::new(Descriptor::new(0, slot), 7)
    }

    fn end_turn(sends: &mut Sends, taken: u64) -> Vec<(Socket, usize, SendOutcome)> {
        let mut fates = Vec::new();
        sends.end_turn(taken, |socket, len, fate| fates.push((socket, len, fate)));
        fates
    }

    #[test]
    fn sends_that_are_taken_in_their_turn_are_forgotten_without_a_word() {
        let mut sends = Sends::default();
        for place in 0..3 {
            sends.push(socket(1), Bytes::from_static(b"x"), place);
        }
        assert_eq!(end_turn(&mut sends, 3), []);
        assert!(sends.list.is_empty());
    }

    #[test]
    fn a_send_that_is_held_is_told_of_once_and_once_more_when_it_is_taken() {
        let mut sends = Sends::default();
        sends.push(socket(1), Bytes::from_static(b"one"), 0);
        let two = sends.push(socket(2), Bytes::from_static(b"two"), 4);
        assert_eq!(end_turn(&mut sends, 4), [(socket(2), 3, SendOutcome::Held)]);
        let three = sends.push(socket(3), Bytes::from_static(b"three"), 6);
        assert_eq!(end_turn(&mut sends, 4), [(socket(3), 5, SendOutcome::Held)]);
        assert_eq!(sends.get(two), (socket(2), Bytes::from_static(b"two")));
        assert_eq!(sends.get(three), (socket(3), Bytes::from_static(b"three")));
        assert_eq!(
            end_turn(&mut sends, 7),
            [(socket(2), 3, SendOutcome::Taken), (socket(3), 5, SendOutcome::Taken)]
        );
    }

    #[test]
    fn numbers_begin_again_when_they_have_run_out() {
        let mut sends = Sends { first: LANE_SLOTS_MAX - 1, ..Sends::default() };
        let last = sends.push(socket(1), Bytes::from_static(b"last"), 0);
        let first = sends.push(socket(2), Bytes::from_static(b"first"), 1);
        assert_eq!((last, first), (LANE_SLOTS_MAX - 1, 0));
        assert_eq!(sends.get(first).0, socket(2));
        assert_eq!(end_turn(&mut sends, 1), [(socket(2), 5, SendOutcome::Held)]);
        assert_eq!(sends.get(first).0, socket(2));
    }
}
