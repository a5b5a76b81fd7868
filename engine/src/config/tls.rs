//! TLS: the options of a listener's encryption.
//!
//! Out: the checked sections `http_server.tls` and `http_server.internal_tls`.
//!
//! The files themselves are read, and found wanting, when the daemon starts (`crate::tls`).

use super::definition::section;
use super::kinds::{boolean, parsed, text};
use super::secret::Secret;

section! {
    /// TLS 1.2 and 1.3 on a listener. What is a PEM here may be the path of a file, the PEM itself, or that in base64.
    /// Files are read again when they change, and at SIGHUP; connections that are open stay.
    pub struct TlsConfig {
        /// True exactly when the listener speaks TLS, and nothing else.
        /// Worst case: about 6 KB of user memory a connection more than without.
        "enabled" => pub enabled: bool = boolean(false);
        /// The certificate and those between it and the authority, in this order.
        "cert_pem" => pub cert_pem: String = text("");
        /// The private key of the certificate (PKCS #8, PKCS #1 or SEC 1).
        "key_pem" => pub key_pem: Secret = parsed("text", "text", "").secret();
        /// Authorities of client certificates. Where there are some, who has no certificate of theirs is not let in.
        "client_ca_pem" => pub client_ca_pem: String = text("");
    }
}
