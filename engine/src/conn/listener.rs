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
pub(crate) const OUT_BYTES: usize = 16 * 1024;

/// With less space left than this, the next answers get a new buffer.
pub(crate) const OUT_BYTES_LEFT_MIN: usize = 512;

/// The TLS state of a listener.
#[derive(Debug)]
pub(crate) struct TlsListener {
    /// Used for new connections.
    config: Arc<ServerConfig>,
    /// Plaintext received from one connection.
    pub(super) plain: BytesMut,
    /// Ciphertext to be sent to connections.
    pub(super) cipher: BytesMut,
}

impl TlsListener {
    pub(crate) fn new(config: Arc<ServerConfig>) -> Self {
        Self { config, plain: BytesMut::new(), cipher: BytesMut::with_capacity(OUT_BYTES) }
    }

    /// Uses other certificates for new connections.
    pub(crate) fn renew(&mut self, config: Arc<ServerConfig>) {
        self.config = config;
    }

    /// The TLS state of one connection.
    pub(crate) fn accept(&self) -> Option<Box<TlsStream<ServerSide>>> {
        TlsStream::accept(Arc::clone(&self.config)).ok().map(Box::new)
    }

    pub(super) fn take_cipher(&mut self) -> Bytes {
        let bytes = self.cipher.split().freeze();
        if self.cipher.capacity() < OUT_BYTES_LEFT_MIN {
            self.cipher = BytesMut::with_capacity(OUT_BYTES);
        }
        bytes
    }
}
