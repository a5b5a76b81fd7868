//! The request head: request line and header fields (RFC 9112 §2–§5).
//!
//! In:  what a connection has sent so far, from its first byte.
//! Out: the head and its length; "need more"; or the refusal to answer with.
//!
//! Nothing is kept between calls: the caller holds the bytes and calls again with more of them. The worst case
//! is `bytes_max` calls over `bytes_max` bytes. Nothing is allocated until the head is complete.

use std::{borrow::Cow, mem::MaybeUninit, net::Ipv6Addr};

use httparse::{Error, Header, Status};
use memchr::memchr_iter;

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
        let line_feed = bare_line_feed(within);
        let well_ended = &within[..line_feed.unwrap_or(within.len())];
        match request.parse_with_uninit_headers(well_ended, &mut space[..headers_max]) {
            Ok(Status::Complete(len)) => Ok(Some((Self::from_parsed(&request)?, len))),
            Ok(Status::Partial) if line_feed.is_some() => Err(Refusal::NotHttp(Error::NewLine)),
            Ok(Status::Partial) if bytes.len() >= limits.bytes_max => {
                Err(Refusal::HeadTooLong { bytes_max: limits.bytes_max })
            }
            Ok(Status::Partial) => Ok(None),
            Err(Error::TooManyHeaders) => Err(Refusal::TooManyHeaders { headers_max }),
            Err(Error::Version) => Err(Refusal::HttpVersionUnknown),
            Err(error) => Err(Refusal::NotHttp(error)),
        }
    }

    /// The header field of that name, in any case, without surrounding white space: of those whose value is no list.
    ///
    /// # Errors
    /// There are several: whoever reads the first one and whoever reads the last one would disagree.
    pub fn header(&self, name: &'static str) -> Result<Option<&'b [u8]>, Refusal> {
        let mut values = self.headers(name);
        match (values.next(), values.next()) {
            (value, None) => Ok(value),
            _ => Err(Refusal::HeaderRepeated(name)),
        }
    }

    /// All header fields of that name as one, in the order sent (RFC 9110 §5.3).
    pub fn joined_header(&self, name: &str) -> Option<Cow<'b, [u8]>> {
        let mut values = self.headers(name);
        let first = values.next()?;
        let mut joined = Cow::Borrowed(first);
        for value in values {
            let joined = joined.to_mut();
            joined.extend_from_slice(list_separator(name));
            joined.extend_from_slice(value);
        }
        Some(joined)
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

    /// RFC 9112 §3.2, RFC 6455 §4.2.1 item 2: exactly one Host field, which names a host.
    ///
    /// # Errors
    /// There is none, or more than one, or it is malformed.
    pub fn check_host(&self) -> Result<(), Refusal> {
        let mut hosts = self.headers("Host");
        match (hosts.next(), hosts.next()) {
            (None, _) => Err(Refusal::HostMissing),
            (Some(_), Some(_)) => Err(Refusal::HostRepeated),
            (Some(host), None) if is_authority(host) => Ok(()),
            (Some(_), None) => Err(Refusal::HostMalformed),
        }
    }

    /// True exactly when the connection is to stay open after the answer (RFC 9112 §9.3).
    pub fn keeps_alive(&self) -> bool {
        self.version >= Version::Http11 && !self.header_has_token("Connection", "close")
    }

    fn from_parsed(request: &httparse::Request<'_, 'b>) -> Result<Self, Refusal> {
        // A complete request has all three; this keeps a change in the parser from becoming a panic.
        let (Some(method), Some(target), Some(version)) = (request.method, request.path, request.version)
        else {
            return Err(Refusal::TargetMalformed);
        };
        let (path, query) = split_target(method, target).ok_or(Refusal::TargetMalformed)?;
        let version = if version == 0 { Version::Http10 } else { Version::Http11 };
        Ok(Self { method, path, query, version, headers: request.headers.to_vec() })
    }
}

