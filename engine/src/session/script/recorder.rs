//! Recorder: connections that only note what sessions do to them.
//!
//! In:  calls of sessions; whether a client reads what it is sent.
//! Out: the same, for tests to look at; too much for a client that does not read.

use std::collections::VecDeque;

use bytes::Bytes;
use holdfast_protocol::{
    http::Refusal,
    websocket::{CloseCode, Decoder, DecoderConfig, Event, MessageKind, Role},
};
use holdfast_ring::{Descriptor, Socket};
use serde_json::Value;

use crate::{
    conn::{
        Session,
        deflate::Deflate,
        lag::{Cause, Lag, LongQueue, QueueLimits, TooSlow},
        pace::{Pace, PingStretch},
    },
    context::Context,
    encoding::Encoding,
    limits::Rejection,
    metrics::CloseReason,
    refusals::Line,
    session::{Class, Deferred, FlowKey, Io},
};

/// A decoder for a client that takes whatever comes.
const DECODER: DecoderConfig =
    DecoderConfig { role: Role::Client, message_bytes_max: u64::MAX, frame_bytes_max: u64::MAX };

/// How a session ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct End {
    pub(crate) code: u16,
    pub(crate) text: Box<str>,
    pub(crate) reason: CloseReason,
}

/// All connections, by slot.
#[derive(Debug)]
pub(crate) struct Recorder {
    limits: QueueLimits,
    connections: Vec<Connection>,
    /// What waits for its part of a turn.
    pub(crate) deferred: VecDeque<(FlowKey, Deferred)>,
    /// Requests that have been answered.
    pub(crate) answers: Vec<(Socket, Result<Option<Bytes>, Refusal>)>,
    /// Lines that the log would have, by what they are about.
    pub(crate) stretch: Vec<&'static str>,
    is_fanning_out: bool,
    long_queues: Vec<LongQueue>,
    places_taken: u64,
}

/// What sessions did to a connection.
#[derive(Debug)]
struct Connection {
    wire: Encoding,
    session: Option<Session>,
    heard: VecDeque<Value>,
    end: Option<End>,
    /// Why its session was taken off it.
    detached: Option<CloseReason>,
    is_paused: bool,
    is_pinged: bool,
    awaits_pong: bool,
    /// Bytes that wait, where the client does not read.
    queued_bytes: Option<usize>,
    lag: Lag,
    tells_when_drained: bool,
}

impl Recorder {
    pub(super) fn new(limits: QueueLimits) -> Self {
        Self {
            limits,
            connections: Vec::new(),
            deferred: VecDeque::new(),
            answers: Vec::new(),
            stretch: Vec::new(),
            is_fanning_out: false,
            long_queues: Vec::new(),
            places_taken: 0,
        }
    }

    pub(super) fn add(&mut self, wire: Encoding) -> Socket {
        let slot = u32::try_from(self.connections.len()).expect("a script has few clients");
        self.connections.push(Connection {
            wire,
            session: None,
            heard: VecDeque::new(),
            end: None,
            detached: None,
            is_paused: false,
            is_pinged: false,
            awaits_pong: false,
            queued_bytes: None,
            lag: Lag::default(),
            tells_when_drained: false,
        });
        Socket::new(Descriptor::new(0, slot), 0)
    }

    fn at(&mut self, socket: Socket) -> &mut Connection {
        &mut self.connections[socket.slot()]
    }

    pub(super) fn set_session(&mut self, socket: Socket, session: Session) {
        self.at(socket).session = Some(session);
    }

    pub(super) fn forget_session(&mut self, socket: Socket) {
        self.at(socket).session = None;
    }

    pub(super) fn session(&mut self, socket: Socket) -> Option<Session> {
        self.at(socket).session
    }

    pub(super) fn session_of(&mut self, flow: FlowKey) -> Option<Session> {
        match flow {
            FlowKey::Socket(socket) => self.session(socket),
            FlowKey::Client(_) => None,
        }
    }

    pub(super) fn is_stream(&mut self, socket: Socket) -> bool {
        matches!(self.at(socket).wire, Encoding::Stream(_))
    }

    /// The next message that a client was sent.
    pub(crate) fn hear(&mut self, socket: Socket) -> Option<Value> {
        self.at(socket).heard.pop_front()
    }

