//! Event: what a link tells its owner.
//!
//! In:  notes of the wanted set, messages, connections that come and go.
//! Out: one ordered stream of events to a [`Consumer`], which never makes the reader wait.
//!
//! [`super::queue`] has a consumer for owners without a place of their own to put events.

use std::{net::SocketAddr, sync::Arc};

use super::{cause::Cause, reader::Messages, refusal::Refusal, resp::Protocol};

/// What happened, in the order in which it happened.
///
/// What may have been lost is told before anything that came after it. So an owner who keeps a position in a channel has to
/// look at the channel's history after [`Event::Confirmed`], and after [`Event::Lagging`]; between two of them he misses
/// nothing.
#[derive(Debug)]
pub enum Event {
    /// There is a connection. No channel is heard yet.
    Up {
        /// The server's address.
        address: SocketAddr,
        /// What it speaks.
        protocol: Protocol,
    },
    /// There is none any more: all channels are lost. Told once for each [`Event::Up`], but that a consumer without room
    /// may hear of fewer, and one that panicked of more.
    Down(Arc<Cause>),
    /// The server says that these channels are heard from here on.
    Confirmed(Vec<Arc<str>>),
    /// It refused these. They are asked for again, and refused again, until they are not wanted any more.
    Refused(Vec<(Arc<str>, Refusal)>),
    /// It unsubscribed these unasked: a slot moved, or the user's ACL was changed. They are asked for again.
    Lost(Vec<Arc<str>>),
    /// Messages of these channels were dropped because there was no room for them. What follows is heard.
    Lagging {
        /// The channels.
        channels: Vec<Arc<str>>,
        /// How many messages, of all of them.
        messages: u64,
    },
    /// Messages, on channels of which some may not be wanted any more.
    Messages(Messages),
}

/// Takes the events of one link.
pub trait Consumer: Send + 'static {
    /// Takes an event, or gives it back because there is no room. Never waits: reading would stand still meanwhile.
    ///
    /// Messages that are given back are dropped and their channels told of by [`Event::Lagging`]; all other events are
    /// kept, merged, and offered again in front of what follows.
    ///
    /// # Errors
    ///
    /// The event, because there is no room.
    #[allow(
        clippy::result_large_err,
        reason = "the event goes back to where it came from; nothing is passed on"
    )]
    fn offer(&mut self, event: Event) -> Result<(), Event>;
}
