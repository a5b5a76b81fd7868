//! Stream: one connection's TLS.
//!
//! In:  ciphertext, cut anywhere; plaintext.
//! Out: plaintext and ciphertext, at the end of the caller's buffers.
//!
//! Worst case: one record, or one message of the handshake, in part; [`PART_BYTES_MAX`].

use std::fmt;

use bytes::BytesMut;
use rustls::{
    Error,
    unbuffered::{ConnectionState, EncodeError, EncryptError, InsufficientSizeError, WriteTraffic},
};

use super::Side;

/// The most that is kept of a record or a message that is not complete: a message of the handshake may have 64 KiB in
/// rustls, and stands in records of 16 KiB and some.
const PART_BYTES_MAX: usize = 96 * 1024;

/// What a record adds to its plaintext, at most (RFC 8446 §5.2: 5 bytes, and 256; in fact 22).
const RECORD_BYTES: usize = 64;

/// Why a TLS connection cannot go on.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum TlsError {
    /// The peer broke the protocol, or cannot be agreed with, or may not come in.
    #[error("{0}")]
    Peer(Error),
    /// Our limit, 96 KiB.
    #[error("a message of the handshake is longer than {PART_BYTES_MAX} bytes")]
    TooLong,
    /// Plaintext for a connection whose handshake is not done, or that is over.
    #[error("nothing can be sent in this state")]
    NotOpen,
}

/// How far a connection has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Keys are being agreed upon.
    Handshaking,
    /// Plaintext may go both ways.
    Open,
    /// The peer sends no more; it may still read.
    PeerClosed,
}

/// One end of a connection.
pub struct TlsStream<S: Side> {
    connection: Box<S::Connection>,
    /// A record, or a message of the handshake, that has come in part.
    part: Vec<u8>,
    progress: Progress,
}

impl<S: Side> TlsStream<S> {
    pub(super) fn new(connection: S::Connection) -> Self {
        Self { connection: Box::new(connection), part: Vec::new(), progress: Progress::Handshaking }
    }

    /// How far it has come.
    pub fn progress(&self) -> Progress {
        self.progress
    }

    /// The first byte of the record that is next to be read, where `bytes` come now: its type (RFC 8446 §5.1), if the peer
    /// speaks TLS.
    pub fn next_record_type(&self, bytes: &[u8]) -> Option<u8> {
        self.part.first().or(bytes.first()).copied()
    }

    /// Memory for what has come in part.
    pub fn buffered_bytes(&self) -> usize {
        self.part.capacity()
    }

    /// Takes bytes that were received; appends what they say to `plain`, and what must be sent now to `out`. Where it
    /// fails, `out` has the alert that tells the peer.
    ///
    /// # Errors
    /// The connection cannot go on.
    pub fn receive(
        &mut self,
        bytes: &mut [u8],
        plain: &mut BytesMut,
        out: &mut BytesMut,
    ) -> Result<Progress, TlsError> {
        // Nearly always whole records come at once, and are read where they lie.
        if self.part.is_empty() {
            let used = self.process(bytes, plain, out)?;
            self.part.extend_from_slice(&bytes[used..]);
        } else {
            let mut part = std::mem::take(&mut self.part);
            part.extend_from_slice(bytes);
            let used = self.process(&mut part, plain, out)?;
            if used < part.len() {
                part.drain(..used);
                self.part = part;
            }
        }
        if self.part.len() > PART_BYTES_MAX {
            return Err(TlsError::TooLong);
        }
        Ok(self.progress)
    }

    /// Appends the records for `plain` to `out`.
    ///
    /// # Errors
    /// The handshake is not done, or the connection is over.
    pub fn encrypt(&mut self, plain: &[u8], out: &mut BytesMut) -> Result<(), TlsError> {
        self.write(out, plain.len() + RECORD_BYTES, |writer, space| writer.encrypt(plain, space))
    }

    /// Appends the last record, which says that no more will come (RFC 8446 §6.1).
    ///
    /// # Errors
    /// The handshake is not done, or the connection is over.
    pub fn close(&mut self, out: &mut BytesMut) -> Result<(), TlsError> {
        self.write(out, RECORD_BYTES, |writer, space| writer.queue_close_notify(space))
    }

