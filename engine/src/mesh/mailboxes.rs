//! Mailboxes: the bounded queues into one shard, one per sender.
//!
//! In:  messages of the other shards, each in its own queue; calls for channels, and control messages, of the control
//! thread; stop orders.
//! Out: the same, each queue in order.
//!
//! No sender can fill another one's queue, so none waits because of another; and clients cannot fill those of the control
//! thread. A queue is bounded in messages and in bytes; a message to an empty queue passes whatever its size. Worst case:
//! [`MailboxLimits`] for each sender, and one message more.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use holdfast_ring::{Doorbell, Mailbox};

use crate::ids::ShardId;

/// The most waiting control messages: a call, an answer of a backend, certificates.
const CONTROL_MESSAGES_MAX: usize = 1024;

/// The most waiting stop orders. A later one only makes the stop faster, and from the third one on they are alike.
const ORDERS_MAX: usize = 8;

/// The bounds of all queues into one shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MailboxLimits {
    pub(crate) messages_max: usize,
    pub(crate) bytes_max: u64,
}

impl MailboxLimits {
    /// The part of each of `senders`.
    fn shared_out(self, senders: usize) -> Self {
        let senders = senders.max(1);
        Self {
            messages_max: self.messages_max.div_ceil(senders),
            bytes_max: self.bytes_max.div_ceil(senders as u64),
        }
    }
}

/// How a shard must stop. A later order only makes it faster.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StopOrder {
    /// All clients are told within this time, evenly spread.
    pub(crate) notify_within: Duration,
    /// Clients still connected after this time are cut.
    pub(crate) close_within: Duration,
    /// Listening sockets of other daemons on our port.
    pub(crate) successors: u32,
}

impl StopOrder {
    /// Tells all clients at once.
    pub(crate) fn at_once(close_within: Duration) -> Self {
        Self { notify_within: Duration::ZERO, close_within, successors: 0 }
    }
}

/// What shards tell each other; what it means is not the mesh's concern.
pub(crate) trait Message {
    /// Bytes of memory, including its entry in a queue.
    fn cost_bytes(&self) -> u32;

    /// True exactly when it is the work of clients or of the application. Such a message of the control thread waits its
    /// turn; all others precede it.
    fn is_work(&self) -> bool;
}

/// A message, and the memory that it keeps alive while it waits.
#[derive(Debug)]
pub(crate) struct Parcel<M> {
    pub(crate) bytes: u32,
    pub(crate) message: M,
}

impl<M: Message> From<M> for Parcel<M> {
    fn from(message: M) -> Self {
        Self { bytes: message.cost_bytes(), message }
    }
}

/// The queue of one sender. The two counters are on separate cache lines: each has one writer.
#[derive(Debug)]
pub(crate) struct Inlet<M> {
    mailbox: Mailbox<Parcel<M>>,
    bytes_max: u64,
    sent_bytes: Counter,
    taken_bytes: Counter,
}

#[derive(Debug, Default)]
#[repr(align(128))]
struct Counter(AtomicU64);

impl<M: Message> Inlet<M> {
    fn new(limits: MailboxLimits, bell: &Arc<Doorbell>) -> Self {
        Self {
            mailbox: Mailbox::new(limits.messages_max, Arc::clone(bell)),
            bytes_max: limits.bytes_max,
            sent_bytes: Counter::default(),
            taken_bytes: Counter::default(),
        }
    }

    /// Appends a message. Only the sender calls this.
    ///
    /// # Errors
    /// Returns the message if the queue is full.
    pub(crate) fn push(&self, parcel: Parcel<M>) -> Result<(), Parcel<M>> {
        let bytes = u64::from(parcel.bytes);
        let waiting = self.bytes();
        if waiting > 0 && waiting + bytes > self.bytes_max {
            return Err(parcel);
        }
        // Before it can be taken: the counter must never go below zero.
        self.sent_bytes.0.fetch_add(bytes, Ordering::Relaxed);
        self.mailbox.push(parcel).inspect_err(|_| {
            self.sent_bytes.0.fetch_sub(bytes, Ordering::Relaxed);
        })
    }

    /// Takes the oldest message. Only the receiving shard calls this.
    pub(crate) fn pop(&self) -> Option<M> {
        let parcel = self.mailbox.pop()?;
        self.taken_bytes.0.fetch_add(u64::from(parcel.bytes), Ordering::Relaxed);
        Some(parcel.message)
    }

    /// Waiting bytes, as the sender knows them.
    pub(crate) fn bytes(&self) -> u64 {
        let sent = self.sent_bytes.0.load(Ordering::Relaxed);
        sent.saturating_sub(self.taken_bytes.0.load(Ordering::Relaxed))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.mailbox.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.mailbox.len()
    }

    fn abandon(&self) {
        self.mailbox.abandon();
        // Whatever is sent from now on, nothing waits.
        self.taken_bytes.0.store(u64::MAX, Ordering::Relaxed);
    }

    /// As [`Mailbox::narrow`].
    #[cfg(test)]
    pub(crate) fn narrow(&self, messages: usize) {
        self.mailbox.narrow(messages);
    }
}

/// All queues into one shard.
#[derive(Debug)]
pub(crate) struct Mailboxes<M> {
    bell: Arc<Doorbell>,
    orders: Mailbox<StopOrder>,
    control: Mailbox<M>,
    /// By the sender's number; the last one is the control thread's.
    inlets: Vec<Inlet<M>>,
}

