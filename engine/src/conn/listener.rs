//! Listener: the TLS state that the connections of a listener share.
//!
//! In:  the listener's certificates.
//! Out: the TLS state of new connections; buffers for one connection after the other.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use holdfast_protocol::tls::{ServerSide, TlsStream};
use rustls::ServerConfig;

/// The size of the buffer that answers are written into, one after the other; hundreds of small ones share it. An answer
/// queued for a slow reader keeps at most this much alive.
const OUT_BYTES: usize = 16 * 1024;

/// With less space left than this, the next answers get a new buffer.
const OUT_BYTES_LEFT_MIN: usize = 512;

/// A buffer for bytes to many connections, one after the other.
#[derive(Debug)]
pub(crate) struct OutBuffer(BytesMut);

impl OutBuffer {
    pub(crate) fn new() -> Self {
        Self(BytesMut::with_capacity(OUT_BYTES))
    }

    /// For the bytes of one connection.
    pub(crate) fn writer(&mut self) -> &mut BytesMut {
        &mut self.0
    }

    /// Takes what has been written since the last call, if anything.
    pub(crate) fn take(&mut self) -> Option<Bytes> {
        if self.0.is_empty() {
            return None;
        }
        let bytes = self.0.split().freeze();
        if self.0.capacity() < OUT_BYTES_LEFT_MIN {
            self.0 = BytesMut::with_capacity(OUT_BYTES);
        }
        Some(bytes)
    }

    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The TLS state of a listener.
#[derive(Debug)]
pub(crate) struct TlsListener {
    /// Used for new connections.
    config: Arc<ServerConfig>,
    /// Plaintext received from one connection.
    pub(super) plain: BytesMut,
    /// Ciphertext to be sent to connections.
    pub(super) cipher: OutBuffer,
}

impl TlsListener {
    pub(crate) fn new(config: Arc<ServerConfig>) -> Self {
        Self { config, plain: BytesMut::new(), cipher: OutBuffer::new() }
    }

    /// Uses other certificates for new connections.
    pub(crate) fn renew(&mut self, config: Arc<ServerConfig>) {
        self.config = config;
    }

    /// The TLS state of one connection.
    pub(crate) fn accept(&self) -> Option<Box<TlsStream<ServerSide>>> {
        TlsStream::accept(Arc::clone(&self.config)).ok().map(Box::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_share_a_buffer_until_it_is_nearly_full() {
        let mut out = OutBuffer::new();
        assert!(out.take().is_none());
        let mut pieces = Vec::new();
        for piece in 0..OUT_BYTES / 100 {
            out.writer().extend_from_slice(&[u8::try_from(piece % 256).unwrap(); 100]);
            pieces.push(out.take().expect("something was written"));
        }
        assert!(out.is_empty() && out.writer().capacity() >= OUT_BYTES_LEFT_MIN);
        let has_own =
            |(index, piece): (usize, &Bytes)| piece.iter().all(|&byte| usize::from(byte) == index % 256);
        assert!(pieces.iter().enumerate().all(has_own), "no piece overwrites another one");
    }
}
