//! Serve: polls, from the first one to the end of their session.
//!
//! In:  requests for a session of this shard; messages for its client; time.
//! Out: one answer to every request: at once if replies wait, otherwise with the next reply, at the timeout, or when
//!      another request of the session arrives.
//!
//! The messages of one turn go out in one answer.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use holdfast_protocol::{
    client::{Command, DisconnectCode, Format, FromClient, decode_commands, poll::poll_answer},
    http::Refusal,
};
use holdfast_ring::Socket;
use rand::Rng as _;

use super::Poll;
use crate::{
    backend::Header,
    conn::lag::Cause,
    context::{RETRY_AFTER_S, cost, lateness::Lateness},
    memory::Budget,
    metrics::{CloseReason, Metric},
    session::{
        Io, SessionCx,
        client::Transport,
        request::{RequestOrigin, SessionIndex},
    },
    time::{Fired, Tick},
};

/// Interval for checking whether all shards have read their input (200 ms).
const READ_AGAIN_TICKS: u32 = 4;

impl Poll {
    /// When the wheel must check it, by the uptime.
    fn deadline_at(&self, lateness: &Lateness) -> Tick {
        if self.waiting.is_some() { self.deadline } else { lateness.uptime_at(self.deadline) }
    }
}

impl<I: Io> SessionCx<'_, I> {
    /// The first poll of a session.
    pub(crate) fn open_poll(
        &mut self,
        socket: Socket,
        headers: Arc<[Header]>,
        commands: &[u8],
    ) -> Result<(), Refusal> {
        if commands.is_empty() {
            return Err(Refusal::BodyMalformed("a poll without a session must begin with a connect command"));
        }
        // Between polls a session needs no connection, but it counts as one everywhere.
        self.cx.check_room_for_session()?;
        if self.cx.is_stopping || !self.take_place() {
            return Err(Refusal::Unavailable { retry_after_s: RETRY_AFTER_S });
        }
        let address = match self.cx.admit_session(socket, self.io.is_reused(socket)) {
            Ok(address) => address,
            Err(rejection) => {
                self.io.give_place_back();
                self.io.reject(self.cx, socket, rejection);
                return Ok(());
            }
        };
        let place = self.sessions.registry.open(self.sessions.ids.random());
        self.sessions.registry.set_poll(place, Poll::of(address));
        let key = self.open_client(Transport::Poll(place), Format::Json);
        self.sessions.registry.set_client(place, Some(key));
        self.store_headers(key, headers);
        let origin = RequestOrigin::Connection { shard: self.mesh.shard, socket };
        self.poll_session(place, origin, 0, commands);
        Ok(())
    }

    /// Takes a place under the connection limit, if there is one.
    fn take_place(&mut self) -> bool {
        let peers = &self.mesh.peers;
        !peers.is_memory_short() && self.io.take_place(peers.places_taken(self.mesh.shard, 0))
    }

    /// A poll of a session on this shard.
    pub(crate) fn poll_session(
        &mut self,
        place: SessionIndex,
        origin: RequestOrigin,
        received: u64,
        commands: &[u8],
    ) {
        let client = self.sessions.registry.client(place);
        let Some(poll) = self.sessions.registry.poll(place) else {
            return self.answer_origin(origin, Err(Refusal::SessionUnknown));
        };
        let before = poll.cost_bytes();
        let acknowledged = poll.acknowledge(received);
        let (now, has_replies) = (poll.cost_bytes(), poll.has_replies());
        self.poll_owes(place, before, now);
        if acknowledged.is_err() {
            let refusal =
                Refusal::BodyMalformed("received is higher than any sequence number of this session");
            return self.answer_origin(origin, Err(refusal));
        }
        if client.is_none() && !has_replies {
            // Its last replies have arrived.
            self.close_poll(place);
            return self.answer_origin(origin, Err(Refusal::SessionUnknown));
        }
        if let Some(key) = client
            && !self.has_room_for_commands(key, commands.len())
        {
            let refusal = Refusal::Unavailable { retry_after_s: RETRY_AFTER_S };
            return self.answer_origin(origin, Err(refusal));
        }
        let Some(poll) = self.sessions.registry.poll(place) else { return };
        if let Some(before) = poll.waiting.replace(origin) {
            self.answer_empty(place, before);
        }
        self.touch_poll(place);
        if let Some(key) = client {
            self.go_on(key);
        }
        self.set_poll_deadline(place, self.cx.uptime.after_ms(self.sessions.policy.poll_wait_ms));
        let frame = self.new_commands(place, commands);
        if let Some(key) = client
            && !frame.is_empty()
        {
            self.frame_came(key, &frame);
        }
        if let Some(key) = client {
            self.check_expiry(key);
        }
    }

    /// The commands not handled before. Unreadable ones are left for the session to refuse.
    fn new_commands(&mut self, place: SessionIndex, commands: &[u8]) -> BytesMut {
        let mut frame = BytesMut::new();
        let Some(poll) = self.sessions.registry.poll(place) else { return frame };
        for line in commands.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
            let is_new = match decode_commands(Format::Json, line).next() {
                Some(Ok(FromClient::Command(Command { id, .. }))) => poll.is_new_command(id),
                // The poll itself is a sign of life.
                Some(Ok(FromClient::Pong)) => false,
                Some(Err(_)) | None => true,
            };
            if is_new {
                if !frame.is_empty() {
                    frame.extend_from_slice(b"\n");
                }
                frame.extend_from_slice(line);
            }
        }
        frame
    }

    /// A message for a polling client. It goes out at the end of the turn.
    pub(crate) fn push_to_poll(&mut self, place: SessionIndex, message: &[u8], cause: Cause) {
        let limits = self.sessions.policy.queue;
        if let Some(poll) = self.sessions.registry.poll(place) {
            let before = poll.cost_bytes();
            poll.push(message, cause, limits, limits.pieces_max);
            let now = poll.cost_bytes();
            self.poll_owes(place, before, now);
            self.touch_poll(place);
        }
    }

    /// A session's waiting bytes have changed from `before` to `now`.
    fn poll_owes(&mut self, place: SessionIndex, before: usize, now: usize) {
        self.cx.ledger.recharge(Budget::Queues, before, now);
        self.sessions.registry.owed.changed(place, before, now);
    }

    fn touch_poll(&mut self, place: SessionIndex) {
        if let Some(poll) = self.sessions.registry.poll(place)
            && !std::mem::replace(&mut poll.is_touched, true)
        {
            self.sessions.touched_polls.push(place);
        }
    }

    /// Answers the waiting requests that have replies; ends the sessions that do not acknowledge.
    pub(crate) fn flush_polls(&mut self) {
        // Last replies, and polls that arrive with the answered one, add sessions to the list again.
        while let Some(place) = self.sessions.touched_polls.pop() {
            let Some(poll) = self.sessions.registry.poll(place) else { continue };
            poll.is_touched = false;
            if poll.is_too_long
                && let Some(key) = self.sessions.registry.client(place)
            {
                self.cx.counters.add(Metric::SlowByQueue, 1);
                self.disconnect(key, DisconnectCode::SLOW);
            }
            let Some(poll) = self.sessions.registry.poll(place) else { continue };
            if poll.has_replies()
                && let Some(origin) = poll.waiting.take()
            {
                let answer = self.poll_body(place);
                self.answer_origin(origin, answer);
                self.set_poll_deadline(place, self.cx.now.after_ms(self.sessions.policy.poll_session_ttl_ms));
            }
        }
    }

    /// A polling session's client has ended; its last replies are kept for one more poll.
    pub(crate) fn end_poll_client(&mut self, place: SessionIndex) {
        if let Some(key) = self.sessions.registry.client(place) {
            self.sessions.registry.set_client(place, None);
            self.forget_client(key);
        }
    }

    /// The wheel's deadline for this session. Returns the cost.
    pub(crate) fn poll_due(&mut self, place: SessionIndex) -> u64 {
        let Some(poll) = self.sessions.registry.poll(place) else { return cost::DUE_NS };
        let deadline_at = poll.deadline_at(&self.cx.lateness);
        // The entry may also be that of an earlier session in this place.
        if self.sessions.poll_wheel.fired(&mut poll.wheel_entry, place, deadline_at, self.cx.uptime)
            == Fired::NotYet
        {
            return cost::DUE_NS;
        }
        match poll.waiting.take() {
            Some(origin) => {
                self.answer_empty(place, origin);
                self.set_poll_deadline(place, self.cx.now.after_ms(self.sessions.policy.poll_session_ttl_ms));
            }
            // The next poll may have arrived already, on any shard.
            None if !self.has_all_read_up_to(deadline_at) => {
                if let Some(poll) = self.sessions.registry.poll(place) {
                    let again_at = self.cx.uptime.after(READ_AGAIN_TICKS);
                    self.sessions.poll_wheel.renew(&mut poll.wheel_entry, place, again_at);
                }
            }
            None => self.close_poll(place),
        }
        cost::OVERDUE_NS
    }

    /// Nobody polled in time.
    fn close_poll(&mut self, place: SessionIndex) {
        self.end_poll_client(place);
        let Some(poll) = self.sessions.registry.poll(place) else { return };
        let (bytes, address) = (poll.cost_bytes(), poll.address);
        self.sessions.registry.close(place);
        self.poll_owes(place, bytes, 0);
        self.io.give_place_back();
        self.cx.session_left(address);
    }

    /// Ends a polling session whose queue exceeds its limit, without a reply: that would have to wait, too.
    pub(crate) fn cut_poll(&mut self, place: SessionIndex) {
        self.poll_offended(place, CloseReason::Slow);
        let waiting = self.sessions.registry.poll(place).and_then(|poll| poll.waiting.take());
        self.close_poll(place);
        if let Some(origin) = waiting {
            self.answer_origin(origin, Err(Refusal::SessionUnknown));
        }
    }

    fn answer_empty(&mut self, place: SessionIndex, origin: RequestOrigin) {
        let (Some(id), Some(poll)) = (self.sessions.registry.id(place), self.sessions.registry.poll(place))
        else {
            return;
        };
        let received = poll.received;
        let name = self.sessions.poll_name(id);
        self.answer_origin(origin, Ok(Some(poll_answer(&name, received, [].iter()))));
    }

    fn poll_body(&mut self, place: SessionIndex) -> Result<Option<Bytes>, Refusal> {
        let id = self.sessions.registry.id(place).ok_or(Refusal::SessionUnknown)?;
        let name = self.sessions.poll_name(id);
        let poll = self.sessions.registry.poll(place).ok_or(Refusal::SessionUnknown)?;
        poll.answer();
        let replies = poll.replies().count() as u64;
        let body = poll_answer(&name, poll.sequence(), poll.replies());
        self.cx.counters.add(Metric::MessagesOut, replies);
        Ok(Some(body))
    }

    fn set_poll_deadline(&mut self, place: SessionIndex, deadline: Tick) {
        let Some(poll) = self.sessions.registry.poll(place) else { return };
        poll.deadline = deadline;
        let at = poll.deadline_at(&self.cx.lateness);
        self.sessions.poll_wheel.arm(&mut poll.wheel_entry, place, at);
    }
}
