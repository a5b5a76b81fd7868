//! Fan-out: delivers a channel's turn to its subscribers on this shard.
//!
//! In:  a channel's publications, and its subscribers.
//! Out: one piece on each subscriber's queue, for each wire format; entries on the queues of slow readers.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use holdfast_protocol::{client::DisconnectCode, websocket::deflate::WindowBits};
use holdfast_ring::Socket;

use super::{Io, SessionCx};
use crate::{
    conn::{
        Session,
        deflate::Deflate,
        lag::{Cause, TooSlow},
    },
    encoding::Encoding,
    hub::{message::Delivery, subscriptions::LocalChannelKey},
    metrics::Metric,
    session::receivers::DeliveryPath,
};

impl<I: Io> SessionCx<'_, I> {
    /// Delivers a channel's turn to its subscribers on this shard.
    pub(crate) fn fan_out_channel(&mut self, channel: LocalChannelKey) {
        let Some(turn) = self.hub.subscriptions.take_turn(channel) else { return };
        let messages = (turn.deliveries.len() * turn.subscribers.len()) as u64;
        self.cx.counters.add(Metric::MessagesOut, messages);
        self.io.begin_turn_of_channel();
        let mut joined = [const { None }; Encoding::ALL.len()];
        // Nearly all compressing receivers have the same window size.
        let mut deflated: Vec<((Encoding, WindowBits), Bytes)> = Vec::new();
        let receivers = turn.subscribers.len();
        for subscriber in turn.subscribers.iter() {
            match subscriber.path {
                DeliveryPath::Shared(_, socket) | DeliveryPath::Deflated(_, _, socket)
                    if turn.policy.may_leave_out() && self.is_slow(socket) =>
                {
                    self.hold(subscriber.client, socket, turn.policy, &turn.deliveries);
                }
                DeliveryPath::Shared(wire, socket) => {
                    let joined: &mut Option<Bytes> = &mut joined[wire.index()];
                    let bytes = joined.get_or_insert_with(|| join(&turn.deliveries, wire, receivers)).clone();
                    if !bytes.is_empty() {
                        self.send(socket, bytes, Cause::Push);
                    }
                }
                DeliveryPath::Deflated(wire, bits, socket) => {
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
                        self.send(socket, bytes, Cause::Push);
                    }
                }
                DeliveryPath::Special => {
                    self.deliver_special(subscriber.client, channel, turn.policy, &turn.deliveries);
                }
            }
        }
        let long_queues = self.io.end_turn_of_channel();
        self.hub.subscriptions.put_back(turn);
        for long in long_queues {
            if let Some(TooSlow(Session::Client { key })) = self.io.slow_down(self.cx, long) {
                self.disconnect(key, DisconnectCode::SLOW);
            }
        }
        for socket in std::mem::take(&mut self.hub.slow.given_up) {
            self.give_up_reader(socket);
        }
    }

    /// A channel's turn for all receivers that compress with the same window.
    fn join_deflated(
        &mut self,
        deliveries: &[Arc<Delivery>],
        wire: Encoding,
        bits: WindowBits,
        socket: Socket,
    ) -> Bytes {
        let mut frame = |delivery: &Delivery| {
            let plain = delivery.frames.websocket(wire.format());
            self.io.deflate_frames(socket, Deflate::Shared(bits), plain, true)
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

/// Below this many receivers on a shard, counting references to bytes shared with other shards is cheaper than a copy.
const COPIED_FROM_RECEIVERS: usize = 8;

/// Concatenates the frames into a copy of this shard's own, so that shards do not contend for the same reference counts
/// per receiver.
fn join(deliveries: &[Arc<Delivery>], wire: Encoding, receivers: usize) -> Bytes {
    // Subscribers to joins have delivery options of their own.
    let publications = deliveries.iter().filter(|delivery| delivery.publication.is_some());
    match (wire, deliveries) {
        (_, [only]) if receivers < COPIED_FROM_RECEIVERS && only.publication.is_some() => {
            wire.frame(&only.frames)
        }
        (Encoding::WebSocket(format), _) => {
            let frames = publications.map(|delivery| delivery.frames.websocket(format));
            let mut joined = BytesMut::with_capacity(frames.clone().map(Bytes::len).sum());
            frames.for_each(|frame| joined.extend_from_slice(frame));
            joined.freeze()
        }
        _ => {
            let mut joined = BytesMut::new();
            for delivery in publications {
                wire.encode(&delivery.frames.payload(wire.format()), &mut joined);
            }
            joined.freeze()
        }
    }
}
