//! TLS: the options of a listener's encryption.
//!
//! Out: the checked sections `http_server.tls` and `http_server.internal_tls`.
//!
//! The files themselves are read, and found wanting, when the daemon starts (`crate::tls`).

use super::definition::section;
use super::kinds::{boolean, parsed, text};
use super::secret::Secret;

section! {
    /// TLS 1.2 and 1.3 on a listener. Each PEM option takes the path of a file, the PEM itself, or the PEM in base64.
    /// The daemon reads files again when they change and at SIGHUP; open connections stay.
    pub struct TlsConfig {
        /// Turns TLS on. The listener then accepts nothing else.
        /// Worst case: about 6 KB more user memory a connection.
        "enabled" => pub enabled: bool = boolean(false);
        /// The server certificate, followed by the intermediate certificates in order.
        "cert_pem" => pub cert_pem: String = text("");
        /// The private key of the certificate (PKCS #8, PKCS #1 or SEC 1).
        "key_pem" => pub key_pem: Secret = parsed("text", "text", "").secret();
        /// Certificate authorities for client certificates. If set, only clients with a certificate from one of them
        /// may connect.
        "client_ca_pem" => pub client_ca_pem: String = text("");
    }
}