/// What stands between the values of several fields of one name where they become one (RFC 9110 §5.3; for Cookie RFC 9113
/// §8.2.3).
pub fn list_separator(name: &str) -> &'static [u8] {
    if name.eq_ignore_ascii_case("Cookie") { b"; " } else { b", " }
}

/// Where the first line feed is that ends no line by RFC 9112 §2.2, which lets a server take it for one: some on the way do
/// and some do not.
fn bare_line_feed(bytes: &[u8]) -> Option<usize> {
    memchr_iter(b'\n', bytes).find(|&at| at == 0 || bytes[at - 1] != b'\r')
}

/// Path and query of a request target in one of the four forms of RFC 9112 §3.2. `None` for any other: a fragment is never
/// sent (RFC 9110 §4.2.5), nor is who asks part of the authority (§4.2.4).
fn split_target<'t>(method: &str, target: &'t str) -> Option<(&'t str, Option<&'t str>)> {
    let origin_form = match target {
        _ if target.contains('#') => return None,
        // Nothing is served there, but it is well formed.
        authority if method == "CONNECT" => {
            return is_authority(authority.as_bytes()).then_some((authority, None));
        }
        "*" => return (method == "OPTIONS").then_some((target, None)),
        _ if target.starts_with('/') => target,
        // §3.2.2: a server must accept the absolute form too.
        _ => {
            let (scheme, rest) = target.split_once("://")?;
            let is_known =
                ["http", "https", "ws", "wss"].iter().any(|known| scheme.eq_ignore_ascii_case(known));
            let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
            if !is_known || authority.is_empty() || !is_authority(authority.as_bytes()) {
                return None;
            }
            path
        }
    };
    match origin_form.split_once('?') {
        Some(("", query)) => Some(("/", Some(query))),
        Some((path, query)) => Some((path, Some(query))),
        None if origin_form.is_empty() => Some(("/", None)),
        None => Some((origin_form, None)),
    }
}

