//! CORS: the response fields that let a browser show the answer to the page that asked (Fetch standard, §3.2).
//!
//! In:  a request's `Origin`, already admitted.
//! Out: header fields.

use holdfast_protocol::http::{Refusal, RequestHead};

use crate::value::origin::Origins;

/// How long a browser may cache a preflight, in seconds. Browsers have lower limits of their own.
const PREFLIGHT_MAX_AGE_S: &str = "86400";

/// The origin of the requesting page; `None` if there is none.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cors {
    origin: Option<Box<str>>,
}

impl Cors {
    /// Admits a request's origin.
    pub(super) fn admitted(head: &RequestHead<'_>, origins: &Origins) -> Result<Self, Refusal> {
        let origin = admitted_origin(head, origins)?;
        let origin = origin.map(|origin| str::from_utf8(origin).map_err(|_| Refusal::OriginForbidden));
        Ok(Self { origin: origin.transpose()?.map(Box::from) })
    }

    pub(crate) fn origin(&self) -> Option<&str> {
        self.origin.as_deref()
    }

    /// The fields of an answer.
    pub(crate) fn fields(&self) -> Vec<(&str, &str)> {
        match &self.origin {
            None => Vec::new(),
            Some(origin) => vec![
                ("Access-Control-Allow-Origin", origin),
                ("Access-Control-Allow-Credentials", "true"),
                ("Vary", "Origin"),
            ],
        }
    }

    /// The fields of the answer to a preflight that asks for `wanted`. Every header is allowed: nothing here trusts a
    /// header because a browser sent it.
    pub(super) fn preflight_fields<'a>(&'a self, wanted: Option<&'a [u8]>) -> Vec<(&'a str, &'a str)> {
        let mut fields = self.fields();
        fields.push(("Access-Control-Allow-Methods", "GET, POST"));
        // Field names are ASCII.
        if let Some(wanted) = wanted.and_then(|wanted| str::from_utf8(wanted).ok()) {
            fields.push(("Access-Control-Allow-Headers", wanted));
        }
        fields.push(("Access-Control-Max-Age", PREFLIGHT_MAX_AGE_S));
        fields
    }
}

/// The origin of the requesting page, if there is one.
///
/// # Errors
/// The origin is not allowed, or there are several; a browser sends one (RFC 6454 §7.3).
pub(super) fn admitted_origin<'b>(
    head: &RequestHead<'b>,
    origins: &Origins,
) -> Result<Option<&'b [u8]>, Refusal> {
    let origin = head.header("Origin")?;
    if origins.admit(origin) { Ok(origin) } else { Err(Refusal::OriginForbidden) }
}
