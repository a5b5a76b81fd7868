//! TLS: the control plane's listener, where it is encrypted; and new certificates, for it and for the shards.
//!
//! In:  connections to the control port; files that change.
//! Out: those connections with which TLS could be agreed upon, for the server; configurations for the shards.
//!
//! Handshakes run side by side: a connection that says nothing holds up nobody, and is dropped after a while.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use axum::{Router, serve::Listener};
use rustls::ServerConfig;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, mpsc, watch},
    time::{sleep, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::post::post;
use crate::{
    config::TlsConfig,
    peers::{Message, Shared},
    supervise,
    tls::reload,
};

/// The section of the control port's TLS.
pub(super) const CONTROL_TLS: &str = "http_server.internal_tls";

/// The section of the clients' TLS.
pub(crate) const CLIENT_TLS: &str = "http_server.tls";

/// How long a handshake may take.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);

/// Handshakes under way at a time. Worst case: this × 20 KB.
const HANDSHAKES_MAX: usize = 256;

/// After an accept that failed, for want of descriptors mostly.
const ACCEPT_AGAIN_AFTER: Duration = Duration::from_millis(100);

/// Serves the control port, with TLS or without, until it `leaves`.
pub(super) async fn serve(
    listener: TcpListener,
    router: Router,
    secure: Option<Arc<ServerConfig>>,
    options: TlsConfig,
    leaves: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let Some(secure) = secure else {
        return axum::serve(listener, router).with_graceful_shutdown(leaves).await;
    };
    let (renewed, config) = watch::channel(secure);
    let listener = SecureListener::new(listener, config)?;
    supervise::task("certificates", reload(options, CONTROL_TLS, renewed));
    axum::serve(listener, router).with_graceful_shutdown(leaves).await
}

/// Hands the shards new certificates when there are some.
pub(super) async fn renew_clients(options: TlsConfig, first: Arc<ServerConfig>, shared: Arc<Shared>) {
    let (renewed, mut configs) = watch::channel(first);
    supervise::task("certificates", reload(options, CLIENT_TLS, renewed));
    while configs.changed().await.is_ok() {
        let config = Arc::clone(&configs.borrow_and_update());
        for shard in 0..shared.mailboxes.len() {
            // One whose mailbox stays full is told with the next change; the log has a line about it.
            let _ = post(&shared, shard, Message::Certificates(Arc::clone(&config))).await;
        }
    }
}

async fn reload(options: TlsConfig, section: &'static str, renewed: watch::Sender<Arc<ServerConfig>>) {
    if let Err(error) = reload::run(options, section, renewed).await {
        supervise::fail(&format!("the certificates of {section} cannot be read again: {error}"));
    }
}

/// A listener of encrypted connections.
#[derive(Debug)]
pub(super) struct SecureListener {
    address: SocketAddr,
    agreed: mpsc::Receiver<(TlsStream<TcpStream>, SocketAddr)>,
}

impl SecureListener {
    /// Takes each connection with the configuration of that moment.
    pub(super) fn new(listener: TcpListener, config: watch::Receiver<Arc<ServerConfig>>) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let (sender, agreed) = mpsc::channel(HANDSHAKES_MAX);
        tokio::spawn(accept(listener, config, sender));
        Ok(Self { address, agreed })
    }
}

impl Listener for SecureListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        match self.agreed.recv().await {
            Some(agreed) => agreed,
            // The task that accepts ends only with this listener.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        Ok(self.address)
    }
}

async fn accept(
    listener: TcpListener,
    config: watch::Receiver<Arc<ServerConfig>>,
    agreed: mpsc::Sender<(TlsStream<TcpStream>, SocketAddr)>,
) {
    let places = Arc::new(Semaphore::new(HANDSHAKES_MAX));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let (stream, peer) = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "accepting on the control port failed");
                    sleep(ACCEPT_AGAIN_AFTER).await;
                    continue;
                }
            },
            () = agreed.closed() => return,
        };
        let acceptor = TlsAcceptor::from(Arc::clone(&config.borrow()));
        let agreed = agreed.clone();
        tokio::spawn(async move {
            match timeout(HANDSHAKE_MAX, acceptor.accept(stream)).await {
                Ok(Ok(stream)) => drop(agreed.send((stream, peer)).await),
                Ok(Err(error)) => tracing::debug!(%error, "TLS on the control port failed"),
                Err(_) => tracing::debug!("TLS on the control port took too long"),
            }
            drop(place);
        });
    }
}