    /// How its session has ended, if it has.
    pub(crate) fn end(&mut self, socket: Socket) -> Option<End> {
        self.at(socket).end.clone()
    }

    pub(super) fn await_pong(&mut self, socket: Socket) {
        self.at(socket).awaits_pong = true;
    }

    /// From now on a client takes nothing of what it is sent.
    pub(crate) fn stop_reading(&mut self, socket: Socket) {
        self.at(socket).queued_bytes.get_or_insert(0);
    }

    /// It takes all of it. True exactly when somebody wants to be told.
    pub(crate) fn read_all(&mut self, socket: Socket) -> bool {
        let connection = self.at(socket);
        connection.queued_bytes = None;
        std::mem::take(&mut connection.tells_when_drained)
    }

    /// True exactly when the connection is not read from.
    pub(crate) fn is_paused(&mut self, socket: Socket) -> bool {
        self.at(socket).is_paused
    }

    /// True exactly when it is pinged.
    pub(crate) fn is_pinged(&mut self, socket: Socket) -> bool {
        self.at(socket).is_pinged
    }
}

impl Connection {
    fn take(&mut self, bytes: &Bytes) {
        assert_eq!(self.end, None, "nothing follows the last words");
        if let Some(queued_bytes) = &mut self.queued_bytes {
            *queued_bytes += bytes.len();
        }
        match self.wire {
            Encoding::WebSocket(_) => {
                let mut bytes = bytes.to_vec();
                let mut input = &mut bytes[..];
                let mut decoder = Decoder::default();
                while let Some(event) = decoder.next(&DECODER, &mut input).expect("it is WebSocket") {
                    let Event::Message(message) = event else { panic!("no message: {event:?}") };
                    assert_eq!(message.kind, MessageKind::Text);
                    self.heard.extend(lines(&message.payload));
                }
                assert!(decoder.is_idle(), "only whole frames are sent");
            }
            Encoding::Sse | Encoding::Stream(_) => self.heard.extend(lines(bytes)),
        }
    }

    fn end(&mut self, code: u16, text: Box<str>) {
        let reason = self.detached.expect("the session is detached first");
        let before = self.end.replace(End { code, text, reason });
        assert_eq!(before, None, "it ends once");
    }
}

fn lines(message: &[u8]) -> Vec<Value> {
    let lines = message.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| serde_json::from_slice(line).expect("it is JSON")).collect()
}

impl Io for Recorder {
    fn send(&mut self, cx: &mut Context, to: Socket, bytes: Bytes, cause: Cause) -> Option<TooSlow> {
        let paused_bytes = self.limits.paused_bytes;
        let connection = self.at(to);
        let before = connection.queued_bytes.unwrap_or(0);
        connection.take(&bytes);
        if connection.queued_bytes.unwrap_or(0) <= paused_bytes {
            return None;
        }
        let long = LongQueue { socket: to, before, len: bytes.len(), cause };
        if self.is_fanning_out {
            self.long_queues.push(long);
            return None;
        }
        self.slow_down(cx, long)
    }

    fn send_head(&mut self, _to: Socket, _bytes: Bytes) {}

    fn deflate(&mut self, _to: Socket, _deflate: Deflate, _kind: MessageKind, _message: &[u8]) -> Bytes {
        unreachable!("no client of a script compresses")
    }

    fn deflate_frames(&mut self, _to: Socket, _deflate: Deflate, _plain: &Bytes, _is_shared: bool) -> Bytes {
        unreachable!("no client of a script compresses")
    }

    fn begin_turn_of_channel(&mut self) {
        assert!(!std::mem::replace(&mut self.is_fanning_out, true), "one channel at a time");
    }

    fn end_turn_of_channel(&mut self) -> Vec<LongQueue> {
        self.is_fanning_out = false;
        std::mem::take(&mut self.long_queues)
    }

    fn slow_down(&mut self, _cx: &mut Context, long: LongQueue) -> Option<TooSlow> {
        let LongQueue { socket, before, len, cause } = long;
        let limits = self.limits;
        let connection = self.at(socket);
        let is_admitted = connection.lag.admit(before, len, cause, limits);
        connection.session.filter(|_| !is_admitted).map(TooSlow)
    }

