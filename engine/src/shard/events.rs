//! Events: handles what happened to the sockets of this shard.
//!
//! In:  events of the ring; the backlog of earlier turns; the cost that the schedule allows.
//! Out: calls of the files that handle them, in the order of each connection.
//!
//! Events are handled in order of arrival while the turn has room: almost always it has, and no accounting is needed. Only
//! the rest waits, per connection (`backlog`), and from then on connections take turns (`flows`). Within a piece of
//! received bytes, a frame of commands, or the inflated bytes of a small frame, a connection is interrupted when it has
//! used up its part: the rest is handled before later input.

use std::time::Duration;

use holdfast_ring::{Ended, Event, Kernel, PREFETCH_AHEAD, Socket};

use super::{
    Shard,
    above::class_of,
    backlog::{Item, Received},
};
use crate::{
    conn::{Commands, Session, tls::Left},
    context::cost,
    ids::ClientKey,
    metrics::Metric,
    session::{Class, Deferred, FlowKey},
};

impl<K: Kernel> Shard<K> {
    /// Handles the new events, then the backlog of connections with a session.
    pub(super) fn handle_events(&mut self, part_ns: u64, elapsed: &mut impl FnMut() -> Duration) {
        let until = self.cx.meter.total_ns().saturating_add(part_ns);
        while let Some(event) = self.events.pop_front() {
            if let Some(socket) = self.events.get(PREFETCH_AHEAD).and_then(Event::socket) {
                self.conns.table.prefetch(socket);
            }
            match event {
                Event::Received(socket, buffer) => {
                    let received = Item::Received(Received::new(socket, buffer));
                    self.handle_or_defer(socket, received, until);
                }
                Event::Ended(socket, how) => self.handle_or_defer(socket, Item::Ended(how), until),
                // The following events are cheap, and others depend on them; their number per turn is bounded.
                Event::Accepted(socket, from) => {
                    self.cx.meter.add(cost::ACCEPT_NS);
                    self.with_connections(|conns, cx, above| {
                        conns.accepted(cx, above, socket, from.map(|from| from.ip()));
                    });
                }
                Event::AcceptFailed(error) => self.conns.accept_failed(&mut self.cx, error),
                Event::Drained(socket) => {
                    self.cx.meter.add(cost::END_NS);
                    self.with_connections(|conns, cx, above| conns.drained(cx, above, socket));
                }
                Event::Looked(socket) => {
                    self.cx.meter.add(cost::END_NS);
                    self.with_connections(|conns, cx, above| conns.looked(cx, above, socket));
                }
                Event::PeerAddress(socket, address) => {
                    self.conns.address_came(socket, address.map(|address| address.ip()));
                }
                Event::Closed(socket) => {
                    self.cx.meter.add(cost::END_NS);
                    self.backlog.remove(FlowKey::Socket(socket));
                    self.with_connections(|conns, cx, above| conns.closed(cx, above, socket));
                }
                Event::Connected(_) => unreachable!("a shard connects to nobody"),
                // Every turn checks the mailboxes.
                Event::Woken => {}
            }
            self.look_at_clock(elapsed);
        }
        // However many events are new, the backlog makes progress.
        let left_ns = until.saturating_sub(self.cx.meter.total_ns()).max(self.quantum_ns);
        self.serve_flows(Class::Sessions, left_ns, elapsed);
    }

    /// True exactly when a flow of the class may run.
    pub(super) fn has_flows(&self, class: Class) -> bool {
        self.backlog.is_any_of(class) && !self.is_full()
    }

    /// Handles the backlog, one flow after the other, until it has cost `part_ns` or is empty.
    pub(super) fn serve_flows(&mut self, class: Class, part_ns: u64, elapsed: &mut impl FnMut() -> Duration) {
        let until = self.cx.meter.total_ns().saturating_add(part_ns);
        while self.cx.meter.total_ns() < until
            && !self.is_full()
            && let Some((key, credit_ns)) = self.backlog.next(class)
        {
            let began = self.cx.meter.total_ns();
            self.cx.meter.allow(credit_ns);
            while !self.cx.meter.is_over()
                && !self.is_full()
                && !self.is_backlogged(key)
                && let Some(item) = self.backlog.pop(key)
            {
                self.handle_item(key, item);
                self.look_at_clock(elapsed);
            }
            self.cx.meter.allow_all();
            self.cx.meter.read(elapsed());
            let used_ns = self.cx.meter.total_ns().saturating_sub(began);
            if self.is_backlogged(key) && self.backlog.waits(key) {
                self.backlog.sleep(key, used_ns);
            } else {
                let class = self.class_of(key);
                self.backlog.served(key, class, used_ns);
            }
            self.pace(key);
        }
    }

    /// True exactly when a connection does not read its answers: it gets no more of them until it does.
    fn is_backlogged(&mut self, key: FlowKey) -> bool {
        match key {
            FlowKey::Socket(socket) => {
                // A peer that has gone reads nothing more: handle its input, then its end.
                self.conns.table.get_mut(socket).is_some_and(|conn| conn.is_paused)
                    && !self.backlog.has_end(key)
            }
            FlowKey::Client(_) => false,
        }
    }

    pub(super) fn look_at_clock(&mut self, elapsed: &mut impl FnMut() -> Duration) {
        if self.cx.meter.is_reading_due() {
            self.cx.meter.read(elapsed());
        }
    }

