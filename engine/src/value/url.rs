//! URL: where the daemon itself sends requests to.
//!
//! In:  the URL as the operator wrote it.
//! Out: a URL that requests can be sent to, or the fault in it.

use std::{fmt, str::FromStr};

use hyper::Uri;

use super::masked;

/// A URL of the application's backend, or of a key set: `http` or `https`, without credentials.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct HttpUrl(Uri);

impl HttpUrl {
    /// True exactly when it uses `https`.
    pub(crate) fn is_encrypted(&self) -> bool {
        self.0.scheme_str() == Some("https")
    }

    pub(crate) fn uri(&self) -> Uri {
        self.0.clone()
    }
}

impl FromStr for HttpUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.starts_with("grpc://") {
            return Err("Holdfast does not speak gRPC; give an HTTP endpoint of the backend".into());
        }
        if text.contains("{{") {
            return Err(
                "an address that depends on the token ({{…}}) is not supported; give one endpoint".into()
            );
        }
        let uri: Uri = text.parse().map_err(|error| format!("not an address: {error}"))?;
        match (uri.scheme_str(), uri.authority()) {
            (Some("http" | "https"), Some(authority)) if authority.as_str().contains('@') => {
                Err("credentials in the address are not supported; use http.static_headers for a backend"
                    .into())
            }
            (Some("http" | "https"), Some(_)) => Ok(Self(uri)),
            _ => Err("it must begin with http:// or https://".into()),
        }
    }
}

/// For display: a query may contain a secret.
impl fmt::Display for HttpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&masked::address(&self.0.to_string()))
    }
}

impl fmt::Debug for HttpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HttpUrl({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_a_plain_address_of_http() {
        for good in ["http://127.0.0.1:3000/centrifugo/connect", "https://app.test/events?a=b"] {
            let endpoint: HttpUrl = good.parse().unwrap();
            assert_eq!(endpoint.uri().to_string(), good);
            assert!(!format!("{endpoint} {endpoint:?}").contains("a=b"), "a query may have a key");
        }
        for bad in [
            "",
            "/connect",
            "app.test",
            "grpc://app.test:1",
            "https://id.test/{{tenant}}",
            "https://user:secret@app.test/",
        ] {
            assert!(bad.parse::<HttpUrl>().is_err(), "{bad}");
        }
    }
}
