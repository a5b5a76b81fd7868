//! TLS: new certificates, for the control port and for the shards.
//!
//! In:  files that change.
//! Out: configurations for the next connections.

use std::{future::pending, sync::Arc};

use rustls::ServerConfig;
use tokio::sync::watch;

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

/// The control port's configuration as it is at each moment.
pub(super) fn renew_own(options: TlsConfig, first: Arc<ServerConfig>) -> watch::Receiver<Arc<ServerConfig>> {
    let (renewed, config) = watch::channel(first);
    supervise::endless("certificates", reload(options, CONTROL_TLS, renewed));
    config
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
    // Nobody is left to use them.
    pending::<()>().await;
}