    /// Handles an item at once if the turn has room and no flow waits.
    fn handle_or_defer(&mut self, socket: Socket, item: Item<K::Buffer>, until: u64) {
        let key = FlowKey::Socket(socket);
        if self.backlog.are_all_asleep()
            && !self.backlog.waits(key)
            && self.cx.meter.total_ns() < until
            && !self.is_full()
        {
            self.cx.meter.allow(self.quantum_ns);
            self.handle_item(key, item);
            self.cx.meter.allow_all();
            if !self.backlog.are_all_asleep() {
                self.pace(key);
            }
            return;
        }
        let class = self.class_of(key);
        let is_more_than_one = self.backlog.push_back(key, class, item) > 1;
        if self.backlog.has_end(key) {
            self.backlog.wake(key, class);
        }
        if is_more_than_one && !self.backlog.set_paused(key, true) {
            self.conns.sockets.pause_receive(socket);
        }
    }

    fn handle_item(&mut self, key: FlowKey, item: Item<K::Buffer>) {
        // A reason left over from an earlier item does not apply to this one.
        self.cx.why = None;
        match (key, item) {
            (FlowKey::Socket(socket), Item::Received(received)) => self.handle_received(socket, received),
            (FlowKey::Socket(socket), Item::Ended(how)) => {
                self.cx.meter.add(cost::END_NS);
                self.with_connections(|conns, cx, above| conns.ended(cx, above, socket, how));
            }
            (FlowKey::Socket(socket), Item::Deferred(Deferred::Commands(commands))) => {
                if let Some(Session::Client { key: client }) =
                    self.conns.table.get_mut(socket).and_then(|conn| conn.state.session())
                {
                    self.handle_commands(key, client, commands);
                }
            }
            (FlowKey::Socket(socket), Item::Deferred(Deferred::Parked)) => {
                if let Some(Session::Client { key: client }) =
                    self.conns.table.get_mut(socket).and_then(|conn| conn.state.session())
                {
                    self.with_sessions(|sessions| sessions.handle_parked(client));
                }
            }
            (FlowKey::Client(client), Item::Deferred(Deferred::Commands(commands))) => {
                self.handle_commands(key, client, commands);
            }
            (FlowKey::Client(client), Item::Deferred(Deferred::Parked)) => {
                self.with_sessions(|sessions| sessions.handle_parked(client));
            }
            (_, Item::Deferred(Deferred::Retry(client, came))) => {
                self.with_sessions(|sessions| sessions.retry(client, came));
            }
            (FlowKey::Client(_), Item::Received(_) | Item::Ended(_)) => {
                unreachable!("a client has no connection of its own")
            }
        }
    }

    fn handle_received(&mut self, socket: Socket, mut received: Received<K::Buffer>) {
        self.cx.meter.add(cost::RECEIVE_NS);
        let began = self.cx.meter.total_ns();
        let left = match received.is_plain {
            true => {
                let bytes = received.rest();
                let (count, used) = (
                    bytes.len(),
                    self.with_connections(|conns, cx, above| conns.received(cx, above, socket, bytes)),
                );
                if used < count { Left::From(used) } else { Left::Nothing }
            }
            false => self
                .with_connections(|conns, cx, above| conns.on_received(cx, above, socket, received.rest())),
        };
        let used_ns = self.cx.meter.total_ns().saturating_sub(began);
        let (key, class) = (FlowKey::Socket(socket), Class::Sessions);
        match left {
            Left::Nothing => {}
            Left::From(used) => {
                received.from += used;
                received.is_plain = true;
                self.backlog.push_front(key, class, used_ns, Item::Received(received));
            }
            Left::Plain(bytes, has_ended) => {
                if has_ended {
                    self.backlog.push_front(key, class, used_ns, Item::Ended(Ended::ByPeer));
                }
                if !bytes.is_empty() {
                    let rest = Item::Received(Received::plain(bytes));
                    self.backlog.push_front(key, class, used_ns, rest);
                }
            }
        }
        if let Some(commands) = self.conns.cut.take() {
            self.backlog.push_front(key, class, used_ns, Item::Deferred(Deferred::Commands(commands)));
        }
    }

    fn handle_commands(&mut self, key: FlowKey, client: ClientKey, commands: Commands) {
        let at = match commands.is_begun {
            true => self.with_sessions(|sessions| sessions.resume_commands(client, &commands.frame)),
            false => self.with_sessions(|sessions| sessions.receive_commands(client, &commands.frame)),
        };
        if let Some(at) = at {
            self.backlog.push_front(
                key,
                Class::Sessions,
                0,
                Item::Deferred(Deferred::Commands(commands.from(at))),
            );
        }
    }

    /// Pauses the receive of a connection that has a backlog, and resumes it when the backlog is empty.
    fn pace(&mut self, key: FlowKey) {
        let waits = self.backlog.waits(key);
        let FlowKey::Socket(socket) = key else { return };
        if waits {
            self.cx.counters.add(Metric::Deferrals, 1);
        }
        match (self.backlog.set_paused(key, waits), waits) {
            (false, true) => self.conns.sockets.pause_receive(socket),
            (true, false) => self.with_sessions(|sessions| sessions.read_again(socket)),
            _ => {}
        }
    }

    /// The class of a flow.
    fn class_of(&mut self, flow: FlowKey) -> Class {
        class_of(&mut self.conns, &mut self.sessions, flow)
    }
}
