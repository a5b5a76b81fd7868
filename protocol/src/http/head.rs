//! The request head: request line and header fields (RFC 9112 §2–§5).
//!
//! In:  what a connection has sent so far, from its first byte.
//! Out: the head and its length; "need more"; or the refusal to answer with.
//!
//! Nothing is kept between calls: the caller holds the bytes and calls again with more of them. The worst case
//! is `bytes_max` calls over `bytes_max` bytes. Nothing is allocated until the head is complete.

use std::mem::MaybeUninit;

use httparse::{Error, Header, Status};

use super::Refusal;

/// The most header fields that any [`HeadLimits`] can allow: they are parsed into 4 KiB of stack.
pub const HEADERS_CEILING: usize = 128;

/// How much request head a peer may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeadLimits {
    /// Bytes from the first one to the empty line, both included.
    pub bytes_max: usize,
    /// Header fields; more than [`HEADERS_CEILING`] counts as that.
    pub headers_max: usize,
}

impl Default for HeadLimits {
    fn default() -> Self {
        Self { bytes_max: 8192, headers_max: 64 }
    }
}

/// The versions of HTTP/1; others are refused while parsing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// HTTP/1.0 (RFC 1945).
    Http10,
    /// HTTP/1.1 (RFC 9112).
    Http11,
}

/// A complete request head that borrows the bytes it came in.
#[derive(Debug, Clone)]
pub struct RequestHead<'b> {
    /// As sent: methods are case-sensitive (RFC 9110 §9.1).
    pub method: &'b str,
    /// The target's path, without scheme, authority and query.
    pub path: &'b str,
    /// What follows the first `?` of the target.
    pub query: Option<&'b str>,
    /// HTTP/1.0 or HTTP/1.1.
    pub version: Version,
    headers: Vec<Header<'b>>,
}

impl<'b> RequestHead<'b> {
    /// Parses the head at the front of `bytes`; the number is its length, empty line included. `None` asks for
    /// more bytes. What can no longer become a request is refused at once, not when it is complete.
    pub fn parse(bytes: &'b [u8], limits: &HeadLimits) -> Result<Option<(Self, usize)>, Refusal> {
        const TLS_HANDSHAKE: u8 = 0x16;
        if bytes.first() == Some(&TLS_HANDSHAKE) {
            return Err(Refusal::TlsOnPlainPort);
        }
        let headers_max = limits.headers_max.min(HEADERS_CEILING);
        let mut space = [const { MaybeUninit::uninit() }; HEADERS_CEILING];
        let mut request = httparse::Request::new(&mut []);
        // A head over the limit is over it however it was cut into reads.
        let within = &bytes[..bytes.len().min(limits.bytes_max)];
        match request.parse_with_uninit_headers(within, &mut space[..headers_max]) {
            Ok(Status::Complete(len)) => Ok(Self::from_parsed(&request).map(|head| (head, len))),
            Ok(Status::Partial) if bytes.len() >= limits.bytes_max => {
                Err(Refusal::HeadTooLong { bytes_max: limits.bytes_max })
            }
            Ok(Status::Partial) => Ok(None),
            Err(Error::TooManyHeaders) => Err(Refusal::TooManyHeaders { headers_max }),
            Err(Error::Version) => Err(Refusal::HttpVersionUnknown),
            Err(error) => Err(Refusal::NotHttp(error)),
        }
    }

    /// The first header field of that name, in any case, without surrounding white space.
    pub fn header(&self, name: &str) -> Option<&'b [u8]> {
        self.headers(name).next()
    }

    /// The first header field of that name, if it is text.
    pub fn header_str(&self, name: &str) -> Option<&'b str> {
        self.header(name).and_then(|value| str::from_utf8(value).ok())
    }

    /// All header fields of that name, in the order sent.
    pub fn headers(&self, name: &str) -> impl Iterator<Item = &'b [u8]> {
        self.headers
            .iter()
            .filter(move |header| header.name.eq_ignore_ascii_case(name))
            .map(|header| header.value)
    }

    /// All header fields, in the order sent.
    pub fn all_headers(&self) -> impl Iterator<Item = (&'b str, &'b [u8])> {
        self.headers.iter().map(|header| (header.name, header.value))
    }

    /// The members of a comma-separated list that may be spread over several fields (RFC 9110 §5.6.1).
    pub fn header_list(&self, name: &str) -> impl Iterator<Item = &'b [u8]> {
        self.headers(name)
            .flat_map(|value| value.split(|&byte| byte == b','))
            .map(<[u8]>::trim_ascii)
            .filter(|member| !member.is_empty())
    }

    /// True exactly when the list of that name has `token` as a member, in any case.
    pub fn header_has_token(&self, name: &str, token: &str) -> bool {
        self.header_list(name).any(|member| member.eq_ignore_ascii_case(token.as_bytes()))
    }

    /// RFC 9112 §3.2, RFC 6455 §4.2.1 item 2: exactly one Host field.
    ///
    /// # Errors
    /// There is none, or more than one.
    pub fn check_host(&self) -> Result<(), Refusal> {
        match self.headers("Host").count() {
            0 => Err(Refusal::HostMissing),
            1 => Ok(()),
            _ => Err(Refusal::HostRepeated),
        }
    }

    /// True exactly when the connection is to stay open after the answer (RFC 9112 §9.3).
    pub fn keeps_alive(&self) -> bool {
        self.version >= Version::Http11 && !self.header_has_token("Connection", "close")
    }

    /// `None` never happens for a complete request; it keeps a change in the parser from becoming a panic.
    fn from_parsed(request: &httparse::Request<'_, 'b>) -> Option<Self> {
        let (path, query) = split_target(request.path?);
        let version = if request.version? == 0 { Version::Http10 } else { Version::Http11 };
        Some(Self { method: request.method?, path, query, version, headers: request.headers.to_vec() })
    }
}

