//! Conflation: publications for slow readers.
//!
//! In:  publications for sockets that the kernel accepts no more bytes for.
//! Out: the publications that the namespace's policy keeps, when there is room; the end of readers whose queue exceeds
//!      its limit.

use std::{borrow::Cow, sync::Arc};

use holdfast_protocol::client::{DisconnectCode, Payload, Publication};
use holdfast_ring::Socket;

use super::{Io, SessionCx, client::Delta};
use crate::{
    encoding::EncodedPush,
    hub::{
        conflation::{ConflationQueue, Policy, TooMuch},
        message::Delivery,
    },
    ids::ClientKey,
    memory::shrink,
    metrics::Metric,
};

/// The tag of a publication that follows dropped ones: their number.
const LEFT_OUT_TAG: &str = "holdfast-left-out";

/// Bytes sent at once to a reader that has room again; at most a quarter of its queue, so that new publications have
/// room behind them.
const FED_BYTES: usize = 16 * 1024;

impl<I: Io> SessionCx<'_, I> {
    /// True exactly when publications for this reader must wait.
    pub(crate) fn is_slow(&mut self, socket: Socket) -> bool {
        // A long queue counts even before the kernel was asked to take it: a turn's writes are bounded.
        self.io.is_backlogged(socket)
            || self.io.queued_bytes(socket) > self.sessions.policy.queue.paused_bytes
            || (!self.hub.slow.held.is_empty() && self.hub.slow.held.contains_key(&socket))
    }

    /// Queues publications until the reader has room.
    #[cold]
    pub(crate) fn hold(
        &mut self,
        client: ClientKey,
        socket: Socket,
        policy: Policy,
        deliveries: &[Arc<Delivery>],
    ) {
        let held = self.hub.slow.held.entry(socket).or_insert_with(|| ConflationQueue::new(client));
        let before = held.size();
        let left_out: u32 = deliveries.iter().map(|delivery| held.push(Arc::clone(delivery), policy)).sum();
        let shrunk = held.shrink_to(self.sessions.policy.queue.bytes_max);
        self.hub.slow.size.change(before, held.size());
        self.cx.counters.add(policy.metric(), u64::from(left_out));
        match shrunk {
            Ok(more) => self.cx.counters.add(Metric::OldestLeftOut, u64::from(more)),
            // One publication per channel is already too much: disconnect it after the walk over the subscribers.
            Err(TooMuch) => self.hub.slow.given_up.push(socket),
        }
        self.io.notify_drained(socket);
    }

    /// This reader exceeds its limit even with conflation: ends it.
    #[cold]
    pub(crate) fn give_up_reader(&mut self, socket: Socket) {
        if let Some(held) = self.hub.slow.held.get(&socket) {
            let client = held.client;
            self.cx.counters.add(Metric::SlowByQueue, 1);
            self.disconnect(client, DisconnectCode::SLOW);
        }
    }

    /// A reader has room: sends some of its waiting publications.
    pub(crate) fn feed(&mut self, socket: Socket) {
        if self.hub.slow.held.is_empty() {
            return;
        }
        let Some(held) = self.hub.slow.held.get_mut(&socket) else { return };
        let before = held.size();
        let client = held.client;
        let fed_bytes = FED_BYTES.min(self.sessions.policy.queue.bytes_max / 4);
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
            self.io.notify_drained(socket);
        }
    }

    /// Sends a publication that waited, unless its subscription has ended in the meantime.
    fn deliver_late(&mut self, client: ClientKey, delivery: &Delivery, left_out: u32) {
        let Some(channel) = self.hub.subscriptions.find(&delivery.channel) else { return };
        let Some(client) = self.sessions.clients.get(client) else { return };
        let (link, format) = (client.link, client.format);
        let Some(sub) = client.sub(channel) else { return };
        let options = sub.options.as_deref_mut().filter(|options| options.delta != Delta::None);
        let for_delta = delivery.for_delta.as_ref().filter(|_| options.is_some());
        if let (Some(options), Some(publication)) = (options, &delivery.publication) {
            options.have_had(publication);
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

/// Adds the number of missing publications as a tag. `is_quoted`: in the form for subscribers that take patches.
fn with_gap(delivery: &Delivery, left_out: u32, is_quoted: bool) -> EncodedPush {
    let Some(stored) = &delivery.publication else { return delivery.frames.clone() };
    let frames = |mut publication: Publication<'_>| {
        publication.tags.0.push((Cow::Borrowed(LEFT_OUT_TAG), Cow::Owned(left_out.to_string())));
        EncodedPush::of_publication(&delivery.channel, publication)
    };
    let plain = frames(stored.publication());
    if !is_quoted {
        return plain;
    }
    let text = stored.data.payload().json_text();
    plain.with_json_of(&frames(stored.with_data(Payload::quoted(&text), false)))
}
