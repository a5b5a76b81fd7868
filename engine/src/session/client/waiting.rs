//! Waiting: clients on hold, which later resume where they stopped.
//!
//! In:  frames of a client that is connecting, or has reached its limit of reads; then what it waits for: the end of
//!      its connect, answers, an empty queue.
//! Out: its commands, in order.
//!
//! While something waits, the client is not read: TCP flow control stops it, and only what was already received waits.
//! Streams and polls send their commands in requests; these are refused while too much waits.
//!
//! ```text
//! handled ── connect is asked about, or a read may not be asked ──> waiting ── nothing is in the way ──> handled
//! ```
//!
//! Worst case per client: two messages, plus the bytes received in the two turns until reading stops
//! ([`SessionPolicy::parked_bytes_max`](crate::session::policy::SessionPolicy)); compressed messages may exceed that, and then the client
//! is disconnected. It counts against `client.command_budget`; if it is full, the clients with the most waiting bytes
//! are disconnected.

use holdfast_protocol::client::DisconnectCode;

use super::{
    Stage, Transport,
    command::Left,
    parked::{Parked, TooMuch},
};
use crate::{
    hub::message::ClientKey,
    memory::{Budget, largest_first},
    metrics::CloseReason,
    session::{Io, SessionCx},
};

impl<I: Io> SessionCx<'_, I> {
    /// A client's message: one or more commands. Returns the number of bytes handled, if the client has used up its
    /// share of the turn: pass the rest to [`Self::resume_commands`] before anything that arrived later.
    pub(crate) fn receive_commands(&mut self, key: ClientKey, frame: &[u8]) -> Option<usize> {
        self.take_frame(key, Parked { bytes: frame, is_rest: false })
    }

    /// The rest of a message.
    pub(crate) fn resume_commands(&mut self, key: ClientKey, frame: &[u8]) -> Option<usize> {
        self.take_frame(key, Parked { bytes: frame, is_rest: true })
    }

    fn take_frame(&mut self, key: ClientKey, frame: Parked<'_>) -> Option<usize> {
        let client = self.sessions.clients.get(key)?;
        let mut waits = frame;
        if client.stage != Stage::Connecting && !client.has_waiting_frames() {
            let count = frame.bytes.len();
            match self.handle_frame(key, frame) {
                Left::Nothing => return None,
                Left::Interrupted(left) => return Some(count - left),
                Left::Waits(left) => waits = Parked { bytes: &frame.bytes[count - left..], is_rest: true },
            }
        }
        if self.park(key, waits).is_err() {
            self.disconnect(key, DisconnectCode::TOO_MANY_REQUESTS);
        }
        None
    }

    /// True exactly when a client's session has room for so many bytes of commands.
    pub(crate) fn has_room_for_commands(&mut self, key: ClientKey, bytes: usize) -> bool {
        let Some(client) = self.sessions.clients.get(key) else { return true };
        let taken = client.what_waits().map_or(0, |waiting| waiting.frames.capacity());
        let has_room = !client.has_waiting_frames() || taken + bytes <= self.sessions.policy.parked_bytes_max;
        has_room && self.has_room_in_backlog(key, bytes)
    }

    /// Keeps a frame until its client resumes.
    fn park(&mut self, key: ClientKey, frame: Parked<'_>) -> Result<(), TooMuch> {
        let bytes_max = self.sessions.policy.parked_bytes_max;
        let Some(client) = self.sessions.clients.get(key) else { return Ok(()) };
        let link = client.link;
        let waiting = client.waiting();
        if waiting.is_over {
            return Ok(());
        }
        waiting.frames.push(frame, bytes_max)?;
        waiting.is_over = frame.bytes.is_empty();
        if let Transport::WebSocket { socket, .. } = link
            && !std::mem::replace(&mut waiting.is_unread, true)
        {
            self.io.pause(socket);
        }
        self.account(key);
        Ok(())
    }

    /// Something the client may have waited for has arrived. Its commands resume in its share of a turn.
    pub(crate) fn go_on(&mut self, key: ClientKey) {
        let Some(client) = self.sessions.clients.get(key) else { return };
        let is_connecting = client.stage == Stage::Connecting;
        let Some(waiting) = client.waiting_if_any() else { return };
        if is_connecting || waiting.is_scheduled {
            return;
        }
        if !waiting.frames.is_empty() {
            waiting.is_scheduled = true;
            return self.schedule_parked(key);
        }
        self.ask_deferred(key);
        self.forget_waiting(key);
    }

    /// Handles waiting frames, up to the next one that has to wait, or until the client has used up its share of the
    /// turn.
    pub(crate) fn handle_parked(&mut self, key: ClientKey) {
        self.ask_deferred(key);
        let Some(client) = self.sessions.clients.get(key) else { return };
        let is_connecting = client.stage == Stage::Connecting;
        let Some(waiting) = client.waiting_if_any() else { return };
        waiting.is_scheduled = false;
        if is_connecting {
            return;
        }
        let mut frames = std::mem::take(&mut waiting.frames);
        let mut is_interrupted = false;
        while let Some(parked) = frames.pop() {
            match self.handle_frame(key, parked) {
                Left::Nothing if self.cx.meter.is_over() && !frames.is_empty() => is_interrupted = true,
                Left::Nothing => continue,
                Left::Interrupted(left) => {
                    frames.put_back(left);
                    is_interrupted = true;
                }
                Left::Waits(left) => frames.put_back(left),
            }
            break;
        }
        if let Some(client) = self.sessions.clients.get(key)
            && !frames.is_empty()
        {
            client.waiting().frames = frames;
        }
        if is_interrupted {
            self.go_on(key);
        }
        self.forget_waiting(key);
    }

    /// Resumes reading the client if nothing waits any more.
    fn forget_waiting(&mut self, key: ClientKey) {
        if let Some(client) = self.sessions.clients.get(key)
            && let Some(extra) = &mut client.extra
            && let Some(waiting) = extra.waiting.take_if(|waiting| waiting.is_empty())
            && let Some((_, socket)) = client.link.connection(client.format)
            && waiting.is_unread
        {
            self.read_again(socket);
        }
        self.account(key);
    }

    /// If the total exceeds the budget, the clients with the most waiting bytes are disconnected.
    pub(crate) fn hold_clients_to_budget(&mut self) {
        self.measure_sessions();
        let excess = self.cx.ledger.excess_with_margin(Budget::Commands);
        if excess == 0 {
            return;
        }
        for key in largest_first(self.sessions.clients.whose_commands_wait(), excess) {
            self.disconnect_as(key, DisconnectCode::TOO_MANY_REQUESTS, CloseReason::ReceiveBudget);
        }
    }
}
