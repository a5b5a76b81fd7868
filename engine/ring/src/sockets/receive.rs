//! Receive: the reading side of a socket.
//!
//! In:  completions of polls and receives; what the owner wants.
//! Out: [`Event::Received`] in the order of the stream, [`Event::Ended`] once.
//!
//! A quiet socket waits in a poll, the cheapest thing to keep in the kernel. One that brings a second piece of data soon
//! after the first is busy and gets a multishot receive, which costs one completion a piece of data and no operation,
//! until it has been quiet for some ticks.

use super::{
    Ended, Event, Sockets,
    record::{Reading, Record},
};
use crate::kernel::{Armed, Errno, Kernel, Op, ReceiveEnd, Socket};

/// Wakes within one tick that make a socket a busy one.
const BUSY_WAKES: u8 = 2;

/// Ticks without a wake after which a socket is quiet. Two: who talks once a second misses a tick now and then.
const QUIET_AFTER_TICKS: u8 = 2;

impl<K: Kernel> Sockets<K> {
    /// Gives no more bytes of this socket, but for those that are on their way already. The peer is held up by TCP's
    /// flow control once the kernel's buffers are full. Where something is queued for it, [`Event::Drained`] will tell
    /// when that has gone out, so that who pauses a socket for its long queue knows when to go on.
    pub fn pause_receive(&mut self, socket: Socket) {
        let Some(record) = self.table.get(socket) else { return };
        record.wants_bytes = false;
        record.was_backlogged |= record.queued_bytes > 0;
        // When it goes on, it brings one buffer at a time again before it brings many.
        record.wakes = 0;
        if let Reading::Armed(armed @ (Armed::Once | Armed::Many)) = record.reading {
            record.reading = Reading::Cancelling;
            self.kernel.push(Op::CancelReceive(socket, armed));
        }
    }

    /// Ends [`Sockets::pause_receive`].
    pub fn resume_receive(&mut self, socket: Socket) {
        let Some(record) = self.table.get(socket) else { return };
        record.wants_bytes = true;
        self.arm_next(socket, false);
    }

    pub(super) fn connected(
        &mut self,
        socket: Socket,
        result: Result<(), Errno>,
        events: &mut Vec<Event<K::Buffer>>,
    ) {
        let Some(record) = self.table.get(socket) else { return };
        record.reading = Reading::Idle;
        match result {
            Ok(()) if record.closing.is_none() => {
                events.push(Event::Connected(socket));
                self.arm_next(socket, false);
            }
            Ok(()) => {}
            Err(error) => self.ended(socket, Ended::Failed(error), events),
        }
        self.close_if_quiet(socket);
    }

    pub(super) fn received(
        &mut self,
        socket: Socket,
        buffer: K::Buffer,
        armed: bool,
        more_to_read: bool,
        events: &mut Vec<Event<K::Buffer>>,
    ) {
        let ticks = self.ticks;
        self.statistics.received_bytes += buffer.len() as u64;
        let Some(record) = self.table.get(socket) else { return };
        woken(record, ticks);
        if record.closing.is_none() {
            events.push(Event::Received(socket, buffer));
        }
        if !armed {
            record.reading = Reading::Idle;
            self.arm_next(socket, more_to_read);
            self.close_if_quiet(socket);
        }
    }

    pub(super) fn receive_ended(
        &mut self,
        socket: Socket,
        end: ReceiveEnd,
        events: &mut Vec<Event<K::Buffer>>,
    ) {
        let Some(record) = self.table.get(socket) else { return };
        record.reading = Reading::Idle;
        match end {
            ReceiveEnd::Stopped => self.arm_next(socket, false),
            ReceiveEnd::NoBuffers => {
                self.statistics.buffers_exhausted += 1;
                if record.wants_bytes && record.closing.is_none() {
                    record.reading = Reading::Starved;
                    self.starved.push(socket);
                }
            }
            ReceiveEnd::EndOfStream => self.ended(socket, Ended::ByPeer, events),
            ReceiveEnd::Failed(error) => self.ended(socket, Ended::Failed(error), events),
        }
        self.close_if_quiet(socket);
    }

    pub(super) fn readable(&mut self, socket: Socket) {
        let ticks = self.ticks;
        let Some(record) = self.table.get(socket) else { return };
        record.reading = Reading::Idle;
        woken(record, ticks);
        self.arm_next(socket, true);
        self.close_if_quiet(socket);
    }

    /// By now the buffers that were in use are back.
    pub(super) fn feed_starved(&mut self) {
        let mut starved = std::mem::take(&mut self.starved);
        for socket in starved.drain(..) {
            if let Some(record) = self.table.get(socket)
                && record.reading == Reading::Starved
            {
                record.reading = Reading::Idle;
                self.arm_next(socket, true);
            }
        }
        self.starved = starved;
    }

    pub(super) fn demote_quiet(&mut self) {
        let ticks = self.ticks;
        let mut streaming = std::mem::take(&mut self.streaming);
        streaming.retain(|&socket| {
            let Some(record) = self.table.get(socket) else { return false };
            let is_armed = record.reading == Reading::Armed(Armed::Many);
            record.is_streaming = is_armed && ticks.wrapping_sub(record.wakes_tick) <= QUIET_AFTER_TICKS;
            if is_armed && !record.is_streaming {
                record.wakes = 0;
                record.reading = Reading::Cancelling;
                self.kernel.push(Op::CancelReceive(socket, Armed::Many));
            }
            record.is_streaming
        });
        self.streaming = streaming;
    }

