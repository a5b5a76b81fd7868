//! HTTP/1.1 responses.
//!
//! In:  a status, header fields and a body.
//! Out: bytes at the end of the caller's buffer.
//!
//! A header value never ends its own line: control characters are written as spaces.

use std::fmt::Write as _;

use bytes::{BufMut as _, BytesMut};

/// The status codes that Holdfast answers with (RFC 9110 §15).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
#[expect(missing_docs, reason = "the names are the registered reason phrases")]
pub enum Status {
    Continue = 100,
    SwitchingProtocols = 101,
    Ok = 200,
    NoContent = 204,
    BadRequest = 400,
    Forbidden = 403,
    NotFound = 404,
    MethodNotAllowed = 405,
    RequestTimeout = 408,
    ContentTooLarge = 413,
    UpgradeRequired = 426,
    TooManyRequests = 429,
    RequestHeaderFieldsTooLarge = 431,
    InternalServerError = 500,
    NotImplemented = 501,
    ServiceUnavailable = 503,
    HttpVersionNotSupported = 505,
}

impl Status {
    /// The three-digit code.
    pub const fn code(self) -> u16 {
        self as u16
    }

    /// The registered reason phrase.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Continue => "Continue",
            Self::SwitchingProtocols => "Switching Protocols",
            Self::Ok => "OK",
            Self::NoContent => "No Content",
            Self::BadRequest => "Bad Request",
            Self::Forbidden => "Forbidden",
            Self::NotFound => "Not Found",
            Self::MethodNotAllowed => "Method Not Allowed",
            Self::RequestTimeout => "Request Timeout",
            Self::ContentTooLarge => "Content Too Large",
            Self::UpgradeRequired => "Upgrade Required",
            Self::TooManyRequests => "Too Many Requests",
            Self::RequestHeaderFieldsTooLarge => "Request Header Fields Too Large",
            Self::InternalServerError => "Internal Server Error",
            Self::NotImplemented => "Not Implemented",
            Self::ServiceUnavailable => "Service Unavailable",
            Self::HttpVersionNotSupported => "HTTP Version Not Supported",
        }
    }

    /// True exactly when a response of this status carries no body and no length (RFC 9110 §8.6).
    const fn is_bodiless(self) -> bool {
        matches!(self, Self::Continue | Self::SwitchingProtocols | Self::NoContent)
    }
}

/// A response whose body is known whole.
#[derive(Debug, Clone, Copy)]
pub struct Response<'a> {
    /// The status line.
    pub status: Status,
    /// Header fields beside Content-Length, which is written from `body`.
    pub headers: &'a [(&'a str, &'a str)],
    /// The body; ignored where the status has none (100, 101, 204).
    pub body: &'a [u8],
}

/// A response whose body goes on until the connection ends (RFC 9112 §6.3 item 8).
#[derive(Debug, Clone, Copy)]
pub struct StreamHead<'a> {
    /// Header fields; the status is 200.
    pub headers: &'a [(&'a str, &'a str)],
}

impl StreamHead<'_> {
    /// Appends the head to `out`; the body may follow at once.
    pub fn write(&self, out: &mut BytesMut) {
        write_status_line(out, Status::Ok);
        for (name, value) in self.headers {
            write_header(out, name, value);
        }
        write_header(out, "Connection", "close");
        out.put_slice(b"\r\n");
    }
}

impl Response<'_> {
    /// Appends the response to `out`.
    pub fn write(&self, out: &mut BytesMut) {
        self.write_head(out);
        if !self.status.is_bodiless() {
            out.put_slice(self.body);
        }
    }

    /// Appends its head alone, which tells how long the body would be.
    pub fn write_head(&self, out: &mut BytesMut) {
        write_status_line(out, self.status);
        for (name, value) in self.headers {
            write_header(out, name, value);
        }
        if !self.status.is_bodiless() {
            write_number(out, "Content-Length", self.body.len());
        }
        out.put_slice(b"\r\n");
    }
}

/// Appends one header field. A value is cut out of what peers and operators write, so control characters,
/// which could start another field, become spaces (RFC 9110 §5.5).
pub(crate) fn write_header(out: &mut BytesMut, name: &str, value: &str) {
    out.put_slice(name.as_bytes());
    out.put_slice(b": ");
    out.extend(value.bytes().map(|byte| if byte.is_ascii_control() { b' ' } else { byte }));
    out.put_slice(b"\r\n");
}

fn write_status_line(out: &mut BytesMut, status: Status) {
    out.put_slice(b"HTTP/1.1 ");
    put(out, format_args!("{} {}\r\n", status.code(), status.reason()));
}

fn write_number(out: &mut BytesMut, name: &str, value: usize) {
    put(out, format_args!("{name}: {value}\r\n"));
}

fn put(out: &mut BytesMut, arguments: std::fmt::Arguments<'_>) {
    out.write_fmt(arguments).expect("a BytesMut grows as needed");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(response: &Response<'_>) -> String {
        let mut out = BytesMut::new();
        response.write(&mut out);
        String::from_utf8(out.to_vec()).unwrap()
    }

    #[test]
    fn a_response_has_status_headers_length_and_body() {
        let response =
            Response { status: Status::Ok, headers: &[("Content-Type", "text/plain")], body: b"hi" };
        assert_eq!(
            written(&response),
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nhi"
        );
    }

    #[test]
    fn switching_protocols_has_neither_length_nor_body() {
        let response = Response { status: Status::SwitchingProtocols, headers: &[], body: b"" };
        assert_eq!(written(&response), "HTTP/1.1 101 Switching Protocols\r\n\r\n");
    }

    #[test]
    fn a_header_value_cannot_start_another_header() {
        let response = Response { status: Status::NoContent, headers: &[("A", "b\r\nC: d")], body: b"" };
        assert_eq!(written(&response), "HTTP/1.1 204 No Content\r\nA: b  C: d\r\n\r\n");
    }
}
