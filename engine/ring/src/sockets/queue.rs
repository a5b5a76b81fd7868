//! Queue: what one socket has to write.
//!
//! In:  messages, each one piece of bytes.
//! Out: the next write: one piece, or several joined.
//!
//! A message mostly shares its buffer with others, and goes out in the turn in which it came. One that waits for a reader
//! must not keep such a buffer alive, nor cost more than it has bytes: what waits is copied, short messages into one
//! piece after the other. Worst case: the bytes that wait, and a twentieth of them.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

/// Up to here what waits is copied; it is also the length of the pieces that short messages share.
pub(super) const COPIED_BYTES_MAX: usize = 4096;

/// Room for more messages that a piece gets at once.
const ROOM_BYTES: usize = 512;

/// What waits to be written. Owns no memory of its own while there is at most one message.
#[derive(Debug, Default)]
pub(super) enum Queue {
    #[default]
    Empty,
    One(Bytes),
    Many(Box<Many>),
}

#[derive(Debug, Default)]
pub(super) struct Many {
    pieces: VecDeque<Piece>,
    messages: usize,
}

#[derive(Debug)]
struct Piece {
    bytes: Bytes,
    messages: u32,
    /// True exactly when nobody shares the bytes.
    is_own: bool,
}

impl Piece {
    /// One message, as it came.
    fn new(bytes: Bytes) -> Self {
        Self { bytes, messages: 1, is_own: false }
    }

    /// One message that waits.
    fn waiting(bytes: Bytes) -> Self {
        if bytes.len() > COPIED_BYTES_MAX {
            return Self::new(bytes);
        }
        Self { bytes: Bytes::copy_from_slice(&bytes), messages: 1, is_own: true }
    }

    /// Takes another one up, where both are short enough. Gives it back where they are not.
    fn take_up(&mut self, other: Self) -> Result<(), Self> {
        let len = self.bytes.len() + other.bytes.len();
        if !(self.is_own && other.is_own) || len > COPIED_BYTES_MAX {
            return Err(other);
        }
        self.messages += other.messages;
        let joined = match std::mem::take(&mut self.bytes).try_into_mut() {
            Ok(bytes) if bytes.capacity() >= len => Ok(bytes),
            Ok(bytes) => Err(bytes.freeze()),
            Err(bytes) => Err(bytes),
        };
        let mut joined = joined.unwrap_or_else(|bytes| {
            let mut joined = BytesMut::with_capacity(len.next_multiple_of(ROOM_BYTES));
            joined.extend_from_slice(&bytes);
            joined
        });
        joined.extend_from_slice(&other.bytes);
        self.bytes = joined.freeze();
        Ok(())
    }
}

impl Many {
    fn push_back(&mut self, piece: Piece) {
        self.messages += piece.messages as usize;
        let left = match self.pieces.back_mut() {
            Some(last) => last.take_up(piece),
            None => Err(piece),
        };
        if let Err(piece) = left {
            self.pieces.push_back(piece);
        }
    }

    fn pop_front(&mut self) -> Option<Bytes> {
        let piece = self.pieces.pop_front()?;
        self.messages -= piece.messages as usize;
        Some(piece.bytes)
    }
}

impl Queue {
    pub(super) fn is_empty(&self) -> bool {
        matches!(self, Self::Empty)
    }

    pub(super) fn messages(&self) -> usize {
        match self {
            Self::Empty => 0,
            Self::One(_) => 1,
            Self::Many(many) => many.messages,
        }
    }

    /// A message that may go out in this turn.
    pub(super) fn push_back(&mut self, bytes: Bytes) {
        *self = match std::mem::take(self) {
            Self::Empty => Self::One(bytes),
            first => first.and_then(Piece::new(bytes)),
        };
    }

    /// A message that waits for the reader.
    pub(super) fn push_back_to_wait(&mut self, bytes: Bytes) {
        let piece = Piece::waiting(bytes);
        *self = match std::mem::take(self) {
            Self::Empty => Self::One(piece.bytes),
            first => first.and_then(piece),
        };
    }

    /// The rest of a message that went out in part.
    pub(super) fn push_front(&mut self, bytes: Bytes) {
        *self = match std::mem::take(self) {
            Self::Empty => Self::One(bytes),
            Self::One(last) => Self::One(bytes).and_then(Piece::new(last)),
            Self::Many(mut many) => {
                many.messages += 1;
                many.pieces.push_front(Piece::new(bytes));
                Self::Many(many)
            }
        };
    }

    /// What is here has to wait from now on.
    pub(super) fn settle_to_wait(&mut self) {
        match self {
            Self::Empty => {}
            Self::One(bytes) => *bytes = Piece::waiting(std::mem::take(bytes)).bytes,
            Self::Many(many) if many.pieces.iter().all(|piece| piece.is_own) => {}
            Self::Many(many) => {
                let mut settled = Many::default();
                for piece in many.pieces.drain(..) {
                    settled.push_back(if piece.is_own { piece } else { Piece::waiting(piece.bytes) });
                }
                **many = settled;
            }
        }
    }

