//! Parked: frames of a client that arrived before they may be handled, as received.
//!
//! In:  frames, and rests of frames.
//! Out: the same, in order.
//!
//! They lie in one buffer, one after the other, each behind a header of four bytes with its length. An empty frame
//! costs only the header; the shortest frame a client can send takes six bytes on the wire. Memory: the buffer's
//! capacity.

/// Bytes before each frame.
const HEADER_BYTES: usize = 4;

/// Set in the header of a partly handled frame.
const REST: u32 = 1 << 31;

/// Frames, oldest first.
#[derive(Debug, Default)]
pub(crate) struct ParkedFrames {
    bytes: Vec<u8>,
    /// Start of the oldest.
    at: usize,
}

/// The limit is exceeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooMuch;

/// A parked frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Parked<'p> {
    pub(super) bytes: &'p [u8],
    /// True exactly when its first commands have been handled.
    pub(super) is_rest: bool,
}

impl ParkedFrames {
    pub(super) fn is_empty(&self) -> bool {
        self.at == self.bytes.len()
    }

    /// Memory in use.
    pub(super) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// Appends a frame if the total stays within `bytes_max`.
    pub(super) fn push(&mut self, frame: Parked<'_>, bytes_max: usize) -> Result<(), TooMuch> {
        let waiting = self.bytes.len() - self.at;
        let needed = waiting + HEADER_BYTES + frame.bytes.len();
        if needed > bytes_max {
            return Err(TooMuch);
        }
        if self.at > 0 {
            self.bytes.drain(..self.at);
            self.at = 0;
        }
        // Grow to what is needed, not to twice that like a vector: the capacity is charged.
        if needed > self.bytes.capacity() {
            self.bytes.reserve_exact(needed + needed / 4 - waiting);
        }
        self.put_header(waiting, frame.bytes.len(), frame.is_rest);
        self.bytes.extend_from_slice(frame.bytes);
        Ok(())
    }

    /// Removes the oldest.
    pub(super) fn pop(&mut self) -> Option<Parked<'_>> {
        let header = self.bytes.get(self.at..self.at + HEADER_BYTES)?;
        let header = u32::from_le_bytes(header.try_into().expect("it has four bytes"));
        let begin = self.at + HEADER_BYTES;
        let end = begin + (header & !REST) as usize;
        self.at = end;
        Some(Parked { bytes: &self.bytes[begin..end], is_rest: header & REST != 0 })
    }

    /// Puts back the last `rest_bytes` of the frame removed last: they are not handled yet.
    pub(super) fn put_back(&mut self, rest_bytes: usize) {
        // The handled part leaves room for the header, as the old header did.
        self.at -= rest_bytes + HEADER_BYTES;
        self.put_header(self.at, rest_bytes, true);
    }

    fn put_header(&mut self, at: usize, len: usize, is_rest: bool) {
        let len = u32::try_from(len).ok().filter(|len| len & REST == 0).expect("a frame is below 2 GiB");
        let header = (if is_rest { len | REST } else { len }).to_le_bytes();
        if at == self.bytes.len() {
            self.bytes.extend_from_slice(&header);
        } else {
            self.bytes[at..at + HEADER_BYTES].copy_from_slice(&header);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(bytes: &[u8]) -> Parked<'_> {
        Parked { bytes, is_rest: false }
    }

    #[test]
    fn frames_come_out_in_order_empty_ones_among_them() {
        let mut parked = ParkedFrames::default();
        assert!(parked.is_empty() && parked.pop().is_none());
        for frame in [&b"one"[..], b"", b"three"] {
            parked.push(whole(frame), 100).unwrap();
        }
        assert_eq!(parked.pop(), Some(whole(b"one")));
        parked.push(Parked { bytes: b"four", is_rest: true }, 100).unwrap();
        assert_eq!(parked.pop(), Some(whole(b"")));
        assert_eq!(parked.pop(), Some(whole(b"three")));
        assert_eq!(parked.pop(), Some(Parked { bytes: b"four", is_rest: true }));
        assert!(parked.is_empty() && parked.pop().is_none());
    }

    #[test]
    fn what_is_put_back_comes_first_again() {
        let mut parked = ParkedFrames::default();
        parked.push(whole(b"abcdef"), 100).unwrap();
        parked.push(whole(b"g"), 100).unwrap();
        parked.pop();
        parked.put_back(6);
        assert_eq!(parked.pop(), Some(Parked { bytes: b"abcdef", is_rest: true }), "all of it");
        parked.put_back(2);
        parked.push(whole(b"h"), 100).unwrap();
        assert_eq!(parked.pop(), Some(Parked { bytes: b"ef", is_rest: true }));
        assert_eq!(parked.pop(), Some(whole(b"g")));
        assert_eq!(parked.pop(), Some(whole(b"h")));
    }

    #[test]
    fn empty_frames_are_bounded_as_others_are_and_memory_follows_what_waits() {
        let mut parked = ParkedFrames::default();
        let count = (0..1_000_000).take_while(|_| parked.push(whole(b""), 1_000).is_ok()).count();
        assert_eq!(count, 250);
        assert!((1_000..=1_250).contains(&parked.capacity()), "{}", parked.capacity());
        assert_eq!(parked.push(whole(&[0; 1_000]), 1_003), Err(TooMuch));
    }
}
