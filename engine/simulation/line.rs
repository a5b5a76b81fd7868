//! Line: a client's end of a connection, with TLS or without.
//!
//! In:  bytes to send; what the network has.
//! Out: the bytes that have come, and how the stream ended.

use bytes::{Buf as _, BytesMut};
use holdfast_protocol::tls::{ClientSide, Progress, TlsStream};
use holdfast_ring::simulated::{Peer, StreamEnd};
use rand::{Rng, rngs::SmallRng};

pub(super) struct PeerStream {
    pub(super) peer: Peer,
    tls: Option<Box<TlsStream<ClientSide>>>,
    /// What waits for the end of the TLS handshake.
    early: Vec<u8>,
    /// What waits for room in the network.
    outgoing: BytesMut,
    /// What has come and nobody has taken.
    pub(super) incoming: Vec<u8>,
    /// False while it stalls.
    pub(super) reads: bool,
    /// True exactly when what comes makes no sense under TLS: garbage of our own was answered.
    is_garbled: bool,
    /// FIN, when all has been written.
    finishes: bool,
    is_over: bool,
}

impl PeerStream {
    pub(super) fn new(peer: Peer, tls: Option<TlsStream<ClientSide>>) -> Self {
        let mut line = Self {
            peer,
            tls: tls.map(Box::new),
            early: Vec::new(),
            outgoing: BytesMut::new(),
            incoming: Vec::new(),
            reads: true,
            is_garbled: false,
            finishes: false,
            is_over: false,
        };
        if let Some(tls) = &mut line.tls {
            tls.receive(&mut [], &mut BytesMut::new(), &mut line.outgoing).expect("a hello");
        }
        line
    }

    pub(super) fn send(&mut self, bytes: &[u8]) {
        match &mut self.tls {
            None => self.outgoing.extend_from_slice(bytes),
            Some(tls) if tls.progress() == Progress::Handshaking => self.early.extend_from_slice(bytes),
            // It may be over.
            Some(_) if self.is_garbled => {}
            Some(tls) => drop(tls.encrypt(bytes, &mut self.outgoing)),
        }
    }

    /// Sends bytes as they are, whatever was agreed to.
    pub(super) fn send_raw(&mut self, bytes: &[u8]) {
        self.outgoing.extend_from_slice(bytes);
    }

    /// Sends no more than what is queued.
    pub(super) fn finish(&mut self) {
        self.finishes = true;
    }

    /// True exactly when all that was sent is on its way.
    pub(super) fn is_flushed(&self) -> bool {
        self.outgoing.is_empty() && self.early.is_empty()
    }

    /// Writes and reads some. Answers with the stream's end, once.
    pub(super) fn step(&mut self, random: &mut SmallRng) -> Option<StreamEnd> {
        if self.is_over {
            return None;
        }
        if !self.outgoing.is_empty() {
            let some = random.random_range(1..=self.outgoing.len());
            let written = self.peer.write(&self.outgoing[..some]);
            self.outgoing.advance(written);
        }
        if self.is_flushed() && std::mem::take(&mut self.finishes) {
            self.peer.finish();
        }
        if !self.reads {
            return None;
        }
        let before = self.incoming.len();
        self.peer.read(random.random_range(1..8192), &mut self.incoming);
        self.decrypt(before);
        let end = self.peer.end();
        self.is_over = end.is_some();
        end
    }

    /// What has come from `at` on becomes what the daemon said.
    fn decrypt(&mut self, at: usize) {
        let Some(tls) = &mut self.tls else { return };
        let mut cipher = self.incoming.split_off(at);
        if cipher.is_empty() || self.is_garbled {
            return;
        }
        let mut plain = BytesMut::new();
        let progress = tls.receive(&mut cipher, &mut plain, &mut self.outgoing);
        self.is_garbled = progress.is_err();
        self.peer.trace().note_bytes(&plain);
        self.incoming.extend_from_slice(&plain);
        if !matches!(progress, Ok(Progress::Handshaking)) && !self.early.is_empty() {
            let early = std::mem::take(&mut self.early);
            self.send(&early);
        }
    }
}

/// Who forgets a connection closes it.
impl Drop for PeerStream {
    fn drop(&mut self) {
        if !self.is_over && !std::thread::panicking() {
            self.peer.close();
        }
    }
}
