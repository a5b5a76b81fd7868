//! TLS: what the listeners need for it, and connections to Redis.
//!
//! In:  the sections `http_server.tls`, `http_server.internal_tls` and `engine.redis.tls`.
//! Out: configurations of rustls; new ones when the files have changed.
//!
//! It runs before the start and on the control thread. A shard is handed a configuration and uses it for the connections
//! that come from then on.

pub(crate) mod client;
mod pem;
pub(crate) mod reload;
mod validity;

use std::sync::Arc;

use anyhow::Context as _;
use rustls::{
    RootCertStore, ServerConfig,
    crypto::ring::{self, Ticketer},
    server::{NoServerSessionStorage, WebPkiClientVerifier},
};

pub(crate) use self::validity::{Ends, Validity};
use crate::config::TlsConfig;

/// The section of the clients' TLS.
pub(crate) const CLIENT_TLS: &str = "http_server.tls";

/// The section of the control port's TLS.
pub(crate) const CONTROL_TLS: &str = "http_server.internal_tls";

/// Tickets that a TLS 1.3 client is sent; a second one is of use only to clients that open two connections at once.
const TICKETS: usize = 1;

/// The TLS of a listener.
#[derive(Clone, Debug)]
pub(crate) struct Secured {
    pub(crate) config: Arc<ServerConfig>,
    pub(crate) validity: Option<Validity>,
}

/// The configuration for a listener; `None` where it speaks plain HTTP.
///
/// # Errors
/// A file cannot be read, or what it holds cannot be used; in words for the operator. `section` is the section's name.
pub(crate) fn secured(config: &TlsConfig, section: &str) -> anyhow::Result<Option<Secured>> {
    if !config.enabled {
        return Ok(None);
    }
    let chain = pem::certificates(&config.cert_pem).with_context(|| format!("{section}.cert_pem"))?;
    let validity = Validity::of(&chain);
    let key = pem::private_key(config.key_pem.expose()).with_context(|| format!("{section}.key_pem"))?;
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .context("TLS 1.2 and 1.3")?;
    let builder = if config.client_ca_pem.is_empty() {
        builder.with_no_client_auth()
    } else {
        let name = || format!("{section}.client_ca_pem");
        let mut roots = RootCertStore::empty();
        for certificate in pem::certificates(&config.client_ca_pem).with_context(name)? {
            roots.add(certificate).with_context(name)?;
        }
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
        builder.with_client_cert_verifier(verifier.with_context(name)?)
    };
    let mut server = builder.with_single_cert(chain, key).with_context(|| {
        format!("{section}: the private key does not belong to the certificate, or is unusable")
    })?;
    server.alpn_protocols = vec![b"http/1.1".to_vec()];
    server.send_tls13_tickets = TICKETS;
    // All that a ticket stands for is in the ticket: resumption costs no memory here.
    server.session_storage = Arc::new(NoServerSessionStorage {});
    server.ticketer = Ticketer::new().context("the keys of session tickets")?;
    Ok(Some(Secured { config: Arc::new(server), validity }))
}
