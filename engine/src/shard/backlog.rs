//! Backlog: input of connections that did not fit into a turn.
//!
//! In:  received bytes, frames of commands, ends of streams, in the order of each connection.
//! Out: the same, one flow after the other ([`super::flows`]).
//!
//! Bytes stay in their receive buffers as long as these are at most half of a lane's; further bytes are copied, so that one
//! backlog cannot stop all receiving. A connection whose backlog grows is not read from, so TCP throttles the sender. Worst
//! case: half of the receive buffers, and [`COPIED_BYTES_MAX`] per shard; beyond that buffers are kept, and the kernel
//! receives for nobody until some are returned.

use std::ops::DerefMut;

use holdfast_ring::{Ended, Socket};

use super::flows::Flows;
use crate::session::{Class, Deferred, FlowKey};

/// Pieces of one flow that may wait in receive buffers.
const BUFFERS_A_FLOW: usize = 4;

/// The most copied bytes of a shard.
const COPIED_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// An item of a backlog.
#[derive(Debug)]
pub(super) enum Item<B> {
    /// Bytes of the connection.
    Received(Received<B>),
    /// An item of its session.
    Deferred(Deferred),
    /// The stream has ended.
    Ended(Ended),
}

/// Bytes, of which `from` have been handled.
#[derive(Debug)]
pub(super) struct Received<B> {
    held: Held<B>,
    pub(super) from: usize,
    /// True exactly when they are decrypted and past the limits.
    pub(super) is_plain: bool,
}

#[derive(Debug)]
enum Held<B> {
    /// In a receive buffer of this lane.
    Buffer(B, usize),
    Copy(Vec<u8>),
}

impl<B: DerefMut<Target = [u8]>> Received<B> {
    /// As the kernel delivered them.
    pub(super) fn new(socket: Socket, buffer: B) -> Self {
        Self { held: Held::Buffer(buffer, socket.lane()), from: 0, is_plain: false }
    }

    /// The rest of bytes that are not in a receive buffer.
    pub(super) fn plain(bytes: Vec<u8>) -> Self {
        Self { held: Held::Copy(bytes), from: 0, is_plain: true }
    }

    /// The bytes not handled yet.
    pub(super) fn rest(&mut self) -> &mut [u8] {
        let bytes = match &mut self.held {
            Held::Buffer(buffer, _) => &mut **buffer,
            Held::Copy(bytes) => bytes,
        };
        &mut bytes[self.from..]
    }
}

/// The backlog of a shard.
#[derive(Debug)]
pub(super) struct Backlog<B> {
    flows: Flows<Item<B>>,
    /// Receive buffers held, by lane, and the most that each lane may hold.
    buffers: Vec<usize>,
    buffers_max: usize,
    memory_bytes: u64,
}

impl<B: DerefMut<Target = [u8]>> Backlog<B> {
    /// For a shard with this many receive buffers per lane, and this quantum per flow.
    pub(super) fn new(lanes: usize, lane_buffers: usize, quantum_ns: u64) -> Self {
        Self {
            flows: Flows::new(quantum_ns),
            buffers: vec![0; lanes],
            buffers_max: lane_buffers / 2,
            memory_bytes: 0,
        }
    }

    /// Connections and clients with a backlog.
    pub(super) fn len(&self) -> usize {
        self.flows.len()
    }

    /// True exactly when no flow waits for a part of a turn.
    pub(super) fn are_all_asleep(&self) -> bool {
        self.flows.are_all_asleep()
    }

    pub(super) fn is_any_of(&self, class: Class) -> bool {
        self.flows.is_any_of(class)
    }

    /// True exactly when this flow has a backlog.
    pub(super) fn waits(&self, key: FlowKey) -> bool {
        self.flows.waits(key)
    }

    /// True exactly when this flow waits for a part of a turn.
    pub(super) fn is_awake(&self, key: FlowKey) -> bool {
        self.flows.is_awake(key)
    }

    /// True exactly when the last item is the end of its stream.
    pub(super) fn has_end(&self, key: FlowKey) -> bool {
        matches!(self.flows.items_of(key).next_back(), Some(Item::Ended(_)))
    }

    /// Memory of the backlog besides the receive buffers.
    pub(super) fn memory_bytes(&self) -> u64 {
        self.memory_bytes
    }

    /// Receive buffers held.
    #[cfg(test)]
    pub(super) fn buffers(&self) -> usize {
        self.buffers.iter().sum()
    }

    /// Appends an item to this flow. Returns how many of its pieces wait then.
    pub(super) fn push_back(&mut self, key: FlowKey, class: Class, mut item: Item<B>) -> usize {
        let pieces = self.flows.items_of(key).len();
        if let Item::Received(Received { held, .. }) = &mut item
            && let Held::Buffer(buffer, lane) = held
            && (pieces >= BUFFERS_A_FLOW || self.buffers[*lane] >= self.buffers_max)
            && self.memory_bytes < COPIED_BYTES_MAX
        {
            *held = Held::Copy(buffer.to_vec());
        }
        self.count(&item);
        self.flows.push_back(key, class, item);
        pieces + 1
    }

    /// Puts an interrupted item first in this flow, which has used `used_ns` of its part.
    pub(super) fn push_front(&mut self, key: FlowKey, class: Class, used_ns: u64, item: Item<B>) {
        self.count(&item);
        self.flows.push_front(key, class, used_ns, item);
    }

