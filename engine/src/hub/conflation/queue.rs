//! Queue: the publications that wait for one slow reader, beside its socket's queue.
//!
//! In:  publications of channels with conflation.
//! Out: the same in each channel's order, round-robin over the channels; with how many were dropped before each.
//!
//! Frames are made only when the reader has room: nothing in this queue is partly sent, so dropping never cuts a frame.
//! Worst case: `client.queue_max_size` of payloads plus one, which all such readers share; 64 bytes for each entry.

use std::{collections::VecDeque, sync::Arc};

use crate::{
    config::SlowReaderPolicy,
    hub::message::{ClientKey, Delivery},
    metrics::Metric,
};

/// What happens to a channel's publications for a slow reader.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Policy {
    /// They wait in its queue, up to the limits; then it is disconnected.
    #[default]
    Disconnect,
    /// The newest `kept` publications wait.
    DropOldest { kept: u32 },
    /// Only the newest waits.
    KeepLatest,
}

impl Policy {
    pub(crate) fn new(policy: SlowReaderPolicy, kept: u32) -> Self {
        match policy {
            SlowReaderPolicy::Disconnect => Self::Disconnect,
            SlowReaderPolicy::DropOldest => Self::DropOldest { kept },
            SlowReaderPolicy::KeepLatest => Self::KeepLatest,
        }
    }

    /// True exactly when publications may be dropped.
    pub(crate) fn may_leave_out(self) -> bool {
        self != Self::Disconnect
    }

    fn kept(self) -> usize {
        match self {
            Self::Disconnect => usize::MAX,
            Self::DropOldest { kept } => kept as usize,
            Self::KeepLatest => 1,
        }
    }

    pub(crate) fn metric(self) -> Metric {
        match self {
            Self::KeepLatest => Metric::OutdatedLeftOut,
            Self::Disconnect | Self::DropOldest { .. } => Metric::OldestLeftOut,
        }
    }
}

/// The queue of one reader.
#[derive(Debug)]
pub(crate) struct ConflationQueue {
    pub(crate) client: ClientKey,
    channels: VecDeque<Channel>,
    /// Bytes that are to be sent.
    bytes: usize,
    /// Bytes of memory.
    memory_bytes: usize,
}

/// The size of one reader's queue, or of several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Size {
    /// Bytes that are to be sent.
    pub(crate) bytes: usize,
    /// Bytes of memory; an entry shared by several readers counts for each.
    pub(crate) memory_bytes: usize,
}

impl Size {
    /// One of them has changed.
    pub(crate) fn change(&mut self, before: Self, now: Self) {
        self.bytes = self.bytes - before.bytes + now.bytes;
        self.memory_bytes = self.memory_bytes - before.memory_bytes + now.memory_bytes;
    }
}

/// Memory of an entry in a channel's queue, which is not always full.
const ENTRY_BYTES: usize = 2 * size_of::<Arc<Delivery>>();

/// The same for a channel in a reader's queue.
const CHANNEL_BYTES: usize = 2 * size_of::<Channel>();

#[derive(Debug)]
struct Channel {
    name: Arc<str>,
    waiting: VecDeque<Arc<Delivery>>,
    /// Dropped before the first entry.
    left_out: u32,
}

/// Every channel is down to one publication, and that still exceeds the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooMuch;

impl ConflationQueue {
    pub(crate) fn new(client: ClientKey) -> Self {
        Self { client, channels: VecDeque::new(), bytes: 0, memory_bytes: 0 }
    }

    pub(crate) fn size(&self) -> Size {
        Size { bytes: self.bytes, memory_bytes: self.memory_bytes + self.channels.len() * CHANNEL_BYTES }
    }

    /// A publication leaves the queue.
    fn count_out(&mut self, delivery: &Delivery) {
        self.bytes -= delivery.frames.len();
        self.memory_bytes -= ENTRY_BYTES + delivery.cost_bytes();
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.channels.is_empty()
    }

    /// Adds a publication. Returns how many older ones of its channel were dropped.
    pub(crate) fn push(&mut self, delivery: Arc<Delivery>, policy: Policy) -> u32 {
        self.bytes += delivery.frames.len();
        self.memory_bytes += ENTRY_BYTES + delivery.cost_bytes();
        let at = self.channels.iter().position(|channel| channel.name == delivery.channel);
        let at = at.unwrap_or_else(|| {
            let name = Arc::clone(&delivery.channel);
            self.channels.push_back(Channel { name, waiting: VecDeque::new(), left_out: 0 });
            self.channels.len() - 1
        });
        self.channels[at].waiting.push_back(delivery);
        let mut left_out = 0;
        while self.channels[at].waiting.len() > policy.kept() {
            self.leave_out(at);
            left_out += 1;
        }
        left_out
    }

    /// Drops the oldest entries of the longest channels until at most `bytes_max` are left. Returns how many were
    /// dropped. If each channel is down to one, the longest of these does not count: a message may exceed the limit.
    pub(crate) fn shrink_to(&mut self, bytes_max: usize) -> Result<u32, TooMuch> {
        let mut left_out = 0;
        while self.bytes > bytes_max {
            let most = (0..self.channels.len()).max_by_key(|&at| self.channels[at].waiting.len());
            match most.filter(|&at| self.channels[at].waiting.len() > 1) {
                Some(at) => self.leave_out(at),
                None if self.bytes - self.longest_bytes() <= bytes_max => break,
                None => return Err(TooMuch),
            }
            left_out += 1;
        }
        Ok(left_out)
    }

