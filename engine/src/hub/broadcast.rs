//! Broadcast: the members of `/broadcast` on this shard, and this turn's messages.
//!
//! In:  joins, leaves, messages.
//! Out: the turn's messages, encoded once and joined into one piece, for this shard's members and for the other shards.
//!
//! No I/O, no clock.

use bytes::{Bytes, BytesMut};

use super::receivers::ReceiverList;

/// Initial size of the buffers for a turn's messages.
const TURN_BYTES: usize = 4 * 1024;

/// Frames of one turn, joined, with their count.
#[derive(Clone, Debug)]
pub(crate) struct JoinedFrames {
    pub(crate) bytes: Bytes,
    pub(crate) messages: u32,
}

/// This shard's part of the channel.
#[derive(Debug)]
pub(crate) struct Broadcast<T> {
    members: ReceiverList<T>,
    /// For this shard's members: messages published on any shard.
    local: Joined,
    /// For the other shards, if there are any: messages published on this one.
    outgoing: Option<Joined>,
}

#[derive(Debug, Default)]
struct Joined {
    bytes: BytesMut,
    messages: u32,
}

impl Joined {
    fn take(&mut self) -> Option<JoinedFrames> {
        let messages = std::mem::take(&mut self.messages);
        (messages > 0).then(|| JoinedFrames { bytes: self.take_bytes(), messages })
    }

    /// A queued piece for another shard or a slow member keeps about its own length alive, not a whole buffer that it
    /// fills in part.
    fn take_bytes(&mut self) -> Bytes {
        if self.bytes.len() >= self.bytes.capacity() / 2 {
            return self.bytes.split().freeze();
        }
        let taken = Bytes::copy_from_slice(&self.bytes);
        self.bytes.clear();
        taken
    }

    fn room(&mut self) -> &mut BytesMut {
        if self.bytes.is_empty() {
            self.bytes.reserve(TURN_BYTES);
        }
        &mut self.bytes
    }
}

impl<T: Copy> Broadcast<T> {
    /// A hub; with `has_peers`, it keeps messages for the other shards too.
    pub(crate) fn new(has_peers: bool) -> Self {
        let outgoing = has_peers.then(Joined::default);
        Self { members: ReceiverList::default(), local: Joined::default(), outgoing }
    }

    pub(crate) fn members(&self) -> &ReceiverList<T> {
        &self.members
    }

    pub(crate) fn members_mut(&mut self) -> &mut ReceiverList<T> {
        &mut self.members
    }

    /// A member's message, which `encode` appends.
    pub(crate) fn publish(&mut self, encode: impl Fn(&mut BytesMut)) {
        for joined in std::iter::once(&mut self.local).chain(&mut self.outgoing) {
            encode(joined.room());
            joined.messages += 1;
        }
    }

    /// Another shard's messages. They are copied, so that two shards never count the same references.
    pub(crate) fn relay(&mut self, frames: &JoinedFrames) {
        self.local.room().extend_from_slice(&frames.bytes);
        self.local.messages += frames.messages;
    }

    /// Bytes waiting for this shard's members.
    pub(crate) fn local_bytes(&self) -> usize {
        self.local.bytes.len()
    }

    /// The number of members to be sent to.
    pub(crate) fn receivers(&self) -> usize {
        if self.local.messages == 0 { 0 } else { self.members.len() }
    }

    /// Takes this turn's messages for this shard's members.
    pub(crate) fn take_local(&mut self) -> Option<JoinedFrames> {
        self.local.take()
    }

    /// Takes this turn's messages for the other shards.
    pub(crate) fn take_outgoing(&mut self) -> Option<JoinedFrames> {
        self.outgoing.as_mut().and_then(Joined::take)
    }
}

#[cfg(test)]
mod tests {
    use bytes::BufMut as _;

    use super::*;

    #[test]
    fn a_turns_messages_are_one_piece_and_others_messages_are_not_sent_on() {
        let mut hub = Broadcast::<()>::new(true);
        assert!(hub.take_local().is_none());
        hub.publish(|out| out.put_slice(b"[one]"));
        hub.relay(&JoinedFrames { bytes: Bytes::from_static(b"[x]"), messages: 1 });
        hub.publish(|out| out.put_slice(b"[two]"));
        let local = hub.take_local().unwrap();
        assert_eq!(local.bytes, &b"[one][x][two]"[..]);
        assert_eq!(local.messages, 3);
        assert_eq!(hub.take_outgoing().unwrap().bytes, &b"[one][two]"[..]);
        assert!(hub.take_local().is_none() && hub.take_outgoing().is_none());
    }

    #[test]
    fn a_piece_that_waits_keeps_about_its_own_length_alive() {
        let mut hub = Broadcast::<()>::new(true);
        let mut publish = |payload: &[u8]| {
            hub.publish(|out| out.put_slice(payload));
            [hub.take_local().unwrap(), hub.take_outgoing().unwrap()]
        };
        // From here on the buffers are allocated.
        drop(publish(b"x"));
        let mut waiting = Vec::with_capacity(8);
        for payload_bytes in [3, 200, 1_000, 3] {
            let payload = vec![b'x'; payload_bytes];
            let alive = allocation_counter::measure(|| waiting.push(publish(&payload))).bytes_current;
            assert!(alive <= 2 * (payload_bytes as i64 + 64), "{alive} bytes for {payload_bytes}");
        }
    }
}
