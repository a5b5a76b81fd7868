//! Fan-out: what was published in a turn goes to this core's members, and once to every other core.
//!
//! In:  the hub's joined frames; other cores' frames out of the mailbox.
//! Out: one piece on every member's queue; one message a core.
//!
//! A channel's turn is one piece too, for each wire format.
//!
//! The bytes are shared, never copied for a receiver.
//!
//! While the writes of the last fan-out have not all gone to the kernel, what is published is only gathered: it is joined, and
//! goes out in one write for each receiver, after them. There is a bound on what gathers, lower where many receive it; from
//! there on who publishes waits. So a publication never meets more than one fan-out before it, and no queue grows because the
//! shard itself is late.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use holdfast_protocol::websocket::deflate::WindowBits;
use holdfast_ring::{Kernel, Socket};

use crate::{
    conn::deflate::Deflate,
    hub::{
        local::{LocalKey, Takes},
        message::Delivery,
    },
    mesh::Message,
    metrics::Metric,
    session::wire::Wire,
    shard::Shard,
};

/// What may gather between two fan-outs, in bytes, where few receive it.
const GATHERED_BYTES_MAX: usize = 64 * 1024;

/// The same, times the receivers on this core: what the kernel copies in some 15 ms.
const COPIED_BYTES_MAX: usize = 32 * 1024 * 1024;

/// What may gather in any case, unless that is much for one receiver's queue.
const GATHERED_BYTES_MIN: usize = 4 * 1024;

/// No more gathers than this part of a receiver's queue: nobody's queue is full because of what came at once.
const QUEUE_PARTS: usize = 4;

/// How often queues that took more than one write are waited for once more. Not longer: others always have something to
/// write.
const MORE_WRITES_MAX: u32 = 4;

/// What gathers for the members and subscribers of this core.
#[derive(Debug)]
pub(crate) struct Gathered {
    /// What may gather at most and in any case.
    bytes_max: usize,
    bytes_min: usize,
    /// Of channels; that of `/broadcast` is with the hub.
    channel_bytes: usize,
    /// The most that one of them has to be sent to.
    receivers: usize,
    /// Behind the writes of the last fan-out.
    mark: u64,
    more_writes: u32,
    /// True exactly when the last turn left nothing to be written.
    pub(crate) is_all_written: bool,
}

impl Gathered {
    /// A channel has so many bytes for so many subscribers.
    pub(crate) fn add(&mut self, bytes: usize, receivers: usize) {
        self.channel_bytes += bytes;
        self.receivers = self.receivers.max(receivers);
    }

    /// Nothing, for receivers whose queues may have so many bytes, of which one write takes so many.
    pub(crate) fn new(queue_bytes_max: usize, write_bytes_max: usize) -> Self {
        let part = write_bytes_max.min(queue_bytes_max / QUEUE_PARTS);
        Self {
            bytes_max: GATHERED_BYTES_MAX.min(part),
            bytes_min: GATHERED_BYTES_MIN.min(part),
            channel_bytes: 0,
            receivers: 0,
            mark: 0,
            more_writes: 0,
            is_all_written: true,
        }
    }
}

impl<K: Kernel> Shard<K> {
    fn gathered_bytes(&self) -> usize {
        self.hub.gathered.channel_bytes + self.hub.broadcast.local_bytes()
    }

    /// True exactly when so much has gathered that it has to go out before more is published.
    pub(crate) fn has_gathered_enough(&self) -> bool {
        let bytes = self.gathered_bytes();
        // Nearly always there is little, and nobody has to be counted.
        if bytes < self.hub.gathered.bytes_min || bytes == 0 {
            return false;
        }
        let receivers = self.hub.gathered.receivers.max(self.hub.broadcast.receivers());
        bytes
            >= (COPIED_BYTES_MAX / receivers.max(1))
                .clamp(self.hub.gathered.bytes_min, self.hub.gathered.bytes_max)
    }

    /// True exactly when something has gathered that waits for the writes of the last fan-out.
    pub(crate) fn is_gathering(&self) -> bool {
        self.gathered_bytes() > 0
    }

    /// Ends a turn's publishing.
    pub(crate) fn fan_out(&mut self) {
        // Who is sent away has heard everything before.
        if self.is_last_fan_out_written() || self.stopping.is_some() {
            self.fan_out_gathered();
        }
        self.flush_polls();
        if let Some(frames) = self.hub.broadcast.take_outgoing() {
            self.mesh.peers.post_all(self.mesh.index, || Message::Broadcast(frames.clone()));
        }
        self.mesh.peers.push_out(|bell| self.conns.sockets.wake(bell));
    }

    fn is_last_fan_out_written(&mut self) -> bool {
        let gathered = &mut self.hub.gathered;
        if gathered.is_all_written {
            return true;
        }
        if !self.conns.sockets.has_passed(gathered.mark) {
            return false;
        }
        gathered.more_writes += 1;
        gathered.mark = self.conns.sockets.mark();
        gathered.more_writes > MORE_WRITES_MAX
    }

