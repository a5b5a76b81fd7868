//! Token: what an operation's `user_data` says when it comes back.
//!
//! Eight bits of kind, 32 of generation, 24 of slot. The lane is that of the ring which brings it.

use crate::kernel::{Armed, Descriptor, LANE_SLOTS_MAX, Socket};

/// What the completed operation was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    Accept = 1,
    Connect,
    PollReadable,
    PollWritable,
    Receive,
    ReceiveMany,
    Look,
    /// Its slot is the number of one of the lane's sends.
    Send,
    Close,
    /// The poll on this thread's eventfd.
    Bell,
    /// A message of another ring.
    Rung,
    /// Our message to another ring; its slot is the place of that thread's bell.
    Wake,
    /// The poll on another lane's eventfd; its slot is the lane.
    OtherLane,
    /// An accept that is told the address; its slot is the number of one of the lane's places for it.
    AcceptWithAddress,
    /// A descriptor of the process for a socket, whose address is asked for.
    PeerAddress,
    /// An operation whose end means nothing, such as a cancellation.
    Ignored,
}

const KINDS: [Kind; 16] = [
    Kind::Accept,
    Kind::Connect,
    Kind::PollReadable,
    Kind::PollWritable,
    Kind::Receive,
    Kind::ReceiveMany,
    Kind::Look,
    Kind::Send,
    Kind::Close,
    Kind::Bell,
    Kind::Rung,
    Kind::Wake,
    Kind::OtherLane,
    Kind::AcceptWithAddress,
    Kind::PeerAddress,
    Kind::Ignored,
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token(pub(crate) u64);

impl Token {
    pub(crate) const fn plain(kind: Kind) -> Self {
        Self::indexed(kind, 0)
    }

    pub(crate) const fn indexed(kind: Kind, slot: u32) -> Self {
        Self((kind as u64) << 56 | slot as u64)
    }

    pub(crate) fn of(kind: Kind, socket: Socket) -> Self {
        Self(
            (kind as u64) << 56
                | u64::from(socket.generation()) << 24
                | u64::from(socket.descriptor().slot()),
        )
    }

    pub(crate) fn armed(armed: Armed, socket: Socket) -> Self {
        let kind = match armed {
            Armed::Poll => Kind::PollReadable,
            Armed::Once => Kind::Receive,
            Armed::Many => Kind::ReceiveMany,
            Armed::Connect => Kind::Connect,
        };
        Self::of(kind, socket)
    }

    /// `None` for a number that this ring never gave out.
    pub(crate) fn kind(self) -> Option<Kind> {
        let number = (self.0 >> 56) as usize;
        KINDS.get(number.wrapping_sub(1)).copied()
    }

    pub(crate) fn slot(self) -> u32 {
        #[expect(clippy::cast_possible_truncation, reason = "masked to 24 bits")]
        let slot = self.0 as u32 & (LANE_SLOTS_MAX - 1);
        slot
    }

    pub(crate) fn socket(self, lane: usize) -> Socket {
        #[expect(clippy::cast_possible_truncation, reason = "the cast takes just the generation's 32 bits")]
        let generation = (self.0 >> 24) as u32;
        Socket::new(Descriptor::new(lane, self.slot()), generation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_gives_back_its_kind_and_its_socket() {
        for (number, kind) in KINDS.into_iter().enumerate() {
            assert_eq!(number + 1, kind as usize);
            let socket = Socket::new(Descriptor::new(200, LANE_SLOTS_MAX - 1), u32::MAX);
            let token = Token::of(kind, socket);
            assert_eq!(token.kind(), Some(kind));
            assert_eq!(token.socket(200), socket);
        }
        assert_eq!(Token(0).kind(), None);
        assert_eq!(Token(u64::MAX).kind(), None);
    }
}