/// Path and query of a request target. RFC 9112 §3.2.2: a server must accept the absolute form too.
fn split_target(target: &str) -> (&str, Option<&str>) {
    let origin_form = match target.split_once("://") {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("ws") => {
            rest.find(['/', '?']).map_or("/", |at| &rest[at..])
        }
        _ => target,
    };
    match origin_form.split_once('?') {
        Some(("", query)) => ("/", Some(query)),
        Some((path, query)) => (path, Some(query)),
        None => (origin_form, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &[u8] =
        b"GET /echo?room=7&x HTTP/1.1\r\nHost: a\r\nX-Tag:  one, Two \r\nx-tag: three\r\n\r\nrest";

    fn parse(bytes: &[u8]) -> Result<Option<(RequestHead<'_>, usize)>, Refusal> {
        RequestHead::parse(bytes, &HeadLimits::default())
    }

    #[test]
    fn a_complete_head_is_read_and_what_follows_is_left() {
        let (head, len) = parse(WHOLE).unwrap().unwrap();
        assert_eq!((head.method, head.path, head.query), ("GET", "/echo", Some("room=7&x")));
        assert_eq!(head.version, Version::Http11);
        assert_eq!(&WHOLE[len..], b"rest");
        assert_eq!(head.header("host"), Some(&b"a"[..]));
        assert_eq!(head.header_str("HOST"), Some("a"));
        assert_eq!(head.header("absent"), None);
        assert_eq!(head.all_headers().count(), 3);
    }

    #[test]
    fn list_members_are_found_in_any_case_and_over_several_fields() {
        let (head, _) = parse(WHOLE).unwrap().unwrap();
        assert!(head.header_has_token("x-tag", "two"));
        assert!(head.header_has_token("X-Tag", "THREE"));
        assert!(!head.header_has_token("x-tag", "thr"));
        assert_eq!(head.header_list("x-tag").collect::<Vec<_>>(), [&b"one"[..], b"Two", b"three"]);
    }

    #[test]
    fn every_proper_prefix_asks_for_more() {
        let end = WHOLE.len() - b"rest".len();
        for len in 0..end {
            assert!(parse(&WHOLE[..len]).unwrap().is_none(), "at {len}");
        }
    }

    #[test]
    fn the_absolute_form_of_a_target_is_accepted() {
        assert_eq!(split_target("http://host:80/a?b"), ("/a", Some("b")));
        assert_eq!(split_target("WS://host"), ("/", None));
        assert_eq!(split_target("ws://host?b"), ("/", Some("b")));
        assert_eq!(split_target("/a?u=http://x/y"), ("/a", Some("u=http://x/y")));
        assert_eq!(split_target("*"), ("*", None));
    }

    #[test]
    fn a_tls_client_hello_is_refused_at_its_first_byte() {
        assert_eq!(parse(b"\x16").unwrap_err(), Refusal::TlsOnPlainPort);
    }

    #[test]
    fn garbage_is_refused_before_an_empty_line_comes() {
        assert!(matches!(parse(b"\x00\x01"), Err(Refusal::NotHttp(_))));
        assert!(matches!(parse(b"SSH-2.0-OpenSSH_9\r\n"), Err(Refusal::NotHttp(_))));
        assert!(matches!(parse(b"GET / HTTP/1.1\r\nno colon\r\n"), Err(Refusal::NotHttp(_))));
    }

    #[test]
    fn another_http_version_is_refused() {
        assert_eq!(parse(b"PRI * HTTP/2.0\r\n\r\n").unwrap_err(), Refusal::HttpVersionUnknown);
    }

    #[test]
    fn a_head_over_the_limit_is_refused_whole_or_in_part() {
        let limits = HeadLimits { bytes_max: 40, headers_max: 8 };
        let long = b"GET / HTTP/1.1\r\nHost: a.very.long.name.indeed\r\n\r\n";
        let refused = Refusal::HeadTooLong { bytes_max: 40 };
        assert!(RequestHead::parse(&long[..39], &limits).unwrap().is_none());
        assert_eq!(RequestHead::parse(&long[..40], &limits).unwrap_err(), refused);
        assert_eq!(RequestHead::parse(long, &limits).unwrap_err(), refused);
    }

    #[test]
    fn a_head_exactly_at_the_limit_is_accepted() {
        let exact = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        let limits = HeadLimits { bytes_max: exact.len(), headers_max: 1 };
        assert!(RequestHead::parse(exact, &limits).unwrap().is_some());
    }

    #[test]
    fn too_many_headers_are_refused() {
        let limits = HeadLimits { bytes_max: 8192, headers_max: 1 };
        let refused = RequestHead::parse(b"GET / HTTP/1.1\r\nA: 1\r\nB: 2\r\n\r\n", &limits).unwrap_err();
        assert_eq!(refused, Refusal::TooManyHeaders { headers_max: 1 });
    }
}
