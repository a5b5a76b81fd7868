//! Browser: keeps web pages from calling the API if it needs no key.
//!
//! In:  the head of a request.
//! Out: permission, or the reason to refuse: it may come from a foreign page.
//!
//! A page of any site can make its visitor's browser send requests to addresses that only the visitor can reach. The
//! page does not know a key, so if the API needs a key, nothing is checked here. A page also cannot do the following
//! without a preflight: send `Content-Type: application/json` to another host; hide its `Origin`; or choose `Host`.
//! `Host` is the name that the page was loaded from, even if that name resolves to this address (DNS rebinding).

use std::net::IpAddr;

use axum::http::{HeaderMap, Method, StatusCode, Uri, header, uri::Authority};

use super::counts::Denial;

/// The allowed host names of the control port.
#[derive(Debug)]
pub(super) struct Hosts(Vec<String>);

/// Why a request was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Foreign {
    Host,
    Origin,
    ContentType,
}

impl Foreign {
    pub(super) const fn status(self) -> StatusCode {
        match self {
            Self::Host => StatusCode::MISDIRECTED_REQUEST,
            Self::Origin => StatusCode::FORBIDDEN,
            Self::ContentType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        }
    }

    pub(super) const fn denial(self) -> Denial {
        match self {
            Self::Host => Denial::Host,
            Self::Origin => Denial::Origin,
            Self::ContentType => Denial::ContentType,
        }
    }

    pub(super) const fn words(self) -> &'static str {
        match self {
            Self::Host => {
                "without a key, the host must be an IP address, localhost or one of http_api.allowed_hosts"
            }
            Self::Origin => "without a key, web pages of another host may not call the API",
            Self::ContentType => "without a key, the Content-Type must be application/json",
        }
    }
}

impl Hosts {
    pub(super) fn new(allowed: &[String]) -> Self {
        Self(allowed.to_vec())
    }

    /// # Errors
    /// The request may come from a page of another host.
    pub(super) fn check(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<(), Foreign> {
        let host = one(headers, header::HOST).and_then(|host| host.parse::<Authority>().ok());
        let host = host.ok_or(Foreign::Host)?;
        // RFC 9112 §3.2.2: a host in the request line takes precedence over the field.
        let is_known = [Some(&host), uri.authority()].into_iter().flatten().all(|host| self.has(host.host()));
        if !is_known {
            return Err(Foreign::Host);
        }
        if headers.contains_key(header::ORIGIN) {
            let origin = one(headers, header::ORIGIN).and_then(|origin| origin.parse::<Uri>().ok());
            let is_own = origin.is_some_and(|origin| origin.authority() == Some(&host));
            if !is_own {
                return Err(Foreign::Origin);
            }
        }
        let kind = one(headers, header::CONTENT_TYPE).unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim();
        if method == Method::POST && !kind.eq_ignore_ascii_case("application/json") {
            return Err(Foreign::ContentType);
        }
        Ok(())
    }

    fn has(&self, host: &str) -> bool {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        bare.parse::<IpAddr>().is_ok()
            || host.eq_ignore_ascii_case("localhost")
            || self.0.iter().any(|allowed| allowed.eq_ignore_ascii_case(host))
    }
}

/// The value of a field that occurs exactly once.
fn one(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(fields: &[(&'static str, &str)], uri: &str) -> Result<(), Foreign> {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, value.parse().unwrap());
        }
        Hosts::new(&["holdfast.internal".to_owned()]).check(&Method::POST, &uri.parse().unwrap(), &headers)
    }

    const JSON: (&str, &str) = ("content-type", "application/json; charset=utf-8");

    #[test]
    fn who_calls_by_an_address_or_a_known_name_is_let_in() {
        for host in [
            "127.0.0.1:9000",
            "127.0.0.1",
            "[::1]:9000",
            "localhost:9000",
            "LocalHost",
            "holdfast.internal:9000",
            "10.0.0.7",
        ] {
            assert_eq!(check(&[("host", host), JSON], "/api/info"), Ok(()), "{host}");
            let origin = format!("http://{host}");
            assert_eq!(check(&[("host", host), ("origin", &origin), JSON], "/api/info"), Ok(()), "{host}");
        }
    }

    #[test]
    fn a_page_of_another_host_is_not_whatever_it_can_write() {
        let own = ("host", "127.0.0.1:9000");
        for (fields, uri, why) in [
            (&[("host", "evil.test:9000"), JSON][..], "/api/info", Foreign::Host),
            (&[("host", "evil.test"), ("origin", "http://evil.test"), JSON], "/api/info", Foreign::Host),
            (&[("host", "127.0.0.1.evil.test"), JSON], "/api/info", Foreign::Host),
            (&[("host", "localhost.evil.test"), JSON], "/api/info", Foreign::Host),
            (&[("host", "evil.test@127.0.0.1:1:2"), JSON], "/api/info", Foreign::Host),
            (&[JSON], "/api/info", Foreign::Host),
            (&[own, ("host", "evil.test"), JSON], "/api/info", Foreign::Host),
            (&[own, JSON], "http://evil.test/api/info", Foreign::Host),
            (&[own, ("origin", "http://evil.test"), JSON], "/api/info", Foreign::Origin),
            (&[own, ("origin", "null"), JSON], "/api/info", Foreign::Origin),
            (&[own, ("origin", "http://127.0.0.1:9001"), JSON], "/api/info", Foreign::Origin),
            (&[own, ("origin", "http://127.0.0.1:9000.evil.test"), JSON], "/api/info", Foreign::Origin),
            (&[own], "/api/info", Foreign::ContentType),
            (&[own, ("content-type", "text/plain")], "/api/info", Foreign::ContentType),
            (&[own, ("content-type", "text/plain; application/json")], "/api/info", Foreign::ContentType),
            (&[own, ("content-type", "application/x-www-form-urlencoded")], "/api", Foreign::ContentType),
            (&[own, JSON, ("content-type", "text/plain")], "/api/info", Foreign::ContentType),
        ] {
            assert_eq!(check(fields, uri), Err(why), "{fields:?} {uri}");
        }
    }
}
