//! Events: what comes from a socket, and what it means for its connection.
//!
//! In:  events of the sockets.
//! Out: the connection's next stage, answers to control frames, calls of the scenario.
//!
//! A server's fault ends its connection and is counted with its reason; it never ends the run.

use holdfast_protocol::websocket::deflate::Inflation;
use holdfast_protocol::websocket::handshake_client::check_response_with;
use holdfast_protocol::websocket::{self, CloseFrame, FrameError, close};
use holdfast_ring::{Buffer, CloseWhen, Ended, Event, Socket};

use super::Play;
use super::connection::Stage;
use super::link::{Link, OFFER};
use crate::dialect::Dialect;

impl Link<'_> {
    pub(super) fn handle<P: Play>(&mut self, event: Event<Buffer>, play: &mut P) {
        match event {
            Event::Connected(socket) => {
                if self.connections.move_to(socket, Stage::Handshaking) == Some(Stage::Connecting) {
                    self.connected(socket);
                }
            }
            Event::Received(socket, mut buffer) => self.bytes_came(socket, &mut buffer, play),
            Event::Ended(socket, how) => self.ended(socket, how, play),
            Event::Closed(socket) => {
                self.forget_keys(socket);
                self.vacated.extend(self.connections.forget(socket));
            }
            // A worker has no listener and no bell, and asks no queue when it drains.
            Event::Accepted(..)
            | Event::AcceptFailed(_)
            | Event::Drained(_)
            | Event::Looked(_)
            | Event::PeerAddress(..)
            | Event::Woken => {}
        }
    }

    pub(super) fn received<P: Play>(&mut self, socket: Socket, bytes: &mut [u8], play: &mut P) {
        match self.connections.stage(socket) {
            Some(Stage::Joining | Stage::Open | Stage::Closing) => self.read_frames(socket, bytes, play),
            Some(Stage::Handshaking) => self.read_answer(socket, bytes, play),
            _ => {}
        }
    }

    /// The answer to the handshake; frames may follow it in the same piece.
    fn read_answer<P: Play>(&mut self, socket: Socket, bytes: &mut [u8], play: &mut P) {
        let mut whole = self.answers.remove(&socket).map(|mut begun| {
            begun.extend_from_slice(bytes);
            begun
        });
        let answer = whole.as_deref_mut().unwrap_or(bytes);
        let subprotocol = self.dialect.subprotocol();
        let offer = self.inflater.as_ref().map(|_| &OFFER);
        match check_response_with(answer, &self.key(socket), subprotocol.as_slice(), offer) {
            Ok(Some((accepted, _))) if offer.is_some() && accepted.deflate.is_none() => {
                self.tally.connects.failed += 1;
                self.tally.reason("the server does not agree to compression".to_owned(), 1);
                self.abandon(socket, CloseWhen::Now);
            }
            Ok(Some((_, head_bytes))) => {
                self.upgraded(socket, play);
                let rest = &mut answer[head_bytes..];
                if !rest.is_empty() {
                    self.read_frames(socket, rest, play);
                }
            }
            Ok(None) => {
                let begun = whole.unwrap_or_else(|| bytes.to_vec());
                self.answers.insert(socket, begun);
            }
            Err(error) => {
                self.tally.connects.failed += 1;
                self.tally.reason(error.to_string().trim_end_matches([':', ' ']).to_owned(), 1);
                self.abandon(socket, CloseWhen::Now);
            }
        }
    }

    fn upgraded<P: Play>(&mut self, socket: Socket, play: &mut P) {
        match self.dialect {
            Dialect::Raw(_) => self.opened(socket, play),
            Dialect::Centrifuge(format) => self.join(format, socket, play),
        }
    }

    pub(super) fn opened<P: Play>(&mut self, socket: Socket, play: &mut P) {
        self.connections.move_to(socket, Stage::Open);
        let Some(connection) = self.connections.get(socket) else { return };
        let (member, since_ns) = (connection.member, connection.since_ns);
        self.tally.handshakes.saturating_record(self.now_ns.saturating_sub(since_ns));
        self.tally.connects.established += 1;
        self.tally.connects.last_ns = self.now_ns;
        play.opened(self, socket, member);
    }

    fn read_frames<P: Play>(&mut self, socket: Socket, mut bytes: &mut [u8], play: &mut P) {
        let decoding = self.decoding;
        loop {
            // What the last frame made of the connection may be its end.
            let Some(connection) = self.connections.get(socket) else { return };
            let (stage, member) = (connection.stage, connection.member);
            if !matches!(stage, Stage::Joining | Stage::Open | Stage::Closing) {
                return;
            }
            let inflation = self.inflater.as_mut().map(|inflater| Inflation {
                inflater,
                window: None,
                message_bytes_max: decoding.message_bytes_max,
            });
            match connection.decoder.next_with(&decoding, inflation, &mut bytes) {
                Ok(Some(websocket::Event::Message(message))) => match self.dialect {
                    Dialect::Raw(_) => play.message(self, socket, member, &message.payload),
                    Dialect::Centrifuge(format) => self.hear(format, socket, &message.payload, play),
                },
                Ok(Some(websocket::Event::Ping(payload))) => self.send_pong(socket, &payload),
                Ok(Some(websocket::Event::Pong(_))) => {}
                Ok(Some(websocket::Event::Close(frame))) => {
                    return self.closed_by_server(socket, frame.as_ref(), play);
                }
                Ok(None) => return,
                Err(error) => return self.broken_by_server(socket, error, play),
            }
        }
    }

    fn closed_by_server<P: Play>(&mut self, socket: Socket, frame: Option<&CloseFrame>, play: &mut P) {
        let Some(connection) = self.connections.get(socket) else { return };
        let (stage, member) = (connection.stage, connection.member);
        if stage == Stage::Closing {
            self.connections.move_to(socket, Stage::Leaving);
            self.expect_to_leave(socket, Stage::Leaving);
            return;
        }
        let why = frame.map_or_else(
            || "the server closed without a code".to_owned(),
            |frame| format!("the server closed with code {} {}", u16::from(frame.code), frame.reason),
        );
        self.send_close(socket, close::answer(frame));
        self.abandon(socket, CloseWhen::Flushed);
        self.lost(stage, member, why.trim_end().to_owned(), play);
    }

    fn broken_by_server<P: Play>(&mut self, socket: Socket, error: FrameError, play: &mut P) {
        let Some(connection) = self.connections.get(socket) else { return };
        let (stage, member) = (connection.stage, connection.member);
        self.send_close(socket, Some((error.close_code(), "")));
        self.abandon(socket, CloseWhen::Flushed);
        self.lost(stage, member, format!("the server broke the protocol: {error}"), play);
    }

    fn ended<P: Play>(&mut self, socket: Socket, how: Ended, play: &mut P) {
        let Some(connection) = self.connections.get(socket) else { return };
        let (stage, member) = (connection.stage, connection.member);
        let how = match how {
            Ended::ByPeer => "the server ended the connection".to_owned(),
            Ended::Failed(errno) => errno.to_string(),
        };
        self.abandon(socket, CloseWhen::Now);
        match stage {
            Stage::Connecting => {
                self.tally.connects.failed += 1;
                self.tally.reason(format!("cannot connect: {how}"), 1);
            }
            Stage::Handshaking => {
                self.tally.connects.failed += 1;
                self.tally.reason(format!("during the handshake: {how}"), 1);
            }
            Stage::Joining | Stage::Open => {
                self.lost(stage, member, format!("without a close frame: {how}"), play);
            }
            Stage::Closing => {
                self.tally.connects.unclean += 1;
                self.tally.reason(format!("instead of answering our close frame: {how}"), 1);
            }
            Stage::Leaving | Stage::Gone => {}
        }
    }

    /// Counts a connection that ended at `stage`, and not by our wish.
    pub(super) fn lost<P: Play>(&mut self, stage: Stage, member: u32, why: String, play: &mut P) {
        self.tally.reason(why, 1);
        if stage == Stage::Joining {
            self.tally.connects.failed += 1;
            return;
        }
        self.tally.connects.lost_later += 1;
        play.lost(self, member);
    }
}