    /// Takes the next item of this flow.
    pub(super) fn pop(&mut self, key: FlowKey) -> Option<Item<B>> {
        let item = self.flows.pop(key)?;
        self.count_off(&item);
        Some(item)
    }

    /// As [`Flows::next`].
    pub(super) fn next(&mut self, class: Class) -> Option<(FlowKey, u64)> {
        self.flows.next(class)
    }

    /// As [`Flows::sleep`].
    pub(super) fn sleep(&mut self, key: FlowKey, used_ns: u64) {
        self.flows.sleep(key, used_ns);
    }

    /// As [`Flows::wake`].
    pub(super) fn wake(&mut self, key: FlowKey, class: Class) {
        self.flows.wake(key, class);
    }

    /// As [`Flows::served`].
    pub(super) fn served(&mut self, key: FlowKey, class: Class, used_ns: u64) {
        self.flows.served(key, class, used_ns);
    }

    /// Bytes of commands that wait for this flow.
    pub(super) fn command_bytes(&self, key: FlowKey) -> usize {
        let commands = self.flows.items_of(key).map(|item| match item {
            Item::Deferred(Deferred::Commands(commands)) => commands.frame.len(),
            Item::Received(_) | Item::Deferred(Deferred::Parked | Deferred::Retry(..)) | Item::Ended(_) => 0,
        });
        commands.sum()
    }

    /// Sets whether this flow's connection is paused. Returns the previous value.
    pub(super) fn set_paused(&mut self, key: FlowKey, is_paused: bool) -> bool {
        self.flows.set_paused(key, is_paused)
    }

    /// True exactly when this flow's connection is paused because of its backlog.
    pub(super) fn is_paused(&self, key: FlowKey) -> bool {
        self.flows.is_paused(key)
    }

    /// Removes a flow and its backlog.
    pub(super) fn remove(&mut self, key: FlowKey) {
        for item in self.flows.remove(key) {
            self.count_off(&item);
        }
    }

    fn count(&mut self, item: &Item<B>) {
        match item {
            Item::Received(Received { held: Held::Buffer(_, lane), .. }) => self.buffers[*lane] += 1,
            item => self.memory_bytes += memory_bytes(item),
        }
    }

    fn count_off(&mut self, item: &Item<B>) {
        match item {
            Item::Received(Received { held: Held::Buffer(_, lane), .. }) => self.buffers[*lane] -= 1,
            item => self.memory_bytes -= memory_bytes(item),
        }
    }
}

fn memory_bytes<B>(item: &Item<B>) -> u64 {
    let heap = match item {
        Item::Received(Received { held: Held::Copy(bytes), .. }) => bytes.capacity(),
        Item::Deferred(Deferred::Commands(commands)) => commands.memory_bytes,
        Item::Received(_) | Item::Deferred(Deferred::Parked | Deferred::Retry(..)) | Item::Ended(_) => 0,
    };
    (size_of::<Item<B>>() + heap) as u64
}

#[cfg(test)]
mod tests {
    use holdfast_ring::Descriptor;

    use super::{super::flows::QUANTUM_NS, *};

    const BUFFERS: usize = 16;

    fn backlog() -> Backlog<Vec<u8>> {
        Backlog::new(1, BUFFERS, QUANTUM_NS)
    }

    fn came(backlog: &mut Backlog<Vec<u8>>, slot: u32, text: &str) -> usize {
        let socket = Socket::new(Descriptor::new(0, slot), 0);
        let received = Received::new(socket, text.as_bytes().to_vec());
        backlog.push_back(FlowKey::Socket(socket), Class::Sessions, Item::Received(received))
    }

    fn taken(backlog: &mut Backlog<Vec<u8>>) -> Vec<String> {
        let (key, _) = backlog.next(Class::Sessions).expect("somebody waits");
        let mut texts = Vec::new();
        while let Some(item) = backlog.pop(key) {
            let Item::Received(mut received) = item else { panic!("only bytes came") };
            texts.push(String::from_utf8_lossy(received.rest()).into_owned());
        }
        backlog.served(key, Class::Sessions, 0);
        texts
    }

    #[test]
    fn no_connection_holds_more_than_some_buffers_and_all_together_half_of_them() {
        let mut backlog = backlog();
        for piece in 0..100 {
            came(&mut backlog, 1, &piece.to_string());
        }
        assert_eq!(backlog.buffers(), BUFFERS_A_FLOW);
        for slot in 2..50 {
            came(&mut backlog, slot, "x");
        }
        assert_eq!(backlog.buffers(), BUFFERS / 2);
        assert!(backlog.memory_bytes() > 0);
        let texts: Vec<String> = (0..100).map(|piece| piece.to_string()).collect();
        assert_eq!(taken(&mut backlog), texts, "copied or not, in their order");
        (2..50).for_each(|_| assert_eq!(taken(&mut backlog), ["x"]));
        assert_eq!((backlog.buffers(), backlog.memory_bytes()), (0, 0));
    }

    #[test]
    fn what_is_gone_keeps_nothing() {
        let mut backlog = backlog();
        for _ in 0..100 {
            came(&mut backlog, 1, "abc");
        }
        let key = FlowKey::Socket(Socket::new(Descriptor::new(0, 1), 0));
        let commands = crate::conn::Commands::rest(&[b'c'; 1000], true);
        backlog.push_front(key, Class::Sessions, 0, Item::Deferred(Deferred::Commands(commands)));
        assert_eq!(backlog.command_bytes(key), 1000);
        backlog.remove(key);
        assert_eq!((backlog.buffers(), backlog.memory_bytes()), (0, 0));
    }
}
