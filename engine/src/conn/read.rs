//! Read: turns bytes of an open connection into messages for its session and answers to its control frames.
//!
//! In:  pieces of the stream, cut anywhere.
//! Out: calls of the session; pongs, close frames; or the end of the connection if the peer broke the protocol.
//!
//! A complete message needs no allocation: it is read in the kernel's receive buffer, unless it is compressed. A connection
//! that has used up its part of the turn is interrupted between two messages, or within one that holds many commands.

use holdfast_protocol::websocket::{
    CloseFrame, Event, FrameError, Opcode, Payload, Role, close, frame::FrameHeader,
};
use holdfast_ring::{Ended, Kernel, Socket};

use super::{Above, Commands, Connections, Session, State, deflate::Deflate};
use crate::{
    context::{Context, cost},
    metrics::{CloseReason, Metric},
    refusals::Why,
};

impl<K: Kernel> Connections<K> {
    /// Handles decrypted bytes. Returns how many of them are done: fewer than all if the connection has used up its part of
    /// the turn.
    pub(crate) fn received<A: Above<K>>(
        &mut self,
        cx: &mut Context,
        above: &mut A,
        socket: Socket,
        bytes: &mut [u8],
    ) -> usize {
        let used = self.read_all(cx, above, socket, bytes);
        self.count_partial(cx, socket);
        used
    }

    fn read_all<A: Above<K>>(
        &mut self,
        cx: &mut Context,
        above: &mut A,
        socket: Socket,
        bytes: &mut [u8],
    ) -> usize {
        let count = bytes.len();
        let mut at = 0;
        while at < count {
            let Some(conn) = self.table.get_mut(socket) else { break };
            if let Some(heartbeat) = conn.state.heartbeat() {
                heartbeat.heard_since_ping = true;
            }
            let bytes = &mut bytes[at..];
            match conn.state {
                State::Head { .. } => at += self.read_head(cx, above, socket, bytes),
                State::Body(_) => at += self.read_body(cx, above, socket, bytes),
                State::Open { .. } | State::Closing { .. } => {
                    return at + self.read(cx, above, socket, bytes);
                }
                State::Answering(_) => {
                    self.buffer_pipelined(cx, above, socket, bytes);
                    break;
                }
                State::Lingering { .. } if is_close_frame(bytes) => {
                    self.end_flushed(cx, above, socket, CloseReason::ByPeer);
                    break;
                }
                State::Streaming { .. } | State::Lingering { .. } | State::Flushing { .. } => break,
            }
            // A request; a WebSocket is interrupted in its own loop.
            if cx.meter.is_over() {
                return at;
            }
        }
        count
    }

    /// Handles bytes of a WebSocket. Returns how many of them are done.
    fn read<A: Above<K>>(
        &mut self,
        cx: &mut Context,
        above: &mut A,
        socket: Socket,
        mut bytes: &mut [u8],
    ) -> usize {
        let count = bytes.len();
        let mut left = 0;
        while let Some(conn) = self.table.get_mut(socket) {
            let deflate = conn.deflate;
            let (session, decoder) = match &mut conn.state {
                State::Open { session, decoder, .. } => (Some(*session), decoder),
                State::Closing { decoder, .. } => (None, decoder),
                _ => break,
            };
            let inflation = self.deflating.inflation(socket, deflate);
            let step = decoder.next_with(&self.policy.decoder, inflation, &mut bytes);
            if deflate != Deflate::Off && !self.count_inflated(cx, above, socket) {
                break;
            }
            let event = match step {
                Ok(Some(event)) => event,
                Ok(None) => break,
                Err(fault) => {
                    self.protocol_failed(cx, above, socket, fault);
                    break;
                }
            };
            match (event, session) {
                // After our close frame, input is parsed only to find the peer's close frame.
                (Event::Message(_) | Event::Ping(_), None) => {}
                (Event::Message(message), Some(session)) => {
                    cx.counters.add(Metric::MessagesIn, 1);
                    match session {
                        Session::Echo => self.write_message(cx, socket, deflate, &message),
                        Session::Broadcast { .. } | Session::Client { .. } => {
                            if let Some(at) = above.message(self, cx, session, &message) {
                                self.cut_off(message.payload, at);
                            }
                        }
                    }
                }
                (Event::Ping(payload), Some(_)) => self.write_pong(&payload),
                (Event::Pong(_), _) => self.pong(cx, socket),
                (Event::Close(frame), _) => self.close_frame_came(cx, above, socket, frame.as_ref()),
            }
            cx.meter.add(cost::FRAME_NS);
            if cx.meter.is_over() {
                left = bytes.len();
                break;
            }
        }
        cx.meter.add_bytes(count - left, cost::FRAME_KILOBYTE_NS);
        self.write_out(cx, above, socket);
        above.has_read(self, socket, count);
        count - left
    }