    /// Takes the next write: the first piece as it is, or as many as fit into `bytes_max` joined.
    pub(super) fn take_joined(&mut self, bytes_max: usize) -> Option<Bytes> {
        match std::mem::take(self) {
            Self::Empty => None,
            Self::One(bytes) => Some(bytes),
            Self::Many(mut many) => {
                let mut count = 0;
                let mut len = 0;
                for piece in &many.pieces {
                    if count > 0 && len + piece.bytes.len() > bytes_max {
                        break;
                    }
                    len += piece.bytes.len();
                    count += 1;
                }
                let joined = if count == 1 {
                    many.pop_front()
                } else {
                    let mut joined = BytesMut::with_capacity(len);
                    for _ in 0..count {
                        if let Some(bytes) = many.pop_front() {
                            joined.extend_from_slice(&bytes);
                        }
                    }
                    Some(joined.freeze())
                };
                *self = match many.messages {
                    0 => Self::Empty,
                    1 => many.pop_front().map_or(Self::Empty, Self::One),
                    _ => Self::Many(many),
                };
                joined
            }
        }
    }

    /// A piece comes behind what is here, which is something.
    fn and_then(self, piece: Piece) -> Self {
        let mut many = match self {
            Self::Empty => Box::default(),
            Self::One(first) => {
                let mut many = Box::<Many>::default();
                // Whether somebody shares the first one is not known any more.
                many.push_back(Piece::new(first));
                many
            }
            Self::Many(many) => many,
        };
        many.push_back(piece);
        Self::Many(many)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(pieces: &[&'static str]) -> Queue {
        let mut queue = Queue::Empty;
        pieces.iter().for_each(|piece| queue.push_back(Bytes::from_static(piece.as_bytes())));
        queue
    }

    #[test]
    fn pieces_are_joined_in_order_up_to_the_limit() {
        let mut queue = queue(&["ab", "cd", "efg", "h"]);
        assert_eq!(queue.messages(), 4);
        assert_eq!(queue.take_joined(5).as_deref(), Some(&b"abcd"[..]));
        assert_eq!(queue.messages(), 2);
        assert_eq!(queue.take_joined(5).as_deref(), Some(&b"efgh"[..]));
        assert_eq!(queue.take_joined(5), None);
        assert!(queue.is_empty());
    }

    #[test]
    fn a_piece_over_the_limit_goes_alone_and_uncopied() {
        let long = Bytes::from_static(b"longer than the limit");
        let mut queue = Queue::Empty;
        queue.push_back(long.clone());
        queue.push_back(Bytes::from_static(b"x"));
        let taken = queue.take_joined(4).expect("there is one");
        assert_eq!(taken.as_ptr(), long.as_ptr());
        assert_eq!(queue.take_joined(4).as_deref(), Some(&b"x"[..]));
    }

    #[test]
    fn what_was_not_taken_goes_first() {
        let mut queue = queue(&["b", "c"]);
        queue.push_front(Bytes::from_static(b"a"));
        assert_eq!(queue.take_joined(64).as_deref(), Some(&b"abc"[..]));
    }

    /// Bytes that the queue's pieces may have allocated, if each of them is its own.
    fn pieces(queue: &Queue) -> Vec<usize> {
        match queue {
            Queue::Empty => Vec::new(),
            Queue::One(bytes) => vec![bytes.len()],
            Queue::Many(many) => many.pieces.iter().map(|piece| piece.bytes.len()).collect(),
        }
    }

    #[test]
    fn short_messages_that_wait_share_pieces_of_their_own_and_are_counted_one_by_one() {
        let shared = Bytes::from(vec![7; 16 * 1024]);
        let mut queue = queue(&["first"]);
        queue.push_back(shared.slice(..10));
        queue.settle_to_wait();
        for at in 0..1_000 {
            queue.push_back_to_wait(shared.slice(at..at + 10));
        }
        assert_eq!(queue.messages(), 1_002);
        assert!(pieces(&queue).len() <= 4, "{:?}", pieces(&queue));
        drop(shared.clone());
        assert!(shared.is_unique(), "nothing that waits keeps it alive");
        let mut all = Vec::new();
        while let Some(bytes) = queue.take_joined(3_000) {
            all.extend_from_slice(&bytes);
        }
        assert_eq!((all.len(), queue.messages()), (5 + 1_001 * 10, 0));
    }

    #[test]
    fn a_long_message_that_waits_stays_shared_and_order_holds_around_it() {
        let long = Bytes::from(vec![b'l'; COPIED_BYTES_MAX + 1]);
        let mut queue = Queue::Empty;
        queue.push_back_to_wait(Bytes::from_static(b"a"));
        queue.push_back_to_wait(long.clone());
        queue.push_back_to_wait(Bytes::from_static(b"b"));
        queue.push_back_to_wait(Bytes::from_static(b"c"));
        assert!(!long.is_unique());
        assert_eq!(pieces(&queue), [1, COPIED_BYTES_MAX + 1, 2]);
        let joined = queue.take_joined(usize::MAX).expect("all of it");
        assert_eq!((joined.first(), &joined[joined.len() - 2..]), (Some(&b'a'), &b"bc"[..]));
    }
}
