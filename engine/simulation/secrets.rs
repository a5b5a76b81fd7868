//! Secrets: the keys and certificates of a simulation with TLS.
//!
//! Out: a configuration for each end.
//!
//! rustls draws its keys from the operating system, so no two runs have the same bytes on their wires. They have as many
//! of them, in the same records: an Ed25519 signature and an X25519 key are always as long. Nothing in a simulation
//! depends on more than that. Nobody resumes: whether one can would depend on the simulations before.

use std::sync::{Arc, LazyLock};

use holdfast_protocol::tls::{ClientSide, TlsStream};
use rcgen::{CertificateParams, KeyPair, PKCS_ED25519};
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    client::Resumption,
    crypto::ring::{Ticketer, default_provider},
    pki_types::{PrivateKeyDer, ServerName},
    server::NoServerSessionStorage,
};

const NAME: &str = "simulation";

#[derive(Clone)]
pub(super) struct Secrets {
    pub(super) server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
}

/// The same for all simulations: making keys takes longer than using them.
static SECRETS: LazyLock<Secrets> = LazyLock::new(|| {
    let key = KeyPair::generate_for(&PKCS_ED25519).expect("a key");
    let mut parameters = CertificateParams::new([NAME.to_owned()]).expect("a name");
    // One made of the key would not always be as long.
    parameters.serial_number = Some(1.into());
    let certificate = parameters.self_signed(&key).expect("a certificate");
    let mut roots = RootCertStore::empty();
    roots.add(certificate.der().clone()).expect("a root");
    let provider = Arc::new(default_provider());
    let mut server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("TLS 1.2 and 1.3")
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], PrivateKeyDer::Pkcs8(key.serialize_der().into()))
        .expect("the key belongs to the certificate");
    server.send_tls13_tickets = 1;
    server.session_storage = Arc::new(NoServerSessionStorage {});
    server.ticketer = Ticketer::new().expect("keys for tickets");
    let mut client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("TLS 1.2 and 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    client.resumption = Resumption::disabled();
    Secrets { server: Arc::new(server), client: Arc::new(client) }
});

impl Secrets {
    pub(super) fn new() -> Self {
        SECRETS.clone()
    }

    /// A client's end of a new connection.
    pub(super) fn connect(&self) -> TlsStream<ClientSide> {
        let name = ServerName::try_from(NAME).expect("a name");
        TlsStream::connect(Arc::clone(&self.client), name).expect("the configuration is sound")
    }
}