impl<M: Message> Mailboxes<M> {
    /// The queues of one of `shards`, which sleeps behind `bell`.
    pub(super) fn new(shards: usize, limits: MailboxLimits, bell: Arc<Doorbell>) -> Self {
        let part = limits.shared_out(shards.saturating_sub(1));
        Self {
            orders: Mailbox::new(ORDERS_MAX, Arc::clone(&bell)),
            control: Mailbox::new(CONTROL_MESSAGES_MAX, Arc::clone(&bell)),
            inlets: (0..shards).map(|_| Inlet::new(part, &bell)).chain([Inlet::new(limits, &bell)]).collect(),
            bell,
        }
    }

    /// The doorbell of the receiving shard.
    pub(crate) fn bell(&self) -> &Arc<Doorbell> {
        &self.bell
    }

    /// The queues by sender; the last one is the control thread's.
    pub(crate) fn inlets(&self) -> &[Inlet<M>] {
        &self.inlets
    }

    /// The queue of one shard.
    pub(crate) fn inlet(&self, sender: ShardId) -> &Inlet<M> {
        &self.inlets[sender.index()]
    }

    /// Appends a message of the control thread to the right queue: a call for a channel waits with its other calls for
    /// channels, everything else precedes the work of clients. Wakes the receiving shard.
    ///
    /// # Errors
    /// Returns the message if that queue is full.
    pub(crate) fn push_control(&self, message: M) -> Result<(), M> {
        let pushed = if message.is_work() {
            let inlet = &self.inlets[self.inlets.len() - 1];
            inlet.push(message.into()).map_err(|parcel| parcel.message)
        } else {
            self.control.push(message)
        };
        self.bell.ring();
        pushed
    }

    /// Appends a stop order. Wakes the receiving shard.
    pub(super) fn push_order(&self, order: StopOrder) {
        // If eight wait, another one adds nothing.
        let _ = self.orders.push(order);
        self.bell.ring();
    }

    pub(crate) fn pop_order(&self) -> Option<StopOrder> {
        self.orders.pop()
    }

    pub(crate) fn pop_control(&self) -> Option<M> {
        self.control.pop()
    }

    /// Waiting control messages.
    pub(crate) fn control_len(&self) -> usize {
        self.control.len()
    }

    /// True exactly when all queues are empty.
    pub(crate) fn is_empty(&self) -> bool {
        self.orders.is_empty() && self.control.is_empty() && self.inlets.iter().all(Inlet::is_empty)
    }

    /// Waiting messages, except stop orders.
    pub(crate) fn len(&self) -> usize {
        self.control.len() + self.inlets.iter().map(Inlet::len).sum::<usize>()
    }

    /// The receiving shard takes no more messages.
    pub(super) fn abandon(&self) {
        self.orders.abandon();
        self.control.abandon();
        self.inlets.iter().for_each(Inlet::abandon);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A message that takes so many bytes.
    #[derive(Debug)]
    struct Bulky(u32);

    impl Message for Bulky {
        fn cost_bytes(&self) -> u32 {
            self.0
        }

        fn is_work(&self) -> bool {
            false
        }
    }

    fn mailboxes(shards: usize, messages_max: usize, bytes_max: u64) -> Mailboxes<Bulky> {
        let bell = Arc::new(Doorbell::new(None).unwrap());
        Mailboxes::new(shards, MailboxLimits { messages_max, bytes_max }, bell)
    }

    fn parcel(bytes: u32) -> Parcel<Bulky> {
        Bulky(bytes).into()
    }

    #[test]
    fn a_queue_is_full_by_messages_or_by_bytes_and_takes_one_message_of_any_size() {
        let mailboxes = mailboxes(2, 3, 10_000);
        let inlet = mailboxes.inlet(ShardId::new(0));
        assert!(inlet.push(parcel(50_000)).is_ok());
        assert!(inlet.push(parcel(1)).is_err(), "it has more than its bytes");
        assert!(inlet.bytes() >= 50_000);
        assert!(inlet.pop().is_some());
        assert_eq!(inlet.bytes(), 0);
        assert!((0..3).all(|_| inlet.push(parcel(10)).is_ok()));
        assert!(inlet.push(parcel(10)).is_err(), "it has as many messages as it may");
        assert!(inlet.bytes() < 10_000);
    }

    #[test]
    fn no_sender_fills_the_queue_of_another_one_nor_that_of_control_and_stop() {
        let mailboxes = mailboxes(3, 4, 1 << 20);
        while mailboxes.inlet(ShardId::new(1)).push(parcel(10)).is_ok() {}
        assert_eq!(mailboxes.inlet(ShardId::new(1)).len(), 2, "two senders share four");
        assert!(mailboxes.inlet(ShardId::new(2)).push(parcel(10)).is_ok());
        assert!(mailboxes.push_control(parcel(10).message).is_ok());
        let order = StopOrder::at_once(Duration::ZERO);
        (0..100).for_each(|_| mailboxes.push_order(order));
        assert_eq!(std::iter::from_fn(|| mailboxes.pop_order()).count(), ORDERS_MAX);
        assert!(mailboxes.pop_control().is_some());
    }

    #[test]
    fn mailboxes_whose_owner_has_gone_are_never_full() {
        let mailboxes = mailboxes(2, 1, 100);
        mailboxes.abandon();
        assert!((0..10).all(|_| mailboxes.inlet(ShardId::new(0)).push(parcel(60)).is_ok()));
        assert!(mailboxes.is_empty());
    }
}