    /// Keeps the rest of a message of commands for later.
    fn cut_off(&mut self, payload: Payload<'_>, at: usize) {
        self.cut = Some(match payload {
            Payload::Borrowed(bytes) => Commands::rest(&bytes[at..], true),
            Payload::Assembled(bytes) => Commands::whole(bytes.freeze()).from(at),
        });
    }

    /// Counts inflated bytes as received, and as work. False if that has closed the connection.
    fn count_inflated<A: Above<K>>(&mut self, cx: &mut Context, above: &mut A, socket: Socket) -> bool {
        let (plain_bytes, deflated_bytes) = self.deflating.take_inflated();
        cx.meter.add_bytes(plain_bytes, cost::INFLATE_KILOBYTE_NS);
        self.count_received(cx, above, socket, plain_bytes.saturating_sub(deflated_bytes))
    }

    /// RFC 6455 §5.5.1: answer a close frame with its code, unless it is the answer to ours.
    fn close_frame_came<A: Above<K>>(
        &mut self,
        cx: &mut Context,
        above: &mut A,
        socket: Socket,
        frame: Option<&CloseFrame>,
    ) {
        let Some(conn) = self.table.get_mut(socket) else { return };
        if matches!(conn.state, State::Open { .. }) {
            self.write_close(close::answer(frame));
        }
        self.write_out(cx, above, socket);
        self.end_flushed(cx, above, socket, CloseReason::ByPeer);
    }

    /// RFC 6455 §7.1.7: the close code gives the reason; later input is ignored.
    fn protocol_failed<A: Above<K>>(
        &mut self,
        cx: &mut Context,
        above: &mut A,
        socket: Socket,
        fault: FrameError,
    ) {
        let Some(conn) = self.table.get_mut(socket) else { return };
        let was_open = matches!(conn.state, State::Open { .. });
        let reason = match fault {
            FrameError::FrameTooLong { .. } | FrameError::MessageTooLong { .. } => CloseReason::MessageTooBig,
            _ => CloseReason::ProtocolError,
        };
        cx.why = Some(Why::of_error(&fault));
        if was_open {
            self.write_close(Some((fault.close_code(), &fault.to_string())));
        }
        self.write_out(cx, above, socket);
        self.end_lingering(cx, above, socket, reason);
    }

    /// The stream has ended, cleanly or not.
    pub(crate) fn ended<A: Above<K>>(&mut self, cx: &mut Context, above: &mut A, socket: Socket, how: Ended) {
        let Some(conn) = self.table.get_mut(socket) else { return };
        match (how, &conn.state) {
            // Our last bytes may still be in flight: a peer that has ended its side may still read (RFC 9293 §3.6).
            (Ended::ByPeer, State::Closing { .. } | State::Lingering { .. } | State::Flushing { .. }) => {
                self.end_flushed(cx, above, socket, CloseReason::PeerGone);
            }
            // The same holds for a peer with a pending request: it gets its answer at the usual time.
            (Ended::ByPeer, State::Answering(_)) => conn.has_ended = true,
            // Answers to earlier requests may still be queued.
            (Ended::ByPeer, State::Head { .. } | State::Body(_)) => {
                self.end_flushed(cx, above, socket, CloseReason::PeerGone);
            }
            // RFC 6455 §7.1.5: an end without a close frame is not clean. For the client of a stream it is the only sign
            // that it left; its presence ends with it.
            (Ended::ByPeer, State::Open { .. } | State::Streaming { .. }) => {
                self.end_now(cx, above, socket, CloseReason::PeerGone);
            }
            (Ended::Failed(_), _) => self.end_now(cx, above, socket, CloseReason::Broken),
        }
    }
}

/// True exactly when `bytes` are a single close frame. From a peer that broke the protocol this is the answer to our close
/// frame, if it arrives alone: frame boundaries in its stream are no longer known. The peer then waits for us to end the
/// stream first (RFC 6455 §7.1.1).
fn is_close_frame(bytes: &[u8]) -> bool {
    match FrameHeader::parse(bytes, Role::Server, false) {
        Ok(Some((header, head_bytes))) => {
            header.opcode == Opcode::Close && (bytes.len() - head_bytes) as u64 == header.payload_bytes
        }
        _ => false,
    }
}