    /// Returns how much of `incoming` is done with.
    fn process(
        &mut self,
        incoming: &mut [u8],
        plain: &mut BytesMut,
        out: &mut BytesMut,
    ) -> Result<usize, TlsError> {
        let mut used = 0;
        loop {
            let status = S::process(&mut self.connection, &mut incoming[used..]);
            let mut discard = status.discard;
            let mut is_done = false;
            match status.state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record.map_err(TlsError::Peer)?;
                        discard += record.discard;
                        plain.extend_from_slice(record.payload);
                    }
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => encode(out, |space| data.encode(space))?,
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::WriteTraffic(_)) => {
                    if self.progress == Progress::Handshaking {
                        self.progress = Progress::Open;
                    }
                    is_done = true;
                }
                Ok(ConnectionState::PeerClosed) => self.progress = Progress::PeerClosed,
                Ok(ConnectionState::BlockedHandshake | ConnectionState::Closed) => is_done = true,
                // Nobody asked for data before the handshake is done, and it could be somebody's repetition.
                Ok(_) => return Err(TlsError::NotOpen),
                Err(error) => {
                    self.put_alert(&mut incoming[used + discard..], out);
                    return Err(TlsError::Peer(error));
                }
            }
            used += discard;
            if is_done {
                return Ok(used);
            }
        }
    }

    /// What rustls has to tell the peer about an error. Nothing is asked of it beyond that, since it would look at the
    /// bytes once more; and it is given them, since it may remember places in them.
    fn put_alert(&mut self, rest: &mut [u8], out: &mut BytesMut) {
        while self.connection.wants_write()
            && let Ok(ConnectionState::EncodeTlsData(mut data)) = S::process(&mut self.connection, rest).state
        {
            if encode(out, |space| data.encode(space)).is_err() {
                return;
            }
        }
    }

    fn write(
        &mut self,
        out: &mut BytesMut,
        bytes_max: usize,
        mut write: impl FnMut(&mut WriteTraffic<'_, S::Data>, &mut [u8]) -> Result<usize, EncryptError>,
    ) -> Result<(), TlsError> {
        loop {
            // Not without the part that has come: rustls may remember places in it.
            match S::process(&mut self.connection, &mut self.part).state {
                Ok(ConnectionState::WriteTraffic(mut writer)) => {
                    let result = put(out, bytes_max, |space| write(&mut writer, space));
                    return match result {
                        Ok(()) => Ok(()),
                        Err(EncryptError::InsufficientSize(InsufficientSizeError { required_size })) => {
                            put(out, required_size, |space| write(&mut writer, space))
                                .map_err(|_| TlsError::NotOpen)
                        }
                        Err(EncryptError::EncryptExhausted) => Err(TlsError::NotOpen),
                    };
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => encode(out, |space| data.encode(space))?,
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::PeerClosed) => self.progress = Progress::PeerClosed,
                Ok(_) => return Err(TlsError::NotOpen),
                Err(error) => return Err(TlsError::Peer(error)),
            }
        }
    }
}

/// Has `write` fill `bytes_max` bytes at the end of `out`, and keeps what it wrote.
fn put<E>(
    out: &mut BytesMut,
    bytes_max: usize,
    write: impl FnOnce(&mut [u8]) -> Result<usize, E>,
) -> Result<(), E> {
    let before = out.len();
    out.resize(before + bytes_max, 0);
    let written = write(&mut out[before..]);
    out.truncate(before + *written.as_ref().unwrap_or(&0));
    written.map(drop)
}

fn encode(
    out: &mut BytesMut,
    mut write: impl FnMut(&mut [u8]) -> Result<usize, EncodeError>,
) -> Result<(), TlsError> {
    match put(out, 0, &mut write) {
        Err(EncodeError::InsufficientSize(InsufficientSizeError { required_size })) => {
            put(out, required_size, write).map_err(|_| TlsError::NotOpen)
        }
        Ok(()) => Ok(()),
        Err(EncodeError::AlreadyEncoded) => Err(TlsError::NotOpen),
    }
}

impl<S: Side> fmt::Debug for TlsStream<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part_bytes = self.part.len();
        f.debug_struct("TlsStream")
            .field("progress", &self.progress)
            .field("part_bytes", &part_bytes)
            .finish()
    }
}
