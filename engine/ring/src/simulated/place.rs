//! Place: one descriptor of a simulated kernel, and what is armed on it.
//!
//! In:  operations of its socket; what the network has for it.
//! Out: their completions, in order for each side.

use bytes::{Buf, Bytes};
use rand::Rng;

use super::{
    MULTISHOT_MAX, SimulatedBuffer, Stream,
    buffers::Pool,
    network::{Readable, State},
    short,
};
use crate::kernel::{Armed, Completion, Errno, ReceiveEnd, Seen, Socket};

#[derive(Debug, Default)]
pub(super) struct Place {
    life: Life,
    /// Whose it is, once an operation has said so.
    key: Option<Socket>,
    /// The generation of its last socket.
    last_generation: Option<u32>,
    reading: Option<Reading>,
    /// A poll for room, and whether it is to end.
    writing: Option<bool>,
    has_sent: bool,
    /// True exactly when there was a look in this turn: what is read at once in the same call may come before it.
    has_looked: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Life {
    #[default]
    Free,
    /// A socket that is to be connected.
    Attached,
    Connected(usize),
}

#[derive(Clone, Copy, Debug)]
struct Reading {
    armed: Armed,
    is_cancelled: bool,
}

impl Place {
    pub(super) fn is_held(&self) -> bool {
        self.life != Life::Free
    }

    pub(super) fn connection(&self) -> Option<usize> {
        match self.life {
            Life::Connected(connection) => Some(connection),
            Life::Free | Life::Attached => None,
        }
    }

    pub(super) fn accept(&mut self, connection: usize) {
        assert!(!self.is_held(), "a place is free when a socket comes");
        self.life = Life::Connected(connection);
    }

    pub(super) fn attach(&mut self) {
        assert!(!self.is_held(), "a place is free when a socket comes");
        self.life = Life::Attached;
    }

    pub(super) fn begin_turn(&mut self) {
        self.has_sent = false;
        self.has_looked = false;
    }

    /// The socket that speaks must be the one that is here.
    fn check(&mut self, socket: Socket) {
        assert!(self.is_held(), "{socket:?} has no descriptor");
        match self.key {
            Some(key) => assert!(key == socket, "{socket:?} speaks where {key:?} is"),
            None => {
                let last = self.last_generation;
                assert!(last != Some(socket.generation()), "{socket:?} has the key of one that is gone");
                self.key = Some(socket);
            }
        }
    }

    pub(super) fn arm(&mut self, socket: Socket, armed: Armed) {
        self.check(socket);
        assert!(self.reading.is_none(), "{socket:?} reads once at a time");
        assert!(!self.has_looked, "{socket:?} reads beside a look");
        assert!(
            (armed == Armed::Connect) == (self.life == Life::Attached),
            "{socket:?} is connected, then read"
        );
        self.reading = Some(Reading { armed, is_cancelled: false });
    }

    /// Reads what is there, at once.
    pub(super) fn look(
        &mut self,
        state: &mut State,
        socket: Socket,
        pool: &Pool,
        buffer_bytes: usize,
    ) -> Completion<SimulatedBuffer> {
        self.check(socket);
        let armed = self.reading.map(|reading| reading.armed);
        assert!(matches!(armed, None | Some(Armed::Poll)), "{socket:?} looks beside {armed:?}");
        self.has_looked = true;
        let connection = self.connection().expect("what is looked at is connected");
        let seen = match state.connection(connection).readable() {
            Readable::Nothing => Seen::Nothing,
            Readable::End => Seen::Ended(ReceiveEnd::EndOfStream),
            Readable::Error(error) => {
                state.connection(connection).take_error();
                Seen::Ended(ReceiveEnd::Failed(error))
            }
            Readable::Bytes(_) if pool.free() == 0 || state.chance(state.faults.no_buffers) => {
                Seen::Ended(ReceiveEnd::NoBuffers)
            }
            Readable::Bytes(available) => {
                let mut len = available.min(buffer_bytes);
                if state.chance(state.faults.short_read) {
                    len = state.random.random_range(1..=len);
                }
                let bytes = state.connection(connection).inward.take(len);
                Seen::Bytes { buffer: pool.take(bytes), more_to_read: len < available }
            }
        };
        state.trace.note("looked", connection as u64, u64::from(matches!(seen, Seen::Bytes { .. })));
        Completion::Looked(socket, seen)
    }

    /// True exactly when the reading side has something to tell.
    pub(super) fn is_due(&self, state: &mut State) -> bool {
        let Some(connection) = self.connection() else { return false };
        self.reading.is_some_and(|reading| reading.armed != Armed::Connect)
            && state.connection(connection).readable() != Readable::Nothing
    }

    /// Finds nothing where the operation has completed already.
    pub(super) fn cancel(&mut self, armed: Armed) {
        if let Some(reading) = &mut self.reading
            && reading.armed == armed
        {
            reading.is_cancelled = true;
        }
    }

    pub(super) fn arm_writable(&mut self, socket: Socket) {
        self.check(socket);
        assert!(self.writing.is_none(), "{socket:?} waits for room once at a time");
        self.writing = Some(false);
    }

    pub(super) fn cancel_writable(&mut self) {
        if let Some(is_cancelled) = &mut self.writing {
            *is_cancelled = true;
        }
    }

