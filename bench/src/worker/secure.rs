//! Secure: TLS between a worker's connections and their sockets.
//!
//! In:  what sockets receive and what is to be sent.
//! Out: the same, decrypted and encrypted; or untouched, where the target is `ws://`.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use holdfast_protocol::tls::{ClientSide, Progress, TlsStream};
use holdfast_ring::{CloseWhen, Socket};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;

use super::Play;
use super::connection::Stage;
use super::link::Link;

/// A worker's TLS.
pub(super) struct Secure {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
    streams: HashMap<Socket, Box<TlsStream<ClientSide>>>,
    plain: BytesMut,
    cipher: BytesMut,
}

impl Secure {
    pub(super) fn new(config: Arc<ClientConfig>, name: ServerName<'static>) -> Self {
        let (plain, cipher) = (BytesMut::new(), BytesMut::new());
        Self { config, name, streams: HashMap::new(), plain, cipher }
    }
}

impl Link<'_> {
    /// TCP is there: the request goes out, or what must come before it.
    pub(super) fn connected(&mut self, socket: Socket) {
        let Some(secure) = &mut self.secure else { return self.request(socket) };
        let stream = TlsStream::connect(Arc::clone(&secure.config), secure.name.clone());
        let mut stream = Box::new(stream.expect("the configuration was made for clients"));
        // With no bytes, the handshake begins, and cannot fail.
        let _ = stream.receive(&mut [], &mut secure.plain, &mut secure.cipher);
        secure.streams.insert(socket, stream);
        self.send_cipher(socket);
    }

    /// Bytes came, encrypted or not.
    pub(super) fn bytes_came<P: Play>(&mut self, socket: Socket, bytes: &mut [u8], play: &mut P) {
        let Some(secure) = &mut self.secure else { return self.received(socket, bytes, play) };
        let Some(stream) = secure.streams.get_mut(&socket) else { return };
        let was_open = stream.progress() != Progress::Handshaking;
        let mut plain = std::mem::take(&mut secure.plain);
        let outcome = stream.receive(bytes, &mut plain, &mut secure.cipher);
        self.send_cipher(socket);
        match outcome {
            Ok(progress) => {
                if !was_open && progress == Progress::Open {
                    self.request(socket);
                }
                self.received(socket, &mut plain, play);
            }
            Err(error) => {
                let stage = self.connections.get(socket).map_or(Stage::Gone, |connection| connection.stage);
                let member = self.connections.get(socket).map_or(0, |connection| connection.member);
                self.abandon(socket, CloseWhen::Flushed);
                match stage {
                    Stage::Handshaking => {
                        self.tally.connects.failed += 1;
                        self.tally.reason(format!("TLS: {error}"), 1);
                    }
                    Stage::Joining | Stage::Open => self.lost(stage, member, format!("TLS: {error}"), play),
                    _ => {}
                }
            }
        }
        plain.clear();
        if let Some(secure) = &mut self.secure {
            secure.plain = plain;
        }
    }

    /// Queues bytes for a connection.
    pub(super) fn transmit(&mut self, socket: Socket, bytes: Bytes) {
        let Some(secure) = &mut self.secure else {
            self.sockets.send(socket, bytes);
            return;
        };
        if let Some(stream) = secure.streams.get_mut(&socket)
            && stream.encrypt(&bytes, &mut secure.cipher).is_ok()
        {
            self.send_cipher(socket);
        }
    }

    /// Forgets the keys of a connection that is gone.
    pub(super) fn forget_keys(&mut self, socket: Socket) {
        if let Some(secure) = &mut self.secure {
            secure.streams.remove(&socket);
        }
    }

    fn send_cipher(&mut self, socket: Socket) {
        if let Some(secure) = &mut self.secure
            && !secure.cipher.is_empty()
        {
            let bytes = secure.cipher.split().freeze();
            self.sockets.send(socket, bytes);
        }
    }
}
