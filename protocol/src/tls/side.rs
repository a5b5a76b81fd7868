//! Side: what differs between the two ends of a TLS connection.
//!
//! rustls gives both the same methods, but no trait for them.

use std::{ops::Deref, sync::Arc};

use rustls::{
    ClientConfig, Error, ServerConfig, SideData,
    client::{ClientConnectionData, UnbufferedClientConnection},
    pki_types::ServerName,
    server::{ServerConnectionData, UnbufferedServerConnection},
    unbuffered::{UnbufferedConnectionCommon, UnbufferedStatus},
};

/// One end of a TLS connection.
pub trait Side {
    /// The state of rustls.
    type Connection: Deref<Target = UnbufferedConnectionCommon<Self::Data>>;
    /// What rustls keeps for this end.
    type Data: SideData + 'static;

    /// Takes records, up to the next thing that must be done.
    fn process<'c, 'i>(
        connection: &'c mut Self::Connection,
        incoming: &'i mut [u8],
    ) -> UnbufferedStatus<'c, 'i, Self::Data>;
}

/// The end that listens.
#[derive(Debug)]
pub enum ServerSide {}

/// The end that connects.
#[derive(Debug)]
pub enum ClientSide {}

impl Side for ServerSide {
    type Connection = UnbufferedServerConnection;
    type Data = ServerConnectionData;

    fn process<'c, 'i>(
        connection: &'c mut Self::Connection,
        incoming: &'i mut [u8],
    ) -> UnbufferedStatus<'c, 'i, Self::Data> {
        connection.process_tls_records(incoming)
    }
}

impl Side for ClientSide {
    type Connection = UnbufferedClientConnection;
    type Data = ClientConnectionData;

    fn process<'c, 'i>(
        connection: &'c mut Self::Connection,
        incoming: &'i mut [u8],
    ) -> UnbufferedStatus<'c, 'i, Self::Data> {
        connection.process_tls_records(incoming)
    }
}

impl super::TlsStream<ServerSide> {
    /// The end of a connection that was accepted.
    ///
    /// # Errors
    /// The configuration cannot be used.
    pub fn accept(config: Arc<ServerConfig>) -> Result<Self, Error> {
        UnbufferedServerConnection::new(config).map(Self::new)
    }
}

impl super::TlsStream<ClientSide> {
    /// The end of a connection to `name`. The handshake begins with the first [`receive`](super::TlsStream::receive),
    /// of no bytes.
    ///
    /// # Errors
    /// The configuration cannot be used.
    pub fn connect(config: Arc<ClientConfig>, name: ServerName<'static>) -> Result<Self, Error> {
        UnbufferedClientConnection::new(config, name).map(Self::new)
    }
}
