//! Every way in which a request is refused, and the answer to each.
//!
//! In:  the fault, as a variant.
//! Out: one complete HTTP/1.1 response that says what is wrong and what would be right.
//!
//! A refusal ends the connection: each one carries `Connection: close`.

use bytes::{Bytes, BytesMut};

use super::{Response, Status};
use crate::websocket::extension::Malformed;

/// Why a request is not served. The text is for the people who read the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The first byte is that of a TLS record.
    #[error("a TLS handshake came, but this port speaks plain HTTP; connect with ws:// or http://")]
    TlsOnPlainPort,
    /// The first bytes are a request in the clear.
    #[error("a plain HTTP request came, but this port speaks TLS; connect with wss:// or https://")]
    PlainOnTlsPort,
    /// RFC 9112 §2.2: not a request line and header fields.
    #[error("not an HTTP/1.1 request ({0}); send a request line and header fields as in RFC 9112")]
    NotHttp(httparse::Error),
    /// RFC 9110 §15.6.6.
    #[error("this version of HTTP is not spoken here; use HTTP/1.1")]
    HttpVersionUnknown,
    /// Our limit, `HeadLimits::bytes_max`.
    #[error("the request head is longer than the {bytes_max} bytes allowed; send fewer or shorter headers")]
    HeadTooLong {
        /// The limit, in bytes.
        bytes_max: usize,
    },
    /// Our limit, `HeadLimits::headers_max`.
    #[error("the request has more than the {headers_max} header fields allowed; send fewer")]
    TooManyHeaders {
        /// The limit, in header fields.
        headers_max: usize,
    },
    /// RFC 6455 §4.2.1 item 1.
    #[error("only GET is allowed here; a WebSocket handshake is a GET request")]
    MethodNotGet,
    /// RFC 9110 §15.5.6.
    #[error("only POST is allowed here")]
    MethodNotPost,
    /// RFC 9110 §15.5.6.
    #[error("only GET and POST are allowed here")]
    MethodNotGetOrPost,
    /// RFC 6455 §4.2.1 item 1.
    #[error("a WebSocket handshake needs HTTP/1.1; this request is HTTP/1.0")]
    HttpTooOld,
    /// RFC 6455 §4.2.1 item 2.
    #[error("the Host header is missing; send it exactly once")]
    HostMissing,
    /// RFC 9112 §3.2.
    #[error("the Host header is repeated; send it exactly once")]
    HostRepeated,
    /// RFC 9112 §3.2.
    #[error(
        "the Host header is malformed; send the name or the address of the host, and the port after a colon"
    )]
    HostMalformed,
    /// RFC 9112 §3.2.
    #[error(
        "the target of the request is malformed; send the path and the query of the URL, without a fragment"
    )]
    TargetMalformed,
    /// RFC 9110 §5.3: only a list may be spread over several lines.
    #[error("the {0} header is repeated; send it at most once")]
    HeaderRepeated(&'static str),
    /// RFC 6455 §4.2.1 item 3.
    #[error("this address speaks WebSocket; send the header \"Upgrade: websocket\"")]
    UpgradeMissing,
    /// RFC 6455 §4.2.1 item 4.
    #[error("the Connection header does not ask for an upgrade; send \"Connection: Upgrade\"")]
    ConnectionUpgradeMissing,
    /// RFC 6455 §4.2.1 item 5.
    #[error("the Sec-WebSocket-Key header is missing; send 16 random bytes in base64")]
    KeyMissing,
    /// RFC 6455 §11.3.1.
    #[error("the Sec-WebSocket-Key header is repeated; send it exactly once")]
    KeyRepeated,
    /// RFC 6455 §4.2.1 item 5.
    #[error("the Sec-WebSocket-Key header is malformed; send 16 random bytes in base64")]
    KeyMalformed,
    /// RFC 6455 §4.2.1 item 6, §4.4.
    #[error("this WebSocket version is not spoken here; send the header \"Sec-WebSocket-Version: 13\"")]
    VersionUnsupported,
    /// RFC 6455 §9.1.
    #[error("the Sec-WebSocket-Extensions header is malformed; send a list as in RFC 6455 section 9.1")]
    ExtensionsMalformed,
    /// RFC 9110 §8.6.
    #[error(
        "the Content-Length header is not one number; send the length of the body in bytes, once, or none without one"
    )]
    ContentLengthMalformed,
    /// A body would be taken for frames.
    #[error("a WebSocket handshake has no body; leave Content-Length and Transfer-Encoding out")]
    BodyForbidden,
    /// Our limit for this path.
    #[error("the body is longer than the {bytes_max} bytes allowed here; send less at once")]
    BodyTooLong {
        /// The limit, in bytes.
        bytes_max: usize,
    },
    /// RFC 9112 §6.1.
    #[error("Content-Length and Transfer-Encoding contradict each other; send one of them")]
    LengthAmbiguous,
    /// RFC 9112 §6.1.
    #[error("this transfer coding is not known here; send the body as it is, or chunked")]
    TransferEncodingUnknown,
    /// RFC 9112 §6.1.
    #[error(
        "the Transfer-Encoding header does not tell where the body ends; send \"chunked\" alone, over HTTP/1.1"
    )]
    TransferEncodingMalformed,
    /// RFC 9112 §7.1.
    #[error("the chunks of the body are malformed; send them as in RFC 9112 section 7.1")]
    ChunkMalformed,
    /// The body is not what this path asks for.
    #[error("the body cannot be understood here: {0}")]
    BodyMalformed(&'static str),
    /// The query is not what this path asks for.
    #[error("the query cannot be understood here: {0}")]
    QueryMalformed(&'static str),
    /// There is no such session, or it has ended, or it is somebody else's.
    #[error("no such session; connect anew")]
    SessionUnknown,
    /// The operator's list of origins lacks this one.
    #[error("this origin is not allowed; ask the operator to add it to the allowed origins")]
    OriginForbidden,
    /// The operator's lists of addresses exclude this one.
    #[error("connections from this address are not allowed; ask the operator")]
    AddressForbidden,
    /// Nothing is served at this path.
    #[error("nothing is served at this path; check the path of the URL")]
    NotFound,
    /// The head did not come in time.
    #[error("the request did not come in time; send it whole right after connecting")]
    HeadTimeout,
    /// This client has used up its share.
    #[error("too many requests from this client; try again in {retry_after_s} s")]
    TooManyRequests {
        /// Seconds until another try may succeed.
        retry_after_s: u32,
    },
    /// This server is full or leaving.
    #[error("no capacity for another connection; try again in {retry_after_s} s")]
    Unavailable {
        /// Seconds until another try may succeed.
        retry_after_s: u32,
    },
}

/// What of an answer a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// All of it.
    Whole,
    /// Its head (RFC 9110 §9.3.2): a body would be taken for the next answer.
    Head,
}