    /// Writes; the answer, where not all was taken.
    pub(super) fn send(
        &mut self,
        state: &mut State,
        socket: Socket,
        mut bytes: Bytes,
    ) -> Option<Completion<SimulatedBuffer>> {
        self.check(socket);
        assert!(!std::mem::replace(&mut self.has_sent, true), "{socket:?} writes once a turn");
        assert!(self.writing.is_none(), "{socket:?} does not write while it waits for room");
        assert!(!bytes.is_empty(), "{socket:?} writes something");
        let Some(connection) = self.connection() else { return Some(short(socket, bytes, None)) };
        match state.send(connection, &bytes) {
            Ok(sent) => {
                state.trace.note("sent", connection as u64, sent as u64);
                state.trace.note_carried_bytes(&bytes[..sent]);
                bytes.advance(sent);
                (!bytes.is_empty()).then(|| short(socket, bytes, None))
            }
            Err(error) => {
                state.trace.note("send fails", connection as u64, u64::from(error.0.unsigned_abs()));
                Some(short(socket, bytes, Some(error)))
            }
        }
    }

    pub(super) fn close(&mut self, state: &mut State) {
        let key = self.key.expect("who closes has armed something before");
        assert!(self.is_held(), "{key:?} closes once");
        assert!(self.reading.is_none() && self.writing.is_none(), "{key:?} closes with something armed");
        if let Some(connection) = self.connection() {
            state.trace.note("closed", connection as u64, 0);
            state.close(connection);
        }
        *self = Self { last_generation: Some(key.generation()), ..Self::default() };
    }

    /// What has come of the poll for room.
    pub(super) fn writable(&mut self, state: &mut State) -> Stream {
        let mut stream = Stream::new();
        let (Some(is_cancelled), Some(socket)) = (self.writing, self.key) else { return stream };
        let has_room = self.connection().is_some_and(|connection| state.has_room(connection));
        if (is_cancelled || has_room || state.chance_of_spurious()) && !state.chance(state.faults.late) {
            self.writing = None;
            state.trace.note("writable", self.number(), 0);
            stream.push_back(Completion::Writable(socket));
        }
        stream
    }

    /// What has come of the reading side.
    pub(super) fn read(&mut self, state: &mut State, pool: &Pool, buffer_bytes: usize) -> Stream {
        let mut stream = Stream::new();
        let (Some(reading), Some(socket)) = (self.reading, self.key) else { return stream };
        if state.chance(state.faults.late) {
            return stream;
        }
        match reading.armed {
            Armed::Connect => {
                let error = if reading.is_cancelled {
                    Some(Errno(libc::ECANCELED))
                } else {
                    state.chance(state.faults.refused).then_some(Errno(libc::ECONNREFUSED))
                };
                self.life = Life::Connected(match error {
                    None => state.open_from_kernel(),
                    Some(_) => state.open_in_vain(),
                });
                let result = error.map_or(Ok(()), Err);
                self.reading = None;
                state.trace.note("connected", self.number(), u64::from(result.is_ok()));
                stream.push_back(Completion::Connected(socket, result));
            }
            Armed::Poll => {
                let connection = self.connection().expect("what is polled is connected");
                let is_readable = state.connection(connection).readable() != Readable::Nothing;
                if reading.is_cancelled || is_readable || state.chance_of_spurious() {
                    self.reading = None;
                    state.trace.note("readable", self.number(), u64::from(is_readable));
                    stream.push_back(Completion::Readable(socket));
                }
            }
            Armed::Once | Armed::Many => {
                self.receive(socket, reading, state, pool, buffer_bytes, &mut stream);
            }
        }
        stream
    }

    fn receive(
        &mut self,
        socket: Socket,
        reading: Reading,
        state: &mut State,
        pool: &Pool,
        buffer_bytes: usize,
        stream: &mut Stream,
    ) {
        let connection = self.connection().expect("what is received from is connected");
        for _ in 0..MULTISHOT_MAX {
            let readable = state.connection(connection).readable();
            // What is there when a cancel comes may still come before it.
            let is_stopped = reading.is_cancelled
                && (matches!(readable, Readable::Nothing) || state.random.random_bool(0.5));
            if is_stopped || state.chance(state.faults.ended) {
                return self.end_receive(socket, ReceiveEnd::Stopped, state, stream);
            }
            let available = match readable {
                Readable::Nothing => return,
                Readable::Bytes(available) => available,
                Readable::End => return self.end_receive(socket, ReceiveEnd::EndOfStream, state, stream),
                Readable::Error(error) => {
                    state.connection(connection).take_error();
                    return self.end_receive(socket, ReceiveEnd::Failed(error), state, stream);
                }
            };
            if pool.free() == 0 || state.chance(state.faults.no_buffers) {
                return self.end_receive(socket, ReceiveEnd::NoBuffers, state, stream);
            }
            let mut len = available.min(buffer_bytes);
            if state.chance(state.faults.short_read) {
                len = state.random.random_range(1..=len);
            }
            let bytes = state.connection(connection).inward.take(len);
            let armed = reading.armed == Armed::Many && !state.chance(state.faults.ended);
            // Only a hint: it may be out of date by the time at which it is read.
            let more_to_read = len < available || state.chance_of_spurious();
            state.trace.note("received", connection as u64, len as u64);
            stream.push_back(Completion::Received { socket, buffer: pool.take(bytes), armed, more_to_read });
            if !armed {
                self.reading = None;
                return;
            }
        }
    }

    fn end_receive(&mut self, socket: Socket, end: ReceiveEnd, state: &mut State, stream: &mut Stream) {
        let code = match end {
            ReceiveEnd::EndOfStream => 0,
            ReceiveEnd::NoBuffers => 1,
            ReceiveEnd::Stopped => 2,
            ReceiveEnd::Failed(_) => 3,
        };
        state.trace.note("receive ends", self.number(), code);
        self.reading = None;
        stream.push_back(Completion::ReceiveEnded(socket, end));
    }

    fn number(&self) -> u64 {
        self.connection().map_or(u64::MAX, |connection| connection as u64)
    }
}