/// A host and perhaps a port (RFC 9110 §7.2, RFC 3986 §3.2.2 and §3.2.3). The host may be empty.
fn is_authority(authority: &[u8]) -> bool {
    let (is_host, port) = match authority {
        [b'[', rest @ ..] => {
            let Some(end) = memchr::memchr(b']', rest) else { return false };
            let address = str::from_utf8(&rest[..end]).ok();
            (address.is_some_and(|text| text.parse::<Ipv6Addr>().is_ok()), &rest[end + 1..])
        }
        _ => {
            let end = memchr::memchr(b':', authority).unwrap_or(authority.len());
            let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=%".contains(byte);
            (authority[..end].iter().all(is_name), &authority[end..])
        }
    };
    is_host && (port.is_empty() || (port[0] == b':' && port[1..].iter().all(u8::is_ascii_digit)))
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
        assert_eq!(head.header("host"), Ok(Some(&b"a"[..])));
        assert_eq!(head.header("absent"), Ok(None));
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
    fn a_field_that_is_no_list_is_not_taken_from_one_of_several_lines() {
        let (head, _) = parse(WHOLE).unwrap().unwrap();
        assert_eq!(head.header("x-tag"), Err(Refusal::HeaderRepeated("x-tag")));
    }

    #[test]
    fn lines_of_one_name_are_joined_in_their_order_whatever_their_bytes_are() {
        let text = b"GET / HTTP/1.1\r\nA: 1\r\nCookie: a=b\r\na: \xff\r\nA:\r\ncookie: c=d\r\nB: x\r\n\r\n";
        let (head, _) = parse(text).unwrap().unwrap();
        let joined = |name| head.joined_header(name).map(Cow::into_owned);
        assert_eq!(joined("A"), Some(b"1, \xff, ".to_vec()));
        assert_eq!(joined("cookie"), Some(b"a=b; c=d".to_vec()));
        assert_eq!((joined("b"), joined("absent")), (Some(b"x".to_vec()), None));
    }

    #[test]
    fn a_target_has_one_of_the_four_forms() {
        for (method, target, expected) in [
            ("GET", "/a?u=http://x/y", ("/a", Some("u=http://x/y"))),
            ("GET", "//a", ("//a", None)),
            ("GET", "http://host:80/a?b", ("/a", Some("b"))),
            ("GET", "https://[::1]:8443/a", ("/a", None)),
            ("GET", "WS://host", ("/", None)),
            ("GET", "wss://host?b", ("/", Some("b"))),
            ("OPTIONS", "*", ("*", None)),
            ("CONNECT", "host:443", ("host:443", None)),
        ] {
            assert_eq!(split_target(method, target), Some(expected), "{method} {target}");
        }
        for (method, target) in [
            ("GET", "echo"),
            ("GET", "*"),
            ("GET", "/a#b"),
            ("GET", "http://host/a#b"),
            ("GET", "http:///a"),
            ("GET", "http://user@host/a"),
            ("GET", "http://host\\@evil/a"),
            ("GET", "ftp://host/a"),
            ("GET", "://host/a"),
            ("GET", "host:80"),
            ("CONNECT", "/a"),
        ] {
            assert_eq!(split_target(method, target), None, "{method} {target}");
        }
    }

    #[test]
    fn a_host_is_a_name_or_an_address_and_perhaps_a_port() {
        for host in ["", "a", "a.example:80", "a_b:", "192.0.2.1", "[::1]", "[2001:db8::1]:8000", "%61"] {
            assert!(is_authority(host.as_bytes()), "{host}");
        }
        for host in
            ["a b", "a/b", "a@b", "a:b", "a:1:2", "[::1", "[x]", "[::1]80", "a?", "a#", "a\\b", "a\"b"]
        {
            assert!(!is_authority(host.as_bytes()), "{host}");
        }
        assert!(!is_authority(b"caf\xc3\xa9"));
    }

    #[test]
    fn a_line_that_does_not_end_with_carriage_return_and_line_feed_is_refused_where_it_ends() {
        let new_line = Refusal::NotHttp(Error::NewLine);
        for text in [
            "\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\nB: c\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\n\n",
            "GET / HTTP/1.1\n\n",
        ] {
            assert_eq!(parse(text.as_bytes()).unwrap_err(), new_line, "{text:?}");
            let at = bare_line_feed(text.as_bytes()).unwrap();
            assert!(parse(&text.as_bytes()[..at]).unwrap().is_none(), "{text:?} before it");
            assert_eq!(parse(&text.as_bytes()[..=at]).unwrap_err(), new_line, "{text:?} up to it");
        }
        // What follows a head is not looked at here.
        assert!(parse(b"GET / HTTP/1.1\r\n\r\n\n").unwrap().is_some());
    }

    #[test]
    fn what_servers_on_the_way_could_read_otherwise_is_no_request() {
        let lines = |field: &str| format!("GET / HTTP/1.1\r\nHost: a\r\n{field}\r\n\r\n");
        for field in [
            "A : b",
            "A\t: b",
            " A: b",
            "A: b\r\n c",
            "A: b\r\n\tc",
            "A: b\0",
            "A: b\rB: c",
            "A: b\x7f",
            "Transfer-Encoding: \x0bchunked",
            "Transfer-Encoding\0: chunked",
            ": b",
            "A",
            "\u{e9}: b",
        ] {
            assert!(matches!(parse(lines(field).as_bytes()), Err(Refusal::NotHttp(_))), "{field:?}");
        }
        for line in [
            "GET /\r\n\r\n",
            "GET / HTTP/1.1 \r\n\r\n",
            "GET  / HTTP/1.1\r\n\r\n",
            "GET /  HTTP/1.1\r\n\r\n",
            "GET\t/ HTTP/1.1\r\n\r\n",
            "GET / a HTTP/1.1\r\n\r\n",
            "GET /\0 HTTP/1.1\r\n\r\n",
            "G(T / HTTP/1.1\r\n\r\n",
            " GET / HTTP/1.1\r\n\r\n",
            "GET / http/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\r\n\r\n",
        ] {
            assert!(parse(line.as_bytes()).is_err(), "{line:?}");
        }
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
