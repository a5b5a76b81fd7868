//! Endpoint: the URL of the application's backend.
//!
//! In:  the URL as the operator wrote it.
//! Out: a URL that requests can be sent to, or the fault in it.

use std::{fmt, str::FromStr};

use hyper::Uri;

use crate::masked;

/// A URL of a backend: `http` or `https`, without credentials.
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint(Uri);

impl Endpoint {
    pub(crate) fn is_encrypted(&self) -> bool {
        self.0.scheme_str() == Some("https")
    }

    pub(super) fn uri(&self) -> Uri {
        self.0.clone()
    }
}

impl FromStr for Endpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.starts_with("grpc://") {
            return Err("Holdfast does not speak gRPC; give an HTTP endpoint of the backend".into());
        }
        let uri: Uri = text.parse().map_err(|error| format!("not an address: {error}"))?;
        match (uri.scheme_str(), uri.authority()) {
            (Some("http" | "https"), Some(authority)) if authority.as_str().contains('@') => {
                Err("credentials in the address are not supported; use http.static_headers".into())
            }
            (Some("http" | "https"), Some(_)) => Ok(Self(uri)),
            _ => Err("it must begin with http:// or https://".into()),
        }
    }
}

/// For display: a query may contain a secret.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&masked::address(&self.0.to_string()))
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Endpoint({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_a_plain_address_of_http() {
        for good in ["http://127.0.0.1:3000/centrifugo/connect", "https://app.test/events?a=b"] {
            let endpoint: Endpoint = good.parse().unwrap();
            assert_eq!(endpoint.uri().to_string(), good);
            assert!(!format!("{endpoint} {endpoint:?}").contains("a=b"), "a query may have a key");
        }
        for bad in ["", "/connect", "app.test", "grpc://app.test:1", "https://user:secret@app.test/"] {
            assert!(bad.parse::<Endpoint>().is_err(), "{bad}");
        }
    }
}