    fn longest_bytes(&self) -> usize {
        let waiting = self.channels.iter().flat_map(|channel| &channel.waiting);
        waiting.map(|delivery| delivery.frames.len()).max().unwrap_or(0)
    }

    /// A subscription has ended: drops its channel's entries.
    pub(crate) fn leave(&mut self, channel: &str) {
        let Some(at) = self.channels.iter().position(|waiting| *waiting.name == *channel) else { return };
        let waiting = self.channels.remove(at).expect("it was found").waiting;
        waiting.iter().for_each(|delivery| self.count_out(delivery));
    }

    /// Takes the next publication, with how many of its channel were dropped before it.
    pub(crate) fn pop(&mut self) -> Option<(Arc<Delivery>, u32)> {
        let mut channel = self.channels.pop_front()?;
        let delivery = channel.waiting.pop_front().expect("a channel is here while something of it waits");
        let left_out = std::mem::take(&mut channel.left_out);
        self.count_out(&delivery);
        if !channel.waiting.is_empty() {
            self.channels.push_back(channel);
        }
        Some((delivery, left_out))
    }

    fn leave_out(&mut self, at: usize) {
        let channel = &mut self.channels[at];
        if let Some(oldest) = channel.waiting.pop_front() {
            channel.left_out += 1;
            self.count_out(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::{
        encoding::EncodedPush,
        hub::publication::{Data, StoredPublication},
    };

    fn delivery(channel: &Arc<str>, text: &'static str) -> Arc<Delivery> {
        let data = Data::checked(Bytes::from_static(text.as_bytes()));
        let stored = Arc::new(StoredPublication { data, ..StoredPublication::default() });
        let frames = EncodedPush::of_publication(channel, stored.publication());
        Arc::new(Delivery {
            channel: Arc::clone(channel),
            publication: Some(stored),
            frames,
            for_delta: None,
        })
    }

    fn held() -> ConflationQueue {
        ConflationQueue::new(ClientKey { place: 0, generation: 0 })
    }

    fn rest(held: &mut ConflationQueue) -> Vec<(String, String, u32)> {
        std::iter::from_fn(|| held.pop())
            .map(|(delivery, left_out)| {
                let data = &delivery.publication.as_ref().expect("a publication").data.bytes;
                (delivery.channel.to_string(), String::from_utf8_lossy(data).into_owned(), left_out)
            })
            .collect()
    }

    fn row(channel: &str, text: &str, left_out: u32) -> (String, String, u32) {
        (channel.to_owned(), text.to_owned(), left_out)
    }

    #[test]
    fn the_oldest_of_a_channel_go_and_the_first_that_is_left_says_how_many_went() {
        let (a, b): (Arc<str>, Arc<str>) = ("a".into(), "b".into());
        let mut held = held();
        let policy = Policy::DropOldest { kept: 2 };
        let gone: Vec<u32> = ["1", "2", "3", "4"].map(|text| held.push(delivery(&a, text), policy)).to_vec();
        assert_eq!(gone, [0, 0, 1, 1]);
        held.push(delivery(&b, "5"), policy);
        assert_eq!(rest(&mut held), [row("a", "3", 2), row("b", "5", 0), row("a", "4", 0)]);
        assert!(held.is_empty());
        assert_eq!(held.size(), Size::default());
    }

    #[test]
    fn the_latest_of_each_channel_is_kept_in_the_place_of_the_one_before() {
        let (a, b): (Arc<str>, Arc<str>) = ("a".into(), "b".into());
        let mut held = held();
        for (channel, text) in [(&a, "1"), (&b, "2"), (&a, "3"), (&a, "4")] {
            held.push(delivery(channel, text), Policy::KeepLatest);
        }
        assert_eq!(rest(&mut held), [row("a", "4", 2), row("b", "2", 0)]);
    }

    #[test]
    fn what_waits_ends_with_its_subscription() {
        let (a, b): (Arc<str>, Arc<str>) = ("a".into(), "b".into());
        let mut held = held();
        for (channel, text) in [(&a, "1"), (&b, "2"), (&a, "3")] {
            held.push(delivery(channel, text), Policy::DropOldest { kept: 1 });
        }
        held.leave("a");
        held.leave("c");
        held.push(delivery(&a, "4"), Policy::KeepLatest);
        assert_eq!(rest(&mut held), [row("b", "2", 0), row("a", "4", 0)], "a new one begins without a gap");
        assert_eq!(held.size(), Size::default());
    }

    #[test]
    fn what_is_too_much_shrinks_where_most_waits_and_never_to_nothing() {
        let (a, b): (Arc<str>, Arc<str>) = ("a".into(), "b".into());
        let mut held = held();
        let policy = Policy::DropOldest { kept: 100 };
        for text in ["1", "2", "3"] {
            held.push(delivery(&a, text), policy);
        }
        held.push(delivery(&b, "4"), policy);
        let one = held.size().bytes / 4;
        assert_eq!(held.shrink_to(2 * one), Ok(2));
        assert_eq!(held.shrink_to(one), Ok(0), "one may be longer than the limit");
        assert_eq!(held.shrink_to(one - 1), Err(TooMuch));
        assert_eq!(rest(&mut held), [row("a", "3", 2), row("b", "4", 0)]);
    }

    #[test]
    fn a_publication_longer_than_the_limit_waits_where_it_is_the_only_one() {
        let a: Arc<str> = "a".into();
        let mut held = held();
        for text in ["1", "2"] {
            held.push(delivery(&a, text), Policy::DropOldest { kept: 8 });
        }
        assert_eq!(held.shrink_to(1), Ok(1));
        assert_eq!(rest(&mut held), [row("a", "2", 1)]);
    }
}