impl Asked {
    /// What a request of this method asks for.
    pub fn by(method: &str) -> Self {
        if method == "HEAD" { Self::Head } else { Self::Whole }
    }
}

impl From<Malformed> for Refusal {
    fn from(_: Malformed) -> Self {
        Self::ExtensionsMalformed
    }
}

impl Refusal {
    /// A short name, for logs.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::TlsOnPlainPort => "tls_on_plain_port",
            Self::PlainOnTlsPort => "plain_on_tls_port",
            Self::NotHttp(_) => "not_http",
            Self::HttpVersionUnknown => "http_version_unknown",
            Self::HeadTooLong { .. } => "head_too_long",
            Self::TooManyHeaders { .. } => "too_many_headers",
            Self::MethodNotGet => "method_not_get",
            Self::MethodNotPost => "method_not_post",
            Self::MethodNotGetOrPost => "method_not_get_or_post",
            Self::HttpTooOld => "http_too_old",
            Self::HostMissing => "host_missing",
            Self::HostRepeated => "host_repeated",
            Self::HostMalformed => "host_malformed",
            Self::TargetMalformed => "target_malformed",
            Self::HeaderRepeated(_) => "header_repeated",
            Self::UpgradeMissing => "upgrade_missing",
            Self::ConnectionUpgradeMissing => "connection_upgrade_missing",
            Self::KeyMissing => "key_missing",
            Self::KeyRepeated => "key_repeated",
            Self::KeyMalformed => "key_malformed",
            Self::VersionUnsupported => "version_unsupported",
            Self::ExtensionsMalformed => "extensions_malformed",
            Self::ContentLengthMalformed => "content_length_malformed",
            Self::BodyForbidden => "body_forbidden",
            Self::BodyTooLong { .. } => "body_too_long",
            Self::LengthAmbiguous => "length_ambiguous",
            Self::TransferEncodingUnknown => "transfer_encoding_unknown",
            Self::TransferEncodingMalformed => "transfer_encoding_malformed",
            Self::ChunkMalformed => "chunk_malformed",
            Self::BodyMalformed(_) => "body_malformed",
            Self::QueryMalformed(_) => "query_malformed",
            Self::SessionUnknown => "session_unknown",
            Self::OriginForbidden => "origin_forbidden",
            Self::AddressForbidden => "address_forbidden",
            Self::NotFound => "not_found",
            Self::HeadTimeout => "head_timeout",
            Self::TooManyRequests { .. } => "too_many_requests",
            Self::Unavailable { .. } => "unavailable",
        }
    }

    /// The status of the answer.
    pub const fn status(&self) -> Status {
        match self {
            Self::TlsOnPlainPort
            | Self::PlainOnTlsPort
            | Self::NotHttp(_)
            | Self::HttpTooOld
            | Self::HostMissing
            | Self::HostRepeated
            | Self::HostMalformed
            | Self::TargetMalformed
            | Self::HeaderRepeated(_)
            | Self::ConnectionUpgradeMissing
            | Self::KeyMissing
            | Self::KeyRepeated
            | Self::KeyMalformed
            | Self::ExtensionsMalformed
            | Self::ContentLengthMalformed
            | Self::LengthAmbiguous
            | Self::TransferEncodingMalformed
            | Self::ChunkMalformed
            | Self::BodyMalformed(_)
            | Self::QueryMalformed(_) => Status::BadRequest,
            Self::TransferEncodingUnknown => Status::NotImplemented,
            Self::OriginForbidden | Self::AddressForbidden => Status::Forbidden,
            Self::NotFound | Self::SessionUnknown => Status::NotFound,
            Self::MethodNotGet | Self::MethodNotPost | Self::MethodNotGetOrPost => Status::MethodNotAllowed,
            Self::HeadTimeout => Status::RequestTimeout,
            Self::BodyForbidden | Self::BodyTooLong { .. } => Status::ContentTooLarge,
            Self::UpgradeMissing | Self::VersionUnsupported => Status::UpgradeRequired,
            Self::TooManyRequests { .. } => Status::TooManyRequests,
            Self::HeadTooLong { .. } | Self::TooManyHeaders { .. } => Status::RequestHeaderFieldsTooLarge,
            Self::Unavailable { .. } => Status::ServiceUnavailable,
            Self::HttpVersionUnknown => Status::HttpVersionNotSupported,
        }
    }

    /// Appends the complete answer to `out`.
    pub fn write(&self, out: &mut BytesMut) {
        self.write_to(Asked::Whole, &[], out);
    }

    /// Appends the answer to what was asked for, with these header fields among its own.
    pub fn write_to(&self, asked: Asked, extra: &[(&str, &str)], out: &mut BytesMut) {
        let seconds;
        let mut headers = vec![("Content-Type", "text/plain; charset=utf-8")];
        headers.extend_from_slice(extra);
        match self {
            Self::MethodNotGet => headers.push(("Allow", "GET")),
            Self::MethodNotPost => headers.push(("Allow", "POST, OPTIONS")),
            Self::MethodNotGetOrPost => headers.push(("Allow", "GET, POST, OPTIONS")),
            // RFC 9110 §7.8: who sends Upgrade also names it in Connection.
            Self::UpgradeMissing | Self::VersionUnsupported => headers.extend([
                ("Upgrade", "websocket"),
                ("Sec-WebSocket-Version", "13"),
                ("Connection", "Upgrade"),
            ]),
            Self::TooManyRequests { retry_after_s } | Self::Unavailable { retry_after_s } => {
                seconds = retry_after_s.to_string();
                headers.push(("Retry-After", &seconds));
            }
            _ => {}
        }
        headers.push(("Connection", "close"));
        let body = format!("{self}\n");
        let response = Response { status: self.status(), headers: &headers, body: body.as_bytes() };
        match asked {
            Asked::Whole => response.write(out),
            Asked::Head => response.write_head(out),
        }
    }

    /// The complete answer.
    pub fn response(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(320);
        self.write(&mut out);
        out.freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(refusal: Refusal) -> String {
        String::from_utf8(refusal.response().to_vec()).unwrap()
    }

    #[test]
    fn an_answer_is_complete_and_closes_the_connection() {
        assert_eq!(
            text(Refusal::NotFound),
            "HTTP/1.1 404 Not Found\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\
             Content-Length: 58\r\n\r\nnothing is served at this path; check the path of the URL\n"
        );
    }

    #[test]
    fn who_asks_for_the_head_alone_gets_the_same_one_and_no_body() {
        let mut out = BytesMut::new();
        Refusal::NotFound.write_to(Asked::by("HEAD"), &[], &mut out);
        let whole = text(Refusal::NotFound);
        let (head, body) = whole.split_once("\r\n\r\n").unwrap();
        assert!(!body.is_empty());
        assert_eq!(out, format!("{head}\r\n\r\n"));
    }

    #[test]
    fn the_wrong_method_is_told_the_right_one() {
        let answer = text(Refusal::MethodNotGet);
        assert!(answer.starts_with("HTTP/1.1 405 Method Not Allowed\r\n"));
        assert!(answer.contains("\r\nAllow: GET\r\n"));
    }

    #[test]
    fn the_wrong_version_is_told_the_right_one() {
        for refusal in [Refusal::VersionUnsupported, Refusal::UpgradeMissing] {
            let answer = text(refusal);
            assert!(answer.starts_with("HTTP/1.1 426 Upgrade Required\r\n"));
            assert!(answer.contains("\r\nSec-WebSocket-Version: 13\r\n"));
            assert!(answer.contains("\r\nUpgrade: websocket\r\n"));
            assert!(answer.contains("\r\nConnection: close\r\n"));
        }
    }

    #[test]
    fn a_full_server_says_when_to_come_back() {
        let answer = text(Refusal::Unavailable { retry_after_s: 7 });
        assert!(answer.starts_with("HTTP/1.1 503 Service Unavailable\r\n"));
        assert!(answer.contains("\r\nRetry-After: 7\r\n"));
        assert!(text(Refusal::TooManyRequests { retry_after_s: 9 }).contains("\r\nRetry-After: 9\r\n"));
    }

    #[test]
    fn every_status_of_the_handshake_has_its_number() {
        let numbers = [
            (Refusal::TlsOnPlainPort, 400),
            (Refusal::NotHttp(httparse::Error::Token), 400),
            (Refusal::HttpVersionUnknown, 505),
            (Refusal::HeadTooLong { bytes_max: 1 }, 431),
            (Refusal::TooManyHeaders { headers_max: 1 }, 431),
            (Refusal::BodyForbidden, 413),
            (Refusal::OriginForbidden, 403),
            (Refusal::HeadTimeout, 408),
            (Refusal::TooManyRequests { retry_after_s: 1 }, 429),
        ];
        for (refusal, code) in numbers {
            assert_eq!(refusal.status().code(), code, "{refusal:?}");
        }
    }
}