    /// Puts the next operation of the reading side into the kernel, if there is to be one.
    pub(super) fn arm_next(&mut self, socket: Socket, is_readable: bool) {
        let ticks = self.ticks;
        let record = self.table.record(socket);
        let wanted = record.wants_bytes && record.closing.is_none();
        if record.reading != Reading::Idle || !wanted || self.looks_first(socket) {
            return;
        }
        let record = self.table.record(socket);
        self.has_more_to_read |= is_readable;
        let is_busy = record.wakes_tick == ticks && record.wakes > BUSY_WAKES;
        self.arm(
            socket,
            match (is_busy, is_readable) {
                (true, _) => Armed::Many,
                (false, true) => Armed::Once,
                (false, false) => Armed::Poll,
            },
        );
    }

    pub(super) fn arm(&mut self, socket: Socket, armed: Armed) {
        self.table.record(socket).reading = Reading::Armed(armed);
        self.kernel.push(match armed {
            Armed::Poll => Op::PollReadable(socket),
            Armed::Once => Op::Receive(socket),
            Armed::Many => {
                if !std::mem::replace(&mut self.table.record(socket).is_streaming, true) {
                    self.streaming.push(socket);
                }
                Op::ReceiveMany(socket)
            }
            Armed::Connect => unreachable!("connecting is not a way of reading"),
        });
    }

    /// Tells the owner that the connection is over, the first time.
    pub(super) fn ended(&mut self, socket: Socket, how: Ended, events: &mut Vec<Event<K::Buffer>>) {
        let record = self.table.record(socket);
        if record.reading == Reading::Idle {
            record.reading = Reading::Over;
        }
        if !record.has_ended {
            record.has_ended = true;
            if record.closing.is_none() {
                events.push(Event::Ended(socket, how));
            }
        }
    }
}

/// A poll that fires and the receive after it are two wakes; so a socket is busy with its second piece of data within a
/// tick, or with its first in a tick if it was not quiet before.
fn woken(record: &mut Record, ticks: u8) {
    if record.wakes_tick != ticks {
        let was_quiet = ticks.wrapping_sub(record.wakes_tick) > QUIET_AFTER_TICKS;
        record.wakes_tick = ticks;
        record.wakes = u8::from(!was_quiet);
    }
    record.wakes = record.wakes.saturating_add(1);
}

#[cfg(all(test, feature = "simulation"))]
mod tests {
    use std::time::Duration;

    use super::QUIET_AFTER_TICKS;
    use crate::{
        Event, Sockets, SocketsConfig,
        simulated::{Faults, Network, Simulated, SimulatedConfig, listener},
    };

    #[test]
    fn a_busy_socket_that_starves_again_and_again_is_listed_once() {
        let network = Network::new(1, Faults { no_buffers: 500, ..Faults::default() }, 4096);
        let config = SimulatedConfig { lanes: 1, slots_per_lane: 4, buffers: 4, buffer_bytes: 8 };
        let mut sockets = Sockets::new(Simulated::new(&network, &config), SocketsConfig::default());
        sockets.listen(listener());
        sockets.turn(Duration::ZERO, &mut Vec::new()).unwrap();
        let peer = network.connect(0).unwrap();
        let mut events = Vec::new();
        for _ in 0..200 {
            peer.write(&[7; 64]);
            sockets.turn(Duration::ZERO, &mut events).unwrap();
            events.retain(|event| !matches!(event, Event::Received(..)));
        }
        assert!(sockets.statistics().buffers_exhausted > 10, "the test wants a socket that starves");
        assert_eq!(sockets.streaming.len(), 1);
    }

    #[test]
    fn who_talks_once_a_tick_has_a_multishot_receive_until_it_is_quiet() {
        let network = Network::new(1, Faults::default(), 4096);
        let config = SimulatedConfig { lanes: 1, slots_per_lane: 4, buffers: 4, buffer_bytes: 8 };
        let mut sockets = Sockets::new(Simulated::new(&network, &config), SocketsConfig::default());
        sockets.listen(listener());
        sockets.turn(Duration::ZERO, &mut Vec::new()).unwrap();
        let peer = network.connect(0).unwrap();
        let tick = |sockets: &mut Sockets<Simulated>, bytes: &[u8]| {
            peer.write(bytes);
            for _ in 0..20 {
                sockets.turn(Duration::ZERO, &mut Vec::new()).unwrap();
            }
            sockets.tick();
            sockets.streaming.len()
        };
        // Beyond those after the start, in which the counter of ticks cannot tell a new socket from one that talked.
        for _ in 0..=QUIET_AFTER_TICKS {
            tick(&mut sockets, b"");
        }
        let talking = [&b"1"[..], b"2", b"3", b"", b"4", b"", b""].map(|bytes| tick(&mut sockets, bytes));
        assert_eq!(talking, [0, 1, 1, 1, 1, 1, 0]);
    }
}
