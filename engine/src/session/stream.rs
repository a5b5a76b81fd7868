//! Stream: sessions whose replies are one unending response (server-sent events, HTTP streaming).
//!
//! In:  the first commands, from the request.
//! Out: the head of the response; a session, whose later commands arrive by `/emulation`.

use std::sync::Arc;

use bytes::{BufMut as _, BytesMut};
use holdfast_protocol::http::StreamHead;
use holdfast_ring::Socket;
use rand::Rng as _;

use super::client::Transport;
use crate::{
    backend::Header,
    conn::{Session, http::cors::Cors},
    encoding::Encoding,
    session::{Io, SessionCx},
};

impl<I: Io> SessionCx<'_, I> {
    pub(crate) fn open_stream(
        &mut self,
        socket: Socket,
        wire: Encoding,
        cors: &Cors,
        told: Arc<[Header]>,
        commands: &[u8],
    ) {
        let mut fields = cors.fields();
        fields.push(("Content-Type", content_type(wire)));
        // Caches and proxies must neither store nor buffer the stream.
        fields.push(("Cache-Control", "private, no-cache, no-store, must-revalidate, max-age=0"));
        fields.push(("Pragma", "no-cache"));
        fields.push(("X-Accel-Buffering", "no"));
        fields.push(("X-Content-Type-Options", "nosniff"));
        let mut out = BytesMut::new();
        StreamHead { headers: &fields }.write(&mut out);
        if wire == Encoding::Sse {
            // An empty line makes browsers open the stream. Not CR LF: eventsource 2 for node loses the first event
            // that arrives together with that.
            out.put_slice(b"\n");
        }
        self.io.send_head(socket, out.freeze());
        let session = self.sessions.registry.open(self.sessions.ids.random());
        let key = self.open_client(Transport::Stream { wire, socket, session }, wire.format());
        self.sessions.registry.set_client(session, Some(key));
        self.store_headers(key, told);
        self.io.stream_opened(self.cx, socket, Session::Client { key });
        // Its connect is part of the handshake: the same timeout, restarted.
        self.io.begin_handshake(self.cx, socket);
        self.frame_came(key, commands);
    }
}

fn content_type(wire: Encoding) -> &'static str {
    match wire {
        Encoding::Sse => "text/event-stream",
        Encoding::Stream(holdfast_protocol::client::Format::Protobuf) => "application/octet-stream",
        Encoding::Stream(_) | Encoding::WebSocket(_) => "application/json",
    }
}
