//! The opening handshake, the server's side (RFC 6455 §4.2).
//!
//! In:  a complete request head, and the subprotocols that are spoken here.
//! Out: the upgrade with its 101 response; or the refusal to answer with.
//!
//! Path, origin and authentication are the caller's to check.

use bytes::{Bytes, BytesMut};

use super::key;
use crate::http::{Refusal, RequestHead, Response, Status, Version};

/// A handshake that may be accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upgrade<'s> {
    accept: String,
    subprotocol: Option<&'s str>,
}

/// Checks the request in the order of RFC 6455 §4.2.1 and chooses the first subprotocol of the client's list
/// that is also in `supported_subprotocols`; none in common is no fault (§4.2.2 item 5).
pub fn upgrade<'s>(
    head: &RequestHead<'_>,
    supported_subprotocols: &[&'s str],
) -> Result<Upgrade<'s>, Refusal> {
    check_request_line(head)?;
    head.check_host()?;
    if !head.header_has_token("Upgrade", "websocket") {
        return Err(Refusal::UpgradeMissing);
    }
    if !head.header_has_token("Connection", "upgrade") {
        return Err(Refusal::ConnectionUpgradeMissing);
    }
    let key = check_key(head)?;
    check_version(head)?;
    check_no_body(head)?;
    let subprotocol = choose_subprotocol(head, supported_subprotocols);
    Ok(Upgrade { accept: key::accept(key), subprotocol })
}

impl<'s> Upgrade<'s> {
    /// The subprotocol that both sides speak from here on.
    pub const fn subprotocol(&self) -> Option<&'s str> {
        self.subprotocol
    }

    /// Appends the 101 response to `out`; frames may follow at once.
    pub fn write(&self, out: &mut BytesMut) {
        let mut headers =
            [("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Accept", ""), ("", "")];
        headers[2].1 = &self.accept;
        let count = match self.subprotocol {
            Some(name) => {
                headers[3] = ("Sec-WebSocket-Protocol", name);
                4
            }
            None => 3,
        };
        Response { status: Status::SwitchingProtocols, headers: &headers[..count], body: b"" }.write(out);
    }

    /// The 101 response.
    pub fn response(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(192);
        self.write(&mut out);
        out.freeze()
    }
}

/// §4.2.1 item 1.
fn check_request_line(head: &RequestHead<'_>) -> Result<(), Refusal> {
    if head.method != "GET" {
        return Err(Refusal::MethodNotGet);
    }
    if head.version < Version::Http11 {
        return Err(Refusal::HttpTooOld);
    }
    Ok(())
}

/// §4.2.1 item 5.
fn check_key<'b>(head: &RequestHead<'b>) -> Result<&'b [u8], Refusal> {
    let mut keys = head.headers("Sec-WebSocket-Key");
    let key = keys.next().ok_or(Refusal::KeyMissing)?;
    if keys.next().is_some() {
        return Err(Refusal::KeyRepeated);
    }
    if key::is_well_formed(key) { Ok(key) } else { Err(Refusal::KeyMalformed) }
}

/// §4.2.1 item 6.
fn check_version(head: &RequestHead<'_>) -> Result<(), Refusal> {
    let mut versions = head.headers("Sec-WebSocket-Version");
    match (versions.next(), versions.next()) {
        (Some(b"13"), None) => Ok(()),
        _ => Err(Refusal::VersionUnsupported),
    }
}

/// What follows the head are frames: a body would be taken for them.
fn check_no_body(head: &RequestHead<'_>) -> Result<(), Refusal> {
    if head.header("Transfer-Encoding").is_some() {
        return Err(Refusal::BodyForbidden);
    }
    for length in head.headers("Content-Length") {
        if length.is_empty() || !length.iter().all(u8::is_ascii_digit) {
            return Err(Refusal::ContentLengthMalformed);
        }
        if length.iter().any(|&digit| digit != b'0') {
            return Err(Refusal::BodyForbidden);
        }
    }
    Ok(())
}

/// §4.2.1 item 8: the client's list is in the order of its preference; names are case-sensitive.
fn choose_subprotocol<'s>(head: &RequestHead<'_>, supported: &[&'s str]) -> Option<&'s str> {
    head.header_list("Sec-WebSocket-Protocol")
        .find_map(|offered| supported.iter().copied().find(|name| name.as_bytes() == offered))
}
