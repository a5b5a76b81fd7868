//! Target: the server's URL, taken apart.
//!
//! In:  `ws://host[:port]/path?query`, or `wss://`.
//! Out: the address to connect to, and the host and path for the request.
//!
//! A host name is looked up once, before the first connection: a look-up while the load runs would be measured too.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs};

use rustls::pki_types::ServerName;

/// Where to connect and what to ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The URL as it was given.
    pub url: String,
    /// The name that the server's certificate must have; `None` without TLS.
    pub tls_name: Option<ServerName<'static>>,
    /// Where to connect.
    pub address: SocketAddr,
    /// For the `Host` field of the request.
    pub authority: String,
    /// Path and query of the request.
    pub path: String,
}

impl Target {
    /// Takes a URL apart and looks its host up, unless `address` says where to connect.
    ///
    /// # Errors
    /// A sentence that says what is wrong with the URL, or that its host is not known.
    pub fn resolve(url: &str, address: Option<IpAddr>) -> Result<Self, String> {
        let (scheme, rest) = url
            .split_once("://")
            .ok_or_else(|| format!("the target {url:?} is no URL: it looks like \"ws://host:port/path\""))?;
        let is_secure = match scheme.to_ascii_lowercase().as_str() {
            "ws" => false,
            "wss" => true,
            other => {
                return Err(format!("the target's scheme is {other:?}: only ws:// and wss:// can be loaded"));
            }
        };
        if rest.contains('#') {
            return Err("a WebSocket URL has no fragment (RFC 6455 §3): leave out what follows #".to_owned());
        }
        if let Some(odd) = rest.chars().find(|c| !c.is_ascii_graphic()) {
            return Err(format!("the target holds {odd:?}: write it percent-encoded"));
        }
        let split = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(split);
        if authority.contains('@') {
            return Err("a user name in the target is not supported".to_owned());
        }
        let (host, port) = host_and_port(authority, if is_secure { 443 } else { 80 })?;
        let tls_name = is_secure.then(|| ServerName::try_from(host.to_owned()));
        let tls_name =
            tls_name.transpose().map_err(|_| format!("{host:?} cannot be the name in a certificate"))?;
        let address = match address {
            Some(ip) => SocketAddr::new(ip, port),
            None => look_up(host, port)?,
        };
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Ok(Self { url: url.to_owned(), tls_name, address, authority: authority.to_owned(), path })
    }
}

fn host_and_port(authority: &str, default_port: u16) -> Result<(&str, u16), String> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, tail) = rest.split_once(']').ok_or("an IPv6 address in a URL ends with ]")?;
            (host, tail.strip_prefix(':'))
        }
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    if host.is_empty() {
        return Err("the target names no host".to_owned());
    }
    let port = match port {
        None => default_port,
        Some(port) => port.parse().map_err(|_| format!("the target's port {port:?} is not in 1 to 65535"))?,
    };
    if port == 0 { Err("the target's port is not in 1 to 65535".to_owned()) } else { Ok((host, port)) }
}

fn look_up(host: &str, port: u16) -> Result<SocketAddr, String> {
    let mut found: Vec<SocketAddr> = (host, port)
        .to_socket_addrs()
        .map_err(|error| format!("the host {host:?} is not known: {error}"))?
        .collect();
    // A server that listens on IPv4 only is common, one on IPv6 only is rare; the list's order is the system's else.
    found.sort_by_key(SocketAddr::is_ipv6);
    found.first().copied().ok_or_else(|| format!("the host {host:?} has no address"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_gives_address_host_and_path() {
        let target = Target::resolve("ws://127.0.0.1:8000/echo?x=1", None).expect("a good URL");
        assert_eq!(target.address, "127.0.0.1:8000".parse().expect("an address"));
        assert_eq!((target.authority.as_str(), target.path.as_str()), ("127.0.0.1:8000", "/echo?x=1"));
    }

    #[test]
    fn port_and_path_may_be_left_out() {
        let target = Target::resolve("ws://[::1]", None).expect("a good URL");
        assert_eq!(target.address, "[::1]:80".parse().expect("an address"));
        assert_eq!(target.path, "/");
        assert_eq!(Target::resolve("ws://127.0.0.1?a", None).expect("a good URL").path, "/?a");
    }

    #[test]
    fn an_encrypted_target_has_a_name_and_another_port() {
        let target = Target::resolve("wss://127.0.0.1", None).expect("a good URL");
        assert_eq!(target.address.port(), 443);
        assert!(target.tls_name.is_some());
    }

    #[test]
    fn a_given_address_goes_before_the_name() {
        let target =
            Target::resolve("ws://no.such.host.invalid:81/", Some("127.0.0.2".parse().expect("an address")));
        assert_eq!(target.expect("not looked up").address.to_string(), "127.0.0.2:81");
    }

    #[test]
    fn what_cannot_be_loaded_is_refused_with_the_reason() {
        for (url, reason) in [
            ("127.0.0.1:8000", "no URL"),
            ("wss://a b", "percent"),
            ("wss://-/", "certificate"),
            ("http://127.0.0.1/", "scheme"),
            ("ws:///path", "no host"),
            ("ws://127.0.0.1:99999/", "port"),
            ("ws://127.0.0.1:0/", "port"),
            ("ws://127.0.0.1/a b", "percent"),
            ("ws://127.0.0.1/#x", "fragment"),
            ("ws://me@127.0.0.1/", "user name"),
        ] {
            let refusal = Target::resolve(url, None).expect_err(url);
            assert!(refusal.contains(reason), "{url}: {refusal}");
        }
    }
}
