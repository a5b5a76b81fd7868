//! TLS: connections of a listener that speaks TLS.
//!
//! In:  what sockets receive and what is to be sent, on any listener.
//! Out: the same, decrypted and encrypted where there is TLS.
//!
//! Plaintext and ciphertext go through the shard's own buffers: an idle connection owns none. What is encrypted for
//! hundreds of connections shares a buffer, as answers do.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use holdfast_protocol::{
    http::Refusal,
    tls::{Progress, ServerSide, TlsError, TlsStream},
};
use holdfast_ring::{Ended, Kernel, Socket};
use rustls::ServerConfig;

use super::Phase;
use crate::{
    conn::{Above, Connections, OUT_BYTES, OUT_BYTES_LEFT_MIN},
    context::{Context, cost},
    metrics::{CloseReason, Metric},
    refusals::Why,
};

/// What is left of received bytes when their connection has used up its part.
#[derive(Debug)]
pub(crate) enum Left {
    Nothing,
    /// Those that were handed over, from here on; they are past the limits, and were not encrypted.
    From(usize),
    /// Decrypted ones, and behind them perhaps the end.
    Plain(Vec<u8>, bool),
}

/// A listener's TLS.
#[derive(Debug)]
pub(crate) struct TlsListener {
    /// For connections that come from now on.
    config: Arc<ServerConfig>,
    /// What one connection was told.
    plain: BytesMut,
    /// What is on its way to connections.
    cipher: BytesMut,
}

impl TlsListener {
    pub(crate) fn new(config: Arc<ServerConfig>) -> Self {
        Self { config, plain: BytesMut::new(), cipher: BytesMut::with_capacity(OUT_BYTES) }
    }

    /// Uses other certificates for those who come from now on.
    pub(crate) fn renew(&mut self, config: Arc<ServerConfig>) {
        self.config = config;
    }

    /// A connection's own part.
    pub(crate) fn accept(&self) -> Option<Box<TlsStream<ServerSide>>> {
        TlsStream::accept(Arc::clone(&self.config)).ok().map(Box::new)
    }

    fn take_cipher(&mut self) -> Bytes {
        let bytes = self.cipher.split().freeze();
        if self.cipher.capacity() < OUT_BYTES_LEFT_MIN {
            self.cipher = BytesMut::with_capacity(OUT_BYTES);
        }
        bytes
    }
}

impl<K: Kernel> Connections<K> {
    /// Queues bytes for a connection. Answers with how many then wait for it.
    pub(crate) fn transmit(&mut self, socket: Socket, bytes: Bytes) -> usize {
        let Some(secure) = &mut self.secure else { return self.sockets.send(socket, bytes) };
        let Some(conn) = self.table.get(socket) else { return 0 };
        let Some(tls) = &mut conn.tls else { return self.sockets.send(socket, bytes) };
        match tls.encrypt(&bytes, &mut secure.cipher) {
            Ok(()) => self.sockets.send(socket, secure.take_cipher()),
            // Its handshake is not done, and nobody has anything to say before; or it is over.
            Err(_) => 0,
        }
    }

    /// Says that nothing more will come (RFC 8446 §6.1), so that nobody can make an end that we did not.
    pub(crate) fn send_close_notify(&mut self, socket: Socket) {
        let Some(secure) = &mut self.secure else { return };
        let Some(conn) = self.table.get(socket) else { return };
        if let Some(tls) = &mut conn.tls
            && tls.close(&mut secure.cipher).is_ok()
        {
            self.sockets.send(socket, secure.take_cipher());
        }
    }
}

impl<K: Kernel> Connections<K> {
    /// Bytes came, encrypted or not. A PROXY header stands before either. Answers with what is left of them, where the
    /// connection has used up its part of the turn.
    pub(crate) fn on_received<A: Above<K>>(
        &mut self,
        cx: &mut Context,
        above: &mut A,
        socket: Socket,
        bytes: &mut [u8],
    ) -> Left {
        let count = bytes.len();
        let Some(bytes) = self.pass_limits(cx, above, socket, bytes) else { return Left::Nothing };
        let Some(secure) = &mut self.secure else {
            let skipped = count - bytes.len();
            let used = skipped + self.received(cx, above, socket, bytes);
            return if used < count { Left::From(used) } else { Left::Nothing };
        };
        let Some(conn) = self.table.get(socket) else { return Left::Nothing };
        if matches!(conn.phase, Phase::Lingering | Phase::Leaving) {
            return Left::Nothing;
        }
        let Some(tls) = &mut conn.tls else { return Left::Nothing };
        let was_open = tls.progress() != Progress::Handshaking;
        let record_type = tls.next_record_type(bytes);
        let mut plain = std::mem::take(&mut secure.plain);
        let progress = tls.receive(bytes, &mut plain, &mut secure.cipher);
        let cipher = secure.take_cipher();
        // A record of the handshake begins with 22, a request with a letter: who sent one understands no alert.
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
        if let Some(secure) = &mut self.secure {
            secure.plain = plain;
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
        if let Some(conn) = self.table.get(socket) {
            conn.tls = None;
        }
        self.end_lingering(cx, above, socket, CloseReason::TlsFailed);
    }
}
