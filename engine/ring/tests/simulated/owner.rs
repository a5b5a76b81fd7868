//! Owner: who works with `Sockets`, at random, and checks every event.

use std::{
    collections::{BTreeMap, HashSet},
    net::SocketAddr,
    time::Duration,
};

use bytes::Bytes;
use holdfast_ring::{
    CloseWhen, Ended, Event, Socket, Sockets,
    simulated::{Simulated, SimulatedBuffer, Trace},
};
use rand::{Rng, rngs::SmallRng, seq::IteratorRandom};

use crate::stream::{self, Received};

/// A socket, as its owner knows it.
#[derive(Debug, Default)]
pub(crate) struct Link {
    /// Whose it is, where that is told.
    pub(crate) from: Option<SocketAddr>,
    pub(crate) received: Received,
    /// Bytes given to `Sockets::send` that it took.
    pub(crate) sent: u64,
    pub(crate) closing: Option<CloseWhen>,
    pub(crate) is_connecting: bool,
    pub(crate) has_ended: bool,
    /// True exactly when its stream has come to its end. After a write that failed, bytes may still come.
    pub(crate) is_read: bool,
    pub(crate) is_paused: bool,
    /// True exactly when its queue has been found not to fit into one turn.
    pub(crate) is_backlogged: bool,
    /// True exactly when it was paused with a queue that has not been empty since.
    pub(crate) awaits_drained: bool,
    /// Looks that have not been answered.
    pub(crate) looks: u32,
}

pub(crate) struct Owner {
    pub(crate) sockets: Sockets<Simulated>,
    wants_addresses: bool,
    pub(crate) links: BTreeMap<Socket, Link>,
    pub(crate) trace: Trace,
    /// Keys that must never be seen again.
    gone: HashSet<Socket>,
    events: Vec<Event<SimulatedBuffer>>,
    /// What was sent to streams that have been closed when flushed, by their numbers.
    pub(crate) flushed: BTreeMap<u64, u64>,
}

impl Owner {
    pub(crate) fn new(sockets: Sockets<Simulated>, wants_addresses: bool, trace: Trace) -> Self {
        Self {
            sockets,
            wants_addresses,
            links: BTreeMap::new(),
            trace,
            gone: HashSet::new(),
            events: Vec::new(),
            flushed: BTreeMap::new(),
        }
    }

    /// The number of the stream that goes out on a socket.
    pub(crate) fn number(socket: Socket) -> u64 {
        u64::from(socket.generation()) << 32 | (socket.lane() << 24 | socket.slot()) as u64 | 1 << 63
    }

    pub(crate) fn turn(&mut self, random: &mut SmallRng) {
        let wait = Duration::from_millis(random.random_range(0..2));
        self.sockets.turn(wait, &mut self.events).expect("the ring works");
        for event in std::mem::take(&mut self.events) {
            self.handle(event);
        }
        assert_eq!(
            self.sockets.open_sockets(),
            self.links.len(),
            "every socket that came is open until it is closed"
        );
    }

    fn handle(&mut self, event: Event<SimulatedBuffer>) {
        match event {
            Event::Accepted(socket, from) => {
                assert!(!self.gone.contains(&socket), "{socket:?} comes again");
                self.trace.note("event: accepted", Self::number(socket), 0);
                let link = Link { from: from.as_deref().copied(), ..Link::default() };
                assert!(self.links.insert(socket, link).is_none(), "{socket:?} comes twice");
                assert_eq!(from.is_some(), self.wants_addresses, "{socket:?} comes with what was asked for");
            }
            Event::Connected(socket) => {
                let link = self.link(socket);
                assert!(std::mem::take(&mut link.is_connecting), "{socket:?} is connected once");
                assert!(link.closing.is_none() && !link.has_ended, "{socket:?} is over");
            }
            Event::Received(socket, buffer) => {
                let link = self.link(socket);
                assert!(link.closing.is_none() && !link.is_read, "{socket:?} is over and receives");
                assert!(!buffer.is_empty(), "{socket:?} receives something");
                link.received.take(&buffer);
            }
            Event::Drained(socket) => {
                let link = self.link(socket);
                link.awaits_drained = false;
                assert!(
                    link.closing.is_none() && std::mem::take(&mut link.is_backlogged),
                    "{socket:?} was not behind"
                );
            }
            Event::Ended(socket, how) => {
                self.trace.note("event: ended", Self::number(socket), 0);
                let link = self.link(socket);
                assert!(link.closing.is_none(), "{socket:?} is closed by us, and ends: {how:?}");
                assert!(!std::mem::replace(&mut link.has_ended, true), "{socket:?} ends twice");
                link.is_connecting = false;
                link.is_read = how == Ended::ByPeer;
            }
            Event::Closed(socket) => {
                self.trace.note("event: closed", Self::number(socket), 0);
                let link = self.links.remove(&socket).expect("who closes was open");
                assert!(link.closing.is_some(), "{socket:?} closes by itself");
                self.gone.insert(socket);
            }
            Event::Looked(socket) => {
                let link = self.link(socket);
                assert!(link.closing.is_none() && !link.has_ended, "{socket:?} is over and looked at");
                link.looks = 0;
            }
            Event::AcceptFailed(_) | Event::PeerAddress(..) | Event::Woken => {}
        }
    }

    fn link(&mut self, socket: Socket) -> &mut Link {
        self.links.get_mut(&socket).expect("events are of open sockets")
    }

    /// Does something to somebody.
    pub(crate) fn act(&mut self, random: &mut SmallRng) {
        let Some((&socket, link)) = self.links.iter_mut().choose(random) else { return };
        match random.random_range(0..100) {
            0..60 => self.send(socket, random),
            60..68 => {
                link.is_paused = true;
                link.awaits_drained |= self.sockets.queued_bytes(socket) > 0;
                self.sockets.pause_receive(socket);
            }
            68..85 => {
                link.is_paused = false;
                self.sockets.resume_receive(socket);
            }
            85..88 => self.close(socket, CloseWhen::Now),
            88..92 => self.close(socket, CloseWhen::Flushed),
            92..94 => link.looks += u32::from(self.sockets.look(socket)),
            94..96 if link.has_ended => self.close(socket, CloseWhen::Now),
            _ => self.sockets.tick(),
        }
    }

    fn send(&mut self, socket: Socket, random: &mut SmallRng) {
        let number = Self::number(socket);
        let longest = if random.random_bool(0.1) { 20_000 } else { 300 };
        let len = random.random_range(0..longest);
        let link = self.links.get_mut(&socket).expect("it was chosen");
        let bytes = stream::bytes(number, link.sent, len);
        let queued_bytes = self.sockets.send(socket, Bytes::from(bytes));
        assert!(queued_bytes as u64 <= link.sent + len as u64);
        if link.closing.is_none() {
            link.sent += len as u64;
            // Where no turn can take it all, it will be behind; where one can, it may be.
            link.is_backlogged |= queued_bytes > 0;
        }
        self.trace.note("sends", number, len as u64);
    }

    pub(crate) fn close(&mut self, socket: Socket, when: CloseWhen) {
        let link = self.links.get_mut(&socket).expect("it was chosen");
        self.trace.note("closes", Self::number(socket), u64::from(when == CloseWhen::Now));
        if link.closing.is_none() && !link.has_ended && !link.is_connecting && when == CloseWhen::Flushed {
            self.flushed.insert(Self::number(socket), link.sent);
        }
        if when == CloseWhen::Now {
            self.flushed.remove(&Self::number(socket));
        }
        if link.closing != Some(CloseWhen::Now) {
            link.closing = Some(when);
        }
        self.sockets.close(socket, when);
    }
}