    fn queued_bytes(&mut self, of: Socket) -> usize {
        self.at(of).queued_bytes.unwrap_or(0)
    }

    fn is_backlogged(&mut self, socket: Socket) -> bool {
        self.at(socket).queued_bytes.is_some()
    }

    fn notify_drained(&mut self, socket: Socket) {
        self.at(socket).tells_when_drained = true;
    }

    fn pause(&mut self, socket: Socket) {
        self.at(socket).is_paused = true;
    }

    fn read_again(&mut self, socket: Socket, _must_hold: bool) {
        self.at(socket).is_paused = false;
    }

    fn session_on(&mut self, socket: Socket) -> Option<Session> {
        let connection = self.at(socket);
        connection.session.filter(|_| connection.end.is_none())
    }

    fn stream_opened(&mut self, _cx: &mut Context, socket: Socket, session: Session) {
        self.set_session(socket, session);
    }

    fn begin_handshake(&mut self, _cx: &mut Context, _socket: Socket) {}

    fn pings(&self) -> PingStretch {
        Pace::default().tell()
    }

    fn begin_heartbeat(&mut self, _cx: &mut Context, socket: Socket, _stretch: PingStretch) {
        assert!(!std::mem::replace(&mut self.at(socket).is_pinged, true), "a heartbeat begins once");
    }

    fn pong(&mut self, _cx: &mut Context, socket: Socket) -> bool {
        std::mem::take(&mut self.at(socket).awaits_pong)
    }

    fn detach(&mut self, socket: Socket, reason: CloseReason) {
        let connection = self.at(socket);
        connection.session = None;
        connection.detached.get_or_insert(reason);
    }

    fn close(&mut self, _cx: &mut Context, socket: Socket, code: CloseCode, text: &str) {
        self.at(socket).end(code.into(), text.into());
    }

    fn linger_for_eof(&mut self, _cx: &mut Context, socket: Socket) {
        let connection = self.at(socket);
        // A stream has no close frame: the last words say it.
        let push = connection.heard.back().map(|last| last["push"]["disconnect"].clone()).unwrap_or_default();
        let code = push["code"].as_u64().and_then(|code| u16::try_from(code).ok());
        let text = push["reason"].as_str().unwrap_or_default().into();
        connection.end(code.expect("a code is said last"), text);
    }

    fn answer(&mut self, _cx: &mut Context, socket: Socket, answer: Result<Option<Bytes>, Refusal>) {
        self.answers.push((socket, answer));
    }

    fn reject(&mut self, _cx: &mut Context, _socket: Socket, _turned_away: Rejection) {
        unreachable!("no script asks for more than there is")
    }

    fn is_reused(&mut self, _socket: Socket) -> bool {
        false
    }

    fn take_place(&mut self, _taken_elsewhere: u64) -> bool {
        self.places_taken += 1;
        true
    }

    fn give_place_back(&mut self) {
        self.places_taken -= 1;
    }

    fn tell(&mut self, _cx: &mut Context, _socket: Socket, line: Line) {
        self.stretch.push(line.event);
    }

    fn table_bytes(&self) -> usize {
        0
    }

    fn defer_last(&mut self, flow: FlowKey, _class: Class, what: Deferred) {
        self.deferred.push_back((flow, what));
    }

    fn defer_first(&mut self, flow: FlowKey, what: Deferred) {
        self.deferred.push_front((flow, what));
    }

    fn has_deferred(&self, flow: FlowKey) -> bool {
        self.deferred.iter().any(|(other, _)| *other == flow)
    }

    fn deferred_bytes(&self, flow: FlowKey) -> usize {
        let of_flow = self.deferred.iter().filter(|(other, _)| *other == flow);
        let bytes = of_flow.map(|(_, deferred)| match deferred {
            Deferred::Commands(commands) => commands.frame.len(),
            Deferred::Parked | Deferred::Retry(..) => 0,
        });
        bytes.sum()
    }

    fn forget_deferred(&mut self, flow: FlowKey) {
        self.deferred.retain(|(other, _)| *other != flow);
    }

    fn is_caught_up(&self) -> bool {
        self.deferred.is_empty()
    }
}
