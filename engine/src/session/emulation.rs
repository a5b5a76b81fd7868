//! Emulation: requests that name a session, on their way to its shard, and the answers on their way back.
//!
//! In:  the bodies of `/emulation` and `/connection/poll`, on the connection's shard.
//! Out: commands and polls, on the session's shard; one answer to each.

use std::sync::Arc;

use bytes::Bytes;
use holdfast_protocol::{
    client::{Format, emulation::EmulationRequest, poll::PollRequest},
    http::Refusal,
};
use holdfast_ring::Socket;

use crate::{
    backend::Header,
    context::RETRY_AFTER_S,
    session::{
        Io, SessionCx,
        message::Message,
        request::{Answer, RequestOrigin, SessionId, SessionRequest, SessionRequestKind},
    },
};

impl<I: Io> SessionCx<'_, I> {
    /// Commands for the session of a stream.
    pub(crate) fn emulation_came(
        &mut self,
        socket: Socket,
        format: Format,
        body: &[u8],
    ) -> Result<(), Refusal> {
        let request = EmulationRequest::decode(format, body).map_err(|_| {
            Refusal::BodyMalformed("send session, node and data, as the client protocol defines them")
        })?;
        if request.node != *self.sessions.node {
            return Err(Refusal::SessionUnknown);
        }
        let session = request.session.parse().map_err(|()| Refusal::SessionUnknown)?;
        self.ask_session(socket, session, SessionRequestKind::Commands(Bytes::copy_from_slice(&request.data)))
    }

    /// A poll: of a session, or to open one.
    pub(crate) fn poll_came(
        &mut self,
        socket: Socket,
        headers: Arc<[Header]>,
        body: &[u8],
    ) -> Result<(), Refusal> {
        let request = PollRequest::decode(body)
            .map_err(|_| Refusal::BodyMalformed("send a JSON object with session, received and commands"))?;
        let (received, commands) = (request.received, request.frame());
        if request.session.is_empty() {
            let origin = RequestOrigin { shard: self.mesh.shard, socket };
            return self.open_poll(origin, headers, &commands);
        }
        let session = request.session.parse().map_err(|()| Refusal::SessionUnknown)?;
        self.ask_session(socket, session, SessionRequestKind::Poll { received, commands })
    }

    fn ask_session(
        &mut self,
        socket: Socket,
        session: SessionId,
        what: SessionRequestKind,
    ) -> Result<(), Refusal> {
        let shard = session.shard;
        if shard.index() >= self.mesh.peers.count() {
            return Err(Refusal::SessionUnknown);
        }
        let request =
            SessionRequest { session, origin: RequestOrigin { shard: self.mesh.shard, socket }, what };
        self.mesh.post(shard, Message::ToSession(Box::new(request)));
        Ok(())
    }

    /// A request for a session of this shard.
    pub(crate) fn handle_request(&mut self, request: SessionRequest) {
        let SessionRequest { session, origin, what } = request;
        let Some(place) = self.sessions.registry.find(&session) else {
            return self.answer_origin(origin, Err(Refusal::SessionUnknown));
        };
        match (what, self.sessions.registry.client(place)) {
            (SessionRequestKind::Commands(commands), Some(key))
                if self.sessions.registry.poll(place).is_none() =>
            {
                let answer = if self.has_room_for_commands(key, commands.len()) {
                    self.frame_came(key, &commands);
                    Ok(None)
                } else {
                    Err(Refusal::Unavailable { retry_after_s: RETRY_AFTER_S })
                };
                self.answer_origin(origin, answer);
            }
            (SessionRequestKind::Commands(_), _) => self.answer_origin(origin, Err(Refusal::SessionUnknown)),
            (SessionRequestKind::Poll { received, commands }, _) => {
                self.poll_session(place, origin, received, &commands);
            }
        }
    }

    /// Sends an answer to the shard of the connection.
    pub(crate) fn answer_origin(&mut self, origin: RequestOrigin, answer: Answer) {
        if origin.shard == self.mesh.shard {
            self.answer_request(origin.socket, answer);
        } else {
            self.mesh.peers.post(origin.shard, Message::Answer { socket: origin.socket, answer });
        }
    }

    /// Answers a request whose connection is on this shard.
    pub(crate) fn answer_request(&mut self, socket: Socket, answer: Answer) {
        self.io.answer(self.cx, socket, answer);
    }
}
