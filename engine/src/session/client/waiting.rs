//! Waiting: clients that are handled no further for now, and go on later where they stopped.
//!
//! In:  frames of a client that is connecting, or that has asked for as much as it may be told at once; then what it
//!      waited for: the end of its connect, answers, an empty queue.
//! Out: its commands, in their order.
//!
//! While something waits the client is not read from: TCP holds it up, and what waits is what had been received by then.
//! Streams and polls bring their commands in requests; these are refused while too much waits.
//!
//! ```text
//! handled ── connect is asked about, or a read may not be asked ──> waiting ── nothing is in the way ──> handled
//! ```
//!
//! Worst case a client: [`Settings::parked_bytes_max`](crate::shard::Settings) once it is connected, a message and 256
//! KiB before. It counts against `client.command_budget`; where that is full, those go for whom most waits.

use std::collections::VecDeque;

use holdfast_protocol::client::DisconnectCode;
use holdfast_ring::Kernel;

use super::{
    Client, Link, Stage,
    parked::{Parked, ParkedFrames, TooMuch},
};
use crate::{
    hub::message::{ClientKey, ToHome},
    memory::{Budget, largest_first},
    metrics::CloseReason,
    shard::Shard,
};

/// Bytes of frames that may wait for a connect, beside one message of the greatest size.
const UNCONNECTED_BYTES_MAX: usize = 256 * 1024;

/// What waits for a client.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    frames: ParkedFrames,
    /// True exactly when nothing that comes now is looked at: a frame is among those that wait which ends the session.
    is_over: bool,
    /// True exactly when its connection is not read from for that.
    is_unread: bool,
    /// Reads whose answers are too long to be given beside others, each with the memory that it takes.
    pub(super) deferred: VecDeque<ToHome>,
}

impl Waiting {
    fn is_empty(&self) -> bool {
        self.frames.is_empty() && self.deferred.is_empty()
    }

    pub(super) fn bytes(&self) -> usize {
        let deferred: usize = self.deferred.iter().map(ToHome::question_bytes).sum();
        size_of::<Self>() + self.frames.capacity() + deferred
    }
}

impl Client {
    /// True exactly when its connection is not read from because something of it waits.
    pub(crate) fn is_unread(&self) -> bool {
        self.waiting.as_ref().is_some_and(|waiting| waiting.is_unread)
    }

    pub(super) fn has_waiting_frames(&self) -> bool {
        self.waiting.as_ref().is_some_and(|waiting| !waiting.frames.is_empty())
    }

    pub(super) fn waiting(&mut self) -> &mut Waiting {
        self.waiting.get_or_insert_default()
    }
}

impl<K: Kernel> Shard<K> {
    /// A message of a client: one or more commands.
    pub(crate) fn commands_came(&mut self, key: ClientKey, frame: &[u8]) {
        let Some(client) = self.clients.get(key) else { return };
        let mut parked = Parked { bytes: frame, is_rest: false };
        if client.stage != Stage::Connecting && !client.has_waiting_frames() {
            let left = self.handle_frame(key, parked);
            if left == 0 {
                return;
            }
            parked = Parked { bytes: &frame[frame.len() - left..], is_rest: true };
        }
        if self.park(key, parked).is_err() {
            self.disconnect(key, DisconnectCode::TOO_MANY_REQUESTS);
        }
    }

    /// True exactly when a client's session has room for so many bytes of commands.
    pub(crate) fn has_room_for_commands(&mut self, key: ClientKey, bytes: usize) -> bool {
        let Some(client) = self.clients.get(key) else { return true };
        let taken = client.waiting.as_ref().map_or(0, |waiting| waiting.frames.capacity());
        !client.has_waiting_frames() || taken + bytes <= self.parked_bytes_max(key)
    }

    fn parked_bytes_max(&mut self, key: ClientKey) -> usize {
        let is_connected = self.clients.get(key).is_some_and(|client| client.stage == Stage::Connected);
        if is_connected {
            self.settings.parked_bytes_max
        } else {
            (self.settings.decoder.message_bytes_max as usize + UNCONNECTED_BYTES_MAX)
                .min(self.settings.parked_bytes_max)
        }
    }

    /// Keeps a frame until its client goes on.
    fn park(&mut self, key: ClientKey, frame: Parked<'_>) -> Result<(), TooMuch> {
        let bytes_max = self.parked_bytes_max(key);
        let Some(client) = self.clients.get(key) else { return Ok(()) };
        let link = client.link;
        let waiting = client.waiting();
        if waiting.is_over {
            return Ok(());
        }
        waiting.frames.push(frame, bytes_max)?;
        waiting.is_over = frame.bytes.is_empty();
        if let Link::WebSocket { socket, .. } = link
            && !std::mem::replace(&mut waiting.is_unread, true)
        {
            self.sockets.pause_receive(socket);
        }
        self.account(key);
        Ok(())
    }

    /// Something that a client may have waited for has come.
    pub(crate) fn go_on(&mut self, key: ClientKey) {
        let Some(client) = self.clients.get(key) else { return };
        if client.waiting.is_none() || client.stage == Stage::Connecting {
            return;
        }
        self.ask_deferred(key);
        self.handle_parked(key);
        self.account(key);
        let Some(client) = self.clients.get(key) else { return };
        let (link, format) = (client.link, client.format);
        if client.waiting.as_ref().is_some_and(|waiting| !waiting.is_empty()) {
            return;
        }
        let was_unread = client.is_unread();
        client.waiting = None;
        self.account(key);
        if was_unread && let Some((_, socket)) = link.connection(format) {
            self.read_on(socket);
        }
    }

    /// Handles frames that wait, up to the next one that has to.
    fn handle_parked(&mut self, key: ClientKey) {
        let Some(client) = self.clients.get(key) else { return };
        let Some(waiting) = &mut client.waiting else { return };
        let mut frames = std::mem::take(&mut waiting.frames);
        while let Some(parked) = frames.pop() {
            let left = self.handle_frame(key, parked);
            if left > 0 {
                frames.put_back(left);
                break;
            }
        }
        if let Some(client) = self.clients.get(key)
            && !frames.is_empty()
        {
            client.waiting().frames = frames;
        }
    }

    /// Where too much waits in all, those for whom most does are sent away.
    pub(crate) fn hold_clients_to_budget(&mut self) {
        self.measure_sessions();
        let excess = self.ledger.excess_with_margin(Budget::Commands);
        if excess == 0 {
            return;
        }
        let clients = self.clients.iter().map(|(key, client)| (key, client.counted.commands as u64));
        let holders = clients.filter(|&(_, bytes)| bytes > 0).collect();
        for key in largest_first(holders, excess) {
            self.disconnect_as(key, DisconnectCode::TOO_MANY_REQUESTS, CloseReason::ReceiveBudget);
        }
    }
}
