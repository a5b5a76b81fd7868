//! The opening handshake, the client's side (RFC 6455 §4.1).
//!
//! In:  what to ask for and a random key; then the bytes of the answer as they come.
//! Out: the request; then the accepted subprotocol, or why the answer is no acceptance.
//!
//! The key is the caller's: there is no randomness here. No redirection is followed.

use bytes::{BufMut as _, BytesMut};
use httparse::{Header, Status};

use super::deflate::{self, Agreement, AnswerError, Offer};
use super::{extension, key};
use crate::http::write_header;

/// The longest head of an answer that is read.
pub const RESPONSE_HEAD_BYTES_MAX: usize = 16 * 1024;

const RESPONSE_HEADERS_MAX: usize = 64;
const BODY_EXCERPT_BYTES_MAX: usize = 200;

/// What to ask a server for.
#[derive(Debug, Clone, Copy)]
pub struct ClientRequest<'a> {
    /// Host and, where it is not the scheme's own, port.
    pub host: &'a str,
    /// The request target, from its `/` on.
    pub path_and_query: &'a str,
    /// In the order of preference.
    pub subprotocols: &'a [&'a str],
    /// What a browser would send as its page's origin.
    pub origin: Option<&'a str>,
    /// Further header fields.
    pub headers: &'a [(&'a str, &'a str)],
    /// Sixteen random bytes, new for every connection.
    pub key: [u8; 16],
}

impl ClientRequest<'_> {
    /// Appends the request to `out`.
    pub fn write(&self, out: &mut BytesMut) {
        out.put_slice(b"GET ");
        out.put_slice(self.path_and_query.as_bytes());
        out.put_slice(b" HTTP/1.1\r\n");
        write_header(out, "Host", self.host);
        write_header(out, "Upgrade", "websocket");
        write_header(out, "Connection", "Upgrade");
        out.put_slice(b"Sec-WebSocket-Key: ");
        out.put_slice(&key::to_text(&self.key));
        out.put_slice(b"\r\nSec-WebSocket-Version: 13\r\n");
        if !self.subprotocols.is_empty() {
            write_header(out, "Sec-WebSocket-Protocol", &self.subprotocols.join(", "));
        }
        if let Some(origin) = self.origin {
            write_header(out, "Origin", origin);
        }
        for (name, value) in self.headers {
            write_header(out, name, value);
        }
        out.put_slice(b"\r\n");
    }
}

/// What the server agreed to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accepted<'o> {
    /// One of those offered, or none.
    pub subprotocol: Option<&'o str>,
    /// The parameters of permessage-deflate, if it was offered and taken.
    pub deflate: Option<Agreement>,
}

/// Why an answer is not the acceptance of our handshake. Always the server's fault, or its refusal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeError {
    /// RFC 9112 §4.
    #[error("the answer is not HTTP: {0}")]
    NotHttp(httparse::Error),
    /// [`RESPONSE_HEAD_BYTES_MAX`].
    #[error("the head of the answer is longer than {RESPONSE_HEAD_BYTES_MAX} bytes")]
    HeadTooLong,
    /// RFC 6455 §4.1, item 1 of the client's checks.
    #[error("the server answered {status} instead of 101: {body_excerpt}")]
    Refused {
        /// The status code.
        status: u16,
        /// The beginning of what came of the body.
        body_excerpt: String,
    },
    /// Item 2.
    #[error("the answer lacks \"Upgrade: websocket\"")]
    UpgradeMissing,
    /// Item 3.
    #[error("the answer lacks \"Connection: Upgrade\"")]
    ConnectionUpgradeMissing,
    /// Item 4: the answer was not made for this request.
    #[error("the answer's Sec-WebSocket-Accept is missing or does not match our key")]
    AcceptMismatch,
    /// Item 5.
    #[error("the server chose an extension that was not offered: {0}")]
    ExtensionNotOffered(String),
    /// RFC 6455 §9.1.
    #[error("the answer's Sec-WebSocket-Extensions is malformed")]
    ExtensionsMalformed,
    /// RFC 7692 §7.1.
    #[error(transparent)]
    Deflate(#[from] AnswerError),
    /// Item 6.
    #[error("the server chose a subprotocol that was not offered: {0}")]
    SubprotocolNotOffered(String),
}

