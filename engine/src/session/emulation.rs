//! Emulation: requests that name a session, on their way to its shard, and the answers on their way back.
//!
//! In:  the bodies of `/emulation` and `/connection/poll`, on the connection's shard; requests of other nodes.
//! Out: commands and polls, on the session's shard; one answer to each. What is for a session of another node goes to the
//!      control thread, which knows those.

use std::{borrow::Cow, sync::Arc};

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
        forward::{Forward, ForwardKind, ToNodes},
        message::Message,
        registry::SessionRegistry,
        request::{Answer, RequestOrigin, SessionId, SessionIndex, SessionRequest, SessionRequestKind},
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
        let commands = Bytes::copy_from_slice(&request.data);
        if request.node != *self.sessions.node {
            let what = ForwardKind::Commands { format, commands };
            return self.forward(socket, &request.node, &request.session, what);
        }
        let session = request.session.parse().map_err(|()| Refusal::SessionUnknown)?;
        self.ask_session(socket, session, SessionRequestKind::Commands(commands))
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
            return self.open_poll(socket, headers, &commands);
        }
        let (node, session) = split_name(&request.session);
        if let Some(node) = node.filter(|node| **node != *self.sessions.node) {
            return self.forward(socket, node, session, ForwardKind::Poll { received, commands });
        }
        let session = session.parse().map_err(|()| Refusal::SessionUnknown)?;
        self.ask_session(socket, session, SessionRequestKind::Poll { received, commands })
    }

    /// A request for a session of another node, if there is one of that name: the control thread knows.
    fn forward(
        &mut self,
        socket: Socket,
        node: &str,
        session: &str,
        what: ForwardKind,
    ) -> Result<(), Refusal> {
        let Some(others) = &self.sessions.forward else { return Err(Refusal::SessionUnknown) };
        let forward =
            Forward { node: node.into(), session: session.into(), what, shard: self.mesh.shard, socket };
        if others.send(ToNodes::Request(forward)) {
            Ok(())
        } else {
            Err(Refusal::Unavailable { retry_after_s: RETRY_AFTER_S })
        }
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
        let origin = RequestOrigin::Connection { shard: self.mesh.shard, socket };
        self.mesh.post(shard, Message::ToSession(Box::new(SessionRequest { session, origin, what })));
        Ok(())
    }

    /// A request for a session of this shard.
    pub(crate) fn handle_request(&mut self, request: SessionRequest) {
        let SessionRequest { session, origin, what } = request;
        let Some(place) = self.sessions.registry.find(&session) else {
            return self.answer_origin(origin, Err(Refusal::SessionUnknown));
        };
        match what {
            SessionRequestKind::Commands(commands) => self.commands_came(place, origin, &commands),
            SessionRequestKind::ForwardedCommands(data) => match self.unwrapped(place, &data) {
                Some(commands) => self.commands_came(place, origin, &commands),
                None => self.answer_origin(origin, Err(Refusal::SessionUnknown)),
            },
            SessionRequestKind::Poll { received, commands } => {
                self.poll_session(place, origin, received, &commands);
            }
        }
    }

    fn commands_came(&mut self, place: SessionIndex, origin: RequestOrigin, commands: &[u8]) {
        let registry: &mut SessionRegistry = &mut self.sessions.registry;
        let Some(key) = registry.client(place).filter(|_| registry.poll(place).is_none()) else {
            return self.answer_origin(origin, Err(Refusal::SessionUnknown));
        };
        let answer = if self.has_room_for_commands(key, commands.len()) {
            self.frame_came(key, commands);
            Ok(None)
        } else {
            Err(Refusal::Unavailable { retry_after_s: RETRY_AFTER_S })
        };
        self.answer_origin(origin, answer);
    }

    /// The commands that another node passed on, which does not know the session's format. As in Centrifugo, what came in
    /// JSON is still a JSON string.
    fn unwrapped<'d>(&mut self, place: SessionIndex, data: &'d [u8]) -> Option<Cow<'d, [u8]>> {
        let key = self.sessions.registry.client(place)?;
        match self.sessions.clients.get(key)?.format {
            Format::Protobuf => Some(Cow::Borrowed(data)),
            Format::Json => {
                serde_json::from_slice::<String>(data).ok().map(|text| Cow::Owned(text.into_bytes()))
            }
        }
    }

    /// Sends an answer to whoever waits for it.
    pub(crate) fn answer_origin(&mut self, origin: RequestOrigin, answer: Answer) {
        match origin {
            RequestOrigin::Connection { shard, socket } if shard == self.mesh.shard => {
                self.answer_request(socket, answer);
            }
            RequestOrigin::Connection { shard, socket } => {
                self.mesh.peers.post(shard, Message::Answer { socket, answer });
            }
            RequestOrigin::Node { number } => {
                // An answer that is not taken is as one that is lost between nodes: the client asks again.
                if let Some(nodes) = &self.sessions.forward {
                    let _ = nodes.send(ToNodes::Answer { number, answer });
                }
            }
        }
    }

    /// Answers a request whose connection is on this shard.
    pub(crate) fn answer_request(&mut self, socket: Socket, answer: Answer) {
        self.io.answer(self.cx, socket, answer);
    }
}

/// The node in a polling session's name, if it has one, and its id there.
fn split_name(name: &str) -> (Option<&str>, &str) {
    match name.split_once('.') {
        Some((node, id)) if id.matches('.').count() == 2 => (Some(node), id),
        _ => (None, name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_polling_session_may_begin_with_its_node() {
        for (name, node, id) in [
            ("n-1.0.1.ab", Some("n-1"), "0.1.ab"),
            ("0.1.ab", None, "0.1.ab"),
            ("n.0.1.ab.x", None, "n.0.1.ab.x"),
            ("", None, ""),
        ] {
            assert_eq!(split_name(name), (node, id), "{name}");
        }
    }
}
