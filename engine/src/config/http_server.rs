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
    /// Where the daemon listens: one address for clients, one for operators.
    pub struct HttpServerConfig {
        /// IP address that clients connect to.
        "address" => pub address: IpAddr = parsed("address", "an IP address", "0.0.0.0").flag("--listen");
        /// Port that clients connect to; 0 lets the kernel pick a free one.
        "port" => pub port: u16 = tcp_port(8000).flag("--listen");
        /// IP address of the control plane (server API, health, metrics). Whoever can reach it can read the latter two,
        /// so keep it private.
        "internal_address" => pub internal_address: IpAddr
            = parsed("address", "an IP address", "127.0.0.1").flag("--control");
        /// Port of the control plane; 0 lets the kernel pick a free one.
        "internal_port" => pub internal_port: u16 = tcp_port(9000).flag("--control");
        /// Connections to the control plane. Where one more comes, one that is between two requests is closed for it,
        /// the one that has waited longest; where there is none, the new one is answered 503. It is at most a quarter
        /// of RLIMIT_NOFILE: rings, log and calls to backends need descriptors too; clients do not.
        /// Worst case: this × 16 KiB of a request's head, beside bodies and answers.
        "internal_connection_limit" => pub internal_connections_max: u32 = integer(512, 1, 65_536);
        /// TLS for clients.
        "tls" => pub tls: TlsConfig = section();
        /// TLS for the control plane.
        "internal_tls" => pub internal_tls: TlsConfig = section();
        /// Proxies that begin with a PROXY header.
        "proxy_protocol" => pub proxy_protocol: ProxyProtocolConfig = section();
        /// Proxies that name the client in a field of each request.
        "forwarded" => pub forwarded: ForwardedConfig = section();
    }

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

    /// Proxies that tell whom they speak for in a PROXY header (version 1 or 2), before anything else.
    pub struct ProxyProtocolConfig {
        /// Networks of proxies whose connections begin with a PROXY header: the client's address is the one in it. One
        /// that comes from there without such a header is closed. From elsewhere no header is read: it is a malformed
        /// request.
        "trusted" => pub trusted: Vec<Network> = list_of(network());
    }

    /// Proxies that tell whom they speak for in a field of each request.
    pub struct ForwardedConfig {
        /// Networks of proxies whose field is believed: the client's address is the rightmost one in it that is not in
        /// these networks. From elsewhere the field is not looked at. Each of these proxies must write the field.
        "trusted" => pub trusted: Vec<Network> = list_of(network());
        /// The field that the proxies write. Only that one is read: clients can send the other one.
        "header" => pub field: ForwardedField = choice("x_forwarded_for", FIELDS);
    }
}

const FIELDS: &[(&str, ForwardedField)] =
    &[("x_forwarded_for", ForwardedField::XForwardedFor), ("forwarded", ForwardedField::Forwarded)];
