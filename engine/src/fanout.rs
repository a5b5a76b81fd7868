//! Fan-out: what was published in a turn goes to this core's members, and once to every other core.
//!
//! In:  the hub's joined frames; other cores' frames out of the mailbox.
//! Out: one piece on every member's queue; one message a core.
//!
//! A channel's turn is one piece too, for each wire format.
//!
//! The bytes are shared, never copied for a receiver.

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
    metrics::Metric,
    peers::Message,
    session::wire::Wire,
    shard::Shard,
};

impl<K: Kernel> Shard<K> {
    /// Ends a turn's publishing.
    pub(crate) fn fan_out(&mut self) {
        for channel in self.locals.take_touched() {
            self.fan_out_channel(channel);
        }
        self.flush_polls();
        if let Some(frames) = self.hub.take_local() {
            let mut place = 0;
            // From the back: a member that is dropped for being slow gives its place to one that has been served.
            let members = self.hub.members();
            self.counters.add(Metric::MessagesOut, u64::from(frames.messages) * members as u64);
            while place < members {
                place += 1;
                if let Some((member, deflate)) = self.hub.member(members - place) {
                    let bytes = self.deflating.shared_frames(member, deflate, &frames.bytes);
                    self.send(member, bytes);
                }
            }
            self.deflating.end_turn();
        }
        if let Some(frames) = self.hub.take_outgoing() {
            self.peers.post_all(self.index, || Message::Broadcast(frames.clone()));
        }
        self.peers.push_out(|bell| self.sockets.wake(bell));
    }

    /// Hands a channel's turn out to its subscribers on this core.
    pub(crate) fn fan_out_channel(&mut self, channel: LocalKey) {
        let Some(turn) = self.locals.take_turn(channel) else { return };
        let messages = (turn.deliveries.len() * turn.subscribers.len()) as u64;
        self.counters.add(Metric::MessagesOut, messages);
        self.is_fanning_out = true;
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
        self.is_fanning_out = false;
        self.deflating.end_turn();
        self.locals.put_back(turn);
        for long in std::mem::take(&mut self.long_queues) {
            self.long_queue(long);
        }
        for socket in std::mem::take(&mut self.slow.given_up) {
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
            self.deflating.shared_frames(socket, Deflate::Shared(bits), plain)
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