/// Reads the answer at the front of `bytes`; the number is the length of its head, after which frames follow.
/// `None` asks for more bytes. `key` and `offered` are those of the request.
pub fn check_response<'o>(
    bytes: &[u8],
    key: &[u8; 16],
    offered: &[&'o str],
) -> Result<Option<(Accepted<'o>, usize)>, HandshakeError> {
    check_response_with(bytes, key, offered, None)
}

/// The same for a request that offered permessage-deflate: `deflate`, written as text, was the value of its
/// Sec-WebSocket-Extensions among [`ClientRequest::headers`].
pub fn check_response_with<'o>(
    bytes: &[u8],
    key: &[u8; 16],
    offered: &[&'o str],
    deflate: Option<&Offer>,
) -> Result<Option<(Accepted<'o>, usize)>, HandshakeError> {
    let mut headers = [httparse::EMPTY_HEADER; RESPONSE_HEADERS_MAX];
    let mut response = httparse::Response::new(&mut headers);
    let head_bytes = match response.parse(bytes) {
        Ok(Status::Complete(head_bytes)) => head_bytes,
        Ok(Status::Partial) if bytes.len() > RESPONSE_HEAD_BYTES_MAX => {
            return Err(HandshakeError::HeadTooLong);
        }
        Ok(Status::Partial) => return Ok(None),
        Err(error) => return Err(HandshakeError::NotHttp(error)),
    };
    match response.code {
        Some(101) => {}
        code => return Err(refused(code.unwrap_or(0), &bytes[head_bytes..])),
    }
    check_upgrade(response.headers, key)?;
    let deflate = check_extensions(response.headers, deflate)?;
    let subprotocol = check_subprotocol(response.headers, offered)?;
    Ok(Some((Accepted { subprotocol, deflate }, head_bytes)))
}

/// The excerpt is for a terminal or a log: control characters become spaces.
fn refused(status: u16, body: &[u8]) -> HandshakeError {
    let excerpt = String::from_utf8_lossy(&body[..body.len().min(BODY_EXCERPT_BYTES_MAX)]);
    let body_excerpt = excerpt.trim().replace(char::is_control, " ");
    HandshakeError::Refused { status, body_excerpt }
}

/// Items 2 to 4.
fn check_upgrade(headers: &[Header<'_>], key: &[u8; 16]) -> Result<(), HandshakeError> {
    let has_token = |name, token: &str| {
        values(headers, name)
            .flat_map(|value| value.split(|&byte| byte == b','))
            .any(|member| member.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
    };
    if !has_token("Upgrade", "websocket") {
        return Err(HandshakeError::UpgradeMissing);
    }
    if !has_token("Connection", "upgrade") {
        return Err(HandshakeError::ConnectionUpgradeMissing);
    }
    let accept = key::accept(&key::to_text(key));
    if values(headers, "Sec-WebSocket-Accept").next() != Some(accept.as_bytes()) {
        return Err(HandshakeError::AcceptMismatch);
    }
    Ok(())
}

/// Item 5: at most the one extension that was offered, once.
fn check_extensions(
    headers: &[Header<'_>],
    offer: Option<&Offer>,
) -> Result<Option<Agreement>, HandshakeError> {
    let chosen = extension::parse(values(headers, "Sec-WebSocket-Extensions"))
        .map_err(|_| HandshakeError::ExtensionsMalformed)?;
    match (&chosen[..], offer) {
        ([], _) => Ok(None),
        ([only], Some(offer)) if only.name == deflate::NAME => {
            Ok(Some(deflate::check_answer(&only.parameters, offer)?))
        }
        ([.., last], _) => Err(HandshakeError::ExtensionNotOffered(last.name.to_owned())),
    }
}

/// Item 6.
fn check_subprotocol<'o>(
    headers: &[Header<'_>],
    offered: &[&'o str],
) -> Result<Option<&'o str>, HandshakeError> {
    let Some(chosen) = values(headers, "Sec-WebSocket-Protocol").next() else { return Ok(None) };
    let known = offered.iter().copied().find(|name| name.as_bytes() == chosen);
    let lossy = || String::from_utf8_lossy(chosen).into_owned();
    known.map(Some).ok_or_else(|| HandshakeError::SubprotocolNotOffered(lossy()))
}

fn values<'h>(headers: &'h [Header<'h>], name: &'h str) -> impl Iterator<Item = &'h [u8]> {
    headers.iter().filter(move |header| header.name.eq_ignore_ascii_case(name)).map(|header| header.value)
}