    fn fan_out_gathered(&mut self) {
        if !self.is_gathering() {
            return;
        }
        for channel in self.hub.locals.take_touched() {
            self.fan_out_channel(channel);
        }
        if let Some(frames) = self.hub.broadcast.take_local() {
            let mut place = 0;
            // From the back: a member that is dropped for being slow gives its place to one that has been served.
            let members = self.hub.broadcast.members();
            self.cx.counters.add(Metric::MessagesOut, u64::from(frames.messages) * members as u64);
            while place < members {
                place += 1;
                if let Some((member, deflate)) = self.hub.broadcast.member(members - place) {
                    let bytes = self.conns.deflating.shared_frames(member, deflate, &frames.bytes);
                    self.send(member, bytes);
                }
            }
            self.conns.deflating.end_turn();
        }
        self.hub.gathered.channel_bytes = 0;
        self.hub.gathered.receivers = 0;
        self.hub.gathered.mark = self.conns.sockets.mark();
        self.hub.gathered.more_writes = 0;
    }

    /// Hands a channel's turn out to its subscribers on this core.
    pub(crate) fn fan_out_channel(&mut self, channel: LocalKey) {
        let Some(turn) = self.hub.locals.take_turn(channel) else { return };
        let messages = (turn.deliveries.len() * turn.subscribers.len()) as u64;
        self.cx.counters.add(Metric::MessagesOut, messages);
        self.conns.is_fanning_out = true;
        let mut joined = [const { None }; Wire::ALL.len()];
        // Nearly all who compress have the same size of window.
        let mut deflated: Vec<((Wire, WindowBits), Bytes)> = Vec::new();
        let receivers = turn.subscribers.len();
        for subscriber in &turn.subscribers {
            match subscriber.takes {
                Takes::Shared(_, socket) | Takes::Deflated(_, _, socket)
                    if turn.policy.may_leave_out() && self.is_slow(socket) =>
                {
                    self.hold(subscriber.client, socket, turn.policy, &turn.deliveries);
                }
                Takes::Shared(wire, socket) => {
                    let joined: &mut Option<Bytes> = &mut joined[wire.index()];
                    let bytes = joined.get_or_insert_with(|| join(&turn.deliveries, wire, receivers)).clone();
                    if !bytes.is_empty() {
                        self.send(socket, bytes);
                    }
                }
                Takes::Deflated(wire, bits, socket) => {
                    let known = deflated.iter().find(|(key, _)| *key == (wire, bits));
                    let bytes = match known {
                        Some((_, bytes)) => bytes.clone(),
                        None => {
                            let bytes = self.join_deflated(&turn.deliveries, wire, bits, socket);
                            deflated.push(((wire, bits), bytes.clone()));
                            bytes
                        }
                    };
                    if !bytes.is_empty() {
                        self.send(socket, bytes);
                    }
                }
                Takes::Special => {
                    self.deliver_special(subscriber.client, channel, turn.policy, &turn.deliveries);
                }
            }
        }
        self.conns.is_fanning_out = false;
        self.conns.deflating.end_turn();
        self.hub.locals.put_back(turn);
        for long in std::mem::take(&mut self.conns.long_queues) {
            self.long_queue(long);
        }
        for socket in std::mem::take(&mut self.hub.slow.given_up) {
            self.give_up_reader(socket);
        }
    }

    /// A channel's turn for all who compress with the same window.
    fn join_deflated(
        &mut self,
        deliveries: &[Arc<Delivery>],
        wire: Wire,
        bits: WindowBits,
        socket: Socket,
    ) -> Bytes {
        let mut frame = |delivery: &Delivery| {
            let plain = delivery.frames.websocket(wire.format());
            self.conns.deflating.shared_frames(socket, Deflate::Shared(bits), plain)
        };
        match deliveries {
            [only] if only.publication.is_some() => frame(only),
            many => {
                let publications = many.iter().filter(|delivery| delivery.publication.is_some());
                let mut joined = BytesMut::new();
                publications.for_each(|delivery| joined.extend_from_slice(&frame(delivery)));
                joined.freeze()
            }
        }
    }
}

/// Below this many receivers on a core, counting references to bytes that other cores count too is cheaper than a copy.
const COPIED_FROM_RECEIVERS: usize = 8;

/// One frame after the other: a copy of this core's own, so that no two cores count references to the same bytes for
/// each of their receivers.
fn join(deliveries: &[Arc<Delivery>], wire: Wire, receivers: usize) -> Bytes {
    // Who wants to be told of joins has wishes of its own.
    let publications = deliveries.iter().filter(|delivery| delivery.publication.is_some());
    match (wire, deliveries) {
        (_, [only]) if receivers < COPIED_FROM_RECEIVERS && only.publication.is_some() => {
            wire.frame(&only.frames)
        }
        (Wire::WebSocket(format), _) => {
            let frames = publications.map(|delivery| delivery.frames.websocket(format));
            let mut joined = BytesMut::with_capacity(frames.clone().map(Bytes::len).sum());
            frames.for_each(|frame| joined.extend_from_slice(frame));
            joined.freeze()
        }
        _ => {
            let mut joined = BytesMut::new();
            for delivery in publications {
                wire.encode(&delivery.frames.message(wire.format()), &mut joined);
            }
            joined.freeze()
        }
    }
}
