//! TLS: reloads certificates for the control port and the shards.
//!
//! In:  changed files.
//! Out: TLS configurations for new connections.

use std::{
    future::pending,
    sync::{Arc, atomic::AtomicI64},
    time::Duration,
};

use rustls::ServerConfig;
use tokio::sync::watch;

use crate::{
    config::TlsConfig,
    session::message::{Message, ShardHandle},
    supervise,
    tls::{CLIENT_TLS, CONTROL_TLS, Ends, reload},
};

/// How long a shard's mailbox may stay full.
const FULL_MAX: Duration = Duration::from_secs(1);

/// Reloads the control port's certificates. The receiver has the current configuration.
pub(super) fn renew_own(
    options: TlsConfig,
    first: Arc<ServerConfig>,
    ends: Arc<Ends>,
) -> watch::Receiver<Arc<ServerConfig>> {
    let (renewed, config) = watch::channel(first);
    supervise::endless(
        "certificates",
        async move { reload(options, CONTROL_TLS, &ends.control, renewed).await },
    );
    config
}

/// Reloads the client port's certificates, and sends them to the shards.
pub(super) async fn renew_clients(
    options: TlsConfig,
    first: Arc<ServerConfig>,
    ends: Arc<Ends>,
    shards: Vec<ShardHandle>,
) {
    let (renewed, mut configs) = watch::channel(first);
    supervise::task("certificates", async move { reload(options, CLIENT_TLS, &ends.clients, renewed).await });
    while configs.changed().await.is_ok() {
        let config = Arc::clone(&configs.borrow_and_update());
        for shard in &shards {
            // A shard whose mailbox stays full gets the next change; the mailbox logs that.
            _ = shard.deliver(Message::Certificates(Arc::clone(&config)), FULL_MAX).await;
        }
    }
}

async fn reload(
    options: TlsConfig,
    section: &'static str,
    end: &AtomicI64,
    renewed: watch::Sender<Arc<ServerConfig>>,
) {
    if let Err(error) = reload::run(options, section, end, renewed).await {
        supervise::fail(&format!("cannot watch the certificates of {section}: {error}"));
    }
    // The configuration has no receiver any more.
    pending::<()>().await;
}
