//! HTTP server: the options of both listeners and their TLS.
//!
//! Out: the checked section `http_server`.
//!
//! The TLS files are read and checked when the daemon starts (`crate::tls`).

use std::net::IpAddr;

use holdfast_protocol::http::ForwardedField;

use super::{
    definition::section,
    kinds::{boolean, choice, integer, list_of, parsed, section, tcp_port, text},
    limits::network,
    network::Network,
    secret::Secret,
};

section! {
    /// The listeners: one address for clients, and one for operators and backends (the control plane).
    pub(crate) struct HttpServerConfig {
        /// IP address on which the daemon accepts clients.
        "address" => pub address: IpAddr = parsed("address", "an IP address", "0.0.0.0").flag("--listen");
        /// Port on which the daemon accepts clients. With 0 the kernel picks a free port.
        "port" => pub port: u16 = tcp_port(8000).flag("--listen");
        /// IP address of the control plane: server API, health and metrics. Health and metrics need no key, so keep
        /// this address private.
        "internal_address" => pub internal_address: IpAddr
            = parsed("address", "an IP address", "127.0.0.1").flag("--control");
        /// Port of the control plane. With 0 the kernel picks a free port.
        "internal_port" => pub internal_port: u16 = tcp_port(9000).flag("--control");
        /// Most connections to the control plane. A further connection replaces the one that has been idle longest;
        /// if none is idle, it gets 503. The daemon lowers this value to a quarter of RLIMIT_NOFILE, because rings,
        /// the log and calls to backends need descriptors too.
        /// Worst case: this × 16 KiB for request heads, plus bodies and answers.
        "internal_connection_limit" => pub internal_connections_max: u32 = integer(512, 1, 65_536);
        /// TLS for clients.
        "tls" => pub tls: TlsConfig = section();
        /// TLS for the control plane.
        "internal_tls" => pub internal_tls: TlsConfig = section();
        /// Proxies that send a PROXY header.
        "proxy_protocol" => pub proxy_protocol: ProxyProtocolConfig = section();
        /// Proxies that name the client in a header field of each request.
        "forwarded" => pub forwarded: ForwardedConfig = section();
    }

    /// TLS 1.2 and 1.3 on a listener. Each PEM option takes the path of a file, the PEM itself, or the PEM in base64.
    /// The daemon reads files again when they change and at SIGHUP; open connections stay.
    pub(crate) struct TlsConfig {
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

    /// Proxies that send a PROXY header (version 1 or 2) at the beginning of each connection.
    pub(crate) struct ProxyProtocolConfig {
        /// Networks of these proxies. The daemon takes the client's address from their PROXY header, and closes a
        /// connection from these networks that begins without one. From any other address, a PROXY header is a
        /// malformed request.
        "trusted" => pub trusted: Vec<Network> = list_of(network());
    }

    /// Proxies that name the client in a header field of each request.
    pub(crate) struct ForwardedConfig {
        /// Networks of these proxies. The client's address is the rightmost address in the field that is outside
        /// these networks. The daemon ignores the field in requests from elsewhere. Each of these proxies must write
        /// the field.
        "trusted" => pub trusted: Vec<Network> = list_of(network());
        /// The header field that the proxies write. The daemon ignores the other one, because clients could send it.
        "header" => pub field: ForwardedField = choice("x_forwarded_for", FIELDS);
    }
}

const FIELDS: &[(&str, ForwardedField)] =
    &[("x_forwarded_for", ForwardedField::XForwardedFor), ("forwarded", ForwardedField::Forwarded)];
