//! Slow: readers that do not keep up, and what becomes of what is sent to them.
//!
//! In:  publications for sockets that the kernel takes no more for; a budget of the whole daemon.
//! Out: what their namespaces' policies leave of it, when there is room; the end of the worst, where all together are
//! too much.
//!
//! Who keeps up costs nothing here: a channel whose policy is `disconnect` never asks, and the others ask one question
//! a receiver. Nothing is left out in silence: the next publication that comes through says how many are missing before
//! it (`docs/decisions/0011-slow-readers.md`).

mod held;

use std::{borrow::Cow, collections::HashMap, sync::Arc};

use holdfast_protocol::client::{DisconnectCode, Payload, Publication};
use holdfast_ring::Socket;

use self::held::{Held, Size, TooMuch};
use crate::{
    config::SlowReaderPolicy,
    hub::{
        message::{ClientKey, Delivery},
        publication::Frames,
    },
    memory::shrink,
    metrics::Metric,
    session::client::Delta,
    session::{Io, SessionCx},
};

/// The tag of a publication before which others were left out: how many.
const LEFT_OUT_TAG: &str = "holdfast-left-out";

/// Bytes that go to a reader at once when it has room again; at most a quarter of its queue, so that what is published
/// meanwhile has room behind them.
const FED_BYTES: usize = 16 * 1024;

/// What becomes of a channel's publications for a reader that does not keep up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Policy {
    /// They wait in its queue, up to the limits; then it is sent away.
    #[default]
    Disconnect,
    /// The newest so many wait.
    DropOldest { kept: u32 },
    /// The newest waits.
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

    /// True exactly when publications may be left out.
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

    fn metric(self) -> Metric {
        match self {
            Self::KeepLatest => Metric::OutdatedLeftOut,
            Self::Disconnect | Self::DropOldest { .. } => Metric::OldestLeftOut,
        }
    }
}

/// The readers of a shard for which something is held.
#[derive(Debug, Default)]
pub(crate) struct SlowReaders {
    pub(crate) held: HashMap<Socket, Held>,
    /// What waits of all of them.
    pub(crate) size: Size,
    /// For whom too much is held; they go when the walk over a channel's subscribers is over.
    pub(crate) given_up: Vec<Socket>,
}

impl SlowReaders {
    /// The connection has gone, or its session has.
    pub(crate) fn forget(&mut self, socket: Socket) {
        if !self.held.is_empty()
            && let Some(held) = self.held.remove(&socket)
        {
            self.size.change(held.size(), Size::default());
            shrink(&mut self.held);
        }
    }

    /// One of its subscriptions has ended. A later one to the same channel is not to be told of what was before it.
    pub(crate) fn forget_channel(&mut self, socket: Socket, channel: &str) {
        let Some(held) = self.held.get_mut(&socket) else { return };
        let before = held.size();
        held.leave(channel);
        self.size.change(before, held.size());
        if held.is_empty() {
            self.held.remove(&socket);
            shrink(&mut self.held);
        }
    }
}

impl<I: Io> SessionCx<'_, I> {
    /// True exactly when what may wait for this reader is to wait.
    pub(crate) fn is_slow(&mut self, socket: Socket) -> bool {
        // A long queue counts before the kernel was asked to take it: a turn's writes are bounded.
        self.io.is_behind(socket)
            || self.io.queued_bytes(socket) > self.cx.settings.paused_queue_bytes
            || (!self.hub.slow.held.is_empty() && self.hub.slow.held.contains_key(&socket))
    }

    /// Has publications wait until the reader has room.
    #[cold]
    pub(crate) fn hold(
        &mut self,
        client: ClientKey,
        socket: Socket,
        policy: Policy,
        deliveries: &[Arc<Delivery>],
    ) {
        let held = self.hub.slow.held.entry(socket).or_insert_with(|| Held::new(client));
        let before = held.size();
        let left_out: u32 = deliveries.iter().map(|delivery| held.push(Arc::clone(delivery), policy)).sum();
        let shrunk = held.shrink_to(self.cx.settings.queue_bytes_max);
        self.hub.slow.size.change(before, held.size());
        self.cx.counters.add(policy.metric(), u64::from(left_out));
        match shrunk {
            Ok(more) => self.cx.counters.add(Metric::OldestLeftOut, u64::from(more)),
            // One publication of each channel is too much: it is sent away, when the walk over the subscribers is over.
            Err(TooMuch) => self.hub.slow.given_up.push(socket),
        }
        self.io.tell_when_drained(socket);
    }

    /// For this reader too much is held, whatever is left out.
    #[cold]
    pub(crate) fn give_up_reader(&mut self, socket: Socket) {
        if let Some(held) = self.hub.slow.held.get(&socket) {
            let client = held.client;
            self.cx.counters.add(Metric::SlowByQueue, 1);
            self.disconnect(client, DisconnectCode::SLOW);
        }
    }

    /// A reader has room: some of what waits goes out.
    pub(crate) fn feed(&mut self, socket: Socket) {
        if self.hub.slow.held.is_empty() {
            return;
        }
        let Some(held) = self.hub.slow.held.get_mut(&socket) else { return };
        let before = held.size();
        let client = held.client;
        let fed_bytes = FED_BYTES.min(self.cx.settings.queue_bytes_max / 4);
        let mut next = Vec::new();
        while before.bytes - held.size().bytes < fed_bytes
            && let Some(popped) = held.pop()
        {
            next.push(popped);
        }
        self.hub.slow.size.change(before, held.size());
        let is_empty = held.is_empty();
        if is_empty {
            self.hub.slow.held.remove(&socket);
            shrink(&mut self.hub.slow.held);
        }
        for (delivery, left_out) in next {
            self.deliver_late(client, &delivery, left_out);
        }
        if !is_empty {
            self.io.tell_when_drained(socket);
        }
    }

    /// Sends one that has waited, unless its subscription has ended meanwhile.
    fn deliver_late(&mut self, client: ClientKey, delivery: &Delivery, left_out: u32) {
        let Some(channel) = self.hub.locals.find(&delivery.channel) else { return };
        let Some(client) = self.sessions.clients.get(client) else { return };
        let (link, format) = (client.link, client.format);
        let Some(sub) = client.sub(channel) else { return };
        let wishes = sub.wishes.as_deref_mut().filter(|wishes| wishes.delta != Delta::None);
        let for_delta = delivery.for_delta.as_ref().filter(|_| wishes.is_some());
        if let (Some(wishes), Some(publication)) = (wishes, &delivery.publication) {
            wishes.have_had(publication);
        }
        match left_out {
            0 => {
                let frames = for_delta.map_or(&delivery.frames, |for_delta| &for_delta.whole);
                self.send_frames_alone(link, format, frames);
            }
            _ => self.send_frames_alone(link, format, &with_gap(delivery, left_out, for_delta.is_some())),
        }
    }
}

/// A publication that says how many are missing before it; for those who take patches, where it `is_quoted`.
fn with_gap(delivery: &Delivery, left_out: u32, is_quoted: bool) -> Frames {
    let Some(stored) = &delivery.publication else { return delivery.frames.clone() };
    let frames = |mut publication: Publication<'_>| {
        publication.tags.0.push((Cow::Borrowed(LEFT_OUT_TAG), Cow::Owned(left_out.to_string())));
        Frames::of_publication(&delivery.channel, publication)
    };
    let plain = frames(stored.publication());
    if !is_quoted {
        return plain;
    }
    let text = stored.data.payload().json_text();
    plain.with_json_of(&frames(stored.with_data(Payload::quoted(&text), false)))
}
