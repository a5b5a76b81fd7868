//! TLS: the connections of a listener that speaks TLS.
//!
//! In:  received bytes and bytes to send, on any listener.
//! Out: the same bytes, decrypted and encrypted if the listener speaks TLS.
//!
//! Plaintext and ciphertext go through the shard's own buffers: an idle connection owns none. The ciphertext of hundreds of
//! connections shares a buffer, as answers do.

use bytes::Bytes;
use holdfast_protocol::{
    http::Refusal,
    tls::{Progress, TlsError},
};
use holdfast_ring::{Ended, Kernel, Socket};

use super::State;
use crate::{
    conn::{Above, Connections},
    context::{Context, cost},
    metrics::{CloseReason, Metric},
    refusals::Why,
};

/// The rest of the received bytes when their connection has used up its part.
#[derive(Debug)]
pub(crate) enum Left {
    Nothing,
    /// The bytes handed over, from this index on; limits are applied already, and they were not encrypted.
    From(usize),
    /// Decrypted bytes, possibly followed by the end of the stream.
    Plain(Vec<u8>, bool),
}

impl<K: Kernel> Connections<K> {
    /// Queues bytes for a connection. Returns the bytes queued for it then.
    pub(crate) fn transmit(&mut self, socket: Socket, bytes: Bytes) -> usize {
        let Some(listener) = &mut self.tls else { return self.sockets.send(socket, bytes) };
        let Some(conn) = self.table.get_mut(socket) else { return 0 };
        let Some(tls) = &mut conn.tls else { return self.sockets.send(socket, bytes) };
        match tls.encrypt(&bytes, listener.cipher.writer()) {
            Ok(()) => self.sockets.send(socket, listener.cipher.take().unwrap_or_default()),
            // Its handshake is incomplete, and there is nothing to send before that; or the stream has ended.
            Err(_) => 0,
        }
    }

    /// Sends `close_notify` (RFC 8446 §6.1), so that nobody can forge the end of the stream.
    pub(crate) fn send_close_notify(&mut self, socket: Socket) {
        let Some(listener) = &mut self.tls else { return };
        let Some(conn) = self.table.get_mut(socket) else { return };
        if let Some(tls) = &mut conn.tls
            && tls.close(listener.cipher.writer()).is_ok()
        {
            self.sockets.send(socket, listener.cipher.take().unwrap_or_default());
        }
    }
}

impl<K: Kernel> Connections<K> {
    /// Handles received bytes, encrypted or not. A PROXY header precedes either. Returns the rest of them if the connection
    /// has used up its part of the turn.
    pub(crate) fn on_received<A: Above<K>>(
        &mut self,
        cx: &mut Context,
        above: &mut A,
        socket: Socket,
        bytes: &mut [u8],
    ) -> Left {
        let count = bytes.len();
        let Some(bytes) = self.pass_limits(cx, above, socket, bytes) else { return Left::Nothing };
        let Some(listener) = &mut self.tls else {
            let skipped = count - bytes.len();
            let used = skipped + self.received(cx, above, socket, bytes);
            return if used < count { Left::From(used) } else { Left::Nothing };
        };
        let Some(conn) = self.table.get_mut(socket) else { return Left::Nothing };
        if matches!(conn.state, State::Lingering { .. } | State::Flushing { .. }) {
            return Left::Nothing;
        }
        let Some(tls) = &mut conn.tls else { return Left::Nothing };
        let was_open = tls.progress() != Progress::Handshaking;
        let record_type = tls.next_record_type(bytes);
        let mut plain = std::mem::take(&mut listener.plain);
        let progress = tls.receive(bytes, &mut plain, listener.cipher.writer());
        let cipher = listener.cipher.take().unwrap_or_default();
        // A handshake record starts with 22, a request with a letter: a client that sent a request understands no alert.
        if progress.is_err() && !was_open && record_type.is_some_and(|byte| byte.is_ascii_uppercase()) {
            conn.tls = None;
            cx.counters.add(Metric::TlsFailures, 1);
            self.refuse(cx, socket, Refusal::PlainOnTlsPort);
            return Left::Nothing;
        }
        if !cipher.is_empty() {
            self.sockets.send(socket, cipher);
        }
        if was_open {
            cx.meter.add_bytes(bytes.len(), cost::CIPHER_KILOBYTE_NS);
        } else {
            cx.meter.add(cost::TLS_STEP_NS);
        }
        let progress = match progress {
            Ok(progress) => progress,
            Err(error) => {
                self.tls_failed(cx, above, socket, &error);
                return Left::Nothing;
            }
        };
        if !was_open && progress != Progress::Handshaking {
            cx.counters.add(Metric::TlsHandshakes, 1);
        }
        let used = self.received(cx, above, socket, &mut plain);
        let rest = plain[used..].to_vec();
        plain.clear();
        if let Some(listener) = &mut self.tls {
            listener.plain = plain;
        }
        let has_ended = progress == Progress::PeerClosed;
        if !rest.is_empty() || self.cut.is_some() {
            return Left::Plain(rest, has_ended);
        }
        if has_ended {
            self.ended(cx, above, socket, Ended::ByPeer);
        }
        Left::Nothing
    }

    #[cold]
    fn tls_failed<A: Above<K>>(&mut self, cx: &mut Context, above: &mut A, socket: Socket, error: &TlsError) {
        cx.why = Some(Why::of_error(error));
        cx.counters.add(Metric::TlsFailures, 1);
        if let Some(conn) = self.table.get_mut(socket) {
            conn.tls = None;
        }
        self.end_lingering(cx, above, socket, CloseReason::TlsFailed);
    }
}
